#!/usr/bin/env python3
"""Counts what kvf_replay must report for a trace, sharing no code with it.

    count_trace.py TRACE --ranks P --prefill N --blocks B [--requests R]
                   --kv-blocks K --block-bytes C [--nodes 0,1,0,1]
                   [--layers L --heads H --src-tp T --src-pp S --dst-tp T --dst-pp S]

K is the number of KV blocks that one trace block becomes on the decode side, C the bytes of one of
them over all planes, layers and heads. One JSON object comes out: requests, refused_requests, trace_blocks, blocks, bytes,
matrix[from][to] in bytes, cross_bytes (from one node of --nodes to another), and hits by the two
ways to run one pool, with one request in flight (--depth 1). Lines are taken to be good: bad ones
are the reader's own tests.

Routing, by the job's rule: of P ranks the first N are prefill, the rest decode; P = 1 is both.
Request i goes to prefill rank splitmix64(key) mod N, where key is its second id, or the only one,
or 0 without ids, and to decode rank N + i mod (P - N). splitmix64(x) here is one output of that
generator from state x: it adds 0x9e3779b97f4a7c15 first, then mixes. i counts all requests read,
the refused ones too. The decode rank pulls every block of the request, whether it was a hit or not, so
blocks and bytes do not depend on the pool, only on which requests are refused: those with more
blocks than the pool.

Instances: of TP * PP ranks each, on each side; n and P - N above count instances where these are given.
Rank s * TP + t of an instance holds the layers of stage s and the heads of TP rank t; L and H are
dealt in order, the first L mod PP stages and H mod TP ranks have one more, and with fewer heads than
ranks each has head floor(t * H / TP). Each (layer, head) that a decode rank holds comes from a rank that
holds it; if n do, block b of the request comes from number (d + b) mod n of them, where d is the
decode rank's number among decode ranks.

The two ways, each an exact LRU over the trace blocks of a prefill rank, requests in file order:

turn     For each id of the request in the order of its list: if it is in the pool, that is a hit
         and it becomes the most recent; else the least recent block is evicted if the pool is full,
         and the id enters as the most recent. So a miss may evict a block that the same request
         asks for later in its list: that block is then a miss too. The conversation trace with
         10,000 blocks and one prefill rank: 60,921 hits (.211).
pinned   First all ids of the request are looked up: those in the pool are hits and are pinned, no
         miss of this request can evict them. Then each missing id, in the order of the list, evicts
         the least recent block that is not pinned if the pool is full. At the end all ids of the
         request become the most recent, in the order of the list, its last id the most recent of
         all. The same trace: 61,042 hits (.212). To make the hits recent when they are found, and
         the misses behind them when they enter, gives the same number.

What the order does: to hand the blocks back from the last to the first gives 61,046 (pinned), to
look them up so 60,914 (turn). To count only the hits before the first miss, pin those and produce
all the rest gives 60,921: the number alone does not tell that way from turn.
"""

import argparse
import json
from collections import OrderedDict

MASK = (1 << 64) - 1


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def key_of(ids):
    return ids[1] if len(ids) > 1 else ids[0] if ids else 0


class Turn:
    def __init__(self, blocks):
        self.blocks = blocks
        self.pool = OrderedDict()  # least recent first

    def request(self, ids):
        hits = 0
        for block in ids:
            if block in self.pool:
                hits += 1
                self.pool.move_to_end(block)
                continue
            if len(self.pool) >= self.blocks:
                self.pool.popitem(last=False)
            self.pool[block] = True
        return hits


class Pinned:
    def __init__(self, blocks):
        self.blocks = blocks
        self.free = OrderedDict()  # blocks that nobody holds, least recent first

    def request(self, ids):
        held = {}
        hits = 0
        for block in ids:
            if block in self.free:
                del self.free[block]
                held[block] = True
            hits += block in held
        for block in ids:
            if block in held:
                continue
            if len(self.free) + len(held) >= self.blocks:
                self.free.popitem(last=False)
            held[block] = True
        for block in ids:  # an id that stands twice counts where it stands last
            self.free[block] = True
            self.free.move_to_end(block)
        return hits


def read(path, count):
    rows = []
    with open(path, encoding="utf-8-sig") as file:
        for line in file:
            if count and len(rows) == count:
                break
            if line.strip():
                rows.append(json.loads(line)["hash_ids"])
    return rows


def even(total, parts, part):
    more = total % parts
    first = part * (total // parts) + min(part, more)
    return set(range(first, first + total // parts + (part < more)))


def heads_of(total, tp, rank):
    return even(total, tp, rank) if total >= tp else {rank * total // tp}


def holds(cut, args):
    """(layer, head) pairs of each member of an instance."""
    tp, pp = cut
    return [{(layer, head) for layer in even(args.layers, pp, m // tp)
             for head in heads_of(args.heads, tp, m % tp)} for m in range(tp * pp)]


def parts_of(src, dst, number, blocks):
    """How many (block, layer, head) decode rank `number` reads from each member of an instance."""
    parts = [0] * len(src)
    for cell in dst[number % len(dst)]:
        holders = [m for m, cells in enumerate(src) if cell in cells]
        for k, m in enumerate(holders):
            first = (k - number) % len(holders)
            parts[m] += len(range(first, blocks, len(holders)))
    return parts


def count(rows, args, nodes):
    src = holds((args.src_tp, args.src_pp), args)
    dst = holds((args.dst_tp, args.dst_pp), args)
    ranks, prefill = args.ranks, args.prefill // len(src)
    first_decode = args.prefill if ranks > 1 else 0
    decode = (ranks - first_decode) // len(dst)
    matrix = [[0] * ranks for _ in range(ranks)]
    pools = {"turn": [Turn(args.blocks) for _ in range(prefill)],
             "pinned": [Pinned(args.blocks) for _ in range(prefill)]}
    hits = dict.fromkeys(pools, 0)
    served = trace_blocks = 0
    part_bytes = args.block_bytes // (args.layers * args.heads)
    memo = {}
    for i, ids in enumerate(rows):
        if len(set(ids)) > args.blocks:
            continue
        source = splitmix64(key_of(ids)) % prefill
        blocks = len(ids) * args.kv_blocks
        for m in range(len(dst)):
            number = i % decode * len(dst) + m
            if (number, blocks) not in memo:
                memo[number, blocks] = parts_of(src, dst, number, blocks)
            for k, parts in enumerate(memo[number, blocks]):
                matrix[source * len(src) + k][first_decode + number] += parts * part_bytes
        served += 1
        trace_blocks += len(ids)
        for name, pool in pools.items():
            hits[name] += pool[source].request(ids)
    return {
        "requests": served, "refused_requests": len(rows) - served,
        "trace_blocks": trace_blocks, "blocks": trace_blocks * args.kv_blocks,
        "bytes": sum(map(sum, matrix)), "matrix": matrix,
        "cross_bytes": sum(matrix[a][b] for a in range(ranks) for b in range(ranks)
                           if nodes[a] != nodes[b]),
        "hits": hits,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace")
    parser.add_argument("--requests", type=int, default=0, help="the first so many; 0: all")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--prefill", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=4096, help="trace blocks a pool")
    parser.add_argument("--kv-blocks", type=int, default=1, help="KV blocks a trace block")
    parser.add_argument("--block-bytes", type=int, default=1, help="bytes a KV block")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--heads", type=int, default=1)
    for side in ("src", "dst"):
        for how in ("tp", "pp"):
            parser.add_argument("--%s-%s" % (side, how), type=int, default=1)
    parser.add_argument("--nodes", help="node of each rank, with commas")
    args = parser.parse_args()
    if args.prefill < 1 or args.ranks < 1 or (args.ranks > 1 and args.prefill >= args.ranks) or \
            (args.ranks == 1 and args.prefill != 1):
        parser.error("--prefill is 1 to ranks - 1, or 1 of 1")
    nodes = args.nodes.split(",") if args.nodes else ["0"] * args.ranks
    if len(nodes) != args.ranks:
        parser.error("--nodes has %d names for %d ranks" % (len(nodes), args.ranks))
    if args.prefill % (args.src_tp * args.src_pp) or \
            (args.ranks > 1 and (args.ranks - args.prefill) % (args.dst_tp * args.dst_pp)):
        parser.error("no whole instances")
    print(json.dumps(count(read(args.trace, args.requests), args, nodes)))


if __name__ == "__main__":
    main()

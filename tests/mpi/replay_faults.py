#!/usr/bin/env python3
"""Works out what each --inject of kvf_replay must count, sharing no code with it.

    replay_faults.py TRACE FAULT [--seed S] [--layers L] [--heads H] [--k-bytes K] [--tokens N]
                     [--per-block B] [--src-tokens M] [--src-tp T] [--src-pp S] [--dst-tp T]
                     [--dst-pp S] [--drop-from D]

Prints "mismatched stale stale_bytes": the wrong bytes, the stale KV blocks and their bytes that a job
must report that moves L layers and B KV blocks of N tokens (the destination's) for each trace block, K
and V of K bytes each a head and token, with one instance on each side; the source's blocks are of M
tokens, N unless told. The contents are those that docs/replay.md defines; the fault goes into the first
request with two trace blocks and the first rank of an instance. A dropped op carries tokens D and on
of each destination block, and all that the rank holds. Two words that differ may have equal bytes in
some places: those are not wrong.
"""

import argparse
import json

from count_trace import holds

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def splitmix(x):
    return mix((x + GOLDEN) & MASK)


def wrong_bytes(have, want):
    return sum(bool(((a ^ b) >> s) & 255) for a, b in zip(have, want) for s in range(0, 64, 8))


class Cells:
    def __init__(self, args):
        self.args = args

    def part(self, prefix, layer, head, plane, token):
        """The words of K (plane 0) or V (1) of a cell."""
        key = splitmix(self.args.seed ^ splitmix(prefix))
        key = splitmix(key ^ (layer << 48 | head << 32 | plane << 28 | token))
        return [mix((key + i * GOLDEN) & MASK) for i in range(self.args.k_bytes // 8)]

    def tokens(self, prefix, held, first, end):
        """All words of these tokens of a trace block and what is held, in an order of our own."""
        return [w for layer, head in sorted(held) for plane in (0, 1) for token in range(first, end)
                for w in self.part(prefix, layer, head, plane, token)]


def expect_stale(args):
    """Member 0 of the prefill instance raises the first trace block."""
    src, dst = holds((args.src_tp, args.src_pp), args), holds((args.dst_tp, args.dst_pp), args)
    blocks = cells = 0
    for number, held in enumerate(dst):
        for b in range(args.per_block):
            stale = 0
            for cell in held:
                holders = [m for m, other in enumerate(src) if cell in other]
                stale += holders[(number + b) % len(holders)] == 0
            blocks += stale > 0
            cells += stale
    return 0, blocks, cells * args.tokens * 2 * args.k_bytes


def expect(args, ids, request):
    cells = Cells(args)
    held = holds((args.dst_tp, args.dst_pp), args)[0]
    layers = sorted({layer for layer, _ in held})
    heads = sorted({head for _, head in held})
    places = [(layer, token) for layer in layers for token in range(args.tokens)]
    wrong = 1
    if args.fault == "stale":
        return expect_stale(args)
    if args.fault == "drop-op":
        pattern = splitmix(~request & MASK)
        words = [w for i in ids for b in range(args.per_block)
                 for w in cells.tokens(i, held, b * args.tokens + args.drop_from, (b + 1) * args.tokens)]
        wrong = wrong_bytes([pattern] * len(words), words)
    elif args.fault == "swap-blocks":
        count = args.src_tokens or args.tokens
        wrong = 2 * wrong_bytes(cells.tokens(ids[0], held, 0, count),
                                cells.tokens(ids[1], held, 0, count))
    elif args.fault == "swap-heads":
        wrong = 2 * sum(wrong_bytes(cells.part(ids[0], layer, heads[0], plane, token),
                                    cells.part(ids[0], layer, heads[1], plane, token))
                        for layer, token in places for plane in (0, 1))
    elif args.fault == "wrong-plane":
        wrong = 2 * sum(wrong_bytes(cells.part(ids[0], layer, head, 0, token),
                                    cells.part(ids[0], layer, head, 1, token))
                        for layer, token in places for head in heads)
    elif args.fault != "flip":
        raise SystemExit("no such fault: " + args.fault)
    return wrong, 0, 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trace")
    parser.add_argument("fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--k-bytes", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--per-block", type=int, default=1)
    parser.add_argument("--src-tokens", type=int, default=0)
    parser.add_argument("--drop-from", type=int, default=0)
    for side in ("src", "dst"):
        for how in ("tp", "pp"):
            parser.add_argument("--%s-%s" % (side, how), type=int, default=1)
    args = parser.parse_args()
    with open(args.trace) as file:
        for request, line in enumerate(file):
            ids = json.loads(line)["hash_ids"]
            if len(ids) > 1 and ids[0] != ids[1]:
                print("%d %d %d" % expect(args, ids, request))
                return
    raise SystemExit("no request has two trace blocks")


if __name__ == "__main__":
    main()

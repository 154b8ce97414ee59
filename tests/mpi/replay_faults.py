#!/usr/bin/env python3
"""Works out what each --inject of kvf_replay must count, sharing no code with it.

    replay_faults.py TRACE FAULT [--seed S] [--layers L] [--heads H] [--k-bytes K] [--tokens N]
                     [--per-block B]

Prints "mismatched stale": the wrong bytes and the stale KV blocks that a job must report that moves L
layers and B KV blocks of N tokens for each trace block, K and V of K bytes each a head and token. The
contents are those that docs/replay.md defines; the fault goes into the first request with two
trace blocks. Two words that differ may have equal bytes in some places: those are not wrong.
"""

import argparse
import json

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

    def block(self, prefix, number):
        """All words of KV block `number` of a trace block, in an order of our own."""
        a = self.args
        return [w for layer in range(a.layers) for head in range(a.heads) for plane in (0, 1)
                for token in range(number * a.tokens, (number + 1) * a.tokens)
                for w in self.part(prefix, layer, head, plane, token)]


def expect(args, ids, request):
    cells = Cells(args)
    places = [(layer, token) for layer in range(args.layers) for token in range(args.tokens)]
    if args.fault == "flip":
        return 1, 0
    if args.fault == "stale":
        return 0, args.per_block
    if args.fault == "drop-op":
        pattern = splitmix(~request & MASK)
        words = [w for i in ids for n in range(args.per_block) for w in cells.block(i, n)]
        return wrong_bytes([pattern] * len(words), words), 0
    if args.fault == "swap-blocks":
        return 2 * wrong_bytes(cells.block(ids[0], 0), cells.block(ids[1], 0)), 0
    if args.fault == "swap-heads":
        return 2 * sum(wrong_bytes(cells.part(ids[0], layer, 0, plane, token),
                                   cells.part(ids[0], layer, 1, plane, token))
                       for layer, token in places for plane in (0, 1)), 0
    if args.fault == "wrong-plane":
        return 2 * sum(wrong_bytes(cells.part(ids[0], layer, head, 0, token),
                                   cells.part(ids[0], layer, head, 1, token))
                       for layer, token in places for head in range(args.heads)), 0
    raise SystemExit("no such fault: " + args.fault)


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
    args = parser.parse_args()
    with open(args.trace) as file:
        for request, line in enumerate(file):
            ids = json.loads(line)["hash_ids"]
            if len(ids) > 1 and ids[0] != ids[1]:
                print("%d %d" % expect(args, ids, request))
                return
    raise SystemExit("no request has two trace blocks")


if __name__ == "__main__":
    main()

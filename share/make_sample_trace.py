#!/usr/bin/env python3
"""Makes the sample trace that kvferry ships: requests like a production chat service's.

    make_sample_trace.py > sample_trace.jsonl      the file as shipped
    make_sample_trace.py --requests 5000 --seed 7  another one
    make_sample_trace.py --stats FILE              what any trace in this format is like

Mooncake's format: one JSON object a line with timestamp (ms), input_length, output_length (tokens)
and hash_ids, one id for each 512 tokens of input, the last block possibly part full. An id stands
for a block together with everything before it; a new id is the next free number.

The model is one of conversations. A request either opens a conversation or is a later turn of one
that was active some time ago. A later turn mostly keeps all full blocks of the turn before and
adds to them, sometimes repeats the turn as it was, and sometimes was edited: it keeps only a first
part and goes on differently. All requests share their first block (a system prompt). They arrive
in bursts every 3 seconds, so timestamps tie. Lengths, additions, kept shares, pauses and bursts are
drawn from the quantile tables below, which were measured on the conversation trace of the Mooncake
paper (FAST'25, 12,031 requests); nothing of that trace itself is in here. The pauses are a quarter
of the real ones, so that the conversations of an hour fit in a few minutes.

How the shipped file compares:

                                 shipped      real
    requests                       1,200    12,031
    blocks                        28,862   288,500
    blocks a request, mean          24.1      24.0
    blocks a request, p50             14        14
    blocks a request, p90             54        54
    input tokens, mean            12,064    12,035
    ideal prefix hit rate          0.366     0.366
    unique ids / blocks            0.634     0.634
    later turns / requests         0.333     0.387
    requests a second               3.36       3.4

A later turn counts here if it shares more than the first block. The pauses being short, a small
cache does better than on the real trace: LRU with 4,096 blocks hits .322 of all (real .088), with
10,000 .360 (real .211).

Only sums, products and divisions of doubles decide, and Python promises random() for a seed: the
same seed gives the same bytes everywhere.
"""

import argparse
import json
import random
import sys

BLOCK = 512
REQUESTS = 1200
SEED = 43          # one of those whose short sample comes close to the whole
LATER = 0.44       # share of requests that want to be a later turn
EDITED = 0.15      # share of those that keep only a first part
PAUSE = 0.25       # of the real pauses
TICK_MS = 3000
LENGTH_MAX = 126195

# Quantiles: (share of all, value), straight lines between.
OPENING = ((0, 891), (.02, 895), (.1, 905), (.2, 1092), (.3, 1756), (.4, 3914), (.5, 5264),
           (.6, 7417), (.7, 10775), (.8, 15871), (.9, 25561), (.95, 38538), (.98, 67212),
           (.99, 89869), (.995, 111800), (1, 126195))
ADDED = ((0, 0), (.02, 0), (.1, 65), (.2, 194), (.3, 315), (.4, 396), (.5, 471), (.6, 554),
         (.7, 686), (.8, 1298), (.9, 4605), (.95, 7390), (.98, 11888), (.99, 17031),
         (.995, 22493), (1, 60000))
EDITED_KEPT = ((0, .015), (.1, .068), (.3, .13), (.5, .222), (.7, .403), (.8, .556), (.9, .857),
               (1, .986))
EDITED_FRESH = ((0, 10), (.02, 316), (.1, 1454), (.2, 4858), (.3, 6832), (.5, 9461), (.7, 13651),
                (.9, 19886), (.98, 31216), (1, 90000))
PAUSE_S = ((0, 5), (.02, 18), (.1, 42), (.2, 59), (.3, 75), (.4, 96), (.5, 123), (.6, 161),
           (.7, 222), (.8, 318), (.9, 482), (.95, 617), (.98, 1032), (1, 3030))
OUTPUT = ((0, 1), (.02, 3), (.1, 24), (.2, 100), (.3, 213), (.4, 291), (.5, 350), (.6, 399),
          (.7, 447), (.8, 504), (.9, 597), (.95, 698), (.98, 893), (.99, 1120), (1, 2000))
BURST = ((0, 2), (.02, 4), (.1, 6), (.3, 8), (.5, 10), (.7, 12), (.9, 15), (.98, 17), (1, 28))


def draw(rng, table):
    share = rng.random()
    for (low, a), (high, b) in zip(table, table[1:]):
        if share <= high:
            return a + (b - a) * (share - low) / (high - low)
    return table[-1][1]


class Traffic:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.next_id = 1
        self.turns = []  # of each conversation the last one: [time in s, tokens, ids]

    def fill(self, ids, tokens):
        """ids, carried on with new ones until they hold so many tokens."""
        need = -(-tokens // BLOCK) - len(ids)
        fresh = list(range(self.next_id, self.next_id + need))
        self.next_id += need
        return ids + fresh

    def last_turn(self, now):
        """The conversation whose last turn lies nearest to a pause ago, or None: too early."""
        wanted = now - PAUSE * draw(self.rng, PAUSE_S)
        if wanted < 0 or not self.turns:
            return None
        return min(self.turns, key=lambda turn: abs(turn[0] - wanted))

    def open(self, now):
        tokens = int(draw(self.rng, OPENING))
        turn = [now, tokens, self.fill([0], tokens)]
        self.turns.append(turn)
        return turn

    def carry_on(self, turn, now):
        _, tokens, ids = turn
        if self.rng.random() < EDITED:
            kept = max(1, int(len(ids) * draw(self.rng, EDITED_KEPT)))
            longer = kept * BLOCK + int(draw(self.rng, EDITED_FRESH))
        else:
            kept = max(1, tokens // BLOCK)
            longer = tokens + int(draw(self.rng, ADDED))
        if longer > LENGTH_MAX:
            return self.open(now)
        if longer != tokens:
            tokens, ids = longer, self.fill(ids[:kept], longer)
        turn[:] = [now, tokens, ids]
        return turn

    def request(self, now):
        turn = self.last_turn(now) if self.rng.random() < LATER else None
        if turn is None:
            return self.open(now)
        return self.carry_on(turn, now)

    def rows(self, count):
        tick = 0
        while count > 0:
            now_ms = tick * TICK_MS + (self.rng.randrange(-1, 2) if tick else 0)
            for _ in range(min(count, int(draw(self.rng, BURST) + .5))):
                _, tokens, ids = self.request(now_ms / 1000)
                yield {"timestamp": now_ms, "input_length": tokens,
                       "output_length": int(draw(self.rng, OUTPUT)), "hash_ids": ids}
                count -= 1
            tick += 1


def stats(rows):
    counts = sorted(len(row["hash_ids"]) for row in rows)
    seen, hits, later = set(), 0, 0
    for row in rows:
        found = [x in seen for x in row["hash_ids"]]
        hits += sum(found)
        later += sum(found) > 1
        seen.update(row["hash_ids"])
    blocks = sum(counts)
    seconds = (rows[-1]["timestamp"] - rows[0]["timestamp"]) / 1000
    return {"requests": len(rows), "blocks": blocks, "mean": round(blocks / len(rows), 1),
            "p50": counts[len(counts) // 2], "p90": counts[len(counts) * 9 // 10],
            "tokens": round(sum(row["input_length"] for row in rows) / len(rows)),
            "ideal": round(hits / blocks, 3), "unique": round(len(seen) / blocks, 3),
            "later": round(later / len(rows), 3), "rate": round(len(rows) / seconds, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--stats", metavar="FILE", help="describe FILE instead")
    args = parser.parse_args()
    if args.stats:
        with open(args.stats, encoding="utf-8-sig") as file:
            print(json.dumps(stats([json.loads(line) for line in file if line.strip()])))
        return
    for row in Traffic(args.seed).rows(args.requests):
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()

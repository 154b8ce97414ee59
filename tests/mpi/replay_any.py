#!/usr/bin/env python3
"""Jobs of kvf_replay made up at random; each must end right, and move what a count says.

    replay_any.py --tool KVF_REPLAY --check REPLAY_CHECK --dir DIRECTORY [--setups N] [--seed S]
                  [--cma] [--patience P] -- LAUNCHER...

LAUNCHER starts a job but for "-n RANKS PROGRAM ARGUMENTS". Setup i has seed S + i, and so N = 1 with
that seed repeats it. A setup is a model, the cut of both sides, two layouts (names of the field, or axes
in any order), two block sizes, a scale, a trace, paths, and how the job runs. What must come out is
worked out here by the rules of docs/replay.md and by count_trace.py, which share no code with the job.
One setup in twelve breaks a rule: it must be refused, with the exit code and the beginning of the
sentence that the rule says. Where a setup fails, its command line is printed with the trace behind it,
to be run by hand.
"""

import argparse
import json
import math
import os
import random
import re
import shlex
import subprocess
import sys

from count_trace import count

# layers, heads, bytes of K and V of a head and token, of the indexer, MLA: those of the published models
MODELS = {
    "llama-3.1-8b": (32, 8, 512, 0, False),
    "llama-3.1-70b": (80, 8, 512, 0, False),
    "qwen3-8b": (36, 8, 512, 0, False),
    "qwen3-235b": (94, 4, 512, 0, False),
    "gpt-oss-120b": (36, 8, 256, 0, False),
    "deepseek-v3": (61, 1, 1152, 0, True),
    "kimi-k2": (61, 1, 1152, 0, True),
    "deepseek-v3.2": (61, 1, 656, 132, True),
}
FIELD = ["vllm-0.21", "vllm-0.23", "vllm-0.26", "sglang", "hicache-layer-first", "hicache-token-first",
         "hicache-page-first", "hicache-page-head", "tensorrt-llm", "lmcache", "flexkv-layer-first",
         "flexkv-block-first", "kvbm-universal", "kvbm-nhd", "kvbm-hnd"]
FIELD_MLA = ["vllm-mla", "vllm-0.26", "LBNC", "BLNC"]
TRACE_BYTES = 2 << 20  # of a trace block, at most
RANKS = 8


def axes(rng, mla):
    """A layout as a name of axes in any order; in front of a / stand those that are segments."""
    split = not mla and rng.random() < 0.6
    letters = list("LBN" + ("H" if not mla or rng.random() < 0.5 else "") + ("2" if split else ""))
    rng.shuffle(letters)
    apart = []
    if rng.random() < 0.3:
        apart = rng.choice([["L"], ["2"], ["L", "2"], ["2", "L"]] if split else [["L"]])
        letters = [a for a in letters if a not in apart]
    return "".join(apart + (["/"] if apart else []) + letters) + ("D" if split else "C")


def cut(rng, most, layers):
    """TP and PP of an instance of at most so many ranks."""
    tp = rng.randint(1, most)
    pp = rng.randint(1, min(most // tp, layers))
    return (tp, pp) if rng.random() < 0.7 else (1, max(1, min(most, pp)))


class Setup:
    def __init__(self, seed, paths):
        rng = self.rng = random.Random(seed)
        self.model = rng.choice(sorted(MODELS))
        self.full_layers, self.heads, self.cell, self.indexer, self.mla = MODELS[self.model]
        self.ranks_and_cuts()
        self.layouts = [self.layout() for _ in range(2)]
        self.trace_tokens, self.bailian = rng.choice(
            [(512, False), (16, True), (512, True), (16, False), (48, False), (240, False), (96, True), (13, False)])
        sizes = [d for d in range(1, 257) if self.trace_tokens % d == 0]
        self.block_tokens = [rng.choice(sizes) for _ in range(2)]
        if rng.random() < 0.3:
            self.block_tokens[1] = self.block_tokens[0]
        self.scale()
        self.make_trace()
        self.options(paths)
        self.wrong = self.break_rule() if rng.random() < 1 / 12 else None

    def ranks_and_cuts(self):
        rng = self.rng
        self.ranks = rng.choice([1, 2, 2, 3, 4, 5, 6, 7, 8])
        if self.ranks == 1:
            self.cuts, self.prefill = [(1, 1), (1, 1)], 1
            return
        src = cut(rng, self.ranks - 1, self.full_layers)
        dst = cut(rng, self.ranks - src[0] * src[1], self.full_layers)
        members = [tp * pp for tp, pp in (src, dst)]
        instances = rng.choice([1, 1, 2])
        if members[0] * instances + members[1] > self.ranks:
            instances = 1
        self.prefill = members[0] * instances
        self.ranks = self.prefill + members[1] * rng.randint(1, (self.ranks - self.prefill) // members[1])
        self.cuts = [src, dst]

    def layout(self):
        rng = self.rng
        if rng.random() < 0.5:
            return rng.choice(FIELD_MLA if self.mla else FIELD)
        return axes(rng, self.mla)

    def scale(self):
        """Tokens of a trace block go first, whole blocks of both sides, then layers."""
        rng = self.rng
        unit = math.lcm(*self.block_tokens)
        token = self.heads * self.cell + self.indexer
        full_units = self.trace_tokens // unit
        full = full_units * self.full_layers
        most = full * unit * token
        self.scale_of = (rng.randint(1, 3), max(3, most // rng.choice([1 << 14, 1 << 16, 1 << 18, 1 << 20])))
        num, den = self.scale_of
        units = max(1, full_units * num // den)
        floor = min(self.full_layers, max(2, *(pp for _, pp in self.cuts)))
        self.layers = min(self.full_layers, max(floor, full * num // den // units))
        self.tokens = units * unit
        self.part = (units * self.layers, full)
        if self.tokens * self.layers * token > TRACE_BYTES:
            self.block_tokens = [math.gcd(*self.block_tokens)] * 2 if unit > min(self.block_tokens) \
                else [max(1, b // 2) if b % 2 == 0 else 1 for b in self.block_tokens]
            self.scale()

    def make_trace(self):
        rng = self.rng
        ids = rng.sample(range(1 << 40), rng.choice([3, 12, 40]))
        longest = rng.choice([1, 4, 10])
        self.rows = []
        now = 0
        for _ in range(rng.choice([1, 4, 8, 16])):
            now += rng.randint(0, 20)
            row = [rng.choice(ids) for _ in range(rng.randint(1, longest))]
            if rng.random() < 0.7:
                row = sorted(set(row))
            self.rows.append((now, row))
        most = max(len(row) for _, row in self.rows)
        self.blocks = rng.choice([most, most, 2 * most, len(ids) + most, 64, max(1, most - 1)])
        # whether a request that names an id twice fits is no question here
        self.rows = [(at, row if len(row) <= self.blocks else sorted(set(row))) for at, row in self.rows]

    def options(self, paths):
        rng = self.rng
        self.depth = rng.choice([1, 2, 4, 9])
        self.seed = rng.randint(0, (1 << 64) - 1)
        self.no_pin = rng.random() < 0.1
        self.speed = rng.choice([None, None, None, "max", "trace", "trace:3"])
        self.requests = rng.randint(1, len(self.rows) + 3) if rng.random() < 0.3 else None
        self.bad = rng.randint(0, len(self.rows)) if rng.random() < 0.1 else None
        self.environment = {"KVFERRY_COPY_THREADS": "1"} if rng.random() < 0.2 else {}
        self.way, self.paths, self.net = ("self", rng.choice([None, "self"]), None)
        if self.ranks > 1:
            self.way, self.paths, self.net = rng.choice(
                [("shm", None, None), ("shm", "shm", None), ("shm", "^am", "auto")] + paths)
        if self.way == "am":
            self.environment["KVFERRY_LOCAL"] = "off"

    def break_rule(self):
        """Makes the setup one that cannot be; returns how the sentence about it begins."""
        rng = self.rng
        src, dst = self.cuts
        way = rng.choice(["tokens", "layout", "prefill", "instance", "stages", "path"])
        self.exit_code = 2
        if way == "path" and self.ranks > 1:  # the pool is memory of the library's own
            self.paths = "stage"
            self.exit_code = 1
            return "rank "
        if way == "tokens":
            side = rng.randint(0, 1)
            self.block_tokens[side] = self.trace_tokens + rng.randint(1, 9)
            return "--%s-block-tokens: " % ("src", "dst")[side]
        if way == "layout":
            side = rng.randint(0, 1)
            self.layouts[side] = rng.choice(["L2BNHD", "vllm-0.23"] if self.mla else ["LBNC", "vllm-mla"])
            return "--%s-layout: layout " % ("src", "dst")[side]
        if way == "stages":
            self.cuts = [src, (1, self.full_layers + 1)]
            return "--dst-pp: "
        if way == "prefill":
            self.prefill = self.ranks + rng.randint(0, 3)
            if self.ranks > 1 or self.prefill > 1:
                return "--prefill: "
        self.cuts = [(self.ranks + 1, 1), dst]
        return "--src-tp %d, --src-pp 1: " % (self.ranks + 1)

    def trace(self):
        lines = []
        for number, (now, row) in enumerate(self.rows):
            # tokens of the last trace block: 1 to all
            tokens = self.trace_tokens * len(row) - number * 7 % self.trace_tokens
            line = {"timestamp": now / 1000 if self.bailian else now, "input_length": tokens, "output_length": 1,
                    "hash_ids": row}
            if self.bailian:
                line.update(chat_id=number, parent_chat_id=-1, type="text", turn=1)
            lines.append(json.dumps(line))
        if self.bad is not None:
            lines.insert(self.bad, '{"timestamp": 0, "hash_ids": [1, 2')
        return "".join(line + "\n" for line in lines)

    def arguments(self, trace):
        args = ["--trace", trace, "--model", self.model, "--prefill", self.prefill, "--blocks", self.blocks,
                "--scale", "%d/%d" % self.scale_of, "--depth", self.depth, "--seed", self.seed, "--verify", "all"]
        for side, layout, tokens, (tp, pp) in zip(("src", "dst"), self.layouts, self.block_tokens, self.cuts):
            args += ["--%s-layout" % side, layout, "--%s-block-tokens" % side, tokens, "--%s-tp" % side, tp,
                     "--%s-pp" % side, pp]
        if self.trace_tokens != (16 if self.bailian else 512):
            args += ["--trace-block-tokens", self.trace_tokens]
        for name, value in (("--speed", self.speed), ("--requests", self.requests), ("--paths", self.paths),
                            ("--net", self.net)):
            args += [name, value] if value is not None else []
        args += ["--no-pin"] if self.no_pin else []
        args += ["--skip-bad"] if self.bad is not None else []
        return [str(a) for a in args]

    def served(self):
        return [row for _, row in self.rows[:self.requests]]

    def counted(self):
        (src_tp, src_pp), (dst_tp, dst_pp) = self.cuts
        how = argparse.Namespace(
            ranks=self.ranks, prefill=self.prefill, blocks=self.blocks, layers=self.layers, heads=self.heads,
            kv_blocks=self.tokens // self.block_tokens[1],
            block_bytes=self.block_tokens[1] * self.layers * (self.heads * self.cell + self.indexer),
            src_tp=src_tp, src_pp=src_pp, dst_tp=dst_tp, dst_pp=dst_pp)
        return count(self.served(), how, ["0"] * self.ranks)

    def terms(self, counted):
        """What replay_check.py is to find in the report."""
        divisor = math.gcd(*self.part)
        part = "%d/%d" % (self.part[0] // divisor, self.part[1] // divisor)
        holds = {"complete": True, "mismatched_bytes": 0, "layers": self.layers, "prefill": self.prefill,
                 "scale": "1" if part == "1/1" else part, "pool_blocks": self.blocks,
                 "trace_block_tokens": self.trace_tokens, "seed": self.seed, "model": self.model,
                 "decode": self.ranks - self.prefill if self.ranks > 1 else 1}
        place = {"self": "self", "am": "cross"}.get(self.way, "node")
        holds["locality." + place] = counted["bytes"]
        holds["paths.%s.bytes" % self.way] = counted["bytes"]
        if self.paths == "^shm":  # by cost over cma or stage
            del holds["paths.cma.bytes"]
            holds["paths.shm.bytes"] = holds["paths.am.bytes"] = 0
        if not self.no_pin:
            holds["stale_bytes"] = holds["stale_blocks"] = 0
        ids = {i for row in self.served() for i in row}
        if self.blocks >= len(ids) and all(len(row) == len(set(row)) for row in self.served()):
            holds["hits"] = counted["hits"]["pinned"]
        read = 1 if self.bad is not None and (self.requests is None or self.bad < self.requests) else 0
        holds["skipped_lines"] = read
        for side, layout, tokens, (tp, pp) in zip(("src", "dst"), self.layouts, self.block_tokens, self.cuts):
            holds.update({side + ".layout": layout, side + ".block_tokens": tokens, side + ".tp": tp, side + ".pp": pp})
        return ["%s=%s" % (name, json.dumps(value)) for name, value in holds.items()]


def command_line(setup, launcher, tool, arguments):
    return launcher + ["-n", str(setup.ranks), tool] + arguments


def job(setup, args):
    """Runs it; a list of what is wrong."""
    trace, report = (os.path.join(args.dir, name) for name in ("trace", "report"))
    with open(trace, "w") as file:
        file.write(setup.trace())
    if os.path.exists(report):
        os.unlink(report)
    command = command_line(setup, args.launcher, args.tool, setup.arguments(trace) + ["--json", report])
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", env={**os.environ, **setup.environment}) as process:
        try:
            said = process.communicate(timeout=60 * args.patience)[0]
        except subprocess.TimeoutExpired:
            process.terminate()
            return ["it hangs", process.communicate()[0]]
    if setup.wrong is not None:
        fine = process.returncode == setup.exit_code and ("kvf_replay: " + setup.wrong) in said
        return [] if fine else ["exit code %d, and no sentence \"%s...\"" % (process.returncode, setup.wrong), said]
    counted = os.path.join(args.dir, "counted")
    numbers = setup.counted()
    none = numbers["requests"] == 0
    if process.returncode != none or none and "no request was served: all are larger than a pool" not in said:
        return ["exit code %d" % process.returncode, said]
    with open(counted, "w") as file:
        json.dump(numbers, file)
    check = subprocess.run([sys.executable, args.check, report, "--verified", "--counted", counted] +
                           setup.terms(numbers), stdout=subprocess.PIPE, text=True, check=False)
    return [] if check.returncode == 0 else [check.stdout, said]


def by_hand(setup, args):
    """The command line, with the trace behind it."""
    words = ["%s=%s" % item for item in setup.environment.items()]
    words += command_line(setup, args.launcher, args.tool, setup.arguments("-"))
    return " ".join(map(shlex.quote, words)) + " <<'END'\n" + setup.trace() + "END"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", required=True)
    parser.add_argument("--check", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--setups", type=int, default=16)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cma", action="store_true", help="cross-memory attach works here")
    parser.add_argument("--patience", type=float, default=1)
    parser.add_argument("launcher", nargs="+")
    args = parser.parse_args()
    paths = [("am", None, "tcp")]
    paths += [("cma", "cma", None), ("cma", "^shm", None)] if args.cma else []
    moved = refused = 0
    print("KVF_SEED=%d, %d setups" % (args.seed, args.setups), flush=True)
    for seed in range(args.seed, args.seed + args.setups):
        setup = Setup(seed, paths)
        faults = job(setup, args)
        if faults:
            print("KVF_SETUPS=1 KVF_SEED=%d repeats this:" % seed, by_hand(setup, args), *faults, sep="\n")
            sys.exit(1)
        if setup.wrong is None:
            moved += setup.counted()["bytes"]
        else:
            refused += 1
    print("%d bytes right, %d setups rightly refused" % (moved, refused))


if __name__ == "__main__":
    main()

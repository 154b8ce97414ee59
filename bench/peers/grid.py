# SPDX-License-Identifier: BSD-3-Clause
"""What the peers of this comparison share: the grid, the memory and its contents, and the clock.

A peer is two processes: the target owns memory and looks on, the initiator reads from it or writes to
it. The initiator starts the target and talks to it in lines of JSON. Each side's memory is cut in
blocks, which go in an order that is a random permutation on both sides, batch by batch; after each
cell of the grid every block that was moved is compared. One line of JSON a cell goes to standard output.
"""

import argparse
import ctypes
import json
import mmap
import os
import subprocess
import sys
import time

import numpy as np

MARK = "@kvf "  # a library may print too


class Failed(Exception):
    """A peer does not do what a cell asks for."""


def size_of(text):
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
    return int(text[:-1]) * unit if unit > 1 else int(text)


def cells_of(text):
    """"4K:1,128;1M:16" is [(4096, 1), (4096, 128), (1048576, 16)]."""
    cells = []
    for part in text.split(";"):
        block, batches = part.split(":")
        cells += [(size_of(block), int(batch)) for batch in batches.split(",")]
    return cells


def arguments(variants):
    parser = argparse.ArgumentParser()
    parser.add_argument("--variant", choices=variants, required=True)
    parser.add_argument("--grid", required=True)
    parser.add_argument("--pool", type=size_of, default=size_of("128M"), help="memory of each side")
    parser.add_argument("--seconds", type=float, default=0.3, help="least time of a cell")
    parser.add_argument("--calls", type=int, default=5, help="least calls of a cell")
    parser.add_argument("--most-blocks", type=int, default=1 << 62,
                        help="of a cell, for a peer that wears out")
    parser.add_argument("--most-batch", type=int, default=1 << 62,
                        help="blocks that the peer takes in a call")
    parser.add_argument("--target", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def bind(index):
    """A core of its own for each side, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[index % len(cores)]})


def anonymous(size):
    """Private memory, as malloc gives it, touched."""
    mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    anonymous.kept.append(mapping)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    ctypes.memset(address, 1, size)
    return address


anonymous.kept = []


class Memory:
    """One side's memory, and what stands in it before a cell: known to both sides."""

    def __init__(self, address, size, side):
        self.bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        self.own, self.other = (
            np.random.default_rng(s).integers(0, 256, size, np.uint8) for s in (side, 1 - side))

    def fill(self, source):
        self.bytes[:] = self.own if source else 0

    def wrong(self, block, here, there):
        """Bytes that are not what the other side had."""
        mine, theirs = self.bytes.reshape(-1, block), self.other.reshape(-1, block)
        step = max(1, (8 << 20) // block)
        return sum(int(np.count_nonzero(mine[here[i:i + step]] != theirs[there[i:i + step]]))
                   for i in range(0, len(here), step))


def order(pool, block):
    """The permutations of both sides: the initiator's, the target's."""
    rng = np.random.default_rng(block)
    return rng.permutation(pool // block), rng.permutation(pool // block)


def cpu(pid):
    """Processor seconds of a process, all threads."""
    return time.clock_gettime(((~pid) << 3) | 2)


def say(what, file=sys.stdout):
    print(MARK + json.dumps(what), file=file, flush=True)


def hear(file):
    for line in file:
        if line.startswith(MARK):
            return json.loads(line[len(MARK):])
    raise SystemExit("the other side has ended; its standard error says why")


# ------------------------------------------------------------------ target
def target(make, args):
    bind(0)
    peer = make(args, "target")
    address = peer.memory(args.pool)
    memory = Memory(address, args.pool, 1)
    say({"hello": peer.hello(), "address": address, "pid": os.getpid()})
    peer.meet(hear(sys.stdin)["hello"])
    say("met")
    os.set_blocking(sys.stdin.fileno(), True)
    while True:
        command = peer.wait(lambda: hear(sys.stdin))
        if command[0] == "end":
            break
        if command[0] == "fill":
            memory.fill(command[1])
            say("filled")
        elif command[0] == "wrong":
            block, count = command[1], command[2]
            theirs, mine = order(args.pool, block)
            say(memory.wrong(block, mine[:count], theirs[:count]))


# ------------------------------------------------------------------ initiator
def timed(call, items, args, batch):
    """Seconds of each call, over the items in turn, until there were enough."""
    took, clock = [], time.perf_counter
    until = clock() + args.seconds
    most = max(args.calls, args.most_blocks // batch)
    while len(took) < most and (len(took) < args.calls or clock() < until):
        item = items[len(took) % len(items)]
        start = clock()
        call(item)
        took.append(clock() - start)
    return took


def figures(prefix, took, size):
    order_ = sorted(took)
    return {prefix + "mean_gbps": size * len(took) / sum(took) / 1e9, prefix + "calls": len(took),
            prefix + "p50_us": order_[len(order_) // 2] * 1e6,
            prefix + "p99_us": order_[min(len(order_) - 1, len(order_) * 99 // 100)] * 1e6}


def batches_of(args, block, batch):
    """The blocks of each batch on both sides, and the permutations that they are cut from."""
    here, there = order(args.pool, block)
    sets = min(len(here) // batch, max(1, args.most_blocks // batch))
    cuts = [slice(i * batch, (i + 1) * batch) for i in range(sets)]
    return [(here[cut], there[cut]) for cut in cuts], here, there


def cell(peer, memory, ask, tpid, args, op, block, batch):
    pairs, here, there = batches_of(args, block, batch)
    size = block * batch
    ask(["fill", op == "read"])
    memory.fill(op == "write")
    requests = [peer.prepare(op, block, *pair) for pair in pairs]
    peer.move(requests[0])  # connects
    before = cpu(os.getpid()) + cpu(tpid)
    took = timed(peer.move, requests, args, batch)
    used = cpu(os.getpid()) + cpu(tpid) - before
    moved = min(len(pairs), len(took)) * batch
    row = {"op": op, "block": block, "batch": batch, **figures("", took, size),
           "cpu_s_per_gib": used / (len(took) * size / (1 << 30)), "compared_bytes": moved * block}
    if op == "read":
        row["wrong"] = memory.wrong(block, here[:moved], there[:moved])
    else:
        row["wrong"] = ask(["wrong", block, moved])
    for request in requests:
        peer.release(request)
    if peer.has_fresh:
        took = timed(lambda pair: peer.fresh(op, block, *pair), pairs, args, batch)
        row.update(figures("fresh_", took, size))
    return row


def initiator(make, args):
    child = subprocess.Popen([sys.executable, *sys.argv, "--target"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(what):
        say(what, child.stdin)
        return hear(child.stdout)

    try:
        bind(1)
        met = hear(child.stdout)
        peer = make(args, "initiator")
        address = peer.memory(args.pool)
        memory = Memory(address, args.pool, 0)
        ask({"hello": peer.hello()})
        peer.meet(met["hello"])
        wrong = 0
        for block, batch in cells_of(args.grid):
            if block * batch > args.pool:
                continue
            peer.cut(block, address, met["address"], args.pool // block)
            for op in ("read", "write"):
                try:
                    if batch > args.most_batch:
                        raise Failed("more blocks than it takes in a call")
                    row = cell(peer, memory, ask, met["pid"], args, op, block, batch)
                except Failed as why:
                    row = {"op": op, "block": block, "batch": batch, "wrong": 0, "failed": str(why)}
                wrong += row["wrong"]
                print(json.dumps({"peer": args.variant, "version": peer.version(), **row}),
                      flush=True)
        say(["end"], child.stdin)
        child.wait(20)
        return 1 if wrong else 0
    finally:
        if child.poll() is None:
            child.kill()


def main(make, variants):
    args = arguments(variants)
    if args.target:
        target(make, args)
        os._exit(0)  # the wheels' own threads may not end by themselves
    code = initiator(make, args)
    sys.stdout.flush()
    os._exit(code)

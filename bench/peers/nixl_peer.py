# SPDX-License-Identifier: BSD-3-Clause
"""NIXL with its UCX backend as a peer of grid.py.

nixl      as shipped: a progress thread on each side
nixl-cma  without them, the target asleep: the fastest that it does on one node, over cross-memory attach

A request is made beforehand and posted again and again, NIXL's best case; the fresh_ figures make one for
each call, as an engine does whose blocks differ each time.
"""

import base64
import time
from importlib import metadata

import numpy as np

import grid

PAUSE = 0.002  # between two looks of a target without a thread
PATIENCE = 60


class Peer:
    has_fresh = True

    def __init__(self, args, role):
        from nixl._api import nixl_agent, nixl_agent_config

        self.threads = args.variant == "nixl"
        self.agent = nixl_agent("kvf_" + role, nixl_agent_config(
            enable_prog_thread=self.threads, enable_listen_thread=False, backends=["UCX"]))
        self.handles = None

    def version(self):
        return metadata.version("nixl")

    def memory(self, size):
        address = grid.anonymous(size)
        self.agent.register_memory([(address, size, 0, "")], mem_type="DRAM")
        return address

    def hello(self):
        return base64.b64encode(bytes(self.agent.get_agent_metadata())).decode()

    def meet(self, hello):
        name = self.agent.add_remote_agent(base64.b64decode(hello))
        self.other = name.decode() if isinstance(name, bytes) else name

    def wait(self, hear):
        """Without a thread of its own the target has to look from time to time."""
        import select
        import sys

        while not self.threads and not select.select([sys.stdin], [], [], PAUSE)[0]:
            self.agent.get_new_notifs()
        return hear()

    def cut(self, block, here, there, count):
        if self.handles:
            for handle in self.handles:
                self.agent.release_dlist_handle(handle)
        self.handles = [self.list_of(who, base, block, count)
                        for who, base in (("NIXL_INIT_AGENT", here), (self.other, there))]

    def list_of(self, who, base, block, count):
        rows = np.zeros((count, 3), np.uint64)
        rows[:, 0] = np.uint64(base) + np.arange(count, dtype=np.uint64) * np.uint64(block)
        rows[:, 1] = block
        return self.agent.prep_xfer_dlist(who, self.agent.get_xfer_descs(rows, mem_type="DRAM"))

    def prepare(self, op, block, here, there):
        return self.agent.make_prepped_xfer(op.upper(), self.handles[0], here.astype(np.int32),
                                            self.handles[1], there.astype(np.int32))

    def move(self, request):
        state, looks, until = self.agent.transfer(request), 0, None
        while state != "DONE":
            if state == "ERR":
                raise grid.Failed("a transfer failed")
            looks += 1
            if looks % 1024 == 0:  # a clock at each look would be part of the time
                until = until or time.monotonic() + PATIENCE
                if time.monotonic() > until:
                    raise grid.Failed("a transfer does not end")
            state = self.agent.check_xfer_state(request)

    def release(self, request):
        self.agent.release_xfer_handle(request)

    def fresh(self, op, block, here, there):
        request = self.prepare(op, block, here, there)
        self.move(request)
        self.release(request)


if __name__ == "__main__":
    grid.main(Peer, ["nixl", "nixl-cma"])

# SPDX-License-Identifier: BSD-3-Clause
"""Mooncake's transfer engine as a peer of grid.py.

mooncake-tcp       as shipped: TCP, a connection for each block
mooncake-tcp-pool  connections kept, and large calls: what its documentation recommends
mooncake-shm       shared memory of its own allocator, which the Python module does not offer: the exported
                   C++ symbol is called
"""

import ctypes
import os
import sys
from importlib import import_module, metadata

import numpy as np

import grid

HOST = "127.0.0.1"
ENVIRONMENT = {
    "mooncake-tcp": {"MC_FORCE_TCP": "1"},
    "mooncake-tcp-pool": {
        "MC_FORCE_TCP": "1",
        "MC_TCP_ENABLE_CONNECTION_POOL": "1",
        "MC_TCP_LANES_PER_PEER": "16",
        "MC_TCP_SLICE_SIZE": str(1 << 20),
        "MC_TCP_MAX_QUEUED_TRANSFERS_PER_PEER": "65535",
        "MC_TCP_MAX_PENDING_ADMISSIONS_PER_PEER": "65535",
        "MC_TCP_ADMISSION_TIMEOUT_MS": "60000",
    },
    "mooncake-shm": {"MC_FORCE_SHM": "1"},
}
ALLOCATE = "_ZN8mooncake14TransferEngine20allocateSharedMemoryEm"


class Peer:
    has_fresh = False  # a request is a list of addresses, made by the caller

    def __init__(self, args, role):
        self.shared = args.variant == "mooncake-shm"
        self.module = import_module("mooncake.engine")
        self.engine = self.module.TransferEngine()
        protocol = "shm" if self.shared else "tcp"
        if self.engine.initialize(HOST, "P2PHANDSHAKE", protocol, "") != 0:
            raise SystemExit("mooncake: initialize failed")
        self.arrays = hasattr(self.engine, "batch_transfer_sync_read_arrays")

    def version(self):
        for name in ("mooncake-transfer-engine-non-cuda", "mooncake-transfer-engine-cuda13"):
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                pass
        return "unknown"

    def memory(self, size):
        if self.shared:
            allocate = getattr(ctypes.CDLL(self.module.__file__), ALLOCATE)
            allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t]
            address = allocate(self.engine.get_engine_ptr(), size)
            if not address:
                raise SystemExit("mooncake: no shared memory")
            ctypes.memset(address, 1, size)
        else:
            address = grid.anonymous(size)
        if self.engine.register_memory(address, size) != 0:
            raise SystemExit("mooncake: register_memory failed")
        return address

    def hello(self):
        return "%s:%d" % (HOST, self.engine.get_rpc_port())

    def meet(self, hello):
        self.session = hello

    def wait(self, hear):
        return hear()

    def cut(self, block, here, there, count):
        self.here, self.there = here, there

    def prepare(self, op, block, here, there):
        local = self.here + here.astype(np.uint64) * np.uint64(block)
        remote = self.there + there.astype(np.uint64) * np.uint64(block)
        if len(here) == 1:
            call = getattr(self.engine, "transfer_sync_" + op)
            return call, int(local[0]), int(remote[0]), block
        if self.arrays:
            call = getattr(self.engine, "batch_transfer_sync_%s_arrays" % op)
            return call, local, remote, np.full(len(here), block, np.uint64)
        call = getattr(self.engine, "batch_transfer_sync_" + op)
        return call, local.tolist(), remote.tolist(), [block] * len(here)

    def move(self, request):
        call, local, remote, length = request
        if call(self.session, local, remote, length) != 0:
            raise grid.Failed("a transfer failed")

    def release(self, request):
        pass


if __name__ == "__main__":
    chosen = sys.argv[sys.argv.index("--variant") + 1]
    os.environ.update({"MC_LOG_LEVEL": "ERROR", **ENVIRONMENT.get(chosen, {})})
    grid.main(Peer, list(ENVIRONMENT))

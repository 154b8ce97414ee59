#!/bin/bash
# setup.sh DIR: makes in DIR what the comparison needs besides kvferry, about 1.2 GB: three Python
# environments (Mooncake as it is published for machines without CUDA, the first Mooncake that has
# a shared memory transport, NIXL), and a CUDA driver without devices for the second. Takes python3 with
# venv, a C compiler, and access to PyPI. A second call finishes what a first one left.
set -eu
[ $# -eq 1 ] || { echo "usage: setup.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"

# environment NAME PACKAGE..
environment()
{
    local name=$1
    shift
    [ ! -e "$name/ready" ] || return 0
    python3 -m venv "$name"
    "$name/bin/pip" install -q "$@"
    touch "$name/ready"
}

ldconfig -p | grep -q 'libibverbs\.so\.1' ||
    echo "note: libibverbs.so.1 is not installed (Debian: libibverbs1), and the wheels load it" >&2
environment mooncake mooncake-transfer-engine-non-cuda numpy
environment mooncake-shm mooncake-transfer-engine-cuda13==0.3.14 nvidia-cuda-runtime numpy
environment nixl --no-deps nixl nixl-cu12 nixl-cu13 numpy # they name torch, and need it for tensors only

# the second wheel wants the CUDA runtime and a driver at load time, and neither for memory of the host
mkdir -p stub
runtime=$(find mooncake-shm/lib -name 'libcudart.so.13*' | head -n 1)
[ -n "$runtime" ] || { echo "setup.sh: nvidia-cuda-runtime has no libcudart.so.13" >&2; exit 1; }
cp "$runtime" stub/libcudart.so.13
cc -O1 -shared -fPIC -o stub/libcuda.so.1 "$here/stub_cuda.c"
echo "ready in $(pwd)"

#!/bin/bash
# run.sh [OPTIONS] DIR: kvferry, Mooncake and NIXL over one grid, in turn, on this machine; one table.
# DIR is what setup.sh made. The figures go to DIR/out/: a file of JSON lines for each program and
# round, what each said, table.md and table.json. Nothing else may run meanwhile.
#   --bench PROGRAM   kvf_bench (default: the one in PATH)
#   --rounds N        each round runs every program once (default 3); the table takes medians
#   --grid GRID       "BLOCK:BATCH,BATCH;BLOCK:.." (K, M), blocks a batch
#   --peers LIST      of mooncake-tcp mooncake-tcp-pool mooncake-shm nixl nixl-cma (default: all)
#   --seconds S       least time of a cell of a peer (default 0.3)
# TCP runs in a network namespace of its own with reno, where that is allowed: BBR slows loopback.
set -u
here=$(cd "$(dirname "$0")" && pwd)
bench=kvf_bench rounds=3 seconds=0.3
grid="4K:1,128,1024,10000;16K:1,128,1024;64K:1,16,128,1024;1M:1,16,128;16M:8"
peers="mooncake-tcp mooncake-tcp-pool mooncake-shm nixl nixl-cma"

usage()
{
    sed -n '2,/^set -u/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

while [ $# -gt 1 ]; do
    case $1 in
        --bench) bench=$2 ;;
        --rounds) rounds=$2 ;;
        --grid) grid=$2 ;;
        --peers) peers=${2//,/ } ;;
        --seconds) seconds=$2 ;;
        *) usage ;;
    esac
    shift 2
done
{ [ $# -eq 1 ] && [ -e "$1/nixl/ready" ]; } || usage
bench=$(readlink -f "$(command -v "$bench")") || { echo "run.sh: no kvf_bench: --bench" >&2; exit 2; }
cd "$1" || exit 2
rm -rf out
mkdir out
export PYTHONDONTWRITEBYTECODE=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
failed=0

# apart COMMAND..: where root may, with an lo and reno of its own
apart()
{
    if unshare --net true 2>/dev/null; then
        # shellcheck disable=SC2016  # for the inner shell
        unshare --net bash -c 'ip link set lo up
            sysctl -q net.ipv4.tcp_congestion_control=reno net.ipv4.ip_local_port_range="1024 65535"
            exec "$@"' apart "$@"
    else
        "$@"
    fi
}

# kvferry ROUND: each cell as a case of kvf_bench over shm, beside its memcpy floor
kvferry()
{
    local part block batches batch op out=out/kvferry.$1.jsonl
    for part in ${grid//;/ }; do
        block=${part%%:*} batches=${part#*:}
        for batch in ${batches//,/ }; do
            for op in read write; do
                mpirun --oversubscribe --bind-to none -n 2 "$bench" --path shm --net tcp --op "$op" \
                    --piece "$block" --pieces "$batch" --reps 3 --json out/cell >>out/kvferry.log 2>&1 ||
                    failed=1
                cat out/cell >>"$out" && rm -f out/cell
            done
        done
    done
}

# peer VARIANT ROUND
peer()
{
    local out=out/$1.$2.jsonl log=out/$1.log
    local options=(--variant "$1" --grid "$grid" --seconds "$seconds")
    case $1 in
        mooncake-tcp) # a connection for each block: the ports are not endless, and 10,000 at a time fail
            apart mooncake/bin/python "$here/mooncake_peer.py" "${options[@]}" --most-blocks 8000 \
                --most-batch 1024 ;;
        mooncake-tcp-pool)
            apart mooncake/bin/python "$here/mooncake_peer.py" "${options[@]}" ;;
        mooncake-shm)
            LD_LIBRARY_PATH=$PWD/stub mooncake-shm/bin/python "$here/mooncake_peer.py" "${options[@]}" ;;
        nixl | nixl-cma)
            nixl/bin/python "$here/nixl_peer.py" "${options[@]}" ;;
        *) echo "run.sh: no peer is called $1" >&2; false ;;
    esac >"$out" 2>>"$log" </dev/null || { echo "$1 did not end well: see $PWD/$log" >&2; failed=1; }
}

for round in $(seq "$rounds"); do
    echo "round $round: kvferry $peers" >&2
    kvferry "$round"
    for name in $peers; do
        peer "$name" "$round"
    done
done
nixl/bin/python "$here/table.py" out || failed=1
exit $failed

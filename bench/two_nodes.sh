#!/bin/bash
# Tiny pieces against large ones between two nodes: W4 (512 bytes) and W6 (640 KiB) over tcp, the same bytes, in
# one job after the other. The nodes are namespaces of this machine (tests/net/nodes), with reno.
#
#   bench/two_nodes.sh BUILD-DIRECTORY [RUNS]      RUNS jobs, 5 unless told
#
# Prints for each job the rates, and W4's over W6's; then the medians. In every other job W6 goes first.
# Needs root, or user namespaces: exit code 77 and the reason without.
set -u
usage() { echo "usage: bench/two_nodes.sh BUILD-DIRECTORY [RUNS]" >&2; exit 2; }
# net_sandbox starts the script anew without its arguments
export KVF_BENCH_BUILD=${1:-${KVF_BENCH_BUILD:-}} KVF_BENCH_RUNS=${2:-${KVF_BENCH_RUNS:-5}}
[ -x "$KVF_BENCH_BUILD/tools/kvf_bench" ] && [ "$KVF_BENCH_RUNS" -gt 0 ] 2>/dev/null || usage
top_builddir=$(cd "$KVF_BENCH_BUILD" && pwd) || exit 1
top_srcdir=$(cd "$(dirname "$0")/.." && pwd) || exit 1
export top_builddir top_srcdir KVF_BENCH_BUILD=$top_builddir
# shellcheck source=tests/lib.sh
. "$top_srcdir/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_program mpirun sysctl
net_sandbox $((60 + 40 * KVF_BENCH_RUNS))

sysctl -qw net.ipv4.tcp_congestion_control=reno
"$nodes" up 2 || exit 1

# bench OPERATION SHAPES: appends a line a shape to the file of the operation, its rate
bench()
{
    "$nodes" mpirun -H node1:1,node2:1 -np 2 --map-by node "$top_builddir/tools/kvf_bench" --path am --net tcp \
        --op "$1" --shape "$2" --scale 1/8 --reps 5 --json "$work/json" >"$work/out" 2>&1 ||
        { cat "$work/out"; exit 1; }
    sed 's/.*"shape": "\([^"]*\)".*"gbps": \([0-9.e+-]*\),.*"ops_s".*/\1 \2/' "$work/json" >"$work/rates"
}

for ((run = 0; run < KVF_BENCH_RUNS; run++)); do
    for op in read write; do
        if ((run % 2 == 0)); then bench $op W4,W6; else bench $op W6,W4; fi
        awk -v op=$op '{ rate[$1] = $2 }
            END { printf "%-5s  W4 %.2f GB/s  W6 %.2f GB/s  W4/W6 %.2f\n", op, rate["W4"], rate["W6"],
                rate["W4"] / rate["W6"] }' "$work/rates" | tee -a "$work/$op"
    done
done
for op in read write; do
    awk '{ print $NF }' "$work/$op" | sort -n | awk -v op=$op '{ r[NR] = $1 }
        END { printf "%-5s  W4/W6: median %.2f of %d, %.2f to %.2f\n", op,
            (r[int((NR + 1) / 2)] + r[int(NR / 2) + 1]) / 2, NR, r[1], r[NR] }'
done

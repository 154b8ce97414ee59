#!/bin/bash
# Tiny pieces against large ones between two nodes: W4 (512 bytes) and W6 (640 KiB) over tcp, the same bytes, in
# one job after the other. The nodes are namespaces of this machine (tests/net/nodes), with reno.
#
#   bench/two_nodes.sh BUILD-DIRECTORY [RUNS]      RUNS jobs, 5 unless told
#
# Prints for each job the rates, and W4's over W6's, also as processor seconds of both ranks, which hang less on what
# else runs; then the medians. In every other job W6 goes first.
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
    sed 's/.*"shape": "\([^"]*\)".*"gbps": \([0-9.e+-]*\),.*"cpu_s_per_gib": \([0-9.e+-]*\),.*/\1 \2 \3/' \
        "$work/json" >"$work/rates"
}

for ((run = 0; run < KVF_BENCH_RUNS; run++)); do
    for op in read write; do
        if ((run % 2 == 0)); then bench $op W4,W6; else bench $op W6,W4; fi
        awk -v op=$op '{ rate[$1] = $2; cpu[$1] = $3 }
            END { printf "%-5s  W4 %.2f GB/s  W6 %.2f GB/s  W4/W6 %.2f, by processor seconds %.2f\n", op,
                rate["W4"], rate["W6"], rate["W4"] / rate["W6"], cpu["W6"] / cpu["W4"] }' "$work/rates" |
            tee -a "$work/$op"
    done
done
# median OPERATION WHAT FIELD
median()
{
    awk -v field="$3" '{ print $field + 0 }' "$work/$1" | sort -n | awk -v op="$1" -v what="$2" '{ r[NR] = $1 }
        END { printf "%-5s  W4/W6 by %s: median %.2f of %d, %.2f to %.2f\n", op, what,
            (r[int((NR + 1) / 2)] + r[int(NR / 2) + 1]) / 2, NR, r[1], r[NR] }'
}
for op in read write; do
    median $op rate 9
    median $op "processor seconds" 13
done

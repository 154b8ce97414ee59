#!/bin/bash
# What a path costs between two ranks, measured for real: the line of it in a calibration file, whose
# am is else that of one TCP connection over loopback. Takes one to three minutes; both nodes should be idle.
#
#   bench/cost_line.sh PATH COMMAND...    PATH: am, stage, cma or shm; COMMAND starts kvf_bench in a job
#                                         of two ranks: mpirun -n 2 --host a,b kvf_bench --net rc
#
# The fixed part is the median of one piece of 64 bytes, less OP_NS (4000), the part of each op, which a
# wire hides; that of a piece is the median of a batch of 16 MiB, less the fixed part.
set -u
usage() { echo "usage: bench/cost_line.sh am|stage|cma|shm COMMAND..." >&2; exit 2; }
path=${1:-}
[ $# -ge 2 ] || usage
case $path in am | stage | cma | shm) ;; *) usage ;; esac
shift
run=("$@")
op_ns=${OP_NS:-4000}
err=$(mktemp) || exit 1
trap 'rm -f "$err"' EXIT

# p50 OPTION...: microseconds from post to the end of a batch, of the first case
p50()
{
    local all us code
    all=$("${run[@]}" --path "$path" "$@" --json - 2>"$err")
    code=$?
    if [ $code -ne 0 ]; then
        cat "$err" >&2
        echo "bench/cost_line.sh: kvf_bench $*: ends with $code" >&2
        return 1
    fi
    us=$(sed -nE 's/.*"p50_us": ([0-9.]+).*/\1/p' <<<"$all" | head -n 1)
    [ -n "$us" ] || { echo "bench/cost_line.sh: kvf_bench $* tells no p50_us" >&2; return 1; }
    echo "$us"
}

one=$(p50 --shape W9 --reps 1) || exit 1
all=()
for size in 64 256 1024 4096 16384 65536 262144 2097152; do
    pieces=$((16777216 / size))
    [ "$pieces" -le 65536 ] || pieces=65536
    us=$(p50 --piece "$size" --pieces "$pieces" --reps 1) || exit 1
    all+=("$us:$pieces")
done
# A piece costs no more than a longer one: what says so was disturbed.
awk -v path="$path" -v one="$one" -v op="$op_ns" -v all="${all[*]}" 'BEGIN {
    fixed = one * 1000 - op
    fixed = fixed < 1 ? 1 : fixed
    n = split(all, batch, " ")
    for (i = n; i >= 1; i--) {
        split(batch[i], part, ":")
        ps[i] = (part[1] * 1000 - fixed - op) * 1000 / part[2]
        ps[i] = ps[i] < 1 ? 1 : ps[i]
        if (i < n && ps[i] > ps[i + 1])
            ps[i] = ps[i + 1]
    }
    printf "cost_%s %d %d", path, fixed, op
    for (i = 1; i <= n; i++)
        printf " %d", ps[i]
    print ""
}'

#!/bin/bash
# kvf_explain --analyze across two nodes: the pair of ranks is far, goes over am without being told to,
# every byte is right, and the link carried at least what the plan says.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
net_sandbox 120
"$nodes" up 2 || fail "two nodes"
explain=${top_builddir:?}/tools/kvf_explain

# run RANKS PAIRS ARGUMENTS...: the first half of the ranks, the source, on node1
run()
{
    local ranks=$1 pairs=$2 each=$(($1 / 2)) before bytes
    shift 2
    before=$("$nodes" bytes node1)
    expect "kvf_explain $*" "$nodes" mpirun -H "node1:$each,node2:$each" -np "$ranks" --map-by slot \
        "$explain" --analyze --reps 1 --json "$work/report.json" "$@"
    [ "$(grep -c '"path": "am",$' <(sed -n '/"measured"/,/}/p' "$work/report.json"))" -eq "$pairs" ] ||
        fail "not $pairs pairs over am"
    grep -q '"mismatched_bytes": 0$' "$work/report.json" || fail "bytes are wrong"
    bytes=$(sed -nE 's/^ *"verified_bytes": ([0-9]+),$/\1/p' "$work/report.json")
    [ "$bytes" -gt 0 ] || fail "no byte is right"
    [ $(($("$nodes" bytes node1) - before)) -ge "$bytes" ] || fail "the link carried less than was moved"
    echo "ok: $ranks ranks, $* ($bytes bytes)"
}

run 2 1 --model llama-3.1-70b --layout LBNHC --src-tp 4 --dst-tp 8 --tokens 160
run 2 1 --model llama-3.1-70b --layout LBNHC --src-tp 4 --dst-tp 8 --tokens 160 --op write
run 4 4 --src-layout vllm-0.21 --dst-layout LBHNC --src-tp 2 --dst-pp 2 --dst-block-tokens 64 --tokens 200

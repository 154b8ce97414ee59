#!/bin/bash
# The job across two nodes by mpirun, with one and with two prefill ranks: every byte is right, each
# pair of ranks is near or far as it should be, and what the link carried is what went across.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
need_replay
net_sandbox 120
"$nodes" up 2 || fail "two nodes"

for prefill in 1 2; do
    count_trace $prefill 0,1,0,1
    before=$("$nodes" bytes node1)
    expect "kvf_replay with $prefill prefill" "$nodes" mpirun -H node1:2,node2:2 -np 4 --map-by node \
        "$replay" "${job[@]}" --prefill $prefill --json "$work/report.json"
    link=$(($("$nodes" bytes node1) - before))
    check_report "$work/report.json" 'locality.cross>0' 'locality.node>0'
    check_link $link
    echo "ok: $prefill + $((4 - prefill)) ranks"
done

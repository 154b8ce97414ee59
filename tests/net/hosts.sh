#!/bin/bash
# The nodes are hosts to MPI: ranks of one share memory, ranks of two do not, whatever they are called,
# and nothing is left when a sandbox is killed. An MPI hello stands for the job.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
hello=${top_builddir:?}/tests/net/mpi_hello

# ---- outside: a killed sandbox leaves no process, one that takes too long ends
if [ -z "${KVF_SANDBOX:-}" ]; then
    why=$("$nodes" check 2>&1) || skip "$why"
    for signal in TERM KILL; do
        mark=98765.$$
        # shellcheck disable=SC2016     # for the inner shell
        "$nodes" sandbox -t 30 "$BASH" -c '"$0" up 2 && exec "$0" exec node2 sleep "$1"' \
            "$nodes" "$mark" &
        pid=$!
        for ((i = 0; i < 100; i++)); do
            ! pgrep -fx "sleep $mark" >/dev/null || break
            sleep 0.05
        done
        pgrep -fx "sleep $mark" >/dev/null || fail "node2 runs no process"
        kill -s $signal $pid
        wait $pid 2>/dev/null
        for ((i = 0; i < 100; i++)); do
            pgrep -fx "sleep $mark" >/dev/null || break
            sleep 0.05
        done
        ! pgrep -fx "sleep $mark" || fail "after $signal a process of node2 is still there"
    done
    ! "$nodes" sandbox -t 1 sleep 20 2>/dev/null || fail "a sandbox outlived its limit"
    echo "ok: nothing is left of a sandbox that was killed or took too long"
fi
net_sandbox 60

"$nodes" up 2 || fail "two nodes"
expect "mpirun on two nodes" "$nodes" mpirun -H node1:2,node2:2 -np 4 --map-by node "$hello" 2
[ "$("$nodes" bytes node1)" -gt 0 ] || fail "no byte passed node1's link"
echo "ok: two nodes with 2 ranks each"

{ "$nodes" down && "$nodes" up -s 2; } || fail "two nodes of one name"
[ "$("$nodes" exec node1 hostname)" = "$("$nodes" exec node2 hostname)" ] || fail "names differ"
expect "mpirun on two nodes of one name" \
    "$nodes" mpirun -H node1:2,node2:2 -np 4 --map-by node "$hello" 2
echo "ok: two nodes of the same host name"

{ "$nodes" down && "$nodes" up -l 1; } || fail "a node with no interface but lo"
[ "$("$nodes" exec node1 ls /sys/class/net)" = lo ] || fail "there is an interface besides lo"
expect "mpirun on a node with no interface but lo" "$nodes" exec node1 \
    mpirun --oversubscribe --bind-to none -np 4 "$nodes" own-uts "$hello" 4
echo "ok: four ranks with a host name each on a node with no interface but lo"

#!/bin/bash
# Where names lie. All machines of a cluster have one host name, /etc/hostname and machine-id: ranks of
# two nodes must not be taken for neighbours. Ranks of one node have a host name each: they must be.
# The boot id is the same in both halves, so only a proof decides.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
need_replay
net_sandbox 120

"$nodes" up -s 2 || fail "two nodes of one name"
for file in /proc/sys/kernel/hostname /etc/hostname /etc/machine-id /proc/sys/kernel/random/boot_id; do
    [ "$("$nodes" exec node1 cat $file)" = "$("$nodes" exec node2 cat $file)" ] || fail "$file differs"
done
count_trace 1 0,1,0,1
expect "kvf_replay on two nodes of one name" "$nodes" mpirun -H node1:2,node2:2 -np 4 --map-by node \
    "$replay" "${job[@]}" --prefill 1 --json "$work/report.json"
check_report "$work/report.json" 'locality.cross>0' 'locality.node>0'
echo "ok: two nodes of one name are two"

{ "$nodes" down && "$nodes" up 1; } || fail "one node"
count_trace 1 0,0,0,0
before=$("$nodes" bytes node1)
expect "kvf_replay, each rank with a host name of its own" \
    "$nodes" exec node1 mpirun --oversubscribe --bind-to none -np 4 "$nodes" own-uts \
    "$replay" "${job[@]}" --prefill 1 --json "$work/report.json"
check_report "$work/report.json" 'locality.node>0'
[ $(($("$nodes" bytes node1) - before)) -lt 65536 ] || fail "the link carried what was near"
echo "ok: four names on one node are one node"

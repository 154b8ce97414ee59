#!/bin/bash
# The examples across two nodes: right, and silent but for their one line. To find that a peer is far is
# no error, so neither kvferry nor UCX may print one.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
net_sandbox 60
"$nodes" up 2 || fail "two nodes"

for program in ring prefill_decode reshard_2to4 layerwise; do
    ranks=4
    [ $program != reshard_2to4 ] || ranks=6
    before=$("$nodes" bytes node1)
    out=$(expect $program "$nodes" mpirun -H node1:3,node2:3 -np $ranks --map-by node \
        "${top_builddir:?}/mpi_examples/$program")
    rc=$?
    link=$(($("$nodes" bytes node1) - before))
    printf '%s\n' "$out"
    [ $rc -eq 0 ] || exit $rc
    # the launcher's remark is about a race of its own, with a process that it started and that is gone
    # and kvferry's are about this release of UCX, and about nodes that are one machine
    ! grep -v -e "^$program: .* 0 .*wrong" -e 'plm:rsh: Warning: setpgid' -e 'warn: far peers with UCX' \
        -e 'is far though it is on this machine' <<< "$out" ||
        fail "$program printed more than its line"
    [ $link -gt $((1 << 20)) ] || fail "$program moved only $link bytes between the nodes"
done

#!/bin/bash
# A job on one node opens no socket that leads out of it: the system calls of every rank of kvf_replay,
# beside those of an MPI hello under the same launcher. The near link's own sockets are wake-ups, UCX's and ours,
# unix datagram sockets, and questions to the kernel by netlink. Last, the same job with the near ways
# forbidden, to see that the census sees.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
need_replay
need_program strace
net_sandbox 120
"$nodes" up 1 || fail "one node"

# census NAME PROGRAM...: what its four ranks do with sockets of the internet, or of a family that is
# not of this machine alone, one line a kind of call: how often, call, family
census()
{
    local name=$1
    mkdir "$work/$name"
    expect "$name" "$nodes" exec node1 mpirun --oversubscribe --bind-to none -np 4 \
        strace -ff -qq -e trace=socket,connect,bind,listen,accept,accept4 -o "$work/$name/calls" \
        "${@:2}"
    cat "$work/$name"/calls.* | sed -En 's/^([a-z]+)4?\(.*\b(AF_[A-Z0-9]+).*/\1 \2/p
        s/^(listen|accept4?)\(.*/\1/p' | grep -Ev 'AF_(UNIX|NETLINK)$' | sort | uniq -c |
        sed 's/^ *//' > "$work/$name.census"
}

census hello "${top_builddir:?}/tests/net/mpi_hello" 4
count_trace 1 0,0,0,0
census near "$replay" "${job[@]}" --prefill 1 --net tcp --json "$work/near.json"
check_report "$work/near.json" 'locality.node>0'
diff "$work/hello.census" "$work/near.census" || fail "kvf_replay opens other sockets than MPI alone"
cat "$work/near.census"
echo "ok: no socket beyond MPI's own"

KVFERRY_LOCAL=off census wire "$replay" "${job[@]}" --prefill 1 --net tcp --json "$work/wire.json"
! diff "$work/hello.census" "$work/wire.census" || fail "the census does not see the wire"
echo "ok: a wire would have been seen"

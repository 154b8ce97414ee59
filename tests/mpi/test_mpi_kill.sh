#!/usr/bin/env bash
# A rank is killed, or stopped, in the middle of batches on one node: the others live on, a fresh
# process takes its place, nothing is left behind; the cases are in mpi_kill.c.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
# shellcheck source=tests/mpi/kill_lib.sh
. "$top_srcdir/tests/mpi/kill_lib.sh"
need_mpi
need_open_mpi
# In a sandbox all that is left can be seen; where none can be made the cases run all the same.
if "$nodes" check 2>/dev/null; then
    net_sandbox 200
else
    tmpdir
    TMPDIR=$TMP
fi

one_node() { "$MPIRUN" --oversubscribe --bind-to none "${kill_args[@]}" -n 4 "$@"; }
here() { "$@"; }

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
for path in shm cma stage; do
    run_kill kill $path thread here -- one_node
done
run_kill stop shm thread here -- one_node
run_kill stop cma caller here -- one_node
run_kill stop stage caller here -- one_node
[ -z "${KVF_SANDBOX:-}" ] || nothing_left env

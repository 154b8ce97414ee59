#!/bin/bash
# A cluster of our own runs a job with PMIx, again after it was ended, and reports a rank that fails.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
need_slurm
net_sandbox 60
hello=${top_builddir:?}/tests/net/mpi_hello

"$top_srcdir/tests/net/slurm-up" 2 || fail "slurm-up"
# shellcheck source=/dev/null
. /run/slurm/env
expect "srun on two nodes" srun --mpi=pmix -K1 -N2 -n4 "$hello" 2
! srun --mpi=pmix -K1 -N2 -n4 "$hello" 3 >/dev/null 2>&1 || fail "srun hid a failure"
"$top_srcdir/tests/net/slurm-down" || fail "slurm-down"
! pgrep 'slurm|munge' || fail "slurm-down left a daemon"
"$top_srcdir/tests/net/slurm-up" 3 || fail "slurm-up, the second time"
expect "srun on three nodes" srun --mpi=pmix -K1 -N3 -n6 "$hello" 2
echo "ok: clusters of two and three nodes"

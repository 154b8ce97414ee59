#!/bin/bash
# The job under Slurm, on a cluster of our own: by srun with PMIx, and by the batch script that users are
# given, which must fail when the job does.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
need_slurm
need_replay
net_sandbox 120
"$top_srcdir/tests/net/slurm-up" 2 || fail "slurm-up"
# shellcheck source=/dev/null
. /run/slurm/env

# -m cyclic: rank 0 and 2 on node1, as --map-by node does it
count_trace 1 0,1,0,1
before=$("$nodes" bytes node1)
expect "srun" srun --mpi=pmix -K1 -N2 -n4 -m cyclic \
    "$replay" "${job[@]}" --prefill 1 --json "$work/report.json"
link=$(($("$nodes" bytes node1) - before))
check_report "$work/report.json" 'locality.cross>0' 'locality.node>0'
check_link $link
echo "ok: srun"

# batch NAME [OPTION OF KVF_REPLAY]...: submit the script as a user would, wait, return its exit code.
# (sbatch --wait looks every ten seconds.)
batch()
{
    local name=$1 id code
    shift
    id=$(cd "$work" && KVF_REPLAY=$replay TRACE=$trace REPORT=$name.json sbatch --parsable \
        --output="$name.txt" "$top_srcdir/slurm/replay.sbatch" "${job[@]}" "$@") || fail "sbatch"
    while [ -n "$(squeue -h -j "$id" -t pending,running,completing)" ]; do sleep 0.1; done
    code=$(scontrol show job "$id" | sed -n 's/.*ExitCode=\([0-9]*\):.*/\1/p')
    return "${code:-1}"
}

# block distribution is the default: ranks 0 and 1 on node1
count_trace 1 0,0,1,1
batch good
rc=$?
cat "$work/good.txt"
[ $rc -eq 0 ] || fail "the batch job: exit code $rc"
check_report "$work/good.json" 'locality.cross>0' 'locality.node>0'
grep -q '^job .* right' "$work/good.txt" || fail "the batch job does not say that all is right"
! batch bad --inject flip || fail "the batch job hid a flipped byte"
grep -q '^job .* FAILED' "$work/bad.txt" || fail "the batch job does not say that it failed"
echo "ok: sbatch, and its failure is seen"

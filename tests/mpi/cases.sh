# What the shell tests of this directory share: sourced first. A case is one run of a program over
# some ranks; each is bounded in time, so that a rank that hangs is a failure and not a stuck test.
# shellcheck shell=bash
. "$top_srcdir/tests/lib.sh"

need_mpi
tmpdir
export MPIEXEC_TIMEOUT=120 # of Open MPI and of MPICH, in seconds

# run_cases PROGRAM N[,N...] MODE CASE...
run_cases()
{
    local program=$1 sizes=${2//,/ } mode=$3 n name
    shift 3
    for n in $sizes; do
        for name in "$@"; do
            mpi_run "$n" "$top_builddir/tests/mpi/$program" "$name" "$mode" >"$TMP/out" 2>&1 ||
                { cat "$TMP/out"; fail "$name on $n ranks, $mode"; }
            echo "ok: $name on $n ranks, $mode"
        done
    done
}

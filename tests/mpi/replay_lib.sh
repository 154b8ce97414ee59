# shellcheck shell=bash
# What the tests of kvf_replay share: sourced after tests/lib.sh.
need_mpi
command -v python3 >/dev/null || skip "no python3: reports cannot be checked"
export PYTHONDONTWRITEBYTECODE=1
tmpdir
here=$top_srcdir/tests/mpi
sample=$top_srcdir/share/sample_trace.jsonl
tool=$top_builddir/tools/kvf_replay
# small and quick: 2 layers of one KV block, 128 KiB a trace block
small=(--model llama-3.1-8b --layout LBHNC --scale 1/512 --blocks 512)

# replay RANKS [ARGUMENTS]: the job; its report in $TMP/json, its words in $TMP/out, its code in $code
replay()
{
    local ranks=$1
    shift
    rm -f "$TMP/json"
    mpi_run "$ranks" "$tool" --json "$TMP/json" "$@" >"$TMP/out" 2>&1
    code=$?
}

# right WHAT: the job just run ended well
right()
{
    [ "$code" -eq 0 ] || { cat "$TMP/out"; fail "$1: exit code $code"; }
}

# refused CODE WHAT TEXT: the job just run ended with CODE and said TEXT, once
refused()
{
    local n
    [ "$code" -eq "$1" ] || { cat "$TMP/out"; fail "$2: exit code $code, not $1"; }
    n=$(grep -cF -- "$3" "$TMP/out")
    [ "$n" -eq 1 ] || { cat "$TMP/out"; fail "$2: \"$3\" is said $n times"; }
}

# report WHAT [ARGUMENTS of replay_check.py]: what the report of the job just run must hold
report()
{
    local what=$1
    shift
    python3 "$here/replay_check.py" "$TMP/json" "$@" >"$TMP/faults" ||
        { cat "$TMP/out" "$TMP/faults"; fail "$what"; }
}

# Open MPI waits a second for ranks to end once one ended with a code of its own. These end together.
if "$MPIRUN" --version 2>/dev/null | grep -q 'Open MPI'; then
    MPI_ARGS=(--mca odls_base_sigkill_timeout 0)
fi

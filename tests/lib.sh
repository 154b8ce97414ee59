# shellcheck shell=bash
# What the shell tests share: sourced first, with top_srcdir and top_builddir from make's environment.
# It says how a test ends (ok, skip, fail) and how a job is started. Nothing here blocks by itself.
set -u
: "${top_srcdir:?run it by make check}" "${top_builddir:?run it by make check}"

# skip REASON...: the machine lacks what the test needs
skip()
{
    echo "SKIP: $*"
    exit 77
}

# fail SENTENCE...
fail()
{
    echo "FAIL: $*"
    exit 1
}

# tmpdir: sets TMP to a directory of this test, gone at its end
tmpdir()
{
    TMP=$(mktemp -d "${TMPDIR:-/tmp}/kvft.XXXXXX") || fail "mktemp"
    trap 'rm -rf "$TMP"' EXIT
}

# need_mpi: skips where the build has no MPI or no launcher
need_mpi()
{
    if [ -z "${MPIRUN:-}" ] || ! command -v "$MPIRUN" >/dev/null; then
        skip "the build has no MPI"
    fi
}

# mpi_run N PROGRAM [ARGUMENTS]: N ranks on this node. MPI_ARGS (an array) may hold more options of
# mpirun. Programs of the build tree go by their path under $top_builddir.
mpi_run()
{
    local n=$1
    shift
    local more=(${MPI_ARGS[@]+"${MPI_ARGS[@]}"})
    if "$MPIRUN" --version 2>/dev/null | grep -q 'Open MPI'; then
        more=(--oversubscribe --bind-to none ${more[@]+"${more[@]}"})
    fi
    "$MPIRUN" -n "$n" ${more[@]+"${more[@]}"} "$@"
}

# readme_example: the first C program of README.md
readme_example()
{
    awk '/^```c$/ { on = 1; next } /^```$/ { if (on) exit } on' "$top_srcdir/README.md"
}

# shellcheck shell=bash
# What the kill tests share: sourced after tests/lib.sh. One run of mpi_kill in a job that goes on
# after a rank's death, and a look at what is left. Open MPI's mpirun keeps a job alive with
# orte_abort_on_non_zero_status 0; other launchers end all ranks with the first.
kill_program=${top_builddir:?}/tests/mpi/mpi_kill
# shellcheck disable=SC2034     # for those who source this
kill_args=(--mca orte_abort_on_non_zero_status 0 --mca pml ob1)
export MPIEXEC_TIMEOUT=60 # seconds

need_open_mpi()
{
    "$MPIRUN" --version 2>/dev/null | grep -q 'Open MPI) 4\.' ||
        skip "only mpirun of Open MPI 4 is known to keep a job alive after a rank's death"
}

# run_kill CASE PATH PROGRESS FRESH -- LAUNCHER...: one job in the new folder $dir. FRESH is the name
# of a function that starts a command where the victim was.
run_kill()
{
    local case=$1 path=$2 progress=$3 fresh=$4 job mine='' rank t
    shift 5
    dir=$(mktemp -d "${TMPDIR:?}/kill.XXXXXX") || fail "mktemp"
    "$@" "$kill_program" "$case" "$path" "$progress" "$dir" >"$dir/out" 2>&1 &
    job=$!
    while kill -0 $job 2>/dev/null; do
        if [ -e "$dir/failed" ]; then
            sleep 0.5       # others may have something to say
            kill $job 2>/dev/null
        elif [ -e "$dir/dead" ] && [ -z "$mine" ]; then
            "$fresh" "$kill_program" fresh "$path" "$progress" "$dir" >"$dir/out.fresh" 2>&1 &
            mine=$!
        fi
        sleep 0.05
    done
    wait $job || [ "$case" = kill ] || kill_failed "mpirun: exit code $?"
    [ -z "$mine" ] || wait $mine || kill_failed "the fresh process"
    for rank in 0 1 2 3; do
        [ -e "$dir/ok.$rank" ] || kill_failed "rank $rank did not get through"
    done
    for ((t = 0; t < 40; t++)); do
        pgrep -f "mpi_kill $case .*$dir" >/dev/null || break
        sleep 0.05
    done
    ! pgrep -af "mpi_kill [a-z]* .*$dir" || kill_failed "a process is left"
    echo "ok: $case, $path, $progress"
    rm -rf "$dir"
}

kill_failed()
{
    cat "$dir"/out*
    fail "$case, $path, $progress: $*"
}

# nothing_left COMMAND...: no shared memory is, where COMMAND looks (a sandbox has its own)
nothing_left()
{
    local left
    left=$("$@" sh -c 'ls /dev/shm; ipcs -m | grep ^0x')
    [ -z "$left" ] || fail "shared memory is left: $left"
}

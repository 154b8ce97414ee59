#!/bin/bash
# A job that is told to end does so in order: no wrong byte, a partial report whose sums are right,
# complete false, an exit code that is not 0, and no process left. Told through the launcher, and at
# one rank only. A rank that dies takes the job down with a sentence, not with a hang.
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/mpi/replay_lib.sh"

instances=()
for _ in $(seq 40); do cat "$sample"; done >"$TMP/long"

# worked PID: its processor time in hundredths of a second
worked()
{
    awk '{ print $14 + $15 }' "/proc/$1/stat" 2>/dev/null || echo 0
}

# start: the long job in the background; $job is the launcher, $TMP/pids its ranks once all serve
start()
{
    rm -f "$TMP/json" "$TMP/pids"
    cat >"$TMP/rank" <<'R'
#!/bin/bash
echo "$$" >>"$1"
shift
exec "$@"
R
    chmod +x "$TMP/rank"

    # the job is given by name to one exec, so that $job is the launcher itself
    ("$MPIRUN" -n 4 --oversubscribe --bind-to none "$@" "$TMP/rank" "$TMP/pids" "$tool" \
        --trace "$TMP/long" "${small[@]}" ${instances[@]+"${instances[@]}"} --json "$TMP/json" >"$TMP/out" 2>&1 & echo $! >"$TMP/job"; wait $!
        echo $? >"$TMP/code") &
    waiter=$!
    for _ in $(seq 100); do
        [ "$(cat "$TMP/pids" 2>/dev/null | wc -l)" -eq 4 ] && break
        sleep 0.1
    done
    job=$(cat "$TMP/job")
    # a rank that has worked for so long is past its start, however slow the machine
    for _ in $(seq 600); do
        [ "$(worked "$(sed -n 3p "$TMP/pids")")" -ge 80 ] && break
        [ ! -e "$TMP/code" ] || break
        sleep 0.1
    done
    [ ! -e "$TMP/code" ] || { cat "$TMP/out"; fail "the job ended by itself"; }
}

ended()
{
    local begin=$SECONDS left
    while [ ! -s "$TMP/code" ] && [ $((SECONDS - begin)) -lt 20 ]; do sleep 0.1; done
    if [ ! -s "$TMP/code" ]; then
        # shellcheck disable=SC2046  # numbers
        kill -KILL "$job" $(cat "$TMP/pids") 2>/dev/null
        cat "$TMP/out"
        fail "$1: the job does not end"
    fi
    wait $waiter
    code=$(cat "$TMP/code")
    rm -f "$TMP/code"
    [ "$code" -ne 0 ] || { cat "$TMP/out"; fail "$1: exit code 0"; }
    for _ in $(seq 30); do
        left=
        while read -r pid; do
            if [ -e "/proc/$pid" ] && ! grep -qs '^State:.*Z' "/proc/$pid/status"; then left="$left $pid"; fi
        done <"$TMP/pids"
        [ -n "$left" ] || return 0
        sleep 0.1
    done
    fail "$1: processes$left are still there"
}

start
kill -TERM "$job"
ended "SIGTERM"
report "SIGTERM" --verified complete=false mismatched_bytes=0 'requests>0' 'requests<48000'

start
kill -INT "$(sed -n 3p "$TMP/pids")"
ended "SIGINT of one rank"
report "SIGINT of one rank" --verified complete=false mismatched_bytes=0 'requests>0' 'requests<48000'

# what all members of an instance have served counts; the rest of what they pulled was checked too
instances=(--src-tp 2 --dst-tp 2 --dst-block-tokens 32)
start
kill -TERM "$job"
ended "SIGTERM of instances"
report "SIGTERM of instances" --verified complete=false mismatched_bytes=0 'requests>0' 'requests<48000'

if "$MPIRUN" --version | grep -q 'Open MPI'; then
    start --mca orte_abort_on_non_zero_status 0
    kill -KILL "$(sed -n 3p "$TMP/pids")"
    ended "a rank that dies"
    grep -q 'kvf_replay: .*\(died\|ended with KVF_ERR_PEER\)' "$TMP/out" ||
        { cat "$TMP/out"; fail "nobody says that a rank died"; }
fi

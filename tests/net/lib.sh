# shellcheck shell=bash
# What the tests across nodes share: sourced after tests/lib.sh. A test calls net_sandbox first, which
# starts the script anew inside of a sandbox (see nodes); all that it makes there ends with it, however
# it ends. In there files go to $work, which the nodes share, and need no removal.
# The variables of the job are for the tests, which is why shellcheck is told that they are used.
work=/run/work
nodes=${top_srcdir:?}/tests/net/nodes

# net_sandbox SECONDS: the rest of the script runs in a sandbox, and fails if it takes longer
net_sandbox()
{
    local why
    [ -z "${KVF_SANDBOX:-}" ] || return 0
    [ -z "${KVF_FULL:-}" ] || set -- $(($1 * 10))
    why=$("$nodes" check 2>&1) || skip "$why"
    exec "$nodes" sandbox -t "$1" "$BASH" "$0"
}

need_program()
{
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

# Before net_sandbox: Slurm changes to the job's user and groups, which a mapped root cannot.
need_slurm()
{
    local program
    [ -n "${KVF_SANDBOX:-}" ] || [ "$(id -u)" = 0 ] || skip "a Slurm cluster of our own needs root"
    PATH=$PATH:/usr/sbin:/sbin
    for program in munged slurmctld slurmd srun sbatch; do
        command -v "$program" >/dev/null || skip "$program is not installed (slurm-wlm, munge)"
    done
}

# expect SENTENCE CMD...: CMD succeeds, or the test fails and shows what it said
expect()
{
    local what=$1 out rc
    shift
    out=$("$@" 2>&1)
    rc=$?
    printf '%s\n' "$out"
    [ $rc -eq 0 ] || fail "$what: exit code $rc"
}

# ---- the main job
# need_replay: what the program is given. Of each trace block one KV block with two layers stays: 2
# planes x 2 layers x 16 tokens x 8 heads x 128 x 2 bytes. KVF_FULL=1 takes more requests, of the
# conversation trace where that is at hand (KVF_TRACE names it), and four layers.
# shellcheck disable=SC2034
need_replay()
{
    local scale=1/512
    need_program python3
    export PYTHONDONTWRITEBYTECODE=1
    replay=${top_builddir:?}/tools/kvf_replay
    trace=$top_srcdir/share/sample_trace.jsonl
    requests=100
    blocks=512
    block_bytes=131072
    if [ -n "${KVF_FULL:-}" ]; then
        trace=${KVF_TRACE:-$top_srcdir/../shared/traces/conversation_trace.jsonl}
        [ -r "$trace" ] || skip "KVF_FULL is set and there is no $trace"
        requests=2000
        blocks=4096
        block_bytes=262144
        scale=1/256
    fi
    job=(--trace "$trace" --requests "$requests" --model llama-3.1-8b --layout LBHNC
        --scale "$scale" --blocks "$blocks" --verify all --quiet)
}

# count_trace PREFILL NODES [OPTION]...: what $ranks ranks (4), on the nodes with these numbers, must move, by
# a program that shares no code with kvf_replay. Sets cross and near, the bytes between nodes and
# inside of them.
count_trace()
{
    local prefill=$1 nodes_of=$2
    shift 2
    python3 "$top_srcdir/tests/mpi/count_trace.py" "$trace" --requests "$requests" --ranks "${ranks:-4}" \
        --prefill "$prefill" --nodes "$nodes_of" --blocks "$blocks" --block-bytes "$block_bytes" "$@" \
        > "$work/count.json" || fail "count_trace.py"
    read -r cross near < <(python3 -c 'import json, sys
count = json.load(sys.stdin)
print(count["cross_bytes"], count["bytes"] - count["cross_bytes"])' < "$work/count.json")
}

# check_report REPORT [TERM]...: the job went well, moved what was counted, each byte by the right path,
# and the TERMs of replay_check.py hold
check_report()
{
    local report=$1
    shift
    python3 "$top_srcdir/tests/mpi/replay_check.py" "$report" --counted "$work/count.json" --verified \
        complete=true mismatched_bytes=0 stale_bytes=0 locality.self=0 "locality.node=$near" \
        "locality.cross=$cross" "paths.shm.bytes=$near" "paths.am.bytes=$cross" "$@" && return
    cat "$report"
    fail "the report is wrong"
}

# check_link BYTES: what the link of a node carried is what went across, and little more
check_link()
{
    echo "the link carried $1 bytes for $cross"
    [ "$1" -ge "$cross" ] || fail "bytes went across another way"
    [ $(($1 * 10)) -le $((cross * 11)) ] || fail "the link carried over a tenth more"
}

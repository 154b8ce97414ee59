# shellcheck shell=bash
# What the tests across nodes share: sourced after tests/lib.sh. A test calls net_sandbox first, which
# starts the script anew inside of a sandbox (see nodes); all that it makes there ends with it, however
# it ends. In there /run is a private tmpfs, so files go to $TMPDIR and need no removal.
nodes=${top_srcdir:?}/tests/net/nodes

# net_sandbox SECONDS: the rest of the script runs in a sandbox, and fails if it takes longer
net_sandbox()
{
    local why
    [ -z "${KVF_SANDBOX:-}" ] || return 0
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
    local what=$1 out
    shift
    out=$("$@" 2>&1) || { printf '%s\n' "$out"; fail "$what: exit code $?"; }
    printf '%s\n' "$out"
}

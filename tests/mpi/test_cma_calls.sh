#!/bin/bash
# The cma path makes one system call for up to 1023 pieces and its proof: strace counts them, beside the
# engine's own counter and the bare loop of kvf_bench, which makes one for 1024 pieces by construction.
. "$top_srcdir/tests/lib.sh"
need_mpi
command -v strace >/dev/null || skip "strace is not installed: system calls cannot be counted"
tmpdir
strace -f -o "$TMP/probe" true 2>/dev/null || skip "strace may not trace here"

# 4092 pieces a transfer, 9 transfers a run over 128 MiB of memory; 1 warm-up and 1 run
pieces=$((4 * 1023)) loops=9 runs=2
per_run=$((loops * 4))

# count OP CALL
count()
{
    local op=$1 call=$2 calls bare own
    # rank 0 alone makes the calls
    cat >"$TMP/rank" <<'SCRIPT'
#!/bin/bash
if [ "${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-${PMIX_RANK:-0}}}" = 0 ]; then
    exec strace -f -qq -e trace="$CALL" -o "$TRACE" "$@"
fi
exec "$@"
SCRIPT
    chmod +x "$TMP/rank"
    CALL=$call TRACE=$TMP/trace mpi_run 2 "$TMP/rank" "$top_builddir/tools/kvf_bench" --path cma \
        --op "$op" --piece 4K --pieces $pieces --reps 1 --json "$TMP/json" >"$TMP/out" 2>&1 ||
        { cat "$TMP/out"; fail "kvf_bench under strace"; }
    own=$(sed -nE 's/.*"calls": ([0-9]+).*/\1/p' "$TMP/json")
    # calls that move less than 16 pieces are questions (is the peer there, may we), not transfers
    calls=$(grep -E "$call(\(| resumed)" "$TMP/trace" | grep -Ec '= [0-9]{6,}$')
    bare=$((per_run * runs))
    echo "$op: $calls calls of $call, $bare of them of the bare loop; the engine counts $own a run"
    [ "$own" -le $per_run ] ||
        fail "$op: the engine counts $own calls a run, and $per_run of 1023 pieces would do"
    [ "$calls" -le $((2 * bare)) ] ||
        fail "$op: $calls calls, and $((2 * bare)) of 1023 pieces would do"
    [ "$calls" -ge $((bare + runs * loops)) ] || fail "$op: strace saw $calls calls only"
}
count read process_vm_readv
count write process_vm_writev

#!/bin/bash
# A command line that is wrong is refused before anything is allocated, once, by the name of the
# argument, with exit code 2 on all ranks; help and version need no job.
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/mpi/replay_lib.sh"

head -n 3 "$sample" >"$TMP/in"

# wrong TEXT [OPTIONS]: two ranks
wrong()
{
    local text=$1
    shift
    mpi_run 2 "$tool" --trace "$TMP/in" "${small[@]}" "$@" >"$TMP/out" 2>&1
    code=$?
    refused 2 "$*" "$text"
}

wrong "--prefill: 0 is not within" --prefill 0
wrong "--prefill: 2 of 2 ranks leaves none to decode" --prefill 2
wrong "--scale: 0 is not above 0" --scale 0
wrong "--scale: 3/2 is not above 0 and at most 1" --scale 3/2
wrong "--model: " --model nobody-7b
wrong "--layout: " --layout XYZ
wrong "--block-tokens: 24 does not divide the 512 tokens" --block-tokens 24
wrong "--block-tokens: 1024 does not divide the 512 tokens" --block-tokens 1024
wrong "--depth: 0 is not within" --depth 0
wrong "--blocks 8000000: a pool of so many trace blocks takes 976.56 GiB" --blocks 8000000
grep -q "are free (MemAvailable)\|are free (the cgroup" "$TMP/out" || fail "nobody says what is free"
wrong "; no smaller --scale takes less" --blocks 8000000 --scale 1/65536
wrong ", and a smaller --scale takes less" --blocks 8000000 --scale 1/4
wrong "--seed: -1 is not within 0 to 18446744073709551615" --seed -1
wrong "--blocks: 4294967295 trace blocks are 4294967295 KV blocks" --blocks 4294967295
wrong "--src-tp: 0 is not within" --src-tp 0
wrong "--dst-pp: \"x\" is not a number" --dst-pp x
wrong "--dst-tp 3, --dst-pp 1: an instance takes 3 ranks, and the job has 2" --dst-tp 3
wrong "--src-tp 2, --src-pp 1: a prefill instance takes all 2 ranks" --src-tp 2
wrong "--src-pp: 100 stages cannot share the 32 layers of llama-3.1-8b" --src-pp 100
wrong "--src-layout: layout \"XYZ\"" --src-layout XYZ
wrong "--dst-layout: layout \"L2BNHD\": a latent is one plane" --model deepseek-v3 --layout LBNC --dst-layout L2BNHD
wrong "--dst-block-tokens: 24 does not divide the 512 tokens" --block-tokens 16 --dst-block-tokens 24
wrong "--src-block-tokens: 1024 does not divide" --src-block-tokens 1024
wrong "--speed: \"fast\" is none of max, trace and trace:N" --speed fast
wrong "--speed: 0 is not within" --speed trace:0
wrong "--paths: \"ether\" is no path" --paths shm,ether
wrong "--net: \"pigeon\" is none of" --net pigeon
wrong "--inject: \"all\" is none of" --inject all
wrong "--inject flip needs --verify all" --inject flip --verify none
wrong "--inject swap-heads: deepseek-v3 has one head" --model deepseek-v3 --inject swap-heads
wrong "--json: cannot write $TMP/none/report" --json "$TMP/none/report"
wrong "unknown option --frobnicate" --frobnicate
wrong "no argument is expected here" more
wrong "--requests needs a value" --requests

mpi_run 2 "$tool" >"$TMP/out" 2>&1
code=$?
refused 2 "no trace" "--trace FILE is needed"

# the limit of a cgroup counts, where one can be made (version 1 or 2)
group=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)/kvft.$$ max=memory.limit_in_bytes
[ -d "${group%/*}" ] || group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/kvft.$$ max=memory.max
if mkdir "$group" 2>/dev/null && echo 600M 2>/dev/null >"$group/$max"; then
    (
        echo "$BASHPID" >"$group/cgroup.procs"
        wrong "are free (the cgroup's memory.max): " --blocks 8000
        # of what it is not told it takes what fits, and says so
        replay 2 --trace "$TMP/in"
        right "defaults in 600 MB"
        grep -q "chosen for the .* that are free (the cgroup's memory.max): --blocks [0-9]* --scale 1/[0-9]*$" "$TMP/out" ||
            { cat "$TMP/out"; fail "nobody says what was chosen"; }
        report "defaults in 600 MB" --verified requests=3
    ) || { rmdir "$group" 2>/dev/null; exit 1; }
else
    echo "no cgroup can be made here: its limit was not tried"
fi
for _ in 1 2 3 4 5; do [ -d "$group" ] && ! rmdir "$group" 2>/dev/null || break; sleep 0.2; done

# wrong_of RANKS TEXT [OPTIONS]
wrong_of()
{
    local ranks=$1 text=$2
    shift 2
    mpi_run "$ranks" "$tool" --trace "$TMP/in" "${small[@]}" "$@" >"$TMP/out" 2>&1
    code=$?
    refused 2 "$*" "$text"
}
wrong_of 4 "--prefill: 3 ranks are no whole instances of --src-tp 2, --src-pp 1" --src-tp 2 --prefill 3
wrong_of 4 "--dst-tp 1, --dst-pp 2: the 3 decode ranks of 4 with --prefill 1 are no whole instances" --dst-pp 2
wrong_of 5 "--inject swap-heads: with --dst-tp 4 a decode rank holds one head" --model qwen3-235b --dst-tp 4 \
    --inject swap-heads

# MPMD: one job, two command lines

job=(--trace "$TMP/in" "${small[@]}" --depth)
"$MPIRUN" --oversubscribe --bind-to none "${MPI_ARGS[@]}" -n 1 "$tool" "${job[@]}" 2 : -n 1 "$tool" "${job[@]}" 3 >"$TMP/out" 2>&1
code=$?
refused 2 "options that differ" "rank 1: --depth is 3 here and 2 on rank 0"


# forbidding the only path names it; a full disk is not a report
mpi_run 2 "$tool" --trace "$TMP/in" "${small[@]}" --paths rma >"$TMP/out" 2>&1
code=$?
refused 1 "no path" "no path to the pool of rank 0"

# a pull that ends by its deadline is told, and its bytes are no count that differs
mpi_run 2 env KVFERRY_DEADLINE=1 "$tool" --trace "$TMP/in" --scale 1/4 --blocks 16 >"$TMP/out" 2>&1
code=$?
[ $code -eq 0 ] || refused 1 "a deadline of 1 ms" "ended with KVF_ERR_TIMEOUT" # 0: a very fast machine
! grep "counts of moved bytes differ" "$TMP/out" || fail "bytes of a failed pull are taken for a wrong count"
if [ -c /dev/full ]; then
    mpi_run 2 "$tool" --trace "$TMP/in" "${small[@]}" --json /dev/full >"$TMP/out" 2>&1
    code=$?
    refused 1 "a full disk" "--json: cannot write /dev/full"
fi

# --json - is the object alone on standard output, once for the job
mpi_run 2 "$tool" --trace "$TMP/in" "${small[@]}" --json - >"$TMP/json" 2>"$TMP/out" ||
    { cat "$TMP/out"; fail "--json -"; }
report "--json -" --verified requests=3
mpi_run 2 "$tool" --trace "$TMP/in" "${small[@]}" --quiet >"$TMP/out" 2>&1 || fail "--quiet"
[ ! -s "$TMP/out" ] || { cat "$TMP/out"; fail "--quiet speaks"; }

"$tool" --help >"$TMP/out" || fail "--help"
for option in trace requests skip-bad trace-block-tokens model layout block-tokens scale speed max-seconds \
    src-layout dst-layout src-block-tokens dst-block-tokens src-tp dst-tp src-pp dst-pp prefill blocks depth net \
    paths no-pin seed verify inject json quiet; do
    grep -q -- "--$option " "$TMP/out" || fail "--help does not tell --$option"
done
mpi_run 3 "$tool" --version >"$TMP/out" || fail "--version"
[ "$(grep -c '^kvf_replay ' "$TMP/out")" -eq 1 ] || { cat "$TMP/out"; fail "--version on three ranks"; }

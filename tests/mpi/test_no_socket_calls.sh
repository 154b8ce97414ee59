#!/bin/bash
# Transfers inside a node make no socket call, whatever wire was asked for: many more batches in a run of
# kvf_bench make no more calls of the network kind than few do. MPI's own stay, hence the comparison.
. "$top_srcdir/tests/lib.sh"
need_mpi
command -v strace >/dev/null || skip "strace is not installed: system calls cannot be counted"
tmpdir
strace -f -o "$TMP/probe" true 2>/dev/null || skip "strace may not trace here"

# calls PATH NET REPS: sets calls, by both ranks in a run of so many repetitions of 64 batches
calls()
{
    rm -rf "$TMP/calls"
    mkdir "$TMP/calls"
    mpi_run 2 strace -ff -qq -e trace=%network -e signal=none -o "$TMP/calls/rank" \
        "$top_builddir/tools/kvf_bench" --net "$2" --path "$1" --piece 4K --pieces 1024 --depth 64 --hot \
        --reps "$3" >"$TMP/out" 2>&1 || { cat "$TMP/out"; fail "kvf_bench --net $2 --path $1"; }
    calls=$(cat "$TMP"/calls/rank.* | wc -l)
}

for path in shm cma; do
    for net in tcp auto; do
        calls $path $net 1
        few=$calls
        calls $path $net 5
        echo "$path, net $net: $few network calls with 1 repetition, $calls with 5"
        [ "$calls" -lt $((few + 64)) ] || fail "transfers over $path make socket calls with net=$net"
    done
done

# does the count see transfers that are made of such calls?
calls am tcp 1
few=$calls
calls am tcp 5
echo "am: $few network calls with 1 repetition, $calls with 5"
[ "$calls" -ge $((few + 64)) ] || fail "the count does not see the wire"

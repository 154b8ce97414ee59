#!/bin/bash
# kvf_replay serves a trace with every byte right, and reports what an independent count says: requests,
# blocks, bytes from rank to rank, hits; on one rank over self, on four over shm, never over a wire.
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/mpi/replay_lib.sh"

# count RANKS PREFILL REQUESTS KV_BLOCKS BLOCK_BYTES BLOCKS
count()
{
    python3 "$here/count_trace.py" "$sample" --ranks "$1" --prefill "$2" --requests "$3" --kv-blocks "$4" \
        --block-bytes "$5" --blocks "$6" >"$TMP/counted" || fail "the counter ends with $?"
}

pinned_hits()
{
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["hits"]["pinned"])' "$TMP/counted"
}

echo "one rank"
count 1 1 150 1 131072 512
replay 1 --trace "$sample" --requests 150 "${small[@]}"
right "one rank"
report "one rank" --verified --counted "$TMP/counted" complete=true mismatched_bytes=0 stale_blocks=0 \
    "hits=$(pinned_hits)" prefill=1 decode=1 'scale="1/512"' layers=2 block_tokens=16 \
    trace_block_tokens=512 pool_blocks=512
report "one rank: by self alone" "paths.self.bytes=$((131072 * $(python3 -c \
    'import json, sys; print(json.load(open(sys.argv[1]))["blocks"])' "$TMP/counted")))" locality.node=0

for prefill in 1 2; do
    echo "$prefill prefill, $((4 - prefill)) decode"
    count 4 $prefill 300 1 131072 512
    replay 4 --trace "$sample" --requests 300 --prefill $prefill "${small[@]}"
    right "$prefill of 4"
    report "$prefill of 4" --verified --counted "$TMP/counted" complete=true mismatched_bytes=0 \
        stale_blocks=0 paths.am.bytes=0 paths.self.bytes=0 locality.cross=0 depth=4
done

echo "hits are those of an exact LRU, whoever is quick"
count 4 2 600 1 131072 300
replay 4 --trace "$sample" --requests 600 --prefill 2 --depth 1 "${small[@]}" --blocks 300 --verify none
right "hits"
report "hits" --counted "$TMP/counted" "hits=$(pinned_hits)" verified_bytes=0

echo "a request larger than a pool is refused by name, counted, and the job goes on"
count 2 1 60 1 131072 20
replay 2 --trace "$sample" --requests 60 "${small[@]}" --blocks 20
right "small pool"
report "small pool" --verified --counted "$TMP/counted" complete=true 'refused_requests>0'
grep -q 'refused: request [0-9]* (line [0-9]*) has [0-9]* trace blocks, and a pool holds 20' "$TMP/out" ||
    { cat "$TMP/out"; fail "nobody says which request was refused"; }

echo "scale drops KV blocks, then layers, and says what is left"
replay 2 --trace "$sample" --requests 10 --scale 1/64 --blocks 300
right "scale 1/64"
report "scale 1/64" --verified 'scale="1/64"' layers=16
replay 2 --trace "$sample" --requests 10 --scale 1/4096 --blocks 300
right "scale 1/4096"
report "scale 1/4096" --verified 'scale="1/512"' layers=2
grep -q 'less was asked for' "$TMP/out" || fail "nobody says that less was asked for"

echo "sample looks at a part"
replay 2 --trace "$sample" --requests 40 "${small[@]}" --verify sample
right "sample"
report "sample" 'verified_bytes>0' mismatched_bytes=0
python3 -c 'import json, sys; r = json.load(open(sys.argv[1]))
sys.exit(not r["bytes"] / 32 < r["verified_bytes"] < r["bytes"] / 2)' "$TMP/json" || fail "no sample"

echo "a progress bar on a terminal, none in a file"
cat >"$TMP/watch" <<'P'
import os, pty, sys
with open(sys.argv[1], "wb") as out:
    def read(fd):
        data = os.read(fd, 65536)
        out.write(data)
        return b"."
    sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[2:], read)))
P
more=()
if "$MPIRUN" --version | grep -q 'Open MPI'; then more=(--oversubscribe --bind-to none); fi
python3 "$TMP/watch" "$TMP/seen" "$MPIRUN" -n 2 "${more[@]}" "$tool" --trace "$sample" --requests 60 \
    "${small[@]}" </dev/null >/dev/null || { cat "$TMP/seen"; fail "a job on a terminal"; }
grep -q 'of 60 requests' "$TMP/seen" || { cat "$TMP/seen"; fail "no progress bar on a terminal"; }
grep -q '^right: ' "$TMP/seen" || fail "no report on a terminal"
! grep -q 'of 40 requests' "$TMP/out" || fail "a progress bar in a file"

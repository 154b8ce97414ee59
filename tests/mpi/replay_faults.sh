#!/bin/bash
# Verification that can fail: each fault that is put in is found, with the count of wrong bytes that
# replay_faults.py works out, and an exit code of 1. And eviction under readers shows as stale blocks,
# never as wrong bytes.
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/mpi/replay_lib.sh"

for fault in flip drop-op swap-blocks swap-heads wrong-plane stale; do
    read -r wrong stale < <(python3 "$here/replay_faults.py" "$sample" $fault)
    replay 2 --trace "$sample" --requests 20 "${small[@]}" --inject $fault
    [ "$code" -eq 1 ] || { cat "$TMP/out"; fail "$fault: exit code $code"; }
    echo "$fault: $wrong wrong bytes, $stale stale blocks"
    report "$fault" --loose "mismatched_bytes=$wrong" "stale_blocks=$stale" requests=20 complete=true
    grep -q '^WRONG: ' "$TMP/out" || { cat "$TMP/out"; fail "$fault: the report does not say WRONG"; }
done

echo "two KV blocks a trace block"
read -r wrong stale < <(python3 "$here/replay_faults.py" "$sample" swap-blocks --per-block 2 --layers 32 \
    --seed 7)
replay 1 --trace "$sample" --requests 3 --scale 1/16 --blocks 64 --inject swap-blocks --seed 7
[ "$code" -eq 1 ] || { cat "$TMP/out"; fail "swap-blocks: exit code $code"; }
report "swap-blocks of two" --loose "mismatched_bytes=$wrong" stale_blocks=0 layers=32

echo "evicted under readers"
replay 1 --trace "$sample" --requests 60 "${small[@]}" --blocks 64 --depth 32 --no-pin
right "no-pin on one rank"
report "no-pin on one rank" --verified 'stale_blocks>0' mismatched_bytes=0
replay 4 --trace "$sample" --requests 300 "${small[@]}" --blocks 250 --depth 8 --no-pin
right "no-pin on four ranks"
report "no-pin on four ranks" --verified 'stale_blocks>0' mismatched_bytes=0

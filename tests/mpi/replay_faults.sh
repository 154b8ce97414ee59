#!/bin/bash
# Verification that can fail: each fault that is put in is found, with the count of wrong bytes that
# replay_faults.py works out, and an exit code of 1. And eviction under readers shows as stale blocks,
# never as wrong bytes.
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/mpi/replay_lib.sh"

for fault in flip drop-op swap-blocks swap-heads wrong-plane stale; do
    read -r wrong stale stale_bytes < <(python3 "$here/replay_faults.py" "$sample" $fault)
    replay 2 --trace "$sample" --requests 20 "${small[@]}" --inject $fault
    [ "$code" -eq 1 ] || { cat "$TMP/out"; fail "$fault: exit code $code"; }
    echo "$fault: $wrong wrong bytes, $stale stale blocks"
    report "$fault" --loose "mismatched_bytes=$wrong" "stale_blocks=$stale" "stale_bytes=$stale_bytes" requests=20 complete=true
    grep -q '^WRONG: ' "$TMP/out" || { cat "$TMP/out"; fail "$fault: the report does not say WRONG"; }
done

echo "two KV blocks a trace block"
read -r wrong stale stale_bytes < <(python3 "$here/replay_faults.py" "$sample" swap-blocks --per-block 2 --layers 32 \
    --seed 7)
replay 1 --trace "$sample" --requests 3 --scale 1/16 --blocks 64 --inject swap-blocks --seed 7
[ "$code" -eq 1 ] || { cat "$TMP/out"; fail "swap-blocks: exit code $code"; }
report "swap-blocks of two" --loose "mismatched_bytes=$wrong" stale_blocks=0 layers=32

# TP 2 to TP 4, KV blocks of 16 tokens to blocks of 32: one rank of four is wrong. With
# layouts of one stride the last op carries the second half of each block.
echo "one rank of an instance"
two=(--src-tp 2 --dst-tp 4 --src-block-tokens 16 --dst-block-tokens 32 --scale 1/128 --blocks 64)
for fault in flip drop-op swap-blocks swap-heads wrong-plane stale; do
    read -r wrong stale stale_bytes < <(python3 "$here/replay_faults.py" "$sample" $fault --src-tp 2 \
        --dst-tp 4 --tokens 32 --src-tokens 16 --layers 4 --drop-from 16)
    layouts=(--src-layout LBNHC --dst-layout vllm-0.23)
    [ $fault != drop-op ] || layouts=(--src-layout LBHNC --dst-layout BLHNC)
    replay 6 --trace "$sample" --requests 6 "${two[@]}" "${layouts[@]}" --inject $fault
    [ "$code" -eq 1 ] || { cat "$TMP/out"; fail "$fault: exit code $code"; }
    echo "$fault: $wrong wrong bytes, $stale stale blocks"
    report "$fault" --loose "mismatched_bytes=$wrong" "stale_blocks=$stale" "stale_bytes=$stale_bytes" \
        requests=6 complete=true
done

echo "a source of several replicas"
read -r wrong stale stale_bytes < <(python3 "$here/replay_faults.py" "$sample" stale --src-tp 5 --heads 4 \
    --per-block 2 --layers 94)
replay 6 --trace "$sample" --requests 3 --model qwen3-235b --src-tp 5 --scale 1/16 --blocks 64 --inject stale
[ "$code" -eq 1 ] || { cat "$TMP/out"; fail "stale of a replica: exit code $code"; }
echo "$stale of 2 blocks are stale"
report "stale of a replica" --loose "mismatched_bytes=$wrong" "stale_blocks=$stale" \
    "stale_bytes=$stale_bytes" layers=94

echo "evicted under readers"
replay 1 --trace "$sample" --requests 60 "${small[@]}" --blocks 64 --depth 32 --no-pin
right "no-pin on one rank"
report "no-pin on one rank" --verified 'stale_blocks>0' mismatched_bytes=0
replay 4 --trace "$sample" --requests 300 "${small[@]}" --blocks 250 --depth 8 --no-pin
right "no-pin on four ranks"
report "no-pin on four ranks" --verified 'stale_blocks>0' mismatched_bytes=0

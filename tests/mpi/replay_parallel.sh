#!/bin/bash
# Prefill and decode instances of several ranks, cut in different ways (TP, PP), with layouts and block sizes
# of their own: each byte is right on each rank, and the bytes from rank to rank are those of a count
# that shares no code with the job. Replicas share the reading (E7).
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/mpi/replay_lib.sh"

requests=40 blocks=200

# parallel WHAT RANKS PREFILL "CUT" LAYERS HEADS KV_BLOCKS BLOCK_BYTES [OPTION]...: CUT is the options of
# TP and PP, for the job and for the count
parallel()
{
    local what=$1 ranks=$2 prefill=$3 layers=$5 heads=$6 kv_blocks=$7 block_bytes=$8 cut
    read -ra cut <<<"$4"
    shift 8
    echo "$what"
    python3 "$here/count_trace.py" "$sample" --ranks "$ranks" --prefill "$prefill" --requests $requests \
        --kv-blocks "$kv_blocks" --block-bytes "$block_bytes" --blocks $blocks --layers "$layers" \
        --heads "$heads" "${cut[@]}" >"$TMP/counted" || fail "$what: the counter ends with $?"
    replay "$ranks" --trace "$sample" --requests $requests --prefill "$prefill" --blocks $blocks "${cut[@]}" "$@"
    right "$what"
    report "$what" --verified --counted "$TMP/counted" complete=true mismatched_bytes=0 stale_blocks=0 \
        "layers=$layers" locality.cross=0 paths.am.bytes=0
}

pinned_hits()
{
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["hits"]["pinned"])' "$TMP/counted"
}

# llama-3.1-8b: 512 bytes a token, head and layer; 8 heads
parallel "TP 2 to TP 4, blocks of 16 to 64" 6 2 "--src-tp 2 --dst-tp 4" 2 8 1 $((512 * 8 * 2 * 64)) \
    --scale 1/256 --src-layout vllm-0.26 --dst-layout BLHNC --src-block-tokens 16 --dst-block-tokens 64
report "both sides" 'src.layout="vllm-0.26"' src.tp=2 src.block_tokens=16 'dst.layout="BLHNC"' dst.tp=4 \
    dst.block_tokens=64 'layout="BLHNC"' block_tokens=64 'scale="1/128"' prefill=2 decode=4
parallel "TP 3 to TP 2 x PP 2, a segment a layer on both sides, blocks of 64 to 16" 7 3 \
    "--src-tp 3 --dst-tp 2 --dst-pp 2" 3 8 4 $((512 * 8 * 3 * 16)) --scale 1/80 \
    --src-layout vllm-0.23 --dst-layout vllm-0.21 --src-block-tokens 64 --dst-block-tokens 16
parallel "PP 3 to PP 2, blocks of 32 to 128" 5 3 "--src-pp 3 --dst-pp 2" 5 8 1 $((512 * 8 * 5 * 128)) \
    --scale 1/25 --src-layout sglang --dst-layout hicache-page-head --src-block-tokens 32 --dst-block-tokens 128
parallel "two instances a side" 8 4 "--src-tp 2 --dst-tp 2" 2 8 1 $((512 * 8 * 2 * 16)) --scale 1/512 --depth 1
report "hits of one rank an instance" "hits=$(pinned_hits)"

# qwen3-235b: 4 heads of 512 bytes
parallel "4 heads to 5 ranks" 6 1 "--dst-tp 5" 4 4 1 $((512 * 4 * 4 * 16)) --model qwen3-235b --scale 1/700
parallel "4 heads from 5 ranks" 6 5 "--src-tp 5" 4 4 1 $((512 * 4 * 4 * 16)) --model qwen3-235b --scale 1/700 \
    --src-layout BHLNC

# gpt-oss-120b: 8 heads of 256 bytes, a window on every other layer
parallel "a model with a window" 5 2 "--src-pp 2 --dst-pp 3" 4 8 1 $((256 * 8 * 4 * 32)) --model gpt-oss-120b \
    --scale 1/140 --src-layout vllm-0.23 --dst-layout LHBNC --dst-block-tokens 32

# deepseek-v3.2: 656 bytes of latent and 132 of indexer a token and layer; each of the 4 ranks holds it all
parallel "MLA from one rank to 4" 5 1 "--dst-tp 4" 2 1 1 $((788 * 2 * 64)) --model deepseek-v3.2 \
    --layout vllm-mla --scale 1/240
parallel "MLA from 4 ranks to one" 5 4 "--src-tp 4" 2 1 1 $((788 * 2 * 64)) --model deepseek-v3.2 \
    --layout LBNC --dst-layout BLNC --scale 1/240
python3 -c 'import json, sys
read = [sum(row) for row in json.load(open(sys.argv[1]))["matrix"][:4]]
sys.exit(not 0.9 * sum(read) / 4 < min(read) <= max(read) < 1.1 * sum(read) / 4)' "$TMP/json" || { cat "$TMP/out"; fail "the replicas do not share the reading"; }
parallel "MLA from 3 ranks to 2: each begins with another" 5 3 "--src-tp 3 --dst-tp 2" 2 1 1 $((788 * 2 * 64)) \
    --model deepseek-v3.2 --layout LBNC --scale 1/240

echo "evicted under readers: what is stale of one source is a part of a block"
for _ in 1 2 3 4 5; do # readers may be quick enough for once
    replay 6 --trace "$sample" --requests 60 --scale 1/256 --blocks 64 --depth 16 --no-pin --src-tp 2 --dst-tp 4 \
        --src-layout LBHNC --dst-layout vllm-0.23 --src-block-tokens 16 --dst-block-tokens 64
    right "no-pin"
    grep -q '"stale_blocks": 0,' "$TMP/json" || break
done
report "no-pin" --verified complete=true mismatched_bytes=0 'stale_blocks>0'

echo "the trace's own times: never sooner"
last=$(sed -n 200p "$sample" | python3 -c 'import json, sys; print(json.loads(sys.stdin.read())["timestamp"] / 1000)')
replay 2 --trace "$sample" --requests 200 "${small[@]}" --speed trace:40
right "speed"
report "speed" --verified complete=true 'speed="trace:40"' \
    "seconds>$(python3 -c "print($last / 40)")"

# KVF_FULL=1: 2,000 requests of the conversation trace (KVF_TRACE names it)
if [ -n "${KVF_FULL:-}" ]; then
    sample=${KVF_TRACE:-$top_srcdir/../shared/traces/conversation_trace.jsonl}
    [ -r "$sample" ] || skip "KVF_FULL is set and there is no $sample"
    requests=2000 blocks=2048
    parallel "2,000 requests, TP 2 to TP 4" 6 2 "--src-tp 2 --dst-tp 4" 2 8 1 $((512 * 8 * 2 * 64)) --scale 1/128 \
        --src-layout vllm-0.26 --dst-layout vllm-0.23 --src-block-tokens 16 --dst-block-tokens 64 --verify all
fi

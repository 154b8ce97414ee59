#!/bin/bash
# Every named layout of a model with heads, of one with a window and of one without heads, with KV blocks
# of several sizes: each byte of the pulled blocks and around them is right to a checker that knows
# the layout by its name only.
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/mpi/replay_lib.sh"

for layout in LBHNC LBNHC LHBNC BLHNC BLNHC BHLNC L2BNHD LB2NHD BL2HND BL2NHD 2LBNHD 2BLNHD; do
    replay 2 --trace "$sample" --requests 6 --model qwen3-235b --layout $layout --scale 1/512 --blocks 64
    right "qwen3-235b $layout"
    report "qwen3-235b $layout" --verified mismatched_bytes=0 complete=true "layout=\"$layout\""
done
for layout in LBHNC BLNHC L2BNHD; do
    replay 2 --trace "$sample" --requests 6 --model gpt-oss-120b --layout $layout --scale 1/256 --blocks 64
    right "gpt-oss-120b $layout"
    report "gpt-oss-120b $layout" --verified mismatched_bytes=0 complete=true
done
for layout in LBNC BLNC LBHNC; do
    replay 2 --trace "$sample" --requests 6 --model deepseek-v3 --layout $layout --scale 1/64 --blocks 64
    right "deepseek-v3 $layout"
    report "deepseek-v3 $layout" --verified mismatched_bytes=0 complete=true block_tokens=64
done
for tokens in 1 32 512; do
    replay 2 --trace "$sample" --requests 6 --block-tokens $tokens --scale 1/512 --blocks 64
    right "$tokens tokens a block"
    report "$tokens tokens a block" --verified mismatched_bytes=0 complete=true "block_tokens=$tokens"
done
# names of the field, each as source or destination; of some each layer is a segment
for pair in "vllm-0.21 vllm-0.23" "vllm-0.23 vllm-0.26" "sglang tensorrt-llm" "hicache-layer-first hicache-page-first" \
    "hicache-token-first hicache-page-head" "flexkv-layer-first lmcache" "flexkv-block-first kvbm-hnd" \
    "kvbm-universal kvbm-nhd"; do
    read -r src dst <<<"$pair"
    replay 2 --trace "$sample" --requests 6 --model qwen3-235b --src-layout $src --dst-layout $dst --scale 1/512 \
        --blocks 64
    right "$src to $dst"
    report "$src to $dst" --verified mismatched_bytes=0 complete=true "src.layout=\"$src\"" "dst.layout=\"$dst\""
done

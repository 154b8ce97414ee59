#!/bin/bash
# Instances across two nodes: two prefill ranks at TP 2 and four decode ranks at TP 4, with layouts and
# block sizes of their own, so that each decode rank's source is near for some and far for others: every
# byte is right, and the bytes from rank to rank and over the link are those of an independent count.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
need_replay
net_sandbox 120
"$nodes" up 2 || fail "two nodes"

# 64 of the 512 tokens of a trace block and 2 layers stay: 8 heads of 512 bytes
block_bytes=$((64 * 2 * 8 * 512))
cut=(--src-tp 2 --dst-tp 4)
job+=(--scale 1/128 --src-block-tokens 16 --dst-block-tokens 64 "${cut[@]}")
for layouts in "vllm-0.26 vllm-0.23" "LBNHC BLHNC"; do
    read -r src dst <<<"$layouts"
    ranks=6 count_trace 2 0,1,0,1,0,1 --layers 2 --heads 8 "${cut[@]}"
    before=$("$nodes" bytes node1)
    expect "kvf_replay from $src to $dst" "$nodes" mpirun -H node1:3,node2:3 -np 6 --map-by node \
        "$replay" "${job[@]}" --src-layout "$src" --dst-layout "$dst" --json "$work/report.json"
    link=$(($("$nodes" bytes node1) - before))
    check_report "$work/report.json" 'locality.cross>0' 'locality.node>0' src.tp=2 dst.tp=4
    check_link $link
    echo "ok: $src at TP 2 to $dst at TP 4"
done

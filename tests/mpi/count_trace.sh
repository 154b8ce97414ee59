#!/bin/bash
# The independent counter that the jobs are compared with, itself compared with what can be known
# otherwise: splitmix64's published first outputs, a trace small enough to count by hand, and, where
# the conversation trace is at hand (KVF_TRACE names it), the known hits of LRU with 10,000 blocks.
. "$top_srcdir/tests/lib.sh"
command -v python3 >/dev/null || skip "python3 is missing"
export PYTHONDONTWRITEBYTECODE=1
tmpdir

counter=$top_srcdir/tests/mpi/count_trace.py
trace=${KVF_TRACE:-$top_srcdir/../shared/traces/conversation_trace.jsonl}

# expect OUTPUT PART: PART stands in the counter's line
expect()
{
    case $1 in
    *"$2"*) ;;
    *) fail "no $2 in $1" ;;
    esac
}

python3 -c 'import sys; sys.path.insert(0, sys.argv[1])
import count_trace as c
assert c.splitmix64(0) == 0xE220A8397B1DCDAF
assert c.splitmix64(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4
assert c.key_of([]) == 0 and c.key_of([7]) == 7 and c.key_of([7, 8, 9]) == 8' \
    "$top_srcdir/tests/mpi" || fail "splitmix64 or the key of a request is wrong"

# Three blocks of pool. The second request hits 1, so that 2 is the oldest. The third starts with a
# miss: in turn, that evicts 2, which comes next, and this 3, which comes last; pinned, 2 and 3 are
# hits. The fourth is larger than the pool.
row() { echo "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [$1]}"; }
{
    row 1,2,3
    row 1
    row 5,2,3
    row 1,2,3,4
} >"$TMP/small"
out=$(python3 "$counter" "$TMP/small" --ranks 3 --blocks 3 --kv-blocks 2 --block-bytes 10 \
    --nodes a,a,b) || fail "the counter ends with $?"
expect "$out" '"requests": 3, "refused_requests": 1, "trace_blocks": 7, "blocks": 14, "bytes": 140'
expect "$out" '"matrix": [[0, 120, 20], [0, 0, 0], [0, 0, 0]], "cross_bytes": 20'
expect "$out" '"hits": {"turn": 1, "pinned": 3}'

out=$(python3 "$counter" "$TMP/small" --ranks 1 --requests 2) || fail "the counter ends with $?"
expect "$out" '"matrix": [[4]], "cross_bytes": 0, "hits": {"turn": 1, "pinned": 1}'

out=$(python3 "$counter" "$top_srcdir/share/sample_trace.jsonl" --ranks 4 --blocks 1000) ||
    fail "the counter ends with $?"
expect "$out" '"requests": 1200, "refused_requests": 0, "trace_blocks": 28862'

if [ ! -r "$trace" ]; then
    echo "the conversation trace is not at hand: its figures are not checked"
    exit 0
fi
out=$(python3 "$counter" "$trace" --blocks 10000) || fail "the counter ends with $?"
expect "$out" '"requests": 12031, "refused_requests": 0, "trace_blocks": 288500'
expect "$out" '"hits": {"turn": 60921, "pinned": 61042}'

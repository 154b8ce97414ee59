#!/bin/bash
# The sample trace that is shipped is what its generator makes, and what the generator's text says it
# is: one id for each 512 tokens, one shared first id, ids in the order of their first use, arrivals
# in order with ties, the statistics of the table, and a size that suits a source package.
. "$top_srcdir/tests/lib.sh"
command -v python3 >/dev/null || skip "python3 is missing"
export PYTHONDONTWRITEBYTECODE=1
tmpdir

sample=$top_srcdir/share/sample_trace.jsonl
maker=$top_srcdir/share/make_sample_trace.py

python3 "$maker" >"$TMP/made" || fail "the generator ends with $?"
cmp "$TMP/made" "$sample" || fail "the shipped trace is not what its generator makes"
python3 "$maker" --seed 7 --requests 50 >"$TMP/other" || fail "the generator ends with $?"
cmp -s <(head -n 50 "$sample") "$TMP/other" && fail "the seed changes nothing"

python3 - "$maker" "$sample" <<'EOF' || fail "the shipped trace breaks what is promised of it"
import json, os, re, sys
maker, sample = sys.argv[1:]
sys.path.insert(0, os.path.dirname(maker))
import make_sample_trace as m

rows = [json.loads(line) for line in open(sample)]
free = 0
before = 0
for row in rows:
    ids = row["hash_ids"]
    assert list(row) == ["timestamp", "input_length", "output_length", "hash_ids"], row
    assert len(ids) == -(-row["input_length"] // 512) > 0, row
    assert ids[0] == 0 and len(set(ids)) == len(ids), row
    assert row["output_length"] > 0 and row["timestamp"] >= before, row
    before = row["timestamp"]
    fresh = [x for x in ids if x >= free]
    assert fresh == list(range(free, free + len(fresh))), row
    assert not fresh or ids[-len(fresh):] == fresh, row
    free += len(fresh)
assert os.path.getsize(sample) < 600 << 10
assert len({row["timestamp"] for row in rows}) < len(rows) / 4

stats = m.stats(rows)
text = {"requests": "requests", "blocks": "blocks", "blocks a request, mean": "mean",
        "blocks a request, p50": "p50", "blocks a request, p90": "p90",
        "input tokens, mean": "tokens", "ideal prefix hit rate": "ideal",
        "unique ids / blocks": "unique", "later turns / requests": "later",
        "requests a second": "rate"}
for name, key in text.items():
    said = re.search("^    %s +([0-9.,]+) +[0-9.,]+$" % re.escape(name), m.__doc__, re.M)
    assert said and float(said.group(1).replace(",", "")) == stats[key], (name, stats[key])
assert abs(stats["ideal"] - 0.366) < 0.01 and abs(stats["mean"] - 24) < 1, stats
EOF

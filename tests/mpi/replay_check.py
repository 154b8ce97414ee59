#!/usr/bin/env python3
"""Checks a JSON report of kvf_replay, sharing no code with it.

    replay_check.py REPORT [--counted COUNT] [--like REPORT] [NAME=VALUE]...

It must be one object with exactly the promised names; bytes must be the sum of paths, of locality and
of matrix, and with what --verify all checks equal verified plus stale. --counted compares with
the output of count_trace.py, --like with another report but for what is measured in time. NAME=VALUE
(VALUE in JSON; dots go inwards, as in paths.shm.bytes; a name that is not there is 0) must hold;
NAME>VALUE and NAME<VALUE likewise. --loose leaves out the sums of a job that was made to go wrong.
"""

import argparse
import json
import re
import sys

NAMES = set("""requests trace_blocks blocks bytes pieces mismatched_bytes verified_bytes stale_blocks
stale_bytes hits hit_rate refused_requests skipped_lines seconds gbps p50_us p99_us model layout scale
trace_block_tokens block_tokens layers prefill decode depth pool_blocks seed ucx net complete paths
locality matrix nics src dst speed time_unit late_s""".split())
TIMES = ["seconds", "gbps", "p50_us", "p99_us", "late_s"]
faults = []


def must(holds, sentence):
    if not holds:
        faults.append(sentence)


def value_of(report, name):
    value = report
    for part in name.split("."):
        value = value.get(part, 0) if isinstance(value, dict) else 0
    return value


def check_sums(r):
    ranks = r["decode"] if r["prefill"] + r["decode"] == 2 and len(r["matrix"]) == 1 else \
        r["prefill"] + r["decode"]
    must(len(r["matrix"]) == ranks and all(len(row) == ranks for row in r["matrix"]),
         "the matrix is not of %d ranks" % ranks)
    for name, total in (("paths", sum(p["bytes"] for p in r["paths"].values())),
                        ("locality", sum(r["locality"].values())),
                        ("matrix", sum(map(sum, r["matrix"])))):
        must(total == r["bytes"], "bytes %d, %s %d" % (r["bytes"], name, total))
    must(set(r["locality"]) == {"self", "node", "cross"}, "locality has other names")
    must(sum(r["nics"].values()) == r["locality"]["cross"], "nics are not what went cross")
    must(r["blocks"] % r["trace_blocks"] == 0 if r["trace_blocks"] else r["blocks"] == 0,
         "blocks is no multiple of trace_blocks")
    must(0 <= r["hit_rate"] <= 1 and r["p50_us"] <= r["p99_us"], "a rate or a percentile is wrong")


def check_counted(r, c):
    for name in ("requests", "refused_requests", "trace_blocks", "blocks", "bytes", "matrix"):
        must(r[name] == c[name], "%s is %s, counted %s" % (name, r[name], c[name]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("report")
    parser.add_argument("--counted")
    parser.add_argument("--like")
    parser.add_argument("--loose", action="store_true")
    parser.add_argument("--verified", action="store_true", help="verified + stale must be bytes")
    parser.add_argument("holds", nargs="*")
    args = parser.parse_intermixed_args()
    with open(args.report) as file:
        r = json.load(file)
    must(set(r) == NAMES, "names: %s too many, %s missing" % (sorted(set(r) - NAMES),
                                                            sorted(NAMES - set(r))))
    if not args.loose:
        check_sums(r)
    if args.verified:
        must(r["verified_bytes"] + r["stale_bytes"] == r["bytes"], "bytes %d, verified %d, stale %d" % (
            r["bytes"], r["verified_bytes"], r["stale_bytes"]))
    if args.counted:
        with open(args.counted) as file:
            check_counted(r, json.load(file))
    if args.like:
        with open(args.like) as file:
            other = json.load(file)
        for name in sorted(NAMES - set(TIMES)):
            must(r[name] == other[name], "%s is %s, elsewhere %s" % (name, r[name], other[name]))
    for term in args.holds:
        name, how, want = re.fullmatch(r"([^=<>]+)([=<>])(.*)", term).groups()
        have, want = value_of(r, name), json.loads(want)
        must(have == want if how == "=" else have < want if how == "<" else have > want,
             "%s: it is %s" % (term, have))
    for sentence in faults:
        print(sentence)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: BSD-3-Clause
"""table.py OUT: one table of what run.sh left in OUT, to standard output and OUT/table.md; OUT/table.json.

Rates are 10^9 bytes a second over all calls of a cell, medians of the rounds; in brackets how many times as
fast kvferry's shm path is. Times are of the median call. A row is a block size and the blocks of a batch.
"""

import glob
import json
import os
import statistics
import sys

ANEW = "nixl-cma, requests made anew"
ORDER = ["memcpy", "kvferry", "mooncake-shm", "nixl-cma", ANEW, "nixl", "mooncake-tcp", "mooncake-tcp-pool"]


def human(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size % unit == 0:
            return "%d %s" % (size // unit, name)
    return "%d B" % size


def rows_of(path):
    with open(path) as file:
        return [json.loads(line) for line in file if line.startswith("{")]


def add(cell, name, gbps, p50_us=None, p99_us=None, ratio=None):
    cell.setdefault(name, []).append({"gbps": gbps, "p50_us": p50_us, "p99_us": p99_us, "ratio": ratio})


def add_peer(cell, row):
    if "failed" in row:
        cell[row["peer"]] = cell.get(row["peer"], [])
        return
    add(cell, row["peer"], row["mean_gbps"], row["p50_us"], row["p99_us"])
    if "fresh_p50_us" in row and row["peer"] == "nixl-cma":
        add(cell, ANEW, row["fresh_mean_gbps"], row["fresh_p50_us"], row["fresh_p99_us"])


def collect(out):
    """{(op, block, batch): {name: a dictionary a round}}, and the bytes that were wrong."""
    cells, wrong = {}, 0
    for path in sorted(glob.glob(os.path.join(out, "*.jsonl"))):
        for row in rows_of(path):
            if "floor_gbps" in row:  # of kvf_bench
                cell = cells.setdefault((row["op"], row["piece"], row["pieces"]), {})
                add(cell, "kvferry", row["gbps"], row["p50_us"], row["p99_us"])
                add(cell, "memcpy", row["floor_gbps"], ratio=row["ratio"])
                wrong += row["mismatched_bytes"]
            else:
                add_peer(cells.setdefault((row["op"], row["block"], row["batch"]), {}), row)
                wrong += row["wrong"]
    return cells, wrong


def median(rounds, key):
    values = [r[key] for r in rounds if r[key] is not None]
    return statistics.median(values) if values else None


def summary(cells):
    rows = []
    for (op, block, batch), found in sorted(cells.items()):
        row = {"op": op, "block": block, "batch": batch}
        own = median(found.get("kvferry", []), "gbps")
        for name, rounds in found.items():
            figures = {key: median(rounds, key) for key in ("gbps", "p50_us", "p99_us")}
            ratio = median(rounds, "ratio")
            if ratio is None and own is not None and figures["gbps"] is not None:
                ratio = own / figures["gbps"]
            row[name] = {**figures, "rounds": len(rounds), "kvferry_is_times": ratio}
        rows.append(row)
    return rows


def text_of(name, cell, key):
    if cell is None:
        return ""
    if cell["rounds"] == 0:
        return "fails"
    if cell[key] is None:
        return ""
    text = "%.3g" % cell[key] if cell[key] < 1000 else "%.0f" % cell[key]
    if key == "gbps" and name != "kvferry" and cell["kvferry_is_times"] is not None:
        text += " (%.3g)" % cell["kvferry_is_times"] if cell["kvferry_is_times"] < 1000 else " (>1000)"
    return text


def table(rows, op, key, title):
    names = [n for n in ORDER if any(n in row for row in rows) and not (n == "memcpy" and key != "gbps")]
    lines = ["**%s**, %s" % (op, title), "", "| block x batch | " + " | ".join(names) + " |",
             "|---" * (len(names) + 1) + "|"]
    for row in rows:
        if row["op"] == op:
            texts = [text_of(name, row.get(name), key) for name in names]
            lines.append("| %s x %d | %s |" % (human(row["block"]), row["batch"], " | ".join(texts)))
    return "\n".join(lines) + "\n"


def markdown(rows):
    return "\n".join(table(rows, op, key, title) for key, title in (
        ("gbps", "GB/s (kvferry is so many times as fast)"), ("p50_us", "median call, microseconds"))
        for op in ("read", "write"))


def main():
    out = sys.argv[1]
    cells, wrong = collect(out)
    rows = summary(cells)
    with open(os.path.join(out, "table.json"), "w") as file:
        json.dump({"wrong_bytes": wrong, "rows": rows}, file, indent=1)
    text = markdown(rows)
    with open(os.path.join(out, "table.md"), "w") as file:
        file.write(text)
    print(text, end="")
    if wrong:
        print("%d bytes were wrong" % wrong, file=sys.stderr)
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    sys.exit(main())

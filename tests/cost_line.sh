#!/bin/bash
# What bench/cost_line.sh makes of figures is the line that a calibration file takes: fixed part, op, and
# a piece of each size, none above a longer one; a run that fails, or tells nothing, gives no line.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
tmpdir

# In place of kvf_bench: 30 us, and 1 ns a byte; but 4 KiB were disturbed, ten times as long.
cat >"$TMP/bench" <<'END'
#!/bin/bash
piece=64 pieces=1 slow=1
while [ $# -gt 0 ]; do
    case $1 in
        --piece) piece=$2 ;;
        --pieces) pieces=$2 ;;
        --path) path=$2 ;;
    esac
    shift
done
[ "$path" = am ] || { echo "no such path here" >&2; exit 1; }
[ "$piece" -ne 4096 ] || slow=10
[ "$pieces" -eq 1 ] && total=30 || total=$((30 + slow * piece * pieces / 1000))
echo "{\"path\": \"am\", \"p50_us\": $total, \"p99_us\": 99}"
END
chmod +x "$TMP/bench"
line=$(bash "$top_srcdir/bench/cost_line.sh" am "$TMP/bench") || fail "it ends with $?"
read -r name fixed op rest <<<"$line"
[ "$name $fixed $op" = "cost_am 26000 4000" ] || fail "the fixed part: $line"
awk -v rest="$rest" 'BEGIN {
    n = split(rest, ps, " ")
    size = 64
    for (i = 1; i <= n; i++) {
        want = size * 1000 == 4096000 ? 16384000 : size * 1000
        bad += ps[i] < want * 0.99 || ps[i] > want * 1.01
        size = size == 262144 ? 2097152 : size * 4
    }
    exit n != 8 || bad
}' || fail "the pieces: $line"
bash "$top_srcdir/bench/cost_line.sh" stage "$TMP/bench" >"$TMP/out" 2>"$TMP/err" && fail "a failing run is no failure"
grep -q 'no such path here' "$TMP/err" || fail "the reason of a failing run is not told"
grep -q 'ends with 1$' "$TMP/err" || fail "how a failing run ended is not told"
[ ! -s "$TMP/out" ] || fail "a failing run gives a line"
bash "$top_srcdir/bench/cost_line.sh" am true 2>"$TMP/err" && fail "no figures are no failure"
grep -q 'tells no p50_us' "$TMP/err" || fail "no figures: not told"
bash "$top_srcdir/bench/cost_line.sh" self true 2>/dev/null && fail "a path of one process is taken"
exit 0

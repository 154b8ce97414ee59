#!/bin/bash
# What the tools write: a report that is there is left as it is by a run that comes to none; an output that
# is an input, or the file of another output, is refused, and so is one that cannot be written, before the
# work; nothing is left beside it.
. "$top_srcdir/tests/lib.sh"
need_mpi
tmpdir
tools=$top_builddir/tools
head -n 2 "$top_srcdir/share/sample_trace.jsonl" >"$TMP/trace"
ln -s trace "$TMP/link"
cp "$TMP/trace" "$TMP/kept"

# refuse CODE WANT TOOL ARGUMENTS...: $TMP/report is what it was, and the sentence is told once
refuse()
{
    local want_code=$1 want=$2 tool=$3 code=0
    shift 3
    echo old >"$TMP/report"
    "$tools/$tool" "$@" >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code -eq "$want_code" ] || { cat "$TMP/err"; fail "$tool $*: ends with $code"; }
    grep -qF -- "$tool: $want" "$TMP/err" || { cat "$TMP/err"; fail "$tool $*: no \"$want\""; }
    [ "$(cat "$TMP/report")" = old ] || fail "$tool $*: the report that was there is gone"
    cmp -s "$TMP/trace" "$TMP/kept" || fail "$tool $*: the trace is gone"
    [ -z "$(find "$TMP" -name 'report?*' -o -name 'x.*?*')" ] || { ls "$TMP"; fail "$tool $*: leaves a file"; }
}
refuse 2 "--json: $TMP/trace is the file of --trace, too" kvf_replay --trace "$TMP/trace" --json "$TMP/trace"
refuse 2 "--json: $TMP/link is the file of --trace, too" kvf_replay --trace "$TMP/trace" --json "$TMP/link"
refuse 2 "$TMP/none: open" kvf_replay --trace "$TMP/none" --json "$TMP/report"
refuse 2 '--layout: layout "XYZ"' kvf_replay --trace "$TMP/trace" --layout XYZ --json "$TMP/report"
KVFERRY_NET=none refuse 1 'opening kvferry: ' kvf_bench --path self --json "$TMP/report"
refuse 1 'own, pieces of 1 GiB: the case takes ' kvf_bench --path self --piece 1G --pieces 60000 --json "$TMP/report"
refuse 2 '--src-rank: no rank 9: ranks are counted from 0, and the last one is 0' kvf_explain --src-rank 9 --json "$TMP/report"
refuse 1 'these ranks have nothing in common' kvf_explain --layers 0 --src-pp 2 --src-rank 1 --json "$TMP/report"
if command -v gnuplot >/dev/null; then
    refuse 2 "--plot: cannot write $TMP/none/x.svg" kvf_bench --path self --hot --plot "$TMP/none/x.svg"
    [ ! -s "$TMP/out" ] || fail "--plot to a folder that is not there: something was measured"
    refuse 2 "--plot: $TMP/x.dat is the file of --json, too" kvf_bench --path self --hot --plot "$TMP/x.svg" \
        --json "$TMP/x.dat"
fi

# written straight: a device stays one, and so does a FIFO
mkfifo "$TMP/fifo"
cat "$TMP/fifo" >"$TMP/through" &
"$tools/kvf_explain" --tokens 16 --json "$TMP/fifo" >"$TMP/out" || fail "--json to a FIFO"
wait $!
grep -q '"pairs"' "$TMP/through" || fail "nothing came through the FIFO"
[ -p "$TMP/fifo" ] || fail "the FIFO was replaced"

# apart WANT TOOL ARGUMENTS of rank 0 : ARGUMENTS of rank 1: told at once, by the name of the option
apart()
{
    local want=$1 tool=$2 code=0
    shift 2
    timeout 20 "$MPIRUN" --oversubscribe --bind-to none -n 1 "$tools/$tool" "$@" >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code -eq 2 ] || { cat "$TMP/err"; fail "$tool $*: ends with $code"; }
    grep -qF -- "$tool: $want: all ranks must be given the same" "$TMP/err" || { cat "$TMP/err"; fail "$tool $*: no \"$want\""; }
}
rank1=(: -n 1)
apart 'rank 1: --reps 2 here and --reps 1 on rank 0' kvf_bench --path shm --reps 1 --scale 1/256 "${rank1[@]}" \
    "$tools/kvf_bench" --path shm --reps 2 --scale 1/256
apart 'rank 1: --shape W1 here and no more options on rank 0' kvf_bench --scale 1/256 "${rank1[@]}" \
    "$tools/kvf_bench" --scale 1/256 --shape W1
apart 'rank 1: --tokens 16 here and --analyze on rank 0' kvf_explain --analyze --tokens 16 "${rank1[@]}" \
    "$tools/kvf_explain" --tokens 16

# what takes two ranks says so to one
refuse 2 'rank 0: --path shm takes 2 ranks, and the job has 1' kvf_explain --analyze --tokens 16 --path shm --json "$TMP/report"
refuse 2 '--paths: one rank alone takes self' kvf_replay --trace "$TMP/trace" --paths shm --json "$TMP/report"

for tool in kvf_info kvf_bench kvf_explain kvf_replay; do
    "$tools/$tool" -h >"$TMP/out" 2>&1 || { cat "$TMP/out"; fail "$tool -h ends with $?"; }
    "$tools/$tool" --help | cmp -s - "$TMP/out" || fail "$tool -h is not --help"
done

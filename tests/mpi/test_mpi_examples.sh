#!/usr/bin/env bash
# The examples run, are right, and print one line.
. "$top_srcdir/tests/mpi/cases.sh"

# example N NAME LINE
example()
{
    local n=$1 name=$2 line=$3
    mpi_run "$n" "$top_builddir/mpi_examples/$name" >"$TMP/out" 2>"$TMP/err" ||
        { cat "$TMP/out" "$TMP/err"; fail "$name on $n ranks"; }
    [ "$(cat "$TMP/out")" = "$line" ] || { cat "$TMP/out"; fail "$name on $n ranks: what it prints"; }
    echo "ok: $line"
}

for n in 1 2 4; do
    example "$n" ring "ring: $n ranks, 1048576 bytes to each next one, 0 wrong"
done
for n in 2 4; do
    example "$n" prefill_decode \
        "prefill_decode: $((n - 1)) ranks pulled 12 blocks of 262144 bytes each, 0 words wrong"
done
resharded="reshard_2to4: 4 ranks pulled 1000 tokens by 5 plans, 0 wrong; then a block was reused, and \
3 could use 512 of them"
example 6 reshard_2to4 "$resharded"
layered="layerwise: 12 layers of 700 tokens, each used when it came, 0 words wrong"
example 2 layerwise "$layered"
example 3 layerwise "$layered"
export KVFERRY_NET=tcp KVFERRY_LOCAL=off
MPI_ARGS=(-x KVFERRY_NET -x KVFERRY_LOCAL)
example 2 ring "ring: 2 ranks, 1048576 bytes to each next one, 0 wrong"
example 3 prefill_decode \
    "prefill_decode: 2 ranks pulled 12 blocks of 262144 bytes each, 0 words wrong"
example 6 reshard_2to4 "$resharded"
example 2 layerwise "$layered"
mpi_run 1 "$top_builddir/mpi_examples/prefill_decode" >"$TMP/out" 2>"$TMP/err" &&
    fail "prefill_decode runs on one rank"
grep -q '^prefill_decode: start: KVF_ERR_INVALID: it takes two ranks$' "$TMP/err" ||
    { cat "$TMP/err"; fail "prefill_decode on one rank does not say who is wrong"; }
for name in ring:150 prefill_decode:160 reshard_2to4:220 layerwise:200; do
    lines=$(wc -l <"$top_srcdir/mpi_examples/${name%:*}.c")
    [ "$lines" -lt "${name#*:}" ] ||
        fail "${name%:*}.c has $lines lines: an example is one to read"
done

#!/bin/bash
# kvf_info --calibrate writes a file that the next engine reads; a file that is cut, changed, of another
# machine or missing is ignored with one line that names it; a place that cannot be written is told, and
# leaves nothing behind; settings stand above the file.
. "$top_srcdir/tests/lib.sh"
tmpdir
info=$top_builddir/tools/kvf_info
unset KVFERRY_CALIBRATION KVFERRY_COPY_KERNEL KVFERRY_STREAM_FROM
export XDG_CACHE_HOME=$TMP/cache HOME=$TMP/home

# value NAME: what a setting is
value()
{
    "$info" 2>"$TMP/err" | awk -v name="KVFERRY_$1" '$1 == name { print $2 }'
}

# ignored WHY: no calibration is in force, and one line says so
ignored()
{
    [ "$(value CALIBRATION)" = none ] || fail "$1: the file is in force"
    [ "$(grep -c "the calibration $file is not used: $1" "$TMP/err")" -eq 1 ] || {
        cat "$TMP/err"
        fail "no line, or several, that name the file: $1"
    }
    [ "$(wc -l <"$TMP/err")" -eq 1 ] || { cat "$TMP/err"; fail "more than one line: $1"; }
}

[ "$(value CALIBRATION)" = none ] || fail "a calibration is in force that nobody made"
[ ! -s "$TMP/err" ] || { cat "$TMP/err"; fail "a missing file that nobody named is complained about"; }
"$info" --calibrate >"$TMP/out" 2>"$TMP/err" || { cat "$TMP/err"; fail "--calibrate ends with $?"; }
[ ! -s "$TMP/err" ] || { cat "$TMP/err"; fail "--calibrate complains on success"; }
file=$(echo "$XDG_CACHE_HOME"/kvferry/*)
[ -f "$file" ] || fail "no file, or several: $file"
[ "$(stat -c %a "$XDG_CACHE_HOME" "${file%/*}" | tr '\n' ' ')" = '700 700 ' ] ||
    fail "others may look into the folders that were made"
grep -Eq "KVFERRY_CALIBRATION +$file " "$TMP/out" || fail "the output does not say that the file is in force"
[ "$(value CALIBRATION)" = "$file" ] || fail "the next engine does not read the file"
[ "$(value COPY_KERNEL)" = "$(sed -n 's/^kernel //p' "$file")" ] || fail "its kernel is not in force"

grep -q '^cost_cma [1-9]' "$file" || fail "what cma costs was not measured"
"$info" | grep -q '^  stage  .*[0-9]' || fail "no prediction for stage"

# costs can be set by hand, and lines of paths may be missing
cp "$file" "$TMP/measured"
sed -i '/^cost_am /d; s/^cost_shm .*/cost_shm 1 1 64000 256000 1024000 4096000 16384000 65536000 262144000 2097152000/
        /^cost_stage/a cost_rma 1 1 6400 25600 102400 409600 1638400 6553600 26214400 209715200' "$file"
"$info" >"$TMP/out" 2>"$TMP/err"
[ ! -s "$TMP/err" ] || { cat "$TMP/err"; fail "a file with costs set by hand is complained about"; }
grep -Eq '^  shm( +1\.00){7}$' "$TMP/out" || { cat "$TMP/out"; fail "costs set by hand are not in force"; }
grep -Eq '^  rma( +(9\.99|10\.00)){7}$' "$TMP/out" || { cat "$TMP/out"; fail "a path that nothing is known of takes no costs"; }
grep -Eq '^  am ' "$TMP/out" || fail "a missing line takes away what is built in"
cp "$TMP/measured" "$file"

# what stands above it
[ "$(KVFERRY_COPY_KERNEL=plain value COPY_KERNEL)" = plain ] || fail "KVFERRY_COPY_KERNEL is below the file"
[ "$(KVFERRY_STREAM_FROM=12345 value STREAM_FROM)" = 12345 ] || fail "KVFERRY_STREAM_FROM is below the file"
[ "$(KVFERRY_CALIBRATION=off value CALIBRATION)" = off ] || fail "off does not turn the file off"

# what is not taken
cp "$file" "$TMP/good"
for lines in 0 1 4 8; do
    head -n $lines "$TMP/good" >"$file"
    if [ $lines -eq 0 ]; then
        ignored 'it is no calibration'
    else
        ignored 'it is damaged'
    fi
done
for change in 's/^cold_ns .*/cold_ns -4/' 's/^cold_ns .*/cold_ns 0/' 's/^probe_from_bytes .*/probe_from_bytes 99999999999999999999/' \
    's/^stream_from_bytes .*/stream_from_bytes 1/' 's/^end/END/' '/^linear/d' \
    's/^cost_cma .*/cost_cma 1 2/' 's/^\(cost_cma .*\) [0-9]*$/\1 0/' 's/^\(cost_cma .*\)$/\1 9/' \
    's/^cost_cma /cost_gma /' 's/^wake_ns .*/wake_ns soon/' '/^wake_ns/d'; do
    sed "$change" "$TMP/good" >"$file"
    ignored 'it is damaged'
done
sed 's/^model .*/model of another maker/' "$TMP/good" >"$file"
ignored 'it is of another kind of machine'
sed 's/^kernel .*/kernel mmx/' "$TMP/good" >"$file"
ignored 'its kernel is none'
head -c 3000 /dev/urandom >"$file"
ignored 'it is no calibration'
mkfifo "$TMP/fifo"
file=$TMP/fifo
export KVFERRY_CALIBRATION=$file
ignored 'it is not a regular file'
file=$TMP/nowhere
export KVFERRY_CALIBRATION=$file
ignored 'No such file'

# where it cannot be written
: >"$TMP/plain"
export KVFERRY_CALIBRATION=$TMP/plain/file
code=0
"$info" --calibrate >"$TMP/out" 2>"$TMP/err" || code=$?
[ $code -eq 1 ] || fail "--calibrate ends with $code where it cannot write"
grep -q "cannot write the calibration $TMP/plain/file" "$TMP/err" || { cat "$TMP/err"; fail "it does not say so"; }
export KVFERRY_CALIBRATION=$TMP/none/of/it
"$info" --calibrate >"$TMP/out" 2>"$TMP/err" && fail "--calibrate makes the folders of a file that was named"
[ ! -e "$TMP/none" ] || fail "--calibrate leaves folders of a file that was named"
export KVFERRY_CALIBRATION=off
"$info" --calibrate >"$TMP/out" 2>"$TMP/err" && fail "--calibrate succeeds with KVFERRY_CALIBRATION=off"
grep -q 'KVFERRY_CALIBRATION is off' "$TMP/err" || { cat "$TMP/err"; fail "it does not say so"; }
unset KVFERRY_CALIBRATION
[ "$(ls "$XDG_CACHE_HOME/kvferry" | wc -l)" -eq 1 ] || fail "files are left beside the calibration"

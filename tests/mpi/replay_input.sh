#!/bin/bash
# Traces as users have them (D2, D3): a byte order mark, CRLF, blank lines, a missing last newline, a pipe
# and standard input give the report of the clean file; what is malformed is named by its line, or
# counted with --skip-bad; a wrong block size is refused with the one that fits.
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/mpi/replay_lib.sh"

head -n 12 "$sample" >"$TMP/clean"
replay 2 --trace "$TMP/clean" "${small[@]}"
right "clean"
report "clean" --verified requests=12 skipped_lines=0
mv "$TMP/json" "$TMP/clean.json"

same()
{
    right "$1"
    report "$1" --like "$TMP/clean.json"
}

printf '\xef\xbb\xbf' | cat - "$TMP/clean" >"$TMP/in"
replay 2 --trace "$TMP/in" "${small[@]}"
same "byte order mark"
sed 's/$/\r/; 3s/^/\r\n  \r\n/' "$TMP/clean" >"$TMP/in"
replay 2 --trace "$TMP/in" "${small[@]}"
same "CRLF and blank lines"
head -c -1 "$TMP/clean" >"$TMP/in"
replay 2 --trace "$TMP/in" "${small[@]}"
same "no last newline"
mkfifo "$TMP/fifo"
cat "$TMP/clean" >"$TMP/fifo" &
replay 2 --trace "$TMP/fifo" "${small[@]}"
same "a pipe"
mpi_run 2 "$tool" --json "$TMP/json" --trace - "${small[@]}" <"$TMP/clean" >"$TMP/out" 2>&1
code=$?
same "standard input"

# faults, each with the words that must name it
bad()
{
    local what=$1 text=$2
    shift 2
    replay 2 --trace "$TMP/in" "${small[@]}" "$@"
    refused 2 "$what" "$text"
}

sed '5s/"hash_ids"/"hash_ids/' "$TMP/clean" >"$TMP/in"
bad "a malformed line" "line 5, column"
replay 2 --trace "$TMP/in" "${small[@]}" --skip-bad
right "skip-bad"
report "skip-bad" --verified requests=11 skipped_lines=1
sed '4s/.*/[]/; 6s/: [0-9]*,/: 1.5e3,/2; 9s/\[/[18446744073709551616, /' "$TMP/clean" >"$TMP/in"
replay 2 --trace "$TMP/in" "${small[@]}" --skip-bad
right "skip-bad"
report "three bad lines" --verified requests=9 skipped_lines=3
sed '$s/.\{20\}$//' "$TMP/clean" | head -c -1 >"$TMP/in"
bad "cut inside a line" "line 12, column"
: >"$TMP/in"
bad "an empty file" "$TMP/in"
cp "$TMP/clean" "$TMP/in"
bad "another block size" "512 tokens" --trace-block-tokens 64
rm "$TMP/in"
bad "a missing file" "$TMP/in"

echo "a clock that makes no sense"
line() { printf '{"timestamp": %s, "input_length": 600, "output_length": 1, "hash_ids": [%s]}\n' "$1" "$2"; }
{ line 0 1,2; line 5 3,4; line 63115200000 5,6; line 63115200010 5,7; } >"$TMP/in"
bad "two years" "the trace takes 730 d 12 h 0 min by its clock, 730 d 11 h 59 min of them before line 3, and" --speed trace
bad "two years, 1000 times as fast" "takes 0 h 20 min 0 s by its clock" --speed trace:52595 --max-seconds 60
{ line 0 1,2; line 18446744073710 3,4; } >"$TMP/in"
bad "beyond 585 years" "the trace takes 585 years by its clock, 585 years of them before line 2" --speed trace
replay 2 --trace "$TMP/in" "${small[@]}"
right "without the clock"
{ line 0 1,2; line 100 3,4; } >"$TMP/in"
replay 2 --trace "$TMP/in" "${small[@]}" --speed trace
right "a tenth of a second"
report "a tenth of a second" --verified requests=2 'time_unit="ms"'
grep -q "the trace takes 0.1 s by its clock, the longest wait is 0.1 s before line 2" "$TMP/out" ||
    { cat "$TMP/out"; fail "nobody says how long it takes"; }
grep -qi "mooncake, timestamps in ms" "$TMP/out" || { cat "$TMP/out"; fail "the unit of the time"; }
{ line 0 1,2; line -5 3,4; line 7 5,6; } >"$TMP/in"
bad "a negative time" "line 2, column 15: timestamp is negative"
replay 2 --trace "$TMP/in" "${small[@]}" --skip-bad
right "a negative time is skipped"
report "a negative time is skipped" --verified requests=2 skipped_lines=1

echo "ids of 64 bits, one line of 2 MiB, Qwen-Bailian"
printf '{"timestamp": 0, "input_length": 1024, "output_length": 1, "hash_ids": [18446744073709551615, 18446744073709551614]}\n' >"$TMP/in"
printf '{"timestamp": 1, "note": "%2097152s", "input_length": 1000, "output_length": 1, "hash_ids": [18446744073709551615, 0]}\n' x >>"$TMP/in"
replay 2 --trace "$TMP/in" "${small[@]}"
right "large ids"
report "large ids" --verified requests=2 trace_blocks=4 hits=1
for i in 1 2 3 4; do
    printf '{"chat_id": %d, "parent_chat_id": -1, "timestamp": %d.5, "input_length": 40, "output_length": 2, "type": "text", "turn": 1, "hash_ids": [7, 8, %d]}\n' $i $i $((10 + i))
done >"$TMP/in"
replay 2 --trace "$TMP/in" --scale 1/16 --blocks 64
right "Qwen-Bailian"
report "Qwen-Bailian" --verified requests=4 trace_blocks=12 trace_block_tokens=16 block_tokens=16 hits=6

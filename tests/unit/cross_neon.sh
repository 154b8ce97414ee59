#!/bin/bash
# The copy room on 64-bit Arm: its sources and its tests, as they are, go through a cross compiler and run
# under qemu's user mode. The NEON kernel must be the one that is found, and must move every byte.
. "$top_srcdir/tests/lib.sh"
tmpdir
cc=aarch64-linux-gnu-gcc
command -v $cc >/dev/null || skip "no $cc: the NEON kernel cannot be built"
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static) || skip "no qemu-aarch64: NEON code cannot run"
echo 'int main(void) { return 0; }' >"$TMP/hello.c"
$cc -static -o "$TMP/hello" "$TMP/hello.c" 2>"$TMP/log" ||
    skip "$cc has no static C library (Debian: libc6-dev-arm64-cross): $(tail -n 1 "$TMP/log")"
"$qemu" "$TMP/hello" || skip "$qemu does not run here"

for test in kernel walk box; do
    $cc -static -O2 -std=gnu11 -Wall -Wextra -Werror -pthread -o "$TMP/$test" -I"$top_srcdir/tests/unit/cross" \
        -I"$top_srcdir/src" -I"$top_srcdir/include" -I"$top_builddir" "$top_srcdir/tests/unit/test_$test.c" \
        "$top_srcdir"/src/copy/*.c "$top_srcdir/src/base/status.c" >"$TMP/log" 2>&1 ||
        { cat "$TMP/log"; fail "test_$test does not build for Arm"; }
    timeout 120 "$qemu" "$TMP/$test" >"$TMP/$test.out" 2>&1 || { tail "$TMP/$test.out"; fail "test_$test ends with $? on Arm"; }
    grep -c ': ' "$TMP/$test.out" | sed "s/$/ tests of test_$test/"
done
grep -q 'has no neon' "$TMP/kernel.out" && fail "the NEON kernel was not tried"
grep -q 'has no avx2' "$TMP/kernel.out" || fail "these tests did not run on Arm"
exit 0

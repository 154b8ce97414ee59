#!/bin/bash
# The README's example in C is a program: it compiles with every warning on, and prints what its comment
# says it prints.
. "$top_srcdir/tests/lib.sh"
tmpdir
san=()
[ "${SANITIZER:-no}" = no ] || san=("-fsanitize=$SANITIZER")

readme_example >"$TMP/example.c"
[ -s "$TMP/example.c" ] || fail "README.md has no C example"
$CC -std=c11 -Wall -Wextra -Werror "${san[@]}" -I"$top_srcdir/include" -o "$TMP/example" "$TMP/example.c" \
    -L"$top_builddir/.libs" -lkvferry -Wl,-rpath,"$top_builddir/.libs" ||
    fail "the README's example does not compile"
"$TMP/example" >"$TMP/out" || fail "the README's example ended with exit code $?"
said=$(sed -n 's/.*prints: \(.*[^ ]\) *\*\/.*/\1/p' "$TMP/example.c")
[ "$(cat "$TMP/out")" = "$said" ] ||
    fail "the README's example prints \"$(cat "$TMP/out")\", and not \"$said\""

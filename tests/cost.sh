#!/bin/bash
# What a batch costs beside its bytes, in instructions, is at most a quarter above docs/cost.md: a
# regression shows on any machine, however busy.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
[ "${SANITIZER:-no}" = no ] || skip "built for a sanitizer, whose instructions would be counted too"
command -v valgrind >/dev/null || skip "valgrind is not installed"
[ "$(uname -m)" = x86_64 ] || skip "docs/cost.md has the counts of x86-64"
"$CC" --version | grep -q 'Free Software Foundation' || skip "docs/cost.md has the counts of gcc"
bash "$top_srcdir/bench/cost.sh" "$top_builddir" "$top_srcdir/docs/cost.md" || fail "see above"

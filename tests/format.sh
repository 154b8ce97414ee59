#!/bin/bash
# One dialect of C: each file as .clang-format says, by the release that it was written for.
. "$top_srcdir/tests/lib.sh"

command -v clang-format >/dev/null || skip "clang-format is not installed"
release=$(clang-format --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
[ "$release" = 14 ] || skip "clang-format $release: each release breaks lines in its own way, the tree follows 14"
cd "$top_srcdir" || fail "no $top_srcdir"
files=$(find src include tools tests mpi_examples bench -name '*.[ch]')
# shellcheck disable=SC2086  # names without blanks
clang-format --style=file --dry-run --Werror $files 2>&1 | head -n 40
[ "${PIPESTATUS[0]}" -eq 0 ] || fail "not as .clang-format says: clang-format -i FILE mends it"

#!/bin/bash
# Hazard: libucp of one UCX finds libucs of another, as a wrong LD_LIBRARY_PATH brings it about, and the
# process dies in the middle of a call. An engine refuses to open, and names both folders.
. "$top_srcdir/tests/lib.sh"
tmpdir
lib=$top_builddir/.libs/libkvferry.so
real=$(ldd "$lib" | awk '$1 ~ /^libucs\.so/ { print $3; exit }')
[ -f "$real" ] || fail "$lib loads no libucs"
cp "$real" "$TMP/${real##*/}"
if readelf -d "$lib" | grep -q '(RPATH)'; then
    LD_LIBRARY_PATH=$TMP "$top_builddir/tools/kvf_info" >/dev/null || fail "RPATH does not hold"
    exit 0
fi
! out=$(LD_LIBRARY_PATH=$TMP "$top_builddir/tools/kvf_info" 2>&1 >/dev/null) || fail "two UCX were taken for one"
grep -q "two UCX are mixed: libucp was loaded from /.* and libucs from $TMP" <<< "$out" || fail "it says: $out"

#!/bin/bash
# A library exports the functions that its public headers declare, all of them and nothing else, each
# under a version of its symbol map.
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/declared.sh"
tmpdir
bad=0

# exported LIBRARY
exported()
{
    nm -D --defined-only "$1" | awk '$2 ~ /^[TDBRVWi]$/ { print $3 }'
}

# compare LIBRARY HEADERS...
compare()
{
    local lib=$1 header
    shift
    [ -e "$lib" ] || fail "there is no $lib"
    for header in "$@"; do
        # shellcheck disable=SC2086  # flags
        declared "$header" $MPI_CFLAGS
    done | sort -u >"$TMP/declared"
    [ -s "$TMP/declared" ] || fail "no function found in $*"
    exported "$lib" | sed 's/@.*//' | sort -u >"$TMP/exported"
    if ! diff -u "$TMP/declared" "$TMP/exported" >"$TMP/diff"; then
        echo "${lib##*/}: declared (-) against exported (+):"
        grep '^[-+][a-z]' "$TMP/diff"
        bad=1
    fi
    if exported "$lib" | grep -Ev '@@KVFERRY_(MPI_)?[0-9]' | grep .; then
        echo "${lib##*/}: the symbols above carry no version"
        bad=1
    fi
    echo "${lib##*/}: $(wc -l <"$TMP/declared") functions declared"
}

headers=("$top_srcdir/include/kvferry.h")
if [ -e "$top_srcdir/include/kvferry/kv.h" ]; then
    headers+=("$top_srcdir/include/kvferry/kv.h")
fi
compare "$top_builddir/.libs/libkvferry.so" "${headers[@]}"
if [ -e "$top_builddir/libkvferry_mpi.la" ]; then
    compare "$top_builddir/.libs/libkvferry_mpi.so" "$top_srcdir/include/kvferry/mpi.h"
fi
[ $bad -eq 0 ] || fail "headers and libraries differ"

#!/bin/bash
# A caller may include any public header first and alone, in C99, C11 and C++17, with every warning on,
# and gets no foreign header with it (only mpi.h brings MPI's). Names keep C linkage in C++.
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/declared.sh"
tmpdir
bad=0
strict=(-Wall -Wextra -Werror -pedantic -fsyntax-only)
mpi_flags=${MPI_CFLAGS//-I/-isystem }

for header in "$top_srcdir"/include/kvferry.h "$top_srcdir"/include/kvferry/*.h; do
    [ -e "$header" ] || continue
    name=${header#"$top_srcdir"/include/}
    flags=()
    if [ "$name" = kvferry/mpi.h ]; then
        [ -n "$MPI_CFLAGS" ] || continue
        read -r -a flags <<<"$mpi_flags"
    fi
    printf '#include <%s>\n#include <%s>\nint main(void) { return 0; }\n' "$name" "$name" >"$TMP/t.c"
    cp "$TMP/t.c" "$TMP/t.cc"
    for std in c99 c11; do
        $CC -std=$std "${strict[@]}" -Wstrict-prototypes "${flags[@]}" -I"$top_srcdir/include" \
            "$TMP/t.c" || { echo "$name does not stand alone in $std"; bad=1; }
    done
    if command -v "${CXX%% *}" >/dev/null; then
        $CXX -std=c++17 "${strict[@]}" -Wshadow "${flags[@]}" -I"$top_srcdir/include" "$TMP/t.cc" ||
            { echo "$name does not stand alone in C++17"; bad=1; }
        {
            echo "#include <$name>"
            echo 'extern const void *const table[]; const void *const table[] = {'
            declared "$header" "${flags[@]}" | sed 's/.*/    reinterpret_cast<const void *>(\&&),/'
            echo '    nullptr };'
        } >"$TMP/l.cc"
        if $CXX -std=c++17 "${flags[@]}" -I"$top_srcdir/include" -c -o "$TMP/l.o" "$TMP/l.cc"; then
            nm -u "$TMP/l.o" | awk '{ print $2 }' | grep '^_Z.*kvf_' &&
                { echo "$name: the names above have C++ linkage"; bad=1; }
        else
            bad=1
        fi
    fi
    if $CC -E "${flags[@]}" -I"$top_srcdir/include" "$header" | grep -E '^# .*"[^"]*/(ucp|uct|ucs)/'; then
        echo "$name includes UCX"
        bad=1
    fi
    echo "$name: looked at"
done
[ $bad -eq 0 ] || fail "a public header does not stand alone"

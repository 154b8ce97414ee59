#!/bin/bash
# make installcheck: what a user of an installed kvferry does. The README's example is built with the
# flags that pkg-config tells, from the installed files only, and run; so is the MPI example `ring`, on
# two ranks; the tools answer --version. Run by make, with the installed directories in its environment.
. "$top_srcdir/tests/lib.sh"
: "${prefix:?}" "${bindir:?}" "${libdir:?}" "${pkgconfigdir:?}" "${docdir:?}"
tmpdir
export PKG_CONFIG_PATH=$pkgconfigdir${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export LD_LIBRARY_PATH=$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
san=()
[ "${SANITIZER:-no}" = no ] || san=("-fsanitize=$SANITIZER")

# flags MODULE: sets FLAGS
flags()
{
    local text
    text=$(pkg-config "--define-variable=prefix=$prefix" --cflags --libs "$1") || fail "pkg-config does not know $1"
    read -r -a FLAGS <<<"$text"
}

readme_example >"$TMP/example.c"
flags kvferry
$CC "${san[@]}" -o "$TMP/example" "$TMP/example.c" "${FLAGS[@]}" || fail "the example does not build"
"$TMP/example" || fail "the example ended with exit code $?"
ran="the README's example"

# What the manual pages and the installed README point to.
for page in README.md replay.md explain.md cost.md footprint.md reliability.md examples/ring.c; do
    [ -r "$docdir/$page" ] || fail "$docdir/$page is not installed"
done

if [ -e "$pkgconfigdir/kvferry_mpi.pc" ]; then
    flags kvferry_mpi
    read -r -a mpi <<<"$MPI_CFLAGS $MPI_LIBS"
    $CC "${san[@]}" -o "$TMP/ring" "$docdir/examples/ring.c" "${FLAGS[@]}" "${mpi[@]}" ||
        fail "examples/ring.c does not build"
    mpi_run 2 "$TMP/ring" || fail "examples/ring ended with exit code $?"
    ran="$ran, examples/ring"
fi
for tool in kvf_info kvf_explain kvf_bench kvf_replay; do
    [ -x "$bindir/$tool" ] || continue
    "$bindir/$tool" --version >"$TMP/version" || fail "$tool --version ended with exit code $?"
    grep -qF "$VERSION" "$TMP/version" || fail "$tool --version says: $(cat "$TMP/version")"
    ran="$ran, $tool"
done
echo "installcheck: $ran: well"

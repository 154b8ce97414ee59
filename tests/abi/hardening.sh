#!/bin/bash
# An overrun of a buffer on the stack ends the process, and the table of foreign functions cannot be
# written: the libraries have what configure says under "hardening", and no stack that may be executed.
. "$top_srcdir/tests/lib.sh"
case ${HARDENING:-} in
    '' | no*) skip "configured without hardening: ${HARDENING:-}" ;;
esac
command -v readelf >/dev/null || skip "no readelf"
bad=0

# wants LIBRARY FLAG WHAT COMMAND...: if FLAG is on the output of COMMAND has WHAT
wants()
{
    local lib=$1 flag=$2 what=$3
    shift 3
    case " $HARDENING " in
        *" $flag"*) ;;
        *) return ;;
    esac
    "$@" "$lib" | grep -qE "$what" || { echo "${lib##*/}: $flag, and no $what"; bad=1; }
}

for lib in "$top_builddir"/.libs/libkvferry.so "$top_builddir"/.libs/libkvferry_mpi.so; do
    [ -e "$lib" ] || continue
    wants "$lib" -fstack-protector '__stack_chk_fail' nm -D --undefined-only
    wants "$lib" -D_FORTIFY_SOURCE '__[a-z]+_chk(@|$)' nm -D --undefined-only
    wants "$lib" -Wl,-z,relro 'GNU_RELRO' readelf -lW
    wants "$lib" -Wl,-z,now 'BIND_NOW|FLAGS_1.* NOW' readelf -dW
    readelf -lW "$lib" | grep -q 'GNU_STACK.*E ' && { echo "${lib##*/}: its stack may be executed"; bad=1; }
    echo "${lib##*/}: looked at"
done
[ $bad -eq 0 ] || fail "configured with $HARDENING"

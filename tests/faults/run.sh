#!/bin/bash
# Death and failure at every step: a process is killed at its 1st, 2nd, ... system call of a step, or that
# call fails; nobody else may suffer. `make check` takes a few steps of each scenario. By hand, from a built
# tree (top_builddir, or build/):
#     tests/faults/run.sh --all [SCENARIO...]             every step
#     tests/faults/run.sh --at SCENARIO KIND CALL N       one, with stacks: --at open ENOMEM clone3 1
case ${1:-} in
    -h | --help)
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit
        ;;
    "" | --all | --at) ;;
    *)
        echo "run.sh: unknown option $1; --help lists them" >&2
        exit 2
        ;;
esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export top_srcdir=${top_srcdir:-$(cd "$here/../.." && pwd)}
export top_builddir=${top_builddir:-$top_srcdir/build}
# shellcheck source=tests/lib.sh
. "$top_srcdir/tests/lib.sh"
nodes=$top_srcdir/tests/net/nodes
limit=120
case ${1:-} in
    --all)
        shift
        limit=20000
        ;;
    --at) ;;
    *)
        spread=3
        [ -e "$top_srcdir/.git" ] || spread=1 # a tarball, whose tree was tested
        set -- --spread $spread
        ;;
esac
[ "${SANITIZER:-no}" = no ] || skip "built for a sanitizer: the plain build strikes"
command -v strace >/dev/null || skip "strace is not installed: no system call can be struck"
strace -fk -o /dev/null true 2>/dev/null || skip "strace may not trace here, or prints no stacks"
why=$("$nodes" check 2>&1) || skip "$why"
[ -x "$top_builddir/tests/faults/faults" ] ||
    fail "$top_builddir/tests/faults/faults is not built: make -C $top_builddir tests/faults/faults"
exec "$nodes" sandbox -t "$limit" "$top_builddir/tests/faults/faults" "$@"

#!/bin/bash
# quickstart on a machine that lacks things: it names the packages, and installs nothing where it may
# not. The machine is a PATH that holds a few programs, and an apt-get that only writes down what it is told.
. "$top_srcdir/tests/lib.sh"
tmpdir
quickstart=$top_srcdir/quickstart
[ -e "$quickstart" ] || skip "no quickstart in this tree"
mkdir "$TMP/bin"
for p in bash cat dirname env grep id readlink sed; do
    ln -s "$(command -v $p)" "$TMP/bin/$p" || fail "no $p"
done
if [ -e /usr/sbin/cc ] || [ -e /sbin/cc ]; then
    skip "the compiler is in sbin, which quickstart looks into"
fi

# try WANTED-CODE WANTED-TEXT ARGUMENTS...
try()
{
    local code=$1 text=$2 rc
    shift 2
    env -i PATH="$TMP/bin" HOME="$TMP" "$TMP/bin/bash" "$quickstart" "$@" >"$TMP/out" 2>&1 </dev/null
    rc=$?
    if [ $rc -ne "$code" ] || ! grep -qF -- "$text" "$TMP/out"; then
        cat "$TMP/out"
        fail "quickstart $*: exit code $rc for $code, or not a word of: $text"
    fi
}

try 0 "usage:" --help
try 2 "usage:"
try 2 "usage:" tset
try 1 "test does not take: --frob" test --frob

# no apt-get: not Debian
try 1 "please install what Debian calls: gcc libc6-dev make" run
try 1 "nothing was done" test

# Debian, where apt-get does not mend it
printf '#!/bin/bash\necho "$*" >>"%s"\n' "$TMP/told" >"$TMP/bin/apt-get"
chmod +x "$TMP/bin/apt-get"
if ! grep -qE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release; then
    echo "not Debian: the rest was not looked at"
    exit 0
fi
if [ "$(id -u)" -eq 0 ]; then
    try 1 "installed, and still not found: gcc libc6-dev" test
    grep -q "install gcc libc6-dev make .*mandoc" "$TMP/told" || fail "apt-get was told: $(cat "$TMP/told")"
else
    try 1 "missing packages and no sudo; as root, type: apt-get install gcc" test
    [ ! -e "$TMP/told" ] || fail "apt-get was called without root"
fi

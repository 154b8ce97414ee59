#!/bin/bash
# kvf_info runs alone, without MPI: it names every path of the truth table with a reason for each that
# does not work, every setting, and what of the machine matters; its JSON is JSON; wrong arguments are
# named.
. "$top_srcdir/tests/lib.sh"
tmpdir
info=$top_builddir/tools/kvf_info

"$info" >"$TMP/out" 2>"$TMP/err" || { cat "$TMP/err"; fail "kvf_info ends with $?"; }
[ ! -s "$TMP/err" ] || { cat "$TMP/err"; fail "kvf_info complains on success"; }
for path in self shm cma stage cuda_ipc cuda_copy rma am; do
    grep -Eq "^  $path +(yes|no) " "$TMP/out" || { cat "$TMP/out"; fail "nothing about the path $path"; }
done
grep -Eq "^  self +yes" "$TMP/out" || fail "self does not work here"
sed -n 's/^  [a-z_]* *no *//p' "$TMP/out" | grep -qx '' && fail "a path does not work and nobody says why"
for name in NET LOCAL PROGRESS DEADLINE NOTIFY_DEPTH COPY_THREADS COPY_KERNEL STREAM_FROM CALIBRATION CHECK LOG; do
    grep -q "KVFERRY_$name " "$TMP/out" || { cat "$TMP/out"; fail "nothing about KVFERRY_$name"; }
done
for fact in 'page' 'in huge pages' 'NUMA node' '/dev/shm' 'ptrace scope' 'allowed to this process' 'cache L1'; do
    grep -q "^  $fact" "$TMP/out" || fail "nothing about: $fact"
done

# a setting of the environment shows
KVFERRY_NET=tcp "$info" | grep -Eq 'KVFERRY_NET +tcp' || fail "KVFERRY_NET=tcp does not show"

# and so does why no neighbour can be near here
KVFERRY_LOCAL=off "$info" | grep -Eq '^  shm +no +shm: local = off$' || fail "nobody says why neighbours are far"

"$info" --json >"$TMP/json" || fail "kvf_info --json ends with $?"
for key in kvferry ucx built paths settings segment processors memory; do
    grep -q "^  \"$key\": " "$TMP/json" || fail "--json has no $key"
done
if command -v python3 >/dev/null; then
    python3 -m json.tool "$TMP/json" >"$TMP/pretty" || fail "--json is not JSON"
fi

# refuse WANT ARGUMENTS...: the exit code is 2 and the sentence starts so
refuse()
{
    local want=$1 code=0
    shift
    "$info" "$@" >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code -eq 2 ] || fail "kvf_info $* ends with $code"
    grep -qF "kvf_info: $want" "$TMP/err" || { cat "$TMP/err"; fail "kvf_info $* does not say: $want"; }
}
refuse 'unknown option --nix' --nix
refuse '--net: "foo" is none of' --net foo
refuse '--net needs a value' --net
refuse '"extra" is not an option' extra
"$info" --help | grep -q '^usage: kvf_info' || fail "no usage"
"$info" --version | grep -q '^kvf_info [0-9]' || fail "no version"

# an environment that no engine opens with is told, and the machine's facts still come
code=0
KVFERRY_NET=foo "$info" >"$TMP/out" 2>"$TMP/err" || code=$?
[ $code -eq 1 ] || fail "kvf_info ends with $code when no engine opens"
grep -q 'KVFERRY_NET' "$TMP/err" || { cat "$TMP/err"; fail "the malformed variable is not named"; }
grep -q '^  page' "$TMP/out" || fail "without an engine the machine's facts are missing"

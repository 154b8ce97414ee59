#!/bin/bash
# What the protocols in shared memory promise holds in every order of their steps (spin takes all), and each
# model, broken, finds the fault: so the check itself is proved. A model's head names its shapes, one a line,
# and what each can be broken with, "run.sh: [-DSHAPE] NUMBERS"; without such a line it is one shape, and 1.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
[ -e "$top_srcdir/.git" ] || skip "a tarball: the checkout that it was made of runs the models"
command -v spin >/dev/null || skip "spin is not installed"
tmpdir
bad=0

# look WANTED NAME FLAGS...: every state of the model NAME: WANTED is holds or breaks
look()
{
    local wanted=$1 name=$2 dir states errors level=-O0
    shift 2
    dir=$(mktemp -d "$TMP/XXXXXX") || return 1
    [ "$wanted" = breaks ] || level=-O1
    (cd "$dir" && spin -a "$@" "$top_srcdir/tests/model/$name.pml" &&
        $CC -w $level -DSAFETY -o pan pan.c && ./pan -m100000) >"$dir/log" 2>&1
    errors=$(sed -n 's/.*errors: \([0-9]*\)$/\1/p' "$dir/log")
    states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$dir/log")
    if [ -z "$errors" ] || grep -q 'max search depth too small' "$dir/log"; then
        cat "$dir/log"
    elif [ "$wanted:$errors" = holds:0 ] || { [ "$wanted" = breaks ] && [ "$errors" -gt 0 ]; }; then
        printf '%s %s: %s, %s states\n' "$name" "$*" "$wanted" "$states"
        return 0
    else
        (cd "$dir" && [ "$wanted" = holds ] && spin -t -p -g "$@" "$top_srcdir/tests/model/$name.pml" | tail -n 60)
    fi
    echo "$name $*: wanted that it $wanted, ${errors:-no} errors"
    return 1
}

# in the background, two at a time
started=()
begin()
{
    look "$@" &
    started+=($!)
    [ ${#started[@]} -lt 2 ] || finish
}
finish()
{
    wait "${started[0]}" || bad=1
    started=("${started[@]:1}")
}

for model in "$top_srcdir"/tests/model/*.pml; do
    name=$(basename "$model" .pml)
    lines=$(sed -n 's/^ \* run\.sh: *//p' "$model")
    while read -r -a words; do
        shape=()
        case ${words[0]} in
            -D*) shape=("${words[0]}") && words=("${words[@]:1}") ;;
        esac
        begin holds "$name" "${shape[@]}"
        for number in "${words[@]}"; do
            begin breaks "$name" "${shape[@]}" "-DBROKEN=$number"
        done
    done <<<"${lines:-1}"
done
while [ ${#started[@]} -gt 0 ]; do
    finish
done
[ $bad -eq 0 ] || fail "a promise does not hold, or a model does not find what it is broken with"

#!/bin/bash
# The fixed costs of a batch, and of binding a plan, in instructions, counted by callgrind: the table of docs/cost.md.
#
#   bench/cost.sh DIRECTORY            of the build; prints name and instructions, one a line
#   bench/cost.sh DIRECTORY LIMITS     and says which are more than a quarter above those in the file
set -u
usage() { echo "usage: bench/cost.sh BUILD-DIRECTORY [docs/cost.md]" >&2; exit 2; }
build=${1:-}
limits=${2:-}
[ -x "$build/bench/cost" ] && [ -x "$build/bench/bind" ] || usage
command -v valgrind >/dev/null || { echo "bench/cost.sh: valgrind is not installed" >&2; exit 3; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
posts=100
rounds=31 # of bench/cost, and of bench/bind but for its post

# count FUNCTION PROGRAM ARGUMENT...: instructions of one call of what FUNCTION repeats
count()
{
    local inside=$1 program=$2
    shift 2
    rm -f "$work"/out.*
    "$build/libtool" --mode=execute valgrind --tool=callgrind --toggle-collect="$inside*" \
        --callgrind-out-file="$work/out.%p" "$build/bench/$program" "$@" $posts \
        >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    sed -n 's/^summary: //p; s/^totals: //p' "$work"/out.* | sort -n | tail -n 1 |
        awk -v n=$((posts * rounds)) '{ printf "%d\n", $1 / n }'
}
post() { count post_all cost "$@"; }
post_served() { count post_one cost "$@"; }
bind_plan() { count bind_all bind "$@"; }
bind_and_post() { rounds=1 count bind_and_post bind "$@"; }
plan_and_post() { rounds=1 count plan_and_post bind "$@"; }

bad=0
# row NAME INSTRUCTIONS
row()
{
    local most=
    printf '%-40s %6d\n' "$1" "$2"
    [ -z "$limits" ] && return
    most=$(awk -F'|' -v name="$1" '{ gsub(/^ +| +$/, "", $2) } $2 == name { print $3 + 0 }' "$limits")
    if [ -z "$most" ]; then
        echo "$limits has no row \"$1\""
        bad=1
    elif [ "$2" -gt $((most * 5 / 4)) ]; then
        echo "that is more than a quarter above the $most of $limits"
        bad=1
    fi
}

self=$(post self 1 1) && shm=$(post shm 1 1) && shm9=$(post shm 9 1) && pairs=$(post shm 1 65) || exit 1
stage=$(post_served stage 1 1) && stage9=$(post_served stage 9 1) && am=$(post_served am 1 1) || exit 1
cma= cma9=
if cma=$(post_served cma 1 1 2>/dev/null); then
    cma9=$(post_served cma 9 1) || exit 1
fi
whole=$(bind_plan whole 512) && long=$(bind_plan whole 65536) && cut=$(bind_plan cut 512) &&
    layers=$(bind_plan layers 512) && ends=$(bind_plan ends 512) &&
    few=$(bind_plan sizes 512) && many=$(bind_plan sizes 4608) &&
    posted=$(bind_and_post post 512) && planned=$(plan_and_post plan 512) || exit 1
row "a batch of one op, self" "$self"
row "a batch of one op, shm" "$shm"
row "one more op, shm" $(((shm9 - shm) / 8))
row "one more pair of ids, shm" $(((pairs - shm) / 64))
[ -z "$cma" ] || row "a batch of one op, cma" "$cma"
[ -z "$cma" ] || row "one more op, cma" $(((cma9 - cma) / 8))
row "post of one op, stage" "$stage"
row "one more op posted, stage" $(((stage9 - stage) / 8))
row "post of one op, am" "$am"
row "a plan bound, one op" "$whole"
row "the same, 65536 blocks" "$long"
row "a plan bound, both ends cut: 3 ops" "$cut"
row "one more op of a plan" $(((layers - whole) / 159))
row "the same where ends are cut, 480 ops" $(((ends - cut) / 477))
row "one more id written" $(((many - few) / 4096))
row "a plan bound and posted, shm" "$posted"
row "the same by kvf_plan_post()" "$planned"
exit $bad

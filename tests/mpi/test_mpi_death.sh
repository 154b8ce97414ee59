#!/usr/bin/env bash
# A rank is killed, or comes late, while others wait for it in a collective; the cases are in
# mpi_death.c.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/mpi/kill_lib.sh
. "$top_srcdir/tests/mpi/kill_lib.sh"
need_mpi
need_open_mpi
tmpdir
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# run_death CASE[,far] RANK...: those ranks get through
run_death()
{
    local case=${1%,*} far=${1#"${1%,*}"} dir=$TMP/$1 rank
    shift
    mkdir "$dir"
    "$MPIRUN" --oversubscribe --bind-to none "${kill_args[@]}" -n 3 \
        "$top_builddir/tests/mpi/mpi_death" "$case" "$dir" ${far:+far} >"$TMP/out" 2>&1
    for rank; do
        [ -e "$dir/ok.$rank" ] || { cat "$TMP/out"; fail "$case$far: rank $rank"; }
    done
    echo "ok: $case$far"
}

cases="agree close closing agreeing"
[ -z "${KVF_FULL:-}" ] || cases="agree close closing agreeing matrix totals grants layouts"
for case in $cases; do
    run_death "$case" 0 2
done
for case in late late,far close_late held; do
    run_death "$case" 0 1 2
done

#!/bin/bash
# A job whose kernel refuses a system call, on one rank or on all, as container profiles do: it
# completes, every byte is compared, the path is the one that is left, and one sentence names the call.
. "$top_srcdir/tests/lib.sh"
need_mpi
tmpdir
"$top_builddir/tests/mpi/forbidden" all EPERM kcmp true
[ $? -ne 77 ] || skip "the kernel has no system call filters (CONFIG_SECCOMP_FILTER)"

# job RANK ERRNO CALL OP PATH
job()
{
    local told want=0 path=auto
    # auto asks for the path of a read
    [ "$4" = read ] || path=$5
    mpi_run 2 "$top_builddir/tests/mpi/forbidden" "$1" "$2" "$3" "$top_builddir/tools/kvf_bench" \
        --path $path --memory own --op "$4" --piece 4K --pieces 240 --rows 3 --hot --reps 1 \
        --json "$TMP/json" >"$TMP/out" 2>"$TMP/err" || { cat "$TMP/out" "$TMP/err"; fail "$*"; }
    grep -q "\"path\": \"$5\"" "$TMP/json" || { cat "$TMP/json"; fail "$*: another path"; }
    grep -q '"mismatched_bytes": 0' "$TMP/json" || fail "$*: wrong bytes"
    [ "$5" = cma ] || want=1
    told=$(grep -c "warn: .*goes over stage.*$3" "$TMP/err")
    [ "$told" = $want ] || { cat "$TMP/err"; fail "$*: told $told times, not $want"; }
    echo "ok: $*"
}

# Rank 0 reads and writes.
job 0 EPERM process_vm_readv read stage
job all ENOSYS process_vm_readv read stage
job 1 EPERM process_vm_readv read cma
job all EPERM process_vm_writev write stage
for call in pidfd_open pidfd_getfd kcmp memfd_create; do
    job all EPERM $call read cma
done
job all ENOSYS pidfd_open write cma

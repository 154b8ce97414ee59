/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cma: the owner is a neighbour and the memory its own. Runs are gathered into as few
 * process_vm_readv/writev as possible: up to 1023 of them and 64 MiB a call, which is far below
 * what the kernel takes (0x7ffff000) and short enough for who waits: a deadline, a revoke. The
 * kernel checks the addresses; memory that the owner unmapped is FAULT. A PID may come to name
 * another program, so each read carries its proof (cma.h) as the last vector. The kernel has no write
 * that carries one: the proof is read right before each and after the last, and an exec() that ends
 * between the first of these and the write, a microsecond, lets it reach the new program.
 * Where the kernel refuses the call itself (EPERM, ENOSYS) the xfer is handed on to stage; where it finds no
 * memory behind the pid (ESRCH) too, if the owner lives: a process goes on without its first thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "base/status.h"
#include "path/path.h"

#define PIECES     KVFI_CMA_PIECES
#define CALL_BYTES (UINT64_C(64) << 20)
#define PART_BYTES (UINT64_C(16) << 20) /* a call, some 4 ms */

static const char *reach(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir)
{
    (void)local;
    if (target->in_process)
        return "the peer is this process";
    if (!target->near)
        return "the peer is not near";
    return atomic_load_explicit(&target->cma->why[dir], memory_order_relaxed);
}

static const char *here(kvfi_node_t *node)
{
    kvfi_life_t ourselves = {.id = *node->proc, .pidfd = -1, .pid_here = 1};

    if (node->local_off)
        return "local = off";
    if (node->why_private)
        return "no shared memory to prove that a peer is near";
    kvfi_cma_prove(&node->cma, &ourselves, (uintptr_t)node->proof, node->proof);
    return node->cma.why[KVF_READ] ? node->cma.why[KVF_READ] : node->cma.why[KVF_WRITE];
}

static kvf_status_t call_failed(const kvfi_xfer_t *xfer, int error)
{
    const char *call = xfer->dir == KVF_READ ? "process_vm_readv" : "process_vm_writev";
    kvfi_life_t *life = xfer->target->life;
    const char *name = xfer->target->name;
    int asked = error == EFAULT ? kvfi_cma_ask(xfer->target->cma, life->id.pid) : 0;

    if (asked)
        error = asked;
    if (error == ESTALE)
        atomic_store(&life->dead, 1);
    if (error == ESRCH ? kvfi_life_ends(life, 0) : !kvfi_life_check(life, 0))
        return kvfi_fail(KVF_ERR_PEER, "%s has died", name);
    if (error == EPERM || error == ENOSYS || error == ESRCH) {
        kvfi_cma_lose(xfer->target->cma, life, xfer->dir, error);
        if (xfer->instead)
            return KVFI_INSTEAD;
        return kvfi_fail(KVF_ERR_SYSTEM, "%s", atomic_load(&xfer->target->cma->why[xfer->dir]));
    }
    if (error == EFAULT)
        return kvfi_fail(KVF_ERR_FAULT,
                         "%s: memory of %s behind the grant, or of the segment here, is "
                         "not mapped or lacks the right",
                         call, name);
    return kvfi_fail(KVF_ERR_SYSTEM, "%s with %s: %s", call, name, strerror(error));
}

/* Move all of the vectors, going on after a partial return; 0 or an errno. */
static int move(kvfi_xfer_t *xfer, struct iovec *local, struct iovec *remote, int count)
{
    pid_t pid = xfer->target->life->id.pid;
    int at = 0, error;

    while (at < count) {
        unsigned long n = (unsigned long)(count - at);
        ssize_t done;

        if (xfer->dir == KVF_WRITE) {
            error = kvfi_cma_ask(xfer->target->cma, pid);
            if (error)
                return error;
        }
        xfer->calls++;
        done = xfer->dir == KVF_READ ? process_vm_readv(pid, local + at, n, remote + at, n, 0)
                                     : process_vm_writev(pid, local + at, n, remote + at, n, 0);
        if (done <= 0)
            return done < 0 ? errno : EFAULT;
        while (at < count && (size_t)done >= local[at].iov_len)
            done -= (ssize_t)local[at++].iov_len;
        if (at < count) {
            local[at].iov_base = (char *)local[at].iov_base + done;
            remote[at].iov_base = (char *)remote[at].iov_base + done;
            local[at].iov_len -= (size_t)done;
            remote[at].iov_len -= (size_t)done;
        }
    }
    return 0;
}

/* The vectors have room for one more. A proof that a later call reads holds for those before it: whoever
 * loses a pid, or an image, does not get it back. */
static int move_proved(kvfi_xfer_t *xfer, struct iovec *local, struct iovec *remote, int count)
{
    const kvfi_cma_t *cma = xfer->target->cma;
    char got[KVFI_CMA_PROOF];
    int error;

    if (xfer->dir == KVF_WRITE) {
        error = move(xfer, local, remote, count);
        return error ? error : kvfi_cma_ask(cma, xfer->target->life->id.pid);
    }
    local[count] = (struct iovec){got, sizeof got};
    remote[count] = (struct iovec){(void *)(uintptr_t)cma->proof_addr, sizeof got};
    error = move(xfer, local, remote, count + 1);
    return error ? error : memcmp(got, cma->proof, sizeof got) ? ESTALE : 0;
}

/* What one call takes, whatever the budget. */
static kvf_status_t slice(kvfi_xfer_t *xfer, uint64_t budget)
{
    struct iovec local[PIECES + 1], remote[PIECES + 1];
    kvfi_cursor_t before = xfer->cursor;
    uint64_t bytes = 0;
    kvfi_run_t run;
    int count = 0, error;

    (void)budget;
    while (count < PIECES && bytes < CALL_BYTES &&
           kvfi_cursor_next(&xfer->cursor, CALL_BYTES - bytes, &run)) {
        local[count] = (struct iovec){xfer->local + run.local, run.len};
        remote[count] = (struct iovec){(void *)(uintptr_t)(xfer->target->raddr + run.remote), run.len};
        bytes += run.len;
        count++;
    }
    if (!count)
        return KVF_OK;
    error = move_proved(xfer, local, remote, count);
    if (error) {
        xfer->cursor = before;
        return call_failed(xfer, error);
    }
    xfer->moved.bytes += bytes;
    xfer->moved.pieces += (uint64_t)count;
    return KVF_OK;
}

const kvfi_path_t kvfi_path_cma = {
    .name = "cma",
    .id = KVF_PATH_CMA,
    .part_bytes = PART_BYTES,
    .part_pieces = PIECES,
    .packed = &kvfi_path_stage,
    /* the kernel does not tell whose memory it could not touch */
    .fault = "memory of the grant there, or of the segment here, is not mapped or lacks the right",
    .reach = reach,
    .here = here,
    .slice = slice,
};

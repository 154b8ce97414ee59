/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Two ways to ask, neither of which changes or pins a page of the caller's. One system call for many pages:
 * process_vm_writev and process_vm_readv of this process with itself, the caller's memory as their near side,
 * a buffer of the library as the far one; a page that is to be written gets the byte that it is about to get
 * anyway. That costs a microsecond and 30 ns a page. And one call a page, for few of them and where a filter
 * forbids the former: the kernel reads a signal mask there, in a call that it then refuses (140 ns), or does
 * an atomic operation there that leaves the word as it is (340 ns).
 */
#define _GNU_SOURCE
#include "path/own.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/status.h"
#include "copy/walk.h"

#define PIECES     256u  /* a call */
#define PAGE       4096u /* or larger */
#define FEW_READS  8u    /* up to so many, one by one is faster */
#define FEW_WRITES 3u

/* Bytes to ask for. */
typedef struct question {
    kvfi_own_t *own;
    const char *data; /* that is to be written; NULL: reads */
    uint64_t good;    /* bytes of the stream, at least */
    uintptr_t page;   /* of the last byte */
    unsigned count;
    struct iovec at[PIECES];
    uint64_t off[PIECES]; /* of each in the stream */
    char bytes[PIECES];
} question_t;

static kvf_status_t cannot_ask(void)
{
    return kvfi_fail(KVF_ERR_SYSTEM, "whether registered memory is still mapped cannot be asked: %m");
}

/* --------------------------------------------------------------- questions */

/* The page of at: 0, or -1 with errno, EFAULT if it cannot be read. */
static int ask_to_read(uintptr_t at)
{
    if (!syscall(SYS_rt_sigprocmask, -1, at & ~(uintptr_t)7, NULL, 8)) /* -1: no such operation on the mask */
        errno = ENOSYS;
    return errno == EINVAL ? 0 : -1;
}

/* The same of writing. Nobody waits on the first word, so that nobody is woken there. */
static int ask_to_write(uintptr_t at)
{
    static uint32_t word;

    return syscall(SYS_futex, &word, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, NULL, at & ~(uintptr_t)3,
                   FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_LT, 0)) < 0
               ? -1
               : 0;
}

/* How many were answered well, from the first; -1 with errno: not even that. */
static int ask_one_by_one(const question_t *q, unsigned from)
{
    unsigned i;

    for (i = from; i < q->count; i++)
        if (q->data ? ask_to_write((uintptr_t)q->at[i].iov_base) : ask_to_read((uintptr_t)q->at[i].iov_base))
            break;
    return i == from ? -1 : (int)(i - from);
}

static ssize_t ask_at_once(question_t *q, unsigned from)
{
    unsigned long count = q->count - from;
    struct iovec *at = q->at + from, flat = {q->bytes + from, count};

    pid_t self = (pid_t)syscall(SYS_gettid); /* the first thread may have ended */

    return q->data ? process_vm_readv(self, at, count, &flat, 1, 0)
                   : process_vm_writev(self, at, count, &flat, 1, 0);
}

static kvf_status_t ask_all(question_t *q)
{
    unsigned from = 0, few = q->data ? FEW_WRITES : FEW_READS;

    while (from < q->count) {
        int single = q->own->one_by_one || q->count - from <= few;
        ssize_t done = single ? ask_one_by_one(q, from) : ask_at_once(q, from);

        if (done > 0) {
            from += (unsigned)done;
        } else if (!single && (errno == EPERM || errno == ENOSYS)) {
            q->own->one_by_one = 1;
        } else {
            q->good = q->off[from];
            return errno == EFAULT ? KVF_ERR_FAULT : cannot_ask();
        }
    }
    q->count = 0;
    return KVF_OK;
}

/* One byte of each page of the piece at off of the stream, but of the last page that was asked for. */
static kvf_status_t ask_for_piece(question_t *q, const kvfi_piece_t *piece, uint64_t off)
{
    uintptr_t begin = (uintptr_t)piece->src, end = begin + piece->len, at = begin;
    kvf_status_t status = KVF_OK;

    for (; at < end && status == KVF_OK; at = (at | (PAGE - 1)) + 1) {
        if (at / PAGE == q->page)
            continue;
        q->page = at / PAGE;
        __builtin_prefetch((const void *)at);
        q->at[q->count] = (struct iovec){(void *)at, 1};
        q->off[q->count] = off + (at - begin);
        q->bytes[q->count] = q->data ? q->data[q->off[q->count]] : 0;
        if (++q->count == PIECES)
            status = ask_all(q);
    }
    return status;
}

/* How many of the next cap bytes are there? Returned in *good_p. */
static kvf_status_t ask_for_stream(kvfi_own_t *own, kvfi_cursor_t cursor, const char *base, const char *data,
                                   uint64_t cap, uint64_t *good_p)
{
    kvfi_walk_t walk = kvfi_walk_local(&cursor, (char *)base);
    kvfi_piece_t pieces[PIECES];
    question_t q;
    uint64_t off = 0, at = 0;
    kvf_status_t status = KVF_OK;
    unsigned have;

    q.own = own;
    q.data = data;
    q.good = cap;
    q.page = UINTPTR_MAX;
    q.count = 0;
    while (status == KVF_OK && (have = kvfi_walk_fill(&walk, pieces, PIECES, cap - at, &at)))
        for (unsigned i = 0; i < have && status == KVF_OK; off += pieces[i++].len)
            status = ask_for_piece(&q, &pieces[i], off);
    if (status == KVF_OK)
        status = ask_all(&q);
    *good_p = q.good;
    return status;
}

/* ------------------------------------------------------------------ copies */

kvf_status_t kvfi_own_gather(kvfi_own_t *own, kvfi_cursor_t *cursor, const char *base, char *buf,
                             uint64_t cap, kvfi_moved_t *moved_p)
{
    uint64_t good;
    kvf_status_t status = ask_for_stream(own, *cursor, base, NULL, cap, &good);

    moved_p->bytes += kvfi_copy_gather(cursor, base, buf, good, &moved_p->pieces);
    return status;
}

kvf_status_t kvfi_own_scatter(kvfi_own_t *own, kvfi_cursor_t *cursor, char *base, const char *buf,
                              uint64_t len, kvfi_moved_t *moved_p)
{
    uint64_t good;
    kvf_status_t status = ask_for_stream(own, *cursor, base, buf, len, &good);

    moved_p->bytes += kvfi_copy_scatter(cursor, base, buf, good, &moved_p->pieces);
    return status;
}

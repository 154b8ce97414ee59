/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kernel is asked by process_vm_writev and process_vm_readv of this process with itself. The caller's
 * memory is their near side, which is copied piece by piece with no page pinned; the far side is one buffer
 * of the library. A page that is to be written gets the byte that it is about to get anyway. Where a filter
 * forbids these calls, bytes are asked for through a pipe.
 */
#define _GNU_SOURCE
#include "path/own.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/status.h"
#include "copy/walk.h"

#define PIECES    256u  /* a call: as many bytes go through a pipe at once */
#define PAGE      4096u /* or larger */

/* Bytes to ask for. */
typedef struct question {
    kvfi_own_t  *own;
    const char  *data; /* that is to be written; NULL: reads */
    uint64_t     good; /* bytes of the stream, at least */
    uintptr_t    page; /* of the last byte */
    unsigned     count;
    struct iovec at[PIECES];
    uint64_t     off[PIECES]; /* of each in the stream */
    char         bytes[PIECES];
} question_t;

static kvf_status_t cannot_ask(void)
{
    return kvfi_fail(KVF_ERR_SYSTEM, "whether registered memory is still mapped cannot be asked: %m");
}

/* ----------------------------------------------------------------- the pipe */

static int open_pipe(kvfi_own_t *own)
{
    if (own->piped || pipe2(own->pipe, O_CLOEXEC | O_NONBLOCK))
        return -1;
    own->piped = 1;
    return 0;
}

void kvfi_own_close(kvfi_own_t *own)
{
    if (!own->piped)
        return;
    close(own->pipe[0]);
    close(own->pipe[1]);
    own->piped = 0;
}

/* The pipe is empty before and after. Of several bytes it tells only that one cannot be touched. */
static ssize_t ask_pipe(const int fd[2], const struct iovec *at, int count, char *bytes, int is_write)
{
    struct iovec flat = {bytes, (size_t)count};
    ssize_t      done = is_write ? writev(fd[1], &flat, 1) : writev(fd[1], at, count);
    int          error;

    if (done == count)
        done = is_write ? readv(fd[0], at, count) : readv(fd[0], &flat, 1);
    if (done == count)
        return done;
    error = errno;
    while (read(fd[0], bytes, 1) > 0)
        ;
    errno = error;
    return -1;
}

/* --------------------------------------------------------------- questions */

static ssize_t ask(question_t *q, unsigned from)
{
    const int    *fd = q->own->pipe;
    unsigned long count = q->count - from;
    struct iovec *at = q->at + from, flat = {q->bytes + from, count};
    ssize_t       done;

    if (!q->own->piped)
        return q->data ? process_vm_readv(getpid(), at, count, &flat, 1, 0)
                       : process_vm_writev(getpid(), at, count, &flat, 1, 0);
    done = ask_pipe(fd, at, (int)count, q->bytes + from, q->data != NULL);
    if (done > 0 || count == 1)
        return done;
    q->bytes[from] = q->data ? q->data[q->off[from]] : 0;
    return ask_pipe(fd, at, 1, q->bytes + from, q->data != NULL);
}

static kvf_status_t ask_all(question_t *q)
{
    unsigned from = 0;

    while (from < q->count) {
        ssize_t done = ask(q, from);

        if (done > 0) {
            from += (unsigned)done;
        } else if ((errno != EPERM && errno != ENOSYS) || open_pipe(q->own)) {
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
    uintptr_t    begin = (uintptr_t)piece->src, end = begin + piece->len, at = begin;
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
static kvf_status_t ask_for_stream(kvfi_own_t *own, kvfi_cursor_t cursor, const char *base,
                                   const char *data, uint64_t cap, uint64_t *good_p)
{
    kvfi_walk_t  walk = kvfi_walk_local(&cursor, (char *)base);
    kvfi_piece_t pieces[PIECES];
    question_t   q;
    uint64_t     off = 0, at = 0;
    kvf_status_t status = KVF_OK;
    unsigned     have;

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
    uint64_t     good;
    kvf_status_t status = ask_for_stream(own, *cursor, base, NULL, cap, &good);

    moved_p->bytes += kvfi_copy_gather(cursor, base, buf, good, &moved_p->pieces);
    return status;
}

kvf_status_t kvfi_own_scatter(kvfi_own_t *own, kvfi_cursor_t *cursor, char *base, const char *buf,
                              uint64_t len, kvfi_moved_t *moved_p)
{
    uint64_t     good;
    kvf_status_t status = ask_for_stream(own, *cursor, base, buf, len, &good);

    moved_p->bytes += kvfi_copy_scatter(cursor, base, buf, good, &moved_p->pieces);
    return status;
}

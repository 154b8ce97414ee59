/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The peers on one node that anybody would write: memcpy piece by piece, in the order in which the
 * case moves them, in one address space; and bare calls of process_vm_readv or process_vm_writev
 * with 1024 pieces each. Nothing blocks.
 */
#include "config.h"

#include "bench.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "../cli.h"

#define VECTORS   1024
#define CALL_MOST UINT64_C(0x7ffff000) /* bytes that the kernel moves in one call */

struct spaces {
    char *const *dest, *const *source;
};

/* The compiler must not know the length: this is a call of the C library's memcpy for each piece. */
static inline bool copy(void *arg, const struct bench_piece *piece)
{
    const struct spaces *s = arg;

    memcpy(s->dest[piece->dest_segment] + piece->dest_off,
           s->source[piece->source_segment] + piece->source_off, piece->len);
    return true;
}

void kvfi_bench_memcpy_batch(const struct bench_plan *plan, uint64_t batch, char *const *dest,
                             char *const *source)
{
    struct spaces spaces = {dest, source};

    kvfi_bench_walk(plan, kvfi_bench_batch_first(plan, batch), kvfi_bench_batch_blocks(plan, batch), copy,
                    &spaces);
}

double kvfi_bench_memcpy_run(const struct bench_plan *plan, char *const *dest, char *const *source)
{
    double start = kvfi_bench_now();

    for (uint64_t batch = 0; batch < plan->batches; batch++) {
        kvfi_bench_memcpy_batch(plan, batch, dest, source);
    }
    return kvfi_bench_now() - start;
}

static int run_memcpy(const struct bench_case *c, struct bench_peer *peer, double *took_p)
{
    bool reads = c->args->dir == KVF_READ;
    char *const *other = kvfi_bench_other_side(c);
    char *const *local = c->ends->local.starts;

    (void)peer;
    *took_p = kvfi_bench_memcpy_run(c->plan, reads ? local : other, reads ? other : local);
    return 0;
}

struct vectors {
    const struct bench_case *c;
    struct iovec local[VECTORS], remote[VECTORS];
    unsigned long count, most;
    uint64_t len; /* of a piece */
};

static bool flush(struct vectors *v)
{
    bool reads = v->c->args->dir == KVF_READ;
    pid_t pid = (pid_t)v->c->ends->remote_pid;
    ssize_t want = (ssize_t)(v->count * v->len), moved;

    moved = reads ? process_vm_readv(pid, v->local, v->count, v->remote, v->count, 0)
                  : process_vm_writev(pid, v->local, v->count, v->remote, v->count, 0);
    v->count = 0;
    errno = moved >= 0 ? EIO : errno;
    return moved == want;
}

static inline bool add_vector(void *arg, const struct bench_piece *p)
{
    struct vectors *v = arg;
    bool reads = v->c->args->dir == KVF_READ;
    const struct bench_ends *ends = v->c->ends;
    uint64_t here = reads ? p->dest_off : p->source_off;
    uint64_t there = reads ? p->source_off : p->dest_off;

    here += (uintptr_t)ends->local.starts[reads ? p->dest_segment : p->source_segment];
    there += ends->remote_starts[reads ? p->source_segment : p->dest_segment];
    v->local[v->count] = (struct iovec){(void *)(uintptr_t)here, p->len};
    v->remote[v->count] = (struct iovec){(void *)(uintptr_t)there, p->len};
    return ++v->count < v->most || flush(v);
}

static bool raw_batch(const struct bench_case *c, uint64_t batch)
{
    static struct vectors v;

    v.c = c;
    v.count = 0;
    v.len = c->plan->shape.piece;
    v.most = CALL_MOST / v.len < VECTORS ? CALL_MOST / v.len : VECTORS;
    v.most = v.most != 0 ? v.most : 1;
    return kvfi_bench_walk(c->plan, kvfi_bench_batch_first(c->plan, batch),
                           kvfi_bench_batch_blocks(c->plan, batch), add_vector, &v) &&
           (v.count == 0 || flush(&v));
}

static int run_cma(const struct bench_case *c, struct bench_peer *peer, double *took_p)
{
    double start = kvfi_bench_now();

    (void)peer;
    for (uint64_t batch = 0; batch < c->plan->batches; batch++) {
        if (!raw_batch(c, batch)) {
            return kvfi_cli_fail("peer cma: process_vm_%s: %s", c->args->dir == KVF_READ ? "readv" : "writev",
                                 strerror(errno));
        }
    }
    *took_p = kvfi_bench_now() - start;
    return 0;
}

const struct bench_peer_kind kvfi_bench_peer_memcpy = {.name = "memcpy",
                                                       .key = "memcpy",
                                                       .label = "memcpy",
                                                       .between = BENCH_IN_INITIATOR,
                                                       .places = true,
                                                       .run = run_memcpy};

const struct bench_peer_kind kvfi_bench_peer_cma = {.name = "cma",
                                                    .key = "cma",
                                                    .label = "process_vm_readv, _writev",
                                                    .between = BENCH_FROM_INITIATOR,
                                                    .one_node = true,
                                                    .places = true,
                                                    .run = run_cma};

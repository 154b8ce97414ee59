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

/* The compiler must not know the length: this is a call of the C library's memcpy for each piece. */
double kvfi_bench_memcpy_run(const struct bench_plan *plan, char *const *dest, char *const *source)
{
    uint64_t len = plan->shape.piece, rows = plan->shape.rows, span = plan->row_span;
    double start = kvfi_bench_now();

    for (uint64_t batch = 0; batch < plan->batches; batch++) {
        uint64_t first = kvfi_bench_batch_first(plan, batch);
        uint64_t end = first + kvfi_bench_batch_blocks(plan, batch);
        for (uint64_t top = 0; top < rows; top += span) {
            for (uint64_t i = first; i < end; i++) {
                uint64_t to = plan->dest_ids[i] * plan->dest_cell;
                uint64_t from = plan->source_ids[i] * plan->source_cell;
                for (uint64_t row = top; row < top + span; row++) {
                    memcpy(dest[row] + to, source[row] + from, len);
                }
            }
        }
    }
    return kvfi_bench_now() - start;
}

static int run_memcpy(const struct bench_case *c, struct bench_peer *peer, double *took_p)
{
    bool reads = c->args->dir == KVF_READ;
    char *const *other = kvfi_bench_other_side(c);
    char *const *local = c->ends->local.rows;

    (void)peer;
    *took_p = kvfi_bench_memcpy_run(c->plan, reads ? local : other, reads ? other : local);
    return 0;
}

struct vectors {
    struct iovec local[VECTORS], remote[VECTORS];
    unsigned long count;
};

static bool flush(struct vectors *v, pid_t pid, uint32_t dir, uint64_t len)
{
    ssize_t want = (ssize_t)(v->count * len), moved;

    moved = dir == KVF_READ ? process_vm_readv(pid, v->local, v->count, v->remote, v->count, 0)
                            : process_vm_writev(pid, v->local, v->count, v->remote, v->count, 0);
    v->count = 0;
    errno = moved >= 0 ? EIO : errno;
    return moved == want;
}

/* The rows from top on that go together, of all blocks of a batch; the last call is left open. */
static bool raw_rows(const struct bench_case *c, struct vectors *v, uint64_t batch, uint64_t top)
{
    const struct bench_plan *p = c->plan;
    bool reads = c->args->dir == KVF_READ;
    const uint32_t *local_ids = reads ? p->dest_ids : p->source_ids;
    const uint32_t *remote_ids = reads ? p->source_ids : p->dest_ids;
    uint64_t local_cell = reads ? p->dest_cell : p->source_cell;
    uint64_t remote_cell = reads ? p->source_cell : p->dest_cell;
    uint64_t len = p->shape.piece, first = kvfi_bench_batch_first(p, batch);
    uint64_t end = first + kvfi_bench_batch_blocks(p, batch);
    uint64_t most = CALL_MOST / len < VECTORS ? CALL_MOST / len : VECTORS;

    for (uint64_t i = first; i < end; i++) {
        for (uint64_t row = top; row < top + p->row_span; row++) {
            char *here = c->ends->local.rows[row] + local_ids[i] * local_cell;
            uint64_t there = c->ends->remote_rows[row] + remote_ids[i] * remote_cell;
            v->local[v->count] = (struct iovec){here, len};
            v->remote[v->count] = (struct iovec){(void *)(uintptr_t)there, len};
            if (++v->count >= most && !flush(v, (pid_t)c->ends->remote_pid, c->args->dir, len)) {
                return false;
            }
        }
    }
    return true;
}

static bool raw_batch(const struct bench_case *c, uint64_t batch)
{
    static struct vectors v;
    const struct bench_plan *p = c->plan;

    v.count = 0;
    for (uint64_t top = 0; top < p->shape.rows; top += p->row_span) {
        if (!raw_rows(c, &v, batch, top)) {
            return false;
        }
    }
    return v.count == 0 || flush(&v, (pid_t)c->ends->remote_pid, c->args->dir, p->shape.piece);
}

static int run_cma(const struct bench_case *c, struct bench_peer *peer, double *took_p)
{
    double start = kvfi_bench_now();

    (void)peer;
    for (uint64_t batch = 0; batch < c->plan->batches; batch++) {
        if (!raw_batch(c, batch)) {
            return kvfi_cli_fail("peer cma: process_vm_%s: %s",
                                 c->args->dir == KVF_READ ? "readv" : "writev", strerror(errno));
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

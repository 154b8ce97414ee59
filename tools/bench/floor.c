/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The floors on one node: what a program without kvferry would write. memcpy piece by piece, in the
 * order in which the case moves them, in one address space; and, beside the cma path, bare calls of
 * process_vm_readv or process_vm_writev with 1024 pieces each. Nothing blocks.
 */
#include "config.h"

#include "bench.h"

#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "../cli.h"

#define VECTORS   1024
#define CALL_MOST UINT64_C(0x7ffff000) /* bytes that the kernel moves in one call */

/* The compiler must not know the length: this is a call of the C library's memcpy for each piece. */
double kvfi_bench_memcpy_run(const struct bench_plan *plan, void *dest, const void *source)
{
    uint64_t len = plan->shape.piece, rows = plan->shape.rows;
    uint64_t dest_row = plan->slots * plan->dest_cell, source_row = plan->slots * plan->source_cell;
    double start = kvfi_bench_now();

    for (uint64_t batch = 0; batch < plan->batches; batch++) {
        uint64_t first = kvfi_bench_batch_first(plan, batch);
        uint64_t end = first + kvfi_bench_batch_blocks(plan, batch);
        for (uint64_t i = first; i < end; i++) {
            char *to = (char *)dest + plan->dest_ids[i] * plan->dest_cell;
            const char *from = (const char *)source + plan->source_ids[i] * plan->source_cell;
            for (uint64_t row = 0; row < rows; row++) {
                memcpy(to + row * dest_row, from + row * source_row, len);
            }
        }
    }
    return kvfi_bench_now() - start;
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
    return moved == want;
}

static bool raw_batch(const struct bench_plan *plan, uint64_t batch, uint32_t dir, char *local,
                      const struct bench_ends *ends)
{
    static struct vectors v;
    const struct bench_plan *p = plan;
    bool reads = dir == KVF_READ;
    const uint32_t *local_ids = reads ? p->dest_ids : p->source_ids;
    const uint32_t *remote_ids = reads ? p->source_ids : p->dest_ids;
    uint64_t local_cell = reads ? p->dest_cell : p->source_cell;
    uint64_t remote_cell = reads ? p->source_cell : p->dest_cell;
    uint64_t len = p->shape.piece, first = kvfi_bench_batch_first(p, batch);
    uint64_t end = first + kvfi_bench_batch_blocks(p, batch);
    uint64_t most = CALL_MOST / len < VECTORS ? CALL_MOST / len : VECTORS;

    if (most == 0) {
        return false;
    }
    v.count = 0;
    for (uint64_t i = first; i < end; i++) {
        for (uint64_t row = 0; row < p->shape.rows; row++) {
            uint64_t at = (row * p->slots + local_ids[i]) * local_cell;
            uint64_t from = (row * p->slots + remote_ids[i]) * remote_cell;
            v.local[v.count] = (struct iovec){local + at, len};
            v.remote[v.count] = (struct iovec){(void *)(uintptr_t)(ends->remote_addr + from), len};
            if (++v.count == most && !flush(&v, (pid_t)ends->remote_pid, dir, len)) {
                return false;
            }
        }
    }
    return v.count == 0 || flush(&v, (pid_t)ends->remote_pid, dir, len);
}

double kvfi_bench_raw_cma_run(const struct bench_plan *plan, uint32_t dir, void *local,
                              const struct bench_ends *ends)
{
    double start = kvfi_bench_now();

    for (uint64_t batch = 0; batch < plan->batches; batch++) {
        if (!raw_batch(plan, batch, dir, local, ends)) {
            return -1;
        }
    }
    return kvfi_bench_now() - start;
}

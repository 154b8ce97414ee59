/* SPDX-License-Identifier: BSD-3-Clause
 *
 * --beside: the same small batches while a large one is under way, so that it shows how much a small
 * transfer waits for a large one. The large one has memory of its own on both sides, pieces of
 * 64 KiB in random order, and is posted again whenever it has ended. Only batches that were posted
 * while it was under way count. Its bytes are compared too. Blocks until the last large one ended.
 */
#include "config.h"

#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "../cli.h"

#define LARGE_PIECE (UINT64_C(64) << 10)
#define LARGE_BYTES (UINT64_C(1) << 30) /* of large batches in a run, */
#define LARGE_LEAST 4                   /* or so many of them; what is left of the run is alone */

struct bench_beside {
    struct bench_args args; /* of the large one: a plain op, nothing beside it */
    struct bench_plan plan;
    struct bench_ends ends;
    struct bench_case c;
    kvf_batch_t *batch; /* initiator's */
    kvf_op_t op;
    kvf_batch_opts_t opts;
    uint64_t posted; /* times in this run */
    bool opened;
};

static struct bench_args args_of(const struct bench_args *args)
{
    struct bench_args large = *args;

    large.per_layer = false;
    large.hot = 0;
    large.depth = 1;
    large.scale_num = large.scale_den = 1;
    large.peer_count = 0;
    large.seed = args->seed + 1;
    return large;
}

uint64_t kvfi_bench_beside_bytes(const struct bench_args *args)
{
    return args->beside / LARGE_PIECE * LARGE_PIECE;
}

int kvfi_bench_beside_open(const struct bench_case *c, struct bench_beside **beside_p)
{
    struct bench_beside *beside = calloc(1, sizeof(*beside));
    int rc = beside == NULL ? kvfi_cli_fail("no memory") : 0;

    if (rc == 0) {
        *beside_p = beside;
        beside->args = args_of(c->args);
        beside->c = (struct bench_case){c->job, &beside->args, &beside->plan, &beside->ends};
        rc = kvfi_bench_plan_plain(LARGE_PIECE, beside->args.beside / LARGE_PIECE, beside->args.seed,
                                   &beside->plan);
    }
    if (kvfi_bench_meet(c->job, rc) != 0 ||
        kvfi_bench_ends_open(c->job, &beside->args, &beside->plan, false, &beside->ends) != 0) {
        return -1;
    }
    beside->opened = true;
    if (c->job->initiator) {
        kvf_status_t status = kvf_batch_create(c->job->engine, &beside->batch);
        rc = status == KVF_OK ? 0 : kvfi_bench_fail_status("the large batch", status);
        rc = rc == 0 ? kvfi_bench_bind(&beside->c, 0, &beside->op) : rc;
        beside->opts = (kvf_batch_opts_t){.struct_size = sizeof(beside->opts),
                                          .deadline_ns = KVFI_BENCH_DEADLINE_NS,
                                          .paths = KVF_PATH_BIT(c->ends->path)};
    }
    return kvfi_bench_meet(c->job, rc);
}

void kvfi_bench_beside_close(const struct bench_case *c, struct bench_beside *beside)
{
    if (beside == NULL) {
        return;
    }
    if (beside->batch != NULL) {
        kvf_batch_cancel(beside->batch);
        kvf_batch_free(beside->batch);
    }
    if (beside->opened) {
        kvfi_bench_ends_close(c->job, &beside->ends);
    }
    kvfi_bench_plan_free(&beside->plan);
    free(beside);
}

static char *const *dest_of(const struct bench_case *c, const struct bench_beside *beside)
{
    if (c->args->dir == KVF_READ) {
        return c->job->initiator ? beside->ends.local.starts : NULL;
    }
    return c->job->owner ? beside->ends.remote.starts : NULL;
}

void kvfi_bench_beside_poison(const struct bench_case *c, const struct bench_beside *beside)
{
    char *const *dest = dest_of(c, beside);

    if (dest != NULL) {
        kvfi_bench_poison(&beside->plan, dest, 0);
    }
}

uint64_t kvfi_bench_beside_wrong(const struct bench_case *c, const struct bench_beside *beside)
{
    char *const *dest = dest_of(c, beside);

    return dest != NULL ? kvfi_bench_verify(&beside->plan, dest) : 0;
}

static int post_large(struct bench_beside *beside)
{
    kvf_status_t status = kvf_batch_post(beside->batch, &beside->op, 1, sizeof(beside->op), &beside->opts);

    if (status != KVF_OK) {
        return kvfi_bench_fail_status("posting the large batch", status);
    }
    beside->posted++;
    return 0;
}

/* Post the large batch again if it has ended and the run has not seen enough of them. */
static int keep_busy(struct bench_beside *beside, bool *busy_p)
{
    kvf_status_t status = kvf_batch_test(beside->batch);
    bool more = beside->posted < LARGE_LEAST || beside->posted * beside->plan.run_bytes < LARGE_BYTES;

    if (status == KVF_OK && more) {
        if (post_large(beside) != 0) {
            return -1;
        }
        status = kvf_batch_test(beside->batch);
    }
    *busy_p = status == KVF_INPROGRESS;
    return *busy_p || status == KVF_OK ? 0 : kvfi_bench_fail_status("the large batch", status);
}

static int run_small(const struct bench_case *c, kvf_batch_t *small, kvf_op_t *ops,
                     const kvf_batch_opts_t *opts, uint64_t batch, double *took_p)
{
    if (kvfi_bench_bind(c, batch, ops) != 0) {
        return -1;
    }
    double start = kvfi_bench_now();
    kvf_status_t status = kvf_batch_post(small, ops, c->plan->box_count, sizeof(*ops), opts);

    if (status == KVF_OK) {
        status = kvf_batch_wait(small, KVF_FOREVER);
    }
    *took_p = kvfi_bench_now() - start;
    return status == KVF_OK ? 0 : kvfi_bench_fail_status("a batch beside the large one", status);
}

int kvfi_bench_beside_run(const struct bench_case *c, struct bench_beside *beside, kvf_batch_t *small,
                          kvf_op_t *ops, bool counted, struct bench_beside_figures *f)
{
    const kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                                   .deadline_ns = KVFI_BENCH_DEADLINE_NS,
                                   .paths = KVF_PATH_BIT(c->ends->path)};
    double start = kvfi_bench_now(), end = start, took;
    bool busy, was_busy = true;

    if (!c->job->initiator) {
        return 0;
    }
    beside->posted = 0;
    if (post_large(beside) != 0) {
        return -1;
    }
    for (uint64_t batch = 0; batch < c->plan->batches; batch++) {
        if (keep_busy(beside, &busy) != 0 || run_small(c, small, ops, &opts, batch, &took) != 0) {
            return -1;
        }
        if (busy && counted) {
            f->latency[f->latencies++] = took;
        }
        if (was_busy && !busy) {
            end = kvfi_bench_now();
        }
        was_busy = busy;
    }
    kvf_status_t status = kvf_batch_wait(beside->batch, KVF_FOREVER);
    if (status != KVF_OK) {
        return kvfi_bench_fail_status("the large batch", status);
    }
    if (counted) {
        f->took_s += (was_busy ? kvfi_bench_now() : end) - start;
        f->posted_bytes += beside->posted * beside->plan.run_bytes;
    }
    return 0;
}

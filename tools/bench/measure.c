/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The repetitions of a case: floor, case, floor (and the bare system call beside cma), one after the
 * other, so that whatever else this machine does falls on all of them alike. Before each of them the
 * destination is poisoned, after each it is compared. A first repetition warms up and is not counted.
 * Both ranks walk through the same steps; the one without work sleeps.
 */
#include "config.h"

#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"

#define DEADLINE_NS UINT64_C(300000000000)
#define MOST_DEPTH  64

enum step { STEP_FLOOR, STEP_CASE, STEP_RAW };

struct bench {
    const struct bench_job *job;
    const struct bench_args *args;
    const struct bench_plan *plan;
    struct bench_ends *ends;
    struct bench_figures *figures;
    struct bench_socket sock;
    kvf_batch_t *batches[MOST_DEPTH];
    double posted[MOST_DEPTH];
    uint64_t run; /* number of steps so far: each poisons otherwise */
    bool counted; /* this repetition counts */
};

/* ------------------------------------------------------------------ the case */

static void make_op(const struct bench *b, uint64_t batch, kvf_op_t *op)
{
    const struct bench_plan *plan = b->plan;
    bool reads = b->args->dir == KVF_READ;
    uint64_t first = kvfi_bench_batch_first(plan, batch);
    uint64_t local_cell = reads ? plan->dest_cell : plan->source_cell;
    uint64_t remote_cell = reads ? plan->source_cell : plan->dest_cell;

    *op = (kvf_op_t){.segment = b->ends->local.segment,
                     .remote = b->ends->handle,
                     .len = plan->shape.piece,
                     .count = {1, (uint32_t)plan->shape.rows},
                     .local_stride = {0, (int64_t)(plan->slots * local_cell)},
                     .remote_stride = {0, (int64_t)(plan->slots * remote_cell)},
                     .blocks = (uint32_t)kvfi_bench_batch_blocks(plan, batch),
                     .dir = b->args->dir,
                     .local_ids = (reads ? plan->dest_ids : plan->source_ids) + first,
                     .remote_ids = (reads ? plan->source_ids : plan->dest_ids) + first,
                     .local_block = local_cell,
                     .remote_block = remote_cell};
}

static int end_batch(struct bench *b, uint64_t batch)
{
    uint64_t slot = batch % b->args->depth;
    kvf_status_t status = kvf_batch_wait(b->batches[slot], KVF_FOREVER);

    if (status != KVF_OK) {
        return kvfi_bench_fail_status("a batch did not end well", status);
    }
    if (b->counted) {
        b->figures->latency[b->figures->latencies++] = kvfi_bench_now() - b->posted[slot];
    }
    return 0;
}

static int run_batches(struct bench *b)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                             .deadline_ns = DEADLINE_NS,
                             .paths = KVF_PATH_BIT(b->ends->path)};
    uint64_t depth = b->args->depth, count = b->plan->batches;
    kvf_op_t op;

    for (uint64_t batch = 0; batch < count; batch++) {
        if (batch >= depth && end_batch(b, batch - depth) != 0) {
            return -1;
        }
        make_op(b, batch, &op);
        b->posted[batch % depth] = kvfi_bench_now();
        kvf_status_t status = kvf_batch_post(b->batches[batch % depth], &op, 1, sizeof(op), &opts);
        if (status != KVF_OK) {
            return kvfi_bench_fail_status("posting", status);
        }
    }
    for (uint64_t batch = count > depth ? count - depth : 0; batch < count; batch++) {
        if (end_batch(b, batch) != 0) {
            return -1;
        }
    }
    return 0;
}

static int run_case(struct bench *b, double *took_p)
{
    double start = kvfi_bench_now();

    if (!b->job->initiator) {
        return 0;
    }
    if (run_batches(b) != 0) {
        return -1;
    }
    *took_p = kvfi_bench_now() - start;
    return 0;
}

/* ------------------------------------------------------------------ floors */

/* What stands for the owner's memory in the initiator's address space. */
static void *other_side(const struct bench *b)
{
    return b->job->owner ? b->ends->remote.addr : b->ends->stand_in.addr;
}

static int run_floor(struct bench *b, double *took_p)
{
    bool reads = b->args->dir == KVF_READ;

    if (b->ends->path == KVF_PATH_AM) {
        double took = kvfi_bench_socket_run(b->job, b->plan, b->args->dir, b->ends, &b->sock);
        if (took < 0) {
            return kvfi_cli_fail("the socket floor: the connection broke: %s", strerror(errno));
        }
        *took_p = took;
    } else if (b->job->initiator) {
        *took_p = kvfi_bench_memcpy_run(b->plan, reads ? b->ends->local.addr : other_side(b),
                                        reads ? other_side(b) : b->ends->local.addr);
    }
    return 0;
}

static int run_raw(struct bench *b, double *took_p)
{
    if (b->job->initiator) {
        *took_p = kvfi_bench_raw_cma_run(b->plan, b->args->dir, b->ends->local.addr, b->ends);
        if (*took_p < 0) {
            return kvfi_cli_fail("the bare system call beside cma: %s", strerror(errno));
        }
    }
    return 0;
}

/* ------------------------------------------------------------------ steps */

/* The destination of a step if it lies in this rank. */
static void *dest_here(const struct bench *b, enum step step)
{
    bool reads = b->args->dir == KVF_READ;

    if (reads) {
        return b->job->initiator ? b->ends->local.addr : NULL;
    }
    if (step == STEP_FLOOR && b->ends->path != KVF_PATH_AM) {
        return b->job->initiator ? other_side(b) : NULL;
    }
    return b->job->owner ? b->ends->remote.addr : NULL;
}

static void compare(struct bench *b, enum step step, const void *dest)
{
    uint64_t wrong = kvfi_bench_verify(b->plan, dest);

    if (step == STEP_CASE) {
        b->figures->mismatched += wrong;
        if (b->counted) {
            b->figures->verified += b->plan->covered * b->plan->shape.rows * b->plan->shape.piece;
        }
    } else {
        b->figures->floor_mismatched += wrong;
    }
}

static int run_step(struct bench *b, enum step step, double *took_p)
{
    switch (step) {
    case STEP_CASE:
        return run_case(b, took_p);
    case STEP_RAW:
        return run_raw(b, took_p);
    default:
        return run_floor(b, took_p);
    }
}

static void note_cpu(struct bench *b, enum step step, double cpu_s)
{
    if (b->counted && step == STEP_CASE) {
        b->figures->cpu_s += cpu_s;
    } else if (b->counted && step == STEP_FLOOR) {
        b->figures->floor_cpu_s += cpu_s;
    }
}

/* One step on both ranks: poison, meet, run, meet, compare. */
static int do_step(struct bench *b, enum step step, double *took_p)
{
    void *dest = dest_here(b, step);
    double cpu;
    int rc;

    if (dest != NULL) {
        kvfi_bench_poison(b->plan, dest, b->run);
    }
    b->run++;
    if (kvfi_bench_meet(b->job, 0) != 0) {
        return -1;
    }
    cpu = kvfi_bench_cpu();
    rc = run_step(b, step, took_p);
    if (b->job->initiator) {
        note_cpu(b, step, kvfi_bench_cpu() - cpu);
    }
    if (kvfi_bench_meet(b->job, rc) != 0) {
        return -1;
    }
    if (!b->job->initiator) {
        note_cpu(b, step, kvfi_bench_cpu() - cpu); /* what it took to serve and to wait, too */
    }
    if (dest != NULL) {
        compare(b, step, dest);
    }
    return 0;
}

static int repeat(struct bench *b, uint64_t rep)
{
    struct bench_figures *f = b->figures;
    uint64_t at = b->counted ? rep : 0;

    if (do_step(b, STEP_FLOOR, &f->floors[2 * at]) != 0 ||
        do_step(b, STEP_CASE, &f->runs[at]) != 0 ||
        (f->raws != NULL && do_step(b, STEP_RAW, &f->raws[at]) != 0)) {
        return -1;
    }
    return do_step(b, STEP_FLOOR, &f->floors[2 * at + 1]);
}

/* ------------------------------------------------------------------ all of it */

static int count_paths(struct bench *b, kvf_counters_t *counters)
{
    *counters = (kvf_counters_t){.struct_size = sizeof(*counters)};
    kvf_status_t status = kvf_engine_counters(b->job->engine, counters);
    return status == KVF_OK ? 0 : kvfi_bench_fail_status("the counters", status);
}

static void note_paths(struct bench *b, const kvf_counters_t *before, const kvf_counters_t *after)
{
    struct bench_figures *f = b->figures;

    for (int path = 0; path < KVF_PATH_COUNT; path++) {
        uint64_t bytes = after->path[path].bytes - before->path[path].bytes;
        if (path == (int)b->ends->path) {
            f->bytes = bytes;
            f->pieces = after->path[path].pieces - before->path[path].pieces;
            f->calls = after->path[path].calls - before->path[path].calls;
        } else {
            f->elsewhere += bytes;
        }
    }
}

static uint64_t pages_behind(const void *addr)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[256];
    unsigned long long from, to, value, page = 0, rss = 0, huge = 0;
    bool inside = false;

    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2) {
            inside = (uintptr_t)addr >= from && (uintptr_t)addr < to;
        } else if (inside && sscanf(line, "KernelPageSize: %llu", &value) == 1) {
            page = value << 10;
        } else if (inside && sscanf(line, "Rss: %llu", &value) == 1) {
            rss = value;
        } else if (inside && (sscanf(line, "AnonHugePages: %llu", &value) == 1 ||
                              sscanf(line, "ShmemPmdMapped: %llu", &value) == 1)) {
            huge += value;
        }
    }
    fclose(file);
    return huge > 0 && huge * 2 > rss ? UINT64_C(2) << 20 : page;
}

static int make_room(struct bench *b)
{
    struct bench_figures *f = b->figures;
    uint64_t reps = b->args->reps;

    f->runs = calloc(reps, sizeof(*f->runs));
    f->floors = calloc(2 * reps, sizeof(*f->floors));
    f->latency = calloc(reps * b->plan->batches, sizeof(*f->latency));
    f->raws = b->ends->path == KVF_PATH_CMA ? calloc(reps, sizeof(*f->raws)) : NULL;
    if (f->runs == NULL || f->floors == NULL || f->latency == NULL ||
        (f->raws == NULL && b->ends->path == KVF_PATH_CMA)) {
        return kvfi_cli_fail("no memory for the figures");
    }
    for (uint64_t i = 0; i < b->args->depth && b->job->initiator; i++) {
        kvf_status_t status = kvf_batch_create(b->job->engine, &b->batches[i]);
        if (status != KVF_OK) {
            return kvfi_bench_fail_status("a batch", status);
        }
    }
    return 0;
}

static int run_all(struct bench *b)
{
    kvf_counters_t before, after;

    if (kvfi_bench_meet(b->job, make_room(b)) != 0) {
        return -1;
    }
    b->figures->floor = "memcpy";
    if (b->ends->path == KVF_PATH_AM) {
        if (kvfi_bench_socket_open(b->job, b->args, b->plan, b->ends, &b->sock) != 0) {
            return -1;
        }
        b->figures->floor = "socket";
        b->figures->floor_call = b->sock.way_name;
    }
    if (repeat(b, 0) != 0 || kvfi_bench_meet(b->job, count_paths(b, &before)) != 0) {
        return -1;
    }
    b->counted = true;
    for (uint64_t rep = 0; rep < b->args->reps; rep++) {
        if (repeat(b, rep) != 0) {
            return -1;
        }
    }
    if (kvfi_bench_meet(b->job, count_paths(b, &after)) != 0) {
        return -1;
    }
    note_paths(b, &before, &after);
    return 0;
}

int kvfi_bench_measure(const struct bench_job *job, const struct bench_args *args,
                       const struct bench_plan *plan, struct bench_ends *ends,
                       struct bench_figures *figures_p)
{
    struct bench b = {.job = job, .args = args, .plan = plan, .ends = ends, .figures = figures_p};

    *figures_p = (struct bench_figures){0};
    b.sock.fd = -1;
    int rc = run_all(&b);
    kvfi_bench_socket_close(&b.sock);
    for (uint64_t i = 0; i < args->depth && b.batches[i] != NULL; i++) {
        if (rc != 0) {
            kvf_batch_cancel(b.batches[i]);
        }
        kvf_batch_free(b.batches[i]);
    }
    if (rc != 0) {
        kvfi_bench_figures_free(figures_p);
        return -1;
    }
    uint64_t sums[3] = {figures_p->verified, figures_p->mismatched, figures_p->floor_mismatched};
    kvfi_bench_sum_u64(job, sums, 3);
    figures_p->verified = sums[0];
    figures_p->mismatched = sums[1];
    figures_p->floor_mismatched = sums[2];
    kvfi_bench_sum(job, &figures_p->cpu_s);
    kvfi_bench_sum(job, &figures_p->floor_cpu_s);
    kvfi_bench_sort(figures_p->latency, figures_p->latencies);
    if (job->initiator) {
        figures_p->page_bytes = pages_behind(ends->local.addr);
    }
    return 0;
}

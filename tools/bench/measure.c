/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The repetitions of a case: floor, case, the other peers, floor, one after the other, so that
 * whatever else this machine does falls on all of them alike. Before each of them the destination is
 * poisoned, after each it is compared. A first repetition warms up and is not counted. Both ranks
 * walk through the same steps; the one without work sleeps.
 */
#include "config.h"

#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "../cli.h"

#define MOST_DEPTH 64

struct bench {
    const struct bench_job *job;
    const struct bench_args *args;
    const struct bench_plan *plan;
    struct bench_ends *ends;
    const struct bench_case *c; /* all four */
    struct bench_figures *figures;
    struct bench_peer peers[BENCH_PEERS]; /* the first is the floor */
    size_t peer_count;
    size_t opened; /* peers whose open was called, at all ranks */
    kvf_batch_t *batches[MOST_DEPTH];
    kvf_op_t *ops;                     /* of the batch to be posted */
    struct bench_beside *beside;       /* NULL: nothing beside the case */
    struct bench_layerwise *layerwise; /* NULL: the case is one batch, or several of blocks */
    bool beside_now;                   /* this step is the case with the large batch beside it */
    bool layers_now;                   /* this step is the floor of the case's layers */
    double posted[MOST_DEPTH];
    uint64_t run; /* number of steps so far: each poisons otherwise */
    bool counted; /* this repetition counts */
};

/* ------------------------------------------------------------------ the case */

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
                             .deadline_ns = KVFI_BENCH_DEADLINE_NS,
                             .paths = KVF_PATH_BIT(b->ends->path)};
    uint64_t depth = b->args->depth, count = b->plan->batches;

    for (uint64_t batch = 0; batch < count; batch++) {
        if (batch >= depth && end_batch(b, batch - depth) != 0) {
            return -1;
        }
        double start = kvfi_bench_now();
        if (kvfi_bench_bind(b->c, batch, b->ops) != 0) {
            return -1;
        }
        b->posted[batch % depth] = kvfi_bench_now();
        b->figures->bind_s += b->counted ? b->posted[batch % depth] - start : 0;
        kvf_status_t status =
            kvf_batch_post(b->batches[batch % depth], b->ops, b->plan->box_count, sizeof(*b->ops), &opts);
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
    if (b->beside_now) {
        return kvfi_bench_beside_run(b->c, b->beside, b->batches[0], b->ops, b->counted, &b->figures->beside);
    }
    if (b->layerwise != NULL) {
        return kvfi_bench_layerwise_run(b->c, b->layerwise, took_p);
    }
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

/* ------------------------------------------------------------------ steps */

static int run_peer(struct bench *b, struct bench_peer *peer, double *took_p)
{
    if (b->layers_now) {
        return kvfi_bench_layerwise_floor(b->c, b->layerwise, peer);
    }
    if (!b->job->initiator && peer->kind->between != BENCH_BOTH) {
        return 0;
    }
    return peer->kind->run(b->c, peer, took_p);
}

/* The destination of a step if it lies in this rank. No peer: the case. */
static char *const *dest_here(const struct bench *b, const struct bench_peer *peer)
{
    if (peer != NULL) {
        return kvfi_bench_peer_dest(b->c, peer);
    }
    if (b->args->dir == KVF_READ) {
        return b->job->initiator ? b->ends->local.starts : NULL;
    }
    return b->job->owner ? b->ends->remote.starts : NULL;
}

static void compare(struct bench *b, const struct bench_peer *peer, char *const *dest)
{
    uint64_t wrong = kvfi_bench_verify(b->plan, dest);

    if (peer != NULL) {
        b->figures->peers_mismatched += wrong;
        return;
    }
    b->figures->mismatched += wrong;
    if (b->counted) {
        b->figures->verified += b->plan->covered * b->plan->block_bytes;
    }
}

static void note_cpu(struct bench *b, const struct bench_peer *peer, double cpu_s)
{
    if (b->beside_now || b->layers_now) {
        return;
    }
    if (b->counted && peer == NULL) {
        b->figures->cpu_s += cpu_s;
    } else if (b->counted) {
        b->figures->peers[peer - b->peers].cpu_s += cpu_s;
    }
}

/* One step on both ranks: poison, meet, run, meet, compare. */
static int do_step(struct bench *b, struct bench_peer *peer, double *took_p)
{
    char *const *dest = dest_here(b, peer);
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
    rc = peer == NULL ? run_case(b, took_p) : run_peer(b, peer, took_p);
    if (b->job->initiator) {
        note_cpu(b, peer, kvfi_bench_cpu() - cpu);
    }
    if (kvfi_bench_meet(b->job, rc) != 0) {
        return -1;
    }
    if (!b->job->initiator) {
        note_cpu(b, peer, kvfi_bench_cpu() - cpu); /* what it took to serve and to wait, too */
    }
    if (dest != NULL) {
        compare(b, peer, dest);
    }
    return 0;
}

/* The case once more, the large batch beside it; what that one moved is compared here. */
static int repeat_beside(struct bench *b)
{
    int rc;

    kvfi_bench_beside_poison(b->c, b->beside);
    b->beside_now = true;
    rc = do_step(b, NULL, NULL);
    b->beside_now = false;
    b->figures->mismatched += rc == 0 ? kvfi_bench_beside_wrong(b->c, b->beside) : 0;
    return rc;
}

/* Layers by the floor, then by the case: what both showed is noted together. */
static int repeat_layers(struct bench *b, double *took_p)
{
    int rc;

    b->layers_now = true;
    rc = do_step(b, &b->peers[0], NULL);
    b->layers_now = false;
    rc = rc == 0 ? do_step(b, NULL, took_p) : rc;
    if (rc == 0 && b->counted) {
        kvfi_bench_layerwise_note(b->c, b->layerwise, b->figures);
    }
    return rc;
}

static int repeat(struct bench *b, uint64_t rep)
{
    struct bench_figures *f = b->figures;
    uint64_t at = b->counted ? rep : 0;

    if (do_step(b, &b->peers[0], &f->peers[0].runs[2 * at]) != 0 ||
        (b->layerwise != NULL ? repeat_layers(b, &f->runs[at]) : do_step(b, NULL, &f->runs[at])) != 0 ||
        (b->beside != NULL && repeat_beside(b) != 0)) {
        return -1;
    }
    for (size_t i = 1; i < b->peer_count; i++) {
        if (do_step(b, &b->peers[i], &f->peers[i].runs[at]) != 0) {
            return -1;
        }
    }
    return do_step(b, &b->peers[0], &f->peers[0].runs[2 * at + 1]);
}

/* ------------------------------------------------------------------ all of it */

/* What went over the path that is measured, and the bytes that went over others. */
struct way {
    uint64_t bytes, pieces, calls, elsewhere;
};

static int count_way(struct bench *b, struct way *way)
{
    kvf_flow_t flow = {.struct_size = sizeof(flow)};
    uint64_t cursor = 0;
    kvf_status_t status;

    *way = (struct way){0};
    while ((status = kvf_engine_flow(b->job->engine, &cursor, &flow)) == KVF_OK) {
        if (flow.path == (uint32_t)b->ends->path) {
            way->bytes += flow.bytes;
            way->pieces += flow.pieces;
            way->calls += flow.calls;
        } else {
            way->elsewhere += flow.bytes;
        }
    }
    return status == KVF_INPROGRESS ? 0 : kvfi_bench_fail_status("the counters", status);
}

static void note_way(struct bench *b, const struct way *before, const struct way *after)
{
    struct bench_figures *f = b->figures;

    f->bytes = after->bytes - before->bytes;
    f->pieces = after->pieces - before->pieces;
    f->calls = after->calls - before->calls;
    f->elsewhere += after->elsewhere - before->elsewhere;
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
    f->latency = calloc(reps * b->plan->batches, sizeof(*f->latency));
    b->ops = calloc(b->plan->box_count, sizeof(*b->ops));
    f->beside.latency = calloc(reps * b->plan->batches, sizeof(*f->beside.latency));
    if (f->runs == NULL || f->latency == NULL || b->ops == NULL || f->beside.latency == NULL) {
        return kvfi_cli_fail("no memory for the figures");
    }
    for (size_t i = 0; i < b->peer_count; i++) {
        f->peers[i].runs = calloc(2 * reps, sizeof(*f->peers[i].runs));
        if (f->peers[i].runs == NULL) {
            return kvfi_cli_fail("no memory for the figures");
        }
    }
    for (uint64_t i = 0; i < b->args->depth && b->job->initiator; i++) {
        kvf_status_t status = kvf_batch_create(b->job->engine, &b->batches[i]);
        if (status != KVF_OK) {
            return kvfi_bench_fail_status("a batch", status);
        }
    }
    return 0;
}

/* Open the peers; each sees the memory of the case as it is. */
static int open_peers(struct bench *b)
{
    const struct bench_peer_kind *kinds[BENCH_PEERS];
    size_t count = b->peer_count = kvfi_bench_peers_of(b->args, b->ends->path, kinds);

    b->figures->peer_count = count;
    for (size_t i = 0; i < count; i++) {
        b->peers[i].kind = b->figures->peers[i].kind = kinds[i];
        int rc = 0;
        if (kinds[i]->between != BENCH_IN_INITIATOR && b->job->owner_rank == 0) {
            rc = kvfi_cli_fail("--peer %s takes 2 ranks: mpirun -n 2 --bind-to none", kinds[i]->name);
        } else if (kinds[i]->one_node && !b->job->one_node) {
            rc = kvfi_cli_fail("--peer %s takes ranks on one node", kinds[i]->name);
        } else if (kinds[i]->open != NULL) {
            b->opened = i + 1;
            rc = kinds[i]->open(b->c, &b->peers[i]);
        }
        if (kvfi_bench_meet(b->job, rc) != 0) {
            return -1;
        }
        b->figures->peers[i].way = b->peers[i].way;
        if (b->peers[i].memory.starts != NULL && b->args->dir == KVF_READ) {
            kvfi_bench_fill(b->plan, b->peers[i].memory.starts);
        }
    }
    return 0;
}

static void close_peers(struct bench *b)
{
    while (b->opened > 0) {
        struct bench_peer *peer = &b->peers[--b->opened];
        if (peer->kind->close != NULL) {
            peer->kind->close(b->c, peer);
        }
    }
}

static int open_layerwise(struct bench *b)
{
    int rc = kvfi_bench_layerwise_open(b->c, &b->layerwise);

    if (rc == 0) {
        struct bench_figures *f = b->figures;
        size_t samples = kvfi_bench_layerwise_samples(b->c, b->layerwise);

        free(f->latency); /* a layer is a batch */
        f->latency = calloc(samples, sizeof(*f->latency));
        f->layer = calloc(samples, sizeof(*f->layer));
        f->layer_floor = calloc(samples, sizeof(*f->layer_floor));
        rc = f->layer == NULL || f->layer_floor == NULL || f->latency == NULL
                 ? kvfi_cli_fail("no memory for the figures")
                 : 0;
    }
    return kvfi_bench_meet(b->job, rc);
}

static int run_all(struct bench *b)
{
    struct way before, after;

    if (kvfi_bench_meet(b->job, 0) != 0 || open_peers(b) != 0 || kvfi_bench_meet(b->job, make_room(b)) != 0 ||
        (b->args->beside != 0 && kvfi_bench_beside_open(b->c, &b->beside) != 0) ||
        (b->plan->shape.layerwise && open_layerwise(b) != 0)) {
        return -1;
    }
    if (repeat(b, 0) != 0 || kvfi_bench_meet(b->job, count_way(b, &before)) != 0) {
        return -1;
    }
    b->counted = true;
    for (uint64_t rep = 0; rep < b->args->reps; rep++) {
        if (repeat(b, rep) != 0) {
            return -1;
        }
    }
    if (kvfi_bench_meet(b->job, count_way(b, &after)) != 0) {
        return -1;
    }
    note_way(b, &before, &after);
    return 0;
}

int kvfi_bench_measure(const struct bench_case *c, struct bench_figures *figures_p)
{
    struct bench b = {
        .job = c->job, .args = c->args, .plan = c->plan, .ends = c->ends, .c = c, .figures = figures_p};

    *figures_p = (struct bench_figures){0};
    int rc = run_all(&b);
    close_peers(&b);
    kvfi_bench_beside_close(c, b.beside);
    kvfi_bench_layerwise_close(b.layerwise);
    for (uint64_t i = 0; i < c->args->depth && b.batches[i] != NULL; i++) {
        if (rc != 0) {
            kvf_batch_cancel(b.batches[i]);
        }
        kvf_batch_free(b.batches[i]);
    }
    free(b.ops);
    if (rc != 0) {
        kvfi_bench_figures_free(figures_p);
        return -1;
    }
    uint64_t sums[3] = {figures_p->verified, figures_p->mismatched, figures_p->peers_mismatched};
    kvfi_bench_sum_u64(c->job, sums, 3);
    figures_p->verified = sums[0];
    figures_p->mismatched = sums[1];
    figures_p->peers_mismatched = sums[2];
    kvfi_bench_sum(c->job, &figures_p->cpu_s);
    for (size_t i = 0; i < figures_p->peer_count; i++) {
        kvfi_bench_sum(c->job, &figures_p->peers[i].cpu_s);
    }
    kvfi_bench_sort(figures_p->latency, figures_p->latencies);
    kvfi_bench_sort(figures_p->beside.latency, figures_p->beside.latencies);
    kvfi_bench_sort(figures_p->layer, figures_p->layers);
    kvfi_bench_sort(figures_p->layer_floor, figures_p->layers);
    if (c->job->initiator) {
        figures_p->page_bytes = pages_behind(c->ends->local.addr);
    }
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * W8: the layers of a request one after the other, a batch and a notification each, pushed by the
 * initiator and awaited by the owner, which sees each layer as it comes. Measured is the time from
 * when the initiator knows a layer's copy to have ended to when the owner's wait for that layer
 * returns: both clocks are one, or no such figure is given. Blocks until all layers of a run have
 * come.
 */
#include "config.h"

#include "bench.h"

#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kvferry/kv.h>
#include <kvferry/mpi.h>

#include "../cli.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

struct bench_layerwise {
    kvf_streams_t *streams; /* owner's */
    kvf_stream_t *stream;   /* of the next batch of blocks */
    uint64_t id;
    kvf_batch_t *copy, **notes; /* initiator's; a note a layer */
    kvf_op_t *ops;
    size_t op_room;
    uint32_t *layers, layer_count;
    double *took, *sent, *seen; /* layers of all batches of a run */
    double bind_s;
    bool one_clock;
    int fd; /* owner's engine's, to sleep on */
    struct bench_layer_floor *floor;
};

/* The clock is the kernel's, and ranks of one kernel share it, whatever they call their hosts. */
static bool one_clock(const struct bench_job *job)
{
    char mine[64] = "", other[64];
    FILE *file = fopen(BOOT_ID, "re");

    if (file != NULL) {
        if (fgets(mine, sizeof(mine), file) == NULL) {
            mine[0] = '\0';
        }
        fclose(file);
    }
    memcpy(other, mine, sizeof(other));
    kvfi_bench_tell(job, job->owner_rank, other, sizeof(other));
    uint64_t differ = mine[0] == '\0' || strcmp(mine, other) != 0;
    kvfi_bench_sum_u64(job, &differ, 1);
    return differ == 0;
}

static int open_stream(const struct bench_case *c, struct bench_layerwise *w)
{
    kvf_stream_source_t source = {.peer = kvf_mpi_peer(c->job->mpi, 0), .plan = c->plan->kv};
    kvf_stream_opts_t opts = {
        .struct_size = sizeof(opts), .source_count = 1, .sources = &source, .id = ++w->id};

    if (!c->job->owner) {
        return 0;
    }
    kvf_status_t status = kvf_stream_open(w->streams, &opts, &w->stream);
    return status == KVF_OK ? 0 : kvfi_bench_fail_status("a stream", status);
}

static int make_room(const struct bench_case *c, struct bench_layerwise *w)
{
    kvf_status_t status = kvf_plan_layers(c->plan->kv, NULL, &w->layer_count);
    size_t count = w->layer_count * c->plan->batches;

    w->layers = calloc(w->layer_count, sizeof(*w->layers));
    w->notes = calloc(w->layer_count, sizeof(*w->notes));
    w->took = calloc(count, sizeof(*w->took));
    w->sent = calloc(count, sizeof(*w->sent));
    w->seen = calloc(count, sizeof(*w->seen));
    if (w->layers == NULL || w->notes == NULL || w->took == NULL || w->sent == NULL || w->seen == NULL) {
        return kvfi_cli_fail("no memory for %zu layers", count);
    }
    if (status == KVF_OK) {
        status = kvf_plan_layers(c->plan->kv, w->layers, &w->layer_count);
    }
    for (uint32_t i = 0; i < w->layer_count && status == KVF_OK && c->job->initiator; i++) {
        status = kvf_batch_create(c->job->engine, &w->notes[i]);
        if (status == KVF_OK && i == 0) {
            status = kvf_batch_create(c->job->engine, &w->copy);
        }
    }
    if (status == KVF_OK && c->job->owner) {
        status = kvf_streams_open(c->job->engine, NULL, &w->streams);
    }
    if (status == KVF_OK && c->job->owner) {
        status = kvf_channel_fd(kvf_streams_channel(w->streams), &w->fd);
    }
    return status == KVF_OK ? 0 : kvfi_bench_fail_status("the layers", status);
}

int kvfi_bench_layerwise_open(const struct bench_case *c, struct bench_layerwise **layerwise_p)
{
    struct bench_layerwise *w = *layerwise_p = calloc(1, sizeof(*w));
    int rc = w == NULL ? kvfi_cli_fail("no memory") : make_room(c, w);

    rc = rc == 0 ? open_stream(c, w) : rc;
    if (kvfi_bench_meet(c->job, rc) != 0) {
        return -1;
    }
    w->one_clock = one_clock(c->job);
    return kvfi_bench_layer_floor_open(c, w->layers, w->layer_count, &w->floor);
}

void kvfi_bench_layerwise_close(struct bench_layerwise *w)
{
    if (w == NULL) {
        return;
    }
    for (uint32_t i = 0; i < w->layer_count && w->notes != NULL && w->notes[i] != NULL; i++) {
        kvf_batch_cancel(w->notes[i]);
        kvf_batch_free(w->notes[i]);
    }
    if (w->copy != NULL) {
        kvf_batch_cancel(w->copy);
        kvf_batch_free(w->copy);
    }
    kvf_stream_close(w->stream);
    kvf_streams_close(w->streams);
    kvfi_bench_layer_floor_close(w->floor);
    free(w->layers);
    free(w->notes);
    free(w->ops);
    free(w->took);
    free(w->sent);
    free(w->seen);
    free(w);
}

/* ------------------------------------------------------------------ a run */

/* kvf_stream_wait() sleeps where layers come more slowly than that. */
#define SLOW_US 1000

bool kvfi_bench_layer_sleeps(const struct bench_args *args)
{
    return args->await_fd || args->gap_us >= SLOW_US;
}

void kvfi_bench_layer_gap(const struct bench_args *args)
{
    const struct timespec gap = {.tv_sec = (time_t)(args->gap_us / 1000000),
                                 .tv_nsec = (long)(args->gap_us % 1000000) * 1000};

    if (args->gap_us != 0) {
        nanosleep(&gap, NULL);
    }
}

int kvfi_bench_layerwise_floor(const struct bench_case *c, struct bench_layerwise *w,
                               struct bench_peer *floor)
{
    return kvfi_bench_layer_floor_run(c, w->floor, floor);
}

static int bind_layer(const struct bench_case *c, struct bench_layerwise *w, uint64_t batch, uint32_t layer,
                      size_t *count_p)
{
    size_t count = w->op_room;

    if (kvfi_bench_bind_layer(c, batch, layer, w->ops, &count) != 0) {
        return -1;
    }
    if (w->ops == NULL || count > w->op_room) {
        free(w->ops);
        w->op_room = count;
        w->ops = calloc(count, sizeof(*w->ops));
        if (w->ops == NULL) {
            return kvfi_cli_fail("no memory for %zu ops", count);
        }
        return bind_layer(c, w, batch, layer, count_p);
    }
    *count_p = count;
    return 0;
}

/* As when a layer was computed: bound, posted, and its notification posted. */
static kvf_status_t push(const struct bench_case *c, struct bench_layerwise *w, uint32_t at, size_t count,
                         double *sent_p)
{
    uint8_t note[KVF_STREAM_NOTE];
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                             .flags = KVF_BATCH_INLINE,
                             .deadline_ns = KVFI_BENCH_DEADLINE_NS,
                             .paths = KVF_PATH_BIT(c->ends->path)};
    kvf_status_t status = kvf_batch_post(w->copy, w->ops, count, sizeof(*w->ops), &opts);

    if (status == KVF_OK) {
        status = kvf_batch_wait(w->copy, KVF_FOREVER);
    }
    *sent_p = kvfi_bench_now();
    if (status == KVF_OK) {
        status = kvf_stream_note(w->id, w->layers[at], 1, KVF_OK, note);
    }
    opts.notify_peer = kvf_mpi_peer(c->job->mpi, c->job->owner_rank);
    opts.notify = note;
    opts.notify_len = sizeof(note);
    opts.channel = KVF_STREAM_CHANNEL;
    return status == KVF_OK ? kvf_batch_post(w->notes[at], NULL, 0, sizeof(*w->ops), &opts) : status;
}

static int push_layer(const struct bench_case *c, struct bench_layerwise *w, uint64_t batch, uint32_t at)
{
    size_t count, sample = batch * w->layer_count + at;

    kvfi_bench_layer_gap(c->args);
    double start = kvfi_bench_now();
    if (bind_layer(c, w, batch, w->layers[at], &count) != 0) {
        return -1;
    }
    double bound = kvfi_bench_now();
    kvf_status_t status = push(c, w, at, count, &w->sent[sample]);
    w->took[sample] = w->sent[sample] - bound;
    w->bind_s += bound - start;
    return status == KVF_OK ? 0 : kvfi_bench_fail_status("a layer", status);
}

/* What the header tells a program to do that has other fds to look after, too. */
static kvf_status_t sleep_for(const struct bench_case *c, struct bench_layerwise *w, uint32_t layer)
{
    struct pollfd fd = {.fd = w->fd, .events = POLLIN};
    kvf_status_t status = kvf_streams_poll(w->streams), there;

    while (status == KVF_OK && (there = kvf_stream_layer(w->stream, layer)) == KVF_INPROGRESS) {
        status = kvf_channel_arm(kvf_streams_channel(w->streams));
        if (status == KVF_ERR_BUSY) {
            status = kvf_progress(c->job->engine);
        } else if (status == KVF_OK) {
            poll(&fd, 1, (int)(KVFI_BENCH_DEADLINE_NS / 1000000));
        }
        status = status == KVF_OK ? kvf_streams_poll(w->streams) : status;
    }
    return status == KVF_OK ? there : status;
}

static int await_layer(const struct bench_case *c, struct bench_layerwise *w, uint64_t batch, uint32_t at)
{
    kvf_status_t status = c->args->await_fd
                              ? sleep_for(c, w, w->layers[at])
                              : kvf_stream_wait(w->stream, w->layers[at], KVFI_BENCH_DEADLINE_NS);

    w->seen[batch * w->layer_count + at] = kvfi_bench_now();
    return status == KVF_OK ? 0 : kvfi_bench_fail_status("waiting for a layer", status);
}

static int end_notes(struct bench_layerwise *w)
{
    for (uint32_t i = 0; i < w->layer_count; i++) {
        kvf_status_t status = kvf_batch_wait(w->notes[i], KVF_FOREVER);
        if (status != KVF_OK) {
            return kvfi_bench_fail_status("a layer's notification", status);
        }
    }
    return 0;
}

int kvfi_bench_layerwise_run(const struct bench_case *c, struct bench_layerwise *w, double *took_p)
{
    const struct bench_job *job = c->job;
    double start = kvfi_bench_now();
    int rc = 0;

    w->bind_s = 0;
    for (uint64_t batch = 0; batch < c->plan->batches && rc == 0; batch++) {
        for (uint32_t at = 0; at < w->layer_count && rc == 0; at++) {
            rc = job->initiator ? push_layer(c, w, batch, at) : 0;
            rc = rc == 0 && job->owner ? await_layer(c, w, batch, at) : rc;
        }
        rc = rc == 0 && job->initiator ? end_notes(w) : rc;
        if (batch + 1 < c->plan->batches) {
            kvf_stream_close(w->stream);
            w->stream = NULL;
            rc = kvfi_bench_meet(job, rc == 0 ? open_stream(c, w) : rc);
        }
    }
    if (job->initiator && took_p != NULL) {
        *took_p = kvfi_bench_now() - start;
    }
    kvf_stream_close(w->stream);
    w->stream = NULL;
    return rc == 0 ? open_stream(c, w) : rc;
}

void kvfi_bench_layerwise_note(const struct bench_case *c, struct bench_layerwise *w, struct bench_figures *f)
{
    size_t count = w->layer_count * c->plan->batches;

    double *sent, *seen;

    kvfi_bench_layer_floor_times(w->floor, &sent, &seen);
    kvfi_bench_tell(c->job, 0, sent, count * sizeof(*sent));
    kvfi_bench_tell(c->job, c->job->owner_rank, seen, count * sizeof(*seen));
    kvfi_bench_tell(c->job, 0, w->sent, count * sizeof(*w->sent));
    kvfi_bench_tell(c->job, c->job->owner_rank, w->seen, count * sizeof(*w->seen));
    f->bind_s += w->bind_s / w->layer_count;
    for (size_t i = 0; i < count; i++) {
        f->latency[f->latencies++] = w->took[i];
        f->layer_floor[f->layers] = w->one_clock ? seen[i] - sent[i] : NAN;
        f->layer[f->layers++] = w->one_clock ? w->seen[i] - w->sent[i] : NAN;
    }
}

size_t kvfi_bench_layerwise_samples(const struct bench_case *c, const struct bench_layerwise *w)
{
    return w->layer_count * c->plan->batches * c->args->reps;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the near paths cost here, measured in one process: the same walks and copies as theirs, over
 * scattered pieces of two memories larger than the caches. cma reads this process, for which the
 * kernel does what it does for a neighbour. For stage a thread is the owner: it gathers into slots of a
 * ring while the caller scatters from them, as over the path, but for its messages: these, and what is
 * the engine's in a batch, stay as they are built in. Keeps one processor busy for about a second, two
 * for a third of it.
 */
#define _GNU_SOURCE
#include "path/measure.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "copy/copy.h"
#include "path/path.h"
#include "path/stage.h"

#define SIDE_LEAST   (UINT64_C(64) << 20)
#define SIDE_MOST    (UINT64_C(256) << 20)
#define SAMPLES      12u /* the best counts: a busy machine only ever makes a time longer */
#define SAMPLE_BYTES (UINT64_C(8) << 20)
#define CMA_PIECES   8192u /* of a sample: the kernel is slow with short ones */
#define SLOTS        ((unsigned)(SAMPLE_BYTES / KVFI_STAGE_SLOT_BYTES))
#define SPINS        2000u

typedef struct field {
    uint64_t side; /* bytes of each memory */
    char *local, *remote;
    uint32_t *local_ids, *remote_ids;
    kvfi_box_t box;
} field_t;

/* What caller and owner share. Counters only rise; a slot is used again once it was taken. */
typedef struct pipe {
    const field_t *field;
    char *ring;
    _Atomic unsigned filled, taken, begun; /* slots, slots, samples */
    _Atomic int stop;
} pipe_t;

static void close_field(field_t *field)
{
    if (field->local)
        munmap(field->local, field->side);
    if (field->remote)
        munmap(field->remote, field->side);
    free(field->local_ids);
    free(field->remote_ids);
}

static int open_field(const kvfi_host_t *host, field_t *field)
{
    uint64_t side = 2 * host->last, most;

    side = side < SIDE_LEAST ? SIDE_LEAST : side > SIDE_MOST ? SIDE_MOST : side;
    most = side / kvfi_cost_sizes[0];
    *field = (field_t){.side = side};
    field->local = kvfi_host_map(side);
    field->remote = kvfi_host_map(side);
    field->local_ids = malloc(most * sizeof(uint32_t));
    field->remote_ids = malloc(most * sizeof(uint32_t));
    if (field->local && field->remote && field->local_ids && field->remote_ids)
        return 0;
    close_field(field);
    return -1;
}

static void shuffle(uint32_t *ids, uint32_t count, uint64_t *state)
{
    for (uint32_t i = 0; i < count; i++)
        ids[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t id = ids[i], j;

        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        j = (uint32_t)(*state % (i + 1));
        ids[i] = ids[j];
        ids[j] = id;
    }
}

/* Pieces of len bytes, each place of both sides once, at random. */
static void scatter_field(field_t *field, uint64_t len)
{
    uint32_t count = (uint32_t)(field->side / len);
    uint64_t state = UINT64_C(88172645463325252) + len;

    shuffle(field->local_ids, count, &state);
    shuffle(field->remote_ids, count, &state);
    field->box = (kvfi_box_t){.len = len,
                              .count = {1, 1},
                              .blocks = count,
                              .local_block = len,
                              .remote_block = len,
                              .local_ids = field->local_ids,
                              .remote_ids = field->remote_ids};
}

/* Picoseconds a piece, of SAMPLES times of pieces pieces. */
static uint64_t piece_ps(const uint64_t *times, uint64_t pieces)
{
    uint64_t best = times[0];

    for (unsigned i = 1; i < SAMPLES; i++)
        best = times[i] < best ? times[i] : best;
    return best * 1000 / pieces ? best * 1000 / pieces : 1;
}

/* The next sample goes on where the last one ended: its memory is in no cache. */
static void start_over(kvfi_cursor_t *cursor, const kvfi_box_t *box)
{
    if (box->blocks - cursor->pair < SAMPLE_BYTES / box->len + 1)
        *cursor = kvfi_cursor_at_start(box);
}

/* -------------------------------------------------------------- self and shm */

static uint64_t measure_copy(const field_t *field)
{
    kvfi_cursor_t cursor = kvfi_cursor_at_start(&field->box);
    uint64_t times[SAMPLES];

    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t bytes = 0, begin;

        start_over(&cursor, &field->box);
        begin = kvfi_now_ns();
        while (bytes < SAMPLE_BYTES)
            bytes += kvfi_copy_box(&cursor, field->local, field->remote, KVF_READ, SAMPLE_BYTES - bytes,
                                   UINT64_MAX)
                         .bytes;
        times[i] = kvfi_now_ns() - begin;
    }
    return piece_ps(times, SAMPLE_BYTES / field->box.len);
}

/* ----------------------------------------------------------------------- cma */

/* One call of at most `most` pieces: how many, 0 if the kernel will not. */
static unsigned call(const field_t *field, kvfi_cursor_t *cursor, unsigned most)
{
    struct iovec local[KVFI_CMA_PIECES], remote[KVFI_CMA_PIECES];
    unsigned count = 0;
    uint64_t bytes = 0;
    kvfi_run_t run;

    while (count < most && kvfi_cursor_next(cursor, field->box.len, &run)) {
        local[count] = (struct iovec){field->local + run.local, run.len};
        remote[count++] = (struct iovec){field->remote + run.remote, run.len};
        bytes += run.len;
    }
    return process_vm_readv(getpid(), local, count, remote, count, 0) == (ssize_t)bytes ? count : 0;
}

/* Samples of calls of `most` pieces; 0: the kernel will not. */
static uint64_t measure_calls(const field_t *field, unsigned most, uint64_t pieces)
{
    kvfi_cursor_t cursor = kvfi_cursor_at_start(&field->box);
    uint64_t times[SAMPLES];

    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t begin, done = 0;

        start_over(&cursor, &field->box);
        begin = kvfi_now_ns();
        while (done < pieces) {
            unsigned now = call(field, &cursor, pieces - done < most ? (unsigned)(pieces - done) : most);

            if (!now)
                return 0;
            done += now;
        }
        times[i] = kvfi_now_ns() - begin;
    }
    return piece_ps(times, pieces);
}

static uint64_t measure_cma(const field_t *field)
{
    uint64_t pieces = SAMPLE_BYTES / field->box.len;

    return measure_calls(field, KVFI_CMA_PIECES, pieces < CMA_PIECES ? pieces : CMA_PIECES);
}

/* --------------------------------------------------------------------- stage */

/* Until *counter is past `value`, or it is to stop. Both may have one processor. */
static int wait_past(pipe_t *pipe, _Atomic unsigned *counter, unsigned value)
{
    for (unsigned spins = 0; atomic_load_explicit(counter, memory_order_acquire) <= value; spins++) {
        if (atomic_load_explicit(&pipe->stop, memory_order_relaxed))
            return 0;
        if (spins < SPINS)
            kvfi_relax();
        else
            sched_yield();
    }
    return 1;
}

static char *slot_of(pipe_t *pipe, unsigned number)
{
    return pipe->ring + (size_t)(number % KVFI_STAGE_SLOTS) * KVFI_STAGE_SLOT_BYTES;
}

static void *owner_main(void *arg)
{
    pipe_t *pipe = arg;
    const field_t *field = pipe->field;
    kvfi_box_t box = field->box;
    kvfi_cursor_t cursor;
    uint64_t pieces = 0;

    box.local_ids = field->remote_ids; /* its own side is the remote one */
    box.remote_ids = NULL;
    box = kvfi_box_local_side(&box);
    cursor = kvfi_cursor_at_start(&box);
    for (unsigned sample = 0; wait_past(pipe, &pipe->begun, sample); sample++) {
        start_over(&cursor, &box);
        for (unsigned i = sample * SLOTS; i < (sample + 1) * SLOTS; i++) {
            if (i >= KVFI_STAGE_SLOTS && !wait_past(pipe, &pipe->taken, i - KVFI_STAGE_SLOTS))
                return NULL;
            kvfi_copy_gather(&cursor, field->remote, slot_of(pipe, i), KVFI_STAGE_SLOT_BYTES, &pieces);
            atomic_store_explicit(&pipe->filled, i + 1, memory_order_release);
        }
    }
    return NULL;
}

static uint64_t read_samples(pipe_t *pipe)
{
    const field_t *field = pipe->field;
    kvfi_box_t box = kvfi_box_local_side(&field->box);
    kvfi_cursor_t cursor = kvfi_cursor_at_start(&box);
    uint64_t times[SAMPLES], pieces = 0;

    for (unsigned sample = 0; sample < SAMPLES; sample++) {
        uint64_t begin;

        start_over(&cursor, &box);
        begin = kvfi_now_ns();
        atomic_store_explicit(&pipe->begun, sample + 1, memory_order_release);
        for (unsigned i = sample * SLOTS; i < (sample + 1) * SLOTS; i++) {
            wait_past(pipe, &pipe->filled, i);
            kvfi_copy_scatter(&cursor, field->local, slot_of(pipe, i), KVFI_STAGE_SLOT_BYTES, &pieces);
            atomic_store_explicit(&pipe->taken, i + 1, memory_order_release);
        }
        times[sample] = kvfi_now_ns() - begin;
    }
    return piece_ps(times, SAMPLE_BYTES / field->box.len);
}

/* 0: there is no thread for it. */
static uint64_t measure_stage(const field_t *field, char *ring)
{
    pipe_t pipe = {.field = field, .ring = ring};
    pthread_t owner;
    sigset_t all, before;
    uint64_t ps;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&owner, NULL, owner_main, &pipe);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return 0;
    ps = read_samples(&pipe);
    atomic_store(&pipe.stop, 1);
    pthread_join(owner, NULL);
    return ps;
}

/* ----------------------------------------------------------------------- all */

/* A piece costs no more than a longer one: what says so was disturbed. */
static void smooth(kvfi_cost_t *cost)
{
    for (int i = KVFI_COST_SIZES - 2; i >= 0; i--)
        if (cost->piece_ps[i] > cost->piece_ps[i + 1])
            cost->piece_ps[i] = cost->piece_ps[i + 1];
}

static void keep(uint64_t ps, uint64_t *ps_p)
{
    if (ps)
        *ps_p = ps;
}

int kvfi_path_measure(const kvfi_host_t *host, kvfi_costs_t *costs)
{
    kvfi_cost_t *self = &costs->path[KVF_PATH_SELF], *cma = &costs->path[KVF_PATH_CMA];
    kvfi_cost_t *stage = &costs->path[KVF_PATH_STAGE];
    uint64_t one_ps = 0;
    char *ring = kvfi_host_map((uint64_t)KVFI_STAGE_SLOTS * KVFI_STAGE_SLOT_BYTES);
    field_t field;

    if (!ring)
        return -1;
    if (open_field(host, &field)) {
        munmap(ring, (size_t)KVFI_STAGE_SLOTS * KVFI_STAGE_SLOT_BYTES);
        return -1;
    }
    for (int i = 0; i < KVFI_COST_SIZES; i++) {
        scatter_field(&field, kvfi_cost_sizes[i]);
        keep(measure_copy(&field), &self->piece_ps[i]);
        keep(measure_cma(&field), &cma->piece_ps[i]);
        keep(measure_stage(&field, ring), &stage->piece_ps[i]);
        if (!i)
            one_ps = measure_calls(&field, 1, 1024);
    }
    smooth(self);
    smooth(cma);
    smooth(stage);
    if (one_ps > cma->piece_ps[0]) /* an op is a call at least */
        cma->op_ns = self->op_ns + (one_ps - cma->piece_ps[0]) / 1000;
    costs->path[KVF_PATH_SHM] = *self;
    close_field(&field);
    munmap(ring, (size_t)KVFI_STAGE_SLOTS * KVFI_STAGE_SLOT_BYTES);
    return 0;
}

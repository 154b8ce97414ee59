/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What W8 is compared with: the same layers at the same pace by two processes that have nothing but
 * what a machine gives. On one node memcpy of a layer's pieces, then a release store to a word that
 * both share, which the receiver looks at, or sleeps on as a futex. Between nodes a layer over the
 * socket floor's connection, its confirmation, then a byte, which the receiver looks for with a recv
 * that does not block, or sleeps for in poll. Blocks until all layers of a run have come.
 */
#define _GNU_SOURCE
#include "config.h"

#include "bench.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <kvferry/mpi.h>

#include "../cli.h"

/* What the two ranks share, each word on a line of its own. */
struct board {
    _Alignas(64) _Atomic uint32_t told;   /* layers so far */
    _Alignas(64) _Atomic uint32_t asleep; /* the receiver is, or is about to be */
};

struct bench_layer_floor {
    MPI_Win win; /* of board */
    struct board *board;
    uint32_t told, seen;     /* layers of all runs, as each rank counts them */
    struct bench_plan *each; /* a layer's part of the plan */
    uint32_t layer_count;
    double *sent_at, *seen_at; /* of all layers of a run */
};

static int share_board(const struct bench_case *c, struct bench_layer_floor *f)
{
    MPI_Aint size = c->job->owner ? (MPI_Aint)sizeof(*f->board) : 0;
    int unit;

    if (!c->job->one_node) {
        return 0;
    }
    MPI_Win_allocate_shared(size, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &f->board, &f->win);
    MPI_Win_shared_query(f->win, c->job->owner_rank, &size, &unit, &f->board);
    if (c->job->owner) {
        memset((void *)f->board, 0, sizeof(*f->board));
    }
    return 0;
}

static int make_room(const struct bench_case *c, const uint32_t *layers, uint32_t layer_count,
                     struct bench_layer_floor *f)
{
    size_t count = layer_count * c->plan->batches;
    int rc = 0;

    f->each = calloc(layer_count, sizeof(*f->each));
    f->sent_at = calloc(count, sizeof(*f->sent_at));
    f->seen_at = calloc(count, sizeof(*f->seen_at));
    if (f->each == NULL || f->sent_at == NULL || f->seen_at == NULL) {
        return kvfi_cli_fail("no memory for the floor of %zu layers", count);
    }
    for (; f->layer_count < layer_count && rc == 0; f->layer_count++) {
        rc = kvfi_bench_plan_layer(c->plan, layers[f->layer_count], &f->each[f->layer_count]);
    }
    return rc;
}

int kvfi_bench_layer_floor_open(const struct bench_case *c, const uint32_t *layers, uint32_t layer_count,
                                struct bench_layer_floor **floor_p)
{
    struct bench_layer_floor *f = *floor_p = calloc(1, sizeof(*f));
    int rc = f == NULL ? kvfi_cli_fail("no memory") : make_room(c, layers, layer_count, f);

    if (kvfi_bench_meet(c->job, rc) != 0) {
        return -1;
    }
    return kvfi_bench_meet(c->job, share_board(c, f));
}

void kvfi_bench_layer_floor_close(struct bench_layer_floor *f)
{
    if (f == NULL) {
        return;
    }
    if (f->board != NULL) {
        MPI_Win_free(&f->win);
    }
    for (uint32_t i = 0; i < f->layer_count; i++) {
        free(f->each[i].boxes);
    }
    free(f->each);
    free(f->sent_at);
    free(f->seen_at);
    free(f);
}

/* ------------------------------------------------------------------ one node */

static void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void tell(struct bench_layer_floor *f)
{
    struct board *board = f->board;

    /* in order with asleep, as the receiver's two are: one of both sees the other's */
    atomic_store(&board->told, ++f->told);
    if (atomic_load(&board->asleep) != 0) {
        futex(&board->told, FUTEX_WAKE, 1);
    }
}

static void look(const struct bench_layer_floor *f)
{
    while (atomic_load_explicit(&f->board->told, memory_order_acquire) < f->seen) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }
}

static void sleep_for(const struct bench_layer_floor *f)
{
    struct board *board = f->board;
    uint32_t told = atomic_load(&board->told);

    while (told < f->seen) {
        atomic_store(&board->asleep, 1);
        told = atomic_load(&board->told);
        if (told < f->seen) {
            futex(&board->told, FUTEX_WAIT, told);
            told = atomic_load(&board->told);
        }
    }
    atomic_store(&board->asleep, 0);
}

/* ------------------------------------------------------------------ a run */

static int push(const struct bench_case *c, struct bench_layer_floor *f, struct bench_peer *socket,
                uint64_t batch, uint32_t at)
{
    double *sent_p = &f->sent_at[batch * f->layer_count + at];

    kvfi_bench_layer_gap(c->args);
    if (socket != NULL) {
        return kvfi_bench_socket_push_layer(c, socket, &f->each[at], batch, sent_p);
    }
    kvfi_bench_memcpy_batch(&f->each[at], batch, kvfi_bench_other_side(c), c->ends->local.starts);
    *sent_p = kvfi_bench_now();
    tell(f);
    return 0;
}

static int await(const struct bench_case *c, struct bench_layer_floor *f, struct bench_peer *socket,
                 uint64_t batch, uint32_t at)
{
    bool sleeps = kvfi_bench_layer_sleeps(c->args);
    int rc = 0;

    f->seen++;
    if (socket != NULL) {
        rc = kvfi_bench_socket_take_layer(c, socket, &f->each[at], batch, sleeps);
    } else if (sleeps) {
        sleep_for(f);
    } else {
        look(f);
    }
    f->seen_at[batch * f->layer_count + at] = kvfi_bench_now();
    return rc;
}

int kvfi_bench_layer_floor_run(const struct bench_case *c, struct bench_layer_floor *f,
                               struct bench_peer *floor)
{
    struct bench_peer *socket = floor->kind == &kvfi_bench_peer_socket ? floor : NULL;
    int rc = 0;

    for (uint64_t batch = 0; batch < c->plan->batches; batch++) {
        for (uint32_t at = 0; at < f->layer_count && rc == 0; at++) {
            rc = c->job->initiator ? push(c, f, socket, batch, at) : 0;
            rc = rc == 0 && c->job->owner ? await(c, f, socket, batch, at) : rc;
        }
    }
    return rc;
}

void kvfi_bench_layer_floor_times(const struct bench_layer_floor *f, double **sent_p, double **seen_p)
{
    *sent_p = f->sent_at;
    *seen_p = f->seen_at;
}

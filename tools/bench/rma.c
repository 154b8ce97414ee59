/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The peers that use MPI's own one-sided calls: one MPI_Get or MPI_Put a piece and one flush a batch,
 * the target locked once for the whole case. mpi-shm lets MPI allocate the window, which on one node
 * gives shared memory (Open MPI's osc/sm); mpi-rma makes a window over memory that is there already
 * (osc/ucx, osc/rdma, or what `mpirun --mca osc` says). The owner stays inside MPI meanwhile, because
 * some windows move nothing without it. Opening and closing wait for the other rank.
 */
#include "config.h"

#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <kvferry/mpi.h>

#include "../cli.h"

struct window {
    MPI_Win win;
    bool made, locked;
};

static int fail_mpi(const struct bench_peer *peer, const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING];
    int len = 0;

    MPI_Error_string(code, text, &len);
    return kvfi_cli_fail("peer %s: %s: %.*s", peer->kind->name, what, len, text);
}

/* The memory of the window, at the owner. */
static int take(struct bench_peer *peer, bool by_mpi, struct window *w)
{
    struct bench_memory *memory = &peer->memory;
    MPI_Aint len = (MPI_Aint)memory->len;
    void *addr = NULL;

    if (by_mpi) {
        int rc = MPI_Win_allocate(len, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &addr, &w->win);
        if (rc != MPI_SUCCESS) {
            return fail_mpi(peer, "MPI_Win_allocate", rc);
        }
        memory->addr = len > 0 ? addr : NULL;
    } else {
        int rc;
        if (len > 0) {
            addr = mmap(NULL, memory->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (addr == MAP_FAILED) { /* the other rank waits in MPI_Win_create: come, with nothing */
                len = 0;
                addr = NULL;
            }
            memory->addr = addr;
            memory->mapped = addr != NULL ? memory->len : 0;
        }
        rc = MPI_Win_create(addr, len, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &w->win);
        if (rc != MPI_SUCCESS) {
            return fail_mpi(peer, "MPI_Win_create", rc);
        }
    }
    w->made = true;
    MPI_Win_set_errhandler(w->win, MPI_ERRORS_RETURN);
    if (memory->len > 0 && memory->addr == NULL) {
        return kvfi_cli_fail("peer %s: no memory of %llu bytes", peer->kind->name,
                             (unsigned long long)memory->len);
    }
    return 0;
}

static int open_window(const struct bench_case *c, struct bench_peer *peer, bool by_mpi)
{
    struct window *w = calloc(1, sizeof(*w));
    int rc = w == NULL ? kvfi_cli_fail("no memory") : 0;

    if (rc == 0 && c->plan->shape.piece > INT_MAX) {
        rc = kvfi_cli_fail("peer %s: a piece of 2 GiB and more is beyond MPI's count", peer->kind->name);
    }
    peer->state = w;
    peer->way = getenv("OMPI_MCA_osc"); /* mpirun --mca osc; NULL: Open MPI's own choice */
    if (kvfi_bench_meet(c->job, rc) != 0) {
        return -1;
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    peer->memory.len = c->job->owner ? kvfi_bench_remote_bytes(c->args, c->plan) : 0;
    rc = take(peer, by_mpi, w);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
    if (rc == 0 && c->job->owner) {
        rc = kvfi_bench_remote_starts(c, &peer->memory);
    }
    if (kvfi_bench_meet(c->job, rc) != 0) {
        return -1;
    }
    if (c->job->initiator) {
        rc = MPI_Win_lock(MPI_LOCK_SHARED, c->job->owner_rank, 0, w->win);
        w->locked = rc == MPI_SUCCESS;
        rc = rc == MPI_SUCCESS ? 0 : fail_mpi(peer, "MPI_Win_lock", rc);
    }
    return kvfi_bench_meet(c->job, rc);
}

static int open_shm(const struct bench_case *c, struct bench_peer *peer)
{
    return open_window(c, peer, true);
}

static int open_rma(const struct bench_case *c, struct bench_peer *peer)
{
    return open_window(c, peer, false);
}

static void close_window(const struct bench_case *c, struct bench_peer *peer)
{
    struct window *w = peer->state;

    if (w != NULL && w->locked) {
        MPI_Win_unlock(c->job->owner_rank, w->win);
    }
    if (w != NULL && w->made) {
        MPI_Win_free(&w->win);
    }
    if (peer->memory.mapped != 0) {
        munmap(peer->memory.addr, peer->memory.mapped);
    }
    free(peer->memory.starts);
    peer->memory = (struct bench_memory){0};
    free(w);
    peer->state = NULL;
}

struct mover {
    const struct bench_case *c;
    MPI_Win win;
    uint64_t segment; /* bytes of one at the owner, where they lie one after the other */
    int rc;
};

static inline bool move_piece(void *arg, const struct bench_piece *p)
{
    struct mover *m = arg;
    bool reads = m->c->args->dir == KVF_READ;
    char *here = m->c->ends->local.starts[reads ? p->dest_segment : p->source_segment] +
                 (reads ? p->dest_off : p->source_off);
    uint64_t there =
        (reads ? p->source_segment : p->dest_segment) * m->segment + (reads ? p->source_off : p->dest_off);
    int len = (int)p->len, target = m->c->job->owner_rank;

    m->rc = reads ? MPI_Get(here, len, MPI_BYTE, target, (MPI_Aint)there, len, MPI_BYTE, m->win)
                  : MPI_Put(here, len, MPI_BYTE, target, (MPI_Aint)there, len, MPI_BYTE, m->win);
    return m->rc == MPI_SUCCESS;
}

static int move_batch(const struct bench_case *c, const struct window *w, uint64_t batch)
{
    uint64_t segments = kvfi_bench_remote_segments(c->args, c->plan);
    struct mover m = {c, w->win, kvfi_bench_remote_bytes(c->args, c->plan) / segments, MPI_SUCCESS};

    kvfi_bench_walk(c->plan, kvfi_bench_batch_first(c->plan, batch), kvfi_bench_batch_blocks(c->plan, batch),
                    move_piece, &m);
    return m.rc == MPI_SUCCESS ? MPI_Win_flush(c->job->owner_rank, w->win) : m.rc;
}

static int run(const struct bench_case *c, struct bench_peer *peer, double *took_p)
{
    double start;
    int rc = MPI_SUCCESS;

    if (!c->job->initiator) {
        return kvfi_bench_serve_until_done(NULL, NULL);
    }
    start = kvfi_bench_now();
    for (uint64_t batch = 0; batch < c->plan->batches && rc == MPI_SUCCESS; batch++) {
        rc = move_batch(c, peer->state, batch);
    }
    *took_p = kvfi_bench_now() - start;
    if (kvfi_bench_say_done(c->job) != 0) {
        return -1;
    }
    return rc == MPI_SUCCESS ? 0 : fail_mpi(peer, "moving", rc);
}

const struct bench_peer_kind kvfi_bench_peer_mpi_shm = {.name = "mpi-shm",
                                                        .key = "mpi_shm",
                                                        .label = "MPI window, shared",
                                                        .between = BENCH_BOTH,
                                                        .one_node = true,
                                                        .own_memory = true,
                                                        .places = true,
                                                        .open = open_shm,
                                                        .run = run,
                                                        .close = close_window};

const struct bench_peer_kind kvfi_bench_peer_mpi_rma = {.name = "mpi-rma",
                                                        .key = "mpi_rma",
                                                        .label = "MPI window over memory",
                                                        .between = BENCH_BOTH,
                                                        .own_memory = true,
                                                        .places = true,
                                                        .open = open_rma,
                                                        .run = run,
                                                        .close = close_window};

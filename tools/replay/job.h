/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the rooms of a replay share while it runs: the job of this rank, its tallies, its first failure.
 * A rank that fails or is told to end by a signal says so by mail to all others; nobody waits for it.
 */
#ifndef KVFI_REPLAY_JOB_H
#define KVFI_REPLAY_JOB_H

#include <time.h>

#include "shape.h"

/* Tallies of one rank. Plain numbers: they are gathered as bytes. */
struct replay_stats {
    uint64_t requests;     /* pulled, this rank's part of them, and looked at */
    uint64_t trace_blocks; /* their ids */
    uint64_t blocks;       /* their KV blocks */
    uint64_t bytes;        /* moved, as the results of batches say */
    uint64_t pieces;
    uint64_t mismatched_bytes;
    uint64_t verified_bytes;
    uint64_t stale_blocks;
    uint64_t stale_bytes;
    uint64_t canaries; /* wrong bytes beside pieces; mismatched_bytes counts them too */
    uint64_t lookups;  /* trace blocks looked up in this rank's pool; on the first member only */
    uint64_t hits;
    uint64_t late_ns;      /* how late the latest request began, with --speed trace */
    uint64_t pull_ns;      /* time with at least one batch running */
    uint64_t injected;     /* faults put in */
    uint64_t stopped;      /* 1: ended early */
    char first_wrong[400]; /* where the first wrong byte was found */
};

struct replay_job {
    struct replay_comm *comm;
    const struct replay_opts *opts;
    const struct replay_shape *shape;
    const kvfi_trace_t *trace;
    kvf_mpi_t *mpi;
    kvf_engine_t *engine;
    uint64_t begin_ns; /* when serving began */
    bool stop;         /* no more requests */
    bool lost;         /* a rank is dead: the others need not wait for it long */
    int code;          /* exit code of this rank's first failure; 0: none */
    char text[REPLAY_TEXT_LEN];
    struct replay_stats stats;
    uint64_t *pulls_ns; /* time of each pull, post to end */
    uint64_t pull_count;
};

/* Keeps the first failure and stops the job. Returns -1. */
int kvfi_replay_fail(struct replay_job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline uint64_t kvfi_replay_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* An answer's head; behind it the ids of `blocks` KV blocks of the source, then their generations. */
struct replay_answer {
    uint64_t request;
    uint64_t blocks;
};

#endif

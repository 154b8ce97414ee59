/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A process of mpi_kill as kvferry sees it: its engine, its memory, whom it knows, and how it meets
 * others through files. Meeting by MPI is mpi_kill's own. Only the waits for files block.
 */
#ifndef TESTS_MPI_KILL_PARTY_H
#define TESTS_MPI_KILL_PARTY_H

#include "kill_board.h"

#define PIECES   UINT32_C(2048)
#define AREA     ((uint64_t)PIECES * PIECE) /* bytes of a batch */
#define BLOB_MAX 65536u

/* Our memory: one area that others read, whose pattern has seed 100 + rank, then one for each
 * writer. Beside it, one area for each run, where our own batches read to and write from. */
typedef struct party {
    int rank;
    int far;              /* 1: some ranks are on another node */
    int own;              /* 1: memory is the caller's, so that others come over cma, */
    int stage;            /* or over stage */
    kvf_engine_t *engine; /* a job's, or the fresh one's own */
    kvf_grant_t *grant;
    uint8_t *served;
    kvf_segment_t *local;
    uint8_t *local_mem;
    kvf_peer_t *peer[RANKS];
    kvf_remote_t *remote[RANKS];
    uint32_t path[RANKS];
    uint32_t ids[PIECES]; /* a permutation */
} party_t;

static inline kvf_segment_t *make_memory(party_t *p, uint64_t len, uint8_t **mem_p)
{
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_segment_t *segment = NULL;
    void *own = NULL;

    if (p->own) {
        MUST(posix_memalign(&own, 4096, len) == 0, "no memory");
        memset(own, 0, len);
        OK(kvf_segment_register(p->engine, own, len, &segment));
    } else {
        OK(kvf_segment_alloc(p->engine, len, &segment));
    }
    OK(kvf_segment_query(segment, &attr));
    *mem_p = attr.addr;
    return segment;
}

/* What a process is by its command line, and how it opens its engine. */
static inline void party_init(party_t *p, int rank, const char *path, const char *progress,
                              kvf_engine_opts_t *opts_p)
{
    memset(p, 0, sizeof(*p));
    p->rank = rank;
    p->far = strcmp(path, "am") == 0;
    p->stage = strcmp(path, "stage") == 0;
    p->own = p->stage || strcmp(path, "cma") == 0;
    for (uint32_t i = 0; i < PIECES; i++) {
        p->ids[i] = (i * 1237 + 11) % PIECES;
    }
    memset(opts_p, 0, sizeof(*opts_p));
    opts_p->struct_size = sizeof(*opts_p);
    opts_p->net = "tcp";
    opts_p->progress = strcmp(progress, "caller") == 0 ? KVF_PROGRESS_CALLER : KVF_PROGRESS_THREAD;
}

static inline void party_grant(party_t *p)
{
    kvf_range_t range = {.len = (1 + RANKS) * AREA, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

    range.segment = make_memory(p, range.len, &p->served);
    p->local = make_memory(p, RUNS * AREA, &p->local_mem);
    pattern_fill(p->served, PIECES, 100 + (uint64_t)p->rank, NULL);
    OK(kvf_grant_create(p->engine, &range, 1, NULL, &p->grant));
}

/* The one path that may serve batches with a rank. */
static inline void choose_path(party_t *p, int to)
{
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};

    OK(kvf_peer_query(p->peer[to], &attr));
    MUST(p->far || attr.locality == KVF_LOCALITY_NODE, "rank %d is not near", to);
    p->path[to] = KVF_PATH_BIT(attr.locality == KVF_LOCALITY_CROSS ? KVF_PATH_AM
                               : p->stage                          ? KVF_PATH_STAGE
                               : p->own                            ? KVF_PATH_CMA
                                                                   : KVF_PATH_SHM);
}

static inline int is_far(const party_t *p, int to)
{
    return p->path[to] == KVF_PATH_BIT(KVF_PATH_AM);
}

/* It must help with our batches: stopped, it ends none. */
static inline int is_served(const party_t *p, int to)
{
    return p->stage || is_far(p, to);
}

static inline void put_blobs(party_t *p)
{
    uint8_t blob[BLOB_MAX];
    char name[32];
    size_t len = sizeof(blob);

    OK(kvf_engine_export(p->engine, p->far ? KVF_BLOB_FAR : 0, blob, &len));
    snprintf(name, sizeof(name), "%d.engine", p->rank);
    file_put(name, blob, len);
    len = sizeof(blob);
    OK(kvf_grant_export(p->grant, blob, &len));
    snprintf(name, sizeof(name), "%d.grant", p->rank);
    file_put(name, blob, len);
}

static inline void get_blobs(party_t *p, int from)
{
    uint8_t blob[BLOB_MAX];
    char name[32];
    uint32_t count = 1;
    size_t len;

    snprintf(name, sizeof(name), "%d.engine", from);
    len = file_get(p->engine, name, blob, sizeof(blob));
    OK(kvf_peer_import(p->engine, blob, len, &p->peer[from]));
    snprintf(name, sizeof(name), "%d.grant", from);
    len = file_get(p->engine, name, blob, sizeof(blob));
    OK(kvf_remote_import(p->peer[from], blob, len, &p->remote[from], &count));
    choose_path(p, from);
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_explain --analyze: pairs of ranks move a request's cache for real, in an MPI job.
 *
 *   job (MPI, engine) --> seats (which ranks of which side a process is) --> caches, grants
 *       --> runs, each: poison, bind, post, wait, judge --> what was measured, on rank 0
 *
 * Every step is collective, and all processes agree on how it went before they go on.
 */
#ifndef KVFI_EXPLAIN_RUN_H
#define KVFI_EXPLAIN_RUN_H

#include "explain.h"

/* A segment of a cache. */
struct explain_part {
    kvf_segment_t *segment;
    char *addr;
    uint64_t len;
    uint64_t mapped; /* bytes that are ours, of mmap; 0: they are the library's */
};

/* The cache of one rank of one side. */
struct explain_cache {
    const struct explain_world *world;
    unsigned side;
    uint32_t rank;
    const kvf_layout_t *layout;
    struct explain_part *parts;
    uint32_t count;
    uint32_t *ids; /* the request's block table */
};

/* A random permutation of the ids of a rank's cache; the request's table is the first so many of
 * it. The same in each process. ids has room for all. */
void kvfi_explain_table(const struct explain_world *world, unsigned side, uint32_t rank, uint32_t *ids);

int kvfi_explain_cache_open(const struct explain_world *world, kvf_engine_t *engine, enum explain_memory kind,
                            unsigned side, uint32_t rank, struct explain_cache *cache);
void kvfi_explain_cache_close(struct explain_cache *cache);
void kvfi_explain_cache_fill(struct explain_cache *cache);
void kvfi_explain_cache_poison(struct explain_cache *cache);
/* comes: by source rank, whether it takes part. Bytes that are what they have to be, and those that
 * are not; the cache is poisoned then but for these. */
void kvfi_explain_cache_judge(struct explain_cache *cache, const bool *comes, uint64_t *right_p,
                              uint64_t *wrong_p);

#endif

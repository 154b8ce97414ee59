/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Two sources with blocks of 16 tokens in children, one destination with blocks of 64 and another
 * layout, joined over one path: what the tests of results pull, and the look at what came of it.
 * Cells are found by kvf_layout_locate(), not by plans.
 */
#ifndef KVF_TESTS_SOURCES_H
#define KVF_TESTS_SOURCES_H

#include <stdbool.h>

#include <kvferry/kv.h>

#include "rig.h"

#define SOURCES 2
#define LAYERS  4
#define HEADS   4
#define SMALL   16 /* source blocks are small, those of the destination large */
#define LARGE   64
#define BLOCKS  64 /* of a source */
#define ENTRIES (BLOCKS * SMALL / LARGE)
#define FROM    UINT64_C(5) /* the range cuts blocks at both ends */
#define TO      (UINT64_C(16) * BLOCKS - 9)
#define LITTLE  64
#define MUCH    4096
#define MAX_OPS 64

/* What a source is. */
typedef struct shape {
    uint32_t rank, replicas; /* replicas: both hold one latent, else each holds half of the heads */
    uint32_t cell;
} shape_t;

typedef struct source {
    kvf_peer_t *peer;
    kvf_remote_t *remote;
    kvf_layout_t *layout;
    kvf_plan_t *plan;
    kvf_batch_t *batch;
    kvf_bind_table_t table;
    kvf_bind_t bind;
    uint32_t ids[BLOCKS], gens[BLOCKS], list[16 * BLOCKS];
    kvf_op_t ops[MAX_OPS];
    size_t op_count;
    int8_t pairs[2 * BLOCKS];
} source_t;

typedef struct sources {
    where_t where;
    shape_t shape;
    proc_t child[SOURCES];
    source_t source[SOURCES];
    kvf_engine_t *engine;
    kvf_bind_local_t local;
    uint8_t *mem;
    uint64_t len;
    kvf_layout_t *layout;
    kvf_bind_table_t table;
    uint32_t ids[ENTRIES];
    int8_t entries[ENTRIES];
    kvf_plan_results_t results;
} sources_t;

/* Blocks hold cells of so many bytes; replicas: both sources hold the same. Forks. */
void sources_open(sources_t *w, where_t where, uint32_t replicas, uint32_t cell, uint32_t copy_threads);
void sources_close(sources_t *w);

/* Forget what came. */
void sources_begin(sources_t *w);
/* Pull from both; the worst status of the two. deadline_ns as in kvf_batch_opts_t. */
kvf_status_t sources_pull(sources_t *w, uint64_t deadline_ns);
/* Nothing is called arrived that is not there; statuses and prefix agree. */
void sources_check(const sources_t *w);

/* A source's block of a request's block i. */
uint32_t source_block(uint32_t i);
kvf_layout_t *source_layout(const shape_t *shape, bool destination);
/* Where a cell lies, by token; block is that of the token. */
uint64_t source_cell(const kvf_layout_t *layout, uint32_t layer, uint32_t head, uint32_t block,
                     uint64_t token);

/* Called at a source: it revokes its grant. */
void source_revoke(void *state, const void *in, size_t in_len, proc_out_t *out);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a decode rank pulls a request with: its sources, each with a plan that was made once, and for each
 * request in flight the block tables of both ends, the ops that the plans are bound to, and what proved
 * stale of which source.
 *
 * This room knows no mail, no batch and no time: decode.c asks for the tables, fills in what is answered,
 * posts the ops and says when they ended. Blocks and tokens are counted from the request's first; a
 * trace block of a request is its kept tokens only. Nothing here blocks.
 */
#ifndef KVFI_REPLAY_TABLES_H
#define KVFI_REPLAY_TABLES_H

#include "verify.h"

struct replay_source {
    uint32_t member;   /* of a prefill instance */
    uint32_t segments; /* of its layout */
    kvf_plan_t *plan;
    struct replay_cut cut; /* what it and this rank have in common */
};

struct replay_sources {
    const struct replay_shape *shape;
    uint32_t count;
    struct replay_source *source;
    uint32_t step_tokens; /* divides the KV blocks of both sides */
    uint32_t *entry;      /* by id of a destination block: its place in its request */
};

/* Finds the sources of decode rank `number` whose cache has that layout and so many blocks, and makes their
 * plans. Close it whatever the outcome. */
kvf_status_t kvfi_replay_sources_open(const struct replay_shape *shape, uint32_t number,
                                      const kvf_layout_t *layout, uint32_t capacity,
                                      struct replay_sources *sources_p);
void kvfi_replay_sources_close(struct replay_sources *sources);

/* A request in flight. All zero: empty. */
struct replay_tables {
    uint32_t blocks;     /* of the destination */
    uint32_t src_blocks; /* of each source */
    uint32_t *dst_ids;
    uint32_t *src_ids, *src_gens; /* of source s from s * src_blocks on */
    kvf_op_t *ops;                /* of all sources, one source behind the other */
    size_t op_count;
    size_t *first_op;     /* by source */
    uint32_t *ids;        /* that the plans fill */
    size_t *first_pair;   /* by source: of its pairs in status; one more entry is their end */
    int8_t *status;       /* of the pairs of blocks of all sources */
    int8_t *block_status; /* of destination blocks, as the library tells */
    uint8_t *stale;       /* by source and step of step_tokens: not 0 if stale */
    uint64_t steps;
    bool any_stale;
    size_t room, op_room, id_room, status_room; /* room: in trace blocks */
};

/* Makes room for a request of so many trace blocks, and empties the tables. -1: no memory. */
int kvfi_replay_tables_make(struct replay_tables *tables, const struct replay_sources *sources,
                            uint64_t trace_blocks);
void kvfi_replay_tables_free(struct replay_tables *tables);

/* Binds each source's plan to its tables. locals: where the segments of this rank's layout lie; remotes: what
 * the first member of the prefill instance granted, then the next one, shape->ranges for each. */
kvf_status_t kvfi_replay_tables_bind(struct replay_tables *tables, const struct replay_sources *sources,
                                     const kvf_bind_local_t *locals, uint32_t local_count,
                                     kvf_remote_t *const *remotes);

/* The first `posted` ops have ended, and some of their pairs STALE: notes which tokens that is. */
void kvfi_replay_tables_note_stale(struct replay_tables *tables, const struct replay_sources *sources,
                                   size_t posted);

/* All ops were posted and have ended. What the library makes of that, over all sources: OK if it agrees
 * with what was noted as stale, block by block, and on the prefix that can be used; else INVALID and the
 * sentence in kvfi_cli_error(). */
kvf_status_t kvfi_replay_tables_agree(struct replay_tables *tables, const struct replay_sources *sources);

/* What is stale of destination block j: fills stale_p, an entry a source, for the checker. Returns the
 * bytes; 0: none. */
uint64_t kvfi_replay_tables_stale(const struct replay_tables *tables, const struct replay_sources *sources,
                                  uint32_t j, struct replay_stale *stale_p);

#endif

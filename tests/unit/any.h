/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Random setups for plans: a model's cache, cut over random ranks on both sides, with layouts,
 * block tables and memory of their own. any_make.c makes them and says where a token stands;
 * test_plan_any.c is the oracle of the bytes, any_results.c that of the statuses. Neither knows
 * anything of layouts and plans but the numbers that were made up here.
 */
#ifndef KVF_TESTS_ANY_H
#define KVF_TESTS_ANY_H

#include "kv_oracle.h"

#define MAX_RANKS  24
#define MAX_GROUPS 2
#define MAX_LAYERS 6
#define MAX_PLANES 3
#define MAX_BLOCKS 160

/* What the model's cache means: the same for both sides. */
typedef struct meaning {
    uint32_t groups;
    struct {
        uint32_t layers[MAX_LAYERS], layer_count, heads, per_state, window, kinds;
        uint32_t content[MAX_PLANES]; /* K, V, SCALES; or LATENT alone */
        bool latent;
    } group[MAX_GROUPS];
} meaning_t;

/* A group as one rank holds it. */
typedef struct held {
    kvf_group_t g;
    kvf_plane_t planes[MAX_PLANES];
    uint32_t layers[MAX_LAYERS];
    uint64_t bases[MAX_PLANES][MAX_LAYERS];
    uint32_t segments[MAX_LAYERS];
    uint32_t meaning; /* index of the group in the meaning */
    kvf_bind_table_t table;
    uint32_t ids[MAX_BLOCKS], gens[MAX_BLOCKS];
    uint8_t skip[MAX_BLOCKS];
} held_t;

typedef struct rank {
    held_t held[MAX_GROUPS];
    kvf_group_t groups[MAX_GROUPS];
    kvf_bind_table_t tables[MAX_GROUPS];
    uint32_t count;
    uint64_t lens[MAX_LAYERS + 1];
    kvf_layout_t *layout;
    struct kvf_segment memory[MAX_LAYERS + 1];
    struct kvf_remote remotes[MAX_LAYERS + 1];
} rank_t;

/* How a side cuts the model over ranks. */
typedef struct side {
    uint32_t tp, pp, cp, dealt, count;
    uint32_t tokens[MAX_GROUPS]; /* of a block */
    rank_t ranks[MAX_RANKS];
} side_t;

/* Starts the random numbers of a setup, whose seed a failure prints. */
void any_seed(uint64_t seed);

/* A number below n. */
uint32_t any_roll(uint32_t n);

void any_must(bool holds, const char *what);

void any_make_meaning(meaning_t *m);

/* Tables for tokens [from, to) of a request; of a destination only rank only has anything. */
void any_make_side(const meaning_t *m, side_t *side, uint64_t from, uint64_t to, bool read, bool is_source,
                   uint32_t only);
void any_free_side(side_t *side);

/* Whether a rank holds a token, and which of its tokens that is. */
bool any_holds_token(const kvf_group_t *g, uint64_t t);
uint64_t any_local_token(const kvf_group_t *g, uint64_t t);

/* KVF_SKIP where the table drops the entry, however it says so. */
uint32_t any_real_id(const held_t *h, uint64_t entry);

/* Entry of a token in a rank's table; the block of the request by *block_p. */
uint64_t any_find_entry(const held_t *h, uint64_t t, uint64_t *block_p);

/* The rank whose turn it is for (layer, head, token), and its group; NULL if none has it. */
const held_t *any_find_source(const side_t *src, uint32_t layer, uint32_t head, uint64_t t, uint64_t turn,
                              uint32_t *rank_p);

/* A status for each pair of blocks, and what must come of them: begin makes up which sources and
 * blocks fail, bind has a binding keep statuses, add sets them as a batch would and adds them,
 * check looks at what came out. r is the rank of the source, d that of the destination. */
void any_results_begin(const side_t *src, rank_t *dst);
void any_results_bind(kvf_bind_t *bind);
void any_results_add(const kvf_plan_t *plan, const kvf_bind_t *bind, uint32_t r, const kvf_op_t *ops,
                     size_t count);
void any_results_check(const side_t *src, const rank_t *dst, uint32_t d, uint64_t from, uint64_t to,
                       bool window);

#endif

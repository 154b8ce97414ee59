/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A plan as it is kept: parts, each what one group of the source and one of the destination have
 * in common that is served alike. A part has its units (unit.c), its pattern of blocks
 * (pattern.c), and the boxes of each form of the pattern, made once. It never changes, but for what
 * bindings remember in it (bind_slots.c).
 */
#ifndef KVFI_KV_PLAN_H
#define KVFI_KV_PLAN_H

#include <stdatomic.h>

#include "kv/pattern.h"

/* What a part is made of. */
typedef struct kvfi_pick {
    const kvfi_kv_part_t *src, *dst; /* the same kind and index */
} kvfi_pick_t;

typedef struct kvfi_layer {
    uint32_t src, dst; /* places in the layer lists of the two groups: the same id */
} kvfi_layer_t;

typedef struct kvfi_spec {
    const kvf_group_t *src, *dst;
    uint32_t src_group, dst_group;
    const kvfi_pick_t *picks;   /* in the order of the views */
    const kvfi_layer_t *layers; /* in any order */
    uint32_t pick_count, layer_count;
    uint32_t first_head, heads;
    uint32_t replicas, replica;
} kvfi_spec_t;

/* A box as an op has it, one half an end. */
typedef struct kvfi_half {
    uint64_t off, block;
    int64_t stride[2];
    uint32_t segment;
} kvfi_half_t;

typedef struct kvfi_ready {
    kvfi_half_t src, dst;
    uint64_t len;
    uint32_t count[2];
} kvfi_ready_t;

/* What boxes move for one pair of blocks. */
typedef struct kvfi_sum {
    uint64_t pieces, bytes, piece_min, piece_max;
} kvfi_sum_t;

typedef struct kvfi_form_boxes {
    uint32_t first, count;
    kvfi_sum_t sum;
} kvfi_form_boxes_t;

typedef struct kvfi_plan_part {
    uint32_t src_group, dst_group;
    uint32_t replicas, replica;
    uint32_t tokens_per_state, window;
    uint32_t unit_count, layer_count;
    bool alike; /* units differ in where they lie only */
    kvfi_unit_t *units;
    uint32_t *layers; /* ids: those of each unit, in the order of its axis */
    kvfi_pattern_t pattern;
    kvfi_form_boxes_t *form_boxes; /* one a form */
    kvfi_ready_t *boxes;
} kvfi_plan_part_t;

/* What binding must know of the groups of one end. */
typedef struct kvfi_plan_group {
    uint32_t block_tokens, blocks;
    uint64_t span;   /* tokens: first_token of a table is a multiple */
    uint64_t stride; /* tokens of the request from block to block, on the average */
} kvfi_plan_group_t;

/* An array of places that was found good once, so that the same array costs a comparison. Written
 * once, by the first binding; the others look at it only when it is there. */
typedef struct kvfi_seen {
    _Atomic(uint32_t) state; /* kvfi_seen_state_t */
    bool full;               /* no handle is NULL */
    void *copy;
} kvfi_seen_t;

typedef struct kvfi_plan_end {
    uint32_t segment_count, group_count;
    kvfi_plan_group_t *groups;
    uint64_t *segment_len;
    kvfi_seen_t *locals, *remotes; /* of bindings in which this end is local, or remote */
} kvfi_plan_end_t;

struct kvf_plan {
    kvfi_plan_end_t src, dst;
    uint32_t part_count, part_cap;
    kvfi_plan_part_t *parts;
};

/* Find the fewest units of a spec, and the ids of their layers: as many a unit as its axis has.
 * Errors: NOMEM. */
kvf_status_t kvfi_kv_units_make(const kvfi_spec_t *spec, kvfi_unit_t **units_p, uint32_t *count_p,
                                uint32_t **layers_p, uint32_t *layer_count_p);

/* An empty plan between two layouts. Errors: NOMEM. */
kvf_status_t kvfi_kv_plan_open(const kvf_layout_t *src, const kvf_layout_t *dst, kvf_plan_t **plan_p);

/* Add a spec, if the two sides meet in it: to the part that is served alike, or as a new one.
 * Errors: UNSUPPORTED, NOMEM. */
kvf_status_t kvfi_kv_plan_add(kvf_plan_t *plan, const kvfi_spec_t *spec);

/* Room to remember the places of count segments, of size bytes each (bind_slots.c); NULL: no memory. */
kvfi_seen_t *kvfi_kv_seen_make(uint32_t count, size_t size);
void kvfi_kv_seen_free(kvfi_seen_t *seen);

/* Turn count boxes into what ops have of them, and sum up what they move. */
void kvfi_kv_ready_make(const kvfi_op_box_t *boxes, uint32_t count, kvfi_ready_t *ready, kvfi_sum_t *sum_p);

/* Check options; fills *to with NULL read as all 0. Errors: INVALID. */
kvf_status_t kvfi_kv_plan_opts(const kvf_plan_opts_t *from, kvf_plan_opts_t *to);

/* What of the layouts that a plan is made from options may name: heads of the model, and whether one
 * layer that they want is held at all. How many layers the model has, no layout of a stage knows. */
typedef struct kvfi_reach {
    uint32_t heads;
    bool has_layer;
} kvfi_reach_t;

void kvfi_kv_reach_add(const kvf_layout_t *layout, const kvf_plan_opts_t *opts, kvfi_reach_t *reach);

/* Refuse options that name what none of the layouts has. Errors: INVALID. */
kvf_status_t kvfi_kv_reach_check(const kvf_plan_opts_t *opts, const kvfi_reach_t *reach);

/* Whether options want a layer, and which of heads [first, first + count) they want: *count_p 0 if
 * none. */
bool kvfi_kv_wants_layer(const kvf_plan_opts_t *opts, uint32_t layer);
void kvfi_kv_wants_heads(const kvf_plan_opts_t *opts, uint32_t *first_p, uint32_t *count_p);

/* Refuse two groups that share plane part of a layer and do not mean the same by it: INVALID. */
kvf_status_t kvfi_kv_agree(const kvfi_spec_t *spec, const kvfi_pick_t *pick, uint32_t layer);

/* Refuse a layer that both layouts hold, and of which one, called name, has a plane alone. */
kvf_status_t kvfi_kv_planes_agree(const kvf_layout_t *one, const kvf_layout_t *other, const char *name,
                                  const kvf_plan_opts_t *opts);

#endif

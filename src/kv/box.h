/* SPDX-License-Identifier: BSD-3-Clause
 *
 * From axes to boxes. A unit is a set of cells that lie at fixed strides on both sides, block for
 * block; a span says which states of a pair of blocks meet; a box is what one op carries of a
 * unit and a span, before handles and block tables are filled in.
 *
 *      states of a source block        0 1 2 3 4 5 6 7
 *                                      =====     =====      span: src_state 0, len 3, count 2,
 *      of a destination block      ..0 1 2 3 4 5 ..               src_step 5, dst_step 3
 */
#ifndef KVFI_KV_BOX_H
#define KVFI_KV_BOX_H

#include "kv/layout.h"

#define KVFI_UNIT_AXES   3 /* planes, layers, heads */
#define KVFI_UNIT_LAYERS 1
#define KVFI_BOX_AXES    5 /* and runs, states */

typedef struct kvfi_axis {
    uint32_t count;
    int64_t src, dst; /* strides */
} kvfi_axis_t;

typedef struct kvfi_span {
    uint32_t src_state, dst_state; /* first, in their blocks */
    uint32_t len;                  /* states side by side on both sides */
    uint32_t count;                /* such runs */
    uint32_t src_step, dst_step;   /* states from run to run */
    uint32_t step;                 /* and in the request */
} kvfi_span_t;

typedef struct kvfi_unit {
    uint32_t src_segment, dst_segment;
    uint64_t src_off, dst_off; /* of the first cell, block 0, state 0 */
    uint64_t src_block, dst_block;
    int64_t src_state, dst_state; /* strides */
    uint64_t len;
    kvfi_axis_t axes[KVFI_UNIT_AXES];
    uint32_t layer_at; /* of the ids along the axis of layers, in the part's list */
    bool like_last;    /* the unit before this one differs in segments and offsets only */
} kvfi_unit_t;

typedef struct kvfi_op_box {
    uint32_t src_segment, dst_segment;
    uint64_t src_off, dst_off;
    uint64_t src_block, dst_block;
    uint64_t len;
    kvfi_axis_t axes[2]; /* the inner one first */
} kvfi_op_box_t;

/* The boxes of a unit, one after the other: two axes are in the box, the rest is looped over. */
typedef struct kvfi_boxes {
    kvfi_op_box_t box; /* the first of them */
    kvfi_axis_t loops[KVFI_BOX_AXES - 2];
    uint32_t at[KVFI_BOX_AXES - 2];
    unsigned loop_count;
    bool done;
} kvfi_boxes_t;

/* The boxes of a span of a unit: merged wherever both sides are contiguous. */
void kvfi_kv_boxes_start(kvfi_boxes_t *boxes, const kvfi_unit_t *unit, const kvfi_span_t *span);

/* Make one box of several wherever that is possible, and longer pieces of those that touch. All are
 * of one span, or of one part of a span. Returns how many are left. */
uint32_t kvfi_kv_boxes_merge(kvfi_op_box_t *boxes, uint32_t count);

/* Fill *box_p with the next box and say true; or false at the end. */
bool kvfi_kv_boxes_next(kvfi_boxes_t *boxes, kvfi_op_box_t *box_p);

/* Grow pieces along axes, join axes, and put the two axes of a box in order. */
void kvfi_kv_box_fold(kvfi_op_box_t *box);

#endif

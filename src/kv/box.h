/* SPDX-License-Identifier: BSD-3-Clause
 *
 * From axes to boxes. A unit is a set of cells that lie at fixed strides on both sides; a box is
 * what one op carries of it, before handles and block tables are filled in.
 */
#ifndef KVFI_KV_BOX_H
#define KVFI_KV_BOX_H

#include "kv/layout.h"

#define KVFI_UNIT_AXES 4 /* planes, layers, heads, states: states last */

typedef struct kvfi_axis {
    uint32_t count;
    int64_t src, dst; /* strides */
} kvfi_axis_t;

typedef struct kvfi_unit {
    uint32_t src_segment, dst_segment;
    uint64_t src_off, dst_off; /* of the first cell, block 0 */
    uint64_t src_block, dst_block;
    uint64_t len;
    kvfi_axis_t axes[KVFI_UNIT_AXES];
} kvfi_unit_t;

/* The boxes of a unit, one after the other: two axes are in the box, the rest is looped over. */
typedef struct kvfi_boxes {
    kvfi_unit_t unit; /* collapsed; the axes of the box are the first two, the inner one first */
    uint32_t loops;   /* axes looped over, after the first two */
    uint32_t at[KVFI_UNIT_AXES];
    bool done;
} kvfi_boxes_t;

/* The boxes of states [from, from + count) of a unit: merged wherever both sides are contiguous. */
void kvfi_kv_boxes_start(kvfi_boxes_t *boxes, const kvfi_unit_t *unit, uint32_t from,
                         uint32_t count);

/* Fill *box_p with the next box, two axes used, and say true; or false at the end. */
bool kvfi_kv_boxes_next(kvfi_boxes_t *boxes, kvfi_unit_t *box_p);

#endif

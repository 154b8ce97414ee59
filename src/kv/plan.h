/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A plan as it is kept: for each group the units of cells, for blocks cut by an end of the
 * range, and the boxes of whole blocks, made once.
 */
#ifndef KVFI_KV_PLAN_H
#define KVFI_KV_PLAN_H

#include "kv/box.h"

typedef struct kvfi_plan_group {
    uint32_t block_tokens, tokens_per_state, states, window;
    uint32_t src_blocks, dst_blocks; /* capacities */
    uint32_t unit_count, box_count;
    kvfi_unit_t *units;
    kvfi_unit_t *boxes; /* two axes each */
} kvfi_plan_group_t;

struct kvf_plan {
    uint32_t group_count;
    uint32_t src_segments, dst_segments;
    kvfi_plan_group_t *groups;
};

#endif

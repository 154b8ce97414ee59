/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Boxes of different units that could be one: planes, stretches of heads or layers that touch on
 * both sides become longer pieces, and boxes that repeat at one distance become rows of one box.
 * Called when a plan is made, and for the few boxes of a block that a range cuts.
 */
#include "kv/box.h"

static bool same_frame(const kvfi_op_box_t *a, const kvfi_op_box_t *b)
{
    return a->src_segment == b->src_segment && a->dst_segment == b->dst_segment &&
           a->src_block == b->src_block && a->dst_block == b->dst_block;
}

static bool same_axis(const kvfi_axis_t *a, const kvfi_axis_t *b)
{
    return a->count == b->count && (a->count == 1 || (a->src == b->src && a->dst == b->dst));
}

/* Make the pieces of a longer by those of b. */
static bool lengthen(kvfi_op_box_t *a, const kvfi_op_box_t *b)
{
    if (!same_frame(a, b) || a->src_off + a->len != b->src_off || a->dst_off + a->len != b->dst_off ||
        !same_axis(&a->axes[0], &b->axes[0]) || !same_axis(&a->axes[1], &b->axes[1]))
        return false;
    a->len += b->len;
    kvfi_kv_box_fold(a);
    return true;
}

/* Make b a further step of axis at of a, which b does not have. */
static bool add_step(kvfi_op_box_t *a, const kvfi_op_box_t *b, unsigned at)
{
    kvfi_axis_t *axis = &a->axes[at];
    kvfi_axis_t step = {axis->count, (int64_t)(b->src_off - a->src_off), (int64_t)(b->dst_off - a->dst_off)};

    if (axis->count > 1 && (step.src != axis->count * axis->src || step.dst != axis->count * axis->dst ||
                            axis->count == UINT32_MAX))
        return false;
    if (axis->count == 1)
        *axis = step;
    axis->count++;
    kvfi_kv_box_fold(a);
    return true;
}

static bool repeat(kvfi_op_box_t *a, const kvfi_op_box_t *b)
{
    if (!same_frame(a, b) || a->len != b->len || b->axes[1].count > 1)
        return false;
    if (b->axes[0].count == 1 && a->axes[1].count == 1)
        return add_step(a, b, 0);
    return same_axis(&a->axes[0], &b->axes[0]) && add_step(a, b, 1);
}

static bool before(const kvfi_op_box_t *a, const kvfi_op_box_t *b)
{
    if (a->src_segment != b->src_segment)
        return a->src_segment < b->src_segment;
    return a->src_off < b->src_off;
}

/* By place in the source. They mostly are in order, and binding allocates nothing, as qsort() may. */
static void sort(kvfi_op_box_t *boxes, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        kvfi_op_box_t box = boxes[i];
        uint32_t at = i;

        for (; at > 0 && before(&box, &boxes[at - 1]); at--)
            boxes[at] = boxes[at - 1];
        boxes[at] = box;
    }
}

/* One pass: each box takes what it can of those after it. True if anything was taken. */
static bool pass(kvfi_op_box_t *boxes, uint32_t *count_p,
                 bool (*take)(kvfi_op_box_t *a, const kvfi_op_box_t *b))
{
    uint32_t count = *count_p;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t kept = i + 1;

        for (uint32_t j = i + 1; j < count; j++) {
            if (!take(&boxes[i], &boxes[j]))
                boxes[kept++] = boxes[j];
        }
        count = kept;
    }
    if (count == *count_p)
        return false;
    *count_p = count;
    return true;
}

uint32_t kvfi_kv_boxes_merge(kvfi_op_box_t *boxes, uint32_t count)
{
    if (count < 2)
        return count;
    sort(boxes, count);
    while (pass(boxes, &count, lengthen) || pass(boxes, &count, repeat))
        sort(boxes, count);
    return count;
}

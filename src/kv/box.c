/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The merge rule. A run starts as one cell; an axis whose stride is the run's length, on both
 * sides, makes it longer; then axes that continue each other become one. Of what is left the two
 * longest axes go into the box, and each of the others costs a box a step: that is where a
 * layout pair that needs a third stride gets its op a head. Called at plan time for whole
 * spans, at bind time for those that an end of the range cuts.
 */
#include "kv/box.h"

static void remove_axis(kvfi_axis_t *axes, unsigned *count, unsigned at)
{
    (*count)--;
    for (; at < *count; at++)
        axes[at] = axes[at + 1];
}

/* Axes that run backwards on both sides run forwards from their other end. */
static void turn_forward(kvfi_op_box_t *box, kvfi_axis_t *axis)
{
    if (axis->src >= 0 || axis->dst >= 0)
        return;
    box->src_off += (uint64_t)axis->src * (axis->count - 1);
    box->dst_off += (uint64_t)axis->dst * (axis->count - 1);
    axis->src = -axis->src;
    axis->dst = -axis->dst;
}

static bool grow_run(kvfi_op_box_t *box, kvfi_axis_t *axes, unsigned *count)
{
    for (unsigned i = 0; i < *count; i++) {
        if (axes[i].src == axes[i].dst && axes[i].src > 0 && (uint64_t)axes[i].src == box->len) {
            box->len *= axes[i].count;
            remove_axis(axes, count, i);
            return true;
        }
    }
    return false;
}

static bool continues(int64_t outer, int64_t inner, uint32_t count)
{
    int64_t whole;

    return !__builtin_mul_overflow(inner, (int64_t)count, &whole) && whole == outer;
}

static bool join_two(kvfi_axis_t *axes, unsigned *count)
{
    for (unsigned i = 0; i < *count; i++) {
        for (unsigned j = 0; j < *count; j++) {
            if (i == j || (uint64_t)axes[i].count * axes[j].count > UINT32_MAX ||
                !continues(axes[j].src, axes[i].src, axes[i].count) ||
                !continues(axes[j].dst, axes[i].dst, axes[i].count))
                continue;
            axes[i].count *= axes[j].count;
            remove_axis(axes, count, j);
            return true;
        }
    }
    return false;
}

static uint64_t distance(int64_t stride)
{
    return stride < 0 ? -(uint64_t)stride : (uint64_t)stride;
}

/* Longest axes first; the inner one of the box is then the one with the shorter stride. */
static void order_axes(kvfi_axis_t *axes, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        kvfi_axis_t axis = axes[i];
        unsigned at = i;

        while (at > 0 &&
               (axes[at - 1].count < axis.count ||
                (axes[at - 1].count == axis.count && distance(axes[at - 1].dst) < distance(axis.dst)))) {
            axes[at] = axes[at - 1];
            at--;
        }
        axes[at] = axis;
    }
    if (count > 1 && distance(axes[0].dst) > distance(axes[1].dst)) {
        kvfi_axis_t axis = axes[0];

        axes[0] = axes[1];
        axes[1] = axis;
    }
}

/* Returns how many axes are left; the first two of them are then the box's. */
static unsigned fold(kvfi_op_box_t *box, kvfi_axis_t *axes, unsigned count)
{
    while (grow_run(box, axes, &count)) {
    }
    while (join_two(axes, &count)) {
    }
    order_axes(axes, count);
    for (unsigned i = 0; i < 2; i++)
        box->axes[i] = i < count ? axes[i] : (kvfi_axis_t){.count = 1};
    return count;
}

void kvfi_kv_box_fold(kvfi_op_box_t *box)
{
    kvfi_axis_t axes[2];
    unsigned count = 0;

    for (unsigned i = 0; i < 2; i++) {
        if (box->axes[i].count > 1)
            axes[count++] = box->axes[i];
    }
    fold(box, axes, count);
}

static void add_axis(kvfi_op_box_t *box, kvfi_axis_t *axes, unsigned *count, kvfi_axis_t axis)
{
    if (axis.count == 1)
        return;
    turn_forward(box, &axis);
    axes[(*count)++] = axis;
}

void kvfi_kv_boxes_start(kvfi_boxes_t *boxes, const kvfi_unit_t *unit, const kvfi_span_t *span)
{
    kvfi_axis_t axes[KVFI_BOX_AXES];
    kvfi_op_box_t *box = &boxes->box;
    unsigned count = 0;

    *box = (kvfi_op_box_t){
        .src_segment = unit->src_segment,
        .dst_segment = unit->dst_segment,
        .src_off = unit->src_off + span->src_state * (uint64_t)unit->src_state,
        .dst_off = unit->dst_off + span->dst_state * (uint64_t)unit->dst_state,
        .src_block = unit->src_block,
        .dst_block = unit->dst_block,
        .len = unit->len,
    };
    for (unsigned i = 0; i < KVFI_UNIT_AXES; i++)
        add_axis(box, axes, &count, unit->axes[i]);
    add_axis(box, axes, &count,
             (kvfi_axis_t){span->count, span->src_step * unit->src_state, span->dst_step * unit->dst_state});
    add_axis(box, axes, &count, (kvfi_axis_t){span->len, unit->src_state, unit->dst_state});
    count = fold(box, axes, count);
    boxes->loop_count = count > 2 ? count - 2 : 0;
    for (unsigned i = 0; i < boxes->loop_count; i++) {
        boxes->loops[i] = axes[i + 2];
        boxes->at[i] = 0;
    }
    boxes->done = false;
}

bool kvfi_kv_boxes_next(kvfi_boxes_t *boxes, kvfi_op_box_t *box_p)
{
    if (boxes->done)
        return false;
    *box_p = boxes->box;
    for (unsigned i = 0; i < boxes->loop_count; i++) {
        box_p->src_off += boxes->at[i] * (uint64_t)boxes->loops[i].src;
        box_p->dst_off += boxes->at[i] * (uint64_t)boxes->loops[i].dst;
    }
    boxes->done = true;
    for (unsigned i = 0; i < boxes->loop_count && boxes->done; i++) {
        boxes->at[i]++;
        boxes->done = boxes->at[i] == boxes->loops[i].count;
        if (boxes->done)
            boxes->at[i] = 0;
    }
    return true;
}

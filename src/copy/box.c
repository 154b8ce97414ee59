/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Folding of boxes and the cursor's step: the one place where neighbours are merged.
 */
#include "copy/box.h"

#define LINE      64u
#define ROW_LEAST 4u /* pieces */

static void drop_inner_axis(kvfi_box_t *box)
{
    box->count[0] = box->count[1];
    box->local_stride[0] = box->local_stride[1];
    box->remote_stride[0] = box->remote_stride[1];
    box->count[1] = 1;
}

__attribute__((hot)) void kvfi_box_fold(kvfi_box_t *box)
{
    for (int axis = 0; axis < 2; axis++) {
        if (box->count[0] == 1) {
            drop_inner_axis(box);
        } else if (box->local_stride[0] == (int64_t)box->len && box->remote_stride[0] == (int64_t)box->len) {
            box->len *= box->count[0];
            drop_inner_axis(box);
        }
    }
}

static uint64_t distance(int64_t stride)
{
    return stride < 0 ? -(uint64_t)stride : (uint64_t)stride;
}

/* Sources in order are fetched before they are asked for, which rows of two pieces gain nothing by. Only
 * destinations of whole lines may come in any order: a line that two pieces share is to be written at
 * once. */
__attribute__((hot)) void kvfi_box_turn(kvfi_box_t *box, uint32_t dir)
{
    int64_t *from = dir == KVF_READ ? box->remote_stride : box->local_stride;
    int64_t *to = dir == KVF_READ ? box->local_stride : box->remote_stride;
    uint64_t off = dir == KVF_READ ? box->local_off : box->remote_off;
    uint64_t block = dir == KVF_READ ? box->local_block : box->remote_block;
    int64_t stride;
    uint32_t count;

    if (box->count[0] == 1 || box->count[1] < ROW_LEAST || distance(from[0]) <= distance(from[1]) ||
        (box->len | off | block | (uint64_t)to[0] | (uint64_t)to[1]) % LINE)
        return;
    count = box->count[0];
    box->count[0] = box->count[1];
    box->count[1] = count;
    for (int side = 0; side < 2; side++) {
        int64_t *strides = side ? to : from;

        stride = strides[0];
        strides[0] = strides[1];
        strides[1] = stride;
    }
    kvfi_box_fold(box);
}

int kvfi_box_remote_span(const kvfi_box_t *box, uint64_t *from_p, uint64_t *to_p)
{
    uint32_t low = UINT32_MAX, high = 0;

    for (uint32_t i = 0; i < box->blocks; i++) {
        uint32_t id = kvfi_box_id(box->remote_ids, i);

        if (kvfi_box_skips(box, i))
            continue;
        low = id < low ? id : low;
        high = id > high ? id : high;
    }
    if (low > high)
        return 0;
    *from_p = box->remote_off + low * box->remote_block;
    *to_p = box->remote_off + high * box->remote_block + box->len;
    for (int axis = 0; axis < 2; axis++) {
        int64_t reach = (int64_t)(box->count[axis] - 1) * box->remote_stride[axis];

        *(reach < 0 ? from_p : to_p) += (uint64_t)reach;
    }
    return 1;
}

kvfi_box_t kvfi_box_remote_side(const kvfi_box_t *box)
{
    kvfi_box_t side = *box;

    side.local_off = box->remote_off;
    side.local_block = box->remote_block;
    for (int axis = 0; axis < 2; axis++)
        side.local_stride[axis] = box->remote_stride[axis];
    kvfi_box_fold(&side);
    return side;
}

kvfi_box_t kvfi_box_local_side(const kvfi_box_t *box)
{
    kvfi_box_t side = *box;

    side.remote_off = box->local_off;
    side.remote_block = box->local_block;
    for (int axis = 0; axis < 2; axis++)
        side.remote_stride[axis] = box->local_stride[axis];
    return side;
}

int kvfi_cursor_ended(kvfi_cursor_t *cursor)
{
    const kvfi_box_t *box = cursor->box;

    while (cursor->pair < box->blocks && kvfi_box_skips(box, cursor->pair))
        cursor->pair++;
    return cursor->pair == box->blocks;
}

/* After a whole block of one piece: take consecutive ids along while they touch. */
static uint64_t merge_pairs(kvfi_cursor_t *cursor, uint64_t len, uint64_t max)
{
    const kvfi_box_t *box = cursor->box;
    uint32_t pair = cursor->pair;

    while (pair < box->blocks && box->len <= max - len && !kvfi_box_skips(box, pair) &&
           kvfi_box_id(box->local_ids, pair) == kvfi_box_id(box->local_ids, pair - 1) + 1 &&
           kvfi_box_id(box->remote_ids, pair) == kvfi_box_id(box->remote_ids, pair - 1) + 1) {
        len += box->len;
        pair++;
    }
    cursor->pair = pair;
    return len;
}

int kvfi_cursor_next(kvfi_cursor_t *cursor, uint64_t max, kvfi_run_t *run_p)
{
    const kvfi_box_t *box = cursor->box;
    uint64_t len = box->len - cursor->in;

    if (kvfi_cursor_ended(cursor))
        return 0;
    run_p->local = box->local_off + kvfi_box_id(box->local_ids, cursor->pair) * box->local_block +
                   (uint64_t)(cursor->y * box->local_stride[1] + cursor->x * box->local_stride[0]) +
                   cursor->in;
    run_p->remote = box->remote_off + kvfi_box_id(box->remote_ids, cursor->pair) * box->remote_block +
                    (uint64_t)(cursor->y * box->remote_stride[1] + cursor->x * box->remote_stride[0]) +
                    cursor->in;
    if (len > max) {
        cursor->in += max;
        run_p->len = max;
        return 1;
    }
    cursor->in = 0;
    if (++cursor->x == box->count[0]) {
        cursor->x = 0;
        if (++cursor->y == box->count[1]) {
            cursor->y = 0;
            cursor->pair++;
            if (box->count[0] == 1 && box->count[1] == 1 && box->local_block == box->len &&
                box->remote_block == box->len)
                len = merge_pairs(cursor, len, max);
        }
    }
    run_p->len = len;
    return 1;
}

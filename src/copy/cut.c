/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The largest of these that fits is cut off: pairs, rows of a pair, pieces of a row, bytes of a
 * piece. Each is a box again, so that who copies it needs no budget and knows a part by its end.
 */
#include "copy/cut.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How many things of len bytes and count pieces go into a part. */
static uint64_t fit(kvfi_cut_t most, uint64_t len, uint64_t count)
{
    return least(most.bytes / len, most.pieces / count);
}

static uint64_t cut_pairs(kvfi_cursor_t *cursor, uint64_t count, kvfi_box_t *part)
{
    count = least(count, part->blocks - cursor->pair);
    cursor->pair += (uint32_t)count;
    part->blocks = cursor->pair;
    return count * part->len * part->count[0] * part->count[1];
}

/* Move past what was cut of a pair. */
static void step(kvfi_cursor_t *cursor, uint32_t pieces, uint32_t rows)
{
    const kvfi_box_t *box = cursor->box;

    cursor->in = 0;
    cursor->x += pieces;
    if (cursor->x < box->count[0] && !rows)
        return;
    cursor->x = 0;
    cursor->y += rows ? rows : 1;
    if (cursor->y < box->count[1])
        return;
    cursor->y = 0;
    cursor->pair++;
}

uint64_t kvfi_box_cut(kvfi_cursor_t *cursor, kvfi_cut_t most, kvfi_box_t *part, uint32_t *first_p)
{
    const kvfi_box_t *box = cursor->box;
    uint64_t row, pairs, rows, pieces;

    if (kvfi_cursor_ended(cursor))
        return 0;
    row = box->len * box->count[0];
    *part = *box;
    *first_p = cursor->pair;
    pairs = cursor->in || cursor->x || cursor->y
                ? 0
                : fit(most, row * box->count[1], (uint64_t)box->count[0] * box->count[1]);
    if (pairs)
        return cut_pairs(cursor, pairs, part);
    part->blocks = cursor->pair + 1;
    part->local_off +=
        (uint64_t)(cursor->y * box->local_stride[1] + cursor->x * box->local_stride[0]) + cursor->in;
    part->remote_off +=
        (uint64_t)(cursor->y * box->remote_stride[1] + cursor->x * box->remote_stride[0]) + cursor->in;
    rows = cursor->in || cursor->x ? 0 : least(fit(most, row, box->count[0]), box->count[1] - cursor->y);
    if (rows) {
        part->count[1] = (uint32_t)rows;
        step(cursor, 0, (uint32_t)rows);
        return rows * row;
    }
    part->count[1] = 1;
    pieces = cursor->in ? 0 : least(fit(most, box->len, 1), box->count[0] - cursor->x);
    if (pieces) {
        part->count[0] = (uint32_t)pieces;
        step(cursor, (uint32_t)pieces, 0);
        return pieces * box->len;
    }
    part->count[0] = 1;
    part->len = least(most.bytes, box->len - cursor->in);
    cursor->in += part->len;
    if (cursor->in == box->len)
        step(cursor, 1, 0);
    return part->len;
}

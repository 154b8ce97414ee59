/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The walk: a loop for tables of single pieces, which is where tiny ones come from, and one for rows.
 * Whatever is cut by the budget goes through kvfi_cursor_next(), which knows how to stop inside a
 * piece. Nothing blocks.
 */
#include "copy/walk.h"

#include <string.h>

#include "copy/tune.h"

kvfi_walk_t kvfi_walk_of(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir)
{
    const kvfi_box_t *box = cursor->box;
    kvfi_walk_side_t here = {local + box->local_off,
                             box->local_block,
                             {box->local_stride[0], box->local_stride[1]},
                             box->local_ids};
    kvfi_walk_side_t there = {remote + box->remote_off,
                              box->remote_block,
                              {box->remote_stride[0], box->remote_stride[1]},
                              box->remote_ids};
    kvfi_walk_t walk = {.cursor = cursor, .local = local, .remote = remote};

    walk.read = dir == KVF_READ;
    walk.dst = walk.read ? here : there;
    walk.src = walk.read ? there : here;
    walk.whole = box->count[0] == 1 && box->count[1] == 1 && box->local_block == box->len &&
                 box->remote_block == box->len;
    return walk;
}

kvfi_walk_t kvfi_walk_local(kvfi_cursor_t *cursor, char *base)
{
    kvfi_walk_t walk = kvfi_walk_of(cursor, base, base, KVF_WRITE);

    walk.dst = walk.src;
    walk.alone = 1;
    return walk;
}

static char *block_of(const kvfi_walk_side_t *side, uint32_t pair)
{
    return side->base + kvfi_box_id(side->ids, pair) * side->block;
}

/* One run that the budget may cut. */
static unsigned one_run(const kvfi_walk_t *walk, kvfi_piece_t *piece, uint64_t max)
{
    kvfi_run_t run;
    char *here, *there;

    if (!kvfi_cursor_next(walk->cursor, max, &run))
        return 0;
    here = walk->local + run.local;
    there = walk->alone ? here : walk->remote + run.remote;
    *piece = walk->read ? (kvfi_piece_t){here, there, run.len} : (kvfi_piece_t){there, here, run.len};
    return 1;
}

/* Pairs of one piece each; ids that follow each other on both sides become one run. Ends at a full
 * array, or where the budget is too small for the next piece. All that the loop needs is in locals, as
 * the compiler cannot know that a piece is no part of a box. */
static inline __attribute__((always_inline)) unsigned
walk_table(const kvfi_walk_t *walk, kvfi_piece_t *pieces, unsigned most, uint64_t *left_p)
{
    const kvfi_box_t *box = walk->cursor->box;
    const kvfi_walk_side_t to = walk->dst, from = walk->src;
    const uint32_t *local_ids = box->local_ids, *remote_ids = box->remote_ids;
    uint64_t len = box->len, left = *left_p;
    uint32_t pair = walk->cursor->pair, pairs = box->blocks;
    unsigned count = 0;
    const char *dst_end = NULL, *src_end = NULL; /* of the last piece, if it may go on */

    for (; pair < pairs; pair++) {
        char *dst;
        const char *src;
        int goes_on;

        if (kvfi_box_id(local_ids, pair) == KVF_SKIP || kvfi_box_id(remote_ids, pair) == KVF_SKIP)
            continue;
        dst = to.base + kvfi_box_id(to.ids, pair) * to.block;
        src = from.base + kvfi_box_id(from.ids, pair) * from.block;
        if (len > left)
            break;
        goes_on = dst == dst_end && src == src_end;
        if (!goes_on && count == most)
            break;
        if (!pieces) {
            memcpy(dst, src, len);
            count += !goes_on;
        } else if (goes_on) {
            pieces[count - 1].len += len;
        } else {
            pieces[count++] = (kvfi_piece_t){dst, src, len};
        }
        if (walk->whole) {
            dst_end = dst + len;
            src_end = src + len;
        }
        left -= len;
    }
    walk->cursor->pair = pair;
    *left_p = left;
    return count;
}

/* A loop of its own for what is copied at once, so that the one without a call keeps its registers. */
static unsigned fill_table(const kvfi_walk_t *walk, kvfi_piece_t *pieces, unsigned most, uint64_t *left_p)
{
    return pieces ? walk_table(walk, pieces, most, left_p) : walk_table(walk, NULL, most, left_p);
}

/* The rest of the row that the cursor is in, or what fits. */
static unsigned fill_row(const kvfi_walk_t *walk, kvfi_piece_t *pieces, unsigned most, uint64_t *left_p)
{
    kvfi_cursor_t *cursor = walk->cursor;
    const kvfi_box_t *box = cursor->box;
    const kvfi_walk_side_t *to = &walk->dst, *from = &walk->src;
    char *dst = block_of(to, cursor->pair) + cursor->y * to->stride[1] + cursor->x * to->stride[0];
    const char *src =
        block_of(from, cursor->pair) + cursor->y * from->stride[1] + cursor->x * from->stride[0];
    uint64_t len = box->len, left = *left_p;
    unsigned count = 0, row = box->count[0] - cursor->x;

    while (count < row && count < most && len <= left) {
        if (pieces)
            pieces[count] = (kvfi_piece_t){dst, src, len};
        else
            memcpy(dst, src, len);
        count++;
        dst += to->stride[0];
        src += from->stride[0];
        left -= len;
    }
    cursor->x += count;
    if (cursor->x == box->count[0]) {
        cursor->x = 0;
        if (++cursor->y == box->count[1]) {
            cursor->y = 0;
            cursor->pair++;
        }
    }
    *left_p = left;
    return count;
}

unsigned kvfi_walk_fill(kvfi_walk_t *walk, kvfi_piece_t *pieces, unsigned most, uint64_t budget,
                        uint64_t *bytes_p)
{
    kvfi_cursor_t *cursor = walk->cursor;
    const kvfi_box_t *box = cursor->box;
    uint64_t left = budget;
    unsigned count = 0;
    int single = box->count[0] == 1 && box->count[1] == 1;

    while (count < most && left && !kvfi_cursor_ended(cursor)) {
        if (cursor->in || box->len > left) {
            kvfi_piece_t piece;

            if (!one_run(walk, &piece, left))
                break;
            if (pieces)
                pieces[count] = piece;
            else
                memcpy(piece.dst, piece.src, piece.len);
            left -= piece.len;
            count++;
        } else if (single) {
            count += fill_table(walk, pieces ? pieces + count : NULL, most - count, &left);
        } else {
            count += fill_row(walk, pieces ? pieces + count : NULL, most - count, &left);
        }
    }
    *bytes_p += budget - left;
    return count;
}

unsigned kvfi_walk_rows(kvfi_walk_t *walk, kvfi_row_t *rows, unsigned most)
{
    kvfi_cursor_t *cursor = walk->cursor;
    const kvfi_box_t *box = cursor->box;
    const kvfi_walk_side_t *to = &walk->dst, *from = &walk->src;
    unsigned count = 0;

    while (count < most && !kvfi_cursor_ended(cursor)) {
        char *dst = block_of(to, cursor->pair);
        const char *src = block_of(from, cursor->pair);

        for (; count < most && cursor->y < box->count[1]; cursor->y++)
            rows[count++] = (kvfi_row_t){dst + cursor->y * to->stride[1], src + cursor->y * from->stride[1]};
        if (cursor->y == box->count[1]) {
            cursor->y = 0;
            cursor->pair++;
        }
    }
    return count;
}

/* The kernel's loop stops at a pair that is skipped. */
kvfi_moved_t kvfi_walk_tables(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir, uint64_t budget)
{
    const kvfi_box_t *box = cursor->box;
    char *here = local + box->local_off, *there = remote + box->remote_off;
    int touch = box->local_block == box->len && box->remote_block == box->len;
    uint32_t at, end, runs, most = box->blocks - cursor->pair;
    kvfi_moved_t moved = {0};
    kvfi_pairs_t pairs;

    if (!box->local_ids || !box->remote_ids || box->count[0] != 1 || box->count[1] != 1 || cursor->in)
        return moved;
    if (dir == KVF_READ)
        pairs = (kvfi_pairs_t){here,           there,           box->local_block, box->remote_block,
                               box->local_ids, box->remote_ids, box->len};
    else
        pairs = (kvfi_pairs_t){there,           here,           box->remote_block, box->local_block,
                               box->remote_ids, box->local_ids, box->len};
    most = most < KVFI_COPY_PIECES ? most : KVFI_COPY_PIECES;
    if (most * box->len > budget)
        most = (uint32_t)(budget / box->len);
    for (end = cursor->pair + most; cursor->pair < end; cursor->pair = at + (at < end)) {
        runs = 0;
        at = kvfi_tune()->kernel->pairs(&pairs, cursor->pair, end, &runs);
        moved.bytes += (at - cursor->pair) * box->len;
        moved.pieces += touch ? runs : at - cursor->pair;
    }
    return moved;
}

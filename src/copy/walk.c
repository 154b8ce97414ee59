/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The walk: a loop for tables of single pieces, which is where tiny ones come from, and one for rows.
 * Whatever is cut by the budget goes through kvfi_cursor_next(), which knows how to stop inside a
 * piece. Nothing blocks.
 */
#include "copy/walk.h"

kvfi_walk_t kvfi_walk_of(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir)
{
    const kvfi_box_t *box = cursor->box;
    kvfi_walk_side_t  here = {local + box->local_off, box->local_block,
                              {box->local_stride[0], box->local_stride[1]}, box->local_ids};
    kvfi_walk_side_t  there = {remote + box->remote_off, box->remote_block,
                               {box->remote_stride[0], box->remote_stride[1]}, box->remote_ids};
    kvfi_walk_t       walk = {.cursor = cursor, .local = local, .remote = remote};

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
    char      *here, *there;

    if (!kvfi_cursor_next(walk->cursor, max, &run))
        return 0;
    here = walk->local + run.local;
    there = walk->alone ? here : walk->remote + run.remote;
    *piece = walk->read ? (kvfi_piece_t){here, there, run.len} : (kvfi_piece_t){there, here, run.len};
    return 1;
}

/* Pairs of one piece each; ids that follow each other on both sides become one run. Ends at a full
 * array, or where the budget is too small for the next piece. */
static unsigned fill_table(const kvfi_walk_t *walk, kvfi_piece_t *pieces, unsigned most,
                           uint64_t *left_p)
{
    const kvfi_box_t *box = walk->cursor->box;
    uint64_t          len = box->len, left = *left_p;
    uint32_t          pair = walk->cursor->pair;
    unsigned          count = 0;
    int               touches = 0; /* nothing was skipped since the last piece */

    for (; pair < box->blocks; pair++) {
        char *dst, *src;

        if (kvfi_box_skips(box, pair)) {
            touches = 0;
            continue;
        }
        if (len > left)
            break;
        dst = block_of(&walk->dst, pair);
        src = block_of(&walk->src, pair);
        if (walk->whole && touches && dst == pieces[count - 1].dst + pieces[count - 1].len &&
            src == pieces[count - 1].src + pieces[count - 1].len) {
            pieces[count - 1].len += len;
        } else {
            if (count == most)
                break;
            pieces[count++] = (kvfi_piece_t){dst, src, len};
        }
        touches = 1;
        left -= len;
    }
    walk->cursor->pair = pair;
    *left_p = left;
    return count;
}

/* The rest of the row that the cursor is in, or what fits. */
static unsigned fill_row(const kvfi_walk_t *walk, kvfi_piece_t *pieces, unsigned most,
                         uint64_t *left_p)
{
    kvfi_cursor_t          *cursor = walk->cursor;
    const kvfi_box_t       *box = cursor->box;
    const kvfi_walk_side_t *to = &walk->dst, *from = &walk->src;
    char       *dst = block_of(to, cursor->pair) + cursor->y * to->stride[1] +
                cursor->x * to->stride[0];
    const char *src = block_of(from, cursor->pair) + cursor->y * from->stride[1] +
                      cursor->x * from->stride[0];
    uint64_t    len = box->len, left = *left_p;
    unsigned    count = 0, row = box->count[0] - cursor->x;

    while (count < row && count < most && len <= left) {
        pieces[count++] = (kvfi_piece_t){dst, src, len};
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
    kvfi_cursor_t    *cursor = walk->cursor;
    const kvfi_box_t *box = cursor->box;
    uint64_t          left = budget;
    unsigned          count = 0;
    int               single = box->count[0] == 1 && box->count[1] == 1;

    while (count < most && left && !kvfi_cursor_ended(cursor)) {
        if (cursor->in || box->len > left) {
            if (!one_run(walk, &pieces[count], left))
                break;
            left -= pieces[count++].len;
        } else if (single) {
            count += fill_table(walk, pieces + count, most - count, &left);
        } else {
            count += fill_row(walk, pieces + count, most - count, &left);
        }
    }
    *bytes_p += budget - left;
    return count;
}

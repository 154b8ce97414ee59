/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copies by the C library's memcpy. Whole pieces go in loops that keep their state in registers: the
 * stores of a cursor that is advanced for each piece queue behind those of the copy, which wait for
 * memory, and cost a tenth of the rate at 4 KiB and half of it at 512 bytes. The cursor serves the
 * parts of pieces, and the copies to and from a buffer.
 */
#include "copy/copy.h"

#include <string.h>

/* A box as a copy sees it: where it goes, where it comes from. */
typedef struct {
    const uint32_t *ids;
    uint64_t        block;
    int64_t         stride[2];
} side_t;

typedef struct {
    side_t      to, from;
    char       *dst;
    const char *src;
} sides_t;

static sides_t sides_of(const kvfi_box_t *box, char *local, char *remote, uint32_t dir)
{
    side_t here = {box->local_ids, box->local_block, {box->local_stride[0], box->local_stride[1]}};
    side_t there = {box->remote_ids, box->remote_block,
                    {box->remote_stride[0], box->remote_stride[1]}};

    local += box->local_off;
    remote += box->remote_off;
    return dir == KVF_READ ? (sides_t){here, there, local, remote}
                           : (sides_t){there, here, remote, local};
}

/* Blocks of one piece, at most `most` of them; consecutive ids go in one run where blocks touch. */
static kvfi_moved_t copy_blocks(kvfi_cursor_t *cursor, const sides_t *sides, uint64_t most)
{
    const uint32_t *to_ids = sides->to.ids, *from_ids = sides->from.ids;
    uint64_t        to_block = sides->to.block, from_block = sides->from.block;
    uint64_t        len = cursor->box->len, left = most, runs = 0;
    uint32_t        pair = cursor->pair, blocks = cursor->box->blocks;
    int             touch = to_block == len && from_block == len;

    while (left && pair < blocks) {
        uint32_t t = kvfi_box_id(to_ids, pair), f = kvfi_box_id(from_ids, pair), n = 1;

        if (t == KVF_SKIP || f == KVF_SKIP) {
            pair++;
            continue;
        }
        while (touch && n < left && pair + n < blocks && t + n < KVF_SKIP && f + n < KVF_SKIP &&
               kvfi_box_id(to_ids, pair + n) == t + n && kvfi_box_id(from_ids, pair + n) == f + n)
            n++;
        memcpy(sides->dst + t * to_block, sides->src + f * from_block, n * len);
        pair += n;
        left -= n;
        runs++;
    }
    cursor->pair = pair;
    return (kvfi_moved_t){(most - left) * len, runs};
}

/* Pieces of a block from (x, y) on, row by row, at most `left` of them. Returns what is left. */
static uint64_t copy_rows(kvfi_cursor_t *cursor, const sides_t *sides, char *dst, const char *src,
                          uint64_t left)
{
    const kvfi_box_t *box = cursor->box;
    int64_t           to_step = sides->to.stride[0], from_step = sides->from.stride[0];
    uint64_t          len = box->len;

    while (left && cursor->y < box->count[1]) {
        char       *to = dst + cursor->y * sides->to.stride[1] + cursor->x * to_step;
        const char *from = src + cursor->y * sides->from.stride[1] + cursor->x * from_step;
        uint32_t    row = box->count[0] - cursor->x;
        uint32_t    n = left < row ? (uint32_t)left : row;

        left -= n;
        cursor->x += n;
        if (n == row) {
            cursor->x = 0;
            cursor->y++;
        }
        for (; n; n--, to += to_step, from += from_step)
            memcpy(to, from, len);
    }
    return left;
}

static kvfi_moved_t copy_boxes(kvfi_cursor_t *cursor, const sides_t *sides, uint64_t most)
{
    const kvfi_box_t *box = cursor->box;
    uint64_t          left = most;

    while (left && cursor->pair < box->blocks) {
        uint32_t t = kvfi_box_id(sides->to.ids, cursor->pair);
        uint32_t f = kvfi_box_id(sides->from.ids, cursor->pair);

        if (t != KVF_SKIP && f != KVF_SKIP) {
            left = copy_rows(cursor, sides, sides->dst + t * sides->to.block,
                             sides->src + f * sides->from.block, left);
            if (cursor->y < box->count[1])
                break;
        }
        cursor->y = 0;
        cursor->pair++;
    }
    return (kvfi_moved_t){(most - left) * box->len, most - left};
}

/* A part of a piece: what is left of one, or as much as the budget takes. */
static kvfi_moved_t copy_part(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir,
                              uint64_t budget)
{
    kvfi_run_t run;

    if (!kvfi_cursor_next(cursor, budget, &run))
        return (kvfi_moved_t){0};
    if (dir == KVF_READ)
        memcpy(local + run.local, remote + run.remote, run.len);
    else
        memcpy(remote + run.remote, local + run.local, run.len);
    return (kvfi_moved_t){run.len, 1};
}

kvfi_moved_t kvfi_copy_box(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir,
                           uint64_t budget)
{
    const kvfi_box_t *box = cursor->box;
    sides_t           sides = sides_of(box, local, remote, dir);
    kvfi_moved_t      moved = {0}, more;

    while (moved.bytes < budget && moved.pieces < KVFI_COPY_PIECES) {
        uint64_t most = (budget - moved.bytes) / box->len;

        if (most > KVFI_COPY_PIECES - moved.pieces)
            most = KVFI_COPY_PIECES - moved.pieces;
        if (cursor->in)
            more = copy_part(cursor, local, remote, dir, budget - moved.bytes);
        else if (most)
            more = box->count[0] == 1 && box->count[1] == 1 ? copy_blocks(cursor, &sides, most)
                                                            : copy_boxes(cursor, &sides, most);
        else if (!moved.bytes)
            more = copy_part(cursor, local, remote, dir, budget);
        else
            break; /* whole pieces next time */
        if (!more.bytes)
            break;
        moved.bytes += more.bytes;
        moved.pieces += more.pieces;
    }
    return moved;
}

uint64_t kvfi_copy_gather(kvfi_cursor_t *cursor, const char *base, char *buf, uint64_t cap,
                          uint64_t *pieces_p)
{
    uint64_t   len = 0;
    kvfi_run_t run;

    while (len < cap && kvfi_cursor_next(cursor, cap - len, &run)) {
        memcpy(buf + len, base + run.local, run.len);
        len += run.len;
        ++*pieces_p;
    }
    return len;
}

uint64_t kvfi_copy_scatter(kvfi_cursor_t *cursor, char *base, const char *buf, uint64_t len,
                           uint64_t *pieces_p)
{
    uint64_t   done = 0;
    kvfi_run_t run;

    while (done < len && kvfi_cursor_next(cursor, len - done, &run)) {
        memcpy(base + run.local, buf + done, run.len);
        done += run.len;
        ++*pieces_p;
    }
    return done;
}

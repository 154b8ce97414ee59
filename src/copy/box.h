/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The box over a block table, and a cursor that walks it. Every path walks boxes with this cursor:
 * it yields runs, merged where neighbours are contiguous on both sides, and can stop anywhere.
 *
 *      pair i:   off + id[i] * block + y * stride[1] + x * stride[0]
 *
 *        x=0   x=1   x=2          a run ends where the next piece does not touch it on both
 *   y=0  [len] [len] [len]        sides; pieces that touch in a row, rows that touch, and
 *   y=1  [len] [len] [len]        consecutive ids of a contiguous block become one run
 *
 * To walk one side alone, give the strides of that side twice.
 */
#ifndef KVFI_COPY_BOX_H
#define KVFI_COPY_BOX_H

#include <stdint.h>

#include "kvferry.h"

typedef struct kvfi_box {
    uint64_t len;
    uint32_t count[2];
    uint32_t blocks;
    int64_t local_stride[2], remote_stride[2];
    uint64_t local_off, remote_off;
    uint64_t local_block, remote_block;
    const uint32_t *local_ids, *remote_ids; /* NULL: 0, 1, 2, ... */
} kvfi_box_t;

typedef struct kvfi_cursor {
    const kvfi_box_t *box;
    uint32_t pair, y, x;
    uint64_t in; /* bytes of piece (x, y) already given */
} kvfi_cursor_t;

typedef struct kvfi_run {
    uint64_t local, remote, len;
} kvfi_run_t;

static inline uint32_t kvfi_box_id(const uint32_t *ids, uint32_t pair)
{
    return ids ? ids[pair] : pair;
}

static inline int kvfi_box_skips(const kvfi_box_t *box, uint32_t pair)
{
    return (box->local_ids && box->local_ids[pair] == KVF_SKIP) ||
           (box->remote_ids && box->remote_ids[pair] == KVF_SKIP);
}

/* Fold touching pieces and rows into longer pieces. Sizes were checked: nothing overflows. */
void kvfi_box_fold(kvfi_box_t *box);

/* Turn a folded box so that the side that is read comes in order of its addresses, where that pays: both
 * orders of a box with two axes are the same pieces. */
void kvfi_box_turn(kvfi_box_t *box, uint32_t dir);

/* The bytes of the remote side, from the first to the end of the last; 0: it has none. */
int kvfi_box_remote_span(const kvfi_box_t *box, uint64_t *from_p, uint64_t *to_p);

/* The remote side of box alone, folded; both ids still tell which pairs are skipped. */
kvfi_box_t kvfi_box_remote_side(const kvfi_box_t *box);

/* The local side of box alone; remote ids still tell which pairs are skipped. */
kvfi_box_t kvfi_box_local_side(const kvfi_box_t *box);

static inline kvfi_cursor_t kvfi_cursor_at_start(const kvfi_box_t *box)
{
    return (kvfi_cursor_t){.box = box};
}

/* The next run of at most max (at least 1) bytes; 0 at the end. */
int kvfi_cursor_next(kvfi_cursor_t *cursor, uint64_t max, kvfi_run_t *run_p);

/* 1 if nothing is left; steps over skipped pairs. */
int kvfi_cursor_ended(kvfi_cursor_t *cursor);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The cursor's walk for copies: many runs at a time, each a few instructions. It yields what
 * kvfi_cursor_next() would, except that a run does not go on past the end of a fill.
 */
#ifndef KVFI_COPY_WALK_H
#define KVFI_COPY_WALK_H

#include "copy/copy.h"
#include "copy/kernel.h"

/* One side of a walk. */
typedef struct kvfi_walk_side {
    char *base; /* of id 0 */
    uint64_t block;
    int64_t stride[2];
    const uint32_t *ids;
} kvfi_walk_side_t;

typedef struct kvfi_walk {
    kvfi_cursor_t *cursor;
    kvfi_walk_side_t dst, src;
    char *local, *remote;
    int read;  /* from the remote side to the local one */
    int alone; /* the local side is both */
    int whole; /* a block is one piece, and blocks touch on both sides */
} kvfi_walk_t;

/* Over both sides of the cursor's box, from the remote one to the local one (KVF_READ) or back. */
kvfi_walk_t kvfi_walk_of(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir);

/* Over the local side alone: runs have it as their source and as their destination. */
kvfi_walk_t kvfi_walk_local(kvfi_cursor_t *cursor, char *base);

/* The next runs, at most `most` and at most budget bytes in all; fewer than both only at the end.
 * Returns how many, adds their bytes to *bytes_p. pieces NULL: hand each to memcpy at once instead. */
unsigned kvfi_walk_fill(kvfi_walk_t *walk, kvfi_piece_t *pieces, unsigned most, uint64_t budget,
                        uint64_t *bytes_p);

/* Copy single pieces of a table on each side, as many as budget has room for, at most KVFI_COPY_PIECES. What
 * else a box may be, or a piece that is to be cut, is left where it is. */
kvfi_moved_t kvfi_walk_tables(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir,
                              uint64_t budget);

/* The next whole rows, at most `most`; only where the cursor is at the start of one. Returns how many. */
unsigned kvfi_walk_rows(kvfi_walk_t *walk, kvfi_row_t *rows, unsigned most);

#endif

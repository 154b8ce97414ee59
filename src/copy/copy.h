/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The copy engine: moves the runs of a box between two mapped memories, or between one and a
 * contiguous buffer. Takes no lock, makes no system call.
 */
#ifndef KVFI_COPY_COPY_H
#define KVFI_COPY_COPY_H

#include "copy/box.h"

typedef struct kvfi_moved {
    uint64_t bytes, pieces;
} kvfi_moved_t;

/* Most runs that one call moves, so that tiny pieces do not make a long slice. */
#define KVFI_COPY_PIECES 16384

/* Move at most budget bytes from the remote to the local side (KVF_READ) or back (KVF_WRITE). whole:
 * bytes of the batch that this is part of, which tells whether the caches hold it. */
kvfi_moved_t kvfi_copy_box(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir, uint64_t budget,
                           uint64_t whole);

/* Collect the next bytes of the local side into buf, at most cap, and leave buf in the caches; adds its
 * runs to *pieces_p. Returns how many. */
uint64_t kvfi_copy_gather(kvfi_cursor_t *cursor, const char *base, char *buf, uint64_t cap,
                          uint64_t *pieces_p);

/* Spread len bytes of buf over the local side, likewise. Returns how many fitted. */
uint64_t kvfi_copy_scatter(kvfi_cursor_t *cursor, char *base, const char *buf, uint64_t len,
                           uint64_t *pieces_p);

#endif

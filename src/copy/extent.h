/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The arithmetic that keeps a box inside its memory, in 128 bits so that nothing wraps. Used by the
 * initiator for both sides before a byte moves, and by an owner for what a message asks.
 */
#ifndef KVFI_COPY_EXTENT_H
#define KVFI_COPY_EXTENT_H

#include <stdint.h>

/* One side of an op. */
typedef struct kvfi_side {
    uint64_t off, len, block;
    uint64_t limit; /* bytes of segment or granted range */
    uint32_t count[2];
    int64_t stride[2];
    uint32_t blocks;
    uint32_t cap;          /* 0: what fits */
    const uint32_t *ids;   /* NULL: 0, 1, 2, ... */
    const uint32_t *other; /* the other side's ids: a KVF_SKIP in either drops the pair */
} kvfi_side_t;

typedef enum kvfi_extent {
    KVFI_EXTENT_OK,
    KVFI_EXTENT_BEFORE, /* begins before the memory */
    KVFI_EXTENT_PAST,   /* ends past it */
    KVFI_EXTENT_ID      /* an id at or past the capacity */
} kvfi_extent_t;

typedef struct kvfi_found {
    uint64_t pairs; /* that are not skipped */
    uint32_t index; /* pair where it went wrong */
    uint64_t cap;   /* EXTENT_ID: the capacity */
} kvfi_found_t;

/* Is no id KVF_SKIP, and all of it inside? Quick. 0: perhaps not, kvfi_side_check() tells. */
int kvfi_side_is_inside(const kvfi_side_t *side);

/* Pair by pair. */
kvfi_extent_t kvfi_side_check(const kvfi_side_t *side, kvfi_found_t *found_p);

/* Bytes of so many pairs; UINT64_MAX if that overflows. */
uint64_t kvfi_side_bytes(const kvfi_side_t *side, uint64_t pairs);

/* Do two pieces of one box of several overlap? */
int kvfi_side_overlaps(uint64_t len, const uint32_t count[2], const int64_t stride[2]);

#endif

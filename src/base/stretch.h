/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Stretches of memory of many owners, found by what they overlap. A treap by owner and first byte, in which
 * each node knows the furthest end below it: to add, to remove and to ask take the logarithm of their number.
 * The nodes are the caller's, so nothing allocates and nothing fails. Not locked; the owner locks.
 */
#ifndef KVFI_BASE_STRETCH_H
#define KVFI_BASE_STRETCH_H

#include <stdint.h>

typedef struct kvfi_point {
    uint64_t owner, at;
} kvfi_point_t;

typedef struct kvfi_stretch {
    kvfi_point_t from, to; /* of one owner, from before to; set by the caller */
    kvfi_point_t most;     /* the furthest end in the tree from here down */
    struct kvfi_stretch *left, *right;
} kvfi_stretch_t;

/* Spans may overlap, and be equal. */
void kvfi_stretch_add(kvfi_stretch_t **root, kvfi_stretch_t *stretch);
/* One that was added. */
void kvfi_stretch_remove(kvfi_stretch_t **root, kvfi_stretch_t *stretch);
/* Does one of them overlap that stretch? */
int kvfi_stretch_meet(const kvfi_stretch_t *root, kvfi_point_t from, kvfi_point_t to);

#endif

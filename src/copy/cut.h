/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Cutting a box into parts that are copied apart, by several threads at once: each part is a box
 * of its own, some whole pairs, or some rows, pieces or bytes of one pair.
 */
#ifndef KVFI_COPY_CUT_H
#define KVFI_COPY_CUT_H

#include "copy/box.h"

typedef struct kvfi_cut {
    uint64_t bytes, pieces; /* at least 1 each */
} kvfi_cut_t;

/* Cut the next part off cursor, at most most, and move cursor past it. The walk of the part begins at
 * pair *first_p of *part_p. Returns the bytes of the part, those of skipped pairs in it included; 0
 * at the end. */
uint64_t kvfi_box_cut(kvfi_cursor_t *cursor, kvfi_cut_t most, kvfi_box_t *part_p, uint32_t *first_p);

#endif

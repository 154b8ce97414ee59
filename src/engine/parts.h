/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What one thread copies of a batch at a time.
 */
#ifndef KVFI_ENGINE_PARTS_H
#define KVFI_ENGINE_PARTS_H

#include <stddef.h>
#include <stdint.h>

#include "kvferry.h"
#include "path/path.h"

typedef struct kvfi_part {
    size_t first, count; /* ops; count 0: a cut of op first */
    uint32_t pair;       /* first pair of the cut */
    kvf_status_t status;
    kvfi_xfer_t xfer; /* of the cut */
} kvfi_part_t;

/* Claim and join under the batch's lock, copy without. 0: nothing left to claim. */
int kvfi_part_claim(kvf_batch_t *batch, kvfi_part_t *part);
void kvfi_part_copy(kvf_batch_t *batch, kvfi_part_t *part);
void kvfi_part_join(kvf_batch_t *batch, kvfi_part_t *part);
/* No more parts are handed out. */
void kvfi_part_none_left(kvf_batch_t *batch);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * WRITEs that were given up, and the batches that wait for them. With the batch's lock but where it says so.
 */
#ifndef KVFI_ENGINE_HELD_H
#define KVFI_ENGINE_HELD_H

#include <stdint.h>

#include "kvferry.h"
#include "path/path.h"

/* End the ops of a batch that was stopped, once no part is being copied: 1 when it may end. */
int kvfi_held_given_up(kvf_batch_t *batch);
/* Can nothing of an xfer that has ended land any more? */
int kvfi_held_is_settled(kvf_batch_t *batch, const kvfi_xfer_t *xfer);
/* Hold a batch back that was just posted, if it overlaps what may still land: 1 if so. */
int kvfi_held_back(kvf_batch_t *batch, uint64_t deadline_ns);
/* Start a batch that was held back, if it may now: 1 if so. */
int kvfi_held_release(kvf_batch_t *batch);
/* It is held, and the connection to one of its peers broke. */
int kvfi_held_in_vain(const kvf_batch_t *batch);
/* How many WRITEs owners have not answered for; *lost_p: how many others they cannot. Without any lock. */
unsigned kvfi_held_unanswered(kvf_engine_t *engine, unsigned *lost_p);

#endif

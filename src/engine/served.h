/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Ops whose other half the owner's progress does.
 */
#ifndef KVFI_ENGINE_SERVED_H
#define KVFI_ENGINE_SERVED_H

#include <stddef.h>

#include "kvferry.h"

/* Start those of a batch that was just posted. */
void kvfi_served_start(kvf_batch_t *batch);
/* Op index cannot go over cma after all: it starts afresh over stage, or has ended with an error. With
 * the batch's lock. */
void kvfi_served_take(kvf_batch_t *batch, size_t index);
/* Packed ops that came to nothing before a byte moved go direct, in what is left of the deadline: 1 if
 * there are such, for somebody to copy. With the batch's lock, while no part is left. */
int kvfi_served_back(kvf_batch_t *batch);

#endif

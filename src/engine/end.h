/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The end of one op of a batch.
 */
#ifndef KVFI_ENGINE_END_H
#define KVFI_ENGINE_END_H

#include <stddef.h>

#include "kvferry.h"

/* Write the statuses of an op whose xfer has ended, and tally it. */
void kvfi_end_op(kvf_batch_t *batch, size_t index);
/* Let go the handles of the first count ops. */
void kvfi_end_let_go(kvf_batch_t *batch, size_t count);

#endif

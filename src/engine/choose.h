/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Direct or packed: how the ops of a batch reach a neighbour's own memory.
 */
#ifndef KVFI_ENGINE_CHOOSE_H
#define KVFI_ENGINE_CHOOSE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/batch.h"
#include "kvferry.h"
#include "path/path.h"

/* Put those of count checked xfers on their packed path that are to go that way; ops[i] is what xfers[i] came
 * from. flags are the batch's. 1 if any of them has something to prepare. */
int kvfi_choose(kvf_engine_t *engine, const kvfi_batch_op_t *ops, kvfi_xfer_t *xfers, size_t count,
                uint32_t flags);

#endif

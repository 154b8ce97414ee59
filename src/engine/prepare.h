/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What paths need before a byte moves, for a whole batch that was checked.
 */
#ifndef KVFI_ENGINE_PREPARE_H
#define KVFI_ENGINE_PREPARE_H

#include <stddef.h>

#include "engine/batch.h"
#include "kvferry.h"
#include "path/path.h"

/* Prepare the paths of count checked xfers; ops[i] is what xfers[i] came from. An op that was to go packed by
 * choice goes direct if its path cannot be prepared. */
kvf_status_t kvfi_prepare(kvf_engine_t *engine, const kvfi_batch_op_t *ops, kvfi_xfer_t *xfers, size_t count);

#endif

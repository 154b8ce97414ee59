/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The list of an engine's running batches.
 */
#ifndef KVFI_ENGINE_RUNNING_H
#define KVFI_ENGINE_RUNNING_H

#include <stdint.h>

#include "kvferry.h"

/* Put a batch among those that the engine drives, or take it out. Under its lock. */
void kvfi_running_add(kvf_batch_t *batch);
void kvfi_running_drop(kvf_batch_t *batch);
/* When the first of them needs a look though nothing came. UINT64_MAX: never. */
uint64_t kvfi_running_next_look(kvf_engine_t *engine);
/* Are there copies that wait for somebody to call? */
int kvfi_running_copies(kvf_engine_t *engine);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The copy threads of an engine.
 */
#ifndef KVFI_ENGINE_COPIERS_H
#define KVFI_ENGINE_COPIERS_H

#include <stdint.h>

#include "kvferry.h"

/* Look at the cores allowed to this thread; sets copy_threads and copiers, says what cannot help. */
kvf_status_t kvfi_copiers_plan(kvf_engine_t *engine, uint32_t threads);
kvf_status_t kvfi_copiers_open(kvf_engine_t *engine);
void kvfi_copiers_close(kvf_engine_t *engine);

#endif

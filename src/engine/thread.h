/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The one thread of an engine, from the first peer on that may need its help.
 */
#ifndef KVFI_ENGINE_THREAD_H
#define KVFI_ENGINE_THREAD_H

#include "kvferry.h"

kvf_status_t kvfi_thread_far(kvf_engine_t *engine); /* the far side was opened */
/* A near peer may need our help: unless the caller drives, a thread does from now on. */
kvf_status_t kvfi_thread_near(kvf_engine_t *engine);
/* Who waits drives what stage has to do, if there is any, in place of the thread: 1 until it hands that
 * back. */
int kvfi_thread_take(kvf_engine_t *engine);
void kvfi_thread_hand_back(kvf_engine_t *engine);
void kvfi_thread_stop(kvf_engine_t *engine);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who asks a queue for ended batches.
 */
#ifndef KVFI_ENGINE_ENDED_H
#define KVFI_ENGINE_ENDED_H

#include "kvferry.h"

/* For close: whatever is in it. */
void kvfi_ended_free(kvf_queue_t *queue);

#endif

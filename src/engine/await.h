/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who waits for the end of a batch.
 */
#ifndef KVFI_ENGINE_AWAIT_H
#define KVFI_ENGINE_AWAIT_H

#include "kvferry.h"

/* Stop a batch, and wait until it has ended. */
void kvfi_await_abort(kvf_batch_t *batch, kvf_status_t status);

#endif

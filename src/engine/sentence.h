/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a batch failed, in one sentence.
 */
#ifndef KVFI_ENGINE_SENTENCE_H
#define KVFI_ENGINE_SENTENCE_H

#include <stddef.h>
#include <stdint.h>

#include "kvferry.h"

/* Op i, of which so many bytes are known to have arrived. */
void kvfi_sentence_op(kvf_batch_t *batch, size_t i, kvf_status_t status, uint64_t bytes);
/* More of it, for the reason of an error that the status does not tell. */
void kvfi_sentence_add(kvf_batch_t *batch, const char *reason);
void kvfi_sentence_note(kvf_batch_t *batch, kvf_status_t status);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the ops that went packed by choice tell of a neighbour.
 */
#ifndef KVFI_ENGINE_DOUBT_H
#define KVFI_ENGINE_DOUBT_H

#include <stddef.h>
#include <stdint.h>

#include "kvferry.h"

/* For a neighbour that says nothing; half of a short deadline. */
#define KVFI_PATIENCE_NS UINT64_C(1000000000)
/* Is an error maybe that of stage itself, so that the same would do well over cma? */
int kvfi_doubt_is_stages(kvf_status_t status);
/* Something packed by choice came to nothing; ops of one batch fail together, which counts once. */
void kvfi_doubt_failed(kvf_peer_t *peer, kvf_status_t status);
/* An op that went packed by choice has come to an end: what that tells of its neighbour. */
void kvfi_doubt_judge(kvf_batch_t *batch, size_t op, kvf_status_t status);

#endif

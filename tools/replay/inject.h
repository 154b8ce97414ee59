/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Faults on purpose, in the one request that shape.c chose, to see that they are found and counted.
 * Called by the first member of a decode instance only: the others pull what is right.
 * --inject stale is prefill.c's: it raises generations. docs/replay.md says what each must count.
 */
#ifndef KVFI_REPLAY_INJECT_H
#define KVFI_REPLAY_INJECT_H

#include "job.h"

/* Before the plan is bound: swap-blocks reads the first block of the second trace block into the place
 * of the first one's, and the other way round. Once for each source, with its table. */
void kvfi_replay_inject_tables(struct replay_job *job, uint64_t request, uint32_t *src_ids,
                               uint32_t *src_gens);

/* Before the ops of all sources are posted: drop-op leaves out the last one. Returns how many are
 * left. */
size_t kvfi_replay_inject_ops(struct replay_job *job, uint64_t request, size_t count);

/* After the pull: flip turns one bit, swap-heads and wrong-plane change heads 0 and 1, or K and V, of
 * the whole KV block `block`. */
void kvfi_replay_inject_bytes(struct replay_job *job, uint64_t request, const kvf_layout_t *layout,
                              uint8_t *const *bases, uint32_t block);

#endif

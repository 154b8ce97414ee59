/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The prefill side: a pool of KV blocks, the store that says which trace blocks are in it, and the
 * production of those that a request misses.
 *
 * A prefill rank admits its requests strictly in the trace's order, each as soon as it was asked for
 * and the store can take all its blocks; it holds nothing for one that waits. No wait goes in a circle:
 * decode ranks ask in the trace's order too, so the lowest request not yet admitted anywhere is the
 * next one of its prefill rank, all that are pinned there belong to admitted requests, and those end
 * by themselves.
 */
#ifndef KVFI_REPLAY_PREFILL_H
#define KVFI_REPLAY_PREFILL_H

#include "job.h"

struct replay_prefill;

/* Allocates the pool. NULL: it failed, job->text says why. */
struct replay_prefill *kvfi_replay_prefill_open(struct replay_job *job, uint32_t number);
void kvfi_replay_prefill_close(struct replay_prefill *prefill); /* before the engine closes */

/* The right to read the pool. */
kvf_grant_t *kvfi_replay_prefill_grant(const struct replay_prefill *prefill);

/* Mail of decode ranks. -1: the job failed. */
int kvfi_replay_prefill_ask(struct replay_prefill *prefill, uint64_t request);
int kvfi_replay_prefill_release(struct replay_prefill *prefill, uint64_t request);

/* Admits the next request if it can be. 1: did something, 0: nothing to do now, -1: the job failed. */
int kvfi_replay_prefill_step(struct replay_prefill *prefill);

/* Every request of this rank was admitted and released. */
bool kvfi_replay_prefill_done(const struct replay_prefill *prefill);

#endif

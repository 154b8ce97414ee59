/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The prefill side: a pool of KV blocks, the store that says which trace blocks are in it, and the
 * production of those that a request misses.
 *
 * A prefill rank admits the requests of its instance strictly in the trace's order, each as soon as all
 * who read it here have asked for it and the store can take all its blocks; it holds nothing for one
 * that waits. No wait goes in a circle: decode ranks ask in the trace's order too, so of the lowest
 * request that some rank has not admitted, all lower ones are admitted everywhere and end by
 * themselves; then each of its readers asks, and all that is pinned where it waits belongs to lower
 * ones. Each member of an instance keeps its own store: they see the same requests in the same order.
 */
#ifndef KVFI_REPLAY_PREFILL_H
#define KVFI_REPLAY_PREFILL_H

#include "job.h"

struct replay_prefill;

/* Allocates the pool; number: of this prefill rank among those. NULL: it failed, job->text says why. */
struct replay_prefill *kvfi_replay_prefill_open(struct replay_job *job, uint32_t number);
void kvfi_replay_prefill_close(struct replay_prefill *prefill); /* before the engine closes */

/* The right to read the pool, a range for each segment of the layout. */
kvf_grant_t *kvfi_replay_prefill_grant(const struct replay_prefill *prefill);

/* Who reads here: reads[r] is not 0 for each decode rank r, by number, that reads from this member. */
int kvfi_replay_prefill_connect(struct replay_prefill *prefill, const uint8_t *reads);

/* Mail of decode ranks. -1: the job failed. */
int kvfi_replay_prefill_ask(struct replay_prefill *prefill, uint64_t request);
int kvfi_replay_prefill_release(struct replay_prefill *prefill, uint64_t request);

/* Admits the next request if it can be. 1: did something, 0: nothing to do now, -1: the job failed. */
int kvfi_replay_prefill_step(struct replay_prefill *prefill);

/* Every request of this rank was admitted and released. */
bool kvfi_replay_prefill_done(const struct replay_prefill *prefill);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which trace blocks a prefill rank holds: a table by prefix id, least recently used first to go.
 *
 * A request is admitted whole: its hits are pinned, then each miss takes a free slot or that of the
 * least recently used block that nobody has pinned. If there are not enough such slots nothing is
 * changed and the request waits, holding none. So a hit of a request is never evicted for one of its
 * own misses: that is the counting rule of docs/replay.md (61,042 hits, not 60,921).
 * The order of use is that of admission, not of release: it does not hang on who is quick.
 *
 * The store knows slots, not bytes: what a slot's blocks are and who fills them is prefill.c's matter.
 * Nothing blocks.
 */
#ifndef KVFI_REPLAY_STORE_H
#define KVFI_REPLAY_STORE_H

#include <stdbool.h>
#include <stdint.h>

struct replay_store;

/* What became of one block of an admitted request. */
struct replay_place {
    uint32_t slot;
    bool produce; /* a miss: fill the slot */
    bool evicted; /* the slot held another block before */
};

/* NULL without memory. */
struct replay_store *kvfi_replay_store_open(uint32_t slots);
void kvfi_replay_store_close(struct replay_store *store);

/* Admits count (at most as many as slots) prefix ids; places_p has count entries. False: not now. */
bool kvfi_replay_store_admit(struct replay_store *store, const uint64_t *ids, uint64_t count,
                             struct replay_place *places_p);

/* Takes back one pin of each. */
void kvfi_replay_store_unpin(struct replay_store *store, const struct replay_place *places, uint64_t count);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The checker of pulled blocks: marks a destination before the pull, and says afterwards how many of
 * its bytes are not what they should be.
 *
 * It must be able to find a mistake of the library's layout, plan or walk, so it shares no code with
 * them: it works out by itself what a layout's name means, from the model's sizes (its header says
 * how). It touches memory of this process only and never blocks.
 */
#ifndef KVFI_REPLAY_CHECK_H
#define KVFI_REPLAY_CHECK_H

#include "shape.h"

#define REPLAY_CANARY 64 /* bytes on each side of a piece */

struct replay_check;

/* A checker of the cache of one rank, with room for so many KV blocks; bases says where each of the
 * layout's segments begins, and stays the caller's. Ids handed to it have neighbours on both sides that
 * nobody uses. NULL: the sentence is in kvfi_cli_error(). */
struct replay_check *kvfi_replay_check_open(const struct replay_held *held, uint32_t capacity, uint64_t seed,
                                            uint8_t *const *bases, uint32_t base_count);
void kvfi_replay_check_close(struct replay_check *check);

/* Bytes of a block as the checker sees it; must be what the layout says. */
uint64_t kvfi_replay_check_block_bytes(const struct replay_check *check);

/* Marks the block's bytes, and the canaries beside its pieces, with the request's pattern. */
void kvfi_replay_check_mark(struct replay_check *check, uint32_t block, uint64_t request);

/* What of a block came from one source and proved stale: nothing is expected of that. */
struct replay_stale {
    struct replay_cut cut;
    const uint8_t *steps; /* by token of the block / step_tokens: not 0 if stale */
};

/* What a block should hold, and what was found. */
struct replay_expect {
    uint64_t request;
    uint64_t prefix;
    uint32_t first_token; /* of the trace block, the one this KV block begins with */
    uint32_t step_tokens; /* of stale; at least 1 if there is any */
    const struct replay_stale *stale;
    uint32_t stale_count;
};
struct replay_found {
    uint64_t wrong;    /* bytes, canaries too */
    uint64_t canaries; /* of these, in canaries */
    char where[160];   /* the first one; set if wrong > 0 */
};
void kvfi_replay_check_block(struct replay_check *check, uint32_t block, const struct replay_expect *expect,
                             struct replay_found *found_p);

#endif

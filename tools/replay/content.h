/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the bytes of a replayed cache are: a definition, shared by who produces blocks and who checks
 * them. Where a byte lies is no matter of this file: the producer asks the library's layout, the
 * checker has an address computation of its own (verify.c).
 *
 * Word `pos` (8 bytes, little end first) of the cell of (prefix, layer, head, plane, token) is
 *     mix(cell + pos * golden),
 *     cell = splitmix(prefix_key ^ (layer << 48 | head << 32 | plane << 28 | token)),
 *     prefix_key = splitmix(seed ^ splitmix(prefix))
 * where splitmix(x) = mix(x + golden). A cell that is no multiple of 8 ends with the low bytes of its
 * last word. The pattern that marks memory as not yet written is one word a request, at addresses that
 * are multiples of 8. docs/replay.md says the same for those who recompute it.
 */
#ifndef KVFI_REPLAY_CONTENT_H
#define KVFI_REPLAY_CONTENT_H

#include <stdint.h>

#define REPLAY_GOLDEN UINT64_C(0x9e3779b97f4a7c15)

/* planes, as the content counts them */
#define REPLAY_PLANE_K       0u /* K, or the latent of MLA */
#define REPLAY_PLANE_V       1u
#define REPLAY_PLANE_INDEXER 2u

static inline uint64_t kvfi_replay_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint64_t kvfi_replay_splitmix(uint64_t x)
{
    return kvfi_replay_mix(x + REPLAY_GOLDEN);
}

static inline uint64_t kvfi_replay_prefix_key(uint64_t seed, uint64_t prefix)
{
    return kvfi_replay_splitmix(seed ^ kvfi_replay_splitmix(prefix));
}

static inline uint64_t kvfi_replay_cell_key(uint64_t prefix_key, uint32_t layer, uint32_t head,
                                            uint32_t plane, uint32_t token)
{
    return kvfi_replay_splitmix(
        prefix_key ^ ((uint64_t)layer << 48 | (uint64_t)head << 32 | (uint64_t)plane << 28 | token));
}

static inline uint64_t kvfi_replay_word(uint64_t cell_key, uint64_t pos)
{
    return kvfi_replay_mix(cell_key + pos * REPLAY_GOLDEN);
}

static inline uint64_t kvfi_replay_pattern(uint64_t request)
{
    return kvfi_replay_splitmix(~request);
}

#endif

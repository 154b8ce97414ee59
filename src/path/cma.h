/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether cross-memory attach reaches a neighbour, by direction: proved once, and lost for good at
 * the first refusal, which a filter may bring at any time. Filters may forbid one direction only.
 */
#ifndef KVFI_PATH_CMA_H
#define KVFI_PATH_CMA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/proc.h"

#define KVFI_CMA_WHY     400u
#define KVFI_CMA_VECTORS 1024 /* of a call */

typedef struct kvfi_cma {
    const char *_Atomic why[2]; /* by kvf_dir_t: what forbids it and what to do; NULL: it works */
    atomic_flag         lost[2];
    char                text[2][KVFI_CMA_WHY];
} kvfi_cma_t;

/* Read the proof (at most 64 bytes) at raddr of a neighbour, and see whether a write would be let
 * through. Where reading is refused nothing proves whose memory a write would reach, so there is none.
 * cma is zeroed before. */
void kvfi_cma_prove(kvfi_cma_t *cma, kvfi_life_t *life, uint64_t raddr, const void *expected,
                    size_t len);

/* The kernel refused a call of that direction with error: never again. */
void kvfi_cma_lose(kvfi_cma_t *cma, const kvfi_life_t *life, uint32_t dir, int error);

#endif

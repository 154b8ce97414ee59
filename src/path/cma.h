/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether cross-memory attach reaches a neighbour, by direction: proved once, and lost for good at
 * the first refusal, which a filter may bring at any time. Filters may forbid writes only; without
 * reads there are no writes either.
 *
 * The kernel finds a process by its number, and takes the memory that it has at that moment for the
 * whole call; while an exec() is under way, it waits for its end. So what a call reads next to the
 * proof is the peer's, and nothing else tells that as well.
 */
#ifndef KVFI_PATH_CMA_H
#define KVFI_PATH_CMA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/proc.h"

#define KVFI_CMA_WHY    400u
#define KVFI_CMA_PIECES 1023 /* of a call; the last vector is the proof's */
#define KVFI_CMA_PROOF  32u

typedef struct kvfi_cma {
    const char *_Atomic why[2]; /* by kvf_dir_t: what forbids it and what to do; NULL: it works */
    char text[2][KVFI_CMA_WHY];
    uint64_t proof_addr; /* in the peer */
    char proof[KVFI_CMA_PROOF];
} kvfi_cma_t;

/* Read the proof at raddr of a neighbour, and see whether a write would be let through. Where reading is
 * refused nothing proves whose memory a write would reach, so there is none. cma is zeroed before. */
void kvfi_cma_prove(kvfi_cma_t *cma, kvfi_life_t *life, uint64_t raddr, const void *proof);

/* Read the proof once more. 0: who has the pid is the peer; ESTALE: it is another program; else the error of
 * process_vm_readv. */
int kvfi_cma_ask(const kvfi_cma_t *cma, pid_t pid);

/* The kernel refused a call of that direction with error: never again. A write asks for the proof first, so
 * the refused call may have been that. */
void kvfi_cma_lose(kvfi_cma_t *cma, const kvfi_life_t *life, uint32_t dir, int error);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The processor of the progress thread. The kernel likes to put a thread that is woken beside its
 * waker; here the waker goes on to run, for it copies on the other side of a ring, and both get
 * half of what two processors would give them. So the thread leaves, within the mask that it was
 * started with, and stays away as long as there is traffic. If it has to wait for its turn where
 * it went, the node has less processors than it has to do, and sharing one with the neighbour
 * wastes the least: back, for a while.
 */
#ifndef KVFI_ENGINE_PLACE_H
#define KVFI_ENGINE_PLACE_H

#include <stdint.h>

#include "base/cores.h"

typedef struct kvfi_place {
    kvfi_mask_t mask;   /* that the thread was started with */
    int away;           /* bound to less */
    uint64_t since_ns;  /* of the look at how long it waits */
    uint64_t waited_ns; /* for its turn, in all, at that look */
    uint64_t next_ns;   /* no move before */
} kvfi_place_t;

/* Called by the thread itself, as all of this. */
void kvfi_place_find(kvfi_place_t *place_p);
/* It has done something: cpu is where it was seen beside a neighbour, or -1. */
void kvfi_place_look(kvfi_place_t *place, int cpu, uint64_t now_ns);

#endif

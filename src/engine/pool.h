/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Pools: a shared segment cut in equal blocks, a generation each.
 */
#ifndef KVFI_ENGINE_POOL_H
#define KVFI_ENGINE_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "engine/object.h"
#include "kvferry.h"

struct kvf_pool {
    kvfi_object_t object;
    kvf_segment_t *segment;
    uint32_t blocks, available;
    uint32_t hint;           /* no free block below */
    uint64_t *taken;         /* bitmap */
    _Atomic uint32_t *gens;  /* one a block; peers see a copy, */
    _Atomic uint32_t *shown; /* in which they can write */
    pthread_mutex_t lock;
};

void kvfi_pool_free(kvf_pool_t *pool);

#endif

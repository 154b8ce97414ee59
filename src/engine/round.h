/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The round of the large batches that the copy threads copy in turn.
 */
#ifndef KVFI_ENGINE_ROUND_H
#define KVFI_ENGINE_ROUND_H

#include <pthread.h>

#include "base/cores.h"
#include "kvferry.h"

typedef struct kvfi_copiers {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    kvf_batch_t *round; /* whose turn it is */
    unsigned asleep, started;
    int stop;
    kvfi_cores_t cores;
    pthread_t threads[];
} kvfi_copiers_t;

/* A batch has parts to claim, or no more. Under its lock. */
void kvfi_round_add(kvf_batch_t *batch);
void kvfi_round_drop(kvf_batch_t *batch);
/* There is something to copy again: for who waits, sleeps, or is a copy thread. Under its lock. */
void kvfi_round_call(kvf_batch_t *batch);
/* The batch whose turn it is, referenced, once there is one; NULL: stop. */
kvf_batch_t *kvfi_round_next(kvfi_copiers_t *copiers);

#endif

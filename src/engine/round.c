/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The round of the large batches that an engine's copy threads copy in turn, a part of each, so that none
 * waits for a larger one. A batch is in the round while it has parts to claim; who claims the last one
 * takes it out. The threads themselves are in copiers.c.
 */
#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/round.h"

void kvfi_round_add(kvf_batch_t *batch)
{
    kvfi_copiers_t *copiers = batch->object.engine->copiers;

    pthread_mutex_lock(&copiers->lock);
    if (copiers->round) {
        batch->round_next = copiers->round;
        batch->round_prev = copiers->round->round_prev;
        batch->round_prev->round_next = batch->round_next->round_prev = batch;
    } else {
        copiers->round = batch->round_next = batch->round_prev = batch;
    }
    batch->in_round = 1;
    if (copiers->asleep)
        pthread_cond_broadcast(&copiers->cond);
    pthread_mutex_unlock(&copiers->lock);
}

void kvfi_round_drop(kvf_batch_t *batch)
{
    kvfi_copiers_t *copiers = batch->object.engine->copiers;

    pthread_mutex_lock(&copiers->lock);
    batch->in_round = 0;
    batch->round_next->round_prev = batch->round_prev;
    batch->round_prev->round_next = batch->round_next;
    if (copiers->round == batch)
        copiers->round = batch->round_next == batch ? NULL : batch->round_next;
    pthread_mutex_unlock(&copiers->lock);
}

kvf_batch_t *kvfi_round_next(kvfi_copiers_t *copiers)
{
    kvf_batch_t *batch;

    pthread_mutex_lock(&copiers->lock);
    copiers->asleep++;
    while (!copiers->round && !copiers->stop)
        pthread_cond_wait(&copiers->cond, &copiers->lock);
    copiers->asleep--;
    batch = copiers->stop ? NULL : copiers->round;
    if (batch) {
        copiers->round = batch->round_next;
        atomic_fetch_add(&batch->refs, 1);
    }
    pthread_mutex_unlock(&copiers->lock);
    return batch;
}

void kvfi_round_call(kvf_batch_t *batch)
{
    kvf_engine_t *engine = batch->object.engine;

    batch->sharers = engine->copiers ? 1 + engine->copy_threads : 1;
    atomic_store(&batch->claimable, 1);
    if (!batch->listed)
        return; /* post is not through with it */
    if (engine->copiers)
        kvfi_round_add(batch);
    pthread_cond_broadcast(&batch->cond);
    kvfi_event_posted(engine, batch->sleeper);
}

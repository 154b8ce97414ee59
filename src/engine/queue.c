/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The list behind a queue of ended batches. A batch that names a queue at post is counted there until it
 * ends, and then stands in the list until somebody takes it. Who asks, and sleeps, is in ended.c.
 */
#include "base/status.h"
#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/queue.h"

kvf_status_t kvfi_queue_hold(kvf_queue_t *queue)
{
    pthread_mutex_lock(&queue->object.engine->queue_lock);
    queue->running++;
    pthread_mutex_unlock(&queue->object.engine->queue_lock);
    if (kvfi_is(queue, KVFI_QUEUE))
        return KVF_OK;
    kvfi_queue_let_go(queue);
    return kvfi_fail(KVF_ERR_INVALID, "opts.queue is closed");
}

void kvfi_queue_let_go(kvf_queue_t *queue)
{
    pthread_mutex_lock(&queue->object.engine->queue_lock);
    queue->running--;
    pthread_mutex_unlock(&queue->object.engine->queue_lock);
}

/* The wake is under the lock: without it the queue may be freed once nothing runs for it. */
void kvfi_queue_end(kvf_batch_t *batch)
{
    kvf_queue_t *queue = batch->queue;
    kvf_engine_t *engine = batch->object.engine;

    pthread_mutex_lock(&engine->queue_lock);
    batch->sleeper = NULL;
    batch->queue_next = NULL;
    batch->queue_link = queue->end;
    *queue->end = batch;
    queue->end = &batch->queue_next;
    atomic_store(&batch->queued, 1);
    queue->running--;
    kvfi_sleeper_wake(engine, &queue->sleeper);
    pthread_mutex_unlock(&engine->queue_lock);
}

static void unlink_locked(kvf_queue_t *queue, kvf_batch_t *batch)
{
    *batch->queue_link = batch->queue_next;
    if (batch->queue_next)
        batch->queue_next->queue_link = batch->queue_link;
    else
        queue->end = batch->queue_link;
    atomic_store(&batch->queued, 0);
}

int kvfi_queue_take(kvf_queue_t *queue, kvf_ended_t *ended_p)
{
    kvf_engine_t *engine = queue->object.engine;
    kvf_batch_t *batch;

    pthread_mutex_lock(&engine->queue_lock);
    batch = queue->first;
    if (batch) {
        *ended_p = (kvf_ended_t){.status = batch->result.status, .tag = batch->tag, .batch = batch};
        unlink_locked(queue, batch);
    }
    pthread_mutex_unlock(&engine->queue_lock);
    return batch != NULL;
}

int kvfi_queue_is_empty(kvf_queue_t *queue)
{
    int empty;

    pthread_mutex_lock(&queue->object.engine->queue_lock);
    empty = !queue->first;
    pthread_mutex_unlock(&queue->object.engine->queue_lock);
    return empty;
}

void kvfi_queue_drop(kvf_batch_t *batch)
{
    pthread_mutex_lock(&batch->object.engine->queue_lock);
    if (atomic_load(&batch->queued))
        unlink_locked(batch->queue, batch);
    pthread_mutex_unlock(&batch->object.engine->queue_lock);
}

int kvfi_queue_clear(kvf_queue_t *queue)
{
    int clear;

    pthread_mutex_lock(&queue->object.engine->queue_lock);
    clear = !queue->running;
    while (clear && queue->first)
        unlink_locked(queue, queue->first);
    pthread_mutex_unlock(&queue->object.engine->queue_lock);
    return clear;
}

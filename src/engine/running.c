/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The list of an engine's running batches, and what it tells who is about to sleep. Post puts a batch
 * there that does not end at once; the end of the batch takes it out. All under the engine's lock, which
 * is inside of a batch's. Nothing here waits.
 */
#include "base/clock.h"
#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/peer.h"
#include "engine/running.h"

#define RETRY_NS UINT64_C(5000000) /* of a notification that waits for room in a near ring */

__attribute__((hot)) void kvfi_running_add(kvf_batch_t *batch)
{
    kvf_engine_t *engine = batch->object.engine;

    pthread_mutex_lock(&engine->lock);
    batch->run_next = engine->running;
    batch->run_link = &engine->running;
    if (batch->run_next)
        batch->run_next->run_link = &batch->run_next;
    engine->running = batch;
    batch->listed = 1;
    atomic_fetch_add(&engine->running_count, 1);
    pthread_mutex_unlock(&engine->lock);
}

void kvfi_running_drop(kvf_batch_t *batch)
{
    kvf_engine_t *engine = batch->object.engine;

    pthread_mutex_lock(&engine->lock);
    *batch->run_link = batch->run_next;
    if (batch->run_next)
        batch->run_next->run_link = batch->run_link;
    batch->listed = 0;
    atomic_fetch_sub(&engine->running_count, 1);
    pthread_mutex_unlock(&engine->lock);
}

uint64_t kvfi_running_next_look(kvf_engine_t *engine)
{
    uint64_t least = UINT64_MAX, retry = kvfi_now_ns() + RETRY_NS;

    pthread_mutex_lock(&engine->lock);
    for (const kvf_batch_t *batch = engine->running; batch; batch = batch->run_next) {
        uint64_t patience = atomic_load_explicit(&batch->patience_ns, memory_order_relaxed);

        if (atomic_load_explicit(&batch->end_ns, memory_order_relaxed) < least)
            least = atomic_load_explicit(&batch->end_ns, memory_order_relaxed);
        if (patience < least)
            least = patience;
        if (batch->has_note && !batch->note.peer->am && retry < least)
            least = retry;
    }
    pthread_mutex_unlock(&engine->lock);
    return least;
}

int kvfi_running_copies(kvf_engine_t *engine)
{
    const kvf_batch_t *batch;

    if (engine->copiers)
        return 0;
    pthread_mutex_lock(&engine->lock);
    for (batch = engine->running; batch && !kvfi_batch_copies(batch); batch = batch->run_next)
        ;
    pthread_mutex_unlock(&engine->lock);
    return batch != NULL;
}

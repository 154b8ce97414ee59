/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who asks for the end of a batch: test, wait, cancel. They drive the batch, and the engine with it; a wait
 * then sleeps, until the end or until there may be something to drive. A cancel waits for the parts that
 * are being copied, and a moment for the owners of WRITEs that it gives up.
 */
#include <time.h>

#include "base/clock.h"
#include "base/status.h"
#include "base/wire.h"
#include "engine/await.h"
#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/object.h"
#include "engine/progress.h"
#include "engine/thread.h"

#define AWAIT_NS UINT64_C(50000)
#define SPIN_NS  UINT64_C(20000)
#define DRIVE_NS UINT64_C(50000) /* the same where the peer fills a slot meanwhile */

/* Most batches have ended when post returns, and what ended does not change without its owner. */
static int has_ended(const kvf_batch_t *batch)
{
    return !atomic_load_explicit(&batch->running, memory_order_acquire);
}

static kvf_status_t final_status(const kvf_batch_t *batch)
{
    kvf_status_t status = (kvf_status_t)batch->result.status;

    return status == KVF_OK ? status : kvfi_fail(status, "%s", batch->sentence);
}

kvf_status_t kvf_batch_test(kvf_batch_t *batch)
{
    kvf_status_t status = kvfi_enter(batch, KVFI_BATCH);
    kvf_engine_t *engine;
    int ended;

    if (status != KVF_OK)
        return status;
    engine = batch->object.engine;
    ended = has_ended(batch) || kvfi_batch_advance(batch, !engine->copiers);
    if (!ended) {
        kvfi_progress_drive(engine, 0);
        ended = kvfi_batch_advance(batch, 0);
    }
    status = ended ? final_status(batch) : KVF_INPROGRESS;
    kvfi_leave(engine);
    return status;
}

/* Sleep until the batch ends, or until there may be something to drive. */
static void wait_a_little(kvf_batch_t *batch, uint64_t end_ns, int drives)
{
    kvf_engine_t *engine = batch->object.engine;
    uint64_t until = kvfi_deadline(kvfi_now_ns(), 5000000), batch_end;
    struct timespec at;
    int nap;

    until = until < end_ns ? until : end_ns;
    batch_end = atomic_load_explicit(&batch->end_ns, memory_order_relaxed);
    until = until < batch_end ? until : batch_end;
    at = kvfi_timespec(until);
    pthread_mutex_lock(&batch->lock);
    /* somebody else tells the end: the progress thread, or who copies the last parts */
    nap = (drives || !atomic_load(&engine->thread_on)) && !batch->flying;
    if (!nap && atomic_load(&batch->running))
        pthread_cond_timedwait(&batch->cond, &batch->lock, &at);
    pthread_mutex_unlock(&batch->lock);
    if (nap)
        kvfi_event_nap(engine, until);
}

kvf_status_t kvf_batch_wait(kvf_batch_t *batch, uint64_t timeout_ns)
{
    kvf_status_t status = kvfi_enter(batch, KVFI_BATCH);
    kvf_engine_t *engine;
    uint64_t now, end_ns, moved_ns;
    int drives = 0; /* in place of the progress thread */

    if (status != KVF_OK)
        return status;
    engine = batch->object.engine;
    if (has_ended(batch)) {
        status = final_status(batch);
        goto leave;
    }
    moved_ns = now = kvfi_now_ns();
    end_ns = kvfi_deadline(now, timeout_ns);
    while (!kvfi_batch_advance(batch, 1) && now < end_ns) {
        if (!drives)
            drives = kvfi_thread_take(engine);
        if (kvfi_progress_drive(engine, 0) || kvfi_batch_copies(batch))
            moved_ns = now;
        else if (now - moved_ns > (drives ? DRIVE_NS : SPIN_NS))
            wait_a_little(batch, end_ns, drives);
        else
            kvfi_relax();
        now = kvfi_now_ns();
    }
    if (drives)
        kvfi_thread_hand_back(engine);
    status = has_ended(batch) ? final_status(batch) : KVF_INPROGRESS;
leave:
    kvfi_leave(engine);
    return status;
}

/* Their answers may need this thread to be taken in. */
static void await_owners(kvf_batch_t *batch)
{
    struct timespec at;

    pthread_mutex_unlock(&batch->lock);
    kvfi_progress_drive(batch->object.engine, 0);
    pthread_mutex_lock(&batch->lock);
    at = kvfi_timespec(kvfi_now_ns() + AWAIT_NS);
    if (atomic_load(&batch->unsettled))
        pthread_cond_timedwait(&batch->cond, &batch->lock, &at);
}

void kvfi_await_abort(kvf_batch_t *batch, kvf_status_t status)
{
    uint32_t run;

    pthread_mutex_lock(&batch->lock);
    run = batch->run;
    if (atomic_load(&batch->running))
        kvfi_batch_stop_locked(batch, status);
    while (batch->run == run && !kvfi_batch_advance_locked(batch)) {
        if (batch->given_up)
            await_owners(batch);
        else
            pthread_cond_wait(&batch->cond, &batch->lock);
    }
    pthread_mutex_unlock(&batch->lock);
}

kvf_status_t kvf_batch_cancel(kvf_batch_t *batch)
{
    kvf_status_t status = kvfi_enter(batch, KVFI_BATCH);
    kvf_engine_t *engine;

    if (status != KVF_OK)
        return status;
    engine = batch->object.engine;
    kvfi_await_abort(batch, KVF_ERR_CANCELED);
    pthread_mutex_lock(&batch->lock);
    status = final_status(batch);
    pthread_mutex_unlock(&batch->lock);
    kvfi_leave(engine);
    return status;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Batches: the object, its drive, its end. A batch is driven under its own lock by whoever tests, waits, or
 * drives the engine; parts of it are copied without the lock, by several threads at once (parts.c). It has
 * ended once every op has (end.c), its statuses are written, and its notification is queued at the receiver
 * or given up; from then on nobody touches the caller's memory for it. So one that is stopped waits for the
 * parts that are being copied: at most one slice each.
 */
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/status.h"
#include "engine/batch.h"
#include "engine/end.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/held.h"
#include "engine/notify.h"
#include "engine/object.h"
#include "engine/parts.h"
#include "engine/peer.h"
#include "engine/queue.h"
#include "engine/running.h"
#include "engine/sentence.h"
#include "engine/served.h"

/* --------------------------------------------------------- end of the batch */

static void end_batch(kvf_batch_t *batch)
{
    kvf_engine_t *engine = batch->object.engine;
    int listed = batch->listed;

    kvfi_meter_add(&batch->tally);
    kvfi_end_let_go(batch, batch->count);
    kvfi_meter_batch(&engine->meter, batch->result.stale_blocks);
    if (listed)
        kvfi_running_drop(batch);
    if (batch->has_note)
        atomic_fetch_sub(&batch->note.peer->notes, 1);
    if (batch->queue) /* first: who sees that it has ended finds it there */
        kvfi_queue_end(batch);
    atomic_store_explicit(&batch->running, 0, memory_order_release);
    if (!listed)
        return;
    pthread_cond_broadcast(&batch->cond);
    kvfi_sleeper_wake(engine, &engine->sleeper);
}

static void settle_note(kvf_batch_t *batch, kvf_status_t status)
{
    batch->result.notify = status;
    if (status < KVF_OK && batch->result.status == KVF_OK) {
        batch->result.status = status;
        kvfi_sentence_note(batch, status);
    }
    if (status == KVF_OK)
        kvfi_meter_note_sent(&batch->object.engine->meter);
}

/* 1 when the batch has ended. */
static int drive_note(kvf_batch_t *batch)
{
    kvf_status_t status;

    if (batch->has_note && !batch->noting) {
        batch->noting = 1;
        if (!batch->note_due) {
            kvfi_note_drop(&batch->note, KVF_SKIPPED);
        } else {
            pthread_mutex_lock(&batch->note.peer->out_lock);
            batch->note.ready = 1;
            pthread_mutex_unlock(&batch->note.peer->out_lock);
        }
    }
    if (batch->has_note) {
        kvfi_note_pump(batch->note.peer);
        status = (kvf_status_t)atomic_load(&batch->note.status);
        if (status == KVF_INPROGRESS && batch->note.sent)
            status = (kvf_status_t)atomic_load(&batch->note.am.status);
        if (status == KVF_INPROGRESS)
            return 0;
        settle_note(batch, status);
    }
    end_batch(batch);
    return 1;
}

/* ------------------------------------------------------------------- drive */

void kvfi_batch_stop_locked(kvf_batch_t *batch, kvf_status_t status)
{
    if (!atomic_load(&batch->stop))
        atomic_store(&batch->stop, status);
    kvfi_part_none_left(batch);
}

/* The end of a batch that was stopped, once no part is being copied: 1 when it has ended. */
static int abort_locked(kvf_batch_t *batch)
{
    kvf_status_t status = (kvf_status_t)atomic_load(&batch->stop);

    if (!kvfi_held_given_up(batch))
        return 0;
    if (batch->has_note) {
        if (batch->note_always)
            kvfi_note_tell(&batch->note, status);
        else
            kvfi_note_drop(&batch->note, status);
        settle_note(batch, (kvf_status_t)atomic_load(&batch->note.status));
    }
    end_batch(batch);
    return 1;
}

static void pass_deadline(kvf_batch_t *batch)
{
    kvfi_fail(KVF_ERR_TIMEOUT, "the batch with tag %llu passed its deadline", (unsigned long long)batch->tag);
    kvfi_batch_stop_locked(batch, KVF_ERR_TIMEOUT);
}

__attribute__((hot)) int kvfi_batch_advance_locked(kvf_batch_t *batch)
{
    uint64_t end = atomic_load_explicit(&batch->end_ns, memory_order_relaxed);

    if (!atomic_load(&batch->running))
        return 1;
    if (end != UINT64_MAX && kvfi_now_ns() >= end && !atomic_load(&batch->stop))
        pass_deadline(batch);
    if (batch->flying || kvfi_batch_copies(batch))
        return 0;
    if (atomic_load(&batch->stop))
        return abort_locked(batch);
    if (batch->spare_count && kvfi_served_back(batch))
        return 0;
    if (atomic_load(&batch->am_pending)) {
        if (kvfi_held_release(batch) || !kvfi_held_in_vain(batch))
            return 0;
        kvfi_batch_stop_locked(batch, KVF_ERR_PEER);
        return abort_locked(batch);
    }
    if (!batch->noting)
        for (size_t i = 0; i < batch->am_count; i++) {
            kvfi_end_op(batch, (size_t)(batch->am_xfers[i] - batch->xfers));
            batch->result.unsettled += !kvfi_held_is_settled(batch, batch->am_xfers[i]);
        }
    kvfi_meter_add(&batch->tally);
    return drive_note(batch);
}

void kvfi_batch_copy_locked(kvf_batch_t *batch)
{
    kvfi_part_t part;

    while (kvfi_part_claim(batch, &part)) {
        kvfi_part_copy(batch, &part);
        kvfi_part_join(batch, &part);
    }
}

/* One part. While it flies the batch cannot end. */
static int copy_part(kvf_batch_t *batch)
{
    kvfi_part_t part;
    int ended;

    if (!kvfi_part_claim(batch, &part))
        return kvfi_batch_advance_locked(batch);
    pthread_mutex_unlock(&batch->lock);
    kvfi_part_copy(batch, &part);
    pthread_mutex_lock(&batch->lock);
    kvfi_part_join(batch, &part);
    ended = kvfi_batch_advance_locked(batch);
    if (!ended && !batch->flying && !kvfi_batch_copies(batch)) {
        /* what is left is not for who copies: a note, far ops */
        pthread_cond_broadcast(&batch->cond);
        kvfi_event_posted(batch->object.engine, batch->sleeper);
    }
    return ended;
}

static int advance(kvf_batch_t *batch, int copy)
{
    return kvfi_batch_advance_locked(batch) || (copy && copy_part(batch));
}

int kvfi_batch_advance(kvf_batch_t *batch, int copy)
{
    int ended;

    pthread_mutex_lock(&batch->lock);
    ended = advance(batch, copy);
    pthread_mutex_unlock(&batch->lock);
    return ended;
}

void kvfi_batch_copy_all(kvf_batch_t *batch)
{
    uint32_t run;

    pthread_mutex_lock(&batch->lock);
    run = batch->run;
    while (batch->run == run && kvfi_batch_copies(batch))
        copy_part(batch);
    while (batch->run == run && atomic_load(&batch->running) && batch->flying)
        pthread_cond_wait(&batch->cond, &batch->lock);
    pthread_mutex_unlock(&batch->lock);
}

/* -------------------------------------------------------------- the object */

kvf_status_t kvf_batch_create(kvf_engine_t *engine, kvf_batch_t **batch_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    pthread_condattr_t attr;
    kvf_batch_t *batch;

    if (status != KVF_OK)
        return status;
    if (!batch_p) {
        status = kvfi_fail(KVF_ERR_INVALID, "batch_p is NULL");
        goto leave;
    }
    batch = kvfi_object_new(engine, KVFI_BATCH, sizeof *batch);
    if (!batch) {
        status = KVF_ERR_NOMEM;
        goto leave;
    }
    pthread_mutex_init(&batch->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&batch->cond, &attr);
    pthread_condattr_destroy(&attr);
    atomic_store(&batch->refs, 1);
    batch->result.bad_op = UINT64_MAX;
    batch->result.notify = KVF_SKIPPED;
    *batch_p = batch;
leave:
    kvfi_leave(engine);
    return status;
}

void kvfi_batch_put(kvf_batch_t *batch)
{
    if (atomic_fetch_sub(&batch->refs, 1) != 1)
        return;
    for (size_t i = 0; i < batch->cap; i++)
        free(batch->xfers[i].bad);
    free(batch->ops);
    free(batch->xfers);
    free(batch->am_xfers);
    free(batch->spares);
    if (batch->kept)
        batch->drop(batch->kept);
    pthread_cond_destroy(&batch->cond);
    pthread_mutex_destroy(&batch->lock);
    kvfi_object_close(batch);
}

kvf_status_t kvf_batch_free(kvf_batch_t *batch)
{
    kvf_engine_t *engine;
    kvf_status_t status;
    int running;

    if (!batch)
        return KVF_OK;
    status = kvfi_enter(batch, KVFI_BATCH);
    if (status != KVF_OK)
        return status;
    engine = batch->object.engine;
    /* the lock: who ended it may still be on the way out */
    pthread_mutex_lock(&batch->lock);
    running = atomic_load(&batch->running);
    pthread_mutex_unlock(&batch->lock);
    if (running) {
        status = kvfi_fail(KVF_ERR_BUSY, "the batch is running");
    } else if (!kvfi_claim(batch, KVFI_BATCH)) {
        status = kvfi_fail(KVF_ERR_INVALID, "batch handle is closed");
    } else {
        kvfi_queue_drop(batch);
        kvfi_batch_put(batch);
    }
    kvfi_leave(engine);
    return status;
}

/* ------------------------------------------------------------------ results */

static kvf_status_t ask_op(kvf_batch_t *batch, size_t index,
                           kvf_status_t (*ask)(kvf_batch_t *, kvfi_xfer_t *))
{
    kvf_status_t status = kvfi_enter(batch, KVFI_BATCH);
    kvf_engine_t *engine;

    if (status != KVF_OK)
        return status;
    engine = batch->object.engine;
    pthread_mutex_lock(&batch->lock);
    if (index >= batch->count)
        status = kvfi_fail(KVF_ERR_INVALID, "index is %zu, the batch has %zu ops", index, batch->count);
    else if (atomic_load(&batch->running))
        status = KVF_INPROGRESS;
    else
        status = ask(batch, &batch->xfers[index]);
    pthread_mutex_unlock(&batch->lock);
    kvfi_leave(engine);
    return status;
}

static kvf_status_t status_of(kvf_batch_t *batch, kvfi_xfer_t *xfer)
{
    (void)batch;
    return (kvf_status_t)atomic_load(&xfer->status);
}

static kvf_status_t settled_of(kvf_batch_t *batch, kvfi_xfer_t *xfer)
{
    return kvfi_held_is_settled(batch, xfer) ? KVF_OK : KVF_INPROGRESS;
}

kvf_status_t kvf_batch_op_status(kvf_batch_t *batch, size_t index)
{
    return ask_op(batch, index, status_of);
}

kvf_status_t kvf_batch_op_settled(kvf_batch_t *batch, size_t index)
{
    return ask_op(batch, index, settled_of);
}

kvf_status_t kvf_batch_result(kvf_batch_t *batch, kvf_batch_result_t *result_p)
{
    kvf_status_t status = kvfi_enter(batch, KVFI_BATCH);
    kvf_engine_t *engine;

    if (status != KVF_OK)
        return status;
    engine = batch->object.engine;
    pthread_mutex_lock(&batch->lock);
    if (atomic_load(&batch->running))
        status = kvfi_fail(KVF_ERR_BUSY, "the batch is running");
    else
        status = kvf_struct_write("result_p", &batch->result, sizeof batch->result, result_p);
    pthread_mutex_unlock(&batch->lock);
    kvfi_leave(engine);
    return status;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Batches: drive, end, test, wait, cancel. A batch is driven under its own lock by whoever tests,
 * waits, or drives the engine; parts of it are copied without the lock, by several threads at once
 * (parts.c). It has ended once every op has, its statuses are written, and its notification is
 * queued at the receiver or given up; from then on nobody touches the caller's memory for it. So an
 * abort waits for the parts that are being copied: at most one slice each.
 */
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "engine/internal.h"

#define AWAIT_NS UINT64_C(50000)
#define SPIN_NS  UINT64_C(20000)
#define DRIVE_NS UINT64_C(50000) /* the same where the peer fills a slot meanwhile */

/* ------------------------------------------------------------ end of one op */

/* An entry shared by several ops tells the worst of them, whichever ended first: the lowest error,
 * else SKIPPED, else OK. */
static void write_block(int8_t *entry, kvf_status_t status)
{
    int worse = status < KVF_OK ? status < *entry : *entry == KVF_OK && status == KVF_SKIPPED;

    if (*entry == KVF_INPROGRESS || worse)
        *entry = (int8_t)status;
}

static void write_blocks(const kvfi_batch_op_t *op, const kvfi_xfer_t *xfer, kvf_status_t status)
{
    uint32_t done = status == KVF_OK || status == KVF_ERR_STALE ? xfer->box.blocks
                                                                : xfer->cursor.pair;

    if (!op->block_status)
        return;
    for (uint32_t i = 0; i < xfer->bad_count; i++)
        write_block(&op->block_status[xfer->bad[i].pair], (kvf_status_t)xfer->bad[i].status);
    for (uint32_t i = 0; i < xfer->box.blocks; i++)
        write_block(&op->block_status[i], kvfi_box_skips(&xfer->box, i) ? KVF_SKIPPED
                                          : i < done                   ? KVF_OK
                                                                       : status);
}

/* Bytes of the pairs that ended well; what a failed op moved of others is no use to anyone. */
static uint64_t bytes_of_ended(const kvfi_xfer_t *xfer, kvf_status_t status)
{
    const kvfi_box_t *box = &xfer->box;
    uint64_t          pairs = 0;

    if (status == KVF_OK || status == KVF_ERR_STALE)
        return xfer->moved.bytes;
    for (uint32_t i = 0; i < xfer->cursor.pair; i++)
        pairs += !kvfi_box_skips(box, i);
    return pairs * box->len * box->count[0] * box->count[1];
}

void kvfi_batch_count(kvf_batch_t *batch)
{
    kvfi_tally_t *tally = &batch->tally;
    kvf_engine_t *engine = batch->object.engine;
    kvfi_count_t *count = &engine->path[tally->path];
    kvf_peer_t   *peer = tally->peer;

    if (!peer)
        return;
    tally->peer = NULL;
    atomic_fetch_add_explicit(&count->ops, tally->ops, memory_order_relaxed);
    atomic_fetch_add_explicit(&count->bytes, tally->bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&count->pieces, tally->pieces, memory_order_relaxed);
    if (tally->calls)
        atomic_fetch_add_explicit(&count->calls, tally->calls, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->locality[peer->locality], tally->bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(tally->dir == KVF_READ ? &peer->bytes_read : &peer->bytes_written,
                              tally->bytes, memory_order_relaxed);
}

static void tally_op(kvf_batch_t *batch, const kvfi_batch_op_t *op, const kvfi_xfer_t *xfer)
{
    kvfi_tally_t *tally = &batch->tally;
    kvf_peer_t   *peer = op->remote->peer;

    if (tally->peer != peer || tally->path != xfer->path || tally->dir != xfer->dir) {
        kvfi_batch_count(batch);
        *tally = (kvfi_tally_t){.peer = peer, .path = xfer->path, .dir = xfer->dir};
    }
    tally->ops++;
    tally->bytes += xfer->moved.bytes;
    tally->pieces += xfer->moved.pieces;
    tally->calls += xfer->calls;
}

void kvfi_batch_finish_op(kvf_batch_t *batch, size_t i)
{
    kvfi_batch_op_t *op = &batch->ops[i];
    kvfi_xfer_t     *xfer = &batch->xfers[i];
    kvf_status_t     status = (kvf_status_t)atomic_load(&xfer->status);
    uint64_t         bytes;

    if (op->finished)
        return;
    op->finished = 1;
    write_blocks(op, xfer, status);
    tally_op(batch, op, xfer);
    for (uint32_t n = 0; n < xfer->bad_count; n++)
        batch->result.stale_blocks += xfer->bad[n].status == KVF_ERR_STALE;
    bytes = bytes_of_ended(xfer, status);
    batch->result.bytes += bytes;
    batch->result.pieces += xfer->moved.pieces;
    if (xfer->chosen)
        kvfi_served_judge(batch, i, status);
    if (status != KVF_OK && batch->has_note && op->remote->peer == batch->note.peer) {
        batch->note_due = batch->note_always;
        if (batch->note.told == KVF_OK)
            batch->note.told = status;
    }
    if (status < KVF_OK && i < batch->result.bad_op) {
        batch->result.bad_op = i;
        batch->result.status = status;
        kvfi_sentence_op(batch, i, status, bytes);
    }
}

void kvfi_batch_let_go(kvf_batch_t *batch, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (batch->ops[i].holds)
            kvfi_let_go(batch->ops[i].segment, batch->ops[i].remote);
}

/* --------------------------------------------------------- end of the batch */

__attribute__((hot))
void kvfi_batch_enlist(kvf_batch_t *batch)
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

static void delist(kvf_batch_t *batch)
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

static void end_batch(kvf_batch_t *batch)
{
    kvf_engine_t *engine = batch->object.engine;
    int           listed = batch->listed;

    kvfi_batch_count(batch);
    kvfi_batch_let_go(batch, batch->count);
    atomic_fetch_add_explicit(&engine->batches, 1, memory_order_relaxed);
    if (batch->result.stale_blocks)
        atomic_fetch_add_explicit(&engine->stale_blocks, batch->result.stale_blocks,
                                  memory_order_relaxed);
    if (listed)
        delist(batch);
    if (batch->has_note)
        atomic_fetch_sub(&batch->note.peer->notes, 1);
    atomic_store_explicit(&batch->running, 0, memory_order_release);
    if (!listed)
        return;
    pthread_cond_broadcast(&batch->cond);
    kvfi_progress_wake(engine);
}

static void settle_note(kvf_batch_t *batch, kvf_status_t status)
{
    batch->result.notify = status;
    if (status < KVF_OK && batch->result.status == KVF_OK) {
        batch->result.status = status;
        kvfi_sentence_note(batch, status);
    }
    if (status == KVF_OK)
        atomic_fetch_add_explicit(&batch->object.engine->notify_sent, 1, memory_order_relaxed);
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

/* From here on nobody begins to copy a part. */
static void stop_locked(kvf_batch_t *batch, kvf_status_t status)
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
    kvfi_fail(KVF_ERR_TIMEOUT, "the batch with tag %llu passed its deadline",
              (unsigned long long)batch->tag);
    stop_locked(batch, KVF_ERR_TIMEOUT);
}

__attribute__((hot))
int kvfi_batch_advance_locked(kvf_batch_t *batch)
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
        stop_locked(batch, KVF_ERR_PEER);
        return abort_locked(batch);
    }
    if (!batch->noting)
        for (size_t i = 0; i < batch->am_count; i++) {
            kvfi_batch_finish_op(batch, (size_t)(batch->am_xfers[i] - batch->xfers));
            batch->result.unsettled += !kvfi_held_is_settled(batch, batch->am_xfers[i]);
        }
    kvfi_batch_count(batch);
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
    int         ended;

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
        kvfi_progress_posted(batch->object.engine);
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

void kvfi_batch_abort(kvf_batch_t *batch, kvf_status_t status)
{
    uint32_t run;

    pthread_mutex_lock(&batch->lock);
    run = batch->run;
    if (atomic_load(&batch->running))
        stop_locked(batch, status);
    while (batch->run == run && !kvfi_batch_advance_locked(batch)) {
        if (batch->given_up)
            await_owners(batch);
        else
            pthread_cond_wait(&batch->cond, &batch->lock);
    }
    pthread_mutex_unlock(&batch->lock);
}

/* -------------------------------------------------------------- the object */

kvf_status_t kvf_batch_create(kvf_engine_t *engine, kvf_batch_t **batch_p)
{
    kvf_status_t       status = kvfi_enter(engine, KVFI_ENGINE);
    pthread_condattr_t attr;
    kvf_batch_t       *batch;

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
    kvf_status_t  status;
    int           running;

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
    if (running)
        status = kvfi_fail(KVF_ERR_BUSY, "the batch is running");
    else if (kvfi_claim(batch, KVFI_BATCH))
        kvfi_batch_put(batch);
    else
        status = kvfi_fail(KVF_ERR_INVALID, "batch handle is closed");
    kvfi_leave(engine);
    return status;
}

/* ------------------------------------------------------- test, wait, cancel */

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
    kvf_status_t  status = kvfi_enter(batch, KVFI_BATCH);
    kvf_engine_t *engine;
    int           ended;

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
    kvf_engine_t   *engine = batch->object.engine;
    uint64_t        until = kvfi_deadline(kvfi_now_ns(), 5000000), batch_end;
    struct timespec at;
    int             nap;

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
        kvfi_progress_nap(engine, until);
}

kvf_status_t kvf_batch_wait(kvf_batch_t *batch, uint64_t timeout_ns)
{
    kvf_status_t  status = kvfi_enter(batch, KVFI_BATCH);
    kvf_engine_t *engine;
    uint64_t      now, end_ns, moved_ns;
    int           drives = 0; /* in place of the progress thread */

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
            drives = kvfi_progress_take(engine);
        if (kvfi_progress_drive(engine, 0) || kvfi_batch_copies(batch))
            moved_ns = now;
        else if (now - moved_ns > (drives ? DRIVE_NS : SPIN_NS))
            wait_a_little(batch, end_ns, drives);
        else
            kvfi_relax();
        now = kvfi_now_ns();
    }
    if (drives)
        kvfi_progress_hand_back(engine);
    status = has_ended(batch) ? final_status(batch) : KVF_INPROGRESS;
leave:
    kvfi_leave(engine);
    return status;
}

kvf_status_t kvf_batch_cancel(kvf_batch_t *batch)
{
    kvf_status_t  status = kvfi_enter(batch, KVFI_BATCH);
    kvf_engine_t *engine;

    if (status != KVF_OK)
        return status;
    engine = batch->object.engine;
    kvfi_batch_abort(batch, KVF_ERR_CANCELED);
    pthread_mutex_lock(&batch->lock);
    status = final_status(batch);
    pthread_mutex_unlock(&batch->lock);
    kvfi_leave(engine);
    return status;
}

/* ------------------------------------------------------------------ results */

static kvf_status_t ask_op(kvf_batch_t *batch, size_t index,
                           kvf_status_t (*ask)(kvf_batch_t *, kvfi_xfer_t *))
{
    kvf_status_t  status = kvfi_enter(batch, KVFI_BATCH);
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
    kvf_status_t  status = kvfi_enter(batch, KVFI_BATCH);
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

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Post: read the caller's ops and options, check all of them, prepare their paths, then start the batch,
 * whole or not at all. Small local batches end inside post.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "copy/tune.h"
#include "engine/batch.h"
#include "engine/check.h"
#include "engine/choose.h"
#include "engine/end.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/held.h"
#include "engine/notify.h"
#include "engine/object.h"
#include "engine/op.h"
#include "engine/peer.h"
#include "engine/prepare.h"
#include "engine/queue.h"
#include "engine/round.h"
#include "engine/running.h"
#include "engine/served.h"

#define INLINE_BYTES (UINT64_C(1) << 20) /* local batches up to this size end inside post */

static kvf_status_t grow(kvf_batch_t *batch, size_t count)
{
    kvfi_batch_op_t *ops;
    kvfi_xfer_t *xfers, **am_xfers;

    if (count <= batch->cap)
        return KVF_OK;
    if (count > SIZE_MAX / sizeof *xfers)
        return kvfi_fail(KVF_ERR_INVALID, "count is %zu", count);
    ops = realloc(batch->ops, count * sizeof *ops);
    batch->ops = ops ? ops : batch->ops;
    xfers = realloc(batch->xfers, count * sizeof *xfers);
    batch->xfers = xfers ? xfers : batch->xfers;
    am_xfers = realloc(batch->am_xfers, count * sizeof *am_xfers);
    batch->am_xfers = am_xfers ? am_xfers : batch->am_xfers;
    if (!ops || !xfers || !am_xfers)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a batch of %zu ops", count);
    memset(xfers + batch->cap, 0, (count - batch->cap) * sizeof *xfers);
    batch->cap = count;
    return KVF_OK;
}

/* The caller's options, as ours: in place, or in copy_p if they are of another size. */
static kvf_status_t read_opts(const kvf_batch_opts_t **opts_p, kvf_batch_opts_t *copy_p)
{
    const kvf_batch_opts_t *opts = *opts_p;

    if (!opts || opts->struct_size == sizeof *opts)
        return KVF_OK;
    *opts_p = copy_p;
    return kvf_struct_read("opts", opts, sizeof *copy_p, copy_p);
}

static kvf_status_t check_opts(kvf_engine_t *engine, const kvf_batch_opts_t *opts)
{
    if (opts->flags & ~(KVF_BATCH_INLINE | KVF_BATCH_NOTIFY_ALWAYS))
        return kvfi_fail(KVF_ERR_INVALID, "opts.flags is 0x%x: there are no such flags", opts->flags);
    if (opts->paths & ~kvfi_path_bits)
        return kvfi_fail(KVF_ERR_INVALID, "opts.paths is 0x%x: there are no such paths", opts->paths);
    if (opts->after_event)
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "opts.after_event: this release waits for no device event");
    if (opts->reserved32)
        return kvfi_fail(KVF_ERR_INVALID, "opts.reserved32 is not 0");
    for (int i = 0; i < 2; i++)
        if (opts->reserved[i])
            return kvfi_fail(KVF_ERR_INVALID, "opts.reserved[%d] is not 0", i);
    if (opts->queue && (!kvfi_is(opts->queue, KVFI_QUEUE) || opts->queue->object.engine != engine))
        return kvfi_fail(KVF_ERR_INVALID, "opts.queue is closed or belongs to another engine");
    if (!opts->notify_peer)
        return KVF_OK;
    if (!kvfi_is(opts->notify_peer, KVFI_PEER) || opts->notify_peer->object.engine != engine)
        return kvfi_fail(KVF_ERR_INVALID, "opts.notify_peer is closed or belongs to another engine");
    if (opts->notify_len > KVF_NOTIFY_MAX)
        return kvfi_fail(KVF_ERR_INVALID, "opts.notify_len is %u, at most %d", opts->notify_len,
                         KVF_NOTIFY_MAX);
    if (opts->notify_len && !opts->notify)
        return kvfi_fail(KVF_ERR_INVALID, "opts.notify is NULL");
    return KVF_OK;
}

static void let_go_peer(kvf_peer_t *peer)
{
    if (peer)
        atomic_fetch_sub(&peer->notes, 1);
}

/* The peer that is to be told stays until its note has ended. */
static kvf_status_t hold_peer(kvf_peer_t *peer)
{
    kvf_status_t status = KVF_OK;

    if (!peer)
        return KVF_OK;
    atomic_fetch_add(&peer->notes, 1);
    if (!kvfi_is(peer, KVFI_PEER))
        status = kvfi_fail(KVF_ERR_INVALID, "opts.notify_peer is closed");
    else if (!kvfi_peer_alive(peer, UINT64_C(1000000000)))
        status = kvfi_fail(KVF_ERR_PEER, "opts.notify_peer, %s, %s", peer->name, kvfi_peer_end(peer));
    if (status != KVF_OK)
        let_go_peer(peer);
    return status;
}

/* What the batch will need at its end. */
static kvf_status_t hold(const kvf_batch_opts_t *opts)
{
    kvf_status_t status = opts ? hold_peer(opts->notify_peer) : KVF_OK;

    if (status == KVF_OK && opts && opts->queue) {
        status = kvfi_queue_hold(opts->queue);
        if (status != KVF_OK)
            let_go_peer(opts->notify_peer);
    }
    return status;
}

static void let_go(const kvf_batch_opts_t *opts)
{
    if (opts)
        let_go_peer(opts->notify_peer);
    if (opts && opts->queue)
        kvfi_queue_let_go(opts->queue);
}

static kvf_status_t check_all(kvf_batch_t *batch, const void *ops, size_t count, size_t op_size,
                              const kvf_batch_opts_t *opts)
{
    kvfi_check_t check = {.engine = batch->object.engine, .mask = opts ? opts->paths : 0};
    kvf_status_t status = KVF_OK;
    size_t i;
    kvf_op_t copy;

    for (i = 0; i < count; i++) {
        const kvf_op_t *op = kvfi_op_read((const char *)ops + i * op_size, op_size, i, &copy);
        int holds;

        status = op ? kvfi_check_op(&check, op, i, &batch->xfers[i], &holds) : KVF_ERR_UNSUPPORTED;
        if (status != KVF_OK)
            break;
        batch->ops[i] = (kvfi_batch_op_t){op->segment, op->remote, op->block_status, holds, 0, 0};
        batch->xfers[i].pending = &batch->am_pending;
    }
    if (status == KVF_OK && check.choices)
        check.prepares |= kvfi_choose(check.engine, batch->ops, batch->xfers, count, opts ? opts->flags : 0);
    if (status == KVF_OK && check.engine->check)
        status = kvfi_check_overlap(batch->xfers, count);
    if (status == KVF_OK && check.prepares)
        status = kvfi_prepare(check.engine, batch->ops, batch->xfers, count);
    if (status != KVF_OK)
        kvfi_end_let_go(batch, i);
    return status;
}

static void take_note(kvf_batch_t *batch, const kvf_batch_opts_t *opts)
{
    kvfi_out_note_t *note = &batch->note;

    batch->has_note = batch->note_due = opts && opts->notify_peer;
    if (!batch->has_note)
        return;
    batch->note_always = (opts->flags & KVF_BATCH_NOTIFY_ALWAYS) != 0;
    note->peer = opts->notify_peer;
    note->told = KVF_OK;
    note->len = opts->notify_len;
    note->channel = opts->channel;
    if (opts->notify_len)
        memcpy(note->data, opts->notify, opts->notify_len);
    kvfi_note_line_up(note);
}

/* Loads and stores alone, and few: such a batch needs no deadline, and spares a look at the clock. */
static int ends_in_post(const kvf_batch_t *batch, size_t mapped, uint64_t local_bytes)
{
    return mapped == batch->count && local_bytes <= INLINE_BYTES && !batch->has_note;
}

/* Everything was checked: from here the batch runs. Returns the bytes that local paths move. */
static uint64_t begin(kvf_batch_t *batch, size_t count, const kvf_batch_opts_t *opts)
{
    kvf_engine_t *engine = batch->object.engine;
    uint64_t deadline = opts && opts->deadline_ns ? opts->deadline_ns : engine->deadline_ns;
    uint64_t bytes = 0;
    size_t mapped = 0;

    batch->count = count;
    batch->am_count = batch->next_local = batch->spare_count = 0;
    atomic_store_explicit(&batch->patience_ns, UINT64_MAX, memory_order_relaxed);
    batch->sharers = engine->copiers ? 1 + engine->copy_threads : 1;
    batch->run++;
    atomic_store_explicit(&batch->stop, 0, memory_order_relaxed);
    batch->noting = batch->given_up = 0;
    batch->held = KVFI_NOT_HELD;
    batch->tag = opts ? opts->tag : 0;
    batch->queue = opts ? opts->queue : NULL;
    batch->sleeper = batch->queue ? &batch->queue->sleeper : NULL;
    batch->deadline_ns = deadline;
    batch->result = (kvf_batch_result_t){.bad_op = UINT64_MAX, .notify = KVF_SKIPPED};
    for (size_t i = 0; i < count; i++) {
        const kvfi_xfer_t *xfer = &batch->xfers[i];

        if (batch->ops[i].block_status)
            memset(batch->ops[i].block_status, KVF_INPROGRESS, xfer->box.blocks);
        if (kvfi_xfer_is_local(xfer))
            bytes += xfer->stream;
        else
            batch->am_xfers[batch->am_count++] = &batch->xfers[i];
        mapped += (xfer->path->traits & KVFI_PATH_MAPPED) != 0;
    }
    for (size_t i = 0; bytes >= kvfi_tune()->probe_from && i < count; i++)
        batch->xfers[i].whole = bytes;
    atomic_store_explicit(&batch->am_pending, (uint32_t)batch->am_count, memory_order_relaxed);
    atomic_store_explicit(&batch->claimable, batch->am_count < count, memory_order_relaxed);
    batch->left = bytes;
    if (bytes <= INLINE_BYTES)
        batch->sharers = 1;
    take_note(batch, opts);
    deadline = deadline == KVF_FOREVER || ends_in_post(batch, mapped, bytes)
                   ? UINT64_MAX
                   : kvfi_deadline(kvfi_now_ns(), deadline);
    atomic_store_explicit(&batch->end_ns, deadline, memory_order_relaxed);
    atomic_store_explicit(&batch->running, 1, memory_order_release);
    return bytes;
}

/* The engine drives the batch only once the copies of a small one are done: a sweep would wait for
 * them. */
static void run(kvf_batch_t *batch, uint64_t local_bytes)
{
    int ended;

    kvfi_served_start(batch);
    if (local_bytes <= INLINE_BYTES)
        kvfi_batch_copy_locked(batch);
    ended = kvfi_batch_advance_locked(batch);
    if (!ended) {
        kvfi_running_add(batch);
        kvfi_batch_advance_locked(batch); /* a far op may have ended before anybody saw it here */
        if (batch->object.engine->copiers && kvfi_batch_copies(batch) && !batch->in_round)
            kvfi_round_add(batch);
    }
    if (!ended || batch->am_count)
        kvfi_event_posted(batch->object.engine, batch->sleeper);
}

__attribute__((hot)) kvf_status_t kvf_batch_post(kvf_batch_t *batch, const kvf_op_t *ops, size_t count,
                                                 size_t op_size, const kvf_batch_opts_t *opts)
{
    kvf_status_t status = kvfi_enter(batch, KVFI_BATCH);
    kvf_batch_opts_t copy;
    kvf_engine_t *engine;
    uint64_t bytes;
    int copy_all = 0;

    if (status != KVF_OK)
        return status;
    engine = batch->object.engine;
    pthread_mutex_lock(&batch->lock);
    if (atomic_load(&batch->running))
        status = kvfi_fail(KVF_ERR_BUSY, "the batch is running");
    else if (atomic_load(&batch->queued))
        status = kvfi_fail(KVF_ERR_BUSY, "the batch has ended, and its queue was not asked for it yet");
    else if (count && !ops)
        status = kvfi_fail(KVF_ERR_INVALID, "ops is NULL");
    else if (count)
        status = kvfi_op_check_size(op_size);
    if (status == KVF_OK)
        status = read_opts(&opts, &copy);
    if (status == KVF_OK && opts)
        status = check_opts(engine, opts);
    if (status == KVF_OK)
        status = grow(batch, count);
    if (status != KVF_OK)
        goto unlock;
    status = hold(opts);
    if (status != KVF_OK)
        goto unlock;
    status = check_all(batch, ops, count, op_size, opts);
    if (status != KVF_OK) {
        let_go(opts);
    } else {
        bytes = begin(batch, count, opts);
        if (!atomic_load_explicit(&engine->open_writes.count, memory_order_relaxed) ||
            !kvfi_held_back(batch, opts && opts->deadline_ns ? opts->deadline_ns : engine->deadline_ns))
            run(batch, bytes);
        copy_all = opts && opts->flags & KVF_BATCH_INLINE && kvfi_batch_copies(batch);
        if (copy_all) /* it may end, and be freed, elsewhere */
            atomic_fetch_add(&batch->refs, 1);
    }
unlock:
    pthread_mutex_unlock(&batch->lock);
    if (copy_all) {
        kvfi_batch_copy_all(batch);
        kvfi_batch_put(batch);
    }
    kvfi_leave(engine);
    return status;
}

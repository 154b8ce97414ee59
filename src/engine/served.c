/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Ops whose other half the owner's progress does, on am and stage: how a batch starts them, how an op
 * on cma that the kernel refuses in the middle of its life goes on over stage, and how one that went
 * packed by choice and came to nothing goes direct after all. Nothing waits here; the am machine ends
 * such ops.
 *
 * Only ops of which no byte has moved go back, so that nothing of them comes late: a neighbour may still
 * be scattering a chunk of a WRITE that was given up.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/internal.h"

#define PATIENCE_NS UINT64_C(1000000000) /* for a neighbour that says nothing; half of a short deadline */

static void arm_patience(kvf_batch_t *batch)
{
    uint64_t now = kvfi_now_ns(), wait = PATIENCE_NS;
    uint64_t end = atomic_load_explicit(&batch->end_ns, memory_order_relaxed);

    if (end != UINT64_MAX && end < now + 2 * PATIENCE_NS)
        wait = end > now ? (end - now) / 2 : 0;
    atomic_store_explicit(&batch->patience_ns, now + wait, memory_order_relaxed);
}

/* The am machine keeps the local side of a box alone. Without memory such an op just fails. */
static void keep_spares(kvf_batch_t *batch)
{
    uint64_t now = 0;

    for (size_t i = 0; i < batch->am_count; i++) {
        const kvfi_xfer_t *xfer = batch->am_xfers[i];
        kvfi_spare_t      *spares = batch->spares;

        if (!xfer->chosen)
            continue;
        if (batch->spare_cap < batch->am_count) {
            spares = realloc(spares, batch->am_count * sizeof *spares);
            if (!spares)
                return;
            batch->spares = spares;
            batch->spare_cap = batch->am_count;
        }
        now = now ? now : kvfi_now_ns();
        spares[batch->spare_count++] = (kvfi_spare_t){(size_t)(xfer - batch->xfers),
                                                      kvfi_am_heard(xfer->peer), now, xfer->box};
    }
    if (batch->spare_count)
        arm_patience(batch);
}

__attribute__((hot))
void kvfi_served_start(kvf_batch_t *batch)
{
    kvf_engine_t *engine = batch->object.engine;
    kvfi_am_t    *am = atomic_load(&engine->am);

    if (!batch->am_count)
        return;
    if (engine->pack == KVF_PACK_AUTO && engine->stage)
        keep_spares(batch);
    if (am)
        kvfi_am_start(am, batch->am_xfers, batch->am_count);
    if (engine->stage)
        kvfi_am_start(engine->stage, batch->am_xfers, batch->am_count);
}

kvf_status_t kvfi_served_connect(kvf_remote_t *remote, uint32_t dir, kvfi_am_peer_t **peer_p)
{
    kvf_peer_t   *peer = remote->peer;
    kvf_engine_t *engine = peer->object.engine;
    const char   *why = atomic_load(&peer->cma.why[dir]);

    if (why && !atomic_flag_test_and_set(&engine->told_of_stage))
        kvfi_log(KVFI_LOG_WARN, "the memory of rank %llu (pid %d) is its own, and all of it goes "
                 "over stage, not over cma: %s; memory that kvferry allocates needs none of it",
                 (unsigned long long)peer->rank, peer->proc.pid, why);
    return kvfi_peer_stage(peer, peer_p);
}

/* As it was before its first slice; the owner reads and writes all of it again. */
static void rewind_xfer(kvfi_xfer_t *xfer)
{
    xfer->cursor = kvfi_cursor_at_start(&xfer->box);
    xfer->moved = (kvfi_moved_t){0};
    xfer->calls = 0;
    xfer->checked = 0;
    xfer->bad_count = 0;
    atomic_store(&xfer->status, KVF_INPROGRESS);
}

void kvfi_served_take(kvf_batch_t *batch, size_t index)
{
    kvf_engine_t *engine = batch->object.engine;
    kvfi_xfer_t  *xfer = &batch->xfers[index];
    kvf_status_t  status = kvfi_served_connect(batch->ops[index].remote, xfer->dir, &xfer->peer);
    char          reason[240];
    int           first;

    rewind_xfer(xfer);
    if (status != KVF_OK) { /* nothing of it is with the am machine */
        snprintf(reason, sizeof reason, "%s", kvf_last_error());
        first = index < batch->result.bad_op;
        atomic_store(&xfer->status, status);
        kvfi_batch_finish_op(batch, index);
        if (first)
            kvfi_sentence_add(batch, reason);
        return;
    }
    xfer->path = KVF_PATH_STAGE;
    atomic_fetch_add(&batch->am_pending, 1);
    batch->am_xfers[batch->am_count++] = xfer;
    kvfi_am_start(engine->stage, &batch->am_xfers[batch->am_count - 1], 1);
    kvfi_progress_posted(engine);
}

/* ------------------------------------------------------------ what it tells of a neighbour */

/* Spares are in the order of their ops. */
static const kvfi_spare_t *spare_of(const kvf_batch_t *batch, size_t op)
{
    size_t below = 0, end = batch->spare_count;

    while (below < end) {
        size_t middle = below + (end - below) / 2;

        if (batch->spares[middle].op < op)
            below = middle + 1;
        else
            end = middle;
    }
    return below < batch->spare_count && batch->spares[below].op == op ? &batch->spares[below] : NULL;
}

/* Has the neighbour let ops wait for a time of ours without a word, all waits since its last one together? A
 * caller's deadline may be shorter than any answer. */
static int is_silent(kvf_peer_t *peer, const kvfi_xfer_t *xfer, const kvfi_spare_t *spare)
{
    uint64_t now = kvfi_now_ns(), from = atomic_load(&peer->silent_to_ns), waited;
    uint32_t heard = kvfi_am_heard(xfer->peer);

    if (!spare || heard != spare->heard)
        return 0;
    from = from > spare->since_ns ? from : spare->since_ns; /* ops that wait side by side wait once */
    waited = atomic_load(&peer->silent_heard) == heard ? atomic_load(&peer->silent_ns) : 0;
    waited += now > from ? now - from : 0;
    atomic_store(&peer->silent_heard, heard);
    atomic_store(&peer->silent_to_ns, now);
    atomic_store(&peer->silent_ns, waited);
    return waited >= PATIENCE_NS;
}

void kvfi_served_judge(kvf_batch_t *batch, size_t op, kvf_status_t status)
{
    kvf_peer_t        *peer = batch->ops[op].remote->peer;
    const kvfi_xfer_t *xfer = &batch->xfers[op];

    if (status == KVF_OK)
        kvfi_choose_succeeded(peer);
    else if (status != KVF_ERR_TIMEOUT || is_silent(peer, xfer, spare_of(batch, op)))
        kvfi_choose_failed(peer, status);
}

/* Those whose neighbour has said nothing since it was asked end; 1 if it was time to look. */
static int give_up(kvf_batch_t *batch)
{
    uint64_t now = kvfi_now_ns();

    if (now < atomic_load_explicit(&batch->patience_ns, memory_order_relaxed))
        return 0;
    for (size_t i = 0; i < batch->spare_count; i++) {
        kvfi_spare_t *spare = &batch->spares[i];
        kvfi_xfer_t  *xfer = &batch->xfers[spare->op];
        uint32_t      heard = xfer->chosen ? kvfi_am_heard(xfer->peer) : spare->heard;

        if (xfer->chosen && heard == spare->heard)
            kvfi_am_cancel_unmoved(xfer, KVF_ERR_TIMEOUT);
        spare->since_ns = heard == spare->heard ? spare->since_ns : now;
        spare->heard = heard;
    }
    arm_patience(batch);
    return 1;
}

static void go_direct(kvf_batch_t *batch, const kvfi_spare_t *spare)
{
    kvfi_xfer_t *xfer = &batch->xfers[spare->op];

    kvfi_served_judge(batch, spare->op, (kvf_status_t)atomic_load(&xfer->status));
    xfer->box = spare->box;
    xfer->path = KVF_PATH_CMA;
    xfer->chosen = 0;
    xfer->sent = 0;
    rewind_xfer(xfer);
    batch->left += xfer->stream;
    if (spare->op < batch->next_local)
        batch->next_local = spare->op;
}

void kvfi_batch_call_copiers(kvf_batch_t *batch)
{
    kvf_engine_t *engine = batch->object.engine;

    batch->sharers = engine->copiers ? 1 + engine->copy_threads : 1;
    atomic_store(&batch->claimable, 1);
    if (!batch->listed)
        return; /* post is not through with it */
    if (engine->copiers)
        kvfi_copiers_add(batch);
    pthread_cond_broadcast(&batch->cond);
    kvfi_progress_posted(engine);
}

int kvfi_served_back(kvf_batch_t *batch)
{
    int pending = atomic_load(&batch->am_pending) != 0, any = 0;

    if (pending && !give_up(batch))
        return 0;
    for (size_t i = 0; i < batch->spare_count; i++) {
        const kvfi_spare_t *spare = &batch->spares[i];
        const kvfi_xfer_t  *xfer = &batch->xfers[spare->op];

        if (!xfer->chosen || !kvfi_choose_is_stages((kvf_status_t)atomic_load(&xfer->status)) ||
            kvfi_xfer_has_moved(xfer))
            continue;
        go_direct(batch, spare);
        any = 1;
    }
    if (!pending) {
        batch->spare_count = 0;
        atomic_store_explicit(&batch->patience_ns, UINT64_MAX, memory_order_relaxed);
    }
    if (any)
        kvfi_batch_call_copiers(batch);
    return any;
}

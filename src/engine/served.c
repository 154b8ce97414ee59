/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Ops on paths that are started, and ended by a machine: how a batch starts them, how an op that its path
 * refuses in the middle of its life goes on over another one, and how one that went packed by choice and
 * came to nothing goes direct after all. Nothing waits here.
 *
 * Only ops of which no byte has moved go back, so that nothing of them comes late: a neighbour may still
 * be scattering a chunk of a WRITE that was given up.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/batch.h"
#include "engine/doubt.h"
#include "engine/end.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/peer.h"
#include "engine/remote.h"
#include "engine/round.h"
#include "engine/sentence.h"
#include "engine/served.h"

static void arm_patience(kvf_batch_t *batch)
{
    uint64_t now = kvfi_now_ns(), wait = KVFI_PATIENCE_NS;
    uint64_t end = atomic_load_explicit(&batch->end_ns, memory_order_relaxed);

    if (end != UINT64_MAX && end < now + 2 * KVFI_PATIENCE_NS)
        wait = end > now ? (end - now) / 2 : 0;
    atomic_store_explicit(&batch->patience_ns, now + wait, memory_order_relaxed);
}

/* The am machine keeps the local side of a box alone. Without memory such an op just fails. */
static void keep_spares(kvf_batch_t *batch)
{
    uint64_t now = 0;

    for (size_t i = 0; i < batch->am_count; i++) {
        const kvfi_xfer_t *xfer = batch->am_xfers[i];
        kvfi_spare_t *spares = batch->spares;

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
        spares[batch->spare_count++] =
            (kvfi_spare_t){(size_t)(xfer - batch->xfers), kvfi_am_heard(xfer->peer), now, xfer->box};
    }
    if (batch->spare_count)
        arm_patience(batch);
}

__attribute__((hot)) void kvfi_served_start(kvf_batch_t *batch)
{
    if (!batch->am_count)
        return;
    if (batch->object.engine->pack == KVF_PACK_AUTO)
        keep_spares(batch);
    for (size_t i = 0; i < batch->am_count;)
        i += batch->am_xfers[i]->path->start(&batch->am_xfers[i], batch->am_count - i);
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
    kvfi_xfer_t *xfer = &batch->xfers[index];
    kvf_status_t status;
    char reason[240];
    int first;

    rewind_xfer(xfer);
    status = xfer->instead->prepare(xfer);
    if (status != KVF_OK) { /* nothing of it is with the am machine */
        snprintf(reason, sizeof reason, "%s", kvf_last_error());
        first = index < batch->result.bad_op;
        atomic_store(&xfer->status, status);
        kvfi_end_op(batch, index);
        if (first)
            kvfi_sentence_add(batch, reason);
        return;
    }
    xfer->path = xfer->instead;
    xfer->instead = NULL;
    atomic_fetch_add(&batch->am_pending, 1);
    batch->am_xfers[batch->am_count++] = xfer;
    xfer->path->start(&batch->am_xfers[batch->am_count - 1], 1);
    kvfi_event_posted(batch->object.engine, batch->sleeper);
}

/* ----------------------------------------------------------- going back to cma */

/* Those whose neighbour has said nothing since it was asked end; 1 if it was time to look. */
static int give_up(kvf_batch_t *batch)
{
    uint64_t now = kvfi_now_ns();

    if (now < atomic_load_explicit(&batch->patience_ns, memory_order_relaxed))
        return 0;
    for (size_t i = 0; i < batch->spare_count; i++) {
        kvfi_spare_t *spare = &batch->spares[i];
        kvfi_xfer_t *xfer = &batch->xfers[spare->op];
        uint32_t heard = xfer->chosen ? kvfi_am_heard(xfer->peer) : spare->heard;

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

    kvfi_doubt_judge(batch, spare->op, (kvf_status_t)atomic_load(&xfer->status));
    xfer->box = spare->box;
    xfer->path = xfer->instead;
    xfer->instead = NULL;
    xfer->chosen = 0;
    xfer->sent = 0;
    rewind_xfer(xfer);
    batch->left += xfer->stream;
    if (spare->op < batch->next_local)
        batch->next_local = spare->op;
}

int kvfi_served_back(kvf_batch_t *batch)
{
    int pending = atomic_load(&batch->am_pending) != 0, any = 0;

    if (pending && !give_up(batch))
        return 0;
    for (size_t i = 0; i < batch->spare_count; i++) {
        const kvfi_spare_t *spare = &batch->spares[i];
        const kvfi_xfer_t *xfer = &batch->xfers[spare->op];

        if (!xfer->chosen || !kvfi_doubt_is_stages((kvf_status_t)atomic_load(&xfer->status)) ||
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
        kvfi_round_call(batch);
    return any;
}

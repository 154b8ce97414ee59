/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Batches and WRITEs that were given up. Bytes of such a WRITE may land for as long as its owner has not
 * answered, so a batch that is given up stays running until then, for a moment at most, and a batch of
 * which an op overlaps what may still land is held: nothing of it starts before, on any path, though on
 * the same connection the order of messages would do. A held batch ends by its own deadline, by a cancel
 * or with its engine as others do. Nothing here waits.
 */
#include "base/clock.h"
#include "engine/batch.h"
#include "engine/end.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/held.h"
#include "engine/peer.h"
#include "engine/remote.h"
#include "engine/round.h"
#include "engine/running.h"
#include "engine/served.h"

#define GRACE_NS UINT64_C(100000000) /* for an owner to answer */

/* ------------------------------------------------------------------ giving up */

/* The ops end here; what is copied has ended already. Only if the engine closes is nobody waited for: the
 * close itself does that, for all batches at once. */
static void give_up(kvf_batch_t *batch)
{
    kvf_status_t status = (kvf_status_t)atomic_load(&batch->stop);
    uint64_t grace = atomic_load(&batch->object.engine->closing) ? 0 : GRACE_NS;

    atomic_store(&batch->unsettled, 0);
    for (size_t i = 0; i < batch->count; i++) {
        kvfi_xfer_t *xfer = &batch->xfers[i];
        int now = atomic_load(&xfer->status);

        if (!kvfi_xfer_is_local(xfer))
            xfer->path->cancel(xfer, status, &batch->unsettled);
        else if (now == KVF_INPROGRESS || now == (int)KVFI_INSTEAD)
            atomic_store(&xfer->status, status);
        kvfi_end_op(batch, i);
    }
    batch->given_up = 1;
    batch->held = batch->held ? KVFI_ENDED_HELD : KVFI_NOT_HELD;
    atomic_store_explicit(&batch->end_ns, kvfi_now_ns() + grace, memory_order_relaxed);
}

static kvfi_driver_t *driver_of(const kvf_batch_t *batch, const kvfi_xfer_t *xfer)
{
    return kvfi_driver(batch->object.engine, xfer->path->driver);
}

static void stop_waiting(kvf_batch_t *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const kvfi_xfer_t *xfer = &batch->xfers[i];

        if (xfer->unsettled)
            driver_of(batch, xfer)->ops->stop_waiting(driver_of(batch, xfer), xfer->unsettled);
    }
}

int kvfi_held_given_up(kvf_batch_t *batch)
{
    if (!batch->given_up)
        give_up(batch);
    if (atomic_load(&batch->unsettled)) {
        if (kvfi_now_ns() < atomic_load_explicit(&batch->end_ns, memory_order_relaxed))
            return 0;
        stop_waiting(batch);
    }
    for (size_t i = 0; i < batch->am_count; i++)
        batch->result.unsettled += !kvfi_held_is_settled(batch, batch->am_xfers[i]);
    return 1;
}

int kvfi_held_is_settled(kvf_batch_t *batch, const kvfi_xfer_t *xfer)
{
    return !xfer->unsettled || !atomic_load(&batch->object.engine->open_writes.count) ||
           driver_of(batch, xfer)->ops->is_settled(driver_of(batch, xfer), xfer->unsettled);
}

/* ------------------------------------------------------------------ held back */

/* Does an op touch bytes that may still be written? The first that does is noted. */
static int touches(kvf_batch_t *batch)
{
    kvf_engine_t *engine = batch->object.engine;

    for (size_t i = 0; i < batch->count; i++)
        if (kvfi_open_writes_touch(&engine->open_writes, &batch->xfers[i])) {
            batch->held_op = i;
            return 1;
        }
    return 0;
}

/* It counts as one more of the ops that others end. */
int kvfi_held_back(kvf_batch_t *batch, uint64_t deadline_ns)
{
    uint32_t settled = atomic_load(&batch->object.engine->open_writes.settled);

    if (!touches(batch))
        return 0;
    batch->held = KVFI_HELD;
    batch->held_settled = settled;
    atomic_fetch_add(&batch->am_pending, 1);
    atomic_store(&batch->claimable, 0);
    if (deadline_ns != KVF_FOREVER)
        atomic_store_explicit(&batch->end_ns, kvfi_deadline(kvfi_now_ns(), deadline_ns),
                              memory_order_relaxed);
    kvfi_running_add(batch);
    kvfi_event_posted(batch->object.engine, batch->sleeper);
    return 1;
}

int kvfi_held_in_vain(const kvf_batch_t *batch)
{
    if (batch->held != KVFI_HELD)
        return 0;
    for (size_t i = 0; i < batch->count; i++) {
        const kvf_peer_t *peer = batch->ops[i].remote->peer;

        if (peer->am && !kvfi_am_alive(peer->am))
            return 1;
    }
    return 0;
}

int kvfi_held_release(kvf_batch_t *batch)
{
    uint32_t settled = atomic_load(&batch->object.engine->open_writes.settled);

    if (batch->held != KVFI_HELD || settled == batch->held_settled)
        return 0;
    batch->held_settled = settled;
    /* most often it is the same op as before */
    if (kvfi_open_writes_touch(&batch->object.engine->open_writes, &batch->xfers[batch->held_op]) ||
        touches(batch))
        return 0;
    batch->held = KVFI_NOT_HELD;
    kvfi_served_start(batch);
    if (batch->am_count < batch->count)
        kvfi_round_call(batch);
    else
        kvfi_event_posted(batch->object.engine, batch->sleeper);
    atomic_fetch_sub(&batch->am_pending, 1);
    return 1;
}

/* ------------------------------------------------------------------ close */

unsigned kvfi_held_unanswered(kvf_engine_t *engine, unsigned *lost_p)
{
    unsigned asked = 0;

    *lost_p = 0;
    if (!atomic_load(&engine->open_writes.count))
        return 0;
    for (unsigned i = 0; i < KVFI_DRIVERS; i++) {
        kvfi_driver_t *driver = kvfi_driver(engine, i);

        if (driver)
            driver->ops->unanswered(driver, &asked, lost_p);
    }
    return asked;
}

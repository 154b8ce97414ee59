/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Ops whose other half the owner's progress does, on am and stage: how a batch starts them, and how
 * an op on cma that the kernel refuses in the middle of its life goes on over stage. Nothing waits
 * here; the am machine ends such ops.
 */
#include "engine/internal.h"

__attribute__((hot))
void kvfi_served_start(kvf_batch_t *batch)
{
    kvf_engine_t *engine = batch->object.engine;
    kvfi_am_t    *am = atomic_load(&engine->am);

    if (batch->am_count && am)
        kvfi_am_start(am, batch->am_xfers, batch->am_count);
    if (batch->am_count && engine->stage)
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

    rewind_xfer(xfer);
    if (status != KVF_OK) { /* nothing of it is with the am machine */
        atomic_store(&xfer->status, status);
        kvfi_batch_finish_op(batch, index);
        return;
    }
    xfer->path = KVF_PATH_STAGE;
    atomic_fetch_add(&batch->am_pending, 1);
    batch->am_xfers[batch->am_count++] = xfer;
    kvfi_am_start(engine->stage, &batch->am_xfers[batch->am_count - 1], 1);
    kvfi_progress_posted(engine);
}

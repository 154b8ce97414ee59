/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Between the check of a batch and its start: what its paths need is made for all ops, before a byte of any
 * moves. The check decided on paths without a side effect, so that a post that is refused for its last op
 * has connected to nobody. What cannot be made ends the post, in a sentence that names the op. Ops in a row
 * with the same path, peer and direction are prepared once. Nothing here waits.
 */
#include "base/status.h"
#include "engine/doubt.h"
#include "engine/engine.h"
#include "engine/peer.h"
#include "engine/prepare.h"
#include "engine/remote.h"

/* Of the op before. */
typedef struct kvfi_prepared {
    const kvfi_path_t *path; /* NULL: none yet */
    kvf_peer_t *peer;
    uint32_t dir;
    kvf_status_t status;
    kvfi_am_peer_t *to;
} kvfi_prepared_t;

static void prepare(kvfi_prepared_t *last, kvf_peer_t *peer, kvfi_xfer_t *xfer)
{
    if (last->path != xfer->path || last->peer != peer || last->dir != xfer->dir) {
        *last = (kvfi_prepared_t){.path = xfer->path, .peer = peer, .dir = xfer->dir};
        last->status = xfer->path->prepare(xfer);
        last->to = xfer->peer;
    }
    xfer->peer = last->to;
}

/* As it stood before it was to go packed. */
static void go_direct(kvfi_xfer_t *xfer)
{
    const kvfi_path_t *packed = xfer->path;

    xfer->path = xfer->instead;
    xfer->instead = packed;
    xfer->chosen = 0;
}

kvf_status_t kvfi_prepare(kvf_engine_t *engine, const kvfi_batch_op_t *ops, kvfi_xfer_t *xfers, size_t count)
{
    kvfi_prepared_t last = {.path = NULL};

    for (size_t i = 0; i < count; i++) {
        kvfi_xfer_t *xfer = &xfers[i];

        if (!xfer->path->prepare)
            continue;
        prepare(&last, ops[i].remote->peer, xfer);
        if (last.status == KVF_OK)
            continue;
        if (!xfer->chosen || engine->pack != KVF_PACK_AUTO)
            return kvfi_fail_within(last.status, "op %zu", i);
        kvfi_doubt_failed(last.peer, last.status);
        go_direct(xfer);
    }
    return KVF_OK;
}

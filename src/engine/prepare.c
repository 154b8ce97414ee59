/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Between the check of a batch and its start: what its paths need is made for all ops, before a byte of any
 * moves. The check decided on paths without a side effect, so that a post that is refused for its last op
 * has connected to nobody. What cannot be made ends the post, in a sentence that names the op. Ops in a row
 * with the same neighbour and direction are prepared once. Nothing here waits.
 */
#include "base/status.h"
#include "engine/doubt.h"
#include "engine/engine.h"
#include "engine/peer.h"
#include "engine/prepare.h"
#include "engine/remote.h"

/* Of the op before. */
typedef struct kvfi_prepared {
    kvf_peer_t     *peer; /* NULL: none yet */
    uint32_t        dir;
    kvf_status_t    status;
    kvfi_am_peer_t *stage;
} kvfi_prepared_t;

static void connect(kvfi_prepared_t *last, kvf_peer_t *peer, uint32_t dir)
{
    if (last->peer == peer && last->dir == dir)
        return;
    *last = (kvfi_prepared_t){.peer = peer, .dir = dir};
    last->status = kvfi_peer_connect(peer, dir, &last->stage);
}

/* As it stood before it was put on stage. */
static void go_direct(kvfi_xfer_t *xfer)
{
    xfer->path = KVF_PATH_CMA;
    xfer->may_stage = 1;
    xfer->chosen = 0;
}

kvf_status_t kvfi_prepare(kvf_engine_t *engine, const kvfi_batch_op_t *ops, kvfi_xfer_t *xfers, size_t count)
{
    kvfi_prepared_t last = {.peer = NULL};

    for (size_t i = 0; i < count; i++) {
        kvfi_xfer_t *xfer = &xfers[i];

        if (xfer->path != KVF_PATH_STAGE)
            continue;
        connect(&last, ops[i].remote->peer, xfer->dir);
        if (last.status == KVF_OK) {
            xfer->peer = last.stage;
        } else if (xfer->chosen && engine->pack == KVF_PACK_AUTO) {
            kvfi_doubt_failed(last.peer, last.status);
            go_direct(xfer);
        } else {
            return kvfi_fail_within(last.status, "op %zu", i);
        }
    }
    return KVF_OK;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a batch failed, in one sentence: which op, with whom, over which path, why, how far it came, and which
 * block is the first without its bytes. It is put together when the op ends, while the batch still holds its
 * peer and the caller's lists, and told by each call that looks. With the batch's lock; nothing waits.
 */
#include <stdio.h>
#include <string.h>

#include "engine/batch.h"
#include "engine/peer.h"
#include "engine/remote.h"
#include "engine/sentence.h"

typedef unsigned long long ull_t;

static const char *fault(const kvfi_path_t *path)
{
    return path && path->fault ? path->fault
                               : "memory behind the grant is not mapped there, or lacks the right";
}

static const char *why(kvf_status_t status)
{
    switch (status) {
    case KVF_ERR_PEER:
        return ", since that peer has died, has closed its engine, or cannot be reached";
    case KVF_ERR_REVOKED:
        return ", since the grant was revoked";
    case KVF_ERR_CANCELED:
        return ", since the batch was cancelled";
    case KVF_ERR_CLOSED:
        return ", since the engine was closed";
    case KVF_ERR_NOMEM:
        return ", for lack of memory here or there";
    case KVF_ERR_BUSY:
        return ", since that peer holds no more requests of this process";
    default:
        return "";
    }
}

/* path is NULL for a notification. */
static void put_why(const kvf_batch_t *batch, const kvf_peer_t *peer, kvf_status_t status,
                    const kvfi_path_t *path, uint32_t dir, uint64_t stale, char *buf, size_t len)
{
    uint64_t us = batch->deadline_ns / 1000;

    if (status == KVF_ERR_TIMEOUT)
        snprintf(buf, len, ", at the deadline of %llu.%03llu ms%s", (ull_t)(us / 1000), (ull_t)(us % 1000),
                 path && path->traits & KVFI_PATH_SERVED && !peer->driven
                     ? " (no thread drives that peer's engine: it has to call kvf_progress())"
                     : "");
    else if (status == KVF_ERR_STALE)
        snprintf(buf, len, ", since %llu of its blocks hold something else by now", (ull_t)stale);
    else if (status == KVF_ERR_FAULT)
        snprintf(buf, len, ", since %s", fault(path));
    else if (status == KVF_ERR_SYSTEM && path && path->id == KVF_PATH_CMA && atomic_load(&peer->cma.why[dir]))
        snprintf(buf, len, ", since %s", atomic_load(&peer->cma.why[dir]));
    else
        snprintf(buf, len, "%s", why(status));
}

/* The first pair that did not end well; box.blocks: none. */
static uint32_t first_bad(const kvfi_xfer_t *xfer, kvf_status_t status, uint64_t *stale_p)
{
    const kvfi_box_t *box = &xfer->box;
    uint32_t first = status == KVF_ERR_STALE ? box->blocks : xfer->cursor.pair;

    *stale_p = 0;
    while (first < box->blocks && kvfi_box_skips(box, first))
        first++;
    for (uint32_t i = 0; i < xfer->bad_count; i++) {
        *stale_p += xfer->bad[i].status == KVF_ERR_STALE;
        first = xfer->bad[i].pair < first ? xfer->bad[i].pair : first;
    }
    return first;
}

void kvfi_sentence_op(kvf_batch_t *batch, size_t i, kvf_status_t status, uint64_t bytes)
{
    const kvfi_xfer_t *xfer = &batch->xfers[i];
    int read = xfer->dir == KVF_READ;
    uint64_t stale;
    uint32_t first = first_bad(xfer, status, &stale);
    char reason[420], block[120] = "";

    put_why(batch, batch->ops[i].remote->peer, status, xfer->path, xfer->dir, stale, reason, sizeof reason);
    if (batch->held)
        snprintf(block, sizeof block,
                 "; the batch was held back, since op %llu overlaps an earlier WRITE "
                 "that is not settled",
                 (ull_t)batch->held_op);
    else if (xfer->box.blocks > 1 && first < xfer->box.blocks)
        snprintf(block, sizeof block, "; the first block without its bytes is %u (remote id %u)", first,
                 kvfi_box_id(xfer->box.remote_ids, first));
    snprintf(batch->sentence, sizeof batch->sentence,
             "op %llu, a %s %s %s over %s, ended with %s%s: %llu of %llu bytes are known to have arrived%s",
             (ull_t)i, read ? "READ" : "WRITE", read ? "from" : "to", batch->ops[i].remote->peer->name,
             xfer->path->name, kvf_status_name(status), reason, (ull_t)bytes, (ull_t)xfer->stream, block);
}

void kvfi_sentence_note(kvf_batch_t *batch, kvf_status_t status)
{
    char reason[160];

    put_why(batch, batch->note.peer, status, NULL, 0, 0, reason, sizeof reason);
    snprintf(batch->sentence, sizeof batch->sentence,
             "the notification to %s could not be delivered: it ended with %s%s", batch->note.peer->name,
             kvf_status_name(status), reason);
}

void kvfi_sentence_add(kvf_batch_t *batch, const char *reason)
{
    size_t at = strlen(batch->sentence);

    if (at)
        snprintf(batch->sentence + at, sizeof batch->sentence - at, ": %s", reason);
}

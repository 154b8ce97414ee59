/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The owner's side of am: a request is checked against the grant as a whole, then served chunk by
 * chunk; the grant's epoch is looked at before each chunk.
 */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "copy/extent.h"
#include "path/am_internal.h"

static void answer(kvfi_am_peer_t *peer, uint64_t token, kvf_status_t status, const kvfi_bad_pair_t *bad,
                   uint32_t count)
{
    kvfi_am_message_t *message =
        kvfi_am_message(peer, KVFI_AM_DONE, token, (uint64_t)(int64_t)status, count * sizeof *bad);

    if (message && count)
        memcpy(message->data, bad, count * sizeof *bad);
    kvfi_am_queue(peer, message);
}

static void link_read(kvfi_am_serve_t *serve)
{
    kvfi_am_peer_t *peer = serve->peer;

    serve->next = NULL;
    serve->link = peer->reads_end;
    *peer->reads_end = serve;
    peer->reads_end = &serve->next;
}

static void unlink_read(kvfi_am_serve_t *serve)
{
    if (!serve->link)
        return;
    *serve->link = serve->next;
    if (serve->next)
        serve->next->link = serve->link;
    else
        serve->peer->reads_end = serve->link;
    serve->link = NULL;
}

void kvfi_am_serve_rotate(kvfi_am_peer_t *peer)
{
    kvfi_am_serve_t *serve = peer->reads;

    if (!serve->next)
        return;
    unlink_read(serve);
    link_read(serve);
}

void kvfi_am_serve_drop(kvfi_am_serve_t *serve)
{
    kvfi_table_take(&serve->peer->serves, serve->token);
    serve->peer->am->serving--;
    serve->peer->held -= serve->held;
    unlink_read(serve);
    free(serve->xfer.bad);
    free(serve->ids);
    free(serve);
}

void kvfi_am_serve_end(kvfi_am_serve_t *serve, kvf_status_t status)
{
    answer(serve->peer, serve->token, status, serve->xfer.bad, serve->xfer.bad_count);
    kvfi_am_serve_drop(serve);
}

/* Is the request whole, and does every piece of it lie in the grant? */
static kvf_status_t check(const kvfi_am_request_t *request, const kvfi_am_view_t *view, const uint32_t *ids,
                          uint64_t *bytes_p)
{
    kvfi_side_t side = {.off = request->off,
                        .len = request->len,
                        .block = request->block,
                        .limit = view->len,
                        .count = {request->count[0], request->count[1]},
                        .stride = {request->stride[0], request->stride[1]},
                        .blocks = request->blocks,
                        .ids = ids};
    kvfi_found_t found = {.pairs = request->blocks};

    if (!request->len || !request->count[0] || !request->count[1] || request->dir > KVF_WRITE)
        return KVF_ERR_INVALID;
    if (!(view->rights & (request->dir == KVF_READ ? KVF_RIGHT_READ : KVF_RIGHT_WRITE)))
        return KVF_ERR_PERM;
    if (!kvfi_side_is_inside(&side) && kvfi_side_check(&side, &found) != KVFI_EXTENT_OK)
        return KVF_ERR_BOUNDS;
    *bytes_p = kvfi_side_bytes(&side, found.pairs);
    return *bytes_p == UINT64_MAX ? KVF_ERR_BOUNDS : KVF_OK;
}

static void begin(kvfi_am_serve_t *serve, const kvfi_am_request_t *request)
{
    kvfi_xfer_t *xfer = &serve->xfer;
    uint32_t *ids = request->flags & KVFI_AM_HAS_IDS ? serve->ids : NULL;

    xfer->box = (kvfi_box_t){.len = request->len,
                             .count = {request->count[0], request->count[1]},
                             .blocks = request->blocks,
                             .local_stride = {request->stride[0], request->stride[1]},
                             .remote_stride = {request->stride[0], request->stride[1]},
                             .local_off = request->off,
                             .remote_off = request->off,
                             .local_block = request->block,
                             .remote_block = request->block,
                             .local_ids = ids,
                             .remote_ids = ids};
    kvfi_box_fold(&xfer->box);
    xfer->cursor = kvfi_cursor_at_start(&xfer->box);
    xfer->dir = request->dir;
    xfer->local = serve->view.base;
    if (request->flags & KVFI_AM_HAS_GENS)
        xfer->gens = serve->ids + (ids ? request->blocks : 0);
}

/* BUSY: others are held, and with this one it would be more than is held for a peer. */
static kvf_status_t hold(kvfi_am_serve_t *serve, uint64_t bytes)
{
    kvfi_am_peer_t *peer = serve->peer;

    if (peer->held && peer->held + bytes > peer->am->held_most) {
        if (!peer->am->told_of_busy++)
            kvfi_log(KVFI_LOG_WARN,
                     "rank %llu has asked for more than is held for a peer at once, %llu MiB "
                     "of requests: its op ends with KVF_ERR_BUSY",
                     (unsigned long long)peer->rank, (unsigned long long)(peer->am->held_most >> 20));
        return KVF_ERR_BUSY;
    }
    serve->held = bytes;
    peer->held += bytes;
    return KVF_OK;
}

static kvf_status_t accept(kvfi_am_serve_t *serve, const void *data, size_t len)
{
    kvfi_am_t *am = serve->peer->am;
    kvfi_am_request_t request;
    size_t lists;
    kvf_status_t status;

    if (len < sizeof request)
        return KVF_ERR_INVALID;
    memcpy(&request, data, sizeof request);
    lists = (size_t)request.blocks * sizeof(uint32_t) *
            (!!(request.flags & KVFI_AM_HAS_IDS) + !!(request.flags & KVFI_AM_HAS_GENS));
    if (len != sizeof request + lists)
        return KVF_ERR_INVALID;
    status = hold(serve, sizeof *serve + lists);
    if (status != KVF_OK)
        return status;
    serve->ids = malloc(lists + 1);
    if (!serve->ids)
        return KVF_ERR_NOMEM;
    memcpy(serve->ids, (const char *)data + sizeof request, lists);
    status = am->host.view(am->host.engine, serve->peer->incarnation, request.grant, request.epoch,
                           request.range, &serve->view);
    if (status == KVF_OK)
        status = check(&request, &serve->view, request.flags & KVFI_AM_HAS_IDS ? serve->ids : NULL,
                       &serve->xfer.stream);
    if (status == KVF_OK && (request.flags & KVFI_AM_HAS_GENS) && !serve->view.gens)
        status = KVF_ERR_INVALID;
    if (status != KVF_OK)
        return status;
    serve->grant = request.grant;
    serve->epoch = request.epoch;
    begin(serve, &request);
    return KVF_OK;
}

static int may_answer(kvfi_am_peer_t *peer)
{
    if (peer->answers <= peer->am->answers_most)
        return 1;
    kvfi_am_peer_fail(peer, "it asks on and on, and takes no answers");
    return 0;
}

void kvfi_am_serve_cancel(kvfi_am_peer_t *peer, uint64_t token, int asks)
{
    kvfi_am_serve_t *serve = kvfi_table_get(&peer->serves, token);

    if (serve)
        kvfi_am_serve_drop(serve);
    if (asks && may_answer(peer))
        answer(peer, token, KVF_ERR_CANCELED, NULL, 0);
}

void kvfi_am_serve_request(kvfi_am_peer_t *peer, uint64_t token, const void *data, size_t len)
{
    kvfi_am_serve_t *serve;
    kvf_status_t status;

    if (token && token <= peer->floor) {
        peer->am->stats.dropped++;
        return;
    }
    if (!token || kvfi_table_get(&peer->serves, token)) {
        kvfi_am_peer_fail(peer, "its request has no token, or one in use");
        return;
    }
    if (!may_answer(peer))
        return;
    serve = calloc(1, sizeof *serve);
    if (!serve || kvfi_table_put(&peer->serves, token, serve)) {
        free(serve);
        kvfi_am_peer_fail(peer, "no memory for its request");
        return;
    }
    peer->am->serving++;
    serve->peer = peer;
    serve->token = token;
    status = accept(serve, data, len);
    if (status != KVF_OK || !serve->xfer.stream) {
        kvfi_am_serve_end(serve, status);
    } else if (serve->xfer.dir == KVF_READ) {
        link_read(serve);
    }
}

/* The generations again, after the bytes were gathered. NOMEM: a stale pair could not be noted. */
static kvf_status_t compare(kvfi_am_serve_t *serve)
{
    kvfi_xfer_t *xfer = &serve->xfer;
    kvf_status_t status = KVF_OK;

    atomic_thread_fence(memory_order_acquire);
    for (; xfer->checked < xfer->cursor.pair && status == KVF_OK; xfer->checked++) {
        uint32_t id = kvfi_box_id(xfer->box.remote_ids, xfer->checked);

        if (id != KVF_SKIP &&
            (id >= serve->view.gens_count || atomic_load(&serve->view.gens[id]) != xfer->gens[xfer->checked]))
            status = kvfi_xfer_bad(xfer, xfer->checked, KVF_ERR_STALE);
    }
    return status;
}

/* The owner learns what it did to its peers: once, they may go on asking. */
static kvf_status_t told(const kvfi_am_serve_t *serve, kvf_status_t status)
{
    const kvfi_am_view_t *view = &serve->view;

    if (status == KVF_ERR_FAULT && !serve->peer->am->told_of_fault++)
        kvfi_log(KVFI_LOG_WARN,
                 "rank %llu %s memory that was granted and is not there: not all of the "
                 "%llu bytes at %p are mapped with that right; its op ends with KVF_ERR_FAULT",
                 (unsigned long long)serve->peer->rank, serve->xfer.dir == KVF_READ ? "reads" : "writes",
                 (unsigned long long)view->len, (void *)view->base);
    return status;
}

static kvf_status_t gather(kvfi_am_serve_t *serve, char *buf, uint32_t cap, kvfi_moved_t *moved_p)
{
    kvfi_cursor_t *cursor = &serve->xfer.cursor;

    if (serve->view.own)
        return told(serve,
                    kvfi_own_gather(&serve->peer->am->own, cursor, serve->view.base, buf, cap, moved_p));
    moved_p->bytes += kvfi_copy_gather(cursor, serve->view.base, buf, cap, &moved_p->pieces);
    return KVF_OK;
}

static kvf_status_t scatter(kvfi_am_serve_t *serve, const char *buf, uint32_t len, kvfi_moved_t *moved_p)
{
    kvfi_cursor_t *cursor = &serve->xfer.cursor;

    if (serve->view.own)
        return told(serve,
                    kvfi_own_scatter(&serve->peer->am->own, cursor, serve->view.base, buf, len, moved_p));
    moved_p->bytes += kvfi_copy_scatter(cursor, serve->view.base, buf, len, &moved_p->pieces);
    return KVF_OK;
}

kvf_status_t kvfi_am_serve_chunk(kvfi_am_serve_t *serve, kvfi_am_message_t *message, char *buf, uint32_t cap)
{
    kvfi_xfer_t *xfer = &serve->xfer;
    kvfi_moved_t moved = {0};
    kvf_status_t status = gather(serve, buf, cap, &moved);

    message->head.off = xfer->sent;
    message->head.len = (uint32_t)moved.bytes;
    xfer->moved.pieces += moved.pieces;
    xfer->sent += message->head.len;
    serve->peer->am->stats.served_bytes += message->head.len;
    if (xfer->gens && status == KVF_OK)
        status = compare(serve);
    if (xfer->gens && status == KVF_OK && !xfer->bad_count)
        message->head.flags |= KVFI_AM_CLEAN;
    if (status != KVF_OK || xfer->sent < xfer->stream)
        return status == KVF_OK ? KVF_INPROGRESS : status;
    return xfer->bad_count ? KVF_ERR_STALE : KVF_OK;
}

void kvfi_am_serve_data(kvfi_am_peer_t *peer, kvfi_am_serve_t *serve, const kvfi_am_head_t *head,
                        const void *data)
{
    kvfi_am_t *am = peer->am;
    kvfi_xfer_t *xfer = &serve->xfer;
    kvf_status_t status;

    if (xfer->dir != KVF_WRITE || head->off != xfer->moved.bytes ||
        head->len > xfer->stream - xfer->moved.bytes) {
        kvfi_am_peer_fail(peer, "its data does not fit its request");
        return;
    }
    if (atomic_load(&am->host.epoch[serve->grant]) != serve->epoch) {
        kvfi_am_serve_end(serve, KVF_ERR_REVOKED);
        return;
    }
    status = scatter(serve, data, head->len, &xfer->moved);
    am->stats.served_bytes += head->len;
    if (status != KVF_OK)
        kvfi_am_serve_end(serve, status);
    else if (xfer->moved.bytes == xfer->stream)
        kvfi_am_serve_end(serve, KVF_OK);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What comes in, on the wire or by mail. A malformed message drops its sender, never the engine; a late
 * one (its token ended) is dropped and counted. Nothing here calls UCX.
 */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "path/am_internal.h"

#define ADDRESS_MAX 65536u

static void on_hello(kvfi_am_t *am, kvfi_am_peer_t *peer, const kvfi_am_head_t *head,
                     const void *data)
{
    kvfi_am_hello_t start = {0};
    size_t          len = head->len > sizeof start ? head->len - sizeof start : 0;
    void           *address;

    if (len)
        memcpy(&start, data, sizeof start);
    if (peer && start.floor > peer->floor)
        peer->floor = start.floor;
    if (peer && peer->linked && !peer->notes_room) {
        peer->rank = head->off;
        peer->notes_room = head->token;
        return;
    }
    if (peer && peer->address)
        return;
    /* a second hello: it lost the connection, and made a new one before we noticed */
    if (peer && peer->linked)
        kvfi_am_peer_fail(peer, "it has connected again");
    address = len && len <= ADDRESS_MAX ? calloc(1, len + KVFI_ADDRESS_ROOM) : NULL;
    if (address && !peer)
        peer = kvfi_am_peer_new(am, head->sender);
    if (!address || !peer) {
        free(address);
        am->stats.dropped++;
        return;
    }
    memcpy(address, (const char *)data + sizeof start, len);
    peer->floor = start.floor > peer->floor ? start.floor : peer->floor;
    peer->address = address;
    peer->rank = head->off;
    peer->hello_room = head->token;
}

static void on_read_data(kvfi_am_peer_t *peer, const kvfi_am_head_t *head, const void *data)
{
    kvfi_am_t   *am = peer->am;
    kvfi_xfer_t *xfer = kvfi_table_get(&am->xfers, head->token);
    uint64_t     left;

    if (!xfer) {
        am->stats.dropped++; /* cancelled, or past its deadline */
        return;
    }
    left = xfer->stream - xfer->moved.bytes;
    if (xfer->peer != peer || xfer->dir != KVF_READ || head->off != xfer->moved.bytes ||
        head->len > left || ((head->flags & KVFI_AM_FIN) && head->len != left)) {
        kvfi_am_peer_fail(peer, "its data does not fit the request");
        return;
    }
    xfer->moved.bytes += kvfi_copy_scatter(&xfer->cursor, xfer->local, data, head->len,
                                           &xfer->moved.pieces);
    xfer->calls++;
    if (head->flags & KVFI_AM_CLEAN)
        xfer->checked = xfer->cursor.pair;
    if (head->flags & KVFI_AM_FIN)
        kvfi_am_xfer_end(am, xfer, KVF_OK);
}

static void on_data(kvfi_am_peer_t *peer, const kvfi_am_head_t *head, const void *data)
{
    kvfi_am_serve_t *serve;

    if (!(head->flags & KVFI_AM_TO_OWNER)) {
        on_read_data(peer, head, data);
        return;
    }
    serve = kvfi_table_get(&peer->serves, head->token);
    if (serve)
        kvfi_am_serve_data(peer, serve, head, data);
    else
        peer->am->stats.dropped++; /* refused, or cancelled */
}

/* The bytes lie in a slot of the sender's ring; it gets the slot back whatever they were, but one that it
 * has taken away itself. */
static void on_staged_data(kvfi_am_peer_t *peer, kvfi_am_head_t *head)
{
    unsigned    slot = head->flags >> KVFI_AM_SLOT;
    const char *data = kvfi_stage_data(peer, slot, head->len);
    int         to_us = head->flags & KVFI_AM_TO_OWNER;

    if (!data) {
        kvfi_am_peer_fail(peer, "it names a slot that is none");
        return;
    }
    if (to_us && !kvfi_stage_claim(peer, slot, head->token)) {
        peer->am->stats.dropped++;
        return;
    }
    head->flags &= (1u << KVFI_AM_SLOT) - 1;
    on_data(peer, head, data);
    if (to_us)
        kvfi_stage_done(peer, slot, head->token);
    kvfi_stage_return(peer, slot);
}

static void on_done(kvfi_am_peer_t *peer, const kvfi_am_head_t *head, const char *data)
{
    kvfi_am_t      *am = peer->am;
    kvfi_xfer_t    *xfer = kvfi_table_get(&am->xfers, head->token);
    kvf_status_t    status = (kvf_status_t)(int64_t)head->off;
    kvfi_bad_pair_t bad;

    if (!xfer) {
        am->stats.dropped += !kvfi_settle_answered(peer, head->token);
        return;
    }
    if (xfer->peer != peer || head->len % sizeof bad ||
        (status > KVF_OK || status < KVF_ERR_FORKED) ||
        ((status == KVF_OK || status == KVF_ERR_STALE) &&
         (xfer->dir == KVF_READ ? xfer->moved.bytes : xfer->sent) != xfer->stream)) {
        kvfi_am_peer_fail(peer, "its answer does not fit the request");
        return;
    }
    for (size_t at = 0; at < head->len; at += sizeof bad) {
        memcpy(&bad, data + at, sizeof bad);
        if (bad.pair >= xfer->box.blocks || bad.status != KVF_ERR_STALE) {
            kvfi_am_peer_fail(peer, "it reports a pair that was not asked for");
            return;
        }
        if (kvfi_xfer_bad(xfer, bad.pair, (kvf_status_t)bad.status) != KVF_OK)
            status = KVF_ERR_NOMEM;
    }
    kvfi_am_xfer_end(am, xfer, status);
}

static void on_note(kvfi_am_peer_t *peer, const kvfi_am_head_t *head, const void *data)
{
    kvfi_am_message_t *note;

    if (head->len > KVF_NOTIFY_MAX || head->token > -KVF_ERR_FORKED ||
        head->off != peer->inbox_came + 1 ||
        peer->inbox_came - peer->acked_taken >= peer->am->host.depth) {
        kvfi_am_peer_fail(peer, "its notification is malformed, out of order, or one too many");
        return;
    }
    note = malloc(sizeof *note + head->len);
    if (!note) {
        kvfi_am_peer_fail(peer, "no memory for its notification");
        return;
    }
    note->next = NULL;
    note->head = *head;
    memcpy(note->data, data, head->len);
    *peer->inbox_end = note;
    peer->inbox_end = &note->next;
    peer->inbox_came++;
    peer->am->changed = 1;
}

static void on_ack(kvfi_am_peer_t *peer, const kvfi_am_head_t *head)
{
    if (head->token > peer->notes_sent || head->token < peer->notes_came ||
        head->off > head->token || head->off < peer->notes_taken) {
        kvfi_am_peer_fail(peer, "it acknowledges notifications that were not sent");
        return;
    }
    peer->notes_came = head->token;
    peer->notes_taken = head->off;
    while (peer->notes && peer->notes->seq && peer->notes->seq <= head->token) {
        kvfi_am_note_t *note = peer->notes;

        peer->notes = note->next;
        if (!peer->notes)
            peer->notes_end = &peer->notes;
        atomic_store(&note->status, KVF_OK);
        peer->am->changed = 1;
    }
}

/* Its engine sends this last, when it puts nothing into its memory any more and is never opened again. */
static void on_bye(kvfi_am_peer_t *peer)
{
    peer->quiet = 1;
    kvfi_am_peer_fail(peer, "its engine has closed");
}

/* Messages that only the stage machine knows: 1 if it was one. */
static int on_near_message(kvfi_am_peer_t *peer, kvfi_am_head_t *head, const void *data)
{
    switch (head->kind) {
    case KVFI_AM_DATA: on_staged_data(peer, head); return 1;
    case KVFI_AM_RING: kvfi_stage_announced(peer, data, head->len); return 1;
    case KVFI_AM_RETURN: kvfi_stage_returned(peer, (kvf_status_t)(int64_t)head->off); return 1;
    case KVFI_AM_HELLO:
        peer->rank = head->off;
        peer->notes_room = head->token;
        return 1;
    default: return 0;
    }
}

static void on_message(kvfi_am_peer_t *peer, kvfi_am_head_t *head, const void *data)
{
    if (peer->am->near && on_near_message(peer, head, data))
        return;
    switch (head->kind) {
    case KVFI_AM_REQUEST: kvfi_am_serve_request(peer, head->token, data, head->len); break;
    case KVFI_AM_DATA: on_data(peer, head, data); break;
    case KVFI_AM_DONE: on_done(peer, head, data); break;
    case KVFI_AM_CANCEL: kvfi_am_serve_cancel(peer, head->token, head->flags & KVFI_AM_TO_OWNER); break;
    case KVFI_AM_NOTE: on_note(peer, head, data); break;
    case KVFI_AM_ACK: on_ack(peer, head); break;
    case KVFI_AM_BYE: on_bye(peer); break;
    default: kvfi_am_peer_fail(peer, "its message is of an unknown kind");
    }
}

void kvfi_am_receive(void *arg, const void *data_of_head, size_t head_len, const void *data,
                     size_t len)
{
    kvfi_am_t      *am = arg;
    kvfi_am_peer_t *peer;
    kvfi_am_head_t  head;

    am->worked = 1;
    if (head_len != sizeof head) {
        am->stats.dropped++;
        return;
    }
    memcpy(&head, data_of_head, sizeof head);
    peer = head.sender ? kvfi_table_get(&am->peers, head.sender) : NULL;
    if (head.version == KVFI_AM_VERSION && head.len == len && head.kind == KVFI_AM_HELLO &&
        head.sender) {
        on_hello(am, peer, &head, data);
        return;
    }
    if (!peer || peer->failed || atomic_load(&peer->dead)) {
        am->stats.dropped++;
        return;
    }
    atomic_fetch_add_explicit(&peer->heard, 1, memory_order_relaxed);
    if (head.version != KVFI_AM_VERSION || head.len != len) {
        kvfi_am_peer_fail(peer, "its message has another version or length");
        return;
    }
    on_message(peer, &head, data);
}

void kvfi_am_deliver(kvfi_am_peer_t *peer, kvfi_am_head_t *head, const void *data)
{
    if (peer->failed || atomic_load(&peer->dead)) {
        peer->am->stats.dropped++;
        return;
    }
    atomic_fetch_add_explicit(&peer->heard, 1, memory_order_relaxed);
    if (head->version != KVFI_AM_VERSION || head->sender != peer->incarnation) {
        kvfi_am_peer_fail(peer, "its message has another version, or another's name");
        return;
    }
    on_message(peer, head, data);
}

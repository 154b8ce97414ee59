/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What comes in, by whichever carrier. A malformed message drops its sender, never the engine; a late
 * one (its token ended) is dropped and counted. Nothing here sends: what is to be sent is queued.
 */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "path/am_internal.h"

static void on_read_data(kvfi_am_peer_t *peer, const kvfi_am_head_t *head, const void *data)
{
    kvfi_am_t *am = peer->am;
    kvfi_xfer_t *xfer = kvfi_table_get(&am->xfers, head->token);
    uint64_t left;

    if (!xfer) {
        am->stats.dropped++; /* cancelled, or past its deadline */
        return;
    }
    left = xfer->stream - xfer->moved.bytes;
    if (xfer->peer != peer || xfer->dir != KVF_READ || head->off != xfer->moved.bytes || head->len > left ||
        ((head->flags & KVFI_AM_FIN) && head->len != left)) {
        kvfi_am_peer_fail(peer, "its data does not fit the request");
        return;
    }
    xfer->moved.bytes += kvfi_copy_scatter(&xfer->cursor, xfer->local, data, head->len, &xfer->moved.pieces);
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

static void on_done(kvfi_am_peer_t *peer, const kvfi_am_head_t *head, const char *data)
{
    kvfi_am_t *am = peer->am;
    kvfi_xfer_t *xfer = kvfi_table_get(&am->xfers, head->token);
    kvf_status_t status = (kvf_status_t)(int64_t)head->off;
    kvfi_bad_pair_t bad;

    if (!xfer) {
        am->stats.dropped += !kvfi_settle_answered(peer, head->token);
        return;
    }
    if (xfer->peer != peer || head->len % sizeof bad || (status > KVF_OK || status < KVF_ERR_FORKED) ||
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

    if (head->len > KVF_NOTIFY_MAX || (head->token & 0xff) > -KVF_ERR_FORKED ||
        head->token >> 8 > UINT32_MAX || head->off != peer->inbox_came + 1 ||
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
    if (head->token > peer->notes_sent || head->token < peer->notes_came || head->off > head->token ||
        head->off < peer->notes_taken) {
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
    atomic_store(&peer->parted, 1);
    kvfi_am_peer_fail(peer, "its engine has closed");
}

void kvfi_am_take(kvfi_am_peer_t *peer, const kvfi_am_head_t *head, const void *data)
{
    switch (head->kind) {
    case KVFI_AM_REQUEST:
        kvfi_am_serve_request(peer, head->token, data, head->len);
        break;
    case KVFI_AM_DATA:
        on_data(peer, head, data);
        break;
    case KVFI_AM_DONE:
        on_done(peer, head, data);
        break;
    case KVFI_AM_CANCEL:
        kvfi_am_serve_cancel(peer, head->token, head->flags & KVFI_AM_TO_OWNER);
        break;
    case KVFI_AM_NOTE:
        on_note(peer, head, data);
        break;
    case KVFI_AM_ACK:
        on_ack(peer, head);
        break;
    case KVFI_AM_BYE:
        on_bye(peer);
        break;
    default:
        kvfi_am_peer_fail(peer, "its message is of an unknown kind");
    }
}

int kvfi_am_admit(kvfi_am_peer_t *peer, const kvfi_am_head_t *head)
{
    if (peer->failed || atomic_load(&peer->dead)) {
        peer->am->stats.dropped++;
        return 0;
    }
    atomic_fetch_add_explicit(&peer->heard, 1, memory_order_relaxed);
    if (head->version == KVFI_AM_VERSION && head->sender == peer->incarnation)
        return 1;
    kvfi_am_peer_fail(peer, "its message has another version, or another's name");
    return 0;
}

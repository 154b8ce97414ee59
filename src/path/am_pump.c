/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The pump of the am machine: sends what is queued and the bytes that wait, as far as there is
 * room, and buries peers that failed. It runs after each progress of the carrier, under the machine's lock,
 * in whoever drives; nothing waits.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "path/am_internal.h"

#define RETRY_NS UINT64_C(100000000) /* after a shortage */

/* That notes came is told at once; that they were taken, when the sender may wait for it. */
static void acknowledge_notes(kvfi_am_peer_t *peer)
{
    uint64_t freed = peer->inbox_taken - peer->acked_taken;

    if (peer->inbox_came == peer->acked_came && freed * 2 < peer->am->host.depth)
        return;
    peer->acked_came = peer->inbox_came;
    peer->acked_taken = peer->inbox_taken;
    kvfi_am_queue(peer, kvfi_am_message(peer, KVFI_AM_ACK, peer->acked_came, peer->acked_taken, 0));
}

static void send_notes(kvfi_am_peer_t *peer)
{
    for (kvfi_am_note_t *note = peer->notes; note; note = note->next) {
        kvfi_am_message_t *message;

        if (note->seq)
            continue;
        if (peer->notes_sent - peer->notes_taken >= peer->notes_room)
            return;
        message = kvfi_am_message(peer, KVFI_AM_NOTE,
                                  (uint64_t)note->channel << 8 | (uint64_t) - (int64_t)note->told,
                                  peer->notes_sent + 1, note->len);
        if (!message)
            return;
        note->seq = ++peer->notes_sent;
        memcpy(message->data, note->data, note->len);
        kvfi_am_send(peer, message);
    }
}

/* At most so many, and no more than KVFI_COPY_PIECES tiny pieces. */
static uint32_t chunk_bytes(const kvfi_am_peer_t *peer, const kvfi_xfer_t *xfer)
{
    const kvfi_carrier_t *carrier = peer->am->carrier;
    uint64_t fair = xfer->stream / KVFI_AM_FAIR, most = carrier->most;

    if (fair < most)
        most = fair < carrier->least ? carrier->least : fair;
    return (uint32_t)(xfer->box.len < most / KVFI_COPY_PIECES ? xfer->box.len * KVFI_COPY_PIECES : most);
}

static int send_read_chunk(kvfi_am_peer_t *peer)
{
    kvfi_am_serve_t *serve = peer->reads;
    kvfi_am_message_t *message;
    kvf_status_t status;
    char *buf;

    if (atomic_load(&peer->am->host.epoch[serve->grant]) != serve->epoch) {
        kvfi_am_serve_end(serve, KVF_ERR_REVOKED);
        return 1;
    }
    message = peer->am->carrier->chunk(peer, serve->token, &buf);
    if (!message)
        return 0;
    kvfi_am_serve_rotate(peer);
    status = kvfi_am_serve_chunk(serve, message, buf, chunk_bytes(peer, &serve->xfer));
    message->head.flags |= status == KVF_OK ? KVFI_AM_FIN : 0;
    kvfi_am_send(peer, message);
    if (status == KVF_OK)
        kvfi_am_serve_drop(serve);
    else if (status != KVF_INPROGRESS)
        kvfi_am_serve_end(serve, status);
    return 1;
}

static int send_write_chunk(kvfi_am_peer_t *peer)
{
    kvfi_xfer_t *xfer = peer->writes;
    char *buf;
    kvfi_am_message_t *message = peer->am->carrier->chunk(peer, xfer->token, &buf);

    if (!message)
        return 0;
    kvfi_am_write_unlink(peer, xfer);
    message->head.off = xfer->sent;
    message->head.len = (uint32_t)kvfi_copy_gather(&xfer->cursor, xfer->local, buf, chunk_bytes(peer, xfer),
                                                   &xfer->moved.pieces);
    message->head.flags |= KVFI_AM_TO_OWNER;
    xfer->sent += message->head.len;
    xfer->calls++;
    if (xfer->sent < xfer->stream)
        kvfi_am_write_link(peer, xfer);
    kvfi_am_send(peer, message);
    return 1;
}

/* Bytes that wait, as far as chunks are free; few at a time, for the machine's lock is held and what comes in
 * is to be looked at in between: a wire that takes all at once would have a long stream end first. */
static void send_chunks(kvfi_am_peer_t *peer)
{
    unsigned most = peer->am->carrier->turn;

    while (!peer->failed && peer->chunks < KVFI_AM_CHUNKS && (peer->reads || peer->writes)) {
        if (!most--) {
            peer->am->more = 1;
            break;
        }
        if (peer->reads && !send_read_chunk(peer))
            break;
        if (peer->writes && peer->chunks < KVFI_AM_CHUNKS && !send_write_chunk(peer))
            break;
    }
    if (peer->refused == KVF_OK)
        return;
    while (peer->reads)
        kvfi_am_serve_end(peer->reads, peer->refused);
    while (peer->writes)
        kvfi_settle_give_up(peer->writes, peer->refused, NULL);
    peer->refused = KVF_OK; /* the next need tries again */
}

static void put_off(kvfi_am_peer_t *peer)
{
    if (!peer->retry_ns)
        kvfi_log(KVFI_LOG_WARN, "rank %llu has connected and cannot be answered yet: %s",
                 (unsigned long long)peer->rank, kvf_last_error());
    peer->retry_ns = kvfi_now_ns() + RETRY_NS;
}

static void answer_hello(kvfi_am_peer_t *peer)
{
    kvf_status_t status;

    if (peer->retry_ns && kvfi_now_ns() < peer->retry_ns)
        return;
    status = peer->am->carrier->meet(peer);
    if (status == KVF_INPROGRESS) {
        put_off(peer);
        return;
    }
    peer->retry_ns = 0;
    if (status != KVF_OK)
        kvfi_am_peer_fail(peer, kvf_last_error());
    free(peer->hello);
    peer->hello = NULL;
}

static void pump_peer(kvfi_am_peer_t *peer)
{
    if (peer->hello && !peer->failed)
        answer_hello(peer);
    if (peer->unsettled && peer->linked && !peer->failed)
        kvfi_settle_remind(peer);
    if (peer->linked && !peer->failed) {
        acknowledge_notes(peer);
        while (peer->outbox && !peer->failed) {
            kvfi_am_message_t *message = peer->outbox;

            peer->outbox = message->next;
            if (!peer->outbox)
                peer->outbox_end = &peer->outbox;
            kvfi_am_send(peer, message);
        }
        send_notes(peer);
        send_chunks(peer);
    }
    if (peer->failed)
        kvfi_am_bury(peer);
}

void kvfi_am_pump(kvfi_am_t *am)
{
    kvfi_am_peer_t **at = &am->list;

    am->more = 0;
    while (*at) {
        kvfi_am_peer_t *peer = *at;

        pump_peer(peer);
        if (kvfi_am_forgettable(peer)) {
            *at = peer->next;
            kvfi_am_peer_free(peer);
        } else {
            at = &peer->next;
        }
    }
}

/* A peer that the pump buried is to be told of: by who drives, the host is not to be called here. */
void kvfi_am_pump_and_unlock(kvfi_am_t *am)
{
    int changed;

    kvfi_am_pump(am);
    changed = am->changed || am->more;
    kvfi_lock_give(am->lock);
    if (changed)
        kvfi_am_wake(am);
}

static int has_outbox(const kvfi_am_t *am)
{
    for (const kvfi_am_peer_t *peer = am->list; peer; peer = peer->next)
        if (peer->failed || (peer->linked ? (void *)peer->outbox : peer->retry_ns ? NULL : peer->hello))
            return 1;
    return 0;
}

int kvfi_am_busy(kvfi_am_t *am)
{
    int busy;

    kvfi_lock_take(am->lock);
    busy = am->xfers.count || am->serving || atomic_load(&am->host.open_writes->count);
    kvfi_lock_give(am->lock);
    return busy;
}

int kvfi_am_crowded(kvfi_am_t *am)
{
    return atomic_load_explicit(&am->crowded, memory_order_relaxed)
               ? (int)atomic_exchange(&am->crowded, 0) - 1
               : -1;
}

int kvfi_am_arm(kvfi_am_t *am)
{
    int busy;

    kvfi_lock_take(am->lock);
    busy = am->carrier->arm(am) || am->more;
    kvfi_lock_give(am->lock);
    return busy;
}

int kvfi_am_fd(const kvfi_am_t *am)
{
    return am->fd;
}

void kvfi_am_wake(kvfi_am_t *am)
{
    am->carrier->wake(am);
}

int kvfi_am_progress(kvfi_am_t *am, int wait)
{
    int worked, changed;

    if (wait)
        kvfi_lock_take(am->lock);
    else if (!kvfi_lock_try(am->lock))
        return 0;
    am->worked = 0;
    am->carrier->progress(am);
    do {
        kvfi_am_pump(am);
    } while (has_outbox(am));
    worked = am->worked;
    changed = am->changed;
    am->changed = 0;
    kvfi_lock_give(am->lock);
    if (changed)
        am->host.changed(am->host.engine);
    return worked || changed;
}

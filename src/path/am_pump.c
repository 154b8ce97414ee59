/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The pump of the am machine: sends what is queued and the bytes that wait, as far as there is
 * room, and looks after peers that died. It runs after each progress of the link, under its lock,
 * in whoever drives; nothing waits.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "path/am_internal.h"

#define LIVES_NS UINT64_C(50000000) /* from look to look at near peers */
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
        message = kvfi_am_message(peer, KVFI_AM_NOTE, (uint64_t)-(int64_t)note->told,
                                  peer->notes_sent + 1, note->len);
        if (!message)
            return;
        note->seq = ++peer->notes_sent;
        memcpy(message->data, note->data, note->len);
        kvfi_am_send(peer, message);
    }
}

/* Where the next bytes go: into a message, or a slot of our ring. NULL: not now. */
static kvfi_am_message_t *next_chunk(kvfi_am_peer_t *peer, uint64_t token, char **buf_p)
{
    kvfi_am_message_t *message;
    unsigned           slot = 0;
    char              *buf = NULL;

    if (peer->am->near && !(buf = kvfi_stage_slot(peer, &slot)))
        return NULL;
    message = kvfi_am_message(peer, KVFI_AM_DATA, token, 0, 0);
    if (!message)
        return NULL;
    message->head.flags = (uint16_t)(slot << KVFI_AM_SLOT);
    *buf_p = buf ? buf : message->data;
    return message;
}

/* At most so many, and no more than KVFI_COPY_PIECES tiny pieces. */
static uint32_t chunk_bytes(const kvfi_am_peer_t *peer, const kvfi_xfer_t *xfer)
{
    uint64_t most = KVFI_WIRE_CHUNK, fair = xfer->stream / KVFI_STAGE_CHUNKS;

    if (peer->am->near) {
        fair = fair < KVFI_STAGE_LEAST ? KVFI_STAGE_LEAST : fair;
        most = fair < KVFI_STAGE_SLOT_BYTES ? fair : KVFI_STAGE_SLOT_BYTES;
    }
    return (uint32_t)(xfer->box.len < most / KVFI_COPY_PIECES ? xfer->box.len * KVFI_COPY_PIECES : most);
}

static int send_read_chunk(kvfi_am_peer_t *peer)
{
    kvfi_am_serve_t   *serve = peer->reads;
    kvfi_am_message_t *message;
    kvf_status_t       status;
    char              *buf;

    if (atomic_load(&peer->am->host.epoch[serve->grant]) != serve->epoch) {
        kvfi_am_serve_end(serve, KVF_ERR_REVOKED);
        return 1;
    }
    message = next_chunk(peer, serve->token, &buf);
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
    kvfi_xfer_t       *xfer = peer->writes;
    char              *buf;
    kvfi_am_message_t *message = next_chunk(peer, xfer->token, &buf);

    if (!message)
        return 0;
    peer->writes = xfer->next;
    if (!peer->writes)
        peer->writes_end = &peer->writes;
    message->head.off = xfer->sent;
    message->head.len = (uint32_t)kvfi_copy_gather(&xfer->cursor, xfer->local, buf,
                                                   chunk_bytes(peer, xfer), &xfer->moved.pieces);
    message->head.flags |= KVFI_AM_TO_OWNER;
    if (peer->am->near)
        kvfi_stage_ready(peer, message->head.flags >> KVFI_AM_SLOT, xfer->token);
    xfer->sent += message->head.len;
    xfer->calls++;
    if (xfer->sent < xfer->stream) {
        xfer->next = NULL;
        *peer->writes_end = xfer;
        peer->writes_end = &xfer->next;
    }
    kvfi_am_send(peer, message);
    return 1;
}

/* Bytes that wait, as far as chunks are free; few at a time, for the link's lock is held and what comes in
 * is to be looked at in between: a wire that takes all at once would have a long stream end first. */
static void send_chunks(kvfi_am_peer_t *peer)
{
    kvfi_stage_t *stage = &peer->stage;
    unsigned      most = peer->am->near ? KVFI_STAGE_SLOTS : KVFI_AM_TURN;

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
    if (stage->refused == KVF_OK)
        return;
    while (peer->reads)
        kvfi_am_serve_end(peer->reads, stage->refused);
    while (peer->writes)
        kvfi_settle_give_up(peer->writes, stage->refused, NULL);
    kvfi_stage_retry(peer);
}

/* The peer has done nothing wrong, and waits: it is answered when there are descriptors or memory again. */
static int put_off(kvfi_am_peer_t *peer, kvf_status_t status)
{
    if (peer->am->near || (status != KVF_ERR_SYSTEM && status != KVF_ERR_NOMEM))
        return 0;
    if (!peer->retry_ns)
        kvfi_log(KVFI_LOG_WARN, "rank %llu has connected and cannot be answered yet: %s",
                 (unsigned long long)peer->rank, kvf_last_error());
    peer->retry_ns = kvfi_now_ns() + RETRY_NS;
    return 1;
}

static void answer_hello(kvfi_am_peer_t *peer)
{
    int          near = peer->am->near;
    kvf_status_t status = KVF_OK;

    if (peer->retry_ns && kvfi_now_ns() < peer->retry_ns)
        return;
    if (!peer->linked)
        status = kvfi_am_peer_connect(peer, peer->address);
    if (status != KVF_OK && put_off(peer, status))
        return;
    peer->retry_ns = 0;
    if (status == KVF_OK && near)
        status = kvfi_mail_meet(peer);
    if (status != KVF_OK)
        kvfi_am_peer_fail(peer, kvf_last_error());
    if (!near)
        peer->notes_room = peer->hello_room;
    free(peer->address);
    peer->address = NULL;
}

static void pump_peer(kvfi_am_peer_t *peer)
{
    if (peer->address && !peer->failed && (!peer->linked || peer->am->near))
        answer_hello(peer);
    if (peer->linked && !peer->failed) {
        kvfi_mail_flush(peer);
        acknowledge_notes(peer);
        if (peer->stage.to_map)
            kvfi_stage_map(peer);
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
        if (peer->failed || (peer->linked ? (void *)peer->outbox : peer->retry_ns ? NULL : peer->address))
            return 1;
    return 0;
}

static void write_off(kvfi_am_peer_t *peer, const char *why)
{
    peer->quiet = 1;
    if (peer->linked)
        kvfi_am_peer_fail(peer, why);
    else
        kvfi_settle_all(peer);
}

/* UCX does not tell of near peers that died or closed. One that closes shuts its ring when it is through
 * with the chunk that it has begun. */
static void look_at_lives(kvfi_am_t *am)
{
    uint64_t now = kvfi_now_ns();

    if (now - am->looked_ns < LIVES_NS)
        return;
    am->looked_ns = now;
    for (kvfi_am_peer_t *peer = am->list; peer; peer = peer->next) {
        if (!peer->linked && !peer->unsettled)
            continue;
        if (peer->watched && !kvfi_life_check(&peer->life, 0))
            write_off(peer, "its process has died");
        else if (peer->linked && peer->closed && atomic_load(peer->closed) && !kvfi_stage_begun(peer))
            write_off(peer, "its engine has closed");
    }
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
    busy = (am->near ? kvfi_mail_arm(am) : kvfi_wire_arm(am->wire)) || am->more;
    kvfi_lock_give(am->lock);
    return busy;
}

int kvfi_am_fd(const kvfi_am_t *am)
{
    return am->near ? am->host.bell->fd : kvfi_wire_fd(am->wire);
}

void kvfi_am_wake(kvfi_am_t *am)
{
    if (am->near)
        kvfi_bell_wake(am->host.bell);
    else
        kvfi_wire_wake(am->wire);
}

int kvfi_am_progress(kvfi_am_t *am, int wait)
{
    int worked, changed;

    if (wait)
        kvfi_lock_take(am->lock);
    else if (!kvfi_lock_try(am->lock))
        return 0;
    am->worked = 0;
    if (am->near) {
        kvfi_mail_receive(am);
        if (am->list)
            look_at_lives(am);
    } else {
        am->worked |= kvfi_wire_progress(am->wire) > 0;
    }
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

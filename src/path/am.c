/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The am machine: its messages, peers and their endpoints, its opening and closing. See
 * am_internal.h for the messages, am_pump.c for what drives it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "path/am_internal.h"

#define CONNECT_NS UINT64_C(100000000) /* that a close waits for connections under way, at most */

const char *kvfi_am_reach(const kvfi_target_t *target, uint32_t dir)
{
    (void)dir;
    if (target->in_process)
        return "the peer is this process";
    if (target->near)
        return "the peer is near";
    return target->am ? NULL : "no far connection";
}

/* -------------------------------------------------------------- messages */

kvfi_am_message_t *kvfi_am_message(kvfi_am_peer_t *peer, unsigned kind, uint64_t token, uint64_t off,
                                   size_t len)
{
    kvfi_am_t         *am = peer->am;
    int                chunk = kind == KVFI_AM_DATA && !am->near;
    kvfi_am_message_t *message = chunk ? am->free_chunks : NULL;

    if (message)
        am->free_chunks = message->next;
    else
        message = malloc(sizeof *message + (chunk ? KVFI_WIRE_CHUNK : len));
    if (!message) {
        kvfi_am_peer_fail(peer, "no memory for a message");
        return NULL;
    }
    peer->answers += kind == KVFI_AM_DONE ? sizeof *message + len : 0;
    message->next = NULL;
    message->peer = peer;
    message->chunk = chunk;
    message->head = (kvfi_am_head_t){.version = KVFI_AM_VERSION,
                                     .kind = (uint8_t)kind,
                                     .len = (uint32_t)len,
                                     .sender = am->host.incarnation,
                                     .token = token,
                                     .off = off};
    return message;
}

void kvfi_am_message_free(kvfi_am_t *am, kvfi_am_message_t *message)
{
    if (message->head.kind == KVFI_AM_DONE)
        message->peer->answers -= sizeof *message + message->head.len;
    if (message->chunk) {
        message->next = am->free_chunks;
        am->free_chunks = message;
    } else {
        free(message);
    }
}

static void on_sent(void *arg, int failed)
{
    kvfi_am_message_t *message = arg;
    kvfi_am_peer_t    *peer = message->peer;

    peer->outgoing--;
    peer->chunks -= (unsigned)message->chunk;
    kvfi_am_message_free(peer->am, message);
    if (failed)
        kvfi_am_peer_fail(peer, "a message could not be sent");
}

void kvfi_am_send(kvfi_am_peer_t *peer, kvfi_am_message_t *message)
{
    peer->am->stats.messages++;
    peer->am->worked = 1;
    if (peer->am->near) {
        kvfi_mail_send(peer, message);
        return;
    }
    peer->outgoing++;
    peer->chunks += (unsigned)message->chunk;
    kvfi_ep_send(peer->ep, &message->head, sizeof message->head, message->data, message->head.len,
                 on_sent, message);
}

void kvfi_am_queue(kvfi_am_peer_t *peer, kvfi_am_message_t *message)
{
    if (!message)
        return;
    *peer->outbox_end = message;
    peer->outbox_end = &message->next;
}

/* ----------------------------------------------------------------- peers */

kvfi_am_peer_t *kvfi_am_peer_new(kvfi_am_t *am, uint64_t incarnation)
{
    kvfi_am_peer_t *peer = calloc(1, sizeof *peer);

    if (!peer || kvfi_table_put(&am->peers, incarnation, peer)) {
        free(peer);
        return NULL;
    }
    peer->am = am;
    peer->incarnation = incarnation;
    peer->outbox_end = &peer->outbox;
    peer->writes_end = &peer->writes;
    peer->reads_end = &peer->reads;
    peer->notes_end = &peer->notes;
    peer->inbox_end = &peer->inbox;
    peer->unsettled_end = &peer->unsettled;
    peer->next = am->list;
    am->list = peer;
    return peer;
}

void kvfi_am_peer_fail(kvfi_am_peer_t *peer, const char *why)
{
    if (atomic_load(&peer->dead) || peer->failed)
        return;
    kvfi_log(KVFI_LOG_INFO, "%s peer of rank %llu (%016llx) failed: %s", peer->am->near ? "near" : "far",
             (unsigned long long)peer->rank, (unsigned long long)peer->incarnation, why);
    peer->failed = 1;
    peer->am->changed = 1;
}

static void on_ep_failed(void *arg, const char *why)
{
    kvfi_am_peer_fail(arg, why);
}

static void say_hello(kvfi_am_peer_t *peer)
{
    kvfi_am_t         *am = peer->am;
    size_t             len;
    const void        *mine = kvfi_wire_address(am->wire, &len);
    kvfi_am_hello_t    start = {.floor = am->last_token};
    kvfi_am_message_t *hello;

    hello = kvfi_am_message(peer, KVFI_AM_HELLO, am->host.depth, am->host.rank, sizeof start + len);
    if (hello) {
        memcpy(hello->data, &start, sizeof start);
        memcpy(hello->data + sizeof start, mine, len);
    }
    kvfi_am_queue(peer, hello);
}

kvf_status_t kvfi_am_peer_connect(kvfi_am_peer_t *peer, const void *address)
{
    kvfi_am_t   *am = peer->am;
    kvf_status_t status = KVF_OK;

    if (!am->near)
        status = kvfi_ep_open(am->wire, address, on_ep_failed, peer, &peer->ep);
    if (status != KVF_OK)
        return status;
    peer->linked = 1;
    peer->quiet = 0;
    atomic_store(&peer->dead, 0);
    if (am->near && !peer->watched)
        peer->watched = !kvfi_life_open(&peer->life, peer->proc);
    if (!am->near)
        say_hello(peer);
    kvfi_settle_ask_again(peer);
    return KVF_OK;
}

/* End what the peer does for us, and forget what we do for it. */
static void drop_all_of(kvfi_am_peer_t *peer, kvf_status_t status)
{
    kvfi_am_t *am = peer->am;

    /* taking an entry out may move a later one to its place: look there again */
    for (size_t i = 0; i < am->xfers.capacity; i++) {
        kvfi_xfer_t *xfer = am->xfers.entries[i].value;

        if (!xfer || xfer->peer != peer)
            continue;
        kvfi_settle_give_up(xfer, status, NULL);
        i--;
    }
    if (peer->quiet)
        kvfi_settle_all(peer);
    for (size_t i = 0; i < peer->serves.capacity; i++)
        if (peer->serves.entries[i].value) {
            kvfi_am_serve_drop(peer->serves.entries[i].value);
            i--;
        }
    while (peer->notes) {
        kvfi_am_note_t *note = peer->notes;

        peer->notes = note->next;
        atomic_store(&note->status, status);
    }
    peer->notes_end = &peer->notes;
    peer->notes_sent = peer->notes_came = peer->notes_taken = peer->notes_room = 0;
    for (kvfi_am_message_t *note = peer->inbox; note; note = note->next)
        note->head.off = 0; /* of this connection, the next one counts afresh */
    peer->inbox_came = peer->inbox_taken = peer->acked_came = peer->acked_taken = 0;
    while (peer->outbox) {
        kvfi_am_message_t *message = peer->outbox;

        peer->outbox = message->next;
        kvfi_am_message_free(am, message);
    }
    peer->outbox_end = &peer->outbox;
    kvfi_stage_drop(peer);
    kvfi_mail_drop(peer);
    am->changed = 1;
}

static void unlink_peer(kvfi_am_peer_t *peer, int force)
{
    kvfi_ep_close(peer->ep, force);
    peer->ep = NULL;
    peer->linked = 0;
}

void kvfi_am_bury(kvfi_am_peer_t *peer)
{
    peer->failed = 0;
    atomic_store(&peer->dead, 1);
    drop_all_of(peer, KVF_ERR_PEER);
    unlink_peer(peer, 1);
}

int kvfi_am_forgettable(const kvfi_am_peer_t *peer)
{
    return atomic_load(&peer->dead) && !peer->imports && !peer->outgoing && !peer->inbox &&
           !peer->address && !peer->unsettled;
}

void kvfi_am_peer_free(kvfi_am_peer_t *peer)
{
    kvfi_table_take(&peer->am->peers, peer->incarnation);
    kvfi_table_free(&peer->serves);
    if (peer->watched)
        kvfi_life_close(&peer->life);
    while (peer->inbox) {
        kvfi_am_message_t *message = peer->inbox;

        peer->inbox = message->next;
        free(message);
    }
    kvfi_settle_all(peer);
    free(peer->address);
    free(peer);
}

/* --------------------------------------------------------------- the API */

kvf_status_t kvfi_am_open(const char *net, const kvfi_am_host_t *host, kvfi_am_t **am_p)
{
    kvfi_am_t   *am = calloc(1, sizeof *am);
    kvf_status_t status;

    if (!am)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for the far side");
    am->host = *host;
    am->held_most = KVFI_AM_HELD_MOST;
    am->answers_most = KVFI_AM_ANSWERS_MOST;
    status = kvfi_wire_open(net, kvfi_am_receive, am, &am->wire);
    if (status != KVF_OK) {
        free(am);
        return status;
    }
    am->lock = kvfi_wire_lock(am->wire);
    *am_p = am;
    return KVF_OK;
}

kvf_status_t kvfi_am_open_near(kvfi_link_t *link, const kvfi_am_host_t *host, kvfi_am_t **am_p)
{
    kvfi_am_t *am = calloc(1, sizeof *am);

    if (!am)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for the near side");
    am->host = *host;
    am->held_most = KVFI_AM_HELD_MOST;
    am->answers_most = KVFI_AM_ANSWERS_MOST;
    am->link = link;
    am->lock = kvfi_link_turn(link);
    am->near = 1;
    am->hello_seen = calloc(KVFI_PAGE_SEATS, sizeof *am->hello_seen);
    if (!am->hello_seen) {
        free(am);
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for the near side");
    }
    *am_p = am;
    return KVF_OK;
}

static int all_said_hello(const kvfi_am_t *am)
{
    int greeted = 1;

    for (const kvfi_am_peer_t *peer = am->list; peer; peer = peer->next)
        greeted &= !peer->linked || peer->failed || peer->notes_room;
    return greeted;
}

/* UCX 1.13 ends the process if an endpoint is closed while its connection is being made. */
static void await_hellos(kvfi_am_t *am, uint64_t end_ns)
{
    while (!all_said_hello(am) && kvfi_now_ns() < end_ns) {
        kvfi_wire_progress(am->wire);
        kvfi_am_pump(am);
    }
}

/* The end of the connection is not enough: whoever inherited the socket keeps it open. */
static void say_goodbye(kvfi_am_peer_t *peer)
{
    kvfi_am_message_t *bye = kvfi_am_message(peer, KVFI_AM_BYE, 0, 0, 0);

    if (bye)
        kvfi_am_send(peer, bye);
}

void kvfi_am_close(kvfi_am_t *am, uint64_t timeout_ns)
{
    uint64_t end = kvfi_deadline(kvfi_now_ns(), timeout_ns);

    if (!am)
        return;
    kvfi_lock_take(am->lock);
    if (!am->near)
        await_hellos(am, kvfi_now_ns() + CONNECT_NS);
    for (kvfi_am_peer_t *peer = am->list; peer; peer = peer->next) {
        int greeted = peer->notes_room != 0;

        atomic_store(&peer->dead, 1); /* what still comes in is dropped */
        drop_all_of(peer, KVF_ERR_CLOSED);
        if (!am->near && peer->ep && !peer->failed && greeted)
            say_goodbye(peer);
        unlink_peer(peer, 0);
    }
    if (!am->near)
        kvfi_wire_settle(am->wire, end);
    kvfi_lock_give(am->lock);
    if (!am->near)
        kvfi_wire_close(am->wire); /* UCX ends what is under way: peers are needed until here */
    for (kvfi_am_peer_t *peer = am->list; peer; peer = peer->next)
        if (peer->outgoing)
            return; /* UCX may still come back with it: it must find what it holds */
    while (am->list) {
        kvfi_am_peer_t *peer = am->list;

        am->list = peer->next;
        kvfi_am_peer_free(peer);
    }
    while (am->free_chunks) {
        kvfi_am_message_t *chunk = am->free_chunks;

        am->free_chunks = chunk->next;
        free(chunk);
    }
    while (am->free_records) {
        kvfi_unsettled_t *record = am->free_records;

        am->free_records = record->next;
        free(record);
    }
    kvfi_table_free(&am->peers);
    kvfi_table_free(&am->xfers);
    kvfi_own_close(&am->own);
    free(am->hello_seen);
    free(am);
}

const void *kvfi_am_address(const kvfi_am_t *am, size_t *len_p)
{
    return kvfi_wire_address(am->wire, len_p);
}

void kvfi_am_stats(kvfi_am_t *am, kvfi_am_stats_t *stats_p)
{
    kvfi_lock_take(am->lock);
    *stats_p = am->stats;
    kvfi_lock_give(am->lock);
}

static kvf_status_t connect_to(kvfi_am_peer_t *peer, const void *address, const kvfi_am_near_t *near)
{
    kvf_status_t status;

    /* its hello may have gone with the seat that it was said from */
    if (near && peer->linked && !peer->imports && !peer->notes_room)
        kvfi_am_bury(peer);
    if (peer->linked)
        return KVF_OK;
    status = kvfi_am_peer_connect(peer, address);
    if (status == KVF_OK && near)
        status = kvfi_mail_make(peer, near->hold);
    if (status != KVF_OK && peer->linked)
        kvfi_am_bury(peer);
    return status;
}

kvf_status_t kvfi_am_connect(kvfi_am_t *am, uint64_t incarnation, const void *address,
                             const kvfi_am_near_t *near, kvfi_am_peer_t **peer_p)
{
    kvf_status_t    status = KVF_OK;
    kvfi_am_peer_t *peer;

    kvfi_lock_take(am->lock);
    peer = kvfi_table_get(&am->peers, incarnation);
    if (!peer)
        peer = kvfi_am_peer_new(am, incarnation);
    if (peer && near) {
        peer->proc = near->proc;
        peer->closed = near->closed;
    }
    if (!peer)
        status = kvfi_fail(KVF_ERR_NOMEM, "no memory for a peer's connection");
    else
        status = connect_to(peer, address, near);
    if (status == KVF_OK) {
        peer->imports++;
        *peer_p = peer;
    } else if (peer) {
        atomic_store(&peer->dead, 1); /* the pump frees it */
    }
    kvfi_am_pump(am);
    kvfi_lock_give(am->lock);
    kvfi_am_wake(am);
    return status;
}

void kvfi_am_disconnect(kvfi_am_t *am, kvfi_am_peer_t *peer)
{
    kvfi_lock_take(am->lock);
    if (!--peer->imports)
        peer->closed = NULL;
    am->looked_ns = 0; /* it may have died: the next progress looks */
    kvfi_am_pump_and_unlock(am);
}

int kvfi_am_greeted(kvfi_am_t *am)
{
    int greeted;

    kvfi_lock_take(am->lock);
    greeted = all_said_hello(am);
    kvfi_lock_give(am->lock);
    return greeted;
}

int kvfi_am_alive(const kvfi_am_peer_t *peer)
{
    return !atomic_load(&peer->dead);
}

uint32_t kvfi_am_heard(const kvfi_am_peer_t *peer)
{
    return atomic_load_explicit(&peer->heard, memory_order_relaxed);
}

void kvfi_am_wire(kvfi_am_t *am, kvfi_am_peer_t *peer, char *buf, size_t len)
{
    buf[0] = 0;
    kvfi_lock_take(am->lock);
    if (peer->ep)
        kvfi_ep_wire(peer->ep, buf, len);
    kvfi_lock_give(am->lock);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The am machine: its opening and closing, and the connections that its engine asks for. See
 * am_internal.h for the messages, am_pump.c for what drives it.
 */
#include <stdlib.h>

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

void kvfi_am_close(kvfi_am_t *am, uint64_t timeout_ns)
{
    uint64_t end = kvfi_deadline(kvfi_now_ns(), timeout_ns);

    if (!am)
        return;
    kvfi_lock_take(am->lock);
    if (!am->near)
        await_hellos(am, kvfi_now_ns() + CONNECT_NS);
    for (kvfi_am_peer_t *peer = am->list; peer; peer = peer->next) {
        atomic_store(&peer->dead, 1); /* what still comes in is dropped */
        kvfi_am_let_go(peer, KVF_ERR_CLOSED, 0);
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

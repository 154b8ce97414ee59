/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The am machine: its opening and closing, and the connections that its engine asks for. See
 * am_internal.h for the messages, am_pump.c for what drives it.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/status.h"
#include "path/am_internal.h"

static const char *reach(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir)
{
    (void)local, (void)dir;
    if (target->in_process)
        return "the peer is this process";
    if (target->near)
        return "the peer is near";
    return target->am ? NULL : "no far connection";
}

static const char *here(kvfi_node_t *node)
{
    return node->open_far(node->engine) == KVF_OK ? NULL : kvf_last_error();
}

const kvfi_path_t kvfi_path_am = {
    .name = "am",
    .id = KVF_PATH_AM,
    .traits = KVFI_PATH_SERVED,
    .driver = KVFI_WIRE,
    .pairs_most = KVFI_AM_PAIRS_MOST,
    .reach = reach,
    .here = here,
    .start = kvfi_am_start,
    .cancel = kvfi_am_cancel,
};

kvf_status_t kvfi_am_open(const kvfi_carrier_t *carrier, const kvfi_am_host_t *host, kvfi_am_t **am_p)
{
    kvfi_am_t *am = calloc(1, sizeof *am + carrier->am_bytes);
    kvf_status_t status;

    if (!am)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for the %s side", carrier->side);
    am->carrier = carrier;
    am->state = am + 1;
    am->host = *host;
    am->held_most = KVFI_AM_HELD_MOST;
    am->answers_most = KVFI_AM_ANSWERS_MOST;
    status = carrier->open(am);
    if (status != KVF_OK) {
        free(am);
        return status;
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

/* UCX 1.13 ends the process if an endpoint closes as it connects, so that even who has no time to close waits
 * for a moment. */
static uint64_t hellos_end(const kvfi_am_t *am, uint64_t end_ns)
{
    uint64_t now = kvfi_now_ns(), most = now + KVFI_AM_HELLO_NS, least = now + am->carrier->connect_ns;

    end_ns = end_ns > most ? most : end_ns;
    return end_ns < least ? least : end_ns;
}

/* Who stood still until now may have been connected to without any sign of it here yet: until listen_ns it
 * listens for that, so that who wrote to it is told that nothing lands any more. */
static void await_hellos(kvfi_am_t *am, uint64_t listen_ns, uint64_t end_ns)
{
    for (uint64_t now = kvfi_now_ns();
         now < listen_ns || ((!all_said_hello(am) || am->carrier->expects(am)) && now < end_ns);
         now = kvfi_now_ns()) {
        am->carrier->progress(am);
        kvfi_am_pump(am);
    }
}

static void let_go_all(kvfi_am_t *am)
{
    for (kvfi_am_peer_t *peer = am->list; peer; peer = peer->next) {
        atomic_store(&peer->dead, 1); /* what still comes in is dropped */
        kvfi_am_let_go(peer, KVF_ERR_CLOSED, 0);
    }
}

/* Who connects meanwhile is answered, and told that the engine closes. */
static void turn_away(kvfi_am_t *am, uint64_t end_ns)
{
    while (am->carrier->expects(am) && kvfi_now_ns() < end_ns) {
        am->carrier->progress(am);
        kvfi_am_pump(am);
        let_go_all(am);
    }
}

/* All that it had, but for what a library still holds. */
static void free_all(kvfi_am_t *am)
{
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
    kvfi_table_free(&am->unsettled);
    free(am);
}

void kvfi_am_close(kvfi_am_t *am, uint64_t timeout_ns)
{
    uint64_t now = kvfi_now_ns(), end = kvfi_deadline(now, timeout_ns), hellos;
    uint64_t listen = now + KVFI_AM_LISTEN_NS;

    if (!am)
        return;
    kvfi_lock_take(am->lock);
    hellos = hellos_end(am, end);
    if (am->carrier->expects)
        await_hellos(am, listen < end ? listen : end, hellos);
    let_go_all(am);
    if (am->carrier->expects)
        turn_away(am, hellos);
    kvfi_lock_give(am->lock);
    am->carrier->close(am, end); /* what is under way ends in it: peers are needed until here */
    for (kvfi_am_peer_t *peer = am->list; peer; peer = peer->next)
        if (peer->outgoing)
            return; /* a library may still come back with it: it must find what it holds */
    free_all(am);
}

const void *kvfi_am_address(const kvfi_am_t *am, size_t *len_p)
{
    *len_p = am->address_len;
    return am->address;
}

void kvfi_am_stats(kvfi_am_t *am, kvfi_am_stats_t *stats_p)
{
    kvfi_lock_take(am->lock);
    *stats_p = am->stats;
    kvfi_lock_give(am->lock);
}

static kvf_status_t connect_to(kvfi_am_peer_t *peer, const void *to)
{
    kvf_status_t status = peer->am->carrier->connect(peer, to);

    if (status != KVF_OK && peer->linked)
        kvfi_am_bury(peer);
    return status;
}

kvf_status_t kvfi_am_connect(kvfi_am_t *am, uint64_t incarnation, const void *to, kvfi_am_peer_t **peer_p)
{
    kvf_status_t status;
    kvfi_am_peer_t *peer;

    kvfi_lock_take(am->lock);
    peer = kvfi_table_get(&am->peers, incarnation);
    if (!peer)
        peer = kvfi_am_peer_new(am, incarnation);
    status = peer ? connect_to(peer, to) : kvfi_fail(KVF_ERR_NOMEM, "no memory for a peer's connection");
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

void kvfi_am_disconnect(kvfi_am_t *am, kvfi_am_peer_t *peer, const _Atomic uint32_t *closed)
{
    kvfi_lock_take(am->lock);
    peer->imports--;
    if (peer->closed == closed)
        peer->closed = NULL; /* who lent an earlier one is about to disconnect */
    am->look = 1;            /* it may have died */
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

int kvfi_am_parted(const kvfi_am_peer_t *peer)
{
    return atomic_load(&peer->parted);
}

uint32_t kvfi_am_heard(const kvfi_am_peer_t *peer)
{
    return atomic_load_explicit(&peer->heard, memory_order_relaxed);
}

void kvfi_am_wire(kvfi_am_t *am, kvfi_am_peer_t *peer, char *buf, size_t len)
{
    kvfi_lock_take(am->lock);
    am->carrier->wire(peer, buf, len);
    kvfi_lock_give(am->lock);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Peers of the am machine: found, connected, buried with all that is under way, freed.
 */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "path/am_internal.h"

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

/* The end of the connection is not enough: whoever inherited the socket keeps it open. */
static void say_goodbye(kvfi_am_peer_t *peer)
{
    kvfi_am_message_t *bye = kvfi_am_message(peer, KVFI_AM_BYE, 0, 0, 0);

    if (bye)
        kvfi_am_send(peer, bye);
}

void kvfi_am_let_go(kvfi_am_peer_t *peer, kvf_status_t status, int force)
{
    int greeted = peer->notes_room != 0;

    drop_all_of(peer, status);
    if (!force && peer->ep && !peer->failed && greeted)
        say_goodbye(peer);
    kvfi_ep_close(peer->ep, force);
    peer->ep = NULL;
    peer->linked = 0;
}

void kvfi_am_bury(kvfi_am_peer_t *peer)
{
    peer->failed = 0;
    atomic_store(&peer->dead, 1);
    kvfi_am_let_go(peer, KVF_ERR_PEER, 1);
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

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Peers of the am machine: found, connected, buried with all that is under way, freed.
 */
#include <stdlib.h>

#include "path/am_internal.h"

kvfi_am_peer_t *kvfi_am_peer_new(kvfi_am_t *am, uint64_t incarnation)
{
    kvfi_am_peer_t *peer = calloc(1, sizeof *peer + am->carrier->peer_bytes);

    if (!peer || kvfi_table_put(&am->peers, incarnation, peer)) {
        free(peer);
        return NULL;
    }
    peer->am = am;
    peer->state = peer + 1;
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

kvfi_am_peer_t *kvfi_am_hello(kvfi_am_t *am, uint64_t incarnation, void *hello)
{
    kvfi_am_peer_t *peer = kvfi_table_get(&am->peers, incarnation);

    if (hello && !peer)
        peer = kvfi_am_peer_new(am, incarnation);
    if (!hello || !peer) {
        free(hello);
        am->stats.dropped++;
        return NULL;
    }
    free(peer->hello);
    peer->hello = hello;
    return peer;
}

void kvfi_am_linked(kvfi_am_peer_t *peer, kvfi_am_message_t *first)
{
    peer->linked = 1;
    peer->quiet = 0;
    atomic_store(&peer->parted, 0);
    peer->silent_ns = 0;
    atomic_store(&peer->dead, 0);
    kvfi_am_queue(peer, first);
    kvfi_settle_ask_again(peer);
}

/* What the peer does for us ends, what we do for it is forgotten. */
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
    while (peer->outbox) {
        kvfi_am_message_t *message = peer->outbox;

        peer->outbox = message->next;
        kvfi_am_message_free(am, message);
    }
    peer->outbox_end = &peer->outbox;
    peer->refused = KVF_OK;
    am->changed = 1;
}

/* The next connection counts its notes afresh. */
static void forget_counts(kvfi_am_peer_t *peer)
{
    peer->notes_sent = peer->notes_came = peer->notes_taken = peer->notes_room = 0;
    for (kvfi_am_message_t *note = peer->inbox; note; note = note->next)
        note->head.off = 0;
    peer->inbox_came = peer->inbox_taken = peer->acked_came = peer->acked_taken = 0;
}

void kvfi_am_let_go(kvfi_am_peer_t *peer, kvf_status_t status, int force)
{
    drop_all_of(peer, status);
    peer->am->carrier->drop(peer, force);
    forget_counts(peer);
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
    return atomic_load(&peer->dead) && !peer->imports && !peer->outgoing && !peer->inbox && !peer->hello &&
           !peer->unsettled;
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
    free(peer->hello);
    free(peer);
}

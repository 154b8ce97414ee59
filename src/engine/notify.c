/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Notifications. Those to one peer stand in one line from post on, and leave in that order, each
 * once its batch's ops to that peer have ended well: to a near peer into the ring of our seat in
 * its page, to a far one as messages.
 */
#include <string.h>

#include "engine/engine.h"
#include "engine/home.h"
#include "engine/links.h"
#include "engine/notify.h"
#include "engine/peer.h"

#define ALIVE_AGE_NS UINT64_C(1000000000)

void kvfi_note_line_up(kvfi_out_note_t *note)
{
    kvf_peer_t *peer = note->peer;

    pthread_mutex_lock(&peer->out_lock);
    note->next = NULL;
    note->ready = 0;
    atomic_store(&note->sent, 0);
    atomic_store(&note->status, KVF_INPROGRESS);
    atomic_store(&note->am.status, KVF_INPROGRESS);
    *peer->out_end = note;
    peer->out_end = &note->next;
    pthread_mutex_unlock(&peer->out_lock);
}

static void leave_line(kvf_peer_t *peer, kvfi_out_note_t *note)
{
    kvfi_out_note_t **at = &peer->out;

    while (*at != note)
        at = &(*at)->next;
    *at = note->next;
    if (!*at)
        peer->out_end = at;
}

void kvfi_note_drop(kvfi_out_note_t *note, kvf_status_t status)
{
    kvf_peer_t *peer = note->peer;

    pthread_mutex_lock(&peer->out_lock);
    if (atomic_load(&note->sent)) {
        kvfi_am_note_cancel(kvfi_links_am(peer->object.engine, KVFI_WIRE), peer->am, &note->am, status);
        atomic_store(&note->status, atomic_load(&note->am.status));
    } else if (atomic_load(&note->status) == KVF_INPROGRESS) {
        leave_line(peer, note);
        atomic_store(&note->status, status);
    }
    pthread_mutex_unlock(&peer->out_lock);
    kvfi_note_pump(peer); /* those behind it need wait no longer */
}

/* Once each time the owner arms: a sleeper that is slow to wake needs no second ring. */
static void ring(kvf_peer_t *peer)
{
    if (peer->home)
        kvfi_home_ring(peer->home);
    else
        kvfi_hold_ring(&peer->hold, &peer->object.engine->home->bell);
}

static void send_far(kvf_peer_t *peer, kvfi_out_note_t *note)
{
    leave_line(peer, note);
    note->am.len = note->len;
    note->am.channel = note->channel;
    note->am.told = note->told;
    memcpy(note->am.data, note->data, note->len);
    atomic_store(&note->sent, 1); /* first: who is woken by its end looks here */
    kvfi_am_note_send(kvfi_links_am(peer->object.engine, KVFI_WIRE), peer->am, &note->am);
}

/* 0: the ring is full. */
static int put_near(kvf_peer_t *peer, kvfi_out_note_t *note)
{
    uint32_t armed = 0;
    int put = -2;

    if (kvfi_peer_alive(peer, ALIVE_AGE_NS))
        put = kvfi_hold_put(&peer->hold, note->data, note->len, note->channel, note->told, &armed);
    if (put == -1)
        return 0;
    leave_line(peer, note);
    atomic_store(&note->status, put == -2 ? KVF_ERR_PEER : KVF_OK);
    if (put == 1) {
        ring(peer);
        kvfi_hold_rang(&peer->hold, armed);
    }
    return 1;
}

void kvfi_note_pump(kvf_peer_t *peer)
{
    int more = 1;

    pthread_mutex_lock(&peer->out_lock);
    while (more && peer->out && peer->out->ready) {
        if (peer->am)
            send_far(peer, peer->out);
        else
            more = put_near(peer, peer->out);
    }
    pthread_mutex_unlock(&peer->out_lock);
}

void kvfi_note_tell(kvfi_out_note_t *note, kvf_status_t status)
{
    kvf_peer_t *peer = note->peer;

    pthread_mutex_lock(&peer->out_lock);
    if (!atomic_load(&note->sent) && atomic_load(&note->status) == KVF_INPROGRESS) {
        if (peer->am)
            send_far(peer, note);
        else
            put_near(peer, note);
    }
    pthread_mutex_unlock(&peer->out_lock);
    kvfi_note_drop(note, status);
}

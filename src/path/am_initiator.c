/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The initiator's side of am: requests that go out, their end, notifications both ways.
 */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "path/am_internal.h"

static int queue_request(kvfi_am_peer_t *peer, const kvfi_xfer_t *xfer)
{
    const kvfi_box_t *box = &xfer->box;
    const kvfi_target_t *target = xfer->target;
    int ids = box->local_ids || box->remote_ids;
    size_t list = box->blocks * sizeof(uint32_t);
    kvfi_am_request_t request = {.grant = target->grant,
                                 .epoch = target->epoch,
                                 .range = target->range,
                                 .dir = xfer->dir,
                                 .off = box->remote_off,
                                 .len = box->len,
                                 .block = box->remote_block,
                                 .count = {box->count[0], box->count[1]},
                                 .stride = {box->remote_stride[0], box->remote_stride[1]},
                                 .blocks = box->blocks,
                                 .flags = (ids ? KVFI_AM_HAS_IDS : 0) | (xfer->gens ? KVFI_AM_HAS_GENS : 0)};
    size_t len = sizeof request + (ids ? list : 0) + (xfer->gens ? list : 0);
    kvfi_am_message_t *message;
    char *at;

    message = kvfi_am_message(peer, KVFI_AM_REQUEST, xfer->token, 0, len);
    if (!message)
        return -1;
    memcpy(message->data, &request, sizeof request);
    at = message->data + sizeof request;
    for (uint32_t i = 0; ids && i < box->blocks; i++, at += sizeof(uint32_t)) {
        uint32_t id = kvfi_box_skips(box, i) ? KVF_SKIP : kvfi_box_id(box->remote_ids, i);

        memcpy(at, &id, sizeof id);
    }
    if (xfer->gens)
        memcpy(at, xfer->gens, list);
    kvfi_am_queue(peer, message);
    return 0;
}

static void start_one(kvfi_am_t *am, kvfi_xfer_t *xfer)
{
    kvfi_am_peer_t *peer = xfer->peer;

    if (!xfer->stream) {
        kvfi_am_xfer_end(am, xfer, KVF_OK);
        return;
    }
    if (atomic_load(&peer->dead) || peer->failed) {
        kvfi_am_xfer_end(am, xfer, KVF_ERR_PEER);
        return;
    }
    xfer->token = ++am->last_token;
    if (xfer->dir == KVF_WRITE && !(xfer->record = kvfi_settle_record(am, xfer))) {
        kvfi_am_xfer_end(am, xfer, KVF_ERR_NOMEM);
        return;
    }
    if (kvfi_table_put(&am->xfers, xfer->token, xfer) || queue_request(peer, xfer)) {
        kvfi_am_xfer_end(am, xfer, KVF_ERR_NOMEM);
        return;
    }
    xfer->calls++;
    xfer->box = kvfi_box_local_side(&xfer->box);
    kvfi_box_fold(&xfer->box);
    xfer->cursor = kvfi_cursor_at_start(&xfer->box);
    xfer->checked = 0;
    if (xfer->dir == KVF_WRITE)
        kvfi_am_write_link(peer, xfer);
}

size_t kvfi_am_start(kvfi_xfer_t *const *xfers, size_t count)
{
    kvfi_am_t *am = xfers[0]->peer->am;
    size_t n;

    kvfi_lock_take(am->lock);
    for (n = 0; n < count && xfers[n]->peer->am == am; n++)
        start_one(am, xfers[n]);
    kvfi_am_pump(am);
    kvfi_lock_give(am->lock);
    return n;
}

static void cancel(kvfi_xfer_t *xfer, kvf_status_t status, _Atomic uint32_t *waits, int unmoved)
{
    kvfi_am_t *am = xfer->peer->am;

    kvfi_lock_take(am->lock);
    if (atomic_load(&xfer->status) == KVF_INPROGRESS && !(unmoved && kvfi_xfer_has_moved(xfer))) {
        kvfi_settle_give_up(xfer, status, waits);
        kvfi_am_pump(am);
    }
    kvfi_lock_give(am->lock);
    kvfi_am_wake(am);
}

void kvfi_am_cancel(kvfi_xfer_t *xfer, kvf_status_t status, _Atomic uint32_t *waits)
{
    cancel(xfer, status, waits, 0);
}

void kvfi_am_cancel_unmoved(kvfi_xfer_t *xfer, kvf_status_t status)
{
    cancel(xfer, status, NULL, 1);
}

void kvfi_am_note_send(kvfi_am_t *am, kvfi_am_peer_t *peer, kvfi_am_note_t *note)
{
    kvfi_lock_take(am->lock);
    note->seq = 0;
    note->next = NULL;
    if (atomic_load(&peer->dead) || peer->failed) {
        atomic_store(&note->status, KVF_ERR_PEER);
    } else {
        atomic_store(&note->status, KVF_INPROGRESS);
        *peer->notes_end = note;
        peer->notes_end = &note->next;
        kvfi_am_pump(am);
    }
    kvfi_lock_give(am->lock);
    kvfi_am_wake(am);
}

void kvfi_am_note_cancel(kvfi_am_t *am, kvfi_am_peer_t *peer, kvfi_am_note_t *note, kvf_status_t status)
{
    kvfi_am_note_t **at = &peer->notes;

    kvfi_lock_take(am->lock);
    if (atomic_load(&note->status) == KVF_INPROGRESS) {
        while (*at != note)
            at = &(*at)->next;
        *at = note->next;
        if (!*at)
            peer->notes_end = at;
        atomic_store(&note->status, status);
    }
    kvfi_lock_give(am->lock);
}

int kvfi_am_note_take(kvfi_am_t *am, kvfi_note_room_t *room, void *arg, kvfi_note_t *note_p,
                      uint64_t *incarnation_p, uint64_t *rank_p)
{
    kvfi_am_message_t *message;
    kvfi_am_peer_t *peer;

    kvfi_lock_take(am->lock);
    for (peer = am->list; peer; peer = peer->next)
        if (peer->inbox && room(arg, (uint32_t)(peer->inbox->head.token >> 8)))
            break;
    if (!peer) {
        kvfi_lock_give(am->lock);
        return 0;
    }
    message = peer->inbox;
    peer->inbox = message->next;
    if (!peer->inbox)
        peer->inbox_end = &peer->inbox;
    note_p->len = (uint16_t)message->head.len;
    note_p->status = (int16_t) - (int64_t)(message->head.token & 0xff);
    note_p->channel = (uint32_t)(message->head.token >> 8);
    memcpy(note_p->data, message->data, note_p->len);
    *incarnation_p = peer->incarnation;
    *rank_p = peer->rank;
    peer->inbox_taken += message->head.off != 0;
    free(message);
    kvfi_am_pump_and_unlock(am);
    return 1;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rings carrier: between neighbours, in memory that a pair shares. Messages go by mail.c, the bytes of
 * streams through the slots of stage.c. This file joins the two, and looks at lives, since nothing reports
 * that a neighbour has died. Nothing here waits.
 */
#include "path/rings.h"

#include "base/clock.h"

#define LIVES_NS UINT64_C(50000000) /* from look to look */

static kvf_status_t open_rings(kvfi_am_t *am)
{
    am->lock = kvfi_link_turn(am->host.near);
    am->fd = am->host.bell->fd;
    return KVF_OK;
}

/* The link is the engine's, the rest went with the peers. */
static void close_rings(kvfi_am_t *am, uint64_t end_ns)
{
    (void)am, (void)end_ns;
}

/* ---------------------------------------------------------------- progress */

static void write_off(kvfi_am_peer_t *peer, const char *why)
{
    peer->quiet = 1;
    if (peer->linked)
        kvfi_am_peer_fail(peer, why);
    else
        kvfi_settle_all(peer);
}

/* A peer that closes shuts its ring once it has finished the chunk that it has begun. */
static void look_at_lives(kvfi_am_t *am)
{
    kvfi_rings_t *rings = kvfi_rings_of(am);
    uint64_t now = kvfi_now_ns();

    if (now - rings->looked_ns < LIVES_NS && !am->look)
        return;
    rings->looked_ns = now;
    am->look = 0;
    for (kvfi_am_peer_t *peer = am->list; peer; peer = peer->next) {
        if (!peer->linked && !peer->unsettled)
            continue;
        if (peer->watched && !kvfi_life_check(&peer->life, 0))
            write_off(peer, "its process has died");
        else if (peer->linked && peer->closed && atomic_load(peer->closed) && !kvfi_stage_begun(peer))
            write_off(peer, "its engine has closed");
    }
}

static void progress(kvfi_am_t *am)
{
    kvfi_mail_receive(am);
    if (am->list)
        look_at_lives(am);
}

static void wake(kvfi_am_t *am)
{
    kvfi_bell_wake(am->host.bell);
}

/* -------------------------------------------------------------- connections */

static void link_up(kvfi_am_peer_t *peer)
{
    if (!peer->watched)
        peer->watched = !kvfi_life_open(&peer->life, peer->proc);
    kvfi_am_linked(peer, NULL);
}

static kvf_status_t connect_to(kvfi_am_peer_t *peer, const void *to)
{
    const kvfi_am_near_t *near = to;
    kvf_status_t status = KVF_OK;

    peer->proc = near->proc;
    /* its hello may go, or have gone, with the seat that it was said from */
    if (peer->linked && peer->closed != near->closed && !peer->notes_room)
        kvfi_am_bury(peer);
    if (!peer->linked) {
        link_up(peer);
        status = kvfi_mail_make(peer, near->hold);
    }
    if (status == KVF_OK)
        peer->closed = near->closed;
    return status;
}

static kvf_status_t meet(kvfi_am_peer_t *peer)
{
    if (!peer->linked)
        link_up(peer);
    return kvfi_mail_meet(peer);
}

static void drop(kvfi_am_peer_t *peer, int force)
{
    (void)force; /* what was put is read by the peer in either case */
    kvfi_stage_drop(peer);
    kvfi_mail_drop(peer);
}

static void wire(kvfi_am_peer_t *peer, char *buf, size_t len)
{
    (void)peer, (void)len;
    buf[0] = 0;
}

/* --------------------------------------------------------- what goes over it */

static void send_message(kvfi_am_peer_t *peer, kvfi_am_message_t *message)
{
    const kvfi_am_head_t *head = &message->head;

    if (head->kind == KVFI_AM_DATA && head->flags & KVFI_AM_TO_OWNER)
        kvfi_stage_ready(peer, head->flags >> KVFI_AM_SLOT, head->token);
    kvfi_mail_send(peer, message);
}

static kvfi_am_message_t *chunk(kvfi_am_peer_t *peer, uint64_t token, char **buf_p)
{
    unsigned slot;
    char *buf = kvfi_stage_slot(peer, &slot);
    kvfi_am_message_t *message = buf ? kvfi_am_message(peer, KVFI_AM_DATA, token, 0, 0) : NULL;

    if (!message)
        return NULL;
    message->head.flags = (uint16_t)(slot << KVFI_AM_SLOT);
    *buf_p = buf;
    return message;
}

const kvfi_carrier_t kvfi_rings = {
    .side = "near",
    .am_bytes = sizeof(kvfi_rings_t),
    .peer_bytes = sizeof(kvfi_pair_t),
    .least = KVFI_STAGE_LEAST,
    .most = KVFI_STAGE_SLOT_BYTES,
    .turn = KVFI_STAGE_SLOTS,
    .open = open_rings,
    .close = close_rings,
    .progress = progress,
    .arm = kvfi_mail_arm,
    .wake = wake,
    .connect = connect_to,
    .meet = meet,
    .drop = drop,
    .wire = wire,
    .send = send_message,
    .chunk = chunk,
    .recall = kvfi_stage_take,
};

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Boxes made, said, met; bytes put and taken. See mail.h. Counts in a ring are believed no further than
 * its bounds: a neighbour that writes something else there is refused, and only its own ring is read
 * for it. Nothing here waits.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"
#include "path/rings.h"

#define PAYLOAD_LEAST 256u
#define PAYLOAD_KEPT  65536u

typedef struct hello {
    uint64_t sender, rank, room;
    kvfi_proc_id_t proc;
    kvfi_bell_name_t bell;
    kvfi_share_key_t box;
} hello_t;

static int hello_read(const char *data, uint32_t len, hello_t *hello)
{
    if (len != sizeof *hello)
        return -1;
    memcpy(hello, data, sizeof *hello);
    return hello->sender && hello->room ? 0 : -1;
}

static void read_from(kvfi_mail_in_t *in, kvfi_mail_ring_t *ring)
{
    in->ring = ring;
    in->head = in->got = 0;
}

static void write_to(kvfi_mail_t *mail, kvfi_mail_ring_t *ring)
{
    mail->out = ring;
    mail->tail = mail->put = 0;
}

/* -------------------------------------------------------------- connecting */

static void say_hello(kvfi_am_peer_t *peer, kvfi_hold_t *hold)
{
    kvfi_am_t *am = peer->am;
    hello_t hello = {.sender = am->host.incarnation,
                     .rank = am->host.rank,
                     .room = am->host.depth,
                     .proc = am->host.proc,
                     .bell = am->host.bell->name,
                     .box = *kvfi_mem_key(kvfi_pair_of(peer)->mail.mem)};

    _Static_assert(sizeof hello <= KVFI_HELLO_MAX, "a hello fits into a seat");
    kvfi_hold_say(hold, &hello, sizeof hello);
    kvfi_bell_ring(am->host.bell, kvfi_pair_of(peer)->mail.bell);
}

kvf_status_t kvfi_mail_make(kvfi_am_peer_t *peer, kvfi_hold_t *hold)
{
    kvfi_mail_t *mail = &kvfi_pair_of(peer)->mail;
    kvfi_mem_want_t want = {.len = sizeof(kvfi_mail_box_t)};
    kvfi_mail_box_t *box;
    char why[256];
    kvf_status_t status = kvfi_mem_alloc(peer->am->host.near, &want, &mail->mem);

    if (status != KVF_OK)
        return kvfi_fail_within(status, "no box for messages to a neighbour");
    box = kvfi_mem_addr(mail->mem);
    if (kvfi_memory_prove(box, want.len, 0, why, sizeof why)) {
        kvfi_mem_free(mail->mem);
        mail->mem = NULL;
        return kvfi_fail(KVF_ERR_NOMEM, "no box for messages to a neighbour: %s", why);
    }
    box->first = box->last = (kvfi_share_mark_t){KVFI_MAIL_MAGIC, peer->am->host.incarnation};
    atomic_store(&box->ring[0].quiet, 1);
    atomic_store(&box->ring[1].quiet, 1);
    mail->bell = hold->bell;
    say_hello(peer, hold);
    write_to(mail, &box->ring[0]);
    read_from(&mail->in[0], &box->ring[1]);
    return KVF_OK;
}

static int is_box(const kvfi_mail_box_t *box, uint64_t maker)
{
    return !((uintptr_t)box % _Alignof(kvfi_mail_box_t)) &&
           kvfi_share_marked(&box->first, KVFI_MAIL_MAGIC, maker) &&
           kvfi_share_marked(&box->last, KVFI_MAIL_MAGIC, maker);
}

kvf_status_t kvfi_mail_meet(kvfi_am_peer_t *peer)
{
    kvfi_mail_t *mail = &kvfi_pair_of(peer)->mail;
    kvfi_mail_box_t *box;
    hello_t hello;
    void *at;
    kvf_status_t status;

    memcpy(&hello, peer->hello, sizeof hello);
    status = kvfi_map_open(&hello.box, sizeof hello.box, hello.box.addr, sizeof *box, &mail->map, &at);
    if (status != KVF_OK)
        return status;
    box = at;
    if (!is_box(box, peer->incarnation)) {
        kvfi_map_close(mail->map);
        mail->map = NULL;
        return kvfi_fail(KVF_ERR_PEER, "its hello names a box that is none");
    }
    kvfi_memory_populate(box, sizeof *box);
    read_from(&mail->in[1], &box->ring[0]);
    peer->rank = hello.rank;
    peer->notes_room = hello.room;
    if (!mail->out) {
        mail->bell = hello.bell;
        write_to(mail, &box->ring[1]);
        kvfi_am_queue(peer,
                      kvfi_am_message(peer, KVFI_AM_HELLO, peer->am->host.depth, peer->am->host.rank, 0));
    }
    return KVF_OK;
}

/* A hello came; the pump meets who said it. */
static void on_hello(kvfi_am_t *am, const char *data, uint32_t len)
{
    kvfi_am_peer_t *peer;
    hello_t hello;
    void *copy;

    am->worked = 1;
    if (hello_read(data, len, &hello)) {
        am->stats.dropped++;
        return;
    }
    peer = kvfi_table_get(&am->peers, hello.sender);
    /* a second one: it lost the connection, and made a new one before we noticed */
    if (peer && peer->linked && peer->notes_room) {
        peer->quiet = 1;
        kvfi_am_peer_fail(peer, "it has connected again");
    }
    copy = malloc(len);
    if (copy)
        memcpy(copy, data, len);
    peer = kvfi_am_hello(am, hello.sender, copy);
    if (peer)
        peer->proc = hello.proc;
}

/* ----------------------------------------------------------------- sending */

/* What of a message lies in the ring: the payload of DATA lies in a slot. */
static uint32_t length(const kvfi_am_head_t *head)
{
    return (uint32_t)sizeof *head + (head->kind == KVFI_AM_DATA ? 0 : head->len);
}

static void put(kvfi_mail_ring_t *ring, uint32_t at, const void *from, uint32_t len)
{
    uint32_t off = at % KVFI_MAIL_BYTES, first = KVFI_MAIL_BYTES - off;

    first = first < len ? first : len;
    memcpy(ring->bytes + off, from, first);
    memcpy(ring->bytes, (const char *)from + first, len - first);
}

/* Bytes of message from mail->put on, at most room: how many were put. */
static uint32_t put_part(kvfi_mail_t *mail, const kvfi_am_message_t *message, uint32_t room)
{
    uint32_t begun = mail->put, part;

    if (mail->put < sizeof message->head) {
        part = (uint32_t)sizeof message->head - mail->put;
        part = part < room ? part : room;
        put(mail->out, mail->tail, (const char *)&message->head + mail->put, part);
        mail->put += part;
        room -= part;
    }
    part = length(&message->head) - mail->put;
    part = part < room ? part : room;
    if (part)
        put(mail->out, mail->tail + (mail->put - begun), message->data + mail->put - sizeof message->head,
            part);
    mail->put += part;
    return mail->put - begun;
}

/* Room in the ring; UINT32_MAX: its count is none. */
static uint32_t room_in(const kvfi_mail_t *mail)
{
    uint32_t used = mail->tail - atomic_load_explicit(&mail->out->head, memory_order_acquire);

    return used <= KVFI_MAIL_BYTES ? KVFI_MAIL_BYTES - used : UINT32_MAX;
}

static void flush(kvfi_am_peer_t *peer)
{
    kvfi_mail_t *mail = &kvfi_pair_of(peer)->mail;
    kvfi_mail_ring_t *ring = mail->out;
    uint32_t room, before = mail->tail;

    while (mail->queue) {
        kvfi_am_message_t *message = mail->queue;

        room = room_in(mail);
        if (!room) {
            atomic_store(&ring->waiting, 1);
            atomic_thread_fence(memory_order_seq_cst);
            room = room_in(mail);
        }
        if (room == UINT32_MAX) {
            kvfi_am_peer_fail(peer, "it has taken more of its messages than there were");
            break;
        }
        if (!room)
            break;
        mail->tail += put_part(mail, message, room);
        atomic_store_explicit(&ring->tail, mail->tail, memory_order_release);
        if (mail->put < length(&message->head))
            continue;
        mail->put = 0;
        mail->queue = message->next;
        kvfi_am_message_free(peer->am, message);
    }
    if (mail->tail == before)
        return;
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&ring->quiet, memory_order_relaxed) && atomic_exchange(&ring->quiet, 0))
        kvfi_bell_ring(peer->am->host.bell, mail->bell);
}

void kvfi_mail_send(kvfi_am_peer_t *peer, kvfi_am_message_t *message)
{
    kvfi_mail_t *mail = &kvfi_pair_of(peer)->mail;

    message->next = NULL;
    if (!mail->queue)
        mail->queue_end = &mail->queue;
    *mail->queue_end = message;
    mail->queue_end = &message->next;
    flush(peer);
}

/* --------------------------------------------------------------- receiving */

static void take(const kvfi_mail_in_t *in, void *to, uint32_t len)
{
    uint32_t off = in->head % KVFI_MAIL_BYTES, first = KVFI_MAIL_BYTES - off;

    first = first < len ? first : len;
    memcpy(to, in->ring->bytes + off, first);
    memcpy((char *)to + first, in->ring->bytes, len - first);
}

/* Room for what has come of a payload: a sender makes us hold no more than it sends. */
static int hold(kvfi_mail_in_t *in, uint64_t len)
{
    uint64_t cap = in->cap < PAYLOAD_LEAST ? PAYLOAD_LEAST : in->cap;
    char *payload;

    while (cap < len)
        cap *= 2;
    cap = cap < KVFI_AM_REQUEST_MOST ? cap : KVFI_AM_REQUEST_MOST;
    if (cap == in->cap)
        return 0;
    payload = len <= cap ? realloc(in->payload, cap) : NULL;
    if (!payload)
        return -1;
    in->payload = payload;
    in->cap = (uint32_t)cap;
    return 0;
}

/* Up to most bytes of the message under way: how many; 0: the peer has failed. */
static uint32_t take_part(kvfi_am_peer_t *peer, kvfi_mail_in_t *in, uint32_t most)
{
    kvfi_am_head_t head;
    uint32_t part, len;

    if (in->got < sizeof head) {
        part = (uint32_t)sizeof head - in->got;
        part = part < most ? part : most;
        take(in, in->start + in->got, part);
    } else {
        memcpy(&head, in->start, sizeof head);
        len = length(&head);
        part = len - in->got < most ? len - in->got : most;
        if (hold(in, (uint64_t)in->got - sizeof head + part)) {
            kvfi_am_peer_fail(peer, "no memory for its message");
            return 0;
        }
        take(in, in->payload + in->got - sizeof head, part);
    }
    in->head += part;
    in->got += part;
    return part;
}

/* The message under way, if it is whole. 1: it was one of bytes in a slot, which have been copied. */
static int deliver(kvfi_am_peer_t *peer, kvfi_mail_in_t *in)
{
    kvfi_am_head_t head;

    _Static_assert(sizeof head <= sizeof in->start, "a head fits");
    if (in->got < sizeof head)
        return 0;
    memcpy(&head, in->start, sizeof head);
    if (head.len > KVFI_AM_REQUEST_MOST) {
        kvfi_am_peer_fail(peer, "its message has an impossible length");
        return 0;
    }
    if (in->got < length(&head))
        return 0;
    in->got = 0;
    if (!kvfi_am_admit(peer, &head))
        return 0;
    if (head.kind == KVFI_AM_HELLO) {
        peer->rank = head.off;
        peer->notes_room = head.token;
    } else {
        kvfi_stage_take_in(peer, &head, in->payload);
    }
    if (in->cap > PAYLOAD_KEPT) {
        free(in->payload);
        in->payload = NULL;
        in->cap = 0;
    }
    return head.kind == KVFI_AM_DATA;
}

static void receive(kvfi_am_peer_t *peer, kvfi_mail_in_t *in)
{
    kvfi_mail_ring_t *ring = in->ring;
    uint32_t shut = atomic_load_explicit(&ring->shut, memory_order_acquire);
    uint32_t left = atomic_load_explicit(&ring->tail, memory_order_acquire) - in->head;
    unsigned slots = KVFI_STAGE_SLOTS; /* more it cannot have filled */

    if (left > KVFI_MAIL_BYTES) {
        kvfi_am_peer_fail(peer, "its ring of messages claims more than it holds");
        return;
    }
    if (!left) {
        if (shut) {
            peer->quiet = 1;
            kvfi_am_peer_fail(peer, "its engine closes, or has given us up");
        }
        return;
    }
    peer->am->worked = 1;
    while (left && slots && !peer->failed) {
        left -= take_part(peer, in, left);
        if (!peer->failed)
            slots -= (unsigned)deliver(peer, in);
    }
    atomic_store_explicit(&ring->head, in->head, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&ring->waiting, memory_order_relaxed) && atomic_exchange(&ring->waiting, 0))
        kvfi_bell_ring(peer->am->host.bell, kvfi_pair_of(peer)->mail.bell);
}

static void receive_hellos(kvfi_am_t *am, uint32_t hellos)
{
    kvfi_rings_t *rings = kvfi_rings_of(am);
    kvfi_page_t *page = am->host.page;
    uint32_t seats = kvfi_page_seats(page), len;
    char data[KVFI_HELLO_MAX];

    rings->hellos = hellos;
    for (uint32_t i = 0; i < seats; i++)
        if ((len = kvfi_page_heard(page, i, &rings->seen[i], data)))
            on_hello(am, data, len);
}

void kvfi_mail_receive(kvfi_am_t *am)
{
    kvfi_page_t *page = am->host.page;
    uint32_t hellos = atomic_load(&page->hellos);

    if (hellos != kvfi_rings_of(am)->hellos)
        receive_hellos(am, hellos);
    if (atomic_load_explicit(&page->rung, memory_order_relaxed) && atomic_exchange(&page->rung, 0))
        am->changed = 1;
    for (kvfi_am_peer_t *peer = am->list; peer; peer = peer->next) {
        kvfi_mail_t *mail = &kvfi_pair_of(peer)->mail;

        for (int i = 0; i < 2; i++)
            if (mail->in[i].ring && !peer->failed)
                receive(peer, &mail->in[i]);
        if (mail->queue && !peer->failed)
            flush(peer);
    }
}

static int arm(kvfi_mail_in_t *in)
{
    if (!in->ring)
        return 0;
    if (!atomic_load_explicit(&in->ring->quiet, memory_order_relaxed))
        atomic_store(&in->ring->quiet, 1);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&in->ring->tail, memory_order_acquire) != in->head ||
           atomic_load_explicit(&in->ring->shut, memory_order_relaxed);
}

/* Told after the bell was silenced: a ring for room that is filled again took `waiting` along. */
static int room_once_told(kvfi_mail_t *mail)
{
    atomic_store(&mail->out->waiting, 1);
    atomic_thread_fence(memory_order_seq_cst);
    return room_in(mail) != 0;
}

int kvfi_mail_arm(kvfi_am_t *am)
{
    kvfi_page_t *page = am->host.page;
    int busy = am->changed;

    if (kvfi_bell_hush(am->host.bell))
        am->host.changed(am->host.engine);
    atomic_thread_fence(memory_order_seq_cst);
    for (kvfi_am_peer_t *peer = am->list; peer; peer = peer->next) {
        kvfi_mail_t *mail = &kvfi_pair_of(peer)->mail;

        for (int i = 0; i < 2; i++)
            busy |= arm(&mail->in[i]);
        busy |= mail->queue && room_once_told(mail);
    }
    return busy || atomic_load(&page->rung) || atomic_load(&page->hellos) != kvfi_rings_of(am)->hellos;
}

/* -------------------------------------------------------------------- end */

void kvfi_mail_drop(kvfi_am_peer_t *peer)
{
    kvfi_mail_t *mail = &kvfi_pair_of(peer)->mail;

    if (mail->out) {
        atomic_store(&mail->out->shut, 1);
        kvfi_bell_ring(peer->am->host.bell, mail->bell);
    }
    while (mail->queue) {
        kvfi_am_message_t *message = mail->queue;

        mail->queue = message->next;
        kvfi_am_message_free(peer->am, message);
    }
    kvfi_map_close(mail->map);
    kvfi_mem_free(mail->mem);
    for (int i = 0; i < 2; i++)
        free(mail->in[i].payload);
    memset(mail, 0, sizeof *mail);
}

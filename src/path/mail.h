/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Mail: how the messages of the rings carrier go between two neighbours. A ring of bytes each way, one
 * writer and one reader each, in shared memory of this pair alone: who is killed in the middle of a
 * message takes nobody along but itself.
 *
 *   connects                                     is met
 *     makes the box: two rings
 *     hello, in its seat of the peer's page  --->  maps the box
 *     ring 0  head, payload, head, payload ----->
 *             <---------------------------------- ring 1
 *
 * Of two that connect at once each writes into ring 0 of its own box and reads both. A message may be
 * longer than a ring. It is copied out before anything of it is looked at.
 *
 * Who sleeps is woken by its bell. A ring is `quiet` until its writer has rung for it, and again once
 * the reader has silenced its bell: so either the bell rings, or what is written next rings it, and who
 * looks at all rings after that may sleep. A writer without room sets `waiting` and looks once more, again
 * once its bell is silent (tests/model/doorbell.pml).
 */
#ifndef KVFI_PATH_MAIL_H
#define KVFI_PATH_MAIL_H

#include "path/am.h"

#define KVFI_MAIL_BYTES (UINT32_C(32) * 1024)
#define KVFI_MAIL_MAGIC UINT64_C(0x6b7666206d61696c)

typedef struct kvfi_mail_ring {
    _Alignas(64) _Atomic uint32_t tail; /* bytes put: the writer's */
    _Atomic uint32_t shut;              /* the writer will put no more */
    _Alignas(64) _Atomic uint32_t head; /* bytes taken: the reader's */
    _Atomic uint32_t quiet;
    _Atomic uint32_t waiting;
    _Alignas(64) char bytes[KVFI_MAIL_BYTES];
} kvfi_mail_ring_t;

typedef struct kvfi_mail_box {
    kvfi_share_mark_t first;
    kvfi_mail_ring_t ring[2];
    kvfi_share_mark_t last;
} kvfi_mail_box_t;

/* What is read from one ring: a head, then its payload, as far as it came. */
typedef struct kvfi_mail_in {
    kvfi_mail_ring_t *ring; /* NULL: none */
    uint32_t head;          /* as in the ring, where the writer could change it */
    uint32_t got;           /* of the message, its head included */
    uint32_t cap;           /* of payload */
    char *payload;          /* malloced */
    char start[48];         /* the message's head */
} kvfi_mail_in_t;

/* Of one peer; (L) everywhere. */
typedef struct kvfi_mail {
    kvfi_mem_t *mem; /* of our box; NULL: we did not connect */
    kvfi_map_t *map; /* of the peer's; NULL: it did not */
    kvfi_mail_ring_t *out;
    uint32_t tail; /* of out */
    kvfi_mail_in_t in[2];
    struct kvfi_am_message *queue, **queue_end; /* waits for room in out */
    uint32_t put;                               /* bytes of the first one that are in it */
    kvfi_bell_name_t bell;                      /* the peer's */
} kvfi_mail_t;

/* Make a box, and say hello in the peer's page. */
kvf_status_t kvfi_mail_make(kvfi_am_peer_t *peer, kvfi_hold_t *hold);
/* Map the box of the hello that came, peer->hello. */
kvf_status_t kvfi_mail_meet(kvfi_am_peer_t *peer);
/* Takes the message; what finds no room is put by kvfi_mail_receive(). */
void kvfi_mail_send(kvfi_am_peer_t *peer, struct kvfi_am_message *message);
/* Take in what is there: hellos, doorbells, messages; and put what waits. */
void kvfi_mail_receive(kvfi_am_t *am);
/* 0: who polls the bell is woken by what comes; 1: something is there. */
int kvfi_mail_arm(kvfi_am_t *am);
/* Let the boxes go; the peer reads what was put, and then learns of it. */
void kvfi_mail_drop(kvfi_am_peer_t *peer);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A carrier takes the messages of the am machine to a peer, and the bytes of its streams. Everything else is
 * the machine's: requests, streams, how they end, what the owner checks, what was given up and is to be
 * settled. A carrier is one file with one const table, and a row in carriers.c. It keeps its own state behind
 * the machine's and behind each peer's, zeroed at the start.
 *
 *   engine -> am.c, am_initiator.c -> am_pump.c -> (table) -> carrier     what goes out
 *   engine -> am_pump.c -> progress -> carrier -> am_receive.c            what comes in
 *
 * All functions but open, close and wake are called with the machine's lock held, and none waits. What a
 * carrier may call is listed in am_internal.h.
 */
#ifndef KVFI_PATH_CARRIER_H
#define KVFI_PATH_CARRIER_H

#include <stddef.h>
#include <stdint.h>

#include "kvferry.h"

typedef struct kvfi_am      kvfi_am_t;
typedef struct kvfi_am_peer kvfi_am_peer_t;
struct kvfi_am_message;

typedef struct kvfi_carrier {
    const char *side;                 /* of its peers, for the log: "near", "far" */
    size_t      am_bytes, peer_bytes; /* of its state: am->state, peer->state */
    uint32_t    least, most;          /* bytes of a chunk; of a short stream it has fewer */
    unsigned    turn;                 /* chunks that leave for a peer at a time */
    uint64_t    connect_ns;           /* that a close waits for connections under way */

    /* ---- the machine */
    /* Sets am->lock and am->fd, and am->address where peers need one. After an error, which has its
     * sentence, nothing is left. */
    kvf_status_t (*open)(kvfi_am_t *am);
    /* All peers were dropped. What was sent may leave until end_ns; nothing of the carrier runs after it. */
    void (*close)(kvfi_am_t *am, uint64_t end_ns);
    /* Take in what has come, and learn who has died. Sets am->worked if anything moved. */
    void (*progress)(kvfi_am_t *am);
    /* 0: whatever comes from here on wakes who polls am->fd; 1: something is there already. */
    int (*arm)(kvfi_am_t *am);
    /* Who sleeps at am->fd looks again. From any thread. */
    void (*wake)(kvfi_am_t *am);

    /* ---- a peer's connection */
    /* To a peer that is imported; `to` is what its blob told, as this carrier knows it. Calls
     * kvfi_am_linked() as soon as messages to it may be queued; one that is linked already may stay so.
     * After an error the machine drops it. */
    kvf_status_t (*connect)(kvfi_am_peer_t *peer, const void *to);
    /* Answer peer->hello, which came from it, linked or not. INPROGRESS, with a sentence: something is short
     * that may come back, and it is to be asked again later. */
    kvf_status_t (*meet)(kvfi_am_peer_t *peer);
    /* Nothing comes from it any more, nor reads or writes memory for it here; by force, or once what was
     * sent has left. Called for peers that are not linked, too. */
    void (*drop)(kvfi_am_peer_t *peer, int force);
    /* Over which device, for people: "tcp/eth0", or "". */
    void (*wire)(kvfi_am_peer_t *peer, char *buf, size_t len);

    /* ---- what goes over it */
    /* Takes the message, and frees it when it has left. The messages of a connection arrive whole and in
     * order, or the peer fails. Until one has left it counts in peer->outgoing, if it is of a library that
     * comes back with it, and in peer->chunks, if its bytes wait in it. */
    void (*send)(kvfi_am_peer_t *peer, struct kvfi_am_message *message);
    /* A DATA message, and where up to `most` bytes of its stream go. NULL: not now, and progress comes when
     * there is room; or not at all, and peer->refused says why. */
    struct kvfi_am_message *(*chunk)(kvfi_am_peer_t *peer, uint64_t token, char **buf_p);
    /* A WRITE is given up: take back what the owner has not begun with. 0: nothing of it lands from here on;
     * 1: something may, and the owner is to be asked. */
    int (*recall)(kvfi_am_peer_t *peer, uint64_t token);
} kvfi_carrier_t;

/* Between neighbours, in shared memory of the pair: the stage path. connect() takes a kvfi_am_near_t. */
extern const kvfi_carrier_t kvfi_rings;
/* To far peers, by endpoints of UCX. connect() takes an address, with KVFI_ADDRESS_ROOM behind it. */
extern const kvfi_carrier_t kvfi_endpoints;

/* The carrier to far peers under that net option. */
const kvfi_carrier_t *kvfi_carrier_of(const char *net);

#endif

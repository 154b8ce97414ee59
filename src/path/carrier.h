/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A carrier brings the messages of the am machine to a peer, and the bytes of its streams. Everything else
 * belongs to the machine: requests, streams, how they end, the owner's checks, and settling a WRITE that was
 * given up. A carrier is one file with one const table, and a row in carriers.c. Its own state lies behind
 * the machine's and behind each peer's, and starts as zeros.
 *
 *   engine -> am.c, am_initiator.c -> am_pump.c -> (table) -> carrier     what goes out
 *   engine -> am_pump.c -> progress -> carrier -> am_receive.c            what comes in
 *
 * All functions except open, close and wake are called with the machine's lock held, and none of them waits.
 * am_internal.h lists what a carrier may call.
 */
#ifndef KVFI_PATH_CARRIER_H
#define KVFI_PATH_CARRIER_H

#include <stddef.h>
#include <stdint.h>

#include "kvferry.h"

typedef struct kvfi_am kvfi_am_t;
typedef struct kvfi_am_peer kvfi_am_peer_t;
struct kvfi_am_message;

typedef struct kvfi_carrier {
    const char *side;            /* of its peers, for the log: "near", "far" */
    size_t am_bytes, peer_bytes; /* of its state: am->state, peer->state */
    uint32_t least, most;        /* bytes of a chunk; of a short stream it has fewer */
    unsigned turn;               /* chunks that leave for a peer at a time */
    uint64_t connect_ns;         /* that a close waits for connections under way, at least */
    uint64_t deaf_ns;            /* a peer that is asked and says nothing for so long has failed; 0: never,
                                         and it is asked once */

    /* ---- the machine */
    /* Sets am->lock and am->fd, and am->address if peers need one. On an error, whose sentence it writes,
     * nothing is left behind. */
    kvf_status_t (*open)(kvfi_am_t *am);
    /* Peers connect of whom the machine does not know yet: a close waits for them too. NULL: nobody does. */
    int (*expects)(kvfi_am_t *am);
    /* All peers have been dropped. What was sent may still leave until end_ns; after this returns, nothing of
     * the carrier runs. */
    void (*close)(kvfi_am_t *am, uint64_t end_ns);
    /* Takes in what has come, and finds out which peers have died. Sets am->worked if anything moved. */
    void (*progress)(kvfi_am_t *am);
    /* 0: whatever comes from now on makes am->fd readable; 1: something is there already. */
    int (*arm)(kvfi_am_t *am);
    /* Makes am->fd readable. From any thread. */
    void (*wake)(kvfi_am_t *am);

    /* ---- a peer's connection */
    /* Connects to a peer that was imported; `to` is what its blob told, in the form that this carrier wants.
     * Calls kvfi_am_linked() as soon as messages to the peer may be queued. A peer that is linked already may
     * stay as it is. On an error the machine drops it. */
    kvf_status_t (*connect)(kvfi_am_peer_t *peer, const void *to);
    /* Answers peer->hello, whether the peer is linked or not. INPROGRESS, with a sentence: something is short
     * that may come back, so the machine calls again later. */
    kvf_status_t (*meet)(kvfi_am_peer_t *peer);
    /* After this nothing comes from the peer, and nothing reads or writes memory here for it. Ends the
     * connection by force, or once what was sent has left. Called for peers without a connection too. */
    void (*drop)(kvfi_am_peer_t *peer, int force);
    /* Names the device, for people: "tcp/eth0", or "". */
    void (*wire)(kvfi_am_peer_t *peer, char *buf, size_t len);

    /* ---- what goes over it */
    /* Takes the message, and frees it once it has left. The messages of a connection arrive whole and in
     * order, or the peer fails. A message that is still with a library counts in peer->outgoing, and in
     * peer->chunks if it is a chunk. */
    void (*send)(kvfi_am_peer_t *peer, struct kvfi_am_message *message);
    /* Returns a DATA message, and in *buf_p where up to `most` bytes of its stream go. NULL: there is no room
     * now, and progress is due when there is; or there never will be, and peer->refused says why. */
    struct kvfi_am_message *(*chunk)(kvfi_am_peer_t *peer, uint64_t token, char **buf_p);
    /* A WRITE is given up: takes back what the owner has not begun to read. 0: nothing of it lands from now
     * on; 1: something may, and the machine asks the owner. */
    int (*recall)(kvfi_am_peer_t *peer, uint64_t token);
} kvfi_carrier_t;

/* Between neighbours, in shared memory of the pair: the stage path. connect() takes a kvfi_am_near_t. */
extern const kvfi_carrier_t kvfi_rings;
/* To far peers, by endpoints of UCX. connect() takes an address, with KVFI_ADDRESS_ROOM behind it. */
extern const kvfi_carrier_t kvfi_endpoints;

/* The carrier to far peers under that net option. */
const kvfi_carrier_t *kvfi_carrier_of(const char *net);

#endif

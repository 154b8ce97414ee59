/* SPDX-License-Identifier: BSD-3-Clause
 *
 * am: the owner is far, on a wire without native remote memory access. The initiator sends the
 * box and the ids in one message; the owner checks them against the grant, gathers into chunks of
 * the library and streams them; the initiator scatters. A write streams chunks the other way. All
 * of it happens under the machine's lock, in whoever drives it; nobody waits here. How messages and
 * chunks travel is a carrier's (carrier.h): over endpoints the machine is the am path, over rings
 * between neighbours it is the stage path.
 */
#ifndef KVFI_PATH_AM_H
#define KVFI_PATH_AM_H

#include "path/carrier.h"
#include "path/driver.h"
#include "path/open_writes.h"
#include "path/path.h"
#include "ucx/ucx.h"

#define KVFI_AM_PAIRS_MOST (UINT32_C(1) << 28) /* of a request: a message has less than 4 GiB */

/* A granted range in this process, as the owner's engine knows it. */
typedef struct kvfi_am_view {
    char *base;
    uint64_t len;
    uint32_t rights;
    int own;                      /* the caller's: its pages may be gone */
    const _Atomic uint32_t *gens; /* of id 0, or NULL */
    uint32_t gens_count;
} kvfi_am_view_t;

/* What the machine needs of its engine. Called with the machine's lock held. */
typedef struct kvfi_am_host {
    void *engine;
    kvfi_page_t *page;
    const _Atomic uint32_t *epoch; /* of our grants; no peer can write there */
    kvfi_link_t *near;             /* for rings, with the next two; stays the engine's */
    kvfi_bell_t *bell;             /* ours, for peers to ring */
    kvfi_proc_id_t proc;           /* for peers to watch */
    const char *net;               /* for endpoints: the option */
    uint64_t incarnation, rank;
    uint32_t depth; /* notifications that wait here a sender */
    kvfi_open_writes_t *open_writes;
    kvf_status_t (*view)(void *engine, uint64_t incarnation, uint32_t grant, uint32_t epoch, uint32_t range,
                         kvfi_am_view_t *view_p);
    void (*changed)(void *engine); /* an xfer or note ended, or a notification came */
} kvfi_am_host_t;

/* A notification to a far peer. Owned by the caller until it has ended. */
typedef struct kvfi_am_note {
    struct kvfi_am_note *next;
    uint32_t len;
    uint32_t channel;
    kvf_status_t told; /* with it: how its batch ended */
    uint8_t data[KVF_NOTIFY_MAX];
    uint64_t seq;       /* 0: not sent yet */
    _Atomic int status; /* INPROGRESS until the receiver has queued it */
} kvfi_am_note_t;

typedef struct kvfi_am_stats {
    uint64_t served_bytes, dropped, messages;
} kvfi_am_stats_t;

kvf_status_t kvfi_am_open(const kvfi_carrier_t *carrier, const kvfi_am_host_t *host, kvfi_am_t **am_p);
/* Ends what runs with CLOSED and closes the connections, waiting at most timeout_ns for them. */
void kvfi_am_close(kvfi_am_t *am, uint64_t timeout_ns);
/* Opened as a driver, which its close closes; and the machine of such a one, NULL for NULL. */
kvf_status_t kvfi_am_drive(const kvfi_carrier_t *carrier, const kvfi_am_host_t *host,
                           kvfi_driver_t **driver_p);
kvfi_am_t *kvfi_am_of(kvfi_driver_t *driver);
/* Where peers reach it, for blobs; NULL where they need none. */
const void *kvfi_am_address(const kvfi_am_t *am, size_t *len_p);
/* Drive it once; 1 if anything moved. With wait 0 it gives up if another thread drives. */
int kvfi_am_progress(kvfi_am_t *am, int wait);
void kvfi_am_stats(kvfi_am_t *am, kvfi_am_stats_t *stats_p);

/* What is known of a near peer: what rings connect to. */
typedef struct kvfi_am_near {
    kvfi_proc_id_t proc;
    const _Atomic uint32_t *closed; /* not 0: its engine has closed; lent until disconnect */
    kvfi_hold_t *hold;              /* our seat in its page, to say hello from; for the call only */
} kvfi_am_near_t;

/* Connect to a peer, at what the carrier connects to; counted. All who do so share one connection, which looks
 * at what the last of them lent. */
kvf_status_t kvfi_am_connect(kvfi_am_t *am, uint64_t incarnation, const void *to, kvfi_am_peer_t **peer_p);
/* Who sleeps polls this, */
int kvfi_am_fd(const kvfi_am_t *am);
/* once this was 0; 1: progress first. */
int kvfi_am_arm(kvfi_am_t *am);
/* Whoever sleeps is to look. */
void kvfi_am_wake(kvfi_am_t *am);
/* Something is under way, so that near peers' lives are to be looked at now and then. */
int kvfi_am_busy(kvfi_am_t *am);
/* Near: a processor on which both sides of a ring were seen since the last call, or -1. */
int kvfi_am_crowded(kvfi_am_t *am);
/* Has every connected peer said hello? */
int kvfi_am_greeted(kvfi_am_t *am);
/* Counted back. closed: what was lent to connect, which is not looked at after; NULL: nothing, or another
 * connection of the caller's still lends it. */
void kvfi_am_disconnect(kvfi_am_t *am, kvfi_am_peer_t *peer, const _Atomic uint32_t *closed);
int kvfi_am_alive(const kvfi_am_peer_t *peer);
/* It is not alive, as its engine closed and said so. */
int kvfi_am_parted(const kvfi_am_peer_t *peer);
/* How many messages came from it: another number says that it lives and works. */
uint32_t kvfi_am_heard(const kvfi_am_peer_t *peer);
void kvfi_am_wire(kvfi_am_t *am, kvfi_am_peer_t *peer, char *buf, size_t len);

/* Start the first of count xfers, and those after it that are of the same machine (xfer->peer); returns how
 * many. Who sleeps at its fd is to be woken after. */
size_t kvfi_am_start(kvfi_xfer_t *const *xfers, size_t count);
/* End an xfer now, if it has not ended: nothing reads or writes the caller's memory after. A WRITE of which
 * bytes may still land at the owner counts in *waits until the owner says that none will. */
void kvfi_am_cancel(kvfi_xfer_t *xfer, kvf_status_t status, _Atomic uint32_t *waits);
/* The same, but only if no byte of it has come, nor was handed over. */
void kvfi_am_cancel_unmoved(kvfi_xfer_t *xfer, kvf_status_t status);

/* ---- settle.c: WRITEs that were given up, see am_internal.h */
/* Nothing lands any more of the WRITE that was given up with that token. */
int kvfi_am_is_settled(kvfi_am_t *am, uint64_t token);
/* If it still counts in what kvfi_am_cancel() was given, it does so no longer. */
void kvfi_am_stop_waiting(kvfi_am_t *am, uint64_t token);
/* Adds to *asked_p those that owners have yet to answer for, to *lost_p those whose connection broke. */
void kvfi_am_unanswered(kvfi_am_t *am, unsigned *asked_p, unsigned *lost_p);
/* Wait until no chunk is being scattered. */
void kvfi_am_pass(kvfi_am_t *am);

void kvfi_am_note_send(kvfi_am_t *am, kvfi_am_peer_t *peer, kvfi_am_note_t *note);
void kvfi_am_note_cancel(kvfi_am_t *am, kvfi_am_peer_t *peer, kvfi_am_note_t *note, kvf_status_t status);
/* The next notification that came, of a peer whose next one there is room for: 1, or 0 if there is none. */
int kvfi_am_note_take(kvfi_am_t *am, kvfi_note_room_t *room, void *arg, kvfi_note_t *note_p,
                      uint64_t *incarnation_p, uint64_t *rank_p);

#endif

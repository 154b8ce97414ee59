/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of the am path share: its messages, its peers, its queues.
 *
 *   initiator               owner
 *      HELLO  ------------->   my address, my rank: make an endpoint back (both sides send it)
 *      REQUEST ------------>   box, ids, generations
 *      <------------- DATA     READ: chunks in stream order, the last one with FIN
 *      DATA --------------->   WRITE: the same, the other way
 *      <------------- DONE     status and bad pairs: after a WRITE, or instead of FIN
 *      CANCEL ------------->   forget this token
 *      <------------- DONE     of a CANCEL that asks: nothing of the token lands from here on
 *      RING, RETURN            of the rings only: see stage.h
 *      BYE  -------------->    of endpoints only: my engine closes (both sides)
 *      NOTE  -------------->   a notification, sent only if the receiver's queue has room
 *      <-------------- ACK     how many of them came, how many were taken
 *
 * The carrier brings them there: rings.c near, where HELLO is said in the peer's page and only the answer to
 * it is a message, endpoints.c far. Messages arrive inside progress. Whatever has to be sent because of one
 * is queued, and sent by the pump afterwards, so no library is called from its own callback.
 */
#ifndef KVFI_PATH_AM_INTERNAL_H
#define KVFI_PATH_AM_INTERNAL_H

#include "base/table.h"
#include "path/am.h"
#include "path/carrier.h"
#include "path/own.h"

#define KVFI_AM_CHUNKS    4u                   /* chunks a peer may have under way */
#define KVFI_AM_FAIR      8u                   /* chunks of a short stream, so that both sides copy at once */
#define KVFI_AM_HELLO_NS  UINT64_C(1000000000) /* that a close with time waits for peers that connect, */
#define KVFI_AM_LISTEN_NS UINT64_C(50000000)   /* and listens for those of whom there is no sign yet */
/* A connection on which nothing came for so long is not kept. */
#define KVFI_AM_SILENT_NS UINT64_C(1000000000)

/* What a peer may make us hold: its requests while they are served, one of any size or together enough for
 * 32 Mi blocks with their generations or half a million small ops; and answers that it has not taken, which
 * it does whenever it looks for what it waits for. */
#define KVFI_AM_HELD_MOST    (UINT64_C(256) << 20)
#define KVFI_AM_ANSWERS_MOST (UINT64_C(64) << 20)

enum {
    KVFI_AM_HELLO = 1,
    KVFI_AM_REQUEST,
    KVFI_AM_DATA,
    KVFI_AM_DONE,
    KVFI_AM_CANCEL,
    KVFI_AM_NOTE,
    KVFI_AM_ACK,
    KVFI_AM_RING,
    KVFI_AM_RETURN,
    KVFI_AM_BYE
};

#define KVFI_AM_VERSION  2u
#define KVFI_AM_FIN      1u /* DATA: the stream ended well */
#define KVFI_AM_TO_OWNER 2u /* DATA: of a WRITE; CANCEL: of a WRITE, to be answered */
#define KVFI_AM_CLEAN    4u /* DATA of a guarded READ: of the pairs that are whole by then none is stale */
#define KVFI_AM_SLOT     8u /* DATA through a ring: its slot, from this bit of flags on */

typedef struct kvfi_am_head {
    uint8_t version, kind;
    uint16_t flags;
    uint32_t len;    /* of the payload, or of what lies in the slot */
    uint64_t sender; /* incarnation */
    uint64_t token;  /* of the request; ACK: notes that came; HELLO: notes that may wait;
                        NOTE: its channel << 8 | status, negated */
    uint64_t off;    /* DATA: of the stream; DONE: status; HELLO: rank; NOTE: its number;
                        ACK: notes that were taken; RETURN: status of mapping the ring */
} kvfi_am_head_t;

/* Payload of a far HELLO, before the address. */
typedef struct kvfi_am_hello {
    uint64_t floor; /* no request of this connection has a token up to it: what comes is of an earlier one */
} kvfi_am_hello_t;

#define KVFI_AM_HAS_IDS  1u
#define KVFI_AM_HAS_GENS 2u

/* Payload of REQUEST, before the ids and the generations. */
typedef struct kvfi_am_request {
    uint32_t grant, epoch, range, dir;
    uint64_t off, len, block;
    uint32_t count[2];
    int64_t stride[2];
    uint32_t blocks, flags;
} kvfi_am_request_t;

/* Of the longest, with ids and generations; no message is longer. */
#define KVFI_AM_REQUEST_MOST (sizeof(kvfi_am_request_t) + 2 * sizeof(uint32_t) * (uint64_t)KVFI_AM_PAIRS_MOST)

/* A message on its way out. Chunks come from a free list, the rest from malloc. */
typedef struct kvfi_am_message {
    struct kvfi_am_message *next;
    kvfi_am_peer_t *peer;
    int chunk;
    kvfi_am_head_t head;
    char data[];
} kvfi_am_message_t;

/* A WRITE, and where its bytes land. It is in its peer's list from when the WRITE was given up with bytes
 * under way, until the owner has answered its CANCEL, or can write no more for us: its process has died,
 * it has shut its ring, or its engine has said BYE. The messages of one connection come in order, so
 * nothing lands after the answer; what an earlier connection still brings the owner drops by the floor of
 * the next one's HELLO. */
typedef struct kvfi_unsettled {
    struct kvfi_unsettled *next, **link;
    kvfi_am_peer_t *peer;
    uint64_t token;
    kvfi_landing_t landing;
    _Atomic uint32_t *waits; /* of the batch that waits for it, or NULL */
} kvfi_unsettled_t;

/* A request that this engine serves. */
typedef struct kvfi_am_serve {
    struct kvfi_am_serve *next, **link; /* READ: in the peer's round; link NULL: not in it */
    kvfi_am_peer_t *peer;
    uint64_t token, held; /* bytes that it takes */
    kvfi_xfer_t xfer;     /* the granted range is its local side */
    uint32_t grant, epoch;
    kvfi_am_view_t view;
    uint32_t *ids; /* malloced, with the generations behind them */
} kvfi_am_serve_t;

struct kvfi_am_peer {
    kvfi_am_peer_t *next;
    kvfi_am_t *am;
    uint64_t incarnation, rank;
    void *state;       /* the carrier's */
    int linked;        /* a connection is there, or being made */
    void *hello;       /* malloced: that it said, and is to be answered */
    uint64_t retry_ns; /* a shortage put that off until then; 0: it did not */
    unsigned imports;
    unsigned outgoing;    /* messages not left yet */
    unsigned chunks;      /* of them chunks */
    kvf_status_t refused; /* not OK: why bytes that wait cannot leave; they end with it */
    kvfi_proc_id_t proc;  /* where a carrier knows it, */
    kvfi_life_t life;
    int watched;                    /* and life is open */
    const _Atomic uint32_t *closed; /* what the last to connect lent, or NULL */
    _Atomic int dead;
    _Atomic int parted;     /* its engine has said BYE */
    _Atomic uint32_t heard; /* messages from it */
    int failed;             /* to be buried by the pump */
    int quiet;              /* it writes nothing for us any more */
    uint64_t floor;         /* requests up to that token are of an earlier connection */
    kvfi_unsettled_t *unsettled, **unsettled_end;
    uint64_t ask_ns, ask_gap_ns; /* when to ask for them again, and again after */
    uint64_t silent_ns;          /* since then it has been asked, or let an op run out of time, */
    uint32_t silent_heard;       /* and has said no more; silent_ns 0: not so */
    kvfi_am_message_t *outbox, **outbox_end;
    kvfi_xfer_t *writes, **writes_end;   /* xfers with bytes to send */
    kvfi_am_serve_t *reads, **reads_end; /* serves with bytes to send */
    kvfi_table_t serves;                 /* by token */
    uint64_t held;                       /* bytes that they take */
    uint64_t answers;                    /* bytes of answers that have not left */
    kvfi_am_note_t *notes, **notes_end;  /* to be sent, or sent and not queued there yet */
    uint64_t notes_sent, notes_came, notes_taken, notes_room;
    kvfi_am_message_t *inbox, **inbox_end; /* notes that came */
    uint64_t inbox_came, inbox_taken, acked_came, acked_taken;
};

struct kvfi_am {
    const kvfi_carrier_t *carrier;
    void *state; /* the carrier's; the next four are set by its open() */
    kvfi_lock_t *lock;
    int fd;              /* for who sleeps */
    const void *address; /* where peers reach it, or NULL */
    size_t address_len;
    kvfi_am_host_t host;
    kvfi_table_t peers; /* by incarnation */
    kvfi_am_peer_t *list;
    kvfi_table_t xfers;     /* by token */
    kvfi_table_t unsettled; /* by token; with room for all xfers */
    uint64_t last_token;
    unsigned serving; /* requests of others */
    int look;         /* at lives, at the next progress */
    kvfi_am_message_t *free_chunks;
    kvfi_own_t own;
    uint64_t told_of_fault, told_of_busy;
    uint64_t held_most, answers_most; /* of a peer */
    kvfi_unsettled_t *free_records;
    kvfi_am_stats_t stats;
    int changed; /* tell the host after the pump */
    int worked;
    int more;                 /* chunks could leave at once */
    _Atomic uint32_t crowded; /* 1 + the processor that both sides of a ring were seen on */
};

/* ---- what carriers call, beside kvfi_am_bury() and kvfi_settle_all()
 * am_message.c */
kvfi_am_message_t *kvfi_am_message(kvfi_am_peer_t *peer, unsigned kind, uint64_t token, uint64_t off,
                                   size_t len);
/* A DATA message with room for a chunk. */
kvfi_am_message_t *kvfi_am_chunk(kvfi_am_peer_t *peer, uint64_t token);
void kvfi_am_message_free(kvfi_am_t *am, kvfi_am_message_t *message);
void kvfi_am_queue(kvfi_am_peer_t *peer, kvfi_am_message_t *message); /* for the pump; NULL is fine */
void kvfi_am_send(kvfi_am_peer_t *peer, kvfi_am_message_t *message);
void kvfi_am_peer_fail(kvfi_am_peer_t *peer, const char *why); /* the pump buries it */
/* am_peer.c: a hello came, perhaps from a new peer. It is malloced, and belongs to the peer from here on; the
 * pump has it answered. NULL without memory, or if hello is NULL. */
kvfi_am_peer_t *kvfi_am_hello(kvfi_am_t *am, uint64_t incarnation, void *hello);
/* The peer has a connection. first, if not NULL, is the first message on it. */
void kvfi_am_linked(kvfi_am_peer_t *peer, kvfi_am_message_t *first);
/* am_receive.c: a message came. 0: it is dropped, or its peer fails; 1: it is good, and goes to
 * kvfi_am_take() unless its kind is the carrier's own. */
int kvfi_am_admit(kvfi_am_peer_t *peer, const kvfi_am_head_t *head);
void kvfi_am_take(kvfi_am_peer_t *peer, const kvfi_am_head_t *head, const void *data);

/* ---- am_peer.c */
/* End what is under way with it, and the connection, by force or once what was sent has left. */
void kvfi_am_let_go(kvfi_am_peer_t *peer, kvf_status_t status, int force);
void kvfi_am_bury(kvfi_am_peer_t *peer);
kvfi_am_peer_t *kvfi_am_peer_new(kvfi_am_t *am, uint64_t incarnation);
int kvfi_am_forgettable(const kvfi_am_peer_t *peer);
void kvfi_am_peer_free(kvfi_am_peer_t *peer);

/* ---- am_pump.c */
void kvfi_am_pump(kvfi_am_t *am);
void kvfi_am_pump_and_unlock(kvfi_am_t *am);

/* ---- settle.c */
void kvfi_am_xfer_end(kvfi_am_t *am, kvfi_xfer_t *xfer, kvf_status_t status);
/* Into the list of those with bytes to send, and out of it, where it is there. */
void kvfi_am_write_link(kvfi_am_peer_t *peer, kvfi_xfer_t *xfer);
void kvfi_am_write_unlink(kvfi_am_peer_t *peer, kvfi_xfer_t *xfer);
/* A record for a WRITE that is about to start; NULL without memory. */
kvfi_unsettled_t *kvfi_settle_record(kvfi_am_t *am, const kvfi_xfer_t *xfer);
void kvfi_settle_spare(kvfi_am_t *am, kvfi_unsettled_t *record);
/* End an xfer that the owner has not ended. *waits as in kvfi_am_cancel(), or NULL. */
void kvfi_settle_give_up(kvfi_xfer_t *xfer, kvf_status_t status, _Atomic uint32_t *waits);
/* The owner answers for a token: 0 if there is no such record. */
int kvfi_settle_answered(kvfi_am_peer_t *peer, uint64_t token);
/* It writes nothing for us any more. */
void kvfi_settle_all(kvfi_am_peer_t *peer);
/* On a new connection. */
void kvfi_settle_ask_again(kvfi_am_peer_t *peer);
/* For who pumps, while WRITEs are unsettled: they are asked for again now and then. */
void kvfi_settle_remind(kvfi_am_peer_t *peer);
/* It has said nothing for so long since it was asked, or let an op run out of time. */
int kvfi_settle_is_silent(const kvfi_am_peer_t *peer, uint64_t for_ns);

/* ---- am_serve.c: the owner's side */
void kvfi_am_serve_request(kvfi_am_peer_t *peer, uint64_t token, const void *data, size_t len);
void kvfi_am_serve_data(kvfi_am_peer_t *peer, kvfi_am_serve_t *serve, const kvfi_am_head_t *head,
                        const void *data);
void kvfi_am_serve_end(kvfi_am_serve_t *serve, kvf_status_t status);
/* CANCEL came; one that asks is answered whether the token is known or not. */
void kvfi_am_serve_cancel(kvfi_am_peer_t *peer, uint64_t token, int asks);
void kvfi_am_serve_drop(kvfi_am_serve_t *serve);
/* The first of a peer's reads goes to the end of the round. */
void kvfi_am_serve_rotate(kvfi_am_peer_t *peer);
/* Gather the next chunk into message; INPROGRESS: it was not the last, else how the read ended. */
kvf_status_t kvfi_am_serve_chunk(kvfi_am_serve_t *serve, kvfi_am_message_t *message, char *buf, uint32_t cap);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * stage: the owner is a neighbour, the memory its own, and the kernel lets nobody reach across. The
 * am machine runs a second time, with mail.h for a wire: same requests, same checks, same ends; only the
 * bytes of DATA go through a ring in shared memory of the library instead of the message. Who sends
 * bytes owns the ring they go through, made at the first need: neither side ever touches the
 * other's own memory, and a sender that is late writes into its own ring and nowhere else.
 *
 *   initiator                                            owner
 *      REQUEST ------------------------------------------>  checked against the grant
 *                                                           READ: makes its ring
 *      maps it, gives all slots back  <-------------- RING
 *      RETURN  ------------------------------------------>
 *                    +--------------- ring -----------+
 *                    | returned: bits   waiting: flag |
 *      scatters  <-- | slot 0 | slot 1 | ...          | <-- gathers
 *                    +--------------------------------+
 *      <------------------------------- DATA slot, len
 *      returned |= slot; if waiting: RETURN ------------->  goes on
 *      <------------------------------- DATA, FIN (or DONE)
 *
 * A WRITE is the same with the ring of the initiator, and each slot has a word {token, state} there, so that
 * the initiator can take away what the owner has not begun with when it gives the WRITE up. Either side
 * changes a READY word by compare and exchange, so one of them gets the slot; a DATA that comes late finds
 * another token or state, for tokens are used once:
 *
 *   initiator                    word              owner
 *      gathers, stores      -->  token READY
 *      DATA slot, token ------------------------>  comes
 *                                token CLAIMED <-- if it was READY: scatters,
 *                                token DONE    <-- returns the slot
 *      gives up: if READY   -->  token TAKEN       never scatters it, does not return it
 *      if CLAIMED: CANCEL ---------------------->  has scattered by then, forgets the token
 *        <--------------------------------- DONE
 *
 * Slots are few and used again while they are
 * hot in a shared cache, and both sides copy at once. All of it runs under the link's lock, in
 * whoever drives it: a thread that sleeps in between, or the caller. A peer that freezes keeps the
 * slots of its own pair; one that dies, or closes, is noticed by a look at its life. Each says on which
 * processor it copies, for the kernel likes to put who is woken beside the waker, which goes on to
 * run: the owner's thread then moves away.
 */
#ifndef KVFI_PATH_STAGE_H
#define KVFI_PATH_STAGE_H

#include "path/am.h"

#define KVFI_STAGE_MAGIC      UINT64_C(0x6b766620736c6f74)
#define KVFI_STAGE_SLOTS      4u
#define KVFI_STAGE_SLOT_BYTES (UINT32_C(256) * 1024)
/* A short op fills slots with less, several times, so that both sides copy at once. */
#define KVFI_STAGE_LEAST  (UINT32_C(32) * 1024)
#define KVFI_STAGE_CHUNKS 8u

typedef struct kvfi_stage_ring {
    kvfi_share_mark_t first;
    _Alignas(64) _Atomic uint32_t returned; /* slots: the receiver has read them */
    _Alignas(64) _Atomic uint32_t waiting;  /* the sender wants to be told */
    _Alignas(64) _Atomic uint32_t cpu[2];   /* 1 + where sender and receiver were; 0: not known */
    struct {
        _Alignas(64) _Atomic uint64_t word; /* of a WRITE: token and state */
    } write[KVFI_STAGE_SLOTS];
    _Alignas(4096) char slots[KVFI_STAGE_SLOTS][KVFI_STAGE_SLOT_BYTES];
    kvfi_share_mark_t last;
} kvfi_stage_ring_t;

/* Both rings of one peer; (L) everywhere. */
typedef struct kvfi_stage {
    kvfi_mem_t        *mem; /* ours; NULL: not made */
    kvfi_stage_ring_t *ring;
    uint32_t           free; /* slots */
    uint64_t           token[KVFI_STAGE_SLOTS]; /* of the WRITE whose bytes a slot got last, or 0 */
    kvf_status_t       refused; /* why there is no ring, ours or the peer's mapping of it */
    kvfi_map_t        *map; /* the peer's */
    kvfi_stage_ring_t *theirs;
    kvfi_share_key_t   announced; /* of a ring that is to be mapped */
    int                to_map;
} kvfi_stage_t;

/* ---- the sender */
/* A free slot, or NULL: the first call makes the ring; refused says if it cannot be had. */
char *kvfi_stage_slot(kvfi_am_peer_t *peer, unsigned *slot_p);
/* The slot is filled for that WRITE: before its DATA is sent. */
void  kvfi_stage_ready(kvfi_am_peer_t *peer, unsigned slot, uint64_t token);
/* Take away the slots of that WRITE; 1 if the receiver has begun with one. */
int   kvfi_stage_take(kvfi_am_peer_t *peer, uint64_t token);
/* Is the receiver at a slot of any WRITE? */
int   kvfi_stage_begun(const kvfi_am_peer_t *peer);
/* What waited for the ring was refused: the next need tries again. */
void  kvfi_stage_retry(kvfi_am_peer_t *peer);
/* RETURN came: of the mapping, with its status, or of slots. */
void  kvfi_stage_returned(kvfi_am_peer_t *peer, kvf_status_t status);

/* ---- the receiver */
/* RING came. */
void kvfi_stage_announced(kvfi_am_peer_t *peer, const void *data, size_t len);
/* What was announced. */
void kvfi_stage_map(kvfi_am_peer_t *peer);
/* The bytes of a DATA, or NULL: there are no such. */
const char *kvfi_stage_data(const kvfi_am_peer_t *peer, unsigned slot, uint32_t len);
/* Begin with a slot of a WRITE; 0: the sender has taken it away, and it is not to be returned. */
int  kvfi_stage_claim(kvfi_am_peer_t *peer, unsigned slot, uint64_t token);
void kvfi_stage_done(kvfi_am_peer_t *peer, unsigned slot, uint64_t token);
void kvfi_stage_return(kvfi_am_peer_t *peer, unsigned slot);

/* Both rings are let go. */
void kvfi_stage_drop(kvfi_am_peer_t *peer);

#endif

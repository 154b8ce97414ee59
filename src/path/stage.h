/* SPDX-License-Identifier: BSD-3-Clause
 *
 * stage: the owner is a neighbour, the memory its own, and the kernel lets nobody reach across. The
 * am machine runs a second time, over rings instead of endpoints: same requests, same checks, same ends;
 * messages go by mail.h, and the bytes of DATA through slots in shared memory of the library. Who sends
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
 * hot in a shared cache, and both sides copy at once. All of it runs under the machine's lock, in
 * whoever drives it: a thread that sleeps in between, or the caller. A peer that freezes keeps the
 * slots of its own pair; one that dies, or closes, is noticed by a look at its life. Each says on which
 * processor it copies, for the kernel likes to put who is woken beside the waker, which goes on to
 * run: the owner's thread then moves away.
 */
#ifndef KVFI_PATH_STAGE_H
#define KVFI_PATH_STAGE_H

#include "path/am_internal.h"

#define KVFI_STAGE_MAGIC      UINT64_C(0x6b766620736c6f74)
#define KVFI_STAGE_SLOTS      4u
#define KVFI_STAGE_SLOT_BYTES (UINT32_C(256) * 1024)
#define KVFI_STAGE_LEAST      (UINT32_C(32) * 1024) /* that a short op puts into a slot */

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
    kvfi_mem_t *mem; /* ours; NULL: not made */
    kvfi_stage_ring_t *ring;
    uint32_t free;                    /* slots */
    uint64_t token[KVFI_STAGE_SLOTS]; /* of the WRITE whose bytes a slot got last, or 0 */
    kvfi_map_t *map;                  /* the peer's */
    kvfi_stage_ring_t *theirs;
} kvfi_stage_t;

/* ---- the sender */
/* A free slot, or NULL. The first call makes the ring; peer->refused says if it cannot be had. */
char *kvfi_stage_slot(kvfi_am_peer_t *peer, unsigned *slot_p);
/* The slot is filled for that WRITE: before its DATA is sent. */
void kvfi_stage_ready(kvfi_am_peer_t *peer, unsigned slot, uint64_t token);
/* Take away the slots of that WRITE; 1 if the receiver has begun with one. */
int kvfi_stage_take(kvfi_am_peer_t *peer, uint64_t token);
/* Is the receiver at a slot of any WRITE? */
int kvfi_stage_begun(const kvfi_am_peer_t *peer);

/* ---- the receiver */
/* A message that was admitted: DATA, RING and RETURN are looked at here, the rest is handed on. */
void kvfi_stage_take_in(kvfi_am_peer_t *peer, kvfi_am_head_t *head, const void *data);

/* Both rings are let go. */
void kvfi_stage_drop(kvfi_am_peer_t *peer);

#endif

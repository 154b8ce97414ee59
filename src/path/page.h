/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The control page: one an engine, in memory that near peers map. It proves identity (the nonce),
 * holds an epoch per grant, and a seat per near initiator with a few busy words, a ring of
 * notifications, and a place for its hello (see mail.h).
 *
 *   initiator                            owner (revoke)
 *     word++ (odd)                         epoch[grant]++
 *     fence                                fence
 *     epoch[grant] as imported?            each word that is odd: wait until it has changed,
 *     copy one slice                         or its holder is dead
 *     word++ (even)
 *
 * All near peers can write all of the page. So what the owner decides by is private (kvfi_owner_t), and
 * the page shows peers a copy; what a seat's holder decides by is in its kvfi_hold_t; and what either side
 * reads of the other is copied and bounded before it is used.
 *
 * Either the initiator sees the new epoch and copies nothing, or the owner sees the odd word and
 * waits. Only the seat's holder writes its words, and its pins, which keep blocks from being freed under
 * a view.
 */
#ifndef KVFI_PATH_PAGE_H
#define KVFI_PATH_PAGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/bell.h"
#include "base/proc.h"
#include "kvferry.h"

#define KVFI_PAGE_MAGIC    UINT64_C(0x6b76666572727937)
#define KVFI_PAGE_GRANTS   4096u
#define KVFI_PAGE_SEATS    256u
#define KVFI_SEAT_WORDS    16u /* threads of an initiator that copy at once; more wait for one another */
#define KVFI_SEAT_PINS     KVF_VIEW_BLOCKS
#define KVFI_SEAT_CLEARING UINT64_C(1) /* as a holder: being made free */
#define KVFI_HELLO_MAX     504u

typedef struct kvfi_note {
    uint16_t len;
    int16_t status; /* of the batch that brings it */
    uint32_t channel;
    uint8_t data[KVF_NOTIFY_MAX];
} kvfi_note_t;

/* Odd while it is being written: who dies then leaves it odd, and nobody reads it. */
typedef struct kvfi_hello {
    _Atomic uint32_t seq;
    uint32_t len;
    char data[KVFI_HELLO_MAX];
} kvfi_hello_t;

typedef struct kvfi_seat {
    _Atomic uint64_t holder; /* incarnation, 0: free */
    uint64_t rank;
    kvfi_proc_id_t proc;
    kvfi_bell_name_t bell;  /* the holder's, for the owner to ring when it closes */
    _Atomic uint32_t ready; /* rank, proc and bell are filled in */
    _Atomic uint32_t left;  /* the holder has gone; free once the ring is empty */
    struct {
        _Alignas(64) _Atomic uint32_t word;
    } busy[KVFI_SEAT_WORDS];
    _Alignas(64) _Atomic uint32_t pinned; /* pins that are not 0 */
    _Atomic uint64_t pins[KVFI_SEAT_PINS];
    _Alignas(64) _Atomic uint32_t head; /* next note to take: the owner writes */
    _Alignas(64) _Atomic uint32_t tail; /* next note to put: the holder writes */
    _Alignas(64) kvfi_hello_t hello;    /* the holder's last */
} kvfi_seat_t;

/* What proves whose page it is. */
typedef struct kvfi_page_head {
    uint64_t magic;
    uint64_t nonce[2];
    uint64_t incarnation;
    uint32_t depth; /* notes in a ring */
} kvfi_page_head_t;

typedef struct kvfi_page {
    kvfi_page_head_t head;
    _Atomic uint32_t armed;  /* not 0: a note put is worth a doorbell. Each time another number */
    _Atomic uint32_t high;   /* seats ever taken: nobody need look past it */
    _Atomic uint32_t closed; /* the engine has gone, its process may live */
    _Atomic uint32_t hellos; /* said so far, in all seats */
    _Atomic uint32_t rung;   /* a note came while it was armed */
    _Atomic uint32_t deaf;   /* some neighbour's rings do not reach it: it looks now and then */
    kvfi_bell_name_t bell;
    uint64_t realm; /* of the bell */
    _Alignas(64) _Atomic uint32_t epoch[KVFI_PAGE_GRANTS];
    kvfi_seat_t seats[KVFI_PAGE_SEATS];
    kvfi_note_t notes[]; /* depth a seat */
} kvfi_page_t;

static inline uint64_t kvfi_page_bytes(uint32_t depth)
{
    return sizeof(kvfi_page_t) + (uint64_t)KVFI_PAGE_SEATS * depth * sizeof(kvfi_note_t);
}

/* What an owner knows of its own page. */
typedef struct kvfi_owner {
    kvfi_page_t *page;
    uint64_t nonce[2];
    uint32_t depth;
    uint32_t head[KVFI_PAGE_SEATS]; /* next note to take of each */
    _Atomic uint32_t epoch[KVFI_PAGE_GRANTS];
} kvfi_owner_t;

/* How many seats there are to look at, whatever the page says. */
static inline unsigned kvfi_page_seats(const kvfi_page_t *page)
{
    uint32_t high = atomic_load(&page->high);

    return high < KVFI_PAGE_SEATS ? high : KVFI_PAGE_SEATS;
}

/* An initiator's hold on a seat of an owner's page. */
typedef struct kvfi_hold {
    kvfi_page_t *page;
    kvfi_seat_t *seat;
    const _Atomic uint32_t *epoch; /* of the owner's grants: its own, or in the page */
    uint32_t depth;
    kvfi_bell_name_t bell;
    atomic_flag taken[KVFI_SEAT_WORDS]; /* by a thread of this process */
    uint32_t word[KVFI_SEAT_WORDS];     /* the seat's, as they are to be */
    _Atomic uint64_t pinned;            /* bits of pins */
    pthread_mutex_t put_lock;
} kvfi_hold_t;

/* Who takes a seat. */
typedef struct kvfi_guest {
    uint64_t incarnation, rank;
    kvfi_proc_id_t proc;
    kvfi_bell_name_t bell;
} kvfi_guest_t;

/* Take a seat of a page that has been proved, with that depth. owner: if it is of this process, else NULL.
 * 0, or -1 if all are taken by the living. */
int kvfi_hold_open(kvfi_hold_t *hold, kvfi_page_t *page, uint32_t depth, const kvfi_owner_t *owner,
                   const kvfi_guest_t *guest);
void kvfi_hold_close(kvfi_hold_t *hold);

/* Begin a slice: the word taken. What is copied in it is under grants that were looked at after. */
unsigned kvfi_hold_enter(kvfi_hold_t *hold);
static inline int kvfi_hold_granted(const kvfi_hold_t *hold, uint32_t grant, uint32_t epoch)
{
    return atomic_load_explicit(&hold->epoch[grant], memory_order_relaxed) == epoch;
}
void kvfi_hold_leave(kvfi_hold_t *hold, unsigned word);

/* A pin says: a view holds block `id` of a range of a grant. */
static inline uint64_t kvfi_pin_of(uint32_t grant, uint32_t range, uint32_t id)
{
    return UINT64_C(1) << 63 | (uint64_t)grant << 44 | (uint64_t)range << 32 | id;
}

/* Set count pins, and the fence after them: 0, or -1 if fewer are free. *taken_p: bits of their places. */
int kvfi_hold_pin(kvfi_hold_t *hold, const uint64_t *pins, unsigned count, uint64_t *taken_p);
void kvfi_hold_unpin(kvfi_hold_t *hold, uint64_t taken);

/* Put a note in the ring: 1 done and a doorbell is wanted, 0 done, -1 full. */
int kvfi_hold_put(kvfi_hold_t *hold, const void *data, uint32_t len, uint32_t channel, kvf_status_t status,
                  uint32_t *armed_p);
/* The doorbell was sent that was wanted: no more of them till the owner has armed again. */
void kvfi_hold_rang(kvfi_hold_t *hold, uint32_t armed);

/* The doorbell of the note put: bell is one's own. */
void kvfi_hold_ring(kvfi_hold_t *hold, const kvfi_bell_t *bell);
/* If neither hears the other's bell both pages say so; mine: one's own. 1 if it is so. */
int kvfi_hold_deafens(kvfi_hold_t *hold, kvfi_page_t *mine);
/* Leave a hello of at most KVFI_HELLO_MAX bytes, in place of the last one. */
void kvfi_hold_say(kvfi_hold_t *hold, const void *data, uint32_t len);

/* ---- the owner's side */
/* Raise a grant's epoch. */
void kvfi_page_revoke(kvfi_owner_t *owner, uint32_t grant);
/* Odd words as of now; seen[] takes one entry a word of each seat. Returns how many. */
unsigned kvfi_page_snapshot(kvfi_page_t *page, uint32_t *seen);
/* How many of seen[] are still unchanged with a living holder; *seat_p is one of them. */
unsigned kvfi_page_still_busy(kvfi_page_t *page, uint32_t *seen, const kvfi_seat_t **seat_p);
/* Is anything pinned? The dead's pins count until their seat is taken again. */
int kvfi_page_pins(kvfi_page_t *page);
/* The first pin of a living holder that match() takes: 1, with its seat. */
int kvfi_page_find_pin(kvfi_page_t *page,
                       int (*match)(void *arg, uint32_t grant, uint32_t range, uint32_t id), void *arg,
                       const kvfi_seat_t **seat_p);
/* Is there room for one more note of a channel? */
typedef int kvfi_note_room_t(void *arg, uint32_t channel);
/* The next note of any seat for which there is room, starting after *from_p: 1 taken, 0 none. */
int kvfi_page_take(kvfi_owner_t *owner, unsigned *from_p, kvfi_note_room_t *room, void *arg,
                   kvfi_note_t *note_p, uint64_t *holder_p, uint64_t *rank_p);

/* Copy the hello of a seat into data: its length, 0 if it is *seq_p's, which is brought up to it, or is
 * not whole. */
uint32_t kvfi_page_heard(kvfi_page_t *page, unsigned seat, uint32_t *seq_p, char data[KVFI_HELLO_MAX]);

#endif

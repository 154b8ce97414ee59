/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Pin against generation: src/engine/view.c, kvfi_hold_pin() and kvfi_page_find_pin() of src/path/page.c.
 *
 * Invariants: no block is overwritten while a living reader has a view of it; and an owner that calls
 * again after BUSY gets the block once the views are closed or their readers dead.
 *
 * One block, a reader, a newcomer that takes the seat from the dead, the owner; with THREADS a reader with
 * two threads, whose views have a pin each, and no newcomer. Stores and loads of a view as in revoke.pml; a
 * thread's pin and the count of pins leave its buffer in order.
 *
 * BROKEN 1 no fence after the pin           2 no fence after the generation is raised
 *        3 the generation compared before   4 unpinned without release
 *        5 pins looked for before the generation is raised
 *        6 a seat that is not ready is held by the living
 *
 * run.sh: 1 2 3 4 5 6
 * run.sh: -DTHREADS 1 2 3 4 5
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define FIRST    0
#define NEWCOMER 1
#define TORN     2
#define FREE     9
#define CLEARING 8
#define DRAINED(t) (!waiting[t] && !reading[t])

byte generation, pinned, holder = FIRST, proc = FIRST;
bool pin[2], ready = true, overwritten, raised;
bool alive[2] = true;
byte waiting[3];  /* threads 0 and 1 are the reader's, 2 the newcomer's: 2 pin and count, 1 the count */
bool reading[3];

inline look_of(t) { d_step { reading[t] -> assert(!overwritten); reading[t] = false } }
inline store_of(t, p)
{
    d_step {
        waiting[t] ->
        if
        :: waiting[t] == 2 -> pin[p] = true
        :: else -> pinned++
        fi;
        waiting[t]--
    }
}

active proctype memory()
{
end:
    do
    :: store_of(0, 0)
    :: store_of(1, 1)
    :: store_of(2, 0)
    :: look_of(0)
    :: look_of(1)
    :: look_of(2)
    :: d_step { raised -> generation++; raised = false }
    od
}

active proctype killer()
{
    do
    :: d_step { alive[0] && DRAINED(0) && DRAINED(1) -> alive[0] = false }
    :: d_step { alive[1] && DRAINED(2) -> alive[1] = false }
    :: break
    od
}

inline view(thread, place)
{
#if BROKEN == 3
    seen = generation;
#endif
    waiting[thread] = 2; /* kvfi_hold_pin() */
#if BROKEN != 1
    !waiting[thread];
#endif
#if BROKEN != 3
    seen = generation; /* check_pinned() */
#endif
    if
    :: seen == 0 -> reading[thread] = true
    :: else
    fi;
    !waiting[thread];
#if BROKEN != 4
    !reading[thread];
#endif
    pin[place] = false; /* kvfi_hold_unpin() */
    pinned--
}

proctype reader(byte t)
{
    byte seen;

    { view(t, t) } unless { !alive[FIRST] }
}

proctype newcomer()
{
    byte seen;

    {
end:
        do
        :: atomic { !alive[FIRST] && holder == FIRST -> holder = CLEARING }; break
        od;
        ready = false;
        holder = FREE;
        holder = NEWCOMER;
        pin[0] = false;
        pin[1] = false;
        pinned = 0;
        proc = TORN;
        proc = NEWCOMER;
        ready = true;
        view(2, 0)
    } unless { !alive[NEWCOMER] }
}

#define HELD_BY_THE_LIVING (proc == TORN || alive[proc])
#if BROKEN != 6
#define HELD (holder != FREE && pinned && (pin[0] || pin[1]) && ready && HELD_BY_THE_LIVING)
#else
#define HELD (holder != FREE && pinned && (pin[0] || pin[1]) && (!ready || HELD_BY_THE_LIVING))
#endif

/* One look: free_p is false if a living holder's pin was found. */
inline look_for_pins(free_p)
{
    free_p = true;
    if
    :: pinned == 0 || holder == FREE
    :: else ->
        k = 0;
        do
        :: k == 2 -> break
        :: k < 2 && !pin[k] -> k++
        :: k < 2 && pin[k] ->
            if
#if BROKEN != 6
            :: !ready
#else
            :: !ready -> free_p = false
#endif
            :: ready && proc == TORN
            :: ready && proc == TORN -> free_p = false
            :: ready && proc != TORN && alive[proc] -> free_p = false
            :: ready && proc != TORN && !alive[proc]
            fi;
            k++
        od
    fi
}

active proctype owner()
{
    bool is_free;
    byte k;

    run reader(0);
#ifdef THREADS
    run reader(1);
#else
    run newcomer();
#endif
again:
#if BROKEN == 5
    look_for_pins(is_free);
#endif
    raised = true; /* kvf_pool_free() */
#if BROKEN != 2
    !raised;
#endif
#if BROKEN != 5
    look_for_pins(is_free);
#endif
    if
    :: is_free -> overwritten = true
    :: else -> !HELD && !raised; goto again /* BUSY: it calls again */
    fi
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Revoke against copy: src/path/page.c, kvfi_hold_enter() and kvfi_page_still_busy().
 *
 * Invariants: once revoke has returned nobody touches the memory; and revoke returns, whoever is killed
 * and wherever. (It returns: the owner waits only for what a fresh look would find, so that waiting for
 * ever is an invalid end state.)
 *
 * One seat, its first holder with two slices, a newcomer that takes the seat from the dead, the owner. A
 * store lies in a buffer of one entry until memory() takes it or a fence waits for it; a copy that was
 * begun may touch memory until a release waits for it. The dead have drained theirs.
 *
 * BROKEN 1 no fence after the word is odd    2 no fence after the epoch is raised
 *        3 the word even without release     4 a seat that is not ready is held by the living
 *        5 the epoch compared before the word is odd
 *
 * run.sh: 1 2 3 4 5
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define FIRST    0
#define NEWCOMER 1
#define TORN     2 /* proc while it is being written */
#define FREE     9
#define CLEARING 8

byte epoch, word, holder = FIRST, proc = FIRST;
bool ready = true, reused;
bool alive[2] = true, copying[2], stored[2], raised;
byte store[2]; /* what stored[] holds, for the word */

active proctype memory()
{
end:
    do
    :: d_step { stored[0] -> word = store[0]; stored[0] = false }
    :: d_step { stored[1] -> word = store[1]; stored[1] = false }
    :: d_step { raised -> epoch++; raised = false }
    :: d_step { copying[0] -> assert(!reused); copying[0] = false }
    :: d_step { copying[1] -> assert(!reused); copying[1] = false }
    od
}

active proctype killer()
{
    do
    :: d_step { alive[0] && !stored[0] && !copying[0] -> alive[0] = false }
    :: d_step { alive[1] && !stored[1] && !copying[1] -> alive[1] = false }
    :: break
    od
}

/* A word that was taken has one writer, which knows what it stored. */
inline put_word() { atomic { !stored[me] -> store[me] = store[me] + 1; stored[me] = true } }

inline slice()
{
#if BROKEN == 5
    seen = epoch;
#endif
    put_word();
#if BROKEN != 1
    !stored[me]; /* the fence */
#endif
#if BROKEN != 5
    seen = epoch;
#endif
    if
    :: seen == 0 -> copying[me] = true
    :: else
    fi;
#if BROKEN != 3
    !copying[me]; /* release */
#endif
    put_word()
}

proctype holder_of_seat(byte me)
{
    byte seen;

    {
        slice();
        if
        :: slice()
        :: skip
        fi;
        !stored[me]; /* kvfi_hold_close() */
        ready = false;
        holder = FREE
    } unless { !alive[me] }
}

proctype newcomer(byte me)
{
    byte seen;

    {
end:
        do
        :: atomic { holder == FREE -> holder = me }; break
        :: !alive[FIRST] && holder == FIRST && ready -> /* free_if_vacant() */
            if
            :: atomic { holder == FIRST -> holder = CLEARING }; ready = false; holder = FREE
            :: holder != FIRST
            fi
        od;
        atomic { word = word + word % 2; store[me] = word };
        proc = TORN;
        proc = me;
        ready = true;
        slice()
    } unless { !alive[me] }
}

active proctype owner()
{
    byte seen, whose;

    run holder_of_seat(FIRST);
    run newcomer(NEWCOMER);
    raised = true; /* kvfi_page_revoke() */
#if BROKEN != 2
    !raised;
#endif
    if /* kvfi_page_snapshot() */
    :: holder != FREE -> seen = word
    :: else
    fi;
    do /* kvfi_page_still_busy() */
    :: seen % 2 == 0 -> break
    :: else ->
        if
        :: word != seen -> break
        :: else
        fi;
        if
#if BROKEN != 4
        :: !ready -> break
#else
        :: !ready -> goto wait
#endif
        :: else
        fi;
        whose = proc;
        if
        :: whose == TORN -> break
        :: whose == TORN
        :: whose != TORN && !alive[whose] -> break
        :: whose != TORN && alive[whose]
        fi;
wait:
#if BROKEN != 4
        word != seen || !ready || (proc != TORN && !alive[proc])
#else
        word != seen || (ready && proc != TORN && !alive[proc])
#endif
    od;
    reused = true
}

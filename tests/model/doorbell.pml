/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Doorbell against sleep: src/path/mail.c (quiet, waiting), page.c and kvf_engine_arm() (armed).
 *
 * Invariant: nobody sleeps for ever while something lies there for it: a message in the ring, room for one
 * that waits, or a note in a seat. (Who sleeps for ever is in an invalid end state.)
 *
 * Without NOTES: a ring of one place with its writer, which has three messages, and its reader. With NOTES:
 * two neighbours put a note each, one of them may be killed between note and doorbell, and the owner of the
 * page arms, looks and sleeps. Stores lie in a buffer of one entry each. stage.c's `waiting` and `returned`
 * are the ring's `waiting` and `head`.
 *
 * BROKEN 1 no fence after the message or note is put     2 no fence in arm
 *        3 the bell is silenced after the look           4 no look at room before the writer sleeps
 *        5 (notes) disarmed before the doorbell is rung, by one that is then killed
 *        6 no fence after what was read is given back
 *        7 `waiting` not set again by a writer that has silenced its bell: a reader that read it before may
 *          take it back, and ring, before the room that is waited for is there
 *
 * run.sh: 1 2 3 4 6 7
 * run.sh: -DNOTES 1 2 3 5
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define MESSAGES 3

#ifndef NOTES
#define WRITER 0
#define READER 1

byte tail, head; /* put, taken */
bool quiet = true, waiting, bell[2];
bool tail_stored, head_stored, quiet_stored, waiting_stored;
byte put, taken; /* what the writer and the reader know themselves */

active proctype memory()
{
end:
    do
    :: d_step { tail_stored -> tail = put; tail_stored = false }
    :: d_step { head_stored -> head = taken; head_stored = false }
    :: d_step { quiet_stored -> quiet = true; quiet_stored = false }
    :: d_step { waiting_stored -> waiting = true; waiting_stored = false }
    od
}

active proctype writer() /* flush(), kvfi_mail_arm() */
{
    bool rings;

    do
    :: put == MESSAGES -> break
    :: put < MESSAGES ->
        if
        :: put - head == 1 ->
            waiting_stored = true;
            !waiting_stored
        :: else
        fi;
        if
        :: put - head == 0 ->
            d_step { !tail_stored -> put++; tail_stored = true };
#if BROKEN != 1
            !tail_stored;
#endif
            if
            :: quiet -> d_step { rings = quiet; quiet = false }
            :: else -> rings = false
            fi;
            if
            :: rings -> bell[READER] = true
            :: else
            fi
        :: else ->
#if BROKEN == 3
            if
            :: put - head == 0
            :: else -> bell[WRITER] = false; bell[WRITER]
            fi
#else
            bell[WRITER] = false; /* kvfi_bell_hush() */
#if BROKEN != 7
            waiting_stored = true;
            !waiting_stored;
#endif
            if
#if BROKEN != 4
            :: put - head == 0
#endif
            :: else -> bell[WRITER]
            fi
#endif
        fi
    od
}

active proctype reader() /* receive(), arm() */
{
    bool rings;

    do
    :: taken == MESSAGES -> break
    :: taken < MESSAGES ->
        if
        :: tail != taken ->
            d_step { !head_stored -> taken++; head_stored = true };
#if BROKEN != 6
            !head_stored;
#endif
            if
            :: waiting -> d_step { rings = waiting; waiting = false }
            :: else -> rings = false
            fi;
            if
            :: rings -> bell[WRITER] = true
            :: else
            fi
        :: else ->
#if BROKEN != 3
            bell[READER] = false;
#endif
            if
            :: !quiet -> quiet_stored = true
            :: else
            fi;
#if BROKEN != 2
            !quiet_stored;
#endif
            if
            :: tail != taken
            :: else ->
#if BROKEN == 3
                bell[READER] = false;
#endif
                bell[READER]
            fi
        fi
    od
}

#else /* NOTES */

byte notes[2], heads[2], armed, arm_stored;
bool note_stored[2], rung, bell, alive = true;

active proctype memory()
{
end:
    do
    :: d_step { note_stored[0] -> notes[0]++; note_stored[0] = false }
    :: d_step { note_stored[1] -> notes[1]++; note_stored[1] = false }
    :: d_step { arm_stored -> armed = arm_stored; arm_stored = 0 }
    od
}

active proctype killer()
{
    if
    :: d_step { !note_stored[0] -> alive = false }
    :: skip
    fi
}

inline put_note(me) /* kvfi_hold_put(), kvfi_hold_ring(), kvfi_hold_rang() */
{
    note_stored[me] = true;
#if BROKEN != 1
    !note_stored[me];
#endif
    was = armed;
    if
    :: was ->
#if BROKEN == 5
        d_step { if :: armed == was -> armed = 0 :: else fi };
#endif
        rung = true;
        bell = true;
#if BROKEN != 5
        d_step { if :: armed == was -> armed = 0 :: else fi }
#endif
    :: else
    fi
}

active proctype mortal()
{
    byte was;

    { put_note(0) } unless { !alive }
}

active proctype neighbour()
{
    byte was;

    put_note(1)
}

#define THERE (notes[0] != heads[0] || notes[1] != heads[1])

active proctype owner()
{
    byte arms = 1;

    do
    :: heads[1] == 1 && (heads[0] == 1 || !alive) -> break
    :: else ->
        if
        :: notes[0] != heads[0] -> heads[0]++
        :: notes[1] != heads[1] -> heads[1]++
        :: !THERE ->
            arm_stored = arms; /* kvf_engine_arm() */
            arms++;
#if BROKEN != 3
            bell = false;
#endif
#if BROKEN != 2
            !arm_stored;
#endif
            if
            :: rung -> rung = false /* BUSY: kvf_progress() */
            :: else ->
                if
                :: THERE /* looks once more at what it waits for */
                :: else ->
#if BROKEN == 3
                    bell = false;
#endif
                    bell || (!alive && heads[1] == 1)
                fi
            fi
        fi
    od
}
#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A WRITE whose bytes the owner puts into its memory is given up at any moment. The invariant: after the
 * writer's op has ended as settled, the owner's memory is not written on its behalf.
 *
 * Near, the bytes lie in slots of a ring that the writer owns; each slot has a word {token, state}. Far,
 * they lie in messages; only an acknowledgement says that they have come or never will. Nothing here has
 * a fair scheduler, so a stopped owner is one that makes no step; it may also die. The writer closes, or
 * loses its connection, and starts afresh on a second one, with rings of its own and higher tokens.
 *
 * With -DBROKEN the owner believes a message without a look at its slot's word, and takes requests below
 * the floor that a HELLO names: spin must find the late write then.
 */
#define OPS   3 /* tokens 1, 2 */
#define SLOTS 2

mtype = { HELLO, REQUEST, DATA, CANCEL };
mtype = { READY, CLAIMED, TAKEN, DONE };

bool settled[OPS]; /* told to whoever posted it */
bool owner_dead;

inline write_memory(t) { assert(!settled[t]) }

/* ------------------------------------------------------------------- near */

typedef ring_t {
    byte  token[SLOTS]; /* with the state one word, changed at once */
    mtype state[SLOTS];
    bool  returned[SLOTS];
}
ring_t ring[2]; /* one a connection */
chan   mail_0 = [8] of { mtype, byte, byte }; /* kind, token, slot */
chan   mail_1 = [8] of { mtype, byte, byte };
chan   answers = [8] of { byte };             /* DONE, for each CANCEL */
bool   shut_0;                                /* the writer puts no more there */

proctype near_owner()
{
    mtype kind;
    byte  t, s, c;
    bool  serving[OPS], claimed;

end:
    do
    :: c == 0 && nempty(mail_0) -> mail_0 ? kind, t, s; goto message
    /* the second hello, or the mark: what is left of the first connection is never looked at */
    :: c == 0 && shut_0 -> c = 1; for (t : 0 .. OPS - 1) { serving[t] = false }
    :: c == 1 && nempty(mail_1) -> mail_1 ? kind, t, s; goto message
    :: owner_dead = true; goto dead
    od;
message:
    if
    :: kind == REQUEST -> serving[t] = true
    :: kind == CANCEL -> serving[t] = false; answers ! t
    :: kind == DATA ->
#ifdef BROKEN
        claimed = true;
#else
        atomic {
            claimed = ring[c].token[s] == t && ring[c].state[s] == READY;
            if :: claimed -> ring[c].state[s] = CLAIMED :: else fi
        }
#endif
        if
        :: claimed ->
            if
            :: serving[t] -> write_memory(t); write_memory(t)
            :: else
            fi;
            ring[c].state[s] = DONE;
            ring[c].returned[s] = true
        :: else
        fi
    fi;
    if
    :: true
    :: owner_dead = true; goto dead
    fi;
    goto end;
dead:
}

/* What the writer knows of its slots is its own. */
inline reap()
{
    for (s : 0 .. SLOTS - 1) {
        if
        :: ring[c].returned[s] -> ring[c].returned[s] = false; mine[s] = 0
        :: else
        fi
    }
}

/* Take the slots away that the owner has not begun with. One that it has begun with may be scattered for
 * as long as it takes. */
inline give_up(t)
{
    begun = false;
    for (s : 0 .. SLOTS - 1) {
        if
        :: mine[s] == t ->
            atomic {
                if
                :: ring[c].token[s] == t && ring[c].state[s] == READY ->
                    ring[c].state[s] = TAKEN; mine[s] = 0
                :: ring[c].token[s] == t && ring[c].state[s] == DONE
                :: else -> begun = true
                fi
            }
        :: else
        fi
    }
    if
    :: c == 0 -> mail_0 ! CANCEL, t, 0
    :: else -> mail_1 ! CANCEL, t, 0
    fi;
    if
    :: begun -> unsettled[t] = true
    :: else -> settled[t] = true
    fi
}

inline listen()
{
    do
    :: answers ? t ->
        if :: unsettled[t] -> unsettled[t] = false; settled[t] = true :: else fi
    :: owner_dead ->
        for (t : 1 .. OPS - 1) {
            if :: unsettled[t] -> unsettled[t] = false; settled[t] = true :: else fi
        };
        break
    :: true -> break
    od
}

proctype near_writer()
{
    byte t, s, op, c, chunks;
    byte mine[SLOTS];
    bool begun, unsettled[OPS];

    for (op : 1 .. OPS - 1) {
        if
        :: c == 0 -> mail_0 ! REQUEST, op, 0
        :: else -> mail_1 ! REQUEST, op, 0
        fi;
        chunks = 0;
        do
        :: chunks < 3 ->
            reap();
            if
            :: mine[0] == 0 -> s = 0
            :: mine[1] == 0 -> s = 1
            :: mine[0] && mine[1] -> break
            fi;
            mine[s] = op;
            atomic { ring[c].token[s] = op; ring[c].state[s] = READY };
            if
            :: c == 0 -> mail_0 ! DATA, op, s
            :: else -> mail_1 ! DATA, op, s
            fi;
            chunks++
        :: true -> break
        od;
        give_up(op);
        listen();
        if
        :: c == 0 -> /* closed, or lost: what was given up and may be begun stays so */
            shut_0 = true;
            c = 1;
            for (s : 0 .. SLOTS - 1) { mine[s] = 0 };
            for (t : 1 .. OPS - 1) {
                if :: unsettled[t] -> mail_1 ! CANCEL, t, 0 :: else fi
            }
        :: true
        fi;
        listen()
    };
    listen()
}

/* -------------------------------------------------------------------- far */

chan wire_0 = [8] of { mtype, byte };
chan wire_1 = [8] of { mtype, byte };
chan acks_0 = [8] of { byte };
chan acks_1 = [8] of { byte };
bool broken_0; /* the writer hears nothing of the first connection any more */

proctype far_owner()
{
    mtype kind;
    byte  t, floor, c, from;
    bool  serving[OPS];

end:
    do
    /* what the kernel still holds of a connection that broke comes in any order with the second one's */
    :: wire_0 ? kind, t -> from = 0; break
    :: wire_1 ? kind, t -> from = 1; break
    :: owner_dead = true; goto dead
    od;
    if
    :: kind == HELLO ->
        for (c : 0 .. OPS - 1) { serving[c] = false };
        floor = t
    :: kind == REQUEST ->
#ifdef BROKEN
        serving[t] = true
#else
        serving[t] = t > floor
#endif
    :: kind == CANCEL ->
        serving[t] = false;
        if
        :: from == 0 -> acks_0 ! t
        :: else -> acks_1 ! t
        fi
    :: kind == DATA ->
        if :: serving[t] -> write_memory(t) :: else fi
    fi;
    goto end;
dead:
}

/* A broken connection is no proof of a death: only what the owner says counts. */
proctype far_writer()
{
    byte t, op, last;
    bool again, unsettled[OPS];

    for (op : 1 .. OPS - 1) {
        last = op;
        if
        :: !again -> wire_0 ! REQUEST, op; wire_0 ! DATA, op
        :: else -> wire_1 ! REQUEST, op; wire_1 ! DATA, op
        fi;
        unsettled[op] = true;
        if
        :: !again -> wire_0 ! CANCEL, op
        :: else -> wire_1 ! CANCEL, op
        fi;
        do
        :: !again && nempty(acks_0) -> acks_0 ? t; unsettled[t] = false; settled[t] = true
        :: again && nempty(acks_1) -> acks_1 ? t;
            if :: unsettled[t] -> unsettled[t] = false; settled[t] = true :: else fi
        :: !again -> /* it breaks */
            again = true;
            wire_1 ! HELLO, last;
            for (t : 1 .. OPS - 1) {
                if :: unsettled[t] -> wire_1 ! CANCEL, t :: else fi
            }
        :: true -> break
        od
    }
end:
    do
    :: !again && nempty(acks_0) -> acks_0 ? t; settled[t] = true
    :: again && nempty(acks_1) -> acks_1 ? t; settled[t] = true
    od
}

init
{
    if
    :: run near_owner(); run near_writer()
    :: run far_owner(); run far_writer()
    fi
}

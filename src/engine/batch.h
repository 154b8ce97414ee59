/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A batch, flat, and its drive.
 */
#ifndef KVFI_ENGINE_BATCH_H
#define KVFI_ENGINE_BATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/event.h"
#include "engine/meter.h"
#include "engine/notify.h"
#include "engine/object.h"
#include "kvferry.h"
#include "path/path.h"

typedef struct kvfi_batch_op {
    kvf_segment_t *segment;
    kvf_remote_t *remote;
    int8_t *block_status;
    int holds; /* segment and remote, until the batch ends; for the ops after it too */
    int finished;
    unsigned parts; /* of it that are being copied */
} kvfi_batch_op_t;

/* An op that went packed by choice, as it would go direct. */
typedef struct kvfi_spare {
    size_t op;
    uint32_t heard;    /* of its neighbour, */
    uint64_t since_ns; /* since then: when it was asked, or the last look that heard something */
    kvfi_box_t box;
} kvfi_spare_t;

struct kvf_batch {
    kvfi_object_t object;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    _Atomic int running;
    _Atomic unsigned refs; /* sweeps that look at it */
    struct kvf_batch *run_next, **run_link;
    int listed; /* under the batch's lock; the links are under the engine's */

    kvfi_batch_op_t *ops;
    kvfi_xfer_t *xfers;
    kvfi_xfer_t **am_xfers;
    kvfi_spare_t *spares;
    size_t spare_count, spare_cap;
    _Atomic uint64_t patience_ns; /* until then a packed op may wait for its first byte */
    size_t count, cap, am_count;
    size_t next_local;     /* xfers below are not local, or are claimed, or have ended */
    uint64_t left;         /* bytes not yet claimed, about */
    uint32_t sharers;      /* threads that may copy it */
    unsigned flying;       /* parts being copied */
    _Atomic int claimable; /* there may be parts to claim */
    _Atomic int stop;      /* not 0: the status it ends with once no part flies */
    uint32_t run;          /* number of this run */
    int in_round;          /* the copy threads'; its links are under their lock */
    struct kvf_batch *round_next, *round_prev;
    _Atomic uint32_t am_pending;
    uint64_t tag;
    _Atomic uint64_t end_ns;
    int given_up;               /* its ops have ended; it waits for owners until end_ns, */
    _Atomic uint32_t unsettled; /* to answer for so many WRITEs */
    enum {
        KVFI_NOT_HELD,
        KVFI_HELD,
        KVFI_ENDED_HELD
    } held;                 /* nothing of it has started */
    size_t held_op;         /* held: the op that has to wait, */
    uint32_t held_settled;  /* with engine->open_writes.settled at the last look */
    int noting;             /* the ops have ended, the notification has not */
    int has_note, note_due; /* due: all ops to its peer ended well, */
    int note_always;        /* or it is sent all the same */
    kvfi_out_note_t note;
    kvf_batch_result_t result;
    uint64_t deadline_ns; /* as it was asked for */
    char sentence[768];   /* of the first bad op, or of the notification */
    kvfi_tally_t tally;
    kvf_queue_t *queue;                         /* that hears of its end; NULL: none */
    kvfi_sleeper_t *sleeper;                    /* the queue's, while the batch runs */
    struct kvf_batch *queue_next, **queue_link; /* under the queue's lock */
    _Atomic int queued;                         /* it has ended, and nobody took it from the queue */
    void *kept;                                 /* kvf_batch_keep(); freed by drop */
    void (*drop)(void *kept);
};

/* Is it sliced, by whoever takes a part of the batch? */
static inline int kvfi_xfer_is_local(const kvfi_xfer_t *xfer)
{
    return !xfer->path->start;
}

/* Drive a batch a little; copy: a part of it too. 1 if it has ended. */
int kvfi_batch_advance(kvf_batch_t *batch, int copy);
int kvfi_batch_advance_locked(kvf_batch_t *batch);
/* All copies that nobody has begun, while the lock is held. */
void kvfi_batch_copy_locked(kvf_batch_t *batch);
/* All copies, helped by who else copies it; not yet what comes after them. Without the lock. */
void kvfi_batch_copy_all(kvf_batch_t *batch);
/* It is to end with status: from here on nobody begins to copy a part. */
void kvfi_batch_stop_locked(kvf_batch_t *batch, kvf_status_t status);
void kvfi_batch_put(kvf_batch_t *batch); /* give a reference back */
/* Has it parts that nobody copies yet? */
static inline int kvfi_batch_copies(const kvf_batch_t *batch)
{
    return atomic_load(&batch->claimable);
}

#endif

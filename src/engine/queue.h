/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A queue of ended batches: the list. All of it is under engine->queue_lock, which is inside of a batch's;
 * the entry is in the batch, so that nothing can fail at its end.
 */
#ifndef KVFI_ENGINE_QUEUE_H
#define KVFI_ENGINE_QUEUE_H

#include "engine/event.h"
#include "engine/object.h"
#include "kvferry.h"

struct kvf_queue {
    kvfi_object_t object;
    kvf_batch_t *first, **end; /* that ended and were not taken, in that order */
    unsigned running;          /* that named it and have not ended */
    kvfi_sleeper_t sleeper;
};

/* A batch that is being posted names it: it stays until the batch has ended, or let go. INVALID. */
kvf_status_t kvfi_queue_hold(kvf_queue_t *queue);
void kvfi_queue_let_go(kvf_queue_t *queue);
/* The batch ends; with its lock. */
void kvfi_queue_end(kvf_batch_t *batch);
/* The next batch that ended: 1, or 0 if there is none. */
int kvfi_queue_take(kvf_queue_t *queue, kvf_ended_t *ended_p);
int kvfi_queue_is_empty(kvf_queue_t *queue);
/* A batch that has ended is freed: its entry, if it was not taken, goes. */
void kvfi_queue_drop(kvf_batch_t *batch);
/* All entries go: 1, or 0 if batches run that name it. */
int kvfi_queue_clear(kvf_queue_t *queue);

#endif

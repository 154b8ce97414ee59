/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An engine, flat.
 *
 * Locks, outer to inner: engine->import_lock, batch->lock, peer->out_lock, engine->inbox_lock,
 * engine->lock, engine->far_lock, a link's lock, engine->grants_lock or open_writes.lock. The lock of the
 * round (round.h) and engine->queue_lock are inside of a batch's; under engine->sleep_lock no other is taken.
 * No lock is held while bytes are copied, but a batch's own inside post.
 */
#ifndef KVFI_ENGINE_ENGINE_H
#define KVFI_ENGINE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/table.h"
#include "engine/event.h"
#include "engine/home.h"
#include "engine/inbox.h"
#include "engine/meter.h"
#include "engine/object.h"
#include "engine/roll.h"
#include "kvferry.h"
#include "path/am.h"
#include "path/cma.h"
#include "path/page.h"

struct kvf_engine {
    kvfi_object_t object;
    unsigned forks; /* kvfi_fork_count() at open */
    _Atomic int closing;
    _Atomic unsigned users; /* calls under way */
    pthread_mutex_t lock;   /* objects, peers, running */
    kvfi_object_t *objects;
    kvfi_object_t *grave, **grave_end; /* the closed, oldest first, under lock */
    unsigned grave_count;

    /* options in force */
    char net[8];
    int local_off, check;
    kvf_progress_mode_t progress;
    kvf_pack_t pack;
    uint64_t deadline_ns, rank;
    uint32_t depth;
    uint32_t copy_threads;        /* that run; 0: who waits copies */
    struct kvfi_copiers *copiers; /* NULL: none */
    char *setting_text;           /* values for kvf_engine_setting() */

    uint64_t incarnation;
    uint64_t proof[KVFI_CMA_PROOF / 8]; /* read by peers through cma */
    kvfi_home_t *home;
    kvfi_table_t peers; /* by incarnation, */
    kvfi_roll_t roll;   /* and by place */

    pthread_mutex_t import_lock;                  /* of importing remotes */
    pthread_mutex_t far_lock;                     /* of opening the far side, of connections for stage */
    kvfi_driver_t *_Atomic drivers[KVFI_DRIVERS]; /* NULL: no near peers; no far one so far */
    int far_driven;                               /* by the thread, or by who polls the event fd */
    _Atomic int near_driven;                      /* by the thread */
    atomic_flag told_of_stage, told_of_far, told_of_release; /* the user was warned */

    pthread_mutex_t grants_lock;
    kvf_grant_t *grants[KVFI_PAGE_GRANTS];
    uint32_t next_grant;

    struct kvf_batch *running;
    _Atomic unsigned running_count;
    kvfi_open_writes_t open_writes; /* given up, and not settled */

    int calls_fd;           /* an epoll of what calls for a drive: bell, far link, peers that end */
    int wake_fd;            /* the thread's */
    kvfi_sleeper_t sleeper; /* behind kvf_engine_fd() */
    pthread_mutex_t sleep_lock;
    kvfi_sleeper_t *sleepers;
    _Atomic unsigned listening;                   /* armed sleepers that hear of all that comes */
    _Atomic uint32_t arms;                        /* even; one more is what the page says */
    pthread_mutex_t queue_lock;                   /* the lists of queues */
    _Atomic unsigned lives_polled, lives_timed;   /* near peers whose death the epoll tells, or only a look */
    int (*sweep)(kvf_engine_t *engine, int copy); /* progress.c's, for the thread */
    pthread_t thread;
    _Atomic int thread_on;
    _Atomic unsigned waiters; /* that drive in the place of the thread: it stands back */
    pthread_mutex_t inbox_lock;
    kvf_channel_t *channels;
    kvfi_shelf_t shelf; /* of what is for no channel */
    unsigned take_from; /* seat to look at first for a notification */

    kvfi_meter_t meter;
};

/* NULL: not open. */
static inline kvfi_driver_t *kvfi_driver(const kvf_engine_t *engine, unsigned id)
{
    return atomic_load_explicit(&engine->drivers[id], memory_order_acquire);
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who asks a queue for batches that have ended. It drives the engine, and so the copies of all its batches,
 * as a wait does, and sleeps on the queue's own descriptor: each queue hears of its own batches, whoever
 * sleeps or arms elsewhere. Only kvf_queue_next() waits.
 */
#define _GNU_SOURCE
#include <poll.h>

#include "base/clock.h"
#include "base/status.h"
#include "engine/ended.h"
#include "engine/engine.h"
#include "engine/progress.h"
#include "engine/queue.h"
#include "engine/thread.h"

#define SPIN_NS  UINT64_C(20000)
#define DRIVE_NS UINT64_C(50000) /* the same where the peer fills a slot meanwhile */

kvf_status_t kvf_queue_create(kvf_engine_t *engine, kvf_queue_t **queue_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    kvf_queue_t *queue;

    if (status != KVF_OK)
        return status;
    if (!queue_p) {
        status = kvfi_fail(KVF_ERR_INVALID, "queue_p is NULL");
        goto leave;
    }
    queue = kvfi_object_new(engine, KVFI_QUEUE, sizeof *queue);
    if (!queue) {
        status = KVF_ERR_NOMEM;
        goto leave;
    }
    queue->end = &queue->first;
    status = kvfi_sleeper_open(engine, &queue->sleeper, 0);
    if (status == KVF_OK)
        *queue_p = queue;
    else
        kvfi_object_close(queue);
leave:
    kvfi_leave(engine);
    return status;
}

void kvfi_ended_free(kvf_queue_t *queue)
{
    kvfi_sleeper_close(queue->object.engine, &queue->sleeper);
    kvfi_object_close(queue);
}

kvf_status_t kvf_queue_free(kvf_queue_t *queue)
{
    kvf_engine_t *engine;
    kvf_status_t status;

    if (!queue)
        return KVF_OK;
    status = kvfi_enter(queue, KVFI_QUEUE);
    if (status != KVF_OK)
        return status;
    engine = queue->object.engine;
    if (!kvfi_claim(queue, KVFI_QUEUE)) {
        status = kvfi_fail(KVF_ERR_INVALID, "queue handle is closed");
    } else if (!kvfi_queue_clear(queue)) {
        kvfi_unclaim(queue, KVFI_QUEUE);
        status = kvfi_fail(KVF_ERR_BUSY, "batches run that name the queue");
    } else {
        kvfi_ended_free(queue);
    }
    kvfi_leave(engine);
    return status;
}

/* ------------------------------------------------------------------- sleep */

kvf_status_t kvf_queue_fd(kvf_queue_t *queue, int *fd_p)
{
    kvf_status_t status = kvfi_enter(queue, KVFI_QUEUE);

    if (status != KVF_OK)
        return status;
    if (fd_p)
        *fd_p = queue->sleeper.fd;
    else
        status = kvfi_fail(KVF_ERR_INVALID, "fd_p is NULL");
    kvfi_leave(queue->object.engine);
    return status;
}

/* Armed first, then looked at: an end that this look misses wakes. It stays armed for others who sleep. */
static kvf_status_t arm(kvf_queue_t *queue)
{
    kvf_status_t status = kvfi_sleeper_arm(queue->object.engine, &queue->sleeper);

    if (status == KVF_OK && !kvfi_queue_is_empty(queue))
        status = kvfi_fail(KVF_ERR_BUSY, "a batch has ended: kvf_queue_next() first");
    return status;
}

kvf_status_t kvf_queue_arm(kvf_queue_t *queue)
{
    kvf_status_t status = kvfi_enter(queue, KVFI_QUEUE);

    if (status != KVF_OK)
        return status;
    status = arm(queue);
    kvfi_leave(queue->object.engine);
    return status;
}

static void sleep_until(kvf_queue_t *queue, uint64_t end_ns)
{
    struct pollfd fd = {.fd = queue->sleeper.fd, .events = POLLIN};
    uint64_t now;
    struct timespec left;

    if (arm(queue) != KVF_OK || atomic_load(&queue->object.engine->closing))
        return;
    now = kvfi_now_ns();
    left = kvfi_timespec(end_ns > now ? end_ns - now : 0);
    ppoll(&fd, 1, end_ns == UINT64_MAX ? NULL : &left, NULL);
}

/* -------------------------------------------------------------------- next */

/* Drive until a batch has ended; so long as something moves, or has just moved, without a sleep. */
static kvf_status_t await(kvf_queue_t *queue, uint64_t end_ns, kvf_ended_t *ended_p)
{
    kvf_engine_t *engine = queue->object.engine;
    uint64_t now = kvfi_now_ns(), moved_ns = now;
    int drives = 0, taken = 0; /* drives: in place of the progress thread */

    while (!taken && now < end_ns && !atomic_load(&engine->closing)) {
        if (!drives)
            drives = kvfi_thread_take(engine);
        if (kvfi_progress_drive(engine, 1)) {
            moved_ns = now;
        } else if (now - moved_ns > (drives ? DRIVE_NS : SPIN_NS)) {
            if (drives)
                kvfi_thread_hand_back(engine);
            drives = 0;
            sleep_until(queue, end_ns);
            moved_ns = kvfi_now_ns();
        } else {
            kvfi_relax();
        }
        taken = kvfi_queue_take(queue, ended_p);
        now = kvfi_now_ns();
    }
    if (drives)
        kvfi_thread_hand_back(engine);
    if (taken)
        return KVF_OK;
    return atomic_load(&engine->closing) ? kvfi_fail(KVF_ERR_CLOSED, "the engine is closing")
                                         : KVF_INPROGRESS;
}

kvf_status_t kvf_queue_next(kvf_queue_t *queue, uint64_t timeout_ns, kvf_ended_t *ended_p)
{
    kvf_status_t status = kvfi_enter(queue, KVFI_QUEUE);
    kvf_ended_t ended;
    kvf_engine_t *engine;

    if (status != KVF_OK)
        return status;
    engine = queue->object.engine;
    status = kvf_struct_write("ended_p", NULL, sizeof ended, ended_p);
    if (status != KVF_OK || kvfi_queue_take(queue, &ended))
        goto leave;
    kvfi_progress_drive(engine, !engine->copiers);
    if (!kvfi_queue_take(queue, &ended))
        status = await(queue, kvfi_deadline(kvfi_now_ns(), timeout_ns), &ended);
leave:
    if (status == KVF_OK)
        status = kvf_struct_write("ended_p", &ended, sizeof ended, ended_p);
    kvfi_leave(engine);
    return status;
}

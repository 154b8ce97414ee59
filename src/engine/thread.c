/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The one thread that an engine starts once a peer may need its help: far, or near without the right to
 * reach our own memory. It runs the progress of the drivers, sweeps the running batches (engine->sweep),
 * sleeps until something comes, and stands back while a waiter drives in its place.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/status.h"
#include "base/wire.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/home.h"
#include "engine/place.h"
#include "engine/thread.h"

#define FIRST_MS      1000            /* to look for the first neighbour whose rings do not reach us */
#define SPIN_NS       UINT64_C(50000) /* it looks for the next slot, filled in half of that */
#define LINGER_NS     UINT64_C(8000)  /* and a little for the next request: to be woken takes longer */
#define STAND_BACK_MS 5 /* a waiter that goes wakes the thread; this is for one that a debugger holds */

/* Those that the thread drives. */
static unsigned driven(kvf_engine_t *engine, kvfi_driver_t *drivers[KVFI_DRIVERS])
{
    unsigned count = 0;

    for (unsigned i = 0; i < KVFI_DRIVERS; i++) {
        kvfi_driver_t *driver = kvfi_driver(engine, i);

        if (driver && (i != KVFI_NEAR || atomic_load(&engine->near_driven)))
            drivers[count++] = driver;
    }
    return count;
}

/* The wake that ends the thread stays. */
static void clear_wake(kvf_engine_t *engine, const struct pollfd *fd)
{
    uint64_t woken;

    if (fd->revents && atomic_load(&engine->thread_on) && read(engine->wake_fd, &woken, sizeof woken) < 0 &&
        errno != EAGAIN)
        kvfi_log(KVFI_LOG_WARN, "the progress thread's wake cannot be read: %m");
}

/* Until a message, a wake, or the next look that is due; not at all if something waits already. */
static void thread_sleep(kvf_engine_t *engine, kvfi_driver_t *const *drivers, unsigned count)
{
    struct pollfd fds[1 + KVFI_DRIVERS] = {{.fd = engine->wake_fd, .events = POLLIN}};
    uint64_t look, now;

    for (unsigned i = 0; i < count; i++) {
        if (drivers[i]->ops->arm(drivers[i]))
            return;
        fds[i + 1] = (struct pollfd){.fd = drivers[i]->ops->fd(drivers[i]), .events = POLLIN};
    }
    look = kvfi_event_next_near_look(engine);
    now = kvfi_now_ns();
    if (look == UINT64_MAX)
        poll(fds, count + 1, FIRST_MS);
    else if (look > now)
        ppoll(fds, count + 1,
              &(struct timespec){(time_t)((look - now) / 1000000000u), (long)((look - now) % 1000000000u)},
              NULL);
    clear_wake(engine, &fds[0]);
}

/* While a waiter drives, a second thread would only take a core from the peer's. */
static void stand_back(kvf_engine_t *engine)
{
    struct pollfd fd = {.fd = engine->wake_fd, .events = POLLIN};

    poll(&fd, 1, STAND_BACK_MS);
    clear_wake(engine, &fd);
}

static void *thread_main(void *arg)
{
    kvf_engine_t *engine = arg;
    kvfi_driver_t *near = kvfi_driver(engine, KVFI_NEAR), *drivers[KVFI_DRIVERS];
    kvfi_place_t place;
    uint64_t moved_ns = 0;

    kvfi_place_find(&place);

    while (atomic_load(&engine->thread_on)) {
        unsigned count = driven(engine, drivers);
        int worked = 0;

        if (atomic_load(&engine->waiters)) {
            stand_back(engine);
            continue;
        }
        for (unsigned i = 0; i < count; i++)
            worked |= drivers[i]->ops->progress(drivers[i], 1);
        if (engine->sweep(engine, 0) || worked) {
            moved_ns = kvfi_now_ns();
            if (near)
                kvfi_place_look(&place, kvfi_am_crowded(kvfi_am_of(near)), moved_ns);
            continue;
        }
        if (near && atomic_load(&engine->near_driven) &&
            kvfi_now_ns() - moved_ns < (near->ops->busy(near) ? SPIN_NS : LINGER_NS)) {
            kvfi_relax();
            continue;
        }
        thread_sleep(engine, drivers, count);
    }
    return NULL;
}

static int wake_thread(kvf_engine_t *engine)
{
    uint64_t one = 1;

    return write(engine->wake_fd, &one, sizeof one) < 0 ? -1 : 0;
}

/* The one thread: it looks for what there is to drive when it is woken. */
static kvf_status_t start_thread(kvf_engine_t *engine)
{
    sigset_t all, before;
    char limits[KVFI_LIMITS_LEN];
    int error;

    if (atomic_load(&engine->thread_on))
        return wake_thread(engine) ? kvfi_fail(KVF_ERR_SYSTEM, "the progress thread cannot be woken: %m")
                                   : KVF_OK;
    /* the host's signals are for the host's threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_store(&engine->thread_on, 1);
    error = pthread_create(&engine->thread, NULL, thread_main, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        atomic_store(&engine->thread_on, 0);
        kvfi_limits_of_threads(limits);
        return kvfi_fail(KVF_ERR_SYSTEM, "no progress thread: %s (%s)", strerror(error), limits);
    }
    pthread_setname_np(engine->thread, "kvferry");
    return KVF_OK;
}

void kvfi_thread_stop(kvf_engine_t *engine)
{
    if (!atomic_exchange(&engine->thread_on, 0))
        return;
    if (wake_thread(engine))
        kvfi_log(KVFI_LOG_WARN, "the progress thread cannot be woken: %m");
    pthread_join(engine->thread, NULL);
}

/* ----------------------------------------------------------- who needs it */

kvf_status_t kvfi_thread_far(kvf_engine_t *engine)
{
    kvfi_driver_t *driver = kvfi_driver(engine, KVFI_WIRE);

    if (engine->progress == KVF_PROGRESS_THREAD)
        return start_thread(engine);
    if (kvfi_event_watch(engine, driver->ops->fd(driver)))
        return kvfi_fail(KVF_ERR_SYSTEM, "epoll_ctl of the far link: %m");
    return KVF_OK;
}

/* From then on only the thread arms the near link: who sleeps on the event fd is woken by it. */
kvf_status_t kvfi_thread_near(kvf_engine_t *engine)
{
    kvf_status_t status = KVF_OK;

    if (!kvfi_driver(engine, KVFI_NEAR) || engine->local_off || engine->progress != KVF_PROGRESS_THREAD ||
        atomic_load(&engine->near_driven))
        return KVF_OK;
    pthread_mutex_lock(&engine->far_lock);
    if (!atomic_load(&engine->near_driven)) {
        atomic_store(&engine->near_driven, 1);
        status = start_thread(engine);
        if (status == KVF_OK)
            epoll_ctl(engine->calls_fd, EPOLL_CTL_DEL, engine->home->bell.fd, NULL);
        else
            atomic_store(&engine->near_driven, 0);
    }
    pthread_mutex_unlock(&engine->far_lock);
    return status;
}

int kvfi_thread_take(kvf_engine_t *engine)
{
    kvfi_driver_t *near = kvfi_driver(engine, KVFI_NEAR);

    if (!atomic_load(&engine->near_driven) || !near->ops->busy(near))
        return 0;
    atomic_fetch_add(&engine->waiters, 1);
    return 1;
}

void kvfi_thread_hand_back(kvf_engine_t *engine)
{
    if (atomic_fetch_sub(&engine->waiters, 1) == 1 && wake_thread(engine))
        kvfi_log(KVFI_LOG_WARN, "the progress thread cannot be woken: %m");
}

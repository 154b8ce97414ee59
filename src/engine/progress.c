/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who drives: the caller, the waits, or the one thread that an engine starts once a peer may need
 * its help: far, or near without the right to reach our own memory. And how a caller sleeps: the
 * event fd is an epoll of what may need it. tests/model/doorbell.pml: a note against who arms and sleeps.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/internal.h"
#include "engine/place.h"

#define SWEEP_FEW    64u
#define RETRY_NS     UINT64_C(5000000) /* of a notification that waits for room in a near ring */
#define LIVES_NS     UINT64_C(60000000) /* to look at near peers that serve us, or that we serve */
#define DEAF_NS      UINT64_C(1000000) /* to look for those whose rings do not reach us, */
#define FIRST_MS     1000 /* and for the first of them */
#define TIMED_NS     UINT64_C(1000000000) /* to look at near peers of which nothing tells that they end */
#define NAP_NS       UINT64_C(50000)
#define SPIN_NS      UINT64_C(50000) /* the thread looks for the next slot, filled in half of that */
#define LINGER_NS    UINT64_C(8000)  /* and a little for the next request: to be woken takes longer */
#define STAND_BACK_MS 5 /* a waiter that goes wakes the thread; this is for one that a debugger holds */

/* ------------------------------------------------------------------- drive */

/* Advance the running batches; 1 if one ended or copied. */
static int sweep(kvf_engine_t *engine, int copy)
{
    kvf_batch_t *few[SWEEP_FEW], **batches = few;
    unsigned     count = 0, room = atomic_load(&engine->running_count);
    int          worked = 0;

    if (!room)
        return 0;
    if (room <= SWEEP_FEW || !(batches = malloc(room * sizeof *batches))) {
        batches = few;
        room = SWEEP_FEW;
    }
    pthread_mutex_lock(&engine->lock);
    for (kvf_batch_t *batch = engine->running; batch && count < room; batch = batch->run_next) {
        atomic_fetch_add(&batch->refs, 1);
        batches[count++] = batch;
    }
    pthread_mutex_unlock(&engine->lock);
    for (unsigned i = 0; i < count; i++) {
        worked |= copy && kvfi_batch_copies(batches[i]);
        worked |= kvfi_batch_advance(batches[i], copy);
        kvfi_batch_put(batches[i]);
    }
    if (batches != few)
        free(batches);
    return worked;
}

int kvfi_progress_drive(kvf_engine_t *engine, int copy)
{
    kvfi_am_t *am = atomic_load(&engine->am);
    int        worked = 0;

    if (engine->stage)
        worked |= kvfi_am_progress(engine->stage, 0);
    if (am)
        worked |= kvfi_am_progress(am, 0);
    return worked | sweep(engine, copy);
}

kvf_status_t kvf_progress(kvf_engine_t *engine)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    kvfi_progress_drive(engine, !engine->copiers);
    kvfi_leave(engine);
    return KVF_OK;
}

/* Neighbours that cannot ring are looked for. */
static int is_deaf(const kvf_engine_t *engine)
{
    return atomic_load_explicit(&engine->home->page->deaf, memory_order_relaxed) != 0;
}

/* When the first running batch needs a look though nothing came. UINT64_MAX: never. */
static uint64_t next_look(kvf_engine_t *engine)
{
    uint64_t least = UINT64_MAX, retry = kvfi_now_ns() + RETRY_NS;

    pthread_mutex_lock(&engine->lock);
    for (const kvf_batch_t *batch = engine->running; batch; batch = batch->run_next) {
        uint64_t patience = atomic_load_explicit(&batch->patience_ns, memory_order_relaxed);

        if (atomic_load_explicit(&batch->end_ns, memory_order_relaxed) < least)
            least = atomic_load_explicit(&batch->end_ns, memory_order_relaxed);
        if (patience < least)
            least = patience;
        if (batch->has_note && !batch->note.peer->am && retry < least)
            least = retry;
    }
    pthread_mutex_unlock(&engine->lock);
    if (engine->stage && kvfi_am_busy(engine->stage)) {
        retry = kvfi_now_ns() + LIVES_NS;
        least = retry < least ? retry : least;
    }
    return least;
}

/* The same for who drives the near link. */
static uint64_t next_near_look(kvf_engine_t *engine)
{
    uint64_t look = next_look(engine), deaf = is_deaf(engine) ? kvfi_now_ns() + DEAF_NS : UINT64_MAX;

    return deaf < look ? deaf : look;
}

/* Copies that wait for somebody to call. */
static int any_copies(kvf_engine_t *engine)
{
    const kvf_batch_t *batch;

    if (engine->copiers)
        return 0;
    pthread_mutex_lock(&engine->lock);
    for (batch = engine->running; batch && !kvfi_batch_copies(batch); batch = batch->run_next)
        ;
    pthread_mutex_unlock(&engine->lock);
    return batch != NULL;
}

/* ------------------------------------------------------------------ thread */

/* The links that the thread drives. */
static unsigned driven(kvf_engine_t *engine, kvfi_am_t *links[2])
{
    kvfi_am_t *am = atomic_load(&engine->am);
    unsigned   count = 0;

    if (atomic_load(&engine->near_driven))
        links[count++] = engine->stage;
    if (am)
        links[count++] = am;
    return count;
}

/* The wake that ends the thread stays. */
static void clear_wake(kvf_engine_t *engine, const struct pollfd *fd)
{
    uint64_t woken;

    if (fd->revents && atomic_load(&engine->thread_on) &&
        read(engine->wake_fd, &woken, sizeof woken) < 0 && errno != EAGAIN)
        kvfi_log(KVFI_LOG_WARN, "the progress thread's wake cannot be read: %m");
}

/* Until a message, a wake, or the next look that is due; not at all if something waits already. */
static void thread_sleep(kvf_engine_t *engine, kvfi_am_t *const links[2], unsigned count)
{
    struct pollfd fds[3] = {{.fd = engine->wake_fd, .events = POLLIN}};
    uint64_t      look, now;

    for (unsigned i = 0; i < count; i++) {
        if (kvfi_am_arm(links[i]))
            return;
        fds[i + 1] = (struct pollfd){.fd = kvfi_am_fd(links[i]), .events = POLLIN};
    }
    look = next_near_look(engine);
    now = kvfi_now_ns();
    if (look == UINT64_MAX)
        poll(fds, count + 1, FIRST_MS);
    else if (look > now)
        ppoll(fds, count + 1, &(struct timespec){(time_t)((look - now) / 1000000000u),
                                                 (long)((look - now) % 1000000000u)}, NULL);
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
    kvfi_am_t    *links[2];
    kvfi_place_t  place;
    uint64_t      moved_ns = 0;

    kvfi_place_find(&place);

    while (atomic_load(&engine->thread_on)) {
        unsigned count = driven(engine, links);
        int      worked = 0;

        if (atomic_load(&engine->drivers)) {
            stand_back(engine);
            continue;
        }
        for (unsigned i = 0; i < count; i++)
            worked |= kvfi_am_progress(links[i], 1);
        if (sweep(engine, 0) || worked) {
            moved_ns = kvfi_now_ns();
            if (engine->stage)
                kvfi_place_look(&place, kvfi_am_crowded(engine->stage), moved_ns);
            continue;
        }
        if (engine->stage && atomic_load(&engine->near_driven) &&
            kvfi_now_ns() - moved_ns < (kvfi_am_busy(engine->stage) ? SPIN_NS : LINGER_NS)) {
            kvfi_relax();
            continue;
        }
        thread_sleep(engine, links, count);
    }
    return NULL;
}

static int wake_thread(kvf_engine_t *engine)
{
    uint64_t one = 1;

    return write(engine->wake_fd, &one, sizeof one) < 0 ? -1 : 0;
}

int kvfi_progress_take(kvf_engine_t *engine)
{
    if (!atomic_load(&engine->near_driven) || !kvfi_am_busy(engine->stage))
        return 0;
    atomic_fetch_add(&engine->drivers, 1);
    return 1;
}

void kvfi_progress_hand_back(kvf_engine_t *engine)
{
    if (atomic_fetch_sub(&engine->drivers, 1) == 1 && wake_thread(engine))
        kvfi_log(KVFI_LOG_WARN, "the progress thread cannot be woken: %m");
}

/* The one thread: it looks for what there is to drive when it is woken. */
static kvf_status_t start_thread(kvf_engine_t *engine)
{
    sigset_t all, before;
    char     limits[KVFI_LIMITS_LEN];
    int      error;

    if (atomic_load(&engine->thread_on))
        return wake_thread(engine)
                   ? kvfi_fail(KVF_ERR_SYSTEM, "the progress thread cannot be woken: %m")
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

static int watch(kvf_engine_t *engine, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

kvf_status_t kvfi_progress_far(kvf_engine_t *engine)
{
    if (engine->progress == KVF_PROGRESS_THREAD)
        return start_thread(engine);
    if (watch(engine, kvfi_am_fd(atomic_load(&engine->am))))
        return kvfi_fail(KVF_ERR_SYSTEM, "epoll_ctl of the far link: %m");
    return KVF_OK;
}

/* From then on only the thread arms the near link: who sleeps on the event fd is woken by it. */
kvf_status_t kvfi_progress_near(kvf_engine_t *engine)
{
    kvf_status_t status = KVF_OK;

    if (!engine->stage || engine->local_off || engine->progress != KVF_PROGRESS_THREAD ||
        atomic_load(&engine->near_driven))
        return KVF_OK;
    pthread_mutex_lock(&engine->far_lock);
    if (!atomic_load(&engine->near_driven)) {
        atomic_store(&engine->near_driven, 1);
        status = start_thread(engine);
        if (status == KVF_OK)
            epoll_ctl(engine->epoll_fd, EPOLL_CTL_DEL, engine->home->bell.fd, NULL);
        else
            atomic_store(&engine->near_driven, 0);
    }
    pthread_mutex_unlock(&engine->far_lock);
    return status;
}

/* ---------------------------------------------------------------- event fd */

kvf_status_t kvfi_progress_open(kvf_engine_t *engine)
{
    kvfi_home_t *home = engine->home;

    engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    engine->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    engine->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    engine->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (engine->epoll_fd >= 0 && engine->event_fd >= 0 && engine->wake_fd >= 0 &&
        engine->timer_fd >= 0 && !watch(engine, engine->event_fd) &&
        !watch(engine, engine->timer_fd) && (!home->near || !watch(engine, home->bell.fd)))
        return KVF_OK;
    kvfi_fail(KVF_ERR_SYSTEM, "no event fd: %m%s",
              errno == EMFILE ? " (RLIMIT_NOFILE; an engine needs about 30)" : "");
    kvfi_progress_close(engine);
    return KVF_ERR_SYSTEM;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void kvfi_progress_close(kvf_engine_t *engine)
{
    if (atomic_exchange(&engine->thread_on, 0)) {
        if (wake_thread(engine))
            kvfi_log(KVFI_LOG_WARN, "the progress thread cannot be woken: %m");
        pthread_join(engine->thread, NULL);
    }
    close_fd(&engine->epoll_fd);
    close_fd(&engine->event_fd);
    close_fd(&engine->wake_fd);
    close_fd(&engine->timer_fd);
}

void kvfi_progress_wake(void *arg)
{
    kvf_engine_t *engine = arg;
    uint64_t      one = 1;

    if (!atomic_exchange(&engine->armed, 0))
        return;
    atomic_store(&engine->home->page->armed, 0);
    if (write(engine->event_fd, &one, sizeof one) < 0)
        kvfi_log(KVFI_LOG_WARN, "the event fd cannot be written: %m");
}

__attribute__((hot))
void kvfi_progress_posted(kvf_engine_t *engine)
{
    if (atomic_load(&engine->armed))
        kvfi_progress_wake(engine);
    if (atomic_load(&engine->thread_on))
        kvfi_am_wake(atomic_load(&engine->near_driven) ? engine->stage : atomic_load(&engine->am));
}

kvf_status_t kvf_engine_fd(kvf_engine_t *engine, int *fd_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    if (fd_p)
        *fd_p = engine->epoll_fd;
    else
        status = kvfi_fail(KVF_ERR_INVALID, "fd_p is NULL");
    kvfi_leave(engine);
    return status;
}

/* ------------------------------------------------------------------- lives */

/* Readable for good once the peer is dead: it wakes once, till take_deaths(). */
void kvfi_progress_watch(kvf_peer_t *peer)
{
    kvf_engine_t      *engine = peer->object.engine;
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = peer->incarnation};

    peer->watched = peer->life.pidfd >= 0 &&
                            !epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, peer->life.pidfd, &event)
                        ? KVFI_IN_EPOLL : KVFI_BY_TIMER;
    atomic_fetch_add(peer->watched == KVFI_IN_EPOLL ? &engine->lives_polled : &engine->lives_timed, 1);
}

/* A forked child may hold the descriptor too, so that to close it is not enough. */
void kvfi_progress_unwatch(kvf_peer_t *peer)
{
    kvf_engine_t *engine = peer->object.engine;

    if (peer->watched == KVFI_IN_EPOLL && engine->epoll_fd >= 0)
        epoll_ctl(engine->epoll_fd, EPOLL_CTL_DEL, peer->life.pidfd, NULL);
    if (peer->watched != KVFI_NOT_WATCHED)
        atomic_fetch_sub(peer->watched == KVFI_IN_EPOLL ? &engine->lives_polled : &engine->lives_timed, 1);
    peer->watched = KVFI_NOT_WATCHED;
}

/* Who looks after arm finds the dead dead, and the next sleep is not woken by them. */
static void take_deaths(kvf_engine_t *engine)
{
    struct epoll_event events[16];
    int                count;

    if (!atomic_load(&engine->lives_polled))
        return;
    count = epoll_wait(engine->epoll_fd, events, sizeof events / sizeof *events, 0);
    pthread_mutex_lock(&engine->lock);
    for (int i = 0; i < count; i++) {
        kvf_peer_t *peer = events[i].data.u64 ? kvfi_table_get(&engine->peers, events[i].data.u64) : NULL;

        if (peer)
            kvfi_life_check(&peer->life, 0);
    }
    pthread_mutex_unlock(&engine->lock);
}

/* The look of who arms that is due for those that nothing tells of. */
static uint64_t next_life(kvf_engine_t *engine)
{
    int untold = atomic_load(&engine->lives_timed) || is_deaf(engine);

    return untold ? kvfi_now_ns() + TIMED_NS : UINT64_MAX;
}

/* --------------------------------------------------------------------- arm */

static void disarm(kvf_engine_t *engine)
{
    atomic_store(&engine->armed, 0);
    atomic_store(&engine->home->page->armed, 0);
}

kvf_status_t kvf_engine_arm(kvf_engine_t *engine)
{
    kvf_status_t      status = kvfi_enter(engine, KVFI_ENGINE);
    kvfi_am_t        *am;
    struct itimerspec timer = {0};
    uint64_t          look, life, count;
    int               busy;

    if (status != KVF_OK)
        return status;
    am = atomic_load(&engine->am);
    if (read(engine->event_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        kvfi_log(KVFI_LOG_WARN, "the event fd cannot be read: %m");
    take_deaths(engine);
    atomic_store(&engine->armed, 1);
    atomic_store(&engine->home->page->armed, atomic_fetch_add(&engine->arms, 2) + 1);
    busy = any_copies(engine) ||
           (engine->stage && !atomic_load(&engine->near_driven) && kvfi_am_arm(engine->stage));
    if (!busy && am && engine->progress == KVF_PROGRESS_CALLER)
        busy = kvfi_am_arm(am);
    life = next_life(engine);
    look = atomic_load(&engine->near_driven) ? next_look(engine) : next_near_look(engine);
    if (life < look)
        look = life;
    if (busy)
        look = UINT64_MAX;
    if (look != UINT64_MAX)
        timer.it_value = kvfi_timespec(look);
    timerfd_settime(engine->timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
    if (busy) {
        disarm(engine);
        status = kvfi_fail(KVF_ERR_BUSY, "work waits for kvf_progress()");
    }
    kvfi_leave(engine);
    return status;
}

void kvfi_progress_nap(kvf_engine_t *engine, uint64_t until_ns)
{
    uint64_t        now = kvfi_now_ns(), left = until_ns > now ? until_ns - now : 0;
    kvfi_am_t      *links[2] = {atomic_load(&engine->am), engine->stage};
    struct pollfd   fds[2];
    struct timespec at;
    unsigned        count = 0;

    if (links[1] && !kvfi_am_busy(links[1]))
        links[1] = NULL;
    if (is_deaf(engine) && left > DEAF_NS)
        left = DEAF_NS;
    for (int i = 0; i < 2; i++) {
        if (!links[i])
            continue;
        if (kvfi_am_arm(links[i]))
            return;
        fds[count++] = (struct pollfd){.fd = kvfi_am_fd(links[i]), .events = POLLIN};
    }
    at = kvfi_timespec(count || left < NAP_NS ? left : NAP_NS);
    if (count)
        ppoll(fds, count, &at, NULL);
    else
        nanosleep(&at, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a caller sleeps, and what wakes it. The event fd is an epoll of what may need the caller: the
 * neighbours' bell, the far link, near peers that die, a timer for the next look that is due though
 * nothing comes, and an eventfd for what ended here. tests/model/doorbell.pml: a note against who arms
 * and sleeps. Only the nap waits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "base/table.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/home.h"
#include "engine/object.h"
#include "engine/peer.h"
#include "engine/running.h"

#define LIVES_NS UINT64_C(60000000) /* to look at near peers that serve us, or that we serve */
#define DEAF_NS  UINT64_C(1000000) /* to look for those whose rings do not reach us */
#define TIMED_NS UINT64_C(1000000000) /* to look at near peers of which nothing tells that they end */
#define NAP_NS   UINT64_C(50000)

/* -------------------------------------------------------------- open, close */

int kvfi_event_watch(kvf_engine_t *engine, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

kvf_status_t kvfi_event_open(kvf_engine_t *engine)
{
    kvfi_home_t *home = engine->home;

    engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    engine->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    engine->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    engine->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (engine->epoll_fd >= 0 && engine->event_fd >= 0 && engine->wake_fd >= 0 &&
        engine->timer_fd >= 0 && !kvfi_event_watch(engine, engine->event_fd) &&
        !kvfi_event_watch(engine, engine->timer_fd) &&
        (!home->near || !kvfi_event_watch(engine, home->bell.fd)))
        return KVF_OK;
    kvfi_fail(KVF_ERR_SYSTEM, "no event fd: %m%s",
              errno == EMFILE ? " (RLIMIT_NOFILE; an engine needs about 30)" : "");
    kvfi_event_close(engine);
    return KVF_ERR_SYSTEM;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void kvfi_event_close(kvf_engine_t *engine)
{
    close_fd(&engine->epoll_fd);
    close_fd(&engine->event_fd);
    close_fd(&engine->wake_fd);
    close_fd(&engine->timer_fd);
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

/* -------------------------------------------------------------------- wake */

void kvfi_event_wake(void *arg)
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
void kvfi_event_posted(kvf_engine_t *engine)
{
    if (atomic_load(&engine->armed))
        kvfi_event_wake(engine);
    if (atomic_load(&engine->thread_on))
        kvfi_am_wake(atomic_load(&engine->near_driven) ? engine->stage : atomic_load(&engine->am));
}

/* ------------------------------------------------------------------- lives */

/* Readable for good once the peer is dead: it wakes once, till take_deaths(). */
void kvfi_event_watch_peer(kvf_peer_t *peer)
{
    kvf_engine_t      *engine = peer->object.engine;
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = peer->incarnation};

    peer->watched = peer->life.pidfd >= 0 &&
                            !epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, peer->life.pidfd, &event)
                        ? KVFI_IN_EPOLL : KVFI_BY_TIMER;
    atomic_fetch_add(peer->watched == KVFI_IN_EPOLL ? &engine->lives_polled : &engine->lives_timed, 1);
}

/* A forked child may hold the descriptor too, so that to close it is not enough. */
void kvfi_event_unwatch_peer(kvf_peer_t *peer)
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

/* -------------------------------------------------------------------- look */

/* Neighbours that cannot ring are looked for. */
static int is_deaf(const kvf_engine_t *engine)
{
    return atomic_load_explicit(&engine->home->page->deaf, memory_order_relaxed) != 0;
}

/* When a running batch, or a near peer that serves us, needs a look though nothing came; or UINT64_MAX. */
static uint64_t next_look(kvf_engine_t *engine)
{
    uint64_t least = kvfi_running_next_look(engine), lives;

    if (engine->stage && kvfi_am_busy(engine->stage)) {
        lives = kvfi_now_ns() + LIVES_NS;
        least = lives < least ? lives : least;
    }
    return least;
}

uint64_t kvfi_event_next_near_look(kvf_engine_t *engine)
{
    uint64_t look = next_look(engine), deaf = is_deaf(engine) ? kvfi_now_ns() + DEAF_NS : UINT64_MAX;

    return deaf < look ? deaf : look;
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
    busy = kvfi_running_copies(engine) ||
           (engine->stage && !atomic_load(&engine->near_driven) && kvfi_am_arm(engine->stage));
    if (!busy && am && engine->progress == KVF_PROGRESS_CALLER)
        busy = kvfi_am_arm(am);
    life = next_life(engine);
    look = atomic_load(&engine->near_driven) ? next_look(engine) : kvfi_event_next_near_look(engine);
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

void kvfi_event_nap(kvf_engine_t *engine, uint64_t until_ns)
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

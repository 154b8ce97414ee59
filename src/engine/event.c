/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How callers sleep, and what wakes them. Each purpose has a sleeper: the engine, each queue, each channel.
 * Its fd is an epoll of an eventfd that is written when the sleeper is woken, of a timer for the next look
 * that is due though nothing comes, and of what calls any of them for a drive: the neighbours' bell, the far
 * link, near peers that die. Whoever drives wakes the others, so that no sleeper takes what another waits
 * for. tests/model/doorbell.pml: a note against who arms and sleeps. Only the nap waits.
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

#define LIVES_NS UINT64_C(60000000)   /* to look at near peers that serve us, or that we serve */
#define DEAF_NS  UINT64_C(1000000)    /* to look for those whose rings do not reach us */
#define TIMED_NS UINT64_C(1000000000) /* to look at near peers of which nothing tells that they end */
#define NAP_NS   UINT64_C(50000)

/* -------------------------------------------------------------- open, close */

static int watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int kvfi_event_watch(kvf_engine_t *engine, int fd)
{
    return watch(engine->calls_fd, fd);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static kvf_status_t no_fd(void)
{
    return kvfi_fail(KVF_ERR_SYSTEM, "no event fd: %m%s",
                     errno == EMFILE ? " (RLIMIT_NOFILE; an engine needs about 30)" : "");
}

static void close_fds(kvfi_sleeper_t *sleeper)
{
    close_fd(&sleeper->fd);
    close_fd(&sleeper->event_fd);
    close_fd(&sleeper->timer_fd);
}

kvf_status_t kvfi_sleeper_open(kvf_engine_t *engine, kvfi_sleeper_t *sleeper, int hears)
{
    sleeper->hears = hears;
    sleeper->fd = epoll_create1(EPOLL_CLOEXEC);
    sleeper->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    sleeper->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (sleeper->fd < 0 || sleeper->event_fd < 0 || sleeper->timer_fd < 0 ||
        watch(sleeper->fd, sleeper->event_fd) || watch(sleeper->fd, sleeper->timer_fd) ||
        watch(sleeper->fd, engine->calls_fd)) {
        no_fd();
        close_fds(sleeper);
        return KVF_ERR_SYSTEM;
    }
    pthread_mutex_lock(&engine->sleep_lock);
    sleeper->next = engine->sleepers;
    sleeper->link = &engine->sleepers;
    if (sleeper->next)
        sleeper->next->link = &sleeper->next;
    engine->sleepers = sleeper;
    pthread_mutex_unlock(&engine->sleep_lock);
    return KVF_OK;
}

/* Not armed any more: 1 if it was. The page stops asking for doorbells with the last that hears them, unless
 * one has armed since: then the page says another number. */
static int disarm(kvf_engine_t *engine, kvfi_sleeper_t *sleeper)
{
    kvfi_page_t *page = engine->home->page;
    uint32_t said;

    if (!atomic_exchange(&sleeper->armed, 0))
        return 0;
    said = atomic_load(&page->armed);
    if (sleeper->hears && atomic_fetch_sub(&engine->listening, 1) == 1)
        atomic_compare_exchange_strong(&page->armed, &said, 0);
    return 1;
}

void kvfi_sleeper_close(kvf_engine_t *engine, kvfi_sleeper_t *sleeper)
{
    if (!sleeper->link)
        return;
    pthread_mutex_lock(&engine->sleep_lock);
    *sleeper->link = sleeper->next;
    if (sleeper->next)
        sleeper->next->link = sleeper->link;
    pthread_mutex_unlock(&engine->sleep_lock);
    sleeper->link = NULL;
    disarm(engine, sleeper);
    close_fds(sleeper);
}

kvf_status_t kvfi_event_open(kvf_engine_t *engine)
{
    kvfi_home_t *home = engine->home;

    engine->calls_fd = epoll_create1(EPOLL_CLOEXEC);
    engine->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (engine->calls_fd < 0 || engine->wake_fd < 0 ||
        (home->near && kvfi_event_watch(engine, home->bell.fd)))
        no_fd();
    else if (kvfi_sleeper_open(engine, &engine->sleeper, 1) == KVF_OK)
        return KVF_OK;
    kvfi_event_close(engine);
    return KVF_ERR_SYSTEM;
}

void kvfi_event_close(kvf_engine_t *engine)
{
    kvfi_sleeper_close(engine, &engine->sleeper);
    close_fd(&engine->calls_fd);
    close_fd(&engine->wake_fd);
}

kvf_status_t kvf_engine_fd(kvf_engine_t *engine, int *fd_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    if (fd_p)
        *fd_p = engine->sleeper.fd;
    else
        status = kvfi_fail(KVF_ERR_INVALID, "fd_p is NULL");
    kvfi_leave(engine);
    return status;
}

/* -------------------------------------------------------------------- wake */

void kvfi_sleeper_wake(kvf_engine_t *engine, kvfi_sleeper_t *sleeper)
{
    uint64_t one = 1;

    if (disarm(engine, sleeper) && write(sleeper->event_fd, &one, sizeof one) < 0)
        kvfi_log(KVFI_LOG_WARN, "an event fd cannot be written: %m");
}

void kvfi_event_wake(void *arg)
{
    kvf_engine_t *engine = arg;

    atomic_thread_fence(memory_order_seq_cst); /* who arms looks after it says so, and we after what came */
    if (!atomic_load(&engine->listening))
        return;
    pthread_mutex_lock(&engine->sleep_lock);
    for (kvfi_sleeper_t *sleeper = engine->sleepers; sleeper; sleeper = sleeper->next)
        if (sleeper->hears)
            kvfi_sleeper_wake(engine, sleeper);
    pthread_mutex_unlock(&engine->sleep_lock);
}

void kvfi_event_wake_all(kvf_engine_t *engine)
{
    pthread_mutex_lock(&engine->sleep_lock);
    for (kvfi_sleeper_t *sleeper = engine->sleepers; sleeper; sleeper = sleeper->next)
        kvfi_sleeper_wake(engine, sleeper);
    pthread_mutex_unlock(&engine->sleep_lock);
}

__attribute__((hot)) void kvfi_event_posted(kvf_engine_t *engine, kvfi_sleeper_t *sleeper)
{
    kvfi_driver_t *driver;

    if (atomic_load(&engine->sleeper.armed))
        kvfi_sleeper_wake(engine, &engine->sleeper);
    if (sleeper)
        kvfi_sleeper_wake(engine, sleeper);
    if (atomic_load(&engine->thread_on)) {
        driver = kvfi_driver(engine, atomic_load(&engine->near_driven) ? KVFI_NEAR : KVFI_WIRE);
        driver->ops->wake(driver);
    }
}

/* ------------------------------------------------------------------- lives */

/* Readable for good once the peer is dead: it wakes once, till take_deaths(). */
void kvfi_event_watch_peer(kvf_peer_t *peer)
{
    kvf_engine_t *engine = peer->object.engine;
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = peer->incarnation};

    peer->watched =
        peer->life.pidfd >= 0 && !epoll_ctl(engine->calls_fd, EPOLL_CTL_ADD, peer->life.pidfd, &event)
            ? KVFI_IN_EPOLL
            : KVFI_BY_TIMER;
    atomic_fetch_add(peer->watched == KVFI_IN_EPOLL ? &engine->lives_polled : &engine->lives_timed, 1);
}

/* A forked child may hold the descriptor too, so that to close it is not enough. */
void kvfi_event_unwatch_peer(kvf_peer_t *peer)
{
    kvf_engine_t *engine = peer->object.engine;

    if (peer->watched == KVFI_IN_EPOLL && engine->calls_fd >= 0)
        epoll_ctl(engine->calls_fd, EPOLL_CTL_DEL, peer->life.pidfd, NULL);
    if (peer->watched != KVFI_NOT_WATCHED)
        atomic_fetch_sub(peer->watched == KVFI_IN_EPOLL ? &engine->lives_polled : &engine->lives_timed, 1);
    peer->watched = KVFI_NOT_WATCHED;
}

/* Who looks after arm finds the dead dead, and the next sleep is not woken by them. Who armed before hears
 * of them by its event. */
static void take_deaths(kvf_engine_t *engine)
{
    struct epoll_event events[16];
    int count, any = 0;

    if (!atomic_load(&engine->lives_polled))
        return;
    count = epoll_wait(engine->calls_fd, events, sizeof events / sizeof *events, 0);
    pthread_mutex_lock(&engine->lock);
    for (int i = 0; i < count; i++) {
        kvf_peer_t *peer = events[i].data.u64 ? kvfi_table_get(&engine->peers, events[i].data.u64) : NULL;

        if (peer)
            kvfi_life_check(&peer->life, 0);
        any |= peer != NULL;
    }
    pthread_mutex_unlock(&engine->lock);
    if (any)
        kvfi_event_wake(engine);
}

/* -------------------------------------------------------------------- look */

/* Neighbours that cannot ring are looked for. */
static int is_deaf(const kvf_engine_t *engine)
{
    return atomic_load_explicit(&engine->home->page->deaf, memory_order_relaxed) != 0;
}

/* When a running batch, a near peer that serves us, or a WRITE that was given up needs a look though nothing
 * came; or UINT64_MAX. */
static uint64_t next_look(kvf_engine_t *engine)
{
    kvfi_driver_t *near = kvfi_driver(engine, KVFI_NEAR);
    uint64_t least = kvfi_running_next_look(engine), lives;

    if ((near && near->ops->busy(near)) || atomic_load(&engine->open_writes.count)) {
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

static void set_timer(kvf_engine_t *engine, const kvfi_sleeper_t *sleeper)
{
    struct itimerspec timer = {0};
    uint64_t life = next_life(engine);
    uint64_t look = atomic_load(&engine->near_driven) ? next_look(engine) : kvfi_event_next_near_look(engine);

    look = life < look ? life : look;
    if (look != UINT64_MAX)
        timer.it_value = kvfi_timespec(look);
    timerfd_settime(sleeper->timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

/* Does the thread drive it, and arm it? */
static int is_threads(kvf_engine_t *engine, kvfi_driver_id_t id)
{
    return id == KVFI_NEAR ? atomic_load(&engine->near_driven) : engine->progress == KVF_PROGRESS_THREAD;
}

static int is_busy(kvf_engine_t *engine)
{
    if (kvfi_running_copies(engine))
        return 1;
    for (unsigned i = 0; i < KVFI_DRIVERS; i++) {
        kvfi_driver_t *driver = kvfi_driver(engine, i);

        if (driver && !is_threads(engine, i) && driver->ops->arm(driver))
            return 1;
    }
    return 0;
}

kvf_status_t kvfi_sleeper_arm(kvf_engine_t *engine, kvfi_sleeper_t *sleeper)
{
    uint64_t count;

    if (read(sleeper->event_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        kvfi_log(KVFI_LOG_WARN, "an event fd cannot be read: %m");
    take_deaths(engine);
    if (!atomic_exchange(&sleeper->armed, 1) && sleeper->hears)
        atomic_fetch_add(&engine->listening, 1);
    if (sleeper->hears)
        atomic_store(&engine->home->page->armed, atomic_fetch_add(&engine->arms, 2) + 1);
    if (is_busy(engine))
        return kvfi_fail(KVF_ERR_BUSY, "work waits for kvf_progress()");
    set_timer(engine, sleeper);
    return KVF_OK;
}

kvf_status_t kvf_engine_arm(kvf_engine_t *engine)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    status = kvfi_sleeper_arm(engine, &engine->sleeper);
    if (status != KVF_OK)
        disarm(engine, &engine->sleeper);
    kvfi_leave(engine);
    return status;
}

void kvfi_event_nap(kvf_engine_t *engine, uint64_t until_ns)
{
    uint64_t now = kvfi_now_ns(), left = until_ns > now ? until_ns - now : 0;
    struct pollfd fds[KVFI_DRIVERS];
    struct timespec at;
    unsigned count = 0;

    if (is_deaf(engine) && left > DEAF_NS)
        left = DEAF_NS;
    for (unsigned i = KVFI_DRIVERS; i--;) {
        kvfi_driver_t *driver = kvfi_driver(engine, i);

        if (!driver || (i == KVFI_NEAR && !driver->ops->busy(driver)))
            continue;
        if (driver->ops->arm(driver))
            return;
        fds[count++] = (struct pollfd){.fd = driver->ops->fd(driver), .events = POLLIN};
    }
    at = kvfi_timespec(count || left < NAP_NS ? left : NAP_NS);
    if (count)
        ppoll(fds, count, &at, NULL);
    else
        nanosleep(&at, NULL);
}

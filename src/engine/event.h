/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a caller sleeps, and what wakes it.
 */
#ifndef KVFI_ENGINE_EVENT_H
#define KVFI_ENGINE_EVENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "kvferry.h"

/* What a caller polls: a descriptor of its own for each purpose, so that of several sleepers none takes
 * another's wake. */
typedef struct kvfi_sleeper {
    struct kvfi_sleeper *next, **link; /* of its engine's, under its sleep_lock; link NULL: not open */
    int fd;                            /* an epoll of the two below and of engine->calls_fd */
    int event_fd, timer_fd;            /* it was woken; a look is due though nothing came */
    int hears;                         /* it is woken by all that comes */
    _Atomic int armed;
} kvfi_sleeper_t;

kvf_status_t kvfi_sleeper_open(kvf_engine_t *engine, kvfi_sleeper_t *sleeper, int hears);
void kvfi_sleeper_close(kvf_engine_t *engine, kvfi_sleeper_t *sleeper);
/* Arm and reset it: OK, or BUSY with a sentence: drive the engine first. What is published after that
 * wakes it; so look for it now. */
kvf_status_t kvfi_sleeper_arm(kvf_engine_t *engine, kvfi_sleeper_t *sleeper);
/* Wake it, if it is armed. */
void kvfi_sleeper_wake(kvf_engine_t *engine, kvfi_sleeper_t *sleeper);

kvf_status_t kvfi_event_open(kvf_engine_t *engine);
void kvfi_event_close(kvf_engine_t *engine);
/* A descriptor that makes those of all sleepers readable: 0, or -1 with errno. */
int kvfi_event_watch(kvf_engine_t *engine, int fd);
/* A near peer that was put in the table; before its life is closed. Its death wakes the event fd. */
void kvfi_event_watch_peer(kvf_peer_t *peer);
void kvfi_event_unwatch_peer(kvf_peer_t *peer);
/* Something came: wake those who hear of it. */
void kvfi_event_wake(void *engine);
/* The engine closes: wake all. */
void kvfi_event_wake_all(kvf_engine_t *engine);
/* A batch runs: who sleeps has messages to send, or one more deadline to keep. sleeper: that of the
 * batch's queue, or NULL. */
void kvfi_event_posted(kvf_engine_t *engine, kvfi_sleeper_t *sleeper);
/* When who drives the near link has to look though nothing came. UINT64_MAX: never. */
uint64_t kvfi_event_next_near_look(kvf_engine_t *engine);
/* Sleep a little, until something may have changed; at most until end_ns. */
void kvfi_event_nap(kvf_engine_t *engine, uint64_t end_ns);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a caller sleeps, and what wakes it.
 */
#ifndef KVFI_ENGINE_EVENT_H
#define KVFI_ENGINE_EVENT_H

#include <stdint.h>

#include "kvferry.h"

kvf_status_t kvfi_event_open(kvf_engine_t *engine);
void         kvfi_event_close(kvf_engine_t *engine);
/* A descriptor that makes the event fd readable: 0, or -1 with errno. */
int          kvfi_event_watch(kvf_engine_t *engine, int fd);
/* A near peer that was put in the table; before its life is closed. Its death wakes the event fd. */
void         kvfi_event_watch_peer(kvf_peer_t *peer);
void         kvfi_event_unwatch_peer(kvf_peer_t *peer);
/* Something ended or came: the event fd, if armed. */
void         kvfi_event_wake(void *engine);
/* A batch runs: who sleeps has messages to send, or one more deadline to keep. */
void         kvfi_event_posted(kvf_engine_t *engine);
/* When who drives the near link has to look though nothing came. UINT64_MAX: never. */
uint64_t     kvfi_event_next_near_look(kvf_engine_t *engine);
/* Sleep a little, until something may have changed; at most until end_ns. */
void         kvfi_event_nap(kvf_engine_t *engine, uint64_t end_ns);

#endif

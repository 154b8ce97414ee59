/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Peers: where another engine lives, and what of it is held here.
 */
#ifndef KVFI_ENGINE_PEER_H
#define KVFI_ENGINE_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/proc.h"
#include "engine/home.h"
#include "engine/meter.h"
#include "engine/object.h"
#include "kvferry.h"
#include "path/am.h"
#include "path/cma.h"
#include "path/page.h"
#include "ucx/ucx.h"

/* A region of a peer's that is mapped here, shared by its remotes. */
typedef struct kvfi_region {
    struct kvfi_region *next;
    uint64_t uid;
    unsigned refs;
    kvfi_map_t *map;
    char *addr;          /* NULL: could not be mapped */
    uint64_t raddr, len; /* in its owner */
    char *twin;          /* the same, read-only, of the first view on; else NULL */
} kvfi_region_t;

struct kvf_peer {
    kvfi_object_t object;
    uint64_t incarnation, rank;
    kvfi_proc_id_t proc;
    uint64_t process; /* the same as a number: engines of one process have the same */
    char host[64];
    char name[120]; /* for sentences: rank, host and pid */
    kvf_locality_t locality;
    unsigned imports, remotes;
    _Atomic unsigned notes; /* of running batches */
    /* near, or of this process */
    kvfi_home_t *home;
    kvfi_map_t *page_map;
    kvfi_hold_t hold;
    kvfi_life_t life;
    enum {
        KVFI_NOT_WATCHED,
        KVFI_IN_EPOLL,
        KVFI_BY_TIMER
    } watched; /* by who sleeps on the event fd */
    kvfi_cma_t cma;
    kvfi_region_t *regions;
    kvfi_am_peer_t *_Atomic stage;    /* NULL: not needed so far */
    int driven;                       /* a thread of its engine does its half of stage */
    _Atomic uint64_t direct_until_ns; /* no choice of stage before: it failed, so many times in a row */
    _Atomic unsigned stage_failures;
    _Atomic uint64_t silent_ns, silent_to_ns; /* ops waited for a word of it for so long, until then, */
    _Atomic uint32_t silent_heard;            /* when it had said so many */
    /* far */
    kvfi_am_peer_t *am;
    char why_far[400];

    pthread_mutex_t out_lock;
    struct kvfi_out_note *out, **out_end;
    uint32_t place; /* on the roll */
    kvfi_flows_t flows;
};

void kvfi_peer_free(kvf_peer_t *peer);
/* The connection for ops of that direction over stage, made at the first need; the first time the user is
 * told why there is one. */
kvf_status_t kvfi_peer_connect(kvf_peer_t *peer, uint32_t dir, kvfi_am_peer_t **stage_p);
int kvfi_peer_alive(kvf_peer_t *peer, uint64_t max_age_ns);
/* What became of one that is not alive. */
const char *kvfi_peer_end(const kvf_peer_t *peer);

#endif

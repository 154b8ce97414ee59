/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of this room share.
 */
#ifndef KVFI_UCX_INTERNAL_H
#define KVFI_UCX_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <ucp/api/ucp.h>
#include <uct/api/uct.h>

#include "ucx/ucx.h"

#define KVFI_AM_ID 7u

/* Where names of shared memory mean the same thing; the address of a near link. */
typedef struct kvfi_place {
    uint32_t kind, zero;
    uint64_t names;    /* inode of a namespace; 0: unknown */
    char     boot[48]; /* boot id; "": unknown */
} kvfi_place_t;

struct kvfi_link {
    /* near */
    uct_component_h  component;
    uct_md_h         md;   /* NULL: a far link */
    uct_md_h         huge; /* what allocates huge pages only; NULL: not opened yet */
    kvfi_shm_kind_t  kind;
    kvfi_place_t     place;
    /* far */
    ucp_context_h    context;
    ucp_worker_h     worker;
    ucp_address_t   *address;
    size_t           address_len;
    int              fd;
    pthread_mutex_t  lock;
    _Atomic int      waiting; /* threads that want the lock */
    kvfi_link_recv_t recv;
    void            *arg;
    kvfi_ep_t       *closing; /* endpoints under way to closed */
};

struct kvfi_ep {
    kvfi_link_t     *link;
    ucp_ep_h         ucp;
    kvfi_ep_failed_t failed;
    void            *arg;
    int              closing, called;
    int              flushed, closed; /* while it closes */
    unsigned         refs;            /* of UCX's requests that close it */
    struct kvfi_ep  *next, **link_of;
};

/* The domain of a near link that allocates huge pages only, opened at the first need; NULL with a
 * sentence. (L) */
uct_md_h kvfi_near_huge(kvfi_link_t *link);
void     kvfi_near_close(kvfi_link_t *link);

/* Close what has been flushed, or all that is to be closed. */
void kvfi_link_close_flushed(kvfi_link_t *link, int force);

#endif

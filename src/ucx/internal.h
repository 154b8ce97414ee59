/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of this room share.
 */
#ifndef KVFI_UCX_INTERNAL_H
#define KVFI_UCX_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <ucp/api/ucp.h>

#include "ucx/ucx.h"

#define KVFI_AM_ID 7u

struct kvfi_link {
    ucp_context_h    context;
    ucp_context_h    huge; /* of a near link: what allocates huge pages only; NULL: not opened yet */
    kvfi_shm_kind_t  kind; /* of a near link */
    ucp_worker_h     worker;
    ucp_address_t   *address;
    size_t           address_len;
    int              fd;
    pthread_mutex_t  lock;
    _Atomic int      waiting; /* threads that want the lock */
    kvfi_link_recv_t recv;
    void            *arg;
    kvfi_ep_t       *closing; /* endpoints under way to closed */
    unsigned         untidy;  /* calls of progress that closed ones still need */
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

/* The context of a near link that allocates huge pages only, opened at the first need; NULL with a
 * sentence. (L) */
ucp_context_h kvfi_link_huge(kvfi_link_t *link);

/* Close what has been flushed, or all that is to be closed. */
void kvfi_link_close_flushed(kvfi_link_t *link, int force);

#endif

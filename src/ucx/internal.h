/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of this room share.
 */
#ifndef KVFI_UCX_INTERNAL_H
#define KVFI_UCX_INTERNAL_H

#include <stdatomic.h>
#include <sys/socket.h>
#include <ucp/api/ucp.h>
#include <uct/api/uct.h>

#include "ucx/ucx.h"

#define KVFI_AM_ID 7u

#define KVFI_FDS_MAX 4096
/* Numbers of descriptors. */
typedef struct kvfi_fds {
    uint64_t bits[KVFI_FDS_MAX / 64];
} kvfi_fds_t;

/* Where names of shared memory mean the same thing; the address of a link. */
typedef struct kvfi_place {
    uint32_t kind, zero;
    uint64_t names; /* inode of a namespace; 0: unknown */
    char boot[48];  /* boot id; "": unknown */
} kvfi_place_t;

#define KVFI_NET_IFS  512u
#define KVFI_NET_MOST 100u /* interfaces of which UCX may be handed all */
typedef struct kvfi_net_if {
    char name[32];
    kvfi_net_addr_t addr;
    unsigned routes; /* addresses of peers that it leads to */
    int loopback, doubtful, by_default, physical;
    long speed;
} kvfi_net_if_t;

struct kvfi_link {
    uct_component_h component;
    uct_md_h md;
    uct_md_h huge; /* what allocates huge pages only; NULL: not opened yet */
    kvfi_shm_kind_t kind;
    kvfi_place_t place;
    kvfi_lock_t lock;
};

struct kvfi_wire {
    char over[96];     /* what goes over which interface, for errors */
    kvfi_net_if_t tcp; /* the interface, where we chose it */
    int chosen;
    kvfi_fds_t before;                 /* what was open before the context was */
    uint64_t settle_ns, settle_gap_ns; /* when to look for more of it, 0: not; and again after */
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_address_t *address;
    size_t address_len;
    int fd;
    kvfi_lock_t lock;
    kvfi_wire_recv_t recv;
    void *arg;
    kvfi_ep_t *closing; /* endpoints under way to closed */
    unsigned endpoints; /* ours, with those */
    char counted[80];   /* where UCX tells how many there are */
};

struct kvfi_ep {
    kvfi_wire_t *wire;
    ucp_ep_h ucp;
    kvfi_ep_failed_t failed;
    void *arg;
    int closing, called;
    int stands;          /* a message has left by it */
    int flushed, closed; /* while it closes */
    unsigned refs;       /* till it is closed; of its flush, and of messages under way */
    struct kvfi_ep *next, **link_of;
};

/* The domain of a link that allocates huge pages only, opened at the first need; NULL with a
 * sentence. (L) */
uct_md_h kvfi_near_huge(kvfi_link_t *link);

/* ---- needs.c: what UCX would end or hold the process for. SYSTEM or NOMEM with the limit named. */
#define KVFI_EP_FDS 8u /* of an endpoint, all lanes and a retry */
kvf_status_t kvfi_needs_context(void);
kvf_status_t kvfi_needs_descriptors(unsigned count, const char *what_for);
kvf_status_t kvfi_needs_port(const struct sockaddr *at, socklen_t len, const char *name);

/* ---- net.c */
/* The interface for tcp; -1: there is none. */
int kvfi_net_choose(kvfi_net_if_t *best_p);
unsigned kvfi_net_count(void);
/* Can UCX listen there? SYSTEM. */
kvf_status_t kvfi_net_check(const kvfi_net_if_t *at);
/* For UCX_NET_DEVICES: it, and the InfiniBand ports that are up, unless only tcp is wanted. */
void kvfi_net_devices(const kvfi_net_if_t *at, int only_tcp, char *buf, size_t len);
void kvfi_net_text(const kvfi_net_if_t *at, char *buf, size_t len);

/* ---- fds.c */
/* Before a call that opens; *now_p stays until kvfi_fds_settle() right after it. */
void kvfi_fds_look(kvfi_fds_t *now_p);
/* What is new and UCX's is to be closed by exec, and its sockets in children: in_call right after a call
 * that opens, else only a timer, and what has the port of one of our listeners. */
void kvfi_fds_settle(const kvfi_fds_t *before, int in_call);

/* Close what has been flushed, or all that is to be closed. */
void kvfi_wire_close_flushed(kvfi_wire_t *wire, int force);

#endif

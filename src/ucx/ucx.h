/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The only room that knows UCX. An engine has a link to its neighbours and, from the first need, a wire to
 * far peers, each behind a lock of its own. The link is a memory domain of UCX's shared memory that gives
 * memory, and no setting of the site reaches it; neighbours map it by base/share.h. The wire is a UCX context
 * with one worker (the net option, the site's UCX_ variables). Its messages are short eager active messages;
 * the handler runs inside kvfi_wire_progress(), with the wire's lock held. Functions marked (L) want the lock
 * of their link or wire held.
 */
#ifndef KVFI_UCX_UCX_H
#define KVFI_UCX_UCX_H

#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"
#include "base/share.h"
#include "kvferry.h"

typedef struct kvfi_link kvfi_link_t;
typedef struct kvfi_wire kvfi_wire_t;
typedef struct kvfi_mem kvfi_mem_t;
typedef struct kvfi_ep kvfi_ep_t;

/* Largest payload of one message that travels unfragmented over tcp. */
#define KVFI_WIRE_CHUNK (UINT32_C(256) * 1024)

/* ---- links to neighbours
 * On one kind of shared memory: only those of one kind reach each other. Fails with UNSUPPORTED, and the
 * kind's limits in the sentence, where there is none of it. */
kvf_status_t kvfi_link_open_near(kvfi_shm_kind_t kind, kvfi_link_t **link_p);
void kvfi_link_close(kvfi_link_t *link);
void kvfi_link_lock(kvfi_link_t *link);
void kvfi_link_unlock(kvfi_link_t *link);
/* The same lock, for a machine that runs under it. */
kvfi_lock_t *kvfi_link_turn(kvfi_link_t *link);
const void *kvfi_link_address(const kvfi_link_t *link, size_t *len_p);
/* Does a link with that address, on this machine, share memory with ours? If so a mapping may be tried. */
int kvfi_link_meets(const kvfi_link_t *link, const void *address, size_t len);

/* ---- memory that UCX allocates on a link, and that neighbours map */
typedef struct kvfi_mem_want {
    uint64_t len;
    int huge; /* in huge pages, or not at all; len is rounded up to whole ones */
} kvfi_mem_want_t;

/* (L) Zeroed, and closed to other users; the pages are not there yet, and whether they can be had is for
 * the caller to prove. NOMEM with the limits in the sentence; UNSUPPORTED, SYSTEM: it cannot be closed. */
kvf_status_t kvfi_mem_alloc(kvfi_link_t *link, const kvfi_mem_want_t *want, kvfi_mem_t **mem_p);
void *kvfi_mem_addr(const kvfi_mem_t *mem);
uint64_t kvfi_mem_len(const kvfi_mem_t *mem);                /* as allocated */
const kvfi_share_key_t *kvfi_mem_key(const kvfi_mem_t *mem); /* for neighbours to map it by */
void kvfi_mem_free(kvfi_mem_t *mem);                         /* (L) */

/* ---- wires to far peers */
typedef void (*kvfi_wire_recv_t)(void *arg, const void *head, size_t head_len, const void *data, size_t len);
/* Fails with UNSUPPORTED if the wire named by net is not here. */
kvf_status_t kvfi_wire_open(const char *net, kvfi_wire_recv_t recv, void *arg, kvfi_wire_t **wire_p);
void kvfi_wire_close(kvfi_wire_t *wire);
kvfi_lock_t *kvfi_wire_lock(kvfi_wire_t *wire);
const void *kvfi_wire_address(const kvfi_wire_t *wire, size_t *len_p);
unsigned kvfi_wire_progress(kvfi_wire_t *wire); /* (L) */
int kvfi_wire_fd(const kvfi_wire_t *wire);
/* (L) Looks once more. 0: nothing was there; poll the fd. 1: something was, or waits: progress first. */
int kvfi_wire_arm(kvfi_wire_t *wire);
void kvfi_wire_wake(kvfi_wire_t *wire);
/* (L) Peers connect of whom no endpoint of ours knows yet. */
int kvfi_wire_has_strangers(const kvfi_wire_t *wire);
/* (L) Wait for endpoints that close; by force after end_ns, or a second. To do before closing. 0: UCX would
 * end the process if the wire were closed, which must be left alone. */
int kvfi_wire_settle(kvfi_wire_t *wire, uint64_t end_ns);

/* ---- their endpoints: PEER error handling, our own handler, called once, with the lock held */
typedef void (*kvfi_ep_failed_t)(void *arg, const char *why);
/* UCX takes no length of an address and reads on behind one that is cut: so many zeros must follow it. One
 * that has been changed otherwise may still end the process. */
#define KVFI_ADDRESS_ROOM 65536u
kvf_status_t kvfi_ep_open(kvfi_wire_t *wire, const void *address, kvfi_ep_failed_t failed, void *arg,
                          kvfi_ep_t **ep_p); /* (L) */
/* (L) Starts to close, after what was sent has left, or by force; progress does the rest. One that comes up is
 * closed when it stands: UCX 1.13 ends the process else. NULL is fine. */
void kvfi_ep_close(kvfi_ep_t *ep, int force);
/* (L) "tcp/eth0", or "". */
void kvfi_ep_wire(kvfi_ep_t *ep, char *buf, size_t len);

/* (L) Send head and data, both of which must stay until sent(arg, failed) runs; sent runs inside
 * the call when the message left at once. */
typedef void (*kvfi_sent_t)(void *arg, int failed);
void kvfi_ep_send(kvfi_ep_t *ep, const void *head, size_t head_len, const void *data, size_t len,
                  kvfi_sent_t sent, void *arg);

/* ---- ways between machines
 * Addresses that this process can be reached at, for blobs; and those that far peers told, by which the
 * interface of the next wire is chosen. */
typedef struct kvfi_net_addr {
    uint32_t family; /* 4 or 6 */
    uint8_t bytes[16];
} kvfi_net_addr_t;

#define KVFI_NET_ADDRS 8u
unsigned kvfi_net_addresses(kvfi_net_addr_t *addrs, unsigned max);
void kvfi_net_heard(const kvfi_net_addr_t *addrs, unsigned count);

/* ---- what UCX can tell */
uint32_t kvfi_ucx_release(void); /* major << 16 | minor << 8 | patch, at run time */
/* Is it as new as the one built against, and one? UNSUPPORTED. */
kvf_status_t kvfi_ucx_check_release(void);
/* What was measured of this release with far peers over tcp, for people; NULL: nothing bad. */
const char *kvfi_ucx_doubt(void);
/* 1, then 0: errors that this thread makes UCX log in between are no errors to us. */
void kvfi_ucx_quiet(int on);
/* Is there a transport whose name begins so ("rc_") on a device of this machine? */
int kvfi_ucx_has(const char *prefix);
/* Text for people into a malloced string; NULL without memory. */
char *kvfi_ucx_text(void);

#endif

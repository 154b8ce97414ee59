/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Shared memory between neighbours: closed to everybody but this user before anybody is told of it, named
 * in a key that travels in blobs and messages, and mapped by that key. UCX allocates it, but what a
 * neighbour names never reaches UCX: a segment may go with its maker at any moment, and UCX 1.13 then
 * unmaps memory of somebody else's. The mapping made here holds the segment, and only then is it compared
 * with what the key says. Waits for nothing but the kernel.
 */
#ifndef KVFI_BASE_SHARE_H
#define KVFI_BASE_SHARE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/shm.h"
#include "kvferry.h"

typedef struct kvfi_share_key {
    uint32_t kind; /* kvfi_shm_kind_t */
    int32_t id;    /* System V: of the segment; else a descriptor of the maker's */
    int32_t pid;   /* the maker's, in its own PID namespace */
    uint32_t zero;
    uint64_t dev, ino; /* of a file */
    uint64_t addr;     /* of the first byte, in the maker */
    uint64_t len;      /* as the maker has it mapped */
} kvfi_share_key_t;

/* The key of shared memory of that kind, which starts at addr here and was made just now: nobody but this
 * user may open it from here on. SYSTEM: what it is cannot be found out; UNSUPPORTED: memory of this kind
 * cannot be closed here; BUSY: somebody else had opened it before, so that it must not be used. */
kvf_status_t kvfi_share_close(void *addr, uint64_t len, kvfi_shm_kind_t kind, kvfi_share_key_t *key_p);

/* At both ends of what a message names: it is looked at before it is taken for such. */
typedef struct kvfi_share_mark {
    uint64_t magic, maker; /* incarnation */
} kvfi_share_mark_t;

static inline int kvfi_share_marked(const kvfi_share_mark_t *at, uint64_t magic, uint64_t maker)
{
    kvfi_share_mark_t mark;

    memcpy(&mark, at, sizeof mark);
    return mark.magic == magic && mark.maker == maker;
}

typedef struct kvfi_map kvfi_map_t;

/* Map what key_len bytes at key name, and find [raddr, raddr + len) of its maker in it: a whole number of
 * bytes that lies in what was mapped, whatever the key says. BLOB: key, address and memory contradict each
 * other; SYSTEM: it cannot be mapped here, or has gone. errno tells why, 0: nothing of the kernel's. */
kvf_status_t kvfi_map_open(const void *key, size_t key_len, uint64_t raddr, uint64_t len, kvfi_map_t **map_p,
                           void **addr_p);
void kvfi_map_close(kvfi_map_t *map);
/* Does that errno say that there is no such memory, as of a maker that has ended? */
int kvfi_map_is_gone(int error);

#endif

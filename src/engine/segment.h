/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Segments: the caller's memory, or the library's, which near peers map.
 */
#ifndef KVFI_ENGINE_SEGMENT_H
#define KVFI_ENGINE_SEGMENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "engine/object.h"
#include "kvferry.h"
#include "path/path.h"
#include "ucx/ucx.h"

struct kvf_segment {
    kvfi_object_t object;
    char *addr;
    uint64_t len;
    int shared, writable;
    kvfi_memory_t memory; /* what grants say of it */
    uint64_t uid;         /* names the region to peers; unique in this incarnation */
    char *region;         /* what was allocated, with a pool's generations in front */
    uint64_t region_len;
    kvfi_mem_t *mem; /* NULL: mapped by us, or the caller's own */
    int ours;        /* region is ours to unmap */
    char *adopted;   /* the caller's mapping of the region, NULL: not adopted */
    int was_huge;    /* it had asked for transparent huge pages there */
    kvf_pool_t *pool;
    _Atomic unsigned grants, inflight;
};

typedef enum kvfi_page_size {
    KVFI_ANY_PAGES,
    KVFI_SMALL_PAGES
} kvfi_page_size_t;
/* Library-allocated, shared where the engine has shared memory; head bytes before its first one. */
kvf_status_t kvfi_segment_make(kvf_engine_t *engine, uint64_t head, uint64_t len, kvfi_page_size_t pages,
                               kvf_segment_t **segment_p);
/* Of the caller's memory: not NULL, empty, overflowing, or a device's. */
kvf_status_t kvfi_segment_check_range(const void *addr, uint64_t len);
void kvfi_segment_free(kvf_segment_t *segment, int keep_memory);
/* OK, or BUSY with a sentence: granted, or used by a running batch. */
kvf_status_t kvfi_segment_unused(const kvf_segment_t *segment);

#endif

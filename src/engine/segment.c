/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Segments: the caller's memory, or memory that the library allocates and near peers map. What is
 * allocated goes to the node of the calling thread, in huge pages where the machine grants them and
 * nothing is wasted, and every page has been touched before anybody else may. May wait for the kernel
 * to make pages.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "base/pages.h"
#include "base/shm.h"
#include "base/status.h"
#include "engine/adopt.h"
#include "engine/engine.h"
#include "engine/home.h"
#include "engine/object.h"
#include "engine/segment.h"

#define PAGE 4096u

static kvf_segment_t *segment_new(kvf_engine_t *engine)
{
    static _Atomic uint64_t last_uid;
    kvf_segment_t *segment = kvfi_object_new(engine, KVFI_SEGMENT, sizeof *segment);

    if (segment)
        segment->uid = atomic_fetch_add(&last_uid, 1) + 1;
    return segment;
}

/* Device memory, if a CUDA driver in this process says so. */
static int is_device(const void *addr)
{
    /* CUresult cuPointerGetAttribute(void *data, CU_POINTER_ATTRIBUTE_MEMORY_TYPE = 2, CUdeviceptr) */
    int (*attribute)(void *, int, unsigned long long);
    unsigned type = 0;

    *(void **)&attribute = dlsym(RTLD_DEFAULT, "cuPointerGetAttribute");
    return attribute && !attribute(&type, 2, (unsigned long long)(uintptr_t)addr) && type == 2;
}

kvf_status_t kvfi_segment_check_range(const void *addr, uint64_t len)
{
    if (!addr)
        return kvfi_fail(KVF_ERR_INVALID, "addr is NULL");
    if (!len)
        return kvfi_fail(KVF_ERR_INVALID, "len is 0: a segment has at least one byte");
    if (len > UINTPTR_MAX - (uintptr_t)addr)
        return kvfi_fail(KVF_ERR_INVALID, "addr + len overflows: len is %llu", (unsigned long long)len);
    if (is_device(addr))
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "%p is device memory, for which this release has no path",
                         addr);
    return KVF_OK;
}

kvf_status_t kvf_segment_register(kvf_engine_t *engine, void *addr, uint64_t len, kvf_segment_t **segment_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    kvf_segment_t *segment;
    int prot;

    if (status != KVF_OK)
        return status;
    status =
        segment_p ? kvfi_segment_check_range(addr, len) : kvfi_fail(KVF_ERR_INVALID, "segment_p is NULL");
    if (status != KVF_OK)
        goto leave;
    prot = kvfi_memory_prot(addr, len);
    if (prot == -2) {
        status = kvfi_fail(KVF_ERR_SYSTEM, "what is mapped at %p cannot be known: /proc/self/maps: %m", addr);
        goto leave;
    }
    if (prot < 0 || !(prot & PROT_READ)) {
        status = kvfi_fail(KVF_ERR_INVALID, "addr %p: the %llu bytes from there are not all %s", addr,
                           (unsigned long long)len, prot < 0 ? "mapped" : "readable");
        goto leave;
    }
    segment = segment_new(engine);
    if (!segment) {
        status = KVF_ERR_NOMEM;
        goto leave;
    }
    segment->addr = segment->region = addr;
    segment->len = segment->region_len = len;
    segment->writable = (prot & PROT_WRITE) != 0;
    segment->memory = (kvfi_memory_t){KVF_MEM_HOST, KVFI_CALLERS};
    *segment_p = segment;
leave:
    kvfi_leave(engine);
    return status;
}

static kvf_status_t map_shared(kvf_segment_t *segment, int huge)
{
    kvfi_link_t *near = segment->object.engine->home->near;
    kvfi_mem_want_t want = {.len = segment->region_len, .huge = huge};
    kvf_status_t status;

    kvfi_link_lock(near);
    status = kvfi_mem_alloc(near, &want, &segment->mem);
    kvfi_link_unlock(near);
    if (status == KVF_OK) {
        segment->region = kvfi_mem_addr(segment->mem);
        segment->region_len = kvfi_mem_len(segment->mem);
        segment->shared = 1;
        segment->memory.provider = kvfi_mem_key(segment->mem)->kind == KVFI_SHM_SYSV ? KVFI_SYSV : KVFI_POSIX;
    }
    return status;
}

/* Only where the engine has no shared memory at all, which it said when it was opened. */
static kvf_status_t map_private(kvf_segment_t *segment)
{
    segment->region =
        mmap(NULL, segment->region_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (segment->region == MAP_FAILED)
        return kvfi_fail(KVF_ERR_NOMEM, "mmap of %llu bytes: %m", (unsigned long long)segment->region_len);
    segment->ours = 1;
    segment->memory.provider = KVFI_PRIVATE;
    return KVF_OK;
}

static void unmap_region(kvf_segment_t *segment)
{
    kvfi_link_t *near = segment->object.engine->home->near;

    if (segment->mem) {
        kvfi_link_lock(near);
        kvfi_mem_free(segment->mem);
        kvfi_link_unlock(near);
    } else if (segment->ours) {
        munmap(segment->region, segment->region_len);
    }
    segment->mem = NULL;
    segment->ours = segment->shared = 0;
}

/* Who cannot have the pages learns it here, not by a signal at the first touch. */
static kvf_status_t prove_region(kvf_segment_t *segment, int huge)
{
    char why[256];

    if (!huge)
        kvfi_pages_huge(segment->region, segment->region_len, segment->shared);
    if (!kvfi_memory_prove(segment->region, segment->region_len, huge, why, sizeof why))
        return KVF_OK;
    unmap_region(segment);
    return kvfi_fail(KVF_ERR_NOMEM, "no memory for %llu bytes: %s", (unsigned long long)segment->region_len,
                     why);
}

static kvf_status_t make_plain(kvf_segment_t *segment)
{
    const char *limit;
    uint64_t available = kvfi_memory_available(&limit);
    kvf_status_t status;

    if (segment->region_len > available)
        return kvfi_fail(KVF_ERR_NOMEM, "%llu bytes are asked for, %s leaves %llu",
                         (unsigned long long)segment->region_len, limit, (unsigned long long)available);
    status = segment->object.engine->home->near ? map_shared(segment, 0) : map_private(segment);
    return status == KVF_OK ? prove_region(segment, 0) : status;
}

/* In huge pages that the administrator set aside, if they are enough, else in others. */
static kvf_status_t make_region(kvf_segment_t *segment, kvfi_page_size_t pages)
{
    uint64_t len = segment->region_len;
    kvf_status_t status;

    if (pages == KVFI_ANY_PAGES && segment->object.engine->home->near && kvfi_shm_huge_fits(len)) {
        status = map_shared(segment, 1);
        if (status == KVF_OK)
            status = prove_region(segment, 1);
        if (status == KVF_OK)
            return status;
        kvfi_log(KVFI_LOG_INFO, "%llu bytes are not in huge pages: %s", (unsigned long long)len,
                 kvf_last_error());
        segment->region_len = len;
    }
    return make_plain(segment);
}

kvf_status_t kvfi_segment_make(kvf_engine_t *engine, uint64_t head, uint64_t len, kvfi_page_size_t pages,
                               kvf_segment_t **segment_p)
{
    kvf_segment_t *segment;
    kvf_status_t status;
    int begun;

    if (head > UINT64_MAX - PAGE || len > UINT64_MAX - PAGE - head)
        return kvfi_fail(KVF_ERR_NOMEM, "%llu bytes are more than an address can reach",
                         (unsigned long long)len);
    segment = segment_new(engine);
    if (!segment)
        return KVF_ERR_NOMEM;
    segment->region_len = (head + len + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    segment->len = len;
    segment->writable = 1;
    begun = kvfi_pages_near_begin();
    status = make_region(segment, pages);
    kvfi_pages_near_end(begun);
    if (status != KVF_OK) {
        kvfi_object_close(segment);
        return status;
    }
    segment->addr = segment->region + head;
    *segment_p = segment;
    return KVF_OK;
}

kvf_status_t kvf_segment_alloc(kvf_engine_t *engine, uint64_t len, kvf_segment_t **segment_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    if (!segment_p)
        status = kvfi_fail(KVF_ERR_INVALID, "segment_p is NULL");
    else if (!len)
        status = kvfi_fail(KVF_ERR_INVALID, "len is 0: a segment has at least one byte");
    else
        status = kvfi_segment_make(engine, 0, len, KVFI_ANY_PAGES, segment_p);
    kvfi_leave(engine);
    return status;
}

static kvf_status_t adopt(kvf_engine_t *engine, void *addr, uint64_t len, kvf_segment_t **segment_p)
{
    kvf_segment_t *segment;
    kvf_status_t status;
    int huge, lost;

    if (!engine->home->near)
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "the engine has no shared memory");
    status = kvfi_adopt_check(addr, len, &huge);
    if (status == KVF_OK)
        status = kvfi_segment_make(engine, 0, len, KVFI_SMALL_PAGES, &segment);
    if (status != KVF_OK)
        return status;
    segment->was_huge = huge;
    status = kvfi_adopt_cover(segment, addr, &lost);
    if (status != KVF_OK) {
        kvfi_segment_free(segment, lost);
        return status;
    }
    *segment_p = segment;
    return KVF_OK;
}

kvf_status_t kvf_segment_adopt(kvf_engine_t *engine, void *addr, uint64_t len, kvf_segment_t **segment_p)
{
    static pthread_mutex_t adopt_lock = PTHREAD_MUTEX_INITIALIZER;
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    status =
        segment_p ? kvfi_segment_check_range(addr, len) : kvfi_fail(KVF_ERR_INVALID, "segment_p is NULL");
    if (status == KVF_OK) {
        /* of two threads that adopt the same pages, of whatever engine, the second is to see it */
        pthread_mutex_lock(&adopt_lock);
        status = adopt(engine, addr, len, segment_p);
        pthread_mutex_unlock(&adopt_lock);
    }
    kvfi_leave(engine);
    return status;
}

void kvfi_segment_free(kvf_segment_t *segment, int keep_memory)
{
    /* keep: somebody still copies from or to it */
    if (!keep_memory) {
        if (segment->adopted && kvfi_adopt_return(segment) != KVF_OK)
            kvfi_log(KVFI_LOG_WARN, "adopted memory at %p stays shared: %s", segment->adopted,
                     kvf_last_error());
        unmap_region(segment);
    }
    kvfi_object_close(segment);
}

kvf_status_t kvfi_segment_unused(const kvf_segment_t *segment)
{
    unsigned grants = atomic_load(&segment->grants), ops = atomic_load(&segment->inflight);

    if (grants)
        return kvfi_fail(KVF_ERR_BUSY, "%u ranges of the segment are granted", grants);
    if (ops)
        return kvfi_fail(KVF_ERR_BUSY, "%u ops of running batches use the segment", ops);
    return KVF_OK;
}

kvf_status_t kvf_segment_release(kvf_segment_t *segment)
{
    kvf_engine_t *engine;
    kvf_status_t status;

    if (!segment)
        return KVF_OK;
    status = kvfi_enter(segment, KVFI_SEGMENT);
    if (status != KVF_OK)
        return status;
    engine = segment->object.engine;
    status = segment->pool ? kvfi_fail(KVF_ERR_BUSY, "the segment is a pool's; destroy the pool")
                           : kvfi_segment_unused(segment);
    if (status == KVF_OK && !kvfi_claim(segment, KVFI_SEGMENT))
        status = kvfi_fail(KVF_ERR_INVALID, "segment handle is closed");
    if (status != KVF_OK)
        goto leave;
    status = kvfi_segment_unused(segment);
    if (status == KVF_OK && segment->adopted)
        status = kvfi_adopt_return(segment);
    if (status == KVF_OK)
        kvfi_segment_free(segment, 0);
    else
        kvfi_unclaim(segment, KVFI_SEGMENT);
leave:
    kvfi_leave(engine);
    return status;
}

kvf_status_t kvf_segment_query(const kvf_segment_t *segment, kvf_segment_attr_t *attr_p)
{
    kvf_status_t status = kvfi_enter(segment, KVFI_SEGMENT);
    kvf_segment_attr_t attr;
    kvfi_pages_t pages;

    if (status != KVF_OK)
        return status;
    pages = kvfi_pages_look(segment->region, segment->region_len);
    attr = (kvf_segment_attr_t){.kind = segment->memory.kind,
                                .addr = segment->adopted ? segment->adopted : segment->addr,
                                .len = segment->len,
                                .shared = (uint32_t)segment->shared,
                                .writable = (uint32_t)segment->writable,
                                .adopted = segment->adopted != NULL,
                                .numa_node = pages.numa_node,
                                .page_bytes = pages.page_bytes,
                                .huge_bytes = pages.huge_bytes,
                                .region_bytes = segment->region_len};
    status = kvf_struct_write("attr_p", &attr, sizeof attr, attr_p);
    kvfi_leave(segment->object.engine);
    return status;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Adopted memory: the caller's private pages become shared ones at the same address.
 *
 *     before      addr --> private pages
 *     adopted     addr --> shared pages <-- region (the library's own mapping, which peers know)
 *     returned    addr --> private pages
 *
 * Each change is made ready elsewhere, contents and page tables too, and then moved over the old mapping
 * by one system call, so that the address is never free for somebody else's mmap(), and whoever runs out
 * of memory has changed nothing. The price: while it is made ready the bytes are there twice. May wait
 * for the kernel to make pages.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/pages.h"
#include "base/status.h"
#include "base/vma.h"
#include "engine/adopt.h"
#include "engine/segment.h"

/* A second mapping of the region over [addr, addr + len). */
static kvf_status_t map_twin(const kvf_segment_t *segment, void *addr)
{
    char *twin = kvfi_vma_twin(segment->region, segment->len, 1);

    if (!twin)
        return kvfi_fail(KVF_ERR_NOMEM, "no second mapping of %llu bytes: %m",
                         (unsigned long long)segment->len);
    if (!kvfi_vma_move(twin, segment->len, addr))
        return KVF_OK;
    kvfi_fail(KVF_ERR_SYSTEM, "shared memory cannot be moved to %p: %m", addr);
    munmap(twin, segment->len);
    return KVF_ERR_SYSTEM;
}

/* Private pages with the contents of the region, over [addr, addr + len). */
static kvf_status_t map_private(const kvf_segment_t *segment, void *addr)
{
    uint64_t len = segment->len;
    char why[256];
    char *fresh = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (fresh == MAP_FAILED)
        return kvfi_fail(KVF_ERR_NOMEM, "no %llu bytes of private memory: %m", (unsigned long long)len);
    if (segment->was_huge)
        kvfi_pages_huge(fresh, len, 0);
    if (kvfi_memory_prove(fresh, len, 0, why, sizeof why)) {
        munmap(fresh, len);
        return kvfi_fail(KVF_ERR_NOMEM, "no %llu bytes of private memory: %s", (unsigned long long)len, why);
    }
    memcpy(fresh, segment->region, len);
    if (!kvfi_vma_move(fresh, len, addr))
        return KVF_OK;
    kvfi_fail(KVF_ERR_SYSTEM, "private memory cannot be moved to %p: %m", addr);
    munmap(fresh, len);
    return KVF_ERR_SYSTEM;
}

kvf_status_t kvfi_adopt_check(const void *addr, uint64_t len, int *huge_p)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const char *why;

    if ((uintptr_t)addr % page || len % page)
        return kvfi_fail(KVF_ERR_INVALID, "%s is not a multiple of the page size, %llu bytes",
                         (uintptr_t)addr % page ? "addr" : "len", (unsigned long long)page);
    switch (kvfi_vma_judge(addr, len, &why, huge_p)) {
    case KVFI_VMA_PLAIN:
        return KVF_OK;
    case KVFI_VMA_SPECIAL:
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "memory at %p cannot be adopted: %s", addr, why);
    case KVFI_VMA_HOLE:
        return kvfi_fail(KVF_ERR_INVALID, "addr %p: the %llu bytes from there are not all mapped", addr,
                         (unsigned long long)len);
    default:
        return kvfi_fail(KVF_ERR_SYSTEM, "what is mapped at %p cannot be known: /proc/self/smaps: %m", addr);
    }
}

kvf_status_t kvfi_adopt_cover(kvf_segment_t *segment, void *addr, int *lost_p)
{
    uint64_t len = segment->len;
    kvf_status_t status;
    int error;

    *lost_p = 0;
    memcpy(segment->region, addr, len);
    status = map_twin(segment, addr);
    if (status == KVF_OK) {
        segment->adopted = addr;
        segment->memory.provider = KVFI_ADOPTED;
        return KVF_OK;
    }
    error = errno;
    /* the kernel may have unmapped the old pages before it gave up */
    *lost_p = kvfi_memory_prot(addr, len) < 0 && map_private(segment, addr) != KVF_OK;
    if (*lost_p)
        kvfi_log(KVFI_LOG_ERROR, "nothing can be mapped at %p, its contents are kept at %p: %s", addr,
                 (void *)segment->region, kvf_last_error());
    errno = error;
    return kvfi_fail(status, "the kernel refused to map shared memory at %p: %m", addr);
}

kvf_status_t kvfi_adopt_return(kvf_segment_t *segment)
{
    kvf_status_t status = KVF_OK;
    int same = kvfi_vma_same(segment->adopted, segment->len, segment->region);

    if (same < 0)
        status = kvfi_fail(KVF_ERR_SYSTEM, "what is mapped at %p cannot be known: /proc/self/maps: %m",
                           (void *)segment->adopted);
    else if (same)
        status = map_private(segment, segment->adopted);
    else
        kvfi_log(KVFI_LOG_WARN,
                 "adopted memory at %p was unmapped or replaced before its release, "
                 "and is left as it is",
                 segment->adopted);
    if (status == KVF_OK)
        segment->adopted = NULL;
    return status;
}

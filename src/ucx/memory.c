/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory that UCX allocates, and its key. UCX decides about huge pages once a memory domain, so that those
 * come from a domain of their own. Files of /dev/shm are written by UCX before they are mapped; nothing
 * here raises a signal. May wait for the kernel to make pages.
 */
#include <stdlib.h>

#include "base/status.h"
#include "ucx/internal.h"

struct kvfi_mem {
    union {
        uct_allocated_memory_t memory;
        char room[128]; /* releases after the one we were built with append fields */
    } had;
    kvfi_share_key_t key;
};

#define TRIES 3 /* a fork of the host's counts as one who attached a new segment, too */

static ucs_status_t map_memory(uct_md_h md, uint64_t len, kvfi_mem_t *mem)
{
    uct_alloc_method_t method = UCT_ALLOC_METHOD_MD;
    uct_mem_alloc_params_t params = {.field_mask = UCT_MEM_ALLOC_PARAM_FIELD_MDS, .mds = {&md, 1}};

    return uct_mem_alloc(len, &method, 1, &params, &mem->had.memory);
}

static kvf_status_t refused(const kvfi_link_t *link, const kvfi_mem_want_t *want, ucs_status_t status)
{
    char limits[256];

    kvfi_shm_limits(link->kind, want->len, limits, sizeof limits);
    return kvfi_fail(KVF_ERR_NOMEM, "no %llu bytes of shared memory%s (%s): %s",
                     (unsigned long long)want->len, want->huge ? " in huge pages" : "",
                     ucs_status_string(status), limits);
}

/* Memory that nobody but this user may open, and that nobody has. */
static kvf_status_t map_closed(kvfi_link_t *link, uct_md_h md, const kvfi_mem_want_t *want, kvfi_mem_t *mem)
{
    ucs_status_t status = UCS_ERR_NO_MEMORY;
    kvf_status_t closed;

    /* what cannot fit is not tried: it would fill /dev/shm for the others before it fails */
    if (want->huge || want->len <= kvfi_shm_left(link->kind)) {
        kvfi_ucx_quiet(1);
        status = map_memory(md, want->len, mem);
        kvfi_ucx_quiet(0);
    }
    if (status != UCS_OK)
        return refused(link, want, status);
    closed = kvfi_share_close(kvfi_mem_addr(mem), kvfi_mem_len(mem), link->kind, &mem->key);
    if (closed != KVF_OK)
        uct_mem_free(&mem->had.memory);
    return closed;
}

kvf_status_t kvfi_mem_alloc(kvfi_link_t *link, const kvfi_mem_want_t *want, kvfi_mem_t **mem_p)
{
    uct_md_h md = want->huge ? kvfi_near_huge(link) : link->md;
    kvf_status_t status = KVF_ERR_BUSY;
    kvfi_mem_t *mem;

    if (!md)
        return KVF_ERR_NOMEM;
    mem = calloc(1, sizeof *mem);
    if (!mem)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a segment's handle");
    for (int i = 0; i < TRIES && status == KVF_ERR_BUSY; i++)
        status = map_closed(link, md, want, mem);
    if (status != KVF_OK) {
        free(mem);
        return status == KVF_ERR_BUSY ? kvfi_fail_within(KVF_ERR_SYSTEM, "no shared memory") : status;
    }
    *mem_p = mem;
    return KVF_OK;
}

void *kvfi_mem_addr(const kvfi_mem_t *mem)
{
    return mem->had.memory.address;
}

uint64_t kvfi_mem_len(const kvfi_mem_t *mem)
{
    return mem->had.memory.length;
}

const kvfi_share_key_t *kvfi_mem_key(const kvfi_mem_t *mem)
{
    return &mem->key;
}

void kvfi_mem_free(kvfi_mem_t *mem)
{
    if (!mem)
        return;
    uct_mem_free(&mem->had.memory);
    free(mem);
}

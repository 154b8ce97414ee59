/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory that UCX allocates, its packed rkey, and the mapping of a neighbour's. UCX decides about huge
 * pages once a memory domain, so that those come from a domain of their own: a peer unpacks the rkeys of
 * both alike. Files of /dev/shm are written by UCX before they are mapped;
 * nothing here raises a signal. May wait for the kernel to make pages.
 */
#include <stdlib.h>

#include "base/status.h"
#include "ucx/internal.h"

struct kvfi_mem {
    union {
        uct_allocated_memory_t memory;
        char                   room[128]; /* releases after the one we were built with append fields */
    } had;
    size_t rkey_len;
    char   rkey[KVFI_RKEY_MAX];
};

struct kvfi_map {
    uct_component_h   component;
    uct_rkey_bundle_t bundle;
};

static ucs_status_t map_memory(uct_md_h md, uint64_t len, kvfi_mem_t *mem)
{
    uct_alloc_method_t     method = UCT_ALLOC_METHOD_MD;
    uct_mem_alloc_params_t params = {.field_mask = UCT_MEM_ALLOC_PARAM_FIELD_MDS, .mds = {&md, 1}};
    ucs_status_t           status = uct_mem_alloc(len, &method, 1, &params, &mem->had.memory);

    if (status != UCS_OK)
        return status;
    status = uct_md_mkey_pack(md, mem->had.memory.memh, mem->rkey);
    if (status != UCS_OK)
        uct_mem_free(&mem->had.memory);
    return status;
}

kvf_status_t kvfi_mem_alloc(kvfi_link_t *link, const kvfi_mem_want_t *want, kvfi_mem_t **mem_p)
{
    uct_md_h     md = want->huge ? kvfi_near_huge(link) : link->md;
    ucs_status_t status = UCS_ERR_NO_MEMORY;
    kvfi_mem_t  *mem;
    char         limits[256];

    if (!md)
        return KVF_ERR_NOMEM;
    mem = calloc(1, sizeof *mem);
    if (!mem)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a segment's handle");
    mem->rkey_len = link->rkey_len;
    /* what cannot fit is not tried: it would fill /dev/shm for the others before it fails */
    if (want->huge || want->len <= kvfi_shm_left(link->kind)) {
        kvfi_ucx_quiet(1);
        status = map_memory(md, want->len, mem);
        kvfi_ucx_quiet(0);
    }
    if (status != UCS_OK) {
        free(mem);
        kvfi_shm_limits(link->kind, limits, sizeof limits);
        return kvfi_fail(KVF_ERR_NOMEM, "no %llu bytes of shared memory%s (%s): %s",
                         (unsigned long long)want->len, want->huge ? " in huge pages" : "",
                         ucs_status_string(status), limits);
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

const void *kvfi_mem_rkey(const kvfi_mem_t *mem, size_t *len_p)
{
    *len_p = mem->rkey_len;
    return mem->rkey;
}

void kvfi_mem_free(kvfi_mem_t *mem)
{
    if (!mem)
        return;
    uct_mem_free(&mem->had.memory);
    free(mem);
}

kvf_status_t kvfi_map_open(kvfi_ep_t *ep, const void *rkey, uint64_t raddr, kvfi_map_t **map_p,
                           void **addr_p)
{
    kvfi_map_t  *map = calloc(1, sizeof *map);
    ucs_status_t status;

    if (!map)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a mapping's handle");
    map->component = ep->link->component;
    status = uct_rkey_unpack(map->component, rkey, &map->bundle);
    if (status != UCS_OK)
        goto free_map;
    status = uct_rkey_ptr(map->component, &map->bundle, raddr, addr_p);
    if (status != UCS_OK)
        goto destroy;
    *map_p = map;
    return KVF_OK;

destroy:
    uct_rkey_release(map->component, &map->bundle);
free_map:
    free(map);
    return kvfi_fail(KVF_ERR_SYSTEM, "UCX does not map the peer's memory: %s",
                     ucs_status_string(status));
}

void kvfi_map_close(kvfi_map_t *map)
{
    if (!map)
        return;
    uct_rkey_release(map->component, &map->bundle);
    free(map);
}

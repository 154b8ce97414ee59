/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory that UCX allocates, its packed rkey, and the mapping of a neighbour's. UCX decides about huge
 * pages once a context, so that those come from a context of their own with the same memory domains:
 * a peer unpacks the rkeys of both alike. Files of /dev/shm are written by UCX before they are mapped;
 * nothing here raises a signal. May wait for the kernel to make pages.
 */
#include <stdlib.h>

#include "base/status.h"
#include "ucx/internal.h"

struct kvfi_mem {
    ucp_context_h context;
    ucp_mem_h     handle;
    void         *addr;
    uint64_t      len;
    void         *rkey;
    size_t        rkey_len;
};

struct kvfi_map {
    ucp_rkey_h rkey;
};

static ucs_status_t map_memory(kvfi_mem_t *mem, const kvfi_mem_want_t *want)
{
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                                                 UCP_MEM_MAP_PARAM_FIELD_FLAGS,
                                   .length = want->len,
                                   .flags = UCP_MEM_MAP_ALLOCATE};
    ucp_mem_attr_t       attr = {.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS |
                                               UCP_MEM_ATTR_FIELD_LENGTH};
    ucs_status_t         status;

    status = ucp_mem_map(mem->context, &params, &mem->handle);
    if (status != UCS_OK)
        return status;
    status = ucp_mem_query(mem->handle, &attr);
    if (status == UCS_OK)
        status = ucp_rkey_pack(mem->context, mem->handle, &mem->rkey, &mem->rkey_len);
    if (status != UCS_OK) {
        ucp_mem_unmap(mem->context, mem->handle);
        return status;
    }
    mem->addr = attr.address;
    mem->len = attr.length;
    return UCS_OK;
}

kvf_status_t kvfi_mem_alloc(kvfi_link_t *link, const kvfi_mem_want_t *want, kvfi_mem_t **mem_p)
{
    ucp_context_h context = want->huge ? kvfi_link_huge(link) : link->context;
    ucs_status_t  status = UCS_ERR_NO_MEMORY;
    kvfi_mem_t   *mem;
    char          limits[256];

    if (!context)
        return KVF_ERR_NOMEM;
    mem = calloc(1, sizeof *mem);
    if (!mem)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a segment's handle");
    mem->context = context;
    /* what cannot fit is not tried: it would fill /dev/shm for the others before it fails */
    if (want->huge || want->len <= kvfi_shm_left(link->kind)) {
        kvfi_ucx_quiet(1);
        status = map_memory(mem, want);
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
    return mem->addr;
}

uint64_t kvfi_mem_len(const kvfi_mem_t *mem)
{
    return mem->len;
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
    ucp_rkey_buffer_release(mem->rkey);
    ucp_mem_unmap(mem->context, mem->handle);
    free(mem);
}

kvf_status_t kvfi_map_open(kvfi_ep_t *ep, const void *rkey, uint64_t raddr, kvfi_map_t **map_p,
                           void **addr_p)
{
    kvfi_map_t  *map = calloc(1, sizeof *map);
    ucs_status_t status;

    if (!map)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a mapping's handle");
    status = ucp_ep_rkey_unpack(ep->ucp, rkey, &map->rkey);
    if (status != UCS_OK)
        goto free_map;
    status = ucp_rkey_ptr(map->rkey, raddr, addr_p);
    if (status != UCS_OK)
        goto destroy;
    *map_p = map;
    return KVF_OK;

destroy:
    ucp_rkey_destroy(map->rkey);
free_map:
    free(map);
    return kvfi_fail(KVF_ERR_SYSTEM, "UCX does not map the peer's memory: %s",
                     ucs_status_string(status));
}

void kvfi_map_close(kvfi_map_t *map)
{
    if (!map)
        return;
    ucp_rkey_destroy(map->rkey);
    free(map);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory that UCX allocates, its packed rkey, and the mapping of a neighbour's.
 */
#include <stdlib.h>

#include "base/status.h"
#include "ucx/internal.h"

struct kvfi_mem {
    kvfi_link_t *link;
    ucp_mem_h    handle;
    void        *addr;
    void        *rkey;
    size_t       rkey_len;
};

struct kvfi_map {
    ucp_rkey_h rkey;
};

kvf_status_t kvfi_mem_alloc(kvfi_link_t *link, uint64_t len, kvfi_mem_t **mem_p)
{
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                                                 UCP_MEM_MAP_PARAM_FIELD_FLAGS,
                                   .length = len,
                                   .flags = UCP_MEM_MAP_ALLOCATE};
    ucp_mem_attr_t       attr = {.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS};
    kvfi_mem_t          *mem = calloc(1, sizeof *mem);
    ucs_status_t         status;

    if (!mem)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a segment's handle");
    mem->link = link;
    status = ucp_mem_map(link->context, &params, &mem->handle);
    if (status != UCS_OK)
        goto free_mem;
    status = ucp_mem_query(mem->handle, &attr);
    if (status == UCS_OK)
        status = ucp_rkey_pack(link->context, mem->handle, &mem->rkey, &mem->rkey_len);
    if (status != UCS_OK)
        goto unmap;
    mem->addr = attr.address;
    *mem_p = mem;
    return KVF_OK;

unmap:
    ucp_mem_unmap(link->context, mem->handle);
free_mem:
    free(mem);
    return kvfi_fail(KVF_ERR_NOMEM, "UCX allocates no %llu bytes of shared memory: %s",
                     (unsigned long long)len, ucs_status_string(status));
}

void *kvfi_mem_addr(const kvfi_mem_t *mem)
{
    return mem->addr;
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
    ucp_mem_unmap(mem->link->context, mem->handle);
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

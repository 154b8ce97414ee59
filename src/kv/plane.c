/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a plane says of itself: its name, and where its layers lie.
 */
#include <stddef.h>

#include "kv/layout.h"

const char *kvf_plane_name(kvf_plane_kind_t kind)
{
    static const char *const names[] = {
        [KVF_PLANE_K] = "k",
        [KVF_PLANE_V] = "v",
        [KVF_PLANE_KV] = "kv",
        [KVF_PLANE_LATENT] = "latent",
        [KVF_PLANE_INDEXER] = "indexer",
        [KVF_PLANE_SCALES] = "scales",
        [KVF_PLANE_STATE] = "state",
    };

    if (kind < KVF_PLANE_K || kind > KVF_PLANE_STATE)
        return "unknown";
    return names[kind];
}

uint32_t kvfi_kv_layer_segment(const kvf_plane_t *plane, uint32_t i)
{
    return plane->layer_segment != NULL ? plane->layer_segment[i] : plane->segment;
}

uint64_t kvfi_kv_layer_base(const kvf_plane_t *plane, uint32_t i)
{
    if (plane->layer_base != NULL)
        return plane->layer_base[i];
    return plane->base + (uint64_t)i * (uint64_t)plane->layer_stride;
}

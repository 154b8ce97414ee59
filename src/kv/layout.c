/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A layout as an object: takes a description, has it checked (check.c), keeps a deep copy in one
 * allocation, and answers where a cell lies. Immutable after creation, so no locks. Names of models
 * and layouts are in preset.c and name.c, what two layouts have in common in compare.c.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "kv/layout.h"

/* One allocation cut in arrays: at NULL it only counts. */
typedef struct arena {
    char *at;
    size_t used;
} arena_t;

static void *cut(arena_t *arena, uint64_t count, size_t size)
{
    void *place = arena->at != NULL ? arena->at + arena->used : NULL;

    arena->used += (count * size + 15) / 16 * 16;
    return place;
}

static void *cut_copy(arena_t *arena, const void *from, uint64_t count, size_t size)
{
    void *place = from != NULL ? cut(arena, count, size) : NULL;

    if (place != NULL)
        memcpy(place, from, count * size);
    return place;
}

static void copy_group(arena_t *arena, const kvf_group_t *from, kvf_group_t *to, kvfi_kv_view_t *view)
{
    const uint32_t *layers = cut_copy(arena, from->layers, from->layer_count, sizeof(uint32_t));
    kvf_plane_t *planes = cut_copy(arena, from->planes, from->plane_count, sizeof(kvf_plane_t));
    uint32_t *order = cut(arena, from->layer_count, sizeof(uint32_t));
    kvfi_kv_part_t *parts = cut(arena, 2 * (uint64_t)from->plane_count, sizeof(kvfi_kv_part_t));

    for (uint32_t p = 0; p < from->plane_count; p++) {
        const kvf_plane_t *plane = &from->planes[p];
        const uint64_t *base = cut_copy(arena, plane->layer_base, from->layer_count, sizeof(uint64_t));
        const uint32_t *segment = cut_copy(arena, plane->layer_segment, from->layer_count, sizeof(uint32_t));

        if (planes == NULL)
            continue;
        planes[p].layer_base = base;
        planes[p].layer_segment = segment;
        if (plane->kind == KVF_PLANE_KV && plane->k_content == 0)
            planes[p].k_content = plane->content / 2;
    }
    if (to == NULL)
        return;
    *to = *from;
    to->layers = layers;
    to->planes = planes;
    if (to->tokens_per_state == 0)
        to->tokens_per_state = 1;
    if (to->cp_ranks == 0)
        to->cp_ranks = 1;
    if (to->cp_tokens == 0)
        to->cp_tokens = to->block_tokens;
    *view = (kvfi_kv_view_t){.order = order, .parts = parts};
}

static kvf_layout_t *copy_desc(arena_t *arena, const kvf_layout_desc_t *from)
{
    kvf_layout_t *layout = cut(arena, 1, sizeof(*layout));
    kvf_group_t *groups = cut(arena, from->group_count, sizeof(*groups));
    kvfi_kv_view_t *views = cut(arena, from->group_count, sizeof(*views));
    const uint64_t *lens = cut_copy(arena, from->segment_len, from->segment_count, sizeof(uint64_t));

    for (uint32_t g = 0; g < from->group_count; g++)
        copy_group(arena, &from->groups[g], groups != NULL ? &groups[g] : NULL,
                   views != NULL ? &views[g] : NULL);
    if (layout != NULL) {
        layout->desc = (kvf_layout_desc_t){
            .struct_size = sizeof(layout->desc),
            .group_count = from->group_count,
            .groups = groups,
            .segment_count = from->segment_count,
            .segment_len = lens,
        };
        layout->views = views;
    }
    return layout;
}

static void add_part(kvfi_kv_view_t *view, const kvf_plane_t *plane, uint32_t kind, uint64_t off,
                     uint64_t content)
{
    uint32_t at = view->part_count++;

    while (at > 0 && (view->parts[at - 1].index > plane->index ||
                      (view->parts[at - 1].index == plane->index && view->parts[at - 1].kind > kind))) {
        view->parts[at] = view->parts[at - 1];
        at--;
    }
    view->parts[at] =
        (kvfi_kv_part_t){.kind = kind, .index = plane->index, .plane = plane, .off = off, .content = content};
}

static int by_layer(const void *a, const void *b, void *layers)
{
    uint32_t x = ((const uint32_t *)layers)[*(const uint32_t *)a];
    uint32_t y = ((const uint32_t *)layers)[*(const uint32_t *)b];

    return x < y ? -1 : x > y;
}

static void fill_view(const kvf_group_t *group, kvfi_kv_view_t *view)
{
    for (uint32_t i = 0; i < group->layer_count; i++)
        view->order[i] = i;
    qsort_r(view->order, group->layer_count, sizeof(*view->order), by_layer, (void *)group->layers);
    for (uint32_t p = 0; p < group->plane_count; p++) {
        const kvf_plane_t *plane = &group->planes[p];

        if (plane->kind != KVF_PLANE_KV) {
            add_part(view, plane, plane->kind, 0, plane->content);
            continue;
        }
        add_part(view, plane, KVF_PLANE_K, 0, plane->k_content);
        add_part(view, plane, KVF_PLANE_V, plane->k_content, plane->content - plane->k_content);
    }
}

static kvf_status_t sum_block_bytes(kvf_layout_t *layout)
{
    for (uint32_t g = 0; g < layout->desc.group_count; g++) {
        const kvf_group_t *group = &layout->desc.groups[g];

        for (uint32_t p = 0; p < group->plane_count; p++) {
            uint64_t bytes = group->planes[p].content;

            if (__builtin_mul_overflow(bytes, (uint64_t)group->layer_count, &bytes) ||
                __builtin_mul_overflow(bytes, (uint64_t)group->heads, &bytes) ||
                __builtin_mul_overflow(bytes, (uint64_t)kvfi_kv_states(group), &bytes) ||
                __builtin_add_overflow(bytes, layout->block_bytes, &layout->block_bytes))
                return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %s: bytes of a block overflow 64 bits", g,
                                 kvf_plane_name(group->planes[p].kind));
        }
    }
    return KVF_OK;
}

kvf_status_t kvf_layout_create(const kvf_layout_desc_t *desc, kvf_layout_t **layout_p)
{
    arena_t arena = {0};
    kvf_layout_desc_t own;
    kvf_layout_t *layout;
    kvf_status_t status;

    if (layout_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "layout: layout_p is NULL");
    status = kvf_struct_read("layout: desc", desc, sizeof(own), &own);
    if (status == KVF_OK)
        status = kvfi_kv_check_desc(&own);
    if (status != KVF_OK)
        return status;
    copy_desc(&arena, &own);
    arena.at = calloc(1, arena.used);
    if (arena.at == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "layout: no memory for %zu bytes", arena.used);
    arena.used = 0;
    layout = copy_desc(&arena, &own);
    for (uint32_t g = 0; g < layout->desc.group_count; g++)
        fill_view(&layout->desc.groups[g], &layout->views[g]);
    status = kvfi_kv_check_cells(layout);
    if (status == KVF_OK)
        status = sum_block_bytes(layout);
    if (status != KVF_OK) {
        free(layout);
        return status;
    }
    layout->fingerprint = kvfi_kv_fingerprint(layout);
    *layout_p = layout;
    return KVF_OK;
}

kvf_status_t kvf_layout_destroy(kvf_layout_t *layout)
{
    free(layout);
    return KVF_OK;
}

const kvf_layout_desc_t *kvf_layout_describe(const kvf_layout_t *layout)
{
    return layout != NULL ? &layout->desc : NULL;
}

uint64_t kvf_layout_block_bytes(const kvf_layout_t *layout)
{
    return layout != NULL ? layout->block_bytes : 0;
}

uint64_t kvf_layout_fingerprint(const kvf_layout_t *layout)
{
    return layout != NULL ? layout->fingerprint : 0;
}

kvf_status_t kvf_layout_locate(const kvf_layout_t *layout, uint32_t group, uint32_t plane, uint32_t layer,
                               uint32_t block, uint32_t head, uint32_t state, uint32_t *segment_p,
                               uint64_t *off_p)
{
    if (layout == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "locate: layout is NULL");
    if (group >= layout->desc.group_count)
        return kvfi_fail(KVF_ERR_INVALID, "locate: group %u of %u", group, layout->desc.group_count);
    const kvf_group_t *g = &layout->desc.groups[group];
    uint32_t i = 0;

    if (plane >= g->plane_count)
        return kvfi_fail(KVF_ERR_INVALID, "locate: plane %u of %u in group %u", plane, g->plane_count, group);
    while (i < g->layer_count && g->layers[i] != layer)
        i++;
    if (i == g->layer_count)
        return kvfi_fail(KVF_ERR_INVALID, "locate: group %u holds no layer %u", group, layer);
    if (head < g->first_head || head - g->first_head >= g->heads)
        return kvfi_fail(KVF_ERR_INVALID, "locate: group %u holds no head %u", group, head);
    if (block >= g->blocks)
        return kvfi_fail(KVF_ERR_BOUNDS, "locate: block %u of %u in group %u", block, g->blocks, group);
    if (state >= kvfi_kv_states(g))
        return kvfi_fail(KVF_ERR_BOUNDS, "locate: state %u of %u in a block of group %u", state,
                         kvfi_kv_states(g), group);
    const kvf_plane_t *p = &g->planes[plane];

    /* Modulo 2^64: strides may be negative, the sum was proved to lie inside the segment. */
    if (off_p != NULL)
        *off_p = kvfi_kv_layer_base(p, i) + block * p->block_stride +
                 (head - g->first_head) * (uint64_t)p->head_stride + state * (uint64_t)p->state_stride;
    if (segment_p != NULL)
        *segment_p = kvfi_kv_layer_segment(p, i);
    return KVF_OK;
}

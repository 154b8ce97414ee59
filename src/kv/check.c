/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether a described layout makes sense: counts, names, references first, on the caller's own
 * description, then bounds and overlap of the cells, on the copy. Every refusal names group, plane
 * and field. Leaves the question whether two layouts fit each other to compare.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/layout.h"

static const char *const axis_field[KVFI_AXIS_COUNT] = {
    [KVFI_AXIS_BLOCK] = "block_stride",
    [KVFI_AXIS_LAYER] = "layer_stride",
    [KVFI_AXIS_HEAD] = "head_stride",
    [KVFI_AXIS_STATE] = "state_stride",
};

static kvf_status_t check_plane(const kvf_layout_desc_t *desc, uint32_t g, uint32_t p)
{
    const kvf_group_t *group = &desc->groups[g];
    const kvf_plane_t *plane = &group->planes[p];
    const char *name = kvf_plane_name(plane->kind);

    if (plane->kind < KVF_PLANE_K || plane->kind > KVF_PLANE_STATE)
        return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %u: kind %u is unknown", g, p,
                         plane->kind);
    if (plane->reserved32 != 0 || plane->reserved[0] != 0 || plane->reserved[1] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %s: reserved is not 0", g, name);
    if (plane->content == 0)
        return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %s: content is 0", g, name);
    if (plane->kind != KVF_PLANE_KV && plane->k_content != 0)
        return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %s: k_content is set", g, name);
    if (plane->kind == KVF_PLANE_KV && plane->k_content >= plane->content)
        return kvfi_fail(
            KVF_ERR_INVALID, "group %u, plane %s: k_content %llu leaves no V in a content of %llu",
            g, name, (unsigned long long)plane->k_content, (unsigned long long)plane->content);
    if (plane->kind == KVF_PLANE_KV && plane->k_content == 0 && plane->content % 2 != 0)
        return kvfi_fail(KVF_ERR_INVALID,
                         "group %u, plane %s: content %llu has no half, so k_content is needed", g,
                         name, (unsigned long long)plane->content);
    if (plane->element[0] == '\0' || memchr(plane->element, '\0', sizeof(plane->element)) == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %s: element is empty or too long", g,
                         name);
    for (uint32_t i = 0; i < group->layer_count; i++) {
        uint32_t segment = kvfi_kv_layer_segment(plane, i);

        if (segment >= desc->segment_count)
            return kvfi_fail(KVF_ERR_INVALID,
                             "group %u, plane %s, layer %u: segment %u of %u segments", g, name,
                             group->layers[i], segment, desc->segment_count);
    }
    return KVF_OK;
}

/* What a plane holds, as bits: KV holds both. */
static uint32_t holds(uint32_t kind)
{
    return kind == KVF_PLANE_KV ? 1u << KVF_PLANE_K | 1u << KVF_PLANE_V : 1u << kind;
}

static bool planes_clash(const kvf_plane_t *one, const kvf_plane_t *other)
{
    return one->index == other->index && (holds(one->kind) & holds(other->kind)) != 0;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static kvf_status_t check_layers(const kvf_group_t *group, uint32_t g)
{
    uint32_t *sorted = malloc((size_t)group->layer_count * sizeof(*sorted));
    kvf_status_t status = KVF_OK;

    if (sorted == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "group %u: no memory for %u layers", g, group->layer_count);
    memcpy(sorted, group->layers, (size_t)group->layer_count * sizeof(*sorted));
    qsort(sorted, group->layer_count, sizeof(*sorted), by_value);
    for (uint32_t i = 1; i < group->layer_count && status == KVF_OK; i++) {
        if (sorted[i] == sorted[i - 1])
            status =
                kvfi_fail(KVF_ERR_INVALID, "group %u: layers has layer %u twice", g, sorted[i]);
    }
    free(sorted);
    return status;
}

static kvf_status_t check_dealt(const kvf_group_t *group, uint32_t g, uint32_t per_state)
{
    uint32_t n = group->block_tokens, dealt = group->cp_tokens == 0 ? n : group->cp_tokens;

    if (group->cp_rank >= (group->cp_ranks == 0 ? 1 : group->cp_ranks))
        return kvfi_fail(KVF_ERR_INVALID, "group %u: cp_rank %u of cp_ranks %u", g, group->cp_rank,
                         group->cp_ranks);
    if ((n % dealt != 0 && dealt % n != 0) || dealt % per_state != 0)
        return kvfi_fail(KVF_ERR_INVALID,
                         "group %u: cp_tokens %u is neither a multiple nor a divisor of "
                         "block_tokens %u, or no multiple of tokens_per_state %u",
                         g, dealt, n, per_state);
    return check_layers(group, g);
}

static kvf_status_t check_counts(const kvf_group_t *group, uint32_t g)
{
    uint32_t per_state = group->tokens_per_state == 0 ? 1 : group->tokens_per_state;
    const char *zero = group->block_tokens == 0  ? "block_tokens"
                       : group->layer_count == 0 ? "layer_count"
                       : group->heads == 0       ? "heads"
                       : group->heads_total == 0 ? "heads_total"
                       : group->blocks == 0      ? "blocks"
                       : group->plane_count == 0 ? "plane_count"
                                                 : NULL;
    const char *null = group->layers == NULL ? "layers" : group->planes == NULL ? "planes" : NULL;

    if (zero != NULL)
        return kvfi_fail(KVF_ERR_INVALID, "group %u: %s is 0", g, zero);
    if (null != NULL)
        return kvfi_fail(KVF_ERR_INVALID, "group %u: %s is NULL", g, null);
    if (group->reserved[0] != 0 || group->reserved[1] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "group %u: reserved is not 0", g);
    if (group->block_tokens % per_state != 0)
        return kvfi_fail(KVF_ERR_INVALID,
                         "group %u: tokens_per_state %u does not divide block_tokens %u", g,
                         per_state, group->block_tokens);
    if ((uint64_t)group->first_head + group->heads > group->heads_total)
        return kvfi_fail(KVF_ERR_INVALID,
                         "group %u: first_head %u and heads %u leave heads_total %u", g,
                         group->first_head, group->heads, group->heads_total);
    return check_dealt(group, g, per_state);
}

static kvf_status_t check_group(const kvf_layout_desc_t *desc, uint32_t g)
{
    const kvf_group_t *group = &desc->groups[g];
    kvf_status_t status = check_counts(group, g);

    for (uint32_t p = 0; p < group->plane_count && status == KVF_OK; p++) {
        status = check_plane(desc, g, p);
        for (uint32_t q = 0; q < p && status == KVF_OK; q++) {
            if (planes_clash(&group->planes[p], &group->planes[q]))
                status = kvfi_fail(KVF_ERR_INVALID,
                                   "group %u: planes %s and %s, index %u, hold the same", g,
                                   kvf_plane_name(group->planes[q].kind),
                                   kvf_plane_name(group->planes[p].kind), group->planes[p].index);
        }
    }
    return status;
}

static bool has_layer(const kvf_group_t *group, uint32_t layer)
{
    for (uint32_t i = 0; i < group->layer_count; i++) {
        if (group->layers[i] == layer)
            return true;
    }
    return false;
}

/* A layer may stand in two groups (attention and indexer pages of another size, say), but then with
 * different planes: else its cells would have two places. */
static kvf_status_t check_groups_apart(const kvf_layout_desc_t *desc, uint32_t g, uint32_t h)
{
    const kvf_group_t *one = &desc->groups[g], *other = &desc->groups[h];

    for (uint32_t p = 0; p < one->plane_count; p++) {
        for (uint32_t q = 0; q < other->plane_count; q++) {
            if (!planes_clash(&one->planes[p], &other->planes[q]))
                continue;
            for (uint32_t i = 0; i < one->layer_count; i++) {
                if (has_layer(other, one->layers[i]))
                    return kvfi_fail(KVF_ERR_INVALID,
                                     "groups %u and %u: layers of both hold layer %u, plane %s", g,
                                     h, one->layers[i], kvf_plane_name(one->planes[p].kind));
            }
        }
    }
    return KVF_OK;
}

kvf_status_t kvfi_kv_check_desc(const kvf_layout_desc_t *desc)
{
    kvf_status_t status = KVF_OK;

    if (desc == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "layout: desc is NULL");
    if (!kvfi_kv_size_ok(desc, sizeof(*desc)))
        return kvfi_fail(KVF_ERR_INVALID, "layout: struct_size %u is not that of the description",
                         desc->struct_size);
    if (desc->group_count == 0 || desc->groups == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "layout: groups is empty");
    if (desc->segment_count == 0 || desc->segment_len == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "layout: segment_len is empty");
    if (desc->reserved32 != 0 || desc->reserved[0] != 0 || desc->reserved[1] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "layout: reserved is not 0");
    for (uint32_t g = 0; g < desc->group_count && status == KVF_OK; g++) {
        status = check_group(desc, g);
        for (uint32_t h = 0; h < g && status == KVF_OK; h++)
            status = check_groups_apart(desc, h, g);
    }
    return status;
}

static void set_axis(kvfi_lattice_t *lattice, unsigned axis, kvfi_wide_t stride, uint32_t count)
{
    lattice->count[axis] = count;
    if (count == 1)
        return;
    if (stride < 0) {
        lattice->base += (kvfi_wide_t)(count - 1) * stride;
        stride = -stride;
    }
    lattice->stride[axis] = stride;
}

static kvfi_lattice_t make_lattice(const kvf_layout_t *layout, uint32_t g, uint32_t p,
                                   uint32_t layer)
{
    const kvf_group_t *group = &layout->desc.groups[g];
    const kvf_plane_t *plane = &group->planes[p];
    bool all = layer == UINT32_MAX;
    kvfi_lattice_t lattice = {
        .group = g,
        .plane = p,
        .layer = layer,
        .segment = kvfi_kv_layer_segment(plane, all ? 0 : layer),
        .content = plane->content,
    };

    if (plane->layer_base != NULL)
        lattice.base = plane->layer_base[layer];
    else
        lattice.base = plane->base + (all ? 0 : (kvfi_wide_t)layer * plane->layer_stride);
    set_axis(&lattice, KVFI_AXIS_BLOCK, plane->block_stride, group->blocks);
    set_axis(&lattice, KVFI_AXIS_LAYER, plane->layer_stride, all ? group->layer_count : 1);
    set_axis(&lattice, KVFI_AXIS_HEAD, plane->head_stride, group->heads);
    set_axis(&lattice, KVFI_AXIS_STATE, plane->state_stride, kvfi_kv_states(group));
    return lattice;
}

/* "group 1, plane kv" or "group 1, plane kv, layer 7" */
static void place_name(const kvf_layout_t *layout, const kvfi_lattice_t *lattice, char *buf,
                       size_t size)
{
    const kvf_group_t *group = &layout->desc.groups[lattice->group];
    const char *plane = kvf_plane_name(group->planes[lattice->plane].kind);

    if (lattice->layer == UINT32_MAX)
        snprintf(buf, size, "group %u, plane %s", lattice->group, plane);
    else
        snprintf(buf, size, "group %u, plane %s, layer %u", lattice->group, plane,
                 group->layers[lattice->layer]);
}

static kvf_status_t check_one(const kvf_layout_t *layout, const kvfi_lattice_t *lattice)
{
    uint64_t len = layout->desc.segment_len[lattice->segment];
    kvfi_wide_t end = lattice->base + lattice->content;
    char place[96];
    unsigned axis = 0;

    place_name(layout, lattice, place, sizeof(place));
    for (axis = 0; axis < KVFI_AXIS_COUNT; axis++) {
        if (lattice->count[axis] > 1 && lattice->stride[axis] == 0)
            return kvfi_fail(KVF_ERR_INVALID, "%s: %s is 0 with %u of them: cells overlap", place,
                             axis_field[axis], lattice->count[axis]);
        end += (kvfi_wide_t)(lattice->count[axis] - 1) * lattice->stride[axis];
    }
    if (lattice->base < 0)
        return kvfi_fail(KVF_ERR_BOUNDS, "%s: its lowest cell lies before segment %u", place,
                         lattice->segment);
    if (end > (kvfi_wide_t)len && end <= (kvfi_wide_t)UINT64_MAX)
        return kvfi_fail(KVF_ERR_BOUNDS, "%s: ends at byte %llu of segment %u, which has %llu",
                         place, (unsigned long long)end, lattice->segment, (unsigned long long)len);
    if (end > (kvfi_wide_t)len)
        return kvfi_fail(KVF_ERR_INVALID, "%s: strides and counts overflow 64 bits", place);
    switch (kvfi_kv_overlap(lattice, lattice, &axis)) {
    case KVFI_OVERLAP_YES:
        return kvfi_fail(KVF_ERR_INVALID, "%s: cells overlap: %s is too small", place,
                         axis_field[axis]);
    case KVFI_OVERLAP_UNKNOWN:
        return kvfi_fail(KVF_ERR_UNSUPPORTED,
                         "%s: strides too irregular to prove that no cells overlap", place);
    default:
        return KVF_OK;
    }
}

static kvf_status_t check_two(const kvf_layout_t *layout, const kvfi_lattice_t *one,
                              const kvfi_lattice_t *other)
{
    char place[96], with[96];
    kvfi_overlap_t found = kvfi_kv_overlap(one, other, NULL);

    if (found == KVFI_OVERLAP_NO)
        return KVF_OK;
    place_name(layout, one, place, sizeof(place));
    place_name(layout, other, with, sizeof(with));
    if (found == KVFI_OVERLAP_YES)
        return kvfi_fail(KVF_ERR_INVALID, "%s: cells overlap those of %s", place, with);
    return kvfi_fail(KVF_ERR_UNSUPPORTED,
                     "%s: strides too irregular to prove that no cells overlap those of %s", place,
                     with);
}

static uint32_t fill_lattices(const kvf_layout_t *layout, kvfi_lattice_t *lattices)
{
    uint32_t count = 0;

    for (uint32_t g = 0; g < layout->desc.group_count; g++) {
        const kvf_group_t *group = &layout->desc.groups[g];

        for (uint32_t p = 0; p < group->plane_count; p++) {
            const kvf_plane_t *plane = &group->planes[p];
            bool apart = plane->layer_base != NULL || plane->layer_segment != NULL;

            for (uint32_t i = 0; i < (apart ? group->layer_count : 1); i++, count++) {
                if (lattices != NULL)
                    lattices[count] = make_lattice(layout, g, p, apart ? i : UINT32_MAX);
            }
        }
    }
    return count;
}

kvf_status_t kvfi_kv_check_cells(const kvf_layout_t *layout)
{
    uint32_t count = fill_lattices(layout, NULL);
    kvfi_lattice_t *lattices = malloc(count * sizeof(*lattices));
    kvf_status_t status = KVF_OK;

    if (lattices == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "layout: no memory to check %u planes", count);
    fill_lattices(layout, lattices);
    for (uint32_t i = 0; i < count && status == KVF_OK; i++) {
        status = check_one(layout, &lattices[i]);
        for (uint32_t j = 0; j < i && status == KVF_OK; j++)
            status = check_two(layout, &lattices[j], &lattices[i]);
    }
    free(lattices);
    return status;
}

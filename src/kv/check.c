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

#define PLANES_MAX 256u       /* of a group: they are compared with each other */
#define HOMES_MAX  (1u << 18) /* planes times layers, of all groups */
#define STEPS_MAX  (1u << 22) /* to prove that no two cells of a layout overlap */

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
        return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %u: kind %u is unknown", g, p, plane->kind);
    if (plane->reserved32 != 0 || plane->reserved[0] != 0 || plane->reserved[1] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %s: reserved is not 0", g, name);
    if (plane->content == 0)
        return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %s: content is 0", g, name);
    if (plane->kind != KVF_PLANE_KV && plane->k_content != 0)
        return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %s: k_content is set", g, name);
    if (plane->kind == KVF_PLANE_KV && plane->k_content >= plane->content)
        return kvfi_fail(KVF_ERR_INVALID,
                         "group %u, plane %s: k_content %llu leaves no V in a content of %llu", g, name,
                         (unsigned long long)plane->k_content, (unsigned long long)plane->content);
    if (plane->kind == KVF_PLANE_KV && plane->k_content == 0 && plane->content % 2 != 0)
        return kvfi_fail(KVF_ERR_INVALID,
                         "group %u, plane %s: content %llu has no half, so k_content is needed", g, name,
                         (unsigned long long)plane->content);
    if (plane->element[0] == '\0' || memchr(plane->element, '\0', sizeof(plane->element)) == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %s: element is empty or too long", g, name);
    for (uint32_t i = 0; i < (plane->layer_segment != NULL ? group->layer_count : 1); i++) {
        uint32_t segment = kvfi_kv_layer_segment(plane, i);

        if (segment >= desc->segment_count)
            return kvfi_fail(KVF_ERR_INVALID, "group %u, plane %s, layer %u: segment %u of %u segments", g,
                             name, group->layers[i], segment, desc->segment_count);
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
            status = kvfi_fail(KVF_ERR_INVALID, "group %u: layers has layer %u twice", g, sorted[i]);
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
    return KVF_OK;
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
    if (group->plane_count > PLANES_MAX)
        return kvfi_fail(KVF_ERR_INVALID, "group %u: plane_count is %u, at most %u are possible", g,
                         group->plane_count, PLANES_MAX);
    if (null != NULL)
        return kvfi_fail(KVF_ERR_INVALID, "group %u: %s is NULL", g, null);
    if (group->reserved[0] != 0 || group->reserved[1] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "group %u: reserved is not 0", g);
    if (group->block_tokens % per_state != 0)
        return kvfi_fail(KVF_ERR_INVALID, "group %u: tokens_per_state %u does not divide block_tokens %u", g,
                         per_state, group->block_tokens);
    if ((uint64_t)group->first_head + group->heads > group->heads_total)
        return kvfi_fail(KVF_ERR_INVALID, "group %u: first_head %u and heads %u leave heads_total %u", g,
                         group->first_head, group->heads, group->heads_total);
    return check_dealt(group, g, per_state);
}

static kvf_status_t check_group(const kvf_layout_desc_t *desc, uint32_t g)
{
    const kvf_group_t *group = &desc->groups[g];
    kvf_status_t status = check_layers(group, g);

    for (uint32_t p = 0; p < group->plane_count && status == KVF_OK; p++) {
        status = check_plane(desc, g, p);
        for (uint32_t q = 0; q < p && status == KVF_OK; q++) {
            if (planes_clash(&group->planes[p], &group->planes[q]))
                status = kvfi_fail(KVF_ERR_INVALID, "group %u: planes %s and %s, index %u, hold the same", g,
                                   kvf_plane_name(group->planes[q].kind),
                                   kvf_plane_name(group->planes[p].kind), group->planes[p].index);
        }
    }
    return status;
}

/* A plane of a layer, as K, V or another content: two groups may not both hold it. */
typedef struct home {
    uint32_t index, kind, layer, group;
    uint32_t plane_kind; /* of the plane that holds it */
} home_t;

static int by_home(const void *a, const void *b)
{
    const home_t *x = a, *y = b;

    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return x->group < y->group ? -1 : x->group > y->group;
}

static size_t list_homes(const kvf_group_t *group, uint32_t g, home_t *homes)
{
    size_t count = 0;

    for (uint32_t p = 0; p < group->plane_count; p++) {
        const kvf_plane_t *plane = &group->planes[p];

        for (uint32_t kind = KVF_PLANE_K; kind <= KVF_PLANE_STATE; kind++) {
            for (uint32_t i = 0; i < group->layer_count && (holds(plane->kind) & 1u << kind) != 0; i++)
                homes[count++] = (home_t){plane->index, kind, group->layers[i], g, plane->kind};
        }
    }
    return count;
}

/* A layer may stand in two groups (attention and indexer pages of another size, say), but then with
 * different planes: else its cells would have two places. */
static kvf_status_t check_groups_apart(const kvf_layout_desc_t *desc, uint64_t most)
{
    home_t *homes = malloc(2 * most * sizeof(*homes));
    kvf_status_t status = KVF_OK;
    size_t count = 0;

    if (homes == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "layout: no memory to check %u groups", desc->group_count);
    for (uint32_t g = 0; g < desc->group_count; g++)
        count += list_homes(&desc->groups[g], g, homes + count);
    qsort(homes, count, sizeof(*homes), by_home);
    for (size_t i = 1; i < count && status == KVF_OK; i++) {
        const home_t *one = &homes[i - 1], *other = &homes[i];

        if (one->index == other->index && one->kind == other->kind && one->layer == other->layer)
            status = kvfi_fail(KVF_ERR_INVALID, "groups %u and %u: layers of both hold layer %u, plane %s",
                               one->group, other->group, one->layer, kvf_plane_name(one->plane_kind));
    }
    free(homes);
    return status;
}

static kvf_status_t check_groups(const kvf_layout_desc_t *desc)
{
    kvf_status_t status = KVF_OK;
    uint64_t homes = 0;

    for (uint32_t g = 0; g < desc->group_count && status == KVF_OK; g++) {
        status = check_counts(&desc->groups[g], g);
        homes += (uint64_t)desc->groups[g].plane_count * desc->groups[g].layer_count;
        if (status == KVF_OK && homes > HOMES_MAX)
            status = kvfi_fail(KVF_ERR_INVALID,
                               "group %u: planes times layers come to %llu with those of the groups "
                               "before it, at most %u are possible",
                               g, (unsigned long long)homes, HOMES_MAX);
        if (status == KVF_OK)
            status = check_group(desc, g);
    }
    if (status == KVF_OK && desc->group_count > 1)
        status = check_groups_apart(desc, homes);
    return status;
}

kvf_status_t kvfi_kv_check_desc(const kvf_layout_desc_t *desc)
{
    if (desc->group_count == 0 || desc->groups == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "layout: groups is empty");
    if (desc->segment_count == 0 || desc->segment_len == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "layout: segment_len is empty");
    if (desc->reserved32 != 0 || desc->reserved[0] != 0 || desc->reserved[1] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "layout: reserved is not 0");
    return check_groups(desc);
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

static kvfi_lattice_t make_lattice(const kvf_layout_t *layout, uint32_t g, uint32_t p, uint32_t layer)
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
static void place_name(const kvf_layout_t *layout, const kvfi_lattice_t *lattice, char *buf, size_t size)
{
    const kvf_group_t *group = &layout->desc.groups[lattice->group];
    const char *plane = kvf_plane_name(group->planes[lattice->plane].kind);

    if (lattice->layer == UINT32_MAX)
        snprintf(buf, size, "group %u, plane %s", lattice->group, plane);
    else
        snprintf(buf, size, "group %u, plane %s, layer %u", lattice->group, plane,
                 group->layers[lattice->layer]);
}

static kvfi_wide_t end_of(const kvfi_lattice_t *lattice)
{
    kvfi_wide_t end = lattice->base + lattice->content;

    for (unsigned axis = 0; axis < KVFI_AXIS_COUNT; axis++)
        end += (kvfi_wide_t)(lattice->count[axis] - 1) * lattice->stride[axis];
    return end;
}

static kvf_status_t too_many(const char *place)
{
    return kvfi_fail(KVF_ERR_UNSUPPORTED,
                     "%s: too many planes and layers lie within each other to prove that no cells "
                     "overlap",
                     place);
}

static kvf_status_t check_one(const kvf_layout_t *layout, const kvfi_lattice_t *lattice, uint32_t *steps)
{
    uint64_t len = layout->desc.segment_len[lattice->segment];
    kvfi_wide_t end = end_of(lattice);
    char place[96];
    unsigned axis = 0;

    place_name(layout, lattice, place, sizeof(place));
    for (axis = 0; axis < KVFI_AXIS_COUNT; axis++) {
        if (lattice->count[axis] > 1 && lattice->stride[axis] == 0)
            return kvfi_fail(KVF_ERR_INVALID, "%s: %s is 0 with %u of them: cells overlap", place,
                             axis_field[axis], lattice->count[axis]);
    }
    if (lattice->base < 0)
        return kvfi_fail(KVF_ERR_BOUNDS, "%s: its lowest cell lies before segment %u", place,
                         lattice->segment);
    if (end > (kvfi_wide_t)len && end <= (kvfi_wide_t)UINT64_MAX)
        return kvfi_fail(KVF_ERR_BOUNDS, "%s: ends at byte %llu of segment %u, which has %llu", place,
                         (unsigned long long)end, lattice->segment, (unsigned long long)len);
    if (end > (kvfi_wide_t)len)
        return kvfi_fail(KVF_ERR_INVALID, "%s: strides and counts overflow 64 bits", place);
    switch (kvfi_kv_overlap(lattice, lattice, &axis, steps)) {
    case KVFI_OVERLAP_YES:
        return kvfi_fail(KVF_ERR_INVALID, "%s: cells overlap: %s is too small", place, axis_field[axis]);
    case KVFI_OVERLAP_UNKNOWN:
        if (*steps == 0)
            return too_many(place);
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "%s: strides too irregular to prove that no cells overlap",
                         place);
    default:
        return KVF_OK;
    }
}

static kvf_status_t check_two(const kvf_layout_t *layout, const kvfi_lattice_t *one,
                              const kvfi_lattice_t *other, uint32_t *steps)
{
    char place[96], with[96];
    kvfi_overlap_t found = kvfi_kv_overlap(one, other, NULL, steps);

    if (found == KVFI_OVERLAP_NO)
        return KVF_OK;
    place_name(layout, one, place, sizeof(place));
    place_name(layout, other, with, sizeof(with));
    if (found == KVFI_OVERLAP_YES)
        return kvfi_fail(KVF_ERR_INVALID, "%s: cells overlap those of %s", place, with);
    if (*steps == 0)
        return too_many(place);
    return kvfi_fail(KVF_ERR_UNSUPPORTED,
                     "%s: strides too irregular to prove that no cells overlap those of %s", place, with);
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

static int by_place(const void *a, const void *b)
{
    const kvfi_lattice_t *x = a, *y = b;

    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    return x->base < y->base ? -1 : x->base > y->base;
}

/* Of two lattices the one that the description has first. */
static bool stands_before(const kvfi_lattice_t *one, const kvfi_lattice_t *other)
{
    if (one->group != other->group)
        return one->group < other->group;
    return one->plane != other->plane ? one->plane < other->plane : one->layer < other->layer;
}

/* Compare those that lie within each other's first and last byte; the others cannot overlap. */
static kvf_status_t check_all(const kvf_layout_t *layout, const kvfi_lattice_t *lattices, uint32_t count,
                              uint32_t *steps)
{
    kvf_status_t status = KVF_OK;

    for (uint32_t i = 0; i < count; i++) {
        kvfi_wide_t end = end_of(&lattices[i]);

        for (uint32_t j = i + 1; j < count && status == KVF_OK; j++) {
            const kvfi_lattice_t *one = &lattices[i], *other = &lattices[j];

            if (other->segment != one->segment || other->base >= end)
                break;
            status = stands_before(one, other) ? check_two(layout, one, other, steps)
                                               : check_two(layout, other, one, steps);
        }
    }
    return status;
}

kvf_status_t kvfi_kv_check_cells(const kvf_layout_t *layout)
{
    uint32_t count = fill_lattices(layout, NULL), steps = STEPS_MAX;
    kvfi_lattice_t *lattices = malloc(count * sizeof(*lattices));
    kvf_status_t status = KVF_OK;

    if (lattices == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "layout: no memory to check %u planes", count);
    fill_lattices(layout, lattices);
    for (uint32_t i = 0; i < count && status == KVF_OK; i++)
        status = check_one(layout, &lattices[i], &steps);
    if (status == KVF_OK) {
        qsort(lattices, count, sizeof(*lattices), by_place);
        status = check_all(layout, lattices, count, &steps);
    }
    free(lattices);
    return status;
}

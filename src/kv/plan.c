/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Making a plan: pairs the cells of two layouts by global ids and finds the fewest units, sets
 * of cells at fixed strides on both sides. Parts that lie side by side in a cell on both sides
 * are one; parts that keep one distance are an axis (K and V); layers, taken in the order in
 * which they lie in the source, are an axis as long as they keep one distance on both sides and
 * one segment. What a request makes of it is bind.c's matter.
 */
#include <stdlib.h>

#include "kv/plan.h"

/* One side of a part while units are found. */
typedef struct side {
    const kvf_group_t *group;
    const kvfi_kv_view_t *view;
} side_t;

/* Neighbouring parts that are one run of bytes in a cell, on both sides. */
typedef struct cells {
    const kvfi_kv_part_t *src, *dst;
    uint64_t content;
} cells_t;

/* Where a layer begins on both sides. */
typedef struct spot {
    uint32_t layer; /* by rising id */
    uint32_t src_segment, dst_segment;
    uint64_t src_off, dst_off;
} spot_t;

typedef struct work {
    side_t src, dst;
    cells_t *cells;
    uint32_t cell_count;
    spot_t *spots; /* of the first cells of an axis of planes */
    uint32_t layers;
} work_t;

static spot_t find_spot(const work_t *w, const cells_t *cells, uint32_t layer)
{
    uint32_t s = w->src.view->order[layer], d = w->dst.view->order[layer];

    return (spot_t){
        .layer = layer,
        .src_segment = kvfi_kv_layer_segment(cells->src->plane, s),
        .dst_segment = kvfi_kv_layer_segment(cells->dst->plane, d),
        .src_off = kvfi_kv_layer_base(cells->src->plane, s) + cells->src->off,
        .dst_off = kvfi_kv_layer_base(cells->dst->plane, d) + cells->dst->off,
    };
}

/* The distance from one spot to another, if it is one that an op can hold. */
static bool spot_step(const spot_t *from, const spot_t *to, kvfi_axis_t *step_p)
{
    kvfi_wide_t src = (kvfi_wide_t)to->src_off - from->src_off;
    kvfi_wide_t dst = (kvfi_wide_t)to->dst_off - from->dst_off;

    step_p->src = (int64_t)src;
    step_p->dst = (int64_t)dst;
    return from->src_segment == to->src_segment && from->dst_segment == to->dst_segment &&
           step_p->src == src && step_p->dst == dst;
}

static void find_cells(work_t *w)
{
    for (uint32_t p = 0; p < w->src.view->part_count; p++) {
        const kvfi_kv_part_t *src = &w->src.view->parts[p], *dst = &w->dst.view->parts[p];
        cells_t *last = w->cell_count > 0 ? &w->cells[w->cell_count - 1] : NULL;

        /* Neighbouring parts of one plane lie side by side. */
        if (last != NULL && last->src->plane == src->plane && last->dst->plane == dst->plane)
            last->content += src->content;
        else
            w->cells[w->cell_count++] = (cells_t){.src = src, .dst = dst, .content = src->content};
    }
}

static bool same_strides(const work_t *w, const kvf_plane_t *one, const kvf_plane_t *other)
{
    const kvf_group_t *group = w->src.group;

    return (one->block_stride == other->block_stride) &&
           (group->heads == 1 || one->head_stride == other->head_stride) &&
           (kvfi_kv_states(group) == 1 || one->state_stride == other->state_stride);
}

/* Whether cells next follow cells last at one distance in each layer. */
static bool cells_step(const work_t *w, const cells_t *last, const cells_t *next,
                       kvfi_axis_t *step_p)
{
    if (last->content != next->content || !same_strides(w, last->src->plane, next->src->plane) ||
        !same_strides(w, last->dst->plane, next->dst->plane))
        return false;
    for (uint32_t i = 0; i < w->layers; i++) {
        spot_t from = find_spot(w, last, i), to = find_spot(w, next, i);
        kvfi_axis_t step;

        if (!spot_step(&from, &to, &step))
            return false;
        if (i > 0 && (step.src != step_p->src || step.dst != step_p->dst))
            return false;
        *step_p = step;
    }
    return true;
}

/* Length of the axis of planes that starts at cells at. */
static uint32_t plane_run(const work_t *w, uint32_t at, kvfi_axis_t *axis_p)
{
    uint32_t next = at + 1;
    kvfi_axis_t step = {0};

    *axis_p = (kvfi_axis_t){.count = 1};
    while (next < w->cell_count && cells_step(w, &w->cells[next - 1], &w->cells[next], &step) &&
           (next == at + 1 || (step.src == axis_p->src && step.dst == axis_p->dst))) {
        axis_p->src = step.src;
        axis_p->dst = step.dst;
        next++;
    }
    axis_p->count = next - at;
    return axis_p->count;
}

static uint32_t layer_run(const work_t *w, uint32_t at, kvfi_axis_t *axis_p)
{
    uint32_t next = at + 1;
    kvfi_axis_t step = {0};

    *axis_p = (kvfi_axis_t){.count = 1};
    while (next < w->layers && spot_step(&w->spots[next - 1], &w->spots[next], &step) &&
           (next == at + 1 || (step.src == axis_p->src && step.dst == axis_p->dst))) {
        axis_p->src = step.src;
        axis_p->dst = step.dst;
        next++;
    }
    axis_p->count = next - at;
    return axis_p->count;
}

static int by_source(const void *a, const void *b)
{
    const spot_t *x = a, *y = b;

    if (x->src_segment != y->src_segment)
        return x->src_segment < y->src_segment ? -1 : 1;
    return x->src_off < y->src_off ? -1 : x->src_off > y->src_off;
}

static kvfi_unit_t make_unit(const work_t *w, const cells_t *cells, const spot_t *spot,
                             const kvfi_axis_t *planes, const kvfi_axis_t *layers)
{
    const kvf_plane_t *src = cells->src->plane, *dst = cells->dst->plane;

    return (kvfi_unit_t){
        .src_segment = spot->src_segment,
        .dst_segment = spot->dst_segment,
        .src_off = spot->src_off,
        .dst_off = spot->dst_off,
        .src_block = src->block_stride,
        .dst_block = dst->block_stride,
        .len = cells->content,
        .axes = {*planes,
                 *layers,
                 {w->src.group->heads, src->head_stride, dst->head_stride},
                 {kvfi_kv_states(w->src.group), src->state_stride, dst->state_stride}},
    };
}

/* Fill units, or only count them at NULL. */
static uint32_t find_units(work_t *w, kvfi_unit_t *units)
{
    uint32_t count = 0;

    for (uint32_t p = 0; p < w->cell_count;) {
        kvfi_axis_t planes, layers;
        uint32_t run = plane_run(w, p, &planes);

        for (uint32_t i = 0; i < w->layers; i++)
            w->spots[i] = find_spot(w, &w->cells[p], i);
        qsort(w->spots, w->layers, sizeof(*w->spots), by_source);
        for (uint32_t i = 0; i < w->layers; count++) {
            uint32_t length = layer_run(w, i, &layers);

            if (units != NULL)
                units[count] = make_unit(w, &w->cells[p], &w->spots[i], &planes, &layers);
            i += length;
        }
        p += run;
    }
    return count;
}

static uint32_t find_boxes(const kvfi_plan_group_t *group, kvfi_unit_t *out)
{
    uint32_t count = 0;

    for (uint32_t u = 0; u < group->unit_count; u++) {
        kvfi_boxes_t boxes;
        kvfi_unit_t box;

        kvfi_kv_boxes_start(&boxes, &group->units[u], 0, group->states);
        while (kvfi_kv_boxes_next(&boxes, &box)) {
            if (out != NULL)
                out[count] = box;
            count++;
        }
    }
    return count;
}

static kvf_status_t plan_units(work_t *w, kvfi_plan_group_t *group)
{
    w->layers = w->src.group->layer_count;
    w->cells = calloc(w->src.view->part_count, sizeof(*w->cells));
    w->spots = calloc(w->layers, sizeof(*w->spots));
    if (w->cells == NULL || w->spots == NULL)
        return KVF_ERR_NOMEM;
    find_cells(w);
    group->unit_count = find_units(w, NULL);
    group->units = calloc(group->unit_count, sizeof(*group->units));
    if (group->units == NULL)
        return KVF_ERR_NOMEM;
    find_units(w, group->units);
    group->box_count = find_boxes(group, NULL);
    group->boxes = calloc(group->box_count, sizeof(*group->boxes));
    if (group->boxes == NULL)
        return KVF_ERR_NOMEM;
    find_boxes(group, group->boxes);
    return KVF_OK;
}

static kvf_status_t plan_group(const kvf_layout_t *src, const kvf_layout_t *dst, uint32_t g,
                               kvfi_plan_group_t *group)
{
    work_t w = {
        .src = {&src->desc.groups[g], &src->views[g]},
        .dst = {&dst->desc.groups[g], &dst->views[g]},
    };
    kvf_status_t status;

    *group = (kvfi_plan_group_t){
        .block_tokens = w.src.group->block_tokens,
        .tokens_per_state = w.src.group->tokens_per_state,
        .states = kvfi_kv_states(w.src.group),
        .window = w.src.group->window,
        .src_blocks = w.src.group->blocks,
        .dst_blocks = w.dst.group->blocks,
    };
    status = plan_units(&w, group);
    free(w.cells);
    free(w.spots);
    if (status == KVF_ERR_NOMEM)
        return kvfi_fail(status, "plan: no memory for group %u", g);
    return status;
}

static kvf_status_t check_equal(const kvf_layout_t *src, const kvf_layout_t *dst)
{
    for (uint32_t g = 0; g < src->desc.group_count; g++) {
        const kvf_group_t *s = &src->desc.groups[g], *d = &dst->desc.groups[g];
        const char *field = s->block_tokens != d->block_tokens ? "block_tokens"
                            : s->first_head != d->first_head   ? "first_head"
                            : s->heads != d->heads             ? "heads"
                                                               : NULL;

        if (field != NULL)
            return kvfi_fail(
                KVF_ERR_UNSUPPORTED,
                "plan: group %u: %s differ: block_tokens %u, heads %u..%u at the source, "
                "block_tokens %u, heads %u..%u at the destination; a plan needs them equal",
                g, field, s->block_tokens, s->first_head, s->first_head + s->heads - 1,
                d->block_tokens, d->first_head, d->first_head + d->heads - 1);
    }
    return KVF_OK;
}

kvf_status_t kvf_plan_create(const kvf_layout_t *src, const kvf_layout_t *dst, kvf_plan_t **plan_p)
{
    kvf_plan_t *plan;
    kvf_status_t status;

    if (src == NULL || dst == NULL || plan_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "plan: %s is NULL",
                         src == NULL   ? "src"
                         : dst == NULL ? "dst"
                                       : "plan_p");
    status = kvf_layout_compare(src, dst);
    if (status == KVF_OK)
        status = check_equal(src, dst);
    if (status != KVF_OK)
        return status;
    plan = calloc(1, sizeof(*plan));
    if (plan == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "plan: no memory");
    plan->src_segments = src->desc.segment_count;
    plan->dst_segments = dst->desc.segment_count;
    plan->groups = calloc(src->desc.group_count, sizeof(*plan->groups));
    if (plan->groups == NULL) {
        status = kvfi_fail(KVF_ERR_NOMEM, "plan: no memory for %u groups", src->desc.group_count);
        goto err_plan;
    }
    plan->group_count = src->desc.group_count;
    for (uint32_t g = 0; g < plan->group_count && status == KVF_OK; g++)
        status = plan_group(src, dst, g, &plan->groups[g]);
    if (status != KVF_OK)
        goto err_plan;
    *plan_p = plan;
    return KVF_OK;

err_plan:
    kvf_plan_destroy(plan);
    return status;
}

kvf_status_t kvf_plan_destroy(kvf_plan_t *plan)
{
    if (plan == NULL)
        return KVF_OK;
    for (uint32_t g = 0; g < plan->group_count; g++) {
        free(plan->groups[g].units);
        free(plan->groups[g].boxes);
    }
    free(plan->groups);
    free(plan);
    return KVF_OK;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Pairs the cells of two groups by global ids and finds the fewest units, sets of cells at fixed
 * strides on both sides. Parts that lie side by side in a cell on both sides are one; parts that
 * keep one distance are an axis (K and V); layers, taken in the order in which they lie in the
 * source, are an axis as long as they keep one distance on both sides and one segment.
 */
#include <stdlib.h>

#include "kv/plan.h"

/* Neighbouring parts that are one run of bytes in a cell, on both sides. */
typedef struct cells {
    const kvfi_kv_part_t *src, *dst;
    uint64_t content;
} cells_t;

/* Where the wanted heads of a layer begin on both sides. */
typedef struct spot {
    uint32_t src_segment, dst_segment;
    uint64_t src_off, dst_off;
    uint32_t layer; /* id */
} spot_t;

typedef struct work {
    const kvfi_spec_t *spec;
    cells_t *cells;
    uint32_t cell_count;
    spot_t *spots;                 /* of the first cells of an axis of planes */
    uint32_t *layers, layer_count; /* ids, of the units found so far */
} work_t;

/* First bytes of the wanted heads, from the start of a layer. */
static uint64_t head_off(const work_t *w, const kvf_group_t *group, const kvf_plane_t *plane)
{
    return (w->spec->first_head - group->first_head) * (uint64_t)plane->head_stride;
}

static spot_t find_spot(const work_t *w, const cells_t *cells, uint32_t layer)
{
    uint32_t s = w->spec->layers[layer].src, d = w->spec->layers[layer].dst;

    const kvf_plane_t *src = cells->src->plane, *dst = cells->dst->plane;

    return (spot_t){
        .src_segment = kvfi_kv_layer_segment(src, s),
        .dst_segment = kvfi_kv_layer_segment(dst, d),
        .src_off = kvfi_kv_layer_base(src, s) + cells->src->off + head_off(w, w->spec->src, src),
        .dst_off = kvfi_kv_layer_base(dst, d) + cells->dst->off + head_off(w, w->spec->dst, dst),
        .layer = w->spec->dst->layers[d],
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
    for (uint32_t p = 0; p < w->spec->pick_count; p++) {
        const kvfi_kv_part_t *src = w->spec->picks[p].src, *dst = w->spec->picks[p].dst;
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
    return one->block_stride == other->block_stride &&
           (w->spec->heads == 1 || one->head_stride == other->head_stride) &&
           one->state_stride == other->state_stride;
}

/* Whether cells next follow cells last at one distance in each layer. */
static bool cells_step(const work_t *w, const cells_t *last, const cells_t *next, kvfi_axis_t *step_p)
{
    if (last->content != next->content || !same_strides(w, last->src->plane, next->src->plane) ||
        !same_strides(w, last->dst->plane, next->dst->plane))
        return false;
    for (uint32_t i = 0; i < w->spec->layer_count; i++) {
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

/* Whether a step can make longer pieces, and one that went before it cannot. */
static bool touches_more(const kvfi_axis_t *step, const kvfi_axis_t *before)
{
    return step->src == step->dst && step->src > 0 && (before->src != before->dst || step->src < before->src);
}

/* Length of the axis of layers that starts at layer at. */
static uint32_t layer_run(const work_t *w, uint32_t at, kvfi_axis_t *axis_p)
{
    uint32_t next = at + 1, layers = w->spec->layer_count;
    kvfi_axis_t step = {0};
    bool ok = false;

    *axis_p = (kvfi_axis_t){.count = 1};
    while (next < layers && (ok = spot_step(&w->spots[next - 1], &w->spots[next], &step)) &&
           (next == at + 1 || (step.src == axis_p->src && step.dst == axis_p->dst))) {
        axis_p->src = step.src;
        axis_p->dst = step.dst;
        next++;
    }
    /* The last layer rather goes with the one after it, if those two touch. */
    if (next < layers && ok && next > at + 1 && touches_more(&step, axis_p))
        next--;
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

static kvfi_unit_t make_unit(work_t *w, const cells_t *cells, const spot_t *spot, const kvfi_axis_t *planes,
                             const kvfi_axis_t *layers)
{
    const kvf_plane_t *src = cells->src->plane, *dst = cells->dst->plane;
    uint32_t layer_at = w->layer_count;

    for (uint32_t i = 0; i < layers->count; i++)
        w->layers[w->layer_count++] = spot[i].layer;

    return (kvfi_unit_t){
        .src_segment = spot->src_segment,
        .dst_segment = spot->dst_segment,
        .src_off = spot->src_off,
        .dst_off = spot->dst_off,
        .src_block = src->block_stride,
        .dst_block = dst->block_stride,
        .len = cells->content,
        .src_state = src->state_stride,
        .dst_state = dst->state_stride,
        .axes = {*planes, *layers, {w->spec->heads, src->head_stride, dst->head_stride}},
        .layer_at = layer_at,
    };
}

/* Fill units, or only count them at NULL. */
static uint32_t find_units(work_t *w, kvfi_unit_t *units)
{
    uint32_t count = 0;

    for (uint32_t p = 0; p < w->cell_count;) {
        kvfi_axis_t planes, layers;
        uint32_t run = plane_run(w, p, &planes);

        for (uint32_t i = 0; i < w->spec->layer_count; i++)
            w->spots[i] = find_spot(w, &w->cells[p], i);
        qsort(w->spots, w->spec->layer_count, sizeof(*w->spots), by_source);
        for (uint32_t i = 0; i < w->spec->layer_count; count++) {
            uint32_t length = layer_run(w, i, &layers);

            if (units != NULL)
                units[count] = make_unit(w, &w->cells[p], &w->spots[i], &planes, &layers);
            i += length;
        }
        p += run;
    }
    return count;
}

kvf_status_t kvfi_kv_units_make(const kvfi_spec_t *spec, kvfi_unit_t **units_p, uint32_t *count_p,
                                uint32_t **layers_p, uint32_t *layer_count_p)
{
    work_t w = {
        .spec = spec,
        .cells = calloc(spec->pick_count, sizeof(*w.cells)),
        .spots = calloc(spec->layer_count, sizeof(*w.spots)),
        .layers = calloc((size_t)spec->pick_count * spec->layer_count, sizeof(*w.layers)),
    };
    kvf_status_t status = KVF_ERR_NOMEM;

    if (w.cells != NULL && w.spots != NULL && w.layers != NULL) {
        find_cells(&w);
        *count_p = find_units(&w, NULL);
        *units_p = calloc(*count_p, sizeof(**units_p));
        if (*units_p != NULL) {
            find_units(&w, *units_p);
            *layers_p = w.layers;
            *layer_count_p = w.layer_count;
            status = KVF_OK;
        }
    }
    free(w.cells);
    free(w.spots);
    if (status != KVF_OK)
        free(w.layers);
    if (status != KVF_OK)
        return kvfi_fail(status, "plan: no memory for %u layers", spec->layer_count);
    return KVF_OK;
}

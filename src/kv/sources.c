/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Several sources for one destination rank. A column is one plane of one layer that the destination
 * holds; its holders are the sources that have some of its heads. Columns with the same holders
 * are planned together: their heads are cut where the set of holders changes, and each stretch of
 * heads is shared among its holders block by block, or, where tokens are dealt, by tokens.
 *
 *      destination's heads   0 1 2 3 4 5          source 0: 0..3    source 1: 2..5
 *      stretches             [0] [0,1] [1]        blocks of the middle one take turns
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/plan.h"

typedef struct holder {
    uint32_t source, group;
    uint32_t first, end; /* heads of the destination's that it has */
} holder_t;

/* Holders of a column: [first, first + count) of the list. */
typedef struct column {
    size_t first;
    uint32_t count;
    bool done;
} column_t;

typedef struct work {
    kvf_layout_t *const *srcs;
    uint32_t src_count;
    const kvf_layout_t *dst;
    uint32_t dst_rank;
    const kvf_plan_opts_t *opts;
    kvf_plan_t **plans; /* one a source, NULL until it has a part */
    /* of the group at hand */
    uint32_t g;
    uint32_t first_head, heads;
    column_t *columns; /* layer by layer within a plane */
    holder_t *holders;
    size_t holder_count, holder_cap;
    uint32_t *set;       /* holders of a stretch of heads, of those with one cp_rank */
    uint32_t *layers;    /* places in the destination's list, of the class at hand */
    kvfi_layer_t *pairs; /* and in both */
    uint32_t *parts;     /* parts of the class at hand */
    kvfi_pick_t *picks;
    uint32_t layer_count, part_count;
} work_t;

static const kvf_group_t *group_of(const work_t *w, const holder_t *h)
{
    return &w->srcs[h->source]->desc.groups[h->group];
}

/* Place of a layer in a group's list, by the view's order; UINT32_MAX: it is not there. */
static uint32_t find_layer(const kvf_layout_t *layout, uint32_t g, uint32_t layer)
{
    const kvf_group_t *group = &layout->desc.groups[g];
    const uint32_t *order = layout->views[g].order;
    uint32_t low = 0, high = group->layer_count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (group->layers[order[mid]] < layer)
            low = mid + 1;
        else
            high = mid;
    }
    return low < group->layer_count && group->layers[order[low]] == layer ? order[low] : UINT32_MAX;
}

static const kvfi_kv_part_t *find_part(const kvfi_kv_view_t *view, const kvfi_kv_part_t *like)
{
    for (uint32_t p = 0; p < view->part_count; p++) {
        if (view->parts[p].kind == like->kind && view->parts[p].index == like->index)
            return &view->parts[p];
    }
    return NULL;
}

/* ----------------------------------------------------------------- columns */

static kvf_status_t add_holder(work_t *w, column_t *column, const holder_t *holder)
{
    if (w->holder_count == w->holder_cap) {
        size_t cap = w->holder_cap == 0 ? 256 : 2 * w->holder_cap;
        holder_t *more = realloc(w->holders, cap * sizeof(*more));

        if (more == NULL)
            return kvfi_fail(KVF_ERR_NOMEM, "sources: no memory for %zu holders", cap);
        w->holders = more;
        w->holder_cap = cap;
    }
    w->holders[w->holder_count++] = *holder;
    column->count++;
    return KVF_OK;
}

static kvf_status_t try_holder(work_t *w, column_t *column, uint32_t source, uint32_t g,
                               const kvfi_kv_part_t *part, uint32_t layer)
{
    const kvf_layout_t *src = w->srcs[source];
    const kvf_group_t *d = &w->dst->desc.groups[w->g], *s = &src->desc.groups[g];
    kvfi_spec_t spec = {.src = s, .dst = d, .src_group = g, .dst_group = w->g};
    kvfi_pick_t pick = {find_part(&src->views[g], part), part};
    uint64_t end = (uint64_t)s->first_head + s->heads, most = (uint64_t)w->first_head + w->heads;
    kvf_status_t status;

    if (pick.src == NULL || find_layer(src, g, layer) == UINT32_MAX)
        return KVF_OK;
    status = kvfi_kv_agree(&spec, &pick, layer);
    if (status != KVF_OK)
        return kvfi_fail_within(status, "source %u", source);
    holder_t holder = {source, g, s->first_head > w->first_head ? s->first_head : w->first_head,
                       (uint32_t)(end < most ? end : most)};

    return holder.first < holder.end ? add_holder(w, column, &holder) : KVF_OK;
}

static kvf_status_t fill_columns(work_t *w)
{
    const kvf_group_t *group = &w->dst->desc.groups[w->g];
    const kvfi_kv_view_t *view = &w->dst->views[w->g];
    kvf_status_t status = KVF_OK;

    w->holder_count = 0;
    for (uint32_t p = 0; p < view->part_count; p++) {
        for (uint32_t i = 0; i < group->layer_count; i++) {
            column_t *column = &w->columns[(size_t)p * group->layer_count + i];

            *column = (column_t){.first = w->holder_count};
            column->done = !kvfi_kv_wants_layer(w->opts, group->layers[i]);
            for (uint32_t s = 0; s < w->src_count && !column->done; s++) {
                uint32_t groups = w->srcs[s] != NULL ? w->srcs[s]->desc.group_count : 0;

                for (uint32_t g = 0; g < groups && status == KVF_OK; g++)
                    status = try_holder(w, column, s, g, &view->parts[p], group->layers[i]);
            }
            if (status != KVF_OK)
                return status;
        }
    }
    return status;
}

static bool same_holders(const work_t *w, const column_t *one, const column_t *other)
{
    return one->count == other->count &&
           memcmp(w->holders + one->first, w->holders + other->first, one->count * sizeof(*w->holders)) == 0;
}

/* The columns of one class, as planes times layers: those layers of plane p whose holders are those
 * of layer i, and those planes for which the same is true of all these layers. */
static void find_class(work_t *w, uint32_t p, uint32_t i)
{
    uint32_t layers = w->dst->desc.groups[w->g].layer_count;
    const column_t *like = &w->columns[(size_t)p * layers + i];

    w->layer_count = w->part_count = 0;
    for (uint32_t k = i; k < layers; k++) {
        const column_t *column = &w->columns[(size_t)p * layers + k];

        if (!column->done && same_holders(w, like, column))
            w->layers[w->layer_count++] = k;
    }
    for (uint32_t q = p; q < w->dst->views[w->g].part_count; q++) {
        column_t *row = &w->columns[(size_t)q * layers];
        bool all = true;

        for (uint32_t k = 0; k < w->layer_count && all; k++)
            all = !row[w->layers[k]].done && same_holders(w, like, &row[w->layers[k]]);
        if (all)
            w->parts[w->part_count++] = q;
        for (uint32_t k = 0; k < w->layer_count && all; k++)
            row[w->layers[k]].done = true;
    }
}

/* ------------------------------------------------------------------- parts */

static kvf_status_t lacks(const work_t *w, uint32_t first, uint32_t end, const char *what)
{
    const kvf_group_t *group = &w->dst->desc.groups[w->g];
    const kvfi_kv_part_t *part = &w->dst->views[w->g].parts[w->parts[0]];

    return kvfi_fail(KVF_ERR_INVALID,
                     "sources: no source holds layer %u, plane %s, heads %u to %u of destination "
                     "group %u%s",
                     group->layers[w->layers[0]], kvf_plane_name(part->kind), first, end - 1, w->g, what);
}

/* Heads [first, end) of the class from one of its holders: number replica of replicas. */
static kvf_status_t add_part(work_t *w, const holder_t *h, uint32_t first, uint32_t end, uint32_t replicas,
                             uint32_t number)
{
    const kvf_layout_t *src = w->srcs[h->source];
    const kvf_group_t *group = &w->dst->desc.groups[w->g];
    kvf_status_t status = KVF_OK;
    kvfi_spec_t spec = {
        .src = group_of(w, h),
        .dst = group,
        .src_group = h->group,
        .dst_group = w->g,
        .picks = w->picks,
        .layers = w->pairs,
        .pick_count = w->part_count,
        .layer_count = w->layer_count,
        .first_head = first,
        .heads = end - first,
        .replicas = replicas,
        /* (dst_rank + b) % replicas == number */
        .replica = (number + replicas - w->dst_rank % replicas) % replicas,
    };

    for (uint32_t k = 0; k < w->part_count; k++) {
        const kvfi_kv_part_t *part = &w->dst->views[w->g].parts[w->parts[k]];

        w->picks[k] = (kvfi_pick_t){find_part(&src->views[h->group], part), part};
    }
    for (uint32_t k = 0; k < w->layer_count; k++)
        w->pairs[k] = (kvfi_layer_t){find_layer(src, h->group, group->layers[w->layers[k]]), w->layers[k]};
    if (w->plans[h->source] == NULL)
        status = kvfi_kv_plan_open(src, w->dst, &w->plans[h->source]);
    return status == KVF_OK ? kvfi_kv_plan_add(w->plans[h->source], &spec) : status;
}

/* Whether the destination keeps tokens that sources of that cp_rank would have to give. */
static kvf_status_t needs_rank(const work_t *w, const holder_t *like, uint64_t rank, bool *needs_p)
{
    kvfi_cut_t src = kvfi_kv_cut(group_of(w, like));
    kvfi_cut_t dst = kvfi_kv_cut(&w->dst->desc.groups[w->g]);
    kvfi_pattern_t pattern;
    kvf_status_t status;

    src.rank = rank;
    status = kvfi_kv_pattern_make(&src, &dst, 1, 0, &pattern);
    if (status != KVF_OK)
        return status;
    *needs_p = pattern.meet_count > 0;
    kvfi_kv_pattern_free(&pattern);
    return KVF_OK;
}

/* Heads [first, end), which all the same holders have: share them out. */
static kvf_status_t add_stretch(work_t *w, const column_t *class, uint32_t first, uint32_t end)
{
    const holder_t *holders = w->holders + class->first, *like = NULL;
    kvf_status_t status = KVF_OK;
    uint32_t ranks = 1;

    for (uint32_t k = 0; k < class->count; k++) {
        const holder_t *h = &holders[k];

        if (h->first > first || h->end < end)
            continue;
        if (like != NULL && (group_of(w, h)->cp_ranks != ranks ||
                             (ranks > 1 && group_of(w, h)->cp_tokens != group_of(w, like)->cp_tokens)))
            return kvfi_fail(KVF_ERR_INVALID,
                             "sources: source %u deals tokens over %u ranks by %u, source %u over "
                             "%u by %u, and both hold heads %u to %u of destination group %u",
                             like->source, ranks, group_of(w, like)->cp_tokens, h->source,
                             group_of(w, h)->cp_ranks, group_of(w, h)->cp_tokens, first, end - 1, w->g);
        like = h;
        ranks = group_of(w, h)->cp_ranks;
    }
    if (like == NULL)
        return lacks(w, first, end, "");
    for (uint32_t rank = 0; rank < ranks && status == KVF_OK; rank++) {
        uint32_t count = 0;
        bool needs = true;

        for (uint32_t k = 0; k < class->count; k++) {
            if (holders[k].first <= first && holders[k].end >= end &&
                group_of(w, &holders[k])->cp_rank == rank)
                w->set[count++] = k;
        }
        if (count == 0)
            status = needs_rank(w, like, rank, &needs);
        if (count == 0 && needs && status == KVF_OK) {
            char what[64];

            snprintf(what, sizeof(what), ", cp_rank %u of %u", rank, ranks);
            status = lacks(w, first, end, what);
        }
        for (uint32_t k = 0; k < count && status == KVF_OK; k++)
            status = add_part(w, &holders[w->set[k]], first, end, count, k);
    }
    return status;
}

/* The next head past first at which the set of holders changes. */
static uint32_t next_cut(const work_t *w, const column_t *class, uint32_t first)
{
    uint32_t cut = w->first_head + w->heads;

    for (uint32_t k = 0; k < class->count; k++) {
        const holder_t *h = &w->holders[class->first + k];

        if (h->first > first && h->first < cut)
            cut = h->first;
        if (h->end > first && h->end < cut)
            cut = h->end;
    }
    return cut;
}

static kvf_status_t add_group(work_t *w)
{
    const kvf_group_t *group = &w->dst->desc.groups[w->g];
    uint32_t parts = w->dst->views[w->g].part_count;
    kvf_status_t status = fill_columns(w);

    for (uint32_t p = 0; p < parts && status == KVF_OK; p++) {
        for (uint32_t i = 0; i < group->layer_count && status == KVF_OK; i++) {
            const column_t *class = &w->columns[(size_t)p * group->layer_count + i];
            uint32_t at = w->first_head, end = at + w->heads;

            if (class->done)
                continue;
            find_class(w, p, i);
            while (at < end && status == KVF_OK) {
                uint32_t cut = next_cut(w, class, at);

                status = add_stretch(w, class, at, cut);
                at = cut;
            }
        }
    }
    return status;
}

/* ---------------------------------------------------------------- the call */

static kvf_status_t plan_group(work_t *w, uint32_t g)
{
    const kvf_group_t *group = &w->dst->desc.groups[g];
    size_t parts = w->dst->views[g].part_count, layers = group->layer_count;
    kvf_status_t status = KVF_OK;

    w->g = g;
    w->first_head = group->first_head;
    w->heads = group->heads;
    kvfi_kv_wants_heads(w->opts, &w->first_head, &w->heads);
    if (w->heads == 0)
        return KVF_OK;
    w->columns = calloc(parts * layers, sizeof(*w->columns));
    w->layers = calloc(layers, sizeof(*w->layers));
    w->pairs = calloc(layers, sizeof(*w->pairs));
    w->parts = calloc(parts, sizeof(*w->parts));
    w->picks = calloc(parts, sizeof(*w->picks));
    if (w->columns == NULL || w->layers == NULL || w->pairs == NULL || w->parts == NULL || w->picks == NULL)
        status = kvfi_fail(KVF_ERR_NOMEM, "sources: no memory for %zu layers", layers);
    if (status == KVF_OK)
        status = add_group(w);
    free(w->columns);
    free(w->layers);
    free(w->pairs);
    free(w->parts);
    free(w->picks);
    return status;
}

static kvf_status_t plan_all(work_t *w)
{
    size_t holders = 0;
    kvf_status_t status = KVF_OK;

    for (uint32_t s = 0; s < w->src_count && status == KVF_OK; s++) {
        if (w->srcs[s] == NULL)
            continue;
        holders += w->srcs[s]->desc.group_count;
        status = kvfi_kv_planes_agree(w->srcs[s], w->dst, "source", w->opts);
        if (status != KVF_OK)
            return kvfi_fail_within(status, "source %u", s);
    }
    w->plans = calloc(w->src_count + 1, sizeof(*w->plans));
    w->set = calloc(holders + 1, sizeof(*w->set));
    if (w->plans == NULL || w->set == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "sources: no memory for %u sources", w->src_count);
    for (uint32_t g = 0; g < w->dst->desc.group_count && status == KVF_OK; g++)
        status = plan_group(w, g);
    return status;
}

/* Hand the plans over. A plan whose replica never has its turn has no parts. */
static kvf_status_t hand_over(work_t *w, kvf_plan_source_t *sources, uint32_t *count_p)
{
    uint32_t count = 0, room = *count_p;

    for (uint32_t s = 0; s < w->src_count; s++) {
        if (w->plans[s] != NULL && w->plans[s]->part_count > 0)
            count++;
    }
    *count_p = count;
    if (count > room)
        return kvfi_fail(KVF_ERR_SPACE, "sources: %u sources are needed, the array holds %u", count, room);
    count = 0;
    for (uint32_t s = 0; s < w->src_count; s++) {
        if (w->plans[s] == NULL || w->plans[s]->part_count == 0)
            continue;
        sources[count++] = (kvf_plan_source_t){.rank = s, .plan = w->plans[s]};
        w->plans[s] = NULL;
    }
    return KVF_OK;
}

kvf_status_t kvf_plan_sources(kvf_layout_t *const *srcs, uint32_t src_count, const kvf_layout_t *dst,
                              uint32_t dst_rank, const kvf_plan_opts_t *opts, kvf_plan_source_t *sources,
                              uint32_t *count_p)
{
    work_t w = {.srcs = srcs, .src_count = src_count, .dst = dst, .dst_rank = dst_rank};
    kvf_plan_opts_t o;
    kvfi_reach_t reach = {0};
    kvf_status_t status;

    if (srcs == NULL || dst == NULL || sources == NULL || count_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "sources: %s is NULL",
                         srcs == NULL      ? "srcs"
                         : dst == NULL     ? "dst"
                         : sources == NULL ? "sources"
                                           : "count_p");
    status = kvfi_kv_plan_opts(opts, &o);
    if (status == KVF_OK && o.replica_count != 1)
        status =
            kvfi_fail(KVF_ERR_INVALID, "sources: replica_count %u: replicas are found here", o.replica_count);
    kvfi_kv_reach_add(dst, &o, &reach);
    for (uint32_t s = 0; s < src_count; s++) {
        if (srcs[s] != NULL)
            kvfi_kv_reach_add(srcs[s], &o, &reach);
    }
    if (status == KVF_OK)
        status = kvfi_kv_reach_check(&o, &reach);
    if (status != KVF_OK)
        return status;
    w.opts = &o;
    status = plan_all(&w);
    if (status == KVF_OK)
        status = hand_over(&w, sources, count_p);
    for (uint32_t s = 0; w.plans != NULL && s < src_count; s++)
        kvf_plan_destroy(w.plans[s]);
    free(w.plans);
    free(w.set);
    free(w.holders);
    return status;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Plans as objects: what two layouts have in common, by global ids of layers, planes and heads, in
 * whatever groups they stand, as parts that are served alike. Cells are put together in unit.c,
 * blocks in pattern.c, boxes in box.c; several sources for one destination in sources.c. What a
 * request makes of a plan is bind.c's matter.
 */
#include <stdlib.h>
#include <string.h>

#include "kv/plan.h"

kvf_status_t kvfi_kv_plan_opts(const kvf_plan_opts_t *from, kvf_plan_opts_t *to)
{
    *to = (kvf_plan_opts_t){.struct_size = sizeof(*to)};
    if (from == NULL) {
        to->replica_count = 1;
        return KVF_OK;
    }
    kvf_status_t status = kvf_struct_read("plan: opts", from, sizeof(*to), to);
    if (status != KVF_OK)
        return status;
    if (to->reserved32 != 0 || to->reserved[0] != 0 || to->reserved[1] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "plan: reserved is not 0");
    if (to->replica_count == 0)
        to->replica_count = 1;
    if (to->replica >= to->replica_count)
        return kvfi_fail(KVF_ERR_INVALID, "plan: replica %u of replica_count %u", to->replica,
                         to->replica_count);
    return KVF_OK;
}

void kvfi_kv_reach_add(const kvf_layout_t *layout, const kvf_plan_opts_t *opts, kvfi_reach_t *reach)
{
    for (uint32_t g = 0; g < layout->desc.group_count; g++) {
        const kvf_group_t *group = &layout->desc.groups[g];

        if (group->heads_total > reach->heads)
            reach->heads = group->heads_total;
        for (uint32_t i = 0; i < group->layer_count && !reach->has_layer; i++)
            reach->has_layer = kvfi_kv_wants_layer(opts, group->layers[i]);
    }
}

kvf_status_t kvfi_kv_reach_check(const kvf_plan_opts_t *opts, const kvfi_reach_t *reach)
{
    uint64_t heads = (uint64_t)opts->first_head + (opts->heads == 0 ? 1 : opts->heads);

    if (opts->first_head + (uint64_t)opts->heads > 0 && heads > reach->heads)
        return kvfi_fail(KVF_ERR_INVALID, "plan: first_head %u and heads %u leave heads_total %u",
                         opts->first_head, opts->heads, reach->heads);
    if (!reach->has_layer)
        return kvfi_fail(KVF_ERR_INVALID, "plan: first_layer %u, layer_count %u: no layout has such a layer",
                         opts->first_layer, opts->layer_count);
    return KVF_OK;
}

bool kvfi_kv_wants_layer(const kvf_plan_opts_t *opts, uint32_t layer)
{
    return layer >= opts->first_layer &&
           (opts->layer_count == 0 || layer - opts->first_layer < opts->layer_count);
}

void kvfi_kv_wants_heads(const kvf_plan_opts_t *opts, uint32_t *first_p, uint32_t *count_p)
{
    uint64_t first = *first_p, end = first + *count_p;
    uint64_t most = opts->heads == 0 ? UINT64_MAX : (uint64_t)opts->first_head + opts->heads;

    first = first < opts->first_head ? opts->first_head : first;
    end = end > most ? most : end;
    *first_p = (uint32_t)first;
    *count_p = end > first ? (uint32_t)(end - first) : 0;
}

static kvf_status_t contradict(const kvfi_spec_t *spec, const kvfi_pick_t *pick, uint32_t layer,
                               const char *field, uint64_t src, uint64_t dst)
{
    return kvfi_fail(KVF_ERR_INVALID,
                     "plan: layer %u, plane %s: %s is %llu in group %u of the source, %llu in "
                     "group %u of the destination",
                     layer, kvf_plane_name(pick->src->kind), field, (unsigned long long)src, spec->src_group,
                     (unsigned long long)dst, spec->dst_group);
}

kvf_status_t kvfi_kv_agree(const kvfi_spec_t *spec, const kvfi_pick_t *pick, uint32_t layer)
{
    const kvf_group_t *s = spec->src, *d = spec->dst;

    if (s->heads_total != d->heads_total)
        return contradict(spec, pick, layer, "heads_total", s->heads_total, d->heads_total);
    if (s->tokens_per_state != d->tokens_per_state)
        return contradict(spec, pick, layer, "tokens_per_state", s->tokens_per_state, d->tokens_per_state);
    if (s->window != d->window)
        return contradict(spec, pick, layer, "window", s->window, d->window);
    if (pick->src->content != pick->dst->content)
        return contradict(spec, pick, layer, "content", pick->src->content, pick->dst->content);
    if (strcmp(pick->src->plane->element, pick->dst->plane->element) != 0)
        return kvfi_fail(KVF_ERR_INVALID,
                         "plan: layer %u, plane %s: element is %s in group %u of the source, %s in "
                         "group %u of the destination",
                         layer, kvf_plane_name(pick->src->kind), pick->src->plane->element, spec->src_group,
                         pick->dst->plane->element, spec->dst_group);
    return KVF_OK;
}

/* --------------------------------------------------------------- the object */

static kvf_status_t open_end(const kvf_layout_t *layout, kvfi_plan_end_t *end)
{
    end->segment_count = layout->desc.segment_count;
    end->group_count = layout->desc.group_count;
    end->groups = calloc(end->group_count, sizeof(*end->groups));
    end->segment_len = calloc(end->segment_count, sizeof(*end->segment_len));
    end->locals = kvfi_kv_seen_make(end->segment_count, sizeof(kvf_bind_local_t));
    end->remotes = kvfi_kv_seen_make(end->segment_count, sizeof(kvf_remote_t *));
    if (end->groups == NULL || end->segment_len == NULL || end->locals == NULL || end->remotes == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "plan: no memory for %u groups, %u segments", end->group_count,
                         end->segment_count);
    memcpy(end->segment_len, layout->desc.segment_len, end->segment_count * sizeof(*end->segment_len));
    for (uint32_t g = 0; g < end->group_count; g++) {
        const kvf_group_t *group = &layout->desc.groups[g];
        kvfi_cut_t cut = kvfi_kv_cut(group);

        end->groups[g] = (kvfi_plan_group_t){
            .block_tokens = group->block_tokens,
            .blocks = group->blocks,
            .span = kvfi_kv_cut_span(&cut) * group->tokens_per_state,
            .stride = (uint64_t)group->block_tokens * group->cp_ranks,
        };
    }
    return KVF_OK;
}

kvf_status_t kvfi_kv_plan_open(const kvf_layout_t *src, const kvf_layout_t *dst, kvf_plan_t **plan_p)
{
    kvf_plan_t *plan = calloc(1, sizeof(*plan));
    kvf_status_t status;

    if (plan == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "plan: no memory");
    status = open_end(src, &plan->src);
    if (status == KVF_OK)
        status = open_end(dst, &plan->dst);
    if (status != KVF_OK) {
        kvf_plan_destroy(plan);
        return status;
    }
    *plan_p = plan;
    return KVF_OK;
}

static uint32_t count_boxes(const kvfi_plan_part_t *part)
{
    uint32_t count = 0;

    for (uint32_t f = 0; f < part->pattern.form_count; f++) {
        for (uint32_t u = 0; u < part->unit_count; u++) {
            kvfi_boxes_t walk;
            kvfi_op_box_t box;

            kvfi_kv_boxes_start(&walk, &part->units[u], &part->pattern.forms[f].span);
            while (kvfi_kv_boxes_next(&walk, &box))
                count++;
        }
    }
    return count;
}

void kvfi_kv_ready_make(const kvfi_op_box_t *boxes, uint32_t count, kvfi_ready_t *ready, kvfi_sum_t *sum_p)
{
    kvfi_sum_t sum = {.piece_min = UINT64_MAX};

    for (uint32_t i = 0; i < count; i++) {
        const kvfi_op_box_t *b = &boxes[i];
        uint64_t pieces = (uint64_t)b->axes[0].count * b->axes[1].count;

        ready[i] = (kvfi_ready_t){
            .src = {b->src_off, b->src_block, {b->axes[0].src, b->axes[1].src}, b->src_segment},
            .dst = {b->dst_off, b->dst_block, {b->axes[0].dst, b->axes[1].dst}, b->dst_segment},
            .len = b->len,
            .count = {b->axes[0].count, b->axes[1].count},
        };
        sum.pieces += pieces;
        sum.bytes += pieces * b->len;
        sum.piece_min = b->len < sum.piece_min ? b->len : sum.piece_min;
        sum.piece_max = b->len > sum.piece_max ? b->len : sum.piece_max;
    }
    *sum_p = sum;
}

static kvf_status_t fill_boxes(kvfi_plan_part_t *part)
{
    uint32_t most = count_boxes(part), count = 0;
    kvfi_op_box_t *boxes = calloc(most, sizeof(*boxes));
    kvfi_ready_t *ready = calloc(most, sizeof(*ready));

    if (boxes == NULL || ready == NULL) {
        free(boxes);
        free(ready);
        return kvfi_fail(KVF_ERR_NOMEM, "plan: no memory for the boxes of %u units", part->unit_count);
    }
    for (uint32_t f = 0; f < part->pattern.form_count; f++) {
        kvfi_form_boxes_t *own = &part->form_boxes[f];
        uint32_t found = 0;

        for (uint32_t u = 0; u < part->unit_count; u++) {
            kvfi_boxes_t walk;

            kvfi_kv_boxes_start(&walk, &part->units[u], &part->pattern.forms[f].span);
            while (kvfi_kv_boxes_next(&walk, &boxes[found]))
                found++;
        }
        own->first = count;
        own->count = kvfi_kv_boxes_merge(boxes, found);
        kvfi_kv_ready_make(boxes, own->count, ready + count, &own->sum);
        count += own->count;
    }
    free(boxes);
    free(part->boxes);
    part->boxes = ready;
    return KVF_OK;
}

static void close_end(kvfi_plan_end_t *end)
{
    free(end->groups);
    free(end->segment_len);
    kvfi_kv_seen_free(end->locals);
    kvfi_kv_seen_free(end->remotes);
}

static void free_part(kvfi_plan_part_t *part)
{
    free(part->units);
    free(part->layers);
    free(part->form_boxes);
    free(part->boxes);
    kvfi_kv_pattern_free(&part->pattern);
}

/* Whether two units differ in where they lie only. */
static bool alike(const kvfi_unit_t *a, const kvfi_unit_t *b)
{
    bool same = a->src_block == b->src_block && a->dst_block == b->dst_block &&
                a->src_state == b->src_state && a->dst_state == b->dst_state && a->len == b->len;

    for (unsigned i = 0; i < KVFI_UNIT_AXES && same; i++)
        same =
            a->axes[i].count == b->axes[i].count &&
            (a->axes[i].count == 1 || (a->axes[i].src == b->axes[i].src && a->axes[i].dst == b->axes[i].dst));
    return same;
}

/* Add a spec's units to a part, whose boxes are then made anew. */
static kvf_status_t add_units(kvfi_plan_part_t *part, const kvfi_spec_t *spec)
{
    kvfi_unit_t *units, *all;
    uint32_t *layers, *ids, count, layer_count;
    kvf_status_t status = kvfi_kv_units_make(spec, &units, &count, &layers, &layer_count);

    if (status != KVF_OK)
        return status;
    all = realloc(part->units, (part->unit_count + count) * sizeof(*all));
    part->units = all != NULL ? all : part->units;
    ids = realloc(part->layers, (part->layer_count + layer_count) * sizeof(*ids));
    part->layers = ids != NULL ? ids : part->layers;
    if (all == NULL || ids == NULL) {
        status = kvfi_fail(KVF_ERR_NOMEM, "plan: no memory for %u units", part->unit_count + count);
        goto free_units;
    }
    memcpy(all + part->unit_count, units, count * sizeof(*all));
    memcpy(ids + part->layer_count, layers, layer_count * sizeof(*ids));
    for (uint32_t u = part->unit_count; u < part->unit_count + count; u++)
        all[u].layer_at += part->layer_count;
    part->unit_count += count;
    part->alike = true;
    for (uint32_t u = 1; u < part->unit_count; u++) {
        all[u].like_last = alike(&all[u - 1], &all[u]);
        part->alike = part->alike && all[u].like_last;
    }
    part->layer_count += layer_count;
    status = fill_boxes(part);
free_units:
    free(units);
    free(layers);
    return status;
}

static kvf_status_t new_part(kvf_plan_t *plan, const kvfi_spec_t *spec, kvfi_plan_part_t *part)
{
    kvfi_cut_t src = kvfi_kv_cut(spec->src), dst = kvfi_kv_cut(spec->dst);
    kvf_status_t status = kvfi_kv_pattern_make(&src, &dst, spec->replicas, spec->replica, &part->pattern);

    if (status != KVF_OK || part->pattern.meet_count == 0)
        return status;
    part->form_boxes = calloc(part->pattern.form_count, sizeof(*part->form_boxes));
    if (part->form_boxes == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "plan: no memory for %u forms", part->pattern.form_count);
    if (plan->part_count == plan->part_cap) {
        uint32_t cap = plan->part_cap == 0 ? 2 : 2 * plan->part_cap;
        kvfi_plan_part_t *more = realloc(plan->parts, cap * sizeof(*more));

        if (more == NULL)
            return kvfi_fail(KVF_ERR_NOMEM, "plan: no memory for %u parts", cap);
        plan->parts = more;
        plan->part_cap = cap;
    }
    return add_units(part, spec);
}

kvf_status_t kvfi_kv_plan_add(kvf_plan_t *plan, const kvfi_spec_t *spec)
{
    kvfi_plan_part_t part = {
        .src_group = spec->src_group,
        .dst_group = spec->dst_group,
        .replicas = spec->replicas,
        .replica = spec->replica,
        .tokens_per_state = spec->src->tokens_per_state,
        .window = spec->src->window,
    };
    kvf_status_t status;

    for (uint32_t i = 0; i < plan->part_count; i++) {
        kvfi_plan_part_t *p = &plan->parts[i];

        if (p->src_group == part.src_group && p->dst_group == part.dst_group &&
            p->replicas == part.replicas && p->replica == part.replica)
            return add_units(p, spec);
    }
    status = new_part(plan, spec, &part);
    if (status != KVF_OK || part.pattern.meet_count == 0) {
        free_part(&part);
        return status;
    }
    plan->parts[plan->part_count++] = part;
    return KVF_OK;
}

kvf_status_t kvf_plan_destroy(kvf_plan_t *plan)
{
    if (plan == NULL)
        return KVF_OK;
    for (uint32_t i = 0; i < plan->part_count; i++)
        free_part(&plan->parts[i]);
    free(plan->parts);
    close_end(&plan->src);
    close_end(&plan->dst);
    free(plan);
    return KVF_OK;
}

/* ----------------------------------------------------- one source, one plan */

/* What groups s and d have in common. Room for what can be. */
typedef struct common {
    kvfi_spec_t spec;
    kvfi_pick_t *picks;
    kvfi_layer_t *layers;
} common_t;

static void find_picks(const kvfi_kv_view_t *s, const kvfi_kv_view_t *d, common_t *c)
{
    for (uint32_t i = 0; i < d->part_count; i++) {
        for (uint32_t j = 0; j < s->part_count; j++) {
            if (s->parts[j].kind == d->parts[i].kind && s->parts[j].index == d->parts[i].index)
                c->picks[c->spec.pick_count++] = (kvfi_pick_t){&s->parts[j], &d->parts[i]};
        }
    }
}

static void find_layers(const kvfi_kv_view_t *s, const kvfi_kv_view_t *d, const kvf_plan_opts_t *opts,
                        common_t *c)
{
    const uint32_t *sl = c->spec.src->layers, *dl = c->spec.dst->layers;
    uint32_t i = 0, j = 0;

    while (i < c->spec.src->layer_count && j < c->spec.dst->layer_count) {
        uint32_t x = sl[s->order[i]], y = dl[d->order[j]];

        if (x == y && kvfi_kv_wants_layer(opts, x))
            c->layers[c->spec.layer_count++] = (kvfi_layer_t){s->order[i], d->order[j]};
        i += x <= y;
        j += y <= x;
    }
}

static void find_heads(const kvf_plan_opts_t *opts, kvfi_spec_t *spec)
{
    uint64_t first = spec->src->first_head, end = first + spec->src->heads;
    uint64_t more = spec->dst->first_head, last = more + spec->dst->heads;

    first = first > more ? first : more;
    end = end < last ? end : last;
    spec->first_head = (uint32_t)first;
    spec->heads = end > first ? (uint32_t)(end - first) : 0;
    kvfi_kv_wants_heads(opts, &spec->first_head, &spec->heads);
}

/* Add what two groups have in common. */
static kvf_status_t add_common(kvf_plan_t *plan, const kvf_layout_t *src, uint32_t sg,
                               const kvf_layout_t *dst, uint32_t dg, const kvf_plan_opts_t *opts)
{
    common_t c = {.spec = {.src = &src->desc.groups[sg],
                           .dst = &dst->desc.groups[dg],
                           .src_group = sg,
                           .dst_group = dg,
                           .replicas = opts->replica_count,
                           .replica = opts->replica}};
    const kvfi_kv_view_t *s = &src->views[sg], *d = &dst->views[dg];
    kvf_status_t status = KVF_OK;

    c.picks = calloc(d->part_count, sizeof(*c.picks));
    c.layers = calloc(c.spec.dst->layer_count, sizeof(*c.layers));
    if (c.picks == NULL || c.layers == NULL)
        status = kvfi_fail(KVF_ERR_NOMEM, "plan: no memory for group %u", dg);
    if (status == KVF_OK) {
        find_picks(s, d, &c);
        find_layers(s, d, opts, &c);
        find_heads(opts, &c.spec);
        c.spec.picks = c.picks;
        c.spec.layers = c.layers;
    }
    for (uint32_t i = 0; i < c.spec.pick_count && c.spec.layer_count > 0 && status == KVF_OK; i++)
        status = kvfi_kv_agree(&c.spec, &c.picks[i], c.spec.dst->layers[c.layers[0].dst]);
    if (status == KVF_OK && c.spec.pick_count > 0 && c.spec.layer_count > 0 && c.spec.heads > 0)
        status = kvfi_kv_plan_add(plan, &c.spec);
    free(c.picks);
    free(c.layers);
    return status;
}

/* Whether a layout holds a layer at all, and a plane of it. */
static bool holds(const kvf_layout_t *layout, uint32_t layer, const kvfi_kv_part_t *part, bool *layer_p)
{
    for (uint32_t g = 0; g < layout->desc.group_count; g++) {
        const kvf_group_t *group = &layout->desc.groups[g];
        const kvfi_kv_view_t *view = &layout->views[g];

        for (uint32_t i = 0; i < group->layer_count; i++) {
            if (group->layers[i] != layer)
                continue;
            *layer_p = true;
            for (uint32_t p = 0; p < view->part_count; p++) {
                if (view->parts[p].kind == part->kind && view->parts[p].index == part->index)
                    return true;
            }
        }
    }
    return false;
}

/* A layer that both hold must have the same planes: what one of them has alone would be lost. */
kvf_status_t kvfi_kv_planes_agree(const kvf_layout_t *one, const kvf_layout_t *other, const char *name,
                                  const kvf_plan_opts_t *opts)
{
    for (uint32_t g = 0; g < one->desc.group_count; g++) {
        const kvf_group_t *group = &one->desc.groups[g];

        for (uint32_t i = 0; i < group->layer_count; i++) {
            for (uint32_t p = 0; p < one->views[g].part_count; p++) {
                const kvfi_kv_part_t *part = &one->views[g].parts[p];
                bool there = false;

                if (kvfi_kv_wants_layer(opts, group->layers[i]) &&
                    !holds(other, group->layers[i], part, &there) && there)
                    return kvfi_fail(KVF_ERR_INVALID,
                                     "plan: layer %u has plane %s, index %u, at the %s only (group "
                                     "%u)",
                                     group->layers[i], kvf_plane_name(part->kind), part->index, name, g);
            }
        }
    }
    return KVF_OK;
}

kvf_status_t kvf_plan_create(const kvf_layout_t *src, const kvf_layout_t *dst, const kvf_plan_opts_t *opts,
                             kvf_plan_t **plan_p)
{
    kvf_plan_opts_t o;
    kvfi_reach_t reach = {0};
    kvf_plan_t *plan;
    kvf_status_t status;

    if (src == NULL || dst == NULL || plan_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "plan: %s is NULL",
                         src == NULL   ? "src"
                         : dst == NULL ? "dst"
                                       : "plan_p");
    status = kvfi_kv_plan_opts(opts, &o);
    kvfi_kv_reach_add(src, &o, &reach);
    kvfi_kv_reach_add(dst, &o, &reach);
    if (status == KVF_OK)
        status = kvfi_kv_reach_check(&o, &reach);
    if (status == KVF_OK)
        status = kvfi_kv_planes_agree(src, dst, "source", &o);
    if (status == KVF_OK)
        status = kvfi_kv_planes_agree(dst, src, "destination", &o);
    if (status == KVF_OK)
        status = kvfi_kv_plan_open(src, dst, &plan);
    if (status != KVF_OK)
        return status;
    for (uint32_t d = 0; d < dst->desc.group_count && status == KVF_OK; d++) {
        for (uint32_t s = 0; s < src->desc.group_count && status == KVF_OK; s++)
            status = add_common(plan, src, s, dst, d, &o);
    }
    if (status == KVF_OK && plan->part_count == 0)
        status = kvfi_fail(KVF_ERR_INVALID, "plan: source and destination have no wanted layer, head "
                                            "and token in common");
    if (status != KVF_OK) {
        kvf_plan_destroy(plan);
        return status;
    }
    *plan_p = plan;
    return KVF_OK;
}

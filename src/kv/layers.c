/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Some layers of a plan: which it carries, and its units cut down to those that a binding asks for.
 * A unit keeps its layers as an axis in the order of the source's memory, so that those wanted are
 * stretches of it; a stretch of a unit is a unit. Nothing here allocates or blocks.
 */
#include "kv/bind.h"

static bool wants(const kvfi_units_t *u, uint32_t layer)
{
    return layer >= u->first && layer <= u->last;
}

/* Steps first, first + step, ... of the axis of layers, count of them. */
static void cut_axis(kvfi_unit_t *unit, uint32_t first, uint32_t step, uint32_t count)
{
    kvfi_axis_t *axis = &unit->axes[KVFI_UNIT_LAYERS];

    unit->src_off += first * (uint64_t)axis->src;
    unit->dst_off += first * (uint64_t)axis->dst;
    unit->like_last = false;
    axis->src *= step;
    axis->dst *= step;
    axis->count = count;
}

kvfi_units_t kvfi_kv_units_of(const kvfi_plan_part_t *part, const kvf_bind_t *bind)
{
    uint64_t last = (uint64_t)bind->first_layer + bind->layer_count - 1;

    return (kvfi_units_t){
        .part = part,
        .first = bind->first_layer,
        .last = bind->layer_count == 0 || last > UINT32_MAX ? UINT32_MAX : (uint32_t)last,
    };
}

bool kvfi_kv_units_next(kvfi_units_t *u, kvfi_unit_t *unit_p)
{
    for (; u->unit < u->part->unit_count; u->unit++, u->place = 0) {
        const kvfi_unit_t *unit = &u->part->units[u->unit];
        const uint32_t *ids = u->part->layers + unit->layer_at;
        uint32_t end = unit->axes[KVFI_UNIT_LAYERS].count, first = u->place;
        uint32_t last, step = 0, count = 1;

        while (first < end && !wants(u, ids[first]))
            first++;
        if (first == end)
            continue;
        last = first;
        for (uint32_t at = first + 1; at < end && (count == 1 || at <= last + step); at++) {
            if (!wants(u, ids[at]) || (count > 1 && at != last + step))
                continue;
            step = at - last;
            last = at;
            count++;
        }
        u->place = last + 1;
        *unit_p = *unit;
        cut_axis(unit_p, first, step, count);
        return true;
    }
    return false;
}

bool kvfi_kv_part_has(const kvfi_plan_part_t *part, const kvf_bind_t *bind)
{
    kvfi_units_t units = kvfi_kv_units_of(part, bind);

    for (uint32_t i = 0; i < part->layer_count; i++) {
        if (wants(&units, part->layers[i]))
            return true;
    }
    return false;
}

/* The lowest layer from least on, UINT64_MAX if there is none. */
static uint64_t next_layer(const kvf_plan_t *plan, uint64_t least)
{
    uint64_t next = UINT64_MAX;

    for (uint32_t p = 0; p < plan->part_count; p++) {
        for (uint32_t i = 0; i < plan->parts[p].layer_count; i++) {
            uint32_t layer = plan->parts[p].layers[i];

            if (layer >= least && layer < next)
                next = layer;
        }
    }
    return next;
}

kvf_status_t kvf_plan_layers(const kvf_plan_t *plan, uint32_t *layers, uint32_t *count_p)
{
    uint32_t room, count = 0;

    if (plan == NULL || count_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "layers: %s is NULL", plan == NULL ? "plan" : "count_p");
    room = layers != NULL ? *count_p : 0;
    for (uint64_t at = next_layer(plan, 0); at != UINT64_MAX; at = next_layer(plan, at + 1)) {
        if (count < room)
            layers[count] = (uint32_t)at;
        count++;
    }
    *count_p = count;
    if (layers != NULL && count > room)
        return kvfi_fail(KVF_ERR_SPACE, "layers: the plan carries %u, the array holds %u", count, room);
    return KVF_OK;
}

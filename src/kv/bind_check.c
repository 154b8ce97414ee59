/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether a binding makes sense: struct, flags and tables, before bind.c walks it. bind_slots.c looks
 * at where the segments lie. What a table must hold for a range is bind.c's matter, and what an id
 * may be that of post, unless bind.c writes it.
 */
#include "kv/bind.h"

static kvf_status_t check_table(const kvf_bind_t *bind, const char *side, uint32_t g,
                                const kvf_bind_table_t *t)
{
    const char *bad = NULL;

    if (t->reserved32 != 0 || t->reserved[0] != 0 || t->reserved[1] != 0)
        bad = "reserved is not 0";
    else if ((t->flags & ~KVF_TABLE_NULL) != 0)
        bad = "flags are unknown";
    else if (t->gens != NULL && side[0] == 'd')
        bad = "gens are the source's";
    else if (t->gens != NULL && bind->dir != KVF_READ)
        bad = "gens with KVF_WRITE";
    else if (t->gens != NULL && t->ids == NULL)
        bad = "gens without ids"; /* it guards the block of that id, so the op must carry the id */
    else if (t->block_status != NULL && side[0] == 's')
        bad = "block_status is the destination's";
    if (bad != NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: %s_tables[%u]: %s", side, g, bad);
    return KVF_OK;
}

__attribute__((hot)) static kvf_status_t check_tables(const kvf_bind_t *bind, const char *side,
                                                      const kvfi_plan_end_t *end,
                                                      const kvf_bind_table_t *tables, uint32_t count)
{
    kvf_status_t status = KVF_OK;

    if (tables == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: %s_tables is NULL", side);
    if (count != end->group_count && count != 1)
        return kvfi_fail(KVF_ERR_INVALID, "bind: %s_table_count is %u, the layout has %u group%s", side,
                         count, end->group_count, end->group_count == 1 ? "" : "s");
    for (uint32_t g = 1; count == 1 && g < end->group_count; g++) {
        if (end->groups[g].block_tokens != end->groups[0].block_tokens ||
            end->groups[g].span != end->groups[0].span)
            return kvfi_fail(KVF_ERR_INVALID,
                             "bind: %s_table_count is 1, but groups 0 and %u have block_tokens %u "
                             "and %u, or deal tokens otherwise",
                             side, g, end->groups[0].block_tokens, end->groups[g].block_tokens);
    }
    for (uint32_t g = 0; g < count && status == KVF_OK; g++)
        status = check_table(bind, side, g, &tables[g]);
    return status;
}

static bool has_layer(const kvf_plan_t *plan, const kvf_bind_t *bind)
{
    for (uint32_t i = 0; i < plan->part_count; i++) {
        if (kvfi_kv_part_has(&plan->parts[i], bind))
            return true;
    }
    return false;
}

__attribute__((hot)) kvf_status_t kvfi_kv_bind_check(const kvf_plan_t *plan, const kvf_bind_t **bind_p,
                                                     kvf_bind_t *copy_p)
{
    const kvf_bind_t *bind = *bind_p;
    kvf_status_t status;

    if (plan == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: plan is NULL");
    if (bind == NULL || bind->struct_size != sizeof(*bind)) {
        status = kvf_struct_read("bind: bind", bind, sizeof(*copy_p), copy_p);
        if (status != KVF_OK)
            return status;
        *bind_p = bind = copy_p;
    }
    if ((bind->flags & ~(KVF_BIND_WINDOW | KVF_BIND_KEEP)) != 0)
        return kvfi_fail(KVF_ERR_INVALID, "bind: flags 0x%x are unknown", bind->flags);
    if ((bind->flags & KVF_BIND_KEEP) != 0 && bind->pair_status != NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: pair_status is set with KVF_BIND_KEEP");
    if (bind->dir != KVF_READ && bind->dir != KVF_WRITE)
        return kvfi_fail(KVF_ERR_INVALID, "bind: dir %u is unknown", bind->dir);
    if (bind->first_token > INT64_MAX || bind->tokens > INT64_MAX - bind->first_token)
        return kvfi_fail(KVF_ERR_INVALID, "bind: first_token and tokens overflow 63 bits");
    if ((bind->reserved32 | bind->reserved[0]) != 0)
        return kvfi_fail(KVF_ERR_INVALID, "bind: reserved is not 0");
    if (kvfi_kv_some_layers(bind) && !has_layer(plan, bind))
        return kvfi_fail(KVF_ERR_INVALID,
                         "bind: first_layer %u, layer_count %u: the plan carries no such layer",
                         bind->first_layer, bind->layer_count);
    status = check_tables(bind, "src", &plan->src, bind->src_tables, bind->src_table_count);
    if (status == KVF_OK)
        status = check_tables(bind, "dst", &plan->dst, bind->dst_tables, bind->dst_table_count);
    return status;
}

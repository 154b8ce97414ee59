/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Lists of block pairs, one end at a time: a stretch of the caller's table where list and table run
 * side by side, else ids written out, and checked while they are. Nothing else looks at an id.
 */
#include "kv/bind.h"

static uint32_t entry_of(const kvfi_meet_t *meet, const kvfi_end_t *e)
{
    return e->is_source ? meet->src_entry : meet->dst_entry;
}

__attribute__((hot)) void kvfi_kv_whole_periods(const kvfi_meet_t *meet, uint64_t period, uint64_t from,
                                                uint64_t to, uint64_t *low_p, uint64_t *high_p)
{
    uint64_t low = from > meet->from ? (from - meet->from + period - 1) / period : 0;
    uint64_t high = to >= meet->to ? (to - meet->to) / period + 1 : 0;

    *low_p = low;
    *high_p = high > low ? high : low;
}

static kvf_status_t need_entries(const kvfi_end_t *e, uint64_t low, uint64_t high)
{
    uint64_t count = e->table->count;

    if (low < e->first || high - e->first >= count)
        return kvfi_fail(KVF_ERR_BOUNDS,
                         "bind: %s group %u: the range needs blocks %llu to %llu of the request, "
                         "the table holds %llu from %llu on",
                         e->name, e->index, (unsigned long long)low, (unsigned long long)high,
                         (unsigned long long)count, (unsigned long long)e->first);
    if (e->table->ids == NULL && high - e->first >= e->group->blocks)
        return kvfi_fail(KVF_ERR_BOUNDS,
                         "bind: %s group %u: ids is NULL and the range needs entry %llu of %u "
                         "blocks",
                         e->name, e->index, (unsigned long long)(high - e->first), e->group->blocks);
    return KVF_OK;
}

/* Lowest and highest block of the request in a list. */
static void find_ends(const kvfi_places_t *p, const kvfi_end_t *e, uint64_t *low_p, uint64_t *high_p)
{
    uint64_t low = UINT64_MAX, high = 0;

    for (uint32_t m = 0; m < p->meet_count; m++) {
        uint64_t from = p->low, to = p->high, at = entry_of(&p->meets[m], e);

        if (p->meet_count > 1)
            kvfi_kv_whole_periods(&p->meets[m], p->period, p->from, p->to, &from, &to);
        if (from == to)
            continue;
        low = from * e->entries + at < low ? from * e->entries + at : low;
        high = (to - 1) * e->entries + at > high ? (to - 1) * e->entries + at : high;
    }
    *low_p = low;
    *high_p = high;
}

static kvf_status_t bad_id(const kvfi_end_t *e, uint64_t entry, uint32_t id)
{
    return kvfi_fail(KVF_ERR_BOUNDS, "bind: %s group %u: ids[%llu] is %u, the capacity is %u", e->name,
                     e->index, (unsigned long long)entry, id, e->group->blocks);
}

kvfi_drop_t kvfi_kv_drop(const kvfi_end_t *e, uint64_t entry)
{
    const kvf_bind_table_t *t = e->table;
    uint32_t id = t->ids != NULL ? t->ids[entry] : (uint32_t)entry;

    if (t->skip != NULL && t->skip[entry] != 0)
        return KVFI_DROP_SKIP;
    return id == KVF_SKIP || ((t->flags & KVF_TABLE_NULL) != 0 && id == t->null_id) ? KVFI_DROP_ID
                                                                                    : KVFI_DROP_NOT;
}

static inline uint32_t id_of(const kvfi_end_t *e, uint64_t entry)
{
    const kvf_bind_table_t *t = e->table;
    uint32_t id = t->ids != NULL ? t->ids[entry] : (uint32_t)entry;

    if (e->remade &&
        ((t->skip != NULL && t->skip[entry] != 0) || ((t->flags & KVF_TABLE_NULL) != 0 && id == t->null_id)))
        return KVF_SKIP;
    return id;
}

static inline bool fits(const kvfi_end_t *e, uint32_t id)
{
    return id < e->group->blocks || id == KVF_SKIP;
}

/* A list of one meet: every step-th entry. */
static kvf_status_t write_even(const kvfi_end_t *e, uint64_t first, uint64_t count, uint32_t *ids,
                               uint32_t *gens)
{
    const kvf_bind_table_t *t = e->table;
    uint64_t step = e->entries;
    uint32_t blocks = e->group->blocks, bad = 0;

    if (t->ids != NULL && !e->remade) {
        const uint32_t *from = t->ids + first;

        for (uint64_t k = 0; k < count; k++) {
            uint32_t id = from[k * step];

            ids[k] = id;
            bad |= (uint32_t)(id >= blocks) & (uint32_t)(id != KVF_SKIP);
        }
    } else {
        for (uint64_t k = 0; k < count; k++) {
            ids[k] = id_of(e, first + k * step);
            bad |= !fits(e, ids[k]);
        }
    }
    for (uint64_t k = 0; gens != NULL && k < count; k++)
        gens[k] = t->gens[first + k * step];
    for (uint64_t k = 0; bad != 0; k++) {
        if (!fits(e, ids[k]))
            return bad_id(e, first + k * step, ids[k]);
    }
    return KVF_OK;
}

uint64_t kvfi_kv_place_block(const kvfi_places_t *p, uint32_t m, uint64_t q, const kvfi_end_t *e)
{
    return q * e->entries + entry_of(&p->meets[m], e);
}

bool kvfi_kv_place_wanted(const kvfi_places_t *p, uint32_t m, uint64_t q)
{
    return p->meet_count == 1 ||
           (q * p->period + p->meets[m].from >= p->from && q * p->period + p->meets[m].to <= p->to);
}

/* Write out the ids of a list, and the generations if gens is there. */
static kvf_status_t write_list(const kvfi_places_t *p, const kvfi_end_t *e, uint32_t *ids, uint32_t *gens)
{
    uint64_t at = 0;

    if (p->meet_count == 1)
        return write_even(e, p->low * e->entries + entry_of(p->meets, e) - e->first, p->count, ids, gens);
    for (uint64_t q = p->low; q < p->high; q++) {
        for (uint32_t m = 0; m < p->meet_count; m++) {
            uint64_t entry = kvfi_kv_place_block(p, m, q, e) - e->first;

            if (!kvfi_kv_place_wanted(p, m, q))
                continue;
            if (gens != NULL)
                gens[at] = e->table->gens[entry];
            ids[at] = id_of(e, entry);
            if (!fits(e, ids[at]))
                return bad_id(e, entry, ids[at]);
            at++;
        }
    }
    return KVF_OK;
}

/* Room in the caller's ids; NULL when it is only counted, or too short. */
static uint32_t *take_ids(kvfi_ids_t *ids, uint64_t count)
{
    uint64_t at = ids->used;

    ids->used += count;
    return ids->ids != NULL && ids->used <= ids->room ? ids->ids + at : NULL;
}

__attribute__((hot)) kvf_status_t kvfi_kv_list_make(kvfi_ids_t *room, const kvfi_places_t *p,
                                                    const kvfi_end_t *e, kvfi_list_t *list_p)
{
    const kvf_bind_table_t *t = e->table;
    bool straight = p->count == 1 || (p->meet_count == 1 && e->entries == 1);
    uint32_t *ids = NULL, *gens = NULL;
    uint64_t low, high;
    kvf_status_t status;

    find_ends(p, e, &low, &high);
    status = need_entries(e, low, high);
    if (status != KVF_OK)
        return status;
    *list_p = (kvfi_list_t){.entry = low - e->first};
    if (straight) {
        list_p->ids = t->ids != NULL ? t->ids + list_p->entry : NULL;
        list_p->gens = t->gens != NULL ? t->gens + list_p->entry : NULL;
        list_p->status = e->status != NULL ? e->status + list_p->entry : NULL;
        if (!e->remade)
            return KVF_OK;
    } else if (e->status != NULL) {
        return kvfi_fail(KVF_ERR_UNSUPPORTED,
                         "bind: dst_tables[%u]: block_status needs equal block_tokens, no replicas "
                         "and no dealt tokens, or pair_status",
                         e->index);
    }
    ids = take_ids(room, p->count);
    if (t->gens != NULL && !straight)
        gens = take_ids(room, p->count);
    if (ids == NULL || (gens == NULL && t->gens != NULL && !straight))
        return KVF_OK;
    list_p->ids = ids;
    if (gens != NULL)
        list_p->gens = gens;
    return write_list(p, e, ids, gens);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Binding a plan to a request: turns a token range and block tables into ops. Of each form of a
 * part's pattern the places inside the range are one list of block pairs, and each box of the form
 * one op over that list; a place that an end of the range cuts gives ops of its own. A list is a
 * stretch of the caller's table where the two run side by side, else it is written out, checked, to
 * the caller's ids. Allocates nothing, blocks on nothing; measuring runs the same walk and only
 * counts. The checks of the arguments are in bind_check.c.
 */
#include <string.h>

#include "kv/bind.h"

#define FEW 16

/* One end of a binding, for one part. */
typedef struct end {
    const char *name;
    const kvf_bind_table_t *table;
    const kvfi_plan_group_t *group;
    uint32_t index;   /* of the group */
    uint32_t entries; /* blocks in a period */
    uint64_t first;   /* block of the request in entry 0 of the table */
    bool remade;      /* the table's ids mean more than ids */
} end_t;

/* Places of one form: of each meet those in periods [low, high) that lie within the range. */
typedef struct places {
    const kvfi_meet_t *meets;
    uint32_t meet_count;
    uint64_t low, high;
    uint64_t from, to; /* states wanted */
    uint64_t period;
    uint64_t count;
} places_t;

/* One end's side of a list of pairs. */
typedef struct side {
    const uint32_t *ids; /* NULL: counted from entry on */
    uint64_t entry;
    const uint32_t *gens;
    int8_t *status;
} side_t;

typedef struct sink {
    const kvf_plan_t *plan;
    const kvf_bind_t *bind;
    kvf_op_t *ops; /* NULL: measure only */
    size_t op_size, op_room;
    uint32_t *ids;
    size_t id_room;
    end_t src, dst;
    kvf_plan_size_t size;
} sink_t;

/* ------------------------------------------------------------------- lists */

static uint32_t entry_of(const kvfi_meet_t *meet, bool src)
{
    return src ? meet->src_entry : meet->dst_entry;
}

/* Periods in which a meet lies whole within [from, to): [*low_p, *high_p), low <= high. */
static void whole_periods(const kvfi_meet_t *meet, uint64_t period, uint64_t from, uint64_t to,
                          uint64_t *low_p, uint64_t *high_p)
{
    uint64_t low = from > meet->from ? (from - meet->from + period - 1) / period : 0;
    uint64_t high = to >= meet->to ? (to - meet->to) / period + 1 : 0;

    *low_p = low;
    *high_p = high > low ? high : low;
}

static kvf_status_t need_entries(const end_t *e, uint64_t low, uint64_t high)
{
    uint64_t count = e->table->count;

    if (low < e->first || high - e->first >= count)
        return kvfi_fail(KVF_ERR_BOUNDS,
                         "bind: %s group %u: the range needs blocks %llu to %llu of the request, the "
                         "table holds %llu from %llu on",
                         e->name, e->index, (unsigned long long)low, (unsigned long long)high,
                         (unsigned long long)count, (unsigned long long)e->first);
    if (e->table->ids == NULL && high - e->first >= e->group->blocks)
        return kvfi_fail(KVF_ERR_BOUNDS,
                         "bind: %s group %u: ids is NULL and the range needs entry %llu of %u blocks",
                         e->name, e->index, (unsigned long long)(high - e->first),
                         e->group->blocks);
    return KVF_OK;
}

/* Lowest and highest block of the request in a list. */
static void find_ends(const places_t *p, const end_t *e, bool src, uint64_t *low_p, uint64_t *high_p)
{
    uint64_t low = UINT64_MAX, high = 0;

    for (uint32_t m = 0; m < p->meet_count; m++) {
        uint64_t from = p->low, to = p->high, at = entry_of(&p->meets[m], src);

        if (p->meet_count > 1)
            whole_periods(&p->meets[m], p->period, p->from, p->to, &from, &to);
        if (from == to)
            continue;
        low = from * e->entries + at < low ? from * e->entries + at : low;
        high = (to - 1) * e->entries + at > high ? (to - 1) * e->entries + at : high;
    }
    *low_p = low;
    *high_p = high;
}

static kvf_status_t write_id(const end_t *e, uint64_t entry, uint32_t *id_p)
{
    const kvf_bind_table_t *t = e->table;
    uint32_t id = t->ids != NULL ? t->ids[entry] : (uint32_t)entry;

    if ((t->skip != NULL && t->skip[entry] != 0) ||
        ((t->flags & KVF_TABLE_NULL) != 0 && id == t->null_id))
        id = KVF_SKIP;
    if (id >= e->group->blocks && id != KVF_SKIP)
        return kvfi_fail(KVF_ERR_BOUNDS, "bind: %s group %u: ids[%llu] is %u, the capacity is %u",
                         e->name, e->index, (unsigned long long)entry, id, e->group->blocks);
    *id_p = id;
    return KVF_OK;
}

/* Write out the ids of a list, and the generations if gens is there. */
static kvf_status_t write_list(const places_t *p, const end_t *e, bool src, uint32_t *ids,
                               uint32_t *gens)
{
    kvf_status_t status = KVF_OK;
    uint64_t at = 0;

    for (uint64_t q = p->low; q < p->high; q++) {
        for (uint32_t m = 0; m < p->meet_count; m++) {
            const kvfi_meet_t *meet = &p->meets[m];
            uint64_t entry = q * e->entries + entry_of(meet, src) - e->first;

            if (p->meet_count > 1 &&
                (q * p->period + meet->from < p->from || q * p->period + meet->to > p->to))
                continue;
            if (gens != NULL)
                gens[at] = e->table->gens[entry];
            status = write_id(e, entry, &ids[at++]);
            if (status != KVF_OK)
                return status;
        }
    }
    return status;
}

/* Room in the caller's ids; NULL when it is only counted, or too short. */
static uint32_t *take_ids(sink_t *s, uint64_t count)
{
    uint64_t at = s->size.ids;

    s->size.ids += count;
    return s->ids != NULL && s->size.ids <= s->id_room ? s->ids + at : NULL;
}

static kvf_status_t take_side(sink_t *s, const places_t *p, bool src, side_t *side_p)
{
    const end_t *e = src ? &s->src : &s->dst;
    const kvf_bind_table_t *t = e->table;
    bool straight = p->count == 1 || (p->meet_count == 1 && e->entries == 1);
    uint32_t *ids = NULL, *gens = NULL;
    uint64_t low, high;
    kvf_status_t status;

    find_ends(p, e, src, &low, &high);
    status = need_entries(e, low, high);
    if (status != KVF_OK)
        return status;
    *side_p = (side_t){.entry = low - e->first};
    if (straight) {
        side_p->ids = t->ids != NULL ? t->ids + side_p->entry : NULL;
        side_p->gens = t->gens != NULL ? t->gens + side_p->entry : NULL;
        side_p->status = t->block_status != NULL ? t->block_status + side_p->entry : NULL;
        if (!e->remade)
            return KVF_OK;
    } else if (t->block_status != NULL) {
        return kvfi_fail(KVF_ERR_UNSUPPORTED,
                         "bind: dst_tables[%u]: block_status needs equal block_tokens, no replicas "
                         "and no dealt tokens",
                         e->index);
    }
    ids = take_ids(s, p->count);
    if (t->gens != NULL && !straight)
        gens = take_ids(s, p->count);
    if (ids == NULL || (gens == NULL && t->gens != NULL && !straight))
        return KVF_OK;
    side_p->ids = ids;
    if (gens != NULL)
        side_p->gens = gens;
    return write_list(p, e, src, ids, gens);
}

/* --------------------------------------------------------------------- ops */

static kvf_status_t handles(const kvf_bind_t *bind, const kvfi_op_box_t *box, kvf_op_t *op)
{
    bool read = bind->dir == KVF_READ;
    uint32_t local = read ? box->dst_segment : box->src_segment;
    uint32_t remote = read ? box->src_segment : box->dst_segment;

    op->segment = bind->segments[local];
    op->remote = bind->remotes[remote];
    if (op->segment == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: segments[%u] is NULL", local);
    if (op->remote == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: remotes[%u] is NULL", remote);
    return KVF_OK;
}

static void fill_op(const sink_t *s, const kvfi_op_box_t *box, const side_t *src,
                    const side_t *dst, uint32_t pairs, kvf_op_t *op)
{
    bool read = s->bind->dir == KVF_READ;
    uint64_t src_off = box->src_off + (src->ids == NULL ? src->entry * box->src_block : 0);
    uint64_t dst_off = box->dst_off + (dst->ids == NULL ? dst->entry * box->dst_block : 0);
    uint32_t src_cap = s->src.group->blocks - (src->ids == NULL ? (uint32_t)src->entry : 0);
    uint32_t dst_cap = s->dst.group->blocks - (dst->ids == NULL ? (uint32_t)dst->entry : 0);

    op->local_off = read ? dst_off : src_off;
    op->remote_off = read ? src_off : dst_off;
    op->len = box->len;
    for (unsigned i = 0; i < 2; i++) {
        op->count[i] = box->axes[i].count;
        op->local_stride[i] = read ? box->axes[i].dst : box->axes[i].src;
        op->remote_stride[i] = read ? box->axes[i].src : box->axes[i].dst;
    }
    op->blocks = pairs;
    op->dir = s->bind->dir;
    op->local_ids = read ? dst->ids : src->ids;
    op->remote_ids = read ? src->ids : dst->ids;
    op->local_cap = read ? dst_cap : src_cap;
    op->remote_cap = read ? src_cap : dst_cap;
    op->local_block = read ? box->dst_block : box->src_block;
    op->remote_block = read ? box->src_block : box->dst_block;
    op->remote_gens = src->gens;
    op->block_status = dst->status;
}

/* Write an op as the caller knows the struct: what a shorter one leaves out must be 0. */
static kvf_status_t store_short(const sink_t *s, const kvf_op_t *op, char *to)
{
    const char *from = (const char *)op;

    for (size_t i = s->op_size; i < sizeof(*op); i++) {
        if (from[i] != 0)
            return kvfi_fail(KVF_ERR_UNSUPPORTED,
                             "bind: op_size %zu leaves out byte %zu of an op, which must be set",
                             s->op_size, i);
    }
    memcpy(to, from, s->op_size);
    return KVF_OK;
}

static kvf_status_t put_op(sink_t *s, const kvfi_op_box_t *box, const side_t *src,
                           const side_t *dst, uint32_t pairs)
{
    char *to = (char *)s->ops + s->size.ops * s->op_size;
    kvf_op_t op = {0};
    kvf_status_t status = handles(s->bind, box, &op);

    if (status != KVF_OK)
        return status;
    fill_op(s, box, src, dst, pairs, &op);
    if (s->op_size < sizeof(op))
        return store_short(s, &op, to);
    memcpy(to, &op, sizeof(op));
    if (s->op_size > sizeof(op))
        memset(to + sizeof(op), 0, s->op_size - sizeof(op));
    return KVF_OK;
}

static kvf_status_t put_box(sink_t *s, const kvfi_op_box_t *box, const side_t *src,
                            const side_t *dst, uint64_t pairs)
{
    uint64_t pieces = (uint64_t)box->axes[0].count * box->axes[1].count * pairs;

    if (s->ops != NULL && s->size.ops < s->op_room) {
        kvf_status_t status = put_op(s, box, src, dst, (uint32_t)pairs);

        if (status != KVF_OK)
            return status;
    }
    if (s->size.ops == 0 || box->len < s->size.piece_min)
        s->size.piece_min = box->len;
    if (box->len > s->size.piece_max)
        s->size.piece_max = box->len;
    s->size.ops++;
    s->size.pieces += pieces;
    s->size.bytes += pieces * box->len;
    return KVF_OK;
}

/* ------------------------------------------------------------------- forms */

static kvf_status_t put_whole(sink_t *s, const kvfi_plan_part_t *part, uint32_t f, uint64_t from,
                              uint64_t to)
{
    const kvfi_form_t *form = &part->pattern.forms[f];
    const kvfi_form_boxes_t *boxes = &part->form_boxes[f];
    places_t p = {.meets = part->pattern.meets + form->first,
                  .meet_count = form->count,
                  .low = UINT64_MAX,
                  .from = from,
                  .to = to,
                  .period = part->pattern.period};
    side_t src, dst;
    kvf_status_t status;

    for (uint32_t m = 0; m < form->count; m++) {
        uint64_t low, high;

        whole_periods(&p.meets[m], p.period, from, to, &low, &high);
        if (low == high)
            continue;
        p.count += high - low;
        p.low = low < p.low ? low : p.low;
        p.high = high > p.high ? high : p.high;
    }
    if (p.count == 0)
        return KVF_OK;
    status = take_side(s, &p, true, &src);
    if (status == KVF_OK)
        status = take_side(s, &p, false, &dst);
    if (status == KVF_OK && p.count > UINT32_MAX)
        status = kvfi_fail(KVF_ERR_BOUNDS, "bind: %llu pairs of blocks do not fit in an op",
                           (unsigned long long)p.count);
    s->size.pairs += p.count;
    for (uint32_t i = 0; i < boxes->count && status == KVF_OK; i++)
        status = put_box(s, &part->boxes[boxes->first + i], &src, &dst, p.count);
    return status;
}

/* One pair of blocks: few boxes are merged first, many are put as they come. */
static kvf_status_t put_span(sink_t *s, const kvfi_plan_part_t *part, const kvfi_span_t *span,
                             const side_t *src, const side_t *dst)
{
    kvfi_op_box_t few[FEW];
    uint32_t count = 0;
    kvf_status_t status = KVF_OK;

    for (uint32_t u = 0; u < part->unit_count; u++) {
        kvfi_boxes_t boxes;
        kvfi_op_box_t box;

        kvfi_kv_boxes_start(&boxes, &part->units[u], span);
        while (status == KVF_OK && kvfi_kv_boxes_next(&boxes, &box)) {
            if (count == FEW) {
                status = put_box(s, &few[0], src, dst, 1);
                few[0] = few[--count];
            }
            few[count++] = box;
        }
    }
    count = kvfi_kv_boxes_merge(few, count);
    for (uint32_t i = 0; i < count && status == KVF_OK; i++)
        status = put_box(s, &few[i], src, dst, 1);
    return status;
}

/* Runs [from, from + count) of a span, cut to states [skip, skip + len) of each. */
static kvfi_span_t sub_span(const kvfi_span_t *span, uint64_t from, uint64_t count, uint64_t skip,
                            uint64_t len)
{
    kvfi_span_t sub = *span;

    sub.src_state += (uint32_t)(from * span->src_step + skip);
    sub.dst_state += (uint32_t)(from * span->dst_step + skip);
    sub.count = (uint32_t)count;
    sub.len = (uint32_t)len;
    return sub;
}

/* The part of a span in [from, to), states from the span's first one on, which cuts it: up to one
 * run that begins before, whole runs, up to one that ends after. */
static kvf_status_t put_cut_span(sink_t *s, const kvfi_plan_part_t *part, const kvfi_span_t *span,
                                 uint64_t from, uint64_t to, const side_t *src, const side_t *dst)
{
    uint64_t step = span->count > 1 ? span->step : span->len;
    kvf_status_t status = KVF_OK;
    uint64_t run = 0;

    while (run < span->count && run * step + span->len <= from)
        run++;
    while (run < span->count && run * step < to && status == KVF_OK) {
        uint64_t begin = run * step, skip = from > begin ? from - begin : 0;
        uint64_t end = to < begin + span->len ? to - begin : span->len, whole = 1;

        if (skip == 0 && end == span->len)
            while (run + whole < span->count && (run + whole) * step + span->len <= to)
                whole++;
        kvfi_span_t sub = sub_span(span, run, whole, skip, end - skip);

        status = put_span(s, part, &sub, src, dst);
        run += whole;
    }
    return status;
}

/* Whether [from, to), from a span's first state on, has a state of it. */
static bool touches(const kvfi_span_t *span, uint64_t from, uint64_t to)
{
    uint64_t step = span->count > 1 ? span->step : span->len;
    uint64_t run = from < span->len ? 0 : (from - span->len) / step + 1;

    return run < span->count && run * step < to;
}

/* A meet in period q, which an end of the range cuts. */
static kvf_status_t put_cut(sink_t *s, const kvfi_plan_part_t *part, const kvfi_form_t *form,
                            const kvfi_meet_t *meet, uint64_t q, uint64_t from, uint64_t to)
{
    places_t p = {.meets = meet,
                  .meet_count = 1,
                  .low = q,
                  .high = q + 1,
                  .period = part->pattern.period,
                  .count = 1};
    uint64_t begin = q * p.period + meet->from;
    side_t src, dst;
    kvf_status_t status;

    from = from > begin ? from - begin : 0;
    to -= begin;
    if (!touches(&form->span, from, to))
        return KVF_OK;
    status = take_side(s, &p, true, &src);
    if (status == KVF_OK)
        status = take_side(s, &p, false, &dst);
    if (status != KVF_OK)
        return status;
    s->size.pairs++;
    return put_cut_span(s, part, &form->span, from, to, &src, &dst);
}

/* The places of a form that the range cuts: around its first state, and around its last. */
static kvf_status_t put_cuts(sink_t *s, const kvfi_plan_part_t *part, const kvfi_form_t *form,
                             uint64_t from, uint64_t to)
{
    uint64_t period = part->pattern.period;
    kvf_status_t status = KVF_OK;

    for (uint32_t m = form->first; m < form->first + form->count && status == KVF_OK; m++) {
        const kvfi_meet_t *meet = &part->pattern.meets[m];
        uint64_t q = from > meet->from ? (from - meet->from) / period : 0;
        uint64_t r = to > meet->from ? (to - meet->from - 1) / period : 0;
        bool head = from > meet->from && q * period + meet->from < from &&
                    q * period + meet->to > from;
        bool tail = to > meet->from && r * period + meet->to > to;

        if (head)
            status = put_cut(s, part, form, meet, q, from, to);
        if (tail && status == KVF_OK && !(head && q == r))
            status = put_cut(s, part, form, meet, r, from, to);
    }
    return status;
}

/* ------------------------------------------------------------------- parts */

static kvf_status_t open_end(const kvfi_plan_end_t *plan, const kvf_bind_table_t *tables,
                             uint32_t count, uint32_t g, end_t *e)
{
    e->table = &tables[count == 1 ? 0 : g];
    e->group = &plan->groups[g];
    e->index = g;
    e->remade = e->table->skip != NULL || (e->table->flags & KVF_TABLE_NULL) != 0;
    if (e->table->first_token % e->group->span != 0)
        return kvfi_fail(KVF_ERR_INVALID, "bind: %s group %u: first_token %llu is no multiple of %llu",
                         e->name, g, (unsigned long long)e->table->first_token,
                         (unsigned long long)e->group->span);
    e->first = e->table->first_token / e->group->stride;
    return KVF_OK;
}

static kvf_status_t put_part(sink_t *s, const kvfi_plan_part_t *part)
{
    const kvf_bind_t *bind = s->bind;
    uint64_t first = bind->first_token, last = first + bind->tokens - 1;
    kvf_status_t status = open_end(&s->plan->src, bind->src_tables, bind->src_table_count,
                                   part->src_group, &s->src);

    if (status == KVF_OK)
        status = open_end(&s->plan->dst, bind->dst_tables, bind->dst_table_count, part->dst_group,
                          &s->dst);
    s->src.entries = part->pattern.src_entries;
    s->dst.entries = part->pattern.dst_entries;
    if ((bind->flags & KVF_BIND_WINDOW) != 0 && part->window != 0 && bind->tokens > part->window)
        first = last - part->window + 1;
    uint64_t from = first / part->tokens_per_state, to = last / part->tokens_per_state + 1;

    for (uint32_t f = 0; f < part->pattern.form_count && status == KVF_OK; f++) {
        status = put_whole(s, part, f, from, to);
        if (status == KVF_OK)
            status = put_cuts(s, part, &part->pattern.forms[f], from, to);
    }
    return status;
}

static kvf_status_t walk(sink_t *s)
{
    kvf_status_t status = KVF_OK;

    s->src.name = "source";
    s->dst.name = "destination";
    for (uint32_t i = 0; i < s->plan->part_count && s->bind->tokens > 0 && status == KVF_OK; i++)
        status = put_part(s, &s->plan->parts[i]);
    return status;
}

/* Tell the needs; SPACE if ops were wanted and something is too short. */
static kvf_status_t tell_needs(const sink_t *s, size_t *op_count_p, size_t *id_count_p)
{
    *op_count_p = s->size.ops;
    if (id_count_p != NULL)
        *id_count_p = s->size.ids;
    if (s->ops != NULL && s->size.ops > s->op_room)
        return kvfi_fail(KVF_ERR_SPACE, "bind: %zu ops are needed, the array holds %zu",
                         (size_t)s->size.ops, s->op_room);
    if (s->ops != NULL && s->size.ids > s->id_room)
        return kvfi_fail(KVF_ERR_SPACE, "bind: %zu ids are needed, the array holds %zu",
                         (size_t)s->size.ids, s->id_room);
    return KVF_OK;
}

kvf_status_t kvf_plan_bind(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_op_t *ops,
                           size_t op_size, size_t *op_count_p, uint32_t *ids, size_t *id_count_p)
{
    sink_t s;
    kvf_status_t status = kvfi_kv_bind_check(plan, bind);

    if (status != KVF_OK)
        return status;
    if (op_count_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: op_count_p is NULL");
    if (op_size == 0)
        return kvfi_fail(KVF_ERR_INVALID, "bind: op_size is 0");
    if (ops != NULL)
        status = kvfi_kv_bind_check_handles(plan, bind);
    if (status != KVF_OK)
        return status;
    s = (sink_t){.plan = plan, .bind = bind, .ops = ops, .op_size = op_size};
    s.op_room = ops != NULL ? *op_count_p : 0;
    s.ids = ops != NULL ? ids : NULL;
    s.id_room = s.ids != NULL && id_count_p != NULL ? *id_count_p : 0;
    status = walk(&s);
    return status == KVF_OK ? tell_needs(&s, op_count_p, id_count_p) : status;
}

kvf_status_t kvf_plan_measure(const kvf_plan_t *plan, const kvf_bind_t *bind,
                              kvf_plan_size_t *size_p)
{
    sink_t s = {.plan = plan, .bind = bind};
    kvf_status_t status = kvfi_kv_bind_check(plan, bind);

    if (status != KVF_OK)
        return status;
    if (size_p == NULL || size_p->struct_size < sizeof(*size_p))
        return kvfi_fail(KVF_ERR_INVALID, "measure: size_p is NULL or its struct_size too small");
    status = walk(&s);
    if (status != KVF_OK)
        return status;
    s.size.struct_size = size_p->struct_size;
    memcpy(size_p, &s.size, sizeof(s.size));
    return KVF_OK;
}

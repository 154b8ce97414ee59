/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Binding a plan to a request: turns a token range and block tables into ops. Of each form of a
 * part's pattern the places inside the range are one list of block pairs, and each box of the form
 * one op over that list; a place that an end of the range cuts gives ops of its own. Allocates
 * nothing, blocks on nothing; measuring runs the same walk and only counts. The checks of the
 * arguments are in bind_check.c and bind_slots.c, the lists in bind_list.c.
 */
#include <string.h>

#include "kv/bind.h"

#define FEW 16

typedef struct sink {
    const kvf_plan_t *plan;
    const kvf_bind_t *bind;
    kvf_op_t *ops; /* NULL: measure only */
    size_t op_size, op_room;
    kvfi_ids_t ids;
    kvfi_end_t src, dst;
    kvf_plan_size_t size;
    bool table_status;       /* ops set the status of the destination's entries */
    bool plain;              /* ops are filled as they are known here, and no handle is NULL */
    const kvfi_fold_t *fold; /* NULL, or the pairs are wanted and not the ops */
} sink_t;

/* --------------------------------------------------------------------- ops */

/* What the ops of one list have in common. */
static kvf_op_t make_like(const sink_t *s, const kvfi_list_t *src, const kvfi_list_t *dst, uint64_t pairs)
{
    bool read = s->bind->dir == KVF_READ;
    const kvfi_list_t *local = read ? dst : src, *remote = read ? src : dst;
    const kvfi_end_t *l = read ? &s->dst : &s->src, *r = read ? &s->src : &s->dst;

    return (kvf_op_t){
        .blocks = (uint32_t)pairs,
        .dir = s->bind->dir,
        .local_ids = local->ids,
        .remote_ids = remote->ids,
        .local_cap = l->group->blocks - (local->ids == NULL ? (uint32_t)local->entry : 0),
        .remote_cap = r->group->blocks - (remote->ids == NULL ? (uint32_t)remote->entry : 0),
        .remote_gens = src->gens,
        .block_status = dst->status,
    };
}

/* Write an op as the caller knows the struct: what a shorter one leaves out must be 0. */
static kvf_status_t store_short(const sink_t *s, const kvf_op_t *op, char *to)
{
    const char *from = (const char *)op;

    for (size_t i = s->op_size; i < sizeof(*op); i++) {
        if (from[i] != 0)
            return kvfi_fail(KVF_ERR_UNSUPPORTED,
                             "bind: op_size %zu leaves out byte %zu of an op, which must be set", s->op_size,
                             i);
    }
    memcpy(to, from, s->op_size);
    return KVF_OK;
}

static kvf_status_t null_handle(const kvf_op_t *op, uint32_t local, uint32_t remote)
{
    if (op->segment == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: locals[%u].segment is NULL", local);
    return kvfi_fail(KVF_ERR_INVALID, "bind: remotes[%u] is NULL", remote);
}

/* Boxes to put: one after the other, or one that each of some units has, at its own place. */
typedef struct row {
    const kvfi_ready_t *boxes;
    const kvfi_unit_t *units; /* NULL: count boxes */
    uint64_t count;
} row_t;

/* What ops of one row have in common. */
static inline void shape_op(kvf_op_t *op, const kvfi_ready_t *box, bool read)
{
    const kvfi_half_t *l = read ? &box->dst : &box->src, *r = read ? &box->src : &box->dst;

    op->len = box->len;
    memcpy(op->count, box->count, sizeof(op->count));
    memcpy(op->local_stride, l->stride, sizeof(op->local_stride));
    memcpy(op->remote_stride, r->stride, sizeof(op->remote_stride));
    op->local_block = l->block;
    op->remote_block = r->block;
}

/* Where an op begins on both sides. */
static inline void place_op(const kvf_bind_local_t *local, kvf_remote_t *remote, kvf_op_t *op,
                            uint64_t local_off, uint64_t remote_off)
{
    op->segment = local->segment;
    op->remote = remote;
    op->local_off = local->off + local_off;
    op->remote_off = remote_off;
}

/* An op is written in place, or in *here and taken over as the caller knows the struct. */
static inline kvf_op_t *next_op(size_t op_size, char *to, kvf_op_t *here)
{
    return op_size < sizeof(*here) ? here : (kvf_op_t *)(void *)to;
}

static inline kvf_status_t end_op(const sink_t *s, const kvf_op_t *op, char *to, uint32_t local,
                                  uint32_t remote)
{
    if (op->segment == NULL || op->remote == NULL)
        return null_handle(op, local, remote);
    if (s->op_size < sizeof(*op))
        return store_short(s, op, to);
    if (s->op_size > sizeof(*op))
        memset(to + sizeof(*op), 0, s->op_size - sizeof(*op));
    return KVF_OK;
}

/* The ops of a list, as many as there is room for. */
__attribute__((hot)) static kvf_status_t put_ops(const sink_t *s, const row_t *row, uint64_t count,
                                                 const kvf_op_t *like, uint64_t local_entry,
                                                 uint64_t remote_entry)
{
    const kvf_bind_local_t *locals = s->bind->locals;
    kvf_remote_t *const *remotes = s->bind->remotes;
    bool read = s->bind->dir == KVF_READ, plain = s->plain;
    size_t op_size = s->op_size;
    char *to = (char *)s->ops + s->size.ops * op_size;
    kvf_status_t status = KVF_OK;

    for (uint64_t i = 0; i < count && status == KVF_OK; i++, to += op_size) {
        const kvfi_ready_t *box = &row->boxes[i];
        const kvfi_half_t *l = read ? &box->dst : &box->src, *r = read ? &box->src : &box->dst;
        kvf_op_t here, *op = next_op(op_size, to, &here);

        *op = *like;
        shape_op(op, box, read);
        place_op(&locals[l->segment], remotes[r->segment], op, l->off + local_entry * l->block,
                 r->off + remote_entry * r->block);
        if (!plain)
            status = end_op(s, op, to, l->segment, r->segment);
    }
    return status;
}

/* The same of one box at the places of units. */
static kvf_status_t put_alike_ops(const sink_t *s, const row_t *row, uint64_t count, const kvf_op_t *like,
                                  uint64_t local_entry, uint64_t remote_entry)
{
    const kvfi_unit_t *units = row->units;
    const kvf_bind_local_t *locals = s->bind->locals;
    kvf_remote_t *const *remotes = s->bind->remotes;
    bool read = s->bind->dir == KVF_READ, plain = s->plain;
    size_t op_size = s->op_size;
    char *to = (char *)s->ops + s->size.ops * op_size;
    uint64_t src = row->boxes->src.off + (read ? remote_entry : local_entry) * row->boxes->src.block;
    uint64_t dst = row->boxes->dst.off + (read ? local_entry : remote_entry) * row->boxes->dst.block;
    kvf_op_t shaped = *like;
    kvf_status_t status = KVF_OK;

    shape_op(&shaped, row->boxes, read);
    for (uint64_t i = 0; i < count && status == KVF_OK; i++, to += op_size) {
        uint64_t src_off = src + units[i].src_off - units->src_off;
        uint64_t dst_off = dst + units[i].dst_off - units->dst_off;
        uint32_t local = read ? units[i].dst_segment : units[i].src_segment;
        uint32_t remote = read ? units[i].src_segment : units[i].dst_segment;
        kvf_op_t here, *op = next_op(op_size, to, &here);

        *op = shaped;
        place_op(&locals[local], remotes[remote], op, read ? dst_off : src_off, read ? src_off : dst_off);
        if (!plain)
            status = end_op(s, op, to, local, remote);
    }
    return status;
}

/* sum is of all boxes, or of the one of each unit. */
__attribute__((hot)) static kvf_status_t put_boxes(sink_t *s, const row_t *row, const kvfi_sum_t *sum,
                                                   const kvfi_list_t *src, const kvfi_list_t *dst,
                                                   uint64_t pairs)
{
    uint64_t room = s->size.ops < s->op_room ? s->op_room - s->size.ops : 0;
    uint64_t times = row->units != NULL ? row->count * pairs : pairs;
    kvf_status_t status = KVF_OK;

    if (s->ops != NULL && room > 0) {
        const kvfi_list_t *local = s->bind->dir == KVF_READ ? dst : src;
        const kvfi_list_t *remote = s->bind->dir == KVF_READ ? src : dst;
        const kvf_op_t like = make_like(s, src, dst, pairs);

        status = (row->units != NULL ? put_alike_ops : put_ops)(s, row, row->count < room ? row->count : room,
                                                                &like, local->ids == NULL ? local->entry : 0,
                                                                remote->ids == NULL ? remote->entry : 0);
    }
    if (s->size.ops == 0 || sum->piece_min < s->size.piece_min)
        s->size.piece_min = sum->piece_min;
    if (sum->piece_max > s->size.piece_max)
        s->size.piece_max = sum->piece_max;
    s->size.ops += row->count;
    s->size.pieces += sum->pieces * times;
    s->size.bytes += sum->bytes * times;
    return status;
}

/* ------------------------------------------------------------------- spans */

/* The boxes of a span, taken together: merged if there are few of them. */
typedef struct gather {
    const kvfi_span_t *span;
    const kvfi_list_t *src, *dst;
    uint64_t pairs;
    kvfi_op_box_t few[FEW + 1]; /* the first one is the last of those that were put */
    kvfi_boxes_t boxes;
    uint32_t count;
    bool put; /* some were put, so the rest is not merged */
} gather_t;

static kvf_status_t put_few(sink_t *s, gather_t *g)
{
    kvfi_op_box_t *few = g->few + 1;
    kvfi_ready_t ready[FEW];
    kvfi_sum_t sum;

    if (!g->put && g->count < FEW)
        g->count = kvfi_kv_boxes_merge(few, g->count);
    kvfi_kv_ready_make(few, g->count, ready, &sum);
    return g->count > 0
               ? put_boxes(s, &(row_t){.boxes = ready, .count = g->count}, &sum, g->src, g->dst, g->pairs)
               : KVF_OK;
}

/* The box of a unit that is like the one before it, which had one box. */
static void shift_box(const kvfi_unit_t *unit, kvfi_op_box_t *box)
{
    box->src_off += unit->src_off - unit[-1].src_off;
    box->dst_off += unit->dst_off - unit[-1].dst_off;
    box->src_segment = unit->src_segment;
    box->dst_segment = unit->dst_segment;
}

static kvf_status_t put_unit(sink_t *s, gather_t *g, const kvfi_unit_t *unit)
{
    kvf_status_t status = KVF_OK;
    bool more = true;

    if (unit->like_last && g->boxes.loop_count == 0) {
        g->few[g->count + 1] = g->few[g->count];
        shift_box(unit, &g->few[g->count + 1]);
        g->boxes.done = true;
    } else {
        kvfi_kv_boxes_start(&g->boxes, unit, g->span);
        more = kvfi_kv_boxes_next(&g->boxes, &g->few[g->count + 1]);
    }
    for (; more && status == KVF_OK; more = kvfi_kv_boxes_next(&g->boxes, &g->few[g->count + 1])) {
        if (++g->count < FEW)
            continue;
        status = put_few(s, g);
        g->put = true;
        g->few[0] = g->few[g->count];
        g->count = 0;
    }
    return status;
}

/* Many units that are alike and have one box each: no two of them are one op. */
static bool put_alike(sink_t *s, gather_t *g, const kvfi_plan_part_t *part, kvf_status_t *status_p)
{
    kvfi_ready_t ready;
    kvfi_sum_t sum;

    if (!part->alike || part->unit_count < FEW)
        return false;
    kvfi_kv_boxes_start(&g->boxes, part->units, g->span);
    if (g->boxes.loop_count > 0)
        return false;
    kvfi_kv_ready_make(&g->boxes.box, 1, &ready, &sum);
    *status_p = put_boxes(s, &(row_t){.boxes = &ready, .units = part->units, .count = part->unit_count}, &sum,
                          g->src, g->dst, g->pairs);
    return true;
}

/* Of the layers that are wanted. */
static kvf_status_t put_span(sink_t *s, const kvfi_plan_part_t *part, const kvfi_span_t *span,
                             const kvfi_list_t *src, const kvfi_list_t *dst, uint64_t pairs)
{
    gather_t g;
    kvf_status_t status = KVF_OK;

    g.span = span;
    g.src = src;
    g.dst = dst;
    g.pairs = pairs;
    g.boxes.loop_count = 1;
    g.count = 0;
    g.put = false;
    if (kvfi_kv_some_layers(s->bind)) {
        kvfi_units_t units = kvfi_kv_units_of(part, s->bind);
        kvfi_unit_t unit;

        while (status == KVF_OK && kvfi_kv_units_next(&units, &unit))
            status = put_unit(s, &g, &unit);
    } else if (!put_alike(s, &g, part, &status)) {
        for (uint32_t u = 0; u < part->unit_count && status == KVF_OK; u++)
            status = put_unit(s, &g, &part->units[u]);
    }
    return status == KVF_OK ? put_few(s, &g) : status;
}

/* ------------------------------------------------------------------- forms */

/* Statuses of the pairs of a list, if they are kept. */
static void take_pairs(sink_t *s, uint64_t count, kvfi_list_t *dst)
{
    uint64_t at = s->size.pairs;

    s->size.pairs += count;
    if (s->ops != NULL && s->bind->pair_status != NULL)
        dst->status = s->size.pairs <= s->bind->pair_count ? s->bind->pair_status + at : NULL;
}

static kvf_status_t put_whole(sink_t *s, const kvfi_plan_part_t *part, uint32_t f, uint64_t from, uint64_t to)
{
    const kvfi_form_t *form = &part->pattern.forms[f];
    const kvfi_form_boxes_t *boxes = &part->form_boxes[f];
    kvfi_places_t p = {.meets = part->pattern.meets + form->first,
                       .meet_count = form->count,
                       .low = UINT64_MAX,
                       .from = from,
                       .to = to,
                       .period = part->pattern.period};
    kvfi_list_t src, dst;
    kvf_status_t status;

    for (uint32_t m = 0; m < form->count; m++) {
        uint64_t low, high;

        kvfi_kv_whole_periods(&p.meets[m], p.period, from, to, &low, &high);
        if (low == high)
            continue;
        p.count += high - low;
        p.low = low < p.low ? low : p.low;
        p.high = high > p.high ? high : p.high;
    }
    if (p.count == 0)
        return KVF_OK;
    status = kvfi_kv_list_make(&s->ids, &p, &s->src, &src);
    if (status == KVF_OK)
        status = kvfi_kv_list_make(&s->ids, &p, &s->dst, &dst);
    if (status == KVF_OK && p.count > UINT32_MAX)
        status = kvfi_fail(KVF_ERR_BOUNDS, "bind: %llu pairs of blocks do not fit in an op",
                           (unsigned long long)p.count);
    if (s->fold != NULL && status == KVF_OK)
        kvfi_kv_fold_list(s->fold, part, &p, &s->src, &s->dst, s->size.pairs, UINT64_MAX);
    take_pairs(s, p.count, &dst);
    if (status == KVF_OK && kvfi_kv_some_layers(s->bind))
        status = put_span(s, part, &form->span, &src, &dst, p.count);
    else if (status == KVF_OK)
        status = put_boxes(s, &(row_t){.boxes = part->boxes + boxes->first, .count = boxes->count},
                           &boxes->sum, &src, &dst, p.count);
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
static kvf_status_t put_cut_span(sink_t *s, const kvfi_plan_part_t *part, const kvfi_form_t *form,
                                 uint64_t from, uint64_t to, const kvfi_list_t *src, const kvfi_list_t *dst)
{
    const kvfi_span_t *span = &form->span;
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

        status = put_span(s, part, &sub, src, dst, 1);
        run += whole;
    }
    return status;
}

/* The first state of a span at or past from, counted from its first one on; UINT64_MAX: none. */
static uint64_t next_state(const kvfi_span_t *span, uint64_t from)
{
    uint64_t step = span->count > 1 ? span->step : span->len;
    uint64_t run = from < span->len ? 0 : (from - span->len) / step + 1;

    if (run >= span->count)
        return UINT64_MAX;
    return run * step > from ? run * step : from;
}

/* A meet in period q, which an end of the range cuts. */
static kvf_status_t put_cut(sink_t *s, const kvfi_plan_part_t *part, const kvfi_form_t *form,
                            const kvfi_meet_t *meet, uint64_t q, uint64_t from, uint64_t to)
{
    kvfi_places_t p = {
        .meets = meet, .meet_count = 1, .low = q, .high = q + 1, .period = part->pattern.period, .count = 1};
    uint64_t begin = q * p.period + meet->from, first;
    kvfi_list_t src, dst;
    kvf_status_t status;

    from = from > begin ? from - begin : 0;
    to -= begin;
    first = next_state(&form->span, from);
    if (first >= to)
        return KVF_OK;
    status = kvfi_kv_list_make(&s->ids, &p, &s->src, &src);
    if (status == KVF_OK)
        status = kvfi_kv_list_make(&s->ids, &p, &s->dst, &dst);
    if (status != KVF_OK)
        return status;
    if (s->fold != NULL)
        kvfi_kv_fold_list(s->fold, part, &p, &s->src, &s->dst, s->size.pairs, begin + first);
    take_pairs(s, 1, &dst);
    return put_cut_span(s, part, form, from, to, &src, &dst);
}

/* The places of a form that the range cuts: around its first state, and around its last. */
static kvf_status_t put_cuts(sink_t *s, const kvfi_plan_part_t *part, const kvfi_form_t *form, uint64_t from,
                             uint64_t to)
{
    uint64_t period = part->pattern.period;
    kvf_status_t status = KVF_OK;

    for (uint32_t m = form->first; m < form->first + form->count && status == KVF_OK; m++) {
        const kvfi_meet_t *meet = &part->pattern.meets[m];
        uint64_t q = from > meet->from ? (from - meet->from) / period : 0;
        uint64_t r = to > meet->from ? (to - meet->from - 1) / period : 0;
        bool head = from > meet->from && q * period + meet->from < from && q * period + meet->to > from;
        bool tail = to > meet->from && r * period + meet->to > to;

        if (head)
            status = put_cut(s, part, form, meet, q, from, to);
        if (tail && status == KVF_OK && !(head && q == r))
            status = put_cut(s, part, form, meet, r, from, to);
    }
    return status;
}

/* ------------------------------------------------------------------- parts */

__attribute__((hot)) static kvf_status_t open_end(const kvfi_plan_end_t *plan, const kvf_bind_table_t *tables,
                                                  uint32_t count, uint32_t g, kvfi_end_t *e)
{
    e->table = &tables[count == 1 ? 0 : g];
    e->group = &plan->groups[g];
    e->index = g;
    e->remade = e->table->skip != NULL || (e->table->flags & KVF_TABLE_NULL) != 0;
    e->status = NULL;
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
    kvf_status_t status =
        open_end(&s->plan->src, bind->src_tables, bind->src_table_count, part->src_group, &s->src);

    if (status == KVF_OK)
        status = open_end(&s->plan->dst, bind->dst_tables, bind->dst_table_count, part->dst_group, &s->dst);
    if (status == KVF_OK && s->table_status)
        s->dst.status = s->dst.table->block_status;
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

__attribute__((hot)) static kvf_status_t walk(sink_t *s)
{
    kvf_status_t status = KVF_OK;

    s->src.name = "source";
    s->src.is_source = true;
    s->dst.name = "destination";
    for (uint32_t i = 0; i < s->plan->part_count && s->bind->tokens > 0 && status == KVF_OK; i++) {
        if (!kvfi_kv_some_layers(s->bind) || kvfi_kv_part_has(&s->plan->parts[i], s->bind))
            status = put_part(s, &s->plan->parts[i]);
    }
    return status;
}

/* Tell the needs; SPACE if ops were wanted and something is too short. */
static kvf_status_t tell_needs(const sink_t *s, size_t *op_count_p, size_t *id_count_p)
{
    *op_count_p = s->size.ops;
    if (id_count_p != NULL)
        *id_count_p = s->ids.used;
    if (s->ops != NULL && s->size.ops > s->op_room)
        return kvfi_fail(KVF_ERR_SPACE, "bind: %zu ops are needed, the array holds %zu", (size_t)s->size.ops,
                         s->op_room);
    if (s->ops != NULL && s->ids.used > s->ids.room)
        return kvfi_fail(KVF_ERR_SPACE, "bind: %zu ids are needed, the array holds %zu", (size_t)s->ids.used,
                         s->ids.room);
    if (s->ops != NULL && s->bind->pair_status != NULL && s->size.pairs > s->bind->pair_count)
        return kvfi_fail(KVF_ERR_SPACE, "bind: pair_status needs %zu entries, pair_count is %zu",
                         (size_t)s->size.pairs, (size_t)s->bind->pair_count);
    return KVF_OK;
}

__attribute__((hot)) kvf_status_t kvf_plan_bind(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_op_t *ops,
                                                size_t op_size, size_t *op_count_p, uint32_t *ids,
                                                size_t *id_count_p)
{
    sink_t s;
    bool full = false;
    kvf_bind_t copy;
    kvf_status_t status = kvfi_kv_bind_check(plan, &bind, &copy);

    if (status != KVF_OK)
        return status;
    if (op_count_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: op_count_p is NULL");
    if (op_size == 0)
        return kvfi_fail(KVF_ERR_INVALID, "bind: op_size is 0");
    if (ops != NULL)
        status = kvfi_kv_bind_slots(plan, bind, &full);
    if (status != KVF_OK)
        return status;
    s = (sink_t){.plan = plan, .bind = bind, .ops = ops, .op_size = op_size};
    s.plain = full && op_size == sizeof(*ops);
    s.table_status = bind->pair_status == NULL;
    s.op_room = ops != NULL ? *op_count_p : 0;
    if (ops != NULL && ids != NULL && id_count_p != NULL)
        s.ids = (kvfi_ids_t){.ids = ids, .room = *id_count_p};
    status = walk(&s);
    return status == KVF_OK ? tell_needs(&s, op_count_p, id_count_p) : status;
}

kvf_status_t kvfi_kv_walk_pairs(const kvf_plan_t *plan, const kvf_bind_t *bind, const kvfi_fold_t *fold,
                                uint64_t *pairs_p)
{
    sink_t s = {.plan = plan, .bind = bind, .fold = fold};
    kvf_status_t status = walk(&s);

    *pairs_p = s.size.pairs;
    return status;
}

kvf_status_t kvf_plan_measure(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_plan_size_t *size_p)
{
    kvf_bind_t copy;
    kvf_status_t status = kvfi_kv_bind_check(plan, &bind, &copy);
    sink_t s = {.plan = plan, .bind = bind};

    if (status == KVF_OK)
        status = walk(&s);
    if (status != KVF_OK)
        return status;
    s.size.ids = s.ids.used;
    return kvf_struct_write("measure: size_p", &s.size, sizeof(s.size), size_p);
}

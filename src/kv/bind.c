/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Binding a plan to a request: turns a token range and block tables into ops. Each group's range
 * is cut in up to three stretches of block pairs: a first block that the range cuts, whole
 * blocks, a last one that it cuts. Each box gives one op a stretch. Allocates nothing, looks at
 * no id, blocks on nothing; measuring runs the same walk and only counts.
 */
#include <string.h>

#include "kv/plan.h"

/* Block pairs that move the same states. */
typedef struct stretch {
    uint32_t src, dst; /* entry of the first pair in the two tables */
    uint32_t pairs;
    uint32_t from, count; /* states of each block */
} stretch_t;

typedef struct sink {
    const kvf_bind_t *bind;
    const kvf_bind_table_t *table;
    const kvfi_plan_group_t *group;
    kvf_op_t *ops; /* NULL: measure only */
    size_t op_size;
    size_t room;
    kvf_plan_size_t size;
} sink_t;

/* One side of an op: a table that is not given counts from its first entry on. */
typedef struct half {
    const uint32_t *ids;
    uint64_t off, block;
    uint32_t cap;
} half_t;

static half_t make_half(const uint32_t *ids, uint32_t entry, uint64_t off, uint64_t block,
                        uint32_t blocks)
{
    if (ids != NULL)
        return (half_t){ids + entry, off, block, blocks};
    return (half_t){NULL, off + entry * block, block, blocks - entry};
}

static kvf_status_t handles(const sink_t *s, const kvfi_unit_t *box, kvf_op_t *op)
{
    const kvf_bind_t *bind = s->bind;
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

/* Write an op as the caller knows the struct: what a shorter one leaves out must be 0. */
static kvf_status_t store(sink_t *s, const kvf_op_t *op)
{
    char *to = (char *)s->ops + s->size.ops * s->op_size;
    const char *from = (const char *)op;

    for (size_t i = s->op_size; i < sizeof(*op); i++) {
        if (from[i] != 0)
            return kvfi_fail(KVF_ERR_UNSUPPORTED,
                             "bind: op_size %zu leaves out byte %zu of an op, which must be set",
                             s->op_size, i);
    }
    memset(to, 0, s->op_size);
    memcpy(to, from, s->op_size < sizeof(*op) ? s->op_size : sizeof(*op));
    return KVF_OK;
}

static kvf_status_t put_op(sink_t *s, const kvfi_unit_t *box, const stretch_t *st)
{
    const kvf_bind_table_t *t = s->table;
    bool read = s->bind->dir == KVF_READ;
    half_t src = make_half(t->src_ids, st->src, box->src_off, box->src_block, s->group->src_blocks);
    half_t dst = make_half(t->dst_ids, st->dst, box->dst_off, box->dst_block, s->group->dst_blocks);
    const half_t *local = read ? &dst : &src, *remote = read ? &src : &dst;
    kvf_op_t op = {
        .local_off = local->off,
        .remote_off = remote->off,
        .len = box->len,
        .count = {box->axes[0].count, box->axes[1].count},
        .blocks = st->pairs,
        .dir = s->bind->dir,
        .local_ids = local->ids,
        .remote_ids = remote->ids,
        .local_cap = local->cap,
        .remote_cap = remote->cap,
        .local_block = local->block,
        .remote_block = remote->block,
        .remote_gens = t->src_gens != NULL ? t->src_gens + st->src : NULL,
        .block_status = t->block_status != NULL ? t->block_status + st->dst : NULL,
    };

    for (unsigned i = 0; i < 2; i++) {
        op.local_stride[i] = read ? box->axes[i].dst : box->axes[i].src;
        op.remote_stride[i] = read ? box->axes[i].src : box->axes[i].dst;
    }
    kvf_status_t status = handles(s, box, &op);

    return status == KVF_OK ? store(s, &op) : status;
}

static kvf_status_t put_box(sink_t *s, const kvfi_unit_t *box, const stretch_t *st)
{
    uint64_t pieces = (uint64_t)box->axes[0].count * box->axes[1].count * st->pairs;

    if (s->ops != NULL && s->size.ops < s->room) {
        kvf_status_t status = put_op(s, box, st);

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

static kvf_status_t put_stretch(sink_t *s, const stretch_t *st)
{
    const kvfi_plan_group_t *group = s->group;
    kvf_status_t status = KVF_OK;

    s->size.blocks += st->pairs;
    if (st->count == group->states) {
        for (uint32_t i = 0; i < group->box_count && status == KVF_OK; i++)
            status = put_box(s, &group->boxes[i], st);
        return status;
    }
    for (uint32_t u = 0; u < group->unit_count; u++) {
        kvfi_boxes_t boxes;
        kvfi_unit_t box;

        kvfi_kv_boxes_start(&boxes, &group->units[u], st->from, st->count);
        while (status == KVF_OK && kvfi_kv_boxes_next(&boxes, &box))
            status = put_box(s, &box, st);
    }
    return status;
}

/* The entry of a table that holds block number block of the request, with count - 1 more behind. */
static kvf_status_t find_entry(const sink_t *s, uint32_t g, const char *side, uint64_t block,
                               uint64_t count, uint32_t *entry_p)
{
    bool src = side[0] == 's';
    uint64_t first = src ? s->table->src_first : s->table->dst_first;
    uint64_t have = src ? s->table->src_count : s->table->dst_count;
    const uint32_t *ids = src ? s->table->src_ids : s->table->dst_ids;
    uint32_t cap = src ? s->group->src_blocks : s->group->dst_blocks;

    if (first % s->group->block_tokens != 0)
        return kvfi_fail(KVF_ERR_INVALID,
                         "bind: group %u: %s_first %llu is no multiple of block_tokens %u", g, side,
                         (unsigned long long)first, s->group->block_tokens);
    first /= s->group->block_tokens;
    if (block < first || block - first > have || count > have - (block - first))
        return kvfi_fail(KVF_ERR_BOUNDS,
                         "bind: group %u: the range needs blocks %llu to %llu of the request, "
                         "%s_ids holds %llu from %llu on",
                         g, (unsigned long long)block, (unsigned long long)(block + count - 1),
                         side, (unsigned long long)have, (unsigned long long)first);
    if (ids == NULL && block - first + count > cap)
        return kvfi_fail(KVF_ERR_BOUNDS,
                         "bind: group %u: %s_ids is NULL and %s_count reaches past %u blocks", g,
                         side, side, cap);
    *entry_p = (uint32_t)(block - first);
    return KVF_OK;
}

/* Put the first, whole and last blocks of states [from, end) of the request. */
static kvf_status_t put_range(sink_t *s, uint64_t from, uint64_t end, uint32_t src, uint32_t dst)
{
    uint32_t states = s->group->states;
    kvf_status_t status = KVF_OK;

    while (from < end && status == KVF_OK) {
        stretch_t st = {.src = src, .dst = dst, .pairs = 1, .from = (uint32_t)(from % states)};
        uint64_t left = end - from;

        if (st.from == 0 && left >= states) {
            st.pairs = (uint32_t)(left / states);
            st.count = states;
        } else {
            st.count = left < states - st.from ? (uint32_t)left : states - st.from;
        }
        status = put_stretch(s, &st);
        from += (uint64_t)st.count * st.pairs;
        src += st.pairs;
        dst += st.pairs;
    }
    return status;
}

static kvf_status_t put_group(sink_t *s, uint32_t g)
{
    const kvf_bind_t *bind = s->bind;
    const kvfi_plan_group_t *group = s->group;
    uint64_t first = bind->first_token, last = first + bind->tokens - 1;
    uint32_t src, dst;
    kvf_status_t status;

    if ((bind->flags & KVF_BIND_WINDOW) != 0 && group->window != 0 && bind->tokens > group->window)
        first = last - group->window + 1;
    uint64_t from = first / group->tokens_per_state, end = last / group->tokens_per_state + 1;
    uint64_t block = from / group->states, count = (end - 1) / group->states - block + 1;

    status = find_entry(s, g, "src", block, count, &src);
    if (status == KVF_OK)
        status = find_entry(s, g, "dst", block, count, &dst);
    return status == KVF_OK ? put_range(s, from, end, src, dst) : status;
}

static kvf_status_t check_tables(const kvf_plan_t *plan, const kvf_bind_t *bind)
{
    if (bind->tables == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: tables is NULL");
    if (bind->table_count != plan->group_count && bind->table_count != 1)
        return kvfi_fail(KVF_ERR_INVALID, "bind: table_count is %u, the plan has %u groups",
                         bind->table_count, plan->group_count);
    for (uint32_t g = 1; bind->table_count == 1 && g < plan->group_count; g++) {
        if (plan->groups[g].block_tokens != plan->groups[0].block_tokens)
            return kvfi_fail(KVF_ERR_INVALID,
                             "bind: table_count is 1, but groups 0 and %u have block_tokens %u "
                             "and %u",
                             g, plan->groups[0].block_tokens, plan->groups[g].block_tokens);
    }
    for (uint32_t g = 0; g < bind->table_count; g++) {
        const kvf_bind_table_t *t = &bind->tables[g];

        if (t->reserved[0] != 0 || t->reserved[1] != 0)
            return kvfi_fail(KVF_ERR_INVALID, "bind: tables[%u]: reserved is not 0", g);
        if (t->src_gens != NULL && bind->dir != KVF_READ)
            return kvfi_fail(KVF_ERR_INVALID, "bind: tables[%u]: src_gens with KVF_WRITE", g);
        /* A generation guards the block of that id, so the op must carry the id itself. */
        if (t->src_gens != NULL && t->src_ids == NULL)
            return kvfi_fail(KVF_ERR_INVALID, "bind: tables[%u]: src_gens without src_ids", g);
    }
    return KVF_OK;
}

static kvf_status_t check_bind(const kvf_plan_t *plan, const kvf_bind_t *bind)
{
    if (plan == NULL || bind == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: %s is NULL", plan == NULL ? "plan" : "bind");
    if (!kvfi_kv_size_ok(bind, sizeof(*bind)))
        return kvfi_fail(KVF_ERR_INVALID, "bind: struct_size %u is not that of the binding",
                         bind->struct_size);
    if ((bind->flags & ~KVF_BIND_WINDOW) != 0)
        return kvfi_fail(KVF_ERR_INVALID, "bind: flags 0x%x are unknown", bind->flags);
    if (bind->dir != KVF_READ && bind->dir != KVF_WRITE)
        return kvfi_fail(KVF_ERR_INVALID, "bind: dir %u is unknown", bind->dir);
    if (bind->tokens > UINT64_MAX - bind->first_token)
        return kvfi_fail(KVF_ERR_INVALID, "bind: first_token and tokens overflow 64 bits");
    for (unsigned i = 0; i < sizeof(bind->reserved) / sizeof(bind->reserved[0]); i++) {
        if (bind->reserved[i] != 0)
            return kvfi_fail(KVF_ERR_INVALID, "bind: reserved is not 0");
    }
    return check_tables(plan, bind);
}

static kvf_status_t check_handles(const kvf_plan_t *plan, const kvf_bind_t *bind)
{
    bool read = bind->dir == KVF_READ;
    uint32_t local = read ? plan->dst_segments : plan->src_segments;
    uint32_t remote = read ? plan->src_segments : plan->dst_segments;

    if (bind->segments == NULL || bind->segment_count != local)
        return kvfi_fail(KVF_ERR_INVALID, "bind: segments has %u, the local layout %u",
                         bind->segments != NULL ? bind->segment_count : 0, local);
    if (bind->remotes == NULL || bind->remote_count != remote)
        return kvfi_fail(KVF_ERR_INVALID, "bind: remotes has %u, the remote layout %u",
                         bind->remotes != NULL ? bind->remote_count : 0, remote);
    return KVF_OK;
}

static kvf_status_t walk(const kvf_plan_t *plan, sink_t *s)
{
    const kvf_bind_t *bind = s->bind;
    kvf_status_t status = KVF_OK;

    s->size.groups = plan->group_count;
    for (uint32_t g = 0; g < plan->group_count && bind->tokens > 0 && status == KVF_OK; g++) {
        s->table = &bind->tables[bind->table_count == 1 ? 0 : g];
        s->group = &plan->groups[g];
        status = put_group(s, g);
    }
    return status;
}

kvf_status_t kvf_plan_bind(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_op_t *ops,
                           size_t op_size, size_t *count_p)
{
    sink_t s = {.bind = bind, .ops = ops, .op_size = op_size};
    kvf_status_t status = check_bind(plan, bind);

    if (status != KVF_OK)
        return status;
    if (count_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "bind: count_p is NULL");
    if (op_size == 0)
        return kvfi_fail(KVF_ERR_INVALID, "bind: op_size is 0");
    s.room = ops != NULL ? *count_p : 0;
    if (ops != NULL)
        status = check_handles(plan, bind);
    if (status == KVF_OK)
        status = walk(plan, &s);
    if (status != KVF_OK)
        return status;
    size_t given = *count_p;

    *count_p = s.size.ops;
    if (ops != NULL && s.size.ops > given)
        return kvfi_fail(KVF_ERR_SPACE, "bind: %zu ops are needed, the array holds %zu",
                         (size_t)s.size.ops, given);
    return KVF_OK;
}

kvf_status_t kvf_plan_measure(const kvf_plan_t *plan, const kvf_bind_t *bind,
                              kvf_plan_size_t *size_p)
{
    sink_t s = {.bind = bind};
    kvf_status_t status = check_bind(plan, bind);

    if (status != KVF_OK)
        return status;
    if (size_p == NULL || size_p->struct_size < sizeof(*size_p))
        return kvfi_fail(KVF_ERR_INVALID, "measure: size_p is NULL or its struct_size too small");
    status = walk(plan, &s);
    if (status != KVF_OK)
        return status;
    s.size.struct_size = size_p->struct_size;
    memcpy(size_p, &s.size, sizeof(s.size));
    return KVF_OK;
}

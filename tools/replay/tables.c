/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sources and tables of a decode rank: tables.h says what they are. What is stale is kept by steps of
 * tokens, the largest that divide the blocks of both sides: where those differ, a stale block of the
 * source is a part of one of the destination's, or several of them.
 */
#include "config.h"

#include "tables.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"

/* ------------------------------------------------------------------ sources */

static void common(uint32_t first, uint32_t count, uint32_t *first_p, uint32_t *count_p)
{
    uint32_t end = first + count < *first_p + *count_p ? first + count : *first_p + *count_p;

    *first_p = first > *first_p ? first : *first_p;
    *count_p = end > *first_p ? end - *first_p : 0;
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* The layout of each member of a prefill instance; those that could not be built are NULL. */
static kvf_status_t build_layouts(const struct replay_shape *shape, kvf_layout_t **layouts)
{
    kvf_status_t status = KVF_OK;

    for (uint32_t m = 0; m < shape->side[REPLAY_SRC].members && status == KVF_OK; m++) {
        struct replay_held held = kvfi_replay_held(shape, REPLAY_SRC, m);
        status = kvfi_replay_layout(&held, shape->pool_blocks, &layouts[m]);
    }
    return status;
}

static kvf_status_t find_sources(struct replay_sources *sources, uint32_t number, const kvf_layout_t *layout,
                                 kvf_layout_t **layouts, kvf_plan_source_t *found)
{
    const struct replay_shape *shape = sources->shape;
    uint32_t members = shape->side[REPLAY_SRC].members;
    struct replay_cut own = kvfi_replay_held(shape, REPLAY_DST, number % shape->side[REPLAY_DST].members).cut;
    kvf_status_t status = kvf_plan_sources(layouts, members, layout, number, NULL, found, &members);

    for (uint32_t i = 0; i < members && status == KVF_OK; i++) {
        struct replay_cut cut = kvfi_replay_held(shape, REPLAY_SRC, found[i].rank).cut;
        common(own.first_layer, own.layers, &cut.first_layer, &cut.layers);
        common(own.first_head, own.heads, &cut.first_head, &cut.heads);
        sources->source[sources->count++] = (struct replay_source){
            .member = found[i].rank,
            .plan = found[i].plan,
            .cut = cut,
            .segments = kvf_layout_describe(layouts[found[i].rank])->segment_count,
        };
    }
    return status;
}

kvf_status_t kvfi_replay_sources_open(const struct replay_shape *shape, uint32_t number,
                                      const kvf_layout_t *layout, uint32_t capacity,
                                      struct replay_sources *sources_p)
{
    uint32_t members = shape->side[REPLAY_SRC].members;
    kvf_layout_t **layouts = calloc(members, sizeof(kvf_layout_t *));
    kvf_plan_source_t *found = calloc(members, sizeof(*found));
    kvf_status_t status = KVF_OK;

    *sources_p = (struct replay_sources){
        .shape = shape,
        .source = calloc(members, sizeof(*sources_p->source)),
        .entry = calloc(capacity, sizeof(*sources_p->entry)),
        .step_tokens =
            common_divisor(shape->side[REPLAY_SRC].block_tokens, shape->side[REPLAY_DST].block_tokens),
    };
    if (layouts == NULL || found == NULL || sources_p->source == NULL || sources_p->entry == NULL) {
        status = kvf_fail(KVF_ERR_NOMEM, "no memory for %" PRIu32 " sources of %" PRIu32 " KV blocks",
                          members, capacity);
    } else {
        status = build_layouts(shape, layouts);
    }
    if (status == KVF_OK) {
        status = find_sources(sources_p, number, layout, layouts, found);
    }
    for (uint32_t m = 0; m < members && layouts != NULL; m++) {
        kvf_layout_destroy(layouts[m]);
    }
    free(layouts);
    free(found);
    return status;
}

void kvfi_replay_sources_close(struct replay_sources *sources)
{
    for (uint32_t i = 0; i < sources->count; i++) {
        kvf_plan_destroy(sources->source[i].plan);
    }
    free(sources->source);
    free(sources->entry);
    *sources = (struct replay_sources){.count = 0};
}

/* ------------------------------------------------------------------- tables */

/* Makes *array_p one of `count` items of `size` bytes, its contents lost, if it has fewer. */
static int make_room(void *array_p, size_t count, size_t size)
{
    void **array = array_p;

    free(*array);
    *array = calloc(count > 0 ? count : 1, size);
    return *array != NULL ? 0 : -1;
}

int kvfi_replay_tables_make(struct replay_tables *t, const struct replay_sources *sources,
                            uint64_t trace_blocks)
{
    const struct replay_shape *shape = sources->shape;
    size_t dst = trace_blocks * shape->side[REPLAY_DST].per_block, count = sources->count;
    size_t src = trace_blocks * shape->side[REPLAY_SRC].per_block;
    size_t steps = trace_blocks * (shape->kept_tokens / sources->step_tokens);

    if (trace_blocks > t->room) {
        t->room = 0;
        if (make_room(&t->dst_ids, dst, sizeof(uint32_t)) != 0 ||
            make_room(&t->src_ids, src * count, sizeof(uint32_t)) != 0 ||
            make_room(&t->src_gens, src * count, sizeof(uint32_t)) != 0 ||
            make_room(&t->first_op, count, sizeof(size_t)) != 0 ||
            make_room(&t->first_pair, count + 1, sizeof(size_t)) != 0 ||
            make_room(&t->block_status, dst, 1) != 0 || make_room(&t->stale, steps * count, 1) != 0) {
            return -1;
        }
        t->room = trace_blocks;
    }
    t->blocks = (uint32_t)dst;
    t->src_blocks = (uint32_t)src;
    t->steps = steps;
    t->op_count = 0;
    t->any_stale = false;
    return 0;
}

void kvfi_replay_tables_free(struct replay_tables *t)
{
    free(t->dst_ids);
    free(t->src_ids);
    free(t->src_gens);
    free(t->ops);
    free(t->first_op);
    free(t->first_pair);
    free(t->block_status);
    free(t->ids);
    free(t->status);
    free(t->stale);
    *t = (struct replay_tables){.room = 0};
}

/* A source's binding, and the tables that it points to. */
struct binding {
    kvf_bind_table_t src, dst;
    kvf_bind_t bind;
};

static void describe(const struct replay_tables *t, const struct replay_sources *sources, uint32_t s,
                     struct binding *b_p)
{
    uint64_t at = (uint64_t)s * t->src_blocks;

    *b_p = (struct binding){
        .src = {.ids = t->src_ids + at, .gens = t->src_gens + at, .count = t->src_blocks},
        .dst = {.ids = t->dst_ids, .count = t->blocks, .block_status = t->block_status},
        .bind = {.struct_size = sizeof(kvf_bind_t),
                 .dir = KVF_READ,
                 .src_tables = &b_p->src,
                 .src_table_count = 1,
                 .dst_tables = &b_p->dst,
                 .dst_table_count = 1,
                 .tokens = t->blocks * (uint64_t)sources->shape->side[REPLAY_DST].block_tokens,
                 .pair_status = t->status + t->first_pair[s],
                 .pair_count = t->first_pair[s + 1] - t->first_pair[s]},
    };
}

/* Asks all plans what they need, and makes room for it. */
static kvf_status_t prepare(struct replay_tables *t, const struct replay_sources *sources)
{
    size_t ops = 0, ids = 0, pairs = 0;

    memset(t->first_pair, 0, (sources->count + 1) * sizeof(*t->first_pair));
    for (uint32_t s = 0; s < sources->count; s++) {
        kvf_plan_size_t size = {.struct_size = sizeof(size)};
        struct binding b;
        describe(t, sources, s, &b);
        b.bind.pair_status = NULL;
        b.bind.pair_count = 0;
        b.dst.block_status = NULL; /* goes with pair_status */
        kvf_status_t status = kvf_plan_measure(sources->source[s].plan, &b.bind, &size);
        if (status != KVF_OK) {
            return status;
        }
        t->first_op[s] = ops;
        t->first_pair[s] = pairs;
        ops += size.ops;
        ids += size.ids;
        pairs += size.pairs;
    }
    t->first_pair[sources->count] = pairs;
    if (ops > t->op_room) {
        t->op_room = make_room(&t->ops, ops, sizeof(*t->ops)) == 0 ? ops : 0;
    }
    if (ids > t->id_room) {
        t->id_room = make_room(&t->ids, ids, sizeof(*t->ids)) == 0 ? ids : 0;
    }
    if (pairs > t->status_room) {
        t->status_room = make_room(&t->status, pairs, sizeof(*t->status)) == 0 ? pairs : 0;
    }
    return ops <= t->op_room && ids <= t->id_room && pairs <= t->status_room
               ? KVF_OK
               : kvf_fail(KVF_ERR_NOMEM, "no memory for %zu ops with %zu ids and %zu pairs", ops, ids, pairs);
}

kvf_status_t kvfi_replay_tables_bind(struct replay_tables *t, const struct replay_sources *sources,
                                     const kvf_bind_local_t *locals, uint32_t local_count,
                                     kvf_remote_t *const *remotes)
{
    kvf_status_t status = prepare(t, sources);
    size_t ids = 0;

    t->op_count = 0;
    for (uint32_t s = 0; s < sources->count && status == KVF_OK; s++) {
        const struct replay_source *source = &sources->source[s];
        size_t op_count = t->op_room - t->op_count, id_count = t->id_room - ids;
        struct binding b;
        describe(t, sources, s, &b);
        b.bind.locals = locals;
        b.bind.local_count = local_count;
        b.bind.remotes = remotes + (uint64_t)source->member * sources->shape->ranges;
        b.bind.remote_count = source->segments;
        status = kvf_plan_bind(source->plan, &b.bind, t->ops + t->op_count, sizeof(kvf_op_t), &op_count,
                               t->ids + ids, &id_count);
        t->op_count += op_count;
        ids += id_count;
    }
    for (uint32_t j = 0; j < t->blocks; j++) {
        sources->entry[t->dst_ids[j]] = j;
    }
    return status;
}

/* -------------------------------------------------------------------- stale */

/* The steps that block `id` of source s shares with destination block j are stale. */
static void note_pair(struct replay_tables *t, const struct replay_sources *sources, uint32_t s, uint32_t id,
                      uint32_t j)
{
    uint32_t src = sources->shape->side[REPLAY_SRC].block_tokens / sources->step_tokens;
    uint32_t dst = sources->shape->side[REPLAY_DST].block_tokens / sources->step_tokens;
    const uint32_t *ids = t->src_ids + (uint64_t)s * t->src_blocks;
    uint64_t at = (uint64_t)j * dst, end = at + dst;

    for (; at < end; at++) {
        if (ids[at / src] == id) {
            t->stale[s * t->steps + at] = 1;
            t->any_stale = true;
        }
    }
}

void kvfi_replay_tables_note_stale(struct replay_tables *t, const struct replay_sources *sources,
                                   size_t posted)
{
    memset(t->stale, 0, t->steps * sources->count);
    for (uint32_t s = 0; s < sources->count; s++) {
        size_t end = s + 1 < sources->count ? t->first_op[s + 1] : t->op_count;
        for (size_t i = t->first_op[s]; i < end && i < posted; i++) {
            const kvf_op_t *op = &t->ops[i];
            for (uint32_t pair = 0; pair < op->blocks; pair++) {
                if (op->block_status[pair] == KVF_ERR_STALE) {
                    note_pair(t, sources, s, op->remote_ids[pair], sources->entry[op->local_ids[pair]]);
                }
            }
        }
    }
}

/* The tokens before the first one that is stale of any source. */
static uint64_t fresh_tokens(const struct replay_tables *t, const struct replay_sources *sources)
{
    uint64_t first = t->steps;

    for (uint32_t s = 0; s < sources->count && t->any_stale; s++) {
        const uint8_t *at = memchr(t->stale + s * t->steps, 1, first);
        first = at != NULL ? (uint64_t)(at - t->stale) - s * t->steps : first;
    }
    return first * sources->step_tokens;
}

static kvf_status_t disagree(const char *what, uint64_t told, uint64_t found)
{
    kvfi_cli_fail("kvf_plan_results: %s is %" PRIu64 ", and by the statuses of the pairs %" PRIu64, what,
                  told, found);
    return KVF_ERR_INVALID;
}

kvf_status_t kvfi_replay_tables_agree(struct replay_tables *t, const struct replay_sources *sources)
{
    kvf_plan_results_t results = {.struct_size = sizeof(results)};
    uint64_t fresh = fresh_tokens(t, sources), all = t->steps * sources->step_tokens, bad = 0, stale = 0;

    memset(t->block_status, KVF_INPROGRESS, t->blocks);
    for (uint32_t s = 0; s < sources->count; s++) {
        struct binding b;
        describe(t, sources, s, &b);
        kvf_status_t status = kvf_plan_results(sources->source[s].plan, &b.bind, KVF_OK, &results);
        if (status != KVF_OK) {
            kvfi_cli_fail("%s", kvf_last_error());
            return status;
        }
    }
    fresh = results.whole_only && fresh < all ? 0 : fresh;
    if (results.prefix_tokens != fresh) {
        return disagree("prefix_tokens", results.prefix_tokens, fresh);
    }
    for (uint32_t j = 0; j < t->blocks; j++) {
        uint64_t steps = t->steps / t->blocks;
        bool here = false;
        for (uint32_t s = 0; s < sources->count && t->any_stale; s++) {
            here = here || memchr(t->stale + s * t->steps + j * steps, 1, steps) != NULL;
        }
        stale += here;
        bad += t->block_status[j] != (here ? KVF_ERR_STALE : KVF_OK);
    }
    return bad == 0 ? KVF_OK : disagree("the number of blocks with another status", bad, stale);
}

uint64_t kvfi_replay_tables_stale(const struct replay_tables *t, const struct replay_sources *sources,
                                  uint32_t j, struct replay_stale *stale_p)
{
    uint32_t steps = sources->shape->side[REPLAY_DST].block_tokens / sources->step_tokens;
    uint64_t bytes = 0;

    for (uint32_t s = 0; s < sources->count; s++) {
        const struct replay_cut *cut = &sources->source[s].cut;
        const uint8_t *at = t->stale + s * t->steps + (uint64_t)j * steps;
        uint64_t tokens = 0;
        for (uint32_t i = 0; i < steps && t->any_stale; i++) {
            tokens += at[i] != 0 ? sources->step_tokens : 0;
        }
        stale_p[s] = (struct replay_stale){.cut = *cut, .steps = at};
        bytes += kvfi_replay_bytes(sources->shape->model, cut, tokens);
    }
    return bytes;
}

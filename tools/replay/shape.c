/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The shape of a replay: shape.h says what this room does.
 */
#include "config.h"

#include "shape.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"

#include "../cli.h"
#include "../cut.h"
#include "content.h"

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* a * num / den, without overflow for the numbers that occur here */
static uint64_t part_of(uint64_t a, uint64_t num, uint64_t den)
{
    return (uint64_t)((unsigned __int128)a * num / den);
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Drops units of tokens, whole KV blocks of both sides, then layers. */
static void apply_scale(const struct replay_opts *opts, struct replay_shape *shape)
{
    const struct replay_side *src = &shape->side[REPLAY_SRC], *dst = &shape->side[REPLAY_DST];
    uint64_t unit = (uint64_t)src->block_tokens / common_divisor(src->block_tokens, dst->block_tokens) *
                    dst->block_tokens;
    uint64_t full_units = shape->trace_tokens / unit, full = full_units * shape->full_layers;
    uint64_t want = part_of(full, opts->scale_num, opts->scale_den); /* (unit, layer) pairs */
    uint64_t units = part_of(full_units, opts->scale_num, opts->scale_den);
    uint64_t floor = larger(2, larger(src->pp, dst->pp));

    units = units < 1 ? 1 : units;
    floor = floor < shape->full_layers ? floor : shape->full_layers;
    uint64_t layers = want / units;
    layers = layers < floor ? floor : layers > shape->full_layers ? shape->full_layers : layers;
    shape->kept_tokens = (uint32_t)(units * unit);
    shape->layers = (uint32_t)layers;
    for (int i = 0; i < REPLAY_SIDES; i++) {
        shape->side[i].per_block = shape->kept_tokens / shape->side[i].block_tokens;
    }
    uint64_t divisor = common_divisor(units * layers, full);
    shape->left_num = units * layers / divisor;
    shape->left_den = full / divisor;
    shape->least = units == 1 && layers == floor;
    shape->less_asked =
        (unsigned __int128)opts->scale_num * full < (unsigned __int128)units * layers * opts->scale_den;
}

/* Tokens of a KV block by the layout's name and the model, where none were asked for. */
static int own_tokens(const struct kvfi_side_opts *side, const kvf_kv_model_t *model, uint64_t *tokens_p)
{
    kvf_layout_t *layout;

    if (kvf_layout_build(model, side->layout, NULL, &layout) != KVF_OK) {
        return kvfi_cli_fail("%s: %s", side->layout_option, kvf_last_error());
    }
    *tokens_p = kvf_layout_describe(layout)->groups[0].block_tokens;
    kvf_layout_destroy(layout);
    return 0;
}

static int choose_blocks(const struct kvfi_side_opts *asked, uint64_t trace_tokens,
                         const kvf_kv_model_t *model, struct replay_side *side)
{
    uint64_t own = 0;

    side->layout = asked->layout;
    if (own_tokens(asked, model, &own) != 0) {
        return -1;
    }
    uint64_t n = asked->block_tokens != 0 ? asked->block_tokens : own < trace_tokens ? own : trace_tokens;
    if (n > trace_tokens || trace_tokens % n != 0) {
        return kvfi_cli_fail("%s: %" PRIu64 " does not divide the %" PRIu64 " tokens of a trace block",
                             asked->block_option, n, trace_tokens);
    }
    side->block_tokens = (uint32_t)n;
    return 0;
}

/* Ranks of an instance of a side. */
static int choose_members(const struct kvfi_side_opts *asked, uint64_t ranks, const kvf_kv_model_t *model,
                          struct replay_side *side)
{
    if (asked->pp > model->layers) {
        return kvfi_cli_fail("%s: %" PRIu64 " stages cannot share the %" PRIu32 " layers of %s",
                             asked->pp_option, asked->pp, model->layers, model->name);
    }
    if (asked->tp * asked->pp > ranks) {
        return kvfi_cli_fail(
            "%s %" PRIu64 ", %s %" PRIu64 ": an instance takes %" PRIu64 " ranks, and the job has %" PRIu64,
            asked->tp_option, asked->tp, asked->pp_option, asked->pp, asked->tp * asked->pp, ranks);
    }
    side->tp = (uint32_t)asked->tp;
    side->pp = (uint32_t)asked->pp;
    side->members = side->tp * side->pp;
    return 0;
}

static int choose_ranks(const struct replay_opts *opts, int ranks, struct replay_shape *shape)
{
    struct replay_side *src = &shape->side[REPLAY_SRC], *dst = &shape->side[REPLAY_DST];
    const struct kvfi_side_opts *from = &opts->side[REPLAY_SRC], *to = &opts->side[REPLAY_DST];
    uint64_t all = (uint64_t)ranks, prefill = opts->prefill != 0 ? opts->prefill : src->members;

    shape->both = ranks == 1 && prefill == 1;
    if (shape->both && opts->paths != 0 && (opts->paths & KVF_PATH_BIT(KVF_PATH_SELF)) == 0) {
        return kvfi_cli_fail("--paths: one rank alone takes self, which is left out: mpirun -n 2");
    }
    if (shape->both) {
        src->ranks = dst->ranks = src->instances = dst->instances = 1;
        return 0;
    }
    if (prefill >= all && opts->prefill == 0) {
        return kvfi_cli_fail("%s %" PRIu64 ", %s %" PRIu64 ": a prefill instance takes all %d ranks and "
                             "leaves none to decode",
                             from->tp_option, from->tp, from->pp_option, from->pp, ranks);
    }
    if (prefill >= all) {
        return kvfi_cli_fail("--prefill: %" PRIu64 " of %d rank%s leaves none to decode", prefill, ranks,
                             ranks == 1 ? "" : "s");
    }
    if (prefill % src->members != 0) {
        return kvfi_cli_fail("--prefill: %" PRIu64 " ranks are no whole instances of %s %" PRIu64
                             ", %s %" PRIu64,
                             prefill, from->tp_option, from->tp, from->pp_option, from->pp);
    }
    if ((all - prefill) % dst->members != 0) {
        return kvfi_cli_fail("%s %" PRIu64 ", %s %" PRIu64 ": the %" PRIu64 " decode ranks of %d with "
                             "--prefill %" PRIu64 " are no whole instances",
                             to->tp_option, to->tp, to->pp_option, to->pp, all - prefill, ranks, prefill);
    }
    src->ranks = (uint32_t)prefill;
    dst->ranks = (uint32_t)(all - prefill);
    src->instances = src->ranks / src->members;
    dst->instances = dst->ranks / dst->members;
    dst->first_rank = src->ranks;
    return 0;
}

/* What the fault needs of model and trace, and the request that it goes into: the first one that is
 * served and has two trace blocks. */
static int choose_target(const struct replay_opts *opts, const kvfi_trace_t *trace,
                         struct replay_shape *shape)
{
    shape->target = UINT64_MAX;
    if (opts->inject == REPLAY_INJECT_NONE) {
        return 0;
    }
    const char *fault = kvfi_replay_inject_names[opts->inject];
    if (opts->inject == REPLAY_INJECT_SWAP_HEADS && shape->model->heads < 2) {
        return kvfi_cli_fail("--inject %s: %s has one head", fault, shape->model->name);
    }
    if (opts->inject == REPLAY_INJECT_SWAP_HEADS && kvfi_replay_held(shape, REPLAY_DST, 0).cut.heads < 2) {
        return kvfi_cli_fail("--inject %s: with --dst-tp %" PRIu32 " a decode rank holds one head", fault,
                             shape->side[REPLAY_DST].tp);
    }
    if (opts->inject == REPLAY_INJECT_WRONG_PLANE && shape->model->mla) {
        return kvfi_cli_fail("--inject %s: %s has no K and V to confuse", fault, shape->model->name);
    }
    for (uint64_t i = 0; i < trace->request_count; i++) {
        const kvfi_trace_request_t *request = &trace->requests[i];
        const uint64_t *ids = trace->ids + request->first;
        if (!kvfi_replay_too_large(opts, trace, i) && request->count >= 2 && ids[0] != ids[1]) {
            shape->target = i;
            return 0;
        }
    }
    return kvfi_cli_fail("--inject %s: no request that is served has two trace blocks", fault);
}

static int choose_model(const struct replay_opts *opts, uint64_t trace_tokens, int ranks,
                        struct replay_shape *shape)
{
    if (kvf_kv_model_find(opts->model, &shape->model) != KVF_OK) {
        return kvfi_cli_fail("--model: %s", kvf_last_error());
    }
    if (trace_tokens > UINT32_MAX) {
        return kvfi_cli_fail("--trace-block-tokens: %" PRIu64 " is too many", trace_tokens);
    }
    shape->trace_tokens = (uint32_t)trace_tokens;
    shape->full_layers = shape->model->layers;
    for (int i = 0; i < REPLAY_SIDES; i++) {
        const struct kvfi_side_opts *asked = &opts->side[i];
        if (choose_members(asked, (uint64_t)ranks, shape->model, &shape->side[i]) != 0 ||
            choose_blocks(asked, trace_tokens, shape->model, &shape->side[i]) != 0) {
            return -1;
        }
    }
    return choose_ranks(opts, ranks, shape);
}

/* The pools of prefill ranks, and layouts that can be built on every rank. */
static int choose_pools(const struct replay_opts *opts, struct replay_shape *shape)
{
    uint64_t pool = opts->blocks * shape->side[REPLAY_SRC].per_block;

    if (pool > INT32_MAX) {
        return kvfi_cli_fail("--blocks: %" PRIu64 " trace blocks are %" PRIu64
                             " KV blocks, and a pool has at most 2147483647",
                             opts->blocks, pool);
    }
    shape->pool_blocks = (uint32_t)pool;
    for (int i = 0; i < REPLAY_SIDES; i++) {
        for (uint32_t m = 0; m < shape->side[i].members; m++) {
            struct replay_held held = kvfi_replay_held(shape, i, m);
            kvf_layout_t *layout;
            if (kvfi_replay_layout(&held, 1, &layout) != KVF_OK) {
                return kvfi_cli_fail("%s: %s", opts->side[i].layout_option, kvf_last_error());
            }
            if (i == REPLAY_SRC) {
                shape->ranges = larger(shape->ranges, kvf_layout_describe(layout)->segment_count);
            }
            kvf_layout_destroy(layout);
        }
    }
    return 0;
}

int kvfi_replay_shape(const struct replay_opts *opts, const kvfi_trace_t *trace, int ranks,
                      struct replay_shape *shape_p)
{
    struct replay_shape shape = {.model = NULL};

    if (choose_model(opts, trace->block_tokens, ranks, &shape) != 0) {
        return KVFI_EXIT_USAGE;
    }
    apply_scale(opts, &shape);
    if (choose_pools(opts, &shape) != 0) {
        return KVFI_EXIT_USAGE;
    }
    for (uint64_t i = 0; i < trace->request_count; i++) {
        shape.refused += kvfi_replay_too_large(opts, trace, i);
    }
    if (choose_target(opts, trace, &shape) != 0) {
        return KVFI_EXIT_USAGE;
    }
    *shape_p = shape;
    return 0;
}

/* ------------------------------------------------------------------ who holds what */

bool kvfi_replay_is(const struct replay_shape *shape, int side, int rank, uint32_t *number_p)
{
    const struct replay_side *s = &shape->side[side];
    uint32_t number = (uint32_t)rank - s->first_rank;

    *number_p = number;
    return (uint32_t)rank >= s->first_rank && number < s->ranks;
}

struct replay_held kvfi_replay_held(const struct replay_shape *shape, int side, uint32_t member)
{
    const struct replay_side *s = &shape->side[side];
    struct replay_held held = {.model = shape->model, .layout = s->layout, .block_tokens = s->block_tokens};

    kvfi_cut_heads(shape->model->heads, s->tp, member % s->tp, &held.cut.first_head, &held.cut.heads);
    kvfi_cut_layers(shape->layers, s->pp, member / s->tp, &held.cut.first_layer, &held.cut.layers);
    return held;
}

kvf_status_t kvfi_replay_layout(const struct replay_held *held, uint32_t blocks, kvf_layout_t **layout_p)
{
    kvf_layout_opts_t opts = {
        .struct_size = sizeof(opts),
        .block_tokens = held->block_tokens,
        .blocks = blocks,
        .first_layer = held->cut.first_layer,
        .layer_count = held->cut.layers,
        .first_head = held->cut.first_head,
        .heads = held->cut.heads,
    };

    return kvf_layout_build(held->model, held->layout, &opts, layout_p);
}

uint64_t kvfi_replay_bytes(const kvf_kv_model_t *model, const struct replay_cut *cut, uint64_t tokens)
{
    return tokens * cut->layers * (cut->heads * (model->k_bytes + model->v_bytes) + model->indexer_bytes);
}

uint32_t kvfi_replay_prefill_of(const struct replay_shape *shape, const kvfi_trace_t *trace, uint64_t request)
{
    const kvfi_trace_request_t *r = &trace->requests[request];
    const uint64_t *ids = trace->ids + r->first;
    uint64_t id = r->count > 1 ? ids[1] : r->count == 1 ? ids[0] : 0;

    return (uint32_t)(kvfi_replay_splitmix(id) % shape->side[REPLAY_SRC].instances);
}

uint32_t kvfi_replay_decode_of(const struct replay_shape *shape, uint64_t request)
{
    return (uint32_t)(request % shape->side[REPLAY_DST].instances);
}

int kvfi_replay_rank_of(const struct replay_shape *shape, int side, uint32_t instance, uint32_t member)
{
    const struct replay_side *s = &shape->side[side];

    return (int)(s->first_rank + instance * s->members + member);
}

/* ------------------------------------------------------------------ memory */

bool kvfi_replay_too_large(const struct replay_opts *opts, const kvfi_trace_t *trace, uint64_t request)
{
    return trace->requests[request].count > opts->blocks;
}

uint64_t kvfi_replay_decode_need(const struct replay_opts *opts, const struct replay_shape *shape,
                                 const kvfi_trace_t *trace, uint32_t instance)
{
    const struct replay_side *dst = &shape->side[REPLAY_DST];
    uint64_t largest = 0, sum = 0, count = 0;

    for (uint64_t i = instance; i < trace->request_count; i += dst->instances) {
        if (!kvfi_replay_too_large(opts, trace, i)) {
            uint64_t blocks = trace->requests[i].count;
            largest = blocks > largest ? blocks : largest;
            sum += blocks;
            count++;
        }
    }
    if (count == 0) {
        return 0;
    }
    /* Room for the largest, and else for twice as much as `depth` requests take in the middle: sizes
     * differ by two orders, and `depth` of the largest hardly ever meet. */
    uint64_t depth = opts->depth < count ? opts->depth : count;
    uint64_t usual = (2 * depth * sum + count - 1) / count;
    uint64_t blocks = usual > largest ? usual : largest;
    blocks = blocks > largest * depth ? largest * depth : blocks;
    return blocks * dst->per_block;
}

/* Bytes of so many blocks that a rank holds, or so much that it fits nowhere. */
static uint64_t block_bytes(const struct replay_shape *shape, int side, uint32_t number, uint64_t blocks)
{
    const struct replay_side *s = &shape->side[side];
    struct replay_held held = kvfi_replay_held(shape, side, number % s->members);
    unsigned __int128 all =
        (unsigned __int128)blocks * kvfi_replay_bytes(shape->model, &held.cut, s->block_tokens);

    return all > UINT64_MAX >> 16 ? UINT64_MAX >> 16 : (uint64_t)all; /* room to add up ranks */
}

/* What the ranks of this node take together for pools, and for what they pull. */
static void node_need(struct replay_comm *comm, const struct replay_opts *opts,
                      const struct replay_shape *shape, const kvfi_trace_t *trace, uint64_t *pools_p,
                      uint64_t *pulled_p)
{
    uint64_t pools = 0, pulled = 0, need;
    uint32_t number;

    if (kvfi_replay_is(shape, REPLAY_SRC, comm->rank, &number)) {
        pools = block_bytes(shape, REPLAY_SRC, number, shape->pool_blocks);
    }
    if (kvfi_replay_is(shape, REPLAY_DST, comm->rank, &number)) {
        need = kvfi_replay_decode_need(opts, shape, trace, number / shape->side[REPLAY_DST].members);
        pulled = need > 0 ? block_bytes(shape, REPLAY_DST, number, kvfi_replay_spaced(need)) : 0;
    }
    *pools_p = kvfi_replay_node_sum(comm, pools);
    *pulled_p = kvfi_replay_node_sum(comm, pulled);
}

uint64_t kvfi_replay_shape_need(struct replay_comm *comm, const struct replay_opts *opts,
                                const struct replay_shape *shape, const kvfi_trace_t *trace)
{
    uint64_t pools, pulled;

    node_need(comm, opts, shape, trace, &pools, &pulled);
    return pools + pulled;
}

/* What would help. blocks: so many would fit. */
static void say_fit(const struct replay_shape *shape, uint64_t blocks, char *text, size_t len)
{
    if (blocks > 0) {
        snprintf(text, len, "--blocks %" PRIu64 " would fit%s", blocks,
                 shape->least ? "; no smaller --scale takes less" : ", and a smaller --scale takes less");
    } else {
        snprintf(text, len, "%s",
                 shape->least ? "no smaller --scale takes less, a smaller --depth may"
                              : "a smaller --scale takes less");
    }
}

int kvfi_replay_shape_memory(struct replay_comm *comm, const struct replay_opts *opts,
                             const struct replay_shape *shape, const kvfi_trace_t *trace)
{
    uint64_t pool = block_bytes(shape, REPLAY_SRC, 0, shape->pool_blocks), pools, pulled;
    uint32_t number;
    const char *limit;
    uint64_t free_bytes = kvfi_memory_available(&limit);
    char a[32], b[32], c[32], fit[96];

    if (kvfi_replay_is(shape, REPLAY_SRC, comm->rank, &number)) {
        pool = block_bytes(shape, REPLAY_SRC, number, shape->pool_blocks);
    }
    node_need(comm, opts, shape, trace, &pools, &pulled);
    if (pools <= free_bytes && pulled <= free_bytes - pools) {
        return 0;
    }
    say_fit(shape, pulled < free_bytes ? part_of(opts->blocks, free_bytes - pulled, pools) : 0, fit,
            sizeof(fit));
    kvfi_cli_fail("--blocks %" PRIu64 ": a pool of so many trace blocks takes %s, all ranks of this "
                  "node together take %s, and %s are free (%s): %s",
                  opts->blocks, kvfi_cli_bytes(pool, a, sizeof(a)),
                  kvfi_cli_bytes(pools + pulled, b, sizeof(b)), kvfi_cli_bytes(free_bytes, c, sizeof(c)),
                  limit, fit);
    return KVFI_EXIT_USAGE;
}

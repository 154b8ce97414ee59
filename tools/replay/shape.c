/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The shape of a replay: shape.h says what this room does.
 */
#include "config.h"

#include "shape.h"

#include <inttypes.h>
#include <stdio.h>

#include "../cli.h"
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

static void apply_scale(const struct replay_opts *opts, struct replay_shape *shape)
{
    uint64_t full = (uint64_t)shape->full_per_block * shape->full_layers;
    uint64_t want = part_of(full, opts->scale_num, opts->scale_den); /* (block, layer) pairs */
    uint64_t blocks = part_of(shape->full_per_block, opts->scale_num, opts->scale_den);
    uint64_t floor = shape->full_layers < 2 ? shape->full_layers : 2;

    blocks = blocks < 1 ? 1 : blocks;
    uint64_t layers = want / blocks;
    layers = layers < floor ? floor : layers > shape->full_layers ? shape->full_layers : layers;
    shape->per_block = (uint32_t)blocks;
    shape->layers = (uint32_t)layers;
    uint64_t divisor = common_divisor(blocks * layers, full);
    shape->left_num = blocks * layers / divisor;
    shape->left_den = full / divisor;
    shape->less_asked = (unsigned __int128)opts->scale_num * full <
                        (unsigned __int128)blocks * layers * opts->scale_den;
}

static int choose_blocks(const struct replay_opts *opts, uint64_t trace_tokens,
                         struct replay_shape *shape)
{
    uint64_t own = shape->model->mla ? 64 : 16;
    uint64_t n = opts->block_tokens != 0 ? opts->block_tokens
                 : own < trace_tokens    ? own
                                         : trace_tokens;

    if (trace_tokens > UINT32_MAX) {
        return kvfi_cli_fail("--trace-block-tokens: %" PRIu64 " is too many", trace_tokens);
    }
    if (n > trace_tokens || trace_tokens % n != 0) {
        return kvfi_cli_fail("--block-tokens: %" PRIu64 " does not divide the %" PRIu64
                             " tokens of a trace block", n, trace_tokens);
    }
    shape->trace_tokens = (uint32_t)trace_tokens;
    shape->block_tokens = (uint32_t)n;
    shape->full_per_block = (uint32_t)(trace_tokens / n);
    shape->full_layers = shape->model->layers;
    return 0;
}

static int choose_ranks(const struct replay_opts *opts, int ranks, struct replay_shape *shape)
{
    shape->both = ranks == 1;
    if (shape->both && opts->prefill == 1) {
        shape->prefill = shape->decode = 1;
        return 0;
    }
    if (opts->prefill >= (uint64_t)ranks) {
        return kvfi_cli_fail("--prefill: %" PRIu64 " of %d rank%s leaves none to decode",
                             opts->prefill, ranks, ranks == 1 ? "" : "s");
    }
    shape->prefill = (uint32_t)opts->prefill;
    shape->decode = (uint32_t)ranks - shape->prefill;
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

int kvfi_replay_shape(const struct replay_opts *opts, const kvfi_trace_t *trace, int ranks,
                      struct replay_shape *shape_p)
{
    struct replay_shape shape = {.layout = opts->layout};
    kvf_layout_t *layout;

    if (choose_ranks(opts, ranks, &shape) != 0) {
        return KVFI_EXIT_USAGE;
    }
    if (kvf_kv_model_find(opts->model, &shape.model) != KVF_OK) {
        kvfi_cli_fail("--model: %s", kvf_last_error());
        return KVFI_EXIT_USAGE;
    }
    if (choose_blocks(opts, trace->block_tokens, &shape) != 0) {
        return KVFI_EXIT_USAGE;
    }
    apply_scale(opts, &shape);
    uint64_t pool = opts->blocks * shape.per_block;
    if (pool > INT32_MAX) {
        kvfi_cli_fail("--blocks: %" PRIu64 " trace blocks are %" PRIu64
                      " KV blocks, and a pool has at most 2147483647", opts->blocks, pool);
        return KVFI_EXIT_USAGE;
    }
    shape.pool_blocks = (uint32_t)pool;
    if (kvfi_replay_shape_layout(&shape, 1, &layout) != KVF_OK) {
        kvfi_cli_fail("--layout: %s", kvf_last_error());
        return KVFI_EXIT_USAGE;
    }
    shape.block_bytes = kvf_layout_block_bytes(layout);
    kvf_layout_destroy(layout);
    for (uint64_t i = 0; i < trace->request_count; i++) {
        shape.refused += kvfi_replay_too_large(opts, trace, i);
    }
    if (choose_target(opts, trace, &shape) != 0) {
        return KVFI_EXIT_USAGE;
    }
    *shape_p = shape;
    return 0;
}

kvf_status_t kvfi_replay_shape_layout(const struct replay_shape *shape, uint32_t blocks,
                                      kvf_layout_t **layout_p)
{
    kvf_layout_opts_t opts = {
        .struct_size = sizeof(opts),
        .block_tokens = shape->block_tokens,
        .blocks = blocks,
        .layer_count = shape->layers,
    };

    return kvf_layout_build(shape->model, shape->layout, &opts, layout_p);
}

uint32_t kvfi_replay_prefill_of(const struct replay_shape *shape, const kvfi_trace_t *trace,
                                uint64_t request)
{
    const kvfi_trace_request_t *r = &trace->requests[request];
    const uint64_t *ids = trace->ids + r->first;
    uint64_t id = r->count > 1 ? ids[1] : r->count == 1 ? ids[0] : 0;

    return (uint32_t)(kvfi_replay_splitmix(id) % shape->prefill);
}

uint32_t kvfi_replay_decode_of(const struct replay_shape *shape, uint64_t request)
{
    return (uint32_t)(request % shape->decode);
}

int kvfi_replay_prefill_rank(const struct replay_shape *shape, uint32_t prefill)
{
    (void)shape;
    return (int)prefill;
}

int kvfi_replay_decode_rank(const struct replay_shape *shape, uint32_t decode)
{
    return shape->both ? 0 : (int)(shape->prefill + decode);
}

bool kvfi_replay_too_large(const struct replay_opts *opts, const kvfi_trace_t *trace,
                           uint64_t request)
{
    return trace->requests[request].count > opts->blocks;
}

uint64_t kvfi_replay_decode_need(const struct replay_opts *opts, const struct replay_shape *shape,
                                 const kvfi_trace_t *trace, uint32_t decode)
{
    uint64_t largest = 0, sum = 0, count = 0;

    for (uint64_t i = decode; i < trace->request_count; i += shape->decode) {
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
    return blocks * shape->per_block;
}

/* a * b, or so much that it fits nowhere */
static uint64_t product(uint64_t a, uint64_t b)
{
    unsigned __int128 all = (unsigned __int128)a * b;

    return all > UINT64_MAX >> 16 ? UINT64_MAX >> 16 : (uint64_t)all; /* room to add up ranks */
}

int kvfi_replay_shape_memory(struct replay_comm *comm, const struct replay_opts *opts,
                             const struct replay_shape *shape, uint64_t decode_blocks)
{
    bool prefill = shape->both || (uint32_t)comm->rank < shape->prefill;
    uint64_t pool = product(shape->pool_blocks, shape->block_bytes);
    uint64_t pools = kvfi_replay_node_sum(comm, prefill ? pool : 0);
    uint64_t pulled = kvfi_replay_node_sum(
        comm, decode_blocks > 0 ? product(kvfi_replay_spaced(decode_blocks), shape->block_bytes) : 0);
    const char *limit;
    uint64_t free_bytes = kvfi_cli_free_memory(&limit);
    char a[32], b[32], c[32], fit[64] = "";

    if (pools <= free_bytes && pulled <= free_bytes - pools) {
        return 0;
    }
    if (pulled < free_bytes && part_of(opts->blocks, free_bytes - pulled, pools) > 0) {
        snprintf(fit, sizeof(fit), "--blocks %" PRIu64 " or ",
                 part_of(opts->blocks, free_bytes - pulled, pools));
    }
    kvfi_cli_fail("--blocks %" PRIu64 ": a pool of so many trace blocks takes %s, all ranks of this "
                  "node together take %s, and %s are %s: %sa smaller --scale would fit", opts->blocks,
                  kvfi_cli_bytes(pool, a, sizeof(a)), kvfi_cli_bytes(pools + pulled, b, sizeof(b)),
                  kvfi_cli_bytes(free_bytes, c, sizeof(c)), limit, fit);
    return KVFI_EXIT_USAGE;
}

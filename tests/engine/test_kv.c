/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Plans through a real engine: two pools of one process, each pair of layouts, random block tables
 * with skips, ranges that cut blocks, generations. What an engine checks before it copies (extents,
 * overlap, ids) must let each bound plan pass, and the bytes must be those of the slow oracle. One
 * process, path self.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "unit/kv_oracle.h"

#define BLOCKS  12
#define MAX_OPS 256
#define LAYERS  4

static const char *const names[] = {"LBHNC",  "LBNHC",  "LHBNC",  "BLHNC",  "BLNHC",  "BHLNC",
                                    "L2BNHD", "LB2NHD", "BL2HND", "BL2NHD", "2LBNHD", "2BLNHD"};

#define NAME_COUNT ((int)(sizeof(names) / sizeof(names[0])))

typedef struct end {
    kvf_layout_t *layout;
    kvf_pool_t *pool;
    kvf_grant_t *grant;
    kvf_remote_t *remote;
    cache_t cache;
    uint32_t ids[BLOCKS], gens[BLOCKS];
    table_t table;
    uint32_t slices; /* segments into which the pool is cut where it is the local side; 0: one */
} end_t;

static kvf_engine_t *engine;
static kvf_peer_t *self;
static kvf_batch_t *batch;

static void must(kvf_status_t status)
{
    ck_assert_msg(status == KVF_OK, "%s: %s", kvf_status_name(status), kvf_last_error());
}

static void open_engine(void)
{
    static char blob[65536];
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .check = KVF_SWITCH_ON};
    size_t len = sizeof(blob);

    must(kvf_engine_open(&opts, &engine));
    must(kvf_engine_export(engine, 0, blob, &len));
    must(kvf_peer_import(engine, blob, len, &self));
    must(kvf_batch_create(engine, &batch));
}

static void close_engine(void)
{
    must(kvf_engine_close(engine, KVF_FOREVER));
}

static kvf_layout_opts_t layout_opts(uint32_t tokens, uint32_t blocks)
{
    static const uint32_t layers[LAYERS] = {1, 2, 4, 5};

    return (kvf_layout_opts_t){.struct_size = sizeof(kvf_layout_opts_t),
                               .block_tokens = tokens,
                               .blocks = blocks,
                               .layers = layers,
                               .layer_count = LAYERS,
                               .first_head = 1,
                               .heads = 3};
}

static void make_end_of(end_t *e, const kvf_kv_model_t *model, const char *name, uint32_t tokens,
                        uint32_t blocks)
{
    static char blob[65536];
    kvf_layout_opts_t opts = layout_opts(tokens, blocks);
    kvf_pool_opts_t pool_opts = {.struct_size = sizeof(pool_opts), .blocks = blocks};
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_range_t range = {.rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    size_t len = sizeof(blob);
    uint32_t count = 1;

    memset(e, 0, sizeof(*e));
    must(kvf_layout_build(model, name, &opts, &e->layout));
    pool_opts.block_bytes = kvf_layout_block_bytes(e->layout);
    must(kvf_pool_create(engine, &pool_opts, &e->pool));
    must(kvf_pool_alloc(e->pool, blocks, e->ids));
    must(kvf_segment_query(kvf_pool_segment(e->pool), &attr));
    oracle_make(&e->cache, model, &opts, name, 0);
    ck_assert_uint_eq(attr.len, e->cache.memory.len);
    e->cache.memory.mem = attr.addr;
    range.segment = kvf_pool_segment(e->pool);
    range.len = attr.len;
    must(kvf_grant_create(engine, &range, 1, NULL, &e->grant));
    must(kvf_grant_export(e->grant, blob, &len));
    must(kvf_remote_import(self, blob, len, &e->remote, &count));
    for (uint32_t i = blocks; i > 1; i--) {
        uint32_t j = (uint32_t)rand() % i, id = e->ids[i - 1];

        e->ids[i - 1] = e->ids[j];
        e->ids[j] = id;
    }
    must(kvf_pool_generations(e->pool, blocks, e->ids, e->gens));
    e->table = (table_t){.ids = e->ids, .count = blocks, .block_tokens = tokens};
}

static void make_end(end_t *e, const kvf_kv_model_t *model, const char *name)
{
    make_end_of(e, model, name, 4, BLOCKS);
}

static void free_end(end_t *e)
{
    must(kvf_remote_forget(e->remote));
    must(kvf_grant_revoke(e->grant, KVF_FOREVER));
    must(kvf_pool_destroy(e->pool));
    kvf_layout_destroy(e->layout);
}

/* The pool as the local side has it: whole, or cut in slices of one length. */
static uint32_t cut(const end_t *e, kvf_bind_local_t *locals)
{
    uint32_t count = e->slices != 0 ? e->slices : 1;

    for (uint32_t i = 0; i < count; i++)
        locals[i] = (kvf_bind_local_t){.segment = kvf_pool_segment(e->pool),
                                       .off = i * e->cache.memory.len / count,
                                       .len = e->cache.memory.len / count};
    return count;
}

static void move(const kvf_plan_t *plan, end_t *src, end_t *dst, uint64_t from, uint64_t tokens, bool read)
{
    static kvf_op_t ops[MAX_OPS];
    int8_t status[BLOCKS];
    kvf_bind_local_t locals[LAYERS];
    kvf_bind_table_t from_table = {.ids = src->ids, .count = BLOCKS, .gens = read ? src->gens : NULL};
    kvf_bind_table_t to_table = {.ids = dst->ids, .count = BLOCKS, .block_status = status};
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .dir = read ? KVF_READ : KVF_WRITE,
                       .src_table_count = 1,
                       .dst_table_count = 1,
                       .src_tables = &from_table,
                       .dst_tables = &to_table,
                       .first_token = from,
                       .tokens = tokens,
                       .locals = locals,
                       .remotes = read ? &src->remote : &dst->remote,
                       .local_count = cut(read ? dst : src, locals),
                       .remote_count = 1};
    static unsigned turn;
    size_t count = MAX_OPS;
    uint64_t len = dst->cache.memory.len;
    cache_t want = dst->cache;

    want.memory.mem = malloc(len);
    memcpy(want.memory.mem, dst->cache.memory.mem, len);
    oracle_expect(&want, &src->table, &dst->table, from, from + tokens, false, NULL);
    if (turn++ % 2 == 0) {
        must(kvf_plan_post(plan, &bind, batch, NULL));
    } else {
        must(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL));
        must(kvf_batch_post(batch, ops, count, sizeof(ops[0]), NULL));
    }
    must(kvf_batch_wait(batch, KVF_FOREVER));
    ck_assert_msg(memcmp(dst->cache.memory.mem, want.memory.mem, len) == 0, "%s to %s",
                  src->cache.regions[0].axes, dst->cache.regions[0].axes);
    for (uint64_t e = from / 4; tokens > 0 && e <= (from + tokens - 1) / 4; e++) {
        bool skip = src->ids[e] == KVF_SKIP || dst->ids[e] == KVF_SKIP;

        ck_assert_int_eq(status[e], skip ? KVF_SKIPPED : KVF_OK);
    }
    free(want.memory.mem);
}

START_TEST(an_engine_takes_each_bound_plan)
{
    const kvf_kv_model_t model = oracle_model(false);

    srand(900 + (unsigned)_i);
    open_engine();
    for (int j = 0; j < NAME_COUNT; j++) {
        kvf_plan_t *plan;
        end_t src, dst;

        make_end(&src, &model, names[_i]);
        make_end(&dst, &model, names[j]);
        oracle_fill(&src.cache, &src.table);
        src.ids[rand() % BLOCKS] = KVF_SKIP;
        dst.ids[rand() % BLOCKS] = KVF_SKIP;
        must(kvf_plan_create(src.layout, dst.layout, NULL, &plan));
        for (unsigned i = 0; i < 6; i++) {
            uint64_t from = (uint64_t)rand() % 40;

            move(plan, &src, &dst, from, (uint64_t)rand() % (49 - from), i % 2);
        }
        move(plan, &src, &dst, 0, 48, true);
        kvf_plan_destroy(plan);
        free_end(&src);
        free_end(&dst);
    }
    close_engine();
}
END_TEST

/* As an engine has its cache that takes one pool, and a layer of it for each segment of the layout. */
START_TEST(layers_that_are_parts_of_one_pool_move_right_bytes)
{
    const kvf_kv_model_t model = oracle_model(false);
    kvf_layout_opts_t opts = layout_opts(4, BLOCKS);
    bool read = _i == 0;
    kvf_layout_t *apart;
    kvf_plan_t *plan;
    end_t src, dst;

    srand(77);
    open_engine();
    make_end(&src, &model, "LB2NHD");
    make_end(&dst, &model, "LB2NHD");
    must(kvf_layout_build(&model, "L/B2NHD", &opts, &apart));
    ck_assert_uint_eq(kvf_layout_describe(apart)->segment_count, LAYERS);
    (read ? &dst : &src)->slices = LAYERS;
    must(kvf_plan_create(read ? src.layout : apart, read ? apart : dst.layout, NULL, &plan));
    oracle_fill(&src.cache, &src.table);
    move(plan, &src, &dst, 3, 38, read);
    move(plan, &src, &dst, 0, 48, read);
    kvf_plan_destroy(plan);
    kvf_layout_destroy(apart);
    free_end(&src);
    free_end(&dst);
    close_engine();
}
END_TEST

START_TEST(a_reused_block_is_stale_in_each_op_that_shares_its_status)
{
    const kvf_kv_model_t model = oracle_model(false);
    kvf_plan_t *plan;
    end_t src, dst;
    kvf_op_t ops[64];
    int8_t status[BLOCKS];
    kvf_bind_table_t from = {.count = BLOCKS}, to = {.count = BLOCKS, .block_status = status};
    kvf_bind_local_t local = {0};
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .src_table_count = 1,
                       .dst_table_count = 1,
                       .src_tables = &from,
                       .dst_tables = &to,
                       .first_token = 1,
                       .tokens = 46,
                       .locals = &local,
                       .local_count = 1,
                       .remote_count = 1};
    size_t count = 64;

    open_engine();
    make_end(&src, &model, "LBNHC");
    make_end(&dst, &model, "LBHNC");
    must(kvf_plan_create(src.layout, dst.layout, NULL, &plan));
    local.segment = kvf_pool_segment(dst.pool);
    bind.remotes = &src.remote;
    from.ids = src.ids;
    to.ids = dst.ids;
    from.gens = src.gens;
    must(kvf_pool_raise(src.pool, 1, &src.ids[0]));
    must(kvf_pool_raise(src.pool, 1, &src.ids[5]));
    must(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL));
    ck_assert_uint_gt(count, 3);
    must(kvf_batch_post(batch, ops, count, sizeof(ops[0]), NULL));
    ck_assert_int_eq(kvf_batch_wait(batch, KVF_FOREVER), KVF_ERR_STALE);
    for (unsigned i = 0; i < BLOCKS; i++)
        ck_assert_int_eq(status[i], i == 0 || i == 5 ? KVF_ERR_STALE : KVF_OK);
    kvf_plan_destroy(plan);
    free_end(&src);
    free_end(&dst);
    close_engine();
}
END_TEST

/* 48 tokens in blocks of 4 and of 6, a source block that is reused, placeholders in the destination's
 * table: what an engine checks, ids that were written, generations beside them, statuses by pair. */
START_TEST(blocks_of_other_sizes_bring_their_generations)
{
    const kvf_kv_model_t model = oracle_model(false);
    kvf_op_t ops[MAX_OPS];
    uint32_t ids[1024];
    int8_t status[1024];
    size_t count = MAX_OPS, id_count = 1024, stale = 0;
    kvf_plan_t *plan;
    end_t src, dst;
    cache_t want;

    srand(77 + (unsigned)_i);
    open_engine();
    make_end_of(&src, &model, names[_i], 4, 12);
    make_end_of(&dst, &model, names[(_i * 7 + 3) % NAME_COUNT], 6, 8);
    kvf_bind_table_t from = {.ids = src.ids, .count = 12, .gens = src.gens};
    kvf_bind_table_t to = {.ids = dst.ids, .count = 8, .flags = KVF_TABLE_NULL};
    kvf_bind_local_t local = {.segment = kvf_pool_segment(dst.pool)};
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .src_table_count = 1,
                       .dst_table_count = 1,
                       .src_tables = &from,
                       .dst_tables = &to,
                       .first_token = 1,
                       .tokens = 45,
                       .locals = &local,
                       .remotes = &src.remote,
                       .local_count = 1,
                       .remote_count = 1};

    oracle_fill(&src.cache, &src.table);
    to.null_id = dst.ids[3];
    must(kvf_plan_create(src.layout, dst.layout, NULL, &plan));
    must(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, ids, &id_count));
    want = dst.cache;
    want.memory.mem = malloc(dst.cache.memory.len);
    memcpy(want.memory.mem, dst.cache.memory.mem, dst.cache.memory.len);
    dst.ids[3] = KVF_SKIP;
    oracle_expect(&want, &src.table, &dst.table, 1, 46, false, NULL);
    must(kvf_batch_post(batch, ops, count, sizeof(ops[0]), NULL));
    must(kvf_batch_wait(batch, KVF_FOREVER));
    ck_assert_msg(memcmp(dst.cache.memory.mem, want.memory.mem, want.memory.len) == 0, "%s to %s",
                  src.cache.regions[0].axes, dst.cache.regions[0].axes);
    /* The second source block: states 4 to 7, of the first two destination blocks. */
    must(kvf_pool_raise(src.pool, 1, &src.ids[1]));
    for (size_t i = 0, at = 0; i < count; at += ops[i++].blocks)
        ops[i].block_status = status + at;
    must(kvf_batch_post(batch, ops, count, sizeof(ops[0]), NULL));
    ck_assert_int_eq(kvf_batch_wait(batch, KVF_FOREVER), KVF_ERR_STALE);
    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < ops[i].blocks; k++) {
            bool skip = ops[i].local_ids[k] == KVF_SKIP, old = ops[i].remote_ids[k] == src.ids[1];

            ck_assert_int_eq(ops[i].block_status[k], skip ? KVF_SKIPPED : old ? KVF_ERR_STALE : KVF_OK);
            stale += old;
        }
    ck_assert_uint_ge(stale, 2);
    free(want.memory.mem);
    kvf_plan_destroy(plan);
    free_end(&src);
    free_end(&dst);
    close_engine();
}
END_TEST

/* ------------------------------------------------------- what a batch keeps */

/* Blocks of 4 tokens to blocks of 6: ids of its own, pairs that are no entries. */
typedef struct pull {
    end_t src, dst;
    kvf_plan_t *plan;
    kvf_bind_table_t from, to;
    kvf_bind_local_t local;
    kvf_bind_t bind;
    int8_t entries[8];
    kvf_plan_results_t results;
} pull_t;

static void open_pull(pull_t *p)
{
    const kvf_kv_model_t model = oracle_model(false);

    open_engine();
    memset(p, 0, sizeof(*p));
    make_end_of(&p->src, &model, "LBHNC", 4, 12);
    make_end_of(&p->dst, &model, "BLNHC", 6, 8);
    oracle_fill(&p->src.cache, &p->src.table);
    must(kvf_plan_create(p->src.layout, p->dst.layout, NULL, &p->plan));
    p->from = (kvf_bind_table_t){.ids = p->src.ids, .count = 12, .gens = p->src.gens};
    p->to = (kvf_bind_table_t){.ids = p->dst.ids, .count = 8, .block_status = p->entries};
    p->local.segment = kvf_pool_segment(p->dst.pool);
    p->bind = (kvf_bind_t){.struct_size = sizeof(p->bind),
                           .flags = KVF_BIND_KEEP,
                           .src_table_count = 1,
                           .dst_table_count = 1,
                           .src_tables = &p->from,
                           .dst_tables = &p->to,
                           .first_token = 1,
                           .tokens = 45,
                           .locals = &p->local,
                           .remotes = &p->src.remote,
                           .local_count = 1,
                           .remote_count = 1};
}

static void close_pull(pull_t *p)
{
    kvf_plan_destroy(p->plan);
    free_end(&p->src);
    free_end(&p->dst);
    close_engine();
}

/* Post and wait; the bytes are right, and so far as the results say. */
static void run_pull(pull_t *p, uint64_t first, uint64_t tokens, uint32_t first_layer, uint32_t layers)
{
    cache_t want = p->dst.cache;

    p->bind.first_token = first;
    p->bind.tokens = tokens;
    p->bind.first_layer = first_layer;
    p->bind.layer_count = layers;
    want.memory.mem = malloc(want.memory.len);
    memcpy(want.memory.mem, p->dst.cache.memory.mem, want.memory.len);
    if (layers == 0)
        oracle_expect(&want, &p->src.table, &p->dst.table, first, first + tokens, false, NULL);
    memset(p->entries, KVF_INPROGRESS, sizeof(p->entries));
    p->results = (kvf_plan_results_t){.struct_size = sizeof(p->results)};
    must(kvf_plan_post(p->plan, &p->bind, batch, NULL));
    must(kvf_batch_wait(batch, KVF_FOREVER));
    must(kvf_plan_post_results(p->plan, &p->bind, batch, &p->results));
    ck_assert_uint_eq(p->results.prefix_tokens, tokens);
    ck_assert_uint_eq(p->results.failed, 0);
    if (layers == 0)
        ck_assert(memcmp(p->dst.cache.memory.mem, want.memory.mem, want.memory.len) == 0);
    free(want.memory.mem);
}

START_TEST(a_kept_binding_grows_with_its_request_and_tells_what_arrived)
{
    pull_t p;

    open_pull(&p);
    run_pull(&p, 1, 3, 0, 0);
    run_pull(&p, 0, 48, 0, 0);
    memset(p.dst.cache.memory.mem, 0, p.dst.cache.memory.len);
    run_pull(&p, 0, 48, 0, 3);
    run_pull(&p, 0, 48, 4, 2);
    run_pull(&p, 0, 48, 0, 0);
    run_pull(&p, 13, 20, 0, 0);
    must(kvf_pool_raise(p.src.pool, 1, &p.src.ids[7])); /* tokens 28 to 31 */
    memset(p.entries, KVF_INPROGRESS, sizeof(p.entries));
    p.results = (kvf_plan_results_t){.struct_size = sizeof(p.results)};
    must(kvf_plan_post(p.plan, &p.bind, batch, NULL));
    ck_assert_int_eq(kvf_batch_wait(batch, KVF_FOREVER), KVF_ERR_STALE);
    must(kvf_plan_post_results(p.plan, &p.bind, batch, &p.results));
    ck_assert_uint_eq(p.results.prefix_tokens, 15);
    ck_assert_int_eq(p.results.status, KVF_ERR_STALE);
    for (unsigned e = 2; e < 6; e++) /* of 6 tokens each */
        ck_assert_int_eq(p.entries[e], e == 4 || e == 5 ? KVF_ERR_STALE : KVF_OK);
    close_pull(&p);
}
END_TEST

static void expect(kvf_status_t got, kvf_status_t want, const char *start)
{
    ck_assert_msg(got == want, "%s instead of %s: %s", kvf_status_name(got), kvf_status_name(want),
                  kvf_last_error());
    ck_assert_msg(strncmp(kvf_last_error(), start, strlen(start)) == 0, "\"%s\" is not \"%s...\"",
                  kvf_last_error(), start);
}

START_TEST(a_post_that_is_refused_moves_nothing_and_fails_every_pair)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .paths = KVF_PATH_BIT(KVF_PATH_CMA)};
    pull_t p;

    open_pull(&p);
    p.results.struct_size = sizeof(p.results);
    expect(kvf_plan_post(p.plan, &p.bind, batch, &opts), KVF_ERR_NO_PATH, "op 0");
    must(kvf_plan_post_results(p.plan, &p.bind, batch, &p.results));
    ck_assert_int_eq(p.results.status, KVF_ERR_NO_PATH);
    ck_assert_uint_eq(p.results.prefix_tokens, 0);
    ck_assert_uint_eq(p.results.arrived, 0);
    ck_assert_int_eq(p.entries[2], KVF_ERR_NO_PATH);
    close_pull(&p);
}
END_TEST

START_TEST(wrong_calls_of_what_a_batch_keeps_are_refused_by_name)
{
    kvf_plan_results_t results = {.struct_size = sizeof(results)};
    int8_t pairs[4] = {0};
    void *kept;
    pull_t p;

    open_pull(&p);
    expect(kvf_plan_post(NULL, &p.bind, batch, NULL), KVF_ERR_INVALID, "bind: plan is NULL");
    expect(kvf_plan_post(p.plan, NULL, batch, NULL), KVF_ERR_INVALID, "bind: bind is NULL");
    expect(kvf_plan_post(p.plan, &p.bind, NULL, NULL), KVF_ERR_INVALID, "batch handle is NULL");
    expect(kvf_plan_post_results(NULL, &p.bind, batch, &results), KVF_ERR_INVALID, "bind: plan is");
    expect(kvf_plan_post_results(p.plan, &p.bind, NULL, &results), KVF_ERR_INVALID, "batch handle is");
    expect(kvf_plan_post_results(p.plan, &p.bind, batch, &results), KVF_ERR_INVALID,
           "results: the batch was not posted with KVF_BIND_KEEP");
    p.bind.flags = 0;
    p.to.block_status = NULL;
    must(kvf_plan_post(p.plan, &p.bind, batch, NULL));
    expect(kvf_plan_post_results(p.plan, &p.bind, batch, &results), KVF_ERR_INVALID,
           "results: the binding has no KVF_BIND_KEEP");
    p.bind.pair_status = pairs;
    p.bind.pair_count = 4;
    expect(kvf_plan_post(p.plan, &p.bind, batch, NULL), KVF_ERR_SPACE, "bind: pair_status needs");
    p.bind.flags = KVF_BIND_KEEP;
    expect(kvf_plan_post(p.plan, &p.bind, batch, NULL), KVF_ERR_INVALID, "bind: pair_status is set");
    p.bind.pair_status = NULL;
    p.to.count = 2;
    expect(kvf_plan_post(p.plan, &p.bind, batch, NULL), KVF_ERR_BOUNDS, "bind: ");
    expect(kvf_batch_keep(batch, NULL, NULL, &kept), KVF_ERR_INVALID, "drop is NULL");
    expect(kvf_batch_keep(batch, NULL, free, NULL), KVF_ERR_INVALID, "kept_p is NULL");
    expect(kvf_batch_keep(batch, NULL, free, &kept), KVF_ERR_BUSY, "the batch keeps");
    close_pull(&p);
}
END_TEST

/* Bytes of a token, by the layouts of large_end(). */
static uint8_t *token_at(const end_t *e, uint32_t token, uint32_t block_tokens)
{
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    uint64_t off;

    must(kvf_segment_query(kvf_pool_segment(e->pool), &attr));
    must(kvf_layout_locate(e->layout, 0, 0, 0, e->ids[token / block_tokens], 0, token % block_tokens, NULL,
                           &off));
    return (uint8_t *)attr.addr + off;
}

enum {
    LARGE_TOKENS = 48,
    LARGE_CELL = 128 << 10
};

static void large_end(end_t *e, uint32_t block_tokens)
{
    const kvf_kv_model_t model = {.struct_size = sizeof(model),
                                  .layers = 1,
                                  .name = "large",
                                  .heads = 1,
                                  .k_bytes = LARGE_CELL / 2,
                                  .v_bytes = LARGE_CELL / 2,
                                  .element = "bf16"};
    kvf_layout_opts_t opts = {
        .struct_size = sizeof(opts), .block_tokens = block_tokens, .blocks = LARGE_TOKENS / block_tokens};
    kvf_pool_opts_t pool = {.struct_size = sizeof(pool), .blocks = opts.blocks};
    kvf_range_t range = {.rights = KVF_RIGHT_READ};
    char blob[4096];
    size_t len = sizeof(blob);
    uint32_t count = 1;

    memset(e, 0, sizeof(*e));
    must(kvf_layout_build(&model, "LBHNC", &opts, &e->layout));
    pool.block_bytes = kvf_layout_block_bytes(e->layout);
    must(kvf_pool_create(engine, &pool, &e->pool));
    for (uint32_t i = 0; i < opts.blocks; i++)
        e->ids[i] = (i + 1) % opts.blocks;
    range.segment = kvf_pool_segment(e->pool);
    range.len = (uint64_t)pool.blocks * pool.block_bytes;
    must(kvf_grant_create(engine, &range, 1, NULL, &e->grant));
    must(kvf_grant_export(e->grant, blob, &len));
    must(kvf_remote_import(self, blob, len, &e->remote, &count));
}

/* Its ids lie in the batch: were they written again, running ops would go elsewhere. */
START_TEST(a_running_batch_keeps_its_ids_from_the_next_post)
{
    kvf_plan_results_t results = {.struct_size = sizeof(results)};
    end_t src, dst;
    kvf_plan_t *plan;

    open_engine();
    large_end(&src, 4);
    large_end(&dst, 8);
    must(kvf_plan_create(src.layout, dst.layout, NULL, &plan));
    kvf_bind_table_t from = {.ids = src.ids, .count = 12}, to = {.ids = dst.ids, .count = 6};
    kvf_bind_local_t local = {.segment = kvf_pool_segment(dst.pool)};
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .flags = KVF_BIND_KEEP,
                       .src_table_count = 1,
                       .dst_table_count = 1,
                       .src_tables = &from,
                       .dst_tables = &to,
                       .tokens = LARGE_TOKENS,
                       .locals = &local,
                       .remotes = &src.remote,
                       .local_count = 1,
                       .remote_count = 1};
    uint32_t other[6] = {5, 4, 3, 2, 1, 0};

    for (uint32_t t = 0; t < LARGE_TOKENS; t++)
        memset(token_at(&src, t, 4), (int)t + 1, LARGE_CELL);
    must(kvf_plan_post(plan, &bind, batch, NULL));
    to.ids = other;
    expect(kvf_plan_post(plan, &bind, batch, NULL), KVF_ERR_BUSY, "the batch is running");
    expect(kvf_plan_post_results(plan, &bind, batch, &results), KVF_ERR_BUSY, "the batch is running");
    to.ids = dst.ids;
    must(kvf_batch_wait(batch, KVF_FOREVER));
    must(kvf_plan_post_results(plan, &bind, batch, &results));
    ck_assert_uint_eq(results.prefix_tokens, LARGE_TOKENS);
    for (uint32_t t = 0; t < LARGE_TOKENS; t++) {
        uint8_t *at = token_at(&dst, t, 8);

        ck_assert_msg(at[0] == t + 1 && memcmp(at, at + 1, LARGE_CELL - 1) == 0, "token %u", t);
    }
    kvf_plan_destroy(plan);
    free_end(&src);
    free_end(&dst);
    close_engine();
}
END_TEST

typedef struct poster {
    pull_t *pull;
    kvf_bind_t bind;
    unsigned posted;
    bool strange;
} poster_t;

static void *post_often(void *arg)
{
    poster_t *p = arg;

    while (p->posted < 2000 && !p->strange) {
        kvf_status_t status = kvf_plan_post(p->pull->plan, &p->bind, batch, NULL);

        p->posted += status == KVF_OK;
        p->strange = status != KVF_OK && status != KVF_ERR_BUSY;
        if (status == KVF_ERR_BUSY)
            sched_yield();
    }
    return NULL;
}

/* Each has half of the request. Were both to fill what the batch keeps, one would post the other's ops. */
START_TEST(two_threads_that_post_one_batch_take_turns)
{
    poster_t posters[2];
    pthread_t threads[2];
    cache_t want;
    pull_t p;

    open_pull(&p);
    want = p.dst.cache;
    want.memory.mem = calloc(1, want.memory.len);
    memset(p.dst.cache.memory.mem, 0, want.memory.len);
    oracle_expect(&want, &p.src.table, &p.dst.table, 1, 45, false, NULL);
    for (unsigned i = 0; i < 2; i++) {
        posters[i] = (poster_t){.pull = &p, .bind = p.bind};
        posters[i].bind.first_token = i == 0 ? 1 : 5;
        posters[i].bind.tokens = i == 0 ? 4 : 40;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, post_often, &posters[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert(!posters[0].strange && !posters[1].strange);
    must(kvf_batch_wait(batch, KVF_FOREVER));
    ck_assert(memcmp(p.dst.cache.memory.mem, want.memory.mem, want.memory.len) == 0);
    free(want.memory.mem);
    close_pull(&p);
}
END_TEST

static unsigned dropped;

static void count_drop(void *kept)
{
    dropped += *(unsigned *)kept;
}

START_TEST(what_a_batch_keeps_is_dropped_once_and_with_it)
{
    unsigned one = 1, ten = 10;
    kvf_batch_t *other;
    void *kept = &one;

    open_engine();
    must(kvf_batch_create(engine, &other));
    must(kvf_batch_keep(batch, NULL, count_drop, &kept));
    ck_assert_ptr_null(kept);
    must(kvf_batch_keep(batch, &one, count_drop, &kept));
    must(kvf_batch_keep(batch, &ten, count_drop, &kept));
    ck_assert_ptr_eq(kept, &one);
    must(kvf_batch_keep(other, &ten, count_drop, &kept));
    ck_assert_uint_eq(dropped, 0);
    must(kvf_batch_free(batch));
    ck_assert_uint_eq(dropped, 1);
    close_engine();
    ck_assert_uint_eq(dropped, 11);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kv");
    TCase *c = tcase_create("self");

    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, an_engine_takes_each_bound_plan, 0, NAME_COUNT);
    tcase_add_loop_test(c, layers_that_are_parts_of_one_pool_move_right_bytes, 0, 2);
    tcase_add_test(c, a_reused_block_is_stale_in_each_op_that_shares_its_status);
    tcase_add_loop_test(c, blocks_of_other_sizes_bring_their_generations, 0, NAME_COUNT);
    tcase_add_test(c, a_kept_binding_grows_with_its_request_and_tells_what_arrived);
    tcase_add_test(c, a_post_that_is_refused_moves_nothing_and_fails_every_pair);
    tcase_add_test(c, wrong_calls_of_what_a_batch_keeps_are_refused_by_name);
    tcase_add_test(c, a_running_batch_keeps_its_ids_from_the_next_post);
    tcase_add_test(c, two_threads_that_post_one_batch_take_turns);
    tcase_add_test(c, what_a_batch_keeps_is_dropped_once_and_with_it);
    suite_add_tcase(s, c);

    SRunner *runner = srunner_create(s);

    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);

    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

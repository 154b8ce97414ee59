/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Plans through a real engine: two pools of one process, each pair of layouts, random block tables
 * with skips, ranges that cut blocks, generations. What an engine checks before it copies (extents,
 * overlap, ids) must let each bound plan pass, and the bytes must be those of the slow oracle. One
 * process, path self.
 */
#include <check.h>
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

static void move(const kvf_plan_t *plan, end_t *src, end_t *dst, uint64_t from, uint64_t tokens,
                 bool read)
{
    static kvf_op_t ops[MAX_OPS];
    int8_t status[BLOCKS];
    kvf_bind_local_t locals[LAYERS];
    kvf_bind_table_t from_table = {
        .ids = src->ids, .count = BLOCKS, .gens = read ? src->gens : NULL};
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
    size_t count = MAX_OPS;
    uint64_t len = dst->cache.memory.len;
    cache_t want = dst->cache;

    want.memory.mem = malloc(len);
    memcpy(want.memory.mem, dst->cache.memory.mem, len);
    oracle_expect(&want, &src->table, &dst->table, from, from + tokens, false, NULL);
    must(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL));
    must(kvf_batch_post(batch, ops, count, sizeof(ops[0]), NULL));
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

            ck_assert_int_eq(ops[i].block_status[k], skip  ? KVF_SKIPPED
                                                     : old ? KVF_ERR_STALE
                                                           : KVF_OK);
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

int main(void)
{
    Suite *s = suite_create("kv");
    TCase *c = tcase_create("self");

    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, an_engine_takes_each_bound_plan, 0, NAME_COUNT);
    tcase_add_loop_test(c, layers_that_are_parts_of_one_pool_move_right_bytes, 0, 2);
    tcase_add_test(c, a_reused_block_is_stale_in_each_op_that_shares_its_status);
    tcase_add_loop_test(c, blocks_of_other_sizes_bring_their_generations, 0, NAME_COUNT);
    suite_add_tcase(s, c);

    SRunner *runner = srunner_create(s);

    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);

    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

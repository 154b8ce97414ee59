/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Plans move the right bytes: all pairs of layouts, random block tables, ranges that cut blocks,
 * skip ids, tables that begin elsewhere, both directions, against the slow oracle of kv_oracle.h.
 * After each run the whole destination is compared, and each byte of it was written once or not.
 */
#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv_oracle.h"

#define MAX_OPS 4096
#define MAX_CAP 16

enum {
    GUARD = 40
}; /* bytes before and after a cache that nobody may touch */

static kvf_op_t ops[MAX_OPS];

static void free_cache(cache_t *c)
{
    free(c->memory.mem);
    free(c->memory.writes);
}

/* One end of a case. */
typedef struct end {
    kvf_layout_t *layout;
    cache_t cache;
    kvf_layout_opts_t opts;
    uint32_t layers[8];
    uint32_t ids[MAX_CAP];
    table_t table;
    struct kvf_remote remote;
} end_t;

static void shuffle(uint32_t *v, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)rand() % i, t = v[i - 1];

        v[i - 1] = v[j];
        v[j] = t;
    }
}

/* Layers 1, 2, 4, 5 in an order of its own, heads 1..3 of 5, a capacity and a base of its own. */
static void make_end(end_t *e, const kvf_kv_model_t *model, const char *name, bool regular)
{
    const uint32_t layers[] = {1, 2, 4, 5};

    memset(e, 0, sizeof(*e));
    memcpy(e->layers, layers, sizeof(layers));
    if (!regular)
        shuffle(e->layers, 4);
    e->opts = (kvf_layout_opts_t){.struct_size = sizeof(e->opts),
                                  .block_tokens = 4,
                                  .blocks = 6 + (uint32_t)rand() % (MAX_CAP - 6),
                                  .layers = e->layers,
                                  .layer_count = 4,
                                  .first_head = model->mla ? 0 : 1,
                                  .heads = model->mla ? 1 : 3,
                                  .base = GUARD + (uint64_t)(rand() % 50)};
    oracle_make(&e->cache, model, &e->opts, name, GUARD);
    e->cache.memory.mem = malloc(e->cache.memory.len);
    e->cache.memory.writes = calloc(1, e->cache.memory.len);
    for (uint64_t i = 0; i < e->cache.memory.len; i++)
        e->cache.memory.mem[i] = (uint8_t)rand();
    ck_assert_msg(kvf_layout_build(model, name, &e->opts, &e->layout) == KVF_OK, "%s", kvf_last_error());
    ck_assert_uint_eq(kvf_layout_describe(e->layout)->segment_len[0], e->cache.memory.len - GUARD);
}

static void free_end(end_t *e)
{
    kvf_layout_destroy(e->layout);
    free_cache(&e->cache);
}

/* Random distinct blocks for some tokens before, in and after [from, to). */
static void make_table(end_t *e, uint64_t from, uint64_t to)
{
    uint64_t first = from / 4, last = (to + 3) / 4;
    uint32_t ids[MAX_CAP];

    if (last < first)
        last = first;
    while (first > 0 && last - first < e->opts.blocks && rand() % 2)
        first--;
    while (last - first < e->opts.blocks && rand() % 2)
        last++;
    for (uint32_t i = 0; i < e->opts.blocks; i++)
        ids[i] = i;
    shuffle(ids, e->opts.blocks);
    memcpy(e->ids, ids, sizeof(ids));
    e->table = (table_t){.ids = e->ids, .first = first * 4, .count = (uint32_t)(last - first)};
    for (uint32_t i = 0; i < e->table.count; i++) {
        if (rand() % 12 == 0)
            e->ids[i] = KVF_SKIP;
    }
}

static void check_measure(const kvf_plan_t *plan, const kvf_bind_t *bind, size_t count)
{
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    uint64_t pieces = 0, bytes = 0, least = UINT64_MAX, most = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t n = (uint64_t)ops[i].count[0] * ops[i].count[1] * ops[i].blocks;

        pieces += n;
        bytes += n * ops[i].len;
        least = ops[i].len < least ? ops[i].len : least;
        most = ops[i].len > most ? ops[i].len : most;
    }
    ck_assert_int_eq(kvf_plan_measure(plan, bind, &size), KVF_OK);
    ck_assert_uint_eq(size.ops, count);
    ck_assert_uint_eq(size.pieces, pieces);
    ck_assert_uint_eq(size.bytes, bytes);
    ck_assert_uint_eq(size.piece_min, count > 0 ? least : 0);
    ck_assert_uint_eq(size.piece_max, most);
}

/* Bind, run, compare everything. */
static void run_case(const kvf_plan_t *plan, end_t *src, end_t *dst, uint64_t from, uint64_t to,
                     uint32_t flags)
{
    int8_t status[MAX_CAP];
    bool read = rand() % 2;
    end_t *local = read ? dst : src, *remote = read ? src : dst;
    kvf_bind_local_t at = {.segment = &local->cache.memory};
    kvf_remote_t *handle = &remote->remote;
    kvf_bind_table_t src_table = {
        .ids = src->table.ids, .first_token = src->table.first, .count = src->table.count};
    kvf_bind_table_t dst_table = {.ids = dst->table.ids,
                                  .first_token = dst->table.first,
                                  .count = dst->table.count,
                                  .block_status = status};
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .flags = flags,
                       .dir = read ? KVF_READ : KVF_WRITE,
                       .src_table_count = 1,
                       .dst_table_count = 1,
                       .src_tables = &src_table,
                       .dst_tables = &dst_table,
                       .first_token = from,
                       .tokens = to - from,
                       .locals = &at,
                       .remotes = &handle,
                       .local_count = 1,
                       .remote_count = 1};
    size_t count = MAX_OPS;
    uint64_t len = dst->cache.memory.len;
    cache_t want = dst->cache;
    uint8_t *mark = calloc(1, len);

    memset(status, 99, sizeof(status));
    want.memory.mem = malloc(len);
    memcpy(want.memory.mem, dst->cache.memory.mem, len);
    oracle_fill(&src->cache, &src->table);
    oracle_expect(&want, &src->table, &dst->table, from, to, flags & KVF_BIND_WINDOW, mark);
    memset(dst->cache.memory.writes, 0, len);
    remote->remote.memory = remote->cache.memory;
    ck_assert_msg(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL) == KVF_OK, "%s",
                  kvf_last_error());
    oracle_run(ops, count);
    ck_assert_msg(memcmp(dst->cache.memory.mem, want.memory.mem, len) == 0, "%s to %s: %s",
                  src->cache.regions[0].axes, dst->cache.regions[0].axes, "bytes differ");
    ck_assert_msg(memcmp(dst->cache.memory.writes, mark, len) == 0, "%s to %s: %s",
                  src->cache.regions[0].axes, dst->cache.regions[0].axes, "written twice or not");
    for (uint64_t e = 0; e < dst->table.count; e++) {
        uint64_t token = dst->table.first + 4 * e;
        bool in = from < to && token + 4 > from && token < to;

        if (!in)
            ck_assert_int_eq(status[e], 99);
        else if ((flags & KVF_BIND_WINDOW) == 0)
            ck_assert_int_ne(status[e], 99);
    }
    check_measure(plan, &bind, count);
    free(want.memory.mem);
    free(mark);
}

static void run_pair_of_names(const kvf_kv_model_t *model, const char *one, const char *other,
                              unsigned rounds, uint32_t flags)
{
    for (unsigned round = 0; round < rounds; round++) {
        kvf_plan_t *plan;
        end_t src, dst;

        make_end(&src, model, one, round % 2);
        make_end(&dst, model, other, round % 2);
        ck_assert_msg(kvf_plan_create(src.layout, dst.layout, NULL, &plan) == KVF_OK, "%s", kvf_last_error());
        for (unsigned i = 0; i < 4; i++) {
            uint64_t from = (uint64_t)rand() % 30, to = from + (uint64_t)rand() % 21;

            make_table(&src, from, to);
            make_table(&dst, from, to);
            run_case(plan, &src, &dst, from, to, flags);
        }
        kvf_plan_destroy(plan);
        free_end(&src);
        free_end(&dst);
    }
}

static const char *const kv_names[] = {"LBHNC",  "LBNHC",  "LHBNC",  "BLHNC",  "BLNHC",  "BHLNC",  "L2BNHD",
                                       "LB2NHD", "BL2HND", "BL2NHD", "2LBNHD", "2BLNHD", "NHB2LD", "HNLBC"};
static const char *const mla_names[] = {"LBNC", "BLNC", "LBHNC", "BHLNC", "NBLC"};

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

START_TEST(bytes_are_right_for_any_two_layouts)
{
    const kvf_kv_model_t model = oracle_model(false);

    srand(100 + (unsigned)_i);
    for (int j = 0; j < ROWS(kv_names); j++)
        run_pair_of_names(&model, kv_names[_i], kv_names[j], 20, 0);
}
END_TEST

START_TEST(bytes_are_right_for_a_latent)
{
    const kvf_kv_model_t model = oracle_model(true);

    srand(200 + (unsigned)_i);
    for (int j = 0; j < ROWS(mla_names); j++)
        run_pair_of_names(&model, mla_names[_i], mla_names[j], 20, 0);
}
END_TEST

START_TEST(bytes_are_right_with_an_indexer_plane)
{
    kvf_kv_model_t model = oracle_model(true);

    model.indexer_bytes = 5;
    model.indexer_element = "fp8";
    srand(300 + (unsigned)_i);
    for (int j = 0; j < ROWS(mla_names); j++)
        run_pair_of_names(&model, mla_names[_i], mla_names[j], 10, 0);
}
END_TEST

START_TEST(bytes_are_right_for_layers_with_a_window)
{
    kvf_kv_model_t model = oracle_model(false);

    model.window = 6;
    model.window_every = 2;
    srand(400 + (unsigned)_i);
    for (int j = 0; j < ROWS(kv_names); j++) {
        run_pair_of_names(&model, kv_names[_i], kv_names[j], 5, 0);
        run_pair_of_names(&model, kv_names[_i], kv_names[j], 5, KVF_BIND_WINDOW);
    }
}
END_TEST

START_TEST(bytes_are_right_where_v_is_shorter_than_k)
{
    kvf_kv_model_t model = oracle_model(false);

    model.v_bytes = 3;
    srand(500 + (unsigned)_i);
    for (int j = 0; j < 6; j++)
        run_pair_of_names(&model, kv_names[_i], kv_names[j], 20, 0);
}
END_TEST

/* ------------------------------------------------ layers in tensors of their own */

typedef struct apart {
    kvf_layout_desc_t desc;
    kvf_group_t group;
    kvf_plane_t planes[2];
    uint64_t bases[2][4];
    uint32_t segments[4];
    uint32_t layers[4];
    uint64_t lens[4];
    struct kvf_segment memory[4];
    struct kvf_remote remotes[4];
} apart_t;

/* K and V [B][N][H] of 8 bytes a cell, layer i in segment i, or all in segment 0 at odd gaps. */
static void make_apart(apart_t *a, bool one_segment, const uint32_t *layers)
{
    memset(a, 0, sizeof(*a));
    for (uint32_t i = 0; i < 4; i++) {
        a->segments[i] = one_segment ? 0 : i;
        a->bases[0][i] = 16 + (one_segment ? i * 1500 + i * i * 10 : i);
        a->bases[1][i] = a->bases[0][i] + 5 * 4 * 3 * 8 + i;
        a->lens[i] = one_segment && i == 0 ? 8000 : 1500;
        a->layers[i] = layers[i];
        a->memory[i] = (struct kvf_segment){calloc(1, 8000), calloc(1, 8000), a->lens[i]};
    }
    for (uint32_t p = 0; p < 2; p++)
        a->planes[p] = (kvf_plane_t){.kind = p == 0 ? KVF_PLANE_K : KVF_PLANE_V,
                                     .element = "bf16",
                                     .content = 8,
                                     .block_stride = 4 * 3 * 8,
                                     .state_stride = 3 * 8,
                                     .head_stride = 8,
                                     .layer_base = a->bases[p],
                                     .layer_segment = a->segments};
    a->group = (kvf_group_t){.block_tokens = 4,
                             .layer_count = 4,
                             .heads = 3,
                             .heads_total = 3,
                             .blocks = 5,
                             .layers = a->layers,
                             .planes = a->planes,
                             .plane_count = 2};
    a->desc = (kvf_layout_desc_t){.struct_size = sizeof(a->desc),
                                  .group_count = 1,
                                  .groups = &a->group,
                                  .segment_count = one_segment ? 1 : 4,
                                  .segment_len = a->lens};
}

static uint8_t *apart_byte(const apart_t *a, uint32_t layer, uint32_t plane, uint32_t block, uint32_t rest)
{
    uint32_t i = 0;

    while (a->layers[i] != layer)
        i++;
    return a->memory[a->segments[i]].mem + a->bases[plane][i] + block * 96 + rest;
}

static void free_apart(apart_t *a)
{
    for (uint32_t i = 0; i < 4; i++) {
        free(a->memory[i].mem);
        free(a->memory[i].writes);
    }
}

static size_t bind_apart(apart_t *src, apart_t *dst)
{
    const uint32_t src_ids[] = {3, 0, 4}, dst_ids[] = {1, 2, 0};
    kvf_bind_table_t src_table = {.ids = src_ids, .count = 3};
    kvf_bind_table_t dst_table = {.ids = dst_ids, .count = 3};
    kvf_bind_local_t locals[4] = {0};
    kvf_remote_t *remotes[4];
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .src_table_count = 1,
                       .dst_table_count = 1,
                       .src_tables = &src_table,
                       .dst_tables = &dst_table,
                       .tokens = 12,
                       .locals = locals,
                       .remotes = remotes,
                       .local_count = dst->desc.segment_count,
                       .remote_count = src->desc.segment_count};
    kvf_layout_t *one, *other;
    kvf_plan_t *plan;
    size_t count = MAX_OPS;

    for (uint32_t i = 0; i < 4; i++) {
        src->remotes[i].memory = src->memory[i];
        locals[i].segment = &dst->memory[i];
        remotes[i] = &src->remotes[i];
    }
    ck_assert_msg(kvf_layout_create(&src->desc, &one) == KVF_OK, "%s", kvf_last_error());
    ck_assert_msg(kvf_layout_create(&dst->desc, &other) == KVF_OK, "%s", kvf_last_error());
    ck_assert_int_eq(kvf_plan_create(one, other, NULL, &plan), KVF_OK);
    kvf_layout_destroy(one);
    kvf_layout_destroy(other);
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL), KVF_OK);
    oracle_run(ops, count);
    for (uint32_t layer = 0; layer < 4; layer++)
        for (uint32_t i = 0; i < 3 * 2 * 96; i++) {
            uint32_t pair = i / 192, plane = i / 96 % 2;

            ck_assert_uint_eq(*apart_byte(dst, layer, plane, dst_ids[pair], i % 96),
                              *apart_byte(src, layer, plane, src_ids[pair], i % 96));
            ck_assert_uint_ne(*apart_byte(dst, layer, plane, dst_ids[pair], i % 96), 0);
        }
    kvf_plan_destroy(plan);
    return count;
}

START_TEST(layers_apart_are_paired_by_id_not_by_place)
{
    const uint32_t order[] = {0, 1, 2, 3}, mixed[] = {2, 0, 3, 1};
    apart_t src, dst;

    make_apart(&src, _i & 1, order);
    make_apart(&dst, _i & 2, mixed);
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t j = 0; j < 8000; j++)
            src.memory[i].mem[j] = (uint8_t)(1 + (i * 77 + j * 13 + j / 256) % 255);
    }
    /* At most two ops a layer: K and V lie at another distance in each. */
    ck_assert_uint_le(bind_apart(&src, &dst), 8);
    free_apart(&src);
    free_apart(&dst);
}
END_TEST

/* Heads and tokens that run backwards, on one side or both: [B][N][H], cells of 8 bytes. */
static kvf_layout_t *backwards(bool turned, uint64_t *len)
{
    const uint32_t layer = 0;
    kvf_plane_t plane = {.kind = KVF_PLANE_LATENT,
                         .element = "bf16",
                         .content = 8,
                         .block_stride = 96,
                         .state_stride = turned ? -24 : 24,
                         .head_stride = turned ? -8 : 8,
                         .base = turned ? 88 : 0};
    kvf_group_t group = {.block_tokens = 4,
                         .layer_count = 1,
                         .heads = 3,
                         .heads_total = 3,
                         .blocks = 2,
                         .layers = &layer,
                         .planes = &plane,
                         .plane_count = 1};
    kvf_layout_desc_t desc = {.struct_size = sizeof(desc),
                              .group_count = 1,
                              .groups = &group,
                              .segment_count = 1,
                              .segment_len = len};
    kvf_layout_t *layout = NULL;

    ck_assert_msg(kvf_layout_create(&desc, &layout) == KVF_OK, "%s", kvf_last_error());
    return layout;
}

START_TEST(strides_may_run_backwards)
{
    const uint32_t src_id = 1, dst_id = 0;
    uint64_t len = 192;
    uint8_t from[192], to[192] = {0};
    bool src_turned = _i & 1, dst_turned = _i & 2;
    kvf_layout_t *src = backwards(src_turned, &len), *dst = backwards(dst_turned, &len);
    struct kvf_segment local = {.mem = to, .len = len};
    struct kvf_remote remote = {{.mem = from, .len = len}};
    kvf_bind_local_t at = {.segment = &local};
    kvf_remote_t *handle = &remote;
    kvf_bind_table_t src_table = {.ids = &src_id, .count = 1};
    kvf_bind_table_t dst_table = {.ids = &dst_id, .count = 1};
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .src_table_count = 1,
                       .dst_table_count = 1,
                       .src_tables = &src_table,
                       .dst_tables = &dst_table,
                       .first_token = 1,
                       .tokens = 3,
                       .locals = &at,
                       .remotes = &handle,
                       .local_count = 1,
                       .remote_count = 1};
    kvf_plan_t *plan;
    size_t count = MAX_OPS;

    for (unsigned i = 0; i < len; i++)
        from[i] = (uint8_t)(i + 1);
    ck_assert_int_eq(kvf_plan_create(src, dst, NULL, &plan), KVF_OK);
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL), KVF_OK);
    oracle_run(ops, count);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(ops[0].len, src_turned == dst_turned ? 72 : 8);
    for (unsigned cell = 0; cell < 12; cell++) {
        unsigned s = 96 + 8 * (src_turned ? 11 - cell : cell);
        unsigned d = 8 * (dst_turned ? 11 - cell : cell);

        for (unsigned i = 0; i < 8; i++)
            ck_assert_uint_eq(to[d + i], cell < 3 ? 0 : from[s + i]);
    }
    kvf_plan_destroy(plan);
    kvf_layout_destroy(src);
    kvf_layout_destroy(dst);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("plan");
    TCase *names = tcase_create("names"), *apart = tcase_create("layers apart");

    tcase_set_timeout(names, 60);
    tcase_add_loop_test(names, bytes_are_right_for_any_two_layouts, 0, ROWS(kv_names));
    tcase_add_loop_test(names, bytes_are_right_for_a_latent, 0, ROWS(mla_names));
    tcase_add_loop_test(names, bytes_are_right_with_an_indexer_plane, 0, ROWS(mla_names));
    tcase_add_loop_test(names, bytes_are_right_for_layers_with_a_window, 0, ROWS(kv_names));
    tcase_add_loop_test(names, bytes_are_right_where_v_is_shorter_than_k, 0, 6);
    suite_add_tcase(s, names);
    tcase_add_loop_test(apart, layers_apart_are_paired_by_id_not_by_place, 0, 4);
    tcase_add_loop_test(apart, strides_may_run_backwards, 0, 4);
    suite_add_tcase(s, apart);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());

    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);

    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

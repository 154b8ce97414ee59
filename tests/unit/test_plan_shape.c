/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How many ops and pieces a plan makes of real models, that merging leaves nothing apart that could
 * be one, that large offsets are exact, and that nothing to do makes no op. That the bytes are right is
 * test_plan's matter, what is refused test_plan_refused's. No op here is run.
 */
#include "plans.h"

#include <stdbool.h>

/* ------------------------------------------------------- pieces and ops */

static const struct {
    const char *model, *layout;
    uint32_t heads; /* a rank; 0: all */
    uint64_t pieces, piece;
} shapes[] = {
    {"llama-3.1-8b", "L2BNHD", 0, 32768, 32 << 10},   {"llama-3.1-8b", "LBNHC", 0, 16384, 64 << 10},
    {"llama-3.1-8b", "LBHNC", 0, 16384, 64 << 10},    {"llama-3.1-8b", "BL2HND", 0, 512, 2 << 20},
    {"llama-3.1-8b", "BLHNC", 0, 512, 2 << 20},       {"llama-3.1-8b", "BHLNC", 0, 512, 2 << 20},
    {"llama-3.1-70b", "L2BNHD", 2, 81920, 8 << 10},   {"llama-3.1-70b", "LBNHC", 2, 40960, 16 << 10},
    {"llama-3.1-70b", "LBHNC", 2, 40960, 16 << 10},   {"llama-3.1-70b", "BL2HND", 2, 512, 1280 << 10},
    {"llama-3.1-70b", "BLHNC", 2, 512, 1280 << 10},   {"llama-3.1-70b", "BHLNC", 2, 512, 1280 << 10},
    {"deepseek-v3", "LBNC", 0, 7808, 72 << 10},       {"kimi-k2", "LBNC", 0, 7808, 72 << 10},
    {"deepseek-v3", "BLNC", 0, 128, 61 * (72 << 10)}, {"llama-3.1-8b", "LB2NHD", 0, 16384, 64 << 10},
    {"llama-3.1-8b", "2LBNHD", 0, 32768, 32 << 10},   {"llama-3.1-8b", "BL2NHD", 0, 512, 2 << 20},
    {"llama-3.1-8b", "2BLNHD", 0, 1024, 1 << 20},     {"llama-3.1-8b", "LHBNC", 0, 131072, 8 << 10},
};

START_TEST(a_prompt_of_8192_tokens_makes_the_published_pieces)
{
    bool mla = strchr(shapes[_i].layout, 'H') == NULL;
    uint32_t blocks = mla ? 128 : 512;
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts),
                              .blocks = 1000,
                              .heads = shapes[_i].heads,
                              .first_head = shapes[_i].heads != 0 ? 4 : 0};
    kvf_plan_t *plan = plan_of(shapes[_i].model, shapes[_i].layout, shapes[_i].layout, &opts);
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, blocks, 8192);
    kvf_plan_size_t size = {.struct_size = sizeof(size)};

    ck_assert_msg(kvf_plan_measure(plan, &bind, &size) == KVF_OK, "%s", kvf_last_error());
    ck_assert_uint_eq(size.ops, 1);
    ck_assert_uint_eq(size.pieces, shapes[_i].pieces);
    ck_assert_uint_eq(size.piece_min, shapes[_i].piece);
    ck_assert_uint_eq(size.piece_max, shapes[_i].piece);
    ck_assert_uint_eq(size.bytes, shapes[_i].pieces * shapes[_i].piece);
    ck_assert_uint_eq(size.pairs, blocks);
    kvf_plan_destroy(plan);
}
END_TEST

static const struct {
    const char *src, *dst;
    uint64_t ops, pieces, piece; /* of a block of llama-3.1-8b */
} crossings[] = {
    {"LBHNC", "BLHNC", 1, 32, 64 << 10},   /* layers apart on one side */
    {"LBNHC", "BLNHC", 1, 32, 64 << 10},   /* the same, tokens outside heads */
    {"BLHNC", "BHLNC", 1, 256, 8 << 10},   /* heads of a layer: N tokens at once */
    {"LBHNC", "BHLNC", 1, 256, 8 << 10},   /* the same from layers apart */
    {"LBNHC", "LBHNC", 8, 4096, 512},      /* a third stride: an op a head */
    {"L2BNHD", "LB2NHD", 1, 64, 32 << 10}, /* K and V are rows */
    {"L2BNHD", "LBNHC", 2, 8192, 256},     /* split to fused: K, V, layers, 128 cells */
    {"L2BNHD", "BL2NHD", 1, 64, 32 << 10}, {"2LBNHD", "L2BNHD", 1, 64, 32 << 10},
};

START_TEST(two_layouts_make_few_ops)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 1000};
    kvf_plan_t *plan = plan_of("llama-3.1-8b", crossings[_i].src, crossings[_i].dst, &opts);
    kvf_bind_table_t table[2];
    kvf_plan_size_t size = {.struct_size = sizeof(size)};

    for (uint32_t blocks = 1; blocks < 1000; blocks *= 10) {
        kvf_bind_t bind = whole(table, blocks, 16 * blocks);

        ck_assert_int_eq(kvf_plan_measure(plan, &bind, &size), KVF_OK);
        ck_assert_uint_eq(size.ops, crossings[_i].ops);
        ck_assert_uint_eq(size.pieces, crossings[_i].pieces * blocks);
        ck_assert_uint_eq(size.piece_min, crossings[_i].piece);
        ck_assert_uint_eq(size.piece_max, crossings[_i].piece);
    }
    kvf_plan_destroy(plan);
}
END_TEST

START_TEST(a_range_that_cuts_blocks_makes_ops_for_each_end)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 1000};
    kvf_plan_t *plan = plan_of("llama-3.1-8b", "LBNHC", "LBNHC", &opts);
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 100, 1000);
    kvf_op_t ops[8];
    size_t count = 8;

    bind.first_token = 37; /* token 5 of block 2, up to token 12 of block 64 */
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL), KVF_OK);
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_eq(ops[0].blocks, 61);
    ck_assert_uint_eq(ops[0].len, 16 * 4096);
    ck_assert_uint_eq(ops[1].blocks, 1);
    ck_assert_uint_eq(ops[1].len, 11 * 4096);
    ck_assert_uint_eq(ops[2].blocks, 1);
    ck_assert_uint_eq(ops[2].len, 13 * 4096);
    bind.first_token = 35;
    bind.tokens = 2;
    count = 8;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL), KVF_OK);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(ops[0].len, 2 * 4096);
    ck_assert_uint_eq(ops[0].local_off, 2 * 65536 + 3 * 4096);
    kvf_plan_destroy(plan);
}
END_TEST

START_TEST(a_window_takes_the_last_tokens_only)
{
    kvf_plan_t *plan =
        plan_of("gpt-oss-120b", "BLNHC", "BLNHC",
                &(kvf_layout_opts_t){.struct_size = sizeof(kvf_layout_opts_t), .blocks = 1000});
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 512, 8192);
    kvf_plan_size_t size = {.struct_size = sizeof(size)};

    ck_assert_int_eq(kvf_plan_measure(plan, &bind, &size), KVF_OK);
    ck_assert_uint_eq(size.bytes, UINT64_C(576) << 20);
    bind.flags = KVF_BIND_WINDOW;
    ck_assert_int_eq(kvf_plan_measure(plan, &bind, &size), KVF_OK);
    ck_assert_uint_eq(size.bytes, (UINT64_C(585) << 20) / 2);
    ck_assert_uint_eq(size.ops, 2);
    ck_assert_uint_eq(size.pairs, 512 + 8);
    kvf_plan_destroy(plan);
}
END_TEST

/* W8 and its like: a plan made once, bound to a layer at a time. */
START_TEST(layers_one_by_one_are_the_whole)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 1000, .heads = 2};
    kvf_plan_t *plan = plan_of("llama-3.1-70b", crossings[_i].src, crossings[_i].dst, &opts);
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 512, 8192);
    kvf_plan_size_t all = {.struct_size = sizeof(all)}, size = all;
    uint64_t bytes = 0, most = crossings[_i].ops == 8 ? 2 : crossings[_i].ops;
    uint32_t layers[80], count = 80;

    ck_assert_int_eq(kvf_plan_measure(plan, &bind, &all), KVF_OK);
    ck_assert_int_eq(kvf_plan_layers(plan, layers, &count), KVF_OK);
    ck_assert_uint_eq(count, 80);
    for (uint32_t i = 0; i < 80; i++) {
        ck_assert_uint_eq(layers[i], i);
        bind.first_layer = i;
        bind.layer_count = 1;
        ck_assert_int_eq(kvf_plan_measure(plan, &bind, &size), KVF_OK);
        ck_assert_uint_le(size.ops, most);
        ck_assert_uint_eq(size.bytes, 512 * 16 * 1024);
        ck_assert_uint_eq(size.pairs, 512);
        bytes += size.bytes;
    }
    ck_assert_uint_eq(bytes, all.bytes);
    bind.first_layer = 79; /* past the last one there is nothing more */
    bind.layer_count = UINT32_MAX;
    ck_assert_int_eq(kvf_plan_measure(plan, &bind, &size), KVF_OK);
    ck_assert_uint_eq(size.bytes, 512 * 16 * 1024);
    kvf_plan_destroy(plan);
}
END_TEST

START_TEST(the_layers_of_a_plan_are_told)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .first_layer = 7, .layer_count = 3};
    kvf_plan_t *plan = plan_of("gpt-oss-120b", "BLNHC", "LBHNC", &opts);
    uint32_t layers[3], count = 0;

    ck_assert_int_eq(kvf_plan_layers(plan, NULL, &count), KVF_OK);
    ck_assert_uint_eq(count, 3);
    ck_assert_int_eq(kvf_plan_layers(plan, layers, &count), KVF_OK);
    ck_assert(layers[0] == 7 && layers[1] == 8 && layers[2] == 9); /* of two groups */
    count = 2;
    expect(kvf_plan_layers(plan, layers, &count), KVF_ERR_SPACE, "layers: the plan carries 3, the");
    ck_assert_uint_eq(count, 3);
    expect(kvf_plan_layers(NULL, layers, &count), KVF_ERR_INVALID, "layers: plan is NULL");
    expect(kvf_plan_layers(plan, layers, NULL), KVF_ERR_INVALID, "layers: count_p is NULL");
    kvf_plan_destroy(plan);
}
END_TEST

/* One state a block (recurrent), and one for four tokens. */
START_TEST(states_of_several_tokens_move_whole)
{
    uint64_t len = 64 * 10 * 3;
    uint32_t layers[] = {0, 1, 2};
    kvf_plane_t plane = {
        .kind = KVF_PLANE_STATE, .element = "f32", .content = 64, .block_stride = 64, .layer_stride = 640};
    kvf_group_t group = {.block_tokens = 16,
                         .tokens_per_state = 16,
                         .layer_count = 3,
                         .heads = 1,
                         .heads_total = 1,
                         .blocks = 10,
                         .layers = layers,
                         .planes = &plane,
                         .plane_count = 1};
    kvf_layout_desc_t desc = {.struct_size = sizeof(desc),
                              .group_count = 1,
                              .groups = &group,
                              .segment_count = 1,
                              .segment_len = &len};
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 10, 3);
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    kvf_layout_t *layout;
    kvf_plan_t *plan;

    bind.first_token = 31;
    for (unsigned round = 0; round < 2; round++) {
        ck_assert_msg(kvf_layout_create(&desc, &layout) == KVF_OK, "%s", kvf_last_error());
        ck_assert_int_eq(kvf_plan_create(layout, layout, NULL, &plan), KVF_OK);
        ck_assert_int_eq(kvf_plan_measure(plan, &bind, &size), KVF_OK);
        ck_assert_uint_eq(size.pairs, 2);
        /* Tokens 31, 32, 33: the states of two blocks, or the last of one and the first of the
         * next. */
        ck_assert_uint_eq(size.bytes, round == 0 ? 2 * 3 * 64 : 2 * 3 * 16);
        kvf_plan_destroy(plan);
        kvf_layout_destroy(layout);
        group.tokens_per_state = 4;
        plane.content = plane.state_stride = 16;
    }
}
END_TEST

/* ----------------------------------------------------------- large and nothing */

typedef struct pair {
    uint64_t src, dst;
} pair_t;

static int by_source(const void *a, const void *b)
{
    const pair_t *x = a, *y = b;

    return x->src < y->src ? -1 : x->src > y->src;
}

START_TEST(offsets_past_4_gib_are_exact_on_both_sides)
{
    enum {
        CELLS = 80 * 8 * 16
    };
    static pair_t got[CELLS], want[CELLS];
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 200000};
    kvf_plan_t *plan = plan_of("llama-3.1-70b", "LBNHC", "BHLNC", &opts);
    const uint32_t src_id = 199999, dst_id = 131073;
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 1, 16);
    kvf_op_t ops[16];
    size_t count = 16, n = 0, m = 0;

    table[0].ids = &src_id;
    table[1].ids = &dst_id;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL), KVF_OK);
    for (kvf_op_t *op = ops; op < ops + count; op++) {
        for (uint64_t i = 0; i < (uint64_t)op->count[0] * op->count[1]; i++) {
            uint64_t x = i % op->count[0], y = i / op->count[0];

            ck_assert_uint_eq(op->len, 512);
            got[n++] = (pair_t){op->remote_off + src_id * op->remote_block +
                                    x * (uint64_t)op->remote_stride[0] + y * (uint64_t)op->remote_stride[1],
                                op->local_off + dst_id * op->local_block + x * (uint64_t)op->local_stride[0] +
                                    y * (uint64_t)op->local_stride[1]};
        }
    }
    for (uint64_t l = 0; l < 80; l++)
        for (uint64_t h = 0; h < 8; h++)
            for (uint64_t t = 0; t < 16; t++)
                want[m++] = (pair_t){(((l * 200000 + src_id) * 16 + t) * 8 + h) * 512,
                                     (((dst_id * UINT64_C(8) + h) * 80 + l) * 16 + t) * 512};
    ck_assert_uint_eq(n, m);
    qsort(got, n, sizeof(got[0]), by_source);
    qsort(want, n, sizeof(want[0]), by_source);
    ck_assert_mem_eq(got, want, sizeof(got));
    kvf_plan_destroy(plan);
}
END_TEST

START_TEST(nothing_to_do_makes_no_op)
{
    kvf_plan_t *plan = plan_of("llama-3.1-8b", "LBHNC", "L2BNHD", NULL);
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 0, 0);
    kvf_plan_size_t size = {.struct_size = sizeof(size), .ops = 9};
    kvf_op_t ops[4];
    size_t count = 4;

    memset(ops, 0x77, sizeof(ops));
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL), KVF_OK);
    ck_assert_uint_eq(count, 0);
    ck_assert_uint_eq(ops[0].blocks, 0x77777777);
    bind.first_token = 4096; /* a prompt that is cached to its end */
    count = 0;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL), KVF_OK);
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(kvf_plan_measure(plan, &bind, &size), KVF_OK);
    ck_assert_uint_eq(size.ops | size.pieces | size.bytes | size.pairs | size.piece_min, 0);
    bind.tokens = 1;
    expect(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL), KVF_ERR_BOUNDS,
           "bind: source group 0: the range needs blocks 256 to 256 of the request, the table holds "
           "0");
    kvf_plan_destroy(plan);
}
END_TEST

START_TEST(null_tables_count_from_their_entry_on)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 5000};
    kvf_plan_t *plan = plan_of("llama-3.1-8b", "BLHNC", "BLHNC", &opts);
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 5000, 32);
    kvf_op_t op;
    size_t count = 1;

    bind.first_token = 16 * 4990;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, &op, sizeof(op), &count, NULL, NULL), KVF_OK);
    ck_assert_uint_eq(op.local_off, 4990 * UINT64_C(2097152));
    ck_assert_uint_eq(op.local_cap, 10);
    ck_assert_uint_eq(op.remote_cap, 10);
    ck_assert_ptr_null(op.local_ids);
    table[0].count = table[1].count = 5002;
    bind.first_token = 16 * 4999;
    expect(kvf_plan_bind(plan, &bind, &op, sizeof(op), &count, NULL, NULL), KVF_ERR_BOUNDS,
           "bind: source group 0: ids is NULL and the range needs entry 5000 of 5000 blocks");
    kvf_plan_destroy(plan);
}
END_TEST

/* --------------------------------------------------------- the op as callers know it */

START_TEST(older_and_newer_ops_are_filled)
{
    typedef struct longer {
        kvf_op_t op;
        uint64_t more[3];
    } longer_t;

    const int8_t untouched = 0x55;
    const size_t shorter = offsetof(kvf_op_t, remote_gens);
    kvf_plan_t *plan = plan_of("llama-3.1-8b", "BLHNC", "BLHNC", NULL);
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 1, 16);
    longer_t big[2];
    char small[2 * sizeof(kvf_op_t)];
    kvf_op_t op;
    int8_t status;
    size_t count = 2;

    ck_assert_int_eq(kvf_plan_bind(plan, &bind, &op, sizeof(op), &count, NULL, NULL), KVF_OK);
    memset(big, untouched, sizeof(big));
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, &big[0].op, sizeof(big[0]), &count, NULL, NULL), KVF_OK);
    ck_assert_mem_eq(&big[0].op, &op, sizeof(op));
    ck_assert_uint_eq(big[0].more[0] | big[0].more[1] | big[0].more[2], 0);
    ck_assert_uint_eq(*(char *)&big[1], untouched);
    memset(small, untouched, sizeof(small));
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, (kvf_op_t *)small, shorter, &count, NULL, NULL), KVF_OK);
    ck_assert_mem_eq(small, &op, shorter);
    ck_assert_uint_eq(small[shorter], untouched);
    table[1].block_status = &status;
    expect(kvf_plan_bind(plan, &bind, (kvf_op_t *)small, shorter, &count, NULL, NULL), KVF_ERR_UNSUPPORTED,
           "bind: op_size 128 leaves out byte");
    expect(kvf_plan_bind(plan, &bind, &op, 0, &count, NULL, NULL), KVF_ERR_INVALID, "bind: op_size is 0");
    kvf_plan_destroy(plan);
}
END_TEST

START_TEST(a_short_array_is_told_the_need)
{
    kvf_plan_t *plan = plan_of("llama-3.1-8b", "LBNHC", "LBHNC", NULL);
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 1, 16);
    kvf_op_t ops[8];
    size_t count = 7;

    expect(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL), KVF_ERR_SPACE,
           "bind: 8 ops are needed, the array holds 7");
    ck_assert_uint_eq(count, 8);
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL), KVF_OK);
    count = 0;
    bind.locals = NULL;
    bind.remotes = NULL;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, NULL, sizeof(ops[0]), &count, NULL, NULL), KVF_OK);
    ck_assert_uint_eq(count, 8);
    kvf_plan_destroy(plan);
}
END_TEST

START_TEST(directions_generations_and_status_reach_the_op)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 50};
    kvf_plan_t *plan = plan_of("llama-3.1-8b", "LBHNC", "BLHNC", &opts);
    const uint32_t src_ids[3] = {1, 2, 3}, dst_ids[3] = {4, 5, 6}, gens[3] = {7, 8, 9};
    int8_t status[3];
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 3, 16);
    kvf_op_t op;
    size_t count = 1;

    table[0] = (kvf_bind_table_t){.ids = src_ids, .count = 3, .first_token = 16, .gens = gens};
    table[1] = (kvf_bind_table_t){.ids = dst_ids, .count = 3, .block_status = status};
    bind.first_token = 32;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, &op, sizeof(op), &count, NULL, NULL), KVF_OK);
    ck_assert_ptr_eq(op.segment, local.segment);
    ck_assert_ptr_eq(op.remote, remote);
    ck_assert_ptr_eq(op.remote_ids, &src_ids[1]);
    ck_assert_ptr_eq(op.local_ids, &dst_ids[2]);
    ck_assert_ptr_eq(op.remote_gens, &gens[1]);
    ck_assert_ptr_eq(op.block_status, &status[2]);
    ck_assert_uint_eq(op.remote_block, 65536);
    ck_assert_uint_eq(op.local_block, 32 * 65536);
    bind.dir = KVF_WRITE;
    expect(kvf_plan_bind(plan, &bind, &op, sizeof(op), &count, NULL, NULL), KVF_ERR_INVALID,
           "bind: src_tables[0]: gens with KVF_WRITE");
    bind.dir = KVF_READ;
    table[0].ids = NULL;
    expect(kvf_plan_bind(plan, &bind, &op, sizeof(op), &count, NULL, NULL), KVF_ERR_INVALID,
           "bind: src_tables[0]: gens without ids");
    bind.dir = KVF_WRITE;
    table[0].ids = src_ids;
    table[0].gens = NULL;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, &op, sizeof(op), &count, NULL, NULL), KVF_OK);
    ck_assert_ptr_eq(op.local_ids, &src_ids[1]);
    ck_assert_ptr_eq(op.remote_ids, &dst_ids[2]);
    ck_assert_uint_eq(op.local_block, 65536);
    kvf_plan_destroy(plan);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("plan_shape");
    TCase *shape = tcase_create("shape"), *edge = tcase_create("edge");

    tcase_add_loop_test(shape, a_prompt_of_8192_tokens_makes_the_published_pieces, 0, ROWS(shapes));
    tcase_add_loop_test(shape, two_layouts_make_few_ops, 0, ROWS(crossings));
    tcase_add_test(shape, a_range_that_cuts_blocks_makes_ops_for_each_end);
    tcase_add_test(shape, a_window_takes_the_last_tokens_only);
    tcase_add_loop_test(shape, layers_one_by_one_are_the_whole, 0, ROWS(crossings));
    tcase_add_test(shape, the_layers_of_a_plan_are_told);
    tcase_add_test(shape, states_of_several_tokens_move_whole);
    suite_add_tcase(s, shape);
    tcase_add_test(edge, offsets_past_4_gib_are_exact_on_both_sides);
    tcase_add_test(edge, nothing_to_do_makes_no_op);
    tcase_add_test(edge, null_tables_count_from_their_entry_on);
    tcase_add_test(edge, older_and_newer_ops_are_filled);
    tcase_add_test(edge, a_short_array_is_told_the_need);
    tcase_add_test(edge, directions_generations_and_status_reach_the_op);
    suite_add_tcase(s, edge);
    return s;
}

int main(void)
{
    return run_plans(suite());
}

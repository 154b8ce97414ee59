/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Many layers in allocations of their own, bound at once and one by one: the ops are the same ones.
 * Binding a range that cuts blocks writes the ops of all layers from one; binding a layer makes its
 * boxes alone. Handles are numbers; no op is run.
 */
#include <check.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#define SEGMENTS 160
#define MOST     (3 * SEGMENTS)

static char handles[2 * SEGMENTS];
static kvf_segment_t *segments[SEGMENTS];
static kvf_remote_t *remotes[SEGMENTS];
static kvf_op_t whole[MOST], parts[MOST];
static const uint32_t src_ids[] = {3, 9, 4, 0, 7}, dst_ids[] = {8, 1, 0, 5, 2};

static kvf_plan_t *make_plan(const char *src_name, const char *dst_name)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 10, .heads = 2};
    const kvf_kv_model_t *model;
    kvf_layout_t *src, *dst;
    kvf_plan_t *plan;

    ck_assert_int_eq(kvf_kv_model_find("llama-3.1-70b", &model), KVF_OK);
    ck_assert_int_eq(kvf_layout_build(model, src_name, &opts, &src), KVF_OK);
    opts.first_head = opts.heads = 1;
    ck_assert_int_eq(kvf_layout_build(model, dst_name, &opts, &dst), KVF_OK);
    ck_assert_uint_eq(kvf_layout_describe(src)->segment_count, SEGMENTS);
    ck_assert_uint_eq(kvf_layout_describe(dst)->segment_count, SEGMENTS);
    ck_assert_msg(kvf_plan_create(src, dst, NULL, &plan) == KVF_OK, "%s", kvf_last_error());
    kvf_layout_destroy(src);
    kvf_layout_destroy(dst);
    return plan;
}

static kvf_bind_t make_bind(kvf_bind_table_t *table, uint32_t dir)
{
    for (unsigned i = 0; i < SEGMENTS; i++) {
        segments[i] = (kvf_segment_t *)&handles[i];
        remotes[i] = (kvf_remote_t *)&handles[SEGMENTS + i];
    }
    table[0] = (kvf_bind_table_t){.ids = src_ids, .count = 5};
    table[1] = (kvf_bind_table_t){.ids = dst_ids, .count = 5};
    return (kvf_bind_t){.struct_size = sizeof(kvf_bind_t),
                        .dir = dir,
                        .src_table_count = 1,
                        .dst_table_count = 1,
                        .src_tables = &table[0],
                        .dst_tables = &table[1],
                        .first_token = 5,
                        .tokens = 68,
                        .segments = segments,
                        .segment_count = SEGMENTS,
                        .remotes = remotes,
                        .remote_count = SEGMENTS};
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(kvf_op_t));
}

/* _i: direction, and whether the tables are numbered. */
START_TEST(layers_at_once_are_the_layers_one_by_one)
{
    kvf_plan_t *plan = make_plan("sglang", "sglang");
    kvf_bind_table_t table[2];
    kvf_bind_t bind = make_bind(table, (uint32_t)_i & 1);
    size_t count = MOST, at = 0;

    if (_i & 2)
        table[_i & 1].ids = NULL;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, whole, sizeof(whole[0]), &count, NULL, NULL),
                     KVF_OK);
    ck_assert_uint_eq(count, MOST); /* the whole blocks, and two that are cut */
    bind.layer_count = 1;
    for (; bind.first_layer < 80; bind.first_layer++, at += count) {
        count = MOST - at;
        ck_assert_int_eq(
            kvf_plan_bind(plan, &bind, parts + at, sizeof(parts[0]), &count, NULL, NULL), KVF_OK);
    }
    ck_assert_uint_eq(at, MOST);
    qsort(whole, MOST, sizeof(whole[0]), by_bytes);
    qsort(parts, MOST, sizeof(parts[0]), by_bytes);
    ck_assert_mem_eq(whole, parts, sizeof(whole));
    kvf_plan_destroy(plan);
}
END_TEST

START_TEST(short_arrays_and_ops_of_other_sizes_are_filled_as_far_as_they_go)
{
    kvf_plan_t *plan = make_plan("sglang", "sglang");
    kvf_bind_table_t table[2];
    kvf_bind_t bind = make_bind(table, KVF_READ);
    const size_t shorter = offsetof(kvf_op_t, remote_gens), longer = sizeof(kvf_op_t) + 16;
    char *bytes = malloc(MOST * longer);
    size_t count = MOST;

    ck_assert_int_eq(kvf_plan_bind(plan, &bind, whole, sizeof(whole[0]), &count, NULL, NULL),
                     KVF_OK);
    for (size_t size = shorter; size <= longer; size += longer - shorter) {
        memset(bytes, 0x55, MOST * longer);
        ck_assert_int_eq(
            kvf_plan_bind(plan, &bind, (kvf_op_t *)(void *)bytes, size, &count, NULL, NULL),
            KVF_OK);
        for (size_t i = 0; i < MOST; i++) {
            size_t known = size < sizeof(kvf_op_t) ? size : sizeof(kvf_op_t);

            ck_assert_mem_eq(bytes + i * size, &whole[i], known);
            for (size_t b = known; b < size; b++)
                ck_assert_int_eq(bytes[i * size + b], 0);
        }
    }
    memset(parts, 0x55, sizeof(parts));
    count = 200; /* in the middle of a cut end */
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, parts, sizeof(parts[0]), &count, NULL, NULL),
                     KVF_ERR_SPACE);
    ck_assert_uint_eq(count, MOST);
    ck_assert_mem_eq(parts, whole, 200 * sizeof(parts[0]));
    ck_assert_int_eq(*(char *)&parts[200], 0x55);
    free(bytes);
    kvf_plan_destroy(plan);
}
END_TEST

START_TEST(a_handle_that_is_missing_is_named_where_ends_are_cut_too)
{
    kvf_plan_t *plan = make_plan("sglang", "sglang");
    kvf_bind_table_t table[2];
    kvf_bind_t bind = make_bind(table, KVF_READ);
    size_t count = MOST;

    bind.tokens = 6; /* one block, cut */
    segments[70] = NULL;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, whole, sizeof(whole[0]), &count, NULL, NULL),
                     KVF_ERR_INVALID);
    ck_assert_str_eq(kvf_last_error(), "bind: segments[70] is NULL");
    segments[70] = (kvf_segment_t *)&handles[70];
    remotes[159] = NULL;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, whole, sizeof(whole[0]), &count, NULL, NULL),
                     KVF_ERR_INVALID);
    ck_assert_str_eq(kvf_last_error(), "bind: remotes[159] is NULL");
    kvf_plan_destroy(plan);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bind");
    TCase *c = tcase_create("bind");

    tcase_add_loop_test(c, layers_at_once_are_the_layers_one_by_one, 0, 4);
    tcase_add_test(c, short_arrays_and_ops_of_other_sizes_are_filled_as_far_as_they_go);
    tcase_add_test(c, a_handle_that_is_missing_is_named_where_ends_are_cut_too);
    suite_add_tcase(s, c);

    SRunner *runner = srunner_create(s);

    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);

    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

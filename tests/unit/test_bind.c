/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Many layers in allocations of their own, bound at once and one by one: the ops are the same ones.
 * Binding a range that cuts blocks writes the ops of all layers from one; binding a layer makes its
 * boxes alone. Handles are numbers; no op is run.
 */
#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#define SEGMENTS 160
#define MOST     (3 * SEGMENTS)

static char handles[2 * SEGMENTS];
static kvf_bind_local_t locals[SEGMENTS];
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
        locals[i] = (kvf_bind_local_t){.segment = (kvf_segment_t *)&handles[i]};
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
                        .locals = locals,
                        .local_count = SEGMENTS,
                        .remotes = remotes,
                        .remote_count = SEGMENTS};
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(kvf_op_t));
}

/* A pool cut in a range for each segment: the ops of segments apart, moved. _i: direction. */
START_TEST(ranges_of_one_segment_are_the_segments_moved)
{
    const uint64_t len = UINT64_C(1) << 32; /* more than any segment's */
    kvf_plan_t *plan = make_plan("sglang", "sglang");
    kvf_bind_table_t table[2];
    kvf_bind_t bind = make_bind(table, (uint32_t)_i);
    size_t count = MOST;

    ck_assert_int_eq(kvf_plan_bind(plan, &bind, whole, sizeof(whole[0]), &count, NULL, NULL), KVF_OK);
    for (uint32_t i = 0; i < SEGMENTS; i++)
        locals[i] = (kvf_bind_local_t){
            .segment = (kvf_segment_t *)&handles[0], .off = (SEGMENTS - i) * len, .len = len};
    for (unsigned again = 0; again < 2; again++) {
        ck_assert_msg(kvf_plan_bind(plan, &bind, parts, sizeof(parts[0]), &count, NULL, NULL) == KVF_OK, "%s",
                      kvf_last_error());
        ck_assert_uint_eq(count, MOST);
        for (uint32_t i = 0; i < MOST; i++) {
            kvf_op_t want = whole[i];
            uint64_t slot = (uint64_t)((char *)want.segment - handles);

            want.segment = (kvf_segment_t *)&handles[0];
            want.local_off += (SEGMENTS - slot) * len;
            ck_assert_mem_eq(&want, &parts[i], sizeof(want));
        }
    }
    kvf_plan_destroy(plan);
}
END_TEST

static void expect_bind(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_status_t want,
                        const char *sentence)
{
    size_t count = MOST;
    kvf_status_t status = kvf_plan_bind(plan, bind, whole, sizeof(whole[0]), &count, NULL, NULL);

    ck_assert_msg(status == want, "%s: %s", kvf_status_name(status), kvf_last_error());
    if (want != KVF_OK)
        ck_assert_str_eq(kvf_last_error(), sentence);
}

/* _i: direction, whether the layers come one by one, whether right places were bound before. */
START_TEST(segments_that_would_lie_over_each_other_are_refused_by_name)
{
    kvf_plan_t *plan = make_plan("sglang", "sglang");
    kvf_bind_table_t table[2];
    kvf_bind_t bind = make_bind(table, (uint32_t)_i & 1);
    kvf_layout_t *layout;
    const kvf_kv_model_t *model;
    const kvf_segment_t *own = locals[70].segment;
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 10, .heads = 1};
    char sentence[200];

    opts.heads = (_i & 1) == KVF_READ ? 1 : 2;
    ck_assert_int_eq(kvf_kv_model_find("llama-3.1-70b", &model), KVF_OK);
    ck_assert_int_eq(kvf_layout_build(model, "sglang", &opts, &layout), KVF_OK);
    uint64_t len = kvf_layout_describe(layout)->segment_len[0];

    kvf_layout_destroy(layout);
    bind.layer_count = (_i & 2) != 0;
    if ((_i & 4) != 0)
        expect_bind(plan, &bind, KVF_OK, "");
    locals[70].segment = locals[3].segment;
    snprintf(sentence, sizeof(sentence),
             "bind: locals[3] and locals[70] overlap: bytes 0 to %llu and 0 to %llu of one segment",
             (unsigned long long)len, (unsigned long long)len);
    expect_bind(plan, &bind, KVF_ERR_INVALID, sentence);
    locals[70].off = len - 1;
    snprintf(sentence, sizeof(sentence),
             "bind: locals[3] and locals[70] overlap: bytes 0 to %llu and %llu to %llu of one segment",
             (unsigned long long)len, (unsigned long long)len - 1, (unsigned long long)(2 * len - 1));
    expect_bind(plan, &bind, KVF_ERR_INVALID, sentence);
    locals[70].off = len;
    expect_bind(plan, &bind, KVF_OK, "");
    locals[3].len = len + 1;
    snprintf(sentence, sizeof(sentence),
             "bind: locals[3] and locals[70] overlap: bytes 0 to %llu and %llu to %llu of one segment",
             (unsigned long long)len + 1, (unsigned long long)len, (unsigned long long)(2 * len));
    expect_bind(plan, &bind, KVF_ERR_INVALID, sentence);
    locals[3].len = 0;
    locals[70] = (kvf_bind_local_t){.segment = (kvf_segment_t *)(uintptr_t)own};
    remotes[159] = remotes[0];
    expect_bind(plan, &bind, KVF_ERR_INVALID,
                "bind: remotes[0] and remotes[159] are one granted range: the two segments of the "
                "layout would overlap");
    remotes[159] = (kvf_remote_t *)&handles[2 * SEGMENTS - 1];
    expect_bind(plan, &bind, KVF_OK, "");
    kvf_plan_destroy(plan);
}
END_TEST

#define MANY 3000

/* More segments than are sorted without memory, of which each layer's is new to the order. */
START_TEST(two_of_thousands_of_segments_are_found)
{
    static kvf_bind_local_t at[MANY];
    static kvf_remote_t *far[MANY];
    static uint32_t ids[MANY];
    static uint64_t lens[MANY], zeros[MANY];
    kvf_plane_t plane = {.kind = KVF_PLANE_K,
                         .element = "x",
                         .content = 16,
                         .block_stride = 16,
                         .head_stride = 16,
                         .state_stride = 16,
                         .layer_base = zeros,
                         .layer_segment = ids};
    kvf_group_t group = {.block_tokens = 1,
                         .layer_count = MANY,
                         .heads = 1,
                         .heads_total = 1,
                         .blocks = 1,
                         .layers = ids,
                         .planes = &plane,
                         .plane_count = 1};
    kvf_layout_desc_t desc = {.struct_size = sizeof(desc),
                              .group_count = 1,
                              .groups = &group,
                              .segment_count = MANY,
                              .segment_len = lens};
    kvf_bind_table_t table = {.count = 1};
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .src_table_count = 1,
                       .dst_table_count = 1,
                       .src_tables = &table,
                       .dst_tables = &table,
                       .tokens = 1,
                       .locals = at,
                       .local_count = MANY,
                       .remotes = far,
                       .remote_count = MANY,
                       .layer_count = 1};
    kvf_layout_t *layout;
    kvf_plan_t *plan;

    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t k = i * 7 % MANY; /* not in order */

        ids[i] = i;
        lens[i] = 16;
        at[i] = (kvf_bind_local_t){.segment = (kvf_segment_t *)&handles[0], .off = k * 16};
        far[i] = (kvf_remote_t *)((char *)at + k);
    }
    ck_assert_msg(kvf_layout_create(&desc, &layout) == KVF_OK, "%s", kvf_last_error());
    ck_assert_int_eq(kvf_plan_create(layout, layout, NULL, &plan), KVF_OK);
    expect_bind(plan, &bind, KVF_OK, "");
    at[2900].off = at[17].off + 15;
    expect_bind(plan, &bind, KVF_ERR_INVALID,
                "bind: locals[17] and locals[2900] overlap: bytes 1904 to 1920 and 1919 to 1935 of one "
                "segment");
    at[2900].segment = NULL; /* of another layer than the one that is bound */
    expect_bind(plan, &bind, KVF_OK, "");
    kvf_plan_destroy(plan);
    kvf_layout_destroy(layout);
}
END_TEST

/* _i: direction, and whether the tables are numbered. */
START_TEST(layers_at_once_are_the_layers_one_by_one)
{
    kvf_plan_t *plan = make_plan("sglang", "sglang");
    kvf_bind_table_t table[2];
    kvf_bind_t bind = make_bind(table, (uint32_t)_i & 1);
    size_t count = MOST, at = 0;

    if (_i & 2)
        table[_i & 1].ids = NULL;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, whole, sizeof(whole[0]), &count, NULL, NULL), KVF_OK);
    ck_assert_uint_eq(count, MOST); /* the whole blocks, and two that are cut */
    bind.layer_count = 1;
    for (; bind.first_layer < 80; bind.first_layer++, at += count) {
        count = MOST - at;
        ck_assert_int_eq(kvf_plan_bind(plan, &bind, parts + at, sizeof(parts[0]), &count, NULL, NULL),
                         KVF_OK);
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

    ck_assert_int_eq(kvf_plan_bind(plan, &bind, whole, sizeof(whole[0]), &count, NULL, NULL), KVF_OK);
    for (size_t size = shorter; size <= longer; size += longer - shorter) {
        memset(bytes, 0x55, MOST * longer);
        ck_assert_int_eq(kvf_plan_bind(plan, &bind, (kvf_op_t *)(void *)bytes, size, &count, NULL, NULL),
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
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, parts, sizeof(parts[0]), &count, NULL, NULL), KVF_ERR_SPACE);
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
    locals[70].segment = NULL;
    ck_assert_int_eq(kvf_plan_bind(plan, &bind, whole, sizeof(whole[0]), &count, NULL, NULL),
                     KVF_ERR_INVALID);
    ck_assert_str_eq(kvf_last_error(), "bind: locals[70].segment is NULL");
    locals[70].segment = (kvf_segment_t *)&handles[70];
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

    tcase_add_loop_test(c, ranges_of_one_segment_are_the_segments_moved, 0, 2);
    tcase_add_loop_test(c, segments_that_would_lie_over_each_other_are_refused_by_name, 0, 8);
    tcase_add_test(c, two_of_thousands_of_segments_are_found);
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

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Results of bindings by small cases that can be read, and what kvf_plan_results() refuses with
 * which sentence. That they are exact for any ranks, tables and ranges is test_plan_any's matter.
 * No op here is run: the statuses are the test's.
 */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

static char handles[16];
static kvf_bind_local_t local = {.segment = (kvf_segment_t *)&handles[0]};
static kvf_remote_t *remote = (kvf_remote_t *)&handles[8];

/* A destination with blocks of 64 tokens that reads from one with blocks of 16: 10 of these. */
typedef struct setup {
    kvf_plan_t *plan;
    kvf_bind_table_t src, dst;
    kvf_bind_t bind;
    uint32_t src_ids[10], dst_ids[3];
    int8_t pairs[32], entries[3];
    kvf_plan_results_t results;
} setup_t;

static void expect(kvf_status_t got, kvf_status_t want, const char *start)
{
    ck_assert_msg(got == want, "%s instead of %s: %s", kvf_status_name(got), kvf_status_name(want),
                  kvf_last_error());
    ck_assert_msg(strncmp(kvf_last_error(), start, strlen(start)) == 0, "\"%s\" is not \"%s...\"",
                  kvf_last_error(), start);
}

static kvf_layout_t *build(const char *model_name, uint32_t block_tokens)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 50, .block_tokens = block_tokens};
    const kvf_kv_model_t *model;
    kvf_layout_t *layout = NULL;

    ck_assert_int_eq(kvf_kv_model_find(model_name, &model), KVF_OK);
    ck_assert_msg(kvf_layout_build(model, "LBHNC", &opts, &layout) == KVF_OK, "%s", kvf_last_error());
    return layout;
}

/* Tokens [first, 160), every pair arrived. */
static void set_up(setup_t *s, const char *model, uint64_t first)
{
    kvf_layout_t *src = build(model, 16), *dst = build(model, 64);

    memset(s, 0, sizeof(*s));
    ck_assert_int_eq(kvf_plan_create(src, dst, NULL, &s->plan), KVF_OK);
    kvf_layout_destroy(src);
    kvf_layout_destroy(dst);
    for (uint32_t i = 0; i < 10; i++)
        s->src_ids[i] = 20 + i;
    for (uint32_t i = 0; i < 3; i++)
        s->dst_ids[i] = 30 + i;
    memset(s->entries, KVF_INPROGRESS, sizeof(s->entries));
    s->src = (kvf_bind_table_t){.ids = s->src_ids, .count = 10};
    s->dst = (kvf_bind_table_t){.ids = s->dst_ids, .count = 3, .block_status = s->entries};
    s->bind = (kvf_bind_t){.struct_size = sizeof(s->bind),
                           .src_tables = &s->src,
                           .dst_tables = &s->dst,
                           .src_table_count = 1,
                           .dst_table_count = 1,
                           .first_token = first,
                           .tokens = 160 - first,
                           .locals = &local,
                           .local_count = 1,
                           .remotes = &remote,
                           .remote_count = 1,
                           .pair_status = s->pairs,
                           .pair_count = 32};
    s->results.struct_size = sizeof(s->results);
}

/* A pair of an op is told by its source's id: all ops that have it, end so. */
static void end_pair(setup_t *s, uint32_t id, kvf_status_t status)
{
    kvf_op_t ops[64];
    uint32_t ids[256];
    size_t count = 64, id_count = 256, found = 0;

    ck_assert_msg(kvf_plan_bind(s->plan, &s->bind, ops, sizeof(ops[0]), &count, ids, &id_count) == KVF_OK,
                  "%s", kvf_last_error());
    for (size_t o = 0; o < count; o++)
        for (uint32_t i = 0; i < ops[o].blocks; i++)
            if (ops[o].remote_ids[i] == id) {
                ops[o].block_status[i] = (int8_t)status;
                found++;
            }
    ck_assert_uint_gt(found, 0);
}

static void add(setup_t *s, kvf_status_t posted)
{
    ck_assert_msg(kvf_plan_results(s->plan, &s->bind, posted, &s->results) == KVF_OK, "%s", kvf_last_error());
}

START_TEST(a_stale_block_ends_the_prefix_and_marks_its_entry)
{
    setup_t s;

    set_up(&s, "llama-3.1-8b", 0);
    end_pair(&s, 25, KVF_ERR_STALE); /* tokens 80 to 95, of entry 1 */
    add(&s, KVF_OK);
    ck_assert_int_eq(s.results.status, KVF_ERR_STALE);
    ck_assert_uint_eq(s.results.prefix_tokens, 80);
    ck_assert_uint_eq(s.results.missing_token, 80);
    ck_assert_uint_eq(s.results.arrived, 9);
    ck_assert_uint_eq(s.results.failed, 1);
    ck_assert_int_eq(s.entries[0], KVF_OK);
    ck_assert_int_eq(s.entries[1], KVF_ERR_STALE);
    ck_assert_int_eq(s.entries[2], KVF_OK);
    kvf_plan_destroy(s.plan);
}
END_TEST

START_TEST(a_range_that_begins_inside_a_block_counts_from_its_first_token)
{
    setup_t s;

    set_up(&s, "llama-3.1-8b", 70);
    end_pair(&s, 24, KVF_ERR_TIMEOUT); /* tokens 64 to 79, of which 70 to 79 are wanted */
    add(&s, KVF_OK);
    ck_assert_uint_eq(s.results.missing_token, 70);
    ck_assert_uint_eq(s.results.prefix_tokens, 0);
    ck_assert_int_eq(s.entries[0], KVF_INPROGRESS);
    ck_assert_int_eq(s.entries[1], KVF_ERR_TIMEOUT);
    kvf_plan_destroy(s.plan);
}
END_TEST

/* What the destination drops it has; what only the source drops it misses. */
START_TEST(skips_of_the_destination_do_not_end_the_prefix_and_those_of_the_source_do)
{
    const uint8_t cached[3] = {1, 0, 0};
    setup_t s;

    set_up(&s, "llama-3.1-8b", 0);
    s.dst.skip = cached;
    s.src_ids[7] = KVF_SKIP;
    for (unsigned i = 0; i < 32; i++)
        s.pairs[i] = KVF_SKIPPED;
    add(&s, KVF_OK);
    ck_assert_int_eq(s.results.status, KVF_OK);
    ck_assert_uint_eq(s.results.missing_token, 64); /* nothing of entries 1 and 2 was said to be OK */
    memset(s.pairs, 0, sizeof(s.pairs));
    s.results.bindings = 0;
    memset(s.entries, KVF_INPROGRESS, sizeof(s.entries));
    add(&s, KVF_OK);
    ck_assert_uint_eq(s.results.prefix_tokens, 112);
    ck_assert_uint_eq(s.results.skipped, 5);
    ck_assert_int_eq(s.entries[0], KVF_SKIPPED);
    ck_assert_int_eq(s.entries[1], KVF_SKIPPED);
    ck_assert_int_eq(s.entries[2], KVF_OK);
    kvf_plan_destroy(s.plan);
}
END_TEST

START_TEST(a_source_whose_post_was_refused_fails_all_its_pairs_and_the_worst_wins)
{
    setup_t s;

    for (unsigned order = 0; order < 2; order++) {
        set_up(&s, "llama-3.1-8b", 0);
        end_pair(&s, 22, KVF_ERR_STALE);
        for (unsigned i = 0; i < 2; i++)
            add(&s, i == order ? KVF_ERR_PEER : KVF_OK);
        ck_assert_int_eq(s.results.status, KVF_ERR_PEER);
        ck_assert_uint_eq(s.results.bindings, 2);
        ck_assert_uint_eq(s.results.prefix_tokens, 0);
        ck_assert_uint_eq(s.results.failed, 11);
        for (unsigned i = 0; i < 3; i++)
            ck_assert_int_eq(s.entries[i], KVF_ERR_PEER);
        kvf_plan_destroy(s.plan);
    }
}
END_TEST

/* The layers with a window have the last tokens only, which serve no shorter prompt. */
START_TEST(a_window_makes_the_prefix_all_or_nothing)
{
    setup_t s;

    set_up(&s, "gpt-oss-120b", 0);
    s.bind.flags = KVF_BIND_WINDOW;
    add(&s, KVF_OK);
    ck_assert_uint_eq(s.results.whole_only, 1);
    ck_assert_uint_eq(s.results.prefix_tokens, 160);
    s.results.bindings = 0;
    end_pair(&s, 29, KVF_ERR_STALE);
    add(&s, KVF_OK);
    ck_assert_uint_eq(s.results.prefix_tokens, 0);
    ck_assert_uint_eq(s.results.missing_token, 144);
    s.bind.flags = 0;
    memset(s.pairs, 0, sizeof(s.pairs));
    s.bind.pair_count = 0;
    expect(kvf_plan_results(s.plan, &s.bind, KVF_OK, &s.results), KVF_ERR_SPACE,
           "results: pair_status needs 20 entries, pair_count is 0");
    kvf_plan_destroy(s.plan);
}
END_TEST

START_TEST(nothing_to_do_is_a_result_too)
{
    setup_t s;

    set_up(&s, "llama-3.1-8b", 160);
    s.bind.pair_status = NULL;
    s.bind.pair_count = 0;
    s.dst.block_status = NULL;
    add(&s, KVF_OK);
    ck_assert_uint_eq(s.results.bindings, 1);
    ck_assert_uint_eq(s.results.prefix_tokens, 0);
    ck_assert_uint_eq(s.results.missing_token, UINT64_MAX);
    kvf_plan_destroy(s.plan);
}
END_TEST

START_TEST(wrong_results_are_refused_and_change_nothing)
{
    setup_t s;
    kvf_plan_results_t before, small = {.struct_size = 4};

    set_up(&s, "llama-3.1-8b", 0);
    add(&s, KVF_OK);
    before = s.results;
    expect(kvf_plan_results(NULL, &s.bind, KVF_OK, &s.results), KVF_ERR_INVALID, "bind: plan is N");
    expect(kvf_plan_results(s.plan, NULL, KVF_OK, &s.results), KVF_ERR_INVALID, "bind: bind is N");
    expect(kvf_plan_results(s.plan, &s.bind, KVF_OK, NULL), KVF_ERR_INVALID, "results: results_p is NULL");
    expect(kvf_plan_results(s.plan, &s.bind, KVF_OK, &small), KVF_ERR_INVALID,
           "results: results_p.struct_size is 4");
    expect(kvf_plan_results(s.plan, &s.bind, KVF_INPROGRESS, &s.results), KVF_ERR_INVALID,
           "results: posted is KVF_INPROGRESS");
    s.results.reserved[3] = 1;
    expect(kvf_plan_results(s.plan, &s.bind, KVF_OK, &s.results), KVF_ERR_INVALID, "results: reserved is");
    s.results.reserved[3] = 0;
    s.pairs[9] = KVF_INPROGRESS;
    expect(kvf_plan_results(s.plan, &s.bind, KVF_OK, &s.results), KVF_ERR_BUSY,
           "results: pair_status[9] has no end");
    s.pairs[9] = 0;
    s.bind.pair_count = 9;
    expect(kvf_plan_results(s.plan, &s.bind, KVF_OK, &s.results), KVF_ERR_SPACE,
           "results: pair_status needs 10 entries, pair_count is 9");
    s.bind.pair_status = NULL;
    expect(kvf_plan_results(s.plan, &s.bind, KVF_OK, &s.results), KVF_ERR_INVALID,
           "results: pair_status is NULL");
    s.bind.pair_status = s.pairs;
    s.bind.pair_count = 32;
    s.bind.tokens = 80;
    expect(kvf_plan_results(s.plan, &s.bind, KVF_OK, &s.results), KVF_ERR_INVALID,
           "results: 80 tokens from 0 on, but 160 from 0 on in the bindings before");
    s.bind.tokens = 160;
    s.src.count = 9;
    expect(kvf_plan_results(s.plan, &s.bind, KVF_OK, &s.results), KVF_ERR_BOUNDS,
           "bind: source group 0: the range needs blocks");
    ck_assert_mem_eq(&s.results, &before, sizeof(before));
    kvf_plan_destroy(s.plan);
}
END_TEST

START_TEST(a_binding_that_keeps_statuses_tells_the_room_they_take)
{
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    setup_t s;
    kvf_op_t ops[8];
    uint32_t ids[256];
    size_t count = 8, id_count = 256;

    set_up(&s, "llama-3.1-8b", 0);
    s.bind.pair_count = 9;
    expect(kvf_plan_bind(s.plan, &s.bind, ops, sizeof(ops[0]), &count, ids, &id_count), KVF_ERR_SPACE,
           "bind: pair_status needs 10 entries, pair_count is 9");
    s.bind.pair_status = NULL;
    ck_assert_int_eq(kvf_plan_measure(s.plan, &s.bind, &size), KVF_OK);
    ck_assert_uint_eq(size.pairs, 10);
    kvf_plan_destroy(s.plan);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("results");
    TCase *c = tcase_create("results");

    tcase_add_test(c, a_stale_block_ends_the_prefix_and_marks_its_entry);
    tcase_add_test(c, a_range_that_begins_inside_a_block_counts_from_its_first_token);
    tcase_add_test(c, skips_of_the_destination_do_not_end_the_prefix_and_those_of_the_source_do);
    tcase_add_test(c, a_source_whose_post_was_refused_fails_all_its_pairs_and_the_worst_wins);
    tcase_add_test(c, a_window_makes_the_prefix_all_or_nothing);
    tcase_add_test(c, nothing_to_do_is_a_result_too);
    tcase_add_test(c, wrong_results_are_refused_and_change_nothing);
    tcase_add_test(c, a_binding_that_keeps_statuses_tells_the_room_they_take);
    suite_add_tcase(s, c);

    SRunner *runner = srunner_create(s);

    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);

    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

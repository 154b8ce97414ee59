/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Layouts far larger than any model's, as a blob from a neighbour may have them: to check one takes
 * no longer than its size warrants, and what cannot be checked in a bounded time is refused.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kvferry/kv.h>

#include "plans.h"

#define LAYERS   60000u
#define TIME_MAX 1.0 /* seconds of processor; a quadratic check takes 5 and more */

static uint32_t ids[2][LAYERS];
static uint64_t bases[LAYERS];
static kvf_plane_t planes[512];
static kvf_group_t groups[2];
static uint64_t lens[2] = {UINT64_C(1) << 40, UINT64_C(1) << 40};

static double cpu_seconds(void)
{
    struct timespec at;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* One group, layers one behind the other in a segment, which rise. */
static kvf_layout_desc_t make_large(void)
{
    for (uint32_t i = 0; i < LAYERS; i++) {
        ids[0][i] = i;
        ids[1][i] = LAYERS + i;
        bases[i] = (uint64_t)i * 256;
    }
    for (uint32_t p = 0; p < 512; p++)
        planes[p] = (kvf_plane_t){.kind = KVF_PLANE_K,
                                  .index = p,
                                  .element = "x",
                                  .content = 16,
                                  .block_stride = 256,
                                  .layer_stride = 256,
                                  .head_stride = 16,
                                  .state_stride = 16};
    for (uint32_t g = 0; g < 2; g++)
        groups[g] = (kvf_group_t){.block_tokens = 16,
                                  .layer_count = LAYERS,
                                  .heads = 1,
                                  .heads_total = 1,
                                  .blocks = 1,
                                  .layers = ids[g],
                                  .planes = planes,
                                  .plane_count = 1};
    return (kvf_layout_desc_t){.struct_size = sizeof(kvf_layout_desc_t),
                               .group_count = 1,
                               .groups = groups,
                               .segment_count = 1,
                               .segment_len = lens};
}

/* Create it, and once more from its bytes; or get the sentence, either way in time. */
static void expect_in_time(const kvf_layout_desc_t *desc, kvf_status_t want, const char *start)
{
    kvf_layout_t *layout = NULL, *back = NULL;
    double from = cpu_seconds();
    kvf_status_t status = kvf_layout_create(desc, &layout);

    ck_assert_msg(cpu_seconds() - from < TIME_MAX, "%.2f s", cpu_seconds() - from);
    if (want != KVF_OK) {
        expect(status, want, start);
        return;
    }
    ck_assert_msg(status == KVF_OK, "%s", kvf_last_error());
    size_t len = 0;

    ck_assert_int_eq(kvf_layout_pack(layout, NULL, &len), KVF_OK);
    void *blob = malloc(len);

    ck_assert_int_eq(kvf_layout_pack(layout, blob, &len), KVF_OK);
    from = cpu_seconds();
    ck_assert_msg(kvf_layout_unpack(blob, len, &back) == KVF_OK, "%s", kvf_last_error());
    ck_assert_msg(cpu_seconds() - from < TIME_MAX, "%.2f s", cpu_seconds() - from);
    ck_assert_uint_eq(kvf_layout_fingerprint(layout), kvf_layout_fingerprint(back));
    free(blob);
    kvf_layout_destroy(layout);
    kvf_layout_destroy(back);
}

START_TEST(layers_in_falling_order_take_no_quadratic_time)
{
    kvf_layout_desc_t desc = make_large();

    for (uint32_t i = 0; i < LAYERS; i++)
        ids[0][i] = LAYERS - 1 - i;
    expect_in_time(&desc, KVF_OK, "");
}
END_TEST

START_TEST(layers_of_two_groups_take_no_quadratic_time)
{
    kvf_layout_desc_t desc = make_large();

    desc.group_count = desc.segment_count = 2;
    planes[1].index = 0;
    planes[1].segment = 1;
    groups[1].planes = &planes[1];
    expect_in_time(&desc, KVF_OK, "");
    ids[1][LAYERS / 2] = LAYERS - 1;
    expect_in_time(&desc, KVF_ERR_INVALID, "groups 0 and 1: layers of both hold layer 59999, plane k");
}
END_TEST

START_TEST(layers_with_a_base_each_take_no_quadratic_time)
{
    kvf_layout_desc_t desc = make_large();

    planes[0].layer_base = bases;
    expect_in_time(&desc, KVF_OK, "");
    bases[7] = bases[LAYERS - 1] + 8;
    expect_in_time(&desc, KVF_ERR_INVALID,
                   "group 0, plane k, layer 7: cells overlap those of group 0, plane k, layer 59999");
}
END_TEST

/* All layers lie within each other: block by block, and layer by layer within a block. */
START_TEST(layers_too_many_to_compare_are_refused_in_time)
{
    kvf_layout_desc_t desc = make_large();

    planes[0].layer_base = bases;
    planes[0].block_stride = (uint64_t)LAYERS * 256;
    groups[0].blocks = 2;
    expect_in_time(&desc, KVF_ERR_UNSUPPORTED, "group 0, plane k, layer ");
    ck_assert_ptr_nonnull(strstr(kvf_last_error(), "too many planes and layers lie within each other"));
    groups[0].layer_count = 1000;
    expect_in_time(&desc, KVF_OK, "");
}
END_TEST

START_TEST(more_planes_than_are_possible_are_refused_in_time)
{
    kvf_layout_desc_t desc = make_large();

    groups[0].plane_count = 257;
    expect_in_time(&desc, KVF_ERR_INVALID, "group 0: plane_count is 257, at most 256 are possible");
    groups[0].plane_count = 5;
    expect_in_time(&desc, KVF_ERR_INVALID,
                   "group 0: planes times layers come to 300000 with those of the groups before it");
    groups[0].layer_count = 1024;
    groups[0].plane_count = 256;
    for (uint32_t p = 0; p < 256; p++)
        planes[p].base = p * UINT64_C(1024 * 256);
    expect_in_time(&desc, KVF_OK, "");
    desc.group_count = 2;
    expect_in_time(&desc, KVF_ERR_INVALID, "group 1: planes times layers come to ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layouts at their limits");
    TCase *tcase = tcase_create("large");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, layers_in_falling_order_take_no_quadratic_time);
    tcase_add_test(tcase, layers_of_two_groups_take_no_quadratic_time);
    tcase_add_test(tcase, layers_with_a_base_each_take_no_quadratic_time);
    tcase_add_test(tcase, layers_too_many_to_compare_are_refused_in_time);
    tcase_add_test(tcase, more_planes_than_are_possible_are_refused_in_time);
    suite_add_tcase(suite, tcase);
    return run_plans(suite);
}

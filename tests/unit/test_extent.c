/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The arithmetic that keeps a box inside its memory, against brute force on small numbers and by hand
 * at the edges of 64 bits; and the exact test whether pieces of a box overlap.
 */
#include "copy/extent.h"

#include <check.h>
#include <kvferry.h>
#include <stdlib.h>
#include <string.h>

/* ck_assert() writes to a pipe each time: too slow for inner loops. */
#define must(cond) ((cond) ? (void)0 : ck_abort_msg("line %d: %s", __LINE__, #cond))

static uint64_t state = 88172645463325252u;

static uint64_t rnd(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

/* By the definition: every piece of every pair that is not skipped lies inside. */
static int inside(const kvfi_side_t *side)
{
    for (uint32_t i = 0; i < side->blocks; i++) {
        uint32_t id = side->ids != NULL ? side->ids[i] : i;

        if (id == KVF_SKIP || (side->other != NULL && side->other[i] == KVF_SKIP)) {
            continue;
        }
        if (side->cap != 0 && id >= side->cap) {
            return 0;
        }
        for (uint32_t y = 0; y < side->count[1]; y++) {
            for (uint32_t x = 0; x < side->count[0]; x++) {
                int64_t at =
                    (int64_t)(side->off + id * side->block) + x * side->stride[0] + y * side->stride[1];

                if (at < 0 || (uint64_t)at + side->len > side->limit) {
                    return 0;
                }
            }
        }
    }
    return 1;
}

START_TEST(a_side_is_inside_exactly_when_every_piece_is)
{
    int seen[2] = {0, 0};
    int plains = 0;

    for (int n = 0; n < 200000; n++) {
        uint32_t ids[40];
        uint32_t other[40];
        kvfi_side_t side = {.off = rnd(200),
                            .len = 1 + rnd(30),
                            .block = rnd(60),
                            .limit = 1 + rnd(900),
                            .count = {1 + (uint32_t)rnd(4), 1 + (uint32_t)rnd(4)},
                            .stride = {(int64_t)rnd(120) - 50, (int64_t)rnd(160) - 70},
                            .blocks = (uint32_t)rnd(rnd(4) != 0 ? 5 : 41),
                            .cap = rnd(2) != 0 ? (uint32_t)rnd(13) : 0};
        kvfi_found_t found;
        int want;
        int plain;

        for (uint32_t i = 0, odd = 6 * (1 + side.blocks / 4); i < side.blocks; i++) {
            ids[i] = rnd(odd) == 0 ? KVF_SKIP - (uint32_t)rnd(2) : (uint32_t)rnd(12);
            other[i] = rnd(odd) == 0 ? KVF_SKIP : 0;
        }
        side.ids = rnd(3) != 0 ? ids : NULL;
        side.other = rnd(2) != 0 ? other : NULL;
        want = inside(&side);
        seen[want]++;
        must((kvfi_side_check(&side, &found) == KVFI_EXTENT_OK) == want);
        must(want || found.index < side.blocks);
        plain = kvfi_side_is_inside(&side);
        side.other = NULL;
        must(!plain || inside(&side));
        plains += plain;
    }
    ck_assert_int_gt(seen[0], 10000);
    ck_assert_int_gt(seen[1], 10000);
    ck_assert_int_gt(plains, 10000);
}
END_TEST

START_TEST(nothing_wraps_at_64_bits)
{
    kvfi_found_t found;
    uint32_t ids[2] = {0, 4};
    kvfi_side_t side = {.len = 64, .limit = 4096, .count = {1, 1}, .blocks = 2, .ids = ids};

    side.block = UINT64_C(1) << 62; /* times 4 is 2^64 */
    ck_assert_int_ne(kvfi_side_check(&side, &found), KVFI_EXTENT_OK);
    side.cap = 5;
    ck_assert_int_eq(kvfi_side_check(&side, &found), KVFI_EXTENT_PAST);
    side.cap = 0;
    side.block = 64;
    side.off = UINT64_MAX - 63; /* plus len is 2^64 */
    ck_assert_int_ne(kvfi_side_check(&side, &found), KVFI_EXTENT_OK);
    side.off = 0;
    side.count[0] = UINT32_MAX;
    side.stride[0] = INT64_MAX;
    ck_assert_int_ne(kvfi_side_check(&side, &found), KVFI_EXTENT_OK);
    side.stride[0] = INT64_MIN;
    ck_assert_int_ne(kvfi_side_check(&side, &found), KVFI_EXTENT_OK);
    side.stride[0] = INT64_MIN; /* and back again with the rows */
    side.count[0] = 3;
    side.count[1] = 3;
    side.stride[1] = INT64_MAX;
    ck_assert_int_ne(kvfi_side_check(&side, &found), KVFI_EXTENT_OK);
}
END_TEST

START_TEST(an_id_is_named_with_its_index_and_capacity)
{
    uint32_t ids[4] = {3, KVF_SKIP, 9, 10};
    kvfi_found_t found;
    kvfi_side_t side = {.len = 100, .block = 100, .limit = 1000, .count = {1, 1}, .blocks = 4, .ids = ids};

    ck_assert_int_eq(kvfi_side_check(&side, &found), KVFI_EXTENT_ID);
    ck_assert_uint_eq(found.index, 3);
    ck_assert_uint_eq(found.cap, 10);
    ids[3] = UINT32_MAX - 1;
    ck_assert_int_eq(kvfi_side_check(&side, &found), KVFI_EXTENT_ID);
    ids[3] = 0;
    side.cap = 9;
    ck_assert_int_eq(kvfi_side_check(&side, &found), KVFI_EXTENT_ID);
    ck_assert_uint_eq(found.index, 2);
    ck_assert_uint_eq(found.cap, 9);
}
END_TEST

START_TEST(bytes_count_pairs_that_move_and_do_not_wrap)
{
    uint32_t ids[3] = {0, KVF_SKIP, 2};
    kvfi_side_t side = {.len = 10, .count = {3, 2}, .blocks = 3, .ids = ids, .limit = 60, .stride = {10, 30}};
    kvfi_found_t found;

    ck_assert_int_eq(kvfi_side_check(&side, &found), KVFI_EXTENT_OK);
    ck_assert_uint_eq(kvfi_side_bytes(&side, found.pairs), 120);
    side.ids = NULL;
    ck_assert_int_eq(kvfi_side_check(&side, &found), KVFI_EXTENT_OK);
    ck_assert_uint_eq(kvfi_side_bytes(&side, found.pairs), 180);
    side.len = UINT64_MAX;
    side.count[0] = side.count[1] = UINT32_MAX;
    ck_assert_uint_eq(kvfi_side_bytes(&side, UINT32_MAX), UINT64_MAX);
    side.len = UINT64_C(1) << 40;
    side.count[0] = 1u << 12;
    side.count[1] = 1u << 12;
    ck_assert_uint_eq(kvfi_side_bytes(&side, 1), UINT64_MAX);
    side.count[1] = 1u << 11;
    ck_assert_uint_eq(kvfi_side_bytes(&side, 1), UINT64_C(1) << 63);
}
END_TEST

static int overlap(uint64_t len, const uint32_t *count, const int64_t *stride)
{
    int64_t at[64];
    int n = 0;

    for (uint32_t y = 0; y < count[1]; y++) {
        for (uint32_t x = 0; x < count[0]; x++) {
            at[n++] = x * stride[0] + y * stride[1];
        }
    }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++) {
            int64_t gap = at[i] > at[k] ? at[i] - at[k] : at[k] - at[i];

            if ((uint64_t)gap < len) {
                return 1;
            }
        }
    }
    return 0;
}

START_TEST(overlap_inside_a_box_is_exact)
{
    int seen[2] = {0, 0};

    for (int n = 0; n < 200000; n++) {
        uint64_t len = 1 + rnd(20);
        uint32_t count[2] = {1 + (uint32_t)rnd(7), 1 + (uint32_t)rnd(7)};
        int64_t stride[2] = {(int64_t)rnd(121) - 60, (int64_t)rnd(241) - 120};
        int want = overlap(len, count, stride);

        seen[want]++;
        must(kvfi_side_overlaps(len, count, stride) == want);
    }
    ck_assert_int_gt(seen[0], 10000);
    ck_assert_int_gt(seen[1], 10000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("extent");
    TCase *tc = tcase_create("extent");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_side_is_inside_exactly_when_every_piece_is);
    tcase_add_test(tc, nothing_wraps_at_64_bits);
    tcase_add_test(tc, an_id_is_named_with_its_index_and_capacity);
    tcase_add_test(tc, bytes_count_pairs_that_move_and_do_not_wrap);
    tcase_add_test(tc, overlap_inside_a_box_is_exact);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The arithmetic of costs: at the sizes of the table, between, below and past them, and where the sum
 * leaves 64 bits. The built-in figures: that they rise with size, and tell packed from direct as they
 * were measured.
 */
#include <check.h>
#include <stdlib.h>

#include "copy/cost.h"

static const kvfi_cost_t plain = {
    100, 10, {64000, 256000, 1024000, 4096000, 16384000, 65536000, 262144000, 2097152000}}; /* 1 ns a byte */

START_TEST(one_ns_a_byte_is_so_at_all_sizes)
{
    for (uint64_t len = 64; len <= 64 << 20; len += 1 + len / 3) {
        ck_assert_uint_eq(kvfi_cost_ns(&plain, 1, 1, len), 110 + len);
        ck_assert_uint_eq(kvfi_cost_ns(&plain, 3, 1000, 1000 * len), 130 + 1000 * len);
    }
}
END_TEST

START_TEST(a_piece_below_the_table_costs_what_its_shortest_does)
{
    ck_assert_uint_eq(kvfi_cost_ns(&plain, 0, 10, 10), 100 + 640);
    ck_assert_uint_eq(kvfi_cost_ns(&plain, 0, 0, 0), 100);
}
END_TEST

START_TEST(what_leaves_64_bits_is_the_most)
{
    ck_assert_uint_eq(kvfi_cost_ns(&plain, UINT64_MAX, UINT64_MAX, UINT64_MAX), UINT64_MAX);
    ck_assert_uint_eq(kvfi_cost_ns(&plain, UINT64_MAX, 0, 0), UINT64_MAX);
    ck_assert_uint_lt(kvfi_cost_ns(&plain, 1, 1, UINT64_MAX / 2), UINT64_MAX);
}
END_TEST

START_TEST(a_longer_piece_never_costs_less)
{
    for (int path = KVF_PATH_SELF; path < KVF_PATH_COUNT; path++) {
        const kvfi_cost_t *cost = &kvfi_costs_built_in.path[path];
        uint64_t before = 0;

        for (uint64_t len = 1; cost->fixed_ns && len <= 8 << 20; len += 1 + len / 5) {
            uint64_t ns = kvfi_cost_ns(cost, 1, 1000, 1000 * len);

            ck_assert_uint_ge(ns, before);
            before = ns;
        }
    }
}
END_TEST

START_TEST(packed_wins_for_many_tiny_pieces_and_direct_for_one)
{
    const kvfi_cost_t *direct = &kvfi_costs_built_in.path[KVF_PATH_CMA];
    const kvfi_cost_t *packed = &kvfi_costs_built_in.path[KVF_PATH_STAGE];

    ck_assert_uint_lt(kvfi_cost_ns(direct, 1, 1, 64), kvfi_cost_ns(packed, 1, 1, 64));
    ck_assert_uint_lt(kvfi_cost_ns(direct, 1, 1, 4096), kvfi_cost_ns(packed, 1, 1, 4096));
    ck_assert_uint_gt(kvfi_cost_ns(direct, 1, 65536, 65536 * 256),
                      10 * kvfi_cost_ns(packed, 1, 65536, 65536 * 256));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("costs");
    TCase *tc = tcase_create("costs");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, one_ns_a_byte_is_so_at_all_sizes);
    tcase_add_test(tc, a_piece_below_the_table_costs_what_its_shortest_does);
    tcase_add_test(tc, what_leaves_64_bits_is_the_most);
    tcase_add_test(tc, a_longer_piece_never_costs_less);
    tcase_add_test(tc, packed_wins_for_many_tiny_pieces_and_direct_for_one);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

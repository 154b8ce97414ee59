/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The copy kernels, each that this machine can run: exact to the byte for any length and any
 * alignment on both sides, and not a byte beyond.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy/kernel.h"

#define PIECES 24
#define ROOM   8192 /* of a piece, canaries and offset included */

static const char *const names[] = {"plain", "avx2", "avx512"};

static char source[PIECES * ROOM], target[PIECES * ROOM], wanted[PIECES * ROOM];

static void fill(void)
{
    for (size_t i = 0; i < sizeof source; i++) {
        source[i] = (char)(i * 2654435761u >> 13);
        target[i] = wanted[i] = (char)(i * 40503u >> 7);
    }
}

/* Copies PIECES pieces of lengths len, len + step, ... and compares the whole target. */
static void copy_and_compare(kvfi_kernel_t kernel, unsigned dst_off, unsigned src_off, uint64_t len,
                             uint64_t step)
{
    kvfi_piece_t pieces[PIECES];

    for (unsigned i = 0; i < PIECES; i++) {
        /* another place for each, so that a mix-up shows */
        char *dst = target + ((i * 7 + 3) % PIECES) * ROOM + 64 + dst_off;
        const char *src = source + ((i * 5 + 1) % PIECES) * ROOM + 64 + src_off;

        pieces[i] = (kvfi_piece_t){dst, src, len + i * step};
        memcpy(wanted + (dst - target), src, len + i * step);
    }
    for (unsigned count = 1; count <= PIECES; count += count < 9 ? 1 : 15)
        kernel(pieces, count);
    ck_assert(memcmp(target, wanted, sizeof target) == 0);
}

static kvfi_kernel_t kernel_of(int i)
{
    if (kvfi_kernel_force(names[i])) {
        printf("this processor has no %s: that kernel is not tried\n", names[i]);
        return NULL;
    }
    return kvfi_kernel_streaming();
}

START_TEST(every_offset_on_both_sides)
{
    kvfi_kernel_t kernel = kernel_of(_i);

    fill();
    for (unsigned d = 0; kernel && d < 64; d += 1)
        for (unsigned s = 0; s < 64; s += 1 + d % 3)
            copy_and_compare(kernel, d, s, 256 + d * 5 + s, 0);
}
END_TEST

START_TEST(every_length)
{
    kvfi_kernel_t kernel = kernel_of(_i);

    fill();
    for (uint64_t len = 1; kernel && len < 1400; len++)
        copy_and_compare(kernel, (unsigned)len * 11 % 64, (unsigned)len * 29 % 64, len, len % 4);
    if (kernel)
        copy_and_compare(kernel, 1, 3, 7001, 13);
}
END_TEST

START_TEST(unknown_kernel_is_refused)
{
    ck_assert_int_eq(kvfi_kernel_force("mmx"), -1);
    ck_assert_int_eq(kvfi_kernel_force(NULL), 0);
    ck_assert_ptr_nonnull(kvfi_kernel_streaming());
    ck_assert_uint_ge(kvfi_kernel_threshold(), 1 << 18);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("copy kernels");
    TCase *tests = tcase_create("kernels");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, every_offset_on_both_sides, 0, 3);
    tcase_add_loop_test(tests, every_length, 0, 3);
    tcase_add_test(tests, unknown_kernel_is_refused);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

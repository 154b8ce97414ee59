/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where a calibration is written: past a symbolic link, which stays, over an empty file and over a
 * calibration of another release; and nothing is left beside it.
 */
#define _GNU_SOURCE
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy/calibration.h"

START_TEST(a_link_stays_and_what_it_leads_to_is_written)
{
    static const char *const before[] = {"", "kvferry calibration 1\nold\n", NULL};
    kvfi_host_t host = kvfi_host_look();
    kvfi_tune_t tune = kvfi_tune_default(&host);
    char dir[] = "/tmp/kvferry-test-XXXXXX", file[64], link[64];
    struct stat st;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/file", dir);
    snprintf(link, sizeof link, "%s/link", dir);
    if (before[_i]) {
        FILE *out = fopen(file, "w");

        ck_assert_ptr_nonnull(out);
        fputs(before[_i], out);
        fclose(out);
        ck_assert_int_eq(symlink("file", link), 0);
    }
    ck_assert_ptr_null(kvfi_calibration_try(before[_i] ? link : file));
    ck_assert_ptr_null(kvfi_calibration_write(before[_i] ? link : file, &host, &tune));
    ck_assert_ptr_null(kvfi_calibration_read(file, &host, &tune));
    if (before[_i]) {
        ck_assert(!lstat(link, &st) && S_ISLNK(st.st_mode));
        ck_assert_int_eq(unlink(link), 0);
    }
    ck_assert(!lstat(file, &st) && S_ISREG(st.st_mode));
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("calibration");
    TCase *tc = tcase_create("place");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, a_link_stays_and_what_it_leads_to_is_written, 0, 3);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

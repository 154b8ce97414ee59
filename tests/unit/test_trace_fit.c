/*
 * The number of tokens a block, which stands in no trace: what each format takes, when a file says
 * another number and is refused with it, and when rows are merely bad and judged one by one. Also
 * the two formats, apart and in one file.
 */
#define _GNU_SOURCE
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/fit.h"
#include "../../tools/trace.h"

#define TEXT_CAP ((size_t)8 << 20)

static kvfi_trace_t trace;
static char err[KVFI_TRACE_ERR_LEN];
static char *text;
static size_t text_len;

static void setup(void)
{
    text = malloc(TEXT_CAP);
    ck_assert_ptr_nonnull(text);
    text[0] = '\0';
    text_len = 0;
}

static void teardown(void)
{
    free(text);
    kvfi_trace_free(&trace);
}

static kvfi_trace_status_t read_rows(const kvfi_trace_opts_t *opts)
{
    FILE *file = tmpfile();
    kvfi_trace_status_t status;

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, text_len, file), text_len);
    rewind(file);
    kvfi_trace_free(&trace);
    status = kvfi_trace_read(file, "t", opts, &trace, err);
    fclose(file);
    return status;
}

static void add_row(const char *head, uint64_t length, uint64_t ids)
{
    text_len += (size_t)sprintf(text + text_len,
                                "{%s\"timestamp\": 2.5, \"input_length\": %" PRIu64
                                ", \"output_length\": 1, \"hash_ids\": [",
                                head, length);
    for (uint64_t i = 0; i < ids; i++)
        text_len += (size_t)sprintf(text + text_len, "%s%" PRIu64, i == 0 ? "" : ", ", i);
    text_len += (size_t)sprintf(text + text_len, "]}\n");
    ck_assert_uint_lt(text_len, TEXT_CAP);
}

static void add(uint64_t length, uint64_t ids)
{
    add_row("", length, ids);
}

static void add_cut(uint64_t length, uint64_t block)
{
    add(length, kvfi_fit_blocks(length, block));
}

#define CHAT "\"chat_id\": 5, \"parent_chat_id\": -1, \"type\": \"text\", \"turn\": 1, "

START_TEST(each_format_has_its_own_block)
{
    add_cut(6758, 512);
    add_cut(1, 512);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_OK);
    ck_assert_int_eq(trace.format, KVFI_TRACE_MOONCAKE);
    ck_assert_uint_eq(trace.block_tokens, 512);
    ck_assert_uint_eq(trace.requests[0].count, 14);
    ck_assert(trace.requests[0].timestamp_s == 0.0025);
    ck_assert_str_eq(kvfi_trace_format_name(trace.format), "mooncake");

    text_len = 0;
    add_row(CHAT, 521, 33);
    add_row(CHAT, 16, 1);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_OK);
    ck_assert_int_eq(trace.format, KVFI_TRACE_BAILIAN);
    ck_assert_uint_eq(trace.block_tokens, 16);
    ck_assert(trace.requests[0].timestamp_s == 2.5);
    ck_assert_str_eq(kvfi_trace_format_name(trace.format), "bailian");
}
END_TEST

START_TEST(optional_fields_of_bailian_decide_too)
{
    add_row("\"chat_id\": \"a\", ", 17, 2);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_OK);
    ck_assert_int_eq(trace.format, KVFI_TRACE_BAILIAN);
    text_len = 0;
    add_row("\"parent_chat_id\": 3, ", 17, 2);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "field chat_id is missing"));
    text_len = 0;
    add_row("\"type\": \"text\", ", 513, 2);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_OK);
    ck_assert_int_eq(trace.format, KVFI_TRACE_MOONCAKE);
}
END_TEST

START_TEST(trace_of_64_tokens_that_looks_like_mooncake_is_refused_with_64)
{
    kvfi_trace_opts_t skip = {.skip_bad = 1}, right = {.block_tokens = 64};

    for (uint64_t i = 0; i < 100; i++)
        add_cut(1 + i * 37, 64);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_str_eq(err, "t: 100 of 100 lines say 64 tokens a block, not 512 (line 3: 75 tokens, "
                          "2 ids): pass --trace-block-tokens 64");
    ck_assert_uint_eq(trace.request_count, 0);
    ck_assert_int_eq(read_rows(&skip), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "pass --trace-block-tokens 64"));
    ck_assert_int_eq(read_rows(&right), KVFI_TRACE_OK);
    ck_assert_uint_eq(trace.request_count, 100);
    ck_assert_uint_eq(trace.block_tokens, 64);
}
END_TEST

START_TEST(block_size_given_by_hand_is_checked_too)
{
    kvfi_trace_opts_t opts = {.block_tokens = 16};

    for (uint64_t i = 0; i < 10; i++)
        add_cut(5000 + i * 700, 512);
    ck_assert_int_eq(read_rows(&opts), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "10 of 10 lines say 512 tokens a block, not 16"));
    text_len = 0;
    for (uint64_t i = 0; i < 10; i++)
        add_row(CHAT, 5000 + i * 700, kvfi_fit_blocks(5000 + i * 700, 512));
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "10 of 10 lines say 512 tokens a block, not 16"));
    opts.block_tokens = 512;
    ck_assert_int_eq(read_rows(&opts), KVFI_TRACE_OK);
}
END_TEST

START_TEST(block_that_is_no_power_of_two_is_found_where_all_rows_agree)
{
    kvfi_trace_opts_t opts = {.block_tokens = 48};

    for (uint64_t i = 1; i < 50; i++)
        add_cut(i * 48, 48);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "pass --trace-block-tokens 48"));
    ck_assert_int_eq(read_rows(&opts), KVFI_TRACE_OK);
}
END_TEST

/* Whatever else the file says, one row that is wrong is that row's error. */
START_TEST(one_bad_row_is_a_line_error_wherever_it_stands)
{
    static const struct {
        uint64_t length, ids;
        const char *what;
    } bad[] = {
        {6758, 15, "hash_ids has 15 ids, but 6758 tokens in blocks of 512 make 14"},
        {6758, 13, "hash_ids has 13 ids, but 6758 tokens in blocks of 512 make 14"},
        {1, 2, "hash_ids has 2 ids, but 1 tokens in blocks of 512 make 1"},
        {640, 10,
         "hash_ids has 10 ids, but 640 tokens in blocks of 512 make 2 "
         "(would fit: --trace-block-tokens 64)"},
    };
    kvfi_trace_opts_t skip = {.skip_bad = 1};
    char want[256];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (uint64_t at = 1; at <= 4; at++) {
            text_len = 0;
            for (uint64_t line = 1; line <= 4; line++) {
                if (line == at)
                    add(bad[i].length, bad[i].ids);
                else
                    add_cut(3000 * line, 512);
            }
            ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
            snprintf(want, sizeof(want), "t: line %" PRIu64 ", column %d: %s", at,
                     bad[i].length == 6758 ? 74
                     : bad[i].length == 1  ? 71
                                           : 73,
                     bad[i].what);
            ck_assert_str_eq(err, want);
            ck_assert_int_eq(read_rows(&skip), KVFI_TRACE_OK);
            ck_assert_uint_eq(trace.skipped_lines, 1);
            ck_assert_uint_eq(trace.request_count, 3);
            ck_assert_str_eq(trace.skips[0], want);
        }
    }
}
END_TEST

START_TEST(rows_that_are_bad_in_different_ways_make_no_verdict)
{
    kvfi_trace_opts_t skip = {.skip_bad = 1};

    add(640, 10);
    add(1024, 64);
    add(1100, 4);
    add_cut(1100, 512);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "t: line 1, column 73: hash_ids has 10 ids"));
    ck_assert_int_eq(read_rows(&skip), KVFI_TRACE_OK);
    ck_assert_uint_eq(trace.skipped_lines, 3);
    ck_assert_uint_eq(trace.request_count, 1);
}
END_TEST

/* Rows of one block agree with any number: 64 has 7 of 10, but 512 has 8. */
START_TEST(short_rows_do_not_tip_the_verdict)
{
    kvfi_trace_opts_t skip = {.skip_bad = 1};

    for (uint64_t i = 0; i < 5; i++)
        add(1 + i, 1);
    for (uint64_t i = 0; i < 3; i++)
        add_cut(2000 + i, 512);
    add_cut(640, 64);
    add_cut(1280, 64);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "t: line 9, column 73: hash_ids has 10 ids"));
    ck_assert_int_eq(read_rows(&skip), KVFI_TRACE_OK);
    ck_assert_uint_eq(trace.skipped_lines, 2);
}
END_TEST

START_TEST(lone_row_of_another_block_is_told_what_would_fit)
{
    add(640, 10);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "(would fit: --trace-block-tokens 64)"));
}
END_TEST

/* The first error in the file is the one that is told, though later lines are read for the verdict,
 * and max_requests does not cut the hearing short. */
START_TEST(verdict_hears_the_rows_behind_the_first_misfit)
{
    kvfi_trace_opts_t opts = {.max_requests = 1};

    add(6758, 15);
    text_len += (size_t)sprintf(text + text_len, "[]\n");
    add_cut(6758, 512);
    ck_assert_int_eq(read_rows(&opts), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "t: line 1, column 74: hash_ids has 15 ids"));
    text_len = 0;
    for (uint64_t i = 0; i < 5; i++)
        add_cut(6000 + i, 64);
    ck_assert_int_eq(read_rows(&opts), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "5 of 5 lines say 64 tokens a block"));
}
END_TEST

START_TEST(verdict_comes_after_1000_rows)
{
    kvfi_trace_opts_t skip = {.skip_bad = 1};

    for (uint64_t i = 0; i < 3000; i++)
        add_cut(600 + i % 50, 64);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "1000 of 1000 lines say 64"));
    ck_assert_uint_eq(trace.line_count, 1000);
    ck_assert_int_eq(read_rows(&skip), KVFI_TRACE_BAD);
    ck_assert_uint_eq(trace.line_count, 1000);
    text_len = 0;
    for (uint64_t i = 0; i < 2000; i++)
        add_cut(600 + i % 50, 512);
    add(6758, 15);
    add(6758, 14);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "line 2001, column 74: hash_ids has 15 ids"));
    ck_assert_uint_eq(trace.line_count, 2001);
}
END_TEST

START_TEST(two_formats_in_one_file_are_refused_with_both_lines)
{
    kvfi_trace_opts_t skip = {.skip_bad = 1};

    add(1100, 3);
    text_len += (size_t)sprintf(text + text_len, "\n");
    add_row(CHAT, 521, 33);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_str_eq(err, "t: line 3, column 1: two formats in one file: this line is bailian, "
                          "line 1 is mooncake");
    ck_assert_int_eq(read_rows(&skip), KVFI_TRACE_BAD);
    text_len = 0;
    add_row(CHAT, 521, 33);
    add(1100, 3);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_str_eq(err, "t: line 2, column 1: two formats in one file: this line is mooncake, "
                          "line 1 is bailian");
}
END_TEST

START_TEST(extreme_lengths_and_blocks_do_not_overflow)
{
    kvfi_trace_opts_t opts = {.block_tokens = UINT64_MAX};

    add(UINT64_MAX, 1);
    add(1, 1);
    ck_assert_int_eq(read_rows(&opts), KVFI_TRACE_OK);
    ck_assert_uint_eq(trace.request_count, 2);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "hash_ids has 1 ids, but 18446744073709551615 tokens in "
                                      "blocks of 512 make 36028797018963968"));
    opts.block_tokens = 1;
    ck_assert_int_eq(read_rows(&opts), KVFI_TRACE_BAD);
    text_len = 0;
    add(UINT64_MAX, 1);
    add(UINT64_MAX, 1);
    ck_assert_int_eq(read_rows(NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "pass --trace-block-tokens 18446744073709551615"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trace_fit");
    TCase *tc = tcase_create("block size and format");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, each_format_has_its_own_block);
    tcase_add_test(tc, optional_fields_of_bailian_decide_too);
    tcase_add_test(tc, trace_of_64_tokens_that_looks_like_mooncake_is_refused_with_64);
    tcase_add_test(tc, block_size_given_by_hand_is_checked_too);
    tcase_add_test(tc, block_that_is_no_power_of_two_is_found_where_all_rows_agree);
    tcase_add_test(tc, one_bad_row_is_a_line_error_wherever_it_stands);
    tcase_add_test(tc, rows_that_are_bad_in_different_ways_make_no_verdict);
    tcase_add_test(tc, short_rows_do_not_tip_the_verdict);
    tcase_add_test(tc, lone_row_of_another_block_is_told_what_would_fit);
    tcase_add_test(tc, verdict_hears_the_rows_behind_the_first_misfit);
    tcase_add_test(tc, verdict_comes_after_1000_rows);
    tcase_add_test(tc, two_formats_in_one_file_are_refused_with_both_lines);
    tcase_add_test(tc, extreme_lengths_and_blocks_do_not_overflow);
    tcase_set_timeout(tc, 120);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

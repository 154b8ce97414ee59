/*
 * The reader of request traces against the hazards of input files: what must change nothing (byte
 * order mark, CRLF, blank lines, a missing last newline, the kind of stream), what must be refused
 * with line, column and reason, and what skip_bad must count exactly. The block size that a file
 * contradicts is in test_trace_fit.c, mutated lines are in test_trace_fuzz.c.
 */
#define _GNU_SOURCE
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../tools/trace.h"

#define ROW1  "{\"timestamp\": 0, \"input_length\": 1100, \"output_length\": 5, \"hash_ids\": [0, 1, 2]}"
#define ROW2  "{\"timestamp\": 1500, \"input_length\": 512, \"output_length\": 0, \"hash_ids\": [0]}"
#define ROW3  "{\"timestamp\": 3000, \"input_length\": 513, \"output_length\": 7, \"hash_ids\": [0, 9]}"
#define CLEAN ROW1 "\n" ROW2 "\n" ROW3 "\n"

static kvfi_trace_t trace;
static char err[KVFI_TRACE_ERR_LEN];

static kvfi_trace_status_t read_bytes(const char *text, size_t len, const kvfi_trace_opts_t *opts)
{
    /* A temporary file, not fmemopen: that one knows no empty input. */
    FILE *file = tmpfile();
    kvfi_trace_status_t status;

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, len, file), len);
    rewind(file);
    kvfi_trace_free(&trace);
    status = kvfi_trace_read(file, "t.jsonl", opts, &trace, err);
    fclose(file);
    return status;
}

static kvfi_trace_status_t read_text(const char *text, const kvfi_trace_opts_t *opts)
{
    return read_bytes(text, strlen(text), opts);
}

static void assert_clean(void)
{
    static const uint64_t ids[] = {0, 1, 2, 0, 0, 9};

    ck_assert_str_eq(err, "");
    ck_assert_int_eq(trace.format, KVFI_TRACE_MOONCAKE);
    ck_assert_uint_eq(trace.block_tokens, 512);
    ck_assert_uint_eq(trace.request_count, 3);
    ck_assert_uint_eq(trace.skipped_lines, 0);
    ck_assert_uint_eq(trace.id_count, 6);
    ck_assert_mem_eq(trace.ids, ids, sizeof(ids));
    ck_assert_uint_eq(trace.requests[0].first, 0);
    ck_assert_uint_eq(trace.requests[0].count, 3);
    ck_assert_uint_eq(trace.requests[1].first, 3);
    ck_assert_uint_eq(trace.requests[1].count, 1);
    ck_assert_uint_eq(trace.requests[1].output_length, 0);
    ck_assert_uint_eq(trace.requests[2].first, 4);
    ck_assert_uint_eq(trace.requests[2].input_length, 513);
    ck_assert_uint_eq(trace.requests[2].output_length, 7);
    ck_assert(trace.requests[1].timestamp_s == 1.5);
}

/* The line is the second of three: refused with its place, or skipped and counted. */
static void assert_bad_bytes(const char *bad, size_t len, const char *sentence)
{
    char text[4096], want[512];
    size_t off = strlen(ROW1 "\n");
    size_t tail = strlen("\n" ROW3 "\n");

    memcpy(text, ROW1 "\n", off);
    memcpy(text + off, bad, len);
    memcpy(text + off + len, "\n" ROW3 "\n", tail);
    snprintf(want, sizeof(want), "t.jsonl: line 2, column %s", sentence);

    ck_assert_int_eq(read_bytes(text, off + len + tail, NULL), KVFI_TRACE_BAD);
    ck_assert_str_eq(err, want);
    ck_assert_uint_eq(trace.request_count, 0);
    ck_assert_int_eq(read_bytes(text, off + len + tail, &(kvfi_trace_opts_t){.skip_bad = 1}), KVFI_TRACE_OK);
    ck_assert_str_eq(err, "");
    ck_assert_uint_eq(trace.skipped_lines, 1);
    ck_assert_uint_eq(trace.request_count, 2);
    ck_assert_uint_eq(trace.id_count, 5);
    ck_assert_uint_eq(trace.ids[4], 9);
    ck_assert_uint_eq(trace.requests[1].line, 3);
    ck_assert_uint_eq(trace.skips_kept, 1);
    ck_assert_str_eq(trace.skips[0], want);
}

static void assert_bad(const char *bad, const char *sentence)
{
    assert_bad_bytes(bad, strlen(bad), sentence);
}

START_TEST(clean_file_is_read_as_it_is)
{
    ck_assert_int_eq(read_text(CLEAN, NULL), KVFI_TRACE_OK);
    assert_clean();
    ck_assert_uint_eq(trace.requests[2].line, 3);
    ck_assert_uint_eq(trace.line_count, 3);
}
END_TEST

START_TEST(byte_order_mark_crlf_and_blank_lines_change_nothing)
{
    static const char *const same[] = {
        "\xef\xbb\xbf" CLEAN,
        "\xef\xbb\xbf\n" CLEAN,
        ROW1 "\r\n" ROW2 "\r\n" ROW3 "\r\n",
        "\xef\xbb\xbf" ROW1 "\r\n\r\n" ROW2 "\r\n" ROW3,
        "\n\n" ROW1 "\n  \t \n" ROW2 "\n\n" ROW3 "\n\n \n",
        ROW1 "\n" ROW2 "\n" ROW3,
        "  " ROW1 "  \n\t" ROW2 "\t\n" ROW3 "\r",
    };

    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        ck_assert_int_eq(read_text(same[i], NULL), KVFI_TRACE_OK);
        assert_clean();
    }
}
END_TEST

START_TEST(byte_order_mark_counts_no_column)
{
    ck_assert_int_eq(read_text("\xef\xbb\xbf[]\n", NULL), KVFI_TRACE_BAD);
    ck_assert_str_eq(err, "t.jsonl: line 1, column 1: '[' where the '{' of a request should be");
    ck_assert_int_eq(read_text(ROW1 "\n\xef\xbb\xbf" ROW2 "\n", NULL), KVFI_TRACE_BAD);
    ck_assert_str_eq(err, "t.jsonl: line 2, column 1: byte 0xef where the '{' of a request should be");
}
END_TEST

START_TEST(empty_and_blank_files_hold_no_request)
{
    ck_assert_int_eq(read_text("", NULL), KVFI_TRACE_EMPTY);
    ck_assert_str_eq(err, "t.jsonl: no request in 0 lines");
    ck_assert_int_eq(read_text("\xef\xbb\xbf", NULL), KVFI_TRACE_EMPTY);
    ck_assert_int_eq(read_text(" \r\n\n", NULL), KVFI_TRACE_EMPTY);
    ck_assert_str_eq(err, "t.jsonl: no request in 2 lines");
    ck_assert_int_eq(read_text("[]\n{}\n1\n", &(kvfi_trace_opts_t){.skip_bad = 1}), KVFI_TRACE_EMPTY);
    ck_assert_str_eq(err, "t.jsonl: no good request: all 3 lines were skipped");
    ck_assert_uint_eq(trace.skipped_lines, 3);
    ck_assert_uint_eq(trace.skips_kept, 3);
}
END_TEST

START_TEST(malformed_json_is_refused_with_its_column)
{
    assert_bad("[]", "1: '[' where the '{' of a request should be");
    assert_bad("17", "1: '1' where the '{' of a request should be");
    assert_bad("null", "1: 'n' where the '{' of a request should be");
    assert_bad("{", "2: the line ends where a field name in quotes should be (is the file cut?)");
    assert_bad("{\r", "2: the line ends where a field name in quotes should be (is the file cut?)");
    assert_bad("{\"a", "4: the line ends where the rest of a string should be (is the file cut?)");
    assert_bad("{\"timestamp\"", "13: the line ends where ':' behind a field name should be"
                                 " (is the file cut?)");
    assert_bad("{\"timestamp\": 0, }", "18: '}' where a field name in quotes should be");
    assert_bad("{timestamp: 0}", "2: 't' where a field name in quotes should be");
    assert_bad("{\"timestamp\": 0 \"input_length\": 1}", "17: '\"' where ',' or '}' should be");
    assert_bad("{\"a\": \"x\ty\"}", "9: byte 0x09 where the rest of a string should be");
    assert_bad("{\"a\": \"\\q\"}", "9: 'q' where a known escape should be");
    assert_bad("{\"a\": \"\\u12g4\"}", "12: 'g' where a digit of a \\u escape should be");
    assert_bad("{\"a\": nul}", "7: 'n' where a value should be");
    assert_bad("{\"a\": NaN}", "7: 'N' where a value should be");
    assert_bad("{\"a\": [1,]}", "10: ']' where a value should be");
    assert_bad("{\"a\": {\"b\": 1,}}", "15: '}' where a field name in quotes should be");
    assert_bad("{\"a\": [1}", "9: '}' where ',' or ']' should be");
    assert_bad("{\"a\": -}", "8: '}' where a digit should be");
    assert_bad("{\"a\": 1.}", "9: '}' where a digit should be");
    assert_bad("{\"hash_ids\": [1 2]}", "17: '2' where ',' or ']' in hash_ids should be");
    assert_bad("{\"hash_ids\": [1, ]}", "18: ']' where an integer should be");
    assert_bad("{\"hash_ids\": 5}", "14: '5' where '[' of hash_ids should be");
    assert_bad("{} {}", "4: more text behind the end of the object");
    assert_bad(ROW2 ROW2, "78: more text behind the end of the object");
}
END_TEST

START_TEST(nul_byte_is_refused_and_hides_nothing_behind_it)
{
    assert_bad_bytes("\0", 1, "1: a NUL byte where the '{' of a request should be");
    assert_bad_bytes("{\"a\": \"x\0y\"}", 12, "9: a NUL byte where the rest of a string should be");
    assert_bad_bytes("{\"hash_ids\": [1\0]}", 18, "16: a NUL byte where ',' or ']' in hash_ids should be");
    assert_bad_bytes(ROW2 "\0" ROW2, 2 * sizeof(ROW2) - 1, "78: more text behind the end of the object");
}
END_TEST

START_TEST(file_cut_at_every_length_is_refused_or_a_shorter_file)
{
    size_t len = strlen(CLEAN), first = strlen(ROW1), second = first + 1 + strlen(ROW2);

    for (size_t cut = 1; cut < len - 1; cut++) {
        kvfi_trace_status_t status = read_bytes(CLEAN, cut, NULL);
        int whole = cut == first || cut == first + 1 || cut == second || cut == second + 1;

        ck_assert_int_eq(status, whole ? KVFI_TRACE_OK : KVFI_TRACE_BAD);
        if (!whole)
            ck_assert_ptr_nonnull(strstr(err, "is the file cut?"));
    }
}
END_TEST

START_TEST(integers_are_exact_and_nothing_else_is_an_integer)
{
    assert_bad("{\"input_length\": 1e3}", "18: input_length is 1e3, not an integer in plain digits");
    assert_bad("{\"input_length\": 1.5}", "18: input_length is 1.5, not an integer in plain digits");
    assert_bad("{\"output_length\": 5.0}", "19: output_length is 5.0, not an integer in plain digits");
    assert_bad("{\"input_length\": -5}", "18: input_length is negative");
    assert_bad("{\"output_length\": -1}", "19: output_length is negative");
    assert_bad("{\"hash_ids\": [4, -1]}", "18: hash_ids[1] is negative");
    assert_bad("{\"timestamp\": -3}", "15: timestamp is negative");
    assert_bad("{\"input_length\": \"5\"}", "18: input_length is a string, not an integer");
    assert_bad("{\"input_length\": null}", "18: input_length is null, not an integer");
    assert_bad("{\"input_length\": true}", "18: input_length is true or false, not an integer");
    assert_bad("{\"input_length\": [5]}", "18: input_length is a list, not an integer");
    assert_bad("{\"hash_ids\": [{}]}", "15: hash_ids[0] is an object, not an integer");
    assert_bad("{\"hash_ids\": [1, 1e3]}", "18: hash_ids[1] is 1e3, not an integer in plain digits");
    assert_bad("{\"input_length\": 007}", "18: a number starts with a needless 0");
    assert_bad("{\"input_length\": +7}", "18: '+' where an integer should be");
    assert_bad("{\"hash_ids\": [18446744073709551616]}", "15: hash_ids[0] is larger than 2^64-1");
    assert_bad("{\"hash_ids\": [0, 99999999999999999999999]}", "18: hash_ids[1] is larger than 2^64-1");
    assert_bad("{\"timestamp\": \"0\"}", "15: timestamp is a string, not a number");
    assert_bad("{\"timestamp\": 1e999}", "15: timestamp is out of range");
}
END_TEST

START_TEST(ids_up_to_2_to_64_minus_1_stay_exact)
{
    ck_assert_int_eq(read_text("{\"timestamp\":0.25e1,\"input_length\":2048,\"output_length\":1,"
                               "\"hash_ids\":[18446744073709551615,18446744073709551614,"
                               "9007199254740993,0]}",
                               NULL),
                     KVFI_TRACE_OK);
    ck_assert(trace.ids[0] == UINT64_MAX);
    ck_assert(trace.ids[1] == UINT64_MAX - 1);
    ck_assert(trace.ids[2] == UINT64_C(9007199254740993));
    ck_assert(trace.ids[3] == 0);
    ck_assert(trace.requests[0].timestamp_s == 0.0025);
}
END_TEST

START_TEST(missing_doubled_and_zero_fields_are_named)
{
    assert_bad("{}", "2: field timestamp is missing");
    assert_bad("{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 5}",
               "55: field hash_ids is missing");
    assert_bad("{\"timestamp\": 0, \"output_length\": 5, \"hash_ids\": [1]}",
               "53: field input_length is missing");
    assert_bad("{\"timestamp\": 0, \"timestamp\": 0}", "18: timestamp stands twice in one line");
    assert_bad("{\"hash_ids\": [1], \"hash_ids\": [2]}", "19: hash_ids stands twice in one line");
    assert_bad("{\"hash_ids\": [1], \"hash\\u005fids\": [2]}", "19: hash_ids stands twice in one line");
    assert_bad("{\"timestamp\": 0, \"input_length\": 0, \"output_length\": 5, \"hash_ids\": []}",
               "34: input_length is 0: a request has at least one token");
    assert_bad("{\"timestamp\": 0, \"input_length\": 9, \"output_length\": 5, \"hash_ids\": []}",
               "69: hash_ids is empty: 9 tokens need a block");
}
END_TEST

START_TEST(unknown_and_nested_fields_are_skipped_whole)
{
    ck_assert_int_eq(
        read_text("{\"a\": {\"hash_ids\": [7, {\"x\": \"}]\\\"\"}], \"timestamp\": {}}, \"b\": [], "
                  "\"c\": [[1e3, -0.5E-2, null], true, false, \"\\u00e9 \xc3\xa9\"], "
                  "\"hash_ids\\u0000\": 1, \"\": 2, \"\": 3, "
                  "\"a name that is a good deal longer than any name which is kept\": 1, "
                  "\"\\u0074imestamp\": 0, \"input_length\": 1100, \"output_length\": 5, "
                  "\"hash_ids\": [0, 1, 2]}\n" ROW2 "\n" ROW3 "\n",
                  NULL),
        KVFI_TRACE_OK);
    assert_clean();
}
END_TEST

START_TEST(nesting_is_limited)
{
    char line[4096] = "{\"a\": ";

    for (int i = 0; i < 64; i++)
        strcat(line, "[");
    for (int i = 0; i < 64; i++)
        strcat(line, "]");
    strcat(line, ", \"timestamp\": 0, \"input_length\": 1100, \"output_length\": 5, "
                 "\"hash_ids\": [0, 1, 2]}\n" ROW2 "\n" ROW3 "\n");
    ck_assert_int_eq(read_text(line, NULL), KVFI_TRACE_OK);
    assert_clean();
    strcpy(line, "{\"a\": ");
    for (int i = 0; i < 1000; i++)
        strcat(line, "[");
    assert_bad(line, "71: nested deeper than 64");
}
END_TEST

/* A line of 2 MiB, as ids and as a string that is skipped. */
START_TEST(line_of_2_mib_is_read)
{
    enum {
        ids = 300000
    };
    size_t cap = (size_t)5 << 20, len = 0;
    char *text = malloc(cap);

    ck_assert_ptr_nonnull(text);
    len += (size_t)sprintf(text + len,
                           "{\"timestamp\": 0, \"input_length\": %d, \"output_length\": 1,"
                           " \"hash_ids\": [1000000",
                           ids * 512);
    for (int i = 1; i < ids; i++)
        len += (size_t)sprintf(text + len, ",%d", 1000000 + i);
    len += (size_t)sprintf(text + len, "], \"text\": \"");
    memset(text + len, 'x', (size_t)2 << 20);
    len += (size_t)2 << 20;
    len += (size_t)sprintf(text + len, "\"}\n" ROW2 "\n");
    ck_assert_uint_lt(len, cap);
    ck_assert_int_eq(read_bytes(text, len, NULL), KVFI_TRACE_OK);
    ck_assert_uint_eq(trace.request_count, 2);
    ck_assert_uint_eq(trace.id_count, ids + 1);
    ck_assert_uint_eq(trace.ids[ids - 1], 1000000 + ids - 1);

    /* The column is right far out too. */
    text[len - strlen("\"}\n" ROW2 "\n")] = 'x';
    ck_assert_int_eq(read_bytes(text, len, NULL), KVFI_TRACE_BAD);
    ck_assert_ptr_nonnull(strstr(err, "t.jsonl: line 1, column 4"));
    free(text);
}
END_TEST

START_TEST(max_requests_counts_good_requests_and_reads_no_further)
{
    kvfi_trace_opts_t opts = {.max_requests = 2};

    ck_assert_int_eq(read_text(ROW1 "\n\n" ROW2 "\n[]\n", &opts), KVFI_TRACE_OK);
    ck_assert_uint_eq(trace.request_count, 2);
    ck_assert_uint_eq(trace.line_count, 3);
    opts.skip_bad = 1;
    ck_assert_int_eq(read_text("[]\n" ROW1 "\n{}\n" ROW2 "\n[]\n", &opts), KVFI_TRACE_OK);
    ck_assert_uint_eq(trace.request_count, 2);
    ck_assert_uint_eq(trace.skipped_lines, 2);
}
END_TEST

START_TEST(skipped_lines_are_all_counted_and_the_first_are_told)
{
    char text[8192] = "";

    for (int i = 0; i < 20; i++)
        strcat(text, ROW1 "\n{\"input_length\": 1e3}\n");
    ck_assert_int_eq(read_text(text, &(kvfi_trace_opts_t){.skip_bad = 1}), KVFI_TRACE_OK);
    ck_assert_uint_eq(trace.request_count, 20);
    ck_assert_uint_eq(trace.skipped_lines, 20);
    ck_assert_uint_eq(trace.skips_kept, KVFI_TRACE_SKIPS_KEPT);
    ck_assert_str_eq(trace.skips[4], "t.jsonl: line 10, column 18: input_length is 1e3, not an "
                                     "integer in plain digits");
}
END_TEST

static void *write_fifo(void *path)
{
    int fd = open(path, O_WRONLY);

    /* In pieces that end inside lines. */
    for (size_t off = 0, len = strlen(CLEAN); fd >= 0 && off < len; off += 50) {
        size_t part = len - off < 50 ? len - off : 50;

        if (write(fd, CLEAN + off, part) != (ssize_t)part)
            break;
        usleep(1000);
    }
    close(fd);
    return NULL;
}

START_TEST(fifo_and_standard_input_are_as_good_as_a_file)
{
    char dir[] = "/tmp/kvf-trace-XXXXXX", path[64];
    const char *names[] = {path, "-", "/dev/stdin"};
    pthread_t writer;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/fifo", dir);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_create(&writer, NULL, write_fifo, path), 0);
        if (i > 0)
            ck_assert_ptr_nonnull(freopen(path, "r", stdin));
        kvfi_trace_free(&trace);
        ck_assert_int_eq(kvfi_trace_load(names[i], NULL, &trace, err), KVFI_TRACE_OK);
        ck_assert_int_eq(pthread_join(writer, NULL), 0);
        assert_clean();
    }
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(sample_trace_that_is_shipped_reads)
{
    const char *top = getenv("top_srcdir");
    char path[4096];

    snprintf(path, sizeof(path), "%s/share/sample_trace.jsonl", top != NULL ? top : ".");
    kvfi_trace_free(&trace);
    ck_assert_msg(kvfi_trace_load(path, NULL, &trace, err) == KVFI_TRACE_OK, "%s", err);
    ck_assert_int_eq(trace.format, KVFI_TRACE_MOONCAKE);
    ck_assert_uint_eq(trace.block_tokens, 512);
    ck_assert_uint_eq(trace.request_count, 1200);
    ck_assert_uint_eq(trace.id_count, 28862);
}
END_TEST

START_TEST(stream_that_fails_is_told_from_its_end)
{
    char want[64];
    FILE *file;

    kvfi_trace_free(&trace);
    ck_assert_int_eq(kvfi_trace_load("/nowhere/at/all", NULL, &trace, err), KVFI_TRACE_IO);
    snprintf(want, sizeof(want), "/nowhere/at/all: open: %s", strerror(ENOENT));
    ck_assert_str_eq(err, want);
    ck_assert_int_eq(kvfi_trace_load("/tmp", NULL, &trace, err), KVFI_TRACE_IO);
    snprintf(want, sizeof(want), "/tmp: line 1: read: %s", strerror(EISDIR));
    ck_assert_str_eq(err, want);
    file = fopen("/dev/null", "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(kvfi_trace_read(file, "w", &(kvfi_trace_opts_t){.skip_bad = 1}, &trace, err),
                     KVFI_TRACE_IO);
    fclose(file);
    kvfi_trace_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trace");
    TCase *tc = tcase_create("reader");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, clean_file_is_read_as_it_is);
    tcase_add_test(tc, byte_order_mark_crlf_and_blank_lines_change_nothing);
    tcase_add_test(tc, byte_order_mark_counts_no_column);
    tcase_add_test(tc, empty_and_blank_files_hold_no_request);
    tcase_add_test(tc, malformed_json_is_refused_with_its_column);
    tcase_add_test(tc, nul_byte_is_refused_and_hides_nothing_behind_it);
    tcase_add_test(tc, file_cut_at_every_length_is_refused_or_a_shorter_file);
    tcase_add_test(tc, integers_are_exact_and_nothing_else_is_an_integer);
    tcase_add_test(tc, ids_up_to_2_to_64_minus_1_stay_exact);
    tcase_add_test(tc, missing_doubled_and_zero_fields_are_named);
    tcase_add_test(tc, unknown_and_nested_fields_are_skipped_whole);
    tcase_add_test(tc, nesting_is_limited);
    tcase_add_test(tc, line_of_2_mib_is_read);
    tcase_add_test(tc, max_requests_counts_good_requests_and_reads_no_further);
    tcase_add_test(tc, skipped_lines_are_all_counted_and_the_first_are_told);
    tcase_add_test(tc, fifo_and_standard_input_are_as_good_as_a_file);
    tcase_add_test(tc, sample_trace_that_is_shipped_reads);
    tcase_add_test(tc, stream_that_fails_is_told_from_its_end);
    tcase_set_timeout(tc, 120);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The tools' command lines: what is refused names the argument, sizes do not overflow quietly, JSON
 * stays JSON whatever the text. Reaches into tools/; nothing here blocks.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../tools/cli.h"
#include "../../tools/cut.h"
#include "../../tools/out.h"

START_TEST(a_count_that_is_not_one_is_refused_by_name)
{
    static const char *const bad[] = {"",  "x",  "-1", "+1", " 1", "1x", "0x10", "18446744073709551616",
                                      "0", "101"};
    uint64_t value = 7;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(kvfi_cli_count("--reps", bad[i], 1, 100, &value) == -1, "\"%s\" passed", bad[i]);
        ck_assert_msg(strncmp(kvfi_cli_error(), "--reps: ", 8) == 0, "%s", kvfi_cli_error());
        ck_assert_uint_eq(value, 7);
    }
    for (size_t i = 0; i < 4; i++) {
        static const char *const outside[] = {"-1", "0", "101", "18446744073709551616"};
        char want[80];

        snprintf(want, sizeof(want), "--reps: %s is not within 1 to 100", outside[i]);
        kvfi_cli_count("--reps", outside[i], 1, 100, &value);
        ck_assert_str_eq(kvfi_cli_error(), want);
        kvfi_cli_size("--reps", outside[i], 1, 100, &value);
        ck_assert_str_eq(kvfi_cli_error(), want);
    }
    ck_assert_int_eq(kvfi_cli_count("--reps", "18446744073709551615", 0, UINT64_MAX, &value), 0);
    ck_assert(value == UINT64_MAX);
}
END_TEST

START_TEST(a_size_takes_suffixes_and_does_not_wrap)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},
                {"4096", 4096},
                {"64K", 65536},
                {"64KiB", 65536},
                {"1.5M", 1572864},
                {"2g", UINT64_C(2) << 30},
                {"16777215T", UINT64_C(16777215) << 40}};
    static const char *const bad[] = {"", "K", "1.5", "1X", "1KK", "64 K", "16777216T", "-1K"};
    uint64_t value;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(kvfi_cli_size("--piece", good[i].text, 0, UINT64_MAX, &value) == 0, "%s",
                      kvfi_cli_error());
        ck_assert_uint_eq(value, good[i].value);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(kvfi_cli_size("--piece", bad[i], 0, UINT64_MAX, &value) == -1, "\"%s\" passed", bad[i]);
        ck_assert(strncmp(kvfi_cli_error(), "--piece: ", 9) == 0);
    }
}
END_TEST

START_TEST(a_fraction_is_above_zero_and_at_most_one)
{
    static const char *const bad[] = {"0", "0/4", "1/0", "2", "3/2", "1/", "/4", "1/4/2", "-1/2", "x"};
    uint64_t num, den;

    ck_assert_int_eq(kvfi_cli_fraction("--scale", "4/256", &num, &den), 0);
    ck_assert(num == 1 && den == 64);
    ck_assert_int_eq(kvfi_cli_fraction("--scale", "0.25", &num, &den), 0);
    ck_assert(num == 1 && den == 4);
    ck_assert_int_eq(kvfi_cli_fraction("--scale", "1", &num, &den), 0);
    ck_assert(num == 1 && den == 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(kvfi_cli_fraction("--scale", bad[i], &num, &den) == -1, "\"%s\" passed", bad[i]);
        ck_assert(strncmp(kvfi_cli_error(), "--scale: ", 9) == 0);
    }
}
END_TEST

START_TEST(a_wrong_option_is_named)
{
    static const struct option longs[] = {{"reps", required_argument, NULL, 'r'},
                                          {"requests", required_argument, NULL, 'q'},
                                          {"hot", no_argument, NULL, 'o'},
                                          {NULL, 0, NULL, 0}};
    static const struct {
        const char *word, *sentence;
    } cases[] = {{"--nix=3", "unknown option --nix"},
                 {"--hot=1", "--hot takes no value"},
                 {"--reps", "--reps needs a value"},
                 {"--re=4", "--re stands for several options"},
                 {"-z", "unknown option -z"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char word[32], tool[] = "tool";
        char *argv[] = {tool, word, NULL};
        strcpy(word, cases[i].word);
        optind = 0;
        ck_assert_int_eq(kvfi_cli_next(2, argv, longs), '?');
        ck_assert_msg(strncmp(kvfi_cli_error(), cases[i].sentence, strlen(cases[i].sentence)) == 0, "%s: %s",
                      word, kvfi_cli_error());
    }
}
END_TEST

START_TEST(h_is_help)
{
    static const struct option longs[] = {
        {"hot", no_argument, NULL, 'o'}, {"help", no_argument, NULL, 1000}, {NULL, 0, NULL, 0}};
    char tool[] = "tool", word[] = "-h";
    char *argv[] = {tool, word, NULL};

    optind = 0;
    ck_assert_int_eq(kvfi_cli_next(2, argv, longs), 1000);
}
END_TEST

START_TEST(json_escapes_what_it_must)
{
    char *text;
    size_t len;
    struct kvfi_json json;
    FILE *file = open_memstream(&text, &len);

    kvfi_json_init(&json, file, 0);
    kvfi_json_open(&json, NULL, '{');
    kvfi_json_text(&json, "a\"b", "x\\y\n\x01\xff\xc3\xa9\xed\xa0\x80");
    kvfi_json_u64(&json, "n", UINT64_MAX);
    kvfi_json_real(&json, "r", NAN);
    kvfi_json_open(&json, "list", '[');
    kvfi_json_real(&json, NULL, 0.5);
    kvfi_json_bool(&json, NULL, true);
    kvfi_json_close(&json, ']');
    kvfi_json_open(&json, "empty", '{');
    kvfi_json_close(&json, '}');
    kvfi_json_close(&json, '}');
    fclose(file);
    ck_assert_str_eq(text, "{\"a\\\"b\": \"x\\\\y\\n\\u0001\\u00ff\xc3\xa9\\u00ed\\u00a0\\u0080\", "
                           "\"n\": 18446744073709551615, \"r\": null, \"list\": [0.5, true], "
                           "\"empty\": {}}\n");
    free(text);
}
END_TEST

START_TEST(a_full_disk_is_told)
{
    struct kvfi_out out;

    if (kvfi_out_open("--json", "/dev/full", &out) != 0) {
        return; /* no such device here */
    }
    fputs("x", out.file);
    ck_assert_int_eq(kvfi_out_close(&out), -1);
    ck_assert(strncmp(kvfi_cli_error(), "--json: cannot write /dev/full: ", 32) == 0);
}
END_TEST

/* ------------------------------------------------------------------ files that are written */

static char dir[] = "/tmp/kvferry-test-XXXXXX", file[64], link_to_it[64];

static void open_dir(void)
{
    ck_assert(mkdtemp(dir) != NULL);
    snprintf(file, sizeof(file), "%s/file", dir);
    snprintf(link_to_it, sizeof(link_to_it), "%s/link", dir);
    ck_assert_int_eq(symlink("file", link_to_it), 0);
}

static void put(const char *text)
{
    FILE *to = fopen(file, "w");

    ck_assert(to != NULL && fputs(text, to) >= 0 && fclose(to) == 0);
}

static void has(const char *text)
{
    char found[32] = "";
    FILE *from = fopen(file, "r");

    ck_assert(from != NULL);
    found[fread(found, 1, sizeof(found) - 1, from)] = '\0';
    fclose(from);
    ck_assert_str_eq(found, text);
}

/* Nothing but the file and the link is left. */
static void close_dir(void)
{
    unlink(file);
    ck_assert_int_eq(unlink(link_to_it), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(an_output_is_there_whole_or_as_it_was)
{
    struct kvfi_out out;
    struct stat st;

    open_dir();
    put("old");
    ck_assert_int_eq(chmod(file, 0640), 0);
    ck_assert_int_eq(kvfi_out_check("--json", link_to_it), 0);
    has("old");
    ck_assert_int_eq(kvfi_out_open("--json", link_to_it, &out), 0);
    fputs("new", out.file);
    ck_assert_int_eq(fflush(out.file), 0);
    has("old");
    kvfi_out_drop(&out);
    has("old");
    ck_assert_int_eq(kvfi_out_open("--json", link_to_it, &out), 0);
    fputs("new", out.file);
    ck_assert_int_eq(kvfi_out_close(&out), 0);
    has("new");
    ck_assert(lstat(link_to_it, &st) == 0 && S_ISLNK(st.st_mode));
    ck_assert(lstat(file, &st) == 0 && (st.st_mode & 0777) == 0640);
    close_dir();
}
END_TEST

static void refused(int rc, const char *what, const char *why)
{
    char want[160];

    snprintf(want, sizeof(want), "--json: %s%s", what, why);
    ck_assert_int_eq(rc, -1);
    ck_assert_str_eq(kvfi_cli_error(), want);
}

START_TEST(an_output_that_cannot_be_is_refused_before_the_work)
{
    char what[96], other[64];

    open_dir();
    snprintf(what, sizeof(what), "cannot write %s: ", link_to_it);
    refused(kvfi_out_check("--json", link_to_it), what, "it is a symbolic link to nothing");
    ck_assert_int_eq(mkdir(file, 0700), 0);
    refused(kvfi_out_check("--json", link_to_it), what, "Is a directory");
    ck_assert_int_eq(rmdir(file), 0);
    ck_assert_int_eq(mkfifo(file, 0600), 0); /* a check does not wait for a reader */
    ck_assert_int_eq(kvfi_out_check("--json", link_to_it), 0);
    unlink(file);
    snprintf(other, sizeof(other), "%s/none/x", dir);
    snprintf(what, sizeof(what), "cannot write %s: ", other);
    refused(kvfi_out_check("--json", other), what, "No such file or directory");
    close_dir();
}
END_TEST

START_TEST(an_output_is_no_file_that_is_open_already)
{
    char want[160];

    open_dir();
    put("old");
    ck_assert_int_eq(kvfi_out_apart("--json", file, "--trace", NULL), 0);
    ck_assert_int_eq(kvfi_out_apart("--json", file, "--trace", "/dev/null"), 0);
    snprintf(want, sizeof(want), "%s is the file of --trace, too", file);
    refused(kvfi_out_apart("--json", file, "--trace", link_to_it), want, "");
    snprintf(want, sizeof(want), "%s is the file of standard output already: - is its name", file);
    ck_assert(freopen(file, "a", stdout) != NULL);
    refused(kvfi_out_check("--json", file), want, "");
    has("old");
    close_dir();
}
END_TEST

START_TEST(heads_and_layers_are_cut_without_divisibility)
{
    static const struct {
        uint32_t total, parts, first[8], count[8];
    } heads[] = {
        {8, 3, {0, 3, 6}, {3, 3, 2}}, {8, 2, {0, 4}, {4, 4}}, {2, 4, {0, 0, 1, 1}, {1, 1, 1, 1}},
        {2, 3, {0, 0, 1}, {1, 1, 1}}, {1, 2, {0, 0}, {1, 1}},
    };
    uint32_t first, count, end = 0;

    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        for (uint32_t r = 0; r < heads[i].parts; r++) {
            kvfi_cut_heads(heads[i].total, heads[i].parts, r, &first, &count);
            ck_assert_uint_eq(first, heads[i].first[r]);
            ck_assert_uint_eq(count, heads[i].count[r]);
        }
    }
    for (uint32_t stage = 0; stage < 3; stage++) {
        kvfi_cut_layers(44, 3, stage, &first, &count);
        ck_assert_uint_eq(first, end);
        ck_assert_uint_eq(count, stage < 2 ? 15 : 14);
        end = first + count;
    }
    ck_assert_uint_eq(end, 44);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli");
    TCase *all = tcase_create("all");

    tcase_add_test(all, a_count_that_is_not_one_is_refused_by_name);
    tcase_add_test(all, a_size_takes_suffixes_and_does_not_wrap);
    tcase_add_test(all, a_fraction_is_above_zero_and_at_most_one);
    tcase_add_test(all, a_wrong_option_is_named);
    tcase_add_test(all, json_escapes_what_it_must);
    tcase_add_test(all, h_is_help);
    tcase_add_test(all, a_full_disk_is_told);
    tcase_add_test(all, an_output_is_there_whole_or_as_it_was);
    tcase_add_test(all, an_output_that_cannot_be_is_refused_before_the_work);
    tcase_add_test(all, an_output_is_no_file_that_is_open_already);
    tcase_add_test(all, heads_and_layers_are_cut_without_divisibility);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

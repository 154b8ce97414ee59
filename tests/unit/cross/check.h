/* SPDX-License-Identifier: BSD-3-Clause
 *
 * As much of libcheck as the tests of the copy room use, for a processor that has no libcheck here: tests
 * run one after the other in one process, and the first that fails ends it.
 */
#ifndef KVFT_CROSS_CHECK_H
#define KVFT_CROSS_CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CK_ENV     0
#define TESTS_MOST 64

typedef struct TTest {
    const char *name;
    void (*run)(int _i);
} TTest;

typedef struct TCase {
    const TTest *tests[TESTS_MOST];
    int first[TESTS_MOST], end[TESTS_MOST];
    int count;
} TCase;

typedef struct Suite {
    const char *name;
    TCase *tcase;
} Suite;

typedef Suite SRunner;

#define START_TEST(test_name)                                                                                \
    static void test_name##_fn(int _i);                                                                      \
    static const TTest test_name##_test = {#test_name, test_name##_fn};                                      \
    static const TTest *test_name = &test_name##_test;                                                       \
    static void test_name##_fn(int _i)                                                                       \
    {                                                                                                        \
        (void)_i;
#define END_TEST }

#define ck_assert_msg(condition, ...)                                                                        \
    ((condition) ? (void)0                                                                                   \
                 : (printf("%s:%d: %s: ", __FILE__, __LINE__, #condition), printf("" __VA_ARGS__),           \
                    printf("\n"), exit(EXIT_FAILURE)))
#define ck_abort_msg(...)       (printf("" __VA_ARGS__), printf("\n"), exit(EXIT_FAILURE))
#define ck_assert(condition)    ck_assert_msg(condition, "failed")
#define ck_assert_int_eq(a, b)  ck_assert_msg((intmax_t)(a) == (intmax_t)(b), "%jd", (intmax_t)(a))
#define ck_assert_uint_eq(a, b) ck_assert_msg((uintmax_t)(a) == (uintmax_t)(b), "%ju", (uintmax_t)(a))
#define ck_assert_uint_gt(a, b) ck_assert_msg((uintmax_t)(a) > (uintmax_t)(b), "%ju", (uintmax_t)(a))
#define ck_assert_uint_ge(a, b) ck_assert_msg((uintmax_t)(a) >= (uintmax_t)(b), "%ju", (uintmax_t)(a))
#define ck_assert_str_eq(a, b)  ck_assert_msg(strcmp(a, b) == 0, "%s", a)

static inline Suite *suite_create(const char *name)
{
    Suite *suite = calloc(1, sizeof(*suite));

    suite->name = name;
    return suite;
}

static inline TCase *tcase_create(const char *name)
{
    (void)name;
    return calloc(1, sizeof(TCase));
}

static inline void tcase_set_timeout(TCase *tcase, double seconds)
{
    (void)tcase;
    (void)seconds;
}

static inline void tcase_add_loop_test(TCase *tcase, const TTest *test, int first, int end)
{
    tcase->tests[tcase->count] = test;
    tcase->first[tcase->count] = first;
    tcase->end[tcase->count++] = end;
}

static inline void tcase_add_test(TCase *tcase, const TTest *test)
{
    tcase_add_loop_test(tcase, test, 0, 1);
}

static inline void suite_add_tcase(Suite *suite, TCase *tcase)
{
    suite->tcase = tcase;
}

static inline SRunner *srunner_create(Suite *suite)
{
    return suite;
}

static inline void srunner_run_all(SRunner *runner, int how)
{
    const TCase *tcase = runner->tcase;

    (void)how;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < tcase->count; i++) {
        for (int n = tcase->first[i]; n < tcase->end[i]; n++) {
            printf("%s: %s %d\n", runner->name, tcase->tests[i]->name, n);
            tcase->tests[i]->run(n);
        }
    }
}

static inline int srunner_ntests_failed(SRunner *runner)
{
    (void)runner;
    return 0;
}

static inline void srunner_free(SRunner *runner)
{
    free(runner->tcase);
    free(runner);
}

#endif

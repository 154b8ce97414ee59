/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Plans of real models, and a binding of a whole prompt, for tests that run no op: local and remote
 * have handles that nobody looks into.
 */
#ifndef KVF_TESTS_PLANS_H
#define KVF_TESTS_PLANS_H

#include <check.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

static char handles[16];
static kvf_bind_local_t local = {.segment = (kvf_segment_t *)&handles[0]};
static kvf_remote_t *remote = (kvf_remote_t *)&handles[8];

static inline void expect(kvf_status_t got, kvf_status_t want, const char *start)
{
    ck_assert_msg(got == want, "%s instead of %s: %s", kvf_status_name(got), kvf_status_name(want),
                  kvf_last_error());
    ck_assert_msg(strncmp(kvf_last_error(), start, strlen(start)) == 0, "\"%s\" is not \"%s...\"",
                  kvf_last_error(), start);
}

static inline kvf_layout_t *build(const char *model_name, const char *name, const kvf_layout_opts_t *opts)
{
    const kvf_kv_model_t *model;
    kvf_layout_t *layout = NULL;

    ck_assert_int_eq(kvf_kv_model_find(model_name, &model), KVF_OK);
    ck_assert_msg(kvf_layout_build(model, name, opts, &layout) == KVF_OK, "%s", kvf_last_error());
    return layout;
}

static inline kvf_plan_t *plan_of(const char *model, const char *src, const char *dst,
                                  const kvf_layout_opts_t *opts)
{
    kvf_layout_t *one = build(model, src, opts), *other = build(model, dst, opts);
    kvf_plan_t *plan = NULL;

    ck_assert_msg(kvf_plan_create(one, other, NULL, &plan) == KVF_OK, "%s", kvf_last_error());
    kvf_layout_destroy(one);
    kvf_layout_destroy(other);
    return plan;
}

/* A whole prompt of so many blocks, tables NULL: block i is block i. */
static inline kvf_bind_t whole(kvf_bind_table_t *table, uint32_t blocks, uint64_t tokens)
{
    table[0] = table[1] = (kvf_bind_table_t){.count = blocks};
    return (kvf_bind_t){.struct_size = sizeof(kvf_bind_t),
                        .dir = KVF_READ,
                        .src_table_count = 1,
                        .dst_table_count = 1,
                        .src_tables = &table[0],
                        .dst_tables = &table[1],
                        .tokens = tokens,
                        .locals = &local,
                        .remotes = &remote,
                        .local_count = 1,
                        .remote_count = 1};
}

static inline int run_plans(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif

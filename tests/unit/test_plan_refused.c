/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Layouts that do not fit and bindings with one field broken: each is refused with a sentence that names
 * the field, and changes nothing.
 */
#include "plans.h"

static void expect_plan(const kvf_layout_opts_t *opts, const char *model, const kvf_plan_opts_t *plan_opts,
                        const char *sentence)
{
    kvf_layout_t *one = build("llama-3.1-8b", "LBHNC", opts), *other = build(model, "LBHNC", NULL);
    kvf_plan_t *plan = NULL;

    expect(kvf_plan_create(one, other, plan_opts, &plan), KVF_ERR_INVALID, sentence);
    ck_assert_ptr_null(plan);
    kvf_layout_destroy(one);
    kvf_layout_destroy(other);
}

START_TEST(layouts_that_do_not_fit_are_refused_by_field)
{
    kvf_layout_opts_t late = {.struct_size = sizeof(late), .first_layer = 31};
    kvf_layout_t *layout = build("llama-3.1-8b", "LBHNC", NULL);
    kvf_plan_opts_t opts = {.struct_size = sizeof(opts)};
    kvf_plan_t *plan;

    expect_plan(NULL, "qwen3-235b", NULL,
                "plan: layer 0, plane k: heads_total is 8 in group 0 of the source, 4 in group 0 of "
                "the destination");
    expect_plan(NULL, "gpt-oss-120b", NULL, "plan: layer 1, plane k: content is 256 in group 0 of");
    expect_plan(NULL, "deepseek-v3", NULL, "plan: layer 0 has plane k, index 0, at the source only");
    opts.layer_count = 31;
    expect_plan(&late, "llama-3.1-8b", &opts, "plan: source and destination have no wanted layer");
    opts = (kvf_plan_opts_t){.struct_size = 7};
    expect_plan(NULL, "llama-3.1-8b", &opts, "plan: opts.struct_size is 7");
    opts = (kvf_plan_opts_t){.struct_size = sizeof(opts), .reserved = {0, 1}};
    expect_plan(NULL, "llama-3.1-8b", &opts, "plan: reserved is not 0");
    opts = (kvf_plan_opts_t){.struct_size = sizeof(opts), .replica = 1};
    expect_plan(NULL, "llama-3.1-8b", &opts, "plan: replica 1 of replica_count 1");
    opts = (kvf_plan_opts_t){.struct_size = sizeof(opts), .first_layer = 32};
    expect_plan(NULL, "llama-3.1-8b", &opts,
                "plan: first_layer 32, layer_count 0: no layout has such a layer");
    opts = (kvf_plan_opts_t){.struct_size = sizeof(opts), .first_head = 8};
    expect_plan(NULL, "llama-3.1-8b", &opts, "plan: first_head 8 and heads 0 leave heads_total 8");
    opts = (kvf_plan_opts_t){.struct_size = sizeof(opts), .first_head = 6, .heads = 3};
    expect_plan(NULL, "llama-3.1-8b", &opts, "plan: first_head 6 and heads 3 leave heads_total 8");
    opts = (kvf_plan_opts_t){.struct_size = sizeof(opts), .first_head = 1, .heads = UINT32_MAX};
    expect_plan(NULL, "llama-3.1-8b", &opts, "plan: first_head 1 and heads 4294967295 leave heads");
    expect(kvf_plan_create(NULL, layout, NULL, &plan), KVF_ERR_INVALID, "plan: src is NULL");
    expect(kvf_plan_create(layout, NULL, NULL, &plan), KVF_ERR_INVALID, "plan: dst is NULL");
    expect(kvf_plan_create(layout, layout, NULL, NULL), KVF_ERR_INVALID, "plan: plan_p is NULL");
    ck_assert_int_eq(kvf_plan_destroy(NULL), KVF_OK);
    kvf_layout_destroy(layout);
}
END_TEST

/* One field of a binding broken at a time. */
#define BIND(field)  offsetof(bound_t, bind.field), sizeof(((kvf_bind_t *)0)->field)
#define SRC(field)   offsetof(bound_t, table[0].field), sizeof(((kvf_bind_table_t *)0)->field)
#define LOCAL(field) offsetof(bound_t, local.field), sizeof(((kvf_bind_local_t *)0)->field)
#define DST(field)   offsetof(bound_t, table[1].field), sizeof(((kvf_bind_table_t *)0)->field)

typedef struct bound {
    kvf_bind_t bind;
    kvf_bind_table_t table[2];
    kvf_bind_local_t local;
    kvf_remote_t *remote;
} bound_t;

static const struct {
    size_t off, size;
    uint64_t value;
    kvf_status_t status;
    const char *sentence;
} broken[] = {
    {BIND(struct_size), 4, KVF_ERR_INVALID, "bind: bind.struct_size is 4"},
    {BIND(flags), 4, KVF_ERR_INVALID, "bind: flags 0x4"},
    {BIND(dir), 2, KVF_ERR_INVALID, "bind: dir 2"},
    {BIND(src_table_count), 0, KVF_ERR_INVALID, "bind: src_table_count is 0, the layout has 1 group"},
    {BIND(dst_table_count), 2, KVF_ERR_INVALID, "bind: dst_table_count is 2, the layout has 1 gr"},
    {BIND(src_tables), 0, KVF_ERR_INVALID, "bind: src_tables is NULL"},
    {BIND(dst_tables), 0, KVF_ERR_INVALID, "bind: dst_tables is NULL"},
    {BIND(tokens), 400, KVF_ERR_BOUNDS,
     "bind: source group 0: the range needs blocks 0 to 24 of the request, the table holds 20 from "
     "0 on"},
    {BIND(tokens), UINT64_MAX, KVF_ERR_INVALID, "bind: first_token and tokens overflow"},
    {BIND(first_token), UINT64_MAX - 100, KVF_ERR_INVALID, "bind: first_token and tokens overfl"},
    {BIND(locals), 0, KVF_ERR_INVALID, "bind: locals is NULL, the local layout has 1 segment"},
    {BIND(local_count), 2, KVF_ERR_INVALID, "bind: local_count is 2, the local layout has 1 segment"},
    {BIND(remotes), 0, KVF_ERR_INVALID, "bind: remotes is NULL, the remote layout has 1 segment"},
    {BIND(remote_count), 3, KVF_ERR_INVALID, "bind: remote_count is 3, the remote layout has 1 segment"},
    {BIND(first_layer), 80, KVF_ERR_INVALID,
     "bind: first_layer 80, layer_count 0: the plan carries no such layer"},
    {BIND(reserved[0]), 1, KVF_ERR_INVALID, "bind: reserved is not 0"},
    {BIND(reserved32), 1, KVF_ERR_INVALID, "bind: reserved is not 0"},
    {SRC(reserved[0]), 1, KVF_ERR_INVALID, "bind: src_tables[0]: reserved is not 0"},
    {DST(flags), 2, KVF_ERR_INVALID, "bind: dst_tables[0]: flags are unknown"},
    {DST(gens), 64, KVF_ERR_INVALID, "bind: dst_tables[0]: gens are the source's"},
    {SRC(block_status), 64, KVF_ERR_INVALID, "bind: src_tables[0]: block_status is the destin"},
    {SRC(first_token), 8, KVF_ERR_INVALID, "bind: source group 0: first_token 8 is no multiple of"},
    {DST(first_token), 1, KVF_ERR_INVALID, "bind: destination group 0: first_token 1 is no mul"},
    {DST(first_token), 16, KVF_ERR_BOUNDS,
     "bind: destination group 0: the range needs blocks 0 to 19 of the request, the table holds 20 "
     "from 1 on"},
    {DST(count), 19, KVF_ERR_BOUNDS, "bind: destination group 0: the range needs blocks 0 to 19"},
    {LOCAL(segment), 0, KVF_ERR_INVALID, "bind: locals[0].segment is NULL"},
    {LOCAL(reserved[0]), 1, KVF_ERR_INVALID, "bind: locals[0]: reserved is not 0"},
    {LOCAL(len), 104857599, KVF_ERR_BOUNDS,
     "bind: locals[0]: len is 104857599, segment 0 of the layout has 104857600 bytes"},
    {LOCAL(off), UINT64_MAX - 104857599, KVF_ERR_BOUNDS,
     "bind: locals[0]: off 18446744073604694016 and len 104857600 overflow 64 bits"},
    {offsetof(bound_t, remote), 8, 0, KVF_ERR_INVALID, "bind: remotes[0] is NULL"},
};

START_TEST(a_broken_binding_is_refused_by_field)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 50};
    kvf_plan_t *plan = plan_of("llama-3.1-8b", "LBHNC", "LBHNC", &opts);
    kvf_bind_table_t table[2];
    bound_t b = {.bind = whole(table, 20, 320), .local = local, .remote = remote};
    kvf_op_t op;
    size_t count = 1;

    memcpy(b.table, table, sizeof(table));
    b.bind.src_tables = &b.table[0];
    b.bind.dst_tables = &b.table[1];
    b.bind.locals = &b.local;
    b.bind.remotes = &b.remote;
    ck_assert_int_eq(kvf_plan_bind(plan, &b.bind, &op, sizeof(op), &count, NULL, NULL), KVF_OK);
    memcpy((char *)&b + broken[_i].off, &broken[_i].value, broken[_i].size);
    expect(kvf_plan_bind(plan, &b.bind, &op, sizeof(op), &count, NULL, NULL), broken[_i].status,
           broken[_i].sentence);
    ck_assert_uint_eq(count, 1);
    kvf_plan_destroy(plan);
}
END_TEST

START_TEST(null_arguments_of_a_binding_are_refused)
{
    kvf_plan_t *plan = plan_of("llama-3.1-8b", "LBHNC", "LBHNC", NULL);
    kvf_bind_table_t table[2];
    kvf_bind_t bind = whole(table, 1, 16);
    kvf_plan_size_t size = {.struct_size = 4};
    kvf_op_t op;
    size_t count = 1;

    expect(kvf_plan_bind(NULL, &bind, &op, sizeof(op), &count, NULL, NULL), KVF_ERR_INVALID, "bind: plan is");
    expect(kvf_plan_bind(plan, NULL, &op, sizeof(op), &count, NULL, NULL), KVF_ERR_INVALID, "bind: bind is");
    expect(kvf_plan_bind(plan, &bind, &op, sizeof(op), NULL, NULL, NULL), KVF_ERR_INVALID,
           "bind: op_count_p is");
    expect(kvf_plan_measure(plan, &bind, NULL), KVF_ERR_INVALID, "measure: size_p is NULL");
    expect(kvf_plan_measure(plan, &bind, &size), KVF_ERR_INVALID, "measure: size_p.struct_size is 4");
    size.struct_size = sizeof(size);
    bind.tokens = 17;
    expect(kvf_plan_measure(plan, &bind, &size), KVF_ERR_BOUNDS, "bind: source group 0");
    kvf_plan_destroy(plan);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("plan_refused");
    TCase *bad = tcase_create("bad");

    tcase_add_test(bad, layouts_that_do_not_fit_are_refused_by_field);
    tcase_add_loop_test(bad, a_broken_binding_is_refused_by_field, 0, ROWS(broken));
    tcase_add_test(bad, null_arguments_of_a_binding_are_refused);
    suite_add_tcase(suite, bad);
    return run_plans(suite);
}

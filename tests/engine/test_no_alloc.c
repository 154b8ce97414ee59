/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A batch object that was used once is posted again without a call of the allocator, whatever its ops, as long
 * as they are not more, and so is a plan: this program's malloc() counts, and stands in for the C library's.
 */
#include "rig.h"

#include <check.h>
#include <kvferry/kv.h>
#include <stdatomic.h>
#include <stdlib.h>

static _Atomic unsigned long allocations;

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS 1
extern void *__libc_malloc(size_t len);
extern void *__libc_calloc(size_t count, size_t len);
extern void *__libc_realloc(void *mem, size_t len);

void *malloc(size_t len)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(len);
}

void *calloc(size_t count, size_t len)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(count, len);
}

void *realloc(void *mem, size_t len)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(mem, len);
}
#else
#define COUNTS 0
#endif

#define OPS 64u

START_TEST(a_used_batch_allocates_nothing)
{
    rig_t rig;
    kvf_op_t ops[OPS];
    unsigned long before;

    rig_open(&rig, (where_t)_i, &(rig_opts_t){0});
    for (unsigned i = 0; i < OPS; i++) {
        ops[i] = op_plain(rig.me.segment, i * 64, rig.remote, i * 128, 64, i % 2 ? KVF_READ : KVF_WRITE);
    }
    move(&rig, ops, OPS);
    before = atomic_load(&allocations);
    must(before > 0, "the allocator is not counted");
    for (unsigned n = 0; n < 100; n++) {
        move(&rig, ops, 1 + n % OPS);
    }
    must(atomic_load(&allocations) == before, "%lu allocations in 100 posts",
         atomic_load(&allocations) - before);
    rig_close(&rig);
}
END_TEST

static kvf_layout_t *layout_of(uint32_t block_tokens)
{
    kvf_kv_model_t model = {.struct_size = sizeof(model),
                            .layers = 4,
                            .name = "small",
                            .heads = 2,
                            .k_bytes = 32,
                            .v_bytes = 32,
                            .element = "bf16"};
    kvf_layout_opts_t opts = {
        .struct_size = sizeof(opts), .block_tokens = block_tokens, .blocks = 512 / block_tokens};
    kvf_layout_t *layout;

    ok(kvf_layout_build(&model, "LBHNC", &opts, &layout));
    return layout;
}

START_TEST(a_used_batch_binds_and_posts_without_allocating)
{
    rig_t rig;
    kvf_layout_t *src = layout_of(16), *dst = layout_of(64);
    kvf_bind_table_t from = {.count = 32}, to = {.count = 8};
    kvf_bind_local_t local = {0};
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .flags = KVF_BIND_KEEP,
                       .src_tables = &from,
                       .src_table_count = 1,
                       .dst_tables = &to,
                       .dst_table_count = 1,
                       .locals = &local,
                       .local_count = 1,
                       .remotes = &rig.remote,
                       .remote_count = 1};
    unsigned long before = 0;
    kvf_plan_t *plan;

    rig_open(&rig, (where_t)_i, &(rig_opts_t){0});
    local.segment = rig.me.segment;
    ok(kvf_plan_create(src, dst, NULL, &plan));
    for (unsigned n = 0; n < 50; n++) {
        kvf_plan_results_t results = {.struct_size = sizeof(results)};

        bind.tokens = n < 2 ? 512 - n : 500 - n;
        ok(kvf_plan_post(plan, &bind, rig.batch, NULL));
        ok(kvf_batch_wait(rig.batch, KVF_FOREVER));
        ok(kvf_plan_post_results(plan, &bind, rig.batch, &results));
        must(results.prefix_tokens == bind.tokens, "%zu tokens", (size_t)results.prefix_tokens);
        before = n == 1 ? atomic_load(&allocations) : before;
    }
    must(atomic_load(&allocations) == before, "%lu allocations in 48 posts",
         atomic_load(&allocations) - before);
    kvf_plan_destroy(plan);
    kvf_layout_destroy(src);
    kvf_layout_destroy(dst);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite;
    TCase *tcase;

    if (!COUNTS) {
        skip_all("a sanitizer, or a C library that is not glibc, has an allocator of its own");
    }
    suite = suite_create("no_alloc");
    tcase = tcase_create("no_alloc");
    suite_add_tcase(suite, tcase);
    tcase_add_loop_test(tcase, a_used_batch_allocates_nothing, WHERE_SELF, WHERE_STAGE);
    tcase_add_loop_test(tcase, a_used_batch_binds_and_posts_without_allocating, WHERE_SELF, WHERE_STAGE);
    return run_suite(suite);
}

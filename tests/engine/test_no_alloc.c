/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A batch object that was used once is posted again without a call of the allocator, whatever its
 * ops, as long as they are not more: this program's malloc() counts, and stands in for the C library's.
 */
#include "rig.h"

#include <check.h>
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

    rig_open(&rig, (where_t)_i, &(rig_opts_t){ 0 });
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
    return run_suite(suite);
}

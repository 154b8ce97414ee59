/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copy threads, and a batch that does not end as it should: cancelled, past its deadline, revoked,
 * closed, its owner killed, a fork in the middle, blocks reused. After the end nobody touches the
 * memory, and statuses and counts are exact though several threads copied parts of one op.
 */
#define _GNU_SOURCE
#include "threaded.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --------------------------------------------------------------- early ends */

START_TEST(after_a_cancel_nobody_writes)
{
    rig_t rig;
    kvf_op_t op;
    int8_t done[BIG / 65536];

    rig_open_threaded(&rig, (where_t)_i, &big);
    owner_fill(&rig, 1);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 65536, KVF_READ);
    op.blocks = BIG / 65536;
    op.local_block = op.remote_block = 65536;
    op.block_status = done;
    for (unsigned round = 0; round < 12; round++) {
        kvf_batch_result_t result = {.struct_size = sizeof(result)};
        kvf_status_t status;
        uint64_t good = 0;

        memset(rig.me.mem, 0, BIG);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        nanosleep(&(struct timespec){0, (long)round * 100000}, NULL);
        status = kvf_batch_cancel(rig.batch);
        must(status == KVF_ERR_CANCELED || status == KVF_OK, "%s", kvf_status_name(status));
        ok(kvf_batch_result(rig.batch, &result));
        for (uint32_t i = 0; i < op.blocks; i++) {
            must(done[i] == status || done[i] == KVF_OK, "pair %u: %d", i, done[i]);
            good += done[i] == KVF_OK;
        }
        must(result.bytes == good * 65536, "%zu bytes of %zu pairs", (size_t)result.bytes, (size_t)good);
        memset(rig.me.mem, 0x5a, BIG);
        sleep_ms(5);
        must(rig.me.mem[0] == 0x5a && memcmp(rig.me.mem, rig.me.mem + 1, BIG - 1) == 0,
             "written after cancel");
    }
    rig_close(&rig);
}
END_TEST

/* Pairs that say OK hold the source's bytes, though others of the op did not end well. */
START_TEST(pairs_that_say_ok_arrived)
{
    rig_t rig;
    kvf_op_t op;
    int8_t done[BIG / 65536];
    uint8_t *want = malloc(BIG);

    rig_open_threaded(&rig, (where_t)_i, &big);
    owner_fill(&rig, 1);
    pattern_fill(want, BIG, 1);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 65536, KVF_READ);
    op.blocks = BIG / 65536;
    op.local_block = op.remote_block = 65536;
    op.block_status = done;
    for (unsigned round = 0; round < 8; round++) {
        kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = 1 + round * 200000};
        kvf_status_t status;

        memset(rig.me.mem, 0, BIG);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts));
        status = kvf_batch_wait(rig.batch, patient(20));
        must(status == KVF_ERR_TIMEOUT || status == KVF_OK, "%s", kvf_status_name(status));
        for (uint32_t i = 0; i < op.blocks; i++) {
            must(done[i] == status || done[i] == KVF_OK, "pair %u: %d", i, done[i]);
            must(done[i] != KVF_OK || memcmp(rig.me.mem + i * 65536, want + i * 65536, 65536) == 0,
                 "pair %u says OK", i);
        }
        memset(rig.me.mem, 0x77, BIG);
        sleep_ms(3);
        must(memchr(rig.me.mem, 0, BIG) == NULL && rig.me.mem[BIG / 2] == 0x77, "written after it");
    }
    free(want);
    rig_close(&rig);
}
END_TEST

static void at_revoke_and_reuse(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_grant_revoke(side->grant, patient(10)));
    side->grant = NULL;
    pattern_fill(side->mem, side->len, 77);
}

/* The owner reuses its memory as soon as revoke says OK, while the reader's threads are at it. */
START_TEST(revoke_waits_for_parts)
{
    rig_t rig;
    uint8_t *before = malloc(BIG);
    uint8_t *after = malloc(BIG);

    pattern_fill(before, BIG, 1);
    pattern_fill(after, BIG, 77);
    rig_open_threaded(&rig, (where_t)_i, &big);
    for (unsigned round = 0; round < 4; round++) {
        kvf_op_t op = op_plain(rig.me.segment, 0, rig.remote, 0, 32768, KVF_READ);
        int8_t done[BIG / 32768];
        kvf_status_t status;

        op.blocks = BIG / 32768;
        op.local_block = op.remote_block = 32768;
        op.block_status = done;
        owner_fill(&rig, 1);
        memset(rig.me.mem, 0, BIG);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        nanosleep(&(struct timespec){0, (long)round * 300000}, NULL);
        rig_call(&rig, at_revoke_and_reuse, NULL, 0, NULL, 0);
        status = kvf_batch_wait(rig.batch, patient(20));
        must(status == KVF_OK || status == KVF_ERR_REVOKED, "%s", kvf_status_name(status));
        for (uint64_t i = 0; i < BIG; i += 8) {
            must(memcmp(rig.me.mem + i, after + i, 8) != 0, "byte %zu is of after", (size_t)i);
        }
        for (uint32_t i = 0; i < op.blocks; i++) {
            must(done[i] == status || done[i] == KVF_OK, "pair %u: %d", i, done[i]);
            must(done[i] != KVF_OK || memcmp(rig.me.mem + i * 32768, before + i * 32768, 32768) == 0,
                 "pair %u says OK", i);
        }
        owner_regrant(&rig, KVF_RIGHT_READ | KVF_RIGHT_WRITE);
    }
    free(after);
    free(before);
    rig_close(&rig);
}
END_TEST

START_TEST(close_ends_what_the_threads_copy)
{
    for (unsigned round = 0; round < 6; round++) {
        rig_t rig;
        kvf_op_t op;

        rig_open_threaded(&rig, WHERE_TWIN, &big);
        op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        nanosleep(&(struct timespec){0, (long)round * 200000}, NULL);
        ok(kvf_engine_close(rig.me.engine, patient(5)));
        must(each_copy_thread(NULL) == copy_threads_said(rig.here.engine), "threads of a closed engine");
        rig_call(&rig, side_close, NULL, 0, NULL, 0);
        must(each_copy_thread(NULL) == 0, "threads after both were closed");
        free(rig.me.heap);
    }
}
END_TEST

START_TEST(a_killed_owner_ends_the_batch)
{
    rig_t rig;
    kvf_op_t op;
    kvf_status_t status;

    rig_open_threaded(&rig, (where_t)(_i / 4), &big);
    owner_fill(&rig, 5);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, _i % 2 != 0 ? KVF_WRITE : KVF_READ);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    nanosleep(&(struct timespec){0, _i / 2 % 2 * 500000L}, NULL);
    proc_signal(&rig.owner, SIGKILL);
    status = kvf_batch_wait(rig.batch, patient(10));
    must(status == KVF_OK || status == KVF_ERR_PEER, "%s", kvf_status_name(status));
    must(status != KVF_OK || op.dir == KVF_WRITE || pattern_compare(rig.me.mem, BIG, 5) == UINT64_MAX,
         "OK, wrong bytes");
    rig_close(&rig);
}
END_TEST

/* The child of a fork in the middle has no threads, and its calls say so; the parent goes on. */
START_TEST(fork_while_the_threads_copy)
{
    rig_t rig;
    kvf_op_t op;

    rig_open_threaded(&rig, (where_t)_i, &big);
    owner_fill(&rig, 6);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    for (int round = 0; round < 4; round++) {
        pid_t child;
        int status = -1;

        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        child = fork();
        if (child == 0) {
            _exit(kvf_batch_wait(rig.batch, patient(1)) == KVF_ERR_FORKED &&
                          kvf_engine_close(rig.me.engine, 0) == KVF_ERR_FORKED
                      ? 0
                      : 1);
        }
        ok(kvf_batch_wait(rig.batch, patient(20)));
        must(waitpid(child, &status, 0) == child && status == 0, "the child: %d", status);
        must(pattern_compare(rig.me.mem, BIG, 6) == UINT64_MAX, "wrong bytes");
    }
    rig_close(&rig);
}
END_TEST

/* ------------------------------------------------------------- generations */

typedef struct raise {
    uint32_t count;
    uint32_t ids[64];
} raise_t;

static void at_raise(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const raise_t *raise = in;

    (void)in_len;
    (void)out;
    ok(kvf_pool_raise(side->pool, raise->count, raise->ids));
}

static void at_take_all(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    raise_t all = {.count = *(const uint32_t *)in};
    uint32_t gens[64];

    (void)in_len;
    ok(kvf_pool_alloc(side->pool, all.count, all.ids));
    for (uint32_t i = 0; i < all.count; i++) {
        all.ids[i] = i;
    }
    ok(kvf_pool_generations(side->pool, all.count, all.ids, gens));
    out_put(out, gens, all.count * sizeof(gens[0]));
}

/* A block of 4 MiB is cut in parts that are compared apart, and is stale once. */
START_TEST(a_stale_block_is_counted_once)
{
    rig_t rig;
    uint32_t blocks = _i % 2 != 0 ? 64 : 8;
    rig_opts_t opts = {.local_len = BIG, .pool_blocks = blocks, .block_bytes = BIG / blocks};
    uint32_t gens[64];
    int8_t done[64];

    rig_open_threaded(&rig, (where_t)(_i / 2), &opts);
    rig_call(&rig, at_take_all, &blocks, sizeof(blocks), gens, sizeof(gens));
    for (int round = 0; round < 4; round++) {
        kvf_batch_result_t result = {.struct_size = sizeof(result)};
        kvf_op_t op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG / blocks, KVF_READ);
        raise_t raise = {3, {1, 4, 7}};
        uint64_t stale = 0;
        kvf_status_t status;

        op.blocks = blocks;
        op.local_block = op.remote_block = BIG / blocks;
        op.remote_gens = gens;
        op.block_status = done;
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        if (round == 1) { /* in the middle, or late; then they are stale from the start */
            rig_call(&rig, at_raise, &raise, sizeof(raise), NULL, 0);
        }
        status = kvf_batch_wait(rig.batch, patient(20));
        ok(kvf_batch_result(rig.batch, &result));
        for (uint32_t i = 0; i < blocks; i++) {
            must(done[i] == KVF_OK || done[i] == KVF_ERR_STALE, "block %u: %d", i, done[i]);
            must(done[i] == KVF_OK || i == 1 || i == 4 || i == 7, "block %u", i);
            stale += done[i] == KVF_ERR_STALE;
        }
        must(result.stale_blocks == stale, "%zu stale, counted %zu", (size_t)stale,
             (size_t)result.stale_blocks);
        must(status == (stale != 0 ? KVF_ERR_STALE : KVF_OK), "%s", kvf_status_name(status));
        must(round < 2 || stale == 3, "%zu stale", (size_t)stale);
        must(round > 0 || stale == 0, "%zu stale", (size_t)stale);
    }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("copy_ends");
    TCase *tc = tcase_create("copy_ends");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, after_a_cancel_nobody_writes, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, pairs_that_say_ok_arrived, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, revoke_waits_for_parts, 0, LOCAL_PATHS);
    tcase_add_test(tc, close_ends_what_the_threads_copy);
    tcase_add_loop_test(tc, a_killed_owner_ends_the_batch, WHERE_SHM * 4, WHERE_CMA * 4 + 4);
    tcase_add_loop_test(tc, fork_while_the_threads_copy, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, a_stale_block_is_counted_once, 0, WHERE_CMA * 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

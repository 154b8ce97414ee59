/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copy threads: parts of one batch are copied by several threads at once while nobody calls. What
 * must hold all the same: every byte once, exact results, an end that wakes who sleeps, batches of
 * many threads. The threads are as many as the engine says, asleep when idle, and no signal of the
 * host comes to them; on one core there are none.
 */
#define _GNU_SOURCE
#include "threaded.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---------------------------------------------------------------- every byte */

/* Ops that are cut in each way there is: pairs, rows, pieces, bytes; and many small ones. */
static size_t shapes(rig_t *rig, int shape, uint32_t dir, const uint32_t *ids, kvf_op_t *ops)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, 0, BIG, dir);
    size_t count = 0;

    switch (shape) {
    case 0: /* bytes of a piece */
        break;
    case 1: /* pairs, in any order */
        op.len = 12288;
        op.blocks = BIG / 16384;
        op.local_block = op.remote_block = 16384;
        op.local_ids = op.remote_ids = ids;
        break;
    case 2: /* pieces in rows, of few pairs */
        op.len = 3000;
        op.count[0] = 100;
        op.count[1] = 24;
        op.local_stride[0] = op.remote_stride[0] = 3100;
        op.local_stride[1] = op.remote_stride[1] = 320000;
        op.blocks = 4;
        op.local_block = op.remote_block = BIG / 4;
        break;
    case 3: /* large pieces of rows */
        op.len = 700001;
        op.count[0] = 3;
        op.count[1] = 15;
        op.local_stride[0] = op.remote_stride[0] = 700003;
        op.local_stride[1] = op.remote_stride[1] = 2200000;
        break;
    default: /* ops of all sizes */
        for (uint64_t at = 0; at + 300000 < BIG && count < 2000; count++) {
            uint64_t len = count % 7 == 0 ? 290000 : 1 + count * 131 % 9000;

            ops[count] = op_plain(rig->me.segment, at, rig->remote, at, len, dir);
            at += len + count % 5;
        }
        return count;
    }
    ops[0] = op;
    return 1;
}

/* What an op leaves: where its pieces lie, the pattern of the source, elsewhere the other. */
static void expect(const kvf_op_t *op, uint8_t *want, const uint8_t *source)
{
    for (uint32_t i = 0; i < (op->blocks != 0 ? op->blocks : 1); i++) {
        uint64_t id = op->local_ids != NULL ? op->local_ids[i] : i;

        for (uint32_t y = 0; id != KVF_SKIP && y < op->count[1]; y++) {
            for (uint32_t x = 0; x < op->count[0]; x++) {
                uint64_t at = op->local_off + id * op->local_block + (uint64_t)op->local_stride[1] * y +
                              (uint64_t)op->local_stride[0] * x;

                memcpy(want + at, source + at, op->len);
            }
        }
    }
}

START_TEST(every_byte_of_every_shape)
{
    rig_t rig;
    where_t where = (where_t)(_i % LOCAL_PATHS);
    uint32_t dir = _i / LOCAL_PATHS != 0 ? KVF_WRITE : KVF_READ;
    static kvf_op_t ops[2000];
    uint32_t *ids = malloc(BIG / 16384 * sizeof(*ids));
    uint8_t *want = malloc(BIG);
    uint8_t *source = malloc(BIG);
    uint8_t *got = malloc(BIG);

    rig_open_threaded(&rig, where, &big);
    for (uint32_t i = 0; i < BIG / 16384; i++) {
        ids[i] = i % 9 == 0 ? KVF_SKIP : (uint32_t)(i * 1021 % (BIG / 16384));
    }
    pattern_fill(source, BIG, 1);
    for (int shape = 0; shape < 5; shape++) {
        kvf_batch_result_t result = {.struct_size = sizeof(result)};
        size_t count = shapes(&rig, shape, dir, ids, ops);
        uint64_t bytes = 0;

        pattern_fill(want, BIG, 2);
        for (size_t i = 0; i < count; i++) {
            expect(&ops[i], want, source);
        }
        owner_fill(&rig, dir == KVF_READ ? 1 : 2);
        pattern_fill(rig.me.mem, BIG, dir == KVF_READ ? 2 : 1);
        ok(kvf_batch_post(rig.batch, ops, count, sizeof(ops[0]), NULL));
        ok(kvf_batch_wait(rig.batch, patient(20)));
        ok(kvf_batch_result(rig.batch, &result));
        if (dir == KVF_WRITE) {
            owner_get(&rig, 0, got, BIG);
        }
        must(memcmp(dir == KVF_READ ? rig.me.mem : got, want, BIG) == 0, "shape %d: wrong bytes", shape);
        for (size_t i = 0; i < count; i++) {
            uint64_t pairs = ops[i].blocks;

            for (uint32_t p = 0; ops[i].local_ids != NULL && p < ops[i].blocks; p++) {
                pairs -= ops[i].local_ids[p] == KVF_SKIP;
            }
            bytes += pairs * ops[i].len * ops[i].count[0] * ops[i].count[1];
        }
        must(result.bytes == bytes, "shape %d: %zu bytes, not %zu", shape, (size_t)result.bytes,
             (size_t)bytes);
    }
    free(got);
    free(source);
    free(want);
    free(ids);
    rig_close(&rig);
}
END_TEST

/* ------------------------------------------------------------ nobody calls */

/* Who armed and sleeps is woken by the end, and by nothing but it; no call copies for it. */
START_TEST(a_batch_ends_while_the_caller_sleeps)
{
    rig_t rig;
    kvf_op_t op;
    struct pollfd fd = {.events = POLLIN};

    rig_open_threaded(&rig, (where_t)_i, &big);
    owner_fill(&rig, 3);
    ok(kvf_engine_fd(rig.me.engine, &fd.fd));
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    for (int round = 0; round < 5 && copy_threads_said(rig.me.engine) > 0; round++) {
        kvf_status_t status;

        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        do { /* near links may have news of their own */
            while (kvf_engine_arm(rig.me.engine) == KVF_ERR_BUSY) {
                must(strstr(kvf_last_error(), "kvf_progress") != NULL, "%s", kvf_last_error());
                ok(kvf_progress(rig.me.engine));
            }
            status = kvf_batch_test(rig.batch);
        } while (status == KVF_INPROGRESS && poll(&fd, 1, 10000) == 1);
        must(status == KVF_OK, "%s", kvf_status_name(status));
    }
    must(copy_threads_said(rig.me.engine) == 0 || pattern_compare(rig.me.mem, BIG, 3) == UINT64_MAX, "bytes");
    rig_close(&rig);
}
END_TEST

/* test() and kvf_progress() leave the copies to the threads; they see the end all the same. */
START_TEST(test_alone_sees_the_end)
{
    rig_t rig;
    kvf_op_t op;
    uint64_t end_ns = now_ns() + patient(20);
    kvf_status_t status;

    rig_open_threaded(&rig, (where_t)_i, &big);
    owner_fill(&rig, 4);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    while ((status = kvf_batch_test(rig.batch)) == KVF_INPROGRESS && now_ns() < end_ns) {
        ok(kvf_progress(rig.me.engine));
        sched_yield();
    }
    must(status == KVF_OK, "%s", kvf_status_name(status));
    must(pattern_compare(rig.me.mem, BIG, 4) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

START_TEST(inline_has_ended_when_post_returns)
{
    rig_t rig;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .flags = KVF_BATCH_INLINE};
    kvf_op_t op;

    rig_open_threaded(&rig, (where_t)_i, &big);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    for (uint64_t round = 1; round < 5; round++) {
        owner_fill(&rig, round);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts));
        must(pattern_compare(rig.me.mem, BIG, round) == UINT64_MAX, "not there after post");
        ok(kvf_batch_op_status(rig.batch, 0));
    }
    rig_close(&rig);
}
END_TEST

/* ------------------------------------------------------------ many at once */

typedef struct user {
    rig_t *rig;
    uint32_t nth;
} user_t;

/* Each has a batch of its own and an eighth of the memory; odd ones wait, even ones poll. */
static void *use(void *arg)
{
    user_t *user = arg;
    rig_t *rig = user->rig;
    uint64_t off = user->nth * (BIG / 8);
    kvf_batch_t *batch = NULL;
    kvf_op_t op = op_plain(rig->me.segment, off, rig->remote, off, 8192, KVF_READ);

    op.blocks = BIG / 8 / 8192;
    op.local_block = op.remote_block = 8192;
    ok(kvf_batch_create(rig->me.engine, &batch));
    for (int round = 0; round < 6; round++) {
        kvf_status_t status;

        memset(rig->me.mem + off, 0, BIG / 8);
        ok(kvf_batch_post(batch, &op, 1, sizeof(op), NULL));
        do {
            status = user->nth % 2 != 0 ? kvf_batch_wait(batch, patient(1)) : kvf_batch_test(batch);
        } while (status == KVF_INPROGRESS);
        must(status == KVF_OK, "%s", kvf_status_name(status));
    }
    ok(kvf_batch_free(batch));
    return NULL;
}

START_TEST(batches_of_many_threads)
{
    rig_t rig;
    user_t users[8];
    pthread_t threads[8];

    rig_open_threaded(&rig, (where_t)_i, &big);
    owner_fill(&rig, 8);
    for (uint32_t i = 0; i < 8; i++) {
        users[i] = (user_t){&rig, i};
        must(pthread_create(&threads[i], NULL, use, &users[i]) == 0, "no thread");
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    must(pattern_compare(rig.me.mem, BIG, 8) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

static void *wait_for_it(void *arg)
{
    rig_t *rig = arg;

    answers(kvf_batch_wait(rig->batch, patient(20)), KVF_OK);
    return NULL;
}

START_TEST(many_threads_wait_for_one_batch)
{
    rig_t rig;
    kvf_op_t op;
    pthread_t threads[6];

    rig_open_threaded(&rig, (where_t)_i, &big);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    for (uint64_t round = 1; round < 4; round++) {
        owner_fill(&rig, round);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        for (int i = 0; i < 6; i++) {
            must(pthread_create(&threads[i], NULL, wait_for_it, &rig) == 0, "no thread");
        }
        for (int i = 0; i < 6; i++) {
            pthread_join(threads[i], NULL);
        }
        must(pattern_compare(rig.me.mem, BIG, round) == UINT64_MAX, "wrong bytes");
    }
    rig_close(&rig);
}
END_TEST

/* ----------------------------------------------------------------- threads */

static void not_here(const char *dir)
{
    char path[300];
    char line[300];
    FILE *file;
    unsigned long long blocked = 0;

    snprintf(path, sizeof(path), "%s/status", dir);
    file = fopen(path, "r");
    must(file != NULL, "%s", path);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "SigBlk:", 7) == 0) {
            blocked = strtoull(line + 7, NULL, 16);
        }
    }
    fclose(file);
    must(blocked >> (SIGUSR1 - 1) & 1 && blocked >> (SIGTERM - 1) & 1 && blocked >> (SIGINT - 1) & 1,
         "the host's signals may come to a copy thread");
    must(!(blocked >> (SIGSEGV - 1) & 1) && !(blocked >> (SIGBUS - 1) & 1),
         "a fault of a copy would not reach the host's handler");
}

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

START_TEST(threads_are_as_many_as_said_and_sleep)
{
    rig_t rig;
    kvf_op_t op;
    double before;

    rig_open_threaded(&rig, WHERE_SELF, &big);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    move(&rig, &op, 1);
    ck_assert_int_eq(each_copy_thread(not_here), copy_threads_said(rig.me.engine));
    before = cpu_s();
    sleep_ms(300);
    must(cpu_s() - before < 0.03, "%.3f s of processor time in 0.3 s of idleness", cpu_s() - before);
    rig_close(&rig);
    ck_assert_int_eq(each_copy_thread(NULL), 0);
}
END_TEST

/* A launcher gave the rank one core: there is no thread, one line says why, and all works. */
START_TEST(one_core_has_no_copy_thread)
{
    rig_t rig;
    cpu_set_t mask;
    cpu_set_t one;
    kvf_op_t op;
    FILE *log = tmpfile();
    char said[1000] = "";
    int saved = dup(2);

    ck_assert(log != NULL && sched_getaffinity(0, sizeof(mask), &mask) == 0);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++) {
        if (CPU_ISSET(cpu, &mask)) {
            CPU_SET(cpu, &one);
        }
    }
    ck_assert(sched_setaffinity(0, sizeof(one), &one) == 0);
    dup2(fileno(log), 2);
    rig_open_threaded(&rig, WHERE_TWIN, &big); /* two engines, one line */
    dup2(saved, 2);
    rewind(log);
    ck_assert_uint_gt(fread(said, 1, sizeof(said) - 1, log), 0);
    must(strstr(said, "copy_threads=2 cannot help") != NULL, "\"%s\"", said);
    must(strchr(said, '\n') == said + strlen(said) - 1, "more than a line: \"%s\"", said);
    ck_assert_int_eq(copy_threads_said(rig.me.engine), 0);
    ck_assert_int_eq(each_copy_thread(NULL), 0);
    owner_fill(&rig, 9);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, BIG, 9) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
    fclose(log);
    close(saved);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("copy_threads");
    TCase *tc = tcase_create("copy_threads");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, every_byte_of_every_shape, 0, LOCAL_PATHS * 2);
    tcase_add_loop_test(tc, a_batch_ends_while_the_caller_sleeps, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, test_alone_sees_the_end, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, inline_has_ended_when_post_returns, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, batches_of_many_threads, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, many_threads_wait_for_one_batch, 0, LOCAL_PATHS);
    tcase_add_test(tc, threads_are_as_many_as_said_and_sleep);
    tcase_add_test(tc, one_core_has_no_copy_thread);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

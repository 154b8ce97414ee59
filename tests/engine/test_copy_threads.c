/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copy threads: parts of one batch are copied by several threads at once while nobody calls. What
 * must hold all the same: every byte once, exact results and statuses, an end that wakes who sleeps,
 * and after the end (cancel, deadline, revoke, close, a peer's death) nobody touches the memory. Each
 * test has as many copy threads as the machine lets it; on one core it runs without.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BIG (UINT64_C(32) << 20)
#define LOCAL_PATHS WHERE_STAGE /* those before it */

static const rig_opts_t big = { .owner_len = BIG, .local_len = BIG };

static void rig_open_threaded(rig_t *rig, where_t where, const rig_opts_t *opts)
{
    setenv("KVFERRY_COPY_THREADS", "2", 1);
    rig_open(rig, where, opts);
}

/* How many run: what kvf_engine_setting() says. */
static int running(kvf_engine_t *engine)
{
    const char *name;
    const char *value;
    const char *text;

    for (uint32_t i = 0; kvf_engine_setting(engine, i, &name, &value, &text) == KVF_OK; i++) {
        if (strcmp(name, "KVFERRY_COPY_THREADS") == 0) {
            return atoi(value);
        }
    }
    return -1;
}

/* Calls fn with the directory of each thread of this process that is a copy thread. */
static int each_copy_thread(void (*fn)(const char *dir))
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;

    while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
        char path[300];
        char name[32] = "";
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        file = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (file == NULL) {
            continue;
        }
        if (fgets(name, sizeof(name), file) != NULL && strcmp(name, "kvferry-copy\n") == 0) {
            path[strlen(path) - strlen("/comm")] = '\0';
            count++;
            if (fn != NULL) {
                fn(path);
            }
        }
        fclose(file);
    }
    closedir(tasks);
    return count;
}

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
                uint64_t at = op->local_off + id * op->local_block +
                              (uint64_t)op->local_stride[1] * y + (uint64_t)op->local_stride[0] * x;

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
        kvf_batch_result_t result = { .struct_size = sizeof(result) };
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
    struct pollfd fd = { .events = POLLIN };

    rig_open_threaded(&rig, (where_t)_i, &big);
    owner_fill(&rig, 3);
    ok(kvf_engine_fd(rig.me.engine, &fd.fd));
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    for (int round = 0; round < 5 && running(rig.me.engine) > 0; round++) {
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
    must(running(rig.me.engine) == 0 || pattern_compare(rig.me.mem, BIG, 3) == UINT64_MAX, "bytes");
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
    kvf_batch_opts_t opts = { .struct_size = sizeof(opts), .flags = KVF_BATCH_INLINE };
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
        kvf_batch_result_t result = { .struct_size = sizeof(result) };
        kvf_status_t status;
        uint64_t good = 0;

        memset(rig.me.mem, 0, BIG);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        nanosleep(&(struct timespec){ 0, (long)round * 100000 }, NULL);
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
        kvf_batch_opts_t opts = { .struct_size = sizeof(opts), .deadline_ns = 1 + round * 200000 };
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
        nanosleep(&(struct timespec){ 0, (long)round * 300000 }, NULL);
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
        nanosleep(&(struct timespec){ 0, (long)round * 200000 }, NULL);
        ok(kvf_engine_close(rig.me.engine, patient(5)));
        must(each_copy_thread(NULL) == running(rig.here.engine), "threads of a closed engine");
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
    nanosleep(&(struct timespec){ 0, _i / 2 % 2 * 500000L }, NULL);
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
                  kvf_engine_close(rig.me.engine, 0) == KVF_ERR_FORKED ? 0 : 1);
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
    raise_t all = { .count = *(const uint32_t *)in };
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
    rig_opts_t opts = { .local_len = BIG, .pool_blocks = blocks, .block_bytes = BIG / blocks };
    uint32_t gens[64];
    int8_t done[64];

    rig_open_threaded(&rig, (where_t)(_i / 2), &opts);
    rig_call(&rig, at_take_all, &blocks, sizeof(blocks), gens, sizeof(gens));
    for (int round = 0; round < 4; round++) {
        kvf_batch_result_t result = { .struct_size = sizeof(result) };
        kvf_op_t op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG / blocks, KVF_READ);
        raise_t raise = { 3, { 1, 4, 7 } };
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
        users[i] = (user_t){ &rig, i };
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
    ck_assert_int_eq(each_copy_thread(not_here), running(rig.me.engine));
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
    fread(said, 1, sizeof(said) - 1, log);
    must(strstr(said, "copy_threads=2 cannot help") != NULL, "\"%s\"", said);
    must(strchr(said, '\n') == said + strlen(said) - 1, "more than a line: \"%s\"", said);
    ck_assert_int_eq(running(rig.me.engine), 0);
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
    tcase_add_loop_test(tc, after_a_cancel_nobody_writes, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, pairs_that_say_ok_arrived, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, revoke_waits_for_parts, 0, LOCAL_PATHS);
    tcase_add_test(tc, close_ends_what_the_threads_copy);
    tcase_add_loop_test(tc, a_killed_owner_ends_the_batch, WHERE_SHM * 4, WHERE_CMA * 4 + 4);
    tcase_add_loop_test(tc, fork_while_the_threads_copy, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, a_stale_block_is_counted_once, 0, WHERE_CMA * 2);
    tcase_add_loop_test(tc, batches_of_many_threads, 0, LOCAL_PATHS);
    tcase_add_loop_test(tc, many_threads_wait_for_one_batch, 0, LOCAL_PATHS);
    tcase_add_test(tc, threads_are_as_many_as_said_and_sleep);
    tcase_add_test(tc, one_core_has_no_copy_thread);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

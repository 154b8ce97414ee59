/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Any thread may call anything on any object at the same time: several threads on one batch, several
 * that post on one engine, several that make and close objects. Each checks its own bytes. Meant to
 * run under the thread sanitizer too.
 */
#include "rig.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BIG     (UINT64_C(32) << 20)
#define THREADS 4

typedef struct worker {
    pthread_t thread;
    rig_t *rig;
    uint32_t index;
    uint32_t rounds;
    kvf_status_t status;
} worker_t;

static void all(worker_t *workers, uint32_t count, rig_t *rig, void *(*body)(void *), uint32_t rounds)
{
    for (uint32_t i = 0; i < count; i++) {
        workers[i].rig = rig;
        workers[i].index = i;
        workers[i].rounds = rounds;
        must(pthread_create(&workers[i].thread, NULL, body, &workers[i]) == 0, "no thread");
    }
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(workers[i].thread, NULL);
    }
}

static void *waits(void *arg)
{
    worker_t *w = arg;

    if ((w->index & 1) != 0) {
        w->status = kvf_batch_wait(w->rig->batch, patient(20));
        return NULL;
    }
    do {
        w->status = kvf_batch_test(w->rig->batch);
    } while (w->status == KVF_INPROGRESS);
    return NULL;
}

START_TEST(two_waiters_and_two_testers_of_one_batch_see_its_end)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG};
    worker_t workers[THREADS];
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &opts);
    owner_fill(&rig, 1);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    for (int round = 0; round < 4; round++) {
        memset(rig.me.mem, 0, BIG);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        all(workers, THREADS, &rig, waits, 1);
        for (int i = 0; i < THREADS; i++) {
            must(workers[i].status == KVF_OK, "thread %d: %s", i, kvf_status_name(workers[i].status));
        }
        must(pattern_compare(rig.me.mem, BIG, 1) == UINT64_MAX, "wrong bytes");
    }
    rig_close(&rig);
}
END_TEST

static void *waits_or_cancels(void *arg)
{
    worker_t *w = arg;

    if (w->index == 3) {
        w->status = kvf_batch_cancel(w->rig->batch);
        return NULL;
    }
    return waits(arg);
}

START_TEST(a_cancel_beside_waiters_gives_all_the_same_end)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG};
    worker_t workers[THREADS];
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    for (int round = 0; round < 8; round++) {
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        all(workers, THREADS, &rig, waits_or_cancels, 1);
        for (int i = 0; i < THREADS; i++) {
            must(workers[i].status == KVF_OK || workers[i].status == KVF_ERR_CANCELED, "thread %d: %s", i,
                 kvf_status_name(workers[i].status));
            must(workers[i].status == workers[0].status, "threads saw different ends: %s and %s",
                 kvf_status_name(workers[i].status), kvf_status_name(workers[0].status));
        }
    }
    rig_close(&rig);
}
END_TEST

/* Thread i works in quarter i of both memories: reads, writes back elsewhere, compares. */
static void *posts(void *arg)
{
    worker_t *w = arg;
    rig_t *rig = w->rig;
    uint64_t base = w->index * (rig->me.len / THREADS);
    uint64_t half = rig->me.len / THREADS / 2;
    kvf_batch_t *batch = NULL;

    ok(kvf_batch_create(rig->me.engine, &batch));
    for (uint32_t round = 0; round < w->rounds; round++) {
        uint64_t len = 1000 + round * 997 % (half - 1000);
        kvf_op_t op = op_plain(rig->me.segment, base, rig->remote, base + half, len, KVF_WRITE);
        kvf_status_t status;

        pattern_fill(rig->me.mem + base, len, round * 8 + w->index);
        status = run_ops(batch, &op, 1, NULL);
        must(status == KVF_OK, "write: %s (%s)", kvf_status_name(status), kvf_last_error());
        op = op_plain(rig->me.segment, base + half, rig->remote, base + half, len, KVF_READ);
        status = run_ops(batch, &op, 1, NULL);
        must(status == KVF_OK, "read: %s (%s)", kvf_status_name(status), kvf_last_error());
        must(pattern_compare(rig->me.mem + base + half, len, round * 8 + w->index) == UINT64_MAX,
             "thread %u round %u on %s: wrong bytes", w->index, round, where_name(rig->where));
    }
    ok(kvf_batch_free(batch));
    return NULL;
}

START_TEST(threads_that_post_on_one_engine_do_not_mix)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = 4 << 20,
                       .local_len = 4 << 20,
                       .progress = _i & 1 ? KVF_PROGRESS_CALLER : KVF_PROGRESS_THREAD};
    worker_t workers[THREADS];

    rig_open(&rig, (where_t)(_i / 2), &opts);
    all(workers, THREADS, &rig, posts, 60);
    rig_close(&rig);
}
END_TEST

/* Makes and closes objects of every kind beside the others. */
static void *makes(void *arg)
{
    worker_t *w = arg;
    kvf_engine_t *engine = w->rig->me.engine;

    for (uint32_t round = 0; round < w->rounds; round++) {
        kvf_segment_t *segment = NULL;
        kvf_grant_t *grant = NULL;
        kvf_batch_t *batch = NULL;
        kvf_remote_t *remote = NULL;
        kvf_range_t range = {.len = 8192, .rights = KVF_RIGHT_READ};
        uint8_t buf[BLOB_MAX];
        uint32_t count = 1;
        size_t len;
        kvf_op_t op;

        ok(kvf_segment_alloc(engine, 8192, &segment));
        range.segment = segment;
        ok(kvf_grant_create(engine, &range, 1, NULL, &grant));
        grant_blob(grant, buf, &len);
        ok(kvf_remote_import(w->rig->here.peer[0], buf, len, &remote, &count));
        ok(kvf_batch_create(engine, &batch));
        op = op_plain(segment, 0, remote, 4096, 4096, KVF_READ);
        must(run_ops(batch, &op, 1, NULL) == KVF_OK, "%s", kvf_last_error());
        ok(kvf_batch_free(batch));
        ok(kvf_remote_forget(remote));
        ok(kvf_grant_revoke(grant, patient(5)));
        ok(kvf_segment_release(segment));
    }
    return NULL;
}

START_TEST(threads_make_and_close_objects_beside_each_other)
{
    rig_t rig;
    worker_t workers[THREADS];

    rig_open(&rig, WHERE_SELF, NULL); /* peer[0] of the owner is the initiator: itself */
    all(workers, THREADS, &rig, makes, 50);
    rig_close(&rig);
}
END_TEST

/* Blobs that all threads import and forget at the same time. */
static uint8_t peer_blob[BLOB_MAX];
static uint8_t remote_blob[BLOB_MAX];
static size_t peer_blob_len;
static size_t remote_blob_len;

static void *imports(void *arg)
{
    worker_t *w = arg;
    kvf_engine_t *engine = w->rig->me.engine;
    kvf_segment_t *segment = NULL;
    kvf_batch_t *batch = NULL;

    ok(kvf_segment_alloc(engine, 4096, &segment));
    ok(kvf_batch_create(engine, &batch));
    for (uint32_t round = 0; round < w->rounds; round++) {
        kvf_peer_t *peer = NULL;
        kvf_remote_t *first = NULL;
        kvf_remote_t *second = NULL;
        uint32_t count = 1;
        kvf_op_t op;

        ok(kvf_peer_import(engine, peer_blob, peer_blob_len, &peer));
        ok(kvf_remote_import(peer, remote_blob, remote_blob_len, &first, &count));
        ok(kvf_remote_import(peer, remote_blob, remote_blob_len, &second, &count));
        must(first == second, "two remotes of one blob at the same time");
        op = op_plain(segment, 0, first, 0, 4096, KVF_READ);
        must(run_ops(batch, &op, 1, NULL) == KVF_OK, "%s", kvf_last_error());
        ok(kvf_remote_forget(first));
        ok(kvf_remote_forget(second));
        ok(kvf_peer_forget(peer));
    }
    ok(kvf_batch_free(batch));
    ok(kvf_segment_release(segment));
    return NULL;
}

/* At the end each import was counted and forgotten: the peer is gone. */
START_TEST(threads_that_import_one_blob_share_one_object)
{
    rig_t rig;
    worker_t workers[THREADS];
    uint32_t flags = _i == WHERE_AM ? KVF_BLOB_FAR : 0;
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_peer_t *old;

    rig_open(&rig, (where_t)_i, NULL);
    peer_blob_len = rig_call(&rig, side_blob, &flags, sizeof(flags), peer_blob, sizeof(peer_blob));
    remote_blob_len = rig_call(&rig, side_grant_blob, NULL, 0, remote_blob, sizeof(remote_blob));
    ok(kvf_remote_forget(rig.remote)); /* the threads make and end it */
    if (rig.where != WHERE_AM) {       /* far, a connection each time would take long */
        ok(kvf_peer_forget(rig.peer));
    }
    /* fewer than 1024 handles close, so that the old one is still known as closed */
    all(workers, THREADS, &rig, imports, rig.where == WHERE_AM ? 30 : 60);
    old = rig.peer;
    if (rig.where == WHERE_AM) {
        ok(kvf_peer_forget(old));
    }
    if (rig.where != WHERE_SELF) { /* there the owner's side holds it too */
        refused(kvf_peer_query(old, &attr), KVF_ERR_INVALID, NULL);
    }
    ok(kvf_batch_free(rig.batch));
    side_close(&rig.me, NULL, 0, NULL);
    if (rig.where != WHERE_SELF) {
        rig_call(&rig, side_close, NULL, 0, NULL, 0);
    }
    proc_end(&rig.owner);
}
END_TEST

static void *fails(void *arg)
{
    worker_t *w = arg;
    char want[32];

    for (uint32_t round = 0; round < 200; round++) {
        refused(kvf_engine_path_check(w->rig->me.engine, (kvf_path_t)(100 + w->index)), KVF_ERR_INVALID,
                NULL);
        snprintf(want, sizeof(want), "%u", 100 + w->index);
        must(strstr(kvf_last_error(), want) != NULL, "\"%s\" is not of thread %u", kvf_last_error(),
             w->index);
    }
    return NULL;
}

START_TEST(the_last_error_is_the_threads_own)
{
    rig_t rig;
    worker_t workers[THREADS];

    rig_open(&rig, WHERE_SELF, NULL);
    all(workers, THREADS, &rig, fails, 1);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *tc = tcase_create("threads");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, two_waiters_and_two_testers_of_one_batch_see_its_end, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_cancel_beside_waiters_gives_all_the_same_end, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, threads_that_post_on_one_engine_do_not_mix, 0, 2 * WHERE_COUNT);
    tcase_add_test(tc, threads_make_and_close_objects_beside_each_other);
    tcase_add_loop_test(tc, threads_that_import_one_blob_share_one_object, 0, WHERE_COUNT);
    tcase_add_test(tc, the_last_error_is_the_threads_own);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

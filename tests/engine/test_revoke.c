/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Revoke: every later post is refused, near and far; running copies end before revoke says OK, so
 * that the memory may be reused; a reader that stands still inside a copy makes it say TIMEOUT and
 * who it is. The stopped reader is caught inside a slice by stopping it while it does nothing else.
 */
#include "rig.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define BIG (UINT64_C(32) << 20)

static const rig_opts_t big = {.owner_len = BIG, .local_len = BIG};

START_TEST(a_post_after_revoke_is_refused_and_moves_nothing)
{
    rig_t rig;
    kvf_op_t ops[2];

    rig_open(&rig, (where_t)_i, NULL);
    owner_fill(&rig, 1);
    pattern_fill(rig.me.mem, rig.me.len, 2);
    ops[0] = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    ops[1] = op_plain(rig.me.segment, 8192, rig.remote, 8192, 4096, KVF_WRITE);
    must(owner_revoke(&rig, patient(5)) == KVF_OK, "revoke");
    if (rig.where == WHERE_AM) { /* the word of it may still travel; then the op says it */
        kvf_status_t status = kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL);

        if (status == KVF_OK) {
            answers(kvf_batch_wait(rig.batch, patient(5)), KVF_ERR_REVOKED);
            answers(kvf_batch_op_status(rig.batch, 0), KVF_ERR_REVOKED);
            answers(kvf_batch_op_status(rig.batch, 1), KVF_ERR_REVOKED);
        } else {
            must(status == KVF_ERR_REVOKED, "%s", kvf_status_name(status));
        }
    } else {
        refused_naming(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL), KVF_ERR_REVOKED, "op 0");
    }
    must(pattern_compare(rig.me.mem, rig.me.len, 2) == UINT64_MAX, "a read moved bytes");
    must(owner_compare(&rig, 1) == UINT64_MAX, "a write moved bytes");
    for (int i = 0; i < 3; i++) { /* by now every side knows */
        kvf_status_t status = kvf_batch_post(rig.batch, ops, 1, sizeof(ops[0]), NULL);

        if (status == KVF_OK) {
            status = kvf_batch_wait(rig.batch, patient(5));
        }
        must(status == KVF_ERR_REVOKED, "%s", kvf_status_name(status));
    }
    owner_regrant(&rig, KVF_RIGHT_READ);
    ops[0].remote = rig.remote;
    move(&rig, ops, 1);
    must(pattern_compare(rig.me.mem, 4096, 1) == UINT64_MAX, "the new grant's bytes");
    rig_close(&rig);
}
END_TEST

START_TEST(a_block_status_says_revoked_too)
{
    rig_t rig;
    kvf_op_t op;
    int8_t status[4] = {99, 99, 99, 99};
    kvf_status_t end;

    rig_open(&rig, WHERE_AM, &big);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG / 4, KVF_READ);
    op.blocks = 4;
    op.local_block = op.remote_block = BIG / 4;
    op.block_status = status;
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    must(owner_revoke(&rig, patient(10)) == KVF_OK, "revoke");
    end = kvf_batch_wait(rig.batch, patient(10));
    must(end == KVF_OK || end == KVF_ERR_REVOKED, "%s", kvf_status_name(end));
    for (int i = 0; i < 4; i++) {
        must(status[i] == KVF_ERR_REVOKED || status[i] == KVF_OK, "pair %d: %d", i, status[i]);
        must(end == KVF_ERR_REVOKED || status[i] == KVF_OK, "pair %d: %d of an OK op", i, status[i]);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(a_revoked_grant_cannot_be_imported)
{
    rig_t rig;
    uint8_t buf[BLOB_MAX];
    size_t len;
    kvf_remote_t *remote = NULL;
    uint32_t count = 1;

    rig_open(&rig, (where_t)_i, NULL);
    len = rig_call(&rig, side_grant_blob, NULL, 0, buf, sizeof(buf));
    ok(kvf_remote_forget(rig.remote));
    must(owner_revoke(&rig, patient(5)) == KVF_OK, "revoke");
    refused(kvf_remote_import(rig.peer, buf, len, &remote, &count), KVF_ERR_REVOKED, NULL);
    must(remote == NULL, "an output of a failure");
    ok(kvf_peer_forget(rig.peer));
    ok(kvf_batch_free(rig.batch));
    ok(kvf_engine_close(rig.me.engine, patient(5)));
    if (rig.where >= WHERE_TWIN) {
        rig_call(&rig, side_close, NULL, 0, NULL, 0);
    }
    proc_end(&rig.owner);
}
END_TEST

/* ---------------------------------------------- revoke under a running copy */

typedef struct reuse {
    uint64_t timeout_ns;
    uint64_t seed;
} reuse_t;

/* Revokes; at once after OK the memory is filled anew, as an owner that reuses it would. */
static void at_revoke_and_reuse(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const reuse_t *reuse = in;

    (void)in_len;
    (void)out;
    ok(kvf_grant_revoke(side->grant, reuse->timeout_ns));
    side->grant = NULL;
    pattern_fill(side->mem, side->len, reuse->seed);
}

static void *waiter(void *arg)
{
    rig_t *rig = arg;

    kvf_batch_wait(rig->batch, patient(20));
    return NULL;
}

/* The reader's bytes are all of before the reuse: old pattern, or what was there. */
START_TEST(revoke_waits_for_a_running_read)
{
    rig_t rig;
    reuse_t reuse = {patient(10), 77};
    uint8_t *after = malloc(BIG);

    pattern_fill(after, BIG, 77);
    rig_open(&rig, (where_t)_i, &big);
    for (unsigned round = 0; round < 3; round++) {
        kvf_op_t op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
        pthread_t thread;
        kvf_status_t status;

        owner_fill(&rig, 1);
        memset(rig.me.mem, 0, BIG);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        must(pthread_create(&thread, NULL, waiter, &rig) == 0, "no thread");
        sleep_ms(round);
        rig_call(&rig, at_revoke_and_reuse, &reuse, sizeof(reuse), NULL, 0);
        pthread_join(thread, NULL);
        status = kvf_batch_test(rig.batch);
        must(status == KVF_OK || status == KVF_ERR_REVOKED, "%s", kvf_status_name(status));
        for (uint64_t i = 0; i < BIG; i += 8) {
            must(memcmp(rig.me.mem + i, after + i, 8) != 0, "byte %zu is of after the revoke", (size_t)i);
        }
        must(status != KVF_OK || pattern_compare(rig.me.mem, BIG, 1) == UINT64_MAX, "OK, wrong bytes");
        owner_regrant(&rig, KVF_RIGHT_READ | KVF_RIGHT_WRITE);
    }
    free(after);
    rig_close(&rig);
}
END_TEST

START_TEST(revoke_waits_for_a_running_write)
{
    rig_t rig;
    reuse_t reuse = {patient(10), 77};

    rig_open(&rig, (where_t)_i, &big);
    for (unsigned round = 0; round < 3; round++) {
        kvf_op_t op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_WRITE);
        pthread_t thread;
        kvf_status_t status;

        memset(rig.me.mem, 0x33, BIG);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        must(pthread_create(&thread, NULL, waiter, &rig) == 0, "no thread");
        sleep_ms(round);
        rig_call(&rig, at_revoke_and_reuse, &reuse, sizeof(reuse), NULL, 0);
        pthread_join(thread, NULL);
        status = kvf_batch_test(rig.batch);
        must(status == KVF_OK || status == KVF_ERR_REVOKED, "%s", kvf_status_name(status));
        must(owner_compare(&rig, 77) == UINT64_MAX, "written after the revoke was OK");
        owner_regrant(&rig, KVF_RIGHT_READ | KVF_RIGHT_WRITE);
    }
    rig_close(&rig);
}
END_TEST

/* One's own batch under one's own grant: nobody else drives, revoke must. */
START_TEST(revoke_drives_its_own_engine)
{
    rig_t rig;
    kvf_op_t op;
    kvf_status_t status;

    rig_open(&rig, WHERE_SELF, &big);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    answers(kvf_batch_test(rig.batch), KVF_INPROGRESS);
    must(owner_revoke(&rig, patient(5)) == KVF_OK, "revoke");
    status = kvf_batch_wait(rig.batch, patient(5));
    must(status == KVF_ERR_REVOKED || status == KVF_OK, "%s", kvf_status_name(status));
    rig_close(&rig);
}
END_TEST

/* -------------------------------------------------- a holder that stands still */

/* Reads remote[0] without end, in one thread. */
static void *reads_without_end(void *arg)
{
    side_t *side = arg;
    kvf_batch_t *batch = NULL;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .flags = KVF_BATCH_INLINE};
    kvf_op_t op = op_plain(side->segment, 0, side->remote[0], 0, side->len, KVF_READ);

    ok(kvf_batch_create(side->engine, &batch));
    while (kvf_batch_post(batch, &op, 1, sizeof(op), &opts) == KVF_OK &&
           kvf_batch_wait(batch, patient(10)) == KVF_OK) {
    }
    kvf_batch_free(batch);
    return NULL;
}

static void at_read_without_end(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    pthread_t thread;

    (void)in;
    (void)in_len;
    (void)out;
    must(pthread_create(&thread, NULL, reads_without_end, state) == 0, "no thread");
    pthread_detach(thread);
}

/* Here the test is the owner and the child reads. */
START_TEST(a_reader_stopped_inside_a_slice_is_named)
{
    rig_t rig; /* its opening gives both engines and the peers; the roles are turned round here */
    side_slot_t slot = {0, 0};
    uint8_t buf[sizeof(slot) + BLOB_MAX];
    kvf_range_t range = {.rights = KVF_RIGHT_READ};
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG, .local_alloc = _i == WHERE_SHM};
    int caught = 0;

    rig_open(&rig, (where_t)_i, &opts);
    range.segment = rig.me.segment;
    range.len = BIG;
    memcpy(buf, &slot, sizeof(slot));
    for (int round = 0; round < 40 && !caught; round++) {
        kvf_grant_t *grant = NULL;
        kvf_status_t status;
        size_t len;

        ok(kvf_grant_create(rig.me.engine, &range, 1, NULL, &grant));
        grant_blob(grant, buf + sizeof(slot), &len);
        rig_call(&rig, side_import_remote, buf, sizeof(slot) + len, NULL, 0);
        rig_call(&rig, at_read_without_end, NULL, 0, NULL, 0);
        sleep_ms(15 + (unsigned)round);
        proc_signal(&rig.owner, SIGSTOP);
        status = kvf_grant_revoke(grant, 100 * MS);
        if (status == KVF_ERR_TIMEOUT) {
            char pid[24];

            snprintf(pid, sizeof(pid), "%d", (int)rig.owner.pid);
            must(strstr(kvf_last_error(), pid) != NULL, "\"%s\" does not name process %s", kvf_last_error(),
                 pid);
            caught = 1;
            len = BLOB_MAX;
            refused(kvf_grant_export(grant, buf + sizeof(slot), &len), KVF_ERR_REVOKED, NULL);
            answers(kvf_grant_revoke(grant, 50 * MS), KVF_ERR_TIMEOUT);
        } else {
            must(status == KVF_OK, "%s (%s)", kvf_status_name(status), kvf_last_error());
        }
        proc_signal(&rig.owner, SIGCONT);
        if (status == KVF_ERR_TIMEOUT) {
            ok(kvf_grant_revoke(grant, patient(10)));
        }
    }
    must(caught, "never caught inside a slice");
    sleep_ms(20); /* the reading thread has seen the end */
    rig_close(&rig);
}
END_TEST

START_TEST(a_reader_killed_inside_a_slice_holds_nothing)
{
    rig_t rig;
    side_slot_t slot = {0, 0};
    uint8_t buf[sizeof(slot) + BLOB_MAX];
    kvf_range_t range = {.rights = KVF_RIGHT_READ};
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG, .local_alloc = _i == WHERE_SHM};
    kvf_grant_t *grant = NULL;
    size_t len;

    rig_open(&rig, (where_t)_i, &opts);
    range.segment = rig.me.segment;
    range.len = BIG;
    memcpy(buf, &slot, sizeof(slot));
    ok(kvf_grant_create(rig.me.engine, &range, 1, NULL, &grant));
    grant_blob(grant, buf + sizeof(slot), &len);
    rig_call(&rig, side_import_remote, buf, sizeof(slot) + len, NULL, 0);
    rig_call(&rig, at_read_without_end, NULL, 0, NULL, 0);
    sleep_ms(20);
    proc_signal(&rig.owner, SIGKILL);
    ok(kvf_grant_revoke(grant, patient(5)));
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("revoke");
    TCase *tc = tcase_create("revoke");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, a_post_after_revoke_is_refused_and_moves_nothing, 0, WHERE_COUNT);
    tcase_add_test(tc, a_block_status_says_revoked_too);
    tcase_add_loop_test(tc, a_revoked_grant_cannot_be_imported, 0, WHERE_AM);
    tcase_add_loop_test(tc, revoke_waits_for_a_running_read, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, revoke_waits_for_a_running_write, 0, WHERE_COUNT);
    tcase_add_test(tc, revoke_drives_its_own_engine);
    tcase_add_loop_test(tc, a_reader_stopped_inside_a_slice_is_named, WHERE_SHM,
                        cma_from_children() ? WHERE_STAGE : WHERE_CMA);
    tcase_add_loop_test(tc, a_reader_killed_inside_a_slice_holds_nothing, WHERE_SHM, WHERE_STAGE);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

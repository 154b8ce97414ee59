/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The life of a batch: what is known after post, after the end, after cancel and deadline; that ops
 * are copied; that op_size lets old and new callers in; that an ended batch is quiescent.
 */
#include "rig.h"

#include <check.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define BIG (UINT64_C(32) << 20)

static const rig_opts_t big = {.owner_len = BIG, .local_len = BIG};

START_TEST(a_new_batch_is_empty_and_ended)
{
    rig_t rig;
    kvf_batch_result_t result = {.struct_size = sizeof(result)};

    rig_open(&rig, WHERE_SELF, NULL);
    ok(kvf_batch_test(rig.batch));
    ok(kvf_batch_wait(rig.batch, 0));
    ok(kvf_batch_cancel(rig.batch));
    ok(kvf_batch_result(rig.batch, &result));
    must(result.bytes == 0 && result.bad_op == UINT64_MAX, "not empty");
    rig_close(&rig);
}
END_TEST

START_TEST(a_batch_of_no_ops_is_done_at_once)
{
    rig_t rig;

    rig_open(&rig, (where_t)_i, NULL);
    ok(kvf_batch_post(rig.batch, NULL, 0, sizeof(kvf_op_t), NULL));
    ok(kvf_batch_test(rig.batch));
    rig_close(&rig);
}
END_TEST

/* An old caller's op is shorter: what it does not know is 0. */
START_TEST(a_shorter_op_reads_zero_for_the_rest)
{
    static const size_t sizes[] = {offsetof(kvf_op_t, reserved), offsetof(kvf_op_t, block_status),
                                   offsetof(kvf_op_t, remote_gens)};
    rig_t rig;

    rig_open(&rig, WHERE_SELF, NULL);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t ops[3 * sizeof(kvf_op_t)];

        memset(ops, 0xa5, sizeof(ops)); /* what lies behind the short ops is no part of them */
        for (size_t k = 0; k < 2; k++) {
            kvf_op_t op = op_plain(rig.me.segment, k * 100, rig.remote, k * 1000, 100, KVF_READ);

            memcpy(ops + k * sizes[i], &op, sizes[i]);
        }
        owner_fill(&rig, i);
        ok(kvf_batch_post(rig.batch, (const kvf_op_t *)(const void *)ops, 2, sizes[i], NULL));
        ok(kvf_batch_wait(rig.batch, patient(1)));
        must(pattern_compare(rig.me.mem, 96, i) == UINT64_MAX, "op 0");
        must(memcmp(rig.me.mem + 100, rig.here.mem + 1000, 100) == 0, "op 1");
    }
    rig_close(&rig);
}
END_TEST

/* A newer caller's op is longer: fields that this library does not know must be 0. */
START_TEST(a_longer_op_must_be_zero_there)
{
    struct {
        kvf_op_t op;
        uint64_t more[2];
    } ops[2];
    rig_t rig;

    rig_open(&rig, WHERE_SELF, NULL);
    owner_fill(&rig, 1);
    memset(ops, 0, sizeof(ops));
    ops[0].op = op_plain(rig.me.segment, 0, rig.remote, 0, 100, KVF_READ);
    ops[1].op = op_plain(rig.me.segment, 100, rig.remote, 100, 100, KVF_READ);
    ops[1].more[1] = 1;
    refused_naming(kvf_batch_post(rig.batch, &ops[0].op, 2, sizeof(ops[0]), NULL), KVF_ERR_UNSUPPORTED,
                   "op 1");
    must(rig.me.mem[0] == 0, "op 0 moved");
    ops[1].more[1] = 0;
    ok(kvf_batch_post(rig.batch, &ops[0].op, 2, sizeof(ops[0]), NULL));
    ok(kvf_batch_wait(rig.batch, patient(1)));
    must(pattern_compare(rig.me.mem, 200, 1) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

START_TEST(an_op_size_that_holds_no_op_is_refused)
{
    rig_t rig;
    kvf_op_t op;

    rig_open(&rig, WHERE_SELF, NULL);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 100, KVF_READ);
    refused(kvf_batch_post(rig.batch, &op, 1, 0, NULL), KVF_ERR_INVALID, NULL);
    refused(kvf_batch_post(rig.batch, &op, 1, 8, NULL), KVF_ERR_INVALID, NULL);
    rig_close(&rig);
}
END_TEST

START_TEST(post_copies_the_ops)
{
    rig_t rig;
    kvf_op_t ops[2];
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .tag = 7};

    rig_open(&rig, (where_t)_i, &big);
    owner_fill(&rig, 3);
    ops[0] = op_plain(rig.me.segment, 0, rig.remote, 0, BIG / 2, KVF_READ);
    ops[1] = op_plain(rig.me.segment, BIG / 2, rig.remote, BIG / 2, BIG / 2, KVF_READ);
    ok(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), &opts));
    memset(ops, 0xff, sizeof(ops));
    memset(&opts, 0xff, sizeof(opts));
    ok(kvf_batch_wait(rig.batch, patient(20)));
    must(pattern_compare(rig.me.mem, BIG, 3) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

START_TEST(ops_that_share_block_status_say_ok_only_if_all_did)
{
    rig_t rig;
    kvf_op_t ops[2];
    int8_t status[5];
    uint32_t first[4] = {0, KVF_SKIP, 2, KVF_SKIP};
    uint32_t second[4] = {0, 1, KVF_SKIP, KVF_SKIP};

    rig_open(&rig, (where_t)_i, NULL);
    for (int order = 0; order < 2; order++) {
        memset(status, 99, sizeof(status));
        for (int k = 0; k < 2; k++) {
            ops[k] = op_plain(rig.me.segment, (uint64_t)k * 65536, rig.remote, 0, 64, KVF_READ);
            ops[k].blocks = 4;
            ops[k].local_block = ops[k].remote_block = 64;
            ops[k].local_ids = (k ^ order) == 0 ? first : second;
            ops[k].block_status = status;
        }
        move(&rig, ops, 2);
        must(status[0] == KVF_OK, "%d", status[0]);
        must(status[1] == KVF_SKIPPED, "skipped in one op: %d", status[1]);
        must(status[2] == KVF_SKIPPED, "skipped in one op: %d", status[2]);
        must(status[3] == KVF_SKIPPED, "skipped in both ops: %d", status[3]);
        must(status[4] == 99, "written past the end");
    }
    rig_close(&rig);
}
END_TEST

START_TEST(an_ended_batch_is_posted_again_and_again)
{
    rig_t rig;

    rig_open(&rig, (where_t)_i, NULL);
    for (uint64_t i = 0; i < 300; i++) {
        kvf_op_t op = op_plain(rig.me.segment, i * 8, rig.remote, i * 24, 8 + i % 900, KVF_READ);

        if (i % 100 == 0) {
            owner_fill(&rig, i);
        }
        move(&rig, &op, 1);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(a_running_batch_is_busy_and_nothing_changes)
{
    rig_t rig;
    kvf_op_t op;
    kvf_batch_result_t result = {.struct_size = sizeof(result)};

    rig_open(&rig, (where_t)_i, &big);
    owner_fill(&rig, 4);
    if (rig.where == WHERE_AM) {
        proc_signal(&rig.owner, SIGSTOP); /* it cannot end */
    }
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    op.blocks = (uint32_t)(BIG / 8192); /* apart, so that no path takes them in one step */
    op.local_block = op.remote_block = 8192;
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    refused(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL), KVF_ERR_BUSY, NULL);
    refused(kvf_batch_free(rig.batch), KVF_ERR_BUSY, NULL);
    refused(kvf_batch_result(rig.batch, &result), KVF_ERR_BUSY, NULL);
    answers(kvf_batch_op_status(rig.batch, 0), KVF_INPROGRESS);
    answers(kvf_batch_test(rig.batch), KVF_INPROGRESS);
    answers(kvf_batch_wait(rig.batch, 0), KVF_INPROGRESS);
    refused(kvf_remote_forget(rig.remote), KVF_ERR_BUSY, NULL);
    refused(kvf_segment_release(rig.me.segment), KVF_ERR_BUSY, NULL);
    if (rig.where != WHERE_SELF) { /* there both sides hold the same peer, counted */
        refused(kvf_peer_forget(rig.peer), KVF_ERR_BUSY, NULL);
    }
    if (rig.where == WHERE_AM) {
        proc_signal(&rig.owner, SIGCONT);
    }
    ok(kvf_batch_wait(rig.batch, patient(20)));
    must(pattern_compare(rig.me.mem, 4096, 4) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

START_TEST(a_small_local_batch_has_ended_when_post_returns)
{
    rig_t rig;
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, NULL);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 1 << 20, KVF_READ);
    owner_fill(&rig, 1);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    must(pattern_compare(rig.me.mem, 1 << 20, 1) == UINT64_MAX, "not there after post");
    ok(kvf_batch_op_status(rig.batch, 0));
    ok(kvf_batch_test(rig.batch));
    rig_close(&rig);
}
END_TEST

START_TEST(inline_copies_a_large_batch_in_post)
{
    rig_t rig;
    kvf_op_t op;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .flags = KVF_BATCH_INLINE};

    rig_open(&rig, (where_t)_i, &big);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    owner_fill(&rig, 1);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts));
    must(pattern_compare(rig.me.mem, BIG, 1) == UINT64_MAX, "not there after post");
    ok(kvf_batch_op_status(rig.batch, 0));
    rig_close(&rig);
}
END_TEST

/* After cancel nobody writes here any more: a mark stays. */
START_TEST(a_cancelled_read_is_quiescent)
{
    rig_t rig;
    kvf_op_t op;
    kvf_status_t status;

    rig_open(&rig, (where_t)_i, &big);
    owner_fill(&rig, 1);
    for (int round = 0; round < 4; round++) {
        op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        for (int i = 0; i < round; i++) {
            kvf_batch_test(rig.batch);
        }
        status = kvf_batch_cancel(rig.batch);
        must(status == KVF_ERR_CANCELED || status == KVF_OK, "%s", kvf_status_name(status));
        must(kvf_batch_test(rig.batch) == status, "the status changed after the end");
        memset(rig.me.mem, 0x5a, BIG);
        sleep_ms(60);
        for (int i = 0; i < 200; i++) {
            ok(kvf_progress(rig.me.engine));
        }
        must(rig.me.mem[0] == 0x5a && memcmp(rig.me.mem, rig.me.mem + 1, BIG - 1) == 0,
             "written after cancel");
    }
    op.len = 1 << 19; /* and the engine works on */
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, 1 << 19, 1) == UINT64_MAX, "wrong bytes after a cancel");
    rig_close(&rig);
}
END_TEST

/* After a cancelled write the local memory is the caller's again: what is put there later never
 * arrives. */
START_TEST(a_cancelled_write_reads_no_more)
{
    rig_t rig;
    kvf_op_t op;
    uint8_t *have = malloc(BIG);
    kvf_status_t status;

    rig_open(&rig, (where_t)_i, &big);
    for (int round = 0; round < 3; round++) {
        memset(rig.me.mem, 0x11, BIG);
        op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_WRITE);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        for (int i = 0; i < round; i++) {
            kvf_batch_test(rig.batch);
        }
        status = kvf_batch_cancel(rig.batch);
        must(status == KVF_ERR_CANCELED || status == KVF_OK, "%s", kvf_status_name(status));
        memset(rig.me.mem, 0xee, BIG);
        sleep_ms(60);
        owner_get(&rig, 0, have, BIG);
        must(memchr(have, 0xee, BIG) == NULL, "bytes put there after cancel arrived");
    }
    free(have);
    rig_close(&rig);
}
END_TEST

/* A batch that nobody drives ends at its deadline too: whoever looks sees TIMEOUT. */
START_TEST(a_deadline_ends_a_batch_that_nobody_drove)
{
    rig_t rig;
    kvf_op_t op;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = 50 * MS};
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    kvf_status_t status;

    rig_open(&rig, (where_t)_i, &big);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    owner_fill(&rig, 1);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts));
    sleep_ms(100);
    status = kvf_batch_wait(rig.batch, patient(1));
    must(status == KVF_ERR_TIMEOUT, "%s", kvf_status_name(status));
    answers(kvf_batch_op_status(rig.batch, 0), KVF_ERR_TIMEOUT);
    ok(kvf_batch_result(rig.batch, &result));
    must(result.bad_op == 0 && result.status == KVF_ERR_TIMEOUT, "the result");
    opts.deadline_ns = KVF_FOREVER;
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts));
    ok(kvf_batch_wait(rig.batch, patient(20)));
    rig_close(&rig);
}
END_TEST

START_TEST(a_stopped_owner_ends_a_batch_at_the_engines_deadline)
{
    rig_t rig;
    rig_opts_t opts = {.deadline_ns = 300 * MS, .progress = (uint32_t)_i};
    kvf_op_t op;
    uint64_t before;

    rig_open(&rig, WHERE_AM, &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 65536, KVF_READ);
    move(&rig, &op, 1);
    proc_signal(&rig.owner, SIGSTOP);
    before = now_ns();
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    answers(kvf_batch_wait(rig.batch, patient(10)), KVF_ERR_TIMEOUT);
    must(now_ns() - before >= 290 * MS, "before its deadline");
    proc_signal(&rig.owner, SIGCONT);
    /* its one stream may have to be made anew: PEER, then well */
    for (uint64_t end = now_ns() + patient(10); now_ns() < end;) {
        kvf_status_t status = kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL);

        if (status == KVF_OK && kvf_batch_wait(rig.batch, patient(10)) == KVF_OK) {
            rig_close(&rig);
            return;
        }
        sleep_ms(20);
    }
    ck_abort_msg("the owner runs again, but no batch does");
}
END_TEST

/* A pair that fails does not take the batch's other ops along. */
START_TEST(each_op_has_its_own_status)
{
    rig_t rig;
    rig_opts_t opts = {.pool_blocks = 16, .block_bytes = 4096};
    kvf_op_t ops[3];
    uint32_t gens[2] = {0, 0};
    uint32_t ids[2] = {3, 4};
    kvf_batch_result_t result = {.struct_size = sizeof(result)};

    rig_open(&rig, (where_t)_i, &opts);
    owner_fill(&rig, 9);
    for (int i = 0; i < 3; i++) {
        ops[i] = op_plain(rig.me.segment, (uint64_t)i * 8192, rig.remote, 0, 4096, KVF_READ);
        ops[i].blocks = 2;
        ops[i].remote_ids = ids;
        ops[i].local_block = ops[i].remote_block = 4096;
    }
    gens[1] = 12345; /* not the generation of block 4 */
    ops[1].remote_gens = gens;
    ok(kvf_batch_post(rig.batch, ops, 3, sizeof(ops[0]), NULL));
    answers(kvf_batch_wait(rig.batch, patient(5)), KVF_ERR_STALE);
    answers(kvf_batch_op_status(rig.batch, 0), KVF_OK);
    answers(kvf_batch_op_status(rig.batch, 1), KVF_ERR_STALE);
    answers(kvf_batch_op_status(rig.batch, 2), KVF_OK);
    ok(kvf_batch_result(rig.batch, &result));
    must(result.bad_op == 1 && result.status == KVF_ERR_STALE, "op %zu", (size_t)result.bad_op);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batch");
    TCase *tc = tcase_create("life");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_new_batch_is_empty_and_ended);
    tcase_add_loop_test(tc, a_batch_of_no_ops_is_done_at_once, 0, WHERE_COUNT);
    tcase_add_test(tc, a_shorter_op_reads_zero_for_the_rest);
    tcase_add_test(tc, a_longer_op_must_be_zero_there);
    tcase_add_test(tc, an_op_size_that_holds_no_op_is_refused);
    tcase_add_loop_test(tc, post_copies_the_ops, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, ops_that_share_block_status_say_ok_only_if_all_did, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, an_ended_batch_is_posted_again_and_again, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_running_batch_is_busy_and_nothing_changes, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_small_local_batch_has_ended_when_post_returns, 0, WHERE_STAGE);
    tcase_add_loop_test(tc, inline_copies_a_large_batch_in_post, 0, WHERE_STAGE);
    tcase_add_loop_test(tc, a_cancelled_read_is_quiescent, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_cancelled_write_reads_no_more, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_deadline_ends_a_batch_that_nobody_drove, 0, WHERE_STAGE);
    tcase_add_loop_test(tc, a_stopped_owner_ends_a_batch_at_the_engines_deadline, KVF_PROGRESS_THREAD,
                        KVF_PROGRESS_CALLER + 1);
    tcase_add_loop_test(tc, each_op_has_its_own_status, 0, WHERE_COUNT);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

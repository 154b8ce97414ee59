/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An owner that is stopped (SIGSTOP) in the middle of a batch: on am and stage, the batch ends at its
 * deadline, and after SIGCONT not one byte of the ended batch's memory changes, nor does a byte arrive
 * that was put into its source after the end; on shm and cma, the memory is read all the same.
 */
#include "rig.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define BIG (UINT64_C(32) << 20)

/* The owner stands still in the middle of a large read: TIMEOUT, and SIGCONT changes nothing. */
START_TEST(a_stopped_owner_and_an_ended_read)
{
    rig_t rig;
    rig_opts_t opts = {
        .owner_len = BIG, .local_len = BIG, .progress = _i & 1 ? KVF_PROGRESS_CALLER : KVF_PROGRESS_THREAD};
    kvf_batch_opts_t batch = {.struct_size = sizeof(batch), .deadline_ns = 300 * MS};
    uint8_t *image = malloc(BIG);
    kvf_op_t op;
    int timeouts = 0;

    rig_open(&rig, _i / 2 == 0 ? WHERE_AM : WHERE_STAGE, &opts);
    owner_fill(&rig, 1);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    op.blocks = (uint32_t)(BIG / 4096);
    op.local_block = op.remote_block = 4096;
    for (int round = 0; round < 3; round++) {
        kvf_status_t status;
        uint64_t before = now_ns();

        status = kvf_batch_post(rig.batch, &op, 1, sizeof(op), &batch);
        if (status == KVF_ERR_PEER) { /* the stream is being made anew */
            sleep_ms(50);
            continue;
        }
        must(status == KVF_OK, "%s (%s)", kvf_status_name(status), kvf_last_error());
        kvf_batch_wait(rig.batch, (uint64_t)round * MS);
        proc_signal(&rig.owner, SIGSTOP);
        status = kvf_batch_wait(rig.batch, patient(10));
        must(now_ns() - before < patient(5), "long after its deadline");
        must(status == KVF_ERR_TIMEOUT || status == KVF_ERR_PEER || status == KVF_OK, "%s",
             kvf_status_name(status));
        timeouts += status == KVF_ERR_TIMEOUT;
        memset(rig.me.mem, 0x77, BIG);
        proc_signal(&rig.owner, SIGCONT);
        for (int i = 0; i < 60; i++) {
            ok(kvf_progress(rig.me.engine));
            sleep_ms(5);
        }
        memset(image, 0x77, BIG);
        must(memcmp(image, rig.me.mem, BIG) == 0, "bytes of an ended batch changed after SIGCONT");
    }
    must(timeouts > 0, "no batch met its deadline: the test shows nothing");
    free(image);
    proc_signal(&rig.owner, SIGKILL);
    ok(kvf_engine_close(rig.me.engine, patient(5)));
}
END_TEST

/* A write: what is put into the source after the end never arrives. */
START_TEST(a_stopped_owner_and_an_ended_write)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG};
    kvf_batch_opts_t batch = {.struct_size = sizeof(batch), .deadline_ns = 300 * MS};
    uint8_t *have = malloc(BIG);
    kvf_op_t op;
    kvf_status_t status;

    rig_open(&rig, _i == 0 ? WHERE_AM : WHERE_STAGE, &opts);
    memset(rig.me.mem, 0x11, BIG);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_WRITE);
    move(&rig, &op, 1);
    proc_signal(&rig.owner, SIGSTOP);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &batch));
    status = kvf_batch_wait(rig.batch, patient(10));
    must(status == KVF_ERR_TIMEOUT, "%s", kvf_status_name(status));
    memset(rig.me.mem, 0xee, BIG);
    proc_signal(&rig.owner, SIGCONT);
    sleep_ms(300);
    owner_get(&rig, 0, have, BIG);
    must(memchr(have, 0xee, BIG) == NULL, "the source was read after the end");
    free(have);
    rig_close(&rig);
}
END_TEST

/* shm and cma are one-sided: a stopped owner's memory is read and written all the same. */
START_TEST(a_stopped_near_owner_is_read_all_the_same)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG};
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &opts);
    owner_fill(&rig, 4);
    proc_signal(&rig.owner, SIGSTOP);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, BIG, 4) == UINT64_MAX, "wrong bytes");
    proc_signal(&rig.owner, SIGCONT);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stop");
    TCase *tc = tcase_create("stop");

    tcase_set_timeout(tc, 40);
    tcase_add_loop_test(tc, a_stopped_owner_and_an_ended_read, 0, 4);
    tcase_add_loop_test(tc, a_stopped_owner_and_an_ended_write, 0, 2);
    tcase_add_loop_test(tc, a_stopped_near_owner_is_read_all_the_same, WHERE_SHM, WHERE_STAGE);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

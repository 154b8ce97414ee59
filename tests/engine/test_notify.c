/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Notifications: after the data, in post order for each pair, exactly once, with their sender; a
 * full queue holds the batch back until its deadline and nothing is dropped; near and far alike.
 */
#include "rig.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define SENDERS 4

static kvf_batch_opts_t with_note(kvf_peer_t *peer, const void *data, uint32_t len, uint64_t deadline)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                             .notify_peer = peer,
                             .notify = data,
                             .notify_len = len,
                             .deadline_ns = deadline};

    return opts;
}

/* The next notification of this engine, or none (struct_size 0) after wait_ns. */
static kvf_notification_t take(kvf_engine_t *engine, uint64_t wait_ns)
{
    uint64_t end = now_ns() + wait_ns;
    kvf_notification_t n;

    for (;;) {
        kvf_status_t status;

        memset(&n, 0, sizeof(n));
        n.struct_size = sizeof(n);
        status = kvf_notify_recv(engine, &n);
        if (status == KVF_OK) {
            return n;
        }
        must(status == KVF_INPROGRESS, "recv: %s (%s)", kvf_status_name(status), kvf_last_error());
        if (now_ns() >= end) {
            n.struct_size = 0;
            return n;
        }
        sleep_ms(1);
    }
}

/* in: u64 wait_ns; out: the notification */
static void at_take(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint64_t wait_ns = 0;
    kvf_notification_t n;

    memcpy(&wait_ns, in, in_len < sizeof(wait_ns) ? in_len : sizeof(wait_ns));
    n = take(side->engine, wait_ns);
    if (n.struct_size != 0 && n.peer != NULL) {
        must(n.peer == side->peer[0], "the sender is another peer");
    }
    out_put(out, &n, sizeof(n));
}

static kvf_notification_t owner_take(rig_t *rig, uint64_t wait_ns)
{
    kvf_notification_t n;

    rig_call(rig, at_take, &wait_ns, sizeof(wait_ns), &n, sizeof(n));
    return n;
}

static kvf_status_t note(rig_t *rig, uint64_t number, uint64_t deadline)
{
    kvf_batch_opts_t opts = with_note(rig->peer, &number, sizeof(number), deadline);

    return run_ops(rig->batch, NULL, 0, &opts);
}

static void is_note(kvf_notification_t n, rig_t *rig, uint64_t number)
{
    uint64_t have = 0;

    must(n.struct_size != 0, "notification %zu did not come", (size_t)number);
    must(n.len == sizeof(have), "%u bytes", n.len);
    memcpy(&have, n.data, sizeof(have));
    must(have == number, "notification %zu, not %zu", (size_t)have, (size_t)number);
    must(n.incarnation == kvf_engine_incarnation(rig->me.engine), "the incarnation");
    must(n.rank == 1, "rank %zu", (size_t)n.rank);
    must(n.peer != NULL, "the sender is known there");
}

START_TEST(a_batch_of_no_ops_brings_its_notification)
{
    rig_t rig;
    rig_opts_t opts = {.progress = _i & 1 ? KVF_PROGRESS_CALLER : KVF_PROGRESS_THREAD};
    kvf_batch_result_t result = {.struct_size = sizeof(result)};

    rig_open(&rig, (where_t)(_i / 2), &opts);
    ok(note(&rig, 42, 0));
    ok(kvf_batch_result(rig.batch, &result));
    must(result.notify == KVF_OK, "%s", kvf_status_name(result.notify));
    is_note(owner_take(&rig, patient(5)), &rig, 42);
    must(owner_take(&rig, 30 * MS).struct_size == 0, "it came twice");
    rig_close(&rig);
}
END_TEST

START_TEST(notifications_come_in_order_and_once)
{
    rig_t rig;

    rig_open(&rig, (where_t)_i, NULL);
    for (uint64_t base = 0; base < 600; base += 200) { /* fewer than the queue holds */
        for (uint64_t i = 0; i < 200; i++) {
            ok(note(&rig, base + i, 0));
        }
        for (uint64_t i = 0; i < 200; i++) {
            is_note(owner_take(&rig, patient(5)), &rig, base + i);
        }
    }
    must(owner_take(&rig, 30 * MS).struct_size == 0, "one too many");
    rig_close(&rig);
}
END_TEST

START_TEST(every_length_arrives_whole)
{
    rig_t rig;
    uint8_t data[KVF_NOTIFY_MAX];

    rig_open(&rig, (where_t)_i, NULL);
    pattern_fill(data, sizeof(data), 3);
    for (uint32_t len = 1; len <= KVF_NOTIFY_MAX; len++) {
        kvf_batch_opts_t opts = with_note(rig.peer, data, len, 0);
        kvf_notification_t n;

        ok(run_ops(rig.batch, NULL, 0, &opts));
        n = owner_take(&rig, patient(5));
        must(n.len == len && memcmp(n.data, data, len) == 0, "length %u came as %u", len, n.len);
    }
    rig_close(&rig);
}
END_TEST

typedef struct look {
    uint64_t seed;
    uint64_t len;
} look_t;

/* Waits for a notification and looks at once whether the data is there. */
static void at_take_and_look(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const look_t *look = in;
    uint64_t at;

    (void)in_len;
    must(take(side->engine, patient(10)).struct_size != 0, "no notification");
    at = pattern_compare(side->mem, look->len, look->seed);
    out_put(out, &at, sizeof(at));
}

/* The owner polls while the data flows. */
START_TEST(a_notification_comes_after_the_data_of_its_batch)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = 8 << 20, .local_len = 8 << 20};
    static const uint64_t sizes[] = {64, 65536, 8 << 20};

    rig_open(&rig, (where_t)_i, &opts);
    for (uint64_t round = 0; round < 9; round++) {
        look_t look = {.seed = 100 + round, .len = sizes[round % 3]};
        kvf_op_t op = op_plain(rig.me.segment, 0, rig.remote, 0, look.len, KVF_WRITE);
        kvf_batch_opts_t note_opts = with_note(rig.peer, "data", 4, 0);
        uint64_t at = 0;

        pattern_fill(rig.me.mem, look.len, look.seed);
        if (rig.where > WHERE_TWIN) {
            proc_ask(&rig.owner, at_take_and_look, &look, sizeof(look));
            ok(run_ops(rig.batch, &op, 1, &note_opts));
            proc_reply(&rig.owner, &at, sizeof(at));
        } else {
            ok(run_ops(rig.batch, &op, 1, &note_opts));
            rig_call(&rig, at_take_and_look, &look, sizeof(look), &at, sizeof(at));
        }
        must(at == UINT64_MAX, "notified before byte %zu was there", (size_t)at);
    }
    rig_close(&rig);
}
END_TEST

/* A later batch that is ready does not push out what stands before it in the line. */
START_TEST(a_later_batch_waits_for_an_earlier_ones_data)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = 8 << 20, .local_len = 8 << 20};
    kvf_batch_t *later = NULL;
    uint64_t numbers[2] = {1, 2};
    kvf_batch_opts_t note_opts[2];
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &opts);
    ok(kvf_batch_create(rig.me.engine, &later));
    for (int i = 0; i < 2; i++) {
        note_opts[i] = with_note(rig.peer, &numbers[i], sizeof(numbers[i]), 0);
    }
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_WRITE);
    op.blocks = 1024; /* in slices: nobody drives it yet */
    op.local_block = op.remote_block = 8192;
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &note_opts[0]));
    ok(kvf_batch_post(later, NULL, 0, sizeof(op), &note_opts[1]));
    answers(kvf_batch_wait(later, 50 * MS), KVF_INPROGRESS);
    must(owner_take(&rig, 20 * MS).struct_size == 0, "a notification before its data");
    ok(kvf_batch_wait(rig.batch, patient(10)));
    ok(kvf_batch_wait(later, patient(10)));
    is_note(owner_take(&rig, patient(5)), &rig, 1);
    is_note(owner_take(&rig, patient(5)), &rig, 2);
    ok(kvf_batch_free(later));
    rig_close(&rig);
}
END_TEST

START_TEST(a_batch_that_failed_does_not_notify)
{
    rig_t rig;
    rig_opts_t opts = {.pool_blocks = 4, .block_bytes = 4096};
    kvf_batch_opts_t note_opts;
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    uint32_t gen = 777;
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &opts);
    note_opts = with_note(rig.peer, "no", 2, 0);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    op.remote_gens = &gen;
    answers(run_ops(rig.batch, &op, 1, &note_opts), KVF_ERR_STALE);
    ok(kvf_batch_result(rig.batch, &result));
    must(result.notify == KVF_SKIPPED, "%s", kvf_status_name(result.notify));
    ok(note(&rig, 5, 0));
    is_note(owner_take(&rig, patient(5)), &rig, 5); /* and nothing before it */
    rig_close(&rig);
}
END_TEST

START_TEST(a_batch_that_failed_tells_its_status_if_asked)
{
    rig_t rig;
    rig_opts_t opts = {.pool_blocks = 4, .block_bytes = 4096};
    kvf_batch_opts_t note_opts;
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    uint64_t number = 9;
    uint32_t gen = 777;
    kvf_notification_t n;
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &opts);
    note_opts = with_note(rig.peer, &number, sizeof(number), 0);
    note_opts.flags = KVF_BATCH_NOTIFY_ALWAYS;
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    op.remote_gens = &gen;
    answers(run_ops(rig.batch, &op, 1, &note_opts), KVF_ERR_STALE);
    ok(kvf_batch_result(rig.batch, &result));
    must(result.notify == KVF_OK, "%s", kvf_status_name(result.notify));
    n = owner_take(&rig, 5 * SEC);
    is_note(n, &rig, 9);
    must(n.status == KVF_ERR_STALE, "it tells %s", kvf_status_name((kvf_status_t)n.status));
    op.remote_gens = NULL;
    ok(run_ops(rig.batch, &op, 1, &note_opts));
    n = owner_take(&rig, 5 * SEC);
    is_note(n, &rig, 9);
    must(n.status == KVF_OK, "it tells %s", kvf_status_name((kvf_status_t)n.status));
    rig_close(&rig);
}
END_TEST

/* Nobody drives, so both batches run; the second is given up and must not wait for the first. */
START_TEST(a_batch_that_is_given_up_tells_at_once_if_asked)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = 8 << 20, .local_len = 8 << 20, .progress = KVF_PROGRESS_CALLER};
    kvf_batch_t *second;
    uint64_t numbers[2] = {1, 2};
    kvf_batch_opts_t note_opts[2];
    kvf_notification_t n;
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &opts);
    ok(kvf_batch_create(rig.me.engine, &second));
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 8 << 20, KVF_WRITE);
    for (int i = 0; i < 2; i++) {
        note_opts[i] = with_note(rig.peer, &numbers[i], sizeof(numbers[i]), 0);
        note_opts[i].flags = KVF_BATCH_NOTIFY_ALWAYS;
        ok(kvf_batch_post(i == 0 ? rig.batch : second, &op, 1, sizeof(op), &note_opts[i]));
    }
    answers(kvf_batch_cancel(second), KVF_ERR_CANCELED);
    n = owner_take(&rig, 5 * SEC);
    is_note(n, &rig, 2);
    must(n.status == KVF_ERR_CANCELED, "it tells %s", kvf_status_name((kvf_status_t)n.status));
    ok(kvf_batch_wait(rig.batch, 20 * SEC));
    n = owner_take(&rig, 5 * SEC);
    is_note(n, &rig, 1);
    must(n.status == KVF_OK, "it tells %s", kvf_status_name((kvf_status_t)n.status));
    ok(kvf_batch_free(second));
    rig_close(&rig);
}
END_TEST

START_TEST(a_deadline_is_told_to_a_far_receiver)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = 64 << 20, .local_len = 64 << 20};
    uint64_t number = 3;
    kvf_batch_opts_t note_opts;
    kvf_notification_t n;
    kvf_op_t op;

    rig_open(&rig, WHERE_AM, &opts);
    ok(note(&rig, 2, 0)); /* connected */
    is_note(owner_take(&rig, 5 * SEC), &rig, 2);
    note_opts = with_note(rig.peer, &number, sizeof(number), 200 * MS);
    note_opts.flags = KVF_BATCH_NOTIFY_ALWAYS;
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 64 << 20, KVF_WRITE);
    proc_signal(&rig.owner, SIGSTOP);
    answers(run_ops(rig.batch, &op, 1, &note_opts), KVF_ERR_TIMEOUT);
    proc_signal(&rig.owner, SIGCONT);
    n = owner_take(&rig, 5 * SEC);
    is_note(n, &rig, 3);
    must(n.status == KVF_ERR_TIMEOUT, "it tells %s", kvf_status_name((kvf_status_t)n.status));
    rig_close(&rig);
}
END_TEST

/* The queue holds four: the fifth batch waits, ends at its deadline, and was never delivered. */
START_TEST(a_full_queue_holds_the_batch_until_its_deadline)
{
    rig_t rig;
    rig_opts_t opts = {.notify_depth = 4};
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    uint64_t before;

    rig_open(&rig, (where_t)_i, &opts);
    for (uint64_t i = 0; i < 4; i++) {
        ok(note(&rig, i, patient(1)));
    }
    before = now_ns();
    answers(note(&rig, 4, 300 * MS), KVF_ERR_TIMEOUT);
    must(now_ns() - before >= 290 * MS, "before its deadline");
    ok(kvf_batch_result(rig.batch, &result));
    must(result.notify == KVF_ERR_TIMEOUT, "%s", kvf_status_name(result.notify));
    for (uint64_t i = 0; i < 4; i++) {
        is_note(owner_take(&rig, patient(5)), &rig, i);
    }
    must(owner_take(&rig, 50 * MS).struct_size == 0, "the one that timed out came all the same");
    ok(note(&rig, 5, 0));
    is_note(owner_take(&rig, patient(5)), &rig, 5);
    rig_close(&rig);
}
END_TEST

START_TEST(a_held_batch_goes_on_when_the_queue_has_room)
{
    rig_t rig;
    rig_opts_t opts = {.notify_depth = 2};
    uint64_t number = 2;
    kvf_batch_opts_t note_opts;

    rig_open(&rig, (where_t)_i, &opts);
    ok(note(&rig, 0, 0));
    ok(note(&rig, 1, 0));
    note_opts = with_note(rig.peer, &number, sizeof(number), 0);
    ok(kvf_batch_post(rig.batch, NULL, 0, sizeof(kvf_op_t), &note_opts));
    answers(kvf_batch_wait(rig.batch, 50 * MS), KVF_INPROGRESS);
    if (rig.where != WHERE_SELF) {
        refused(kvf_peer_forget(rig.peer), KVF_ERR_BUSY, NULL);
    }
    for (uint64_t i = 0; i < 2; i++) {
        is_note(owner_take(&rig, patient(5)), &rig, i);
    }
    ok(kvf_batch_wait(rig.batch, patient(10)));
    is_note(owner_take(&rig, patient(5)), &rig, 2);
    rig_close(&rig);
}
END_TEST

typedef struct burst {
    uint64_t first;
    uint64_t count;
} burst_t;

/* A sender posts `count` numbered notifications to peer[0], one batch after the other. */
static void at_burst(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const burst_t *burst = in;

    (void)in_len;
    (void)out;
    if (side->batch == NULL) {
        ok(kvf_batch_create(side->engine, &side->batch));
    }
    for (uint64_t i = 0; i < burst->count; i++) {
        uint64_t number = burst->first + i;
        kvf_batch_opts_t opts = with_note(side->peer[0], &number, sizeof(number), 0);

        ok(run_ops(side->batch, NULL, 0, &opts));
    }
}

static void senders_start(proc_t *senders, where_t where)
{
    for (int i = 0; i < SENDERS; i++) {
        proc_start(&senders[i], sizeof(side_t), 30, side_idle);
    }
    for (int i = 0; i < SENDERS; i++) {
        side_open_t open;

        memset(&open, 0, sizeof(open));
        where_opts(where, &open.opts);
        snprintf(open.net, sizeof(open.net), "%s", open.opts.net != NULL ? open.opts.net : "");
        open.opts.net = NULL;
        open.opts.rank = 100 + (uint64_t)i;
        proc_call(&senders[i], side_open_engine, &open, sizeof(open), NULL, 0);
    }
}

static void senders_meet(proc_t *senders, kvf_engine_t *engine, uint32_t flags, kvf_peer_t **peers)
{
    uint8_t mine[sizeof(side_slot_t) + BLOB_MAX];
    uint8_t buf[BLOB_MAX];
    size_t mine_len;

    memset(mine, 0, sizeof(side_slot_t));
    engine_blob(engine, flags, mine + sizeof(side_slot_t), &mine_len);
    for (int i = 0; i < SENDERS; i++) {
        if (peers != NULL) {
            size_t len = proc_call(&senders[i], side_blob, &flags, sizeof(flags), buf, sizeof(buf));

            ok(kvf_peer_import(engine, buf, len, &peers[i]));
        }
        proc_call(&senders[i], side_import_peer, mine, sizeof(side_slot_t) + mine_len, NULL, 0);
    }
}

/* Four senders at once, a queue of 16 each: 4 x 300 arrive, each sender's in order. With odd loops
 * the receiver knows nobody: the peer is NULL, rank and incarnation tell them apart. */
START_TEST(four_senders_at_once_lose_nothing)
{
    where_t where = _i / 2 == 0 ? WHERE_SHM : WHERE_AM;
    uint32_t flags = where == WHERE_AM ? KVF_BLOB_FAR : 0;
    proc_t senders[SENDERS];
    kvf_peer_t *peers[SENDERS] = {NULL};
    kvf_engine_t *engine = NULL;
    kvf_engine_opts_t opts;
    uint64_t next[SENDERS] = {0};
    burst_t burst = {0, 300};

    senders_start(senders, where);
    where_opts(where, &opts);
    opts.notify_depth = 16;
    ok(kvf_engine_open(&opts, &engine));
    senders_meet(senders, engine, flags, (_i & 1) == 0 ? peers : NULL);
    for (int i = 0; i < SENDERS; i++) {
        proc_ask(&senders[i], at_burst, &burst, sizeof(burst));
    }
    for (uint64_t n = 0; n < SENDERS * burst.count; n++) {
        kvf_notification_t got = take(engine, patient(10));
        uint64_t number;

        must(got.struct_size != 0, "only %zu came", (size_t)n);
        must(got.rank >= 100 && got.rank < 100 + SENDERS, "rank %zu", (size_t)got.rank);
        must(got.peer == peers[got.rank - 100], "the sender's handle");
        must(got.incarnation != 0, "no incarnation");
        memcpy(&number, got.data, sizeof(number));
        must(number == next[got.rank - 100]++, "sender %zu: %zu out of order", (size_t)got.rank,
             (size_t)number);
    }
    for (int i = 0; i < SENDERS; i++) {
        proc_reply(&senders[i], NULL, 0);
        proc_call(&senders[i], side_close, NULL, 0, NULL, 0);
        proc_end(&senders[i]);
    }
    must(take(engine, 30 * MS).struct_size == 0, "one too many");
    ok(kvf_engine_close(engine, patient(5)));
}
END_TEST

/* SIGSTOP: the notification's batch ends at its deadline; it may or may not have got through, but a
 * batch that ended with TIMEOUT has an honest result, and the stream goes on after SIGCONT. */
START_TEST(a_stopped_receiver_ends_the_batch_at_its_deadline)
{
    rig_t rig;
    rig_opts_t opts = {.notify_depth = 2};
    int held = 0;

    rig_open(&rig, (where_t)_i, &opts);
    proc_signal(&rig.owner, SIGSTOP);
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t before = now_ns();
        kvf_status_t status = note(&rig, i, 300 * MS);

        must(status == KVF_OK || status == KVF_ERR_TIMEOUT || status == KVF_ERR_PEER, "%s",
             kvf_status_name(status));
        must(now_ns() - before < patient(5), "past its deadline");
        held += status != KVF_OK;
    }
    must(held > 0, "a queue of two took three");
    proc_signal(&rig.owner, SIGCONT);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("notify");
    TCase *tc = tcase_create("notify");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, a_batch_of_no_ops_brings_its_notification, 0, 2 * WHERE_COUNT);
    tcase_add_loop_test(tc, notifications_come_in_order_and_once, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, every_length_arrives_whole, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_notification_comes_after_the_data_of_its_batch, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_later_batch_waits_for_an_earlier_ones_data, 0, WHERE_STAGE);
    tcase_add_loop_test(tc, a_batch_that_failed_does_not_notify, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_batch_that_failed_tells_its_status_if_asked, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_batch_that_is_given_up_tells_at_once_if_asked, 0, WHERE_STAGE);
    tcase_add_test(tc, a_deadline_is_told_to_a_far_receiver);
    tcase_add_loop_test(tc, a_full_queue_holds_the_batch_until_its_deadline, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_held_batch_goes_on_when_the_queue_has_room, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, four_senders_at_once_lose_nothing, 0, 4);
    tcase_add_loop_test(tc, a_stopped_receiver_ends_the_batch_at_its_deadline, WHERE_SHM, WHERE_COUNT);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The event fd: arm, look once more, poll. It wakes for everything that one may wait for (a batch's
 * end, a notification, a deadline, a peer's death, near and far, with the thread and without) and
 * for nothing else. The sleeper here never looks before it is woken, so a lost wake-up is a failure.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define BIG (UINT64_C(24) << 20)

/* Arms the fd, driving what must be driven first. */
static void arm(kvf_engine_t *engine)
{
    uint64_t end = now_ns() + patient(10);

    for (;;) {
        kvf_status_t status = kvf_engine_arm(engine);

        if (status == KVF_OK) {
            return;
        }
        must(status == KVF_ERR_BUSY, "arm: %s (%s)", kvf_status_name(status), kvf_last_error());
        must(now_ns() < end, "arm says BUSY without end");
        ok(kvf_progress(engine));
    }
}

static int readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;

    do {
        n = poll(&p, 1, timeout_ms);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

static int fd_of(kvf_engine_t *engine)
{
    int fd = -1;

    ok(kvf_engine_fd(engine, &fd));
    must(fd >= 0, "fd %d", fd);
    return fd;
}

static kvf_notification_t blank(void)
{
    kvf_notification_t n = {.struct_size = sizeof(n)};

    return n;
}

static uint32_t progress_of(int i)
{
    return (i & 1) != 0 ? KVF_PROGRESS_CALLER : KVF_PROGRESS_THREAD;
}

/* Sleeps and drives as an event loop does, until the batch has ended. Returns the wake-ups. */
static int loop_until_ended(kvf_engine_t *engine, kvf_batch_t *batch, kvf_status_t *status_p,
                            uint64_t patience_ns)
{
    int fd = fd_of(engine);
    uint64_t end = now_ns() + patience_ns;
    int wakes = 0;

    for (;;) {
        arm(engine);
        *status_p = kvf_batch_test(batch);
        if (*status_p != KVF_INPROGRESS) {
            return wakes;
        }
        must(now_ns() < end, "no end in time");
        must(readable(fd, (int)((end - now_ns()) / MS) + 1), "slept through the end of a batch");
        wakes++;
        ok(kvf_progress(engine));
    }
}

START_TEST(a_quiet_engine_does_not_wake)
{
    rig_t rig;
    rig_opts_t opts = {.progress = progress_of(_i)};
    kvf_op_t op;
    int fd;

    rig_open(&rig, (where_t)(_i / 2), &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    move(&rig, &op, 1); /* so that the connection stands, however busy the machine */
    fd = fd_of(rig.me.engine);
    for (int round = 0; round < 3; round++) { /* what came with the start may wake it */
        arm(rig.me.engine);
        readable(fd, 20);
        ok(kvf_progress(rig.me.engine));
    }
    arm(rig.me.engine);
    must(!readable(fd, 250), "woken for nothing");
    rig_close(&rig);
}
END_TEST

START_TEST(it_stays_quiet_after_a_peer_left)
{
    rig_t rig;
    rig_opts_t opts = {.progress = progress_of(_i)};
    int fd;
    kvf_op_t op;

    rig_open(&rig, (where_t)(_i / 2), &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    move(&rig, &op, 1);
    rig_call(&rig, side_close, NULL, 0, NULL, 0);
    proc_end(&rig.owner);
    fd = fd_of(rig.me.engine);
    for (int round = 0; round < 5; round++) { /* that it left may wake it */
        arm(rig.me.engine);
        readable(fd, 40);
        ok(kvf_progress(rig.me.engine));
    }
    arm(rig.me.engine);
    must(!readable(fd, 250), "woken for nothing by a peer that left");
    ok(kvf_engine_close(rig.me.engine, patient(5)));
}
END_TEST

START_TEST(arm_says_busy_while_slices_wait)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG};
    kvf_op_t op;
    kvf_status_t status;

    rig_open(&rig, (where_t)_i, &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    refused(kvf_engine_arm(rig.me.engine), KVF_ERR_BUSY, NULL);
    loop_until_ended(rig.me.engine, rig.batch, &status, patient(10));
    must(status == KVF_OK, "%s", kvf_status_name(status));
    rig_close(&rig);
}
END_TEST

START_TEST(the_end_of_a_batch_wakes)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG, .progress = progress_of(_i)};
    kvf_op_t op;

    rig_open(&rig, (where_t)(_i / 2), &opts);
    owner_fill(&rig, 1);
    for (int round = 0; round < 3; round++) {
        kvf_status_t status;

        op = op_plain(rig.me.segment, 0, rig.remote, 0, round == 0 ? 4096 : BIG, KVF_READ);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        loop_until_ended(rig.me.engine, rig.batch, &status, patient(15));
        must(status == KVF_OK, "%s", kvf_status_name(status));
    }
    must(pattern_compare(rig.me.mem, BIG, 1) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

static void *waiter(void *arg)
{
    rig_t *rig = arg;

    sleep_ms(50);
    must(kvf_batch_wait(rig->batch, patient(20)) == KVF_OK, "%s", kvf_last_error());
    return NULL;
}

/* Another thread drives and ends the batch; the sleeper sees it. */
START_TEST(a_batch_that_another_thread_ended_wakes)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG};
    kvf_op_t op;
    pthread_t thread;
    int fd;

    rig_open(&rig, (where_t)_i, &opts);
    fd = fd_of(rig.me.engine);
    arm(rig.me.engine);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    must(pthread_create(&thread, NULL, waiter, &rig) == 0, "no thread");
    must(readable(fd, 15000), "slept through the end of a batch");
    pthread_join(thread, NULL);
    rig_close(&rig);
}
END_TEST

/* in: u64 delay in ms; then a notification to peer[0] */
static void at_note_later(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint64_t delay_ms;
    kvf_batch_opts_t opts = {
        .struct_size = sizeof(opts), .notify_peer = side->peer[0], .notify = "wake", .notify_len = 4};

    (void)out;
    memcpy(&delay_ms, in, in_len < sizeof(delay_ms) ? in_len : sizeof(delay_ms));
    sleep_ms((unsigned)delay_ms);
    if (side->batch == NULL) {
        ok(kvf_batch_create(side->engine, &side->batch));
    }
    ok(run_ops(side->batch, NULL, 0, &opts));
}

static void notifications_wake(rig_t *rig)
{
    int fd = fd_of(rig->me.engine);

    for (uint64_t round = 0; round < 4; round++) {
        uint64_t delay_ms = round * 30; /* 0: about when we arm */
        uint64_t end = now_ns() + patient(10);
        kvf_notification_t n = blank();

        proc_ask(&rig->owner, at_note_later, &delay_ms, sizeof(delay_ms));
        for (;;) {
            arm(rig->me.engine);
            if (kvf_notify_recv(rig->me.engine, &n) == KVF_OK) {
                break;
            }
            must(now_ns() < end, "no notification");
            must(readable(fd, 10000), "slept through a notification, round %zu", (size_t)round);
            ok(kvf_progress(rig->me.engine));
        }
        must(n.len == 4, "%u bytes", n.len);
        proc_reply(&rig->owner, NULL, 0);
    }
}

START_TEST(a_notification_wakes)
{
    rig_t rig;
    rig_opts_t opts = {.progress = progress_of(_i)};

    rig_open(&rig, (where_t)(_i / 2), &opts);
    notifications_wake(&rig);
    rig_close(&rig);
}
END_TEST

/* A bell is heard in its own namespace only. */
START_TEST(neighbours_in_two_network_namespaces_need_no_bell)
{
    rig_t rig;
    rig_opts_t opts = {.progress = progress_of(_i), .deadline_ns = patient(5)};
    kvf_op_t op;

    rig_fork(&rig, (where_t)(_i / 2), &opts);
    if (unshare(CLONE_NEWNET) != 0) {
        proc_end(&rig.owner);
        return; /* not ours to make */
    }
    rig_join(&rig);
    for (uint32_t dir = KVF_READ; dir <= KVF_WRITE; dir++) {
        op = op_plain(rig.me.segment, 0, rig.remote, 0, 1 << 20, dir);
        move(&rig, &op, 1);
    }
    notifications_wake(&rig);
    rig_close(&rig);
}
END_TEST

#define FLOOD 200 /* more than a queue in shared memory holds, fewer than a ring of notifications */

/* in: u64 how many notifications go to peer[0]; nothing else is called afterwards */
static void at_flood(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    uint64_t count, now = 0;

    (void)out;
    memcpy(&count, in, in_len < sizeof(count) ? in_len : sizeof(count));
    for (uint64_t i = 0; i < count; i++) {
        at_note_later(state, &now, sizeof(now), NULL);
    }
}

/* A sleeper that was slow to wake: what was sent meanwhile does not keep the next one's bell. */
START_TEST(a_notification_wakes_after_a_flood)
{
    rig_t rig;
    rig_opts_t opts = {.progress = progress_of(_i)};
    kvf_notification_t n = blank();
    uint64_t many = FLOOD, one = 1;

    rig_open(&rig, (where_t)(_i / 2), &opts);
    for (int round = 0; round < 3; round++) {
        arm(rig.me.engine);
        rig_call(&rig, at_flood, &many, sizeof(many), NULL, 0);
        for (int i = 0; i < FLOOD; i++) {
            ok(kvf_notify_recv(rig.me.engine, &n));
        }
        ok(kvf_progress(rig.me.engine));
        arm(rig.me.engine);
        answers(kvf_notify_recv(rig.me.engine, &n), KVF_INPROGRESS);
        rig_call(&rig, at_flood, &one, sizeof(one), NULL, 0);
        must(readable(fd_of(rig.me.engine), 5000 * (int)patience()), "slept through it");
        ok(kvf_notify_recv(rig.me.engine, &n));
    }
    rig_close(&rig);
}
END_TEST

START_TEST(a_notification_of_a_twin_wakes)
{
    rig_t rig;
    uint64_t delay_ms = 0;
    kvf_notification_t n = blank();

    rig_open(&rig, (where_t)_i, NULL);
    arm(rig.me.engine);
    answers(kvf_notify_recv(rig.me.engine, &n), KVF_INPROGRESS);
    rig_call(&rig, at_note_later, &delay_ms, sizeof(delay_ms), NULL, 0);
    must(readable(fd_of(rig.me.engine), 5000), "slept through a notification");
    ok(kvf_notify_recv(rig.me.engine, &n));
    rig_close(&rig);
}
END_TEST

/* The owner is stopped: only the deadline can end the batch. */
START_TEST(a_deadline_wakes)
{
    rig_t rig;
    rig_opts_t opts = {.progress = progress_of(_i)};
    kvf_batch_opts_t batch = {.struct_size = sizeof(batch), .deadline_ns = 400 * MS};
    kvf_op_t op;
    kvf_status_t status;

    rig_open(&rig, WHERE_AM, &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 65536, KVF_READ);
    move(&rig, &op, 1);
    proc_signal(&rig.owner, SIGSTOP);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &batch));
    loop_until_ended(rig.me.engine, rig.batch, &status, patient(10));
    must(status == KVF_ERR_TIMEOUT, "%s", kvf_status_name(status));
    proc_signal(&rig.owner, SIGCONT);
    proc_signal(&rig.owner, SIGKILL);
    ok(kvf_engine_close(rig.me.engine, patient(5)));
}
END_TEST

/* A batch held back by a full queue of a near peer that is stopped: only its death can end it. */
START_TEST(a_peers_death_wakes)
{
    rig_t rig;
    rig_opts_t opts = {.progress = progress_of(_i), .notify_depth = 1};
    where_t where = _i / 2 == 0 ? WHERE_SHM : WHERE_AM;
    kvf_batch_opts_t note = {
        .struct_size = sizeof(note), .notify = "x", .notify_len = 1, .deadline_ns = KVF_FOREVER};
    kvf_status_t status;
    uint64_t before;

    rig_open(&rig, where, &opts);
    if (where == WHERE_AM) {
        far_stands(rig.me.engine, rig.peer, &rig.owner);
    }
    note.notify_peer = rig.peer;
    ok(run_ops(rig.batch, NULL, 0, &note));
    proc_signal(&rig.owner, SIGSTOP);
    ok(kvf_batch_post(rig.batch, NULL, 0, sizeof(kvf_op_t), &note));
    answers(kvf_batch_wait(rig.batch, 100 * MS), KVF_INPROGRESS);
    arm(rig.me.engine);
    before = now_ns();
    proc_signal(&rig.owner, SIGKILL);
    loop_until_ended(rig.me.engine, rig.batch, &status, patient(10));
    must(status == KVF_ERR_PEER, "%s", kvf_status_name(status));
    must(now_ns() - before < patient(5), "long after the death");
    ok(kvf_engine_close(rig.me.engine, patient(5)));
}
END_TEST

typedef enum end {
    KILLED,
    CLOSED,
    END_COUNT
} end_t;

/* A neighbour whose memory is read and no more: nothing else tells of its end. */
START_TEST(a_neighbours_end_wakes_who_runs_no_batch)
{
    rig_t rig;
    end_t end = (end_t)(_i % END_COUNT);
    int mine = _i / END_COUNT % 2; /* has memory granted of its own, so that the thread hears the bell */
    where_t where = _i / (2 * END_COUNT) % 2 ? WHERE_TWIN : WHERE_SHM;
    rig_opts_t opts = {.progress = progress_of(_i / (4 * END_COUNT))};
    kvf_range_t range = {.len = 4096, .rights = KVF_RIGHT_READ};
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_grant_t *grant;
    uint64_t until;
    int fd;

    if (where == WHERE_TWIN && end == KILLED) {
        return;
    }
    rig_open(&rig, where, &opts);
    range.segment = rig.me.segment;
    if (mine) {
        ok(kvf_grant_create(rig.me.engine, &range, 1, NULL, &grant));
    }
    fd = fd_of(rig.me.engine);
    arm(rig.me.engine);
    if (end == CLOSED) {
        rig_call(&rig, side_close, NULL, 0, NULL, 0);
    } else {
        proc_signal(&rig.owner, SIGKILL);
    }
    until = now_ns() + patient(3);
    do {
        must(now_ns() < until && readable(fd, 3000), "slept through the end of a neighbour");
        arm(rig.me.engine);
        ok(kvf_peer_query(rig.peer, &attr));
    } while (attr.alive);
    for (int round = 0; round < 3; round++) {
        arm(rig.me.engine);
        readable(fd, 20);
    }
    arm(rig.me.engine);
    must(!readable(fd, 100), "it is told again and again");
    if (where == WHERE_SHM && end == CLOSED) {
        proc_end(&rig.owner);
    }
    ok(kvf_engine_close(rig.me.engine, patient(5)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("eventfd");
    TCase *tc = tcase_create("eventfd");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, a_quiet_engine_does_not_wake, 0, 2 * WHERE_COUNT);
    tcase_add_loop_test(tc, it_stays_quiet_after_a_peer_left, 2 * WHERE_SHM, 2 * WHERE_COUNT);
    tcase_add_loop_test(tc, arm_says_busy_while_slices_wait, 0, WHERE_STAGE);
    tcase_add_loop_test(tc, the_end_of_a_batch_wakes, 0, 2 * WHERE_COUNT);
    tcase_add_loop_test(tc, a_batch_that_another_thread_ended_wakes, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_notification_wakes, 2 * WHERE_SHM, 2 * WHERE_COUNT);
    tcase_add_loop_test(tc, neighbours_in_two_network_namespaces_need_no_bell, 2 * WHERE_SHM, 2 * WHERE_AM);
    tcase_add_loop_test(tc, a_notification_wakes_after_a_flood, 2 * WHERE_SHM, 2 * WHERE_AM);
    tcase_add_loop_test(tc, a_notification_of_a_twin_wakes, 0, WHERE_SHM);
    tcase_add_loop_test(tc, a_deadline_wakes, 0, 2);
    tcase_add_loop_test(tc, a_peers_death_wakes, 0, 4);
    tcase_add_loop_test(tc, a_neighbours_end_wakes_who_runs_no_batch, 0, 8 * END_COUNT);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

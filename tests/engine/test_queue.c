/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Queues of ended batches: several sleepers of one engine each hear of their own batches, and of each once,
 * whoever drives, arms or sleeps beside them.
 */
#include "rig.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 100

static kvf_status_t post(kvf_batch_t *batch, const kvf_op_t *op, kvf_queue_t *queue, uint64_t tag)
{
    kvf_batch_opts_t opts = {
        .struct_size = sizeof(opts), .tag = tag, .queue = queue, .deadline_ns = patient(20)};

    return kvf_batch_post(batch, op, op != NULL, sizeof(*op), &opts);
}

static kvf_ended_t next(kvf_queue_t *queue, uint64_t timeout_ns)
{
    kvf_ended_t ended = {.struct_size = sizeof(ended)};

    ok(kvf_queue_next(queue, timeout_ns, &ended));
    return ended;
}

/* The event loop of a caller: ask, arm, poll; 0 after wait_ms without a wake. */
static int next_by_poll(kvf_queue_t *queue, int wait_ms, kvf_ended_t *ended_p)
{
    struct pollfd fd = {.events = POLLIN};
    kvf_status_t status;

    ok(kvf_queue_fd(queue, &fd.fd));
    while ((status = kvf_queue_next(queue, 0, ended_p)) == KVF_INPROGRESS) {
        status = kvf_queue_arm(queue);
        must(status == KVF_OK || status == KVF_ERR_BUSY, "arm: %s", kvf_status_name(status));
        if (status == KVF_OK && poll(&fd, 1, wait_ms) == 0) {
            return 0;
        }
    }
    must(status == KVF_OK, "%s: %s", kvf_status_name(status), kvf_last_error());
    return 1;
}

typedef struct neighbour {
    kvf_engine_t *engine;
    _Atomic int over;
} neighbour_t;

/* Batches of its own that end at once: it arms and takes all the time. */
static void *ends_at_once(void *arg)
{
    neighbour_t *n = arg;
    kvf_ended_t ended = {.struct_size = sizeof(ended)};
    kvf_batch_t *batch;
    kvf_queue_t *queue;

    ok(kvf_batch_create(n->engine, &batch));
    ok(kvf_queue_create(n->engine, &queue));
    for (uint64_t tag = 0; !atomic_load(&n->over); tag++) {
        answers(kvf_queue_next(queue, 0, &ended), KVF_INPROGRESS);
        kvf_queue_arm(queue);
        ok(post(batch, NULL, queue, tag));
        must(next_by_poll(queue, 3000, &ended) && ended.tag == tag, "its own");
        kvf_engine_arm(n->engine); /* and takes what the engine's own fd has to say */
    }
    ok(kvf_queue_free(queue));
    ok(kvf_batch_free(batch));
    return NULL;
}

/* One fd of an engine for two: the one that arms takes the wake that the other sleeps for. */
START_TEST(a_neighbour_that_arms_takes_no_wake)
{
    static const where_t where[] = {WHERE_STAGE, WHERE_AM};
    kvf_ended_t ended = {.struct_size = sizeof(ended)};
    neighbour_t n = {NULL, 0};
    kvf_queue_t *queue;
    pthread_t thread;
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, where[_i], NULL);
    n.engine = rig.me.engine;
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 65536, KVF_READ);
    ok(kvf_queue_create(rig.me.engine, &queue));
    must(pthread_create(&thread, NULL, ends_at_once, &n) == 0, "no thread");
    for (uint64_t tag = 1; tag <= ROUNDS; tag++) {
        ok(post(rig.batch, &op, queue, tag));
        must(next_by_poll(queue, 3000, &ended), "round %u: 3 s asleep, and the batch says %s", (unsigned)tag,
             kvf_status_name(kvf_batch_test(rig.batch)));
        must(ended.tag == tag && ended.batch == rig.batch && ended.status == KVF_OK, "tag %u",
             (unsigned)ended.tag);
    }
    atomic_store(&n.over, 1);
    pthread_join(thread, NULL);
    ok(kvf_queue_free(queue));
    rig_close(&rig);
}
END_TEST

/* The same, step by step: the end comes between an arm and its sleep, and so does the other's arm. */
START_TEST(an_arm_between_an_end_and_the_sleep)
{
    struct pollfd fd = {.events = POLLIN};
    kvf_queue_t *queue, *other;
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, WHERE_STAGE, NULL);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    ok(kvf_queue_create(rig.me.engine, &queue));
    ok(kvf_queue_create(rig.me.engine, &other));
    ok(kvf_queue_fd(queue, &fd.fd));
    proc_signal(&rig.owner, SIGSTOP);
    ok(post(rig.batch, &op, queue, 1));
    ok(kvf_queue_arm(queue));
    must(poll(&fd, 1, 20) == 0, "readable, and nothing has ended");
    proc_signal(&rig.owner, SIGCONT);
    ok(kvf_batch_wait(rig.batch, patient(10)));
    ok(kvf_queue_arm(other));
    ok(kvf_engine_arm(rig.me.engine));
    must(poll(&fd, 1, 1000) == 1, "the wake was taken by another's arm");
    must(next(queue, 0).tag == 1, "its own");
    ok(kvf_queue_free(other));
    ok(kvf_queue_free(queue));
    rig_close(&rig);
}
END_TEST

START_TEST(ends_come_in_order_each_once)
{
    kvf_batch_opts_t late = {.struct_size = sizeof(late), .tag = 7, .deadline_ns = 1000000};
    kvf_ended_t ended = {.struct_size = sizeof(ended)};
    kvf_batch_t *batch[4];
    kvf_queue_t *queue;
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, WHERE_STAGE, NULL);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    ok(kvf_queue_create(rig.me.engine, &queue));
    late.queue = queue;
    for (int i = 0; i < 4; i++) {
        ok(kvf_batch_create(rig.me.engine, &batch[i]));
    }
    answers(kvf_queue_next(queue, 1000000, &ended), KVF_INPROGRESS);
    for (uint64_t i = 3; i > 0; i--) {
        ok(post(batch[i], NULL, queue, i));
    }
    for (uint64_t i = 3; i > 0; i--) {
        ended = next(queue, 0);
        must(ended.tag == i && ended.batch == batch[i] && ended.status == KVF_OK, "%u", (unsigned)ended.tag);
    }
    proc_signal(&rig.owner, SIGSTOP);
    ok(kvf_batch_post(batch[0], &op, 1, sizeof(op), &late));
    ended = next(queue, patient(10)); /* nobody else drives the deadline */
    must(ended.tag == 7 && ended.status == KVF_ERR_TIMEOUT && ended.batch == batch[0], "status %d",
         ended.status);
    refused_naming(kvf_batch_test(batch[0]), KVF_ERR_TIMEOUT, "deadline");
    proc_signal(&rig.owner, SIGCONT);
    answers(kvf_queue_next(queue, 0, &ended), KVF_INPROGRESS);
    for (int i = 0; i < 4; i++) {
        ok(kvf_batch_free(batch[i]));
    }
    ok(kvf_queue_free(queue));
    rig_close(&rig);
}
END_TEST

START_TEST(what_ends_is_taken_before_it_runs_again)
{
    kvf_ended_t ended = {.struct_size = sizeof(ended)};
    kvf_engine_t *other;
    kvf_queue_t *queue, *gone, *foreign;
    kvf_batch_t *batch;
    kvf_op_t op;
    rig_t rig;
    int fd;

    rig_open(&rig, WHERE_STAGE, NULL);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    ok(kvf_engine_open(NULL, &other));
    ok(kvf_queue_create(other, &foreign));
    ok(kvf_queue_create(rig.me.engine, &queue));
    ok(kvf_queue_create(rig.me.engine, &gone));
    ok(kvf_batch_create(rig.me.engine, &batch));
    refused_naming(kvf_queue_create(rig.me.engine, NULL), KVF_ERR_INVALID, "queue_p is NULL");
    refused_naming(kvf_queue_next(queue, 0, NULL), KVF_ERR_INVALID, "ended_p is NULL");
    refused_naming(kvf_queue_fd(queue, NULL), KVF_ERR_INVALID, "fd_p is NULL");
    answers(kvf_queue_next(NULL, 0, &ended), KVF_ERR_INVALID);
    refused_naming(kvf_queue_arm(NULL), KVF_ERR_INVALID, "queue handle is NULL");
    answers(kvf_queue_fd(NULL, &fd), KVF_ERR_INVALID);
    ok(kvf_queue_free(NULL));
    ok(kvf_queue_free(gone));
    answers(kvf_queue_free(gone), KVF_ERR_INVALID);
    refused_naming(post(batch, NULL, gone, 1), KVF_ERR_INVALID, "opts.queue is closed");
    refused_naming(post(batch, NULL, foreign, 1), KVF_ERR_INVALID, "opts.queue is closed or belongs");

    ok(post(batch, NULL, queue, 1));
    ok(kvf_batch_wait(batch, KVF_FOREVER));
    refused_naming(post(batch, NULL, queue, 2), KVF_ERR_BUSY, "its queue was not asked");
    refused_naming(kvf_queue_arm(queue), KVF_ERR_BUSY, "kvf_queue_next() first");
    must(next(queue, 0).tag == 1, "the first");
    ok(kvf_queue_arm(queue));
    ok(post(batch, NULL, queue, 3));
    ok(kvf_batch_free(batch)); /* takes its entry along */
    answers(kvf_queue_next(queue, 0, &ended), KVF_INPROGRESS);

    proc_signal(&rig.owner, SIGSTOP);
    ok(post(rig.batch, &op, queue, 4));
    refused_naming(kvf_queue_free(queue), KVF_ERR_BUSY, "batches run");
    answers(kvf_batch_cancel(rig.batch), KVF_ERR_CANCELED);
    must(next(queue, 0).status == KVF_ERR_CANCELED, "a cancel is an end");
    proc_signal(&rig.owner, SIGCONT);
    op.len = 0; /* a post that fails gives no entry, and holds nothing */
    answers(post(rig.batch, &op, queue, 5), KVF_ERR_INVALID);
    ok(post(rig.batch, NULL, queue, 6));
    ok(kvf_queue_free(queue)); /* drops the entry */
    ok(post(rig.batch, NULL, NULL, 7));
    ok(kvf_engine_close(other, patient(5)));
    rig_close(&rig);
}
END_TEST

/* ----------------------------------------------------------------- threads */

#define POSTERS 2
#define TAKERS  2
#define EACH    400

typedef struct crowd {
    rig_t *rig;
    kvf_queue_t *queue;
    _Atomic unsigned posters, left;
    _Atomic unsigned seen[POSTERS * EACH];
} crowd_t;

static void *post_many(void *arg)
{
    crowd_t *c = arg;
    uint64_t tag = EACH * (uint64_t)atomic_fetch_add(&c->posters, 1), end = tag + EACH;
    kvf_op_t op = op_plain(c->rig->me.segment, 0, c->rig->remote, 0, 64, KVF_READ);
    kvf_batch_t *batch[8];
    kvf_status_t status;

    for (int i = 0; i < 8; i++) {
        ok(kvf_batch_create(c->rig->me.engine, &batch[i]));
    }
    for (; tag < end; tag++) {
        while ((status = post(batch[tag & 7], tag & 8 ? &op : NULL, c->queue, tag)) == KVF_ERR_BUSY) {
            sched_yield();
        }
        ok(status);
    }
    return NULL;
}

static void *take_many(void *arg)
{
    crowd_t *c = arg;
    kvf_ended_t ended = {.struct_size = sizeof(ended)};

    while (atomic_load(&c->left)) {
        if (kvf_queue_next(c->queue, 10000000, &ended) == KVF_OK) {
            must(ended.tag < POSTERS * EACH && ended.status == KVF_OK, "tag %u", (unsigned)ended.tag);
            must(atomic_fetch_add(&c->seen[ended.tag], 1) == 0, "tag %u twice", (unsigned)ended.tag);
            atomic_fetch_sub(&c->left, 1);
        }
    }
    return NULL;
}

START_TEST(each_end_goes_to_one_of_many_takers)
{
    pthread_t thread[POSTERS + TAKERS];
    static crowd_t c;
    rig_t rig;

    rig_open(&rig, WHERE_STAGE, NULL);
    c.rig = &rig;
    atomic_store(&c.left, POSTERS * EACH);
    ok(kvf_queue_create(rig.me.engine, &c.queue));
    for (int i = 0; i < POSTERS + TAKERS; i++) {
        must(pthread_create(&thread[i], NULL, i < POSTERS ? post_many : take_many, &c) == 0, "no thread");
    }
    for (int i = 0; i < POSTERS + TAKERS; i++) {
        pthread_join(thread[i], NULL);
    }
    ok(kvf_queue_free(c.queue));
    rig_close(&rig);
}
END_TEST

static void *close_engine(void *arg)
{
    usleep(20000);
    ok(kvf_engine_close(arg, patient(10)));
    return NULL;
}

START_TEST(a_close_wakes_who_waits)
{
    kvf_ended_t ended = {.struct_size = sizeof(ended)};
    kvf_engine_t *engine;
    kvf_queue_t *queue;
    pthread_t thread;

    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_queue_create(engine, &queue));
    must(pthread_create(&thread, NULL, close_engine, engine) == 0, "no thread");
    answers(kvf_queue_next(queue, KVF_FOREVER, &ended), KVF_ERR_CLOSED);
    pthread_join(thread, NULL);
}
END_TEST

/* Nobody else drives: the queue's fd has to tell of messages, and its caller moves copies. */
START_TEST(a_caller_that_drives_sleeps_on_its_queue)
{
    static const where_t where[] = {WHERE_SHM, WHERE_STAGE, WHERE_AM};
    rig_opts_t opts = {.owner_len = 8 << 20, .local_len = 8 << 20, .progress = KVF_PROGRESS_CALLER};
    kvf_ended_t ended = {.struct_size = sizeof(ended)};
    kvf_queue_t *queue;
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, where[_i], &opts);
    owner_fill(&rig, 3);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 8 << 20, KVF_READ);
    ok(kvf_queue_create(rig.me.engine, &queue));
    for (uint64_t tag = 1; tag < 5; tag++) {
        memset(rig.me.mem, 0, 8 << 20);
        ok(post(rig.batch, &op, queue, tag));
        must(next_by_poll(queue, 5000, &ended) && ended.tag == tag && ended.status == KVF_OK, "tag %u",
             (unsigned)tag);
        must(pattern_compare(rig.me.mem, 8 << 20, 3) == UINT64_MAX, "wrong bytes");
    }
    ok(kvf_queue_free(queue));
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queues");
    TCase *tc = tcase_create("queues");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_neighbour_that_arms_takes_no_wake, 0, 2);
    tcase_add_test(tc, an_arm_between_an_end_and_the_sleep);
    tcase_add_test(tc, ends_come_in_order_each_once);
    tcase_add_test(tc, what_ends_is_taken_before_it_runs_again);
    tcase_add_test(tc, each_end_goes_to_one_of_many_takers);
    tcase_add_test(tc, a_close_wakes_who_waits);
    tcase_add_loop_test(tc, a_caller_that_drives_sleeps_on_its_queue, 0, 3);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

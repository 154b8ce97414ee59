/* SPDX-License-Identifier: BSD-3-Clause
 *
 * WRITEs whose bytes the owner puts into its memory (stage, am), given up in the middle: by cancel, deadline
 * or close, with an owner that runs and with one that is stopped. What follows over any path stays as it
 * was written, but for what was said to be unsettled, and that holds back what overlaps it.
 */
#include "rig.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define LEN   (UINT64_C(4) << 20)
#define PIECE 512u
#define LATE  0xa1
#define GOOD  0xb2

static uint32_t scattered[LEN / PIECE];

/* Many short pieces out of order: each chunk takes the owner its time. */
static kvf_op_t slow_op(rig_t *rig)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, 0, PIECE, KVF_WRITE);

    for (uint32_t i = 0; i < LEN / PIECE; i++)
        scattered[i] = i ^ 1;
    op.blocks = LEN / PIECE;
    op.local_block = op.remote_block = PIECE;
    op.local_ids = op.remote_ids = scattered;
    return op;
}

static kvf_op_t whole_op(rig_t *rig, uint32_t dir)
{
    return op_plain(rig->me.segment, 0, rig->remote, 0, LEN, dir);
}

static kvf_batch_opts_t over(kvf_path_t path, uint64_t deadline_ns)
{
    return (kvf_batch_opts_t){
        .struct_size = sizeof(kvf_batch_opts_t), .paths = KVF_PATH_BIT(path), .deadline_ns = deadline_ns};
}

static void open_rig(rig_t *rig, kvf_path_t path)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};

    rig_open(rig, path == KVF_PATH_AM ? WHERE_AM : WHERE_CMA, &opts);
}

static void spin_us(unsigned us)
{
    uint64_t end = now_ns() + us * UINT64_C(1000);

    while (now_ns() < end)
        ;
}

static void start(rig_t *rig, const kvf_op_t *op, const kvf_batch_opts_t *opts, uint8_t byte)
{
    memset(rig->me.mem, byte, LEN);
    ok(kvf_batch_post(rig->batch, op, 1, sizeof(*op), opts));
}

static uint32_t unsettled_of(kvf_batch_t *batch)
{
    kvf_batch_result_t result = {.struct_size = sizeof(result)};

    ok(kvf_batch_result(batch, &result));
    return result.unsettled;
}

static void must_all_be(const uint8_t *mem, uint8_t byte, const char *what)
{
    if (mem[0] == byte && memcmp(mem, mem + 1, LEN - 1) == 0)
        return;
    for (uint64_t i = 0; i < LEN; i++)
        must(mem[i] == byte, "%s: byte %llu is 0x%x", what, (unsigned long long)i, mem[i]);
}

static void owner_must_be(rig_t *rig, uint8_t byte)
{
    uint8_t *have = malloc(LEN);

    owner_get(rig, 0, have, LEN);
    must_all_be(have, byte, "the owner's memory");
    free(have);
}

static int rounds(int few)
{
    return getenv("KVF_FULL") ? 20 * few : patience() > 1 ? (few + 2) / 3 : few;
}

static void await_settled(rig_t *rig, kvf_batch_t *batch)
{
    uint64_t end = now_ns() + patient(10);

    while (kvf_batch_op_settled(batch, 0) == KVF_INPROGRESS) {
        must(now_ns() < end, "the owner runs again, and does not answer");
        ok(kvf_progress(rig->me.engine));
        sleep_ms(1);
    }
    ok(kvf_batch_op_settled(batch, 0));
}

static const struct mix {
    kvf_path_t first, second;
} mixes[] = {{KVF_PATH_STAGE, KVF_PATH_CMA}, {KVF_PATH_STAGE, KVF_PATH_STAGE}, {KVF_PATH_AM, KVF_PATH_AM}};

/* A cancel at any moment, and a WRITE of other bytes to the same place: they are there, and stay. */
START_TEST(nothing_lands_after_a_cancel)
{
    const struct mix *mix = &mixes[_i];
    kvf_batch_opts_t first = over(mix->first, 0), second = over(mix->second, 0);
    uint64_t before, alone = 0; /* of a whole batch, the connection made */
    int canceled = 0, late = 0;
    rig_t rig;

    open_rig(&rig, mix->first);
    for (int round = 0; round < rounds(30); round++) {
        kvf_op_t slow = slow_op(&rig), whole = whole_op(&rig, KVF_WRITE);
        kvf_status_t status;

        start(&rig, &slow, &first, LATE);
        before = now_ns();
        kvf_batch_wait(rig.batch, round < 2 ? patient(20) : alone * (uint64_t)(round % 15) / 20);
        alone = round < 2 ? now_ns() - before : alone;
        status = kvf_batch_cancel(rig.batch);
        must(status == KVF_OK || status == KVF_ERR_CANCELED, "%s", kvf_status_name(status));
        canceled += status == KVF_ERR_CANCELED;
        late += (int)unsettled_of(rig.batch);
        await_settled(&rig, rig.batch);
        start(&rig, &whole, &second, GOOD);
        ok(kvf_batch_wait(rig.batch, patient(20)));
        sleep_ms(2);
        memset(rig.me.mem, 0, LEN);
        whole = whole_op(&rig, KVF_READ);
        ok(run_ops(rig.batch, &whole, 1, &second));
        must_all_be(rig.me.mem, GOOD, "what was read back");
    }
    must(late * 2 <= rounds(30) || patience() > 1, "the owner runs, and did not answer %d times", late);
    /* on am the thread that sends may keep the link until all has left */
    must(canceled > 0 || mix->first == KVF_PATH_AM, "each batch had ended before it was cancelled");
    rig_close(&rig);
}
END_TEST

/* While the target is unsettled, nothing goes there; what does not touch it goes. */
static void while_unsettled(rig_t *rig, kvf_batch_t *late, kvf_path_t path)
{
    kvf_batch_opts_t opts = over(path, 100 * MS);
    kvf_op_t ops[2] = {whole_op(rig, KVF_WRITE), whole_op(rig, KVF_READ)};

    answers(kvf_batch_op_settled(late, 0), KVF_INPROGRESS);
    memset(rig->me.mem, GOOD, LEN);
    for (int dir = 0; dir < 2; dir++) {
        uint64_t before = now_ns();

        ok(kvf_batch_post(rig->batch, &ops[dir], 1, sizeof(ops[0]), &opts));
        refused_naming(kvf_batch_wait(rig->batch, patient(5)), KVF_ERR_TIMEOUT, "held back");
        must(now_ns() - before < patient(3), "held long after its deadline");
        must(!unsettled_of(rig->batch), "nothing was sent");
        ok(kvf_batch_op_settled(rig->batch, 0));
    }
    opts.deadline_ns = KVF_FOREVER;
    ok(kvf_batch_post(rig->batch, ops, 1, sizeof(ops[0]), &opts));
    answers(kvf_batch_test(rig->batch), KVF_INPROGRESS);
    answers(kvf_batch_cancel(rig->batch), KVF_ERR_CANCELED);
}

/* The owner stands still in the middle. What was said to be settled is; else later ops are held. */
START_TEST(a_stopped_owner_and_what_follows)
{
    const struct mix *mix = &mixes[_i];
    kvf_batch_opts_t first = over(mix->first, 60 * MS), second = over(mix->second, 0);
    int unsettled = 0;
    kvf_batch_t *late;
    rig_t rig;

    open_rig(&rig, mix->first);
    late = rig.batch;
    ok(kvf_batch_create(rig.me.engine, &rig.batch));
    for (int round = 0; round < rounds(2); round++) {
        kvf_op_t slow = slow_op(&rig), whole = whole_op(&rig, KVF_WRITE);
        kvf_batch_t *batch = rig.batch;
        kvf_status_t status;

        rig.batch = late;
        if (mix->first == KVF_PATH_AM) /* what the wire holds comes when it wakes up */
            proc_signal(&rig.owner, SIGSTOP);
        start(&rig, &slow, &first, LATE);
        rig.batch = batch;
        spin_us(300 + 400 * (unsigned)(round % 5));
        if (mix->first != KVF_PATH_AM)
            proc_signal(&rig.owner, SIGSTOP);
        status = kvf_batch_wait(late, patient(10));
        must(status == KVF_OK || status == KVF_ERR_TIMEOUT, "%s", kvf_status_name(status));
        unsettled += (int)unsettled_of(late);
        if (unsettled_of(late))
            while_unsettled(&rig, late, mix->second);
        start(&rig, &whole, &second, GOOD);
        if (!unsettled_of(late) && mix->second == KVF_PATH_CMA)
            ok(kvf_batch_wait(rig.batch, patient(20)));
        proc_signal(&rig.owner, SIGCONT);
        ok(kvf_batch_wait(rig.batch, patient(20)));
        await_settled(&rig, late);
        sleep_ms(5);
        owner_must_be(&rig, GOOD);
    }
    if (mix->first == KVF_PATH_AM)
        must(unsettled > 0, "nothing was unsettled: the test shows nothing");
    ok(kvf_batch_free(late));
    rig_close(&rig);
}
END_TEST

/* The writer's engine closes in the middle; its process opens another. */
START_TEST(nothing_lands_after_a_close)
{
    static uint8_t blob[BLOB_MAX];
    kvf_batch_opts_t first = over(KVF_PATH_STAGE, 0), second = over(KVF_PATH_CMA, 0);
    uint32_t flags = 0, count = 1;
    kvf_engine_opts_t opts;
    rig_t rig;

    open_rig(&rig, KVF_PATH_STAGE);
    where_opts(WHERE_CMA, &opts);
    for (int round = 0; round < rounds(4); round++) {
        kvf_op_t op = slow_op(&rig);
        size_t len;

        start(&rig, &op, &first, LATE);
        spin_us(200 * (unsigned)round);
        ok(kvf_engine_close(rig.me.engine, patient(5)));
        ok(kvf_engine_open(&opts, &rig.me.engine));
        len = rig_call(&rig, side_blob, &flags, sizeof(flags), blob, sizeof(blob));
        ok(kvf_peer_import(rig.me.engine, blob, len, &rig.peer));
        len = rig_call(&rig, side_grant_blob, NULL, 0, blob, sizeof(blob));
        ok(kvf_remote_import(rig.peer, blob, len, &rig.remote, &count));
        ok(kvf_segment_register(rig.me.engine, rig.me.mem, LEN, &rig.me.segment));
        ok(kvf_batch_create(rig.me.engine, &rig.batch));
        op = whole_op(&rig, KVF_WRITE);
        start(&rig, &op, &second, GOOD);
        ok(kvf_batch_wait(rig.batch, patient(20)));
        sleep_ms(5);
        owner_must_be(&rig, GOOD);
    }
    ok(kvf_engine_close(rig.me.engine, patient(5)));
    rig_call(&rig, side_close, NULL, 0, NULL, 0);
    proc_end(&rig.owner);
}
END_TEST

/* At the owner: wait for word of a batch, and fill the memory as soon as it came. */
static void fill_when_told(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_notification_t note = {.struct_size = sizeof(note)};
    uint64_t end = now_ns() + patient(10);

    (void)in;
    (void)in_len;
    while (kvf_notify_recv(side->engine, &note) == KVF_INPROGRESS)
        must(now_ns() < end, "no word of the batch");
    memset(side->mem, GOOD, LEN);
    out_put(out, &note.status, sizeof(note.status));
}

/* Word of a batch that was given up comes when none of its bytes come any more. */
START_TEST(the_last_word_comes_last)
{
    const struct mix *mix = &mixes[_i];
    int canceled = 0;
    rig_t rig;

    open_rig(&rig, mix->first);
    for (int round = 0; round < rounds(20); round++) {
        kvf_batch_opts_t opts = over(mix->first, 0);
        kvf_op_t op = slow_op(&rig);
        int32_t told;

        opts.notify_peer = rig.peer;
        opts.flags = KVF_BATCH_NOTIFY_ALWAYS;
        proc_ask(&rig.owner, fill_when_told, NULL, 0);
        start(&rig, &op, &opts, LATE);
        spin_us((unsigned)(round % 10) * 200);
        canceled += kvf_batch_cancel(rig.batch) == KVF_ERR_CANCELED;
        proc_reply(&rig.owner, &told, sizeof(told));
        sleep_ms(1);
        owner_must_be(&rig, GOOD);
    }
    /* on am the thread that sends may keep the link until all has left */
    must(canceled > 0 || mix->first == KVF_PATH_AM, "each batch had ended before it was cancelled");
    rig_close(&rig);
}
END_TEST

/* Asked of ops that do not write, of running batches, and of what an owner that died leaves behind. */
START_TEST(what_is_settled)
{
    kvf_batch_opts_t opts = over(KVF_PATH_STAGE, KVF_FOREVER);
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, KVF_PATH_STAGE);
    op = whole_op(&rig, KVF_READ);
    move(&rig, &op, 1);
    ok(kvf_batch_op_settled(rig.batch, 0));
    op = slow_op(&rig);
    start(&rig, &op, &opts, LATE);
    proc_signal(&rig.owner, SIGSTOP);
    if (kvf_batch_test(rig.batch) == KVF_INPROGRESS)
        answers(kvf_batch_op_settled(rig.batch, 0), KVF_INPROGRESS);
    kvf_batch_cancel(rig.batch);
    proc_signal(&rig.owner, SIGKILL);
    await_settled(&rig, rig.batch);
    ok(kvf_engine_close(rig.me.engine, patient(5)));
}
END_TEST

/* The child serves nobody between calls. */
static void at_fall_silent(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)state;
    (void)in;
    (void)in_len;
    (void)out;
    proc_idle_ms = -1;
}

/* A far owner that closes without an answer says by its goodbye that nothing lands any more. */
START_TEST(what_a_far_owner_leaves_when_it_closes_is_settled)
{
    kvf_batch_opts_t opts = over(KVF_PATH_AM, 60 * MS);
    rig_opts_t rig_opts = {.owner_len = LEN, .local_len = LEN, .progress = KVF_PROGRESS_CALLER};
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, WHERE_AM, &rig_opts);
    op = whole_op(&rig, KVF_WRITE);
    move(&rig, &op, 1);
    rig_call(&rig, at_fall_silent, NULL, 0, NULL, 0);
    start(&rig, &op, &opts, LATE);
    answers(kvf_batch_wait(rig.batch, patient(5)), KVF_ERR_TIMEOUT);
    answers(kvf_batch_op_settled(rig.batch, 0), KVF_INPROGRESS);
    rig_call(&rig, side_close, NULL, 0, NULL, 0);
    await_settled(&rig, rig.batch);
    ok(kvf_engine_close(rig.me.engine, patient(5)));
    proc_end(&rig.owner);
}
END_TEST

/* It was silent from before the connection on, and hears of it, and of the WRITE, only as it closes. */
START_TEST(what_a_far_owner_never_heard_of_is_settled_when_it_closes)
{
    static uint8_t blob[BLOB_MAX];
    side_open_t there = {.net = "tcp"};
    side_mem_t mem = {.len = LEN, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    kvf_batch_opts_t opts = over(KVF_PATH_AM, 60 * MS);
    uint32_t flags = KVF_BLOB_FAR, count = 1;
    kvf_engine_opts_t here;
    kvf_op_t op;
    size_t len;
    rig_t rig;

    rig_fork(&rig, WHERE_AM, NULL);
    where_opts(WHERE_AM, &here);
    ok(kvf_engine_open(&here, &rig.me.engine));
    there.opts = here;
    there.opts.net = NULL;
    there.opts.progress = KVF_PROGRESS_CALLER;
    rig_call(&rig, side_open_engine, &there, sizeof(there), NULL, 0);
    rig_call(&rig, at_fall_silent, NULL, 0, NULL, 0);
    rig_call(&rig, side_make_memory, &mem, sizeof(mem), NULL, 0);
    len = rig_call(&rig, side_blob, &flags, sizeof(flags), blob, sizeof(blob));
    ok(kvf_peer_import(rig.me.engine, blob, len, &rig.peer));
    len = rig_call(&rig, side_grant_blob, NULL, 0, blob, sizeof(blob));
    ok(kvf_remote_import(rig.peer, blob, len, &rig.remote, &count));
    mem.rights = 0;
    side_make_memory(&rig.me, &mem, sizeof(mem), NULL);
    ok(kvf_batch_create(rig.me.engine, &rig.batch));
    op = whole_op(&rig, KVF_WRITE);
    start(&rig, &op, &opts, LATE);
    answers(kvf_batch_wait(rig.batch, patient(5)), KVF_ERR_TIMEOUT);
    must(unsettled_of(rig.batch) == 1, "nothing was sent: the test shows nothing");
    rig_call(&rig, side_close, NULL, 0, NULL, 0);
    await_settled(&rig, rig.batch);
    side_close(&rig.me, NULL, 0, NULL);
    proc_end(&rig.owner);
}
END_TEST

/* Each TCP connection of this process. */
static void break_connections(void)
{
    struct sockaddr_storage at;
    socklen_t len;

    for (int fd = 0; fd < 1024; fd++) {
        len = sizeof(at);
        if (!getpeername(fd, (struct sockaddr *)&at, &len) && at.ss_family == AF_INET) {
            shutdown(fd, SHUT_RDWR);
        }
    }
}

/* Its death is one cause among others, and the bytes may lie on its side. */
START_TEST(a_broken_connection_settles_nothing)
{
    kvf_batch_opts_t opts = over(KVF_PATH_AM, 60 * MS), for_ever = over(KVF_PATH_AM, KVF_FOREVER);
    rig_opts_t rig_opts = {.owner_len = LEN, .local_len = LEN};
    kvf_batch_t *held;
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, WHERE_AM, &rig_opts);
    op = whole_op(&rig, KVF_WRITE);
    move(&rig, &op, 1);
    ok(kvf_batch_create(rig.me.engine, &held));
    proc_signal(&rig.owner, SIGSTOP);
    start(&rig, &op, &opts, LATE);
    answers(kvf_batch_wait(rig.batch, patient(5)), KVF_ERR_TIMEOUT);
    answers(kvf_batch_op_settled(rig.batch, 0), KVF_INPROGRESS);
    ok(kvf_batch_post(held, &op, 1, sizeof(op), &for_ever));
    answers(kvf_batch_wait(held, 20 * MS), KVF_INPROGRESS);
    break_connections();
    answers(kvf_batch_wait(held, patient(20)), KVF_ERR_PEER);
    answers(kvf_batch_op_settled(held, 0), KVF_OK);
    answers(kvf_batch_op_settled(rig.batch, 0), KVF_INPROGRESS);
    refused_naming(kvf_engine_close(rig.me.engine, patient(5)), KVF_ERR_TIMEOUT, "connection broke");
    proc_signal(&rig.owner, SIGCONT);
    proc_end(&rig.owner);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("settle");
    TCase *tc = tcase_create("settle");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, nothing_lands_after_a_cancel, 0, 3);
    tcase_add_loop_test(tc, a_stopped_owner_and_what_follows, 0, 3);
    tcase_add_test(tc, nothing_lands_after_a_close);
    tcase_add_loop_test(tc, the_last_word_comes_last, 1, 3);
    tcase_add_test(tc, what_is_settled);
    tcase_add_test(tc, what_a_far_owner_leaves_when_it_closes_is_settled);
    tcase_add_test(tc, what_a_far_owner_never_heard_of_is_settled_when_it_closes);
    tcase_add_test(tc, a_broken_connection_settles_nothing);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

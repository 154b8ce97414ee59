/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What an unsettled WRITE holds back, and what not. The owner has two engines: one far, through which a WRITE
 * is given up while the owner stands still, so that it is unsettled; and one near, through which an op to the
 * same memory would be done at once. Bytes are the same if the owner's process and its own address are.
 */
#include "rig.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK (UINT64_C(64) << 10)
#define COUNT 64u
#define LEN   (BLOCK * COUNT)
#define LATE  0xa1
#define GOOD  0xb2

enum {
    ALLOCATED,
    ADOPTED,
    KINDS
};

typedef struct pair {
    rig_t rig;
    kvf_peer_t *peer; /* the far engine */
    kvf_remote_t *far, *near;
    kvf_batch_t *late;
} pair_t;

/* At the owner: memory that the near engine shares, registered in the far one. */
static void at_open_far(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    static uint8_t blob[BLOB_MAX];
    side_t *side = state;
    kvf_engine_opts_t opts;
    kvf_engine_t *far;
    kvf_segment_t *segment;
    kvf_range_t range = {.len = LEN, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    kvf_grant_t *grant;
    size_t len;

    must(in_len == sizeof(int), "%zu", in_len);
    if (*(const int *)in == ADOPTED) {
        must(posix_memalign(&side->extra[1], 4096, LEN) == 0, "no memory");
        memset(side->extra[1], 0, LEN);
        ok(kvf_segment_adopt(side->engine, side->extra[1], LEN, &side->segment));
        side->mem = side->extra[1];
    }
    range.segment = side->segment;
    ok(kvf_grant_create(side->engine, &range, 1, NULL, &side->grant));
    where_opts(WHERE_AM, &opts);
    ok(kvf_engine_open(&opts, &far));
    ok(kvf_segment_register(far, side->mem, LEN, &segment));
    range.segment = segment;
    ok(kvf_grant_create(far, &range, 1, NULL, &grant));
    side->extra[0] = far;
    engine_blob(far, KVF_BLOB_FAR, blob, &len);
    out_put(out, blob, len);
    side->extra[2] = grant;
}

static void at_grant_far(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    static uint8_t blob[BLOB_MAX];
    side_t *side = state;
    size_t len;

    (void)in;
    (void)in_len;
    grant_blob(side->extra[2], blob, &len);
    out_put(out, blob, len);
}

static void at_close_far(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_engine_close(side->extra[0], patient(5)));
}

static void at_get(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in;
    (void)in_len;
    out_put(out, side->mem, LEN);
}

static void pair_open(pair_t *pair, int kind)
{
    static uint8_t blob[BLOB_MAX];
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    rig_t *rig = &pair->rig;
    uint32_t count = 1;
    size_t len;

    rig_open(rig, WHERE_SHM, &opts);
    len = rig_call(rig, at_open_far, &kind, sizeof(kind), blob, sizeof(blob));
    ok(kvf_peer_import(rig->me.engine, blob, len, &pair->peer));
    len = rig_call(rig, at_grant_far, NULL, 0, blob, sizeof(blob));
    ok(kvf_remote_import(pair->peer, blob, len, &pair->far, &count));
    len = rig_call(rig, side_grant_blob, NULL, 0, blob, sizeof(blob));
    ok(kvf_remote_import(rig->peer, blob, len, &pair->near, &count));
    ok(kvf_batch_create(rig->me.engine, &pair->late));
    memset(rig->me.mem, GOOD, LEN);
}

static void pair_close(pair_t *pair)
{
    ok(kvf_remote_forget(pair->near));
    rig_call(&pair->rig, at_close_far, NULL, 0, NULL, 0);
    rig_close(&pair->rig);
}

/* Blocks of the memory as one op, the lists of both sides the same. */
static kvf_op_t op_of(pair_t *pair, kvf_remote_t *remote, const uint32_t *ids, uint32_t count, uint32_t dir)
{
    kvf_op_t op = op_plain(pair->rig.me.segment, 0, remote, 0, BLOCK, dir);

    op.blocks = count;
    op.local_block = op.remote_block = BLOCK;
    op.local_ids = op.remote_ids = ids;
    return op;
}

/* The connection stands, the owner stands still, and the op is unsettled. */
static void leave_unsettled(pair_t *pair, const kvf_op_t *op)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = 20 * MS};
    kvf_op_t one = op_of(pair, pair->far, NULL, 1, KVF_WRITE);

    ok(run_ops(pair->late, &one, 1, NULL));
    proc_signal(&pair->rig.owner, SIGSTOP);
    memset(pair->rig.me.mem, LATE, LEN);
    ok(kvf_batch_post(pair->late, op, 1, sizeof(*op), &opts));
    answers(kvf_batch_wait(pair->late, patient(5)), KVF_ERR_TIMEOUT);
    answers(kvf_batch_op_settled(pair->late, 0), KVF_INPROGRESS);
    memset(pair->rig.me.mem, GOOD, LEN);
}

static void go_on(pair_t *pair)
{
    uint64_t end = now_ns() + patient(10);

    proc_signal(&pair->rig.owner, SIGCONT);
    while (kvf_batch_op_settled(pair->late, 0) == KVF_INPROGRESS) {
        must(now_ns() < end, "the owner runs again, and does not answer");
        ok(kvf_progress(pair->rig.me.engine));
        sleep_ms(1);
    }
}

static void is_held(pair_t *pair, const kvf_op_t *op)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = 10 * MS};

    ok(kvf_batch_post(pair->rig.batch, op, 1, sizeof(*op), &opts));
    refused_naming(kvf_batch_wait(pair->rig.batch, patient(5)), KVF_ERR_TIMEOUT, "held back|op 0 overlaps");
}

static void is_not_held(pair_t *pair, const kvf_op_t *op)
{
    ok(kvf_batch_post(pair->rig.batch, op, 1, sizeof(*op), NULL));
    ok(kvf_batch_wait(pair->rig.batch, patient(2)));
}

/* Another engine of the owner, another address of the same adopted pages: the same bytes. */
START_TEST(the_same_bytes_by_another_way_are_held_back)
{
    pair_t pair;
    kvf_op_t late, op;
    uint8_t *have = malloc(LEN);

    pair_open(&pair, _i);
    late = op_of(&pair, pair.far, NULL, COUNT, KVF_WRITE);
    leave_unsettled(&pair, &late);
    for (uint32_t dir = KVF_READ; dir <= KVF_WRITE; dir++) {
        op = op_of(&pair, pair.near, NULL, COUNT, dir);
        is_held(&pair, &op);
    }
    ok(kvf_batch_post(pair.rig.batch, &op, 1, sizeof(op), NULL));
    answers(kvf_batch_test(pair.rig.batch), KVF_INPROGRESS);
    go_on(&pair);
    ok(kvf_batch_wait(pair.rig.batch, patient(10)));
    sleep_ms(5);
    rig_call(&pair.rig, at_get, NULL, 0, have, LEN);
    for (uint64_t i = 0; i < LEN; i++)
        must(have[i] == GOOD, "byte %llu is 0x%x", (unsigned long long)i, have[i]);
    free(have);
    pair_close(&pair);
}
END_TEST

/* Blocks between those of an unsettled WRITE go their way, in whatever order its list was. */
START_TEST(only_blocks_that_overlap_are_held_back)
{
    static const uint32_t late_ids[] = {9, 0, 2, 10, 3, 30}, free_ids[] = {31, 1, 8, 4, 29};
    static const uint32_t edge[] = {29, 31, 10}, skipped[] = {11, KVF_SKIP, 12};
    static const uint32_t skip_late[] = {40, KVF_SKIP, 42}, forty_one = 41;
    pair_t pair;
    kvf_op_t op;

    pair_open(&pair, ALLOCATED);
    op = _i == 0 ? op_of(&pair, pair.far, late_ids, 6, KVF_WRITE)
                 : op_of(&pair, pair.far, skip_late, 3, KVF_WRITE);
    leave_unsettled(&pair, &op);
    if (_i == 0) {
        for (uint32_t dir = KVF_READ; dir <= KVF_WRITE; dir++) {
            op = op_of(&pair, pair.near, free_ids, 5, dir);
            is_not_held(&pair, &op);
            op = op_of(&pair, pair.near, edge, 3, dir);
            is_held(&pair, &op);
        }
        op = op_of(&pair, pair.near, skipped, 3, KVF_WRITE);
        is_not_held(&pair, &op);
    } else {
        op = op_of(&pair, pair.near, &forty_one, 1, KVF_WRITE);
        is_not_held(&pair, &op);
        op = op_of(&pair, pair.near, NULL, COUNT, KVF_WRITE);
        is_held(&pair, &op);
    }
    go_on(&pair);
    is_not_held(&pair, &op);
    pair_close(&pair);
}
END_TEST

/* Pieces with gaps: one more byte than a gap has is one too many. */
START_TEST(gaps_of_a_strided_box_are_free)
{
    pair_t pair;
    kvf_op_t late, op;

    pair_open(&pair, ALLOCATED);
    late = op_plain(pair.rig.me.segment, 0, pair.far, 0, 64, KVF_WRITE);
    late.count[0] = 16;
    late.count[1] = 32;
    late.local_stride[0] = late.remote_stride[0] = 128;
    late.local_stride[1] = late.remote_stride[1] = 4096;
    leave_unsettled(&pair, &late);
    op = late;
    op.remote = pair.near;
    op.remote_off = 64;
    is_not_held(&pair, &op);
    op.len = 65;
    is_held(&pair, &op);
    go_on(&pair);
    pair_close(&pair);
}
END_TEST

/* Of so many pieces only where the first and the last one lie is kept. */
START_TEST(a_long_list_holds_back_what_lies_between)
{
    static uint32_t ids[LEN / 512];
    pair_t pair;
    kvf_op_t late, op;

    for (uint32_t i = 0; i < LEN / 512; i++)
        ids[i] = i ^ 1;
    pair_open(&pair, ALLOCATED);
    late = op_of(&pair, pair.far, ids, LEN / 512 - 2, KVF_WRITE);
    late.len = late.local_block = late.remote_block = 512;
    leave_unsettled(&pair, &late);
    op = late;
    op.remote = pair.near;
    op.blocks = 1;
    is_held(&pair, &op);
    op.remote_off = LEN - 1024;
    is_not_held(&pair, &op);
    go_on(&pair);
    pair_close(&pair);
}
END_TEST

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Each op asks the same of us, however many are unsettled beside it: of tens of thousands, microseconds. */
START_TEST(many_ops_are_given_up_and_settled_one_by_one)
{
    enum {
        OPS = 20000
    }; /* more do not leave while the owner stands still */
    kvf_op_t *ops = calloc(OPS, sizeof(*ops));
    uint64_t before;
    pair_t pair;

    pair_open(&pair, ALLOCATED);
    for (uint32_t i = 0; i < OPS; i++)
        ops[i] = op_plain(pair.rig.me.segment, 0, pair.far, i * 128u, 64, KVF_WRITE);
    ok(run_ops(pair.late, ops, 1, NULL));
    proc_signal(&pair.rig.owner, SIGSTOP);
    ok(kvf_batch_post(pair.late, ops, OPS, sizeof(*ops), NULL));
    answers(kvf_batch_wait(pair.late, 20 * MS), KVF_INPROGRESS);
    before = cpu_ns();
    answers(kvf_batch_cancel(pair.late), KVF_ERR_CANCELED);
    must(kvf_batch_op_settled(pair.late, 0) == KVF_INPROGRESS, "it is settled: the test shows nothing");
    for (uint32_t i = 0; i < OPS; i++) {
        ops[i].remote = pair.near;
        ops[i].remote_off += 64;
        ops[i].len = 32;
    }
    ok(run_ops(pair.rig.batch, ops, OPS, NULL));
    before = cpu_ns() - before;
    must(before < patient(1) / 6, "%llu us of %u ops", (unsigned long long)before / 1000, OPS);
    go_on(&pair);
    free(ops);
    pair_close(&pair);
}
END_TEST

int main(void)
{
#ifdef __SANITIZE_THREAD__ /* it does not see that the other process has waited for this one's engines */
    const int kinds = 0;
#else
    const int kinds = KINDS;
#endif
    Suite *suite = suite_create("held");
    TCase *tc = tcase_create("held");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, the_same_bytes_by_another_way_are_held_back, 0, kinds);
    tcase_add_loop_test(tc, only_blocks_that_overlap_are_held_back, 0, 2);
    tcase_add_test(tc, gaps_of_a_strided_box_are_free);
    tcase_add_test(tc, a_long_list_holds_back_what_lies_between);
    tcase_add_test(tc, many_ops_are_given_up_and_settled_one_by_one);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

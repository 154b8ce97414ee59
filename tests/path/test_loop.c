/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A path of a test's own (loop.c) serves boxes as those of the library do: right bytes in both directions,
 * counted on its row, named in sentences; blocks that have gone stale, a grant that is revoked and a batch
 * that is cancelled in the middle end as on every sliced path; what cannot be prepared refuses the post
 * before a byte moves. Each test is between an engine and itself, and between two of one process.
 */
#include "rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LOOP   ((kvf_path_t)KVF_PATH_COUNT)
#define BIG    (UINT64_C(16) << 20)
#define BLOCK  4096u
#define BLOCKS 16u

/* Blocks of 3 pieces in 2 rows each, the ids of one side backwards. */
static kvf_op_t boxes(const rig_t *rig, uint32_t ids[BLOCKS], uint32_t dir)
{
    kvf_op_t op = op_plain(rig->me.segment, 64, rig->remote, 32, 100, dir);

    for (uint32_t i = 0; i < BLOCKS; i++) {
        ids[i] = BLOCKS - 1 - i;
    }
    op.count[0] = 3;
    op.count[1] = 2;
    op.local_stride[0] = 128;
    op.local_stride[1] = 1024;
    op.remote_stride[0] = 256;
    op.remote_stride[1] = 2048;
    op.blocks = BLOCKS;
    op.local_block = op.remote_block = BLOCK;
    op.local_cap = op.remote_cap = BLOCKS;
    op.remote_ids = ids;
    return op;
}

static uint64_t bytes_of(kvf_engine_t *engine, kvf_path_t path, uint32_t dir)
{
    kvf_flow_t flow = {.struct_size = sizeof(flow)};
    uint64_t cursor = 0, bytes = 0;

    while (kvf_engine_flow(engine, &cursor, &flow) == KVF_OK) {
        bytes += flow.path == (uint32_t)path && flow.dir == dir ? flow.bytes : 0;
    }
    return bytes;
}

/* The same box over self into what the test keeps, and over loop: the same image. */
START_TEST(boxes_arrive_in_both_directions)
{
    rig_t rig;
    kvf_batch_opts_t on_self = {.struct_size = sizeof(on_self), .paths = KVF_PATH_BIT(KVF_PATH_SELF)};
    uint32_t ids[BLOCKS], dir = (uint32_t)_i & 1;
    uint8_t *want = malloc(1 << 20), *have = malloc(1 << 20);
    kvf_path_t path = KVF_PATH_NONE;
    kvf_op_t op;

    rig_open(&rig, _i < 2 ? WHERE_SELF : WHERE_TWIN, NULL);
    for (int over_loop = 0; over_loop < 2; over_loop++) {
        uint8_t *image = over_loop ? have : want;

        owner_fill(&rig, 1);
        pattern_fill(rig.me.mem, rig.me.len, 2);
        op = boxes(&rig, ids, dir);
        ok(run_ops(rig.batch, &op, 1, over_loop ? NULL : &on_self));
        if (dir == KVF_READ) {
            memcpy(image, rig.me.mem, rig.me.len);
        } else {
            owner_get(&rig, 0, image, 1 << 20);
        }
    }
    must(memcmp(want, have, 1 << 20) == 0, "the two paths moved different bytes");
    must(bytes_of(rig.me.engine, LOOP, dir) == 6 * 100 * BLOCKS, "%zu bytes on its row",
         (size_t)bytes_of(rig.me.engine, LOOP, dir));
    must(bytes_of(rig.me.engine, KVF_PATH_SELF, dir) == 6 * 100 * BLOCKS, "bytes on the row of self");
    ok(kvf_path_of(rig.me.segment, rig.remote, 0, &path));
    must(path == LOOP, "the path is %d", (int)path);
    ok(kvf_path_of_op(&op, sizeof(op), 0, &path));
    must(path == LOOP, "that of the op is %d", (int)path);
    ok(kvf_engine_path_check(rig.me.engine, LOOP));
    refused(kvf_path_of(rig.me.segment, rig.remote, KVF_PATH_BIT(KVF_PATH_SHM), &path), KVF_ERR_NO_PATH,
            "no path: loop: forbidden by mask; self: forbidden by mask; shm: the peer is this process");
    free(want);
    free(have);
    rig_close(&rig);
}
END_TEST

static void at_pool(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t ids[BLOCKS], gens[BLOCKS], stale[2] = {3, 7};

    (void)in;
    (void)in_len;
    ok(kvf_pool_alloc(side->pool, BLOCKS, ids));
    for (uint32_t i = 0; i < BLOCKS; i++) {
        ids[i] = i;
    }
    ok(kvf_pool_generations(side->pool, BLOCKS, ids, gens));
    ok(kvf_pool_raise(side->pool, 2, stale));
    out_put(out, gens, sizeof(gens));
}

START_TEST(blocks_that_have_gone_stale_are_told)
{
    static const rig_opts_t opts = {.pool_blocks = BLOCKS, .block_bytes = BLOCK};
    rig_t rig;
    uint32_t gens[BLOCKS];
    int8_t status[BLOCKS];
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &opts);
    owner_fill(&rig, 3);
    rig_call(&rig, at_pool, NULL, 0, gens, sizeof(gens));
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BLOCK, KVF_READ);
    op.blocks = BLOCKS;
    op.local_block = op.remote_block = BLOCK;
    op.remote_gens = gens;
    op.block_status = status;
    answers(run_ops(rig.batch, &op, 1, NULL), KVF_ERR_STALE);
    must(strstr(kvf_last_error(), " over loop, ended with KVF_ERR_STALE") != NULL, "%s", kvf_last_error());
    for (uint32_t i = 0; i < BLOCKS; i++) {
        must(status[i] == (i == 3 || i == 7 ? KVF_ERR_STALE : KVF_OK), "pair %u: %d", i, status[i]);
    }
    rig_close(&rig);
}
END_TEST

/* A batch of which some parts have been copied and most have not. */
static void begin(rig_t *rig, where_t where, uint32_t dir)
{
    static const rig_opts_t opts = {.owner_len = BIG, .local_len = BIG};
    kvf_op_t op;

    rig_open(rig, where, &opts);
    owner_fill(rig, 1);
    pattern_fill(rig->me.mem, BIG, 2);
    op = op_plain(rig->me.segment, 0, rig->remote, 0, BIG, dir);
    ok(kvf_batch_post(rig->batch, &op, 1, sizeof(op), NULL));
    ok(kvf_progress(rig->me.engine));
}

static void ended_midway(rig_t *rig, kvf_status_t status)
{
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    kvf_flow_t flow = {.struct_size = sizeof(flow)};
    uint64_t cursor = 0;

    ok(kvf_batch_result(rig->batch, &result));
    must(result.status == status && result.unsettled == 0, "%s", kvf_status_name(result.status));
    ok(kvf_engine_flow(rig->me.engine, &cursor, &flow));
    must(flow.path == LOOP && flow.bytes > 0 && flow.bytes < BIG, "%zu bytes on path %u", (size_t)flow.bytes,
         flow.path);
    must(flow.calls == 2 * flow.pieces, "%zu calls", (size_t)flow.calls);
}

START_TEST(a_revoke_ends_what_runs)
{
    rig_t rig;

    begin(&rig, (where_t)_i, KVF_READ);
    ok(owner_revoke(&rig, patient(1)));
    answers(kvf_batch_wait(rig.batch, patient(5)), KVF_ERR_REVOKED);
    ended_midway(&rig, KVF_ERR_REVOKED);
    rig_close(&rig);
}
END_TEST

START_TEST(a_cancel_leaves_all_quiet)
{
    rig_t rig;
    uint8_t *before = malloc(BIG), *after = malloc(BIG);

    begin(&rig, _i < 2 ? WHERE_SELF : WHERE_TWIN, (uint32_t)_i & 1);
    answers(kvf_batch_cancel(rig.batch), KVF_ERR_CANCELED);
    ended_midway(&rig, KVF_ERR_CANCELED);
    if (_i & 1) {
        owner_get(&rig, 0, before, BIG);
    } else {
        memcpy(before, rig.me.mem, BIG);
    }
    for (int i = 0; i < 8; i++) {
        ok(kvf_progress(rig.me.engine));
    }
    if (_i & 1) {
        owner_get(&rig, 0, after, BIG);
    } else {
        memcpy(after, rig.me.mem, BIG);
    }
    must(memcmp(before, after, BIG) == 0, "bytes moved after the cancel");
    free(before);
    free(after);
    rig_close(&rig);
}
END_TEST

START_TEST(what_cannot_be_prepared_names_its_op)
{
    rig_t rig;
    struct rlimit before, none;
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, NULL);
    owner_fill(&rig, 1);
    pattern_fill(rig.me.mem, rig.me.len, 2);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BLOCK, KVF_READ);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    refused(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL), KVF_ERR_SYSTEM, "op 0: no pipe");
    setrlimit(RLIMIT_NOFILE, &before);
    must(pattern_compare(rig.me.mem, rig.me.len, 2) == UINT64_MAX, "a byte came");
    move(&rig, &op, 1);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *tc = tcase_create("loop");

    tcase_add_loop_test(tc, boxes_arrive_in_both_directions, 0, 4);
    tcase_add_loop_test(tc, blocks_that_have_gone_stale_are_told, WHERE_SELF, WHERE_SHM);
    tcase_add_loop_test(tc, a_revoke_ends_what_runs, WHERE_SELF, WHERE_SHM);
    tcase_add_loop_test(tc, a_cancel_leaves_all_quiet, 0, 4);
    tcase_add_loop_test(tc, what_cannot_be_prepared_names_its_op, WHERE_SELF, WHERE_SHM);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hazard: nothing to do is read as everything. No blocks move nothing, never the box once; a batch
 * of no ops is done at once and still notifies; memory of zero bytes is refused and the engine works
 * on.
 */
#include "rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(an_op_of_no_blocks_moves_nothing)
{
    rig_t rig;
    uint32_t ids[1] = {0};
    int8_t status[1] = {99};
    kvf_batch_result_t result = {.struct_size = sizeof(result)};

    rig_open(&rig, (where_t)_i, NULL);
    pattern_fill(rig.me.mem, rig.me.len, 1);
    owner_fill(&rig, 2);
    for (uint32_t k = 0; k < 16; k++) {
        kvf_op_t op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, k & 1);

        op.blocks = 0;
        op.local_ids = (k & 2) != 0 ? ids : NULL;
        op.remote_ids = (k & 4) != 0 ? ids : NULL;
        op.block_status = status;
        op.local_block = op.remote_block = (k & 8) != 0 ? 4096 : 0;
        move(&rig, &op, 1);
        ok(kvf_batch_op_status(rig.batch, 0));
        ok(kvf_batch_result(rig.batch, &result));
        must(result.bytes == 0 && result.pieces == 0, "%zu bytes", (size_t)result.bytes);
    }
    must(status[0] == 99, "the status of no pair was written");
    must(pattern_compare(rig.me.mem, rig.me.len, 1) == UINT64_MAX, "a read moved bytes");
    must(owner_compare(&rig, 2) == UINT64_MAX, "a write moved bytes");
    rig_close(&rig);
}
END_TEST

START_TEST(an_op_of_no_blocks_beside_others)
{
    rig_t rig;
    kvf_op_t ops[3];

    rig_open(&rig, (where_t)_i, NULL);
    owner_fill(&rig, 2);
    for (int k = 0; k < 3; k++) {
        ops[k] = op_plain(rig.me.segment, (uint64_t)k * 4096, rig.remote, (uint64_t)k * 4096, 4096, KVF_READ);
    }
    ops[1].blocks = 0;
    move(&rig, ops, 3);
    must(pattern_compare(rig.me.mem, 4096, 2) == UINT64_MAX, "op 0");
    must(rig.me.mem[4096] == 0 && rig.me.mem[8191] == 0, "op 1 moved bytes");
    must(rig.me.mem[8192] != 0 || rig.me.mem[8193] != 0, "op 2");
    rig_close(&rig);
}
END_TEST

START_TEST(memory_of_zero_bytes_is_refused_and_the_engine_works_on)
{
    rig_t rig;
    kvf_segment_t *segment = NULL;
    kvf_grant_t *grant = NULL;
    kvf_pool_t *pool = NULL;
    kvf_pool_opts_t pool_opts = {.struct_size = sizeof(pool_opts), .blocks = 0, .block_bytes = 64};
    kvf_range_t range = {.rights = KVF_RIGHT_READ};
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, NULL);
    owner_fill(&rig, 2);
    refused(kvf_segment_register(rig.me.engine, rig.me.mem, 0, &segment), KVF_ERR_INVALID, NULL);
    refused(kvf_segment_alloc(rig.me.engine, 0, &segment), KVF_ERR_INVALID, NULL);
    refused(kvf_pool_create(rig.me.engine, &pool_opts, &pool), KVF_ERR_INVALID, NULL);
    range.segment = rig.me.segment;
    refused(kvf_grant_create(rig.me.engine, &range, 1, NULL, &grant), KVF_ERR_INVALID, NULL);
    refused(kvf_grant_create(rig.me.engine, &range, 0, NULL, &grant), KVF_ERR_INVALID, NULL);
    must(segment == NULL && grant == NULL && pool == NULL, "an output of a failure");
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 0, KVF_READ);
    refused_naming(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL), KVF_ERR_INVALID, "op 0|len");
    op.len = 4096;
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, 4096, 2) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nothing");
    TCase *tc = tcase_create("nothing");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, an_op_of_no_blocks_moves_nothing, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, an_op_of_no_blocks_beside_others, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, memory_of_zero_bytes_is_refused_and_the_engine_works_on, 0, WHERE_COUNT);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What of a request arrived, where the loss is known block for block: nothing is lost, source
 * blocks were reused, a source has revoked, is dead or frozen. Statuses of entries and the prefix
 * must be exactly that, over each path, and what they call arrived must be there byte for byte.
 */
#include <check.h>
#include <signal.h>
#include <string.h>

#include "sources.h"

/* The owner uses its blocks again. in: blocks of the request. */
static void at_reuse(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t blocks[BLOCKS], count = (uint32_t)(in_len / sizeof(blocks[0]));

    (void)out;
    memcpy(blocks, in, in_len);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = source_block(blocks[i]);

        ok(kvf_pool_raise(side->pool, 1, &id));
    }
}

START_TEST(all_of_it_arrives_where_nothing_goes_wrong)
{
    static sources_t w;

    for (uint32_t replicas = 0; replicas < 2; replicas++) {
        sources_open(&w, (where_t)_i, replicas, LITTLE, 0);
        must(sources_pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
        sources_check(&w);
        must(w.results.status == KVF_OK && w.results.prefix_tokens == TO - FROM, "not all");
        must(w.results.arrived == (replicas ? 1 : SOURCES) * BLOCKS && w.results.skipped == 0, "%zu pairs",
             (size_t)w.results.arrived);
        for (uint32_t e = 0; e < ENTRIES; e++)
            must(w.entries[e] == KVF_OK, "entry %u: %d", e, w.entries[e]);
        sources_close(&w);
        if (w.where == WHERE_STAGE) /* what is forbidden stays so, for a next engine's children too */
            break;
    }
}
END_TEST

START_TEST(reused_blocks_are_stale_each_in_its_entry)
{
    static sources_t w;
    const uint32_t one[] = {21, 22, 40}, other[] = {9, 63}; /* of source 0, of source 1 */

    sources_open(&w, (where_t)_i, 0, LITTLE, 0);
    proc_call(&w.child[0], at_reuse, one, sizeof(one), NULL, 0);
    must(sources_pull(&w, 0) == KVF_ERR_STALE, "no reused block");
    sources_check(&w);
    for (uint32_t e = 0; e < ENTRIES; e++)
        must(w.entries[e] == (e == 5 || e == 10 ? KVF_ERR_STALE : KVF_OK), "entry %u: %d", e, w.entries[e]);
    must(w.results.prefix_tokens == 21 * SMALL - FROM && w.results.missing_token == 21 * SMALL,
         "a prefix of %zu", (size_t)w.results.prefix_tokens);
    must(w.results.failed == 3 && w.results.arrived == SOURCES * BLOCKS - 3, "pairs");
    proc_call(&w.child[1], at_reuse, other, sizeof(other), NULL, 0);
    must(sources_pull(&w, 0) == KVF_ERR_STALE, "no reused block");
    sources_check(&w);
    for (uint32_t e = 0; e < ENTRIES; e++)
        must(w.entries[e] == (e == 2 || e == 5 || e == 10 || e == 15 ? KVF_ERR_STALE : KVF_OK),
             "entry %u: %d", e, w.entries[e]);
    must(w.results.prefix_tokens == 9 * SMALL - FROM, "a prefix of %zu", (size_t)w.results.prefix_tokens);
    sources_close(&w);
}
END_TEST

/* Of two that hold the same, each serves every other block: the loss is known block for block. */
START_TEST(a_dead_replica_loses_its_blocks_and_no_other)
{
    static sources_t w;
    uint32_t dead = (uint32_t)_i % 2, looks = 100;

    sources_open(&w, _i < 2 ? WHERE_SHM : WHERE_AM, 1, LITTLE, 0);
    must(sources_pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
    proc_signal(&w.child[dead], SIGKILL);
    /* a neighbour's life is looked at now and then */
    while (sources_pull(&w, 0) == KVF_OK && looks-- > 0)
        sleep_ms(100);
    sources_check(&w);
    for (uint32_t e = 0; e < ENTRIES; e++) {
        kvf_status_t want = e % SOURCES == dead ? KVF_ERR_PEER : KVF_OK;

        must(w.entries[e] == want, "entry %u: %d", e, w.entries[e]);
    }
    must(w.results.prefix_tokens == (dead == 0 ? 0 : LARGE - FROM), "a prefix of %zu",
         (size_t)w.results.prefix_tokens);
    sources_close(&w);
}
END_TEST

START_TEST(a_source_that_revoked_fails_all_entries)
{
    static sources_t w;

    sources_open(&w, (where_t)_i, 0, LITTLE, 0);
    proc_call(&w.child[1], source_revoke, NULL, 0, NULL, 0);
    must(sources_pull(&w, 0) == KVF_ERR_REVOKED, "a revoked source serves");
    sources_check(&w);
    for (uint32_t e = 0; e < ENTRIES; e++)
        must(w.entries[e] == KVF_ERR_REVOKED, "entry %u: %d", e, w.entries[e]);
    must(w.results.prefix_tokens == 0 && w.results.missing_token == FROM, "a prefix");
    must(w.results.arrived == BLOCKS && w.results.failed == BLOCKS, "pairs");
    sources_close(&w);
}
END_TEST

/* A frozen far source sends nothing; the other's half has arrived. */
START_TEST(a_frozen_source_times_out_alone)
{
    static sources_t w;

    sources_open(&w, (where_t)_i, 0, LITTLE, 0);
    must(sources_pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
    proc_signal(&w.child[0], SIGSTOP);
    must(sources_pull(&w, 300 * MS) == KVF_ERR_TIMEOUT, "a frozen source serves");
    sources_check(&w);
    must(w.results.arrived == BLOCKS && w.results.failed == BLOCKS, "%zu pairs arrived",
         (size_t)w.results.arrived);
    must(w.results.prefix_tokens == 0 && w.results.status == KVF_ERR_TIMEOUT, "a prefix");
    proc_signal(&w.child[0], SIGCONT);
    must(sources_pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
    sources_check(&w);
    sources_close(&w);
}
END_TEST

/* One batch for both: an op that fails takes no other with it. */
START_TEST(sources_in_one_batch_fail_apart)
{
    static sources_t w;
    static kvf_op_t ops[SOURCES * MAX_OPS];
    const uint32_t reused[] = {30};
    size_t count = 0;

    sources_open(&w, (where_t)_i, 0, LITTLE, 0);
    for (uint32_t i = 0; i < SOURCES; i++)
        for (size_t o = 0; o < w.source[i].op_count; o++)
            ops[count++] = w.source[i].ops[o];
    proc_call(&w.child[1], at_reuse, reused, sizeof(reused), NULL, 0);
    sources_begin(&w);
    must(run_ops(w.source[0].batch, ops, count, NULL) == KVF_ERR_STALE, "no reused block");
    for (uint32_t i = 0; i < SOURCES; i++)
        ok(kvf_plan_results(w.source[i].plan, &w.source[i].bind, KVF_OK, &w.results));
    sources_check(&w);
    must(w.results.failed == 1 && w.results.prefix_tokens == 30 * SMALL - FROM, "%zu failed",
         (size_t)w.results.failed);
    sources_close(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("results");
    TCase *tc = tcase_create("results");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, all_of_it_arrives_where_nothing_goes_wrong, WHERE_SHM, WHERE_COUNT);
    for (int where = WHERE_SHM; where <= WHERE_AM; where += WHERE_AM - WHERE_SHM) {
        tcase_add_loop_test(tc, reused_blocks_are_stale_each_in_its_entry, where, where + 1);
        tcase_add_loop_test(tc, sources_in_one_batch_fail_apart, where, where + 1);
    }
    tcase_add_loop_test(tc, a_dead_replica_loses_its_blocks_and_no_other, 0, 4);
    tcase_add_loop_test(tc, a_source_that_revoked_fails_all_entries, WHERE_SHM, WHERE_COUNT);
    tcase_add_loop_test(tc, a_frozen_source_times_out_alone, WHERE_STAGE, WHERE_COUNT);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

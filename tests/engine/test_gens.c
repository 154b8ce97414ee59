/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Pools and generations: a block that was overwritten while it was read is reported, never returned
 * as good. The last test lets an owner overwrite blocks at full speed under a guarded reader and
 * demands that each pair that ended OK holds the bytes of exactly one generation.
 */
#include "rig.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCKS 32u
#define BLOCK  4096u

static const rig_opts_t pool_opts = {.pool_blocks = BLOCKS, .block_bytes = BLOCK};

typedef struct ids {
    uint32_t count;
    uint32_t id[BLOCKS];
} ids_t;

static void at_take(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    ids_t ids;

    (void)in_len;
    memcpy(&ids, in, sizeof(ids));
    ok(kvf_pool_alloc(side->pool, ids.count, ids.id));
    out_put(out, &ids, sizeof(ids));
}

static void at_free(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const ids_t *ids = in;

    (void)in_len;
    (void)out;
    ok(kvf_pool_free(side->pool, ids->count, ids->id));
}

static void at_raise(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const ids_t *ids = in;

    (void)in_len;
    (void)out;
    ok(kvf_pool_raise(side->pool, ids->count, ids->id));
}

static void at_gens(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const ids_t *ids = in;
    uint32_t gens[BLOCKS];

    (void)in_len;
    ok(kvf_pool_generations(side->pool, ids->count, ids->id, gens));
    out_put(out, gens, ids->count * sizeof(gens[0]));
}

static ids_t first(uint32_t count)
{
    ids_t ids = {.count = count};

    for (uint32_t i = 0; i < count; i++) {
        ids.id[i] = i;
    }
    return ids;
}

static void owner_gens(rig_t *rig, ids_t ids, uint32_t *gens)
{
    rig_call(rig, at_gens, &ids, sizeof(ids), gens, BLOCKS * sizeof(gens[0]));
}

static kvf_op_t blocks_op(rig_t *rig, uint32_t count, const uint32_t *gens, int8_t *status)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, 0, BLOCK, KVF_READ);

    op.blocks = count;
    op.local_block = op.remote_block = BLOCK;
    op.remote_gens = gens;
    op.block_status = status;
    return op;
}

START_TEST(a_guarded_read_of_unchanged_blocks_is_ok)
{
    rig_t rig;
    uint32_t gens[BLOCKS];
    int8_t status[8];
    kvf_op_t op;
    kvf_remote_attr_t attr = {.struct_size = sizeof(attr)};
    ids_t ids = first(8);

    rig_open(&rig, (where_t)_i, &pool_opts);
    ok(kvf_remote_query(rig.remote, &attr));
    must(attr.guarded == 1, "a pool's remote is not guarded");
    rig_call(&rig, at_take, &ids, sizeof(ids), &ids, sizeof(ids));
    owner_fill(&rig, 3);
    owner_gens(&rig, ids, gens);
    op = blocks_op(&rig, 8, gens, status);
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, 8 * BLOCK, 3) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

START_TEST(a_raised_or_freed_block_is_stale_and_only_it)
{
    rig_t rig;
    uint32_t gens[BLOCKS];
    int8_t status[8];
    kvf_op_t op;
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    kvf_counters_t counters = {.struct_size = sizeof(counters)};
    ids_t ids = first(8);
    ids_t raised = {.count = 2, .id = {2, 5}};
    ids_t freed = {.count = 1, .id = {7}};

    rig_open(&rig, (where_t)_i, &pool_opts);
    rig_call(&rig, at_take, &ids, sizeof(ids), &ids, sizeof(ids));
    owner_fill(&rig, 3);
    owner_gens(&rig, ids, gens);
    rig_call(&rig, at_raise, &raised, sizeof(raised), NULL, 0);
    rig_call(&rig, at_free, &freed, sizeof(freed), NULL, 0);
    op = blocks_op(&rig, 8, gens, status);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    answers(kvf_batch_wait(rig.batch, patient(5)), KVF_ERR_STALE);
    for (uint32_t i = 0; i < 8; i++) {
        int stale = i == 2 || i == 5 || i == 7;

        must(status[i] == (stale ? KVF_ERR_STALE : KVF_OK), "pair %u: %d", i, status[i]);
        if (!stale) {
            uint8_t want[8 * BLOCK];

            pattern_fill(want, sizeof(want), 3);
            must(memcmp(rig.me.mem + i * BLOCK, want + i * BLOCK, BLOCK) == 0, "block %u", i);
        }
    }
    ok(kvf_batch_result(rig.batch, &result));
    must(result.stale_blocks == 3 && result.bad_op == 0, "%zu stale", (size_t)result.stale_blocks);
    must(result.status == KVF_ERR_STALE && result.bytes == 8 * BLOCK, "the result: %zu bytes",
         (size_t)result.bytes);
    ok(kvf_engine_counters(rig.me.engine, &counters));
    must(counters.stale_blocks == 3, "the counter");
    owner_gens(&rig, ids, gens);
    op = blocks_op(&rig, 8, gens, status);
    move(&rig, &op, 1);
    rig_close(&rig);
}
END_TEST

/* Skipped pairs need no generation; ids that are scattered are guarded by their own block. */
START_TEST(generations_follow_the_ids)
{
    rig_t rig;
    uint32_t gens[BLOCKS];
    uint32_t ids[6] = {9, 3, KVF_SKIP, 20, 31, 0};
    uint32_t want[6];
    int8_t status[6];
    ids_t all = first(BLOCKS);
    ids_t raised = {.count = 2, .id = {3, 31}};
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &pool_opts);
    rig_call(&rig, at_take, &all, sizeof(all), &all, sizeof(all));
    rig_call(&rig, at_raise, &raised, sizeof(raised), NULL, 0);
    owner_gens(&rig, all, gens);
    for (int i = 0; i < 6; i++) {
        want[i] = ids[i] == KVF_SKIP ? 0xdead : gens[ids[i]];
    }
    op = blocks_op(&rig, 6, want, status);
    op.remote_ids = ids;
    move(&rig, &op, 1);
    must(status[2] == KVF_SKIPPED, "%d", status[2]);
    want[4]--;
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    answers(kvf_batch_wait(rig.batch, patient(5)), KVF_ERR_STALE);
    must(status[4] == KVF_ERR_STALE && status[3] == KVF_OK && status[1] == KVF_OK, "wrong pair");
    rig_close(&rig);
}
END_TEST

/* A grant of blocks 10..19: its remote id 0 is block 10. */
static void at_grant_from_10(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_range_t range = {.segment = side->segment,
                         .off = 10 * BLOCK,
                         .len = 10 * BLOCK,
                         .rights = KVF_RIGHT_READ,
                         .first_block = 10};
    kvf_grant_t *grant = NULL;
    uint8_t buf[BLOB_MAX];
    size_t len;

    (void)in;
    (void)in_len;
    ok(kvf_grant_create(side->engine, &range, 1, NULL, &grant));
    grant_blob(grant, buf, &len);
    out_put(out, buf, len);
}

START_TEST(first_block_says_which_generation_guards_id_0)
{
    rig_t rig;
    uint8_t buf[BLOB_MAX];
    size_t len;
    kvf_remote_t *remote = NULL;
    uint32_t count = 1;
    uint32_t gens[BLOCKS];
    int8_t status[10];
    ids_t all = first(BLOCKS);
    ids_t raised = {.count = 1, .id = {12}};
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &pool_opts);
    rig_call(&rig, at_take, &all, sizeof(all), &all, sizeof(all));
    owner_gens(&rig, all, gens);
    len = rig_call(&rig, at_grant_from_10, NULL, 0, buf, sizeof(buf));
    ok(kvf_remote_import(rig.peer, buf, len, &remote, &count));
    rig_call(&rig, at_raise, &raised, sizeof(raised), NULL, 0);
    op = blocks_op(&rig, 10, gens + 10, status);
    op.remote = remote;
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    answers(kvf_batch_wait(rig.batch, patient(5)), KVF_ERR_STALE);
    for (int i = 0; i < 10; i++) {
        must(status[i] == (i == 2 ? KVF_ERR_STALE : KVF_OK), "pair %d: %d", i, status[i]);
    }
    ok(kvf_remote_forget(remote));
    rig_close(&rig);
}
END_TEST

START_TEST(a_pool_hands_out_the_lowest_ids_all_or_none)
{
    kvf_engine_t *engine = NULL;
    kvf_pool_t *pool = NULL;
    kvf_pool_opts_t opts = {.struct_size = sizeof(opts), .blocks = 8, .block_bytes = 100};
    uint32_t ids[9];
    uint32_t gens[8];
    uint32_t later[8];
    static const uint32_t all[8] = {0, 1, 2, 3, 4, 5, 6, 7};

    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_pool_create(engine, &opts, &pool));
    must(kvf_pool_available(pool) == 8, "%u", kvf_pool_available(pool));
    ok(kvf_pool_alloc(pool, 5, ids));
    for (uint32_t i = 0; i < 5; i++) {
        must(ids[i] == i, "id %u is %u", i, ids[i]);
    }
    ok(kvf_pool_generations(pool, 8, all, gens));
    ids[0] = 3;
    ids[1] = 1;
    ok(kvf_pool_free(pool, 2, ids));
    ok(kvf_pool_generations(pool, 8, all, later));
    for (uint32_t i = 0; i < 8; i++) {
        must((later[i] != gens[i]) == (i == 1 || i == 3), "generation of block %u", i);
    }
    refused(kvf_pool_alloc(pool, 6, ids), KVF_ERR_BUSY, NULL);
    must(kvf_pool_available(pool) == 5, "a refused alloc took some");
    ok(kvf_pool_alloc(pool, 3, ids));
    must(ids[0] == 1 && ids[1] == 3 && ids[2] == 5, "not the lowest: %u %u %u", ids[0], ids[1], ids[2]);
    ok(kvf_pool_alloc(pool, 0, ids));
    ok(kvf_pool_alloc(pool, 2, ids));
    must(kvf_pool_available(pool) == 0, "%u", kvf_pool_available(pool));
    ok(kvf_pool_free(pool, 8, all));
    must(kvf_pool_available(pool) == 8, "%u", kvf_pool_available(pool));
    ok(kvf_pool_destroy(pool));
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

/* ------------------------------------------------- overwritten while read */

/* Shared by parent and child from before the fork: the generation whose bytes are whole. */
typedef struct board {
    _Atomic uint32_t gen[BLOCKS];
    _Atomic int stop;
} board_t;

static board_t *board;

static void *overwriter(void *arg)
{
    side_t *side = arg;

    while (!atomic_load(&board->stop)) {
        for (uint32_t b = 0; b < BLOCKS; b++) {
            uint32_t gen = 0;
            uint32_t *word = (uint32_t *)(void *)(side->mem + (uint64_t)b * BLOCK);

            ok(kvf_pool_raise(side->pool, 1, &b));
            ok(kvf_pool_generations(side->pool, 1, &b, &gen));
            for (uint32_t i = 0; i < BLOCK / 4; i++) {
                __atomic_store_n(&word[i], gen * 1000 + b, __ATOMIC_RELAXED);
            }
            atomic_store(&board->gen[b], gen);
        }
        sched_yield();
    }
    return NULL;
}

static void at_overwrite(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    static pthread_t thread;

    (void)out;
    (void)in;
    if (in_len == 0) {
        pthread_join(thread, NULL);
        return;
    }
    must(pthread_create(&thread, NULL, overwriter, side) == 0, "no thread");
}

START_TEST(what_ends_ok_is_of_one_generation)
{
    rig_t rig;
    ids_t all = first(BLOCKS);
    uint32_t gens[BLOCKS];
    int8_t status[BLOCKS];
    uint64_t good = 0;
    uint64_t stale = 0;
    uint64_t end;

    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(board != MAP_FAILED, "mmap");
    rig_open(&rig, (where_t)_i, &pool_opts);
    rig_call(&rig, at_take, &all, sizeof(all), &all, sizeof(all));
    rig_call(&rig, at_overwrite, "go", 2, NULL, 0);
    for (uint32_t b = 0; b < BLOCKS; b++) {
        while (atomic_load(&board->gen[b]) == 0) { /* not one whole generation yet */
            sleep_ms(1);
        }
    }
    end = now_ns() + SEC;
    while (now_ns() < end || good == 0 || stale == 0) {
        kvf_op_t op = blocks_op(&rig, BLOCKS, gens, status);
        kvf_status_t s;

        must(now_ns() < end + patient(10), "%zu good, %zu stale pairs: the test shows nothing", (size_t)good,
             (size_t)stale);
        for (uint32_t b = 0; b < BLOCKS; b++) {
            gens[b] = atomic_load(&board->gen[b]);
        }
        s = run_ops(rig.batch, &op, 1, NULL);
        must(s == KVF_OK || s == KVF_ERR_STALE, "%s (%s)", kvf_status_name(s), kvf_last_error());
        for (uint32_t b = 0; b < BLOCKS; b++) {
            const uint32_t *word = (const uint32_t *)(const void *)(rig.me.mem + b * BLOCK);

            stale += status[b] == KVF_ERR_STALE;
            good += status[b] == KVF_OK;
            for (uint32_t i = 0; status[b] == KVF_OK && i < BLOCK / 4; i++) {
                must(word[i] == gens[b] * 1000 + b, "block %u word %u is %u, not of generation %u", b, i,
                     word[i], gens[b]);
            }
        }
    }
    atomic_store(&board->stop, 1);
    rig_call(&rig, at_overwrite, NULL, 0, NULL, 0);
    rig_close(&rig);
}
END_TEST

/* Where the owner gathers, each chunk of it tells that what is whole by then is good: a read that ends
 * midway keeps the pairs in front. Deadlines grow until one comes midway. */
START_TEST(a_guarded_read_that_ends_midway_keeps_its_first_pairs)
{
    enum {
        LARGE = 1 << 18
    };
    rig_opts_t opts = {.pool_blocks = BLOCKS, .block_bytes = LARGE, .local_len = BLOCKS * LARGE};
    kvf_batch_opts_t late = {.struct_size = sizeof(late), .deadline_ns = 100000};
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    uint64_t end_ns = now_ns() + patient(20);
    uint8_t *want = malloc(BLOCKS * LARGE);
    ids_t ids = first(BLOCKS);
    uint32_t gens[BLOCKS], good = 0;
    int8_t status[BLOCKS];
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, (where_t)_i, &opts);
    rig_call(&rig, at_take, &ids, sizeof(ids), &ids, sizeof(ids));
    owner_fill(&rig, 3);
    pattern_fill(want, BLOCKS * LARGE, 3);
    owner_gens(&rig, ids, gens);
    op = blocks_op(&rig, BLOCKS, gens, status);
    op.len = op.local_block = op.remote_block = LARGE;
    while (good == 0 || good == BLOCKS) {
        must(now_ns() < end_ns, "all of it is good, or nothing");
        memset(rig.me.mem, 0, BLOCKS * LARGE);
        run_ops(rig.batch, &op, 1, &late);
        for (good = 0; good < BLOCKS && status[good] == KVF_OK; good++) {
            must(memcmp(rig.me.mem + good * LARGE, want + good * LARGE, LARGE) == 0, "block %u is not there",
                 good);
        }
        for (uint32_t i = good; i < BLOCKS; i++) {
            must(status[i] == KVF_ERR_TIMEOUT, "block %u: %d, block %u: %d", good, status[good], i,
                 status[i]);
        }
        ok(kvf_batch_result(rig.batch, &result));
        must(result.bytes == good * (uint64_t)LARGE, "%zu bytes in %u blocks", (size_t)result.bytes, good);
        late.deadline_ns = good == BLOCKS ? 100000 : late.deadline_ns * 5 / 4;
    }
    free(want);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    static const int paths[] = {WHERE_SELF, WHERE_TWIN, WHERE_SHM, WHERE_AM};
    Suite *suite = suite_create("generations");
    TCase *tc = tcase_create("generations");

    tcase_set_timeout(tc, 30);
    for (int i = 0; i < 4; i++) { /* a pool is the library's memory: never cma */
        tcase_add_loop_test(tc, a_guarded_read_of_unchanged_blocks_is_ok, paths[i], paths[i] + 1);
        tcase_add_loop_test(tc, a_raised_or_freed_block_is_stale_and_only_it, paths[i], paths[i] + 1);
        tcase_add_loop_test(tc, generations_follow_the_ids, paths[i], paths[i] + 1);
        tcase_add_loop_test(tc, first_block_says_which_generation_guards_id_0, paths[i], paths[i] + 1);
#ifdef __SANITIZE_THREAD__
        if (paths[i] != WHERE_SHM) {
            continue; /* it races on purpose; between processes the sanitizer does not see it */
        }
#endif
        tcase_add_loop_test(tc, what_ends_ok_is_of_one_generation, paths[i], paths[i] + 1);
    }
    tcase_add_loop_test(tc, a_guarded_read_that_ends_midway_keeps_its_first_pairs, WHERE_AM, WHERE_AM + 1);
    tcase_add_test(tc, a_pool_hands_out_the_lowest_ids_all_or_none);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

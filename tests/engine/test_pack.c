/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Direct or packed: which way the bytes of a neighbour's own memory went, by the counters of the paths.
 * Many short pieces go packed, few, long or touching ones direct; each can be forced; a mask, a call that
 * copies inside post, a neighbour that nobody drives leave no choice; one that stops is not chosen again.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "forbid.h"

#define LEN  (UINT64_C(8) << 20)
#define TINY 256

static void open_rig(rig_t *rig, kvf_pack_t pack, kvf_progress_mode_t progress)
{
    rig_opts_t opts = { .owner_len = LEN, .local_len = LEN, .pack = pack, .progress = progress };

    rig_open(rig, WHERE_CMA, &opts);
}

/* count pieces of len bytes, none of which touch. */
static kvf_op_t apart(const rig_t *rig, uint64_t len, uint32_t count, uint32_t dir)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, 0, len, dir);

    op.blocks = count;
    op.local_block = op.remote_block = 2 * len;
    return op;
}

static uint64_t bytes_on(const rig_t *rig, kvf_path_t path)
{
    kvf_counters_t counters = { .struct_size = sizeof(counters) };

    ok(kvf_engine_counters(rig->me.engine, &counters));
    return counters.path[path].bytes;
}

/* Posts ops, and so many bytes of them must have gone packed, and so many direct. */
static void goes(rig_t *rig, const kvf_op_t *ops, size_t count, const kvf_batch_opts_t *opts,
                 uint64_t packed, uint64_t direct)
{
    uint64_t stage = bytes_on(rig, KVF_PATH_STAGE), cma = bytes_on(rig, KVF_PATH_CMA);

    ok(run_ops(rig->batch, ops, count, opts));
    must(bytes_on(rig, KVF_PATH_STAGE) - stage == packed, "%zu bytes went packed, not %zu",
         (size_t)(bytes_on(rig, KVF_PATH_STAGE) - stage), (size_t)packed);
    must(bytes_on(rig, KVF_PATH_CMA) - cma == direct, "%zu bytes went direct, not %zu",
         (size_t)(bytes_on(rig, KVF_PATH_CMA) - cma), (size_t)direct);
}

static uint64_t bytes_of(const kvf_op_t *op)
{
    return op->len * op->blocks;
}

/* An op alone in a batch, and what kvf_path_of_op() says of it. */
static void one_goes(rig_t *rig, kvf_op_t op, kvf_path_t path)
{
    kvf_path_t said = KVF_PATH_NONE;

    ok(kvf_path_of_op(&op, sizeof(op), 0, &said));
    must(said == path, "path_of_op says %s", kvf_path_name(said));
    goes(rig, &op, 1, NULL, path == KVF_PATH_STAGE ? bytes_of(&op) : 0,
         path == KVF_PATH_CMA ? bytes_of(&op) : 0);
}

START_TEST(many_short_pieces_go_packed_and_the_bytes_are_right)
{
    uint8_t *want = malloc(LEN), *have = malloc(LEN);
    kvf_op_t op;
    rig_t rig;

    must(want != NULL && have != NULL, "no memory");
    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, LEN / (2 * TINY), KVF_READ);
    owner_fill(&rig, 1);
    memset(rig.me.mem, 0, LEN);
    one_goes(&rig, op, KVF_PATH_STAGE);
    pattern_fill(want, LEN, 1);
    for (uint64_t at = 0; at < LEN; at += 2 * TINY) {
        must(memcmp(rig.me.mem + at, want + at, TINY) == 0, "at %zu", (size_t)at);
    }
    op.dir = KVF_WRITE;
    pattern_fill(rig.me.mem, LEN, 2);
    one_goes(&rig, op, KVF_PATH_STAGE);
    owner_get(&rig, 0, have, LEN);
    for (uint64_t at = 0; at < LEN; at += 2 * TINY) {
        must(memcmp(rig.me.mem + at, have + at, TINY) == 0, "at %zu", (size_t)at);
        must(memcmp(have + at + TINY, want + at + TINY, TINY) == 0, "between, at %zu", (size_t)at);
    }
    free(want);
    free(have);
    rig_close(&rig);
}
END_TEST

START_TEST(few_long_or_touching_pieces_go_direct)
{
    kvf_op_t touching, ops[64];
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    for (uint32_t dir = KVF_READ; dir <= KVF_WRITE; dir++) {
        one_goes(&rig, apart(&rig, TINY, 1, dir), KVF_PATH_CMA);
        one_goes(&rig, apart(&rig, TINY, 8, dir), KVF_PATH_CMA);
        one_goes(&rig, apart(&rig, LEN / 4, 2, dir), KVF_PATH_CMA);
        touching = apart(&rig, TINY, LEN / TINY, dir);
        touching.local_block = touching.remote_block = TINY;
        one_goes(&rig, touching, KVF_PATH_CMA);
    }
    for (int i = 0; i < 64; i++) { /* each op is a request of its own to the neighbour */
        ops[i] = apart(&rig, 64, 1, KVF_READ);
        ops[i].local_off = ops[i].remote_off = (uint64_t)i * 4096;
    }
    goes(&rig, ops, 64, NULL, 0, 64 * 64);
    rig_close(&rig);
}
END_TEST

START_TEST(a_batch_is_split_by_op)
{
    kvf_op_t ops[3];
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    ops[0] = apart(&rig, TINY, 4096, KVF_READ);
    ops[1] = apart(&rig, 1 << 20, 2, KVF_READ);
    ops[1].local_off = ops[1].remote_off = 4 << 20;
    ops[2] = apart(&rig, TINY, 2, KVF_WRITE); /* another direction: alone not worth a wake */
    ops[2].local_off = ops[2].remote_off = TINY;
    goes(&rig, ops, 3, NULL, bytes_of(&ops[0]), bytes_of(&ops[1]) + bytes_of(&ops[2]));
    rig_close(&rig);
}
END_TEST

START_TEST(either_can_be_forced)
{
    int packed = _i % 2, by_variable = _i / 2;
    kvf_pack_t pack = packed ? KVF_PACK_PACKED : KVF_PACK_DIRECT;
    kvf_path_t path = packed ? KVF_PATH_STAGE : KVF_PATH_CMA;
    rig_opts_t opts = { .owner_len = LEN, .local_len = LEN };
    kvf_engine_opts_t mine = { .struct_size = sizeof(mine) };
    rig_t rig;

    if (by_variable) {
        setenv("KVFERRY_PACK", packed ? "packed" : "direct", 1);
        mine.pack = 0;
    }
    opts.pack = by_variable ? KVF_PACK_DEFAULT : pack;
    rig_open(&rig, by_variable ? WHERE_TWIN : WHERE_CMA, &opts);
    if (by_variable) { /* the variable is seen by an engine that sets nothing */
        kvf_engine_t *engine;
        const char *name = "", *value = "", *text;

        ok(kvf_engine_open(&mine, &engine));
        for (uint32_t i = 0; strcmp(name, "KVFERRY_PACK") != 0; i++) {
            ok(kvf_engine_setting(engine, i, &name, &value, &text));
        }
        must(strcmp(value, packed ? "packed" : "direct") == 0, "in force is %s", value);
        ok(kvf_engine_close(engine, SEC));
    } else {
        one_goes(&rig, apart(&rig, TINY, LEN / (2 * TINY), KVF_READ), path);
        one_goes(&rig, apart(&rig, TINY, 1, KVF_WRITE), path);
        one_goes(&rig, apart(&rig, LEN / 4, 2, KVF_READ), path);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(a_mask_leaves_no_choice)
{
    kvf_batch_opts_t opts = { .struct_size = sizeof(opts) };
    uint32_t cma = KVF_PATH_BIT(KVF_PATH_CMA), stage = KVF_PATH_BIT(KVF_PATH_STAGE);
    kvf_path_t path;
    kvf_op_t many, one;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    many = apart(&rig, TINY, LEN / (2 * TINY), KVF_READ);
    one = apart(&rig, TINY, 1, KVF_READ);
    opts.paths = cma;
    goes(&rig, &many, 1, &opts, 0, bytes_of(&many));
    ok(kvf_path_of_op(&many, sizeof(many), opts.paths, &path));
    must(path == KVF_PATH_CMA, "path_of_op says %s", kvf_path_name(path));
    opts.paths = KVF_PATHS_LOCAL & ~stage;
    goes(&rig, &many, 1, &opts, 0, bytes_of(&many));
    opts.paths = KVF_PATHS_LOCAL & ~cma;
    goes(&rig, &one, 1, &opts, TINY, 0);
    opts.paths = cma | stage;
    goes(&rig, &many, 1, &opts, bytes_of(&many), 0);
    refused_naming(kvf_path_of_op(&many, sizeof(many), KVF_PATH_BIT(KVF_PATH_SHM), &path),
                   KVF_ERR_NO_PATH, "op 0|shm");
    rig_close(&rig);
}
END_TEST

/* Nobody may be there to do the other half. */
START_TEST(a_neighbour_that_drives_itself_is_reached_direct)
{
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_CALLER);
    op = apart(&rig, TINY, LEN / (2 * TINY), KVF_READ);
    one_goes(&rig, op, KVF_PATH_CMA);
    rig_close(&rig);
}
END_TEST

START_TEST(what_is_to_be_copied_inside_post_goes_direct)
{
    kvf_batch_opts_t opts = { .struct_size = sizeof(opts), .flags = KVF_BATCH_INLINE };
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, LEN / (2 * TINY), KVF_READ);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts));
    must(bytes_on(&rig, KVF_PATH_CMA) == bytes_of(&op), "%zu bytes were copied inside post",
         (size_t)bytes_on(&rig, KVF_PATH_CMA));
    ok(kvf_batch_wait(rig.batch, 20 * SEC));
    rig_close(&rig);
}
END_TEST

START_TEST(direct_goes_packed_where_the_kernel_forbids_it)
{
    rig_opts_t opts = { .owner_len = LEN, .local_len = LEN, .pack = KVF_PACK_DIRECT };
    rig_t rig;

    if (!forbid_works()) {
        return;
    }
    rig_fork(&rig, WHERE_CMA, &opts);
    must(forbid_cma(EPERM) == 0, "seccomp: %s", strerror(errno));
    rig_join(&rig);
    one_goes(&rig, apart(&rig, TINY, 1, KVF_READ), KVF_PATH_STAGE);
    rig_close(&rig);
}
END_TEST

/* Its memory can be reached all the same. */
START_TEST(a_neighbour_that_stopped_is_reached_direct_the_next_time)
{
    kvf_batch_opts_t opts = { .struct_size = sizeof(opts), .deadline_ns = SEC / 5 };
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, LEN / (2 * TINY), KVF_READ);
    goes(&rig, &op, 1, NULL, bytes_of(&op), 0);
    proc_signal(&rig.owner, SIGSTOP);
    must(run_ops(rig.batch, &op, 1, &opts) == KVF_ERR_TIMEOUT, "%s", kvf_last_error());
    goes(&rig, &op, 1, NULL, 0, bytes_of(&op));
    proc_signal(&rig.owner, SIGCONT);
    rig_close(&rig);
}
END_TEST

START_TEST(the_errors_of_path_of_op)
{
    kvf_path_t path = KVF_PATH_NONE;
    kvf_op_t op, bad;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, 1, KVF_READ);
    refused_naming(kvf_path_of_op(NULL, sizeof(op), 0, &path), KVF_ERR_INVALID, "op is NULL");
    refused_naming(kvf_path_of_op(&op, sizeof(op), 0, NULL), KVF_ERR_INVALID, "path_p is NULL");
    refused_naming(kvf_path_of_op(&op, 3, 0, &path), KVF_ERR_INVALID, "op_size is 3");
    refused_naming(kvf_path_of_op(&op, sizeof(op), UINT32_C(1) << 30, &path), KVF_ERR_INVALID,
                   "mask is 0x40000000");
    bad = op;
    bad.segment = NULL;
    refused_naming(kvf_path_of_op(&bad, sizeof(op), 0, &path), KVF_ERR_INVALID, "segment");
    bad = op;
    bad.remote = NULL;
    refused_naming(kvf_path_of_op(&bad, sizeof(op), 0, &path), KVF_ERR_INVALID, "op 0: remote");
    bad = op;
    bad.remote_off = LEN;
    refused_naming(kvf_path_of_op(&bad, sizeof(op), 0, &path), KVF_ERR_BOUNDS, "op 0: remote_off");
    bad = op;
    bad.reserved[1] = 1;
    refused_naming(kvf_path_of_op(&bad, sizeof(op), 0, &path), KVF_ERR_INVALID, "op 0: reserved");
    must(path == KVF_PATH_NONE, "an output of a failure");
    rig_close(&rig); /* nothing is held */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("direct or packed");
    TCase *tc = tcase_create("pack");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, many_short_pieces_go_packed_and_the_bytes_are_right);
    tcase_add_test(tc, few_long_or_touching_pieces_go_direct);
    tcase_add_test(tc, a_batch_is_split_by_op);
    tcase_add_loop_test(tc, either_can_be_forced, 0, 4);
    tcase_add_test(tc, a_mask_leaves_no_choice);
    tcase_add_test(tc, a_neighbour_that_drives_itself_is_reached_direct);
    tcase_add_test(tc, what_is_to_be_copied_inside_post_goes_direct);
    tcase_add_test(tc, direct_goes_packed_where_the_kernel_forbids_it);
    tcase_add_test(tc, a_neighbour_that_stopped_is_reached_direct_the_next_time);
    tcase_add_test(tc, the_errors_of_path_of_op);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

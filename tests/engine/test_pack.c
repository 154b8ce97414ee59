/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Direct or packed: which way the bytes of a neighbour's own memory went, by the counters of the paths.
 * Many short pieces go packed, few, long or touching ones direct; each can be forced; a mask, a call that
 * copies inside post, a neighbour that nobody drives leave no choice. What was to go packed and came to
 * nothing (the neighbour has stopped, there is no memory for the ring) goes direct in the same batch, and
 * the next time at once.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "engine/doubt.h"
#include "engine/peer.h"
#include "forbid.h"

#define LEN  (UINT64_C(8) << 20)
#define TINY 256

static void open_rig(rig_t *rig, kvf_pack_t pack, kvf_progress_mode_t progress)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN, .pack = pack, .progress = progress};

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
    kvf_flow_t moved[KVF_PATH_COUNT];

    moved_by_path(rig->me.engine, moved);
    return moved[path].bytes;
}

/* Posts ops, and so many bytes of them must have gone packed, and so many direct. */
static void goes(rig_t *rig, const kvf_op_t *ops, size_t count, const kvf_batch_opts_t *opts, uint64_t packed,
                 uint64_t direct)
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
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    kvf_engine_opts_t mine = {.struct_size = sizeof(mine)};
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
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts)};
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
    refused_naming(kvf_path_of_op(&many, sizeof(many), KVF_PATH_BIT(KVF_PATH_SHM), &path), KVF_ERR_NO_PATH,
                   "op 0|shm");
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
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .flags = KVF_BATCH_INLINE};
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
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN, .pack = KVF_PACK_DIRECT};
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

/* Posts one op, from the pattern of seed, that would go packed: it ends well, direct, and all is there. */
static void goes_direct_after_all(rig_t *rig, const kvf_op_t *op, const kvf_batch_opts_t *opts, uint64_t seed)
{
    uint8_t *want = malloc(LEN), *have = malloc(LEN);

    must(want != NULL && have != NULL, "no memory");
    pattern_fill(want, LEN, seed);
    memset(rig->me.mem, 0, LEN);
    if (op->dir == KVF_WRITE) {
        pattern_fill(rig->me.mem, LEN, seed);
    }
    goes(rig, op, 1, opts, 0, bytes_of(op));
    memcpy(have, rig->me.mem, LEN);
    if (op->dir == KVF_WRITE) {
        proc_signal(&rig->owner, SIGCONT);
        owner_get(rig, 0, have, LEN);
    }
    for (uint64_t at = 0; at < LEN; at += 2 * TINY) {
        must(memcmp(have + at, want + at, TINY) == 0, "at %zu", (size_t)at);
    }
    free(want);
    free(have);
}

/* A neighbour that says nothing is not waited for to the deadline: its memory can be reached. */
START_TEST(a_neighbour_that_stopped_is_reached_direct_in_the_same_batch)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = patient(4)};
    uint32_t ring_is_there = (uint32_t)_i;
    kvf_op_t ops[2];
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    owner_fill(&rig, 1);
    ops[0] = apart(&rig, TINY, LEN / (2 * TINY), KVF_READ);
    ops[1] = apart(&rig, 1 << 20, 1, KVF_READ);
    ops[1].local_off = ops[1].remote_off = LEN - (1 << 20);
    if (ring_is_there) {
        goes(&rig, ops, 1, NULL, bytes_of(&ops[0]), 0);
    }
    proc_signal(&rig.owner, SIGSTOP);
    goes_direct_after_all(&rig, &ops[0], &opts, 1);
    goes(&rig, ops, 2, &opts, 0, bytes_of(&ops[0]) + bytes_of(&ops[1]));
    proc_signal(&rig.owner, SIGCONT);
    goes(&rig, ops, 1, &opts, 0, bytes_of(&ops[0]));
    rig_close(&rig);
}
END_TEST

/* Ops that have ended, on either path, are not done again. */
START_TEST(only_what_came_to_nothing_goes_direct)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = patient(4)};
    kvf_flow_t before[KVF_PATH_COUNT], after[KVF_PATH_COUNT], *cma = &after[KVF_PATH_CMA];
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    kvf_op_t ops[3];
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    owner_fill(&rig, 1);
    ops[0] = apart(&rig, 1 << 20, 1, KVF_READ);
    ops[0].local_off = ops[0].remote_off = 4 << 20;
    ops[1] = apart(&rig, TINY, 4096, KVF_READ);
    ops[2] = ops[0];
    ops[2].local_off = ops[2].remote_off = 6 << 20;
    proc_signal(&rig.owner, SIGSTOP);
    moved_by_path(rig.me.engine, before);
    ok(run_ops(rig.batch, ops, 3, &opts));
    moved_by_path(rig.me.engine, after);
    ok(kvf_batch_result(rig.batch, &result));
    cma->ops -= before[KVF_PATH_CMA].ops;
    must(cma->ops == 3 && after[KVF_PATH_STAGE].ops == before[KVF_PATH_STAGE].ops, "%zu ops went direct",
         (size_t)cma->ops);
    must(cma->bytes - before[KVF_PATH_CMA].bytes == (3 << 20) && result.bytes == 3 << 20 &&
             result.pieces == 4098,
         "%zu bytes in %zu pieces", (size_t)result.bytes, (size_t)result.pieces);
    proc_signal(&rig.owner, SIGCONT);
    rig_close(&rig);
}
END_TEST

/* What the neighbour was asked before it stopped must not be done late, over what came after. */
START_TEST(a_write_that_went_direct_is_not_done_again)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = patient(4)};
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, LEN / (2 * TINY), KVF_WRITE);
    proc_signal(&rig.owner, SIGSTOP);
    pattern_fill(rig.me.mem, LEN, 2);
    goes(&rig, &op, 1, &opts, 0, bytes_of(&op));
    goes_direct_after_all(&rig, &op, &opts, 3);
    rig_close(&rig);
}
END_TEST

/* Its chunks lie in the ring, and the neighbour would scatter them when it wakes up. */
START_TEST(a_write_that_has_begun_ends_at_its_deadline)
{
    /* a silence of ours */
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = SEC + SEC / 2};
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, LEN / (2 * TINY), KVF_WRITE);
    goes(&rig, &op, 1, NULL, bytes_of(&op), 0);
    proc_signal(&rig.owner, SIGSTOP);
    must(run_ops(rig.batch, &op, 1, &opts) == KVF_ERR_TIMEOUT, "%s", kvf_last_error());
    goes(&rig, &op, 1, NULL, 0, bytes_of(&op));
    proc_signal(&rig.owner, SIGCONT);
    rig_close(&rig);
}
END_TEST

/* Whatever the caller wants at once, it is not the neighbour that is slow. */
START_TEST(a_deadline_that_is_too_short_is_not_charged_to_the_neighbour)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = 1000};
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, LEN / (2 * TINY), _i != 0 ? KVF_WRITE : KVF_READ);
    one_goes(&rig, op, KVF_PATH_STAGE);
    for (int i = 0; i < 5; i++) { /* its owner may be as quick */
        must(run_ops(rig.batch, &op, 1, &opts) == KVF_OK ||
                 kvf_batch_op_status(rig.batch, 0) == KVF_ERR_TIMEOUT,
             "%s", kvf_last_error());
    }
    one_goes(&rig, op, KVF_PATH_STAGE);
    rig_close(&rig);
}
END_TEST

/* Deadlines shorter than a time of ours, of a neighbour that has stopped: together they are one. */
START_TEST(a_neighbour_silent_over_many_short_deadlines_is_left_alone)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = 100 * MS};
    uint64_t end = now_ns() + patient(30);
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, LEN / (2 * TINY), KVF_READ);
    one_goes(&rig, op, KVF_PATH_STAGE);
    proc_signal(&rig.owner, SIGSTOP);
    for (int i = 0; atomic_load(&rig.peer->stage_failures) == 0; i++) {
        must(now_ns() < end, "%d batches waited for it", i);
        run_ops(rig.batch, &op, 1, &opts);
        must(i > 4 || atomic_load(&rig.peer->stage_failures) == 0, "charged after %d batches", i);
    }
    one_goes(&rig, op, KVF_PATH_CMA);
    proc_signal(&rig.owner, SIGCONT);
    rig_close(&rig);
}
END_TEST

START_TEST(a_packed_op_that_ends_well_forgets_failures)
{
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, LEN / (2 * TINY), KVF_READ);
    one_goes(&rig, op, KVF_PATH_STAGE);
    for (int i = 0; i < 3; i++) {
        kvfi_doubt_failed(rig.peer, KVF_ERR_NOMEM);
        one_goes(&rig, op, KVF_PATH_CMA);
        atomic_store(&rig.peer->direct_until_ns, 1); /* the ten seconds have passed */
        one_goes(&rig, op, KVF_PATH_STAGE);
        must(atomic_load(&rig.peer->stage_failures) == 0, "not forgotten");
    }
    rig_close(&rig);
}
END_TEST

static int no_shared_memory(void)
{
    static const long calls[] = {SYS_shmget, SYS_ftruncate, SYS_fallocate, SYS_memfd_create};

    return forbid(calls, 4, ENOMEM);
}

static void at_no_shared_memory(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)state, (void)in, (void)in_len, (void)out;
    must(no_shared_memory() == 0, "seccomp: %s", strerror(errno));
}

/* The ring of who sends cannot be made. */
START_TEST(without_memory_for_the_ring_it_goes_direct)
{
    uint32_t dir = _i % 2 != 0 ? KVF_WRITE : KVF_READ;
    int by_threads = _i / 2;
    kvf_op_t op;
    rig_t rig;

    if (!forbid_works()) {
        return;
    }
    setenv("KVFERRY_COPY_THREADS", by_threads ? "2" : "0", 1);
    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, LEN / (2 * TINY), dir);
    owner_fill(&rig, 1);
    if (dir == KVF_READ) {
        rig_call(&rig, at_no_shared_memory, NULL, 0, NULL, 0);
    } else {
        must(no_shared_memory() == 0, "seccomp: %s", strerror(errno));
    }
    goes_direct_after_all(&rig, &op, NULL, 1);
    rig_close(&rig);
}
END_TEST

/* By the event fd alone. */
START_TEST(who_sleeps_is_woken_to_copy_what_goes_direct)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = patient(4)};
    struct pollfd fd = {.events = POLLIN};
    uint64_t end_ns = now_ns() + patient(20);
    kvf_status_t status;
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, KVF_PACK_AUTO, KVF_PROGRESS_DEFAULT);
    op = apart(&rig, TINY, LEN / (2 * TINY), KVF_READ);
    ok(kvf_engine_fd(rig.me.engine, &fd.fd));
    proc_signal(&rig.owner, SIGSTOP);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts));
    do {
        while (kvf_engine_arm(rig.me.engine) == KVF_ERR_BUSY) {
            ok(kvf_progress(rig.me.engine));
        }
        status = kvf_batch_test(rig.batch);
        must(now_ns() < end_ns, "it does not end");
    } while (status == KVF_INPROGRESS && poll(&fd, 1, (int)(patient(10) / MS)) == 1);
    must(status == KVF_OK, "%s", kvf_status_name(status));
    must(bytes_on(&rig, KVF_PATH_CMA) == bytes_of(&op), "it went packed");
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
    tcase_add_loop_test(tc, a_neighbour_that_stopped_is_reached_direct_in_the_same_batch, 0, 2);
    tcase_add_loop_test(tc, a_deadline_that_is_too_short_is_not_charged_to_the_neighbour, 0, 2);
    tcase_add_test(tc, a_neighbour_silent_over_many_short_deadlines_is_left_alone);
    tcase_add_test(tc, a_packed_op_that_ends_well_forgets_failures);
    tcase_add_test(tc, only_what_came_to_nothing_goes_direct);
    tcase_add_test(tc, a_write_that_went_direct_is_not_done_again);
    tcase_add_test(tc, a_write_that_has_begun_ends_at_its_deadline);
    tcase_add_loop_test(tc, without_memory_for_the_ring_it_goes_direct, 0, 4);
    tcase_add_test(tc, who_sleeps_is_woken_to_copy_what_goes_direct);
    tcase_add_test(tc, the_errors_of_path_of_op);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

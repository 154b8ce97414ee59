/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What kvf_last_error() says after a batch that failed: the op, its rank, host and process, the path, what
 * happened and at which deadline, the bytes of how many, the first block without its bytes.
 */
#include "../engine/rig.h"

#include <check.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEN (UINT64_C(1) << 20)

static char owner[128];

static void open_rig(rig_t *rig, where_t where, const rig_opts_t *opts)
{
    char host[64] = "";

    rig_open(rig, where, opts);
    gethostname(host, sizeof(host) - 1);
    snprintf(owner, sizeof(owner), "rank 2 on %s (pid %d)", host, (int)rig->owner.pid);
}

/* All of the sentence; %s in it is the owner. */
static void says(kvf_status_t status, kvf_status_t want, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void says(kvf_status_t status, kvf_status_t want, const char *format, ...)
{
    char text[640];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    must(status == want, "%s (%s)", kvf_status_name(status), kvf_last_error());
    must(strcmp(kvf_last_error(), text) == 0, "\"%s\", not \"%s\"", kvf_last_error(), text);
}

/* Blocks of 1 KiB: pair i is block 7 - i of the owner. */
static const uint32_t backwards[8] = {7, 6, 5, 4, 3, 2, 1, 0};

static kvf_op_t eight(const rig_t *rig)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, 0, 1024, KVF_READ);

    op.blocks = 8;
    op.local_block = op.remote_block = 1024;
    op.remote_ids = backwards;
    return op;
}

START_TEST(a_deadline_and_a_cancel)
{
    where_t where = _i ? WHERE_AM : WHERE_STAGE;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = 50 * MS};
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, where, NULL);
    op = eight(&rig);
    move(&rig, &op, 1);
    proc_signal(&rig.owner, SIGSTOP);
    says(run_ops(rig.batch, &op, 1, &opts), KVF_ERR_TIMEOUT,
         "op 0, a READ from %s over %s, ended with KVF_ERR_TIMEOUT, at the deadline of 50.000 ms: 0 "
         "of 8192 bytes are known to have arrived; the first block without its bytes is 0 (remote id "
         "7)",
         owner, kvf_path_name(where_path(where)));
    opts.deadline_ns = 0;
    op.blocks = 1;
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts));
    says(kvf_batch_cancel(rig.batch), KVF_ERR_CANCELED,
         "op 0, a READ from %s over %s, ended with KVF_ERR_CANCELED, since the batch was cancelled: "
         "0 of 1024 bytes are known to have arrived",
         owner, kvf_path_name(where_path(where)));
    proc_signal(&rig.owner, SIGCONT);
    rig_close(&rig);
}
END_TEST

START_TEST(an_owner_that_nobody_drives)
{
    rig_opts_t opts = {.progress = KVF_PROGRESS_CALLER};
    kvf_batch_opts_t batch = {.struct_size = sizeof(batch), .deadline_ns = 50 * MS};
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, WHERE_STAGE, &opts);
    op = eight(&rig);
    move(&rig, &op, 1);
    proc_signal(&rig.owner, SIGSTOP);
    refused_naming(run_ops(rig.batch, &op, 1, &batch), KVF_ERR_TIMEOUT, "50.000 ms|kvf_progress()");
    proc_signal(&rig.owner, SIGCONT);
    rig_close(&rig);
}
END_TEST

/* A second engine of this process, and one that has gone: each is named as what it is. */
START_TEST(a_twin)
{
    uint32_t far = KVF_PATH_BIT(KVF_PATH_AM);
    kvf_path_t path;
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, WHERE_TWIN, NULL);
    op = eight(&rig);
    refused_naming(kvf_path_of(rig.me.segment, rig.remote, far, &path), KVF_ERR_NO_PATH,
                   "am: the peer is this process");
    rig_call(&rig, side_close, NULL, 0, NULL, 0);
    refused_naming(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL), KVF_ERR_PEER,
                   "has closed its engine");
    ok(kvf_engine_close(rig.me.engine, patient(5)));
}
END_TEST

/* Before an op is posted, and while it runs. */
START_TEST(a_death)
{
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, WHERE_STAGE, NULL);
    op = eight(&rig);
    move(&rig, &op, 1);
    proc_signal(&rig.owner, SIGSTOP);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    proc_signal(&rig.owner, SIGKILL);
    says(kvf_batch_wait(rig.batch, patient(10)), KVF_ERR_PEER,
         "op 0, a READ from %s over stage, ended with KVF_ERR_PEER, since that peer has died, has "
         "closed its engine, or cannot be reached: 0 of 8192 bytes are known to have arrived; the "
         "first block without its bytes is 0 (remote id 7)",
         owner);
    says(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL), KVF_ERR_PEER,
         "op 0: the peer of remote, %s, has died", owner);
    rig_close(&rig);
}
END_TEST

static void at_protect(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    int prot;

    (void)out;
    memcpy(&prot, in, in_len);
    must(mprotect(side->mem, side->len, prot) == 0, "mprotect");
}

START_TEST(a_fault)
{
    static const where_t wheres[] = {WHERE_CMA, WHERE_STAGE, WHERE_AM};
    where_t where = wheres[_i];
    int none = PROT_NONE, all = PROT_READ | PROT_WRITE;
    kvf_op_t ops[2];
    rig_t rig;

    open_rig(&rig, where, NULL);
    ops[0] = op_plain(rig.me.segment, 0, rig.remote, 0, 0, KVF_READ);
    ops[0].len = 64;
    ops[0].blocks = 0; /* moves nothing */
    ops[1] = eight(&rig);
    rig_call(&rig, at_protect, &none, sizeof(none), NULL, 0);
    says(run_ops(rig.batch, ops, 2, NULL), KVF_ERR_FAULT,
         "op 1, a READ from %s over %s, ended with KVF_ERR_FAULT, since %s: 0 of 8192 bytes are "
         "known to have arrived; the first block without its bytes is 0 (remote id 7)",
         owner, kvf_path_name(where_path(where)),
         where == WHERE_CMA
             ? "memory of the grant there, or of the segment here, is not mapped or lacks the right"
             : "memory behind the grant is not mapped there, or lacks the right");
    rig_call(&rig, at_protect, &all, sizeof(all), NULL, 0);
    rig_close(&rig);
}
END_TEST

static void at_take(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t gens[8], ids[8];

    (void)in;
    (void)in_len;
    ok(kvf_pool_alloc(side->pool, 8, ids));
    ok(kvf_pool_generations(side->pool, 8, backwards, gens));
    out_put(out, gens, sizeof(gens));
}

START_TEST(stale_blocks)
{
    static const where_t wheres[] = {WHERE_SHM, WHERE_AM};
    rig_opts_t opts = {.pool_blocks = 8, .block_bytes = 1024};
    where_t where = wheres[_i];
    uint32_t gens[8];
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, where, &opts);
    rig_call(&rig, at_take, NULL, 0, gens, sizeof(gens));
    gens[5]++;
    gens[2]++;
    op = eight(&rig);
    op.remote_gens = gens;
    says(run_ops(rig.batch, &op, 1, NULL), KVF_ERR_STALE,
         "op 0, a READ from %s over %s, ended with KVF_ERR_STALE, since 2 of its blocks hold "
         "something else by now: 8192 of 8192 bytes are known to have arrived; the first block "
         "without its bytes is 2 (remote id 5)",
         owner, kvf_path_name(where_path(where)));
    rig_close(&rig);
}
END_TEST

START_TEST(a_notification)
{
    rig_opts_t opts = {.notify_depth = 1};
    kvf_batch_opts_t note = {
        .struct_size = sizeof(note), .notify = "x", .notify_len = 1, .deadline_ns = 50 * MS};
    rig_t rig;

    open_rig(&rig, WHERE_SHM, &opts);
    note.notify_peer = rig.peer;
    ok(run_ops(rig.batch, NULL, 0, &note));
    says(run_ops(rig.batch, NULL, 0, &note), KVF_ERR_TIMEOUT,
         "the notification to %s could not be delivered: it ended with KVF_ERR_TIMEOUT, at the "
         "deadline of 50.000 ms",
         owner);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("failed");
    TCase *all = tcase_create("all");

    tcase_set_timeout(all, 60 * patience());
    tcase_add_loop_test(all, a_deadline_and_a_cancel, 0, 2);
    tcase_add_test(all, an_owner_that_nobody_drives);
    tcase_add_test(all, a_twin);
    tcase_add_test(all, a_death);
    tcase_add_loop_test(all, a_fault, 0, 3);
    tcase_add_loop_test(all, stale_blocks, 0, 2);
    tcase_add_test(all, a_notification);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The check of a post only decides. A post that is refused for its last op has sent nothing, started no
 * thread and opened no descriptor for the ops before it, though their owner stands still; nor does a question
 * for the path of an op. What cannot be prepared refuses the post with the op's number, before a byte of any
 * op has moved.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "forbid.h"

#define OPS 8

static unsigned names_in(const char *folder)
{
    DIR *dir = opendir(folder);
    unsigned count = 0;

    must(dir != NULL, "%s: %s", folder, strerror(errno));
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* The owner's: messages of ours that it answered with bytes. */
static void served_here(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_counters_t counters = {.struct_size = sizeof(counters)};

    (void)in;
    (void)in_len;
    ok(kvf_engine_counters(side->engine, &counters));
    out_put(out, &counters.served_bytes, sizeof(counters.served_bytes));
}

static void open_served(rig_t *rig, where_t where)
{
    rig_opts_t opts = {.pack = KVF_PACK_PACKED};

    rig_open(rig, where, &opts);
    owner_fill(rig, 1);
    pattern_fill(rig->me.mem, rig->me.len, 2);
}

static void make_ops(const rig_t *rig, kvf_op_t ops[OPS])
{
    for (uint32_t i = 0; i < OPS; i++) {
        ops[i] = op_plain(rig->me.segment, i * 4096, rig->remote, i * 4096, 4096, KVF_READ);
    }
}

START_TEST(a_post_with_a_bad_last_op_leaves_no_trace)
{
    rig_t rig;
    kvf_op_t ops[OPS];
    unsigned threads, fds;
    uint64_t served = 0;

    open_served(&rig, (where_t)_i);
    make_ops(&rig, ops);
    ops[OPS - 1].remote_off = 1 << 20;
    proc_signal(&rig.owner, SIGSTOP);
    threads = names_in("/proc/self/task");
    fds = names_in("/proc/self/fd");
    refused(kvf_batch_post(rig.batch, ops, OPS, sizeof(*ops), NULL), KVF_ERR_BOUNDS, "op 7: remote_off");
    must(names_in("/proc/self/task") == threads, "a thread was started");
    must(names_in("/proc/self/fd") == fds, "a descriptor was opened");
    proc_signal(&rig.owner, SIGCONT);
    sleep_ms(20);
    rig_call(&rig, served_here, NULL, 0, &served, sizeof(served));
    must(served == 0, "%zu bytes were asked for", (size_t)served);
    must(pattern_compare(rig.me.mem, rig.me.len, 2) == UINT64_MAX, "a byte came");
    ops[OPS - 1].remote_off = 0;
    move(&rig, ops, OPS);
    must(names_in("/proc/self/task") > threads, "the thread that drives is counted"); /* and a sanitizer's */
    must(names_in("/proc/self/fd") > fds, "a connection's descriptors are counted");
    rig_close(&rig);
}
END_TEST

START_TEST(a_question_for_the_path_leaves_no_trace)
{
    rig_t rig;
    kvf_op_t ops[OPS];
    kvf_path_t path = KVF_PATH_NONE;
    unsigned threads, fds;

    open_served(&rig, (where_t)_i);
    make_ops(&rig, ops);
    proc_signal(&rig.owner, SIGSTOP);
    threads = names_in("/proc/self/task");
    fds = names_in("/proc/self/fd");
    ok(kvf_path_of_op(ops, sizeof(*ops), 0, &path));
    must(path == KVF_PATH_STAGE, "%s", kvf_path_name(path));
    must(names_in("/proc/self/task") == threads, "a thread was started");
    must(names_in("/proc/self/fd") == fds, "a descriptor was opened");
    proc_signal(&rig.owner, SIGCONT);
    rig_close(&rig);
}
END_TEST

/* The box of a pair is shared memory; here the kernel gives none any more. */
START_TEST(what_cannot_be_prepared_names_its_op)
{
    static const long calls[] = {SYS_shmget, SYS_memfd_create};
    rig_t rig;
    kvf_op_t ops[OPS];

    open_served(&rig, (where_t)_i);
    make_ops(&rig, ops);
    must(forbid(calls, 2, ENOSPC) == 0, "no filter");
    refused(kvf_batch_post(rig.batch, ops, OPS, sizeof(*ops), NULL), KVF_ERR_NOMEM, "op 0: ");
    must(pattern_compare(rig.me.mem, rig.me.len, 2) == UINT64_MAX, "a byte came");
    rig_close(&rig);
}
END_TEST

/* Those of the same neighbour that need nothing are not moved either. */
START_TEST(an_op_that_needs_nothing_waits_for_those_that_do)
{
    static const long calls[] = {SYS_shmget, SYS_memfd_create};
    rig_t rig;
    kvf_grant_t *grant;
    kvf_segment_t *segment;
    kvf_peer_t *self;
    kvf_remote_t *mine;
    kvf_range_t range;
    uint8_t blob[BLOB_MAX];
    uint32_t count = 1;
    size_t len;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_op_t ops[2];

    open_served(&rig, WHERE_STAGE);
    ok(kvf_segment_alloc(rig.me.engine, 4096, &segment));
    ok(kvf_segment_query(segment, &attr));
    memset(attr.addr, 3, 4096);
    range = (kvf_range_t){.segment = segment, .len = 4096, .rights = KVF_RIGHT_READ};
    ok(kvf_grant_create(rig.me.engine, &range, 1, NULL, &grant));
    engine_blob(rig.me.engine, 0, blob, &len);
    ok(kvf_peer_import(rig.me.engine, blob, len, &self));
    grant_blob(grant, blob, &len);
    ok(kvf_remote_import(self, blob, len, &mine, &count));
    ops[0] = op_plain(rig.me.segment, 0, mine, 0, 4096, KVF_READ);
    ops[1] = op_plain(rig.me.segment, 4096, rig.remote, 0, 4096, KVF_READ);
    must(forbid(calls, 2, ENOSPC) == 0, "no filter");
    refused(kvf_batch_post(rig.batch, ops, 2, sizeof(*ops), NULL), KVF_ERR_NOMEM, "op 1: ");
    must(pattern_compare(rig.me.mem, rig.me.len, 2) == UINT64_MAX, "a byte came");
    move(&rig, ops, 1);
    must(rig.me.mem[0] == 3 && rig.me.mem[4095] == 3, "wrong bytes");
    ok(kvf_remote_forget(mine));
    ok(kvf_peer_forget(self));
    ok(kvf_grant_revoke(grant, patient(1)));
    ok(kvf_segment_release(segment));
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prepare");
    TCase *tc = tcase_create("prepare");

    if (!forbid_works()) {
        skip_all("the kernel has no filters");
    }
    tcase_set_timeout(tc, 40);
    tcase_add_loop_test(tc, a_post_with_a_bad_last_op_leaves_no_trace, WHERE_CMA, WHERE_AM);
    tcase_add_loop_test(tc, a_question_for_the_path_leaves_no_trace, WHERE_CMA, WHERE_AM);
    tcase_add_loop_test(tc, what_cannot_be_prepared_names_its_op, WHERE_CMA, WHERE_AM);
    tcase_add_test(tc, an_op_that_needs_nothing_waits_for_those_that_do);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

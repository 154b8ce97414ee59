/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A neighbour's own memory where the kernel forbids to reach it: by a system call filter from the
 * start, on one side or both, or in the middle of a batch; by a user namespace; by capabilities.
 * The job goes on over stage, the bytes are right, the counters tell the path, and the user is told
 * once.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "forbid.h"

#ifndef SYS_clone3
#define SYS_clone3 435 /* everywhere */
#endif

#define LEN (UINT64_C(2) << 20)

/* Every other 4 KiB of both memories: many pieces, none of which touch. */
static kvf_op_t scattered(const rig_t *rig, uint32_t dir)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, 0, 4096, dir);

    op.blocks = (uint32_t)(LEN / 8192);
    op.local_block = op.remote_block = 8192;
    return op;
}

/* 1 if the pieces of a scattered op are pattern(seed), and what lies between is not. */
static int pieces_are(const uint8_t *mem, uint64_t seed)
{
    uint8_t *want = malloc(LEN);
    int same = 1;

    must(want != NULL, "no memory");
    pattern_fill(want, LEN, seed);
    for (uint64_t at = 0; at < LEN; at += 8192) {
        same = same && memcmp(mem + at, want + at, 4096) == 0 &&
               memcmp(mem + at + 4096, want + at + 4096, 4096) != 0;
    }
    free(want);
    return same;
}

/* Reads and writes scattered pieces; each direction must have taken its path. */
static void reads_and_writes(rig_t *rig, kvf_path_t reads, kvf_path_t writes)
{
    kvf_flow_t before[KVF_PATH_COUNT], after[KVF_PATH_COUNT];
    uint8_t *have = malloc(LEN);
    kvf_op_t op = scattered(rig, KVF_READ);
    kvf_path_t path;

    moved_by_path(rig->me.engine, before);
    ok(kvf_path_of(rig->me.segment, rig->remote, 0, &path));
    must(path == reads, "path_of says %s", kvf_path_name(path));
    owner_fill(rig, 1);
    memset(rig->me.mem, 0, LEN);
    move(rig, &op, 1);
    must(pieces_are(rig->me.mem, 1), "wrong bytes were read");
    op.dir = KVF_WRITE;
    pattern_fill(rig->me.mem, LEN, 2);
    move(rig, &op, 1);
    owner_get(rig, 0, have, LEN);
    must(pieces_are(have, 2), "wrong bytes were written");
    moved_by_path(rig->me.engine, after);
    for (int i = 0; i < KVF_PATH_COUNT; i++) {
        uint64_t want = (uint64_t)((i == (int)reads) + (i == (int)writes)) * LEN / 2;

        must(after[i].bytes - before[i].bytes == want, "%zu bytes on %s",
             (size_t)(after[i].bytes - before[i].bytes), kvf_path_name((kvf_path_t)i));
    }
    free(have);
}

/* ------------------------------------------------------------------ filters */

typedef struct call {
    long number;
    int error;
} call_t;

static void at_forbid(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    call_t call;

    (void)state;
    (void)out;
    memcpy(&call, in, in_len);
    must(forbid(&call.number, 1, call.error) == 0, "seccomp: %s", strerror(errno));
}

static const long calls[] = {
    SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_open, SYS_pidfd_getfd, SYS_kcmp, SYS_memfd_create};

#define CALLS (int)(sizeof(calls) / sizeof(calls[0]))

/* One call, one errno, on the initiator, the owner, or both. */
START_TEST(a_job_goes_on_without_any_one_call)
{
    call_t call = {calls[_i % CALLS], _i / CALLS % 2 == 0 ? EPERM : ENOSYS};
    int side = _i / CALLS / 2;
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    int mine = side != 1;
    kvf_path_t reads, writes;
    rig_t rig;

    rig_fork(&rig, WHERE_CMA, &opts);
    if (side > 0) {
        proc_call(&rig.owner, at_forbid, &call, sizeof(call), NULL, 0);
    }
    must(!mine || forbid(&call.number, 1, call.error) == 0, "seccomp: %s", strerror(errno));
    rig_join(&rig);
    /* who may not read cannot prove whom a write would reach */
    reads = mine && call.number == SYS_process_vm_readv ? KVF_PATH_STAGE : KVF_PATH_CMA;
    writes = mine && call.number == SYS_process_vm_writev ? KVF_PATH_STAGE : reads;
    reads_and_writes(&rig, reads, writes);
    rig_close(&rig);
}
END_TEST

/* What the library says on stderr, from here on; the file is gone already. */
static int catch_stderr(void)
{
    char name[] = "/tmp/kvferry-test-XXXXXX";
    int fd = mkstemp(name);

    must(fd >= 0, "mkstemp: %s", strerror(errno));
    unlink(name);
    must(dup2(fd, 2) == 2, "dup2: %s", strerror(errno));
    return fd;
}

static int lines_with(int fd, const char *word, char *line_p, size_t line_len)
{
    char text[8192];
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
    char *save = NULL;
    int count = 0;

    must(len >= 0, "pread: %s", strerror(errno));
    text[len] = 0;
    for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        if (strstr(line, word) != NULL) {
            count++;
            snprintf(line_p, line_len, "%s", line);
        }
    }
    return count;
}

/* The filter comes after the first system calls of a batch, or while copy threads make them: its
 * ops go on, and none is lost. */
START_TEST(a_filter_in_mid_batch_moves_it_to_stage_and_warns_once)
{
    rig_opts_t opts = {.owner_len = 32 << 20, .local_len = 32 << 20};
    uint32_t dir = _i & 1 ? KVF_WRITE : KVF_READ;
    int error = _i / 2 % 2 == 0 ? EPERM : ENOSYS;
    int8_t status[4096];
    kvf_flow_t moved[KVF_PATH_COUNT];
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    char line[1024] = "";
    uint8_t *have = malloc(32 << 20);
    kvf_op_t ops[2];
    rig_t rig;
    int fd;

    setenv("KVFERRY_COPY_THREADS", _i / 4 == 0 ? "0" : "2", 1);
    rig_open(&rig, WHERE_CMA, &opts);
    owner_fill(&rig, 1);
    pattern_fill(rig.me.mem, 32 << 20, dir == KVF_READ ? 2 : 1);
    ops[0] = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, dir);
    ops[0].blocks = 4096; /* four calls */
    ops[0].local_block = ops[0].remote_block = 8192;
    ops[0].block_status = status;
    ops[1] = op_plain(rig.me.segment, 4096, rig.remote, 4096, 4096, dir);
    fd = catch_stderr();
    ok(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL));
    if (_i / 4 == 0) {
        answers(kvf_batch_test(rig.batch), KVF_INPROGRESS); /* one call of it */
    }
    must(forbid_cma(error) == 0, "seccomp: %s", strerror(errno));
    ok(kvf_batch_wait(rig.batch, patient(20)));
    for (int i = 0; i < 4096; i++) {
        must(status[i] == KVF_OK, "block %d: %d", i, status[i]);
    }
    ok(kvf_batch_result(rig.batch, &result));
    must(result.bytes == 4097 * 4096, "%zu bytes", (size_t)result.bytes);
    if (dir == KVF_READ) {
        memcpy(have, rig.me.mem, 32 << 20);
    } else {
        owner_get(&rig, 0, have, 32 << 20);
    }
    for (uint64_t at = 0; at < 32 << 20; at += 8192) {
        uint64_t word = 0, want = 0;

        memcpy(&word, have + at, sizeof(word));
        if (dir == KVF_READ) {
            owner_get(&rig, at, &want, sizeof(want));
        } else {
            memcpy(&want, rig.me.mem + at, sizeof(want));
        }
        must(word == want, "at %zu", (size_t)at);
    }
    moved_by_path(rig.me.engine, moved);
    must(_i / 4 != 0 || moved[KVF_PATH_STAGE].bytes == 4097 * 4096, "%zu bytes over stage",
         (size_t)moved[KVF_PATH_STAGE].bytes);
    must(moved[KVF_PATH_STAGE].bytes + moved[KVF_PATH_CMA].bytes == 4097 * 4096, "bytes are counted twice");
    ok(run_ops(rig.batch, ops, 2, NULL));
    must(lines_with(fd, "over stage", line, sizeof(line)) == 1, "not told once");
    must(strstr(line, dir == KVF_READ ? "process_vm_readv" : "process_vm_writev") != NULL &&
             strstr(line, "filter") != NULL && strstr(line, "rank 2") != NULL,
         "told: \"%s\"", line);
    free(have);
    rig_close(&rig);
}
END_TEST

/* A mask that leaves cma alone: an error with the reason, and the next post refuses. */
START_TEST(a_filter_in_mid_batch_fails_what_may_only_take_cma)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    kvf_batch_opts_t batch = {.struct_size = sizeof(batch), .paths = KVF_PATH_BIT(KVF_PATH_CMA)};
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, WHERE_CMA, &opts);
    op = scattered(&rig, KVF_READ);
    ok(run_ops(rig.batch, &op, 1, &batch));
    must(forbid_cma(EPERM) == 0, "seccomp: %s", strerror(errno));
    must(run_ops(rig.batch, &op, 1, &batch) == KVF_ERR_SYSTEM, "%s", kvf_last_error());
    refused_naming(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &batch), KVF_ERR_NO_PATH,
                   "process_vm_readv|filter|forbidden by mask");
    reads_and_writes(&rig, KVF_PATH_STAGE, KVF_PATH_STAGE);
    rig_close(&rig);
}
END_TEST

/* Few bytes, so that post means to end the batch itself, but the owner who is needed after all stands
 * still. */
START_TEST(a_small_batch_that_moves_to_stage_keeps_its_deadline)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    kvf_batch_opts_t batch = {.struct_size = sizeof(batch), .deadline_ns = 300 * MS};
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, WHERE_CMA, &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    must(forbid_cma(EPERM) == 0, "seccomp: %s", strerror(errno));
    proc_signal(&rig.owner, SIGSTOP);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &batch));
    answers(kvf_batch_wait(rig.batch, patient(10)), KVF_ERR_TIMEOUT);
    proc_signal(&rig.owner, SIGCONT);
    rig_close(&rig);
}
END_TEST

static void *no_thread(void *arg)
{
    return arg;
}

/* The kernel refuses the call in mid batch, and then the thread that stage needs: the op has failed, and
 * the rest of the batch can be cancelled, or goes on. */
START_TEST(an_op_that_stage_cannot_take_either_fails_alone)
{
    static const long denied[] = {SYS_process_vm_writev, SYS_clone3}; /* clone() is the leak checker's */
    rig_opts_t opts = {.owner_len = 16 << 20, .local_len = 16 << 20};
    pthread_t thread;
    kvf_status_t status;
    kvf_op_t ops[2];
    rig_t rig;

    rig_open(&rig, WHERE_CMA, &opts);
    for (int i = 0; i < 2; i++) {
        ops[i] = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, i == 0 ? KVF_WRITE : KVF_READ);
        ops[i].blocks = 2048; /* two calls */
        ops[i].local_block = ops[i].remote_block = 8192;
    }
    ops[1].local_off = ops[1].remote_off = 4096;
    ok(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL));
    must(forbid(denied, (int)(sizeof(denied) / sizeof(denied[0])), EPERM) == 0, "seccomp: %s",
         strerror(errno));
    if (pthread_create(&thread, NULL, no_thread, NULL) == 0) { /* a C library that has no use for clone3() */
        pthread_join(thread, NULL);
        kvf_batch_cancel(rig.batch);
        rig_close(&rig);
        return;
    }
    answers(kvf_batch_test(rig.batch), KVF_INPROGRESS); /* refused */
    answers(kvf_batch_test(rig.batch), KVF_INPROGRESS); /* noticed, and a call of the other */
    status = _i == 0 ? kvf_batch_cancel(rig.batch) : kvf_batch_wait(rig.batch, patient(20));
    must(status == KVF_ERR_SYSTEM, "%s", kvf_last_error());
    answers(kvf_batch_op_status(rig.batch, 0), KVF_ERR_SYSTEM);
    answers(kvf_batch_op_status(rig.batch, 1), _i == 0 ? KVF_ERR_CANCELED : KVF_OK);
    rig_close(&rig);
}
END_TEST

/* --------------------------------------------- namespaces and capabilities */

static void put_line(const char *path, const char *format, unsigned id)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    must(fd >= 0 && dprintf(fd, format, id, id) > 0, "%s: %s", path, strerror(errno));
    close(fd);
}

/* A user namespace in which this user is itself. */
static int own_users(void)
{
    unsigned uid = geteuid();
    unsigned gid = getegid();

    if (unshare(CLONE_NEWUSER) != 0) {
        return -1;
    }
    put_line("/proc/self/setgroups", "deny", 0);
    put_line("/proc/self/uid_map", "%u %u 1", uid);
    put_line("/proc/self/gid_map", "%u %u 1", gid);
    return 0;
}

/* From inside a user namespace nobody reaches out; from outside the owner of it may reach in. */
START_TEST(a_rank_in_a_user_namespace_of_its_own)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    char line[1024];
    rig_t rig;
    int fd;

    rig_fork(&rig, WHERE_CMA, &opts);
    if (own_users() != 0) {
        proc_end(&rig.owner);
        return; /* not ours to make */
    }
    fd = catch_stderr();
    rig_join(&rig);
    reads_and_writes(&rig, KVF_PATH_STAGE, KVF_PATH_STAGE);
    must(lines_with(fd, "user namespace", line, sizeof(line)) == 1, "not told why");
    rig_close(&rig);
}
END_TEST

static void at_hide(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)state;
    (void)in;
    (void)in_len;
    (void)out;
    must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "prctl: %s", strerror(errno));
}

static int drop_ptrace(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &head, data) != 0) {
        return -1;
    }
    data[0].effective &= ~(UINT32_C(1) << CAP_SYS_PTRACE);
    data[0].permitted &= ~(UINT32_C(1) << CAP_SYS_PTRACE);
    data[0].inheritable &= ~(UINT32_C(1) << CAP_SYS_PTRACE);
    return (int)syscall(SYS_capset, &head, data);
}

START_TEST(a_rank_that_is_not_dumpable_and_one_without_the_capability)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    char line[1024];
    rig_t rig;
    int fd;

    rig_fork(&rig, WHERE_CMA, &opts);
    proc_call(&rig.owner, at_hide, NULL, 0, NULL, 0);
    must(drop_ptrace() == 0, "capset: %s", strerror(errno));
    fd = catch_stderr();
    rig_join(&rig);
    reads_and_writes(&rig, KVF_PATH_STAGE, KVF_PATH_STAGE);
    must(lines_with(fd, "CAP_SYS_PTRACE", line, sizeof(line)) == 1, "not told what to do");
    must(strstr(line, "user namespace") == NULL, "they share one: \"%s\"", line);
    rig_close(&rig);
}
END_TEST

/* Who changes users is not dumpable from then on. */
static void at_become_nobody(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    enum {
        NOBODY = 65534
    };

    must(geteuid() != 0 || (setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0),
         "setresuid: %s", strerror(errno));
    at_hide(state, in, in_len, out);
}

START_TEST(a_rank_of_our_user_that_is_not_dumpable_is_told_as_that)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    char line[1024];
    rig_t rig;
    int fd;

    rig_fork(&rig, WHERE_CMA, &opts);
    proc_call(&rig.owner, at_become_nobody, NULL, 0, NULL, 0);
    fd = catch_stderr();
    at_become_nobody(NULL, NULL, 0, NULL);
    must(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0, "prctl: %s", strerror(errno));
    rig_join(&rig);
    reads_and_writes(&rig, KVF_PATH_STAGE, KVF_PATH_STAGE);
    must(lines_with(fd, "is not dumpable (", line, sizeof(line)) == 1, "not told why");
    must(strstr(line, "PR_SET_DUMPABLE") != NULL && strstr(line, "user namespace") == NULL, "\"%s\"", line);
    rig_close(&rig);
}
END_TEST

/* -------------------------------------------------------------- life of a pair */

/* Nothing but the start time tells of the death, and no system call fails. */
START_TEST(a_killed_owner_ends_the_batch_without_pidfd_open)
{
    static const long denied[] = {SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_open};
    rig_opts_t opts = {.owner_len = 32 << 20,
                       .local_len = 32 << 20,
                       .progress = _i & 1 ? KVF_PROGRESS_CALLER : KVF_PROGRESS_THREAD};
    kvf_status_t status;
    uint64_t before;
    kvf_op_t op;
    rig_t rig;

    rig_fork(&rig, WHERE_CMA, &opts);
    must(forbid(denied, 3, _i / 2 == 0 ? EPERM : ENOSYS) == 0, "seccomp: %s", strerror(errno));
    rig_join(&rig);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 32 << 20, KVF_READ);
    move(&rig, &op, 1);
    proc_signal(&rig.owner, SIGSTOP);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    answers(kvf_batch_wait(rig.batch, 50 * MS), KVF_INPROGRESS);
    proc_signal(&rig.owner, SIGKILL);
    before = now_ns();
    status = kvf_batch_wait(rig.batch, patient(10));
    must(status == KVF_ERR_PEER && now_ns() - before < patient(5), "%s", kvf_status_name(status));
    answers(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL), KVF_ERR_PEER);
    rig_close(&rig);
}
END_TEST

/* A request longer than any buffer of the near link, for many slots full of small pieces. */
START_TEST(a_long_list_of_ids_arrives_whole)
{
    uint32_t count = 300000;
    rig_opts_t opts = {.owner_len = UINT64_C(64) * count, .local_len = UINT64_C(64) * count};
    uint32_t *ids = malloc(count * sizeof(*ids));
    uint8_t *have = malloc(opts.owner_len);
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, WHERE_STAGE, &opts);
    owner_fill(&rig, 1);
    owner_get(&rig, 0, have, opts.owner_len);
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = (uint32_t)((uint64_t)i * 7919 % count);
    }
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 64, KVF_READ);
    op.blocks = count;
    op.local_block = op.remote_block = 64;
    op.remote_ids = ids;
    move(&rig, &op, 1);
    for (uint32_t i = 0; i < count; i++) {
        must(memcmp(rig.me.mem + UINT64_C(64) * i, have + UINT64_C(64) * ids[i], 64) == 0, "block %u", i);
    }
    free(ids);
    free(have);
    rig_close(&rig);
}
END_TEST

/* Times that the progress thread of this process went to sleep. */
static uint64_t naps(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    uint64_t sum = 0;

    must(dir != NULL, "opendir: %s", strerror(errno));
    while ((entry = readdir(dir)) != NULL) {
        char path[300], line[128];
        unsigned long long count;
        int ours = 0;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        file = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
        while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
            ours |= strcmp(line, "Name:\tkvferry\n") == 0;
            if (ours && sscanf(line, "voluntary_ctxt_switches: %llu", &count) == 1) {
                sum += count;
            }
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    closedir(dir);
    return sum;
}

static void at_naps(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    uint64_t sum = naps();

    (void)state;
    (void)in;
    (void)in_len;
    out_put(out, &sum, sizeof(sum));
}

START_TEST(both_threads_sleep_once_a_pair_is_idle)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    uint64_t mine, theirs, again;
    rig_t rig;

    rig_open(&rig, WHERE_STAGE, &opts);
    reads_and_writes(&rig, KVF_PATH_STAGE, KVF_PATH_STAGE);
    sleep_ms(200);
    rig_call(&rig, at_naps, NULL, 0, &theirs, sizeof(theirs));
    mine = naps();
    must(mine > 0 && theirs > 0, "no thread of that name");
    sleep_ms(500);
    rig_call(&rig, at_naps, NULL, 0, &again, sizeof(again));
    must(naps() - mine <= 2, "our thread woke %zu times", (size_t)(naps() - mine));
    must(again - theirs <= 2, "the owner's woke %zu times", (size_t)(again - theirs));
    rig_close(&rig);
}
END_TEST

/* Two engines that read from and write into each other at once, both driven by their callers. */
static void at_run(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_batch_t *batch = NULL;
    kvf_op_t op = op_plain(side->segment, 0, side->remote[0], 0, 4096, KVF_READ);

    (void)in;
    (void)in_len;
    (void)out;
    op.blocks = (uint32_t)(side->len / 8192);
    op.local_block = op.remote_block = 8192;
    ok(kvf_batch_create(side->engine, &batch));
    for (int i = 0; i < 40; i++) {
        op.dir = i & 1 ? KVF_WRITE : KVF_READ;
        ok(run_ops(batch, &op, 1, NULL));
    }
    ok(kvf_batch_free(batch));
}

START_TEST(both_sides_ask_at_once)
{
    rig_opts_t opts = {
        .owner_len = LEN, .local_len = LEN, .progress = _i & 1 ? KVF_PROGRESS_CALLER : KVF_PROGRESS_THREAD};
    kvf_range_t range = {.len = LEN, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    call_t readv = {SYS_process_vm_readv, EPERM}, writev = {SYS_process_vm_writev, EPERM};
    uint8_t buf[sizeof(side_slot_t) + BLOB_MAX];
    side_t mine;
    size_t len;
    rig_t rig;

    rig_fork(&rig, WHERE_STAGE, &opts);
    proc_call(&rig.owner, at_forbid, &readv, sizeof(readv), NULL, 0);
    proc_call(&rig.owner, at_forbid, &writev, sizeof(writev), NULL, 0);
    rig_join(&rig);
    range.segment = rig.me.segment;
    ok(kvf_grant_create(rig.me.engine, &range, 1, NULL, &rig.me.grant));
    memset(buf, 0, sizeof(side_slot_t));
    grant_blob(rig.me.grant, buf + sizeof(side_slot_t), &len);
    proc_call(&rig.owner, side_import_remote, buf, sizeof(side_slot_t) + len, NULL, 0);
    proc_ask(&rig.owner, at_run, NULL, 0);
    mine = rig.me;
    mine.remote[0] = rig.remote;
    at_run(&mine, NULL, 0, NULL);
    for (int i = 0; opts.progress == KVF_PROGRESS_CALLER && i < 2000; i++) {
        ok(kvf_progress(rig.me.engine)); /* the other may not be done */
        sleep_ms(1);
    }
    proc_reply(&rig.owner, NULL, 0);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stage");
    TCase *tc = tcase_create("stage");

    if (!forbid_works()) {
        skip_all("the kernel has no system call filters (CONFIG_SECCOMP_FILTER)");
    }
    tcase_set_timeout(tc, 40);
    tcase_add_loop_test(tc, a_job_goes_on_without_any_one_call, 0, CALLS * 2 * 3);
    tcase_add_loop_test(tc, a_filter_in_mid_batch_moves_it_to_stage_and_warns_once, 0, 8);
    tcase_add_test(tc, a_filter_in_mid_batch_fails_what_may_only_take_cma);
    tcase_add_test(tc, a_small_batch_that_moves_to_stage_keeps_its_deadline);
    tcase_add_loop_test(tc, an_op_that_stage_cannot_take_either_fails_alone, 0, 2);
    tcase_add_test(tc, a_rank_in_a_user_namespace_of_its_own);
    tcase_add_test(tc, a_rank_that_is_not_dumpable_and_one_without_the_capability);
    tcase_add_test(tc, a_rank_of_our_user_that_is_not_dumpable_is_told_as_that);
    tcase_add_loop_test(tc, a_killed_owner_ends_the_batch_without_pidfd_open, 0, 4);
    tcase_add_test(tc, a_long_list_of_ids_arrives_whole);
    tcase_add_test(tc, both_threads_sleep_once_a_pair_is_idle);
    tcase_add_loop_test(tc, both_sides_ask_at_once, 0, 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An owner whose main thread has ended while others live: pthread_exit() in main(). The process is a zombie in
 * /proc, and has its memory, its descriptors and its engine all the same.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LEN (UINT64_C(256) << 10)

static void at_end_thread(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)state, (void)in, (void)in_len, (void)out;
    syscall(SYS_exit, 0);
}

static char state_of(pid_t pid)
{
    char path[48], state = '?';
    FILE *file;
    int fields;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    must(file != NULL, "it has gone");
    fields = fscanf(file, "%*d (%*[^)]) %c", &state);
    must(fields == 1, "its line cannot be read");
    fclose(file);
    return state;
}

static void open_headless(rig_t *rig)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    uint64_t end = now_ns() + patient(5);

    rig_open(rig, WHERE_CMA, &opts);
    proc_ask(&rig->owner, at_end_thread, NULL, 0);
    while (state_of(rig->owner.pid) != 'Z') {
        must(now_ns() < end, "its main thread has not ended");
        sleep_ms(1);
    }
}

static void close_headless(rig_t *rig)
{
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};

    sleep_ms(20);
    ok(kvf_peer_query(rig->peer, &attr));
    must(attr.alive, "it lives, and is taken for dead");
    proc_signal(&rig->owner, SIGKILL);
    rig_close(rig);
}

/* What was written is read back, over stage; of cma's mask alone the sentence tells why. */
START_TEST(an_owner_without_its_main_thread_is_served_over_stage)
{
    uint32_t paths[] = {KVF_PATH_BIT(KVF_PATH_CMA) | KVF_PATH_BIT(KVF_PATH_STAGE),
                        KVF_PATH_BIT(KVF_PATH_STAGE)};
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .paths = paths[_i], .deadline_ns = patient(5)};
    kvf_batch_opts_t cma = {.struct_size = sizeof(cma), .paths = KVF_PATH_BIT(KVF_PATH_CMA)};
    rig_t rig;
    kvf_op_t op;

    open_headless(&rig);
    pattern_fill(rig.me.mem, LEN, 7);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, LEN, KVF_WRITE);
    if (_i == 1)
        refused_naming(run_ops(rig.batch, &op, 1, &cma), KVF_ERR_SYSTEM, "main thread has ended");
    ok(run_ops(rig.batch, &op, 1, &opts));
    memset(rig.me.mem, 0, LEN);
    op.dir = KVF_READ;
    ok(run_ops(rig.batch, &op, 1, &opts));
    must(pattern_compare(rig.me.mem, LEN, 7) == UINT64_MAX, "wrong bytes");
    close_headless(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("leader");
    TCase *tc = tcase_create("leader");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, an_owner_without_its_main_thread_is_served_over_stage, 0, 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

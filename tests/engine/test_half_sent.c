/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A neighbour that dies while it writes a message into the queue that UCX has in our memory. Nobody can
 * read past that message: what needs the near link stands still, and all of it must end all the same,
 * by deadline; copies over shm go on; who waits leaves the core to others; a close is bounded. Looks
 * inside of the library, for the neighbour has to die in the middle of a call of UCX: the bytes that it
 * sends cannot be read.
 */
#include "rig.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "engine/internal.h"

#define LEN (UINT64_C(1) << 20)

static void on_sent(void *arg, int failed)
{
    (void)arg;
    (void)failed;
}

/* Never answers. */
static void at_die_in_a_send(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvfi_link_t *near = side->engine->home->near;
    void *bad = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)in;
    (void)in_len;
    (void)out;
    signal(SIGSEGV, SIG_DFL);
    kvfi_link_lock(near);
    kvfi_ep_send(side->peer[0]->ep, "doorbell", 8, bad, 4096, on_sent, NULL);
    for (;;) { /* at the latest when the connection stands */
        kvfi_link_progress(near);
        sleep_ms(1);
    }
}

static void kill_one_in_a_send(rig_t *rig, proc_t *victim)
{
    side_open_t open;
    uint8_t buf[sizeof(side_slot_t) + BLOB_MAX];
    size_t len;
    pid_t pid = 0;
    int status;

    memset(&open, 0, sizeof(open));
    where_opts(WHERE_STAGE, &open.opts);
    open.opts.net = NULL;
    proc_call(victim, side_open_engine, &open, sizeof(open), NULL, 0);
    memset(buf, 0, sizeof(side_slot_t));
    engine_blob(rig->me.engine, 0, buf + sizeof(side_slot_t), &len);
    proc_call(victim, side_import_peer, buf, sizeof(side_slot_t) + len, NULL, 0);
    proc_ask(victim, at_die_in_a_send, NULL, 0);
    while (pid == 0) {
        ok(kvf_progress(rig->me.engine)); /* it has to connect first */
        sleep_ms(1);
        pid = waitpid(victim->pid, &status, WNOHANG);
    }
    must(pid == victim->pid && !WIFEXITED(status), "it did not die of the send");
    victim->pid = 0;
}

/* Processor time of this process, all threads, in nanoseconds. */
static uint64_t cpu_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * SEC + (uint64_t)at.tv_nsec;
}

START_TEST(a_neighbour_dies_while_it_sends_to_us)
{
    rig_opts_t opts = { .owner_len = LEN, .local_len = LEN, .deadline_ns = 500 * MS,
                        .progress = _i == 0 ? KVF_PROGRESS_THREAD : KVF_PROGRESS_CALLER };
    kvf_batch_opts_t self = { .struct_size = sizeof(self) };
    kvf_range_t range = { .len = LEN, .rights = KVF_RIGHT_READ };
    uint8_t buf[BLOB_MAX];
    kvf_grant_t *grant;
    kvf_remote_t *own;
    kvf_peer_t *me;
    uint32_t count = 1;
    size_t len;
    uint64_t before;
    proc_t victim;
    kvf_op_t op;
    rig_t rig;

    proc_start(&victim, sizeof(side_t), 60, side_idle);
    rig_open(&rig, WHERE_STAGE, &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, LEN, KVF_READ);
    move(&rig, &op, 1);
    kill_one_in_a_send(&rig, &victim);

    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    before = cpu_ns();
    answers(kvf_batch_wait(rig.batch, patient(20)), KVF_ERR_TIMEOUT);
    must(cpu_ns() - before < 350 * MS, "who waits took %zu ms of a core in half a second",
         (size_t)((cpu_ns() - before) / MS));

    engine_blob(rig.me.engine, 0, buf, &len);
    ok(kvf_peer_import(rig.me.engine, buf, len, &me));
    range.segment = rig.me.segment;
    ok(kvf_grant_create(rig.me.engine, &range, 1, NULL, &grant));
    grant_blob(grant, buf, &len);
    ok(kvf_remote_import(me, buf, len, &own, &count));
    op = op_plain(rig.me.segment, LEN / 2, own, 0, LEN / 2, KVF_READ);
    ok(run_ops(rig.batch, &op, 1, &self));
    ok(kvf_grant_revoke(grant, patient(1)));
    before = now_ns();
    ok(kvf_engine_close(rig.me.engine, patient(10)));
    must(now_ns() - before < patient(8), "the close took %zu ms",
         (size_t)((now_ns() - before) / MS));
    proc_call(&rig.owner, side_close, NULL, 0, NULL, 0);
    proc_end(&rig.owner);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("half_sent");
    TCase *tcase = tcase_create("half_sent");

    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 40);
    tcase_add_loop_test(tcase, a_neighbour_dies_while_it_sends_to_us, 0, 2);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Many ranks on few cores: sixteen processes on two cores, with a busy loop beside them, each with a
 * copy thread. Threads that spin while they wait would eat the cores of the others; so the processor
 * time of the same bytes must not grow with the number of ranks. It is processor time that is
 * compared, of the batches alone, and loosely.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BIG (UINT64_C(4) << 20)
#define BATCHES 3200

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The rest of this process may use two processors of what it had. */
static void stay_on_two(void)
{
    cpu_set_t had;
    cpu_set_t two;

    ck_assert(sched_getaffinity(0, sizeof(had), &had) == 0);
    CPU_ZERO(&two);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&two) < 2; cpu++) {
        if (CPU_ISSET(cpu, &had)) {
            CPU_SET(cpu, &two);
        }
    }
    ck_assert(sched_setaffinity(0, sizeof(two), &two) == 0);
}

static double rank(int batches)
{
    rig_t rig;
    rig_opts_t opts = { .owner_len = BIG, .local_len = BIG };
    kvf_op_t op;
    double before;
    double spent;

    setenv("KVFERRY_COPY_THREADS", "1", 1);
    rig_open(&rig, WHERE_SELF, &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG, KVF_READ);
    move(&rig, &op, 1); /* pages and threads are there */
    before = cpu_s();
    for (int i = 0; i < batches; i++) {
        move(&rig, &op, 1);
    }
    spent = cpu_s() - before;
    rig_close(&rig);
    return spent;
}

/* Processor seconds that so many ranks spend on BATCHES batches, all together. */
static double job(int ranks)
{
    int fds[2];
    double sum = 0;
    double one;

    ck_assert(pipe(fds) == 0);
    for (int i = 0; i < ranks; i++) {
        if (fork() == 0) {
            alarm(50 * patience());
            one = rank(BATCHES / ranks);
            _exit(write(fds[1], &one, sizeof(one)) == sizeof(one) ? 0 : 1);
        }
    }
    close(fds[1]);
    for (int i = 0; i < ranks; i++) {
        ck_assert(read(fds[0], &one, sizeof(one)) == sizeof(one));
        sum += one;
    }
    close(fds[0]);
    for (int i = 0; i < ranks; i++) {
        int status = -1;

        ck_assert(wait(&status) > 0 && status == 0);
    }
    return sum;
}

START_TEST(many_ranks_cost_what_two_do)
{
    pid_t busy;
    double two;
    double many;

    stay_on_two();
    two = job(2);
    busy = fork();
    if (busy == 0) {
        alarm(50 * patience());
        for (;;) {
            sched_getcpu();
        }
    }
    ck_assert(busy > 0);
    many = job(16);
    kill(busy, SIGKILL);
    waitpid(busy, NULL, 0);
    must(many < 2 * two + 0.1, "16 ranks spent %.3f s, 2 ranks %.3f s", many, two);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crowd");
    TCase *tc = tcase_create("crowd");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, many_ranks_cost_what_two_do);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

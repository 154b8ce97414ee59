/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Many ranks on few cores: sixteen on two cores, with a busy loop beside them, each with a copy
 * thread, or with an owner that it reaches over a wire or a ring. Threads that spin while they wait
 * would eat the cores of the others; so the processor time of the same bytes must not grow with the
 * number of ranks. And an engine that has nothing to do takes nothing, and copy threads that cannot
 * help cost nothing. It is processor time that is compared, of the batches alone, and loosely.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What a rank is: an initiator, and an owner of memory on that path. */
typedef struct kind {
    where_t where;
    uint32_t progress;
    const char *copy_threads;
    uint64_t len; /* of a batch */
    int batches;  /* of all ranks together */
} kind_t;

static const kind_t kinds[] = {
    {WHERE_SELF, KVF_PROGRESS_THREAD, "1", UINT64_C(4) << 20, 3200},
    {WHERE_AM, KVF_PROGRESS_THREAD, "0", UINT64_C(1) << 20, 320},
    {WHERE_AM, KVF_PROGRESS_CALLER, "0", UINT64_C(1) << 20, 320},
    {WHERE_STAGE, KVF_PROGRESS_THREAD, "1", UINT64_C(1) << 20, 320},
};

#define KINDS (int)(sizeof(kinds) / sizeof(kinds[0]))

typedef struct spent {
    double cpu_s;
    long sleeps; /* of any thread */
} spent_t;

static void at_spent(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    struct timespec t;
    struct rusage usage;
    spent_t spent;

    (void)state;
    (void)in;
    (void)in_len;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    getrusage(RUSAGE_SELF, &usage);
    spent.cpu_s = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    spent.sleeps = usage.ru_nvcsw;
    out_put(out, &spent, sizeof(spent));
}

/* By this process, or by the owner, or nothing where that is the same. */
static spent_t spent_by(rig_t *rig, int owner)
{
    proc_out_t out = {NULL, 0};
    spent_t spent = {0, 0};

    if (owner && rig->where > WHERE_TWIN) {
        rig_call(rig, at_spent, NULL, 0, &spent, sizeof(spent));
    } else if (!owner) {
        at_spent(NULL, NULL, 0, &out);
        memcpy(&spent, out.data, sizeof(spent));
        free(out.data);
    }
    return spent;
}

static double cpu_s(rig_t *rig)
{
    return spent_by(rig, 0).cpu_s + spent_by(rig, 1).cpu_s;
}

/* The rest of this process may use so many processors of what it had. */
static void stay_on(int count)
{
    cpu_set_t had;
    cpu_set_t few;

    ck_assert(sched_getaffinity(0, sizeof(had), &had) == 0);
    CPU_ZERO(&few);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&few) < count; cpu++) {
        if (CPU_ISSET(cpu, &had)) {
            CPU_SET(cpu, &few);
        }
    }
    ck_assert(sched_setaffinity(0, sizeof(few), &few) == 0);
}

static void open_rank(rig_t *rig, const kind_t *kind)
{
    rig_opts_t opts = {.owner_len = kind->len, .local_len = kind->len, .progress = kind->progress};

    setenv("KVFERRY_COPY_THREADS", kind->copy_threads, 1);
    rig_open(rig, kind->where, &opts);
}

/* Processor seconds of so many batches, without what opening takes. */
static double run_rank(rig_t *rig, const kind_t *kind, int batches)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, 0, kind->len, KVF_READ);
    double before;

    move(rig, &op, 1); /* pages and threads are there */
    before = cpu_s(rig);
    for (int i = 0; i < batches; i++) {
        move(rig, &op, 1);
    }
    return cpu_s(rig) - before;
}

static double rank(const kind_t *kind, int batches)
{
    rig_t rig;
    double spent;

    open_rank(&rig, kind);
    spent = run_rank(&rig, kind, batches);
    rig_close(&rig);
    return spent;
}

/* Processor seconds that so many ranks spend on all batches, all together. */
static double job(const kind_t *kind, int ranks)
{
    int fds[2];
    double sum = 0;
    double one;

    ck_assert(pipe(fds) == 0);
    for (int i = 0; i < ranks; i++) {
        if (fork() == 0) {
            alarm(50 * patience());
            one = rank(kind, kind->batches / ranks);
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
    const kind_t *kind = &kinds[_i];
    pid_t busy;
    double two;
    double many;

    stay_on(2);
    two = job(kind, 2);
    busy = fork();
    if (busy == 0) {
        alarm(50 * patience());
        for (;;) {
            sched_getcpu();
        }
    }
    ck_assert(busy > 0);
    many = job(kind, 16);
    kill(busy, SIGKILL);
    waitpid(busy, NULL, 0);
    must(many < 2 * two + 0.1, "on %s 16 ranks spent %.3f s, 2 ranks %.3f s", where_name(kind->where), many,
         two);
}
END_TEST

START_TEST(an_idle_engine_takes_nothing)
{
    const kind_t *kind = &kinds[_i];
    spent_t before[2];
    double seconds;
    uint64_t began;
    rig_t rig;

    open_rank(&rig, kind);
    run_rank(&rig, kind, 3);
    sleep_ms(100); /* what the last batch left to do */
    began = now_ns();
    for (int owner = 0; owner < 2; owner++) {
        before[owner] = spent_by(&rig, owner);
    }
    sleep_ms(1000);
    seconds = (double)(now_ns() - began) / 1e9;
    /* the harness calls an owner that nobody drives every millisecond */
    for (int owner = 0; owner < (kind->progress == KVF_PROGRESS_THREAD ? 2 : 1); owner++) {
        spent_t after = spent_by(&rig, owner);
        double cpu = after.cpu_s - before[owner].cpu_s;

        must(cpu < seconds / 100, "%.4f s of processor time in %.1f s", cpu, seconds);
        must(after.sleeps - before[owner].sleeps < 100 * seconds, "woken %ld times in %.1f s",
             after.sleeps - before[owner].sleeps, seconds);
    }
    rig_close(&rig);
}
END_TEST

/* One core: no thread is there to copy, and none is paid for. */
START_TEST(copy_threads_on_one_core_cost_nothing)
{
    kind_t kind = {WHERE_SELF, KVF_PROGRESS_THREAD, "0", UINT64_C(4) << 20, 0};
    double spent[2] = {0, 0};
    rig_t rigs[2];

    stay_on(1);
    for (int i = 0; i < 2; i++) {
        kind.copy_threads = i == 0 ? "0" : "1";
        open_rank(&rigs[i], &kind);
    }
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 2; i++) {
            spent[i] += run_rank(&rigs[i], &kind, 10);
        }
    }
    must(spent[1] < 1.3 * spent[0] + 0.01, "%.3f s of processor time with copy_threads=1, %.3f without",
         spent[1], spent[0]);
    rig_close(&rigs[1]);
    rig_close(&rigs[0]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crowd");
    TCase *tc = tcase_create("crowd");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, many_ranks_cost_what_two_do, 0, KINDS);
    tcase_add_loop_test(tc, an_idle_engine_takes_nothing, 0, KINDS);
    tcase_add_test(tc, copy_threads_on_one_core_cost_nothing);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

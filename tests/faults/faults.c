/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Death and failure at every step. For each scenario a step is done once by a victim to count its system
 * calls; then, by a fresh victim each, with one of them killed or failed: the first, the second, ... until
 * the step passes whole. After each, those who live are asked: see cast.h. It wants namespaces of its own
 * (run.sh), strace, and makes files in $TMPDIR.
 *
 *     faults [--spread N] [SCENARIO...]    N of each scenario's steps, evenly; without it all
 *     faults --at SCENARIO KIND CALL N     one step, with the log of strace
 */
#include "run.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---------------------------------------------------------------- kinds */

/* Which calls a kind of failure can come from on a real machine; NULL: all. A futex that fails is not one. */
static const kind_t kinds[] = {
    {"KILL", "signal=KILL", NULL},
    {"EMFILE", "error=EMFILE",
     " open openat openat2 socket socketpair pipe pipe2 epoll_create epoll_create1 eventfd eventfd2 "
     "timerfd_create pidfd_open accept accept4 dup dup3 memfd_create inotify_init inotify_init1 "},
    {"ENOMEM", "error=ENOMEM",
     " mmap mprotect mremap madvise munmap brk shmget shmat clone clone3 process_vm_readv "
     "process_vm_writev open openat read pread64 write getdents64 socket epoll_create1 epoll_ctl eventfd2 "
     "timerfd_create pidfd_open pipe2 sendto sendmsg recvfrom recvmsg bind connect mbind mlock "
     "set_mempolicy get_mempolicy "},
    {"EAGAIN", "error=EAGAIN",
     " clone clone3 mlock read write readv writev sendto sendmsg recvfrom recvmsg accept accept4 connect "
     "timerfd_settime getrandom "},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int strikes(const kind_t *kind, const char *call)
{
    char word[40];

    snprintf(word, sizeof(word), " %s ", call);
    return kind->calls == NULL || strstr(kind->calls, word) != NULL;
}

/* ---------------------------------------------------------------- a step */

static void count_outcome(tally_t *tally, outcome_t outcome)
{
    if (outcome != UNTOUCHED) {
        tally->steps++;
        tally->by[outcome]++;
    }
}

static void all_of(step_t *step, tally_t *tally, int known)
{
    for (step->n = 1; step->n < 2000; step->n++) {
        outcome_t outcome = run_step(step, tally, NULL);

        count_outcome(tally, outcome);
        if (outcome == UNTOUCHED && step->n >= known) {
            return;
        }
    }
}

/* wanted of the steps there are, evenly; 0: all. */
static void play(const scenario_t *scenario, int wanted, tally_t tallies[KINDS])
{
    static calls_t calls;
    step_t step = {.scenario = scenario, .kind = NULL, .call = "-"};
    tally_t plain = {0};
    int steps = 0, at = 0, next = 0;

    if (run_step(&step, &plain, &calls) != UNTOUCHED) {
        tallies[0].bugs += plain.bugs + 1;
        return;
    }
    for (size_t k = 0; k < KINDS; k++) {
        for (int i = 0; i < calls.count; i++) {
            steps += strikes(&kinds[k], calls.call[i].name) ? calls.call[i].most : 0;
        }
    }
    wanted = wanted < steps ? wanted : steps;
    for (size_t k = 0; k < KINDS; k++) {
        for (int i = 0; i < calls.count; i++) {
            if (!strikes(&kinds[k], calls.call[i].name)) {
                continue;
            }
            step.kind = &kinds[k];
            snprintf(step.call, sizeof(step.call), "%s", calls.call[i].name);
            if (wanted == 0) {
                all_of(&step, &tallies[k], calls.call[i].most);
                continue;
            }
            for (step.n = 1; step.n <= calls.call[i].most; step.n++, at++) {
                if (next < wanted && at == (2 * next + 1) * steps / (2 * wanted)) {
                    count_outcome(&tallies[k], run_step(&step, &tallies[k], NULL));
                    next++;
                }
            }
        }
    }
}

static int play_one(const scenario_t *scenario, char **what)
{
    static const char *const names[OUTCOMES] = {
        "untouched", "passed", "refused", "killed", "ended or held by UCX", "crashed", "hung"};
    step_t step = {.scenario = scenario, .n = atoi(what[2])};
    tally_t tally = {0};

    for (size_t k = 0; k < KINDS; k++) {
        step.kind = strcmp(kinds[k].name, what[0]) == 0 ? &kinds[k] : step.kind;
    }
    if (step.kind == NULL) {
        return 1;
    }
    snprintf(step.call, sizeof(step.call), "%s", what[1]);
    cast_start(scenario->far);
    printf("%s\n", names[run_step(&step, &tally, NULL)]);
    cast_end();
    return tally.bugs != 0;
}

/* A row of the table, as docs/reliability.md has it. */
static void tell(const scenario_t *scenario, const tally_t tallies[KINDS])
{
    tally_t sum = {0};

    printf("| %s |", scenario->name);
    for (size_t k = 0; k < KINDS; k++) {
        const tally_t *t = &tallies[k];

        if (k == 0) {
            printf(" %u |", t->by[KILLED]);
        } else {
            printf(" %u + %u |", t->by[PASSED], t->by[REFUSED]);
        }
        sum.statuses |= t->statuses;
        sum.by[IN_UCX] += t->by[IN_UCX];
        sum.survivors += t->survivors;
        sum.swept += t->swept;
        sum.bugs += t->bugs;
    }
    for (int bit = 1; bit < 64; bit++) {
        if (sum.statuses >> bit & 1) {
            printf(" %s", kvf_status_name((kvf_status_t)-bit) + strlen("KVF_ERR_"));
        }
    }
    printf(" | %u | %u | %u | %u |\n", sum.swept, sum.by[IN_UCX], sum.survivors, sum.bugs);
}

static int chosen(const char *name, int argc, char **argv)
{
    int any = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--spread") == 0) {
            i++;
            continue;
        }
        any = 1;
        if (strcmp(argv[i], name) == 0) {
            return 1;
        }
    }
    return !any;
}

static unsigned play_all(int wanted, int argc, char **argv)
{
    unsigned bugs = 0, steps = 0;

    printf("| step |");
    for (size_t k = 0; k < KINDS; k++) {
        printf(" %s |", kinds[k].name);
    }
    printf(" errors | swept | in UCX | survivors | bugs |\n|---|");
    for (size_t k = 0; k < KINDS + 5; k++) {
        printf("---|");
    }
    printf("\n");
    for (const scenario_t *s = scenarios; s->name != NULL; s++) {
        tally_t tallies[KINDS] = {{0}};

        if (!chosen(s->name, argc, argv)) {
            continue;
        }
        if (board->actor[OWNER].pid == 0 || board->far != s->far) {
            cast_start(s->far);
        }
        play(s, wanted, tallies);
        tell(s, tallies);
        for (size_t k = 0; k < KINDS; k++) {
            bugs += tallies[k].bugs;
            steps += tallies[k].steps;
        }
    }
    cast_end();
    printf("%u steps, %u bugs\n", steps, bugs);
    return bugs;
}

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    int one = argc == 6 && strcmp(argv[1], "--at") == 0, wanted = 0;
    char dir[256];

    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--spread") == 0) {
            wanted = atoi(argv[i + 1]);
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(dir, sizeof(dir), "%s/faults.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (board == MAP_FAILED || mkdtemp(dir) == NULL) {
        perror("faults");
        return 1;
    }
    run_in(dir, one);
    board->old_seed = 100;
    if (!one) {
        return play_all(wanted, argc, argv) != 0;
    }
    for (const scenario_t *s = scenarios; s->name != NULL; s++) {
        if (strcmp(s->name, argv[2]) == 0) {
            return play_one(s, &argv[3]);
        }
    }
    printf("no scenario %s\n", argv[2]);
    return 1;
}

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
#include "cast.h"
#include "strace.h"

#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---------------------------------------------------------------- kinds */

/* Which calls a kind of failure can come from on a real machine; NULL: all. A futex that fails is not one. */
typedef struct kind {
    const char *name, *what, *calls;
} kind_t;

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

/* -------------------------------------------------------------- outcomes */

typedef enum { UNTOUCHED, WHOLE, REFUSED, KILLED, ENDED_BY_UCX, CRASHED, HUNG, OUTCOMES } outcome_t;

static const char *const outcome_names[] = {"untouched",    "passed",  "refused", "killed",
                                            "ended by UCX", "crashed", "hung"};

typedef struct tally {
    unsigned steps, by[OUTCOMES], bugs;
    unsigned swept; /* empty segments that a death left, which the next engine took away */
    uint64_t
        statuses; /* bits of the errors that were answered, by the victim or to the owner that it serves */
} tally_t;

typedef struct step {
    const scenario_t *scenario;
    const kind_t *kind; /* NULL: nothing is struck */
    char call[32];
    int n;
} step_t;

static unsigned bugs_total;
static int alone; /* 1: --at */
static char dir[256];

static const char *in_dir(const char *name)
{
    static char path[4][320];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
    return path[turn];
}

static void show_end(const char *name)
{
    FILE *f = fopen(in_dir(name), "r");
    char line[400];
    int lines = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL && lines++ < (alone ? 400 : 25)) {
        printf("    | %s%s", line, strchr(line, '\n') != NULL ? "" : "\n");
    }
    if (f != NULL) {
        fclose(f);
    }
}

static const char *first_line(const char *name)
{
    static char line[400];
    FILE *f = fopen(in_dir(name), "r");

    if (f == NULL || fgets(line, sizeof(line), f) == NULL) {
        line[0] = '\0';
    }
    if (f != NULL) {
        fclose(f);
    }
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static void bug(const step_t *step, tally_t *tally, const char *format, ...)
{
    va_list args;

    printf("BUG: %s %s %s %d: ", step->scenario->name, step->kind != NULL ? step->kind->name : "-",
           step->call, step->n);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    tally->bugs++;
    bugs_total++;
}

/* ------------------------------------------------------------- leftovers */

/* What is there in our namespaces: System V segments, files of /dev/shm, abstract sockets; and what the
 * survivors hold open. */
typedef struct left {
    int segments, files, sockets, fds[2];
} left_t;

static int lines_with(const char *file, const char *text)
{
    FILE *f = fopen(file, "r");
    char line[512];
    int count = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        count += strstr(line, text) != NULL;
    }
    if (f != NULL) {
        fclose(f);
    }
    return count;
}

static int names_in(const char *folder)
{
    DIR *d = opendir(folder);
    int count = 0;

    while (d != NULL && readdir(d) != NULL) {
        count++;
    }
    if (d != NULL) {
        closedir(d);
    }
    return count;
}

/* With nobody attached: between shmget() and the mark for removal its maker died. */
static unsigned segments_of_nobody(void)
{
    FILE *f = fopen("/proc/sysvipc/shm", "r");
    char line[512];
    unsigned count = 0, attached;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        count += sscanf(line, "%*s %*s %*s %*s %*s %*s %u", &attached) == 1 && attached == 0;
    }
    if (f != NULL) {
        fclose(f);
    }
    return count;
}

static left_t look(void)
{
    left_t now = {lines_with("/proc/sysvipc/shm", "\n"),
                  names_in("/dev/shm"),
                  lines_with("/proc/net/unix", "@"),
                  {0, 0}};
    char fds[64];

    for (int i = 0; i < 2; i++) {
        snprintf(fds, sizeof(fds), "/proc/%d/fd", (int)board->actor[i].pid);
        now.fds[i] = names_in(fds);
    }
    return now;
}

static int more(const left_t *now, const left_t *was)
{
    return now->segments > was->segments || now->files > was->files || now->sockets > was->sockets ||
           now->fds[0] > was->fds[0] || now->fds[1] > was->fds[1];
}

/* Waits until nothing is there that was not; what a death leaves is taken back within a second or two. */
static int settled(const left_t *was, left_t *now_p, unsigned ms)
{
    for (unsigned i = 0; i <= ms / 5; i++) {
        *now_p = look();
        if (!more(now_p, was)) {
            return 1;
        }
        usleep(5000);
    }
    return 0;
}

/* -------------------------------------------------------------- the cast */

static left_t before; /* what there is with owner and bystander alone */

static void cast_end(void)
{
    for (int role = 0; role < ACTORS; role++) {
        actor_kill((role_t)role);
    }
}

static void fatal(const char *what, role_t role)
{
    printf("%s: %s\n", what, board->actor[role].wrong);
    show_end(role == OWNER ? "owner.err" : role == BYSTANDER ? "bystander.err" : "newcomer.err");
    cast_end();
    exit(1);
}

static void cast_start(uint32_t far)
{
    cast_end();
    board->far = far;
    actor_start(OWNER, owner_main, in_dir("owner.err"));
    if (actor_answer(OWNER, 20) != 1 || board->actor[OWNER].wrong[0] != '\0') {
        fatal("the owner cannot start", OWNER);
    }
    actor_start(BYSTANDER, bystander_main, in_dir("bystander.err"));
    if (actor_answer(BYSTANDER, 20) != 1) {
        fatal("the bystander cannot start", BYSTANDER);
    }
    actor_start(NEWCOMER, newcomer_main, in_dir("newcomer.err"));
    if (actor_answer(NEWCOMER, 20) != 1 || board->actor[NEWCOMER].wrong[0] != '\0') {
        fatal("a newcomer cannot read", NEWCOMER);
    }
    while (!actor_gone(NEWCOMER)) {
        usleep(1000);
    }
    usleep(1500000);
    before = look();
}

/* --------------------------------------------------------------- one run */

static const char *end_of(role_t role)
{
    static char text[64];
    int ended = board->actor[role].ended;

    if (WIFSIGNALED(ended)) {
        snprintf(text, sizeof(text), "died of signal %d (%s)", WTERMSIG(ended), strsignal(WTERMSIG(ended)));
    } else {
        snprintf(text, sizeof(text), "left with %d", WEXITSTATUS(ended));
    }
    return text;
}

static void note_status(tally_t *tally, int32_t status)
{
    if (status < 0) {
        tally->statuses |= UINT64_C(1) << -status;
    }
}

/* Asks the owner, who must answer and find nothing wrong. */
static int owner_does(const step_t *step, tally_t *tally, uint32_t verb, const char *what)
{
    int answer;

    actor_ask(OWNER, verb);
    answer = actor_answer(OWNER, HANG_S);
    if (answer != 1) {
        bug(step, tally, "the owner %s at %s", answer == 0 ? end_of(OWNER) : "hangs", what);
        show_end("owner.err");
    } else if (board->actor[OWNER].wrong[0] != '\0') {
        bug(step, tally, "the owner at %s: %s", what, board->actor[OWNER].wrong);
    }
    board->actor[OWNER].wrong[0] = '\0';
    return answer == 1;
}

static outcome_t victim_ended(const step_t *step, tally_t *tally)
{
    const actor_t *victim = &board->actor[VICTIM];

    if (WIFSIGNALED(victim->ended) && WTERMSIG(victim->ended) == SIGKILL && step->kind == &kinds[0]) {
        return KILLED;
    }
    if (WIFSIGNALED(victim->ended) && strace_in_ucx(in_dir("log"))) {
        printf("UCX: %s %s %s %d: %s\n", step->scenario->name, step->kind->name, step->call, step->n,
               first_line("victim.err"));
        return ENDED_BY_UCX;
    }
    bug(step, tally, "the victim %s", end_of(VICTIM));
    show_end("victim.err");
    return CRASHED;
}

/* The victim has done its step; it still has to close, and to go. */
static outcome_t victim_closes(const step_t *step, tally_t *tally)
{
    actor_t *victim = &board->actor[VICTIM];
    outcome_t outcome = victim->status == KVF_OK ? WHOLE : REFUSED;
    int answer;

    note_status(tally, victim->status);
    if (victim->status != KVF_OK && victim->sentence[0] == '\0') {
        bug(step, tally, "%s without a sentence", kvf_status_name(victim->status));
    }
    if (getenv("KVF_FAULTS_TELL") != NULL) {
        printf("%s %s %s %d: %s %s\n", step->scenario->name, step->kind != NULL ? step->kind->name : "-",
               step->call, step->n, kvf_status_name(victim->status), victim->sentence);
    }
    actor_ask(VICTIM, 0);
    answer = actor_answer(VICTIM, HANG_S);
    if (answer == 0) {
        return victim_ended(step, tally);
    }
    if (answer < 0) {
        bug(step, tally, "the victim hangs in close, after %s", kvf_status_name(victim->status));
        return HUNG;
    }
    if (victim->status != KVF_OK) {
        bug(step, tally, "the victim's close: %s, \"%s\"", kvf_status_name(victim->status), victim->sentence);
    }
    return outcome;
}

/* The step, under strace. */
static outcome_t strike(const step_t *step, tally_t *tally, calls_t *calls_p)
{
    actor_t *victim = &board->actor[VICTIM];
    pid_t strace;
    int answer;
    outcome_t outcome;

    strace = strace_start(victim->pid, in_dir("log"), step->kind != NULL ? step->call : NULL,
                          step->kind != NULL ? step->kind->what : NULL, step->n,
                          alone || (step->kind != NULL && step->kind != &kinds[0]));
    for (int i = 0; i < 25000 && atomic_load(&victim->rounds) == 0 && !actor_gone(VICTIM); i++) {
        usleep(200);
    }
    if (atomic_load(&victim->rounds) == 0) {
        strace_end(strace);
        if (actor_gone(VICTIM)) {
            atomic_store(&board->served, 1);
            return victim_ended(step, tally); /* in a call that a thread of it was already in */
        }
        bug(step, tally, "strace has not come");
        return HUNG;
    }
    actor_ask(VICTIM, 0);
    if (step->scenario->serves) {
        owner_does(step, tally, OWN_MOVE, "moving from or to the victim");
        note_status(tally, board->actor[OWNER].status);
        atomic_store(&board->served, 1);
    }
    answer = actor_answer(VICTIM, HANG_S);
    strace_end(strace);
    if (calls_p != NULL) {
        strace_calls(in_dir("log"), calls_p);
    }
    if (answer < 0) {
        bug(step, tally, "the victim hangs");
        return HUNG;
    }
    outcome = answer == 0 ? victim_ended(step, tally) : victim_closes(step, tally);
    if ((outcome == WHOLE || outcome == REFUSED) && !strace_injected(in_dir("log"))) {
        if (outcome == REFUSED) {
            bug(step, tally, "an untouched step: %s, \"%s\"", kvf_status_name(victim->status),
                victim->sentence);
        }
        return UNTOUCHED;
    }
    return outcome;
}

static void newcomer_reads(const step_t *step, tally_t *tally)
{
    int answer;

    actor_start(NEWCOMER, newcomer_main, in_dir("newcomer.err"));
    answer = actor_answer(NEWCOMER, 2 * HANG_S);
    if (answer != 1) {
        bug(step, tally, "a newcomer %s", answer == 0 ? end_of(NEWCOMER) : "hangs");
        show_end("newcomer.err");
    } else if (board->actor[NEWCOMER].wrong[0] != '\0') {
        bug(step, tally, "a newcomer: %s", board->actor[NEWCOMER].wrong);
    }
    for (int i = 0; answer == 1 && i < 2000 && !actor_gone(NEWCOMER); i++) {
        usleep(1000);
    }
    actor_kill(NEWCOMER);
}

static int bystander_reads(const step_t *step, tally_t *tally)
{
    actor_t *him = &board->actor[BYSTANDER];
    uint64_t rounds = atomic_load(&him->rounds);

    for (int i = 0; i < HANG_S * 1000 && !actor_gone(BYSTANDER); i++) {
        if (atomic_load(&him->rounds) > rounds + 1) {
            return 1;
        }
        usleep(1000);
    }
    bug(step, tally, "the bystander %s: %s", him->pid == 0 ? end_of(BYSTANDER) : "hangs", him->wrong);
    show_end("bystander.err");
    return 0;
}

static void leaves_nothing(const step_t *step, tally_t *tally, unsigned ms)
{
    left_t now;

    if (!settled(&before, &now, ms)) {
        bug(step, tally,
            "left: %d segments (%d), %d files (%d), %d sockets (%d), %d and %d descriptors (%d, %d)",
            now.segments, before.segments, now.files, before.files, now.sockets, before.sockets, now.fds[0],
            now.fds[1], before.fds[0], before.fds[1]);
        before = now;
    }
}

/* One victim. Survivors that do not survive are replaced. */
static outcome_t run_step(const step_t *step, tally_t *tally, calls_t *calls_p)
{
    const scenario_t *scenario = step->scenario;
    outcome_t outcome;
    int lives;

    board->old_seed += 2;
    board->path = scenario->path;
    board->dir = scenario->dir;
    atomic_store(&board->served, 0);
    playing = scenario;
    lives = owner_does(step, tally, OWN_GRANT, "granting");
    actor_start(VICTIM, victim_main, in_dir("victim.err"));
    if (actor_answer(VICTIM, 20) != 1) {
        bug(step, tally, "the victim %s before its step: %s",
            board->actor[VICTIM].pid == 0 ? end_of(VICTIM) : "hangs", board->actor[VICTIM].wrong);
        show_end("victim.err");
        actor_kill(VICTIM);
        return CRASHED;
    }
    if (scenario->serves) {
        owner_does(step, tally, OWN_MEET, "importing the victim");
    }
    outcome = strike(step, tally, calls_p);
    if (board->actor[VICTIM].wrong[0] != '\0') {
        bug(step, tally, "the victim: %s", board->actor[VICTIM].wrong);
    }
    for (int i = 0; outcome != HUNG && i < 2000 && !actor_gone(VICTIM); i++) {
        usleep(1000);
    }
    actor_kill(VICTIM);
    tally->swept += segments_of_nobody();
    lives = lives && owner_does(step, tally, OWN_CHECK, "looking at its memory");
    newcomer_reads(step, tally);
    lives = lives && owner_does(step, tally, OWN_TAKE_BACK, "taking back its grant");
    lives = bystander_reads(step, tally) && lives;
    leaves_nothing(step, tally, 4000);
    if (!lives) {
        cast_start(scenario->far);
    }
    return outcome;
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
        tallies[0].bugs += plain.bugs;
        return;
    }
    for (size_t k = 0; k < KINDS; k++) {
        for (int i = 0; i < calls.count; i++) {
            steps += strikes(&kinds[k], calls.call[i].name) ? calls.call[i].most : 0;
        }
    }
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

static void play_one(const scenario_t *scenario, char **what)
{
    step_t step = {.scenario = scenario, .n = atoi(what[2])};
    tally_t tally = {0};

    for (size_t k = 0; k < KINDS; k++) {
        step.kind = strcmp(kinds[k].name, what[0]) == 0 ? &kinds[k] : step.kind;
    }
    snprintf(step.call, sizeof(step.call), "%s", what[1]);
    if (step.kind != NULL) {
        printf("%s\n", outcome_names[run_step(&step, &tally, NULL)]);
        show_end("victim.err");
        show_end("log");
    }
}

static void tell(const scenario_t *scenario, const tally_t tallies[KINDS], double seconds)
{
    for (size_t k = 0; k < KINDS; k++) {
        const tally_t *t = &tallies[k];

        if (t->steps == 0 && t->bugs == 0) {
            continue;
        }
        printf("%-18s %-7s %4u steps: %4u passed, %4u refused, %4u killed, %u ended by UCX, %u crashed, "
               "%u hung; %u swept, %u bugs",
               scenario->name, kinds[k].name, t->steps, t->by[WHOLE], t->by[REFUSED], t->by[KILLED],
               t->by[ENDED_BY_UCX], t->by[CRASHED], t->by[HUNG], t->swept, t->bugs);
        for (int bit = 1; bit < 64; bit++) {
            if (t->statuses >> bit & 1) {
                printf(" %s", kvf_status_name((kvf_status_t)-bit) + strlen("KVF_ERR_"));
            }
        }
        printf("\n");
    }
    printf("%-18s %.0f s\n", scenario->name, seconds);
    fflush(stdout);
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

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    int wanted = 0;

    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--spread") == 0) {
            wanted = atoi(argv[i + 1]);
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    alone = argc == 6 && strcmp(argv[1], "--at") == 0;
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(dir, sizeof(dir), "%s/faults.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (board == MAP_FAILED || mkdtemp(dir) == NULL) {
        perror("faults");
        return 1;
    }
    board->old_seed = 100;
    for (const scenario_t *s = scenarios; s->name != NULL; s++) {
        tally_t tallies[KINDS] = {{0}};
        double start = now_s();

        if (alone ? strcmp(s->name, argv[2]) == 0 : chosen(s->name, argc, argv)) {
            if (board->actor[OWNER].pid == 0 || board->far != s->far) {
                cast_start(s->far);
            }
            if (alone) {
                play_one(s, &argv[3]);
                continue;
            }
            play(s, wanted, tallies);
            tell(s, tallies, now_s() - start);
        }
    }
    cast_end();
    printf("%u bugs\n", bugs_total);
    return bugs_total != 0;
}

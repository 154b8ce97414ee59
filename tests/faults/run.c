/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One victim, and those who live: see run.h. Nothing is waited for longer than HANG_S, or twice that.
 */
#include "run.h"
#include "left.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* -------------------------------------------------------------- the report */

static int alone;
static char folder[256];

void run_in(const char *dir, int one_only)
{
    snprintf(folder, sizeof(folder), "%s", dir);
    alone = one_only;
}

static const char *in_dir(const char *name)
{
    static char path[4][320];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
    return path[turn];
}

/* What one run has to tell. It is not told where UCX ended a survivor of a far scenario: all else follows. */
static FILE *report;
static tally_t *tally; /* of the run */
static int absent;     /* strace did not come, which it does not always */
static int stacks;     /* strace is to write them */
static unsigned found;

static void show_end(const char *name)
{
    FILE *f = fopen(in_dir(name), "r");
    char line[400];
    int lines = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL && lines++ < (alone ? 400 : 25)) {
        fprintf(report, "    | %s%s", line, strchr(line, '\n') != NULL ? "" : "\n");
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

static const char *kind_name(const step_t *step)
{
    return step->kind != NULL ? step->kind->name : "-";
}

static void bug(const step_t *step, const char *format, ...)
{
    va_list args;

    fprintf(report, "BUG: %s %s %s %d: ", step->scenario->name, kind_name(step), step->call, step->n);
    va_start(args, format);
    vfprintf(report, format, args);
    va_end(args);
    fprintf(report, "\n");
    found++;
}

/* -------------------------------------------------------------- the cast */

static const pid_t *survivors(void)
{
    static pid_t pids[2];

    pids[0] = board->actor[OWNER].pid;
    pids[1] = board->actor[BYSTANDER].pid;
    return pids;
}

static left_t before; /* what there is with owner and bystander alone */

void cast_end(void)
{
    for (int role = 0; role < ACTORS; role++) {
        actor_kill((role_t)role);
    }
}

static void fatal(const char *what, role_t role)
{
    report = stdout;
    printf("%s: %s\n", what, board->actor[role].wrong);
    show_end(role == OWNER ? "owner.err" : role == BYSTANDER ? "bystander.err" : "newcomer.err");
    cast_end();
    exit(1);
}

void cast_start(uint32_t far)
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
    before = left_look(survivors());
}

/* --------------------------------------------------------------- one run */

/* What a dead writer had handed over already may still be put into its place. */
#define GRACE_US 200000

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

/* KVF_FAULTS_TELL=1: each answer with its sentence. */
static void tell_status(const step_t *step, role_t role)
{
    const actor_t *actor = &board->actor[role];

    if (getenv("KVF_FAULTS_TELL") != NULL) {
        fprintf(report, "%s %s %s %d: %s%s %s\n", step->scenario->name, kind_name(step), step->call, step->n,
                role == OWNER ? "owner: " : "", kvf_status_name(actor->status), actor->sentence);
    }
}

static int struck_by_kill(const step_t *step)
{
    return step->kind != NULL && strncmp(step->kind->what, "signal", 6) == 0;
}

static void note_status(int32_t status)
{
    if (status < 0) {
        tally->statuses |= UINT64_C(1) << -status;
    }
}

/* Asks the owner, who must answer and find nothing wrong. */
static int owner_does(const step_t *step, uint32_t verb, const char *what)
{
    int answer;

    actor_ask(OWNER, verb);
    answer = actor_answer(OWNER, HANG_S);
    if (answer != 1) {
        bug(step, "the owner %s at %s", answer == 0 ? end_of(OWNER) : "hangs", what);
        show_end("owner.err");
    } else if (board->actor[OWNER].wrong[0] != '\0') {
        bug(step, "the owner at %s: %s", what, board->actor[OWNER].wrong);
    }
    board->actor[OWNER].wrong[0] = '\0';
    return answer == 1;
}

/* By what it wrote last. */
static int ended_by_ucx(role_t role, const char *errors)
{
    const actor_t *actor = &board->actor[role];

    return actor->pid == 0 && WIFSIGNALED(actor->ended) && WTERMSIG(actor->ended) != SIGKILL &&
           lines_with(in_dir(errors), "libucs.so") > 0;
}

static outcome_t victim_ended(const step_t *step)
{
    const actor_t *victim = &board->actor[VICTIM];

    if (WIFSIGNALED(victim->ended) && WTERMSIG(victim->ended) == SIGKILL && struck_by_kill(step)) {
        return KILLED;
    }
    if ((stacks && strace_in_ucx(in_dir("log"), STRACE_SIGNAL)) ||
        (step->scenario->far && ended_by_ucx(VICTIM, "victim.err"))) {
        fprintf(report, "UCX: %s %s %s %d: %s\n", step->scenario->name, kind_name(step), step->call, step->n,
                first_line("victim.err"));
        return IN_UCX;
    }
    bug(step, "the victim %s", end_of(VICTIM));
    show_end("victim.err");
    return CRASHED;
}

/* It is UCX, if the failed call was one of its own. */
static outcome_t victim_hangs(const step_t *step, const char *where)
{
    if (strace_in_ucx(in_dir("log"), STRACE_INJECTED)) {
        fprintf(report, "UCX: %s %s %s %d: holds the process in %s\n", step->scenario->name, kind_name(step),
                step->call, step->n, where);
        return IN_UCX;
    }
    bug(step, "the victim hangs in %s", where);
    return HUNG;
}

/* A call that failed here says nothing of the arguments, nor of a neighbour. Of a far peer UCX has a say. */
static int blames_others(const step_t *step, kvf_status_t status)
{
    switch (status) {
    case KVF_ERR_NOMEM:
    case KVF_ERR_SYSTEM:
        return 0;
    case KVF_ERR_PEER:
    case KVF_ERR_UNSUPPORTED:
        return !step->scenario->far;
    default:
        return 1;
    }
}

/* The victim has done its step; it still has to close, and to go. */
static outcome_t victim_closes(const step_t *step)
{
    actor_t *victim = &board->actor[VICTIM];
    outcome_t outcome = victim->status == KVF_OK ? PASSED : REFUSED;
    int answer;

    note_status(victim->status);
    if (victim->status != KVF_OK && victim->sentence[0] == '\0') {
        bug(step, "%s without a sentence", kvf_status_name(victim->status));
    }
    if (victim->status != KVF_OK && step->kind != NULL && blames_others(step, victim->status)) {
        bug(step, "a failed call of its own: %s, \"%s\"", kvf_status_name(victim->status), victim->sentence);
    }
    tell_status(step, VICTIM);
    actor_ask(VICTIM, 0);
    answer = actor_answer(VICTIM, HANG_S);
    if (answer == 0) {
        return victim_ended(step);
    }
    if (answer < 0) {
        return victim_hangs(step, "close");
    }
    /* a WRITE whose connection broke cannot be settled, and the close says so */
    if (victim->status != KVF_OK && !(victim->status == KVF_ERR_TIMEOUT &&
                                      strstr(victim->sentence, "they cannot, for the connection broke"))) {
        bug(step, "the victim's close: %s, \"%s\"", kvf_status_name(victim->status), victim->sentence);
    }
    return outcome;
}

/* The step, under strace. */
static outcome_t strike(const step_t *step, calls_t *calls_p)
{
    actor_t *victim = &board->actor[VICTIM];
    pid_t strace;
    int answer;
    outcome_t outcome;

    strace = strace_start(victim->pid, in_dir("log"), step->kind != NULL ? step->call : NULL,
                          step->kind != NULL ? step->kind->what : NULL, step->n, stacks);
    for (int i = 0; i < 10000 && atomic_load(&victim->rounds) == 0 && !actor_gone(VICTIM); i++) {
        usleep(200);
    }
    if (atomic_load(&victim->rounds) == 0) {
        strace_end(strace);
        if (actor_gone(VICTIM)) {
            atomic_store(&board->served, 1);
            return victim_ended(step); /* in a call that a thread of it was already in */
        }
        absent = 1;
        return HUNG;
    }
    actor_ask(VICTIM, 0);
    if (step->scenario->serves) {
        owner_does(step, OWN_MOVE, "moving from or to the victim");
        note_status(board->actor[OWNER].status);
        tell_status(step, OWNER);
        atomic_store(&board->served, 1);
    }
    answer = actor_answer(VICTIM, HANG_S);
    strace_end(strace);
    if (calls_p != NULL) {
        strace_calls(in_dir("log"), calls_p);
    }
    if (answer < 0) {
        return victim_hangs(step, "its step");
    }
    outcome = answer == 0 ? victim_ended(step) : victim_closes(step);
    if ((outcome == PASSED || outcome == REFUSED) && !strace_injected(in_dir("log"))) {
        if (outcome == REFUSED) {
            bug(step, "an untouched step: %s, \"%s\"", kvf_status_name(victim->status), victim->sentence);
        }
        return UNTOUCHED;
    }
    return outcome;
}

static void newcomer_reads(const step_t *step)
{
    int answer;

    actor_start(NEWCOMER, newcomer_main, in_dir("newcomer.err"));
    answer = actor_answer(NEWCOMER, 2 * HANG_S);
    if (answer != 1) {
        bug(step, "a newcomer %s", answer == 0 ? end_of(NEWCOMER) : "hangs");
        show_end("newcomer.err");
    } else if (board->actor[NEWCOMER].wrong[0] != '\0') {
        bug(step, "a newcomer: %s", board->actor[NEWCOMER].wrong);
    }
    for (int i = 0; answer == 1 && i < 2000 && !actor_gone(NEWCOMER); i++) {
        usleep(1000);
    }
    actor_kill(NEWCOMER);
}

static int bystander_reads(const step_t *step)
{
    actor_t *him = &board->actor[BYSTANDER];
    uint64_t rounds = atomic_load(&him->rounds);

    for (int i = 0; i < HANG_S * 1000 && !actor_gone(BYSTANDER); i++) {
        if (atomic_load(&him->rounds) > rounds + 1) {
            return 1;
        }
        usleep(1000);
    }
    bug(step, "the bystander %s: %s", him->pid == 0 ? end_of(BYSTANDER) : "hangs", him->wrong);
    show_end("bystander.err");
    return 0;
}

static void leaves_nothing(const step_t *step, unsigned ms)
{
    left_t now;

    if (!left_settled(&before, survivors(), ms, &now)) {
        bug(step, "left: %d segments (%d), %d files (%d), %d sockets (%d), %d and %d descriptors (%d, %d)",
            now.segments, before.segments, now.files, before.files, now.sockets, before.sockets, now.fds[0],
            now.fds[1], before.fds[0], before.fds[1]);
        before = now;
    }
}

static outcome_t victim_plays(const step_t *step, calls_t *calls_p)
{
    actor_t *victim = &board->actor[VICTIM];
    outcome_t outcome;

    actor_start(VICTIM, victim_main, in_dir("victim.err"));
    if (actor_answer(VICTIM, 20) != 1) {
        bug(step, "the victim %s before its step: %s", victim->pid == 0 ? end_of(VICTIM) : "hangs",
            victim->wrong);
        show_end("victim.err");
        actor_kill(VICTIM);
        return CRASHED;
    }
    if (step->scenario->serves) {
        owner_does(step, OWN_MEET, "importing the victim");
    }
    outcome = strike(step, calls_p);
    if (victim->wrong[0] != '\0') {
        bug(step, "the victim: %s", victim->wrong);
    }
    for (int i = 0; victim->pid > 0 && outcome < CRASHED && i < 2000 && !actor_gone(VICTIM); i++) {
        usleep(1000);
    }
    actor_kill(VICTIM);
    return outcome;
}

/* text_p: what there is to tell, for free(). */
static outcome_t run_once(const step_t *step, calls_t *calls_p, char **text_p)
{
    size_t len;
    outcome_t outcome;
    int lives;

    report = open_memstream(text_p, &len);
    found = 0;
    board->old_seed += 2;
    board->path = step->scenario->path;
    board->dir = step->scenario->dir;
    atomic_store(&board->served, 0);
    playing = step->scenario;
    lives = owner_does(step, OWN_GRANT, "granting");
    outcome = victim_plays(step, calls_p);
    if (alone) {
        show_end("victim.err");
        show_end("log");
    }
    tally->swept += segments_of_nobody();
    usleep(step->scenario->dir == KVF_WRITE ? GRACE_US : 0);
    lives = lives && owner_does(step, OWN_CHECK, "looking at its memory");
    newcomer_reads(step);
    lives = lives && owner_does(step, OWN_TAKE_BACK, "taking back its grant");
    lives = bystander_reads(step) && lives;
    leaves_nothing(step, 4000);
    if (step->scenario->far &&
        (ended_by_ucx(OWNER, "owner.err") || ended_by_ucx(BYSTANDER, "bystander.err") ||
         ended_by_ucx(NEWCOMER, "newcomer.err"))) {
        tally->survivors++;
        found = 0;
        rewind(report);
        fprintf(report, "UCX: %s %s %s %d: ended a survivor\n", step->scenario->name, kind_name(step),
                step->call, step->n);
    }
    fclose(report);
    if (!lives || actor_gone(OWNER)) {
        cast_start(step->scenario->far);
    }
    return outcome;
}

/* Stacks cost strace a third of a second, so they are asked for the second time only. */
outcome_t run_step(const step_t *step, tally_t *tally_of_all, calls_t *calls_p)
{
    char *text = NULL, *again = NULL;
    outcome_t outcome = HUNG;
    unsigned bugs = 0;

    tally = tally_of_all;
    stacks = alone;
    for (int i = 0; i < 4 && (i == 0 || absent); i++) {
        free(text);
        absent = 0;
        outcome = run_once(step, calls_p, &text);
        bugs = found + (unsigned)absent;
    }
    if ((outcome == CRASHED || outcome == HUNG) && !absent && !alone && step->kind != NULL &&
        !struck_by_kill(step)) {
        stacks = 1;
        if (run_once(step, calls_p, &again) == IN_UCX) {
            outcome = IN_UCX;
            bugs = found;
            free(text);
            text = again;
            again = NULL;
        }
    }
    fputs(text, stdout);
    if (absent) {
        printf("BUG: strace does not come\n");
    }
    tally->bugs += bugs;
    free(text);
    free(again);
    return outcome;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One victim: its step under strace, and after it the questions to those who live.
 */
#ifndef KVF_TESTS_FAULTS_RUN_H
#define KVF_TESTS_FAULTS_RUN_H

#include "cast.h"
#include "strace.h"

typedef struct kind {
    const char *name, *what, *calls; /* calls that it can strike; NULL: all */
} kind_t;

typedef struct step {
    const scenario_t *scenario;
    const kind_t *kind; /* NULL: nothing is struck */
    char call[32];
    int n;
} step_t;

/* IN_UCX: a call that UCX made failed, and UCX ended or held the process. */
typedef enum {
    UNTOUCHED,
    PASSED,
    REFUSED,
    KILLED,
    IN_UCX,
    CRASHED,
    HUNG,
    OUTCOMES
} outcome_t;

typedef struct tally {
    unsigned steps, by[OUTCOMES], bugs;
    unsigned swept;     /* empty segments that a death left, which the next engine took away */
    unsigned survivors; /* of far scenarios, ended by UCX */
    uint64_t statuses;  /* bits of the errors that the victim got, or the owner that it serves */
} tally_t;

/* Where the actors' words and the log of strace go; 1: one step only, tell all. */
void run_in(const char *dir, int alone);

/* Owner and bystander are there for the scenario; they all end. */
void cast_start(uint32_t far);
void cast_end(void);

/* Survivors that do not survive are replaced. calls_p: NULL, or what the step calls. */
outcome_t run_step(const step_t *step, tally_t *tally, calls_t *calls_p);

#endif

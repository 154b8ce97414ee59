/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Processes for the engine tests, without MPI. A test forks its children before it opens an engine
 * (UCX does not survive a fork), then calls functions in them by address: parent and child are the
 * same program. A call is a length-prefixed message on a socket pair; the answer is bytes, or the
 * sentence of a check that failed in the child, which then fails the test. Every child has a
 * watchdog (alarm) and dies with its parent. What may block: proc_call(), proc_reply(), proc_end(),
 * never longer than the child's watchdog.
 */
#ifndef KVF_TESTS_PROCS_H
#define KVF_TESTS_PROCS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <kvferry.h>

/* ------------------------------------------------------------------- checks */

/* Fails the test, from the test's process or from a child of it. */
void check_failed(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

/* The call must answer `want`; the sentence, if any, must start with `start` and hold each word of
 * `words` (separated by '|'). NULL: anything. Returns status. */
kvf_status_t check_status(const char *file, int line, const char *text, kvf_status_t status,
                          kvf_status_t want, const char *start, const char *words);

#define must(cond, ...)                   ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond ": " __VA_ARGS__))
#define ok(call)                          check_status(__FILE__, __LINE__, #call, (call), KVF_OK, NULL, NULL)
#define answers(call, want)               check_status(__FILE__, __LINE__, #call, (call), (want), NULL, NULL)
#define refused(call, want, start)        check_status(__FILE__, __LINE__, #call, (call), (want), start, NULL)
#define refused_naming(call, want, words) check_status(__FILE__, __LINE__, #call, (call), (want), NULL, words)

/* -------------------------------------------------------------------- clock */

#define MS  UINT64_C(1000000)
#define SEC UINT64_C(1000000000)

uint64_t now_ns(void);
void sleep_ms(unsigned ms);

/* How many times as long as usual a test bears with what should end, before it says that it hangs:
 * 1, more under a sanitizer, times KVF_PATIENCE of the environment, for slow machines. Timeouts of
 * libcheck, watchdogs of children and patient() follow it. */
unsigned patience(void);

/* So many seconds, times patience(), in nanoseconds: for waits that only a hang makes long, never
 * for deadlines that a test is about. */
uint64_t patient(unsigned seconds);

/* ---------------------------------------------------------------- processes */

/* Bytes of an answer. */
typedef struct proc_out {
    uint8_t *data;
    size_t len;
} proc_out_t;

void out_put(proc_out_t *out, const void *data, size_t len);

/* What a child runs when it is called; state is the child's own, zeroed at its start. */
typedef void (*proc_fn_t)(void *state, const void *in, size_t in_len, proc_out_t *out);

typedef struct proc {
    pid_t pid; /* 0: ended */
    int fd;
} proc_t;

/* In a child: milliseconds between two calls of its idle function, -1 for never (the default). */
extern int proc_idle_ms;

/* In a child: called before and after each call. */
extern void (*proc_order)(void *state);

/* Starts a child that waits for calls; idle runs in it between calls as proc_idle_ms says. Its
 * watchdog_s follow patience(). */
void proc_start(proc_t *proc, size_t state_len, int watchdog_s, void (*idle)(void *state));

/* Runs fn in the child and waits for its answer; out gets at most out_max bytes. Returns the length
 * of the answer, which must not be more. */
size_t proc_call(proc_t *proc, proc_fn_t fn, const void *in, size_t in_len, void *out, size_t out_max);

/* The two halves of proc_call(), to have several children work at once. */
void proc_ask(proc_t *proc, proc_fn_t fn, const void *in, size_t in_len);
size_t proc_reply(proc_t *proc, void *out, size_t out_max);

/* Sends sig; SIGKILL also reaps the child, SIGSTOP waits until it has stopped. */
void proc_signal(proc_t *proc, int sig);

/* Lets the child leave and demands that it ends with 0. Fine on an ended one. */
void proc_end(proc_t *proc);

/* 1 in a child of proc_start(). */
int proc_is_child(void);

/* --------------------------------------------------------------- the runner */

struct Suite;

/* Runs a suite as libcheck does, each test in its own process. CK_RUN_CASE and CK_VERBOSITY of the
 * environment apply. Returns the exit status of main(). */
int run_suite(struct Suite *suite);

/* Ends a test program with 77 and the reason. */
void skip_all(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif

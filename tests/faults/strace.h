/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A process under strace, which counts its system calls, or lets one of them fail or kill. strace counts
 * each kind of call by itself, and for each thread by itself: "the third mmap" is the third that any one
 * thread makes after strace has come. A kill strikes before the call is made.
 */
#ifndef KVF_TESTS_FAULTS_STRACE_H
#define KVF_TESTS_FAULTS_STRACE_H

#include <sys/types.h>

/* What sched_get_priority_max() answers to a process under our strace. Nothing else calls it. */
#define STRACE_MARK      77
#define STRACE_MARK_CALL "sched_get_priority_max"

#define CALLS_MAX 200

typedef struct calls {
    int count;
    struct {
        char name[32];
        int most; /* made by one thread */
    } call[CALLS_MAX];
} calls_t;

/* Starts strace on all threads of pid. call NULL: count all calls; else what, such as "error=EMFILE", comes
 * over the n-th of them. stacks 1: the log has one a call. It is there when the mark shows. Returns the
 * process. */
pid_t strace_start(pid_t pid, const char *log, const char *call, const char *what, int n, int stacks);

/* Lets the process go; returns when strace has ended. */
void strace_end(pid_t strace);

/* Of an ended strace: the calls that it saw; whether a call was made to fail; whether what, a signal or a
 * failed call, came from inside of UCX, by the stacks. */
#define STRACE_SIGNAL   " --- SIG"
#define STRACE_INJECTED "(INJECTED)"
void strace_calls(const char *log, calls_t *calls_p);
int strace_injected(const char *log);
int strace_in_ucx(const char *log, const char *what);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What there is in our namespaces, and what two processes hold open: after a death there must be as much as
 * before.
 */
#ifndef KVF_TESTS_FAULTS_LEFT_H
#define KVF_TESTS_FAULTS_LEFT_H

#include <sys/types.h>

typedef struct left {
    int segments, files, sockets; /* of System V, of /dev/shm, abstract */
    int fds[2];
} left_t;

left_t left_look(const pid_t pids[2]);

/* Waits, at most ms, until nothing is there that was not: what a death leaves is taken back within a second
 * or two. 1 if so. */
int left_settled(const left_t *was, const pid_t pids[2], unsigned ms, left_t *now_p);

/* Segments with nobody attached: between shmget() and the mark for removal their maker died. */
unsigned segments_of_nobody(void);

/* Lines of a file that have text in them. */
int lines_with(const char *file, const char *text);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A process under strace: see strace.h. Lines of a log begin with the thread.
 */
#include "strace.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t strace_start(pid_t pid, const char *log, const char *call, const char *what, int n, int stacks)
{
    char target[16], trace[64], mark[64], inject[128];
    pid_t strace;

    snprintf(target, sizeof(target), "%d", (int)pid);
    snprintf(trace, sizeof(trace), call != NULL ? "trace=%s," STRACE_MARK_CALL : "trace=all", call);
    snprintf(mark, sizeof(mark), "inject=" STRACE_MARK_CALL ":retval=%d", STRACE_MARK);
    snprintf(inject, sizeof(inject), "inject=%s:%s:when=%d", call != NULL ? call : "none",
             what != NULL ? what : "", n);
    strace = fork();
    if (strace == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("strace", "strace", stacks ? "-fk" : "-f", "-qq", "-s", "0", "-o", log, "-e", trace, "-e",
               mark, "-p", target, call != NULL ? "-e" : NULL, inject, (char *)NULL);
        _exit(127);
    }
    return strace;
}

void strace_end(pid_t strace)
{
    int status;

    for (int i = 0; i < 10000; i++) {
        if (waitpid(strace, &status, WNOHANG) != 0) {
            return;
        }
        if (i % 1000 == 0) {
            kill(strace, SIGINT);
        }
        usleep(1000);
    }
    kill(strace, SIGKILL);
    waitpid(strace, &status, 0);
}

/* "123 mmap(NULL, ..." of a line; the end of a call that was begun earlier, or a signal, has no such name. */
static int name_of(const char *line, long *thread_p, char *name, size_t max)
{
    char *at;
    size_t len;

    *thread_p = strtol(line, &at, 10);
    at += strspn(at, " ");
    len = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (at == line || len == 0 || len >= max || at[len] != '(') {
        return 0;
    }
    memcpy(name, at, len);
    name[len] = '\0';
    return strcmp(name, STRACE_MARK_CALL) != 0;
}

void strace_calls(const char *log, calls_t *calls_p)
{
    static struct {
        long thread;
        int call, made;
    } seen[CALLS_MAX * 8];
    int seen_count = 0, i, k;
    FILE *f = fopen(log, "r");
    char line[4096], name[32];
    long thread;

    calls_p->count = 0;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (!name_of(line, &thread, name, sizeof(name))) {
            continue;
        }
        for (i = 0; i < calls_p->count && strcmp(calls_p->call[i].name, name) != 0; i++) {
        }
        if (i == calls_p->count && i < CALLS_MAX) {
            snprintf(calls_p->call[i].name, sizeof(calls_p->call[i].name), "%s", name);
            calls_p->call[calls_p->count++].most = 0;
        }
        for (k = 0; k < seen_count && (seen[k].thread != thread || seen[k].call != i); k++) {
        }
        if (k == seen_count && k < CALLS_MAX * 8) {
            seen[seen_count].thread = thread;
            seen[seen_count].call = i;
            seen[seen_count++].made = 0;
        }
        if (i < CALLS_MAX && k < CALLS_MAX * 8 && ++seen[k].made > calls_p->call[i].most) {
            calls_p->call[i].most = seen[k].made;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
}

int strace_injected(const char *log)
{
    FILE *f = fopen(log, "r");
    char line[4096];
    int found = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        found |= strstr(line, STRACE_INJECTED) != NULL && strstr(line, STRACE_MARK_CALL) == NULL;
    }
    if (f != NULL) {
        fclose(f);
    }
    return found;
}

/* Behind such a line stand the frames that it came in, innermost first. */
int strace_in_ucx(const char *log, const char *what)
{
    FILE *f = fopen(log, "r");
    char line[4096];
    int frames = 0, inside = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (strstr(line, what) != NULL && strstr(line, STRACE_MARK_CALL) == NULL) {
            frames = 1;
        } else if (line[0] != ' ' || strstr(line, "/libkvferry") != NULL) {
            frames = 0;
        } else if (frames && strstr(line, "/libuc") != NULL) {
            inside = 1;
            frames = 0;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return inside;
}

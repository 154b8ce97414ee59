/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The processes of the engine tests: see procs.h. A frame is two 64-bit words and the bytes that the
 * second one counts. The first word of a question is the address of the function to run, of an
 * answer 0, or 1 if a check failed and the bytes are its sentence.
 */
#include "procs.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct frame {
    uint64_t what;
    uint64_t len;
} frame_t;

int proc_idle_ms = -1;
void (*proc_order)(void *state);

static int child_fd = -1; /* set in a child */

/* The parent's ends: a later child must not hold them open. */
static int parent_fds[64];
static int parent_fd_count;

/* ------------------------------------------------------------------- checks */

static int write_all(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;

    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -1;
        }
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int read_all(int fd, void *data, size_t len)
{
    uint8_t *at = data;

    while (len > 0) {
        ssize_t n = recv(fd, at, len, 0);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -1;
        }
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

void check_failed(const char *file, int line, const char *format, ...)
{
    char text[1024];
    va_list args;
    int n = snprintf(text, sizeof(text), "%s:%d: ", file, line);

    va_start(args, format);
    vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
    va_end(args);
    if (child_fd >= 0) {
        frame_t frame = {1, strlen(text) + 1};

        fprintf(stderr, "child %d: %s\n", (int)getpid(), text);
        if (write_all(child_fd, &frame, sizeof(frame)) == 0) {
            write_all(child_fd, text, frame.len);
        }
        _exit(1);
    }
    ck_abort_msg("%s", text);
    abort();
}

static void check_words(const char *file, int line, const char *text, const char *words)
{
    char list[256];
    char *save = NULL;

    snprintf(list, sizeof(list), "%s", words);
    for (char *word = strtok_r(list, "|", &save); word != NULL; word = strtok_r(NULL, "|", &save)) {
        if (strstr(kvf_last_error(), word) == NULL) {
            check_failed(file, line, "%s: the sentence does not name \"%s\": \"%s\"", text, word,
                         kvf_last_error());
        }
    }
}

kvf_status_t check_status(const char *file, int line, const char *text, kvf_status_t status,
                          kvf_status_t want, const char *start, const char *words)
{
    if (status != want) {
        check_failed(file, line, "%s: %s, not %s (\"%s\")", text, kvf_status_name(status),
                     kvf_status_name(want), kvf_last_error());
    }
    if (want < 0 && kvf_last_error()[0] == '\0') {
        check_failed(file, line, "%s: %s without a sentence", text, kvf_status_name(status));
    }
    if (start != NULL && strncmp(kvf_last_error(), start, strlen(start)) != 0) {
        check_failed(file, line, "%s: the sentence does not start with \"%s\": \"%s\"", text, start,
                     kvf_last_error());
    }
    if (words != NULL) {
        check_words(file, line, text, words);
    }
    return status;
}

/* -------------------------------------------------------------------- clock */

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_nsec;
}

void sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

    while (nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}

/* ----------------------------------------------------------------- patience */

unsigned patience(void)
{
#if defined(__SANITIZE_THREAD__)
    const unsigned least = 10;
#elif defined(__SANITIZE_ADDRESS__)
    const unsigned least = 5;
#else
    const unsigned least = 1;
#endif
    const char *asked = getenv("KVF_PATIENCE");
    long times = asked != NULL ? strtol(asked, NULL, 10) : 1;

    return least * (unsigned)(times < 1 ? 1 : times > 100 ? 100 : times);
}

uint64_t patient(unsigned seconds)
{
    return seconds * SEC * patience();
}

/* ---------------------------------------------------------------- processes */

void out_put(proc_out_t *out, const void *data, size_t len)
{
    if (len == 0) {
        return;
    }
    out->data = realloc(out->data, out->len + len);
    must(out->data != NULL, "no memory");
    memcpy(out->data + out->len, data, len);
    out->len += len;
}

static void child_serve_one(int fd, void *state)
{
    frame_t frame;
    proc_out_t out = {NULL, 0};
    void *in;

    if (read_all(fd, &frame, sizeof(frame)) != 0) {
        _exit(0);
    }
    in = malloc(frame.len + 1);
    if (in == NULL || read_all(fd, in, frame.len) != 0) {
        _exit(2);
    }
    if (proc_order != NULL) {
        proc_order(state);
    }
    ((proc_fn_t)(uintptr_t)frame.what)(state, in, frame.len, &out);
    if (proc_order != NULL) {
        proc_order(state);
    }
    free(in);
    frame.what = 0;
    frame.len = out.len;
    if (write_all(fd, &frame, sizeof(frame)) != 0 || write_all(fd, out.data, out.len) != 0) {
        _exit(0);
    }
    free(out.data);
}

static void child_main(int fd, size_t state_len, int watchdog_s, void (*idle)(void *state))
{
    void *state = calloc(1, state_len + 1);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGALRM, SIG_DFL);
    alarm((unsigned)watchdog_s * patience());
    child_fd = fd;
    while (state != NULL) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = poll(&p, 1, idle != NULL ? proc_idle_ms : -1);

        if (n > 0) {
            child_serve_one(fd, state);
        }
        if (idle != NULL && proc_idle_ms >= 0) {
            idle(state);
        }
    }
    _exit(2);
}

void proc_start(proc_t *proc, size_t state_len, int watchdog_s, void (*idle)(void *state))
{
    int pair[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "%s", strerror(errno));
    fflush(NULL);
    proc->pid = fork();
    must(proc->pid >= 0, "%s", strerror(errno));
    if (proc->pid == 0) {
        /* the group of the test: libcheck kills it at its timeout */
        close(pair[0]);
        for (int i = 0; i < parent_fd_count; i++) {
            close(parent_fds[i]);
        }
        child_main(pair[1], state_len, watchdog_s, idle);
    }
    close(pair[1]);
    proc->fd = pair[0];
    must(parent_fd_count < 64, "too many children");
    parent_fds[parent_fd_count++] = pair[0];
}

/* Its number may be a later child's own end. */
static void close_end(proc_t *proc)
{
    for (int i = 0; i < parent_fd_count; i++) {
        if (parent_fds[i] == proc->fd) {
            parent_fds[i] = parent_fds[--parent_fd_count];
        }
    }
    close(proc->fd);
    proc->fd = -1;
}

void proc_ask(proc_t *proc, proc_fn_t fn, const void *in, size_t in_len)
{
    frame_t frame = {(uint64_t)(uintptr_t)fn, in_len};

    must(write_all(proc->fd, &frame, sizeof(frame)) == 0, "child %d is gone", (int)proc->pid);
    must(write_all(proc->fd, in, in_len) == 0, "child %d is gone", (int)proc->pid);
}

static void proc_lost(proc_t *proc)
{
    int status = 0;
    pid_t pid = proc->pid;

    waitpid(pid, &status, 0);
    proc->pid = 0;
    if (WIFSIGNALED(status)) {
        check_failed(__FILE__, __LINE__, "child %d died of signal %d (%s)%s", (int)pid, WTERMSIG(status),
                     strsignal(WTERMSIG(status)), WTERMSIG(status) == SIGALRM ? ", its watchdog" : "");
    }
    check_failed(__FILE__, __LINE__, "child %d left with %d", (int)pid, WEXITSTATUS(status));
}

size_t proc_reply(proc_t *proc, void *out, size_t out_max)
{
    frame_t frame;

    if (read_all(proc->fd, &frame, sizeof(frame)) != 0) {
        proc_lost(proc);
    }
    if (frame.what != 0) {
        char text[1024] = "";

        read_all(proc->fd, text, frame.len < sizeof(text) ? frame.len : sizeof(text) - 1);
        check_failed(__FILE__, __LINE__, "in child %d: %s", (int)proc->pid, text);
    }
    must(frame.len <= out_max, "an answer of %zu bytes for %zu", (size_t)frame.len, out_max);
    if (read_all(proc->fd, out, frame.len) != 0) {
        proc_lost(proc);
    }
    return frame.len;
}

size_t proc_call(proc_t *proc, proc_fn_t fn, const void *in, size_t in_len, void *out, size_t out_max)
{
    proc_ask(proc, fn, in, in_len);
    return proc_reply(proc, out, out_max);
}

void proc_signal(proc_t *proc, int sig)
{
    int status;

    must(kill(proc->pid, sig) == 0, "kill: %s", strerror(errno));
    if (sig == SIGSTOP) {
        must(waitpid(proc->pid, &status, WUNTRACED) == proc->pid && WIFSTOPPED(status),
             "the child did not stop: %x", (unsigned)status);
    }
    if (sig == SIGKILL) {
        must(waitpid(proc->pid, &status, 0) == proc->pid, "%s", strerror(errno));
        proc->pid = 0;
        close_end(proc);
    }
}

void proc_end(proc_t *proc)
{
    int status = 0;

    if (proc->pid <= 0) {
        return;
    }
    close_end(proc);
    must(waitpid(proc->pid, &status, 0) == proc->pid, "%s", strerror(errno));
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d ended with status %x", (int)proc->pid,
         (unsigned)status);
    proc->pid = 0;
}

int proc_is_child(void)
{
    return child_fd >= 0;
}

/* --------------------------------------------------------------- the runner */

/* libcheck reads it where a timeout is set, so before main() sets one. */
__attribute__((constructor)) static void timeouts_follow_patience(void)
{
    char times[16];

    snprintf(times, sizeof(times), "%u", patience());
    setenv("CK_TIMEOUT_MULTIPLIER", times, 0);
}

int run_suite(struct Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

void skip_all(const char *format, ...)
{
    va_list args;

    fputs("SKIP: ", stdout);
    va_start(args, format);
    vfprintf(stdout, format, args);
    va_end(args);
    fputs("\n", stdout);
    fflush(stdout);
    _exit(77); /* at an exit() the leak checker would find the suite that is not run */
}

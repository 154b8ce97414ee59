/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hazard: UCX's signal handlers replace those of a host that uses the signals for its own work. This
 * program is not linked with the library: it loads it with dlopen, after it installed handlers of
 * its own (first run) or before (second run), compares the disposition of all 64 signals after every
 * step of an engine's life, recovers from a guard page through its own handler, and demands that the
 * library printed nothing.
 */
#include <kvferry.h>

#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIGNALS 64

/* The kernel's flag for the C library's way back from a handler; no part of the disposition, and set
 * in what is read of a signal that was ever set, even to its default. */
#define RESTORER 0x04000000

typedef struct calls {
    __typeof__(kvf_engine_open) *engine_open;
    __typeof__(kvf_engine_close) *engine_close;
    __typeof__(kvf_engine_export) *engine_export;
    __typeof__(kvf_segment_alloc) *segment_alloc;
    __typeof__(kvf_segment_query) *segment_query;
    __typeof__(kvf_grant_create) *grant_create;
    __typeof__(kvf_grant_export) *grant_export;
    __typeof__(kvf_peer_import) *peer_import;
    __typeof__(kvf_remote_import) *remote_import;
    __typeof__(kvf_batch_create) *batch_create;
    __typeof__(kvf_batch_post) *batch_post;
    __typeof__(kvf_batch_wait) *batch_wait;
    __typeof__(kvf_last_error) *last_error;
} calls_t;

static FILE *report; /* the real stderr: the library's is watched */
static sigjmp_buf guard_jump;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(report, format, args);
    va_end(args);
    fputc('\n', report);
    fflush(report);
    _exit(1);
}

static void own_handler(int sig, siginfo_t *info, void *context)
{
    (void)info;
    (void)context;
    siglongjmp(guard_jump, sig);
}

static void install(void)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGUSR1, SIGUSR2, SIGALRM};
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_sigaction = own_handler;
    action.sa_flags = SA_SIGINFO;
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        sigaction(own[i], &action, NULL);
    }
}

static void snapshot(struct sigaction *all)
{
    memset(all, 0, (SIGNALS + 1) * sizeof(*all));
    for (int sig = 1; sig <= SIGNALS; sig++) {
        sigaction(sig, NULL, &all[sig]);
        all[sig].sa_flags &= ~RESTORER;
    }
}

static void same(const struct sigaction *want, const char *step)
{
    struct sigaction have[SIGNALS + 1];

    snapshot(have);
    for (int sig = 1; sig <= SIGNALS; sig++) {
        /* 64 signals are 8 bytes of mask; what the C library leaves behind them is anything */
        if (have[sig].sa_sigaction != want[sig].sa_sigaction || have[sig].sa_flags != want[sig].sa_flags ||
            memcmp(&have[sig].sa_mask, &want[sig].sa_mask, SIGNALS / 8) != 0) {
            die("after %s the disposition of signal %d (%s) is another", step, sig, strsignal(sig));
        }
    }
}

static void guard_page(const char *step)
{
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int sig = sigsetjmp(guard_jump, 1);

    if (sig == 0) {
        *(volatile char *)page = 1;
        die("after %s a guard page could be written", step);
    }
    if (sig != SIGSEGV) {
        die("after %s the guard page raised %d", step, sig);
    }
    munmap(page, 4096);
}

static void *sym(void *lib, const char *name)
{
    void *address = dlsym(lib, name);

    if (address == NULL) {
        die("no %s: %s", name, dlerror());
    }
    return address;
}

static void load(calls_t *c)
{
    char path[4096];
    const char *top = getenv("top_builddir");
    void *lib;

    snprintf(path, sizeof(path), "%s/.libs/libkvferry.so", top != NULL ? top : ".");
    lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) {
        die("dlopen: %s", dlerror());
    }
    *(void **)&c->engine_open = sym(lib, "kvf_engine_open");
    *(void **)&c->engine_close = sym(lib, "kvf_engine_close");
    *(void **)&c->engine_export = sym(lib, "kvf_engine_export");
    *(void **)&c->segment_alloc = sym(lib, "kvf_segment_alloc");
    *(void **)&c->segment_query = sym(lib, "kvf_segment_query");
    *(void **)&c->grant_create = sym(lib, "kvf_grant_create");
    *(void **)&c->grant_export = sym(lib, "kvf_grant_export");
    *(void **)&c->peer_import = sym(lib, "kvf_peer_import");
    *(void **)&c->remote_import = sym(lib, "kvf_remote_import");
    *(void **)&c->batch_create = sym(lib, "kvf_batch_create");
    *(void **)&c->batch_post = sym(lib, "kvf_batch_post");
    *(void **)&c->batch_wait = sym(lib, "kvf_batch_wait");
    *(void **)&c->last_error = sym(lib, "kvf_last_error");
}

static void good(const calls_t *c, kvf_status_t status, const char *step)
{
    if (status != KVF_OK) {
        die("%s: %d (%s)", step, (int)status, c->last_error());
    }
}

static void batch(const calls_t *c, kvf_engine_t *engine, const struct sigaction *want)
{
    uint8_t blob[65536];
    size_t len = sizeof(blob);
    kvf_segment_t *segment = NULL;
    kvf_range_t range = {.len = 65536, .rights = KVF_RIGHT_READ};
    kvf_grant_t *grant = NULL;
    kvf_peer_t *peer = NULL;
    kvf_remote_t *remote = NULL;
    kvf_batch_t *b = NULL;
    uint32_t count = 1;
    kvf_op_t op = {.len = 4096, .remote_off = 8192, .count = {1, 1}, .blocks = 1};

    good(c, c->engine_export(engine, KVF_BLOB_FAR, blob, &len), "export, far"); /* both contexts */
    same(want, "export");
    good(c, c->peer_import(engine, blob, len, &peer), "import");
    good(c, c->segment_alloc(engine, 65536, &segment), "alloc");
    range.segment = segment;
    good(c, c->grant_create(engine, &range, 1, NULL, &grant), "grant");
    len = sizeof(blob);
    good(c, c->grant_export(grant, blob, &len), "export of the grant");
    good(c, c->remote_import(peer, blob, len, &remote, &count), "import of the grant");
    good(c, c->batch_create(engine, &b), "batch");
    op.segment = segment;
    op.remote = remote;
    good(c, c->batch_post(b, &op, 1, sizeof(op), NULL), "post");
    good(c, c->batch_wait(b, UINT64_C(5000000000)), "wait");
    same(want, "a batch");
    guard_page("a batch");
}

static int run(int handlers_first, int out)
{
    struct sigaction want[SIGNALS + 1];
    calls_t c;
    kvf_engine_t *engine = NULL;

    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    if (handlers_first) {
        install();
    }
    snapshot(want);
    load(&c);
    same(want, "dlopen");
    if (!handlers_first) {
        install();
        snapshot(want);
    }
    guard_page("dlopen");
    for (int round = 0; round < 2; round++) {
        good(&c, c.engine_open(NULL, &engine), "open");
        same(want, "open");
        batch(&c, engine, want);
        good(&c, c.engine_close(engine, UINT64_C(5000000000)), "close");
        same(want, "close");
        guard_page("close");
    }
    fflush(NULL);
    return 0;
}

int main(void)
{
#ifdef __SANITIZE_THREAD__
    puts("SKIP: the thread sanitizer keeps signal handlers of its own");
    return 77;
#endif
    report = fdopen(dup(STDERR_FILENO), "w");
    for (int handlers_first = 1; handlers_first >= 0; handlers_first--) {
        FILE *quiet = tmpfile();
        pid_t pid = fork();
        int status = 0;
        char text[256] = "";

        if (pid == 0) {
            _exit(run(handlers_first, fileno(quiet)));
        }
        waitpid(pid, &status, 0);
        rewind(quiet);
        if (fread(text, 1, sizeof(text) - 1, quiet) > 0) {
            die("handlers %s dlopen: the library printed \"%s\"", handlers_first ? "before" : "after", text);
        }
        if (status != 0) {
            die("handlers %s dlopen: status %x", handlers_first ? "before" : "after", (unsigned)status);
        }
        fclose(quiet);
    }
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Why cross-memory attach is refused, in a sentence that says what to do. A call without vectors is
 * let through by the kernel's own checks and stopped by a filter, so the two are told apart; what
 * the kernel checks (users, dumpable, Yama, user namespaces, capabilities) is read from /proc. Reads a
 * few files there, once a peer; never blocks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kvferry.h"
#include "path/cma.h"

#define CAP_PTRACE 19 /* CAP_SYS_PTRACE */

static const char *name_of(uint32_t dir)
{
    return dir == KVF_READ ? "process_vm_readv" : "process_vm_writev";
}

static int call_of_nothing(pid_t pid, uint32_t dir)
{
    ssize_t done = dir == KVF_READ ? process_vm_readv(pid, NULL, 0, NULL, 0, 0)
                                   : process_vm_writev(pid, NULL, 0, NULL, 0, 0);

    return done < 0 ? errno : 0;
}

/* A number behind a name in a file of /proc, in that base; -1 if it is not there. */
static long long number_in(const char *path, const char *name, int base)
{
    long long value = -1;
    char line[256];
    FILE *file = fopen(path, "re");

    while (file && value < 0 && fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name)))
            value = strtoll(line + strlen(name), NULL, base);
    if (file)
        fclose(file);
    return value;
}

/* In /proc the folder of a process is always its user's; of who is not dumpable the files in it are root's.
 * Of root's own processes this cannot be seen. */
static int is_not_dumpable(pid_t pid)
{
    struct stat folder, file;
    char path[48];

    snprintf(path, sizeof path, "/proc/%d/", (int)pid);
    if (stat(path, &folder))
        return 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    return !stat(path, &file) && file.st_uid != folder.st_uid;
}

/* Of a user namespace: every process may read it. */
static size_t read_uid_map(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(text, 1, size, file) : 0;

    if (file)
        fclose(file);
    return len;
}

/* 1 if it is known. Who may not look at the namespace itself sees it by the map, if that differs. */
static int in_another_user_namespace(pid_t pid)
{
    struct stat ours, theirs;
    char path[48], our_map[512], their_map[512];
    size_t len;

    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    if (!stat("/proc/thread-self/ns/user", &ours) && !stat(path, &theirs))
        return ours.st_ino != theirs.st_ino;
    snprintf(path, sizeof path, "/proc/%d/uid_map", (int)pid);
    len = read_uid_map(path, their_map, sizeof their_map);
    return len && (len != read_uid_map("/proc/thread-self/uid_map", our_map, sizeof our_map) ||
                   memcmp(our_map, their_map, len));
}

/* As the kernel compares them within one user namespace. */
static int has_more_capabilities(const char *its_status)
{
    long long its = number_in(its_status, "CapPrm:", 16);
    long long ours = number_in("/proc/thread-self/status", "CapPrm:", 16);

    return its >= 0 && ours >= 0 && its & ~ours;
}

static void explain_filter(char *buf, size_t len, uint32_t dir, int error)
{
    long long mode = number_in("/proc/thread-self/status", "Seccomp:", 10);

    snprintf(buf, len,
             "%s: %s: %s (Seccomp mode %lld); let the container's profile pass "
             "process_vm_readv and process_vm_writev (CAP_SYS_PTRACE does so in most)",
             name_of(dir), strerror(error),
             mode > 0 ? "a system call filter"
                      : "a filter, or a kernel without "
                        "cross-memory attach",
             mode < 0 ? 0 : mode);
}

static void explain_access(char *buf, size_t len, uint32_t dir, int error, pid_t pid)
{
    long long yama = number_in("/proc/sys/kernel/yama/ptrace_scope", "", 10), uid;
    unsigned caps = (unsigned)(number_in("/proc/thread-self/status", "CapEff:", 16) >> CAP_PTRACE) & 1;
    char path[48], reason[200];
    const char *why = reason;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    uid = number_in(path, "Uid:", 10);
    if (uid >= 0 && uid != (long long)geteuid() && !caps)
        snprintf(reason, sizeof reason,
                 "the peer runs as user %lld, we as %lld; run both as one "
                 "user, or give CAP_SYS_PTRACE",
                 uid, (long long)geteuid());
    else if (is_not_dumpable(pid))
        why = "the peer is not dumpable (it has changed users, or may not read its own program); let it call "
              "prctl(PR_SET_DUMPABLE, 1), or give CAP_SYS_PTRACE";
    else if (yama > 0 && !caps)
        snprintf(reason, sizeof reason,
                 "Yama's ptrace_scope is %lld; set "
                 "kernel.yama.ptrace_scope to 0, or give CAP_SYS_PTRACE",
                 yama);
    else if (in_another_user_namespace(pid))
        why = "the peer is in another user namespace; start both ranks in one, or give CAP_SYS_PTRACE there";
    else if (has_more_capabilities(path))
        why = "the peer has capabilities that we lack; give both the same, or CAP_SYS_PTRACE";
    else
        why = "the peer is not dumpable, or in another user namespace; let it call "
              "prctl(PR_SET_DUMPABLE, 1), start both ranks in one namespace, or give CAP_SYS_PTRACE there";
    snprintf(buf, len, "%s: %s: %s", name_of(dir), strerror(error), why);
}

static void explain(char *buf, size_t len, uint32_t dir, int error, pid_t pid)
{
    int filter = call_of_nothing(pid, dir);

    if (error == ENOSYS || filter == EPERM || filter == EACCES || filter == ENOSYS)
        explain_filter(buf, len, dir, error);
    else if (error == EPERM || error == EACCES)
        explain_access(buf, len, dir, error, pid);
    else if (error == ESRCH)
        snprintf(buf, len,
                 "%s: %s: the peer's main thread has ended, and the process goes on without it; let "
                 "that thread end last",
                 name_of(dir), strerror(error));
    else
        snprintf(buf, len, "%s: %s", name_of(dir), strerror(error));
}

static void set_both(kvfi_cma_t *cma, const char *why)
{
    atomic_store(&cma->why[KVF_READ], why);
    atomic_store(&cma->why[KVF_WRITE], why);
}

static pthread_mutex_t explaining = PTHREAD_MUTEX_INITIALIZER;

static void lose(kvfi_cma_t *cma, const kvfi_life_t *life, uint32_t dir, int error)
{
    if (atomic_load(&cma->why[dir]))
        return;
    explain(cma->text[dir], sizeof cma->text[dir], dir, error, life->id.pid);
    atomic_store(&cma->why[dir], cma->text[dir]);
}

/* A write finds its process by the pid alone: only what is read there proves whose memory it is. */
static void lose_unproved(kvfi_cma_t *cma)
{
    if (atomic_load(&cma->why[KVF_WRITE]))
        return;
    snprintf(cma->text[KVF_WRITE], sizeof cma->text[KVF_WRITE],
             "%s: never without a proof by reading: %.340s", name_of(KVF_WRITE), cma->text[KVF_READ]);
    atomic_store(&cma->why[KVF_WRITE], cma->text[KVF_WRITE]);
}

void kvfi_cma_lose(kvfi_cma_t *cma, const kvfi_life_t *life, uint32_t dir, int error)
{
    if (dir == KVF_WRITE && kvfi_cma_ask(cma, life->id.pid) == error)
        dir = KVF_READ;
    pthread_mutex_lock(&explaining);
    lose(cma, life, dir, error);
    if (dir == KVF_READ)
        lose_unproved(cma);
    pthread_mutex_unlock(&explaining);
}

int kvfi_cma_ask(const kvfi_cma_t *cma, pid_t pid)
{
    char got[KVFI_CMA_PROOF];
    struct iovec local = {got, sizeof got}, remote = {(void *)(uintptr_t)cma->proof_addr, sizeof got};
    ssize_t done = process_vm_readv(pid, &local, 1, &remote, 1, 0);

    if (done < 0 && errno != EFAULT)
        return errno;
    return done == (ssize_t)sizeof got && !memcmp(got, cma->proof, sizeof got) ? 0 : ESTALE;
}

void kvfi_cma_prove(kvfi_cma_t *cma, kvfi_life_t *life, uint64_t raddr, const void *proof)
{
    int error;

    if (!life->pid_here) {
        set_both(cma, "the peer is in another PID namespace");
        return;
    }
    cma->proof_addr = raddr;
    memcpy(cma->proof, proof, sizeof cma->proof);
    error = kvfi_cma_ask(cma, life->id.pid);
    if (error == ESTALE) {
        set_both(cma, "another process answers to the peer's PID");
        return;
    }
    if (error == ESRCH && kvfi_life_ends(life, KVFI_ENDING_NS))
        return; /* that says more than why its memory is not reached */
    if (error) {
        kvfi_cma_lose(cma, life, KVF_READ, error);
        return;
    }
    error = call_of_nothing(life->id.pid, KVF_WRITE);
    if (error)
        kvfi_cma_lose(cma, life, KVF_WRITE, error);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Liveness of neighbours, and the count of forks. Looks are a system call or two and never block.
 */
#define _GNU_SOURCE
#include "base/proc.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

static _Atomic unsigned forks;
static pthread_mutex_t  lifeline_lock = PTHREAD_MUTEX_INITIALIZER;
static int              lifeline = -2; /* -2: not made yet */

static void in_child(void)
{
    atomic_fetch_add(&forks, 1);
    lifeline = -2;
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

__attribute__((hot))
unsigned kvfi_fork_count(void)
{
    return atomic_load_explicit(&forks, memory_order_relaxed);
}

/* Start time and state of a process; 0 if there is none. */
static uint64_t start_of(pid_t pid, char *state_p)
{
    char               path[32], text[1024];
    const char        *end;
    unsigned long long start = 0;
    size_t             len;
    FILE              *file;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = 0;
    end = strrchr(text, ')'); /* the name may hold anything */
    if (!end || sscanf(end, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                            "%*d %*d %llu", state_p, &start) != 2)
        return 0;
    return start;
}

kvfi_proc_id_t kvfi_proc_self(void)
{
    char state;

    return (kvfi_proc_id_t){.pid = getpid(), .lifeline = -1, .start = start_of(getpid(), &state)};
}

int kvfi_proc_lifeline(void)
{
    void *page;

    pthread_mutex_lock(&lifeline_lock);
    if (lifeline == -2) {
        lifeline = shmget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
        page = lifeline < 0 ? (void *)-1 : shmat(lifeline, NULL, 0);
        if (lifeline >= 0)
            shmctl(lifeline, IPC_RMID, NULL);
        if (page == (void *)-1)
            lifeline = -1;
        else
            madvise(page, 1, MADV_DONTFORK);
    }
    pthread_mutex_unlock(&lifeline_lock);
    return lifeline;
}

int kvfi_life_open(kvfi_life_t *life, kvfi_proc_id_t id)
{
    struct shmid_ds ds;
    char            state;

    memset(life, 0, sizeof *life);
    life->id = id;
    life->pidfd = -1;
    life->pid_known = id.start && start_of(id.pid, &state) == id.start;
    if (life->pid_known) {
        life->pidfd = (int)syscall(SYS_pidfd_open, id.pid, 0);
        /* the PID may have been given away between the look and the open */
        if (life->pidfd >= 0 && start_of(id.pid, &state) != id.start)
            atomic_store(&life->dead, 1);
    } else if (id.lifeline < 0 || shmctl(id.lifeline, IPC_STAT, &ds)) {
        return -1;
    }
    return 0;
}

static int look(const kvfi_life_t *life)
{
    struct pollfd   fd = {.fd = life->pidfd, .events = POLLIN};
    struct shmid_ds ds;
    char            state = 0;

    if (life->pidfd >= 0)
        return poll(&fd, 1, 0) <= 0;
    if (life->pid_known)
        return start_of(life->id.pid, &state) == life->id.start && state != 'Z' && state != 'X';
    return shmctl(life->id.lifeline, IPC_STAT, &ds) == 0 || (errno != EINVAL && errno != EIDRM);
}

__attribute__((hot))
int kvfi_life_check(kvfi_life_t *life, uint64_t max_age_ns)
{
    uint64_t now;

    if (atomic_load_explicit(&life->dead, memory_order_relaxed))
        return 0;
    now = kvfi_coarse_ns();
    if (max_age_ns && now - atomic_load_explicit(&life->seen_ns, memory_order_relaxed) < max_age_ns)
        return 1;
    if (look(life)) {
        atomic_store_explicit(&life->seen_ns, now, memory_order_relaxed);
        return 1;
    }
    atomic_store(&life->dead, 1);
    return 0;
}

void kvfi_life_close(kvfi_life_t *life)
{
    if (life->pidfd >= 0)
        close(life->pidfd);
    life->pidfd = -1;
}

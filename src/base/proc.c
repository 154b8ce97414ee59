/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Liveness of neighbours, and the count of forks. Looks are a few system calls and never block;
 * only who asks whether a neighbour ends may wait, for as long as it says.
 */
#define _GNU_SOURCE
#define XXH_INLINE_ALL
#include "base/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/clock.h"

static _Atomic unsigned forks;
static _Atomic unsigned engaged; /* engines that are open */
static _Atomic int inherited;

static pthread_mutex_t self_lock = PTHREAD_MUTEX_INITIALIZER;
static kvfi_proc_id_t self; /* of this process once whole is set */
static _Atomic int whole;
static int proc_mount_ours; /* /proc shows our PID namespace */

static void in_child(void)
{
    atomic_fetch_add(&forks, 1);
    if (atomic_load(&engaged))
        atomic_store(&inherited, 1);
    atomic_store(&whole, 0);
    self_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER; /* a thread of the parent may hold it */
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

__attribute__((hot)) unsigned kvfi_fork_count(void)
{
    return atomic_load_explicit(&forks, memory_order_relaxed);
}

int kvfi_fork_engage(void)
{
    if (atomic_load(&inherited))
        return -1;
    atomic_fetch_add(&engaged, 1);
    return 0;
}

void kvfi_fork_disengage(void)
{
    atomic_fetch_sub(&engaged, 1);
}

/* ---------------------------------------------------------------- who we are */

/* The beginning of a file as a string: its length, or -1 with errno. */
static ssize_t read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), error;
    ssize_t len;

    if (fd < 0)
        return -1;
    len = read(fd, text, size - 1);
    error = errno;
    close(fd);
    errno = error;
    text[len < 0 ? 0 : len] = 0;
    return len;
}

#define EXITING 4u                     /* of a task's flags: PF_EXITING of the kernel */
#define KILLED  (1ul << (SIGKILL - 1)) /* of the signals that wait for it */

typedef struct proc_stat {
    char state;
    unsigned flags;
    int threads; /* not reaped yet */
    unsigned long long start;
    unsigned long signals;
} proc_stat_t;

/* 0, or -1 with errno. */
static int read_stat(const char *path, proc_stat_t *stat_p)
{
    char text[1024];
    const char *end;

    if (read_text(path, text, sizeof text) < 0)
        return -1;
    end = strrchr(text, ')'); /* the name may hold anything */
    if (end &&
        sscanf(end,
               ") %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d "
               "%*d %llu %*u %*d %*u %*u %*u %*u %*u %*u %lu",
               &stat_p->state, &stat_p->flags, &stat_p->threads, &stat_p->start, &stat_p->signals) == 5)
        return 0;
    errno = EPROTO;
    return -1;
}

static uint32_t namespace_of_ours(const char *path)
{
    struct stat st;

    return stat(path, &st) ? 0 : (uint32_t)st.st_ino;
}

static int is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM;
}

/* NSpid names a pid in the namespace of the mount, and in each below it down to the process's own. */
static int look_at_proc_mount(int *ours_p)
{
    char text[4096];
    const char *line;
    int pids[2];

    if (read_text("/proc/self/status", text, sizeof text) < 0)
        return is_shortage(errno) ? -1 : 0;
    line = strstr(text, "\nNSpid:");
    *ours_p = line && sscanf(line, "\nNSpid:%d%*[ \t]%d", &pids[0], &pids[1]) == 1;
    return 0;
}

static void make_lifeline(kvfi_proc_id_t *id)
{
    struct shmid_ds ds;
    void *page;

    id->lifeline = shmget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
    if (id->lifeline < 0)
        return;
    page = shmat(id->lifeline, NULL, 0);
    if (page != (void *)-1 && !shmctl(id->lifeline, IPC_STAT, &ds) && !madvise(page, 1, MADV_DONTFORK)) {
        id->line_made = (uint32_t)ds.shm_ctime;
        shmctl(id->lifeline, IPC_RMID, NULL);
        return;
    }
    if (page != (void *)-1)
        shmdt(page);
    shmctl(id->lifeline, IPC_RMID, NULL);
    id->lifeline = -1;
}

static int find_self(void)
{
    kvfi_proc_id_t id = {.pid = getpid()};
    proc_stat_t stat;

    proc_mount_ours = 0;
    if (!read_stat("/proc/self/stat", &stat))
        id.start = stat.start;
    else if (is_shortage(errno))
        return -1;
    if (look_at_proc_mount(&proc_mount_ours))
        return -1;
    id.pid_ns = namespace_of_ours("/proc/thread-self/ns/pid");
    id.time_ns = namespace_of_ours("/proc/thread-self/ns/time");
    id.ipc_ns = namespace_of_ours("/proc/thread-self/ns/ipc");
    make_lifeline(&id);
    self = id;
    atomic_store(&whole, 1);
    return 0;
}

/* Found out once a process: a later mount or namespace would not change what others were told. */
static int know_self(void)
{
    int status = 0;

    if (atomic_load(&whole))
        return 0;
    pthread_mutex_lock(&self_lock);
    if (!atomic_load(&whole))
        status = find_self();
    pthread_mutex_unlock(&self_lock);
    return status;
}

int kvfi_proc_self(kvfi_proc_id_t *id_p)
{
    if (know_self())
        return -1;
    *id_p = self;
    return 0;
}

void kvfi_proc_boot(char boot_p[KVFI_BOOT_LEN])
{
    memset(boot_p, 0, KVFI_BOOT_LEN);
    if (read_text("/proc/sys/kernel/random/boot_id", boot_p, KVFI_BOOT_LEN) < 0)
        boot_p[0] = 0;
    boot_p[strcspn(boot_p, "\n")] = 0;
}

uint64_t kvfi_proc_number(const kvfi_proc_id_t *id, const char *boot)
{
    return XXH3_64bits_withSeed(id, sizeof *id, XXH3_64bits(boot, strlen(boot)));
}

/* ------------------------------------------------------------------- looks */

static int pid_counts(const kvfi_proc_id_t *from, const kvfi_proc_id_t *id)
{
    return id->pid > 0 && id->pid_ns && id->pid_ns == from->pid_ns;
}

static int line_counts(const kvfi_proc_id_t *from, const kvfi_proc_id_t *id)
{
    return id->lifeline >= 0 && id->ipc_ns && id->ipc_ns == from->ipc_ns;
}

int kvfi_proc_watchable(const kvfi_proc_id_t *from, const kvfi_proc_id_t *id)
{
    return pid_counts(from, id) || line_counts(from, id);
}

/* The kernel has destroyed it; its id may have been given to another segment since. */
static int line_has_ended(const kvfi_proc_id_t *id)
{
    struct shmid_ds ds;

    if (shmctl(id->lifeline, IPC_STAT, &ds)) {
        if (errno != EINVAL && errno != EIDRM)
            return 0;
    } else if ((uint32_t)ds.shm_ctime == id->line_made) {
        return 0;
    }
    /* this thread may have left the namespace by unshare() */
    return namespace_of_ours("/proc/thread-self/ns/ipc") == self.ipc_ns;
}

typedef enum seen {
    SEEN_NOTHING,
    SEEN_IT,
    SEEN_ENDED
} seen_t;

/* The process that has the pid, in /proc and by its number. */
static seen_t look_at_pid(const kvfi_proc_id_t *id)
{
    int timed = id->start && id->time_ns == self.time_ns, ours = 0;
    char path[32];
    proc_stat_t stat;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)id->pid);
    if (proc_mount_ours && !read_stat(path, &stat)) {
        /* a leader that has ended before its threads is a zombie too */
        if ((!timed || stat.start == id->start) &&
            (stat.state == 'X' || (stat.state == 'Z' && stat.threads <= 1)))
            return SEEN_ENDED;
        if (!timed)
            return SEEN_NOTHING;
        if (stat.start == id->start)
            return SEEN_IT;
        /* the pid was given away, unless another namespace's /proc has been mounted here since */
        return !look_at_proc_mount(&ours) && ours ? SEEN_ENDED : SEEN_NOTHING;
    }
    /* /proc may hide who lives (hidepid) */
    return kill(id->pid, 0) && errno == ESRCH ? SEEN_ENDED : SEEN_NOTHING;
}

static int pid_has_ended(const kvfi_life_t *life)
{
    struct pollfd fd = {.fd = life->pidfd, .events = POLLIN};

    if (life->pidfd >= 0 && poll(&fd, 1, 0) > 0 && fd.revents & POLLIN)
        return 1; /* whoever had the pid then: it, or one after it */
    if (life->pidfd >= 0 && life->pid_known)
        return 0;
    return look_at_pid(&life->id) == SEEN_ENDED;
}

static int has_ended(const kvfi_life_t *life)
{
    if (life->ours)
        return 0;
    return (life->line_here && line_has_ended(&life->id)) || (life->pid_here && pid_has_ended(life));
}

/* Which of its numbers count here; -1 if none. */
static int place(kvfi_life_t *life, kvfi_proc_id_t id)
{
    memset(life, 0, sizeof *life);
    life->id = id;
    life->pidfd = -1;
    if (know_self())
        return 0; /* nothing counts, so it lives */
    life->pid_here = pid_counts(&self, &id);
    life->line_here = line_counts(&self, &id);
    if (life->pid_here && id.pid == self.pid) {
        life->ours = id.start == self.start && id.lifeline == self.lifeline;
        life->pid_here = 0; /* our own pid is nobody else's */
        if (!life->ours && !life->line_here)
            atomic_store(&life->dead, 1);
        return 0;
    }
    return life->pid_here || life->line_here ? 0 : -1;
}

int kvfi_proc_lives(kvfi_proc_id_t id)
{
    kvfi_life_t life;

    return place(&life, id) || (!atomic_load(&life.dead) && !has_ended(&life));
}

int kvfi_life_open(kvfi_life_t *life, kvfi_proc_id_t id)
{
    seen_t seen;

    if (place(life, id))
        return -1;
    if (!life->pid_here)
        return 0;
    life->pidfd = (int)syscall(SYS_pidfd_open, id.pid, 0);
    /* after the open: between the two the pid may be given away */
    seen = look_at_pid(&id);
    life->pid_known = seen == SEEN_IT;
    if (seen == SEEN_ENDED)
        atomic_store(&life->dead, 1);
    return 0;
}

__attribute__((hot)) int kvfi_life_check(kvfi_life_t *life, uint64_t max_age_ns)
{
    uint64_t now;

    if (atomic_load_explicit(&life->dead, memory_order_relaxed))
        return 0;
    now = kvfi_coarse_ns();
    if (max_age_ns && now - atomic_load_explicit(&life->seen_ns, memory_order_relaxed) < max_age_ns)
        return 1;
    if (!has_ended(life)) {
        atomic_store_explicit(&life->seen_ns, now, memory_order_relaxed);
        return 1;
    }
    atomic_store(&life->dead, 1);
    return 0;
}

static int task_leaves(const proc_stat_t *stat)
{
    return stat->flags & EXITING || stat->signals & KILLED;
}

/* Each of its threads has ended or cannot but end, though the kernel has not ended the process yet. A thread
 * that is made meanwhile stands behind its maker in the folder. */
static int is_leaving(const kvfi_proc_id_t *id)
{
    char path[300];
    proc_stat_t stat;
    DIR *tasks;
    struct dirent *task;
    int leaving = 1;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)id->pid);
    if (!id->start || id->time_ns != self.time_ns || read_stat(path, &stat) || stat.start != id->start ||
        !task_leaves(&stat))
        return 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)id->pid);
    tasks = opendir(path);
    while (tasks && leaving && (task = readdir(tasks))) {
        if (task->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/stat", (int)id->pid, task->d_name);
        leaving = read_stat(path, &stat) ? errno == ENOENT || errno == ESRCH : task_leaves(&stat);
    }
    if (tasks)
        closedir(tasks);
    return tasks && leaving;
}

int kvfi_life_ends(kvfi_life_t *life, uint64_t wait_ns)
{
    const struct timespec pause = {.tv_nsec = 200000};
    uint64_t end = kvfi_now_ns() + wait_ns;

    while (kvfi_life_check(life, 0)) {
        if (life->pid_here && proc_mount_ours && is_leaving(&life->id))
            atomic_store(&life->dead, 1);
        else if (kvfi_now_ns() >= end)
            return 0;
        else
            nanosleep(&pause, NULL);
    }
    return 1;
}

int kvfi_proc_ends(kvfi_proc_id_t id, uint64_t wait_ns)
{
    kvfi_life_t life;

    return !place(&life, id) && kvfi_life_ends(&life, wait_ns);
}

void kvfi_life_close(kvfi_life_t *life)
{
    if (life->pidfd >= 0)
        close(life->pidfd);
    life->pidfd = -1;
}

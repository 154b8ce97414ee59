/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The descriptors that UCX opens for a wire. It opens them without FD_CLOEXEC, so that a program which
 * the host starts would keep the connections of a dead rank open, and its peers would wait for it. Those
 * that appear during a call of ours get the flag; sockets of a link's own port, and a timer, while the
 * connection comes to stand. A child of fork() that starts no program closes the sockets, each known by its
 * inode. What another thread of the host opens meanwhile gets the flag too if it is of UCX's kinds (a TCP
 * socket, an eventfd, an epoll descriptor, a pipe; a timerfd): it would not be inherited by a program that
 * is started later. Never blocks.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ucx/internal.h"

#define LISTENERS 64u

/* A socket of UCX's: a number that was given to something else has another inode. */
typedef struct owned {
    int fd;
    ino_t ino;
} owned_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static owned_t *owned;
static size_t owned_count, owned_room;
static uint16_t ports[LISTENERS]; /* of listeners, 0: none */
static const kvfi_fds_t *calling; /* what was open before a call of UCX that opens, while it runs */

static void sweep(const kvfi_fds_t *before, int in_call);

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* With what UCX had accepted between the last look and the fork. */
static void in_child(void)
{
    static const kvfi_fds_t all = {{[0 ... KVFI_FDS_MAX / 64 - 1] = ~UINT64_C(0)}};
    struct stat st;

    if (calling)
        sweep(calling, 1);
    else if (ports[0])
        sweep(&all, 0);
    for (size_t i = 0; i < owned_count; i++)
        if (!fstat(owned[i].fd, &st) && S_ISSOCK(st.st_mode) && st.st_ino == owned[i].ino)
            close(owned[i].fd);
    owned_count = 0;
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

/* The port of a TCP socket, 0 if it is none; whether it listens. */
static uint16_t port_of(int fd, int *listens_p)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at, one = sizeof(int);
    int type = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &one) || type != SOCK_STREAM ||
        getsockname(fd, (struct sockaddr *)&at, &len) ||
        (at.ss_family != AF_INET && at.ss_family != AF_INET6))
        return 0;
    one = sizeof *listens_p;
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, listens_p, &one);
    return at.ss_family == AF_INET ? ((struct sockaddr_in *)&at)->sin_port
                                   : ((struct sockaddr_in6 *)&at)->sin6_port;
}

static int is_ours_by_port(uint16_t port)
{
    for (unsigned i = 0; port && i < LISTENERS; i++)
        if (ports[i] == port)
            return 1;
    return 0;
}

static void note_listener(uint16_t port)
{
    for (unsigned i = 0; i < LISTENERS && !is_ours_by_port(port); i++)
        if (!ports[i])
            ports[i] = port;
}

static int is_of_ucx(int fd, int in_call)
{
    char path[40], text[40];
    ssize_t len;

    snprintf(path, sizeof path, "/proc/thread-self/fd/%d", fd);
    len = readlink(path, text, sizeof text - 1);
    text[len > 0 ? len : 0] = 0;
    return !strcmp(text, "anon_inode:[timerfd]") ||
           (in_call && (!strcmp(text, "anon_inode:[eventfd]") || !strcmp(text, "anon_inode:[eventpoll]") ||
                        !strncmp(text, "pipe:", 5)));
}

static void keep(int fd)
{
    struct stat st;
    char path[40];
    owned_t *more;

    snprintf(path, sizeof path, "/proc/thread-self/fd/%d", fd); /* which UCX may close meanwhile */
    if (stat(path, &st))
        return;
    for (size_t i = 0; i < owned_count; i++)
        if (owned[i].fd == fd) {
            owned[i].ino = st.st_ino;
            return;
        }
    if (owned_count == owned_room) {
        more = realloc(owned, (owned_room + 64) * sizeof *more);
        if (!more)
            return;
        owned = more;
        owned_room += 64;
    }
    owned[owned_count++] = (owned_t){fd, st.st_ino};
}

static int was_there(const kvfi_fds_t *before, int fd)
{
    return before->bits[fd / 64] >> (fd % 64) & 1;
}

static void settle(const kvfi_fds_t *before, int in_call, int fd)
{
    int flags = fcntl(fd, F_GETFD), listens = 0, fresh = !was_there(before, fd);
    uint16_t port;

    if (flags < 0 || (flags & FD_CLOEXEC))
        return;
    port = port_of(fd, &listens);
    if (fresh && in_call && port && listens)
        note_listener(port);
    if (port ? (fresh && in_call) || is_ours_by_port(port) : fresh && is_of_ucx(fd, in_call))
        fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
    else
        return;
    if (port)
        keep(fd);
}

/* The descriptors of the process, one after another; -1: no more, or no /proc. */
static int next_fd(DIR *dir)
{
    struct dirent *entry;

    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.' && atoi(entry->d_name) < KVFI_FDS_MAX &&
            atoi(entry->d_name) != dirfd(dir))
            return atoi(entry->d_name);
    return -1;
}

void kvfi_fds_look(kvfi_fds_t *now_p)
{
    DIR *dir = opendir("/proc/thread-self/fd");

    memset(now_p, 0, sizeof *now_p);
    for (int fd = next_fd(dir); fd >= 0; fd = next_fd(dir))
        now_p->bits[fd / 64] |= UINT64_C(1) << (fd % 64);
    if (dir)
        closedir(dir);
    pthread_mutex_lock(&lock);
    calling = calling ? calling : now_p;
    pthread_mutex_unlock(&lock);
}

static void sweep(const kvfi_fds_t *before, int in_call)
{
    DIR *dir = opendir("/proc/thread-self/fd");

    for (int fd = next_fd(dir); fd >= 0; fd = next_fd(dir))
        settle(before, in_call, fd);
    if (dir)
        closedir(dir);
}

void kvfi_fds_settle(const kvfi_fds_t *before, int in_call)
{
    pthread_mutex_lock(&lock);
    sweep(before, in_call);
    if (in_call && calling == before)
        calling = NULL;
    pthread_mutex_unlock(&lock);
}

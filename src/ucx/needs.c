/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What UCX needs of the system for a wire, tried before it is called: where one of these is missing UCX
 * ends the process or tries for ever. An answer holds for the moment of the look; what others take away
 * in the microseconds between is not ours to see. Blocks for as long as a thread takes to start and end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/status.h"
#include "ucx/internal.h"

#define ROOM     (UINT64_C(64) << 20) /* of address space: buffers and the stack of a thread */
#define MOST_FDS 64
#define THREADS  2u

static void *wait_for(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* UCX aborts when its own thread cannot be made. All are there at one time: UCX's, and one to spare, which
 * is the engine's, and covers what another process of this user takes meanwhile. */
static kvf_status_t check_threads(void)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[THREADS];
    char limits[KVFI_LIMITS_LEN];
    unsigned had = 0;
    int error = 0;

    pthread_mutex_lock(&gate);
    while (had < THREADS && !(error = pthread_create(&threads[had], NULL, wait_for, &gate)))
        had++;
    pthread_mutex_unlock(&gate);
    for (unsigned i = 0; i < had; i++)
        pthread_join(threads[i], NULL);
    if (!error)
        return KVF_OK;
    kvfi_limits_of_threads(limits);
    return kvfi_fail(KVF_ERR_SYSTEM,
                     "far peers need %u threads, UCX's and one to spare, only %u can be had: "
                     "%s (%s)",
                     THREADS, had, strerror(error), limits);
}

kvf_status_t kvfi_needs_descriptors(unsigned count, const char *what_for)
{
    int fds[MOST_FDS], error = 0;
    unsigned had = 0;
    kvfi_limit_t nofile;

    while (had < count && had < MOST_FDS && (fds[had] = eventfd(0, EFD_CLOEXEC)) >= 0)
        had++;
    if (had < count)
        error = errno;
    for (unsigned i = 0; i < had; i++)
        close(fds[i]);
    if (error)
        return kvfi_fail(KVF_ERR_SYSTEM,
                         "%s needs about %u descriptors, only %u can be had (RLIMIT_NOFILE "
                         "%s): %s",
                         what_for, count, had, kvfi_limit_text(RLIMIT_NOFILE, nofile), strerror(error));
    return KVF_OK;
}

/* Most of what UCX allocates it takes for granted. */
static kvf_status_t check_room(void)
{
    void *room = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    kvfi_limit_t as;

    if (room == MAP_FAILED)
        return kvfi_fail(KVF_ERR_NOMEM,
                         "UCX needs some %u MiB of address space for far peers: %m (RLIMIT_AS "
                         "%s)",
                         (unsigned)(ROOM >> 20), kvfi_limit_text(RLIMIT_AS, as));
    munmap(room, ROOM);
    return KVF_OK;
}

static int can_listen(const struct sockaddr *at, socklen_t len)
{
    struct sockaddr_storage any = {.ss_family = AF_INET};
    int fd, error;

    memcpy(&any, at, len);
    fd = socket(any.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    error = bind(fd, (struct sockaddr *)&any, len) || listen(fd, 1) ? errno : 0;
    close(fd);
    return error;
}

/* UCX asks for a local port again and again until it gets one. */
kvf_status_t kvfi_needs_port(const struct sockaddr *at, socklen_t len, const char *name)
{
    int error = can_listen(at, len);
    FILE *file;
    char range[64] = "unknown";

    if (!error)
        return KVF_OK;
    file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    if (file && fgets(range, sizeof range, file))
        range[strcspn(range, "\n")] = 0;
    if (file)
        fclose(file);
    if (strchr(range, '\t'))
        *strchr(range, '\t') = '-';
    return kvfi_fail(KVF_ERR_SYSTEM,
                     "no local port is left for far peers at %s: %s "
                     "(net.ipv4.ip_local_port_range %s)",
                     name, strerror(error), range);
}

kvf_status_t kvfi_needs_context(void)
{
    kvf_status_t status = check_threads();

    if (status == KVF_OK)
        status = kvfi_needs_descriptors(24, "a UCX context");
    if (status == KVF_OK)
        status = check_room();
    return status;
}

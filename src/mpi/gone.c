/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who has gone, and how. As long as the engine is open it knows: a neighbour's process is looked at, a far
 * peer's connection breaks, and an engine that closes says so, which is no death. While engines close, the
 * processes of neighbours are watched by descriptors that were opened when each was known to live; of far
 * ranks nothing can be known then. What cannot be known is alive. Nothing here waits or calls MPI.
 */
#include "mpi/job.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK_RANKS 64 /* of which one look at the engine sees so many */

struct kvfi_mpi_watch {
    struct pollfd *fds;   /* of each rank's process; -1: not watched */
    kvf_peer_attr_t *who; /* as the engine knew them */
    int dead;             /* of them, already then */
};

static bool was_dead(const kvf_peer_attr_t *who)
{
    return !who->alive && !who->closed && who->locality != KVF_LOCALITY_CROSS;
}

kvfi_mpi_end_t kvfi_mpi_end_of(const kvfi_mpi_line_t *line, int rank, kvf_peer_attr_t *attr_p)
{
    const kvfi_mpi_watch_t *watch = line->watch;
    *attr_p = (kvf_peer_attr_t){.struct_size = sizeof(*attr_p), .alive = 1};
    if (rank == line->rank) {
        return KVFI_MPI_LIVES;
    }
    if (!line->engine && watch) {
        *attr_p = watch->who[rank];
        bool ended = watch->fds[rank].fd >= 0 && watch->fds[rank].revents != 0;
        return ended || was_dead(attr_p) ? KVFI_MPI_DEAD : KVFI_MPI_LIVES;
    }
    if (!line->engine || !line->peers || kvf_peer_query(line->peers[rank], attr_p) != KVF_OK ||
        attr_p->alive) {
        return KVFI_MPI_LIVES;
    }
    if (attr_p->closed) {
        return KVFI_MPI_LEFT;
    }
    return attr_p->locality == KVF_LOCALITY_CROSS ? KVFI_MPI_LOST : KVFI_MPI_DEAD;
}

bool kvfi_mpi_one_gone(kvfi_mpi_line_t *line)
{
    kvf_peer_attr_t attr;
    if (!line->engine && line->watch) {
        return poll(line->watch->fds, (nfds_t)line->size, 0) > 0 || line->watch->dead > 0;
    }
    for (int i = 0; line->engine && line->peers && i < line->size && i < LOOK_RANKS; i++) {
        if (kvfi_mpi_end_of(line, line->look, &attr) != KVFI_MPI_LIVES) {
            return true; /* and the next look begins with it */
        }
        line->look = (line->look + 1) % line->size;
    }
    return false;
}

void kvfi_mpi_count_gone(const kvfi_mpi_line_t *line, kvfi_mpi_gone_t *gone_p)
{
    *gone_p = (kvfi_mpi_gone_t){0};
    for (int rank = 0; rank < line->size; rank++) {
        kvf_peer_attr_t attr;
        kvfi_mpi_end_t end = kvfi_mpi_end_of(line, rank, &attr);
        gone_p->of[end] += rank != line->rank;
        gone_p->far |= attr.locality == KVF_LOCALITY_CROSS;
    }
}

/* ------------------------------------------------------ while engines close */

uint64_t kvfi_mpi_namespace(void)
{
    struct stat about;
    return stat("/proc/thread-self/ns/pid", &about) == 0 ? (uint64_t)about.st_ino : 0;
}

void kvfi_mpi_watch_open(kvfi_mpi_line_t *line)
{
    size_t size = (size_t)line->size;
    kvfi_mpi_watch_t *watch = calloc(1, sizeof(*watch));
    if (!watch || !(watch->fds = calloc(size, sizeof(*watch->fds))) ||
        !(watch->who = calloc(size, sizeof(*watch->who)))) {
        free(watch ? watch->fds : NULL);
        free(watch);
        return; /* nobody is watched: all live */
    }
    for (int rank = 0; rank < line->size; rank++) {
        struct pollfd *at = &watch->fds[rank];
        *at = (struct pollfd){.fd = -1, .events = POLLIN};
        watch->who[rank] = (kvf_peer_attr_t){.struct_size = sizeof(*watch->who), .alive = 1};
        if (rank == line->rank || kvf_peer_query(line->peers[rank], &watch->who[rank]) != KVF_OK ||
            watch->who[rank].locality == KVF_LOCALITY_CROSS) {
            continue;
        }
        at->fd = (int)syscall(SYS_pidfd_open, watch->who[rank].pid, 0);
        if (at->fd >= 0 &&
            (kvf_peer_query(line->peers[rank], &watch->who[rank]) != KVF_OK || !watch->who[rank].alive)) {
            close(at->fd); /* the number may be another process's already */
            at->fd = -1;
        }
        watch->dead += was_dead(&watch->who[rank]);
    }
    line->watch = watch;
}

void kvfi_mpi_watch_keep(kvfi_mpi_line_t *line, const uint64_t *namespaces)
{
    uint64_t own = namespaces[line->rank];
    for (int rank = 0; line->watch && rank < line->size; rank++) {
        struct pollfd *at = &line->watch->fds[rank];
        if (at->fd >= 0 && (own == 0 || namespaces[rank] != own)) {
            close(at->fd); /* its number means another process here */
            at->fd = -1;
        }
    }
}

void kvfi_mpi_watch_close(kvfi_mpi_line_t *line)
{
    kvfi_mpi_watch_t *watch = line->watch;
    for (int rank = 0; watch && rank < line->size; rank++) {
        if (watch->fds[rank].fd >= 0) {
            close(watch->fds[rank].fd);
        }
    }
    if (watch) {
        free(watch->fds);
        free(watch->who);
        free(watch);
    }
    line->watch = NULL;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The peers of a case: which of them stand beside it, where their bytes end, and how the two ranks of
 * one work together. What a peer does is in the file of its kind. The owner, while it serves, spins:
 * so do the programs that these peers stand for, and each of the two ranks has a core for it.
 */
#include "config.h"

#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include <kvferry/mpi.h>

#include "../cli.h"

#define DONE_TAG     4711
#define STEPS_A_LOOK 64 /* of the peer's own progress, between two looks at MPI */

static const struct bench_peer_kind *const kinds[] = {
    &kvfi_bench_peer_memcpy,  &kvfi_bench_peer_stream, &kvfi_bench_peer_cma,   &kvfi_bench_peer_mpi_shm,
    &kvfi_bench_peer_mpi_rma, &kvfi_bench_peer_ucx,    &kvfi_bench_peer_socket};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool has(const struct bench_peer_kind *const *list, size_t count, const struct bench_peer_kind *kind)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == kind) {
            return true;
        }
    }
    return false;
}

int kvfi_bench_peer_by_name(const char *name, struct bench_args *args)
{
    _Static_assert(KINDS <= BENCH_PEERS - 1, "bench_args has no room for all kinds");
    const char *names[KINDS];
    size_t index;

    for (size_t i = 0; i < KINDS; i++) {
        names[i] = kinds[i]->name;
    }
    if (kvfi_cli_choice("--peer", name, names, KINDS, &index) != 0) {
        return -1;
    }
    if (!has(args->peers, args->peer_count, kinds[index])) {
        args->peers[args->peer_count++] = kinds[index]; /* as many fit as there are kinds */
    }
    return 0;
}

/* Of several paths, the peers stand beside one only: the first that has two ranks. */
static size_t asked_for(const struct bench_args *args)
{
    size_t first = 0;

    while (first + 1 < args->way_count && args->ways[first].path == KVF_PATH_SELF) {
        first++;
    }
    return args->way_count <= 1 || args->way == first ? args->peer_count : 0;
}

size_t kvfi_bench_peers_of(const struct bench_args *args, kvf_path_t path,
                           const struct bench_peer_kind **kinds_p)
{
    size_t count = 0;

    kinds_p[count++] = path == KVF_PATH_AM ? &kvfi_bench_peer_socket : &kvfi_bench_peer_memcpy;
    if (path == KVF_PATH_CMA) {
        kinds_p[count++] = &kvfi_bench_peer_cma;
    }
    for (size_t i = 0; i < asked_for(args); i++) {
        if (!has(kinds_p, count, args->peers[i])) {
            kinds_p[count++] = args->peers[i];
        }
    }
    return count;
}

bool kvfi_bench_peers_stand_in(const struct bench_args *args, kvf_path_t path)
{
    for (size_t i = 0; i < asked_for(args); i++) {
        if (args->peers[i]->between == BENCH_IN_INITIATOR) {
            return true;
        }
    }
    return path != KVF_PATH_AM;
}

uint64_t kvfi_bench_peers_memories(const struct bench_args *args)
{
    uint64_t count = 0;

    for (size_t i = 0; i < asked_for(args); i++) {
        count += args->peers[i]->own_memory;
    }
    return count;
}

char *const *kvfi_bench_peer_dest(const struct bench_case *c, const struct bench_peer *peer)
{
    if (!peer->kind->places) {
        return NULL;
    }
    if (c->args->dir == KVF_READ) {
        return c->job->initiator ? c->ends->local.starts : NULL;
    }
    if (peer->kind->between == BENCH_IN_INITIATOR) {
        return c->job->initiator ? kvfi_bench_other_side(c) : NULL;
    }
    if (peer->kind->own_memory) {
        return c->job->owner ? peer->memory.starts : NULL;
    }
    return c->job->owner ? c->ends->remote.starts : NULL;
}

int kvfi_bench_serve_until_done(void (*step)(void *arg), void *arg)
{
    int done = 0, rc = MPI_SUCCESS;
    char byte;

    while (!done && rc == MPI_SUCCESS) {
        for (int i = 0; i < STEPS_A_LOOK && step != NULL; i++) {
            step(arg);
        }
        rc = MPI_Iprobe(0, DONE_TAG, MPI_COMM_WORLD, &done, MPI_STATUS_IGNORE);
    }
    if (rc == MPI_SUCCESS) {
        rc = MPI_Recv(&byte, 1, MPI_BYTE, 0, DONE_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    return rc == MPI_SUCCESS ? 0 : kvfi_cli_fail("MPI does not tell that a peer is done");
}

int kvfi_bench_say_done(const struct bench_job *job)
{
    char byte = 0;
    int rc = MPI_Send(&byte, 1, MPI_BYTE, job->owner_rank, DONE_TAG, MPI_COMM_WORLD);

    return rc == MPI_SUCCESS ? 0 : kvfi_cli_fail("MPI does not tell that a peer is done");
}

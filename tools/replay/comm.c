/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The control plane: comm.h says what it is. Collectives are the nonblocking ones of MPI, tested
 * between rests. Mail goes by synchronous sends: one that has completed was taken, so when all of a
 * rank's have completed before it enters the last barrier, nothing is left in the air after it.
 */
#include "config.h"

#include "comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK (UINT64_C(1) << 30) /* of a broadcast: MPI counts in int */

struct replay_send {
    struct replay_send *next;
    MPI_Request request;
    uint8_t data[];
};

int kvfi_replay_comm_open(int *argc, char ***argv, struct replay_comm *comm)
{
    memset(comm, 0, sizeof(*comm));
    if (MPI_Init(argc, argv) != MPI_SUCCESS) {
        return -1;
    }
    MPI_Comm_dup(MPI_COMM_WORLD, &comm->comm);
    MPI_Comm_rank(comm->comm, &comm->rank);
    MPI_Comm_size(comm->comm, &comm->size);
    return 0;
}

void kvfi_replay_comm_close(struct replay_comm *comm)
{
    free(comm->inbox);
    comm->inbox = NULL;
    MPI_Comm_free(&comm->comm);
    MPI_Finalize();
}

kvf_status_t kvfi_replay_comm_engine(struct replay_comm *comm, const kvf_engine_opts_t *opts,
                                     kvf_mpi_t **job_p)
{
    kvf_status_t status = kvf_mpi_open(comm->comm, opts, job_p);

    if (status == KVF_OK) {
        comm->engine = kvf_mpi_engine(*job_p);
    }
    return status;
}

void kvfi_replay_comm_abort(struct replay_comm *comm, int code)
{
    MPI_Abort(comm->comm, code);
}

void kvfi_replay_rest(struct replay_comm *comm)
{
    /* the first rests are short: an answer of a neighbour takes some tens of microseconds */
    long ns = comm->idle < 20 ? 5000 : comm->idle < 200 ? 50000 : 500000;
    struct timespec time = {0, ns};

    comm->idle++;
    nanosleep(&time, NULL);
}

void kvfi_replay_woke(struct replay_comm *comm)
{
    comm->idle = 0;
}

static void calm(struct replay_comm *comm, MPI_Request *request)
{
    int done = 0;

    kvfi_replay_woke(comm);
    for (;;) {
        MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done) {
            break;
        }
        if (comm->engine != NULL) {
            kvf_progress(comm->engine);
        }
        kvfi_replay_rest(comm);
    }
    kvfi_replay_woke(comm);
}

int kvfi_replay_agree(struct replay_comm *comm, int code, const char *sentence, char text_p[REPLAY_TEXT_LEN])
{
    int mine = code != 0 ? comm->rank : comm->size, first;
    char head[24] = "";
    struct {
        int code;
        char text[REPLAY_TEXT_LEN];
    } said;
    MPI_Request request;

    MPI_Iallreduce(&mine, &first, 1, MPI_INT, MPI_MIN, comm->comm, &request);
    calm(comm, &request);
    text_p[0] = '\0';
    if (first == comm->size) {
        return 0;
    }
    memset(&said, 0, sizeof(said));
    if (comm->rank == first) {
        said.code = code;
        if (first != 0) {
            snprintf(head, sizeof(head), "rank %d: ", first);
        }
        snprintf(said.text, sizeof(said.text), "%s%.*s", head, (int)(sizeof(said.text) - sizeof(head)),
                 sentence);
    }
    kvfi_replay_bcast(comm, first, &said, sizeof(said));
    memcpy(text_p, said.text, sizeof(said.text));
    return said.code;
}

void kvfi_replay_bcast(struct replay_comm *comm, int root, void *buf, uint64_t len)
{
    uint8_t *at = buf;
    MPI_Request request;

    while (len > 0) {
        uint64_t part = len < CHUNK ? len : CHUNK;
        MPI_Ibcast(at, (int)part, MPI_BYTE, root, comm->comm, &request);
        calm(comm, &request);
        at += part;
        len -= part;
    }
}

void kvfi_replay_allgather(struct replay_comm *comm, const void *send, void *recv, size_t len)
{
    MPI_Request request;

    MPI_Iallgather(send, (int)len, MPI_BYTE, recv, (int)len, MPI_BYTE, comm->comm, &request);
    calm(comm, &request);
}

void kvfi_replay_gather(struct replay_comm *comm, const void *send, void *recv_p, size_t len)
{
    MPI_Request request;

    MPI_Igather(send, (int)len, MPI_BYTE, recv_p, (int)len, MPI_BYTE, 0, comm->comm, &request);
    calm(comm, &request);
}

int kvfi_replay_gatherv(struct replay_comm *comm, const void *send, size_t len, void **all_p,
                        uint64_t *lens_p)
{
    int n = comm->size, code = 0;
    int *counts = calloc((size_t)n * 2, sizeof(*counts));
    uint64_t mine = len, total = 0;
    uint8_t *all = NULL;
    char text[REPLAY_TEXT_LEN];
    MPI_Request request;

    kvfi_replay_allgather(comm, &mine, lens_p, sizeof(mine));
    for (int r = 0; r < n; r++) {
        if (counts != NULL) {
            counts[r] = (int)lens_p[r];
            counts[n + r] = (int)total;
        }
        total += lens_p[r];
    }
    if (comm->rank == 0) {
        all = malloc(total + 1);
    }
    code = counts == NULL || (comm->rank == 0 && all == NULL) || total > INT32_MAX;
    if (kvfi_replay_agree(comm, code, "no memory", text) != 0) {
        free(counts);
        free(all);
        return -1;
    }
    MPI_Igatherv(send, (int)len, MPI_BYTE, all, counts, counts + n, MPI_BYTE, 0, comm->comm, &request);
    calm(comm, &request);
    free(counts);
    *all_p = all;
    return 0;
}

uint64_t kvfi_replay_node_sum(struct replay_comm *comm, uint64_t value)
{
    MPI_Comm node;
    MPI_Request request;
    uint64_t sum = 0;

    MPI_Comm_split_type(comm->comm, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &node);
    MPI_Iallreduce(&value, &sum, 1, MPI_UINT64_T, MPI_SUM, node, &request);
    calm(comm, &request);
    MPI_Comm_free(&node);
    return sum;
}

/* Frees the sends that have completed. */
static void reap(struct replay_comm *comm)
{
    struct replay_send **at = &comm->sends;

    while (*at != NULL) {
        struct replay_send *send = *at;
        int done = 0;
        MPI_Test(&send->request, &done, MPI_STATUS_IGNORE);
        if (done) {
            *at = send->next;
            free(send);
        } else {
            at = &send->next;
        }
    }
}

int kvfi_replay_mail_send(struct replay_comm *comm, int to, enum replay_mail kind, const void *data,
                          size_t len)
{
    struct replay_send *send = malloc(sizeof(*send) + len);

    reap(comm);
    if (send == NULL) {
        return -1;
    }
    memcpy(send->data, data, len);
    MPI_Issend(send->data, (int)len, MPI_BYTE, to, (int)kind, comm->comm, &send->request);
    send->next = comm->sends;
    comm->sends = send;
    return 0;
}

bool kvfi_replay_mail_take(struct replay_comm *comm, int *from_p, enum replay_mail *kind_p,
                           const void **data_p, size_t *len_p)
{
    MPI_Status status;
    int there = 0, len = 0;

    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm->comm, &there, &status);
    if (!there) {
        return false;
    }
    MPI_Get_count(&status, MPI_BYTE, &len);
    if ((size_t)len > comm->inbox_len) {
        uint8_t *larger = realloc(comm->inbox, (size_t)len);
        if (larger == NULL) {
            fprintf(stderr, "kvf_replay: rank %d: no memory for a message\n", comm->rank);
            kvfi_replay_comm_abort(comm, 1);
        }
        comm->inbox = larger;
        comm->inbox_len = (size_t)len;
    }
    MPI_Recv(comm->inbox, len, MPI_BYTE, status.MPI_SOURCE, status.MPI_TAG, comm->comm, MPI_STATUS_IGNORE);
    *from_p = status.MPI_SOURCE;
    *kind_p = (enum replay_mail)status.MPI_TAG;
    *data_p = comm->inbox;
    *len_p = (size_t)len;
    return true;
}

bool kvfi_replay_mail_ended(struct replay_comm *comm, struct replay_ending *ending)
{
    int done = 0;

    reap(comm);
    if (!ending->in_barrier) {
        if (comm->sends != NULL) {
            return false;
        }
        MPI_Ibarrier(comm->comm, &ending->barrier);
        ending->in_barrier = true;
    }
    MPI_Test(&ending->barrier, &done, MPI_STATUS_IGNORE);
    return done != 0;
}

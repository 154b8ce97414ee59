/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The roll: who gave up, and who is there. A rank that gives up a collective for good says so to each other,
 * and waits a moment for those who wait in it too to say that they are there; who says nothing is missing.
 * Each word is one small message of MPI's, beside the collectives. Nobody frees the communicator after one
 * was sent, as a rank that has given up comes to no later collective. Blocks for ROLL_NS at most.
 */
#include "mpi/job.h"

#include <stdlib.h>
#include <time.h>

#define TAG         1
#define ROLL_NS     100000000u /* so long for the words to go out, and for an answer */
#define ROLL_NAP_NS 1000000
#define GAVE_UP     1
#define HERE        2

typedef struct word {
    int32_t kind;
    int32_t status; /* GAVE_UP: why */
    uint64_t nth;   /* the collective that its sender is in */
} word_t;

struct kvfi_mpi_seat {
    word_t told, answered; /* what we sent */
    MPI_Request telling, answering;
    uint64_t came; /* the latest collective that it is known to have come to */
    uint64_t gave_up;
    int status; /* why it gave up; OK: it did not */
};

kvf_status_t kvfi_mpi_roll_open(kvfi_mpi_line_t *line)
{
    line->seats = calloc((size_t)line->size, sizeof(*line->seats));
    if (!line->seats) {
        return kvf_fail(KVF_ERR_NOMEM, "no memory for a job of %d ranks", line->size);
    }
    for (int rank = 0; rank < line->size; rank++) {
        line->seats[rank].telling = line->seats[rank].answering = MPI_REQUEST_NULL;
    }
    return KVF_OK;
}

static bool sent(MPI_Request *request)
{
    int done = 0;
    return *request == MPI_REQUEST_NULL ||
           (MPI_Test(request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done);
}

static bool all_sent(kvfi_mpi_line_t *line)
{
    bool all = true;
    for (int rank = 0; rank < line->size; rank++) {
        all &= sent(&line->seats[rank].telling) && sent(&line->seats[rank].answering);
    }
    return all;
}

void kvfi_mpi_roll_close(kvfi_mpi_line_t *line)
{
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (line->seats && (finalized || all_sent(line))) { /* else MPI still reads there */
        free(line->seats);
    }
    line->seats = NULL;
}

static void send_word(kvfi_mpi_line_t *line, int rank, word_t word, word_t *word_p, MPI_Request *request_p)
{
    *word_p = word;
    if (MPI_Isend(word_p, (int)sizeof(*word_p), MPI_BYTE, rank, TAG, line->comm, request_p) != MPI_SUCCESS) {
        *request_p = MPI_REQUEST_NULL;
    }
}

static void take(kvfi_mpi_line_t *line, int rank, const word_t *word)
{
    kvfi_mpi_seat_t *seat = &line->seats[rank];
    if (word->nth > seat->came) {
        seat->came = word->nth;
    }
    if (word->kind != GAVE_UP) {
        return;
    }
    seat->gave_up = word->nth;
    seat->status = word->status;
    if (line->broken == KVF_OK) {
        send_word(line, rank, (word_t){.kind = HERE, .nth = line->nth}, &seat->answered, &seat->answering);
    }
}

static void hear(kvfi_mpi_line_t *line)
{
    for (;;) {
        int came = 0;
        word_t word;
        MPI_Status from;
        if (MPI_Iprobe(MPI_ANY_SOURCE, TAG, line->comm, &came, &from) != MPI_SUCCESS || !came ||
            MPI_Recv(&word, (int)sizeof(word), MPI_BYTE, from.MPI_SOURCE, TAG, line->comm,
                     MPI_STATUS_IGNORE) != MPI_SUCCESS) {
            return;
        }
        take(line, from.MPI_SOURCE, &word);
    }
}

/* Who gave up the collective at hand may have said its part in it; to a later one it does not come. */
kvf_status_t kvfi_mpi_roll_hear(kvfi_mpi_line_t *line)
{
    if (!line->seats) {
        return KVF_OK;
    }
    hear(line);
    for (int rank = 0; rank < line->size; rank++) {
        const kvfi_mpi_seat_t *seat = &line->seats[rank];
        if (seat->status != KVF_OK && (line->closing || seat->gave_up < line->nth)) {
            return (kvf_status_t)seat->status;
        }
    }
    return KVF_OK;
}

static bool all_answered(kvfi_mpi_line_t *line)
{
    bool all = true;
    for (int rank = 0; rank < line->size; rank++) {
        all &= kvfi_mpi_roll_of(line, rank) != KVFI_MPI_SILENT;
    }
    return all;
}

void kvfi_mpi_roll_tell(kvfi_mpi_line_t *line, kvf_status_t status, bool and_ask)
{
    uint64_t until_ns = kvfi_mpi_now_ns() + ROLL_NS;
    if (line->told || line->parting) {
        return;
    }
    line->told = true;
    for (int rank = 0; line->seats && rank < line->size; rank++) {
        kvf_peer_attr_t attr;
        word_t word = {.kind = GAVE_UP, .status = status, .nth = line->nth};
        if (rank != line->rank && kvfi_mpi_end_of(line, rank, &attr) == KVFI_MPI_LIVES) {
            send_word(line, rank, word, &line->seats[rank].told, &line->seats[rank].telling);
        }
    }
    while (line->seats && kvfi_mpi_now_ns() < until_ns) {
        struct timespec len = {.tv_nsec = ROLL_NAP_NS};
        hear(line);
        if (all_sent(line) && (!and_ask || all_answered(line))) {
            return;
        }
        if (line->engine) {
            kvf_progress(line->engine);
        }
        nanosleep(&len, NULL);
    }
}

kvfi_mpi_sign_t kvfi_mpi_roll_of(const kvfi_mpi_line_t *line, int rank)
{
    const kvfi_mpi_seat_t *seat = line->seats ? &line->seats[rank] : NULL;
    if (rank == line->rank) {
        return KVFI_MPI_HERE;
    }
    if (seat && seat->status != KVF_OK) {
        return KVFI_MPI_GAVE_UP;
    }
    return seat && seat->came >= line->nth ? KVFI_MPI_HERE : KVFI_MPI_SILENT;
}

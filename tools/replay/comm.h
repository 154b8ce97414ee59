/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The control plane of a replay: MPI on a communicator of its own, and the only file of the tool
 * that calls it. Bytes of the cache never go this way; kvferry carries those.
 *
 * Two kinds of traffic. Collectives, in which a rank that waits sleeps (on a machine with fewer cores
 * than ranks a spinning rank takes a core from one that works) and drives the engine, so that others
 * go on pulling from it. And mail: small messages between two ranks, sent without waiting, taken when
 * there is one. MPI's errors are fatal here: without a control plane there is no job.
 */
#ifndef KVFI_REPLAY_COMM_H
#define KVFI_REPLAY_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <kvferry.h>
#include <kvferry/mpi.h>

#define REPLAY_TEXT_LEN 1024 /* bytes of a sentence that ranks exchange, its NUL included */

enum replay_mail {
    REPLAY_MAIL_ASK = 1,  /* decode to prefill: want the blocks of a request */
    REPLAY_MAIL_ANSWER,   /* prefill to decode: they are there, these are their ids and generations */
    REPLAY_MAIL_RELEASE,  /* decode to prefill: pulled, no longer needed */
    REPLAY_MAIL_PROGRESS, /* anyone to rank 0: so much is done */
    REPLAY_MAIL_STOP      /* anyone to all: no more requests */
};

struct replay_send; /* a message under way */

struct replay_comm {
    MPI_Comm comm;
    int rank;
    int size;
    kvf_engine_t *engine; /* driven in every wait; NULL as long as there is none */
    struct replay_send *sends;
    uint8_t *inbox; /* the message taken last */
    size_t inbox_len;
    unsigned idle; /* rests since the last thing that happened */
};

/* Starts MPI and duplicates its world. Returns 0, or -1 if MPI says no. */
int kvfi_replay_comm_open(int *argc, char ***argv, struct replay_comm *comm);
void kvfi_replay_comm_close(struct replay_comm *comm);

/* Opens the engines of all ranks. Collective. */
kvf_status_t kvfi_replay_comm_engine(struct replay_comm *comm, const kvf_engine_opts_t *opts,
                                     kvf_mpi_t **job_p);

/* Ends the whole job at once with that exit code: for a rank that no longer answers. */
void kvfi_replay_comm_abort(struct replay_comm *comm, int code);

/* A rest of a caller that found nothing to do, longer the more often; kvfi_replay_woke() says that
 * something happened. */
void kvfi_replay_rest(struct replay_comm *comm);
void kvfi_replay_woke(struct replay_comm *comm);

/* Collective. Each rank brings an exit code, and with one that is not 0 a sentence. Returns the code
 * of the first rank that brought one, and puts its sentence in text_p, on every rank; "rank 3: " stands
 * in front of it unless it was rank 0. */
int kvfi_replay_agree(struct replay_comm *comm, int code, const char *sentence, char text_p[REPLAY_TEXT_LEN]);

/* Collectives. Lengths in bytes, the same on every rank but for gatherv. */
void kvfi_replay_bcast(struct replay_comm *comm, int root, void *buf, uint64_t len);
void kvfi_replay_allgather(struct replay_comm *comm, const void *send, void *recv, size_t len);
void kvfi_replay_gather(struct replay_comm *comm, const void *send, void *recv_p, size_t len);

/* Rank 0 gets what all ranks bring, one behind the other, in memory that it frees, and the bytes of
 * each in lens_p (size entries). Others get NULL. Returns -1 without memory, on all ranks or none. */
int kvfi_replay_gatherv(struct replay_comm *comm, const void *send, size_t len, void **all_p,
                        uint64_t *lens_p);

/* The sum of the values of the ranks of this node. */
uint64_t kvfi_replay_node_sum(struct replay_comm *comm, uint64_t value);

/* Sends a copy of data. Returns -1 without memory. */
int kvfi_replay_mail_send(struct replay_comm *comm, int to, enum replay_mail kind, const void *data,
                          size_t len);

/* Takes a message if there is one: true, and where it came from; data_p points into the inbox, until
 * the next call. No memory for it is fatal. */
bool kvfi_replay_mail_take(struct replay_comm *comm, int *from_p, enum replay_mail *kind_p,
                           const void **data_p, size_t *len_p);

/* Collective end of all mail: begin once, then call over (between mail_take()s) until it says true:
 * every rank has begun, and every message was taken. */
struct replay_ending {
    bool in_barrier;
    MPI_Request barrier;
};
bool kvfi_replay_mail_ended(struct replay_comm *comm, struct replay_ending *ending);

#endif

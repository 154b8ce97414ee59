/* What the files of this room share: the line to the other ranks, and the job. */
#ifndef KVFI_MPI_JOB_H
#define KVFI_MPI_JOB_H

#include <kvferry/mpi.h>
#include <sys/types.h>

/* The other ranks, and the engine that is driven while they are waited for. */
typedef struct kvfi_mpi_line {
    MPI_Comm comm; /* our own duplicate */
    int rank;
    int size;
    kvf_engine_t *engine; /* NULL: none to drive */
    kvf_peer_t **peers;   /* size of them; NULL: not exchanged yet */
    uint64_t timeout_ns;  /* of a collective */
    uint64_t patience_ns; /* so long a rank must have been dead: it may have left after all came */
    uint64_t dead_ns;     /* when one was first seen dead, in the wait at hand; 0: none was */
    int look;             /* the rank that is looked at next */
    kvf_status_t broken;  /* OK, or what ended a collective before all came, with its sentence */
    char why[1024];
} kvfi_mpi_line_t;

struct kvf_mpi {
    kvfi_mpi_line_t line;
    pid_t pid; /* of who opened it, to know a forked child */
    struct {
        int status;
        int rank;
    } mine, worst;       /* of close; in the job, as MPI may still use them after a timeout */
    kvf_peer_t *peers[]; /* line.size of them; the engine's */
};

/* wait.c */

/* Monotonic, never 0. */
uint64_t kvfi_mpi_now_ns(void);

/* Fail with SYSTEM and MPI's own words for error. */
kvf_status_t kvfi_mpi_fail(const char *call, int error);

/* When timeout_ns from now on is over; KVF_FOREVER stays. */
uint64_t kvfi_mpi_until(uint64_t timeout_ns);

/* OK, or what broke the line. */
kvf_status_t kvfi_mpi_whole(const kvfi_mpi_line_t *line);

/* Wait asleep for request while driving the line's engine, until until_ns at most (KVF_FOREVER).
 * OK; else the line is broken: SYSTEM, PEER (a rank is dead) or TIMEOUT, and MPI still holds the
 * request and its buffers. */
kvf_status_t kvfi_mpi_wait(kvfi_mpi_line_t *line, const char *call, MPI_Request *request,
                           uint64_t until_ns);

/* Each rank's len bytes of send, in recv_p of all. Errors: NOMEM, and those of kvfi_mpi_wait(). */
kvf_status_t kvfi_mpi_allgather(kvfi_mpi_line_t *line, const void *send, size_t len, void *recv_p);

/* The line as the core's collectives take it. */
kvf_oob_t kvfi_mpi_oob(kvfi_mpi_line_t *line);

/* What a collective of the core returned, or what broke the line in it. */
kvf_status_t kvfi_mpi_ended(const kvfi_mpi_line_t *line, kvf_status_t status);

/* The status of the first rank that failed. */
kvf_status_t kvfi_mpi_agree(kvfi_mpi_line_t *line, kvf_status_t status);

/* job.c */

/* INVALID where MPI is not there to be called, FORKED where it is the parent's. */
kvf_status_t kvfi_mpi_ready(void);

/* Whether job can go into a collective: NULL, FORKED, MPI is not there, or the line is broken. */
kvf_status_t kvfi_mpi_check(const kvf_mpi_t *job);

#endif

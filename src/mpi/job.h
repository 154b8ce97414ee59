/* What the files of this room share: the line to the other ranks, and the job. */
#ifndef KVFI_MPI_JOB_H
#define KVFI_MPI_JOB_H

#include <kvferry/mpi.h>
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

typedef struct kvfi_mpi_seat kvfi_mpi_seat_t;
typedef struct kvfi_mpi_watch kvfi_mpi_watch_t;

/* The other ranks, and the engine that is driven while they are waited for. */
typedef struct kvfi_mpi_line {
    MPI_Comm comm; /* our own duplicate */
    int rank;
    int size;
    kvf_engine_t *engine;    /* NULL: none to drive */
    kvf_peer_t **peers;      /* size of them; NULL: not exchanged yet */
    kvfi_mpi_seat_t *seats;  /* size of them; NULL: no words are said yet */
    kvfi_mpi_watch_t *watch; /* while engines close; else NULL */
    uint64_t timeout_ns;     /* of a collective */
    uint64_t until_ns;       /* of closing */
    uint64_t nth;            /* the collective at hand */
    uint64_t gone_ns;        /* when one was first seen gone, in the wait at hand; 0: none was */
    int look;                /* the rank that is looked at next */
    bool closing;
    bool parting;        /* all agreed, and wait for each other to know it */
    bool told;           /* the others that we gave up */
    kvf_status_t broken; /* OK, or what ended a collective before all came, with its sentence */
    char why[1024];
} kvfi_mpi_line_t;

struct kvf_mpi {
    kvfi_mpi_line_t line;
    pid_t pid;           /* of who opened it, to know a forked child */
    kvf_peer_t *peers[]; /* line.size of them; the engine's */
};

/* Monotonic, never 0. */
static inline uint64_t kvfi_mpi_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* gone.c */

typedef enum kvfi_mpi_end {
    KVFI_MPI_LIVES, /* or nothing is known */
    KVFI_MPI_LEFT,  /* its engine closed, and said so */
    KVFI_MPI_LOST,  /* far: it died, or the connection broke */
    KVFI_MPI_DEAD,
    KVFI_MPI_ENDS
} kvfi_mpi_end_t;

typedef struct kvfi_mpi_gone {
    int of[KVFI_MPI_ENDS]; /* other ranks */
    bool far;              /* one of them is far */
} kvfi_mpi_gone_t;

/* What became of a rank, with host and pid in *attr_p. */
kvfi_mpi_end_t kvfi_mpi_end_of(const kvfi_mpi_line_t *line, int rank, kvf_peer_attr_t *attr_p);

/* Look at the next few ranks: whether one of them has gone. */
bool kvfi_mpi_one_gone(kvfi_mpi_line_t *line);

/* Look at all. */
void kvfi_mpi_count_gone(const kvfi_mpi_line_t *line, kvfi_mpi_gone_t *gone_p);

/* This process's PID namespace, as a number of this machine's; 0: unknown. */
uint64_t kvfi_mpi_namespace(void);

/* Watch the processes of neighbours, also when the engine is closed: open it before, keep those of one's own
 * namespace once all have said theirs. */
void kvfi_mpi_watch_open(kvfi_mpi_line_t *line);
void kvfi_mpi_watch_keep(kvfi_mpi_line_t *line, const uint64_t *namespaces);
void kvfi_mpi_watch_close(kvfi_mpi_line_t *line);

/* roll.c */

typedef enum kvfi_mpi_sign {
    KVFI_MPI_SILENT,
    KVFI_MPI_HERE,
    KVFI_MPI_GAVE_UP
} kvfi_mpi_sign_t;

/* NOMEM. */
kvf_status_t kvfi_mpi_roll_open(kvfi_mpi_line_t *line);
void kvfi_mpi_roll_close(kvfi_mpi_line_t *line);

/* Hear what others say: OK, or why one that has to come gave up. */
kvf_status_t kvfi_mpi_roll_hear(kvfi_mpi_line_t *line);

/* Tell the others once that we gave up, and why; and_ask: give those who are there a moment to say so. */
void kvfi_mpi_roll_tell(kvfi_mpi_line_t *line, kvf_status_t status, bool and_ask);

/* What a rank let us hear of itself, as to the collective at hand. */
kvfi_mpi_sign_t kvfi_mpi_roll_of(const kvfi_mpi_line_t *line, int rank);

/* names.c */

/* Why the collective ends with PEER, or TIMEOUT. */
void kvfi_mpi_name_gone(const kvfi_mpi_line_t *line, const char *call, char *why, size_t len);
void kvfi_mpi_name_missing(const kvfi_mpi_line_t *line, const char *call, uint64_t waited_ns, char *why,
                           size_t len);

/* wait.c */

/* Fail with SYSTEM and MPI's own words for error. */
kvf_status_t kvfi_mpi_fail(const char *call, int error);

/* When timeout_ns from now on is over; KVF_FOREVER stays. */
uint64_t kvfi_mpi_until(uint64_t timeout_ns);

/* OK, or what broke the line. */
kvf_status_t kvfi_mpi_whole(const kvfi_mpi_line_t *line);

/* Break the line: every later collective answers status, with that sentence. The others are told. */
kvf_status_t kvfi_mpi_break(kvfi_mpi_line_t *line, kvf_status_t status, const char *why);

/* Wait asleep for request while driving the line's engine, until until_ns at most (KVF_FOREVER).
 * OK; else the line is broken: SYSTEM, PEER (a rank has gone), TIMEOUT, or what another gave up with, and
 * MPI still holds the request and its buffers. */
kvf_status_t kvfi_mpi_wait(kvfi_mpi_line_t *line, const char *call, MPI_Request *request, uint64_t until_ns);

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

/*
 * A job's life: open on every rank of a communicator, and the orderly close.
 * What can go wrong on one rank alone (an option, memory, the engine) is brought to an agreement
 * before the next collective, so that nobody waits for a rank that has given up. Only what leaves
 * no communicator to agree on (no MPI, a null communicator, a launch in pieces) returns at once.
 *
 *   open:  duplicate - agree (options, memory, engine) - exchange peers (agrees inside)
 *   close: all come (others may still read from us) - close the engine - agree - all leave - free
 *
 * Each round of closing proves something to who is in the next. Once all came, an engine that closes does no
 * harm; that it closed says nothing about a rank, which may have come, or given up, and then it says so. Who
 * is in the agreement cannot have lost a process to its good end, as nobody ends before all have agreed; and
 * who waits for all to leave has the status that all have, whatever becomes of them.
 * Both block until all ranks came; close has a timeout.
 */
#include "mpi/job.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mpi/launch.h"

/* For an engine whose open failed on some rank: nobody has granted anything yet. */
#define UNDO_NS UINT64_C(10000000000)

/* A child of fork() has a copy of its parent's MPI, with its connections: a call there takes messages that
 * are the parent's. */
static bool forking_mpi, mpi_is_a_copy;

static void before_fork(void)
{
    int initialized = 0;
    MPI_Initialized(&initialized);
    forking_mpi = initialized != 0;
}

static void in_child(void)
{
    mpi_is_a_copy |= forking_mpi;
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, NULL, in_child);
}

kvf_status_t kvfi_mpi_ready(void)
{
    int initialized = 0;
    int finalized = 0;
    if (mpi_is_a_copy) {
        return kvf_fail(KVF_ERR_FORKED,
                        "MPI was initialised by the process that forked this one (%ld): "
                        "what is here is a copy",
                        (long)getppid());
    }
    MPI_Initialized(&initialized);
    MPI_Finalized(&finalized);
    if (finalized) {
        return kvf_fail(KVF_ERR_INVALID, "MPI is finalized: close the job before MPI_Finalize()");
    }
    if (!initialized) {
        return kvf_fail(KVF_ERR_INVALID, "MPI is not initialised: call MPI_Init() first");
    }
    return KVF_OK;
}

kvf_status_t kvfi_mpi_check(const kvf_mpi_t *job)
{
    if (!job) {
        return kvf_fail(KVF_ERR_INVALID, "job is NULL");
    }
    if (job->pid != getpid()) {
        return kvf_fail(KVF_ERR_FORKED, "the job was opened by process %ld, and this is its child",
                        (long)job->pid);
    }
    kvf_status_t status = kvfi_mpi_ready();
    return status == KVF_OK ? kvfi_mpi_whole(&job->line) : status;
}

static const char *env_of_process(void *arg, const char *name)
{
    (void)arg;
    return getenv(name);
}

static kvf_status_t check_launch(void)
{
    int size = 0;
    char why[256];
    int error = MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (error != MPI_SUCCESS) {
        return kvfi_mpi_fail("MPI_Comm_size", error);
    }
    if (!kvfi_mpi_launch_whole(size, env_of_process, NULL, (long)getpid(), why, sizeof(why))) {
        return kvf_fail(KVF_ERR_INVALID, "%s", why);
    }
    return KVF_OK;
}

static kvf_status_t check_comm(MPI_Comm comm)
{
    int inter = 0;
    if (comm == MPI_COMM_NULL) {
        return kvf_fail(KVF_ERR_INVALID, "comm is MPI_COMM_NULL");
    }
    int error = MPI_Comm_test_inter(comm, &inter);
    if (error != MPI_SUCCESS) {
        return kvfi_mpi_fail("MPI_Comm_test_inter", error);
    }
    if (inter) {
        return kvf_fail(KVF_ERR_INVALID, "comm is an inter-communicator: merge it first");
    }
    return KVF_OK;
}

static kvf_status_t line_open(MPI_Comm comm, kvfi_mpi_line_t *line_p)
{
    MPI_Request request;
    *line_p = (kvfi_mpi_line_t){.comm = MPI_COMM_NULL, .timeout_ns = KVF_FOREVER};
    MPI_Comm_rank(comm, &line_p->rank);
    MPI_Comm_size(comm, &line_p->size);
    int error = MPI_Comm_idup(comm, &line_p->comm, &request);
    if (error != MPI_SUCCESS) {
        return kvfi_mpi_fail("MPI_Comm_idup", error);
    }
    kvf_status_t status = kvfi_mpi_wait(line_p, "MPI_Comm_idup", &request, KVF_FOREVER);
    if (status == KVF_OK) {
        MPI_Comm_set_errhandler(line_p->comm, MPI_ERRORS_RETURN);
    }
    return status;
}

/* The caller's options with our rank in. */
static kvf_status_t own_opts(const kvf_engine_opts_t *opts, int rank, kvf_engine_opts_t *own_p)
{
    *own_p = (kvf_engine_opts_t){.struct_size = sizeof(*own_p)};
    kvf_status_t status = opts ? kvf_struct_read("opts", opts, sizeof(*own_p), own_p) : KVF_OK;
    if (status != KVF_OK) {
        return status;
    }
    if (own_p->rank != 0 && own_p->rank != (uint64_t)rank) {
        return kvf_fail(KVF_ERR_INVALID, "opts: rank is %llu, and this is rank %d: leave it 0",
                        (unsigned long long)own_p->rank, rank);
    }
    own_p->rank = (uint64_t)rank;
    return KVF_OK;
}

/* All that this rank can do by itself; what was made is in *job_p and line->engine either way. */
static kvf_status_t open_alone(kvfi_mpi_line_t *line, const kvf_engine_opts_t *opts, const void *out,
                               kvf_mpi_t **job_p)
{
    kvf_engine_opts_t own;
    if (!out) {
        return kvf_fail(KVF_ERR_INVALID, "job_p is NULL");
    }
    kvf_status_t status = own_opts(opts, line->rank, &own);
    if (status != KVF_OK) {
        return status;
    }
    *job_p = calloc(1, sizeof(**job_p) + (size_t)line->size * sizeof((*job_p)->peers[0]));
    if (!*job_p) {
        return kvf_fail(KVF_ERR_NOMEM, "no memory for a job of %d ranks", line->size);
    }
    status = kvfi_mpi_roll_open(line);
    return status == KVF_OK ? kvf_engine_open(&own, &line->engine) : status;
}

/* Keeps the sentence of what went wrong, which all ranks agreed on. */
static void undo_line(kvfi_mpi_line_t *line)
{
    char said[1024];
    snprintf(said, sizeof(said), "%s", kvf_last_error());
    if (line->engine) {
        kvf_status_t closed = kvf_engine_close(line->engine, UNDO_NS);
        if (closed != KVF_OK) {
            kvf_fail(closed, "%s", said);
        }
    }
    kvfi_mpi_roll_close(line);
    if (line->broken == KVF_OK) {
        MPI_Comm_free(&line->comm);
    }
}

kvf_status_t kvf_mpi_open(MPI_Comm comm, const kvf_engine_opts_t *opts, kvf_mpi_t **job_p)
{
    kvfi_mpi_line_t line;
    kvf_mpi_t *job = NULL;
    kvf_status_t status = kvfi_mpi_ready();
    if (status == KVF_OK) {
        status = check_comm(comm);
    }
    if (status == KVF_OK) {
        status = check_launch();
    }
    if (status == KVF_OK) {
        status = line_open(comm, &line);
    }
    if (status != KVF_OK) {
        return status;
    }
    status = kvfi_mpi_agree(&line, open_alone(&line, opts, job_p, &job));
    if (status != KVF_OK) {
        goto undo;
    }
    kvf_oob_t oob = kvfi_mpi_oob(&line);
    status = kvfi_mpi_ended(&line, kvf_exchange_peers(line.engine, &oob, job->peers));
    if (status != KVF_OK) {
        goto undo;
    }
    job->line = line;
    job->line.peers = job->peers;
    job->pid = getpid();
    *job_p = job;
    return KVF_OK;

undo:
    undo_line(&line);
    free(job);
    return status;
}

static uint64_t left_ns(uint64_t until_ns)
{
    uint64_t now = kvfi_mpi_now_ns();
    if (until_ns == KVF_FOREVER) {
        return KVF_FOREVER;
    }
    return until_ns > now ? until_ns - now : 0;
}

/* All came; their processes are watched from here on. */
static kvf_status_t close_meet(kvfi_mpi_line_t *line)
{
    uint64_t own = kvfi_mpi_namespace();
    uint64_t *all = calloc((size_t)line->size, sizeof(*all));
    kvf_status_t status = all ? KVF_OK : kvfi_mpi_break(line, KVF_ERR_NOMEM, "no memory to close the job");
    if (status == KVF_OK) {
        kvfi_mpi_watch_open(line);
        status = kvfi_mpi_allgather(line, &own, sizeof(own), all);
    }
    if (status == KVF_OK) {
        kvfi_mpi_watch_keep(line, all);
    }
    free(all);
    return status;
}

/* Nobody leaves before all know the status. Who could not hear it gave up the agreement, and says so: then
 * all end as that one does. If this does not end well otherwise, the status is known still. */
static kvf_status_t close_part(kvfi_mpi_line_t *line, kvf_status_t agreed)
{
    MPI_Request request;
    char said[1024];
    snprintf(said, sizeof(said), "%s", kvf_last_error());
    line->parting = true;
    line->nth++;
    if (MPI_Ibarrier(line->comm, &request) != MPI_SUCCESS) {
        kvfi_mpi_break(line, KVF_ERR_SYSTEM, "MPI_Ibarrier failed");
    } else {
        kvfi_mpi_wait(line, "MPI_Ibarrier", &request, line->until_ns);
    }
    if (line->broken != KVF_OK && kvfi_mpi_roll_hear(line) != KVF_OK) {
        return kvfi_mpi_whole(line);
    }
    return agreed == KVF_OK ? KVF_OK : kvf_fail(agreed, "%s", said);
}

kvf_status_t kvf_mpi_close(kvf_mpi_t *job, uint64_t timeout_ns)
{
    if (!job) {
        return KVF_OK;
    }
    kvf_status_t status = kvfi_mpi_check(job);
    if (status == KVF_ERR_FORKED) {
        return status;
    }
    kvfi_mpi_line_t *line = &job->line;
    bool usable = status == KVF_OK || status == line->broken;
    line->closing = true;
    line->until_ns = kvfi_mpi_until(timeout_ns);
    if (status == KVF_OK) {
        status = close_meet(line);
    }
    kvf_status_t closed = kvf_engine_close(line->engine, left_ns(line->until_ns));
    line->engine = NULL;
    line->peers = NULL;
    if (status == KVF_OK) {
        status = kvfi_mpi_agree(line, closed);
        status = line->broken == KVF_OK ? close_part(line, status) : status;
    } else if (line->broken != KVF_OK) {
        status = kvfi_mpi_whole(line); /* said anew, after what closing said */
    }
    if (usable && line->broken == KVF_OK) {
        MPI_Comm_free(&line->comm);
    }
    kvfi_mpi_watch_close(line);
    kvfi_mpi_roll_close(line);
    free(job);
    return status;
}

kvf_engine_t *kvf_mpi_engine(const kvf_mpi_t *job)
{
    return job ? job->line.engine : NULL;
}

kvf_status_t kvf_mpi_set_timeout(kvf_mpi_t *job, uint64_t timeout_ns)
{
    kvf_status_t status = kvfi_mpi_check(job);
    if (status == KVF_OK) {
        job->line.timeout_ns = timeout_ns == 0 ? KVF_FOREVER : timeout_ns;
    }
    return status;
}

int kvf_mpi_rank(const kvf_mpi_t *job)
{
    return job ? job->line.rank : -1;
}

int kvf_mpi_size(const kvf_mpi_t *job)
{
    return job ? job->line.size : 0;
}

kvf_peer_t *kvf_mpi_peer(const kvf_mpi_t *job, int rank)
{
    return job && rank >= 0 && rank < job->line.size ? job->peers[rank] : NULL;
}

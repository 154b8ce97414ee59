/*
 * Meeting the other ranks: nonblocking collectives that are waited for asleep, since a rank that
 * spins in MPI takes a core from the ranks that it waits for, and a rank that only sleeps leaves
 * those alone who need its engine. Between two looks at MPI the engine is driven; as long as it
 * serves others there is no sleep.
 * The collectives of kvferry itself (who tells what to whom) are the core's; this room hands them
 * an all-gather. Everything here blocks as long as another rank does not come.
 */
#include "mpi/job.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define EAGER_LOOKS 64 /* looks without a sleep after something moved */
#define NAP_MIN_NS  20000u
#define NAP_MAX_NS  1000000u

uint64_t kvfi_mpi_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

kvf_status_t kvfi_mpi_fail(const char *call, int error)
{
    char text[MPI_MAX_ERROR_STRING];
    int len = 0;
    if (MPI_Error_string(error, text, &len) != MPI_SUCCESS || len == 0) {
        snprintf(text, sizeof(text), "error %d", error);
    }
    return kvf_fail(KVF_ERR_SYSTEM, "%s failed: %s", call, text);
}

/* What tells that the engine has work from others: it grows while we serve them. */
static uint64_t served_by(kvf_engine_t *engine)
{
    kvf_counters_t counters = {.struct_size = sizeof(counters)};
    if (kvf_engine_counters(engine, &counters) != KVF_OK) {
        return 0;
    }
    return counters.served_bytes + counters.notify_received;
}

static void nap(uint64_t len_ns)
{
    struct timespec len = {.tv_nsec = (long)len_ns};
    nanosleep(&len, NULL);
}

/* MPI_SUCCESS, or an error of MPI; *done_p 0 if time ran out */
static int wait_asleep(kvf_engine_t *engine, MPI_Request *request, uint64_t until_ns, int *done_p)
{
    uint64_t served = 0;
    uint64_t nap_ns = NAP_MIN_NS;
    int eager = EAGER_LOOKS;
    for (;;) {
        int error = MPI_Test(request, done_p, MPI_STATUS_IGNORE);
        if (error != MPI_SUCCESS || *done_p) {
            return error;
        }
        if (until_ns != KVF_FOREVER && kvfi_mpi_now_ns() >= until_ns) {
            return MPI_SUCCESS;
        }
        if (engine) {
            kvf_progress(engine);
            uint64_t now_served = served_by(engine);
            if (now_served != served) {
                served = now_served;
                eager = EAGER_LOOKS;
                nap_ns = NAP_MIN_NS;
            }
        }
        if (eager > 0) {
            eager--;
            sched_yield();
            continue;
        }
        nap(nap_ns);
        nap_ns = nap_ns * 2 < NAP_MAX_NS ? nap_ns * 2 : NAP_MAX_NS;
    }
}

kvf_status_t kvfi_mpi_wait(const kvfi_mpi_line_t *line, const char *call, MPI_Request *request,
                           uint64_t until_ns)
{
    int done = 0;
    int error = wait_asleep(line->engine, request, until_ns, &done);
    if (error != MPI_SUCCESS) {
        return kvfi_mpi_fail(call, error);
    }
    if (!done) {
        return kvf_fail(KVF_ERR_TIMEOUT, "rank %d: not all of the %d ranks came in time (%s)",
                        line->rank, line->size, call);
    }
    return KVF_OK;
}

static int allgather(kvfi_mpi_line_t *line, const void *send, void *recv, size_t len)
{
    if (len > INT_MAX) {
        return MPI_ERR_COUNT;
    }
    MPI_Request request;
    int done = 0;
    int error =
        MPI_Iallgather(send, (int)len, MPI_BYTE, recv, (int)len, MPI_BYTE, line->comm, &request);
    return error != MPI_SUCCESS ? error : wait_asleep(line->engine, &request, KVF_FOREVER, &done);
}

static int oob_allgather(void *arg, const void *send, void *recv, size_t len)
{
    kvfi_mpi_line_t *line = arg;
    line->error = allgather(line, send, recv, len);
    return line->error != MPI_SUCCESS;
}

kvf_status_t kvfi_mpi_allgather(kvfi_mpi_line_t *line, const void *send, size_t len, void *recv_p)
{
    int error = allgather(line, send, recv_p, len);
    return error == MPI_SUCCESS ? KVF_OK : kvfi_mpi_fail("MPI_Iallgather", error);
}

kvf_oob_t kvfi_mpi_oob(kvfi_mpi_line_t *line)
{
    line->error = MPI_SUCCESS;
    return (kvf_oob_t){
        .struct_size = sizeof(kvf_oob_t),
        .rank = (uint32_t)line->rank,
        .size = (uint32_t)line->size,
        .allgather = oob_allgather,
        .arg = line,
    };
}

kvf_status_t kvfi_mpi_ended(kvfi_mpi_line_t *line, kvf_status_t status)
{
    if (status < 0 && line->error != MPI_SUCCESS) {
        return kvfi_mpi_fail("MPI_Iallgather", line->error);
    }
    return status;
}

kvf_status_t kvfi_mpi_agree(kvfi_mpi_line_t *line, kvf_status_t status)
{
    kvf_oob_t oob = kvfi_mpi_oob(line);
    return kvfi_mpi_ended(line, kvf_exchange_agree(&oob, status));
}

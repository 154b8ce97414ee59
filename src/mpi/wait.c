/*
 * Meeting the other ranks: nonblocking collectives that are waited for asleep, since a rank that
 * spins in MPI takes a core from the ranks that it waits for, and a rank that only sleeps leaves
 * those alone who need its engine. Between two looks at MPI the engine is driven; as long as it
 * serves others there is no sleep.
 * The collectives of kvferry itself (who tells what to whom) are the core's; this room hands them
 * an all-gather. Everything here blocks until all ranks have come, one of them is known to be dead, or
 * the time is over. What ended early breaks the line: MPI has no way to take back a collective, so the
 * communicator is of no use any more, and every later call answers the same at once.
 */
#include "mpi/job.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EAGER_LOOKS 64 /* looks without a sleep after something moved */
#define NAP_MIN_NS  20000u
#define NAP_MAX_NS  1000000u
#define LOOK_NS     10000000u /* from one look for dead ranks to the next */
#define LOOK_RANKS  64        /* of which one looks at so many */
#define NAMED       4         /* ranks in a sentence, at most */

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

/* What ended a collective before all came ends all later ones. */
static kvf_status_t line_break(kvfi_mpi_line_t *line, kvf_status_t status, const char *why)
{
    line->broken = status;
    snprintf(line->why, sizeof(line->why), "%s", why);
    return kvf_fail(status, "%s", line->why);
}

kvf_status_t kvfi_mpi_whole(const kvfi_mpi_line_t *line)
{
    return line->broken == KVF_OK ? KVF_OK : kvf_fail(line->broken, "%s", line->why);
}

static bool is_dead(const kvfi_mpi_line_t *line, int rank, kvf_peer_attr_t *attr_p)
{
    *attr_p = (kvf_peer_attr_t){.struct_size = sizeof(*attr_p)};
    return rank != line->rank && kvf_peer_query(line->peers[rank], attr_p) == KVF_OK && !attr_p->alive;
}

/* The next few ranks, round and round: whether the engine knows one of them to be dead. */
static bool one_is_dead(kvfi_mpi_line_t *line)
{
    int count = line->engine && line->peers ? line->size : 0;
    for (int i = 0; i < count && i < LOOK_RANKS; i++) {
        kvf_peer_attr_t attr;
        if (is_dead(line, line->look, &attr)) {
            return true; /* and the next look begins with it */
        }
        line->look = (line->look + 1) % line->size;
    }
    return false;
}

/* Those that are dead, by name: which of them was the first, so that the others left, nobody knows. */
static void name_dead(const kvfi_mpi_line_t *line, const char *call, char *why, size_t len)
{
    size_t at = 0;
    int named = 0;
    for (int rank = 0; rank < line->size && named < NAMED; rank++) {
        kvf_peer_attr_t attr;
        if (is_dead(line, rank, &attr) && at < len) {
            at += (size_t)snprintf(why + at, len - at, "%srank %d (host %.64s, pid %d)",
                                   named++ > 0 ? ", " : "", rank, attr.host, (int)attr.pid);
        }
    }
    if (at < len) {
        snprintf(why + at, len - at, " died, or left the job, before all %d ranks came (%s)", line->size,
                 call);
    }
}

/* OK, or PEER: a rank is dead, and has been for as long as the line is patient. */
static kvf_status_t look_for_dead(kvfi_mpi_line_t *line, const char *call, uint64_t now)
{
    char why[sizeof(line->why)];
    if (!one_is_dead(line)) {
        return KVF_OK;
    }
    line->dead_ns = line->dead_ns != 0 ? line->dead_ns : now;
    if (now - line->dead_ns < line->patience_ns) {
        return KVF_OK;
    }
    name_dead(line, call, why, sizeof(why));
    return line_break(line, KVF_ERR_PEER, why);
}

static kvf_status_t too_late(kvfi_mpi_line_t *line, const char *call)
{
    char why[sizeof(line->why)];
    snprintf(why, sizeof(why), "rank %d: not all of the %d ranks came in time (%s)", line->rank,
             line->size, call);
    return line_break(line, KVF_ERR_TIMEOUT, why);
}

/* MPI gave up, which a death may be the reason of. */
static kvf_status_t mpi_failed(kvfi_mpi_line_t *line, const char *call, int error, uint64_t now)
{
    kvf_status_t status = look_for_dead(line, call, now);
    if (status != KVF_OK) {
        return status;
    }
    kvfi_mpi_fail(call, error);
    char why[sizeof(line->why)];
    snprintf(why, sizeof(why), "%s", kvf_last_error());
    return line_break(line, KVF_ERR_SYSTEM, why);
}

kvf_status_t kvfi_mpi_wait(kvfi_mpi_line_t *line, const char *call, MPI_Request *request,
                           uint64_t until_ns)
{
    uint64_t served = 0, look_ns = kvfi_mpi_now_ns() + LOOK_NS;
    uint64_t nap_ns = NAP_MIN_NS;
    int eager = EAGER_LOOKS;
    line->dead_ns = 0;
    for (;;) {
        int done = 0, error = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        uint64_t now = kvfi_mpi_now_ns();
        if (error != MPI_SUCCESS) {
            return mpi_failed(line, call, error, now);
        }
        if (done) {
            return KVF_OK;
        }
        if (until_ns != KVF_FOREVER && now >= until_ns) {
            return too_late(line, call);
        }
        if (now >= look_ns) {
            kvf_status_t status = look_for_dead(line, call, now);
            if (status != KVF_OK) {
                return status;
            }
            look_ns = now + LOOK_NS;
        }
        if (line->engine) {
            kvf_progress(line->engine);
            /* once it has been eager for long enough: the counters are sums over all peers */
            uint64_t now_served = eager > 0 ? served : served_by(line->engine);
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

uint64_t kvfi_mpi_until(uint64_t timeout_ns)
{
    uint64_t now = kvfi_mpi_now_ns();
    return timeout_ns < KVF_FOREVER - now ? now + timeout_ns : KVF_FOREVER;
}

/* In memory of its own: what ends before all came leaves it to MPI, which may still write there. */
kvf_status_t kvfi_mpi_allgather(kvfi_mpi_line_t *line, const void *send, size_t len, void *recv_p)
{
    kvf_status_t status = kvfi_mpi_whole(line);
    size_t all = len * (size_t)line->size;
    char *bytes = NULL;
    MPI_Request request;
    if (status != KVF_OK) {
        return status;
    }
    if (len > INT_MAX) {
        return line_break(line, KVF_ERR_SYSTEM, "more than 2 GiB of a rank in one collective");
    }
    bytes = malloc(len + all);
    if (!bytes) {
        return line_break(line, KVF_ERR_NOMEM, "no memory to hear the other ranks");
    }
    memcpy(bytes, send, len);
    int error = MPI_Iallgather(bytes, (int)len, MPI_BYTE, bytes + len, (int)len, MPI_BYTE, line->comm,
                               &request);
    if (error != MPI_SUCCESS) {
        free(bytes);
        return mpi_failed(line, "MPI_Iallgather", error, kvfi_mpi_now_ns());
    }
    status = kvfi_mpi_wait(line, "MPI_Iallgather", &request, kvfi_mpi_until(line->timeout_ns));
    if (status != KVF_OK) {
        return status;
    }
    memcpy(recv_p, bytes + len, all);
    free(bytes);
    return KVF_OK;
}

static int oob_allgather(void *arg, const void *send, void *recv, size_t len)
{
    kvfi_mpi_line_t *line = arg;
    return kvfi_mpi_allgather(line, send, len, recv) != KVF_OK;
}

kvf_oob_t kvfi_mpi_oob(kvfi_mpi_line_t *line)
{
    return (kvf_oob_t){
        .struct_size = sizeof(kvf_oob_t),
        .rank = (uint32_t)line->rank,
        .size = (uint32_t)line->size,
        .allgather = oob_allgather,
        .arg = line,
    };
}

kvf_status_t kvfi_mpi_ended(const kvfi_mpi_line_t *line, kvf_status_t status)
{
    return status < 0 && line->broken != KVF_OK ? kvfi_mpi_whole(line) : status;
}

kvf_status_t kvfi_mpi_agree(kvfi_mpi_line_t *line, kvf_status_t status)
{
    kvf_oob_t oob = kvfi_mpi_oob(line);
    return kvfi_mpi_ended(line, kvf_exchange_agree(&oob, status));
}

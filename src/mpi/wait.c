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
#define LOOK_NS     10000000u /* from one look for those that have gone to the next */

/* So long the death may be unseen that far ranks left for; so long a far rank that broke its connection while
 * all close may have met all others, and MPI may take to bring what was said before somebody left. */
#define PATIENCE_NS UINT64_C(2000000000)

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

/* What ended a collective before all came ends all later ones, and those of the others. */
kvf_status_t kvfi_mpi_break(kvfi_mpi_line_t *line, kvf_status_t status, const char *why)
{
    line->broken = status;
    snprintf(line->why, sizeof(line->why), "%s", why);
    kvfi_mpi_roll_tell(line, status, false);
    return kvf_fail(status, "%s", line->why);
}

kvf_status_t kvfi_mpi_whole(const kvfi_mpi_line_t *line)
{
    return line->broken == KVF_OK ? KVF_OK : kvf_fail(line->broken, "%s", line->why);
}

static kvf_status_t break_gone(kvfi_mpi_line_t *line, const char *call)
{
    char why[sizeof(line->why)];
    kvfi_mpi_name_gone(line, call, why, sizeof(why));
    return kvfi_mpi_break(line, KVF_ERR_PEER, why);
}

/* The others are told before the sentence is made, as those who are there answer. */
static kvf_status_t break_missing(kvfi_mpi_line_t *line, const char *call, kvf_status_t status, uint64_t from)
{
    char why[sizeof(line->why)];
    uint64_t waited_ns = kvfi_mpi_now_ns() - from;
    kvfi_mpi_roll_tell(line, status, true);
    if (status == KVF_ERR_PEER) {
        return break_gone(line, call);
    }
    kvfi_mpi_name_missing(line, call, waited_ns, why, sizeof(why));
    return kvfi_mpi_break(line, status, why);
}

/* OK, or PEER or TIMEOUT: nobody is known to be dead, and somebody has gone who has to come. A neighbour
 * whose engine closed comes no more; but while all close it may have met all others, and gone on. */
static kvf_status_t judge_left(kvfi_mpi_line_t *line, const char *call, const kvfi_mpi_gone_t *gone,
                               uint64_t now, uint64_t from)
{
    int lost = gone->of[KVFI_MPI_LOST];
    bool all_left = gone->of[KVFI_MPI_LEFT] == line->size - 1;
    if (line->closing && lost == 0 && !all_left) {
        return KVF_OK;
    }
    line->gone_ns = line->gone_ns != 0 ? line->gone_ns : now;
    if ((line->closing || (gone->far && lost == 0)) && now - line->gone_ns < PATIENCE_NS) {
        return KVF_OK;
    }
    return all_left && line->closing ? break_missing(line, call, KVF_ERR_TIMEOUT, from)
                                     : break_gone(line, call);
}

/* What became of the others, and what they say. With the engine closed a process that ends may have said
 * before that it gave up: it did not die. Where all part it may have left, or have died when others still
 * waited for it, who say so then. */
static kvf_status_t look(kvfi_mpi_line_t *line, const char *call, uint64_t now, uint64_t from)
{
    kvfi_mpi_gone_t gone = {0};
    bool one_gone = kvfi_mpi_one_gone(line);
    kvf_status_t theirs = kvfi_mpi_roll_hear(line);
    if (one_gone) {
        kvfi_mpi_count_gone(line, &gone);
    }
    if (gone.of[KVFI_MPI_DEAD] > 0 && (line->engine || theirs == KVF_OK)) {
        line->gone_ns = line->gone_ns != 0 ? line->gone_ns : now;
        return line->parting && now - line->gone_ns < PATIENCE_NS ? KVF_OK : break_gone(line, call);
    }
    if (theirs != KVF_OK) {
        return break_missing(line, call, theirs, from);
    }
    return one_gone ? judge_left(line, call, &gone, now, from) : KVF_OK;
}

/* MPI gave up, which a death may be the reason of. */
static kvf_status_t mpi_failed(kvfi_mpi_line_t *line, const char *call, int error)
{
    uint64_t now = kvfi_mpi_now_ns();
    kvf_status_t status = look(line, call, now, now);
    if (status != KVF_OK) {
        return status;
    }
    kvfi_mpi_fail(call, error);
    char why[sizeof(line->why)];
    snprintf(why, sizeof(why), "%s", kvf_last_error());
    return kvfi_mpi_break(line, KVF_ERR_SYSTEM, why);
}

kvf_status_t kvfi_mpi_wait(kvfi_mpi_line_t *line, const char *call, MPI_Request *request, uint64_t until_ns)
{
    uint64_t served = 0, from = kvfi_mpi_now_ns(), look_ns = from + LOOK_NS;
    uint64_t nap_ns = NAP_MIN_NS;
    int eager = EAGER_LOOKS;
    line->gone_ns = 0;
    for (;;) {
        int done = 0, error = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        uint64_t now = kvfi_mpi_now_ns();
        if (error != MPI_SUCCESS) {
            return mpi_failed(line, call, error);
        }
        if (done) {
            return KVF_OK;
        }
        if (until_ns != KVF_FOREVER && now >= until_ns) {
            return break_missing(line, call, KVF_ERR_TIMEOUT, from);
        }
        if (now >= look_ns) {
            kvf_status_t status = look(line, call, now, from);
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
    line->nth++;
    if (len > INT_MAX) {
        return kvfi_mpi_break(line, KVF_ERR_SYSTEM, "more than 2 GiB of a rank in one collective");
    }
    bytes = malloc(len + all);
    if (!bytes) {
        return kvfi_mpi_break(line, KVF_ERR_NOMEM, "no memory to hear the other ranks");
    }
    memcpy(bytes, send, len);
    int error =
        MPI_Iallgather(bytes, (int)len, MPI_BYTE, bytes + len, (int)len, MPI_BYTE, line->comm, &request);
    if (error != MPI_SUCCESS) {
        free(bytes);
        return mpi_failed(line, "MPI_Iallgather", error);
    }
    status = kvfi_mpi_wait(line, "MPI_Iallgather", &request,
                           line->closing ? line->until_ns : kvfi_mpi_until(line->timeout_ns));
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

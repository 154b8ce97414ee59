/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The two ranks of kvf_bench as a job: they open kvferry over MPI, meet, and tell each other what one
 * of them knows. A rank that waits for the other sleeps: on a small machine a spinning neighbour
 * falsifies every number. Meeting blocks until all ranks have come.
 */
#include "config.h"

#include "bench.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#include <kvferry/mpi.h>

#include "../cli.h"

#define NAP_NS        200000
#define CLOSE_TIMEOUT UINT64_C(20000000000)
#define SENTENCE_LEN  512

static int check_size(const struct bench_args *args, const struct bench_way *way, int size)
{
    int want = way->path == KVF_PATH_SELF ? 1 : 2;
    bool fits = way->path == KVF_PATH_NONE || size == want ||
                (way->path == KVF_PATH_SELF && args->way_count > 1); /* rank 1 looks on */

    if (size > 2 || !fits) {
        return kvfi_cli_fail("--path %s takes %s, and the job has %d: mpirun -n %d --bind-to none", way->name,
                             way->path == KVF_PATH_NONE ? "1 or 2 ranks"
                             : want == 1                ? "1 rank"
                                                        : "2 ranks",
                             size, want);
    }
    return 0;
}

int kvfi_bench_job_paths(struct bench_args *args, int size)
{
    static const struct bench_way all[] = {{"self", KVF_PATH_SELF, false},   {"shm", KVF_PATH_SHM, false},
                                           {"adopt", KVF_PATH_SHM, true},    {"cma", KVF_PATH_CMA, false},
                                           {"stage", KVF_PATH_STAGE, false}, {"am", KVF_PATH_AM, false}};

    if (args->way_count == 0 && args->sweep) {
        args->way_count = size == 1 ? 1 : sizeof(all) / sizeof(all[0]);
        memcpy(args->ways, all, args->way_count * sizeof(all[0]));
    } else if (args->way_count == 0) {
        args->ways[args->way_count++] = (struct bench_way){"auto", KVF_PATH_NONE, false};
    }
    for (size_t i = 0; i < args->way_count; i++) {
        if (check_size(args, &args->ways[i], size) != 0) {
            return -1;
        }
    }
    return 0;
}

int kvfi_bench_job_open(const struct bench_args *args, struct bench_job *job_p)
{
    struct bench_job job = {0};
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .net = args->net};
    MPI_Comm node;
    int node_size;

    MPI_Comm_rank(MPI_COMM_WORLD, &job.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &job.size);
    job.initiator = job.rank == 0;
    job.owner_rank = args->path == KVF_PATH_SELF ? 0 : job.size - 1;
    job.owner = job.rank == job.owner_rank;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &node_size);
    MPI_Comm_free(&node);
    job.one_node = node_size == job.size;
    opts.copy_threads = (uint32_t)args->copy_threads;
    if (args->path == KVF_PATH_AM) {
        opts.local = KVF_SWITCH_OFF;
    }
    kvf_status_t status = kvf_mpi_open(MPI_COMM_WORLD, &opts, &job.mpi);
    if (status != KVF_OK) {
        kvfi_bench_fail_status("opening kvferry", status);
        return KVFI_EXIT_WRONG;
    }
    job.engine = kvf_mpi_engine(job.mpi);
    *job_p = job;
    return KVFI_EXIT_OK;
}

void kvfi_bench_job_close(struct bench_job *job)
{
    kvf_mpi_close(job->mpi, CLOSE_TIMEOUT);
    job->mpi = NULL;
    job->engine = NULL;
}

static void sleep_until_done(MPI_Request *request)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};
    int done = 0;

    MPI_Test(request, &done, MPI_STATUS_IGNORE);
    while (!done) {
        nanosleep(&nap, NULL);
        MPI_Test(request, &done, MPI_STATUS_IGNORE);
    }
}

int kvfi_bench_meet(const struct bench_job *job, int rc)
{
    int mine = rc == 0 ? INT_MAX : job->rank, first = INT_MAX;
    char sentence[SENTENCE_LEN] = "";
    MPI_Request request;

    MPI_Iallreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD, &request);
    sleep_until_done(&request);
    if (first == INT_MAX) {
        return 0;
    }
    if (first == job->rank) {
        snprintf(sentence, sizeof(sentence), "%s", kvfi_cli_error());
    }
    kvfi_bench_tell(job, first, sentence, sizeof(sentence));
    if (first == job->rank || job->size == 1) {
        return -1;
    }
    return kvfi_cli_fail("rank %d: %s", first, sentence);
}

void kvfi_bench_tell(const struct bench_job *job, int from, void *data, size_t len)
{
    MPI_Request request;

    (void)job;
    MPI_Ibcast(data, (int)len, MPI_BYTE, from, MPI_COMM_WORLD, &request);
    sleep_until_done(&request);
}

void kvfi_bench_sum(const struct bench_job *job, double *value)
{
    double total;
    MPI_Request request;

    (void)job;
    MPI_Iallreduce(value, &total, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD, &request);
    sleep_until_done(&request);
    *value = total;
}

void kvfi_bench_sum_u64(const struct bench_job *job, uint64_t *values, int count)
{
    uint64_t totals[8];
    MPI_Request request;

    (void)job;
    MPI_Iallreduce(values, totals, count, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD, &request);
    sleep_until_done(&request);
    memcpy(values, totals, (size_t)count * sizeof(*values));
}

/*
 * What an open job's ranks tell each other: grants, a status, who moved what, counters.
 * Each call first brings what is wrong on this rank alone to an agreement, then exchanges.
 * All of it blocks, asleep, until every rank has come.
 */
#include "mpi/job.h"

#include <stdlib.h>
#include <string.h>

kvf_status_t kvf_mpi_exchange_grants(kvf_mpi_t *job, kvf_grant_t *grant, uint32_t max_ranges,
                                     kvf_remote_t **remotes_p, uint32_t *counts_p)
{
    kvf_status_t status = kvfi_mpi_check(job);
    if (status != KVF_OK) {
        return status;
    }
    uint32_t *counts = counts_p ? counts_p : calloc((size_t)job->line.size, sizeof(*counts));
    if (!remotes_p || max_ranges == 0) {
        status = kvf_fail(KVF_ERR_INVALID, !remotes_p ? "remotes_p is NULL" : "max_ranges is 0");
    } else if (!counts) {
        status = kvf_fail(KVF_ERR_NOMEM, "no memory for a job of %d ranks", job->line.size);
    }
    status = kvfi_mpi_agree(&job->line, status);
    if (status == KVF_OK) {
        kvf_oob_t oob = kvfi_mpi_oob(&job->line);
        status =
            kvf_exchange_grants(job->line.engine, &oob, job->peers, grant, max_ranges, remotes_p, counts);
        status = kvfi_mpi_ended(&job->line, status);
    }
    if (counts != counts_p) {
        free(counts);
    }
    return status;
}

kvf_status_t kvf_mpi_agree(kvf_mpi_t *job, kvf_status_t status)
{
    kvf_status_t ready = kvfi_mpi_check(job);
    return ready == KVF_OK ? kvfi_mpi_agree(&job->line, status) : ready;
}

/* One rank's side of the matrix: what it moved from, and to, each other. */
static kvf_status_t moved(const kvf_mpi_t *job, uint64_t *from_p, uint64_t *to_p)
{
    for (int i = 0; i < job->line.size; i++) {
        kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
        kvf_status_t status = kvf_peer_query(job->peers[i], &attr);
        if (status != KVF_OK) {
            return status;
        }
        from_p[i] = attr.bytes_read;
        to_p[i] = attr.bytes_written;
    }
    return KVF_OK;
}

kvf_status_t kvf_mpi_matrix(kvf_mpi_t *job, uint64_t *matrix_p)
{
    kvf_status_t status = kvfi_mpi_check(job);
    if (status != KVF_OK) {
        return status;
    }
    /* ours, then everybody's: a row is size numbers of bytes read, size of bytes written */
    size_t size = (size_t)job->line.size;
    size_t row = 2 * size;
    uint64_t *rows = calloc((size + 1) * row, sizeof(*rows));
    uint64_t *all = rows ? rows + row : NULL;
    if (!matrix_p) {
        status = kvf_fail(KVF_ERR_INVALID, "matrix_p is NULL");
    } else if (!rows) {
        status = kvf_fail(KVF_ERR_NOMEM, "no memory for a matrix of %zu ranks", size);
    } else {
        status = moved(job, rows, rows + size);
    }
    status = kvfi_mpi_agree(&job->line, status);
    if (status == KVF_OK) {
        status = kvfi_mpi_allgather(&job->line, rows, row * sizeof(*rows), all);
    }
    if (status == KVF_OK) {
        memset(matrix_p, 0, size * size * sizeof(*matrix_p));
    }
    for (size_t me = 0; status == KVF_OK && me < size; me++) {
        for (size_t other = 0; other < size; other++) {
            matrix_p[other * size + me] += all[me * row + other];
            matrix_p[me * size + other] += all[me * row + size + other];
        }
    }
    free(rows);
    return status;
}

/* All of kvf_counters_t behind its head is numbers to be added. */
#define COUNTER_HEAD  (2 * sizeof(uint32_t))
#define COUNTER_COUNT ((sizeof(kvf_counters_t) - COUNTER_HEAD) / sizeof(uint64_t))

kvf_status_t kvf_mpi_totals(kvf_mpi_t *job, kvf_counters_t *totals_p)
{
    kvf_status_t status = kvfi_mpi_check(job);
    if (status != KVF_OK) {
        return status;
    }
    size_t size = (size_t)job->line.size;
    kvf_counters_t mine = {.struct_size = sizeof(mine)};
    kvf_counters_t sum = {0};
    uint64_t *all = calloc(size * COUNTER_COUNT, sizeof(*all));
    status = kvf_struct_write("totals_p", NULL, sizeof(sum), totals_p);
    if (status == KVF_OK && !all) {
        status = kvf_fail(KVF_ERR_NOMEM, "no memory for the counters of %zu ranks", size);
    }
    if (status == KVF_OK) {
        status = kvf_engine_counters(job->line.engine, &mine);
    }
    status = kvfi_mpi_agree(&job->line, status);
    if (status == KVF_OK) {
        status =
            kvfi_mpi_allgather(&job->line, (char *)&mine + COUNTER_HEAD, COUNTER_COUNT * sizeof(*all), all);
    }
    if (status == KVF_OK) {
        uint64_t *words = (uint64_t *)(void *)((char *)&sum + COUNTER_HEAD);
        for (size_t i = 0; i < size * COUNTER_COUNT; i++) {
            words[i % COUNTER_COUNT] += all[i];
        }
        status = kvf_struct_write("totals_p", &sum, sizeof(sum), totals_p);
    }
    free(all);
    return status;
}

static void add_flow(const kvf_flow_t *flow, kvf_flow_t *sum_p)
{
    sum_p->bytes += flow->bytes;
    sum_p->ops += flow->ops;
    sum_p->pieces += flow->pieces;
    sum_p->calls += flow->calls;
}

/* What this rank's engine moved over a path, with all its peers. */
static kvf_status_t moved_over(const kvf_mpi_t *job, kvf_path_t path, kvf_flow_t *sum_p)
{
    kvf_flow_t flow = {.struct_size = sizeof(flow)};
    uint64_t cursor = 0;
    kvf_status_t status;
    while ((status = kvf_engine_flow(job->line.engine, &cursor, &flow)) == KVF_OK) {
        if (flow.path == (uint32_t)path) {
            add_flow(&flow, sum_p);
        }
    }
    return status == KVF_INPROGRESS ? KVF_OK : status;
}

kvf_status_t kvf_mpi_flow(kvf_mpi_t *job, kvf_path_t path, kvf_flow_t *flow_p)
{
    kvf_status_t status = kvfi_mpi_check(job);
    if (status != KVF_OK) {
        return status;
    }
    size_t size = (size_t)job->line.size;
    kvf_flow_t mine = {0}, sum = {.path = path};
    kvf_flow_t *all = calloc(size, sizeof(*all));
    status = kvf_struct_write("flow_p", NULL, sizeof(sum), flow_p);
    if (status == KVF_OK && (path <= KVF_PATH_NONE || path >= KVF_PATH_COUNT)) {
        status = kvf_fail(KVF_ERR_INVALID, "path is %d: there is no such path", (int)path);
    }
    if (status == KVF_OK && !all) {
        status = kvf_fail(KVF_ERR_NOMEM, "no memory for the counters of %zu ranks", size);
    }
    if (status == KVF_OK) {
        status = moved_over(job, path, &mine);
    }
    status = kvfi_mpi_agree(&job->line, status);
    if (status == KVF_OK) {
        status = kvfi_mpi_allgather(&job->line, &mine, sizeof(mine), all);
    }
    for (size_t i = 0; status == KVF_OK && i < size; i++) {
        add_flow(&all[i], &sum);
    }
    if (status == KVF_OK) {
        status = kvf_struct_write("flow_p", &sum, sizeof(sum), flow_p);
    }
    free(all);
    return status;
}

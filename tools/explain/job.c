/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_explain as an MPI job: MPI and an engine are opened together and closed together. All
 * processes must have been given the same command line, or each would explain something else.
 * Opening and closing wait for all.
 */
#include "config.h"

#include "explain.h"

#include <kvferry/mpi.h>

#include "../cli.h"
#include "../same_line.h"

#define CLOSE_NS UINT64_C(30000000000)

int kvfi_explain_job_open(const struct explain_opts *opts, int *argc, char ***argv, struct explain_job *job_p)
{
    kvf_engine_opts_t engine = {.struct_size = sizeof(engine), .net = opts->net};
    struct explain_job job = {.mpi = NULL};

    *job_p = job;
    if (MPI_Init(argc, argv) != MPI_SUCCESS) {
        kvfi_cli_fail("MPI does not start");
        return KVFI_EXIT_WRONG;
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &job.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &job.size);
    *job_p = job;
    if (kvfi_same_line(*argc, *argv) != 0) {
        return KVFI_EXIT_USAGE;
    }
    if (!opts->analyze) {
        return KVFI_EXIT_OK;
    }
    if (opts->path == KVF_PATH_BIT(KVF_PATH_AM)) {
        engine.local = KVF_SWITCH_OFF;
    }
    if (kvf_mpi_open(MPI_COMM_WORLD, &engine, &job.mpi) != KVF_OK) {
        kvfi_cli_fail("%s", kvf_last_error());
        return KVFI_EXIT_WRONG;
    }
    job.engine = kvf_mpi_engine(job.mpi);
    *job_p = job;
    return KVFI_EXIT_OK;
}

int kvfi_explain_job_agree(const struct explain_job *job, int rc)
{
    kvf_status_t mine = rc == 0 ? KVF_OK : kvf_fail(KVF_ERR_INVALID, "%s", kvfi_cli_error());

    if (job->mpi == NULL) {
        return rc;
    }
    if (kvf_mpi_agree(job->mpi, mine) != KVF_OK) {
        return kvfi_cli_fail("%s", kvf_last_error());
    }
    return 0;
}

void kvfi_explain_job_close(struct explain_job *job)
{
    kvf_mpi_close(job->mpi, CLOSE_NS);
    MPI_Finalize();
    *job = (struct explain_job){.mpi = NULL};
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * In place of job.c and run.c where there is no MPI: a transfer is explained all the same, and
 * --analyze is refused. Nothing here blocks, and nothing is opened, so that nothing has to be
 * closed or agreed on.
 */
#include "config.h"

#include "explain.h"

#include "../cli.h"

int kvfi_explain_job_open(const struct explain_opts *opts, int *argc, char ***argv, struct explain_job *job_p)
{
    (void)argc;
    (void)argv;
    *job_p = (struct explain_job){.mpi = NULL, .rank = kvfi_cli_speaks() ? 0 : 1};
    if (!opts->analyze) {
        return KVFI_EXIT_OK;
    }
    kvfi_cli_fail("--analyze: kvferry was built without MPI");
    return KVFI_EXIT_USAGE;
}

int kvfi_explain_job_agree(const struct explain_job *job, int rc)
{
    (void)job;
    return rc;
}

void kvfi_explain_job_close(struct explain_job *job)
{
    (void)job;
}

int kvfi_explain_run(const struct explain_job *job, const struct explain_world *world,
                     struct explain_pairs *pairs)
{
    (void)job;
    (void)world;
    (void)pairs;
    kvfi_cli_fail("--analyze: kvferry was built without MPI");
    return KVFI_EXIT_USAGE;
}

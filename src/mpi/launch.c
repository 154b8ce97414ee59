/*
 * A launcher that starts N processes without telling MPI so (srun --mpi=none, or the mpirun of
 * another MPI) makes N jobs of one rank: each runs alone, is right, and moves nothing between
 * ranks. This room compares what MPI sees with what the launcher left in the environment.
 *
 * Launchers nest: mpirun starts its daemons by srun, so that ranks of an mpirun inherit the
 * variables of a Slurm step that has one task a node. The order of the table is from the inside
 * out: the first variable that is set is the launcher of this very process. SLURM_NTASKS is not in
 * it, as a batch script hands the allocation's own down to everything it starts.
 * A pure function of the environment; nothing blocks, and nothing here includes mpi.h.
 */
#include "mpi/launch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static const struct launcher {
    const char *variable; /* holds the number of processes that it started */
    const char *name;
    const char *advice;
} launchers[] = {
    {"OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun",
     "the program is linked with another MPI: start it by the mpirun of that one"},
    {"MV2_COMM_WORLD_SIZE", "MVAPICH's mpirun",
     "the program is linked with another MPI: start it by the mpirun of that one"},
    {"PMI_SIZE", "a launcher that speaks PMI",
     "this MPI does not speak it: use the mpirun of this MPI, or srun --mpi=pmix"},
    {"SLURM_STEP_NUM_TASKS", "srun",
     "say srun --mpi=pmix, or the one of srun --mpi=list that this MPI was built for"},
};

/* 0: not set, or not a number */
static int number_of(kvfi_mpi_env_t env, void *arg, const char *variable)
{
    const char *text = env(arg, variable);
    if (!text || *text < '0' || *text > '9') {
        return 0;
    }
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && number <= INT_MAX ? (int)number : 0;
}

/* Under srun --pty a person's shell is task 0, and what the person types there srun did not start */
static bool typed_in_a_step(kvfi_mpi_env_t env, void *arg, long pid)
{
    return env(arg, "SLURM_PTY_PORT") && number_of(env, arg, "SLURM_TASK_PID") != pid;
}

bool kvfi_mpi_launch_whole(int world_size, kvfi_mpi_env_t env, void *arg, long pid, char *why_p,
                           size_t why_len)
{
    if (world_size != 1) {
        return true;
    }
    for (size_t i = 0; i < sizeof(launchers) / sizeof(launchers[0]); i++) {
        const struct launcher *l = &launchers[i];
        int started = number_of(env, arg, l->variable);
        if (started == 0) {
            continue;
        }
        bool by_srun = i + 1 == sizeof(launchers) / sizeof(launchers[0]);
        if (started == 1 || (by_srun && typed_in_a_step(env, arg, pid))) {
            return true;
        }
        snprintf(why_p, why_len, "%s started %d ranks (%s) and MPI sees 1: %s", l->name, started, l->variable,
                 l->advice);
        return false;
    }
    return true;
}

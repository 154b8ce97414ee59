/* Tells a job of one rank from a job whose ranks do not see each other. Nothing blocks. */
#ifndef KVFI_MPI_LAUNCH_H
#define KVFI_MPI_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>

/* A variable of some environment, or NULL. */
typedef const char *(*kvfi_mpi_env_t)(void *arg, const char *name);

/* Whether a process for which MPI sees world_size ranks was started as MPI sees it. If not, why_p
 * (why_len bytes) gets the sentence. pid is the process's own. */
bool kvfi_mpi_launch_whole(int world_size, kvfi_mpi_env_t env, void *arg, long pid, char *why_p,
                           size_t why_len);

#endif

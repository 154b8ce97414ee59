/*
 * What the programs of several ranks share. libcheck knows one process; here a rank that finds a
 * fault says so and ends the whole job, and a case is one run of the program:
 *
 *     mpirun -n N mpi_NAME CASE [near|far|caller]
 *
 * far makes all ranks far from each other over TCP, caller does so with progress by the caller.
 */
#ifndef TESTS_MPI_RANKS_H
#define TESTS_MPI_RANKS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kvferry/mpi.h>

#define SECOND UINT64_C(1000000000)

struct rank_case {
    const char *name;
    void (*run)(void);
};

#define REQUIRE(condition) require((condition) ? 1 : 0, #condition, __FILE__, __LINE__)
#define MUST(call)         must((call), #call, __FILE__, __LINE__)

static inline int world_rank(void)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

static inline int world_size(void)
{
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
}

static inline void give_up(void)
{
    int initialized;
    int finalized;
    MPI_Initialized(&initialized);
    MPI_Finalized(&finalized);
    fflush(NULL);
    if (initialized && !finalized) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    exit(1);
}

static inline void require(int holds, const char *what, const char *file, int line)
{
    if (!holds) {
        fprintf(stderr, "%s:%d: not so: %s; last error: %s\n", file, line, what, kvf_last_error());
        give_up();
    }
}

static inline void must(kvf_status_t status, const char *what, const char *file, int line)
{
    if (status != KVF_OK) {
        fprintf(stderr, "%s:%d: %s: %s: %s\n", file, line, what, kvf_status_name(status), kvf_last_error());
        give_up();
    }
}

/* The last error has part in it. */
static inline void require_said(const char *part, const char *file, int line)
{
    if (!strstr(kvf_last_error(), part)) {
        fprintf(stderr, "%s:%d: \"%s\" is not in: %s\n", file, line, part, kvf_last_error());
        give_up();
    }
}
#define REQUIRE_SAID(part) require_said((part), __FILE__, __LINE__)

/* All ranks of the world have the same status, the one expected; and all name rank. */
static inline void require_all(kvf_status_t status, kvf_status_t expected, int rank, const char *file,
                               int line)
{
    char named[32];
    int low = (int)status;
    int high = (int)status;
    MPI_Allreduce(MPI_IN_PLACE, &low, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, &high, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    if (low != (int)expected || high != (int)expected) {
        fprintf(stderr, "%s:%d: from %s to %s over the ranks, not %s: %s\n", file, line,
                kvf_status_name((kvf_status_t)low), kvf_status_name((kvf_status_t)high),
                kvf_status_name(expected), kvf_last_error());
        give_up();
    }
    snprintf(named, sizeof(named), "rank %d", rank);
    if (expected < 0) {
        require_said(named, file, line);
    }
}
#define REQUIRE_ALL(status, expected, rank) require_all((status), (expected), (rank), __FILE__, __LINE__)

static inline void sleep_ns(uint64_t len_ns)
{
    struct timespec len = {(time_t)(len_ns / SECOND), (long)(len_ns % SECOND)};
    nanosleep(&len, NULL);
}

/* How engines are to be opened, from the command line; NULL: all defaults. */
static const kvf_engine_opts_t *rank_opts;

static inline int rank_main(int argc, char **argv, const struct rank_case *cases, size_t count)
{
    static kvf_engine_opts_t far_opts = {
        .struct_size = sizeof(far_opts),
        .net = "tcp",
        .local = KVF_SWITCH_OFF,
    };
    if (argc > 2 && strcmp(argv[2], "near") != 0) {
        rank_opts = &far_opts;
        if (strcmp(argv[2], "caller") == 0) {
            far_opts.progress = KVF_PROGRESS_CALLER;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (argc > 1 && strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            return 0;
        }
    }
    fprintf(stderr, "usage: %s CASE [near|far|caller]\n", argv[0]);
    return 2;
}

#endif

/*
 * A rank that dies, or does not come, while others wait for it in a collective: each of them gets a
 * status in time, with the rank in its sentence, and no later collective waits. Started by
 * test_mpi_death.sh, one case a run; each rank that got through leaves a file, ok.RANK, in a folder.
 * The survivors leave without MPI_Finalize(), which waits for the dead.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <kvferry/mpi.h>

#define VICTIM 1
#define SOON   5.0 /* seconds */

static const char *dir;
static int rank, victim_pid;

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void fail(int line, const char *what)
{
    fprintf(stderr, "rank %d, line %d: %s: %s\n", rank, line, what, kvf_last_error());
    _exit(1);
}

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond))                                                                               \
            fail(__LINE__, #cond);                                                                 \
    } while (0)

/* The call ended in time, with the sentence about the victim. */
static void named(int line, kvf_status_t status, double from)
{
    char who[64];
    snprintf(who, sizeof(who), "pid %d)", victim_pid);
    if (status != KVF_ERR_PEER || now() - from > SOON || !strstr(kvf_last_error(), "rank 1 (host ") ||
        !strstr(kvf_last_error(), who))
        fail(line, "no PEER in time that names rank 1");
}

/* Every collective, after the one that broke the job: none of them waits. */
static void all_refuse(kvf_mpi_t *job, kvf_status_t want)
{
    uint64_t matrix[64];
    kvf_counters_t totals = {.struct_size = sizeof(totals)};
    kvf_flow_t flow = {.struct_size = sizeof(flow)};
    kvf_remote_t *remotes[8];
    kvf_layout_t *layouts[8];
    double from = now();
    REQUIRE(kvf_mpi_agree(job, KVF_ERR_BUSY) == want);
    REQUIRE(kvf_mpi_matrix(job, matrix) == want);
    REQUIRE(kvf_mpi_totals(job, &totals) == want);
    REQUIRE(kvf_mpi_flow(job, KVF_PATH_AM, &flow) == want);
    REQUIRE(kvf_mpi_exchange_grants(job, NULL, 1, remotes, NULL) == want);
    REQUIRE(kvf_mpi_exchange_layouts(job, NULL, layouts) == want);
    REQUIRE(kvf_mpi_set_timeout(job, 1) == want);
    REQUIRE(now() - from < 0.1);
}

static kvf_status_t collective(kvf_mpi_t *job, const char *name)
{
    uint64_t matrix[64];
    kvf_counters_t totals = {.struct_size = sizeof(totals)};
    kvf_remote_t *remotes[8];
    kvf_layout_t *layouts[8];
    if (strcmp(name, "matrix") == 0)
        return kvf_mpi_matrix(job, matrix);
    if (strcmp(name, "totals") == 0)
        return kvf_mpi_totals(job, &totals);
    if (strcmp(name, "grants") == 0)
        return kvf_mpi_exchange_grants(job, NULL, 1, remotes, NULL);
    if (strcmp(name, "layouts") == 0)
        return kvf_mpi_exchange_layouts(job, NULL, layouts);
    return kvf_mpi_agree(job, KVF_OK);
}

int main(int argc, char **argv)
{
    kvf_mpi_t *job;
    char path[256];
    const char *name = argc == 3 ? argv[1] : "";
    dir = argc == 3 ? argv[2] : "";
    alarm(30);
    MPI_Init(&argc, &argv);
    REQUIRE(kvf_mpi_open(MPI_COMM_WORLD, NULL, &job) == KVF_OK);
    rank = kvf_mpi_rank(job);
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    REQUIRE(kvf_peer_query(kvf_mpi_peer(job, VICTIM), &attr) == KVF_OK);
    victim_pid = attr.pid;
    REQUIRE(kvf_mpi_agree(job, KVF_OK) == KVF_OK);
    if (rank == VICTIM && strcmp(name, "late") != 0) {
        usleep(100000); /* the others wait already */
        raise(SIGKILL);
    }
    double from = now();
    if (strcmp(name, "late") == 0) {
        REQUIRE(kvf_mpi_set_timeout(job, 0) == KVF_OK);
        if (rank != VICTIM) {
            REQUIRE(kvf_mpi_set_timeout(job, 200000000) == KVF_OK);
            REQUIRE(kvf_mpi_agree(job, KVF_OK) == KVF_ERR_TIMEOUT);
            REQUIRE(strstr(kvf_last_error(), "not all of the 3 ranks came in time (MPI_Iallgather)"));
            REQUIRE(now() - from >= 0.2 && now() - from < SOON);
            all_refuse(job, KVF_ERR_TIMEOUT);
            REQUIRE(kvf_mpi_close(job, KVF_FOREVER) == KVF_ERR_TIMEOUT);
        } else {
            usleep(600000); /* and then finds that the others have gone */
            from = now();
            kvf_mpi_agree(job, KVF_OK); /* what they said before they went is there */
            REQUIRE(kvf_mpi_agree(job, KVF_OK) == KVF_ERR_PEER);
            REQUIRE(now() - from < SOON);
        }
    } else if (strcmp(name, "close") == 0) {
        named(__LINE__, kvf_mpi_close(job, KVF_FOREVER), from);
    } else {
        named(__LINE__, collective(job, name), from);
        all_refuse(job, KVF_ERR_PEER);
        named(__LINE__, kvf_mpi_agree(job, KVF_OK), from);
        from = now();
        named(__LINE__, kvf_mpi_close(job, KVF_FOREVER), from);
    }
    snprintf(path, sizeof(path), "%s/ok.%d", dir, rank);
    REQUIRE(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0);
    /* mpirun ends all ranks with the first that leaves without MPI_Finalize(). */
    snprintf(path, sizeof(path), "%s/ok.%d", dir, VICTIM);
    while (strcmp(name, "late") == 0 && access(path, F_OK) != 0)
        usleep(10000);
    _exit(0);
}

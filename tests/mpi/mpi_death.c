/*
 * A rank that dies, or does not come, while others wait for it in a collective: each of them gets a
 * status in time, with the rank in its sentence, and no later collective waits; who lives or has left is
 * not said to be dead. Started by
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

/* What a rank does at a call of MPI's while it closes: the victim is held up before it looks at the first
 * round, or dies before or after it said its part in the second; or another comes late to that one. */
static int tests_until_held, rounds_until_death, rounds_until_death_after, rounds_until_late;

int MPI_Test(MPI_Request *request, int *done_p, MPI_Status *status_p)
{
    if (tests_until_held > 0 && --tests_until_held == 0)
        usleep(2300000);
    return PMPI_Test(request, done_p, status_p);
}

int MPI_Iallgather(const void *send, int send_count, MPI_Datatype send_type, void *recv, int recv_count,
                   MPI_Datatype recv_type, MPI_Comm comm, MPI_Request *request_p)
{
    if (rounds_until_death > 0 && --rounds_until_death == 0)
        raise(SIGKILL);
    if (rounds_until_late > 0 && --rounds_until_late == 0)
        usleep(600000);
    int error = PMPI_Iallgather(send, send_count, send_type, recv, recv_count, recv_type, comm, request_p);
    if (rounds_until_death_after > 0 && --rounds_until_death_after == 0)
        raise(SIGKILL);
    return error;
}

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

#define REQUIRE(cond)                                                                                        \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            fail(__LINE__, #cond);                                                                           \
    } while (0)

/* The call ended in time, with the sentence about the victim, and nobody else died. */
static void named(int line, kvf_status_t status, double from)
{
    char who[64];
    snprintf(who, sizeof(who), "pid %d) died before all 3 ranks came", victim_pid);
    if (status != KVF_ERR_PEER || now() - from > SOON ||
        strncmp(kvf_last_error(), "rank 1 (host ", 13) != 0 || !strstr(kvf_last_error(), who))
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

static int closed_of(kvf_mpi_t *job, int of)
{
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    REQUIRE(kvf_peer_query(kvf_mpi_peer(job, of), &attr) == KVF_OK);
    return attr.alive ? -1 : attr.closed;
}

/* The victim comes when the others have given up; it does not wait for them. */
static void come_late(kvf_mpi_t *job, double from)
{
    REQUIRE(kvf_mpi_set_timeout(job, 0) == KVF_OK);
    if (rank != VICTIM) {
        REQUIRE(kvf_mpi_set_timeout(job, 200000000) == KVF_OK);
        REQUIRE(kvf_mpi_agree(job, KVF_OK) == KVF_ERR_TIMEOUT);
        REQUIRE(strstr(kvf_last_error(), "not all of the 3 ranks came in time (MPI_Iallgather) while rank "));
        REQUIRE(strstr(kvf_last_error(), "waited for 0.") && strstr(kvf_last_error(), ": rank 1 (host "));
        REQUIRE(strstr(kvf_last_error(), "gave no sign"));
        REQUIRE(now() - from >= 0.2 && now() - from < SOON);
        all_refuse(job, KVF_ERR_TIMEOUT);
        REQUIRE(kvf_mpi_close(job, KVF_FOREVER) == KVF_ERR_TIMEOUT);
        return;
    }
    usleep(600000);
    from = now();
    kvf_mpi_agree(job, KVF_OK); /* what they said before they went is there */
    REQUIRE(kvf_mpi_agree(job, KVF_OK) == KVF_ERR_TIMEOUT);
    REQUIRE(strstr(kvf_last_error(), "rank 0 (host ") && strstr(kvf_last_error(), "gave up"));
    REQUIRE(!strstr(kvf_last_error(), "died") && now() - from < 1.5);
    REQUIRE(closed_of(job, 0) == 1 && closed_of(job, 2) == 1);
}

static void close_late(kvf_mpi_t *job, double from)
{
    if (rank == VICTIM)
        usleep(600000);
    double came = now();
    REQUIRE(kvf_mpi_close(job, rank == VICTIM ? KVF_FOREVER : 200000000) == KVF_ERR_TIMEOUT);
    REQUIRE(now() - came < 1.5 && now() - from < SOON && !strstr(kvf_last_error(), "died"));
    REQUIRE(strstr(kvf_last_error(), rank == VICTIM ? "rank 0 (host " : ": rank 1 (host "));
    REQUIRE(strstr(kvf_last_error(), rank == VICTIM ? "gave up" : "gave no sign"));
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
    const char *name = argc > 2 ? argv[1] : "";
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts),
                              .local = argc > 3 ? KVF_SWITCH_OFF : KVF_SWITCH_DEFAULT};
    dir = argc > 2 ? argv[2] : "";
    alarm(30);
    MPI_Init(&argc, &argv);
    REQUIRE(kvf_mpi_open(MPI_COMM_WORLD, &opts, &job) == KVF_OK);
    rank = kvf_mpi_rank(job);
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    REQUIRE(kvf_peer_query(kvf_mpi_peer(job, VICTIM), &attr) == KVF_OK);
    victim_pid = attr.pid;
    REQUIRE(kvf_mpi_agree(job, KVF_OK) == KVF_OK);
    int lives = strcmp(name, "late") == 0 || strcmp(name, "close_late") == 0 || strcmp(name, "held") == 0;
    if (rank == VICTIM && !lives && strcmp(name, "closing") != 0 && strcmp(name, "agreeing") != 0) {
        usleep(100000); /* the others wait already */
        raise(SIGKILL);
    }
    double from = now();
    if (strcmp(name, "late") == 0) {
        come_late(job, from);
    } else if (strcmp(name, "close_late") == 0) {
        close_late(job, from);
    } else if (strcmp(name, "held") == 0) {
        tests_until_held = rank == VICTIM;
        REQUIRE(kvf_mpi_close(job, 10000000000u) == KVF_OK);
    } else if (strcmp(name, "closing") == 0) {
        rounds_until_death = rank == VICTIM ? 2 : 0;
        named(__LINE__, kvf_mpi_close(job, KVF_FOREVER), from);
    } else if (strcmp(name, "agreeing") == 0) {
        rounds_until_death_after = rank == VICTIM ? 2 : 0;
        rounds_until_late = rank == 0 ? 2 : 0; /* then rank 2 has seen the death, and this one need not */
        named(__LINE__, kvf_mpi_close(job, KVF_FOREVER), from);
    } else if (strcmp(name, "close") == 0) {
        named(__LINE__, kvf_mpi_close(job, KVF_FOREVER), from);
    } else {
        if (rank == 0)
            usleep(500000); /* rank 2 has left by then */
        named(__LINE__, collective(job, name), from);
        REQUIRE(rank != 0 || strstr(kvf_last_error(), "; rank 2 (host "));
        REQUIRE(closed_of(job, VICTIM) == 0 && (rank != 0 || closed_of(job, 2) == 1));
        all_refuse(job, KVF_ERR_PEER);
        named(__LINE__, kvf_mpi_agree(job, KVF_OK), from);
        from = now();
        named(__LINE__, kvf_mpi_close(job, KVF_FOREVER), from);
    }
    snprintf(path, sizeof(path), "%s/ok.%d", dir, rank);
    REQUIRE(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0);
    /* mpirun ends all ranks with the first that leaves without MPI_Finalize(). */
    for (int of = 0; of < 3; of++) {
        snprintf(path, sizeof(path), "%s/ok.%d", dir, of);
        while ((of != VICTIM || lives) && access(path, F_OK) != 0)
            usleep(10000);
    }
    _exit(0);
}

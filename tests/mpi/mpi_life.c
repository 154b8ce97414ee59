/*
 * Open and close over several ranks: who is who, what goes wrong on one rank only, communicators
 * other than the world, several jobs in one process, and the close that nobody runs away from.
 * Started by test_mpi_life.sh, one case a run.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "ranks.h"

static void start(void)
{
    int provided;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_SINGLE, &provided);
}

static void look_at_peers(kvf_mpi_t *job)
{
    int size = kvf_mpi_size(job);
    REQUIRE(kvf_mpi_engine(job) != NULL);
    REQUIRE(kvf_mpi_peer(job, -1) == NULL);
    REQUIRE(kvf_mpi_peer(job, size) == NULL);
    for (int i = 0; i < size; i++) {
        kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
        REQUIRE(kvf_mpi_peer(job, i) != NULL);
        MUST(kvf_peer_query(kvf_mpi_peer(job, i), &attr));
        REQUIRE(attr.rank == (uint64_t)i);
        REQUIRE(attr.alive == 1);
        kvf_locality_t others = rank_opts ? KVF_LOCALITY_CROSS : KVF_LOCALITY_NODE;
        REQUIRE(attr.locality == (i == kvf_mpi_rank(job) ? KVF_LOCALITY_SELF : others));
    }
}

/* MPI_THREAD_SINGLE is enough, and each rank knows all others by their rank. */
static void every_rank_knows_all(void)
{
    kvf_mpi_t *job = NULL;
    start();
    MUST(kvf_mpi_open(MPI_COMM_WORLD, rank_opts, &job));
    REQUIRE(kvf_mpi_rank(job) == world_rank());
    REQUIRE(kvf_mpi_size(job) == world_size());
    look_at_peers(job);
    MUST(kvf_mpi_close(job, KVF_FOREVER));
    MPI_Finalize();
}

/* An option that one rank has wrong: all say the same, nobody hangs, and the next open works. */
static void one_rank_has_a_wrong_option(void)
{
    kvf_mpi_t *job = NULL;
    kvf_engine_opts_t wrong = {.struct_size = sizeof(wrong), .net = "pigeon"};
    start();
    int last = world_size() - 1;
    const kvf_engine_opts_t *opts = world_rank() == last ? &wrong : NULL;
    REQUIRE_ALL(kvf_mpi_open(MPI_COMM_WORLD, opts, &job), KVF_ERR_INVALID, last);
    REQUIRE(job == NULL);
    if (world_rank() == last) {
        REQUIRE_SAID("pigeon");
    }
    MUST(kvf_mpi_open(MPI_COMM_WORLD, rank_opts, &job));
    MUST(kvf_mpi_close(job, KVF_FOREVER));
    MPI_Finalize();
}

/* Several ranks are wrong in their own ways: the first one is named. */
static void first_wrong_rank_is_named(void)
{
    kvf_mpi_t *job = NULL;
    kvf_engine_opts_t wrong_rank = {.struct_size = sizeof(wrong_rank), .rank = 1000};
    kvf_engine_opts_t wrong_flags = {.struct_size = sizeof(wrong_flags), .flags = 1u << 31};
    start();
    int rank = world_rank();
    int first = world_size() > 1 ? 1 : 0;
    const kvf_engine_opts_t *opts = rank < first ? NULL : rank == first ? &wrong_rank : &wrong_flags;
    REQUIRE_ALL(kvf_mpi_open(MPI_COMM_WORLD, opts, &job), KVF_ERR_INVALID, first);
    REQUIRE_ALL(kvf_mpi_open(MPI_COMM_WORLD, NULL, rank == 0 ? NULL : &job), KVF_ERR_INVALID, 0);
    REQUIRE(job == NULL);
    MPI_Finalize();
}

static void no_communicator_to_agree_on(void)
{
    kvf_mpi_t *job = NULL;
    REQUIRE(kvf_mpi_open(MPI_COMM_WORLD, NULL, &job) == KVF_ERR_INVALID);
    REQUIRE_SAID("MPI is not initialised");
    start();
    REQUIRE(kvf_mpi_open(MPI_COMM_NULL, NULL, &job) == KVF_ERR_INVALID);
    REQUIRE_SAID("MPI_COMM_NULL");
    if (world_size() > 1) {
        MPI_Comm half;
        MPI_Comm inter;
        int side = world_rank() % 2;
        MPI_Comm_split(MPI_COMM_WORLD, side, 0, &half);
        MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, 1 - side, 7, &inter);
        REQUIRE(kvf_mpi_open(inter, NULL, &job) == KVF_ERR_INVALID);
        REQUIRE_SAID("inter-communicator");
        MPI_Comm_free(&inter);
        MPI_Comm_free(&half);
    }
    MPI_Finalize();
    REQUIRE(kvf_mpi_open(MPI_COMM_WORLD, NULL, &job) == KVF_ERR_INVALID);
    REQUIRE_SAID("MPI is finalized");
    REQUIRE(job == NULL);
}

/* Options of a caller who was built with a longer struct: fine as long as nothing is set there. */
static void options_of_a_newer_header(void)
{
    struct {
        kvf_engine_opts_t known;
        uint64_t newer;
    } opts = {.known.struct_size = sizeof(opts)};
    kvf_mpi_t *job = NULL;
    start();
    MUST(kvf_mpi_open(MPI_COMM_WORLD, &opts.known, &job));
    MUST(kvf_mpi_close(job, KVF_FOREVER));
    job = NULL;
    opts.newer = world_rank() == 0;
    REQUIRE_ALL(kvf_mpi_open(MPI_COMM_WORLD, &opts.known, &job), KVF_ERR_UNSUPPORTED, 0);
    opts.newer = 0;
    opts.known.struct_size = world_rank() == 0 ? 3 : sizeof(opts.known);
    REQUIRE_ALL(kvf_mpi_open(MPI_COMM_WORLD, &opts.known, &job), KVF_ERR_INVALID, 0);
    REQUIRE(job == NULL);
    MPI_Finalize();
}

/* A forked child has no part in the job, and does the parent's no harm. */
static void a_child_is_refused(void)
{
    kvf_mpi_t *job;
    int status = 0;
    start();
    MUST(kvf_mpi_open(MPI_COMM_WORLD, rank_opts, &job));
    pid_t child = fork();
    if (child == 0) {
        uint64_t matrix[1];
        kvf_counters_t totals = {.struct_size = sizeof(totals)};
        kvf_flow_t flow = {.struct_size = sizeof(flow)};
        kvf_remote_t *remotes[1];
        kvf_layout_t *layouts[8];
        kvf_mpi_t *own;
        int refused = kvf_mpi_agree(job, KVF_OK) == KVF_ERR_FORKED &&
                      kvf_mpi_matrix(job, matrix) == KVF_ERR_FORKED &&
                      kvf_mpi_totals(job, &totals) == KVF_ERR_FORKED &&
                      kvf_mpi_flow(job, KVF_PATH_SHM, &flow) == KVF_ERR_FORKED &&
                      kvf_mpi_exchange_grants(job, NULL, 1, remotes, NULL) == KVF_ERR_FORKED &&
                      kvf_mpi_exchange_layouts(job, NULL, layouts) == KVF_ERR_FORKED &&
                      kvf_mpi_close(job, 0) == KVF_ERR_FORKED && strstr(kvf_last_error(), "is its child");
        refused = refused && kvf_mpi_open(MPI_COMM_SELF, NULL, &own) == KVF_ERR_FORKED &&
                  kvf_mpi_open(MPI_COMM_WORLD, NULL, &own) == KVF_ERR_FORKED;
        _exit(refused ? 0 : 1);
    }
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    look_at_peers(job);
    MUST(kvf_mpi_close(job, KVF_FOREVER));
    MPI_Finalize();
}

/* A child that opens a job of its own takes nothing from its parent's, nor if there is none yet. */
static void a_child_leaves_mpi_alone(void)
{
    kvf_mpi_t *job;
    start();
    for (int opened = 0; opened < 2; opened++) {
        int status = 0;
        if (opened) {
            MUST(kvf_mpi_open(MPI_COMM_WORLD, rank_opts, &job));
            MUST(kvf_mpi_set_timeout(job, 20 * SECOND));
        }
        pid_t child = fork();
        if (child == 0) {
            kvf_mpi_t *own;
            _exit(kvf_mpi_open(MPI_COMM_SELF, NULL, &own) == KVF_ERR_FORKED &&
                          strstr(kvf_last_error(), "MPI was initialised by the process that forked this one")
                      ? 0
                      : 1);
        }
        REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
        REQUIRE(status == 0);
    }
    for (int i = 0; i < 3; i++) {
        MUST(kvf_mpi_agree(job, KVF_OK));
    }
    MUST(kvf_mpi_close(job, 20 * SECOND));
    MPI_Finalize();
}

static void no_job(void)
{
    uint64_t matrix[1];
    uint32_t counts[1];
    kvf_remote_t *remotes[1];
    kvf_layout_t *layouts[1];
    kvf_counters_t totals = {.struct_size = sizeof(totals)};
    start();
    REQUIRE(kvf_mpi_engine(NULL) == NULL);
    REQUIRE(kvf_mpi_rank(NULL) == -1);
    REQUIRE(kvf_mpi_size(NULL) == 0);
    REQUIRE(kvf_mpi_peer(NULL, 0) == NULL);
    REQUIRE(kvf_mpi_agree(NULL, KVF_OK) == KVF_ERR_INVALID);
    REQUIRE_SAID("job is NULL");
    REQUIRE(kvf_mpi_matrix(NULL, matrix) == KVF_ERR_INVALID);
    REQUIRE(kvf_mpi_totals(NULL, &totals) == KVF_ERR_INVALID);
    REQUIRE(kvf_mpi_flow(NULL, KVF_PATH_AM, NULL) == KVF_ERR_INVALID);
    REQUIRE(kvf_mpi_exchange_grants(NULL, NULL, 1, remotes, counts) == KVF_ERR_INVALID);
    REQUIRE(kvf_mpi_exchange_layouts(NULL, NULL, layouts) == KVF_ERR_INVALID);
    REQUIRE(kvf_mpi_close(NULL, 0) == KVF_OK);
    MPI_Finalize();
}

/* Halves of the world, ranks in reverse, and each rank alone: no false alarm about the launch. */
static void sub_communicators(void)
{
    MPI_Comm half;
    kvf_mpi_t *job;
    kvf_mpi_t *alone;
    start();
    MPI_Comm_split(MPI_COMM_WORLD, world_rank() % 2, -world_rank(), &half);
    MUST(kvf_mpi_open(half, rank_opts, &job));
    MUST(kvf_mpi_open(MPI_COMM_SELF, rank_opts, &alone));
    MPI_Comm_free(&half); /* the job has its own duplicate */

    int left = (world_size() - 1 - world_rank()) / 2;
    REQUIRE(kvf_mpi_rank(job) == left);
    REQUIRE(kvf_mpi_size(job) == (world_size() + 1 - world_rank() % 2) / 2);
    REQUIRE(kvf_mpi_size(alone) == 1);
    look_at_peers(job);
    look_at_peers(alone);
    MUST(kvf_mpi_close(alone, KVF_FOREVER));
    MUST(kvf_mpi_agree(job, KVF_OK));
    MUST(kvf_mpi_close(job, KVF_FOREVER));
    MPI_Finalize();
}

static void two_jobs_in_a_process(void)
{
    kvf_mpi_t *first;
    kvf_mpi_t *second;
    start();
    MUST(kvf_mpi_open(MPI_COMM_WORLD, rank_opts, &first));
    MUST(kvf_mpi_open(MPI_COMM_WORLD, rank_opts, &second));
    REQUIRE(kvf_mpi_engine(first) != kvf_mpi_engine(second));
    look_at_peers(first);
    look_at_peers(second);
    MUST(kvf_mpi_close(first, KVF_FOREVER));
    look_at_peers(second);
    MUST(kvf_mpi_agree(second, KVF_OK));
    MUST(kvf_mpi_close(second, KVF_FOREVER));
    MPI_Finalize();
}

static int errors_seen;

static void count_error(MPI_Comm *comm, int *error, ...)
{
    (void)comm;
    (void)error;
    errors_seen++;
}

/* The caller's communicator and its error handler stay as they are. */
static void error_handler_stays(void)
{
    MPI_Errhandler ours;
    MPI_Errhandler then;
    kvf_mpi_t *job;
    start();
    MPI_Comm_create_errhandler(count_error, &ours);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, ours);
    MUST(kvf_mpi_open(MPI_COMM_WORLD, rank_opts, &job));
    MUST(kvf_mpi_agree(job, KVF_OK));
    MUST(kvf_mpi_close(job, KVF_FOREVER));
    MPI_Comm_get_errhandler(MPI_COMM_WORLD, &then);
    REQUIRE(then == ours);
    REQUIRE(errors_seen == 0);
    MPI_Errhandler_free(&then);
    MPI_Errhandler_free(&ours);
    MPI_Finalize();
}

/* A job that outlives MPI is closed alone, and its calls say so. */
static void close_after_finalize(void)
{
    kvf_mpi_t *job;
    start();
    MUST(kvf_mpi_open(MPI_COMM_WORLD, rank_opts, &job));
    MPI_Finalize();
    REQUIRE(kvf_mpi_agree(job, KVF_OK) == KVF_ERR_INVALID);
    REQUIRE_SAID("MPI is finalized");
    REQUIRE(kvf_mpi_close(job, 10 * SECOND) == KVF_ERR_INVALID);
    REQUIRE_SAID("MPI is finalized");
}

/* One rank never comes to close: the others leave at their timeout. */
static void close_leaves_at_its_timeout(void)
{
    kvf_mpi_t *job;
    start();
    MUST(kvf_mpi_open(MPI_COMM_WORLD, rank_opts, &job));
    if (world_rank() != 0) {
        REQUIRE(kvf_mpi_close(job, SECOND / 5) == KVF_ERR_TIMEOUT);
        REQUIRE_SAID("came in time");
    }
    MPI_Barrier(MPI_COMM_WORLD); /* MPI itself is still in order */
    if (world_rank() == 0) {
        kvf_status_t status = kvf_mpi_close(job, SECOND / 5);
        REQUIRE(status == (world_size() > 1 ? KVF_ERR_TIMEOUT : KVF_OK));
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
}

int main(int argc, char **argv)
{
    static const struct rank_case cases[] = {
        {"every_rank_knows_all", every_rank_knows_all},
        {"one_rank_has_a_wrong_option", one_rank_has_a_wrong_option},
        {"first_wrong_rank_is_named", first_wrong_rank_is_named},
        {"no_communicator_to_agree_on", no_communicator_to_agree_on},
        {"options_of_a_newer_header", options_of_a_newer_header},
        {"a_child_is_refused", a_child_is_refused},
        {"a_child_leaves_mpi_alone", a_child_leaves_mpi_alone},
        {"no_job", no_job},
        {"sub_communicators", sub_communicators},
        {"two_jobs_in_a_process", two_jobs_in_a_process},
        {"error_handler_stays", error_handler_stays},
        {"close_after_finalize", close_after_finalize},
        {"close_leaves_at_its_timeout", close_leaves_at_its_timeout},
    };
    return rank_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

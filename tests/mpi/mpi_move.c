/*
 * What an open job does: exchange of grants and layouts, bytes that move, agreement, the matrix and the
 * totals, and ranks that wait asleep while others still need them.
 * Started by test_mpi_move.sh, one case a run.
 */
#include <sys/resource.h>
#include <unistd.h>

#include "ranks.h"

enum {
    LEN = 300000
}; /* bytes of one rank's memory */

static kvf_mpi_t *job;
static kvf_segment_t *segment; /* LEN bytes of the library's, filled by fill() */
static unsigned char *memory;  /* its bytes */
static kvf_segment_t *landing; /* LEN bytes of our own, to read into */
static unsigned char *landed;
static kvf_grant_t *grant;
static kvf_remote_t **remotes; /* one a rank */

static unsigned char byte_of(int rank, size_t i)
{
    return (unsigned char)((unsigned)rank * 37 + i * 5 + (i >> 8) + 1);
}

static void open_job(void)
{
    int provided;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    MPI_Init_thread(NULL, NULL, MPI_THREAD_SINGLE, &provided);
    MUST(kvf_mpi_open(MPI_COMM_WORLD, rank_opts, &job));
    MUST(kvf_segment_alloc(kvf_mpi_engine(job), LEN, &segment));
    MUST(kvf_segment_query(segment, &attr));
    memory = attr.addr;
    landed = calloc(1, LEN);
    REQUIRE(landed != NULL);
    MUST(kvf_segment_register(kvf_mpi_engine(job), landed, LEN, &landing));
    for (size_t i = 0; i < LEN; i++) {
        memory[i] = byte_of(world_rank(), i);
    }
}

/* All ranks may read and write all of everybody's segment. */
static void share_all(void)
{
    kvf_range_t range = {.segment = segment, .len = LEN};
    range.rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE;
    remotes = calloc((size_t)world_size(), sizeof(*remotes));
    REQUIRE(remotes != NULL);
    MUST(kvf_grant_create(kvf_mpi_engine(job), &range, 1, NULL, &grant));
    MUST(kvf_mpi_exchange_grants(job, grant, 1, remotes, NULL));
}

static void close_job(void)
{
    MUST(kvf_mpi_close(job, 30 * SECOND));
    free(landed);
    free(remotes);
    MPI_Finalize();
}

/* len bytes between the start of the landing and off of a remote */
static void move(uint32_t dir, kvf_remote_t *remote, uint64_t off, uint64_t len)
{
    kvf_batch_t *batch;
    kvf_op_t op = {.dir = dir, .segment = landing, .remote = remote, .len = len, .blocks = 1};
    op.count[0] = op.count[1] = 1;
    op.remote_off = off;
    MUST(kvf_batch_create(kvf_mpi_engine(job), &batch));
    MUST(kvf_batch_post(batch, &op, 1, sizeof(op), NULL));
    MUST(kvf_batch_wait(batch, KVF_FOREVER));
    MUST(kvf_batch_free(batch));
}

static void read_and_look(int rank, kvf_remote_t *remote, uint64_t from, uint64_t len)
{
    memset(landed, 0, LEN);
    move(KVF_READ, remote, 0, len);
    for (size_t i = 0; i < len; i++) {
        REQUIRE(landed[i] == byte_of(rank, from + i));
    }
}

/* Rank r grants r % 3 ranges, none of them a whole segment; all read all of them. */
static void each_row_has_its_ranges(void)
{
    uint64_t len[2] = {LEN / 2 - 7, LEN / 3};
    uint64_t off[2] = {3, LEN / 2};
    open_job();
    kvf_range_t ranges[2] = {0};
    for (int i = 0; i < 2; i++) {
        ranges[i].segment = segment;
        ranges[i].off = off[i];
        ranges[i].len = len[i];
        ranges[i].rights = KVF_RIGHT_READ;
    }
    uint32_t max = 2 + (uint32_t)(world_rank() % 2); /* each rank has its own */
    size_t size = (size_t)world_size();
    uint32_t *counts = calloc(size, sizeof(*counts));
    kvf_remote_t **rows = calloc(size * max, sizeof(*rows));
    uint32_t count = (uint32_t)world_rank() % 3;
    if (count > 0) {
        MUST(kvf_grant_create(kvf_mpi_engine(job), ranges, count, NULL, &grant));
    }
    MUST(kvf_mpi_exchange_grants(job, grant, max, rows, counts));
    for (size_t rank = 0; rank < size; rank++) {
        REQUIRE(counts[rank] == rank % 3);
        for (uint32_t i = 0; i < counts[rank]; i++) {
            kvf_remote_attr_t attr = {.struct_size = sizeof(attr)};
            MUST(kvf_remote_query(rows[rank * max + i], &attr));
            REQUIRE(attr.len == len[i]);
            REQUIRE(attr.rights == KVF_RIGHT_READ);
            REQUIRE(attr.peer == kvf_mpi_peer(job, (int)rank));
            read_and_look((int)rank, rows[rank * max + i], off[i], len[i]);
        }
    }
    free(rows);
    free(counts);
    close_job();
}

/* One rank has too small an array, or a dead grant, or no array: all say so, and go on. */
static void one_rank_spoils_the_exchange(void)
{
    open_job();
    int last = world_size() - 1;
    kvf_range_t ranges[2] = {{.segment = segment, .len = 8, .rights = KVF_RIGHT_READ},
                             {.segment = segment, .len = 8, .rights = KVF_RIGHT_READ}};
    kvf_remote_t **rows = calloc((size_t)world_size() * 2, sizeof(*rows));
    MUST(kvf_grant_create(kvf_mpi_engine(job), ranges, 2, NULL, &grant));

    uint32_t max = world_rank() == last ? 1 : 2;
    REQUIRE_ALL(kvf_mpi_exchange_grants(job, grant, max, rows, NULL), KVF_ERR_SPACE, last);
    max = world_rank() == last ? 0 : 2;
    REQUIRE_ALL(kvf_mpi_exchange_grants(job, grant, max, rows, NULL), KVF_ERR_INVALID, last);
    kvf_remote_t **array = world_rank() == last ? NULL : rows;
    REQUIRE_ALL(kvf_mpi_exchange_grants(job, grant, 2, array, NULL), KVF_ERR_INVALID, last);

    if (world_rank() == last) {
        MUST(kvf_grant_revoke(grant, KVF_FOREVER));
    }
    REQUIRE_ALL(kvf_mpi_exchange_grants(job, grant, 2, rows, NULL), KVF_ERR_INVALID, last);
    kvf_grant_t *living = world_rank() == last ? NULL : grant;
    MUST(kvf_mpi_exchange_grants(job, living, 2, rows, NULL));
    free(rows);
    close_job();
}

/* Longer by rank, so that what is told at one stride is cut to its own length. */
static kvf_layout_t *layout_of(int rank)
{
    kvf_kv_model_t model = {.struct_size = sizeof(model),
                            .layers = 4 + 3 * (uint32_t)rank,
                            .name = "ranks",
                            .heads = 8,
                            .k_bytes = 16,
                            .v_bytes = 16,
                            .element = "bf16"};
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 7 + (uint32_t)rank};
    kvf_layout_t *layout;
    MUST(kvf_layout_build(&model, rank % 2 ? "L/2BNHD" : "LBHNC", &opts, &layout));
    return layout;
}

static size_t pack_len(const kvf_layout_t *layout, char *buf, size_t len)
{
    MUST(kvf_layout_pack(layout, buf, &len));
    return len;
}

/* Rank 2, and in a second exchange every rank, has none. */
static void each_rank_gets_all_layouts(void)
{
    static char want[65536], got[65536];
    kvf_layout_t *layouts[8], *own;
    open_job();
    own = layout_of(world_rank());
    MUST(kvf_mpi_exchange_layouts(job, world_rank() == 2 ? NULL : own, layouts));
    for (int rank = 0; rank < world_size(); rank++) {
        REQUIRE((layouts[rank] == NULL) == (rank == 2));
        if (rank != 2) {
            kvf_layout_t *theirs = layout_of(rank);
            size_t len = pack_len(theirs, want, sizeof(want));
            REQUIRE(layouts[rank] != own);
            REQUIRE(pack_len(layouts[rank], got, sizeof(got)) == len && memcmp(want, got, len) == 0);
            MUST(kvf_layout_destroy(theirs));
        }
        MUST(kvf_layout_destroy(layouts[rank]));
        layouts[rank] = own;
    }
    MUST(kvf_layout_destroy(own));
    MUST(kvf_mpi_exchange_layouts(job, NULL, layouts));
    for (int rank = 0; rank < world_size(); rank++) {
        REQUIRE(layouts[rank] == NULL);
    }
    close_job();
}

/* One rank has nowhere to put them: all say so, nobody's array is touched, and the next one works. */
static void one_rank_spoils_the_layouts(void)
{
    kvf_layout_t *layouts[8] = {NULL}, *own;
    int last;
    open_job();
    last = world_size() - 1;
    own = layout_of(world_rank());
    layouts[0] = own;
    REQUIRE_ALL(kvf_mpi_exchange_layouts(job, own, world_rank() == last ? NULL : layouts), KVF_ERR_INVALID,
                last);
    REQUIRE_SAID("layouts_p is NULL");
    REQUIRE(layouts[0] == own);
    MUST(kvf_mpi_exchange_layouts(job, own, layouts));
    for (int rank = 0; rank < world_size(); rank++) {
        MUST(kvf_layout_destroy(layouts[rank]));
    }
    MUST(kvf_layout_destroy(own));
    close_job();
}

static void the_first_bad_rank_is_named(void)
{
    open_job();
    int rank = world_rank();
    int size = world_size();
    MUST(kvf_mpi_agree(job, KVF_OK));
    kvf_status_t mine = rank == size - 1 ? kvf_fail(KVF_ERR_STALE, "block 77 is gone") : KVF_OK;
    REQUIRE_ALL(kvf_mpi_agree(job, mine), KVF_ERR_STALE, size - 1);
    REQUIRE_SAID("block 77 is gone");
    MUST(kvf_mpi_agree(job, KVF_OK));
    if (size > 2) {
        mine = rank == 0 ? KVF_OK : kvf_fail(KVF_ERR_STALE, "block %d is gone", rank);
        REQUIRE_ALL(kvf_mpi_agree(job, mine), KVF_ERR_STALE, 1);
        REQUIRE_SAID("block 1 is gone");
    }
    close_job();
}

/* What one rank says comes to all, whole; it is of the status that is brought, and names its rank once. */
static void what_is_said_is_whole_and_fresh(void)
{
    char said[1200], last[1100];
    open_job();
    int rank = world_rank();
    for (size_t i = 0; i < sizeof(said); i++) {
        said[i] = (char)('a' + i * 7 / 11 % 26);
    }
    for (size_t len = 200; len < 1000; len += 33) {
        kvf_status_t mine = rank == 0 ? KVF_OK : kvf_fail(KVF_ERR_STALE, "%.*s", (int)len, said);
        REQUIRE_ALL(kvf_mpi_agree(job, mine), KVF_ERR_STALE, 1);
        REQUIRE(strncmp(kvf_last_error(), "rank 1: ", 8) == 0);
        REQUIRE(strlen(kvf_last_error()) == 8 + len && memcmp(kvf_last_error() + 8, said, len) == 0);
    }
    kvf_status_t mine = rank == 0 ? KVF_OK : kvf_fail(KVF_ERR_STALE, "%.1200s", said);
    REQUIRE(strlen(kvf_last_error()) == 1023 || rank == 0);
    REQUIRE_ALL(kvf_mpi_agree(job, mine), KVF_ERR_STALE, 1);
    REQUIRE(strlen(kvf_last_error()) == 1023 && strcmp(kvf_last_error() + 1020, "...") == 0);
    REQUIRE_ALL(kvf_mpi_matrix(job, NULL), KVF_ERR_INVALID, 0);
    snprintf(last, sizeof(last), "%s", kvf_last_error());
    REQUIRE_ALL(kvf_mpi_agree(job, KVF_ERR_INVALID), KVF_ERR_INVALID, 0);
    REQUIRE(strcmp(kvf_last_error(), last) == 0);
    REQUIRE_ALL(kvf_mpi_agree(job, rank == 0 ? KVF_OK : KVF_ERR_TIMEOUT), KVF_ERR_TIMEOUT, 1);
    REQUIRE(strcmp(kvf_last_error(), "rank 1: KVF_ERR_TIMEOUT") == 0);
    close_job();
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* A rank that waits takes little of a core, also with progress by the caller. A busy machine lets a
 * spinning rank pass; no machine makes a sleeping one fail. */
static void waiting_ranks_sleep(void)
{
    open_job();
    MUST(kvf_mpi_agree(job, KVF_OK));
    double cpu = cpu_seconds();
    double wall = MPI_Wtime();
    if (world_rank() == 0) {
        sleep_ns(SECOND);
    }
    MUST(kvf_mpi_agree(job, KVF_OK));
    cpu = cpu_seconds() - cpu;
    wall = MPI_Wtime() - wall;
    if (cpu > wall / 5) {
        fprintf(stderr, "rank %d: %.3f s of processor in %.3f s\n", world_rank(), cpu, wall);
        give_up();
    }
    close_job();
}

static void pull_from_all_others(void)
{
    for (int i = 1; i < world_size(); i++) {
        read_and_look(i, remotes[i], 0, LEN);
    }
}

/* Rank 0 pulls from ranks that already wait in an agreement... */
static void waiting_ranks_serve(void)
{
    open_job();
    share_all();
    if (world_rank() == 0) {
        sleep_ns(SECOND / 5);
        pull_from_all_others();
    }
    MUST(kvf_mpi_agree(job, KVF_OK));
    close_job();
}

/* ... and from ranks that already wait in close. */
static void closing_ranks_serve(void)
{
    open_job();
    share_all();
    if (world_rank() == 0) {
        sleep_ns(SECOND / 5);
        pull_from_all_others();
    }
    close_job();
}

/* from -> to is which way the bytes went, whoever asked for it. */
static void the_matrix_follows_the_data(void)
{
    open_job();
    share_all();
    int rank = world_rank();
    int size = world_size();
    uint64_t *matrix = calloc((size_t)size * (size_t)size, sizeof(*matrix));
    kvf_counters_t totals = {.struct_size = sizeof(totals)};
    for (int other = 0; other < size; other++) {
        move(KVF_READ, remotes[other], 0, (uint64_t)(1000 + 10 * rank + other));
    }
    MUST(kvf_mpi_agree(job, KVF_OK)); /* the writes change what the reads saw */
    move(KVF_WRITE, remotes[(rank + 1) % size], 0, 7);
    MUST(kvf_mpi_agree(job, KVF_OK));

    MUST(kvf_mpi_matrix(job, matrix));
    MUST(kvf_mpi_totals(job, &totals));
    uint64_t sum = 0;
    for (int from = 0; from < size; from++) {
        for (int to = 0; to < size; to++) {
            uint64_t expected = (uint64_t)(1000 + 10 * to + from);
            expected += (from + 1) % size == to ? 7 : 0;
            REQUIRE(matrix[from * size + to] == expected);
            sum += expected;
        }
    }
    uint64_t by_path = 0, ops = 0;
    for (int i = KVF_PATH_NONE + 1; i < KVF_PATH_COUNT; i++) {
        kvf_flow_t flow = {.struct_size = sizeof(flow)};
        MUST(kvf_mpi_flow(job, (kvf_path_t)i, &flow));
        REQUIRE(flow.path == (uint32_t)i && flow.peer == NULL);
        by_path += flow.bytes;
        ops += flow.ops;
    }
    REQUIRE(by_path == sum && totals.bytes == sum);
    REQUIRE(ops == totals.ops && ops == totals.batches);
    REQUIRE(totals.self_bytes + totals.node_bytes + totals.cross_bytes == sum);
    REQUIRE((rank_opts ? totals.node_bytes : totals.cross_bytes) == 0);
    REQUIRE(totals.batches == (uint64_t)(size * (size + 1)));
    free(matrix);
    close_job();
}

static void reports_refuse_on_all_ranks(void)
{
    open_job();
    int last = world_size() - 1;
    int bad = world_rank() == last;
    size_t size = (size_t)world_size();
    uint64_t *matrix = calloc(size * size, sizeof(*matrix));
    kvf_counters_t totals = {.struct_size = bad ? 3 : sizeof(totals)};
    REQUIRE_ALL(kvf_mpi_matrix(job, bad ? NULL : matrix), KVF_ERR_INVALID, last);
    REQUIRE_ALL(kvf_mpi_totals(job, &totals), KVF_ERR_INVALID, last);
    totals.struct_size = sizeof(totals);
    REQUIRE_ALL(kvf_mpi_totals(job, bad ? NULL : &totals), KVF_ERR_INVALID, last);
    MUST(kvf_mpi_totals(job, &totals));
    kvf_flow_t flow = {.struct_size = sizeof(flow)};
    REQUIRE_ALL(kvf_mpi_flow(job, KVF_PATH_AM, bad ? NULL : &flow), KVF_ERR_INVALID, last);
    REQUIRE_ALL(kvf_mpi_flow(job, bad ? KVF_PATH_COUNT : KVF_PATH_AM, &flow), KVF_ERR_INVALID, last);
    MUST(kvf_mpi_flow(job, KVF_PATH_AM, &flow));
    free(matrix);
    close_job();
}

int main(int argc, char **argv)
{
    static const struct rank_case cases[] = {
        {"each_row_has_its_ranges", each_row_has_its_ranges},
        {"one_rank_spoils_the_exchange", one_rank_spoils_the_exchange},
        {"each_rank_gets_all_layouts", each_rank_gets_all_layouts},
        {"one_rank_spoils_the_layouts", one_rank_spoils_the_layouts},
        {"the_first_bad_rank_is_named", the_first_bad_rank_is_named},
        {"what_is_said_is_whole_and_fresh", what_is_said_is_whole_and_fresh},
        {"waiting_ranks_sleep", waiting_ranks_sleep},
        {"waiting_ranks_serve", waiting_ranks_serve},
        {"closing_ranks_serve", closing_ranks_serve},
        {"the_matrix_follows_the_data", the_matrix_follows_the_data},
        {"reports_refuse_on_all_ranks", reports_refuse_on_all_ranks},
    };
    return rank_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

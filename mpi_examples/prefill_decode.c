/*
 * prefill_decode: rank 0 fills blocks of a KV pool, every other rank pulls them by block table.
 *
 *     mpicc -o prefill_decode prefill_decode.c $(pkg-config --cflags --libs kvferry_mpi kvferry)
 *     mpirun -n 3 ./prefill_decode
 *
 * A pool holds a plane of K and one of V for each layer, and in a plane a cell for each block: the
 * cells of a block are LAYERS rows of two pieces, a box. One op moves that box for a whole block
 * table. The generations that travel with the table guard it: had rank 0 freed a block meanwhile,
 * the batch would end with KVF_ERR_STALE and not deliver another request's bytes.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <kvferry/mpi.h>

enum {
    LAYERS = 8,
    CELL = 16384,
    WORDS = CELL / 8,
    BLOCKS = 64,
    LENGTH = 12
};

struct request {
    uint32_t ids[LENGTH]; /* rank 0's blocks, in the order of the tokens */
    uint32_t gens[LENGTH];
};

static void must(kvf_status_t status, const char *what)
{
    if (status != KVF_OK) {
        fprintf(stderr, "prefill_decode: %s: %s: %s\n", what, kvf_status_name(status), kvf_last_error());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

/* Visit the request's words in a pool: write them, or count those that are wrong. */
static long visit(kvf_pool_t *pool, const uint32_t *ids, int write)
{
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    long wrong = 0;

    must(kvf_segment_query(kvf_pool_segment(pool), &attr), "query");
    for (uint64_t n = 0; n < (uint64_t)LENGTH * 2 * LAYERS * WORDS; n++) {
        uint64_t word = n % WORDS, plane = n / WORDS % (2 * LAYERS), i = n / WORDS / (2 * LAYERS);
        uint64_t *at = (uint64_t *)attr.addr + (plane * BLOCKS + ids[i]) * WORDS + word;
        if (write) {
            *at = n * 0x9e3779b97f4a7c15;
        }
        wrong += *at != n * 0x9e3779b97f4a7c15;
    }
    return wrong;
}

/* Rank 0: sleep until every other rank has said that it is done. */
static void wait_for_decoders(kvf_engine_t *engine, int decoders)
{
    kvf_notification_t note = {.struct_size = sizeof(note)};
    struct pollfd fd = {.events = POLLIN};

    must(kvf_engine_fd(engine, &fd.fd), "fd");
    while (decoders > 0) {
        kvf_status_t armed = kvf_engine_arm(engine); /* arm, look once more, then sleep */
        kvf_status_t status = kvf_notify_recv(engine, &note);
        if (status != KVF_INPROGRESS) {
            must(status, "notification");
            decoders--;
        } else if (armed == KVF_OK) {
            poll(&fd, 1, -1);
        }
    }
}

/* The others: pull the request's blocks into those of mine, and tell rank 0 once they are here. */
static void pull(kvf_mpi_t *job, kvf_pool_t *pool, const uint32_t *mine, kvf_remote_t *remote,
                 const struct request *request)
{
    int64_t plane = (int64_t)BLOCKS * CELL;
    kvf_op_t op = {
        .dir = KVF_READ,
        .segment = kvf_pool_segment(pool),
        .remote = remote,
        .len = CELL,
        .count = {2, LAYERS}, /* K and V, in every layer */
        .local_stride = {plane, 2 * plane},
        .remote_stride = {plane, 2 * plane},
        .blocks = LENGTH,
        .local_ids = mine,
        .remote_ids = request->ids,
        .remote_gens = request->gens,
        .local_cap = BLOCKS,
        .remote_cap = BLOCKS,
        .local_block = CELL,
        .remote_block = CELL,
    };
    kvf_batch_opts_t opts = {sizeof(opts), .notify = "pulled", .notify_len = 6};
    opts.notify_peer = kvf_mpi_peer(job, 0);
    kvf_batch_t *batch;
    must(kvf_batch_create(kvf_mpi_engine(job), &batch), "batch");
    must(kvf_batch_post(batch, &op, 1, sizeof(op), &opts), "post");
    must(kvf_batch_wait(batch, KVF_FOREVER), "wait");
    must(kvf_batch_free(batch), "free");
}

int main(int argc, char **argv)
{
    kvf_mpi_t *job;
    kvf_pool_t *pool;
    kvf_grant_t *grant = NULL;
    kvf_pool_opts_t opts = {sizeof(opts), .blocks = BLOCKS, .block_bytes = 2 * LAYERS * CELL};
    struct request request;
    uint32_t taken[BLOCKS], mine[LENGTH];
    long wrong = 0;

    MPI_Init(&argc, &argv);
    must(kvf_mpi_open(MPI_COMM_WORLD, NULL, &job), "open");
    int rank = kvf_mpi_rank(job), size = kvf_mpi_size(job);
    must(size > 1 ? KVF_OK : kvf_fail(KVF_ERR_INVALID, "it takes two ranks"), "start");
    kvf_remote_t **remotes = calloc((size_t)size, sizeof(*remotes));

    /* Every rank has a pool, and in it blocks for the request, scattered as in a busy one. */
    must(kvf_pool_create(kvf_mpi_engine(job), &opts, &pool), "pool");
    must(kvf_pool_alloc(pool, BLOCKS, taken), "alloc");
    for (int i = 0; i < LENGTH; i++) {
        mine[i] = request.ids[i] = taken[(11 * i + 5 * rank) % BLOCKS];
    }
    if (rank == 0) {
        kvf_range_t range = {.segment = kvf_pool_segment(pool), .rights = KVF_RIGHT_READ};
        range.len = BLOCKS * opts.block_bytes;
        must(kvf_grant_create(kvf_mpi_engine(job), &range, 1, NULL, &grant), "grant");
        must(kvf_pool_generations(pool, LENGTH, mine, request.gens), "generations");
        visit(pool, mine, 1);
    }
    must(kvf_mpi_exchange_grants(job, grant, 1, remotes, NULL), "exchange");
    MPI_Bcast(&request, sizeof(request), MPI_BYTE, 0, MPI_COMM_WORLD);

    if (rank == 0) {
        wait_for_decoders(kvf_mpi_engine(job), size - 1);
    } else {
        pull(job, pool, mine, remotes[0], &request);
        wrong = visit(pool, mine, 0);
    }
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) {
        printf("prefill_decode: %d ranks pulled %d blocks of %d bytes each, %ld words wrong\n", size - 1,
               LENGTH, (int)opts.block_bytes, wrong);
    }
    must(kvf_mpi_close(job, UINT64_C(10000000000)), "close");
    free(remotes);
    MPI_Finalize();
    return wrong != 0;
}

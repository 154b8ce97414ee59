/*
 * ring: each rank writes a block into the memory of the next one, and looks at what it got.
 *
 *     mpicc -o ring ring.c $(pkg-config --cflags --libs kvferry_mpi kvferry)
 *     mpirun -n 4 ./ring
 *
 * Every rank opens a kvferry engine, allocates an inbox that its neighbours may write to, and tells
 * them so by a grant. From then on nobody needs the owner's help: a write is posted by one side.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/mpi.h>

enum {
    BLOCK = 1 << 20
};

/* Errors end the whole job here; kvf_last_error() says in words what went wrong. */
static void must(kvf_status_t status, const char *what)
{
    if (status != KVF_OK) {
        fprintf(stderr, "ring: %s: %s: %s\n", what, kvf_status_name(status), kvf_last_error());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

static unsigned char byte_of(int rank, size_t i)
{
    return (unsigned char)(31 * (unsigned)rank + i + (i >> 8));
}

/* Memory of this rank that all others may write to, and how to name theirs. */
static unsigned char *open_inbox(kvf_mpi_t *job, kvf_remote_t **inboxes)
{
    kvf_engine_t *engine = kvf_mpi_engine(job);
    kvf_segment_t *segment;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_grant_t *grant;

    must(kvf_segment_alloc(engine, BLOCK, &segment), "alloc");
    must(kvf_segment_query(segment, &attr), "query");

    kvf_range_t range = {.segment = segment, .len = BLOCK, .rights = KVF_RIGHT_WRITE};
    must(kvf_grant_create(engine, &range, 1, NULL, &grant), "grant");
    must(kvf_mpi_exchange_grants(job, grant, 1, inboxes, NULL), "exchange");
    return attr.addr;
}

/* Write BLOCK bytes of ours, which may lie anywhere in this process, to a remote inbox. */
static void write_block(kvf_mpi_t *job, unsigned char *block, kvf_remote_t *inbox)
{
    kvf_engine_t *engine = kvf_mpi_engine(job);
    kvf_segment_t *segment;
    kvf_batch_t *batch;

    must(kvf_segment_register(engine, block, BLOCK, &segment), "register");
    must(kvf_batch_create(engine, &batch), "batch");

    kvf_op_t op = {
        .dir = KVF_WRITE,
        .segment = segment,
        .remote = inbox,
        .len = BLOCK,
        .count = {1, 1},
        .blocks = 1,
    };
    must(kvf_batch_post(batch, &op, 1, sizeof(op), NULL), "post");
    must(kvf_batch_wait(batch, KVF_FOREVER), "wait");

    must(kvf_batch_free(batch), "free");
    must(kvf_segment_release(segment), "release");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);

    kvf_mpi_t *job;
    must(kvf_mpi_open(MPI_COMM_WORLD, NULL, &job), "open");

    int rank = kvf_mpi_rank(job);
    int size = kvf_mpi_size(job);
    int next = (rank + 1) % size;
    int previous = (rank + size - 1) % size;
    kvf_remote_t **inboxes = calloc((size_t)size, sizeof(*inboxes));
    unsigned char *outbox = malloc(BLOCK);
    unsigned char *inbox = open_inbox(job, inboxes);

    for (size_t i = 0; i < BLOCK; i++) {
        outbox[i] = byte_of(rank, i);
    }
    write_block(job, outbox, inboxes[next]);
    must(kvf_mpi_agree(job, KVF_OK), "agree"); /* all have written: a barrier that sleeps */

    long wrong = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        wrong += inbox[i] != byte_of(previous, i);
    }
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) {
        printf("ring: %d ranks, %d bytes to each next one, %ld wrong\n", size, BLOCK, wrong);
    }

    /* Closes the engine, and with it the segment, the grant, the remotes. */
    must(kvf_mpi_close(job, UINT64_C(10000000000)), "close");
    free(outbox);
    free(inboxes);
    MPI_Finalize();
    return wrong == 0 ? 0 : 1;
}

/*
 * layerwise: rank 0 computes the layers of a request and pushes each as soon as it has it; the last
 * rank goes on with layer i while those after it are still on their way.
 *
 *     mpicc -o layerwise layerwise.c $(pkg-config --cflags --libs kvferry_mpi kvferry)
 *     mpirun -n 2 ./layerwise
 *
 * The plan between the two layouts is made once and bound to a layer at a time. Each layer's batch
 * carries a notification, and the receiver waits for layer after layer. A batch that fails tells
 * that too, so that a layer is used only if all of it has arrived.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>
#include <kvferry/mpi.h>

enum {
    LAYERS = 12,
    HEADS = 4,
    BYTES = 256,
    TOKENS = 700,
    BLOCK = 16
};
enum {
    BLOCKS = (TOKENS + BLOCK - 1) / BLOCK,
    REQUEST = 7
};

static const kvf_kv_model_t model = {sizeof(model),    LAYERS,           "example",        HEADS,
                                     .k_bytes = BYTES, .v_bytes = BYTES, .element = "bf16"};

static void must(kvf_status_t status, const char *what)
{
    if (status != KVF_OK) {
        fprintf(stderr, "layerwise: %s: %s: %s\n", what, kvf_status_name(status), kvf_last_error());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

/* Both ranks know both ends; each has the memory of its own. */
struct end {
    kvf_mpi_t *job;
    int sends, receives;
    kvf_layout_t *layout, *other;
    kvf_plan_t *plan;
    kvf_segment_t *segment;
    kvf_remote_t **remotes;
    char *mem;
};

static kvf_layout_t *layout_of(const char *name)
{
    kvf_layout_opts_t opts = {sizeof(opts), .block_tokens = BLOCK, .blocks = BLOCKS};
    kvf_layout_t *layout;

    must(kvf_layout_build(&model, name, &opts, &layout), "layout");
    return layout;
}

/* The words of a layer: compute them, or count those that are wrong. */
static long visit(const struct end *e, uint32_t layer, int compute)
{
    uint32_t fused = kvf_layout_describe(e->layout)->groups[0].plane_count == 1;
    long wrong = 0;

    for (uint32_t n = 0; n < 2 * TOKENS * HEADS; n++) {
        uint32_t v = n % 2, head = n / 2 % HEADS, token = n / 2 / HEADS;
        uint64_t off;
        must(kvf_layout_locate(e->layout, 0, fused ? 0 : v, layer, token / BLOCK, head, token % BLOCK, NULL,
                               &off),
             "locate");
        uint64_t *at = (uint64_t *)(e->mem + off + (fused ? v * BYTES : 0));
        for (uint64_t word = 0; word < BYTES / 8; word++) {
            uint64_t is = ((((uint64_t)token * 16 + layer) * 8 + head) * 2 + v) * 32 + word;
            if (compute) {
                at[word] = is * 0x9e3779b97f4a7c15;
            }
            wrong += at[word] != is * 0x9e3779b97f4a7c15;
        }
    }
    return wrong;
}

static void push(struct end *e, uint32_t layer, kvf_batch_t *batch)
{
    kvf_bind_table_t table = {.count = BLOCKS}; /* block i of the request is block i, at both ends */
    int to = kvf_mpi_size(e->job) - 1;
    kvf_bind_local_t local = {.segment = e->segment};
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .dir = KVF_WRITE,
                       .tokens = TOKENS,
                       .src_tables = &table,
                       .src_table_count = 1,
                       .dst_tables = &table,
                       .dst_table_count = 1,
                       .locals = &local,
                       .local_count = 1,
                       .remotes = &e->remotes[to],
                       .remote_count = 1,
                       .first_layer = layer,
                       .layer_count = 1};
    unsigned char note[KVF_STREAM_NOTE];
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                             .flags = KVF_BATCH_INLINE | KVF_BATCH_NOTIFY_ALWAYS,
                             .notify_peer = kvf_mpi_peer(e->job, to),
                             .notify = note,
                             .notify_len = sizeof(note),
                             .channel = KVF_STREAM_CHANNEL};

    must(kvf_stream_note(REQUEST, layer, 1, KVF_OK, note), "note");
    must(kvf_plan_post(e->plan, &bind, batch, &opts), "post");
}

/* Compute and push; nothing is polled before the last layer. */
static void send_all(struct end *e)
{
    kvf_batch_t *batches[LAYERS];

    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        must(kvf_batch_create(kvf_mpi_engine(e->job), &batches[layer]), "batch");
        visit(e, layer, 1);
        push(e, layer, batches[layer]);
    }
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        must(kvf_batch_wait(batches[layer], KVF_FOREVER), "wait");
        must(kvf_batch_free(batches[layer]), "free");
    }
}

static long receive_all(struct end *e, kvf_stream_t *stream)
{
    long wrong = 0;

    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        must(kvf_stream_wait(stream, layer, KVF_FOREVER), "layer");
        wrong += visit(e, layer, 0);
    }
    return wrong;
}

int main(int argc, char **argv)
{
    static struct end e;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_streams_t *streams = NULL;
    kvf_stream_t *stream = NULL;
    kvf_grant_t *grant = NULL;
    kvf_range_t range = {.rights = KVF_RIGHT_WRITE};
    long wrong = 0;

    MPI_Init(&argc, &argv);
    must(kvf_mpi_open(MPI_COMM_WORLD, NULL, &e.job), "open");
    e.sends = kvf_mpi_rank(e.job) == 0;
    e.receives = kvf_mpi_rank(e.job) == kvf_mpi_size(e.job) - 1 && !e.sends;
    e.layout = layout_of(e.sends ? "LBHNC" : "LB2NHD");
    e.other = layout_of(e.sends ? "LB2NHD" : "LBHNC");
    must(kvf_plan_create(e.sends ? e.layout : e.other, e.sends ? e.other : e.layout, NULL, &e.plan), "plan");
    range.len = BLOCKS * kvf_layout_block_bytes(e.layout);
    must(kvf_segment_alloc(kvf_mpi_engine(e.job), range.len, &e.segment), "memory");
    must(kvf_segment_query(e.segment, &attr), "query");
    e.mem = attr.addr;
    range.segment = e.segment;
    if (e.receives) {
        kvf_stream_source_t source = {.peer = kvf_mpi_peer(e.job, 0), .plan = e.plan};
        kvf_stream_opts_t opts = {
            .struct_size = sizeof(opts), .source_count = 1, .sources = &source, .id = REQUEST};
        must(kvf_grant_create(kvf_mpi_engine(e.job), &range, 1, NULL, &grant), "grant");
        must(kvf_streams_open(kvf_mpi_engine(e.job), NULL, &streams), "streams");
        must(kvf_stream_open(streams, &opts, &stream), "stream"); /* before it is sent to */
    }
    e.remotes = calloc((size_t)kvf_mpi_size(e.job), sizeof(*e.remotes));
    must(kvf_mpi_exchange_grants(e.job, grant, 1, e.remotes, NULL), "exchange");
    if (e.sends && kvf_mpi_size(e.job) > 1) {
        send_all(&e);
    } else if (e.receives) {
        wrong = receive_all(&e, stream);
        must(kvf_stream_close(stream), "close");
        must(kvf_streams_close(streams), "close");
    }
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    if (e.sends) {
        printf("layerwise: %d layers of %d tokens, each used when it came, %ld words wrong\n", LAYERS, TOKENS,
               wrong);
    }
    must(kvf_plan_destroy(e.plan), "destroy");
    must(kvf_layout_destroy(e.layout), "destroy");
    must(kvf_layout_destroy(e.other), "destroy");
    free(e.remotes);
    must(kvf_mpi_close(e.job, UINT64_C(10000000000)), "close");
    MPI_Finalize();
    return wrong != 0;
}

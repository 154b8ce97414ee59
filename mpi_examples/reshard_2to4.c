/*
 * reshard_2to4: two prefill ranks (TP2) hold a request's KV cache, four decode ranks (TP4) pull it.
 *
 *     mpicc -o reshard_2to4 reshard_2to4.c $(pkg-config --cflags --libs kvferry_mpi kvferry)
 *     mpirun -n 6 ./reshard_2to4
 *
 * Everything differs: 6 heads are 3 + 3 on one side and 2 + 2 + 1 + 1 on the other, blocks have 16
 * and 64 tokens, heads lie outside of tokens and inside, K and V are fused and apart. A decode rank
 * asks for its sources, binds each one's plan to the two block tables, and learns block for block
 * what arrived. Then rank 1 uses a block again: what lies before it can still be used.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>
#include <kvferry/mpi.h>

enum {
    LAYERS = 8,
    HEADS = 6,
    BYTES = 256,
    TOKENS = 1000,
    PREFILL = 2,
    DECODE = 4,
    REUSED = 32
};
enum {
    SMALL = 16,
    LARGE = 64,
    BLOCKS = (TOKENS + SMALL - 1) / SMALL
};
enum {
    ENTRIES = (TOKENS + LARGE - 1) / LARGE
};

/* What a rank tells the others. */
struct card {
    uint32_t ids[BLOCKS], gens[BLOCKS]; /* blocks in the order of the tokens */
};

static const kvf_kv_model_t model = {sizeof(model),    LAYERS,           "example",        HEADS,
                                     .k_bytes = BYTES, .v_bytes = BYTES, .element = "bf16"};

static void must(kvf_status_t status, const char *what)
{
    if (status != KVF_OK) {
        fprintf(stderr, "reshard_2to4: %s: %s: %s\n", what, kvf_status_name(status), kvf_last_error());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

/* A rank's end of it. */
struct end {
    kvf_mpi_t *job;
    int rank, prefill;
    uint32_t part; /* of its side */
    kvf_layout_t *layout, *layouts[PREFILL + DECODE];
    kvf_pool_t *pool;
    kvf_remote_t *remotes[PREFILL + DECODE];
    struct card mine, all[PREFILL + DECODE];
};

/* Visit the words of my heads, all layers and tokens: write them, or count wrong ones. */
static long visit(struct end *e, int write)
{
    const kvf_group_t *group = kvf_layout_describe(e->layout)->groups;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    uint32_t fused = group->plane_count == 1;
    long wrong = 0;

    must(kvf_segment_query(kvf_pool_segment(e->pool), &attr), "query");
    for (uint32_t n = 0; n < 2 * LAYERS * TOKENS * group->heads; n++) {
        uint32_t v = n % 2, layer = n / 2 % LAYERS, token = n / 2 / LAYERS % TOKENS;
        uint32_t head = group->first_head + n / 2 / LAYERS / TOKENS;
        uint64_t off;
        must(kvf_layout_locate(e->layout, 0, fused ? 0 : v, layer, e->mine.ids[token / group->block_tokens],
                               head, token % group->block_tokens, NULL, &off),
             "locate");
        uint64_t *at = (uint64_t *)((char *)attr.addr + off + (fused ? v * BYTES : 0));
        for (uint64_t word = 0; word < BYTES / 8; word++) {
            uint64_t is = (((token * 8ull + layer) * 8 + head) * 2 + v) * 32 + word;
            if (write) {
                at[word] = is * 0x9e3779b97f4a7c15;
            }
            wrong += at[word] != is * 0x9e3779b97f4a7c15;
        }
    }
    return wrong;
}

/* My heads, as my side cuts them; a pool for them, blocks for the request; tell the others. */
static void open_end(struct end *e)
{
    uint32_t tp = e->prefill ? PREFILL : DECODE, rest = HEADS % tp;
    kvf_layout_opts_t opts = {sizeof(opts), .blocks = BLOCKS};
    kvf_pool_opts_t size = {sizeof(size), .blocks = BLOCKS};
    kvf_grant_t *grant = NULL;
    kvf_range_t range = {.rights = KVF_RIGHT_READ};

    opts.block_tokens = e->prefill ? SMALL : LARGE;
    opts.heads = HEADS / tp + (e->part < rest);
    opts.first_head = HEADS / tp * e->part + (e->part < rest ? e->part : rest);
    must(kvf_layout_build(&model, e->prefill ? "LBHNC" : "BL2NHD", &opts, &e->layout), "layout");
    size.block_bytes = kvf_layout_block_bytes(e->layout);
    must(kvf_pool_create(kvf_mpi_engine(e->job), &size, &e->pool), "pool");
    must(kvf_pool_alloc(e->pool, BLOCKS, e->mine.ids), "alloc");
    must(kvf_pool_generations(e->pool, BLOCKS, e->mine.ids, e->mine.gens), "generations");
    if (e->prefill) {
        range.segment = kvf_pool_segment(e->pool);
        range.len = BLOCKS * size.block_bytes;
        must(kvf_grant_create(kvf_mpi_engine(e->job), &range, 1, NULL, &grant), "grant");
        visit(e, 1);
    }
    must(kvf_mpi_exchange_grants(e->job, grant, 1, e->remotes, NULL), "grants");
    must(kvf_mpi_exchange_layouts(e->job, e->layout, e->layouts), "layouts");
    MPI_Allgather(&e->mine, sizeof(e->mine), MPI_BYTE, e->all, sizeof(e->mine), MPI_BYTE, MPI_COMM_WORLD);
}

/* Who I read from, and a plan for each. */
static uint32_t find_sources(struct end *e, kvf_plan_source_t *sources)
{
    uint32_t count = PREFILL;

    must(kvf_plan_sources(e->layouts, PREFILL, e->layout, e->part, NULL, sources, &count), "sources");
    return count;
}

/* Pull all of it, from each source by its plan; each has a batch of its own, to fail alone. */
static kvf_plan_results_t pull(struct end *e, const kvf_plan_source_t *sources, uint32_t count,
                               int8_t *blocks)
{
    kvf_plan_results_t results = {.struct_size = sizeof(results)};
    kvf_bind_local_t local = {.segment = kvf_pool_segment(e->pool)};
    kvf_bind_table_t from = {.count = BLOCKS}, to = {.count = ENTRIES};

    to.ids = e->mine.ids;
    to.block_status = memset(blocks, KVF_INPROGRESS, ENTRIES);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rank = sources[i].rank;
        kvf_bind_t bind = {.struct_size = sizeof(bind),
                           .flags = KVF_BIND_KEEP,
                           .dir = KVF_READ,
                           .tokens = TOKENS,
                           .src_tables = &from,
                           .src_table_count = 1,
                           .dst_tables = &to,
                           .dst_table_count = 1,
                           .locals = &local,
                           .local_count = 1,
                           .remotes = &e->remotes[rank],
                           .remote_count = 1};
        kvf_batch_t *batch;
        from.ids = e->all[rank].ids;
        from.gens = e->all[rank].gens;
        must(kvf_batch_create(kvf_mpi_engine(e->job), &batch), "batch");
        if (kvf_plan_post(sources[i].plan, &bind, batch, NULL) == KVF_OK) {
            kvf_batch_wait(batch, KVF_FOREVER); /* how it ended is in the results */
        }
        must(kvf_plan_post_results(sources[i].plan, &bind, batch, &results), "results");
        must(kvf_batch_free(batch), "free");
    }
    return results;
}

int main(int argc, char **argv)
{
    static struct end e;
    kvf_plan_source_t sources[PREFILL];
    kvf_plan_results_t got = {0};
    int8_t blocks[ENTRIES];
    uint32_t count = 0;
    long wrong = 0, shorter = 0;

    MPI_Init(&argc, &argv);
    must(kvf_mpi_open(MPI_COMM_WORLD, NULL, &e.job), "open");
    e.rank = kvf_mpi_rank(e.job);
    e.prefill = e.rank < PREFILL;
    e.part = (uint32_t)(e.prefill ? e.rank : e.rank - PREFILL);
    must(kvf_mpi_size(e.job) == PREFILL + DECODE
             ? KVF_OK
             : kvf_fail(KVF_ERR_INVALID, "it takes %d ranks", PREFILL + DECODE),
         "start");
    open_end(&e);
    if (!e.prefill) {
        count = find_sources(&e, sources);
        got = pull(&e, sources, count, blocks);
        wrong = visit(&e, 0) + (got.prefix_tokens != TOKENS);
    }
    must(kvf_mpi_agree(e.job, KVF_OK), "agree");
    if (e.rank == 1) { /* its scheduler gives a block to another request */
        must(kvf_pool_raise(e.pool, 1, &e.mine.ids[REUSED]), "raise");
    }
    must(kvf_mpi_agree(e.job, KVF_OK), "agree");
    if (!e.prefill) {
        got = pull(&e, sources, count, blocks);
        shorter = got.prefix_tokens == REUSED * SMALL;
        wrong += shorter && blocks[REUSED * SMALL / LARGE] != KVF_ERR_STALE;
        wrong += !shorter && got.prefix_tokens != TOKENS;
    }
    long sums[3] = {wrong, count, shorter};
    MPI_Allreduce(MPI_IN_PLACE, sums, 3, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
    if (e.rank == 0) {
        printf("reshard_2to4: 4 ranks pulled %d tokens by %ld plans, %ld wrong; then a block was "
               "reused, and %ld could use %d of them\n",
               TOKENS, sums[1], sums[0], sums[2], REUSED * SMALL);
    }
    for (uint32_t i = 0; i < count; i++) {
        must(kvf_plan_destroy(sources[i].plan), "destroy");
    }
    for (int i = 0; i < PREFILL + DECODE; i++) {
        must(kvf_layout_destroy(e.layouts[i]), "destroy");
    }
    must(kvf_layout_destroy(e.layout), "destroy");
    must(kvf_mpi_close(e.job, UINT64_C(10000000000)), "close");
    MPI_Finalize();
    return sums[0] != 0;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What it costs to bind a plan to a request: Llama-3.1-70B from TP4 to TP8, so many blocks of 16
 * tokens; prints ops, ids, and the least and the median nanoseconds a binding. Run under callgrind,
 * which collects inside of bind_all() or bind_and_post() only, it gives instructions instead of times
 * (bench/cost.sh).
 *
 *     bind CASE BLOCKS BINDS     whole: layers in one allocation; cut: both ends within a block;
 *                                layers: K and V of each layer in allocations of their own;
 *                                ends: the same, both ends within a block;
 *                                sizes: to blocks of 64 tokens, so that ids are written;
 *                                list: as whole, and what other libraries are given instead is
 *                                made of it: offsets and length of each piece;
 *                                post: as whole, and the batch is posted, over shm, and canceled
 *                                before it copies; cold: the same, the caches full of other things;
 *                                plan: as post, by kvf_plan_post(). Of these three prints p50 and p90
 *                                of bind, of post, of both together
 */
#include <kvferry/kv.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "owner.h"

#define ROUNDS   31
#define MOST     65536u
#define OPS_MAX  1024u
#define SEGMENTS 256u
#define FLUSH    (UINT64_C(128) << 20) /* more than the caches of most machines */

static void ok(kvf_status_t status, const char *what)
{
    if (status == KVF_OK)
        return;
    fprintf(stderr, "bind: %s: %s\n", what, kvf_last_error());
    exit(1);
}

static kvf_layout_t *layout_of(const char *name, uint32_t first_head, uint32_t heads, uint32_t tokens,
                               uint32_t blocks)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts),
                              .block_tokens = tokens,
                              .blocks = blocks,
                              .first_head = first_head,
                              .heads = heads};
    const kvf_kv_model_t *model;
    kvf_layout_t *layout = NULL;

    ok(kvf_kv_model_find("llama-3.1-70b", &model), "model");
    ok(kvf_layout_build(model, name, &opts, &layout), "layout");
    return layout;
}

typedef struct piece {
    uint64_t local, remote, len;
} piece_t;

typedef struct run {
    kvf_plan_t *plan;
    piece_t *pieces; /* NULL, or room for all */
    kvf_bind_t bind;
    kvf_bind_table_t src, dst;
    kvf_op_t ops[OPS_MAX];
    uint32_t src_ids[MOST], dst_ids[MOST], ids[2 * MOST];
    kvf_bind_local_t locals[SEGMENTS];
    kvf_remote_t *remotes[SEGMENTS];
    uint64_t src_len, dst_len; /* bytes of the first segment */
    size_t op_count, id_count;
} run_t;

/* The op's pieces, written out. Returns where they end. */
static piece_t *list_op(const kvf_op_t *op, piece_t *piece)
{
    for (uint32_t i = 0; i < op->blocks; i++) {
        uint64_t local = op->local_off + op->local_ids[i] * op->local_block;
        uint64_t remote = op->remote_off + op->remote_ids[i] * op->remote_block;

        for (uint32_t y = 0; y < op->count[1]; y++)
            for (uint32_t x = 0; x < op->count[0]; x++)
                *piece++ = (piece_t){local + (uint64_t)(y * op->local_stride[1] + x * op->local_stride[0]),
                                     remote + (uint64_t)(y * op->remote_stride[1] + x * op->remote_stride[0]),
                                     op->len};
    }
    return piece;
}

static char handles[2 * SEGMENTS]; /* binding looks at no handle */

static void make_run(run_t *r, const char *what, uint32_t blocks)
{
    bool apart = strcmp(what, "layers") == 0 || strcmp(what, "ends") == 0;
    const char *name = apart ? "sglang" : "L2BNHD";
    uint32_t wide = strcmp(what, "sizes") == 0 ? 4 : 1;
    kvf_layout_t *src = layout_of(name, 0, 2, 16, blocks);
    kvf_layout_t *dst = layout_of(name, 1, 1, 16 * wide, (blocks + wide - 1) / wide);
    uint32_t segments = kvf_layout_describe(src)->segment_count;

    for (uint32_t i = 0; i < blocks; i++) {
        r->src_ids[i] = (uint32_t)((i * UINT64_C(7919) + 3) % blocks);
        r->dst_ids[i] = blocks / wide - 1 - i / wide;
    }
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        r->locals[i].segment = (kvf_segment_t *)&handles[i];
        r->remotes[i] = (kvf_remote_t *)&handles[SEGMENTS + i];
    }
    r->src = (kvf_bind_table_t){.ids = r->src_ids, .count = blocks};
    r->dst = (kvf_bind_table_t){.ids = r->dst_ids, .count = blocks / wide};
    r->bind = (kvf_bind_t){.struct_size = sizeof(r->bind),
                           .src_tables = &r->src,
                           .dst_tables = &r->dst,
                           .src_table_count = 1,
                           .dst_table_count = 1,
                           .tokens = UINT64_C(16) * blocks,
                           .locals = r->locals,
                           .remotes = r->remotes,
                           .local_count = segments,
                           .remote_count = segments};
    if (strcmp(what, "cut") == 0 || strcmp(what, "ends") == 0) {
        r->bind.first_token = 5;
        r->bind.tokens -= 12;
    }
    ok(kvf_plan_create(src, dst, NULL, &r->plan), "plan");
    if (strcmp(what, "list") == 0) {
        kvf_plan_size_t size = {.struct_size = sizeof(size)};

        ok(kvf_plan_measure(r->plan, &r->bind, &size), "measure");
        r->pieces = calloc(size.pieces, sizeof *r->pieces);
        if (r->pieces == NULL)
            ok(KVF_ERR_NOMEM, "list");
    }
    r->src_len = kvf_layout_describe(src)->segment_len[0];
    r->dst_len = kvf_layout_describe(dst)->segment_len[0];
    kvf_layout_destroy(src);
    kvf_layout_destroy(dst);
}

/* What is measured; callgrind finds it by name. */
static __attribute__((noinline)) void bind_all(run_t *r, unsigned binds)
{
    piece_t *end;

    for (unsigned i = 0; i < binds; i++) {
        r->op_count = OPS_MAX;
        r->id_count = 2 * MOST;
        ok(kvf_plan_bind(r->plan, &r->bind, r->ops, sizeof r->ops[0], &r->op_count, r->ids, &r->id_count),
           "bind");
        end = r->pieces;
        for (size_t k = 0; end != NULL && k < r->op_count; k++)
            end = list_op(&r->ops[k], end);
    }
}

static uint64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* What is measured; callgrind finds it by name. */
static __attribute__((noinline)) void bind_and_post(run_t *r, kvf_batch_t *batch, uint64_t at[3])
{
    r->op_count = OPS_MAX;
    r->id_count = 2 * MOST;
    at[0] = now_ns();
    ok(kvf_plan_bind(r->plan, &r->bind, r->ops, sizeof r->ops[0], &r->op_count, r->ids, &r->id_count),
       "bind");
    at[1] = now_ns();
    ok(kvf_batch_post(batch, r->ops, r->op_count, sizeof r->ops[0], NULL), "post");
    at[2] = now_ns();
}

/* The same in one call; the batch keeps ops and ids. */
static __attribute__((noinline)) void plan_and_post(run_t *r, kvf_batch_t *batch, uint64_t at[3])
{
    at[0] = at[1] = now_ns();
    ok(kvf_plan_post(r->plan, &r->bind, batch, NULL), "post");
    at[2] = now_ns();
}

/* Line by line: a memset of so much would go past the caches. */
static void flush(volatile char *other)
{
    for (uint64_t i = 0; i < FLUSH; i += 64)
        other[i]++;
}

static void print_post(const run_t *r, double *ns[3], unsigned count)
{
    static const char *const names[] = {"bind", "post", "both"};

    printf("%zu ops %zu ids", r->op_count, r->id_count);
    for (int i = 0; i < 3; i++) {
        qsort(ns[i], count, sizeof **ns, by_size);
        printf(", %s %.0f %.0f", names[i], ns[i][count / 2], ns[i][(uint64_t)count * 9 / 10]);
    }
    printf("\n");
}

/* The memory stays as it was mapped: nothing is copied. */
static void run_post(run_t *r, int cold, void (*post)(run_t *, kvf_batch_t *, uint64_t[3]), unsigned count)
{
    static owner_t owner;
    kvf_engine_t *engine;
    kvf_batch_t *batch;
    double *ns[3];
    char *other = cold ? calloc(FLUSH, 1) : NULL;

    for (int i = 0; i < 3; i++)
        ns[i] = calloc(count, sizeof *ns[i]);
    if (!ns[0] || !ns[1] || !ns[2] || (cold && !other))
        ok(KVF_ERR_NOMEM, "rounds");
    owner_fork(&owner, "bind", r->src_len, OWNER_SHARED);
    ok(kvf_engine_open(NULL, &engine), "open");
    ok(kvf_segment_alloc(engine, r->dst_len, &r->locals[0].segment), "alloc");
    r->remotes[0] = owner_import(&owner, engine);
    ok(kvf_batch_create(engine, &batch), "batch");
    for (unsigned i = 0; i < count; i++) {
        uint64_t at[3];

        if (cold)
            flush(other);
        post(r, batch, at);
        if (kvf_batch_cancel(batch) != KVF_ERR_CANCELED)
            ok(KVF_ERR_INVALID, "post copied");
        for (int k = 0; k < 3; k++)
            ns[k][i] = (double)(k < 2 ? at[k + 1] - at[k] : at[2] - at[0]);
    }
    print_post(r, ns, count);
    ok(kvf_engine_close(engine, 1000000000), "close");
    owner_end(&owner);
    for (int i = 0; i < 3; i++)
        free(ns[i]);
    free(other);
}

static void run_bind(run_t *r, unsigned binds)
{
    double ns[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t from = now_ns();

        bind_all(r, binds);
        ns[i] = (double)(now_ns() - from) / binds;
    }
    qsort(ns, ROUNDS, sizeof *ns, by_size);
    printf("%zu ops %zu ids %.1f %.1f\n", r->op_count, r->id_count, ns[0], ns[ROUNDS / 2]);
}

int main(int argc, char **argv)
{
    static const char *const cases[] = {"whole", "cut",  "layers", "ends", "sizes",
                                        "list",  "post", "cold",   "plan"};
    static run_t r;
    uint32_t blocks = argc == 4 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    unsigned binds = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0, known = 0;

    for (unsigned i = 0; argc == 4 && i < sizeof cases / sizeof cases[0]; i++)
        known += strcmp(argv[1], cases[i]) == 0;
    if (!known || blocks < 4 || blocks % 4 != 0 || blocks > MOST || !binds) {
        fprintf(stderr, "usage: bind whole|cut|layers|ends|sizes|list|post|cold|plan BLOCKS BINDS\n"
                        "BLOCKS is a multiple of 4, at most 65536\n");
        return 2;
    }
    make_run(&r, argv[1], blocks);
    if (strcmp(argv[1], "post") == 0 || strcmp(argv[1], "cold") == 0)
        run_post(&r, argv[1][0] == 'c', bind_and_post, binds);
    else if (strcmp(argv[1], "plan") == 0)
        run_post(&r, 0, plan_and_post, binds);
    else
        run_bind(&r, binds);
    free(r.pieces);
    kvf_plan_destroy(r.plan);
    return 0;
}

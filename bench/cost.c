/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a batch costs beside its bytes: posts batches of 64-byte ops and prints the least and the median
 * nanoseconds a batch, from post to its end. Run under callgrind, which collects inside of post_all(), or of
 * post_one() where the owner has to help, it gives instructions instead of times (bench/cost.sh).
 *
 *     cost PATH OPS PAIRS POSTS       PATH: self, shm, cma, stage or am; but for self the owner is a child
 */
#include "owner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PIECE   64u
#define MEMORY  (UINT64_C(1) << 20)
#define ROUNDS  31
#define OPS_MAX 1024u

static void ok(kvf_status_t status, const char *what)
{
    if (status == KVF_OK)
        return;
    fprintf(stderr, "cost: %s: %s\n", what, kvf_last_error());
    exit(1);
}

/* What is measured; callgrind finds it by name. */
static __attribute__((noinline)) void post_all(kvf_batch_t *batch, const kvf_op_t *ops, size_t count,
                                               unsigned posts)
{
    for (unsigned i = 0; i < posts; i++)
        if (kvf_batch_post(batch, ops, count, sizeof *ops, NULL) != KVF_OK || kvf_batch_test(batch) != KVF_OK)
            ok(KVF_ERR_INVALID, "post");
}

/* The same where a batch has not ended when post returns: how long the wait is depends on the owner. */
static __attribute__((noinline)) kvf_status_t post_one(kvf_batch_t *batch, const kvf_op_t *ops, size_t count,
                                                       const kvf_batch_opts_t *opts)
{
    return kvf_batch_post(batch, ops, count, sizeof *ops, opts);
}

static void post_and_wait(kvf_batch_t *batch, const kvf_op_t *ops, size_t count, unsigned posts,
                          kvf_path_t path)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof opts, .paths = KVF_PATH_BIT(path)};

    for (unsigned i = 0; i < posts; i++) {
        ok(post_one(batch, ops, count, &opts), "post");
        ok(kvf_batch_wait(batch, KVF_FOREVER), "wait");
    }
}

static kvf_path_t path_by_name(const char *name)
{
    static const kvf_path_t paths[] = {KVF_PATH_SELF, KVF_PATH_SHM, KVF_PATH_CMA, KVF_PATH_STAGE,
                                       KVF_PATH_AM};

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (!strcmp(name, kvf_path_name(paths[i])))
            return paths[i];
    return KVF_PATH_NONE;
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

int main(int argc, char **argv)
{
    static owner_t owner;
    static kvf_op_t ops[OPS_MAX];
    static uint32_t ids[MEMORY / PIECE];
    kvf_engine_t *engine;
    kvf_segment_t *segment;
    kvf_remote_t *remote;
    kvf_batch_t *batch;
    double ns[ROUNDS];
    kvf_engine_opts_t opts = {.struct_size = sizeof opts};
    kvf_path_t path = argc == 5 ? path_by_name(argv[1]) : KVF_PATH_NONE;
    int self = path == KVF_PATH_SELF, in_post = self || path == KVF_PATH_SHM;
    size_t op_count = argc == 5 ? strtoul(argv[2], NULL, 10) : 0;
    uint32_t pairs = argc == 5 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    unsigned posts = argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;

    if (path == KVF_PATH_NONE || !op_count || op_count > OPS_MAX || !pairs || pairs > MEMORY / PIECE ||
        !posts) {
        fprintf(stderr, "usage: cost self|shm|cma|stage|am OPS PAIRS POSTS\n");
        return 2;
    }
    if (!self)
        owner_fork(&owner, "cost", MEMORY,
                   path == KVF_PATH_SHM  ? OWNER_SHARED
                   : path == KVF_PATH_AM ? OWNER_FAR
                                         : OWNER_PRIVATE);
    opts.local = path == KVF_PATH_AM ? KVF_SWITCH_OFF : KVF_SWITCH_DEFAULT;
    ok(kvf_engine_open(&opts, &engine), "open");
    if (self)
        owner_here(&owner, "cost", engine, MEMORY);
    ok(kvf_segment_alloc(engine, MEMORY, &segment), "alloc");
    remote = owner_import(&owner, engine);
    ok(kvf_batch_create(engine, &batch), "batch");
    for (uint32_t i = 0; i < pairs; i++)
        ids[i] = i * 7 % pairs;
    for (size_t i = 0; i < op_count; i++)
        ops[i] = (kvf_op_t){.segment = segment,
                            .remote = remote,
                            .len = PIECE,
                            .count = {1, 1},
                            .blocks = pairs,
                            .dir = KVF_READ,
                            .local_off = i * PIECE % (MEMORY / 2),
                            .local_ids = ids,
                            .remote_ids = ids,
                            .local_block = PIECE,
                            .remote_block = PIECE,
                            .local_cap = pairs,
                            .remote_cap = pairs};
    for (int r = 0; r < ROUNDS; r++) {
        uint64_t from = now_ns();

        if (in_post)
            post_all(batch, ops, op_count, posts);
        else
            post_and_wait(batch, ops, op_count, posts, path);
        ns[r] = (double)(now_ns() - from) / posts;
    }
    qsort(ns, ROUNDS, sizeof *ns, by_size);
    printf("%.1f %.1f\n", ns[0], ns[ROUNDS / 2]);
    ok(kvf_engine_close(engine, 1000000000), "close");
    owner_end(&owner);
    return 0;
}

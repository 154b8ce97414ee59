/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a batch costs beside its bytes: posts batches of 64-byte ops, each done when post returns, and
 * prints the least and the median nanoseconds a batch. Run under callgrind, which collects inside of
 * post_all() only, it gives instructions instead of times (bench/cost.sh).
 *
 *     cost PATH OPS PAIRS POSTS       PATH: self or shm, whose owner is a child that sleeps
 */
#include "owner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PIECE    64u
#define MEMORY   (UINT64_C(1) << 20)
#define ROUNDS   31
#define OPS_MAX  1024u

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
        if (kvf_batch_post(batch, ops, count, sizeof *ops, NULL) != KVF_OK ||
            kvf_batch_test(batch) != KVF_OK)
            ok(KVF_ERR_INVALID, "post");
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
    static owner_t   owner;
    static kvf_op_t  ops[OPS_MAX];
    static uint32_t  ids[MEMORY / PIECE];
    kvf_engine_t    *engine;
    kvf_segment_t   *segment;
    kvf_remote_t    *remote;
    kvf_batch_t     *batch;
    double           ns[ROUNDS];
    int              self = argc == 5 && !strcmp(argv[1], "self");
    size_t           op_count = argc == 5 ? strtoul(argv[2], NULL, 10) : 0;
    uint32_t         pairs = argc == 5 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    unsigned         posts = argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;

    if (!op_count || op_count > OPS_MAX || !pairs || pairs > MEMORY / PIECE || !posts) {
        fprintf(stderr, "usage: cost self|shm OPS PAIRS POSTS\n");
        return 2;
    }
    if (!self)
        owner_fork(&owner, "cost", MEMORY);
    ok(kvf_engine_open(NULL, &engine), "open");
    if (self)
        owner_here(&owner, "cost", engine, MEMORY);
    ok(kvf_segment_alloc(engine, MEMORY, &segment), "alloc");
    remote = owner_import(&owner, engine);
    ok(kvf_batch_create(engine, &batch), "batch");
    for (uint32_t i = 0; i < pairs; i++)
        ids[i] = i * 7 % pairs;
    for (size_t i = 0; i < op_count; i++)
        ops[i] = (kvf_op_t){.segment = segment, .remote = remote, .len = PIECE, .count = {1, 1},
                            .blocks = pairs, .dir = KVF_READ, .local_off = i * PIECE % (MEMORY / 2),
                            .local_ids = ids, .remote_ids = ids, .local_block = PIECE,
                            .remote_block = PIECE, .local_cap = pairs, .remote_cap = pairs};
    for (int r = 0; r < ROUNDS; r++) {
        uint64_t from = now_ns();

        post_all(batch, ops, op_count, posts);
        ns[r] = (double)(now_ns() - from) / posts;
    }
    qsort(ns, ROUNDS, sizeof *ns, by_size);
    printf("%.1f %.1f\n", ns[0], ns[ROUNDS / 2]);
    ok(kvf_engine_close(engine, 1000000000), "close");
    owner_end(&owner);
    return 0;
}

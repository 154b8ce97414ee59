/* SPDX-License-Identifier: BSD-3-Clause
 *
 * From a shape to the work of a run: how many blocks each side's memory holds, how many go in a batch,
 * and in which order. A case smaller than the caches runs many times over a larger memory, so that it
 * finds its data cold, unless --hot asks for the contrary. What a block is cut into is layout.c's
 * matter. Nothing blocks.
 */
#include "config.h"

#include "bench.h"

#include <stdlib.h>

#include <kvferry/kv.h>

#include "../cli.h"

#define COLD_BYTES  (UINT64_C(128) << 20) /* least memory of a side */
#define HOT_RUN     (UINT64_C(256) << 20) /* bytes of a run, with --hot */
#define MOST_LOOPS  UINT64_C(20000)
#define LEAST_LOOPS UINT64_C(100)
#define MOST_BYTES  (UINT64_C(1) << 46)

/* block: bytes of a block that move */
static int cut_in_batches(const struct bench_args *args, uint64_t block, struct bench_plan *plan)
{
    uint64_t blocks = plan->shape.blocks, loops;

    plan->slots = blocks;
    plan->per = blocks;
    if (args->hot != 0) {
        loops = HOT_RUN / (blocks * block);
        loops = loops > MOST_LOOPS ? MOST_LOOPS : loops < LEAST_LOOPS ? LEAST_LOOPS : loops;
        plan->moved = loops * blocks;
    } else if (blocks * block < COLD_BYTES) {
        loops = (COLD_BYTES + blocks * block - 1) / (blocks * block);
        plan->slots = loops * blocks;
        plan->moved = (loops > MOST_LOOPS ? MOST_LOOPS : loops) * blocks;
    } else if (blocks < args->depth) {
        return kvfi_cli_fail("--depth: %llu batches cannot be cut from %llu blocks",
                             (unsigned long long)args->depth, (unsigned long long)blocks);
    } else {
        plan->per = (blocks + args->depth - 1) / args->depth;
        plan->moved = blocks;
    }
    plan->batches = (plan->moved + plan->per - 1) / plan->per;
    plan->covered = plan->moved < plan->slots ? plan->moved : plan->slots;
    if (plan->slots > UINT32_MAX - 1) {
        return kvfi_cli_fail("--pieces: ids of %llu blocks do not fit in 32 bits",
                             (unsigned long long)plan->slots);
    }
    return 0;
}

static int make(const struct bench_args *args, struct bench_plan *plan)
{
    struct bench_shape *run = &plan->shape;
    uint64_t block, most;

    if (run->piece > MOST_BYTES / run->pieces) {
        return kvfi_cli_fail("--piece: %llu pieces of %llu bytes are more than this tool measures",
                             (unsigned long long)run->pieces, (unsigned long long)run->piece);
    }
    if (args->hot != 0 && kvfi_bench_shrink(args, args->hot, run) != 0) {
        return -1;
    }
    uint64_t a_block = run->pieces / run->blocks;
    run->blocks = (uint64_t)((unsigned __int128)run->blocks * args->scale_num / args->scale_den);
    run->blocks = run->blocks != 0 ? run->blocks : 1;
    run->pieces = run->blocks * a_block;
    if (kvfi_bench_block_bytes(args, run, &block, &most) != 0 || cut_in_batches(args, block, plan) != 0 ||
        kvfi_bench_plan_bind(args, plan) != 0) {
        return -1;
    }
    plan->run_bytes = plan->moved * plan->block_bytes;
    return 0;
}

int kvfi_bench_plan_make(const struct bench_args *args, const struct bench_shape *shape,
                         struct bench_plan *plan_p)
{
    struct bench_plan plan = {.shape = *shape, .seed = args->seed};

    if (make(args, &plan) != 0) {
        kvfi_bench_plan_free(&plan);
        return -1;
    }
    *plan_p = plan;
    return 0;
}

int kvfi_bench_plan_plain(uint64_t piece, uint64_t pieces, uint64_t seed, struct bench_plan *plan_p)
{
    const struct bench_args args = {.depth = 1};
    struct bench_plan plan = {
        .shape = {.name = "plain", .long_name = "plain", .piece = piece, .pieces = pieces, .blocks = pieces},
        .seed = seed};

    plan.slots = plan.per = plan.moved = plan.covered = pieces;
    plan.batches = 1;
    plan.run_bytes = pieces * piece;
    if (kvfi_bench_plan_bind(&args, &plan) != 0 || kvfi_bench_plan_ids(&plan) != 0) {
        kvfi_bench_plan_free(&plan);
        return -1;
    }
    *plan_p = plan;
    return 0;
}

static uint32_t *permutation(uint64_t count, uint64_t seed)
{
    uint32_t *ids = malloc(count * sizeof(*ids));

    if (ids == NULL) {
        return NULL;
    }
    for (uint64_t i = 0; i < count; i++) {
        ids[i] = (uint32_t)i;
    }
    for (uint64_t i = count; i > 1; i--) {
        seed = kvfi_bench_mix(seed);
        uint64_t j = seed % i;
        uint32_t id = ids[i - 1];
        ids[i - 1] = ids[j];
        ids[j] = id;
    }
    return ids;
}

int kvfi_bench_plan_ids(struct bench_plan *plan)
{
    plan->source_ids = permutation(plan->slots, kvfi_bench_mix(plan->seed) ^ 1);
    plan->dest_ids = permutation(plan->slots, kvfi_bench_mix(plan->seed) ^ 2);
    if (plan->source_ids == NULL || plan->dest_ids == NULL) {
        return kvfi_cli_fail("no memory for the ids of %llu blocks", (unsigned long long)plan->slots);
    }
    return 0;
}

void kvfi_bench_plan_free(struct bench_plan *plan)
{
    kvf_plan_destroy(plan->kv);
    free(plan->boxes);
    free(plan->source_ids);
    free(plan->dest_ids);
    *plan = (struct bench_plan){0};
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * From a shape to the bytes of a run: how many blocks each side's memory holds, in which order they
 * go, and what stands in them. A case smaller than the caches runs many times over a larger memory,
 * so that it finds its data cold, unless --hot asks for the contrary.
 */
#include "config.h"

#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "../cli.h"

#define COLD_BYTES  (UINT64_C(128) << 20) /* least memory of a side */
#define HOT_BYTES   (UINT64_C(512) << 10) /* most memory of a side, with --hot */
#define HOT_RUN     (UINT64_C(256) << 20) /* bytes of a run, with --hot */
#define MOST_LOOPS  UINT64_C(20000)
#define LEAST_LOOPS UINT64_C(100)
#define MOST_BYTES  (UINT64_C(1) << 46)

/* bytes, aligned for nothing, of any type */
typedef uint64_t __attribute__((aligned(1), may_alias)) word_t;

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void shrink_to_hot(struct bench_shape *shape)
{
    if (shape->rows * shape->source_cell > HOT_BYTES) {
        shape->rows = 1;
    }
    uint64_t most = HOT_BYTES / (shape->rows * shape->source_cell);
    uint64_t blocks = shape->pieces / shape->rows;
    most = most != 0 ? most : 1;
    shape->pieces = (blocks < most ? blocks : most) * shape->rows;
}

static int cut_in_batches(const struct bench_args *args, uint64_t blocks, struct bench_plan *plan)
{
    uint64_t block_bytes = plan->shape.rows * plan->shape.piece, loops;

    plan->slots = blocks;
    plan->per = blocks;
    if (args->hot) {
        loops = HOT_RUN / (blocks * block_bytes);
        loops = loops > MOST_LOOPS ? MOST_LOOPS : loops < LEAST_LOOPS ? LEAST_LOOPS : loops;
        plan->moved = loops * blocks;
    } else if (blocks * block_bytes < COLD_BYTES) {
        loops = (COLD_BYTES + blocks * block_bytes - 1) / (blocks * block_bytes);
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

int kvfi_bench_plan_make(const struct bench_args *args, const struct bench_shape *shape,
                         struct bench_plan *plan_p)
{
    struct bench_plan plan = {.shape = *shape, .seed = args->seed};
    struct bench_shape *run = &plan.shape;

    if (run->source_cell > MOST_BYTES / run->pieces) {
        return kvfi_cli_fail("--piece: %llu pieces of %llu bytes are more than this tool measures",
                             (unsigned long long)run->pieces, (unsigned long long)run->piece);
    }
    if (args->hot) {
        shrink_to_hot(run);
    }
    uint64_t blocks = run->pieces / run->rows;
    blocks = (uint64_t)((unsigned __int128)blocks * args->scale_num / args->scale_den);
    blocks = blocks != 0 ? blocks : 1;
    run->pieces = blocks * run->rows;
    if (cut_in_batches(args, blocks, &plan) != 0) {
        return -1;
    }
    plan.row_span = args->per_layer ? 1 : run->rows;
    plan.source_cell = run->source_cell;
    plan.dest_cell = run->piece;
    plan.source_bytes = plan.slots * run->rows * plan.source_cell;
    plan.dest_bytes = plan.slots * run->rows * plan.dest_cell;
    plan.run_bytes = plan.moved * run->rows * run->piece;
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
        seed = mix(seed);
        uint64_t j = seed % i;
        uint32_t id = ids[i - 1];
        ids[i - 1] = ids[j];
        ids[j] = id;
    }
    return ids;
}

int kvfi_bench_plan_ids(struct bench_plan *plan)
{
    plan->source_ids = permutation(plan->slots, mix(plan->seed) ^ 1);
    plan->dest_ids = permutation(plan->slots, mix(plan->seed) ^ 2);
    if (plan->source_ids == NULL || plan->dest_ids == NULL) {
        return kvfi_cli_fail("no memory for the ids of %llu blocks",
                             (unsigned long long)plan->slots);
    }
    return 0;
}

void kvfi_bench_plan_free(struct bench_plan *plan)
{
    free(plan->source_ids);
    free(plan->dest_ids);
    plan->source_ids = plan->dest_ids = NULL;
}

/* ------------------------------------------------------------------ contents */

#define STEP UINT64_C(0x9fb21c651e98df25) /* odd: no two words of a piece are alike */

static uint64_t first_word(const struct bench_plan *plan, uint64_t id, uint64_t row)
{
    return mix(plan->seed ^ mix(id * plan->shape.rows + row));
}

void kvfi_bench_fill(const struct bench_plan *plan, char *const *source)
{
    uint64_t words = plan->source_cell / 8, rest = plan->source_cell % 8;

    for (uint64_t row = 0; row < plan->shape.rows; row++) {
        for (uint64_t id = 0; id < plan->slots; id++) {
            char *cell = source[row] + id * plan->source_cell;
            word_t *at = (word_t *)cell;
            uint64_t word = first_word(plan, id, row);
            for (uint64_t i = 0; i < words; i++) {
                at[i] = word;
                word += STEP;
            }
            memcpy(cell + words * 8, &word, rest);
        }
    }
}

void kvfi_bench_poison(const struct bench_plan *plan, char *const *dest, uint64_t run)
{
    for (uint64_t row = 0; row < plan->shape.rows; row++) {
        memset(dest[row], (int)(0x5a + 37 * run) & 0xff, plan->slots * plan->dest_cell);
    }
}

static uint64_t count_wrong(const struct bench_plan *plan, const unsigned char *piece,
                            uint64_t word)
{
    uint64_t wrong = 0;

    for (uint64_t off = 0; off < plan->shape.piece; off += 8, word += STEP) {
        uint64_t len = plan->shape.piece - off < 8 ? plan->shape.piece - off : 8;
        unsigned char right[8];
        memcpy(right, &word, 8);
        for (uint64_t i = 0; i < len; i++) {
            wrong += piece[off + i] != right[i];
        }
    }
    return wrong;
}

static uint64_t verify_piece(const struct bench_plan *plan, const unsigned char *piece,
                             uint64_t first)
{
    const word_t *at = (const word_t *)piece;
    uint64_t words = plan->shape.piece / 8, word = first, differs = 0, tail = 0, right;

    for (uint64_t i = 0; i < words; i++) {
        differs |= at[i] ^ word;
        word += STEP;
    }
    right = word;
    memcpy(&tail, &right, 8);
    memcpy(&tail, piece + words * 8, plan->shape.piece % 8);
    differs |= tail ^ right;
    return differs == 0 ? 0 : count_wrong(plan, piece, first);
}

uint64_t kvfi_bench_verify(const struct bench_plan *plan, char *const *dest)
{
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < plan->covered; i++) {
        for (uint64_t row = 0; row < plan->shape.rows; row++) {
            const unsigned char *piece =
                (const unsigned char *)dest[row] + plan->dest_ids[i] * plan->dest_cell;
            wrong += verify_piece(plan, piece, first_word(plan, plan->source_ids[i], row));
        }
    }
    return wrong;
}

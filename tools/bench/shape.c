/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The fixed shapes of kvf_bench: real cases of KV transfer by name, each a model, its layout on both
 * sides and how it is cut over ranks there, and the two sweeps. The sizes beside them are what the
 * planner must come to. The ids of the blocks are a random permutation on both sides.
 */
#include "config.h"

#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "../cli.h"

#define KIB UINT64_C(1024)

/* Prompts of 8192 tokens. Ranks are the first of their side: of two heads that a rank of TP 4 holds,
 * TP 8 takes the first. */
#define BLOCKS_OF_16 512
#define BLOCKS_OF_64 128 /* MLA */

/* clang-format off */
static const struct bench_shape fixed[] = {
    {.name = "W1", .long_name = "pd-8b-lbhnc",
     .model = "llama-3.1-8b", .source_layout = "LBHNC", .source_tp = 1, .dest_tp = 1,
     .piece = 64 * KIB, .pieces = 16384, .blocks = BLOCKS_OF_16},
    {.name = "W2", .long_name = "pd-70b-tp4-lbhnc",
     .model = "llama-3.1-70b", .source_layout = "LBHNC", .source_tp = 4, .dest_tp = 4,
     .piece = 16 * KIB, .pieces = 40960, .blocks = BLOCKS_OF_16},
    {.name = "W3", .long_name = "pd-70b-tp4to8-hnd",
     .model = "llama-3.1-70b", .source_layout = "LBHNC", .source_tp = 4, .dest_tp = 8,
     .piece = 8 * KIB, .pieces = 40960, .blocks = BLOCKS_OF_16},
    {.name = "W4", .long_name = "pd-70b-tp4to8-nhd",
     .model = "llama-3.1-70b", .source_layout = "LBNHC", .source_tp = 4, .dest_tp = 8,
     .piece = 512, .pieces = 655360, .blocks = BLOCKS_OF_16},
    {.name = "W5", .long_name = "mla-dsv3-n64",
     .model = "deepseek-v3", .source_layout = "LBNC", .source_tp = 1, .dest_tp = 1,
     .piece = 72 * KIB, .pieces = 7808, .blocks = BLOCKS_OF_64},
    {.name = "W6", .long_name = "pool-get-70b-bhlnc",
     .model = "llama-3.1-70b", .source_layout = "BHLNC", .source_tp = 4, .dest_tp = 8,
     .piece = 640 * KIB, .pieces = 512, .blocks = BLOCKS_OF_16},
    {.name = "W7", .long_name = "xlayer-8b",
     .model = "llama-3.1-8b", .source_layout = "BLHNC", .source_tp = 1, .dest_tp = 1,
     .piece = 2048 * KIB, .pieces = 512, .blocks = BLOCKS_OF_16},
    {.name = "W8", .long_name = "layerwise-70b-tp4",
     .model = "llama-3.1-70b", .source_layout = "LBHNC", .source_tp = 4, .dest_tp = 4,
     .piece = 16 * KIB, .pieces = 40960, .blocks = BLOCKS_OF_16, .layerwise = true},
};
/* clang-format on */

#define TINY_NAME      "W9"
#define TINY_LONG_NAME "tiny"
#define TINY_LEAST     UINT64_C(64)
#define TINY_MOST      (4 * KIB)

#define SWEEP_NAME      "W10"
#define SWEEP_LONG_NAME "frag-sweep"
#define SWEEP_LEAST     UINT64_C(256)
#define SWEEP_MOST      (4096 * KIB)
#define SWEEP_BYTES     (320 * 1024 * KIB)

/* --sweep: wider, and no more bytes than it takes to be out of the caches */
#define WIDE_MOST  (16 * 1024 * KIB)
#define WIDE_BYTES (128 * 1024 * KIB)

int kvfi_bench_shape_add(const struct bench_shape *shape, struct bench_args *args)
{
    struct bench_shape *more = realloc(args->shapes, (args->shape_count + 1) * sizeof(*args->shapes));

    if (more == NULL) {
        return kvfi_cli_fail("no memory");
    }
    args->shapes = more;
    args->shapes[args->shape_count] = *shape;
    if (shape->dest_layout == NULL) {
        args->shapes[args->shape_count].dest_layout = shape->source_layout;
    }
    args->shape_count++;
    return 0;
}

static int add_tiny(struct bench_args *args)
{
    for (uint64_t piece = TINY_LEAST; piece <= TINY_MOST; piece *= 2) {
        struct bench_shape shape = {.name = TINY_NAME,
                                    .long_name = TINY_LONG_NAME,
                                    .piece = piece,
                                    .pieces = 1,
                                    .blocks = 1,
                                    .tiny = true};
        if (kvfi_bench_shape_add(&shape, args) != 0) {
            return -1;
        }
    }
    return 0;
}

static int add_sizes(const char *name, const char *long_name, uint64_t most, uint64_t bytes,
                     struct bench_args *args)
{
    for (uint64_t piece = SWEEP_LEAST; piece <= most; piece *= 2) {
        struct bench_shape shape = {.name = name,
                                    .long_name = long_name,
                                    .piece = piece,
                                    .pieces = bytes / piece,
                                    .blocks = bytes / piece};
        if (kvfi_bench_shape_add(&shape, args) != 0) {
            return -1;
        }
    }
    return 0;
}

static bool is_called(const char *name, const char *short_name, const char *long_name)
{
    return strcasecmp(name, short_name) == 0 || strcasecmp(name, long_name) == 0;
}

int kvfi_bench_shapes_of_sweep(struct bench_args *args)
{
    return add_sizes("sweep", "sweep", WIDE_MOST, WIDE_BYTES, args);
}

int kvfi_bench_shapes_by_name(const char *name, struct bench_args *args)
{
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (is_called(name, fixed[i].name, fixed[i].long_name)) {
            return kvfi_bench_shape_add(&fixed[i], args);
        }
    }
    if (is_called(name, TINY_NAME, TINY_LONG_NAME)) {
        return add_tiny(args);
    }
    if (is_called(name, SWEEP_NAME, SWEEP_LONG_NAME)) {
        return add_sizes(SWEEP_NAME, SWEEP_LONG_NAME, SWEEP_MOST, SWEEP_BYTES, args);
    }
    return kvfi_cli_fail("--shape: \"%s\" is none of W1 to W10 "
                         "(kvf_bench --help says what they are)",
                         name);
}

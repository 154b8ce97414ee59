/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The fixed shapes of kvf_bench: real cases of KV transfer by name, and the two sweeps. A block is
 * `rows` pieces (its layers), one far from the other, as where a layer is outermost in memory; the
 * ids of the blocks are a random permutation on both sides.
 */
#include "config.h"

#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "../cli.h"

#define KIB UINT64_C(1024)

static const struct bench_shape fixed[] = {
    /* name, long name, piece, pieces, rows, source cell, tiny */
    {"W1", "pd-8b-lbhnc", 64 * KIB, 16384, 32, 64 * KIB, false},
    {"W2", "pd-70b-tp4-lbhnc", 16 * KIB, 40960, 80, 16 * KIB, false},
    /* one of the two heads that a source rank holds in a block */
    {"W3", "pd-70b-tp4to8-hnd", 8 * KIB, 40960, 80, 16 * KIB, false},
    {"W5", "mla-dsv3-n64", 72 * KIB, 7808, 61, 72 * KIB, false},
    {"W6", "pool-get-70b-bhlnc", 640 * KIB, 512, 1, 640 * KIB, false},
    {"W7", "xlayer-8b", 2048 * KIB, 512, 1, 2048 * KIB, false},
};

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
    struct bench_shape *more =
        realloc(args->shapes, (args->shape_count + 1) * sizeof(*args->shapes));

    if (more == NULL) {
        return kvfi_cli_fail("no memory");
    }
    args->shapes = more;
    args->shapes[args->shape_count++] = *shape;
    return 0;
}

static int add_tiny(struct bench_args *args)
{
    for (uint64_t piece = TINY_LEAST; piece <= TINY_MOST; piece *= 2) {
        struct bench_shape shape = {TINY_NAME, TINY_LONG_NAME, piece, 1, 1, piece, true};
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
        struct bench_shape shape = {name, long_name, piece, bytes / piece, 1, piece, false};
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
    return kvfi_cli_fail("--shape: \"%s\" is none of W1, W2, W3, W5, W6, W7, W9, W10 "
                         "(kvf_bench --help says what they are)",
                         name);
}

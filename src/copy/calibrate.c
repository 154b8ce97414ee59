/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The measuring behind a calibration: scattered pieces in memory that is larger than the caches, and
 * looks at memory that is and is not in them. Candidates take turns, and the best time of each counts,
 * because a busy machine only ever makes a time longer. Keeps a processor busy for one to five seconds.
 */
#define _GNU_SOURCE
#include "copy/calibration.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "copy/ticks.h"

#define SIDE_LEAST (UINT64_C(64) << 20)
#define SIDE_MOST  (UINT64_C(256) << 20)
#define ROUNDS     12
#define SPAN_NS    UINT64_C(500000000) /* for one comparison */
#define PIECES     16384u
#define LOOKS      200u
#define CLEARLY    0.95 /* of the time of another is clearly better */
#define AS_GOOD    1.08 /* times that of lanes: lanes suffer where pieces lie at powers of two */

typedef struct bench {
    char *dst, *src;
    uint64_t side; /* bytes of each */
    uint64_t state;
    kvfi_piece_t *pieces;
} bench_t;

static uint64_t any(bench_t *bench, uint64_t below)
{
    bench->state ^= bench->state << 13;
    bench->state ^= bench->state >> 7;
    bench->state ^= bench->state << 17;
    return bench->state % below;
}

static void close_bench(bench_t *bench)
{
    if (bench->dst)
        munmap(bench->dst, bench->side);
    if (bench->src)
        munmap(bench->src, bench->side);
    free(bench->pieces);
}

static int open_bench(bench_t *bench, const kvfi_host_t *host)
{
    uint64_t side = 2 * host->last;

    *bench = (bench_t){.state = 88172645463325252u};
    bench->side = side < SIDE_LEAST ? SIDE_LEAST : side > SIDE_MOST ? SIDE_MOST : side;
    bench->dst = kvfi_host_map(bench->side);
    bench->src = kvfi_host_map(bench->side);
    bench->pieces = calloc(PIECES, sizeof *bench->pieces);
    if (bench->dst && bench->src && bench->pieces)
        return 0;
    close_bench(bench);
    return -1;
}

/* Pieces of len bytes over the first `span` bytes of both sides, each place once at random; how many. */
static unsigned scatter(bench_t *bench, uint64_t len, uint64_t span)
{
    unsigned count = span / len < PIECES ? (unsigned)(span / len) : PIECES;

    for (unsigned i = 0; i < count; i++)
        bench->pieces[i] = (kvfi_piece_t){bench->dst + i * len, bench->src + i * len, len};
    for (unsigned i = count - 1; i > 0; i--) {
        unsigned j = (unsigned)any(bench, i + 1), k = (unsigned)any(bench, i + 1);
        char *dst = bench->pieces[i].dst;
        const char *src = bench->pieces[i].src;

        bench->pieces[i].dst = bench->pieces[j].dst;
        bench->pieces[j].dst = dst;
        bench->pieces[i].src = bench->pieces[k].src;
        bench->pieces[k].src = src;
    }
    return count;
}

/* ------------------------------------------------------------------- copies */

typedef struct way {
    const kvfi_kernel_t *kernel;
    uint64_t linear_from;
    uint64_t best; /* ticks */
} way_t;

/* Nothing of these pieces is in the caches once the whole of both sides was copied in between. */
static void compare(bench_t *bench, uint64_t len, way_t *ways, unsigned count)
{
    unsigned pieces = scatter(bench, len, bench->side);
    uint64_t begin = kvfi_now_ns();

    for (unsigned i = 0; i < count; i++)
        ways[i].best = UINT64_MAX;
    for (unsigned round = 0; round < ROUNDS && (round < 2 || kvfi_now_ns() - begin < SPAN_NS); round++)
        for (unsigned i = 0; i < count; i++) {
            kvfi_flow_t flow = {.linear_from = ways[i].linear_from};
            uint64_t took = kvfi_ticks();

            ways[i].kernel->stream(bench->pieces, pieces, 0, &flow);
            took = kvfi_ticks() - took;
            if (took < ways[i].best)
                ways[i].best = took;
        }
}

/* Kernels come best first: a later one must win clearly. */
static void choose_kernel(bench_t *bench, kvfi_tune_t *tune)
{
    static const char *const names[] = {"avx512", "avx2", "neon", "plain"};
    way_t ways[4], *best = ways;
    unsigned count = 0;

    for (unsigned i = 0; i < 4; i++) {
        const kvfi_kernel_t *kernel = kvfi_kernel_find(names[i]);

        if (kernel)
            ways[count++] = (way_t){.kernel = kernel, .linear_from = tune->linear_from};
    }
    compare(bench, 4096, ways, count);
    for (unsigned i = 1; i < count; i++)
        if (ways[i].best < CLEARLY * best->best)
            best = &ways[i];
    tune->kernel = best->kernel;
}

/* The shortest length from which one after the other is as good, at it and at all longer ones. */
static void choose_linear(bench_t *bench, kvfi_tune_t *tune)
{
    static const uint64_t lens[] = {1 << 20, 256 << 10, 64 << 10, 32 << 10, 16 << 10, 8 << 10};

    tune->linear_from = UINT64_MAX;
    for (unsigned i = 0; i < sizeof lens / sizeof *lens; i++) {
        way_t ways[] = {{.kernel = tune->kernel, .linear_from = UINT64_MAX},
                        {.kernel = tune->kernel, .linear_from = 1}};

        compare(bench, lens[i], ways, 2);
        if (ways[1].best > AS_GOOD * ways[0].best)
            break;
        tune->linear_from = lens[i];
    }
}

/* -------------------------------------------------------------------- looks */

static int later(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The part-th of 100 of the looks at 16 pieces each of the first `span` bytes, in ticks. */
static uint64_t look(bench_t *bench, uint64_t span, int warm, unsigned part)
{
    uint64_t times[LOOKS];
    unsigned pieces = scatter(bench, 4096, span);

    for (unsigned i = 0; i < LOOKS; i++) {
        const kvfi_piece_t *at = &bench->pieces[any(bench, pieces - 16)];

        if (warm && i % 50 == 0)
            kvfi_kernel_plain.cached(bench->pieces, pieces);
        times[i] = kvfi_tune_look(at, 16);
    }
    qsort(times, LOOKS, sizeof *times, later);
    return times[(uint64_t)LOOKS * part / 100];
}

static uint64_t root_of(uint64_t square)
{
    uint64_t root = 0;

    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= square)
            root |= bit;
    return root;
}

/* Between what is rarely seen in the last cache and what is nearly always seen in memory. */
static void choose_cold(bench_t *bench, const kvfi_host_t *host, kvfi_tune_t *tune)
{
    uint64_t begin_ns = kvfi_now_ns(), begin = kvfi_ticks(), span = host->last / 8, hot, cold, ns;

    cold = look(bench, bench->side, 0, 10);
    hot = look(bench, span < host->l2 ? host->l2 : span, 1, 75);
    if (cold <= hot + hot / 4)
        return; /* they cannot be told apart */
    while ((ns = kvfi_now_ns() - begin_ns) < 1000000)
        ;
    tune->cold_ns = root_of(cold * hot) * ns / (kvfi_ticks() - begin);
    if (!tune->cold_ns)
        tune->cold_ns = 1;
}

int kvfi_calibrate(const kvfi_host_t *host, kvfi_tune_t *tune_p)
{
    bench_t bench;

    if (open_bench(&bench, host))
        return -1;
    choose_kernel(&bench, tune_p);
    choose_linear(&bench, tune_p);
    choose_cold(&bench, host, tune_p);
    close_bench(&bench);
    return 0;
}

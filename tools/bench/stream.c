/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The stream peer: as many bytes as the case moves, from the same memory to the same memory, but in
 * whatever order is best for the machine: the ceiling of what one core can do here. Pieces do not
 * matter to it, and so it leaves no byte in its place; it is a bound, not a rival. A few ways are
 * tried once, the fastest is taken. Nothing blocks.
 */
#include "config.h"

#include "bench.h"

#include <string.h>

#include "../cli.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define LANES       8    /* places at which a way works at the same time */
#define STEP        256  /* bytes that it moves at one of them before it goes to the next */
#define AHEAD       1024 /* bytes from a load to the prefetch */
#define LINE        64
#define CHUNK       (UINT64_C(1) << 20)
#define TRIAL_BYTES (UINT64_C(64) << 20)
#define TRIALS      3

/* Moves lanes x len bytes: lane k lies k * len after the start. len is a multiple of STEP. */
typedef void (*lanes_t)(char *dest, const char *source, uint64_t len, unsigned lanes);

static void lanes_memcpy(char *dest, const char *source, uint64_t len, unsigned lanes)
{
    memcpy(dest, source, len * lanes);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void lanes_avx2(char *dest, const char *source, uint64_t len,
                                                       unsigned lanes)
{
    for (uint64_t at = 0; at < len; at += STEP) {
        for (unsigned k = 0; k < lanes; k++) {
            const char *from = source + k * len + at;
            char *to = dest + k * len + at;
            for (unsigned i = 0; i < STEP; i += 64) {
                _mm_prefetch(from + AHEAD + i, _MM_HINT_T0);
                __m256i a = _mm256_loadu_si256((const __m256i *)(from + i));
                __m256i b = _mm256_loadu_si256((const __m256i *)(from + i + 32));
                _mm256_stream_si256((__m256i *)(to + i), a);
                _mm256_stream_si256((__m256i *)(to + i + 32), b);
            }
        }
    }
    _mm_sfence();
}

__attribute__((target("avx512f"))) static void lanes_avx512(char *dest, const char *source, uint64_t len,
                                                            unsigned lanes)
{
    for (uint64_t at = 0; at < len; at += STEP) {
        for (unsigned k = 0; k < lanes; k++) {
            const char *from = source + k * len + at;
            char *to = dest + k * len + at;
            for (unsigned i = 0; i < STEP; i += 64) {
                _mm_prefetch(from + AHEAD + i, _MM_HINT_T0);
                _mm512_stream_si512((void *)(to + i), _mm512_loadu_si512(from + i));
            }
        }
    }
    _mm_sfence();
}
#else
static void lanes_avx2(char *dest, const char *source, uint64_t len, unsigned lanes)
{
    lanes_memcpy(dest, source, len, lanes);
}
#define lanes_avx512 lanes_avx2
#endif

static const struct way {
    const char *name;
    lanes_t move;
    unsigned lanes;
    const char *needs; /* of the processor */
} ways[] = {{"memcpy", lanes_memcpy, 1, NULL},
            {"avx2", lanes_avx2, 1, "avx2"},
            {"avx2 x 8", lanes_avx2, LANES, "avx2"},
            {"avx512", lanes_avx512, 1, "avx512f"},
            {"avx512 x 8", lanes_avx512, LANES, "avx512f"}};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

static bool can(const struct way *way)
{
    if (way->needs == NULL) {
        return true;
    }
#ifdef __x86_64__
    return strcmp(way->needs, "avx2") == 0 ? __builtin_cpu_supports("avx2")
                                           : __builtin_cpu_supports("avx512f");
#else
    return false;
#endif
}

/* As much of at most `bytes` as one way moves from a start; at least a byte. */
static uint64_t move_part(const struct way *way, char *dest, const char *source, uint64_t bytes)
{
    uint64_t lane = bytes / way->lanes / STEP * STEP;

    if (lane == 0) {
        memcpy(dest, source, bytes);
        return bytes;
    }
    way->move(dest, source, lane, way->lanes);
    return lane * way->lanes;
}

/* Chunks of the smaller side, one after the other, segment by segment, over and over. */
static double move(const struct bench_case *c, const struct way *way, uint64_t bytes)
{
    const struct bench_plan *plan = c->plan;
    bool reads = c->args->dir == KVF_READ;
    char *const *other = kvfi_bench_other_side(c), *const *local = c->ends->local.starts;
    char *const *dest = reads ? local : other, *const *source = reads ? other : local;
    uint64_t from = plan->source_bytes / plan->source_segments;
    uint64_t to = plan->dest_bytes / plan->dest_segments, room = from < to ? from : to;
    uint64_t segments =
        plan->source_segments < plan->dest_segments ? plan->source_segments : plan->dest_segments;
    uint64_t segment = 0, at = 0, done = 0;
    double start = kvfi_bench_now();

    while (done < bytes) {
        if (at >= room) {
            segment = (segment + 1) % segments;
            at = 0;
        }
        if (at == 0 && room > 2 * LINE) { /* stores that stream want whole lines */
            at = -(uintptr_t)dest[segment] % LINE;
        }
        uint64_t len = room - at < CHUNK ? room - at : CHUNK;
        len = bytes - done < len ? bytes - done : len;
        uint64_t moved = move_part(way, dest[segment] + at, source[segment] + at, len);
        done += moved;
        at = moved % LINE == 0 ? at + moved : room; /* after a tail: the next whole line */
    }
    return kvfi_bench_now() - start;
}

static int find_best(const struct bench_case *c, struct bench_peer *peer)
{
    uint64_t bytes = c->plan->run_bytes < TRIAL_BYTES ? c->plan->run_bytes : TRIAL_BYTES;
    double least = -1;

    for (int round = 0; round < TRIALS && c->job->initiator; round++) {
        for (size_t i = 0; i < WAYS; i++) {
            double took = can(&ways[i]) ? move(c, &ways[i], bytes) : -1;
            if (took >= 0 && (least < 0 || took < least)) {
                least = took;
                peer->state = (void *)(uintptr_t)&ways[i];
                peer->way = ways[i].name;
            }
        }
    }
    return 0;
}

static int run(const struct bench_case *c, struct bench_peer *peer, double *took_p)
{
    *took_p = move(c, peer->state, c->plan->run_bytes);
    return 0;
}

const struct bench_peer_kind kvfi_bench_peer_stream = {.name = "stream",
                                                       .key = "stream",
                                                       .label = "ceiling of one core",
                                                       .between = BENCH_IN_INITIATOR,
                                                       .open = find_best,
                                                       .run = run};

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What stands in the memory of a case, and whether it came right. A word of the source is a function of
 * its segment and its place there, and no two words are alike, so that a piece which came from anywhere
 * else differs in every word. Pieces are found by the boxes of the plan; who moved them does not matter.
 * Nothing blocks.
 */
#include "config.h"

#include "bench.h"

#include <string.h>

#define STEP UINT64_C(0x9fb21c651e98df25) /* odd: no two words of a segment are alike */
#define WORD 8

/* bytes, aligned for nothing, of any type */
typedef uint64_t __attribute__((aligned(1), may_alias)) word_t;

uint64_t kvfi_bench_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* The word at off, a multiple of WORD. */
static inline uint64_t word_at(const struct bench_plan *plan, uint32_t segment, uint64_t off)
{
    return kvfi_bench_mix(plan->seed ^ kvfi_bench_mix(segment)) + off / WORD * STEP;
}

void kvfi_bench_fill(const struct bench_plan *plan, char *const *source)
{
    uint64_t len = plan->source_bytes / plan->source_segments, words = len / WORD;

    for (uint32_t segment = 0; segment < plan->source_segments; segment++) {
        word_t *at = (word_t *)source[segment];
        uint64_t word = word_at(plan, segment, 0);
        for (uint64_t i = 0; i < words; i++) {
            at[i] = word;
            word += STEP;
        }
        memcpy(&at[words], &word, len % WORD);
    }
}

void kvfi_bench_poison(const struct bench_plan *plan, char *const *dest, uint64_t run)
{
    for (uint32_t segment = 0; segment < plan->dest_segments; segment++) {
        memset(dest[segment], (int)(0x5a + 37 * run) & 0xff, plan->dest_bytes / plan->dest_segments);
    }
}

/* Byte by byte, from anywhere in a word of the source. */
static uint64_t count_wrong(const unsigned char *piece, uint64_t word, uint64_t skip, uint64_t len)
{
    uint64_t wrong = 0;
    unsigned char right[WORD];

    for (uint64_t off = 0; off < len; word += STEP) {
        memcpy(right, &word, WORD);
        for (uint64_t i = off == 0 ? skip : 0; i < WORD && off < len; i++, off++) {
            wrong += piece[off] != right[i];
        }
    }
    return wrong;
}

struct compared {
    const struct bench_plan *plan;
    char *const *dest;
    uint64_t wrong;
};

static inline bool compare(void *arg, const struct bench_piece *piece)
{
    struct compared *c = arg;
    const char *at = c->dest[piece->dest_segment] + piece->dest_off;
    const word_t *words = (const word_t *)at;
    uint64_t skip = piece->source_off % WORD, differs = piece->len % WORD;
    uint64_t first = word_at(c->plan, piece->source_segment, piece->source_off - skip), word = first;

    differs |= skip; /* whole words only are compared as such */
    for (uint64_t i = 0; i < piece->len / WORD && differs == 0; i++) {
        differs |= words[i] ^ word;
        word += STEP;
    }
    c->wrong += differs == 0 ? 0 : count_wrong((const unsigned char *)at, first, skip, piece->len);
    return true;
}

uint64_t kvfi_bench_verify(const struct bench_plan *plan, char *const *dest)
{
    struct compared c = {plan, dest, 0};

    kvfi_bench_walk(plan, 0, plan->covered, compare, &c);
    return c.wrong;
}

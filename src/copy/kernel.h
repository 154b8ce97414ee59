/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Kernels: how pieces are copied once the walk has found them, one file an instruction set, all of
 * them in one binary. A kernel has three ways. The streaming one is for memory that is not in a cache:
 * non-temporal stores, so that no line is read only to be overwritten, and sources fetched about
 * 8 KiB ahead, across pieces; pieces of middle length go eight at a time, a few lines of each in
 * turn, so that a core waits for eight rows of memory at once; short pieces in rows of their own go so
 * too, from eight rows. The cached one is for memory that is:
 * plain stores, and no call of memcpy for what is shorter than such a call. tune.h says which one. A
 * third is for memory that is copied into a buffer of the caches: plain stores, sources fetched ahead.
 */
#ifndef KVFI_COPY_KERNEL_H
#define KVFI_COPY_KERNEL_H

#include <stdint.h>

#include "kvferry.h"

typedef struct kvfi_piece {
    char *dst;
    const char *src;
    uint64_t len;
} kvfi_piece_t;

/* What a streaming kernel remembers from one call to the next: how far sources are fetched. */
typedef struct kvfi_flow {
    uint64_t linear_from; /* pieces of so many bytes are streamed one after the other */
    uint64_t in;          /* fetched: `in` bytes of piece `piece`, all of those before it, */
    uint64_t gap;         /* in all `gap` bytes more than are copied */
    unsigned piece;
} kvfi_flow_t;

/* Most pieces that a streaming kernel looks ahead. */
#define KVFI_KERNEL_AHEAD 64u

/* Pairs of ids with a piece each, all of one length. */
typedef struct kvfi_pairs {
    char *dst; /* of id 0 */
    const char *src;
    uint64_t dst_block, src_block; /* bytes from id to id */
    const uint32_t *dst_ids, *src_ids;
    uint64_t len;
} kvfi_pairs_t;

/* Rows of pieces: all pieces of one length, all rows of so many at one stride. */
typedef struct kvfi_rows {
    uint64_t len;   /* a multiple of 64 */
    uint32_t count; /* pieces of a row */
    int64_t dst_stride, src_stride;
} kvfi_rows_t;

typedef struct kvfi_row {
    char *dst; /* first piece */
    const char *src;
} kvfi_row_t;

/* Most rows that are looked ahead. */
#define KVFI_ROWS_AHEAD 8u

typedef struct kvfi_kernel {
    const char *name;
    /* Copy count pieces. Any length, any alignment; destinations do not overlap anything. Another
     * `ahead` pieces follow them in memory, which the next call will copy. */
    void (*stream)(const kvfi_piece_t *pieces, unsigned count, unsigned ahead, kvfi_flow_t *flow);
    void (*fetch)(const kvfi_piece_t *pieces, unsigned count, unsigned ahead, kvfi_flow_t *flow);
    void (*cached)(const kvfi_piece_t *pieces, unsigned count);
    /* The same straight from the tables, pairs `at` to `end`; stops at one that is skipped. Returns
     * where, and adds to *runs_p how many do not follow on both sides the id before. */
    uint32_t (*pairs)(const kvfi_pairs_t *pairs, uint32_t at, uint32_t end, uint32_t *runs_p);
    /* Are all ids below that, which is at most INT32_MAX? */
    int (*below)(const uint32_t *ids, uint32_t count, uint32_t below);
    /* Stream count rows. Their destinations, all pieces of them, are aligned to 64. Another `ahead` rows
     * follow, which the next call will copy. */
    void (*rows)(const kvfi_rows_t *shape, const kvfi_row_t *rows, unsigned count, unsigned ahead);
} kvfi_kernel_t;

extern const kvfi_kernel_t kvfi_kernel_plain, kvfi_kernel_avx2, kvfi_kernel_avx512, kvfi_kernel_neon;

/* The kernel of that name, NULL if there is none or this processor cannot run it; "auto": the best. */
const kvfi_kernel_t *kvfi_kernel_find(const char *name);

/* Is there a kernel of that name on some processor? */
int kvfi_kernel_known(const char *name);

#endif

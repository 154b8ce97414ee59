/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Kernels: how a group of pieces is copied once the walk has found them. The plain one is memcpy.
 * The streaming ones take eight pieces at once, a few lines of each in turn, with non-temporal
 * stores and the next lines prefetched: a core then waits for eight rows of memory at a time, and
 * no line is read only to be overwritten. They win on memory that is not in a cache, and lose on
 * memory that is.
 */
#ifndef KVFI_COPY_KERNEL_H
#define KVFI_COPY_KERNEL_H

#include <stdint.h>

typedef struct kvfi_piece {
    char       *dst;
    const char *src;
    uint64_t    len;
} kvfi_piece_t;

/* Copy count pieces. Any length, any alignment; destinations do not overlap anything. */
typedef void (*kvfi_kernel_t)(const kvfi_piece_t *pieces, unsigned count);

void kvfi_kernel_plain(const kvfi_piece_t *pieces, unsigned count);
void kvfi_kernel_avx2(const kvfi_piece_t *pieces, unsigned count);
void kvfi_kernel_avx512(const kvfi_piece_t *pieces, unsigned count);

/* The best streaming kernel of this processor; the plain one if there is none. */
kvfi_kernel_t kvfi_kernel_streaming(void);

/* Use the kernel of that name ("plain", "avx2", "avx512") from here on, for tests; NULL: the best.
 * 0, or -1 if this processor lacks it. */
int kvfi_kernel_force(const char *name);

/* Bytes from which a batch no longer fits the caches of a core, so that streaming wins. */
uint64_t kvfi_kernel_threshold(void);

#endif

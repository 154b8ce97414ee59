/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The portable kernel, which is memcpy in all ways, and which kernels this processor can run.
 */
#include "copy/kernel.h"

#include <string.h>

static inline void copy_one(char *dst, const char *src, uint64_t len)
{
    memcpy(dst, src, len);
}

typedef char vector_t __attribute__((vector_size(16)));

#include "copy/ids.h"
#include "copy/pairs.h"

static uint32_t copy_pairs(const kvfi_pairs_t *pairs, uint32_t at, uint32_t end, uint32_t *runs_p)
{
    return walk_pairs(pairs, at, end, runs_p, copy_one);
}

static void cached(const kvfi_piece_t *pieces, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        copy_one(pieces[i].dst, pieces[i].src, pieces[i].len);
}

static void stream(const kvfi_piece_t *pieces, unsigned count, unsigned ahead, kvfi_flow_t *flow)
{
    (void)ahead;
    (void)flow;
    cached(pieces, count);
}

static void copy_rows(const kvfi_rows_t *shape, const kvfi_row_t *rows, unsigned count, unsigned ahead)
{
    (void)ahead;
    for (unsigned row = 0; row < count; row++)
        for (uint32_t x = 0; x < shape->count; x++)
            copy_one(rows[row].dst + x * shape->dst_stride, rows[row].src + x * shape->src_stride,
                     shape->len);
}

const kvfi_kernel_t kvfi_kernel_plain = {.name = "plain",
                                         .stream = stream,
                                         .fetch = stream,
                                         .cached = cached,
                                         .pairs = copy_pairs,
                                         .below = ids_below,
                                         .rows = copy_rows};

static const char *const names[] = {"auto", "plain", "avx2", "avx512", "neon"};

int kvfi_kernel_known(const char *name)
{
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]))
            return 1;
    return 0;
}

/* Best first. */
const kvfi_kernel_t *kvfi_kernel_find(const char *name)
{
    int any = !strcmp(name, "auto");

#if defined(__x86_64__)
    if ((any || !strcmp(name, "avx512")) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw"))
        return &kvfi_kernel_avx512;
    if ((any || !strcmp(name, "avx2")) && __builtin_cpu_supports("avx2"))
        return &kvfi_kernel_avx2;
#elif defined(__aarch64__)
    if (any || !strcmp(name, "neon"))
        return &kvfi_kernel_neon;
#endif
    return any || !strcmp(name, "plain") ? &kvfi_kernel_plain : NULL;
}

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

#include "copy/pairs.h"

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

const kvfi_kernel_t kvfi_kernel_plain = {"plain", stream, stream, cached, copy_pairs};

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

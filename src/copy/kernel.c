/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The plain kernel, and which one this processor runs best.
 */
#include "copy/kernel.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define THRESHOLD_DEFAULT (UINT64_C(4) << 20)

static _Atomic(kvfi_kernel_t) chosen;

void kvfi_kernel_plain(const kvfi_piece_t *pieces, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        memcpy(pieces[i].dst, pieces[i].src, pieces[i].len);
}

static kvfi_kernel_t of_name(const char *name)
{
#if defined(__x86_64__)
    if (!strcmp(name, "avx512") && __builtin_cpu_supports("avx512f"))
        return kvfi_kernel_avx512;
    if (!strcmp(name, "avx2") && __builtin_cpu_supports("avx2"))
        return kvfi_kernel_avx2;
#endif
    return strcmp(name, "plain") ? NULL : kvfi_kernel_plain;
}

kvfi_kernel_t kvfi_kernel_streaming(void)
{
    kvfi_kernel_t kernel = atomic_load_explicit(&chosen, memory_order_relaxed);

    if (kernel)
        return kernel;
    kernel = of_name("avx512");
    if (!kernel)
        kernel = of_name("avx2");
    if (!kernel)
        kernel = kvfi_kernel_plain;
    atomic_store_explicit(&chosen, kernel, memory_order_relaxed);
    return kernel;
}

int kvfi_kernel_force(const char *name)
{
    kvfi_kernel_t kernel = name ? of_name(name) : NULL;

    if (name && !kernel)
        return -1;
    atomic_store(&chosen, kernel);
    return 0;
}

uint64_t kvfi_kernel_threshold(void)
{
    static _Atomic uint64_t threshold;
    uint64_t                bytes = atomic_load_explicit(&threshold, memory_order_relaxed);
    long                    l2;

    if (bytes)
        return bytes;
    l2 = sysconf(_SC_LEVEL2_CACHE_SIZE); /* in a virtual machine this takes microseconds */
    bytes = l2 > 0 ? 4 * (uint64_t)l2 : THRESHOLD_DEFAULT;
    atomic_store_explicit(&threshold, bytes, memory_order_relaxed);
    return bytes;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kernel in AVX2: a line is two stores, a part of a line stores that overlap.
 */
#include <string.h>

#include "copy/kernel.h"

#if defined(__x86_64__)
#pragma GCC target("avx2")
#include <immintrin.h>

static inline void stream_line(char *dst, const char *src)
{
    __m256i low = _mm256_loadu_si256((const void *)src);
    __m256i high = _mm256_loadu_si256((const void *)(src + 32));

    _mm256_stream_si256((void *)dst, low);
    _mm256_stream_si256((void *)(dst + 32), high);
}

#include "copy/part.h"

static inline void fence(void)
{
    _mm_sfence();
}

#include "copy/streaming.h"

const kvfi_kernel_t kvfi_kernel_avx2 = {"avx2", copy_streaming, copy_fetched, copy_cached};
#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kernel in AVX2: a line is two stores, a part of a line stores that overlap.
 */
#include <string.h>

#include "copy/kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

static inline void stream_line(char *dst, const char *src)
{
    __m256i low = _mm256_loadu_si256((const void *)src);
    __m256i high = _mm256_loadu_si256((const void *)(src + 32));

    _mm256_stream_si256((void *)dst, low);
    _mm256_stream_si256((void *)(dst + 32), high);
}

static inline __m256i half(const char *src)
{
    return _mm256_loadu_si256((const void *)src);
}

static inline void stream_4(char *dst, const char *src)
{
    __m256i a = half(src), b = half(src + 32), c = half(src + 64), d = half(src + 96);
    __m256i e = half(src + 128), f = half(src + 160), g = half(src + 192), h = half(src + 224);

    _mm256_stream_si256((void *)dst, a);
    _mm256_stream_si256((void *)(dst + 32), b);
    _mm256_stream_si256((void *)(dst + 64), c);
    _mm256_stream_si256((void *)(dst + 96), d);
    _mm256_stream_si256((void *)(dst + 128), e);
    _mm256_stream_si256((void *)(dst + 160), f);
    _mm256_stream_si256((void *)(dst + 192), g);
    _mm256_stream_si256((void *)(dst + 224), h);
}

#include "copy/part.h"

static inline void fence(void)
{
    _mm_sfence();
}

typedef char vector_t __attribute__((vector_size(32), aligned(1), may_alias));

#include "copy/ids.h"
#include "copy/streaming.h"
#include "copy/rows.h"

const kvfi_kernel_t kvfi_kernel_avx2 = {.name = "avx2",
                                        .stream = copy_streaming,
                                        .fetch = copy_fetched,
                                        .cached = copy_cached,
                                        .pairs = copy_pairs,
                                        .below = ids_below,
                                        .rows = copy_rows};

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The streaming kernel in AVX2: a line is two stores.
 */
#include <string.h>

#include "copy/kernel.h"

#if defined(__x86_64__)
#pragma GCC target("avx2")
#include <immintrin.h>

static inline void copy_line(char *dst, const char *src)
{
    __m256i low = _mm256_loadu_si256((const void *)src);
    __m256i high = _mm256_loadu_si256((const void *)(src + 32));

    _mm256_stream_si256((void *)dst, low);
    _mm256_stream_si256((void *)(dst + 32), high);
}

static inline void fence(void)
{
    _mm_sfence();
}

#include "copy/streaming.h"

void kvfi_kernel_avx2(const kvfi_piece_t *pieces, unsigned count)
{
    copy_streaming(pieces, count);
}
#endif

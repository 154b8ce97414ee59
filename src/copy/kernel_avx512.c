/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The streaming kernel in AVX-512: a line is one store.
 */
#include <string.h>

#include "copy/kernel.h"

#if defined(__x86_64__)
#pragma GCC target("avx512f")
#include <immintrin.h>

static inline void copy_line(char *dst, const char *src)
{
    _mm512_stream_si512((void *)dst, _mm512_loadu_si512(src));
}

static inline void fence(void)
{
    _mm_sfence();
}

#include "copy/streaming.h"

void kvfi_kernel_avx512(const kvfi_piece_t *pieces, unsigned count)
{
    copy_streaming(pieces, count);
}
#endif

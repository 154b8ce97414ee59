/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kernel in AVX-512: a line is one load and one store, a part of a line a masked store.
 */
#include <string.h>

#include "copy/kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw")
#endif

static inline void stream_line(char *dst, const char *src)
{
    _mm512_stream_si512((void *)dst, _mm512_loadu_si512(src));
}

static inline void stream_4(char *dst, const char *src)
{
    __m512i a = _mm512_loadu_si512(src), b = _mm512_loadu_si512(src + 64);
    __m512i c = _mm512_loadu_si512(src + 128), d = _mm512_loadu_si512(src + 192);

    _mm512_stream_si512((void *)dst, a);
    _mm512_stream_si512((void *)(dst + 64), b);
    _mm512_stream_si512((void *)(dst + 128), c);
    _mm512_stream_si512((void *)(dst + 192), d);
}

static inline void copy_part(char *dst, const char *src, uint64_t len)
{
    __mmask64 mask = (UINT64_C(1) << len) - 1;

    _mm512_mask_storeu_epi8(dst, mask, _mm512_maskz_loadu_epi8(mask, src));
}

static inline void fence(void)
{
    _mm_sfence();
}

typedef char vector_t __attribute__((vector_size(64), aligned(1), may_alias));

#include "copy/ids.h"
#include "copy/streaming.h"
#include "copy/rows.h"

const kvfi_kernel_t kvfi_kernel_avx512 = {.name = "avx512",
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

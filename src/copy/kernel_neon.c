/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kernel in NEON: a line is two pairs of registers, stored with the non-temporal pair store where
 * it streams. No fence: these stores are ordered as others are.
 */
#include <string.h>

#include "copy/kernel.h"

#if defined(__aarch64__)
#include <arm_neon.h>

static inline void stream_line(char *dst, const char *src)
{
    uint8x16x4_t line = vld1q_u8_x4((const uint8_t *)src);

    __asm__ volatile("stnp %q0, %q1, [%4]\n\t"
                     "stnp %q2, %q3, [%4, #32]"
                     :
                     : "w"(line.val[0]), "w"(line.val[1]), "w"(line.val[2]), "w"(line.val[3]), "r"(dst)
                     : "memory");
}

static inline void stream_4(char *dst, const char *src)
{
    for (int i = 0; i < 4; i++)
        stream_line(dst + 64 * i, src + 64 * i);
}

#include "copy/part.h"

static inline void fence(void)
{
}

typedef char vector_t __attribute__((vector_size(16), aligned(1), may_alias));

#include "copy/ids.h"
#include "copy/streaming.h"
#include "copy/rows.h"

const kvfi_kernel_t kvfi_kernel_neon = {.name = "neon",
                                        .stream = copy_streaming,
                                        .fetch = copy_fetched,
                                        .cached = copy_cached,
                                        .pairs = copy_pairs,
                                        .below = ids_below,
                                        .rows = copy_rows};
#endif

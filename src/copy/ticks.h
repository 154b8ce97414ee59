/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The cheapest clock of the processor, for spans of tens of nanoseconds. Loads before kvfi_ticks() have
 * come when it reads; loads after it may begin while it does.
 */
#ifndef KVFI_COPY_TICKS_H
#define KVFI_COPY_TICKS_H

#include <stdint.h>

#include "base/clock.h"

#if defined(__x86_64__)
#include <x86intrin.h>

static inline uint64_t kvfi_ticks(void)
{
    _mm_lfence();
    return __rdtsc();
}
#elif defined(__aarch64__)
static inline uint64_t kvfi_ticks(void)
{
    uint64_t ticks;

    __asm__ volatile("dsb ld\n\tisb\n\tmrs %0, cntvct_el0" : "=r"(ticks) : : "memory");
    return ticks;
}
#else
static inline uint64_t kvfi_ticks(void)
{
    return kvfi_now_ns();
}
#endif

#endif

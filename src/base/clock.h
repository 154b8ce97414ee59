/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Monotonic time in nanoseconds, and deadlines that saturate at KVF_FOREVER.
 */
#ifndef KVFI_BASE_CLOCK_H
#define KVFI_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t kvfi_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The same to a tick of the kernel's timer, some milliseconds, for a fifth of the price. */
static inline uint64_t kvfi_coarse_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t kvfi_deadline(uint64_t now_ns, uint64_t timeout_ns)
{
    return timeout_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + timeout_ns;
}

static inline struct timespec kvfi_timespec(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

/* Between two looks of who spins, some 0.3 us: the core may have a second thread of execution, and
 * that may be the one that is waited for. */
static inline void kvfi_relax(void)
{
    for (int i = 0; i < 16; i++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
}

#endif

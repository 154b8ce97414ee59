/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The limits of this process that keep threads, descriptors and address space from it, as text for
 * sentences, and where its control groups lie. Reads files of /proc and /sys; never waits.
 */
#ifndef KVFI_BASE_LIMITS_H
#define KVFI_BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

typedef char kvfi_limit_t[32];

/* The limit `which` of setrlimit(), or "unlimited". */
const char *kvfi_limit_text(int which, kvfi_limit_t text);

/* What a thread that cannot be had may have met: names and sizes. */
#define KVFI_LIMITS_LEN 160
void kvfi_limits_of_threads(char buf[KVFI_LIMITS_LEN]);

/* RLIMIT_AS if it leaves no len bytes of address space, else UINT64_MAX. */
uint64_t kvfi_limit_of_space(uint64_t len);

/* The path of this process's control group in the hierarchy that mark names in /proc/self/cgroup: "0::", or
 * ":memory:" and the like. 0, or -1 if it has none there. */
int kvfi_limit_group(const char *mark, char *path, size_t len);

#endif

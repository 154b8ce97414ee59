/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What kvf_info asks the kernel about this machine: processors, caches, pages, shared memory, and the
 * rules about reading another process's memory. A fact that cannot be read is 0, or "" as text.
 */
#ifndef KVFI_TOOLS_MACHINE_H
#define KVFI_TOOLS_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#define KVFI_MOST_CACHES 8
#define KVFI_MOST_HUGE   4

struct kvfi_cache {
    unsigned level;
    char type[16]; /* "Data", "Instruction", "Unified" */
    uint64_t bytes;
    char cpus[64]; /* that share it with cpu 0 */
};

struct kvfi_huge {
    uint64_t page_bytes;
    uint64_t total, free; /* pages */
};

struct kvfi_machine {
    char kernel[128];
    char cpu_model[128];
    char cpus_allowed[256]; /* "0-3,8" */
    unsigned cpus_online;
    unsigned numa_nodes;
    unsigned cache_count;
    struct kvfi_cache caches[KVFI_MOST_CACHES];

    uint64_t page_bytes;
    uint64_t memory_total, memory_free;
    const char *memory_limit; /* what bounds memory_free, in words; static */
    unsigned huge_count;
    struct kvfi_huge huge[KVFI_MOST_HUGE];
    char thp[16], thp_shared[16]; /* the word in brackets: "always", "madvise", "never", ... */
    uint64_t shm_total, shm_free; /* /dev/shm */
    uint64_t sysv_most;           /* bytes of one System V segment */
    uint64_t memlock;             /* UINT64_MAX: unlimited */

    int ptrace_scope; /* of Yama; -1: the kernel has no Yama */
    char congestion_control[32];
};

void kvfi_machine_look(struct kvfi_machine *machine_p);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What kind of mappings a range of this process's memory is made of, and moving them.
 */
#ifndef KVFI_BASE_VMA_H
#define KVFI_BASE_VMA_H

#include <stdint.h>

typedef enum kvfi_vma_verdict {
    KVFI_VMA_PLAIN,   /* private anonymous memory, readable and writable, that nothing else relies on */
    KVFI_VMA_SPECIAL, /* mapped, but not plain: why says */
    KVFI_VMA_HOLE,    /* part of it is not mapped */
    KVFI_VMA_UNKNOWN  /* the kernel does not tell; errno */
} kvfi_vma_verdict_t;

/* May [addr, addr + len) be replaced by other memory with the same contents? why_p: a static string.
 * huge_p: 1 if transparent huge pages were asked for. Walks page tables: milliseconds a GiB. */
kvfi_vma_verdict_t kvfi_vma_judge(const void *addr, uint64_t len, const char **why_p, int *huge_p);

/* Is every page of [addr, addr + len) shared memory of the same object as at other? 1 or 0; -1 with errno if
 * the kernel does not tell. */
int kvfi_vma_same(const void *addr, uint64_t len, const void *other);

/* A second mapping of shared memory, its page tables filled; NULL: the kernel has none to give.
 * writable 0: nothing can be stored through it. */
void *kvfi_vma_twin(void *addr, uint64_t len, int writable);

/* Move a mapping over what is mapped at to, in one step; 0, or -1. */
int kvfi_vma_move(void *addr, uint64_t len, void *to);

#endif

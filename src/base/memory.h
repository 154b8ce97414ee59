/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What this process's memory is: protections of a range, reads that may fail instead of dying,
 * how much may still be had.
 */
#ifndef KVFI_BASE_MEMORY_H
#define KVFI_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* PROT_ bits common to all of [addr, addr + len); -1 if part of it is not mapped, -2 if the kernel does
 * not tell. */
int kvfi_memory_prot(const void *addr, uint64_t len);

/* Copy len (at most 4096) bytes from addr; -1 if they cannot be read, -2 with errno if the kernel does not
 * tell. Raises no signal. */
int kvfi_memory_peek(const void *addr, void *to, size_t len);

/* Bytes that may still be allocated, and the limit that says so (static string). */
uint64_t kvfi_memory_available(const char **limit_p);

/* Fill the page tables of a mapping of pages that exist, as far as the kernel can. As if they were read:
 * stores to shared memory then take no fault either. */
void kvfi_memory_populate(void *addr, uint64_t len);

/* Touch every page of fresh, zeroed memory, so that who cannot have them learns it here and not by a
 * signal later; 0, or -1 with a sentence in buf. In steps, so that processes that do so at the same
 * time see each other's; huge 1: the pages are set aside already, and are not counted as memory. */
int kvfi_memory_prove(void *addr, uint64_t len, int huge, char *buf, size_t buf_len);

typedef struct kvfi_huge_pages {
    uint64_t page_bytes; /* of the default size; 0: none */
    uint64_t left;       /* pages that are free and promised to nobody, or that may be made */
} kvfi_huge_pages_t;

kvfi_huge_pages_t kvfi_memory_huge_pages(void);

/* Bytes of a transparent huge page; 0: this kernel has none. */
uint64_t kvfi_memory_thp_bytes(void);

#endif

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

/* Copy len (at most 4096) bytes from addr; -1 if they cannot be read. Raises no signal. */
int kvfi_memory_peek(const void *addr, void *to, size_t len);

/* Bytes that may still be allocated, and the limit that says so (static string). */
uint64_t kvfi_memory_available(const char **limit_p);

/* Fill the page tables of a range; 0, or -1 where pages are refused. Old kernels: 0, untouched. */
int kvfi_memory_populate(void *addr, uint64_t len, int writable);

#endif

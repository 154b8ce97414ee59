/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Pages: on which node, and of which size, a mapping's are, and where new ones should go.
 */
#ifndef KVFI_BASE_PAGES_H
#define KVFI_BASE_PAGES_H

#include <stdint.h>
#include <stdio.h>

typedef struct kvfi_pages {
    uint64_t page_bytes; /* the smallest of the mappings'; 0: unknown */
    uint64_t huge_bytes; /* at most the range's length */
    int numa_node;       /* that all pages are on; -1: unknown, or several */
} kvfi_pages_t;

/* What the pages of [addr, addr + len) are. Walks page tables: milliseconds a GiB. */
kvfi_pages_t kvfi_pages_look(const void *addr, uint64_t len);

/* The same, from the text of smaps and numa_maps; nodes: how many this machine has. Either file may
 * be NULL. */
kvfi_pages_t kvfi_pages_read(FILE *smaps, FILE *numa_maps, int nodes, uint64_t from, uint64_t to);

/* From now on this thread's new pages go to the node it runs on, if that has room, whoever moves the
 * thread meanwhile. A policy of the caller's own (numactl) stays. Returns 1 if it must be ended. */
int kvfi_pages_near_begin(void);
void kvfi_pages_near_end(int begun);

/* Ask for transparent huge pages where a whole one fits into the range, so that none is wasted, and where
 * the kernel gives them to who asks. shared: System V memory, else private. */
void kvfi_pages_huge(void *addr, uint64_t len, int shared);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Pages of a range: sizes and NUMA nodes from /proc/self/smaps and numa_maps, the memory policy and
 * the huge pages of new ones by system calls, without libnuma. A container may forbid the policy
 * calls: pages then go where the kernel puts them, which is the node of who touches them first.
 * May wait for the kernel's walk of the page tables.
 */
#define _GNU_SOURCE
#include "base/pages.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/memory.h"

#define POLICY_DEFAULT   0
#define POLICY_PREFERRED 1
#define NODES_MAX        1024u
#define WORD_BITS        (8u * sizeof(unsigned long))

static int count_nodes(void)
{
    DIR *dir = opendir("/sys/devices/system/node");
    struct dirent *entry;
    int count = 0;

    if (!dir)
        return 1; /* a kernel without NUMA */
    while ((entry = readdir(dir)))
        count += !strncmp(entry->d_name, "node", 4) && entry->d_name[4] >= '0' && entry->d_name[4] <= '9';
    closedir(dir);
    return count ? count : 1;
}

/* One mapping's part of the answer, as smaps tells it line by line. */
typedef struct mapping {
    uint64_t from, to, huge; /* bytes, cut to the range asked for; huge is the whole mapping's */
} mapping_t;

static void add_mapping(kvfi_pages_t *pages, const mapping_t *mapping)
{
    uint64_t len = mapping->to - mapping->from;

    pages->huge_bytes += mapping->huge < len ? mapping->huge : len;
}

static void read_field(kvfi_pages_t *pages, mapping_t *mapping, const char *line)
{
    static const char *const huge[] = {
        "AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:", "Shared_Hugetlb:", "Private_Hugetlb:"};
    uint64_t kib;

    if (sscanf(line, "KernelPageSize: %" SCNu64 " kB", &kib) == 1) {
        if (!pages->page_bytes || kib * 1024 < pages->page_bytes)
            pages->page_bytes = kib * 1024;
        return;
    }
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        size_t len = strlen(huge[i]);

        if (!strncmp(line, huge[i], len))
            mapping->huge += strtoull(line + len, NULL, 10) * 1024;
    }
}

/* Returns where the first mapping of the range begins, which numa_maps names it by. */
static uint64_t read_smaps(FILE *smaps, uint64_t from, uint64_t to, kvfi_pages_t *pages)
{
    mapping_t mapping = {0};
    uint64_t start, end, first = from;
    char line[512], bits[5];
    int inside = 0, seen = 0;

    while (fgets(line, sizeof line, smaps)) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &start, &end, bits) != 3) {
            if (inside)
                read_field(pages, &mapping, line);
            continue;
        }
        if (inside)
            add_mapping(pages, &mapping);
        inside = start < to && end > from;
        if (start >= to)
            break;
        if (inside && !seen++)
            first = start;
        mapping = (mapping_t){.from = start > from ? start : from, .to = end < to ? end : to};
    }
    if (inside)
        add_mapping(pages, &mapping);
    return first;
}

/* The one node that has pages of the mappings that begin in [first, to). */
static int read_node(FILE *numa_maps, uint64_t first, uint64_t to)
{
    char *line = NULL, *at, *end;
    size_t cap = 0;
    int node = -1;

    while (getline(&line, &cap, numa_maps) > 0) {
        uint64_t start = strtoull(line, &end, 16);

        if (end == line || start < first || start >= to)
            continue;
        for (at = strstr(line, " N"); at; at = strstr(at, " N")) {
            long found = strtol(at + 2, &end, 10);

            at += 2;
            if (end == at || *end != '=')
                continue;
            if (node >= 0 && node != found) {
                node = -1;
                goto out;
            }
            node = (int)found;
        }
    }
out:
    free(line);
    return node;
}

kvfi_pages_t kvfi_pages_read(FILE *smaps, FILE *numa_maps, int nodes, uint64_t from, uint64_t to)
{
    kvfi_pages_t pages = {.numa_node = -1};
    uint64_t first = from;

    if (smaps)
        first = read_smaps(smaps, from, to, &pages);
    if (nodes == 1)
        pages.numa_node = 0;
    else if (numa_maps)
        pages.numa_node = read_node(numa_maps, first, to);
    return pages;
}

kvfi_pages_t kvfi_pages_look(const void *addr, uint64_t len)
{
    int nodes = count_nodes();
    FILE *smaps = fopen("/proc/thread-self/smaps", "re");
    FILE *numa_maps = nodes > 1 ? fopen("/proc/thread-self/numa_maps", "re") : NULL;
    kvfi_pages_t pages = kvfi_pages_read(smaps, numa_maps, nodes, (uintptr_t)addr, (uintptr_t)addr + len);

    if (smaps)
        fclose(smaps);
    if (numa_maps)
        fclose(numa_maps);
    return pages;
}

int kvfi_pages_near_begin(void)
{
    unsigned long mask[NODES_MAX / WORD_BITS] = {0};
    unsigned cpu, node;
    int policy;

    if (syscall(SYS_get_mempolicy, &policy, NULL, 0, NULL, 0) || policy != POLICY_DEFAULT ||
        syscall(SYS_getcpu, &cpu, &node, NULL) || node >= NODES_MAX)
        return 0;
    mask[node / WORD_BITS] = 1ul << node % WORD_BITS;
    /* preferred, not bound: where the node is full, a page further away is better than none */
    return !syscall(SYS_set_mempolicy, POLICY_PREFERRED, mask, NODES_MAX + 1ul);
}

void kvfi_pages_near_end(int begun)
{
    if (begun)
        syscall(SYS_set_mempolicy, POLICY_DEFAULT, NULL, 0);
}

/* Does the kernel want to be asked? If not, asking only cuts the mapping in three. */
static int grants_on_advice(int shared)
{
    const char *path = shared ? "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
                              : "/sys/kernel/mm/transparent_hugepage/enabled";
    FILE *file = fopen(path, "re");
    char line[128] = "";

    if (!file)
        return 0;
    if (!fgets(line, sizeof line, file))
        line[0] = 0;
    fclose(file);
    return strstr(line, shared ? "[advise]" : "[madvise]") != NULL;
}

void kvfi_pages_huge(void *addr, uint64_t len, int shared)
{
    uint64_t huge = kvfi_memory_thp_bytes();
    uintptr_t from, to;

    if (!huge || !grants_on_advice(shared))
        return;
    from = ((uintptr_t)addr + huge - 1) / huge * huge;
    to = ((uintptr_t)addr + len) / huge * huge;
    if (from < to)
        madvise((void *)from, to - from, MADV_HUGEPAGE);
}

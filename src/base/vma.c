/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads /proc/self/smaps, whose VmFlags tell what maps do not: locked, kept from forks because a device
 * knows the pages, growing downwards. Pins that the kernel shows nowhere (a GPU's, an io_uring's) are
 * the caller's to know of.
 *
 * The system call is made directly: UCX hooks the C library's mremap(), and UCX 1.13 drops its fifth
 * argument.
 */
#define _GNU_SOURCE
#include "base/vma.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/pages.h"

typedef struct vma {
    uint64_t from, to, inode;
    unsigned major, minor;
    char perms[5];
    char flags[256]; /* " rd wr mr ..." */
} vma_t;

static int read_head(const char *line, vma_t *vma)
{
    *vma = (vma_t){0};
    return sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %x:%x %" SCNu64, &vma->from, &vma->to, vma->perms,
                  &vma->major, &vma->minor, &vma->inode) == 6;
}

/* The next mapping of an open smaps, 0 at the end. */
static int next_vma(FILE *smaps, vma_t *vma)
{
    char line[512];
    int found = 0;

    while (fgets(line, sizeof line, smaps)) {
        if (!found) {
            found = read_head(line, vma);
        } else if (!strncmp(line, "VmFlags:", 8)) {
            line[strcspn(line, "\n")] = 0;
            snprintf(vma->flags, sizeof vma->flags, "%.*s ", (int)sizeof vma->flags - 2, line + 8);
            return 1;
        }
    }
    return 0;
}

static int has_flag(const vma_t *vma, const char *flag)
{
    return strstr(vma->flags, flag) != NULL;
}

static const char *special(const vma_t *vma)
{
    static const struct {
        const char *flag, *why;
    } refused[] = {
        {" lo ", "it is locked (mlock)"},
        {" io ", "it is a device's"},
        {" pf ", "it is a device's"},
        {" mm ", "it is a device's"},
        {" dc ", "it is kept from forks (MADV_DONTFORK), as memory that a device has pinned is"},
        {" gd ", "it is a stack"},
        {" wf ", "it is wiped in forks (MADV_WIPEONFORK)"},
        {" um ", "userfaultfd watches it"},
        {" uw ", "userfaultfd watches it"},
    };

    if (vma->perms[3] == 's')
        return "it is shared already";
    if (has_flag(vma, " ht ")) /* a file of the kernel's own is behind MAP_HUGETLB */
        return "it is in huge pages of hugetlbfs";
    if (vma->inode)
        return "a file is behind it";
    if (strncmp(vma->perms, "rw", 2))
        return "it is not readable and writable";
    if (vma->perms[2] == 'x')
        return "it is executable";
    for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++)
        if (has_flag(vma, refused[i].flag))
            return refused[i].why;
    return NULL;
}

kvfi_vma_verdict_t kvfi_vma_judge(const void *addr, uint64_t len, const char **why_p, int *huge_p)
{
    uint64_t at = (uintptr_t)addr, end = at + len;
    kvfi_vma_verdict_t verdict = KVFI_VMA_PLAIN;
    FILE *smaps = fopen("/proc/thread-self/smaps", "re");
    vma_t vma;
    int error;

    if (!smaps)
        return KVFI_VMA_UNKNOWN;
    *huge_p = 0;
    while (at < end && next_vma(smaps, &vma) && vma.from <= at) {
        if (vma.to <= at)
            continue;
        *why_p = special(&vma);
        if (*why_p)
            verdict = KVFI_VMA_SPECIAL;
        *huge_p |= has_flag(&vma, " hg ");
        at = *why_p ? end : vma.to;
    }
    if (ferror(smaps))
        verdict = KVFI_VMA_UNKNOWN;
    error = errno;
    fclose(smaps);
    errno = error;
    return at < end && verdict != KVFI_VMA_UNKNOWN ? KVFI_VMA_HOLE : verdict;
}

int kvfi_vma_same(const void *addr, uint64_t len, const void *other)
{
    uint64_t at = (uintptr_t)addr, end = at + len, there = (uintptr_t)other;
    vma_t vma, object = {0};
    char line[512];
    int same = 1, error;
    FILE *maps = fopen("/proc/thread-self/maps", "re");

    if (!maps)
        return -1;
    while (!object.to && fgets(line, sizeof line, maps))
        if (read_head(line, &vma) && vma.from <= there && there < vma.to)
            object = vma;
    rewind(maps);
    while (at < end && same && fgets(line, sizeof line, maps)) {
        if (!read_head(line, &vma) || vma.to <= at)
            continue;
        same = vma.from <= at && vma.perms[3] == 's' && vma.inode == object.inode &&
               vma.major == object.major && vma.minor == object.minor;
        at = vma.to;
    }
    if (ferror(maps))
        same = -1;
    error = errno;
    fclose(maps);
    errno = error;
    return same < 0 ? -1 : object.to && same && at >= end;
}

void *kvfi_vma_twin(void *addr, uint64_t len, int writable)
{
    void *twin = (void *)syscall(SYS_mremap, addr, 0, len, MREMAP_MAYMOVE, NULL);

    if (twin == MAP_FAILED)
        return NULL;
    kvfi_pages_huge(twin, len, 1);
    kvfi_memory_populate(twin, len);
    if (writable || !mprotect(twin, len, PROT_READ))
        return twin;
    munmap(twin, len);
    return NULL;
}

int kvfi_vma_move(void *addr, uint64_t len, void *to)
{
    return (void *)syscall(SYS_mremap, addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to ? 0 : -1;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Questions to the kernel about memory: how much is left under the machine's and the cgroups' limits,
 * and whether pages can be had, asked by touching them in a way that raises no signal. Reads files of
 * /proc and /sys; may wait for the kernel to make pages.
 */
#define _GNU_SOURCE
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/limits.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PROVE_STEP (UINT64_C(8) << 20) /* a millisecond or two */
#define PROVE_ROOM 4                   /* steps of others at the same time */

int kvfi_memory_prot(const void *addr, uint64_t len)
{
    uint64_t at = (uintptr_t)addr, end = at + len, from, to;
    int prot = PROT_READ | PROT_WRITE, error;
    char line[512], bits[5];
    FILE *maps = fopen("/proc/thread-self/maps", "re");

    if (!maps)
        return -2;
    while (at < end && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, bits) != 3 || to <= at)
            continue;
        if (from > at)
            break;
        prot &= (bits[0] == 'r' ? PROT_READ : 0) | (bits[1] == 'w' ? PROT_WRITE : 0);
        at = to;
    }
    if (ferror(maps))
        prot = -2;
    error = errno;
    fclose(maps);
    errno = error;
    return at < end && prot != -2 ? -1 : prot;
}

int kvfi_memory_peek(const void *addr, void *to, size_t len)
{
    struct iovec here = {to, len}, there = {(void *)(uintptr_t)addr, len};
    ssize_t done = process_vm_readv((pid_t)syscall(SYS_gettid), &here, 1, &there, 1, 0);
    int fds[2], failed;

    if (done >= 0 || errno == EFAULT)
        return done == (ssize_t)len ? 0 : -1;
    /* where a filter forbids that call: a pipe answers EFAULT too, but takes two descriptors */
    if (pipe2(fds, O_CLOEXEC))
        return -2;
    failed = write(fds[1], addr, len) != (ssize_t)len || read(fds[0], to, len) != (ssize_t)len;
    close(fds[0]);
    close(fds[1]);
    return failed ? -1 : 0;
}

static uint64_t number_in(const char *path, const char *field)
{
    char line[256], format[64];
    uint64_t value = UINT64_MAX;
    FILE *file = fopen(path, "re");

    if (!file)
        return UINT64_MAX;
    snprintf(format, sizeof format, "%s%%" SCNu64, field);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, format, &value) == 1)
            break;
    fclose(file);
    return value;
}

/* Where a hierarchy of memory cgroups stands, and what it calls things. */
typedef struct cgroup_kind {
    const char *line; /* in /proc/self/cgroup, before the path */
    const char *root, *max, *now;
    const char *cache[2]; /* of memory.stat: the kernel gives these back before it refuses any */
} cgroup_kind_t;

static const cgroup_kind_t cgroup_kinds[] = {
    {"0::", "/sys/fs/cgroup", "memory.max", "memory.current", {"active_file ", "inactive_file "}},
    {":memory:",
     "/sys/fs/cgroup/memory",
     "memory.limit_in_bytes",
     "memory.usage_in_bytes",
     {"total_active_file ", "total_inactive_file "}},
};

static uint64_t cgroup_number(const cgroup_kind_t *kind, const char *path, const char *name,
                              const char *field)
{
    char file[4300];

    snprintf(file, sizeof file, "%s%s/%s", kind->root, path, name);
    return number_in(file, field);
}

/* The limit of one group less its use; UINT64_MAX: none. */
static uint64_t group_left(const cgroup_kind_t *kind, const char *path)
{
    uint64_t max = cgroup_number(kind, path, kind->max, "");
    uint64_t now = cgroup_number(kind, path, kind->now, "");

    if (max == UINT64_MAX || now == UINT64_MAX)
        return UINT64_MAX;
    for (int i = 0; i < 2; i++) {
        uint64_t cache = cgroup_number(kind, path, "memory.stat", kind->cache[i]);

        if (cache != UINT64_MAX)
            now -= cache < now ? cache : now;
    }
    return max > now ? max - now : 0;
}

/* The tightest limit less use on the way from this process's groups to the root. */
static uint64_t cgroup_left(void)
{
    uint64_t least = UINT64_MAX, left;
    char path[4096], *slash;

    for (size_t i = 0; i < sizeof cgroup_kinds / sizeof *cgroup_kinds; i++) {
        if (kvfi_limit_group(cgroup_kinds[i].line, path, sizeof path))
            continue;
        do {
            left = group_left(&cgroup_kinds[i], path);
            least = left < least ? left : least;
            slash = strrchr(path, '/');
            if (slash)
                *slash = 0;
        } while (slash);
    }
    return least;
}

uint64_t kvfi_memory_available(const char **limit_p)
{
    uint64_t node = number_in("/proc/meminfo", "MemAvailable:"), group = cgroup_left();

    if (node != UINT64_MAX)
        node *= 1024;
    *limit_p = group < node ? "the cgroup's memory.max" : "MemAvailable";
    return group < node ? group : node;
}

/* A page-aligned range around the bytes; madvise() on it. */
static int populate(void *addr, uint64_t len, int advice)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)addr & ~(page - 1);

    return madvise((void *)from, ((uintptr_t)addr + len + page - 1 - from) & ~(page - 1), advice);
}

void kvfi_memory_populate(void *addr, uint64_t len)
{
    (void)populate(addr, len, MADV_POPULATE_READ);
}

/* Kernels before 5.14: where a store would raise a signal, read() answers EFAULT. */
static int fill_by_read(char *addr, uint64_t len)
{
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    ssize_t got = 1;

    if (zero < 0)
        return -1;
    while (len && (got > 0 || errno == EINTR)) {
        got = read(zero, addr, len);
        if (got > 0) {
            addr += got;
            len -= (uint64_t)got;
        }
    }
    close(zero);
    return len ? -1 : 0;
}

static int touch(char *addr, uint64_t len)
{
    if (!populate(addr, len, MADV_POPULATE_WRITE))
        return 0;
    return errno == EINVAL || errno == ENOSYS ? fill_by_read(addr, len) : -1;
}

int kvfi_memory_prove(void *addr, uint64_t len, int huge, char *buf, size_t buf_len)
{
    const char *limit;
    uint64_t step, left;

    for (uint64_t off = 0; off < len; off += step) {
        step = len - off < PROVE_STEP ? len - off : PROVE_STEP;
        left = huge ? UINT64_MAX : kvfi_memory_available(&limit);
        /* whoever else fills such a step meanwhile is left its own */
        if (left / PROVE_ROOM < step) {
            snprintf(buf, buf_len,
                     "%s leaves %" PRIu64 " bytes, and %" PRIu64 " have to be left before the "
                     "next %" PRIu64 " are touched, since others touch theirs; %" PRIu64 " are taken",
                     limit, left, step * PROVE_ROOM, step, off);
            return -1;
        }
        if (touch((char *)addr + off, step)) {
            snprintf(buf, buf_len, "the kernel gives no page after %" PRIu64 " of them: %s", off,
                     strerror(errno == EFAULT ? ENOMEM : errno));
            return -1;
        }
    }
    return 0;
}

kvfi_huge_pages_t kvfi_memory_huge_pages(void)
{
    kvfi_huge_pages_t huge = {0};
    uint64_t size = number_in("/proc/meminfo", "Hugepagesize:");
    uint64_t unused = number_in("/proc/meminfo", "HugePages_Free:");
    uint64_t promised = number_in("/proc/meminfo", "HugePages_Rsvd:");
    uint64_t more = number_in("/proc/sys/vm/nr_overcommit_hugepages", "");
    uint64_t made = number_in("/proc/meminfo", "HugePages_Surp:");

    if (size == UINT64_MAX || unused == UINT64_MAX || promised == UINT64_MAX)
        return huge;
    huge.page_bytes = size * 1024;
    huge.left = unused > promised ? unused - promised : 0;
    if (more != UINT64_MAX && made != UINT64_MAX && more > made)
        huge.left += more - made;
    return huge;
}

uint64_t kvfi_memory_thp_bytes(void)
{
    uint64_t bytes = number_in("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "");

    return bytes == UINT64_MAX ? 0 : bytes;
}

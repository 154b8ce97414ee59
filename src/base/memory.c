/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Questions to the kernel about memory. May read files of /proc and /sys.
 */
#define _GNU_SOURCE
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int kvfi_memory_prot(const void *addr, uint64_t len)
{
    uint64_t at = (uintptr_t)addr, end = at + len, from, to;
    int      prot = PROT_READ | PROT_WRITE;
    char     line[512], bits[5];
    FILE    *maps = fopen("/proc/self/maps", "re");

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
    fclose(maps);
    return at < end ? -1 : prot;
}

int kvfi_memory_peek(const void *addr, void *to, size_t len)
{
    int fds[2], failed;

    /* a pipe answers EFAULT where a load would raise SIGSEGV or SIGBUS */
    if (len > 4096 || pipe2(fds, O_CLOEXEC))
        return -1;
    failed = write(fds[1], addr, len) != (ssize_t)len || read(fds[0], to, len) != (ssize_t)len;
    close(fds[0]);
    close(fds[1]);
    return failed ? -1 : 0;
}

static uint64_t number_in(const char *path, const char *field)
{
    char     line[256], format[64];
    uint64_t value = UINT64_MAX;
    FILE    *file = fopen(path, "re");

    if (!file)
        return UINT64_MAX;
    snprintf(format, sizeof format, "%s%%" SCNu64, field);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, format, &value) == 1)
            break;
    fclose(file);
    return value;
}

/* What memory.stat calls a file's pages: the kernel gives them back before it refuses any. */
static uint64_t cgroup_cache(const char *path)
{
    static const char *const fields[] = {"active_file ", "inactive_file "};
    uint64_t                 bytes = 0;
    char                     file[4200];

    snprintf(file, sizeof file, "/sys/fs/cgroup%s/memory.stat", path);
    for (int i = 0; i < 2; i++) {
        uint64_t value = number_in(file, fields[i]);

        bytes += value == UINT64_MAX ? 0 : value;
    }
    return bytes;
}

/* The tightest limit less use on the way from this process's cgroup (v2) to the root. */
static uint64_t cgroup_left(void)
{
    char     path[4096] = "", file[4200], line[4096], *slash;
    uint64_t least = UINT64_MAX, max, now;
    FILE    *groups = fopen("/proc/self/cgroup", "re");

    if (!groups)
        return least;
    while (fgets(line, sizeof line, groups))
        if (!strncmp(line, "0::", 3)) {
            line[strcspn(line, "\n")] = 0;
            snprintf(path, sizeof path, "%s", line + 3);
        }
    fclose(groups);
    for (;;) {
        snprintf(file, sizeof file, "/sys/fs/cgroup%s/memory.max", path);
        max = number_in(file, "");
        snprintf(file, sizeof file, "/sys/fs/cgroup%s/memory.current", path);
        now = number_in(file, "");
        if (max != UINT64_MAX && now != UINT64_MAX) {
            uint64_t cache = cgroup_cache(path), used = now > cache ? now - cache : 0;

            if ((max > used ? max - used : 0) < least)
                least = max > used ? max - used : 0;
        }
        slash = strrchr(path, '/');
        if (!slash)
            return least;
        *slash = 0;
    }
}

uint64_t kvfi_memory_available(const char **limit_p)
{
    uint64_t node = number_in("/proc/meminfo", "MemAvailable:"), group = cgroup_left();

    if (node != UINT64_MAX)
        node *= 1024;
    *limit_p = group < node ? "the cgroup's memory.max" : "MemAvailable";
    return group < node ? group : node;
}

int kvfi_memory_populate(void *addr, uint64_t len, int writable)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)addr & ~(page - 1);
    size_t    span = ((uintptr_t)addr + len + page - 1 - from) & ~(page - 1);

    if (!madvise((void *)from, span, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ))
        return 0;
    return errno == EINVAL || errno == ENOSYS ? 0 : -1;
}

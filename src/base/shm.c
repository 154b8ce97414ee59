/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The limits of shared memory, from /proc, statvfs() and shmctl(). System V segments come first: they
 * live on a mount of the kernel's own, so that a container's small /dev/shm does not matter, and
 * transparent huge pages apply to them. Where kernel.shmmax or kernel.shmall is set below the
 * machine's memory, the files of /dev/shm come first if they may be larger. Reads only; never waits.
 */
#define _GNU_SOURCE
#include "base/shm.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/memory.h"

#define SHM_DIR "/dev/shm"

typedef struct sysv_limits {
    uint64_t segment, all, used; /* bytes */
    uint64_t ids, ids_used;
} sysv_limits_t;

static uint64_t pages_bytes(uint64_t pages)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    return pages > UINT64_MAX / page ? UINT64_MAX : pages * page;
}

/* Without System V IPC in the kernel, all is 0. */
static sysv_limits_t sysv_limits(void)
{
    sysv_limits_t   limits = {0};
    struct shminfo  info;
    struct shm_info now;

    if (shmctl(0, IPC_INFO, (struct shmid_ds *)(void *)&info) < 0 ||
        shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&now) < 0)
        return limits;
    limits.segment = info.shmmax;
    limits.all = pages_bytes(info.shmall);
    limits.used = pages_bytes(now.shm_tot);
    limits.ids = info.shmmni;
    limits.ids_used = now.used_ids < 0 ? 0 : (uint64_t)now.used_ids;
    return limits;
}

/* The size of /dev/shm, and what of it is free; 0 where it is not mounted or cannot be written. */
static void posix_limits(uint64_t *size_p, uint64_t *free_p)
{
    struct statvfs fs;

    *size_p = *free_p = 0;
    if (statvfs(SHM_DIR, &fs) || fs.f_flag & ST_RDONLY)
        return;
    *size_p = (uint64_t)fs.f_blocks * fs.f_frsize;
    *free_p = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (!*size_p) /* a tmpfs without a limit */
        *size_p = *free_p = UINT64_MAX;
}

void kvfi_shm_order(kvfi_shm_kind_t kinds_p[KVFI_SHM_KINDS])
{
    sysv_limits_t limits = sysv_limits();
    uint64_t      most = limits.segment < limits.all ? limits.segment : limits.all, size, left;

    posix_limits(&size, &left);
    kinds_p[0] = most < pages_bytes((uint64_t)sysconf(_SC_PHYS_PAGES)) && most < size
                     ? KVFI_SHM_POSIX : KVFI_SHM_SYSV;
    kinds_p[1] = kinds_p[0] == KVFI_SHM_SYSV ? KVFI_SHM_POSIX : KVFI_SHM_SYSV;
}

uint64_t kvfi_shm_left(kvfi_shm_kind_t kind)
{
    sysv_limits_t limits;
    uint64_t      size, left;

    if (kind == KVFI_SHM_POSIX) {
        posix_limits(&size, &left);
        return left;
    }
    limits = sysv_limits();
    left = limits.all > limits.used ? limits.all - limits.used : 0;
    return limits.segment < left ? limits.segment : left;
}

void kvfi_shm_limits(kvfi_shm_kind_t kind, char *buf, size_t len)
{
    sysv_limits_t limits;
    uint64_t      size, left;

    if (kind == KVFI_SHM_POSIX) {
        posix_limits(&size, &left);
        if (size == UINT64_MAX)
            snprintf(buf, len, SHM_DIR " has no limit of its own");
        else if (!size)
            snprintf(buf, len, SHM_DIR " is not mounted, or read-only");
        else
            snprintf(buf, len, SHM_DIR " has %" PRIu64 " bytes, %" PRIu64 " of them free: mount it "
                     "with a larger size=", size, left);
        return;
    }
    limits = sysv_limits();
    if (limits.ids && limits.ids_used >= limits.ids)
        snprintf(buf, len, "all %" PRIu64 " System V segments of kernel.shmmni are taken: raise it",
                 limits.ids);
    else
        snprintf(buf, len, "kernel.shmmax allows %" PRIu64 " bytes a segment, kernel.shmall %" PRIu64
                 " in all, %" PRIu64 " of them taken", limits.segment, limits.all, limits.used);
}

int kvfi_shm_huge_fits(uint64_t len)
{
    kvfi_huge_pages_t huge = kvfi_memory_huge_pages();
    uint64_t          count;

    if (!huge.page_bytes || !huge.left)
        return 0;
    count = len / huge.page_bytes + (len % huge.page_bytes != 0);
    return count <= huge.left && count * huge.page_bytes - len <= len / 100;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The limits of shared memory, from /proc, statvfs() and shmctl(). System V segments come first: they
 * live on a mount of the kernel's own, so that a container's small /dev/shm does not matter, and
 * transparent huge pages apply to them. Where kernel.shmmax or kernel.shmall is set below the
 * machine's memory, the files of /dev/shm come first if they may be larger. A System V segment outlives
 * a process killed within the microseconds before it is marked for removal; the next one sweeps it.
 * Never waits.
 */
#define _GNU_SOURCE
#include "base/shm.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"

#define SHM_DIR "/dev/shm"
#define LIFE_S  10 /* seconds that it takes at most to take apart a process that is killed */

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
    sysv_limits_t limits = {0};
    struct shminfo info;
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

/* A write past it raises SIGXFSZ. */
/* The size of /dev/shm, and what of it may be had; 0 where it is not mounted or cannot be written. */
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
    if (kvfi_file_most() < *free_p)
        *free_p = kvfi_file_most();
}

void kvfi_shm_order(kvfi_shm_kind_t kinds_p[KVFI_SHM_KINDS])
{
    sysv_limits_t limits = sysv_limits();
    uint64_t most = limits.segment < limits.all ? limits.segment : limits.all, size, left;

    posix_limits(&size, &left);
    kinds_p[0] =
        most < pages_bytes((uint64_t)sysconf(_SC_PHYS_PAGES)) && most < size ? KVFI_SHM_POSIX : KVFI_SHM_SYSV;
    kinds_p[1] = kinds_p[0] == KVFI_SHM_SYSV ? KVFI_SHM_POSIX : KVFI_SHM_SYSV;
}

uint64_t kvfi_shm_left(kvfi_shm_kind_t kind)
{
    sysv_limits_t limits;
    uint64_t size, left;

    if (kind == KVFI_SHM_POSIX) {
        posix_limits(&size, &left);
        return left;
    }
    limits = sysv_limits();
    left = limits.all > limits.used ? limits.all - limits.used : 0;
    return limits.segment < left ? limits.segment : left;
}

void kvfi_shm_limits(kvfi_shm_kind_t kind, uint64_t want, char *buf, size_t len)
{
    sysv_limits_t limits;
    uint64_t size, left, space = UINT64_MAX;

    if (want <= kvfi_shm_left(kind))
        space = kvfi_limit_of_space(want);
    if (space != UINT64_MAX) {
        snprintf(buf, len, "RLIMIT_AS (ulimit -v) allows %" PRIu64 " bytes of address space in all", space);
        return;
    }

    if (kind == KVFI_SHM_POSIX) {
        posix_limits(&size, &left);
        if (kvfi_file_most() <= left)
            snprintf(buf, len, "RLIMIT_FSIZE (ulimit -f) allows files of %" PRIu64 " bytes", left);
        else if (size == UINT64_MAX)
            snprintf(buf, len, SHM_DIR " has no limit of its own");
        else if (!size)
            snprintf(buf, len, SHM_DIR " is not mounted, or read-only");
        else
            snprintf(buf, len,
                     SHM_DIR " has %" PRIu64 " bytes, %" PRIu64 " of them free: mount it "
                             "with a larger size= (a container: --shm-size)",
                     size, left);
        return;
    }
    limits = sysv_limits();
    if (limits.segment && limits.ids_used >= limits.ids)
        snprintf(buf, len, "all %" PRIu64 " System V segments of kernel.shmmni are taken: raise it",
                 limits.ids);
    else
        snprintf(buf, len,
                 "kernel.shmmax allows %" PRIu64 " bytes a segment, kernel.shmall %" PRIu64
                 " in all, %" PRIu64 " of them taken",
                 limits.segment, limits.all, limits.used);
}

/* A line of /proc/sysvipc/shm. */
typedef struct sysv_line {
    int key, id;
    unsigned mode, uid, gid, cuid, cgid;
    int maker, last; /* PIDs as seen from here; 0: not to be seen, or none */
    unsigned long attached;
    uint64_t size, atime, dtime, ctime, resident, swapped;
} sysv_line_t;

static int read_line(const char *text, sysv_line_t *line)
{
    return sscanf(text,
                  "%d %d %o %" SCNu64 " %d %d %lu %u %u %u %u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                  " %" SCNu64,
                  &line->key, &line->id, &line->mode, &line->size, &line->maker, &line->last, &line->attached,
                  &line->uid, &line->gid, &line->cuid, &line->cgid, &line->atime, &line->dtime, &line->ctime,
                  &line->resident, &line->swapped) == 16;
}

/* The library's own are the lifeline, of one byte; UCX makes whole pages, and lets the group in. */
static int could_be_ours(const sysv_line_t *line)
{
    unsigned mode = line->mode & 07777;

    return line->key == IPC_PRIVATE && line->cuid == geteuid() && (mode == 0600 || mode == 0660) &&
           (line->size == 1 || line->size % (uint64_t)sysconf(_SC_PAGESIZE) == 0);
}

/* Who reads the memory of a process that is killed takes it apart in its stead, and counts as the last: then
 * the segment was left as soon as it had been made. */
static int left_by_maker(const sysv_line_t *line)
{
    return !line->last || line->last == line->maker ||
           (line->dtime >= line->ctime && line->dtime - line->ctime <= LIFE_S);
}

/* Made by one of this user's that has ended, of a kind that the library makes, with nobody there and never a
 * byte written: nothing is lost with it, whosever it was. */
static int is_left_over(const sysv_line_t *line)
{
    return could_be_ours(line) && !line->attached && !line->resident && !line->swapped && line->maker > 0 &&
           left_by_maker(line) && kill(line->maker, 0) && errno == ESRCH;
}

void kvfi_shm_sweep(void)
{
    FILE *file = fopen("/proc/sysvipc/shm", "re");
    char text[512];
    sysv_line_t line;

    while (file && fgets(text, sizeof text, file))
        if (read_line(text, &line) && is_left_over(&line))
            shmctl(line.id, IPC_RMID, NULL);
    if (file)
        fclose(file);
}

int kvfi_shm_huge_fits(uint64_t len)
{
    kvfi_huge_pages_t huge = kvfi_memory_huge_pages();
    uint64_t count;

    if (!huge.page_bytes || !huge.left)
        return 0;
    count = len / huge.page_bytes + (len % huge.page_bytes != 0);
    return count <= huge.left && count * huge.page_bytes - len <= len / 100;
}

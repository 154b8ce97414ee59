/* SPDX-License-Identifier: BSD-3-Clause
 *
 * See share.h. What a key names is mapped first, so that it stays, and then looked at: its size, its
 * owner, who else may open it. System V segments are found by the id that /proc shows in maps as their
 * inode, files through the maker's descriptor, as UCX gives them no name.
 */
#define _GNU_SOURCE
#include "base/share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/status.h"

#define OTHERS 0077u /* of a mode */
#define PAGE   4096u

struct kvfi_map {
    kvfi_shm_kind_t kind;
    char *at;
    uint64_t len;
};

/* ------------------------------------------------------------------- the maker */

typedef struct backing {
    int sysv;
    dev_t dev;
    uint64_t ino; /* System V: the segment's id */
} backing_t;

/* What lies behind the mapping that starts at addr; 0, or -1 with errno. */
static int backing_of(const void *addr, backing_t *backing_p)
{
    FILE *maps = fopen("/proc/thread-self/maps", "re");
    char line[4352], name[16];
    uint64_t from, ino;
    unsigned major, minor;
    int fields, found = 0;

    if (!maps)
        return -1;
    while (!found && fgets(line, sizeof line, maps)) {
        name[0] = 0;
        fields =
            sscanf(line, "%" SCNx64 "-%*x %*s %*x %x:%x %" SCNu64 " %15s", &from, &major, &minor, &ino, name);
        found = fields >= 4 && from == (uintptr_t)addr;
    }
    fclose(maps);
    if (!found) {
        errno = ENOENT;
        return -1;
    }
    *backing_p = (backing_t){!strncmp(name, "/SYSV", 5), makedev(major, minor), ino};
    return 0;
}

/* A descriptor of ours of that file; -1: none. */
static int descriptor_of(const backing_t *backing)
{
    DIR *dir = opendir("/proc/thread-self/fd");
    struct dirent *entry;
    struct stat stat;
    int fd = -1;

    while (dir && fd < 0 && (entry = readdir(dir)))
        if (entry->d_name[0] != '.' && !fstat(atoi(entry->d_name), &stat) && stat.st_dev == backing->dev &&
            stat.st_ino == backing->ino)
            fd = atoi(entry->d_name);
    if (dir)
        closedir(dir);
    return fd;
}

static kvf_status_t unknown(const void *addr)
{
    return kvfi_fail(KVF_ERR_SYSTEM, "what lies behind shared memory at %p cannot be found out: %s", addr,
                     strerror(errno));
}

/* UCX makes segments that the group may attach. */
static kvf_status_t close_segment(const backing_t *backing, kvfi_share_key_t *key)
{
    struct shmid_ds ds;

    key->id = (int32_t)backing->ino;
    if (shmctl(key->id, IPC_STAT, &ds))
        return unknown((void *)(uintptr_t)key->addr);
    ds.shm_perm.mode &= 0777u & ~OTHERS;
    if (shmctl(key->id, IPC_SET, &ds))
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "System V segments cannot be closed to the group here: %s%s",
                         strerror(errno),
                         errno == EINVAL ? " (a user namespace that does not map this user and group)" : "");
    if (shmctl(key->id, IPC_STAT, &ds))
        return unknown((void *)(uintptr_t)key->addr);
    if (ds.shm_nattch != 1)
        return kvfi_fail(KVF_ERR_BUSY,
                         "%lu processes have attached a new segment of shared memory, not "
                         "this one alone",
                         (unsigned long)ds.shm_nattch);
    return KVF_OK;
}

static kvf_status_t close_file(const backing_t *backing, kvfi_share_key_t *key)
{
    struct stat stat;

    key->id = descriptor_of(backing);
    key->dev = backing->dev;
    key->ino = backing->ino;
    if (key->id < 0 || fstat(key->id, &stat))
        return unknown((void *)(uintptr_t)key->addr);
    if (stat.st_mode & OTHERS && fchmod(key->id, stat.st_mode & 0777 & ~OTHERS))
        return unknown((void *)(uintptr_t)key->addr);
    if (stat.st_mode & OTHERS)
        return kvfi_fail(KVF_ERR_BUSY, "others could open a new file of shared memory");
    return KVF_OK;
}

kvf_status_t kvfi_share_close(void *addr, uint64_t len, kvfi_shm_kind_t kind, kvfi_share_key_t *key_p)
{
    kvfi_share_key_t key = {.kind = kind, .pid = getpid(), .addr = (uintptr_t)addr, .len = len};
    backing_t backing;
    kvf_status_t status;

    if (backing_of(addr, &backing) || backing.sysv != (kind == KVFI_SHM_SYSV))
        return unknown(addr);
    status = backing.sysv ? close_segment(&backing, &key) : close_file(&backing, &key);
    if (status == KVF_OK)
        *key_p = key;
    return status;
}

/* ------------------------------------------------------------------ a neighbour */

static kvf_status_t gone(int error)
{
    kvfi_fail(KVF_ERR_SYSTEM, "the peer's memory cannot be mapped, or has gone: %s", strerror(error));
    errno = error;
    return KVF_ERR_SYSTEM;
}

static kvf_status_t not_ours(void)
{
    return kvfi_fail(KVF_ERR_SYSTEM, "the peer's memory is not mapped: it is another user's, or open to "
                                     "others");
}

/* To the end of the last page: that far it may be touched. */
static uint64_t to_page(uint64_t len)
{
    return (len + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

static kvf_status_t attach(const kvfi_share_key_t *key, kvfi_map_t *map)
{
    void *at = shmat(key->id, NULL, 0);
    struct shmid_ds ds;

    if (at == (void *)-1)
        return gone(errno);
    map->at = at;
    /* attached, it keeps its id */
    if (shmctl(key->id, IPC_STAT, &ds))
        return gone(errno);
    if (ds.shm_perm.uid != geteuid() || ds.shm_perm.cuid != geteuid() || ds.shm_perm.mode & OTHERS)
        return not_ours();
    map->len = to_page(ds.shm_segsz);
    return KVF_OK;
}

/* Of a process whose first thread has ended the others have the descriptors. */
static int open_of_thread(const kvfi_share_key_t *key)
{
    char path[300];
    DIR *dir;
    struct dirent *entry;
    int fd = -1;

    snprintf(path, sizeof path, "/proc/%d/task", key->pid);
    dir = opendir(path);
    while (dir && fd < 0 && (entry = readdir(dir))) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/fd/%d", key->pid, entry->d_name, key->id);
        if (entry->d_name[0] != '.')
            fd = open(path, O_PATH | O_CLOEXEC);
    }
    if (dir)
        closedir(dir);
    if (fd < 0)
        errno = ENOENT;
    return fd;
}

/* A regular file that is the key's; what else a descriptor may be is not opened: that could wait. */
static int open_file(const kvfi_share_key_t *key, struct stat *stat_p)
{
    char path[64];
    int fd, at;

    snprintf(path, sizeof path, "/proc/%d/fd/%d", key->pid, key->id);
    at = open(path, O_PATH | O_CLOEXEC);
    if (at < 0 && errno == ENOENT)
        at = open_of_thread(key);
    if (at < 0)
        return -1;
    if (fstat(at, stat_p) || !S_ISREG(stat_p->st_mode) || stat_p->st_dev != key->dev ||
        stat_p->st_ino != key->ino) {
        close(at);
        errno = ENOENT;
        return -1;
    }
    snprintf(path, sizeof path, "/proc/thread-self/fd/%d", at);
    fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    close(at);
    return fd;
}

static kvf_status_t map_file(const kvfi_share_key_t *key, kvfi_map_t *map)
{
    kvf_status_t status = KVF_OK;
    struct stat stat;
    int fd = open_file(key, &stat);
    void *at;

    if (fd < 0)
        return gone(errno);
    if (stat.st_uid != geteuid() || stat.st_mode & OTHERS) {
        status = not_ours();
    } else {
        map->len = to_page((uint64_t)stat.st_size);
        map->len = map->len < key->len ? map->len : key->len;
        at = mmap(NULL, map->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
            status = gone(errno);
        else
            map->at = at;
    }
    close(fd);
    return status;
}

static int is_key(const void *data, size_t len, kvfi_share_key_t *key)
{
    if (len != sizeof *key)
        return 0;
    memcpy(key, data, sizeof *key);
    return key->kind < KVFI_SHM_KINDS && key->id >= 0 && key->pid > 0 && !key->zero && key->len &&
           key->addr % PAGE == 0 && key->len <= UINT64_MAX - key->addr;
}

kvf_status_t kvfi_map_open(const void *data, size_t data_len, uint64_t raddr, uint64_t len,
                           kvfi_map_t **map_p, void **addr_p)
{
    kvfi_share_key_t key;
    kvfi_map_t *map;
    kvf_status_t status;
    int error;

    errno = 0;
    if (!is_key(data, data_len, &key))
        return kvfi_fail(KVF_ERR_BLOB, "the key of the peer's memory is impossible");
    if (raddr < key.addr || raddr - key.addr > key.len || len > key.len - (raddr - key.addr))
        return kvfi_fail(KVF_ERR_BLOB,
                         "%" PRIu64 " bytes at 0x%" PRIx64 " leave the peer's memory, %" PRIu64
                         " bytes at 0x%" PRIx64,
                         len, raddr, key.len, key.addr);
    map = calloc(1, sizeof *map);
    if (!map)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a mapping's handle");
    map->kind = (kvfi_shm_kind_t)key.kind;
    status = map->kind == KVFI_SHM_SYSV ? attach(&key, map) : map_file(&key, map);
    if (status == KVF_OK && key.len > map->len)
        status = kvfi_fail(KVF_ERR_BLOB, "the peer's memory has %" PRIu64 " bytes, its key says %" PRIu64,
                           map->len, key.len);
    if (status != KVF_OK) {
        error = errno;
        kvfi_map_close(map);
        errno = error;
        return status;
    }
    *map_p = map;
    *addr_p = map->at + (raddr - key.addr);
    return KVF_OK;
}

int kvfi_map_is_gone(int error)
{
    return error == EINVAL || error == EIDRM || error == ENOENT || error == ESRCH;
}

void kvfi_map_close(kvfi_map_t *map)
{
    if (!map)
        return;
    if (map->at && map->kind == KVFI_SHM_SYSV)
        shmdt(map->at);
    else if (map->at)
        munmap(map->at, map->len);
    free(map);
}

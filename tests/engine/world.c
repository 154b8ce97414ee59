/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Worlds of the engine tests: see world.h. Who is not root makes a user namespace around them.
 */
#define _GNU_SOURCE
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

    if (fd >= 0) {
        close(fd);
    }
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

static int try_enter(int net)
{
    int flags = CLONE_NEWNS | CLONE_NEWIPC | (net ? CLONE_NEWNET : 0);
    char map[64];
    unsigned uid = geteuid();
    unsigned gid = getegid();

    if (unshare(flags) != 0) {
        if (unshare(flags | CLONE_NEWUSER) != 0) {
            return -1;
        }
        snprintf(map, sizeof(map), "0 %u 1", uid);
        if (put("/proc/self/setgroups", "deny") != 0 || put("/proc/self/uid_map", map) != 0) {
            return -1;
        }
        snprintf(map, sizeof(map), "0 %u 1", gid);
        if (put("/proc/self/gid_map", map) != 0) {
            return -1;
        }
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static int try_mount(const char *folder, uint64_t bytes)
{
    char size[64];

    snprintf(size, sizeof(size), "size=%llu", (unsigned long long)bytes);
    return mount("tmpfs", folder, "tmpfs", 0, size);
}

static int try_limit_sysv(const char *name, const char *value)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/sys/kernel/%s", name);
    return put(path, value);
}

void world_needed(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        if (try_enter(1) != 0) {
            _exit(1);
        }
        _exit(try_mount("/dev/shm", 1 << 20) == 0 && try_limit_sysv("shmmax", "0") == 0 ? 0 : 2);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) == 1) {
        skip_all("no namespaces of mounts, IPC and sockets can be made here");
    }
    if (WEXITSTATUS(status) != 0) {
        skip_all("/dev/shm or kernel.shmmax cannot be set here, not even in a namespace");
    }
}

void world_enter(int net)
{
    must(try_enter(net) == 0, "%s", strerror(errno));
}

void world_mount(const char *folder, uint64_t bytes)
{
    must(try_mount(folder, bytes) == 0, "%s: %s", folder, strerror(errno));
}

void world_fill_shm(void)
{
    static const char block[65536] = {1};
    int fd = open("/dev/shm/full", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ssize_t n;

    must(fd >= 0, "%s", strerror(errno));
    do {
        n = write(fd, block, sizeof(block));
    } while (n > 0);
    must(errno == ENOSPC, "%s", strerror(errno));
    close(fd);
}

void world_limit_sysv(const char *name, const char *value)
{
    must(try_limit_sysv(name, value) == 0, "%s: %s", name, strerror(errno));
}

void world_forbid_sysv(void)
{
    world_limit_sysv("shmmax", "0");
}

unsigned world_segments(void)
{
    struct shm_info info;

    must(shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info) >= 0, "%s", strerror(errno));
    return (unsigned)info.used_ids;
}

unsigned world_names(const char *folder)
{
    DIR *dir = opendir(folder);
    unsigned count = 0;
    struct dirent *entry;

    must(dir != NULL, "%s: %s", folder, strerror(errno));
    while ((entry = readdir(dir)) != NULL) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    closedir(dir);
    return count;
}

unsigned world_sockets(void)
{
    FILE *f = fopen("/proc/self/net/unix", "r");
    char line[512];
    unsigned count = 0;

    must(f != NULL, "%s", strerror(errno));
    while (fgets(line, sizeof(line), f) != NULL) {
        count += strchr(line, '@') != NULL;
    }
    fclose(f);
    return count;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The facts of kvf_info that come from /proc, /sys and a few system calls. All reads are of small
 * kernel files, which do not block.
 */
#include "config.h"

#include "machine.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/memory.h"

#include "cli.h"

static int read_line(const char *path, char *text, size_t len)
{
    FILE *file = fopen(path, "re");

    text[0] = '\0';
    if (file == NULL) {
        return -1;
    }
    if (fgets(text, (int)len, file) == NULL) {
        text[0] = '\0';
    }
    fclose(file);
    text[strcspn(text, "\n")] = '\0';
    return 0;
}

static uint64_t read_number(const char *path, uint64_t otherwise)
{
    char line[64];

    if (read_line(path, line, sizeof(line)) != 0 || line[0] == '\0') {
        return otherwise;
    }
    return strtoull(line, NULL, 10);
}

/* "always [madvise] never": the word in brackets */
static void read_choice(const char *path, char *word, size_t len)
{
    char line[160];

    word[0] = '\0';
    if (read_line(path, line, sizeof(line)) != 0) {
        return;
    }
    char *start = strchr(line, '[');
    char *end = start != NULL ? strchr(start, ']') : NULL;
    if (end != NULL) {
        *end = '\0';
        snprintf(word, len, "%s", start + 1);
    }
}

/* The value after "key<blanks>:" of the first line of a file that has it */
static void read_field(const char *path, const char *key, char *value, size_t len)
{
    FILE *file = fopen(path, "re");
    char line[256];
    size_t key_len = strlen(key);

    value[0] = '\0';
    if (file == NULL) {
        return;
    }
    while (value[0] == '\0' && fgets(line, sizeof(line), file) != NULL) {
        char *colon = strchr(line, ':');
        if (colon != NULL && strncmp(line, key, key_len) == 0 &&
            strspn(line + key_len, " \t") == (size_t)(colon - line) - key_len) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(value, len, "%s", colon + 1 + strspn(colon + 1, " \t"));
        }
    }
    fclose(file);
}

static void look_at_cpus(struct kvfi_machine *m)
{
    struct utsname name;
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    if (uname(&name) == 0) {
        snprintf(m->kernel, sizeof(m->kernel), "%.40s %.64s %.20s", name.sysname, name.release, name.machine);
    }
    read_field("/proc/cpuinfo", "model name", m->cpu_model, sizeof(m->cpu_model));
    read_field("/proc/self/status", "Cpus_allowed_list", m->cpus_allowed, sizeof(m->cpus_allowed));
    m->cpus_online = online > 0 ? (unsigned)online : 0;
    DIR *dir = opendir("/sys/devices/system/node");
    if (dir != NULL) {
        struct dirent *entry;
        while ((entry = readdir(dir)) != NULL) {
            unsigned node;
            m->numa_nodes += sscanf(entry->d_name, "node%u", &node) == 1;
        }
        closedir(dir);
    }
}

static void look_at_caches(struct kvfi_machine *m)
{
    char path[128], text[64];

    for (unsigned i = 0; i < KVFI_MOST_CACHES; i++) {
        struct kvfi_cache *cache = &m->caches[m->cache_count];
        static const char base[] = "/sys/devices/system/cpu/cpu0/cache/index";
        snprintf(path, sizeof(path), "%s%u/level", base, i);
        cache->level = (unsigned)read_number(path, 0);
        snprintf(path, sizeof(path), "%s%u/size", base, i);
        if (cache->level == 0 || read_line(path, text, sizeof(text)) != 0 ||
            kvfi_cli_size("size", text, 0, UINT64_MAX, &cache->bytes) != 0) {
            continue;
        }
        snprintf(path, sizeof(path), "%s%u/type", base, i);
        read_line(path, cache->type, sizeof(cache->type));
        snprintf(path, sizeof(path), "%s%u/shared_cpu_list", base, i);
        read_line(path, cache->cpus, sizeof(cache->cpus));
        m->cache_count++;
    }
}

static void look_at_huge_pages(struct kvfi_machine *m)
{
    static const char base[] = "/sys/kernel/mm/hugepages";
    DIR *dir = opendir(base);
    struct dirent *entry;
    char path[384];

    while (dir != NULL && m->huge_count < KVFI_MOST_HUGE && (entry = readdir(dir)) != NULL) {
        unsigned long long kib;
        if (sscanf(entry->d_name, "hugepages-%llukB", &kib) != 1) {
            continue;
        }
        struct kvfi_huge *huge = &m->huge[m->huge_count++];
        huge->page_bytes = (uint64_t)kib * 1024;
        snprintf(path, sizeof(path), "%s/%s/nr_hugepages", base, entry->d_name);
        huge->total = read_number(path, 0);
        snprintf(path, sizeof(path), "%s/%s/free_hugepages", base, entry->d_name);
        huge->free = read_number(path, 0);
    }
    if (dir != NULL) {
        closedir(dir);
    }
    read_choice("/sys/kernel/mm/transparent_hugepage/enabled", m->thp, sizeof(m->thp));
    read_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", m->thp_shared, sizeof(m->thp_shared));
}

static void look_at_memory(struct kvfi_machine *m)
{
    struct statvfs shm;
    struct rlimit limit;
    char text[64];

    m->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    read_field("/proc/meminfo", "MemTotal", text, sizeof(text));
    m->memory_total = strtoull(text, NULL, 10) * 1024;
    m->memory_free = kvfi_memory_available(&m->memory_limit);
    if (statvfs("/dev/shm", &shm) == 0) {
        m->shm_total = (uint64_t)shm.f_blocks * shm.f_frsize;
        m->shm_free = (uint64_t)shm.f_bavail * shm.f_frsize;
    }
    m->sysv_most = read_number("/proc/sys/kernel/shmmax", 0);
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        m->memlock = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)limit.rlim_cur;
    }
}

void kvfi_machine_look(struct kvfi_machine *machine_p)
{
    *machine_p = (struct kvfi_machine){0};
    look_at_cpus(machine_p);
    look_at_caches(machine_p);
    look_at_memory(machine_p);
    look_at_huge_pages(machine_p);
    machine_p->ptrace_scope = (int)read_number("/proc/sys/kernel/yama/ptrace_scope", UINT64_MAX);
    read_line("/proc/sys/net/ipv4/tcp_congestion_control", machine_p->congestion_control,
              sizeof(machine_p->congestion_control));
}

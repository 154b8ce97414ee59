/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Processor and caches as the kernel tells them; where it does not, as the C library does, and else
 * what most machines have at least.
 */
#define _GNU_SOURCE
#include "copy/host.h"

#include <sys/mman.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define L2_LEAST   (UINT64_C(512) << 10)
#define LAST_LEAST (UINT64_C(8) << 20)

static int first_line(const char *path, char *line, size_t len)
{
    FILE *file = fopen(path, "re");
    int got;

    if (!file)
        return 0;
    got = fgets(line, (int)len, file) != NULL;
    fclose(file);
    line[got ? strcspn(line, "\n") : 0] = '\0';
    return got;
}

/* Caches of processor 0 that hold data. */
static void look_at_caches(kvfi_host_t *host)
{
    for (unsigned i = 0; i < 8; i++) {
        char path[80], line[32], unit = 0;
        unsigned level;
        uint64_t bytes;

        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%u/level", i);
        if (!first_line(path, line, sizeof line) || sscanf(line, "%u", &level) != 1)
            break;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%u/type", i);
        if (!first_line(path, line, sizeof line) || !strcmp(line, "Instruction"))
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%u/size", i);
        if (!first_line(path, line, sizeof line) || sscanf(line, "%lu%c", &bytes, &unit) < 1)
            continue;
        bytes <<= unit == 'K' ? 10 : unit == 'M' ? 20 : 0;
        if (level == 2)
            host->l2 = bytes;
        if (level >= 2 && bytes > host->last)
            host->last = bytes;
    }
}

static void look_at_model(kvfi_host_t *host)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256], text[96];

    snprintf(host->model, sizeof host->model, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "model name : %95[^\n]", text) == 1) {
            snprintf(host->model, sizeof host->model, "%s", text);
            break;
        }
        /* arm tells no name, but numbers */
        if (sscanf(line, "CPU part : %32s", text) == 1)
            snprintf(host->model, sizeof host->model, "part %.32s", text);
    }
    if (file)
        fclose(file);
}

kvfi_host_t kvfi_host_look(void)
{
    kvfi_host_t host = {.l2 = 0};
    long bytes;

    look_at_caches(&host);
    look_at_model(&host);
    if (!host.l2 && (bytes = sysconf(_SC_LEVEL2_CACHE_SIZE)) > 0)
        host.l2 = (uint64_t)bytes;
    if (!host.last && (bytes = sysconf(_SC_LEVEL3_CACHE_SIZE)) > 0)
        host.last = (uint64_t)bytes;
    if (!host.l2)
        host.l2 = L2_LEAST;
    if (!host.last)
        host.last = host.l2 > LAST_LEAST ? host.l2 : LAST_LEAST;
    return host;
}

char *kvfi_host_map(uint64_t len)
{
    void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (mem == MAP_FAILED)
        return NULL;
    madvise(mem, len, MADV_NOHUGEPAGE); /* shared memory has none, as a rule */
    memset(mem, 1, len);
    return mem;
}

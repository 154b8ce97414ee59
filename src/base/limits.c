/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Limits as text. See limits.h.
 */
#define _GNU_SOURCE
#include "base/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

const char *kvfi_limit_text(int which, kvfi_limit_t text)
{
    struct rlimit limit;

    if (getrlimit((__rlimit_resource_t)which, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return "unlimited";
    snprintf(text, sizeof(kvfi_limit_t), "%" PRIu64, (uint64_t)limit.rlim_cur);
    return text;
}

/* The word in a file, or why_not. */
static const char *word_of(const char *path, const char *why_not, kvfi_limit_t text)
{
    FILE *file = fopen(path, "re");
    int found = file && fscanf(file, "%31s", text) == 1;

    if (file)
        fclose(file);
    return found ? text : why_not;
}

int kvfi_limit_group(const char *mark, char *path, size_t len)
{
    FILE *groups = fopen("/proc/thread-self/cgroup", "re");
    char line[4096], *at;
    int found = -1;

    if (!groups)
        return -1;
    while (found && fgets(line, sizeof line, groups)) {
        at = strstr(line, mark);
        if (!at || (mark[0] != ':' && at != line))
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(path, len, "%s", at + strlen(mark));
        found = 0;
    }
    fclose(groups);
    return found;
}

/* pids.max of our own control group; those above it may be lower. */
static const char *pids_max(kvfi_limit_t text)
{
    char group[4096], path[4200];
    int unified = kvfi_limit_group(":pids:", group, sizeof group);

    if (unified && kvfi_limit_group("0::", group, sizeof group))
        return "unknown";
    snprintf(path, sizeof path, "/sys/fs/cgroup%s%s/pids.max", unified ? "" : "/pids", group);
    return word_of(path, "unknown", text);
}

void kvfi_limits_of_threads(char buf[KVFI_LIMITS_LEN])
{
    kvfi_limit_t nproc, pids, as;

    snprintf(buf, KVFI_LIMITS_LEN, "RLIMIT_NPROC %s, pids.max %s, RLIMIT_AS %s",
             kvfi_limit_text(RLIMIT_NPROC, nproc), pids_max(pids), kvfi_limit_text(RLIMIT_AS, as));
}

uint64_t kvfi_limit_of_space(uint64_t len)
{
    struct rlimit limit;
    void *room;

    if (!len || getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    room = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return limit.rlim_cur;
    munmap(room, len);
    return UINT64_MAX;
}

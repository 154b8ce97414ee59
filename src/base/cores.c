/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Affinity. The mask comes from the kernel, and so do the lists of /sys that tell which processors are one
 * core, share a last cache, or are near one memory: a few files of a line each, some ten microseconds for
 * each of them. What they do not tell (no /sys, an old kernel) is taken as a core for each processor, and
 * one node.
 */
#define _GNU_SOURCE
#include "base/cores.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

#define BYTES (KVFI_CORES_CPUS / 8)

static const char sys[] = "/sys/devices/system";

static int has(const kvfi_mask_t *set, unsigned cpu)
{
    return CPU_ISSET_S(cpu, BYTES, (const cpu_set_t *)set->cpus) != 0;
}

/* ---------------------------------------------------------------------- lists */

/* Up to what is no number. */
static void parse_list(char *at, kvfi_mask_t *set)
{
    for (char *end = at;; at = end + 1) {
        unsigned long first = strtoul(at, &end, 10), last = first;

        if (end == at)
            return;
        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        for (; first <= last && first < KVFI_CORES_CPUS; first++)
            CPU_SET_S(first, BYTES, (cpu_set_t *)set->cpus);
        if (*end != ',')
            return;
    }
}

/* A list such as "0-3,8"; empty if there is none. */
__attribute__((format(printf, 2, 3))) static void read_list(kvfi_mask_t *set, const char *fmt, ...)
{
    char path[512], line[4096];
    FILE *file;
    va_list args;

    memset(set, 0, sizeof *set);
    va_start(args, fmt);
    vsnprintf(path, sizeof path, fmt, args);
    va_end(args);
    file = fopen(path, "re");
    if (!file)
        return;
    if (fgets(line, sizeof line, file))
        parse_list(line, set);
    fclose(file);
}

static void read_core(const char *root, unsigned cpu, kvfi_mask_t *core)
{
    read_list(core, "%s/cpu/cpu%u/topology/thread_siblings_list", root, cpu);
    CPU_SET_S(cpu, BYTES, (cpu_set_t *)core->cpus);
}

/* The processors of the node that cpu is of; none without nodes. */
static void read_node(const char *root, unsigned cpu, kvfi_mask_t *near)
{
    kvfi_mask_t nodes;

    read_list(&nodes, "%s/node/online", root);
    for (unsigned node = 0; node < KVFI_CORES_CPUS; node++) {
        if (!has(&nodes, node))
            continue;
        read_list(near, "%s/node/node%u/cpulist", root, node);
        if (has(near, cpu))
            return;
    }
    memset(near, 0, sizeof *near);
}

/* of = mask and in (NULL: anywhere) but not out; 0 if that is none. */
static int narrow(const kvfi_mask_t *mask, const kvfi_mask_t *in, const kvfi_mask_t *out, kvfi_mask_t *of)
{
    unsigned long any = 0;

    for (size_t i = 0; i < BYTES / sizeof(long); i++) {
        of->cpus[i] = mask->cpus[i] & (in ? in->cpus[i] : ~0ul) & ~out->cpus[i];
        any |= of->cpus[i];
    }
    return any != 0;
}

/* ---------------------------------------------------------- cores for threads */

static unsigned count_cores(const char *root, const kvfi_mask_t *mask)
{
    kvfi_mask_t left = *mask, core;
    unsigned count = 0;

    for (unsigned cpu = 0; cpu < KVFI_CORES_CPUS; cpu++) {
        if (!has(&left, cpu))
            continue;
        read_core(root, cpu, &core);
        narrow(&left, NULL, &core, &left);
        count++;
    }
    return count;
}

void kvfi_cores_choose(const char *root, const kvfi_mask_t *mask, unsigned here, unsigned wanted,
                       kvfi_cores_t *cores)
{
    kvfi_mask_t core, node, near;
    unsigned count;

    read_core(root, here, &core);
    narrow(mask, NULL, &core, &cores->beside);
    cores->others = count_cores(root, &cores->beside);
    read_node(root, here, &node);
    narrow(&cores->beside, &node, &core, &near);
    count = count_cores(root, &near);
    if (count < cores->others && count >= wanted) {
        cores->beside = near;
        cores->others = count;
    }
}

void kvfi_cores_find(unsigned wanted, kvfi_cores_t *cores)
{
    kvfi_mask_t mask;
    int here = sched_getcpu();

    memset(cores, 0, sizeof *cores);
    kvfi_mask_find(&mask);
    if (here < 0 || !has(&mask, (unsigned)here)) /* it may move on; then any of them is as good */
        for (here = 0; here < (int)KVFI_CORES_CPUS && !has(&mask, (unsigned)here);)
            here++;
    if (here < (int)KVFI_CORES_CPUS)
        kvfi_cores_choose(sys, &mask, (unsigned)here, wanted, cores);
}

int kvfi_cores_bind(const kvfi_cores_t *cores)
{
    return kvfi_mask_return(&cores->beside);
}

/* ---------------------------------------------------------- leave a processor */

void kvfi_mask_find(kvfi_mask_t *mask)
{
    memset(mask, 0, sizeof *mask);
    if (sched_getaffinity(0, BYTES, (cpu_set_t *)mask->cpus))
        kvfi_log(KVFI_LOG_INFO, "sched_getaffinity tells no processors: %m");
}

int kvfi_mask_leave(const kvfi_mask_t *mask, unsigned cpu)
{
    kvfi_mask_t cache, core, to, here = {{0}};

    if (cpu >= KVFI_CORES_CPUS)
        return -1;
    CPU_SET_S(cpu, BYTES, (cpu_set_t *)here.cpus);
    if (!narrow(mask, NULL, &here, &to))
        return -1;
    read_list(&cache, "%s/cpu/cpu%u/cache/index3/shared_cpu_list", sys, cpu);
    read_core(sys, cpu, &core);
    if (!narrow(mask, &cache, &core, &to) && !narrow(mask, NULL, &core, &to))
        narrow(mask, NULL, &here, &to);
    return kvfi_mask_return(&to);
}

int kvfi_mask_return(const kvfi_mask_t *mask)
{
    return sched_setaffinity(0, BYTES, (const cpu_set_t *)mask->cpus) ? errno : 0;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Affinity. The mask comes from the kernel; hwloc, where it was built in, tells which processors
 * are one core and which cores are near. Its topology is loaded for the one look and let go;
 * loading it takes milliseconds, so that a thread that leaves a processor reads what it needs from
 * /sys instead, in some tens of microseconds.
 */
#define _GNU_SOURCE
#include "base/cores.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

#ifdef HAVE_HWLOC
#include <hwloc.h>
#endif

#define BYTES (KVFI_CORES_CPUS / 8)

static cpu_set_t *set_of(kvfi_cores_t *cores)
{
    return (cpu_set_t *)cores->cpus;
}

static void mask_alone(const cpu_set_t *mask, unsigned here, kvfi_cores_t *cores)
{
    cores->allowed = (unsigned)CPU_COUNT_S(BYTES, mask);
    memcpy(cores->cpus, mask, BYTES);
    CPU_CLR_S(here, BYTES, set_of(cores));
    cores->others = (unsigned)CPU_COUNT_S(BYTES, set_of(cores));
}

#ifdef HAVE_HWLOC
static hwloc_topology_t load(void)
{
    hwloc_topology_t topology;

    if (hwloc_topology_init(&topology))
        return NULL;
    if (!hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE) &&
        !hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL) &&
        !hwloc_topology_load(topology))
        return topology;
    hwloc_topology_destroy(topology);
    return NULL;
}

/* The processors of core, as far as they are allowed, go into the set. 0 if there are none. */
static int add_core(hwloc_obj_t core, const cpu_set_t *mask, kvfi_cores_t *cores)
{
    int cpu = -1, any = 0;

    while ((cpu = hwloc_bitmap_next(core->cpuset, cpu)) >= 0) {
        if ((unsigned)cpu >= KVFI_CORES_CPUS || !CPU_ISSET_S(cpu, BYTES, mask))
            continue;
        CPU_SET_S(cpu, BYTES, set_of(cores));
        any = 1;
    }
    return any;
}

/* All allowed cores but that of here; node: only those that share a NUMA node with it. */
static void collect(hwloc_topology_t topology, const cpu_set_t *mask, unsigned here,
                    hwloc_const_nodeset_t node, kvfi_cores_t *cores)
{
    hwloc_obj_t core = NULL;

    memset(cores->cpus, 0, BYTES);
    cores->others = 0;
    while ((core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core)))
        if (!hwloc_bitmap_isset(core->cpuset, here) &&
            (!node || hwloc_bitmap_intersects(core->nodeset, node)))
            cores->others += (unsigned)add_core(core, mask, cores);
}

static int with_hwloc(const cpu_set_t *mask, unsigned here, unsigned wanted, kvfi_cores_t *cores)
{
    hwloc_topology_t topology = load();
    hwloc_obj_t      pu = topology ? hwloc_get_pu_obj_by_os_index(topology, here) : NULL;
    hwloc_obj_t      core = pu ? hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu) : NULL;

    if (core) {
        collect(topology, mask, here, NULL, cores);
        cores->allowed = cores->others + 1;
        collect(topology, mask, here, core->nodeset, cores);
        if (cores->others < wanted)
            collect(topology, mask, here, NULL, cores);
    }
    if (topology)
        hwloc_topology_destroy(topology);
    return core != NULL;
}
#endif

void kvfi_cores_find(unsigned wanted, kvfi_cores_t *cores)
{
    unsigned long bits[BYTES / sizeof(long)] = {0};
    cpu_set_t    *mask = (cpu_set_t *)bits;
    int           here = sched_getcpu();

    memset(cores, 0, sizeof *cores);
    if (sched_getaffinity(0, BYTES, mask)) {
        kvfi_log(KVFI_LOG_INFO, "sched_getaffinity tells no processors: %m");
        return;
    }
    /* it may move on; then it is the first one's core that is left to it */
    for (int cpu = 0; here < 0 || !CPU_ISSET_S(here, BYTES, mask); cpu++)
        here = CPU_ISSET_S(cpu, BYTES, mask) ? cpu : -1;
#ifdef HAVE_HWLOC
    if (with_hwloc(mask, (unsigned)here, wanted, cores))
        return;
#endif
    (void)wanted;
    mask_alone(mask, (unsigned)here, cores);
}

int kvfi_cores_bind(const kvfi_cores_t *cores)
{
    return sched_setaffinity(0, BYTES, (const cpu_set_t *)cores->cpus) ? errno : 0;
}

/* ---------------------------------------------------------- leave a processor */

void kvfi_mask_find(kvfi_mask_t *mask)
{
    memset(mask, 0, sizeof *mask);
    if (sched_getaffinity(0, BYTES, (cpu_set_t *)mask->cpus))
        kvfi_log(KVFI_LOG_INFO, "sched_getaffinity tells no processors: %m");
}

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

/* A list of /sys about cpu, such as "0-3,8"; empty if there is none. */
static void read_list(unsigned cpu, const char *name, kvfi_mask_t *set)
{
    char  path[96], line[4096];
    FILE *file;

    memset(set, 0, sizeof *set);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/%s", cpu, name);
    file = fopen(path, "re");
    if (!file)
        return;
    if (fgets(line, sizeof line, file))
        parse_list(line, set);
    fclose(file);
}

/* of = mask and in (NULL: anywhere) but not out; 0 if that is none. */
static int narrow(const kvfi_mask_t *mask, const kvfi_mask_t *in, const kvfi_mask_t *out,
                  kvfi_mask_t *of)
{
    unsigned long any = 0;

    for (size_t i = 0; i < BYTES / sizeof(long); i++) {
        of->cpus[i] = mask->cpus[i] & (in ? in->cpus[i] : ~0ul) & ~out->cpus[i];
        any |= of->cpus[i];
    }
    return any != 0;
}

int kvfi_mask_leave(const kvfi_mask_t *mask, unsigned cpu)
{
    kvfi_mask_t cache, core, to, here = {{0}};

    if (cpu >= KVFI_CORES_CPUS)
        return -1;
    CPU_SET_S(cpu, BYTES, (cpu_set_t *)here.cpus);
    if (!narrow(mask, NULL, &here, &to))
        return -1;
    read_list(cpu, "cache/index3/shared_cpu_list", &cache);
    read_list(cpu, "topology/thread_siblings_list", &core);
    CPU_SET_S(cpu, BYTES, (cpu_set_t *)core.cpus);
    if (!narrow(mask, &cache, &core, &to) && !narrow(mask, NULL, &core, &to))
        narrow(mask, NULL, &here, &to);
    return kvfi_mask_return(&to);
}

int kvfi_mask_return(const kvfi_mask_t *mask)
{
    return sched_setaffinity(0, BYTES, (const cpu_set_t *)mask->cpus) ? errno : 0;
}

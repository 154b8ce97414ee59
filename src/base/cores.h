/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The cores that the calling thread may use, and which of them suit threads that work beside it.
 */
#ifndef KVFI_BASE_CORES_H
#define KVFI_BASE_CORES_H

#define KVFI_CORES_CPUS 8192u

typedef struct kvfi_cores {
    unsigned      allowed; /* cores in the thread's affinity mask; 0: the kernel does not tell */
    unsigned      others;  /* of those, cores for threads beside it */
    unsigned long cpus[KVFI_CORES_CPUS / (8 * sizeof(long))]; /* the processors of these */
} kvfi_cores_t;

/* Those beside the core that the caller runs on; of its NUMA node if that has as many as are wanted.
 * Without hwloc each processor counts as a core, and nodes are not known. */
void kvfi_cores_find(unsigned wanted, kvfi_cores_t *cores_p);

/* Bind the calling thread to these. 0, or an errno. */
int kvfi_cores_bind(const kvfi_cores_t *cores);

#endif

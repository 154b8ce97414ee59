/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The cores that the calling thread may use, and which of them suit threads that work beside it;
 * and how a thread gets off a processor that it shares with who waits for it.
 */
#ifndef KVFI_BASE_CORES_H
#define KVFI_BASE_CORES_H

#define KVFI_CORES_CPUS 8192u

/* Processors, by their number. */
typedef struct kvfi_mask {
    unsigned long cpus[KVFI_CORES_CPUS / (8 * sizeof(long))];
} kvfi_mask_t;

typedef struct kvfi_cores {
    unsigned others;    /* cores for threads beside the one that asked; 0 also if the kernel does not tell */
    kvfi_mask_t beside; /* the processors of these */
} kvfi_cores_t;

/* Those beside the core that the caller runs on; of its NUMA node if that has as many as are wanted. */
void kvfi_cores_find(unsigned wanted, kvfi_cores_t *cores_p);

/* The same for a thread on processor `here` of mask, by the files below root (/sys/devices/system). */
void kvfi_cores_choose(const char *root, const kvfi_mask_t *mask, unsigned here, unsigned wanted,
                       kvfi_cores_t *cores_p);

/* Bind the calling thread to these. 0, or an errno. */
int kvfi_cores_bind(const kvfi_cores_t *cores);

/* The processors that the calling thread may use; none if the kernel does not tell. */
void kvfi_mask_find(kvfi_mask_t *mask_p);
/* Bind the calling thread to those of mask that suit work for a thread on cpu: of other cores that
 * share its last cache, else of other cores, else all but cpu. 0; -1: mask has no other; an errno. */
int kvfi_mask_leave(const kvfi_mask_t *mask, unsigned cpu);
/* Bind the calling thread to all of mask again. 0, or an errno. */
int kvfi_mask_return(const kvfi_mask_t *mask);

#endif

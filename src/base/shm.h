/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the kernel allows of shared memory: System V segments, the files of /dev/shm, huge pages.
 */
#ifndef KVFI_BASE_SHM_H
#define KVFI_BASE_SHM_H

#include <stddef.h>
#include <stdint.h>

/* Where shared memory comes from. */
typedef enum kvfi_shm_kind {
    KVFI_SHM_SYSV,  /* shmget(); takes nothing of /dev/shm */
    KVFI_SHM_POSIX, /* files of /dev/shm */
    KVFI_SHM_KINDS
} kvfi_shm_kind_t;

/* Both kinds, the one to try first in front. The same for all processes of an IPC namespace that see
 * one /dev/shm. */
void kvfi_shm_order(kvfi_shm_kind_t kinds_p[KVFI_SHM_KINDS]);

/* Bytes of that kind that may still be had. UINT64_MAX: no limit but memory's. */
uint64_t kvfi_shm_left(kvfi_shm_kind_t kind);

/* What keeps want bytes of that kind from us (0: any), as it is now, with names and sizes, for a sentence. */
void kvfi_shm_limits(kvfi_shm_kind_t kind, uint64_t want, char *buf, size_t len);

/* Remove what processes of this user left that were killed between making a System V segment and marking
 * it for removal: private, without a page, attached by nobody else, its maker dead. Nothing that holds
 * a byte of data or has a key is touched. */
void kvfi_shm_sweep(void);

/* May len bytes lie in huge pages of the default size: enough are free, and at most 1 % is wasted? */
int kvfi_shm_huge_fits(uint64_t len);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a calibration belongs to: the model of the processor and the sizes of its caches.
 */
#ifndef KVFI_COPY_HOST_H
#define KVFI_COPY_HOST_H

#include <stdint.h>

typedef struct kvfi_host {
    char model[96];    /* "unknown" if the kernel does not say */
    uint64_t l2, last; /* bytes; the last level that there is */
} kvfi_host_t;

/* Reads small files of the kernel; takes tens of microseconds. */
kvfi_host_t kvfi_host_look(void);

/* Private memory to measure with: filled, in small pages as shared memory has; munmap() it. NULL: none. */
char *kvfi_host_map(uint64_t len);

#endif

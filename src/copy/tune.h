/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The one place that says how copies are done on this machine: which kernel, and when it streams. A
 * streamed copy is the faster one where the memory is not in the caches, and the slower one where it
 * is. Nobody can say that of a batch from its size alone, so between two sizes a copy looks: it times
 * a few loads of what it is about to copy.
 *
 *   bytes of the batch    0 ...... probe_from ............. stream_from ......
 *                         plain    looks, then either one   streams
 *
 * The values come from the sizes of the caches; over them from a calibration (calibrate.h); over that
 * from KVFERRY_COPY_KERNEL and KVFERRY_STREAM_FROM.
 */
#ifndef KVFI_COPY_TUNE_H
#define KVFI_COPY_TUNE_H

#include "copy/cost.h"
#include "copy/host.h"
#include "copy/kernel.h"

typedef struct kvfi_tune {
    const kvfi_kernel_t *kernel;
    uint64_t probe_from, stream_from; /* bytes of a batch */
    uint64_t linear_from;             /* pieces of so many bytes are streamed one after the other */
    uint64_t cold_ns;                 /* a look that takes longer has seen memory outside the caches */
    uint64_t cold_ticks;              /* the same in kvfi_ticks() */
    kvfi_costs_t costs;               /* of the paths */
    char file[256];                   /* the calibration that these come from; "": the caches' sizes */
} kvfi_tune_t;

/* What is in force in this process; valid for ever. Cheap but for the first call. */
const kvfi_tune_t *kvfi_tune(void);

/* Read the environment (and what stands below it) again. The values of the variables were checked.
 * 0, or -1: no memory, nothing changed. */
int kvfi_tune_load(void);

/* What the cache sizes give, without a calibration and the environment. */
kvfi_tune_t kvfi_tune_default(const kvfi_host_t *host);

/* Does one of these pieces (at least one) seem to come from memory, or to go there? A few loads of each
 * side. Right of what is in memory, less often of what is in a cache. */
int kvfi_tune_seems_cold(const kvfi_tune_t *tune, const kvfi_piece_t *pieces, unsigned count);

/* The same with a second look at what seems so. */
int kvfi_tune_cold(const kvfi_tune_t *tune, const kvfi_piece_t *pieces, unsigned count);

/* The second look, in ticks: the quicker half of some loads from pages that were just loaded from. A page
 * that has to be found takes as long as a line from memory, and a line or two of what the caches hold may
 * be in memory. */
uint64_t kvfi_tune_look(const kvfi_piece_t *pieces, unsigned count);

#endif

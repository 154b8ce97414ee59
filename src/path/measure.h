/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The part of a calibration that fills in what the near paths cost, by size of piece.
 */
#ifndef KVFI_PATH_MEASURE_H
#define KVFI_PATH_MEASURE_H

#include "copy/cost.h"
#include "copy/host.h"

/* Measure self and shm, cma, stage, for about a second, over the values of *costs_p; what cannot be had
 * in this process (cma forbidden, no thread) stays as it was. -1: no memory. */
int kvfi_path_measure(const kvfi_host_t *host, kvfi_costs_t *costs_p);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One round of driving.
 */
#ifndef KVFI_ENGINE_PROGRESS_H
#define KVFI_ENGINE_PROGRESS_H

#include "kvferry.h"

/* Drive links and batches once; 1 if something moved. */
int kvfi_progress_drive(kvf_engine_t *engine, int copy);
/* The batches alone: 1 if one ended or copied. */
int kvfi_progress_sweep(kvf_engine_t *engine, int copy);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The caller's private pages become shared ones at the same address, and private again.
 */
#ifndef KVFI_ENGINE_ADOPT_H
#define KVFI_ENGINE_ADOPT_H

#include <stdint.h>

#include "kvferry.h"

/* May the pages there be adopted? *huge_p: they had asked for transparent huge pages. */
kvf_status_t kvfi_adopt_check(const void *addr, uint64_t len, int *huge_p);
/* The segment's region, with the contents of the pages there, in their place. An error: nothing has changed,
 * or *lost_p, and the contents are in the region alone. */
kvf_status_t kvfi_adopt_cover(kvf_segment_t *segment, void *addr, int *lost_p);
/* Give the caller private memory back; an error: nothing has changed. */
kvf_status_t kvfi_adopt_return(kvf_segment_t *segment);

#endif

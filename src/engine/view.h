/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Views: blocks of a peer that are read in place.
 */
#ifndef KVFI_ENGINE_VIEW_H
#define KVFI_ENGINE_VIEW_H

#include <stdint.h>

#include "kvferry.h"

void kvfi_view_free(kvf_view_t *view);
/* BUSY with a sentence if a living peer has a view of one of the blocks, whose generations were raised. */
kvf_status_t kvfi_view_unpinned(kvf_pool_t *pool, uint32_t count, const uint32_t *ids);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Grants: ranges of segments that peers may reach.
 */
#ifndef KVFI_ENGINE_GRANT_H
#define KVFI_ENGINE_GRANT_H

#include <stdint.h>

#include "engine/object.h"
#include "kvferry.h"
#include "path/am.h"

struct kvf_grant {
    kvfi_object_t object;
    uint32_t slot, epoch, count;
    int revoked;
    uint64_t only; /* incarnation, 0: all */
    kvf_range_t *ranges;
};

/* What a peer's request means here. */
kvf_status_t kvfi_grant_view(void *engine, uint64_t incarnation, uint32_t grant, uint32_t epoch,
                             uint32_t range, kvfi_am_view_t *view_p);
void kvfi_grant_free(kvf_grant_t *grant);

#endif

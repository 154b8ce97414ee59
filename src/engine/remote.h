/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Remotes: granted ranges of peers.
 */
#ifndef KVFI_ENGINE_REMOTE_H
#define KVFI_ENGINE_REMOTE_H

#include <stdatomic.h>
#include <stdint.h>

#include "engine/object.h"
#include "engine/peer.h"
#include "kvferry.h"
#include "path/path.h"

struct kvf_remote {
    kvfi_object_t object;
    kvf_peer_t *peer;
    kvfi_target_t target;
    kvfi_region_t *region;
    uint32_t rights;
    int shared;
    unsigned imports;
    _Atomic unsigned inflight;
};

void kvfi_remote_free(kvf_remote_t *remote);

#endif

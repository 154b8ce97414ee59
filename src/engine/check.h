/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The check of an op before anything of its batch moves. It only decides: no connection is made, no thread
 * started, no link's lock taken.
 */
#ifndef KVFI_ENGINE_CHECK_H
#define KVFI_ENGINE_CHECK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/remote.h"
#include "engine/segment.h"
#include "kvferry.h"
#include "path/path.h"

/* What the check of a batch's ops carries from one to the next: ops in a row with the same handles and
 * direction have path and rights in common. */
typedef struct kvfi_check {
    kvf_engine_t *engine;
    uint32_t mask;
    kvf_segment_t *segment; /* of the op before; NULL: none yet */
    kvf_remote_t *remote;
    uint32_t dir;
    const kvfi_path_t *path;
    int prepares;   /* the path of an op so far has something to prepare */
    size_t choices; /* ops so far that two paths may take */
} kvfi_check_t;

/* Check op index and make an xfer of it. *holds_p: its segment and remote stay until they are let go, for
 * it and those after it that share them. */
kvf_status_t kvfi_check_op(kvfi_check_t *check, const kvf_op_t *op, size_t index, kvfi_xfer_t *xfer,
                           int *holds_p);
static inline void kvfi_let_go(kvf_segment_t *segment, kvf_remote_t *remote)
{
    atomic_fetch_sub(&segment->inflight, 1);
    atomic_fetch_sub(&remote->inflight, 1);
}

/* KVFERRY_CHECK: refuse destinations that overlap, and sources with destinations on self. */
kvf_status_t kvfi_check_overlap(const kvfi_xfer_t *xfers, size_t count);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What an engine counts. Whatever moves, ends or arrives is counted by a call from here, and nothing else
 * touches the numbers. Moved bytes are counted once, with the peer, in a row for each path and direction;
 * totals are sums over the rows. All counters are relaxed: each is right by itself, and a reader may see one
 * of a batch's before another.
 */
#ifndef KVFI_ENGINE_METER_H
#define KVFI_ENGINE_METER_H

#include <stdatomic.h>

#include "kvferry.h"
#include "path/path.h"

#define KVFI_FLOW_ROWS (2u * KVFI_PATHS) /* path, direction */

typedef struct kvfi_counts {
    _Atomic uint64_t bytes, ops, pieces, calls;
} kvfi_counts_t;

/* All that moved between an engine and one peer. */
typedef struct kvfi_flows {
    _Atomic uint32_t used; /* bits of the rows that are not all 0 */
    kvfi_counts_t row[KVFI_FLOW_ROWS];
} kvfi_flows_t;

typedef struct kvfi_meter {
    kvfi_flows_t gone[KVF_LOCALITY_COUNT]; /* of peers that were forgotten */
    _Atomic uint64_t batches, stale_blocks, notify_sent, notify_received, views, viewed_bytes;
} kvfi_meter_t;

/* Ops of a batch that ended one after the other in the same row, and were not added to it yet. */
typedef struct kvfi_tally {
    kvfi_flows_t *flows; /* NULL: nothing */
    unsigned row;
    uint64_t ops, bytes, pieces, calls;
} kvfi_tally_t;

static inline unsigned kvfi_flow_row(kvf_path_t path, uint32_t dir)
{
    return 2 * (unsigned)path + (dir == KVF_WRITE);
}

/* Add the tally to its row, and begin it afresh. */
void kvfi_meter_add(kvfi_tally_t *tally);

static inline void kvfi_meter_op(kvfi_tally_t *tally, kvfi_flows_t *flows, unsigned row, uint64_t bytes,
                                 uint64_t pieces, uint64_t calls)
{
    if (tally->flows != flows || tally->row != row) {
        kvfi_meter_add(tally);
        *tally = (kvfi_tally_t){.flows = flows, .row = row};
    }
    tally->ops++;
    tally->bytes += bytes;
    tally->pieces += pieces;
    tally->calls += calls;
}

static inline void kvfi_meter_batch(kvfi_meter_t *meter, uint64_t stale_blocks)
{
    atomic_fetch_add_explicit(&meter->batches, 1, memory_order_relaxed);
    if (stale_blocks)
        atomic_fetch_add_explicit(&meter->stale_blocks, stale_blocks, memory_order_relaxed);
}

static inline void kvfi_meter_note_sent(kvfi_meter_t *meter)
{
    atomic_fetch_add_explicit(&meter->notify_sent, 1, memory_order_relaxed);
}

static inline void kvfi_meter_note_received(kvfi_meter_t *meter)
{
    atomic_fetch_add_explicit(&meter->notify_received, 1, memory_order_relaxed);
}

static inline void kvfi_meter_view(kvfi_meter_t *meter, uint64_t len)
{
    atomic_fetch_add_explicit(&meter->views, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&meter->viewed_bytes, len, memory_order_relaxed);
}

/* Keep what moved with a peer that is forgotten. */
void kvfi_meter_keep(kvfi_meter_t *meter, const kvfi_flows_t *flows, kvf_locality_t locality);

/* Bytes of all rows of one direction. */
uint64_t kvfi_meter_bytes(const kvfi_flows_t *flows, uint32_t dir);

#endif

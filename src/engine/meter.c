/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The counters of an engine, and how they are read: totals, and row by row. Readers hold the engine's lock,
 * under which peers come and go; who counts holds nothing.
 */
#include "base/status.h"
#include "engine/engine.h"
#include "engine/meter.h"
#include "engine/object.h"
#include "engine/peer.h"

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

__attribute__((hot)) void kvfi_meter_add(kvfi_tally_t *tally)
{
    kvfi_flows_t *flows = tally->flows;
    kvfi_counts_t *flow;

    if (!flows)
        return;
    tally->flows = NULL;
    flow = &flows->row[tally->row];
    add(&flow->ops, tally->ops);
    add(&flow->bytes, tally->bytes);
    add(&flow->pieces, tally->pieces);
    if (tally->calls)
        add(&flow->calls, tally->calls);
    if (!(atomic_load_explicit(&flows->used, memory_order_relaxed) >> tally->row & 1))
        atomic_fetch_or_explicit(&flows->used, UINT32_C(1) << tally->row, memory_order_relaxed);
}

/* The first row from that one on with something in it; KVFI_FLOW_ROWS: none. */
static unsigned next_row(const kvfi_flows_t *flows, unsigned row)
{
    uint32_t left = atomic_load_explicit(&flows->used, memory_order_relaxed) >> row;

    return left ? row + (unsigned)__builtin_ctz(left) : KVFI_FLOW_ROWS;
}

void kvfi_meter_keep(kvfi_meter_t *meter, const kvfi_flows_t *flows, kvf_locality_t locality)
{
    kvfi_flows_t *gone = &meter->gone[locality];

    for (unsigned i = next_row(flows, 0); i < KVFI_FLOW_ROWS; i = next_row(flows, i + 1)) {
        kvfi_tally_t tally = {gone,
                              i,
                              load(&flows->row[i].ops),
                              load(&flows->row[i].bytes),
                              load(&flows->row[i].pieces),
                              load(&flows->row[i].calls)};

        kvfi_meter_add(&tally);
    }
}

uint64_t kvfi_meter_bytes(const kvfi_flows_t *flows, uint32_t dir)
{
    uint64_t bytes = 0;

    for (unsigned i = next_row(flows, 0); i < KVFI_FLOW_ROWS; i = next_row(flows, i + 1))
        if (i % 2 == (dir == KVF_WRITE))
            bytes += load(&flows->row[i].bytes);
    return bytes;
}

/* ----------------------------------------------------------------- to read */

/* Place at of all flows of an engine: first those of the forgotten, a locality each, then those of its peers
 * by place on the roll. NULL: nobody is there. */
static const kvfi_flows_t *flows_at(const kvf_engine_t *engine, uint64_t at, kvf_peer_t **peer_p,
                                    kvf_locality_t *locality_p)
{
    kvf_peer_t *peer = NULL;

    if (at >= KVF_LOCALITY_COUNT) {
        peer = engine->roll.peers[at - KVF_LOCALITY_COUNT];
        if (!peer)
            return NULL;
    }
    *peer_p = peer;
    *locality_p = peer ? peer->locality : (kvf_locality_t)at;
    return peer ? &peer->flows : &engine->meter.gone[at];
}

static void add_flows(const kvfi_flows_t *flows, uint64_t *place_bytes, kvf_counters_t *to)
{
    for (unsigned i = next_row(flows, 0); i < KVFI_FLOW_ROWS; i = next_row(flows, i + 1)) {
        const kvfi_counts_t *flow = &flows->row[i];
        uint64_t bytes = load(&flow->bytes);

        *place_bytes += bytes;
        to->bytes += bytes;
        to->ops += load(&flow->ops);
        to->pieces += load(&flow->pieces);
        to->calls += load(&flow->calls);
    }
}

static void sum_flows(kvf_engine_t *engine, kvf_counters_t *to)
{
    uint64_t *const by_place[KVF_LOCALITY_COUNT] = {&to->self_bytes, &to->node_bytes, &to->cross_bytes};
    kvf_locality_t locality;
    kvf_peer_t *peer;

    pthread_mutex_lock(&engine->lock);
    for (uint64_t at = 0; at < KVF_LOCALITY_COUNT + engine->roll.count; at++) {
        const kvfi_flows_t *flows = flows_at(engine, at, &peer, &locality);

        if (flows)
            add_flows(flows, by_place[locality], to);
    }
    pthread_mutex_unlock(&engine->lock);
}

kvf_status_t kvf_engine_counters(kvf_engine_t *engine, kvf_counters_t *counters_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    const kvfi_meter_t *meter;
    kvf_counters_t counters;
    kvfi_driver_stats_t served = {0};

    if (status != KVF_OK)
        return status;
    meter = &engine->meter;
    for (unsigned i = 0; i < KVFI_DRIVERS; i++)
        if (kvfi_driver(engine, i))
            kvfi_driver(engine, i)->ops->stats(kvfi_driver(engine, i), &served);
    counters = (kvf_counters_t){.batches = load(&meter->batches),
                                .stale_blocks = load(&meter->stale_blocks),
                                .served_bytes = served.served_bytes,
                                .notify_sent = load(&meter->notify_sent),
                                .notify_received = load(&meter->notify_received),
                                .views = load(&meter->views),
                                .viewed_bytes = load(&meter->viewed_bytes),
                                .dropped_messages = served.dropped};
    sum_flows(engine, &counters);
    status = kvf_struct_write("counters_p", &counters, sizeof counters, counters_p);
    kvfi_leave(engine);
    return status;
}

/* The first row from *cursor_p on, which is place * KVFI_FLOW_ROWS + row. */
static kvf_status_t next_flow(const kvf_engine_t *engine, uint64_t *cursor_p, kvf_flow_t *flow_p)
{
    uint64_t end = KVF_LOCALITY_COUNT + (uint64_t)engine->roll.count;
    unsigned row = (unsigned)(*cursor_p % KVFI_FLOW_ROWS);

    for (uint64_t at = *cursor_p / KVFI_FLOW_ROWS; at < end; at++, row = 0) {
        kvf_locality_t locality;
        kvf_peer_t *peer;
        const kvfi_flows_t *flows = flows_at(engine, at, &peer, &locality);

        row = flows ? next_row(flows, row) : KVFI_FLOW_ROWS;
        if (row == KVFI_FLOW_ROWS)
            continue;
        *flow_p = (kvf_flow_t){.path = row / 2,
                               .dir = row % 2 ? KVF_WRITE : KVF_READ,
                               .locality = locality,
                               .peer = peer,
                               .bytes = load(&flows->row[row].bytes),
                               .ops = load(&flows->row[row].ops),
                               .pieces = load(&flows->row[row].pieces),
                               .calls = load(&flows->row[row].calls)};
        *cursor_p = at * KVFI_FLOW_ROWS + row + 1;
        return KVF_OK;
    }
    return KVF_INPROGRESS;
}

kvf_status_t kvf_engine_flow(kvf_engine_t *engine, uint64_t *cursor_p, kvf_flow_t *flow_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    kvf_flow_t flow;

    if (status != KVF_OK)
        return status;
    if (!cursor_p)
        status = kvfi_fail(KVF_ERR_INVALID, "cursor_p is NULL");
    else
        status = kvf_struct_write("flow_p", NULL, sizeof flow, flow_p);
    if (status == KVF_OK) {
        pthread_mutex_lock(&engine->lock);
        status = next_flow(engine, cursor_p, &flow);
        pthread_mutex_unlock(&engine->lock);
    }
    if (status == KVF_OK)
        status = kvf_struct_write("flow_p", &flow, sizeof flow, flow_p);
    kvfi_leave(engine);
    return status;
}

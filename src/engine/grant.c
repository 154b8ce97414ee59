/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Grants: a slot and an epoch in the control page, the ranges, the blob, and what a peer's request means
 * here. They end in revoke.c.
 *
 * Blob body: slot u32, epoch u32, only u64, count u32, rank of regions count u32; the regions
 * {uid u64, address u64, length u64, address where the owner uses it u64, key bytes}; the ranges {region u32, rights u32, flags u32,
 * first block u32, address u64, length u64, generations' address u64, their number u32}.
 */
#include <stdlib.h>
#include <string.h>

#include "base/blob.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/grant.h"
#include "engine/grant_blob.h"
#include "engine/home.h"
#include "engine/object.h"
#include "engine/peer.h"
#include "engine/pool.h"
#include "engine/segment.h"
#include "engine/thread.h"

#define RANGES_MAX 4096u

static kvf_status_t check_range(kvf_engine_t *engine, const kvf_range_t *range, uint32_t i)
{
    kvf_segment_t *segment = range->segment;

    if (!kvfi_is(segment, KVFI_SEGMENT))
        return kvfi_fail(KVF_ERR_INVALID, "range %u: segment is NULL or closed", i);
    if (segment->object.engine != engine)
        return kvfi_fail(KVF_ERR_INVALID, "range %u: segment belongs to another engine", i);
    if (!range->len)
        return kvfi_fail(KVF_ERR_INVALID, "range %u: len is 0", i);
    if (!range->rights || range->rights & ~(KVF_RIGHT_READ | KVF_RIGHT_WRITE))
        return kvfi_fail(KVF_ERR_INVALID, "range %u: rights is 0x%x", i, range->rights);
    if (range->reserved[0] || range->reserved[1])
        return kvfi_fail(KVF_ERR_INVALID, "range %u: reserved is not 0", i);
    if (range->first_block && (!segment->pool || range->first_block >= segment->pool->blocks))
        return kvfi_fail(KVF_ERR_INVALID,
                         "range %u: first_block is %u, and the segment is no pool "
                         "with so many blocks",
                         i, range->first_block);
    if (range->off > segment->len || range->len > segment->len - range->off)
        return kvfi_fail(KVF_ERR_BOUNDS,
                         "range %u: off %llu + len %llu leaves the segment of %llu "
                         "bytes",
                         i, (unsigned long long)range->off, (unsigned long long)range->len,
                         (unsigned long long)segment->len);
    if (range->rights & KVF_RIGHT_WRITE && !segment->writable)
        return kvfi_fail(KVF_ERR_PERM, "range %u: the segment is a read-only mapping", i);
    return KVF_OK;
}

/* The slot after the last one given, so that one comes back as late as it can. */
static kvf_status_t take_slot(kvf_engine_t *engine, kvf_grant_t *grant)
{
    pthread_mutex_lock(&engine->grants_lock);
    for (uint32_t n = 0; n < KVFI_PAGE_GRANTS; n++) {
        uint32_t slot = (engine->next_grant + n) % KVFI_PAGE_GRANTS;

        if (engine->grants[slot])
            continue;
        engine->grants[slot] = grant;
        engine->next_grant = slot + 1;
        grant->slot = slot;
        grant->epoch = atomic_load(&engine->home->owner.epoch[slot]);
        pthread_mutex_unlock(&engine->grants_lock);
        return KVF_OK;
    }
    pthread_mutex_unlock(&engine->grants_lock);
    return kvfi_fail(KVF_ERR_NOMEM, "all %u grants of the engine are live", KVFI_PAGE_GRANTS);
}

static void let_go_segments(const kvf_range_t *ranges, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        atomic_fetch_sub(&ranges[i].segment->grants, 1);
}

static kvf_status_t hold_segments(const kvf_range_t *ranges, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        atomic_fetch_add(&ranges[i].segment->grants, 1);
        if (kvfi_is(ranges[i].segment, KVFI_SEGMENT))
            continue;
        let_go_segments(ranges, i + 1);
        return kvfi_fail(KVF_ERR_INVALID, "range %u: segment is closed", i);
    }
    return KVF_OK;
}

static kvf_status_t create(kvf_engine_t *engine, const kvf_range_t *ranges, uint32_t count, kvf_peer_t *peer,
                           kvf_grant_t **grant_p)
{
    kvf_grant_t *grant = kvfi_object_new(engine, KVFI_GRANT, sizeof *grant);
    kvf_status_t status = KVF_ERR_NOMEM;

    if (!grant)
        return KVF_ERR_NOMEM;
    grant->ranges = malloc(count * sizeof *ranges);
    if (!grant->ranges) {
        kvfi_fail(KVF_ERR_NOMEM, "no memory for %u ranges", count);
        goto close_grant;
    }
    memcpy(grant->ranges, ranges, count * sizeof *ranges);
    grant->count = count;
    grant->only = peer ? peer->incarnation : 0;
    status = hold_segments(ranges, count);
    if (status != KVF_OK)
        goto free_ranges;
    status = take_slot(engine, grant);
    if (status != KVF_OK)
        goto let_go;
    *grant_p = grant;
    return KVF_OK;

let_go:
    let_go_segments(ranges, count);
free_ranges:
    free(grant->ranges);
close_grant:
    kvfi_object_close(grant);
    return status;
}

kvf_status_t kvf_grant_create(kvf_engine_t *engine, const kvf_range_t *ranges, uint32_t count,
                              kvf_peer_t *peer, kvf_grant_t **grant_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    if (!ranges || !grant_p)
        status = kvfi_fail(KVF_ERR_INVALID, "%s is NULL", ranges ? "grant_p" : "ranges");
    else if (!count || count > RANGES_MAX)
        status = kvfi_fail(KVF_ERR_INVALID, "count is %u: expected 1 to %u", count, RANGES_MAX);
    else if (peer && (!kvfi_is(peer, KVFI_PEER) || peer->object.engine != engine))
        status = kvfi_fail(KVF_ERR_INVALID, "peer is closed or belongs to another engine");
    for (uint32_t i = 0; status == KVF_OK && i < count; i++)
        status = check_range(engine, &ranges[i], i);
    for (uint32_t i = 0; status == KVF_OK && i < count; i++)
        if (!ranges[i].segment->shared)
            status = kvfi_thread_near(engine); /* a near peer may have to ask for it */
    if (status == KVF_OK)
        status = create(engine, ranges, count, peer, grant_p);
    kvfi_leave(engine);
    return status;
}

/* ------------------------------------------------------------------ export */

static uint32_t region_of(const kvf_grant_t *grant, uint32_t range)
{
    for (uint32_t i = 0; i < range; i++)
        if (grant->ranges[i].segment == grant->ranges[range].segment)
            return i;
    return range;
}

static void put_region(kvfi_writer_t *writer, const kvf_segment_t *segment)
{
    kvfi_put_u64(writer, segment->uid);
    kvfi_put_u64(writer, (uintptr_t)segment->region);
    kvfi_put_u64(writer, segment->region_len);
    kvfi_put_u64(writer, (uintptr_t)(segment->adopted ? segment->adopted : segment->region));
    if (segment->mem)
        kvfi_put_bytes(writer, kvfi_mem_key(segment->mem), sizeof(kvfi_share_key_t));
    else
        kvfi_put_bytes(writer, NULL, 0);
}

static void put_range(kvfi_writer_t *writer, const kvf_range_t *range, uint32_t region)
{
    const kvf_segment_t *segment = range->segment;
    const kvf_pool_t *pool = segment->pool;

    kvfi_put_u32(writer, region);
    kvfi_put_u32(writer, range->rights);
    kvfi_put_u32(writer, pool ? KVFI_RANGE_GUARDED : 0);
    kvfi_put_u32(writer, pool ? pool->blocks - range->first_block : 0);
    kvfi_put_u32(writer, segment->memory.kind);
    kvfi_put_u32(writer, segment->memory.provider);
    kvfi_put_u64(writer, (uintptr_t)segment->addr + range->off);
    kvfi_put_u64(writer, range->len);
    kvfi_put_u64(writer, pool ? (uintptr_t)(pool->shown + range->first_block) : 0);
}

/* Regions are numbered in the order of the first range that lies in each. */
static void put_body(kvfi_writer_t *writer, const kvf_grant_t *grant, uint32_t *number)
{
    uint32_t regions = 0;

    for (uint32_t i = 0; i < grant->count; i++)
        number[i] = region_of(grant, i) == i ? regions++ : number[region_of(grant, i)];
    kvfi_put_u32(writer, grant->slot);
    kvfi_put_u32(writer, grant->epoch);
    kvfi_put_u64(writer, grant->only);
    kvfi_put_u32(writer, grant->count);
    kvfi_put_u32(writer, regions);
    regions = 0;
    for (uint32_t i = 0; i < grant->count; i++)
        if (number[i] == regions) {
            put_region(writer, grant->ranges[i].segment);
            regions++;
        }
    for (uint32_t i = 0; i < grant->count; i++)
        put_range(writer, &grant->ranges[i], number[i]);
}

kvf_status_t kvf_grant_export(kvf_grant_t *grant, void *buf, size_t *len_p)
{
    kvf_status_t status = kvfi_enter(grant, KVFI_GRANT);
    kvf_engine_t *engine;
    kvfi_writer_t writer;
    uint32_t *number;

    if (status != KVF_OK)
        return status;
    engine = grant->object.engine;
    number = malloc(grant->count * sizeof *number);
    if (!len_p) {
        status = kvfi_fail(KVF_ERR_INVALID, "len_p is NULL");
    } else if (grant->revoked) {
        status = kvfi_fail(KVF_ERR_REVOKED, "the grant was revoked");
    } else if (!number) {
        status = kvfi_fail(KVF_ERR_NOMEM, "no memory to write the blob");
    } else {
        writer = kvfi_blob_begin(buf, *len_p);
        put_body(&writer, grant, number);
        status = kvfi_blob_end(&writer, KVFI_BLOB_GRANT, kvfi_ucx_release(), engine->incarnation, len_p);
    }
    free(number);
    kvfi_leave(engine);
    return status;
}

void kvfi_grant_free(kvf_grant_t *grant)
{
    kvf_engine_t *engine = grant->object.engine;

    pthread_mutex_lock(&engine->grants_lock);
    engine->grants[grant->slot] = NULL;
    pthread_mutex_unlock(&engine->grants_lock);
    let_go_segments(grant->ranges, grant->count);
    free(grant->ranges);
    kvfi_object_close(grant);
}

/* What a far peer's request means here. */
kvf_status_t kvfi_grant_view(void *arg, uint64_t incarnation, uint32_t slot, uint32_t epoch, uint32_t range,
                             kvfi_am_view_t *view_p)
{
    kvf_engine_t *engine = arg;
    kvf_status_t status = KVF_OK;
    kvf_grant_t *grant;

    if (slot >= KVFI_PAGE_GRANTS)
        return KVF_ERR_INVALID;
    pthread_mutex_lock(&engine->grants_lock);
    grant = engine->grants[slot];
    if (!grant || grant->revoked || grant->epoch != epoch) {
        status = KVF_ERR_REVOKED;
    } else if (grant->only && grant->only != incarnation) {
        status = KVF_ERR_PERM;
    } else if (range >= grant->count) {
        status = KVF_ERR_INVALID;
    } else {
        const kvf_range_t *r = &grant->ranges[range];
        const kvf_pool_t *pool = r->segment->pool;

        *view_p = (kvfi_am_view_t){.base = r->segment->addr + r->off,
                                   .len = r->len,
                                   .rights = r->rights,
                                   .own = r->segment->memory.provider == KVFI_CALLERS,
                                   .gens = pool ? pool->gens + r->first_block : NULL,
                                   .gens_count = pool ? pool->blocks - r->first_block : 0};
    }
    pthread_mutex_unlock(&engine->grants_lock);
    return status;
}

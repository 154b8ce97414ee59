/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Remotes: from a grant's blob to ranges with a target each. Where the memory is the library's and
 * the owner near, its region is mapped here, once for all ranges and grants in it.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <string.h>

#include "base/blob.h"
#include "base/memory.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/grant_blob.h"
#include "engine/object.h"
#include "engine/peer.h"
#include "engine/remote.h"
#include "engine/segment.h"

#define RANGES_MAX 4096u

typedef struct kvfi_region_card {
    uint64_t uid, addr, len, lands; /* where it is mapped for peers, where its owner uses it */
    const void *key;
    size_t key_len;
} kvfi_region_card_t;

typedef struct kvfi_grant_card {
    uint64_t incarnation, only;
    uint32_t slot, epoch, count, region_count;
    kvfi_region_card_t *regions;
    kvfi_reader_t ranges; /* at the first range */
} kvfi_grant_card_t;

typedef struct kvfi_range_card {
    uint32_t region, rights, flags, gens_count;
    uint64_t addr, len, gens_addr;
    kvfi_memory_t memory;
} kvfi_range_card_t;

static kvfi_range_card_t read_range(kvfi_reader_t *reader)
{
    kvfi_range_card_t range;

    range.region = kvfi_get_u32(reader);
    range.rights = kvfi_get_u32(reader);
    range.flags = kvfi_get_u32(reader);
    range.gens_count = kvfi_get_u32(reader);
    range.memory.kind = kvfi_get_u32(reader);
    range.memory.provider = kvfi_get_u32(reader);
    range.addr = kvfi_get_u64(reader);
    range.len = kvfi_get_u64(reader);
    range.gens_addr = kvfi_get_u64(reader);
    return range;
}

static int within(uint64_t addr, uint64_t len, const kvfi_region_card_t *region)
{
    return addr >= region->addr && len <= region->len && addr - region->addr <= region->len - len;
}

static kvf_status_t check_range(const kvfi_grant_card_t *card, const kvfi_range_card_t *range, uint32_t i)
{
    const kvfi_region_card_t *region = &card->regions[range->region];

    if (range->memory.kind > KVF_MEM_CUDA)
        return kvfi_fail(KVF_ERR_VERSION,
                         "range %u of the grant blob is memory of kind %u, this library "
                         "knows those up to %d",
                         i, range->memory.kind, KVF_MEM_CUDA);
    if (range->memory.provider >= KVFI_PROVIDERS)
        return kvfi_fail(KVF_ERR_VERSION,
                         "range %u of the grant blob is memory of provider %u, this library "
                         "knows those up to %d",
                         i, range->memory.provider, KVFI_PROVIDERS - 1);
    if (!range->len || !range->rights || range->rights & ~(KVF_RIGHT_READ | KVF_RIGHT_WRITE) ||
        range->flags & ~KVFI_RANGE_GUARDED ||
        kvfi_memory_is_shared(&range->memory) != (region->key_len != 0) ||
        !within(range->addr, range->len, region) ||
        (range->flags & KVFI_RANGE_GUARDED &&
         (range->gens_addr % sizeof(uint32_t) ||
          !within(range->gens_addr, range->gens_count * UINT64_C(4), region))))
        return kvfi_fail(KVF_ERR_BLOB, "range %u of the grant blob is impossible", i);
    return KVF_OK;
}

static kvf_status_t read_card(const void *blob, size_t len, kvfi_grant_card_t *card)
{
    kvfi_reader_t *reader = &card->ranges;
    kvfi_reader_t ahead;
    kvf_status_t status = kvfi_blob_open(blob, len, KVFI_BLOB_GRANT, &card->incarnation, reader);

    if (status != KVF_OK)
        return status;
    card->slot = kvfi_get_u32(reader);
    card->epoch = kvfi_get_u32(reader);
    card->only = kvfi_get_u64(reader);
    card->count = kvfi_get_u32(reader);
    card->region_count = kvfi_get_u32(reader);
    if (reader->failed || card->slot >= KVFI_PAGE_GRANTS || !card->count || card->count > RANGES_MAX ||
        !card->region_count || card->region_count > card->count)
        return kvfi_fail(KVF_ERR_BLOB, "the grant blob is cut, or its numbers are impossible");
    card->regions = calloc(card->region_count, sizeof *card->regions);
    if (!card->regions)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for %u regions", card->region_count);
    for (uint32_t i = 0; i < card->region_count; i++) {
        kvfi_region_card_t *region = &card->regions[i];

        region->uid = kvfi_get_u64(reader);
        region->addr = kvfi_get_u64(reader);
        region->len = kvfi_get_u64(reader);
        region->lands = kvfi_get_u64(reader);
        region->key = kvfi_get_bytes(reader, &region->key_len);
        if (!region->uid || region->len > UINT64_MAX - region->addr ||
            region->len > UINT64_MAX - region->lands)
            return kvfi_fail(KVF_ERR_BLOB, "region %u of the grant blob is impossible", i);
    }
    ahead = *reader;
    for (uint32_t i = 0; status == KVF_OK && i < card->count; i++) {
        kvfi_range_card_t range = read_range(&ahead);

        if (ahead.failed)
            return kvfi_fail(KVF_ERR_BLOB, "the grant blob ends inside range %u", i);
        if (range.region >= card->region_count)
            return kvfi_fail(KVF_ERR_BLOB, "range %u of the grant blob names region %u of %u", i,
                             range.region, card->region_count);
        status = check_range(card, &range, i);
    }
    return status;
}

/* ----------------------------------------------------------------- regions */

/* What cannot be mapped is reached otherwise; what is not as the blob says is refused. */
static kvf_status_t map_region(kvf_peer_t *peer, const kvfi_region_card_t *card, kvfi_region_t *region)
{
    kvf_status_t status;
    void *addr;

    if (peer->locality == KVF_LOCALITY_SELF)
        region->addr = (char *)(uintptr_t)card->addr;
    if (peer->locality != KVF_LOCALITY_NODE || !card->key_len)
        return KVF_OK;
    status = kvfi_map_open(card->key, card->key_len, card->addr, card->len, &region->map, &addr);
    if (status == KVF_OK)
        region->addr = addr;
    else if (kvfi_map_is_gone(errno) && kvfi_life_ends(&peer->life, 0))
        return kvfi_fail(KVF_ERR_PEER, "%s %s", peer->name, kvfi_peer_end(peer));
    else if (status != KVF_ERR_BLOB)
        kvfi_log(KVFI_LOG_WARN, "memory of pid %d: %s", peer->proc.pid, kvf_last_error());
    return status == KVF_ERR_BLOB ? status : KVF_OK;
}

/* The region as it is mapped here, counted. With the engine's lock held. */
static kvf_status_t region_get(kvf_peer_t *peer, const kvfi_region_card_t *card, kvfi_region_t **region_p)
{
    kvfi_region_t *region;
    kvf_status_t status;

    for (region = peer->regions; region && region->uid != card->uid; region = region->next)
        ;
    if (region) {
        if (region->raddr != card->addr || region->len != card->len)
            return kvfi_fail(KVF_ERR_BLOB, "the grant blob and one before it contradict each other about a "
                                           "region");
        region->refs++;
        *region_p = region;
        return KVF_OK;
    }
    region = calloc(1, sizeof *region);
    if (!region)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a mapping");
    region->uid = card->uid;
    region->refs = 1;
    region->raddr = card->addr;
    region->len = card->len;
    status = map_region(peer, card, region);
    if (status != KVF_OK) {
        free(region);
        return status;
    }
    region->next = peer->regions;
    peer->regions = region;
    *region_p = region;
    return KVF_OK;
}

static void region_put(kvf_peer_t *peer, kvfi_region_t *region)
{
    kvfi_region_t **at = &peer->regions;

    if (--region->refs)
        return;
    while (*at != region)
        at = &(*at)->next;
    *at = region->next;
    if (region->twin)
        munmap(region->twin, region->len);
    kvfi_map_close(region->map);
    free(region);
}

/* ------------------------------------------------------------------ import */

static void set_target(kvf_remote_t *remote, const kvfi_grant_card_t *card, const kvfi_range_card_t *range,
                       uint32_t index)
{
    kvf_peer_t *peer = remote->peer;
    kvfi_target_t *target = &remote->target;
    uint64_t base = card->regions[range->region].addr;
    char *map = remote->region->addr;

    *target = (kvfi_target_t){.grant = card->slot,
                              .epoch = card->epoch,
                              .range = index,
                              .name = peer->name,
                              .len = range->len,
                              .in_process = peer->locality == KVF_LOCALITY_SELF,
                              .near = peer->locality == KVF_LOCALITY_NODE,
                              .raddr = range->addr,
                              .process = peer->process,
                              .lands = card->regions[range->region].lands + (range->addr - base),
                              .guarded = (range->flags & KVFI_RANGE_GUARDED) != 0,
                              .gens_count = range->gens_count,
                              .memory = range->memory,
                              .am = peer->am,
                              .owner = peer,
                              .connect = kvfi_peer_connect};
    if (peer->locality != KVF_LOCALITY_CROSS)
        target->hold = &peer->hold;
    if (target->near) {
        target->life = &peer->life;
        target->cma = &peer->cma;
    }
    if (!map)
        return;
    target->map = map + (range->addr - base);
    if (range->flags & KVFI_RANGE_GUARDED)
        target->gens = (const _Atomic uint32_t *)(const void *)(map + (range->gens_addr - base));
}

static kvf_status_t remote_new(kvf_peer_t *peer, const kvfi_grant_card_t *card,
                               const kvfi_range_card_t *range, uint32_t index, kvf_remote_t **remote_p)
{
    const kvfi_region_card_t *region = &card->regions[range->region];
    kvf_engine_t *engine = peer->object.engine;
    kvf_remote_t *remote = kvfi_object_new(engine, KVFI_REMOTE, sizeof *remote);
    kvf_status_t status;
    int fresh = 0;

    if (!remote)
        return KVF_ERR_NOMEM;
    remote->peer = peer;
    remote->rights = range->rights;
    remote->shared = kvfi_memory_is_shared(&range->memory);
    remote->imports = 1;
    pthread_mutex_lock(&engine->lock);
    status = region_get(peer, region, &remote->region);
    if (status == KVF_OK) {
        fresh = remote->region->map && remote->region->refs == 1;
        peer->remotes++;
        set_target(remote, card, range, index);
    }
    pthread_mutex_unlock(&engine->lock);
    if (status != KVF_OK) {
        kvfi_object_close(remote);
        return status;
    }
    if (fresh)
        kvfi_memory_populate(remote->region->addr, region->len);
    *remote_p = remote;
    return KVF_OK;
}

/* The remote of that range of that grant, counted, if it was imported before. */
static kvf_remote_t *find(kvf_peer_t *peer, const kvfi_grant_card_t *card, uint32_t index)
{
    kvf_engine_t *engine = peer->object.engine;
    kvf_remote_t *found = NULL;

    pthread_mutex_lock(&engine->lock);
    for (kvfi_object_t *object = engine->objects; object && !found; object = object->next) {
        kvf_remote_t *remote = (kvf_remote_t *)object;

        if (object->kind == KVFI_REMOTE && remote->peer == peer && remote->target.grant == card->slot &&
            remote->target.epoch == card->epoch && remote->target.range == index && remote->region)
            found = remote;
    }
    if (found)
        found->imports++;
    pthread_mutex_unlock(&engine->lock);
    return found;
}

static kvf_status_t check_import(kvf_peer_t *peer, const kvfi_grant_card_t *card, uint32_t cap)
{
    if (card->incarnation != peer->incarnation)
        return kvfi_fail(KVF_ERR_STALE, "the grant is of incarnation %016llx, the peer is %016llx",
                         (unsigned long long)card->incarnation, (unsigned long long)peer->incarnation);
    if (card->only && card->only != peer->object.engine->incarnation)
        return kvfi_fail(KVF_ERR_PERM, "the grant was given to another engine");
    if (!kvfi_peer_alive(peer, 0))
        return kvfi_fail(KVF_ERR_PEER, "%s %s", peer->name, kvfi_peer_end(peer));
    if (peer->hold.page && !kvfi_hold_granted(&peer->hold, card->slot, card->epoch))
        return kvfi_fail(KVF_ERR_REVOKED, "the grant was revoked");
    if (card->count > cap)
        return kvfi_fail(KVF_ERR_SPACE, "the grant has %u ranges, the array %u", card->count, cap);
    return KVF_OK;
}

static kvf_status_t remote_busy(const kvf_remote_t *remote)
{
    return kvfi_fail(KVF_ERR_BUSY, "%u ops of running batches and open views use the remote",
                     atomic_load(&remote->inflight));
}

static kvf_status_t forget(kvf_remote_t *remote)
{
    kvf_engine_t *engine = remote->object.engine;
    kvf_status_t status = KVF_OK;
    int last = 0;

    pthread_mutex_lock(&engine->lock);
    if (remote->imports > 1) {
        remote->imports--;
    } else if (atomic_load(&remote->inflight)) {
        status = remote_busy(remote);
    } else if (!kvfi_claim(remote, KVFI_REMOTE)) {
        status = kvfi_fail(KVF_ERR_INVALID, "remote handle is closed");
    } else if (atomic_load(&remote->inflight)) {
        kvfi_unclaim(remote, KVFI_REMOTE);
        status = remote_busy(remote);
    } else {
        last = 1;
    }
    pthread_mutex_unlock(&engine->lock);
    if (last)
        kvfi_remote_free(remote);
    return status;
}

/* The peer stays while one of its blobs is looked at. */
static kvf_status_t hold_peer(kvf_peer_t *peer)
{
    kvf_engine_t *engine = peer->object.engine;
    int open;

    pthread_mutex_lock(&engine->lock);
    open = kvfi_is(peer, KVFI_PEER);
    peer->remotes += (unsigned)open;
    pthread_mutex_unlock(&engine->lock);
    return open ? KVF_OK : kvfi_fail(KVF_ERR_INVALID, "peer handle is closed");
}

static void let_go_peer(kvf_peer_t *peer)
{
    kvf_engine_t *engine = peer->object.engine;

    pthread_mutex_lock(&engine->lock);
    peer->remotes--;
    pthread_mutex_unlock(&engine->lock);
}

/* Found or made, under a lock of its own: of two threads that import one blob, one makes them. */
static kvf_status_t import_ranges(kvf_peer_t *peer, kvfi_grant_card_t *card, kvf_remote_t **remotes_p)
{
    kvf_engine_t *engine = peer->object.engine;
    kvf_status_t status = KVF_OK;
    uint32_t i;

    pthread_mutex_lock(&engine->import_lock);
    for (i = 0; i < card->count; i++) {
        kvfi_range_card_t range = read_range(&card->ranges);

        remotes_p[i] = find(peer, card, i);
        if (!remotes_p[i])
            status = remote_new(peer, card, &range, i, &remotes_p[i]);
        if (status != KVF_OK)
            break;
    }
    pthread_mutex_unlock(&engine->import_lock);
    while (status != KVF_OK && i--) {
        forget(remotes_p[i]);
        remotes_p[i] = NULL;
    }
    return status;
}

kvf_status_t kvf_remote_import(kvf_peer_t *peer, const void *blob, size_t len, kvf_remote_t **remotes_p,
                               uint32_t *count_p)
{
    kvf_status_t status = kvfi_enter(peer, KVFI_PEER);
    kvfi_grant_card_t card = {0};
    kvf_engine_t *engine;

    if (status != KVF_OK)
        return status;
    engine = peer->object.engine;
    status = hold_peer(peer);
    if (status != KVF_OK)
        goto leave;
    if (!count_p || (!remotes_p && *count_p))
        status = kvfi_fail(KVF_ERR_INVALID, "%s is NULL", count_p ? "remotes_p" : "count_p");
    else
        status = read_card(blob, len, &card);
    if (status == KVF_OK) {
        status = check_import(peer, &card, *count_p);
        if (status == KVF_OK || status == KVF_ERR_SPACE)
            *count_p = card.count;
    }
    if (status == KVF_OK)
        status = import_ranges(peer, &card, remotes_p);
    free(card.regions);
    let_go_peer(peer);
leave:
    kvfi_leave(engine);
    return status;
}

void kvfi_remote_free(kvf_remote_t *remote)
{
    kvf_engine_t *engine = remote->object.engine;

    pthread_mutex_lock(&engine->lock);
    region_put(remote->peer, remote->region);
    remote->region = NULL;
    remote->peer->remotes--;
    pthread_mutex_unlock(&engine->lock);
    kvfi_object_close(remote);
}

kvf_status_t kvf_remote_forget(kvf_remote_t *remote)
{
    kvf_engine_t *engine;
    kvf_status_t status;

    if (!remote)
        return KVF_OK;
    status = kvfi_enter(remote, KVFI_REMOTE);
    if (status != KVF_OK)
        return status;
    engine = remote->object.engine;
    status = forget(remote);
    kvfi_leave(engine);
    return status;
}

kvf_status_t kvf_remote_query(const kvf_remote_t *remote, kvf_remote_attr_t *attr_p)
{
    kvf_status_t status = kvfi_enter(remote, KVFI_REMOTE);
    kvf_remote_attr_t attr;

    if (status != KVF_OK)
        return status;
    attr = (kvf_remote_attr_t){.rights = remote->rights,
                               .len = remote->target.len,
                               .peer = remote->peer,
                               .guarded = (uint32_t)remote->target.guarded,
                               .shared = (uint32_t)remote->shared};
    status = kvf_struct_write("attr_p", &attr, sizeof attr, attr_p);
    kvfi_leave(remote->object.engine);
    return status;
}

static kvf_status_t no_path(const kvf_segment_t *segment, const kvf_remote_t *remote, uint32_t mask)
{
    const char *far = remote->peer->why_far;
    char why[1024];

    kvfi_path_why(&segment->memory, &remote->target, KVF_READ, mask, why, sizeof why);
    return kvfi_fail(KVF_ERR_NO_PATH, "no path: %s%s%s", why, *far ? "; the peer is far: " : "", far);
}

kvf_status_t kvf_path_of(const kvf_segment_t *segment, const kvf_remote_t *remote, uint32_t mask,
                         kvf_path_t *path_p)
{
    kvf_status_t status = kvfi_enter(remote, KVFI_REMOTE);
    const kvfi_path_t *path;

    if (status != KVF_OK)
        return status;
    if (!kvfi_is(segment, KVFI_SEGMENT) || segment->object.engine != remote->object.engine) {
        status = kvfi_fail(KVF_ERR_INVALID, "segment is NULL, closed or of another engine than remote");
    } else if (!path_p) {
        status = kvfi_fail(KVF_ERR_INVALID, "path_p is NULL");
    } else {
        path = kvfi_path_choose(&segment->memory, &remote->target, KVF_READ, mask);
        if (path)
            *path_p = path->id;
        else
            status = no_path(segment, remote, mask);
    }
    kvfi_leave(remote->object.engine);
    return status;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Views: a reader looks at blocks of a near pool where they are, and nothing is copied.
 *
 *   reader                                  owner (kvf_pool_free, kvf_pool_raise)
 *     pin in its seat of the owner's page     generation[block]++
 *     fence                                   fence
 *     generation as expected? else unpin      is the block pinned by a living reader? BUSY
 *
 * Either the reader sees the new generation and has no view, or the owner sees the pin and keeps the
 * block. A view reads through a second mapping, which is read-only. Nothing here waits; revoke does.
 * tests/model/pin.pml walks through all orders of this.
 */
#include "base/status.h"
#include "base/vma.h"
#include "engine/engine.h"
#include "engine/grant.h"
#include "engine/home.h"
#include "engine/object.h"
#include "engine/peer.h"
#include "engine/pool.h"
#include "engine/remote.h"
#include "engine/segment.h"
#include "engine/view.h"

#define ALIVE_AGE_NS UINT64_C(1000000000)

struct kvf_view {
    kvfi_object_t object;
    kvf_remote_t *remote;
    uint64_t pins; /* taken in the seat */
};

static kvf_status_t check_range(const kvf_remote_t *remote, uint64_t off, uint64_t len)
{
    const kvfi_target_t *target = &remote->target;

    if (!(remote->rights & KVF_RIGHT_READ))
        return kvfi_fail(KVF_ERR_PERM, "remote is granted without the right to read");
    if (!target->map)
        return kvfi_fail(KVF_ERR_NO_PATH, "remote is not mapped here: %s",
                         remote->shared ? "the peer is far, or its memory could not be mapped"
                                        : "it is the peer's own memory, not the library's");
    if (!len)
        return kvfi_fail(KVF_ERR_INVALID, "len is 0");
    if (off > target->len || len > target->len - off)
        return kvfi_fail(KVF_ERR_BOUNDS, "off %llu and len %llu leave the granted range of %llu bytes",
                         (unsigned long long)off, (unsigned long long)len, (unsigned long long)target->len);
    return KVF_OK;
}

static kvf_status_t check_ids(const kvf_remote_t *remote, uint32_t count, const uint32_t *ids,
                              const uint32_t *gens)
{
    const kvfi_target_t *target = &remote->target;

    if (!target->gens != !count)
        return kvfi_fail(KVF_ERR_INVALID,
                         target->gens ? "count is 0: a view of a pool names its blocks"
                                      : "count is %u, but remote is not a pool's",
                         count);
    if (count && (!ids || !gens))
        return kvfi_fail(KVF_ERR_INVALID, "%s is NULL", ids ? "gens" : "ids");
    if (count > KVFI_SEAT_PINS)
        return kvfi_fail(KVF_ERR_INVALID, "count is %u, a view holds at most %u blocks", count,
                         KVFI_SEAT_PINS);
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] >= target->gens_count)
            return kvfi_fail(KVF_ERR_BOUNDS, "ids[%u] is %u, the grant has %u blocks", i, ids[i],
                             target->gens_count);
    return KVF_OK;
}

static kvf_status_t check_pinned(const kvf_remote_t *remote, uint32_t count, const uint32_t *ids,
                                 const uint32_t *gens)
{
    const kvfi_target_t *target = &remote->target;

    if (!kvfi_peer_alive(remote->peer, ALIVE_AGE_NS))
        return kvfi_fail(KVF_ERR_PEER, "the peer of remote, %s, %s", remote->peer->name,
                         kvfi_peer_end(remote->peer));
    if (!kvfi_hold_granted(target->hold, target->grant, target->epoch))
        return kvfi_fail(KVF_ERR_REVOKED, "the grant behind remote was revoked");
    for (uint32_t i = 0; i < count; i++) {
        uint32_t now = atomic_load(&target->gens[ids[i]]);

        if (now != gens[i])
            return kvfi_fail(KVF_ERR_STALE, "ids[%u]: block %u has generation %u, not %u", i, ids[i], now,
                             gens[i]);
    }
    return KVF_OK;
}

static kvf_status_t pin(kvf_view_t *view, uint32_t count, const uint32_t *ids, const uint32_t *gens)
{
    const kvf_remote_t *remote = view->remote;
    const kvfi_target_t *target = &remote->target;
    uint64_t what[KVFI_SEAT_PINS];
    kvf_status_t status;

    what[0] = kvfi_pin_of(target->grant, target->range, 0);
    for (uint32_t i = 0; i < count; i++)
        what[i] = kvfi_pin_of(target->grant, target->range, ids[i]);
    if (kvfi_hold_pin(target->hold, what, count ? count : 1, &view->pins))
        return kvfi_fail(KVF_ERR_BUSY,
                         "views of this engine hold too many of the %u blocks that it may "
                         "pin at one peer: close some",
                         KVFI_SEAT_PINS);
    status = check_pinned(remote, count, ids, gens);
    if (status != KVF_OK)
        kvfi_hold_unpin(target->hold, view->pins);
    return status;
}

/* The range in the mapping that cannot be written through, made at the first view of a region. */
static const char *readable(kvf_remote_t *remote)
{
    kvf_engine_t *engine = remote->object.engine;
    kvfi_region_t *region = remote->region;
    const char *addr;

    pthread_mutex_lock(&engine->import_lock);
    if (!region->twin && remote->shared)
        region->twin = kvfi_vma_twin(region->addr, region->len, 0);
    addr = region->twin ? region->twin : region->addr;
    pthread_mutex_unlock(&engine->import_lock);
    return addr + (remote->target.map - region->addr);
}

static kvf_status_t open_view(kvf_remote_t *remote, uint64_t off, uint64_t len, uint32_t count,
                              const uint32_t *ids, const uint32_t *gens, const void **addr_p,
                              kvf_view_t **view_p)
{
    kvf_engine_t *engine = remote->object.engine;
    kvf_status_t status = check_range(remote, off, len);
    kvf_view_t *view;

    if (status == KVF_OK)
        status = check_ids(remote, count, ids, gens);
    if (status != KVF_OK)
        return status;
    view = kvfi_object_new(engine, KVFI_VIEW, sizeof *view);
    if (!view)
        return KVF_ERR_NOMEM;
    view->remote = remote;
    status = pin(view, count, ids, gens);
    if (status != KVF_OK) {
        kvfi_object_close(view);
        return status;
    }
    atomic_fetch_add(&remote->inflight, 1);
    kvfi_meter_view(&engine->meter, len);
    *addr_p = readable(remote) + off;
    *view_p = view;
    return KVF_OK;
}

kvf_status_t kvf_view_open(kvf_remote_t *remote, uint64_t off, uint64_t len, uint32_t count,
                           const uint32_t *ids, const uint32_t *gens, const void **addr_p,
                           kvf_view_t **view_p)
{
    kvf_status_t status = kvfi_enter(remote, KVFI_REMOTE);
    kvf_engine_t *engine;

    if (status != KVF_OK)
        return status;
    engine = remote->object.engine;
    atomic_fetch_add(&remote->inflight, 1);
    if (!addr_p || !view_p)
        status = kvfi_fail(KVF_ERR_INVALID, "%s is NULL", addr_p ? "view_p" : "addr_p");
    else if (!kvfi_is(remote, KVFI_REMOTE))
        status = kvfi_fail(KVF_ERR_INVALID, "remote handle is closed");
    else
        status = open_view(remote, off, len, count, ids, gens, addr_p, view_p);
    atomic_fetch_sub(&remote->inflight, 1);
    kvfi_leave(engine);
    return status;
}

void kvfi_view_free(kvf_view_t *view)
{
    kvfi_hold_unpin(view->remote->target.hold, view->pins);
    atomic_fetch_sub(&view->remote->inflight, 1);
    kvfi_object_close(view);
}

kvf_status_t kvf_view_close(kvf_view_t *view)
{
    kvf_engine_t *engine;
    kvf_status_t status;

    if (!view)
        return KVF_OK;
    status = kvfi_enter(view, KVFI_VIEW);
    if (status != KVF_OK)
        return status;
    engine = view->object.engine;
    if (kvfi_claim(view, KVFI_VIEW))
        kvfi_view_free(view);
    else
        status = kvfi_fail(KVF_ERR_INVALID, "view handle is closed");
    kvfi_leave(engine);
    return status;
}

/* ------------------------------------------------------------- the owner's side */

typedef struct wanted {
    kvf_pool_t *pool;
    uint32_t count;
    const uint32_t *ids;
    uint32_t found; /* block */
} wanted_t;

/* With the engine's grants_lock held. */
static int is_wanted(void *arg, uint32_t grant, uint32_t range, uint32_t id)
{
    wanted_t *wanted = arg;
    const kvf_grant_t *held = wanted->pool->object.engine->grants[grant];

    if (!held || range >= held->count || held->ranges[range].segment->pool != wanted->pool)
        return 0;
    wanted->found = held->ranges[range].first_block + id;
    for (uint32_t i = 0; i < wanted->count; i++)
        if (wanted->ids[i] == wanted->found)
            return 1;
    return 0;
}

kvf_status_t kvfi_view_unpinned(kvf_pool_t *pool, uint32_t count, const uint32_t *ids)
{
    kvf_engine_t *engine = pool->object.engine;
    wanted_t wanted = {.pool = pool, .count = count, .ids = ids};
    const kvfi_seat_t *seat;
    int pinned;

    atomic_thread_fence(memory_order_seq_cst);
    if (!kvfi_page_pins(engine->home->page))
        return KVF_OK;
    pthread_mutex_lock(&engine->grants_lock);
    pinned = kvfi_page_find_pin(engine->home->page, is_wanted, &wanted, &seat);
    pthread_mutex_unlock(&engine->grants_lock);
    if (!pinned)
        return KVF_OK;
    return kvfi_fail(KVF_ERR_BUSY, "block %u is not yet reusable: rank %llu (pid %d) has a view of it",
                     wanted.found, (unsigned long long)seat->rank, seat->proc.pid);
}

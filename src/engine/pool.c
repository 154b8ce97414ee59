/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Pools: which blocks are taken, and a generation per block. Near readers compare theirs, after their data
 * came, with a copy in the shared region, in front of the blocks; the owner goes by its own.
 */
#include <stdlib.h>

#include "base/status.h"
#include "engine/object.h"
#include "engine/pool.h"
#include "engine/segment.h"
#include "engine/view.h"

#define PAGE 4096u

static int is_taken(const kvf_pool_t *pool, uint32_t id)
{
    return pool->taken[id / 64] >> (id % 64) & 1;
}

static void flip(kvf_pool_t *pool, uint32_t id)
{
    pool->taken[id / 64] ^= UINT64_C(1) << (id % 64);
}

static kvf_status_t check_opts(const kvf_pool_opts_t *opts)
{
    if (!opts->blocks || opts->blocks > UINT32_C(1) << 31)
        return kvfi_fail(KVF_ERR_INVALID, "opts.blocks is %u: expected 1 to 2^31", opts->blocks);
    if (!opts->block_bytes)
        return kvfi_fail(KVF_ERR_INVALID, "opts.block_bytes is 0");
    if (opts->block_bytes > (UINT64_MAX >> 1) / opts->blocks)
        return kvfi_fail(KVF_ERR_INVALID, "opts.blocks * opts.block_bytes overflows");
    for (int i = 0; i < 4; i++)
        if (opts->reserved[i])
            return kvfi_fail(KVF_ERR_INVALID, "opts.reserved[%d] is not 0", i);
    return KVF_OK;
}

static kvf_status_t create(kvf_engine_t *engine, const kvf_pool_opts_t *opts, kvf_pool_t **pool_p)
{
    uint64_t head = ((uint64_t)opts->blocks * sizeof(uint32_t) + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    kvf_pool_t *pool = kvfi_object_new(engine, KVFI_POOL, sizeof *pool);
    kvf_status_t status = KVF_ERR_NOMEM;

    if (!pool)
        return KVF_ERR_NOMEM;
    pool->taken = calloc((opts->blocks + UINT64_C(63)) / 64, sizeof *pool->taken);
    pool->gens = calloc(opts->blocks, sizeof *pool->gens);
    if (!pool->taken || !pool->gens) {
        kvfi_fail(KVF_ERR_NOMEM, "no memory for the table of %u blocks", opts->blocks);
        goto free_tables;
    }
    status =
        kvfi_segment_make(engine, head, opts->blocks * opts->block_bytes, KVFI_ANY_PAGES, &pool->segment);
    if (status != KVF_OK)
        goto free_tables;
    pool->segment->pool = pool;
    pool->shown = (_Atomic uint32_t *)(void *)pool->segment->region;
    pool->blocks = pool->available = opts->blocks;
    pthread_mutex_init(&pool->lock, NULL);
    *pool_p = pool;
    return KVF_OK;

free_tables:
    free(pool->gens);
    free(pool->taken);
    kvfi_object_close(pool);
    return status;
}

kvf_status_t kvf_pool_create(kvf_engine_t *engine, const kvf_pool_opts_t *opts, kvf_pool_t **pool_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    kvf_pool_opts_t own;

    if (status != KVF_OK)
        return status;
    if (!pool_p)
        status = kvfi_fail(KVF_ERR_INVALID, "pool_p is NULL");
    else
        status = kvf_struct_read("opts", opts, sizeof own, &own);
    if (status == KVF_OK)
        status = check_opts(&own);
    if (status == KVF_OK)
        status = create(engine, &own, pool_p);
    kvfi_leave(engine);
    return status;
}

void kvfi_pool_free(kvf_pool_t *pool)
{
    pool->segment->pool = NULL;
    free(pool->gens);
    free(pool->taken);
    pthread_mutex_destroy(&pool->lock);
    kvfi_object_close(pool);
}

kvf_status_t kvf_pool_destroy(kvf_pool_t *pool)
{
    kvf_segment_t *segment;
    kvf_engine_t *engine;
    kvf_status_t status;

    if (!pool)
        return KVF_OK;
    status = kvfi_enter(pool, KVFI_POOL);
    if (status != KVF_OK)
        return status;
    engine = pool->object.engine;
    segment = pool->segment;
    status = kvfi_segment_unused(segment);
    if (status == KVF_OK && !kvfi_claim(pool, KVFI_POOL))
        status = kvfi_fail(KVF_ERR_INVALID, "pool handle is closed");
    if (status != KVF_OK)
        goto leave;
    kvfi_claim(segment, KVFI_SEGMENT);
    status = kvfi_segment_unused(segment);
    if (status == KVF_OK) {
        kvfi_pool_free(pool);
        kvfi_segment_free(segment, 0);
    } else {
        kvfi_unclaim(segment, KVFI_SEGMENT);
        kvfi_unclaim(pool, KVFI_POOL);
    }
leave:
    kvfi_leave(engine);
    return status;
}

kvf_segment_t *kvf_pool_segment(kvf_pool_t *pool)
{
    return kvfi_is(pool, KVFI_POOL) ? pool->segment : NULL;
}

uint32_t kvf_pool_available(const kvf_pool_t *pool)
{
    uint32_t available;

    if (!kvfi_is(pool, KVFI_POOL))
        return 0;
    pthread_mutex_lock((pthread_mutex_t *)&pool->lock);
    available = pool->available;
    pthread_mutex_unlock((pthread_mutex_t *)&pool->lock);
    return available;
}

kvf_status_t kvf_pool_alloc(kvf_pool_t *pool, uint32_t count, uint32_t *ids_p)
{
    kvf_status_t status = kvfi_enter(pool, KVFI_POOL);
    uint32_t id;

    if (status != KVF_OK)
        return status;
    pthread_mutex_lock(&pool->lock);
    if (count && !ids_p) {
        status = kvfi_fail(KVF_ERR_INVALID, "ids_p is NULL");
    } else if (count > pool->available) {
        status = kvfi_fail(KVF_ERR_BUSY, "%u blocks are asked for, %u of %u are free", count, pool->available,
                           pool->blocks);
    } else {
        for (uint32_t i = 0; i < count; i++) {
            for (id = pool->hint; is_taken(pool, id); id++)
                if (id % 64 == 0 && pool->taken[id / 64] == UINT64_MAX)
                    id += 63;
            flip(pool, id);
            ids_p[i] = id;
            pool->hint = id + 1;
        }
        pool->available -= count;
    }
    pthread_mutex_unlock(&pool->lock);
    kvfi_leave(pool->object.engine);
    return status;
}

/* All ids name taken blocks (or any blocks), each below the capacity. */
static kvf_status_t check_ids(const kvf_pool_t *pool, uint32_t count, const uint32_t *ids, int taken)
{
    if (count && !ids)
        return kvfi_fail(KVF_ERR_INVALID, "ids is NULL");
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] >= pool->blocks)
            return kvfi_fail(KVF_ERR_INVALID, "ids[%u] is %u, the pool has %u blocks", i, ids[i],
                             pool->blocks);
        if (taken && !is_taken(pool, ids[i]))
            return kvfi_fail(KVF_ERR_INVALID, "ids[%u] is %u, which is not taken", i, ids[i]);
    }
    return KVF_OK;
}

/* With the pool's lock held. */
static void raise_generation(kvf_pool_t *pool, uint32_t id)
{
    uint32_t next = atomic_load_explicit(&pool->gens[id], memory_order_relaxed) + 1;

    atomic_store_explicit(&pool->gens[id], next, memory_order_release);
    atomic_store_explicit(&pool->shown[id], next, memory_order_seq_cst);
}

/* Blocks marked as free, up to the first that is not taken, or given twice: so many. */
static uint32_t mark_free(kvf_pool_t *pool, uint32_t count, const uint32_t *ids)
{
    uint32_t i;

    for (i = 0; i < count && is_taken(pool, ids[i]); i++)
        flip(pool, ids[i]);
    return i;
}

static kvf_status_t raise_all(kvf_pool_t *pool, uint32_t count, const uint32_t *ids)
{
    for (uint32_t i = 0; i < count; i++)
        raise_generation(pool, ids[i]);
    return kvfi_view_unpinned(pool, count, ids);
}

kvf_status_t kvf_pool_free(kvf_pool_t *pool, uint32_t count, const uint32_t *ids)
{
    kvf_status_t status = kvfi_enter(pool, KVFI_POOL);
    uint32_t marked = 0;

    if (status != KVF_OK)
        return status;
    pthread_mutex_lock(&pool->lock);
    status = check_ids(pool, count, ids, 1);
    if (status == KVF_OK) {
        marked = mark_free(pool, count, ids);
        status = marked == count
                     ? raise_all(pool, count, ids)
                     : kvfi_fail(KVF_ERR_INVALID, "ids[%u] is %u, which is given twice", marked, ids[marked]);
    }
    for (uint32_t i = 0; i < marked; i++)
        if (status != KVF_OK)
            flip(pool, ids[i]); /* all or none */
        else if (ids[i] < pool->hint)
            pool->hint = ids[i];
    if (status == KVF_OK)
        pool->available += count;
    pthread_mutex_unlock(&pool->lock);
    kvfi_leave(pool->object.engine);
    return status;
}

kvf_status_t kvf_pool_raise(kvf_pool_t *pool, uint32_t count, const uint32_t *ids)
{
    kvf_status_t status = kvfi_enter(pool, KVFI_POOL);

    if (status != KVF_OK)
        return status;
    pthread_mutex_lock(&pool->lock);
    status = check_ids(pool, count, ids, 1);
    if (status == KVF_OK)
        status = raise_all(pool, count, ids);
    pthread_mutex_unlock(&pool->lock);
    kvfi_leave(pool->object.engine);
    return status;
}

kvf_status_t kvf_pool_generations(const kvf_pool_t *pool, uint32_t count, const uint32_t *ids,
                                  uint32_t *gens_p)
{
    kvf_status_t status = kvfi_enter(pool, KVFI_POOL);

    if (status != KVF_OK)
        return status;
    status = count && !gens_p ? kvfi_fail(KVF_ERR_INVALID, "gens_p is NULL") : check_ids(pool, count, ids, 0);
    for (uint32_t i = 0; status == KVF_OK && i < count; i++)
        gens_p[i] = atomic_load(&pool->gens[ids[i]]);
    kvfi_leave(pool->object.engine);
    return status;
}

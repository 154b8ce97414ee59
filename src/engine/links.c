/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The drivers of an engine: the am machine on the near link from open on, one on a wire at the first need.
 */
#include "base/clock.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/grant.h"
#include "engine/home.h"
#include "engine/links.h"
#include "engine/thread.h"

static kvfi_am_host_t host_of(kvf_engine_t *engine)
{
    return (kvfi_am_host_t){.engine = engine,
                            .page = engine->home->page,
                            .epoch = engine->home->owner.epoch,
                            .near = engine->home->near,
                            .bell = &engine->home->bell,
                            .incarnation = engine->incarnation,
                            .rank = engine->rank,
                            .proc = engine->home->proc,
                            .net = engine->net,
                            .depth = engine->depth,
                            .open_writes = &engine->open_writes,
                            .view = kvfi_grant_view,
                            .changed = kvfi_event_wake};
}

kvf_status_t kvfi_links_near(kvf_engine_t *engine)
{
    kvfi_am_host_t host = host_of(engine);
    kvfi_driver_t *driver = NULL;
    kvf_status_t status = engine->home->near ? kvfi_am_drive(&kvfi_rings, &host, &driver) : KVF_OK;

    if (status == KVF_OK)
        atomic_store(&engine->drivers[KVFI_NEAR], driver);
    return status;
}

kvf_status_t kvfi_links_far(kvf_engine_t *engine, kvfi_am_t **am_p)
{
    kvfi_am_host_t host = host_of(engine);
    kvf_status_t status = KVF_OK;
    kvfi_driver_t *driver;

    pthread_mutex_lock(&engine->far_lock);
    driver = kvfi_driver(engine, KVFI_WIRE);
    if (!driver) {
        status = kvfi_am_drive(kvfi_carrier_of(engine->net), &host, &driver);
        if (status == KVF_OK)
            atomic_store(&engine->drivers[KVFI_WIRE], driver);
    }
    if (status == KVF_OK && !engine->far_driven) {
        status = kvfi_thread_far(engine);
        engine->far_driven = status == KVF_OK;
    }
    pthread_mutex_unlock(&engine->far_lock);
    if (status == KVF_OK)
        *am_p = kvfi_am_of(driver);
    return status;
}

kvfi_am_t *kvfi_links_am(const kvf_engine_t *engine, kvfi_driver_id_t id)
{
    return kvfi_am_of(kvfi_driver(engine, id));
}

void kvfi_links_close(kvf_engine_t *engine, uint64_t end_ns)
{
    for (unsigned i = KVFI_DRIVERS; i--;) {
        kvfi_driver_t *driver = kvfi_driver(engine, i);
        uint64_t now = kvfi_now_ns();

        if (driver)
            driver->ops->close(driver, end_ns > now ? end_ns - now : 0);
    }
}

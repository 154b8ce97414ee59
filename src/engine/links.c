/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The am machines of an engine: one on the near link from open on, one on a wire at the first need.
 */
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

    return engine->home->near ? kvfi_am_open(&kvfi_rings, &host, &engine->stage) : KVF_OK;
}

kvf_status_t kvfi_links_far(kvf_engine_t *engine, kvfi_am_t **am_p)
{
    kvfi_am_host_t host = host_of(engine);
    kvf_status_t   status = KVF_OK;
    kvfi_am_t     *am;

    pthread_mutex_lock(&engine->far_lock);
    am = atomic_load(&engine->am);
    if (!am) {
        status = kvfi_am_open(kvfi_carrier_of(engine->net), &host, &am);
        if (status == KVF_OK)
            atomic_store(&engine->am, am);
    }
    if (status == KVF_OK && !engine->far_driven) {
        status = kvfi_thread_far(engine);
        engine->far_driven = status == KVF_OK;
    }
    pthread_mutex_unlock(&engine->far_lock);
    if (status == KVF_OK)
        *am_p = am;
    return status;
}

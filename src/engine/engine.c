/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Open, close, export: the life of an engine. Close is the only call that waits, and it is bounded.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/blob.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/table.h"
#include "base/version.h"
#include "engine/await.h"
#include "engine/batch.h"
#include "engine/copiers.h"
#include "engine/ended.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/grant.h"
#include "engine/held.h"
#include "engine/home.h"
#include "engine/links.h"
#include "engine/object.h"
#include "engine/peer.h"
#include "engine/pool.h"
#include "engine/progress.h"
#include "engine/remote.h"
#include "engine/revoke.h"
#include "engine/segment.h"
#include "engine/settings.h"
#include "engine/thread.h"
#include "engine/view.h"

#define CLOSE_AGAIN 2 /* as closing: a close timed out before the calls of others were over */

const char *kvf_version(void)
{
    return kvfi_base_version();
}

/* -------------------------------------------------------------------- open */

static kvf_status_t draw_identity(kvf_engine_t *engine)
{
    do {
        if (getrandom(&engine->incarnation, sizeof engine->incarnation, 0) < 0 ||
            getrandom(engine->proof, sizeof engine->proof, 0) < 0)
            return kvfi_fail(KVF_ERR_SYSTEM, "getrandom gives no incarnation: %m");
    } while (engine->incarnation <= KVFI_SEAT_CLEARING);
    return KVF_OK;
}

static kvf_status_t open_engine(const kvf_engine_opts_t *opts, kvf_engine_t **engine_p)
{
    kvf_engine_t *engine;
    kvf_status_t status;

    status = kvfi_ucx_check_release();
    if (status != KVF_OK)
        return status;
    engine = kvfi_object_new(NULL, KVFI_ENGINE, sizeof *engine);
    if (!engine)
        return KVF_ERR_NOMEM;
    engine->object.engine = engine;
    engine->forks = kvfi_fork_count();
    engine->sweep = kvfi_progress_sweep;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_mutex_init(&engine->import_lock, NULL);
    pthread_mutex_init(&engine->far_lock, NULL);
    pthread_mutex_init(&engine->grants_lock, NULL);
    pthread_mutex_init(&engine->sleep_lock, NULL);
    pthread_mutex_init(&engine->queue_lock, NULL);
    pthread_mutex_init(&engine->inbox_lock, NULL);
    kvfi_open_writes_init(&engine->open_writes);
    status = kvfi_settings_load(engine, opts);
    if (status == KVF_OK)
        status = draw_identity(engine);
    if (status != KVF_OK)
        goto free_engine;
    status = kvfi_home_open(engine);
    if (status != KVF_OK)
        goto free_engine;
    status = kvfi_event_open(engine);
    if (status != KVF_OK)
        goto release_home;
    status = kvfi_links_near(engine);
    if (status == KVF_OK)
        status = kvfi_copiers_open(engine);
    if (status != KVF_OK)
        goto close_event;
    /* a wire that was asked for by name is looked at now, not at the first far peer */
    if (!strcmp(engine->net, "rc") || !strcmp(engine->net, "ud")) {
        kvfi_am_t *am;

        status = kvfi_links_far(engine, &am);
        if (status != KVF_OK)
            goto close_event;
    }
    *engine_p = engine;
    return KVF_OK;

close_event:
    kvfi_thread_stop(engine);
    kvfi_event_close(engine);
    kvfi_links_close(engine, 0);
release_home:
    kvfi_home_retire(engine->home);
    kvfi_home_release(engine->home);
free_engine:
    kvfi_copiers_close(engine);
    free(engine->setting_text);
    kvfi_object_close(engine);
    return status;
}

kvf_status_t kvf_engine_open(const kvf_engine_opts_t *opts, kvf_engine_t **engine_p)
{
    kvf_status_t status;

    if (!engine_p)
        return kvfi_fail(KVF_ERR_INVALID, "engine_p is NULL");
    if (kvfi_fork_engage())
        return kvfi_fail(KVF_ERR_FORKED,
                         "this process was forked while an engine was open, and has copies "
                         "of UCX's locks as they stood: fork before an engine is opened, or exec()");
    status = open_engine(opts, engine_p);
    if (status != KVF_OK)
        kvfi_fork_disengage();
    return status;
}

uint64_t kvf_engine_incarnation(const kvf_engine_t *engine)
{
    return kvfi_is(engine, KVFI_ENGINE) ? engine->incarnation : 0;
}

/* ------------------------------------------------------------------ export */

static void put_near(kvfi_writer_t *writer, const kvfi_home_t *home)
{
    const void *address;
    size_t len;

    if (!home->near) {
        kvfi_put_bytes(writer, NULL, 0);
        kvfi_put_bytes(writer, NULL, 0);
        return;
    }
    address = kvfi_link_address(home->near, &len);
    kvfi_put_bytes(writer, address, len);
    kvfi_put_bytes(writer, kvfi_mem_key(home->mem), sizeof(kvfi_share_key_t));
}

kvf_status_t kvf_engine_export(kvf_engine_t *engine, uint32_t flags, void *buf, size_t *len_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    kvfi_am_t *am = NULL;
    kvfi_writer_t writer;
    char host[64] = "";
    const void *address = NULL;
    size_t address_len = 0;
    kvfi_net_addr_t addrs[KVFI_NET_ADDRS];

    if (status != KVF_OK)
        return status;
    if (flags & ~KVF_BLOB_FAR)
        status = kvfi_fail(KVF_ERR_INVALID, "flags is 0x%x, only KVF_BLOB_FAR is known", flags);
    else if (!len_p)
        status = kvfi_fail(KVF_ERR_INVALID, "len_p is NULL");
    else if (flags & KVF_BLOB_FAR)
        status = kvfi_links_far(engine, &am);
    if (status != KVF_OK)
        goto leave;
    gethostname(host, sizeof host - 1);
    if (am)
        address = kvfi_am_address(am, &address_len);
    writer = kvfi_blob_begin(buf, *len_p);
    kvfi_put_u64(&writer, engine->rank);
    kvfi_put(&writer, &engine->home->proc, sizeof engine->home->proc);
    kvfi_put(&writer, host, sizeof host);
    kvfi_put(&writer, engine->home->boot, sizeof engine->home->boot);
    kvfi_put(&writer, engine->home->owner.nonce, sizeof engine->home->owner.nonce);
    kvfi_put(&writer, engine->proof, sizeof engine->proof);
    kvfi_put_u64(&writer, (uintptr_t)engine->proof);
    kvfi_put_u64(&writer, (uintptr_t)engine->home->page);
    kvfi_put_u32(&writer, engine->depth);
    kvfi_put_u32(&writer, (uint32_t)engine->local_off);
    kvfi_put_u32(&writer, engine->progress == KVF_PROGRESS_THREAD);
    put_near(&writer, engine->home);
    kvfi_put_bytes(&writer, address, address_len);
    kvfi_put_bytes(&writer, addrs, kvfi_net_addresses(addrs, KVFI_NET_ADDRS) * sizeof *addrs);
    status = kvfi_blob_end(&writer, KVFI_BLOB_ENGINE, kvfi_ucx_release(), engine->incarnation, len_p);
leave:
    kvfi_leave(engine);
    return status;
}

/* ------------------------------------------------------------------- close */

static void abort_batches(kvf_engine_t *engine)
{
    for (;;) {
        kvf_batch_t *batch;

        pthread_mutex_lock(&engine->lock);
        batch = engine->running;
        if (batch)
            atomic_fetch_add(&batch->refs, 1);
        pthread_mutex_unlock(&engine->lock);
        if (!batch)
            return;
        kvfi_await_abort(batch, KVF_ERR_CLOSED);
        kvfi_batch_put(batch);
    }
}

static kvf_status_t wait_for_calls(kvf_engine_t *engine, uint64_t end_ns)
{
    while (atomic_load(&engine->users)) {
        abort_batches(engine);
        if (kvfi_now_ns() >= end_ns)
            return kvfi_fail(KVF_ERR_TIMEOUT, "%u calls of other threads are still under way",
                             atomic_load(&engine->users));
        nanosleep(&(struct timespec){0, 50000}, NULL);
    }
    abort_batches(engine); /* of a post that came to its end meanwhile */
    return KVF_OK;
}

static kvf_status_t wait_for_owners(kvf_engine_t *engine, uint64_t end_ns)
{
    unsigned asked, lost;

    while ((asked = kvfi_held_unanswered(engine, &lost)) && kvfi_now_ns() < end_ns) {
        kvfi_progress_drive(engine, 0);
        nanosleep(&(struct timespec){0, 50000}, NULL);
    }
    if (!asked && !lost)
        return KVF_OK;
    return kvfi_fail(KVF_ERR_TIMEOUT,
                     "WRITEs that were given up are not settled: of %u the owners have not "
                     "answered, of %u they cannot, for the connection broke",
                     asked, lost);
}

static kvfi_object_t *next_of(kvf_engine_t *engine, kvfi_kind_t kind)
{
    kvfi_object_t *object;

    pthread_mutex_lock(&engine->lock);
    for (object = engine->objects; object && object->kind != (uint32_t)kind; object = object->next)
        ;
    pthread_mutex_unlock(&engine->lock);
    return object;
}

static void free_views(kvf_engine_t *engine)
{
    kvfi_object_t *object;

    while ((object = next_of(engine, KVFI_VIEW)))
        kvfi_view_free((kvf_view_t *)object);
}

static void free_objects(kvf_engine_t *engine, int keep_memory)
{
    kvfi_object_t *object;

    while ((object = next_of(engine, KVFI_CHANNEL)))
        kvfi_inbox_free((kvf_channel_t *)object);
    while ((object = next_of(engine, KVFI_QUEUE)))
        kvfi_ended_free((kvf_queue_t *)object);
    while ((object = next_of(engine, KVFI_BATCH)))
        kvfi_batch_put((kvf_batch_t *)object);
    while ((object = next_of(engine, KVFI_REMOTE)))
        kvfi_remote_free((kvf_remote_t *)object);
    while ((object = next_of(engine, KVFI_PEER)))
        kvfi_peer_free((kvf_peer_t *)object);
    while ((object = next_of(engine, KVFI_GRANT)))
        kvfi_grant_free((kvf_grant_t *)object);
    while ((object = next_of(engine, KVFI_POOL)))
        kvfi_pool_free((kvf_pool_t *)object);
    while ((object = next_of(engine, KVFI_SEGMENT)))
        kvfi_segment_free((kvf_segment_t *)object, keep_memory);
}

kvf_status_t kvf_engine_close(kvf_engine_t *engine, uint64_t timeout_ns)
{
    uint64_t end_ns = kvfi_deadline(kvfi_now_ns(), timeout_ns);
    kvf_status_t status = KVF_OK, settled;
    kvfi_home_t *home;
    int open = 0;

    if (!engine)
        return KVF_OK;
    if (!kvfi_is(engine, KVFI_ENGINE))
        return kvfi_fail(KVF_ERR_INVALID, "engine handle is closed, or no such handle");
    if (engine->forks != kvfi_fork_count())
        return kvfi_fail(KVF_ERR_FORKED, "this engine belongs to the parent of a forked process");
    if (!atomic_compare_exchange_strong(&engine->closing, &open, 1)) {
        open = CLOSE_AGAIN;
        if (!atomic_compare_exchange_strong(&engine->closing, &open, 1))
            return kvfi_fail(KVF_ERR_BUSY, "another thread is closing this engine");
    }
    home = engine->home;
    kvfi_home_retire(home);
    abort_batches(engine); /* first: what is under way with ourselves ends with CLOSED too */
    atomic_store(&home->page->closed, 1);
    kvfi_home_part(home);
    kvfi_event_wake_all(engine);
    if (wait_for_calls(engine, end_ns) != KVF_OK) {
        atomic_store(&engine->closing, CLOSE_AGAIN); /* those threads stand in it: it is left alone */
        return KVF_ERR_TIMEOUT;
    }
    free_views(engine); /* of one's own pools: the grants would wait for them */
    for (uint32_t i = 0; i < KVFI_PAGE_GRANTS; i++)
        if (engine->grants[i] && !engine->grants[i]->revoked)
            kvfi_page_revoke(&home->owner, i);
    status = kvfi_revoke_quiesce(engine, KVFI_ALL_GRANTS, end_ns);
    settled = wait_for_owners(engine, end_ns);
    kvfi_copiers_close(engine);
    kvfi_thread_stop(engine);
    kvfi_event_close(engine);
    free_objects(engine, status != KVF_OK);
    kvfi_links_close(engine, end_ns);
    if (status == KVF_OK)
        kvfi_home_release(home);
    kvfi_table_free(&engine->peers);
    free(engine->roll.peers);
    free(engine->shelf.slots);
    free(engine->setting_text);
    pthread_mutex_destroy(&engine->lock);
    pthread_mutex_destroy(&engine->import_lock);
    pthread_mutex_destroy(&engine->far_lock);
    pthread_mutex_destroy(&engine->grants_lock);
    pthread_mutex_destroy(&engine->sleep_lock);
    pthread_mutex_destroy(&engine->queue_lock);
    pthread_mutex_destroy(&engine->inbox_lock);
    kvfi_open_writes_destroy(&engine->open_writes);
    kvfi_object_close(engine);
    kvfi_fork_disengage();
    return status == KVF_OK ? settled : status;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Peers: from an engine's blob to a proved locality and a way to reach it. A peer is of this
 * process if its incarnation is in the process's list; near if its page could be mapped, holds the
 * nonce of that incarnation, and its process can be watched; far otherwise.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/blob.h"
#include "base/status.h"
#include "base/table.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/home.h"
#include "engine/links.h"
#include "engine/object.h"
#include "engine/peer.h"
#include "engine/thread.h"

/* What an engine's blob says. Pointers into the blob. */
typedef struct kvfi_card {
    uint64_t incarnation, rank, proof_addr, page_addr;
    kvfi_proc_id_t proc;
    char host[64], boot[KVFI_BOOT_LEN];
    uint64_t nonce[2], proof[KVFI_CMA_PROOF / 8];
    uint32_t depth, local_off, driven;
    const void *near, *page_key, *far, *addrs;
    size_t near_len, page_key_len, far_len, addrs_len;
    uint32_t ucx_release;
} kvfi_card_t;

static void get_into(kvfi_reader_t *reader, void *to, size_t len)
{
    const void *from = kvfi_get(reader, len);

    if (from)
        memcpy(to, from, len);
}

static kvf_status_t read_card(const void *blob, size_t len, kvfi_card_t *card)
{
    kvfi_reader_t reader;
    kvf_status_t status = kvfi_blob_open(blob, len, KVFI_BLOB_ENGINE, &card->incarnation, &reader);

    if (status != KVF_OK)
        return status;
    card->rank = kvfi_get_u64(&reader);
    get_into(&reader, &card->proc, sizeof card->proc);
    get_into(&reader, card->host, sizeof card->host);
    get_into(&reader, card->boot, sizeof card->boot);
    get_into(&reader, card->nonce, sizeof card->nonce);
    get_into(&reader, card->proof, sizeof card->proof);
    card->proof_addr = kvfi_get_u64(&reader);
    card->page_addr = kvfi_get_u64(&reader);
    card->depth = kvfi_get_u32(&reader);
    card->local_off = kvfi_get_u32(&reader);
    card->driven = kvfi_get_u32(&reader);
    card->near = kvfi_get_bytes(&reader, &card->near_len);
    card->page_key = kvfi_get_bytes(&reader, &card->page_key_len);
    card->far = kvfi_get_bytes(&reader, &card->far_len);
    card->addrs = kvfi_get_bytes(&reader, &card->addrs_len);
    card->ucx_release = kvfi_blob_ucx_release(blob);
    if (reader.failed)
        return kvfi_fail(KVF_ERR_BLOB, "the engine blob ends inside its body");
    if (!card->depth || card->depth > 65536 || card->local_off > 1 || card->driven > 1 ||
        card->incarnation <= KVFI_SEAT_CLEARING)
        return kvfi_fail(KVF_ERR_BLOB, "the engine blob holds impossible values");
    card->host[sizeof card->host - 1] = 0;
    card->boot[sizeof card->boot - 1] = 0;
    return KVF_OK;
}

/* ---------------------------------------------------------------- locality */

static kvf_status_t take_seat(kvf_peer_t *peer, kvfi_page_t *page, uint32_t depth)
{
    kvf_engine_t *engine = peer->object.engine;
    const kvfi_owner_t *owner = peer->home ? &peer->home->owner : NULL;
    kvfi_guest_t us = {engine->incarnation, engine->rank, engine->home->proc, engine->home->bell.name};

    if (kvfi_hold_open(&peer->hold, page, depth, owner, &us))
        return kvfi_fail(KVF_ERR_NOMEM, "all %u seats of peer %s (pid %d) are taken", KVFI_PAGE_SEATS,
                         peer->host, peer->proc.pid);
    return KVF_OK;
}

static void unmap_page(kvf_peer_t *peer)
{
    kvfi_map_close(peer->page_map);
    peer->page_map = NULL;
}

/* It may be memory of anybody's, but as much of it. */
static int is_page_of(const void *page, const kvfi_card_t *card)
{
    kvfi_page_head_t head;

    if ((uintptr_t)page % _Alignof(kvfi_page_t))
        return 0;
    memcpy(&head, page, sizeof head);
    return head.magic == KVFI_PAGE_MAGIC && head.incarnation == card->incarnation &&
           !memcmp(head.nonce, card->nonce, sizeof head.nonce) && head.depth == card->depth;
}

/* Map all of the page and read the nonce: 1 if it is the engine's, 0 with errno if not, -1 with errno if that
 * cannot be known. why: what refused to map it, if anything did. */
static int map_page(kvf_peer_t *peer, const kvfi_card_t *card, void **page_p, char *why, size_t why_len)
{
    int error;

    if (kvfi_map_open(card->page_key, card->page_key_len, card->page_addr, kvfi_page_bytes(card->depth),
                      &peer->page_map, page_p) != KVF_OK) {
        error = errno;
        snprintf(why, why_len, "%s", kvf_last_error());
        errno = error;
        return error == EMFILE || error == ENFILE || error == ENOMEM ? -1 : 0;
    }
    if (is_page_of(*page_p, card))
        return 1;
    unmap_page(peer);
    errno = EIDRM; /* it went, and another has its name */
    return 0;
}

static int is_here(const kvf_engine_t *engine, const kvfi_card_t *card)
{
    return card->boot[0] && !strcmp(card->boot, engine->home->boot);
}

static const char other_ipc[] = "it is in another IPC namespace; let the containers share it";

static int in_another_ipc(const kvfi_home_t *home, const kvfi_card_t *card)
{
    return card->proc.ipc_ns && home->proc.ipc_ns && card->proc.ipc_ns != home->proc.ipc_ns;
}

/* Its page could not be mapped: the likeliest reason. */
static void explain_unmapped(kvf_peer_t *peer, const kvfi_card_t *card, const char *ucx_says)
{
    const kvfi_home_t *home = peer->object.engine->home;
    char *why = peer->why_far;

    if (!is_here(peer->object.engine, card))
        snprintf(why, sizeof peer->why_far, "it is on another machine");
    else if (in_another_ipc(home, card))
        snprintf(why, sizeof peer->why_far, "%s", other_ipc);
    else
        snprintf(why, sizeof peer->why_far, "its shared memory cannot be mapped here%s%.300s",
                 ucx_says[0] ? ": " : "", ucx_says);
}

/* What can be said before its page is looked for; 0 if it may be near. */
static int is_ruled_out(kvf_peer_t *peer, const kvfi_card_t *card)
{
    kvf_engine_t *engine = peer->object.engine;
    kvfi_home_t *home = engine->home;
    const char *why = NULL;

    if (engine->local_off)
        why = "local is off here";
    else if (card->local_off)
        why = "local is off at the peer";
    else if (!is_here(engine, card) && card->boot[0] && home->boot[0])
        why = "it is on another machine";
    else if (home->near && card->near_len && !kvfi_link_meets(home->near, card->near, card->near_len))
        why = in_another_ipc(home, card) ? other_ipc : "its kind of shared memory is not ours";
    if (why)
        snprintf(peer->why_far, sizeof peer->why_far, "%s", why);
    else if (!home->near)
        snprintf(peer->why_far, sizeof peer->why_far, "no shared memory here: %.360s", home->why_private);
    else if (!card->near_len || !card->page_key_len)
        snprintf(peer->why_far, sizeof peer->why_far, "the peer has no shared memory; it said why at open");
    return peer->why_far[0] != 0;
}

/* One line a peer; on this machine and far all the same is worth a warning, the first time. */
static void tell_where(kvf_peer_t *peer, const kvfi_card_t *card)
{
    kvf_engine_t *engine = peer->object.engine;
    const char *why = atomic_load(&peer->cma.why[KVF_READ]);
    kvfi_log_level_t level = KVFI_LOG_INFO;

    if (peer->locality == KVF_LOCALITY_NODE) {
        kvfi_log(KVFI_LOG_INFO, "peer %s (rank %llu, pid %d) is near: shm, stage, %s%s", card->host,
                 (unsigned long long)card->rank, card->proc.pid, why ? "no cma: " : "cma", why ? why : "");
    } else if (peer->locality == KVF_LOCALITY_CROSS) {
        if (is_here(engine, card) && !engine->local_off && !card->local_off &&
            !atomic_flag_test_and_set(&engine->told_of_far))
            level = KVFI_LOG_WARN;
        kvfi_log(level, "peer %s (rank %llu, pid %d) is far%s, over am: %s", card->host,
                 (unsigned long long)card->rank, card->proc.pid,
                 is_here(engine, card) ? " though it is on this machine" : "", peer->why_far);
    }
}

static kvf_status_t has_died(const kvfi_card_t *card)
{
    return kvfi_fail(KVF_ERR_PEER, "rank %llu on %s (pid %d) has died", (unsigned long long)card->rank,
                     card->host, card->proc.pid);
}

/* KVF_OK and locality NODE if it is proved to be near; KVF_OK and CROSS if it is not. The dying leave nothing
 * to map, which makes nobody far. */
static kvf_status_t try_near(kvf_peer_t *peer, const kvfi_card_t *card)
{
    kvf_engine_t *engine = peer->object.engine;
    kvf_status_t status;
    void *page;
    char ucx_says[300] = "";
    int proved;

    peer->locality = KVF_LOCALITY_CROSS;
    if (is_ruled_out(peer, card))
        return KVF_OK;
    proved = map_page(peer, card, &page, ucx_says, sizeof ucx_says);
    if (proved < 0)
        return kvfi_fail(KVF_ERR_SYSTEM, "whether peer %s (pid %d) is near cannot be known: %m%s", card->host,
                         card->proc.pid, errno == ENOMEM ? "" : "; raise RLIMIT_NOFILE (ulimit -n)");
    if (!proved) {
        if (kvfi_map_is_gone(errno) && is_here(engine, card) && kvfi_proc_ends(card->proc, KVFI_ENDING_NS))
            return has_died(card);
        explain_unmapped(peer, card, ucx_says);
        return KVF_OK;
    }
    if (!kvfi_proc_watchable(&card->proc, &engine->home->proc) || kvfi_life_open(&peer->life, card->proc)) {
        snprintf(peer->why_far, sizeof peer->why_far,
                 "it shares memory with us, but one of us cannot tell "
                 "whether the other is alive; let the containers share the PID or the IPC namespace");
        unmap_page(peer);
        return KVF_OK;
    }
    status = take_seat(peer, page, card->depth);
    if (status != KVF_OK) {
        kvfi_life_close(&peer->life);
        unmap_page(peer);
        return status;
    }
    if (kvfi_hold_deafens(&peer->hold, engine->home->page)) {
        kvfi_event_posted(engine, NULL);
        kvfi_event_wake_all(engine); /* their timers are to be set anew */
        kvfi_log(KVFI_LOG_WARN,
                 "peer %s (pid %d) shares memory with us but is in another network "
                 "namespace, where nothing wakes it: both sides look every millisecond; let the "
                 "containers share the namespace",
                 card->host, card->proc.pid);
    }
    kvfi_cma_prove(&peer->cma, &peer->life, card->proof_addr, card->proof);
    peer->locality = KVF_LOCALITY_NODE;
    return KVF_OK;
}

/* UCX's messages for making a connection are its own, and change with its releases without a number. */
static kvf_status_t check_ucx(const kvfi_card_t *card)
{
    uint32_t ours = kvfi_ucx_release(), its = card->ucx_release;

    if (ours >> 8 == its >> 8)
        return KVF_OK;
    return kvfi_fail(KVF_ERR_VERSION,
                     "peer %s (rank %llu) runs UCX %u.%u, we run UCX %u.%u: far peers need "
                     "the same",
                     card->host, (unsigned long long)card->rank, its >> 16, its >> 8 & 255, ours >> 16,
                     ours >> 8 & 255);
}

/* Once a process; of an exchange, its rank 0 only. */
static void warn_of_release(kvf_engine_t *engine)
{
    static _Atomic int warned;
    const char *doubt = kvfi_ucx_doubt();

    if (doubt && !atomic_flag_test_and_set(&engine->told_of_release) && !atomic_exchange(&warned, 1))
        kvfi_log(KVFI_LOG_WARN, "far peers with UCX %s: %s", kvf_ucx_version(), doubt);
}

/* By their addresses the interface of a far side that is not open yet is chosen. */
static void hear_addresses(const kvfi_card_t *card)
{
    kvfi_net_addr_t addrs[KVFI_NET_ADDRS];
    size_t count = card->addrs_len / sizeof *addrs;

    if (count > KVFI_NET_ADDRS)
        count = KVFI_NET_ADDRS;
    if (!count)
        return;
    memcpy(addrs, card->addrs, count * sizeof *addrs);
    kvfi_net_heard(addrs, (unsigned)count);
}

static kvf_status_t connect_far(kvf_peer_t *peer, const kvfi_card_t *card)
{
    kvfi_am_t *am;
    char *address;
    kvf_status_t status = check_ucx(card);

    if (status != KVF_OK)
        return status;
    if (!card->far_len)
        return kvfi_fail(KVF_ERR_NEED_FAR,
                         "peer %s (rank %llu) is not near (%s), and its blob holds no "
                         "far address: its owner exports with KVF_BLOB_FAR",
                         card->host, (unsigned long long)card->rank, peer->why_far);
    warn_of_release(peer->object.engine);
    hear_addresses(card);
    status = kvfi_links_far(peer->object.engine, &am);
    if (status != KVF_OK)
        return status;
    address = calloc(1, card->far_len + KVFI_ADDRESS_ROOM);
    if (!address)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a far address");
    memcpy(address, card->far, card->far_len);
    status = kvfi_am_connect(am, card->incarnation, address, &peer->am);
    free(address);
    return status == KVF_OK ? KVF_OK : kvfi_fail_within(status, "far peer %s", peer->name);
}

static kvf_status_t reach(kvf_peer_t *peer, const kvfi_card_t *card)
{
    kvf_status_t status;

    peer->home = kvfi_home_find(card->incarnation);
    if (peer->home) {
        peer->locality = KVF_LOCALITY_SELF;
        status = take_seat(peer, peer->home->page, peer->home->owner.depth);
        if (status != KVF_OK)
            kvfi_home_release(peer->home);
        return status;
    }
    status = try_near(peer, card);
    if (status == KVF_OK && peer->locality == KVF_LOCALITY_CROSS)
        status = is_here(peer->object.engine, card) && !kvfi_proc_lives(card->proc) ? has_died(card)
                                                                                    : connect_far(peer, card);
    if (status == KVF_OK)
        tell_where(peer, card);
    return status;
}

/* ------------------------------------------------------------------ import */

static kvf_status_t import(kvf_engine_t *engine, const kvfi_card_t *card, kvf_peer_t **peer_p)
{
    kvf_peer_t *peer = kvfi_object_new(engine, KVFI_PEER, sizeof *peer);
    kvf_status_t status;

    if (!peer)
        return KVF_ERR_NOMEM;
    peer->incarnation = card->incarnation;
    peer->rank = card->rank;
    peer->proc = card->proc;
    peer->process = kvfi_proc_number(&card->proc, card->boot);
    memcpy(peer->host, card->host, sizeof peer->host);
    snprintf(peer->name, sizeof peer->name, "rank %llu on %s (pid %d)", (unsigned long long)card->rank,
             card->host, card->proc.pid);
    peer->imports = 1;
    peer->driven = (int)card->driven;
    peer->life.pidfd = -1;
    peer->out_end = &peer->out;
    pthread_mutex_init(&peer->out_lock, NULL);
    status = reach(peer, card);
    if (status != KVF_OK) {
        kvfi_object_close(peer);
        return status;
    }
    *peer_p = peer;
    return KVF_OK;
}

/* Put a peer where it is found; 0 without memory. Both with the engine's lock. */
static int enroll(kvf_engine_t *engine, kvf_peer_t *peer)
{
    if (kvfi_roll_add(&engine->roll, peer))
        return 0;
    if (!kvfi_table_put(&engine->peers, peer->incarnation, peer))
        return 1;
    kvfi_roll_strike(&engine->roll, peer);
    return 0;
}

/* Nobody finds it any more. */
static void strike(kvf_engine_t *engine, kvf_peer_t *peer)
{
    kvfi_table_take(&engine->peers, peer->incarnation);
    kvfi_roll_strike(&engine->roll, peer);
    kvfi_meter_keep(&engine->meter, &peer->flows, peer->locality);
}

/* A peer of the same incarnation, counted; of two threads that import it, one made it. */
static kvf_peer_t *count_import(kvf_engine_t *engine, uint64_t incarnation, kvf_peer_t *made)
{
    kvf_peer_t *peer;

    pthread_mutex_lock(&engine->lock);
    peer = kvfi_table_get(&engine->peers, incarnation);
    if (peer)
        peer->imports++;
    else if (made && enroll(engine, made))
        peer = made;
    pthread_mutex_unlock(&engine->lock);
    return peer;
}

kvf_status_t kvf_peer_import(kvf_engine_t *engine, const void *blob, size_t len, kvf_peer_t **peer_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    kvf_peer_t *made = NULL, *peer;
    kvfi_card_t card = {0};

    if (status != KVF_OK)
        return status;
    status = peer_p ? read_card(blob, len, &card) : kvfi_fail(KVF_ERR_INVALID, "peer_p is NULL");
    if (status != KVF_OK)
        goto leave;
    peer = count_import(engine, card.incarnation, NULL);
    if (!peer) {
        status = import(engine, &card, &made);
        if (status != KVF_OK)
            goto leave;
        peer = count_import(engine, card.incarnation, made);
        if (peer != made)
            kvfi_peer_free(made);
        else if (peer->locality == KVF_LOCALITY_NODE)
            kvfi_event_watch_peer(peer);
        if (!peer) {
            status = kvfi_fail(KVF_ERR_NOMEM, "no memory for the table of peers");
            goto leave;
        }
    }
    if (kvfi_peer_alive(peer, 0)) {
        *peer_p = peer;
    } else {
        kvfi_fail(KVF_ERR_PEER, "%s %s", peer->name, kvfi_peer_end(peer));
        kvf_peer_forget(peer);
        status = KVF_ERR_PEER;
    }
leave:
    kvfi_leave(engine);
    return status;
}

void kvfi_peer_free(kvf_peer_t *peer)
{
    kvf_engine_t *engine = peer->object.engine;

    pthread_mutex_lock(&engine->lock);
    if (kvfi_table_get(&engine->peers, peer->incarnation) == peer)
        strike(engine, peer);
    pthread_mutex_unlock(&engine->lock);
    if (atomic_load(&peer->stage))
        kvfi_am_disconnect(kvfi_links_am(engine, KVFI_NEAR), atomic_load(&peer->stage),
                           &peer->hold.page->closed);
    kvfi_hold_close(&peer->hold);
    if (peer->home)
        kvfi_home_release(peer->home);
    unmap_page(peer);
    kvfi_event_unwatch_peer(peer);
    kvfi_life_close(&peer->life);
    if (peer->am)
        kvfi_am_disconnect(kvfi_links_am(engine, KVFI_WIRE), peer->am, NULL);
    pthread_mutex_destroy(&peer->out_lock);
    kvfi_object_close(peer);
}

/* Afresh, if the connection was lost and the peer was not. */
static kvf_status_t connect_stage(kvf_peer_t *peer, kvfi_am_peer_t **stage_p)
{
    kvf_engine_t *engine = peer->object.engine;
    kvfi_am_near_t near = {peer->proc, &peer->hold.page->closed, &peer->hold};
    kvfi_am_peer_t *stage = atomic_load(&peer->stage), *fresh;
    kvf_status_t status;

    *stage_p = stage;
    if (stage && kvfi_am_alive(stage))
        return KVF_OK;
    if (!kvfi_peer_alive(peer, 0))
        return kvfi_fail(KVF_ERR_PEER, "%s %s", peer->name, kvfi_peer_end(peer));
    status = kvfi_thread_near(engine);
    if (status != KVF_OK)
        return status;
    pthread_mutex_lock(&engine->far_lock);
    stage = atomic_load(&peer->stage);
    if (!stage || !kvfi_am_alive(stage)) {
        status = kvfi_am_connect(kvfi_links_am(engine, KVFI_NEAR), peer->incarnation, &near, &fresh);
        if (status == KVF_OK && stage)
            kvfi_am_disconnect(kvfi_links_am(engine, KVFI_NEAR), stage,
                               NULL); /* the same one, counted once */
        if (status == KVF_OK)
            atomic_store(&peer->stage, fresh);
        else
            kvfi_life_check(&peer->life, 0); /* so that others learn of it too */
    }
    pthread_mutex_unlock(&engine->far_lock);
    *stage_p = atomic_load(&peer->stage);
    return status;
}

kvf_status_t kvfi_peer_connect(kvf_peer_t *peer, uint32_t dir, kvfi_am_peer_t **stage_p)
{
    kvf_engine_t *engine = peer->object.engine;
    const char *why = atomic_load(&peer->cma.why[dir]);

    if (why && !atomic_flag_test_and_set(&engine->told_of_stage))
        kvfi_log(KVFI_LOG_WARN,
                 "the memory of rank %llu (pid %d) is its own, and all of it goes "
                 "over stage, not over cma: %s; memory that kvferry allocates needs none of it",
                 (unsigned long long)peer->rank, peer->proc.pid, why);
    return connect_stage(peer, stage_p);
}

static kvf_status_t note_under_way(void)
{
    return kvfi_fail(KVF_ERR_BUSY, "a notification to the peer is under way");
}

kvf_status_t kvf_peer_forget(kvf_peer_t *peer)
{
    kvf_engine_t *engine;
    kvf_status_t status;
    int last = 0;

    if (!peer)
        return KVF_OK;
    status = kvfi_enter(peer, KVFI_PEER);
    if (status != KVF_OK)
        return status;
    engine = peer->object.engine;
    pthread_mutex_lock(&engine->lock);
    if (peer->imports > 1) {
        peer->imports--;
    } else if (peer->remotes) {
        status = kvfi_fail(KVF_ERR_BUSY, "%u remotes of the peer are imported", peer->remotes);
    } else if (atomic_load(&peer->notes)) {
        status = note_under_way();
    } else if (!kvfi_claim(peer, KVFI_PEER)) {
        status = kvfi_fail(KVF_ERR_INVALID, "peer handle is closed");
    } else if (atomic_load(&peer->notes)) {
        kvfi_unclaim(peer, KVFI_PEER);
        status = note_under_way();
    } else {
        strike(engine, peer);
        last = 1;
    }
    pthread_mutex_unlock(&engine->lock);
    if (last)
        kvfi_peer_free(peer);
    kvfi_leave(engine);
    return status;
}

__attribute__((hot)) int kvfi_peer_alive(kvf_peer_t *peer, uint64_t max_age_ns)
{
    kvfi_am_peer_t *stage = atomic_load(&peer->stage);

    if (peer->locality == KVF_LOCALITY_CROSS)
        return kvfi_am_alive(peer->am);
    if (stage && !kvfi_am_alive(stage))
        max_age_ns = 0; /* it may well have died */
    return !atomic_load(&peer->hold.page->closed) &&
           (peer->locality == KVF_LOCALITY_SELF || kvfi_life_check(&peer->life, max_age_ns));
}

/* Its end was in order. */
static int has_closed(const kvf_peer_t *peer)
{
    if (peer->hold.page)
        return atomic_load(&peer->hold.page->closed) != 0;
    return peer->am && kvfi_am_parted(peer->am);
}

const char *kvfi_peer_end(const kvf_peer_t *peer)
{
    return has_closed(peer)                       ? "has closed its engine"
           : peer->locality == KVF_LOCALITY_CROSS ? "has died, or the connection to it broke"
                                                  : "has died";
}

kvf_status_t kvf_peer_query(kvf_peer_t *peer, kvf_peer_attr_t *attr_p)
{
    kvf_status_t status = kvfi_enter(peer, KVFI_PEER);
    kvf_peer_attr_t attr;

    if (status != KVF_OK)
        return status;
    attr = (kvf_peer_attr_t){.locality = peer->locality,
                             .incarnation = peer->incarnation,
                             .rank = peer->rank,
                             .alive = kvfi_peer_alive(peer, 0),
                             .pid = peer->proc.pid,
                             .why_far = peer->why_far,
                             .bytes_read = kvfi_meter_bytes(&peer->flows, KVF_READ),
                             .bytes_written = kvfi_meter_bytes(&peer->flows, KVF_WRITE)};
    memcpy(attr.host, peer->host, sizeof attr.host);
    attr.closed = !attr.alive && has_closed(peer);
    if (peer->am)
        kvfi_am_wire(kvfi_links_am(peer->object.engine, KVFI_WIRE), peer->am, attr.wire, sizeof attr.wire);
    status = kvf_struct_write("attr_p", &attr, sizeof attr, attr_p);
    kvfi_leave(peer->object.engine);
    return status;
}

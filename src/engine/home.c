/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Homes: the near link, the bell and the control page of an engine, which other engines of the process may
 * hold on to after it has closed; and the process's list of them, which proves `self`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/memory.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/home.h"

static pthread_mutex_t homes_lock = PTHREAD_MUTEX_INITIALIZER;
static kvfi_home_t *homes;

/* A page that near peers map: the first touch of it has to be safe, for them too. */
static kvf_status_t open_shared(kvfi_home_t *home, kvfi_shm_kind_t kind, uint64_t len)
{
    kvfi_mem_want_t want = {.len = len};
    kvf_status_t status = kvfi_link_open_near(kind, &home->near);
    char why[256];

    if (status != KVF_OK)
        return status;
    status = kvfi_mem_alloc(home->near, &want, &home->mem);
    if (status != KVF_OK)
        goto close_link;
    home->page = kvfi_mem_addr(home->mem);
    if (kvfi_memory_prove(home->page, sizeof *home->page, 0, why, sizeof why)) {
        status = kvfi_fail(KVF_ERR_NOMEM, "no %zu bytes for the control page: %s", sizeof *home->page, why);
        goto free_page;
    }
    if (kvfi_bell_open(&home->bell)) {
        status = kvfi_fail(errno == EMFILE || errno == ENFILE ? KVF_ERR_SYSTEM : KVF_ERR_UNSUPPORTED,
                           "no unix datagram socket for neighbours to wake us by: %m");
        goto free_page;
    }
    home->page->bell = home->bell.name;
    home->page->realm = kvfi_bell_realm();
    return KVF_OK;

free_page:
    kvfi_mem_free(home->mem);
    home->mem = NULL;
    home->page = NULL;
close_link:
    kvfi_link_close(home->near);
    home->near = NULL;
    return status;
}

/* Shared if there is shared memory of some kind here, else private: then only this process is near. */
static kvf_status_t open_page(kvfi_home_t *home, uint64_t len)
{
    kvfi_shm_kind_t kinds[KVFI_SHM_KINDS];
    kvf_status_t status;
    kvfi_shm_sweep();
    kvfi_shm_order(kinds);
    for (int i = 0; i < KVFI_SHM_KINDS; i++) {
        status = open_shared(home, kinds[i], len);
        if (status == KVF_OK || (status != KVF_ERR_UNSUPPORTED && status != KVF_ERR_NOMEM))
            return status;
        snprintf(home->why_private + strlen(home->why_private),
                 sizeof home->why_private - strlen(home->why_private), "%s%s", i ? "; nor: " : "",
                 kvf_last_error());
    }
    kvfi_log(KVFI_LOG_WARN, "no shared memory between processes: %s", home->why_private);
    home->page = aligned_alloc(4096, (len + 4095) & ~UINT64_C(4095));
    if (!home->page)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for the control page");
    memset(home->page, 0, len);
    return KVF_OK;
}

kvf_status_t kvfi_home_open(kvf_engine_t *engine)
{
    kvfi_home_t *home = calloc(1, sizeof *home);
    kvf_status_t status;

    if (!home)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for an engine");
    home->engine = engine;
    home->incarnation = engine->incarnation;
    home->refs = 1;
    home->bell.fd = -1;
    kvfi_proc_boot(home->boot);
    status = kvfi_proc_self(&home->proc)
                 ? kvfi_fail(KVF_ERR_SYSTEM, "who this process is cannot be read from /proc/self: %m")
                 : open_page(home, kvfi_page_bytes(engine->depth));
    if (status != KVF_OK) {
        free(home);
        return status;
    }
    home->page->head.magic = KVFI_PAGE_MAGIC;
    home->page->head.incarnation = engine->incarnation;
    home->page->head.depth = engine->depth;
    home->owner.page = home->page;
    home->owner.depth = engine->depth;
    if (getrandom(home->owner.nonce, sizeof home->owner.nonce, 0) < 0)
        home->owner.nonce[0] = ~engine->incarnation;
    memcpy(home->page->head.nonce, home->owner.nonce, sizeof home->owner.nonce);
    engine->home = home;
    pthread_mutex_lock(&homes_lock);
    home->next = homes;
    homes = home;
    pthread_mutex_unlock(&homes_lock);
    return KVF_OK;
}

kvfi_home_t *kvfi_home_find(uint64_t incarnation)
{
    kvfi_home_t *home;

    pthread_mutex_lock(&homes_lock);
    for (home = homes; home && home->incarnation != incarnation; home = home->next)
        ;
    /* a child of fork inherits the list, not the engines in it */
    if (home && home->engine && home->engine->forks != kvfi_fork_count())
        home = NULL;
    if (home)
        home->refs++;
    pthread_mutex_unlock(&homes_lock);
    return home;
}

void kvfi_home_release(kvfi_home_t *home)
{
    unsigned refs;

    pthread_mutex_lock(&homes_lock);
    refs = --home->refs;
    pthread_mutex_unlock(&homes_lock);
    if (refs)
        return;
    if (home->mem)
        kvfi_mem_free(home->mem);
    else
        free(home->page);
    kvfi_link_close(home->near);
    kvfi_bell_close(&home->bell);
    free(home);
}

void kvfi_home_retire(kvfi_home_t *home)
{
    kvfi_home_t **at = &homes;

    pthread_mutex_lock(&homes_lock);
    home->engine = NULL;
    while (*at && *at != home)
        at = &(*at)->next;
    if (*at)
        *at = home->next;
    pthread_mutex_unlock(&homes_lock);
}

/* Those who have it as a peer hold a seat: one of this process is called, others hear their bell. */
void kvfi_home_part(kvfi_home_t *home)
{
    unsigned seats = kvfi_page_seats(home->page);

    for (unsigned i = 0; i < seats; i++) {
        const kvfi_seat_t *seat = &home->page->seats[i];
        uint64_t holder = atomic_load(&seat->holder);
        kvfi_home_t *guest;

        if (holder <= KVFI_SEAT_CLEARING || !atomic_load(&seat->ready))
            continue;
        guest = kvfi_home_find(holder);
        if (!guest) {
            kvfi_bell_part(&home->bell, seat->bell);
            continue;
        }
        kvfi_home_ring(guest);
        kvfi_home_release(guest);
    }
}

void kvfi_home_ring(kvfi_home_t *home)
{
    pthread_mutex_lock(&homes_lock);
    if (home->engine)
        kvfi_event_wake(home->engine);
    pthread_mutex_unlock(&homes_lock);
}

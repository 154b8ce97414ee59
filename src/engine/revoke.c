/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Revoke: the epoch of a grant is raised, so that no slice under the old one begins any more, and then
 * waited for until none that began before is under way, and no view of the grant is open.
 */
#include <time.h>

#include "base/clock.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/grant.h"
#include "engine/home.h"
#include "engine/object.h"
#include "engine/progress.h"
#include "engine/revoke.h"

static void sleep_briefly(void)
{
    nanosleep(&(struct timespec){0, 20000}, NULL);
}

static int is_of_grant(void *arg, uint32_t grant, uint32_t range, uint32_t id)
{
    uint32_t slot = *(const uint32_t *)arg;

    (void)range;
    (void)id;
    return slot == KVFI_ALL_GRANTS || grant == slot;
}

/* What keeps revoked memory from being reused, and in whose seat; NULL: nothing. */
static const char *held_by(kvfi_page_t *page, uint32_t slot, uint32_t *seen, const kvfi_seat_t **seat_p)
{
    if (kvfi_page_still_busy(page, seen, seat_p))
        return "is still copying";
    if (kvfi_page_pins(page) && kvfi_page_find_pin(page, is_of_grant, &slot, seat_p))
        return "has a view of it";
    return NULL;
}

kvf_status_t kvfi_revoke_quiesce(kvf_engine_t *engine, uint32_t slot, uint64_t end_ns)
{
    kvfi_page_t *page = engine->home->page;
    uint32_t seen[KVFI_PAGE_SEATS * KVFI_SEAT_WORDS];
    const kvfi_seat_t *seat = NULL;
    const char *what;

    for (unsigned i = 0; i < KVFI_DRIVERS; i++) {
        kvfi_driver_t *driver = kvfi_driver(engine, i);

        if (driver) /* what is served looks at the epoch under the driver's lock */
            driver->ops->pass(driver);
    }
    kvfi_page_snapshot(page, seen);
    while ((what = held_by(page, slot, seen, &seat))) {
        if (slot != KVFI_ALL_GRANTS && atomic_load(&engine->closing))
            return kvfi_fail(KVF_ERR_CLOSED,
                             "revoked, but the engine closes, and waits in turn for rank "
                             "%llu (pid %d)",
                             (unsigned long long)seat->rank, seat->proc.pid);
        if (kvfi_now_ns() >= end_ns)
            return kvfi_fail(KVF_ERR_TIMEOUT,
                             "revoked, but the memory is not yet reusable: rank %llu "
                             "(pid %d) %s",
                             (unsigned long long)seat->rank, seat->proc.pid, what);
        kvfi_progress_drive(engine, 0);
        sleep_briefly();
    }
    return KVF_OK;
}

kvf_status_t kvf_grant_revoke(kvf_grant_t *grant, uint64_t timeout_ns)
{
    kvf_engine_t *engine;
    kvf_status_t status;

    if (!grant)
        return KVF_OK;
    status = kvfi_enter(grant, KVFI_GRANT);
    if (status != KVF_OK)
        return status;
    engine = grant->object.engine;
    pthread_mutex_lock(&engine->grants_lock);
    if (!grant->revoked)
        kvfi_page_revoke(&engine->home->owner, grant->slot);
    grant->revoked = 1;
    pthread_mutex_unlock(&engine->grants_lock);
    status = kvfi_revoke_quiesce(engine, grant->slot, kvfi_deadline(kvfi_now_ns(), timeout_ns));
    if (status == KVF_OK && kvfi_claim(grant, KVFI_GRANT))
        kvfi_grant_free(grant);
    kvfi_leave(engine);
    return status;
}

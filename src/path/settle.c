/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How xfers end, and WRITEs that are given up. Near, the slots that the owner has not begun with are taken
 * away from it, and nothing of them lands; far, or where it has begun, it is asked, and until it has
 * answered there is a record of the bytes that may still land. See am_internal.h; tests/model/settle.pml is
 * a model of it. Nothing here waits.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "path/am_internal.h"

#define ASK_NS      UINT64_C(200000000)  /* till a question is asked again, doubled each time, */
#define ASK_MOST_NS UINT64_C(1600000000) /* up to this */

/* ------------------------------------------------------------------ records */

kvfi_unsettled_t *kvfi_settle_record(kvfi_am_t *am, const kvfi_xfer_t *xfer)
{
    kvfi_unsettled_t *record = am->free_records;

    if (kvfi_table_room(&am->unsettled, am->xfers.count + 1))
        return NULL;
    if (record)
        am->free_records = record->next;
    else
        record = malloc(sizeof *record);
    if (!record)
        return NULL;
    record->peer = xfer->peer;
    record->token = xfer->token;
    kvfi_landing_note(&record->landing, xfer);
    return record;
}

void kvfi_settle_spare(kvfi_am_t *am, kvfi_unsettled_t *record)
{
    record->next = am->free_records;
    am->free_records = record;
}

static void keep(kvfi_am_peer_t *peer, kvfi_unsettled_t *record, _Atomic uint32_t *waits)
{
    record->waits = waits;
    record->next = NULL;
    record->link = peer->unsettled_end;
    *peer->unsettled_end = record;
    peer->unsettled_end = &record->next;
    kvfi_table_put(&peer->am->unsettled, record->token, record); /* there is room */
    if (waits)
        atomic_fetch_add(waits, 1);
    kvfi_open_writes_add(peer->am->host.open_writes, &record->landing);
}

static void settle(kvfi_unsettled_t *record)
{
    kvfi_am_t *am = record->peer->am;

    *record->link = record->next;
    if (record->next)
        record->next->link = record->link;
    else
        record->peer->unsettled_end = record->link;
    kvfi_table_take(&am->unsettled, record->token);
    if (record->waits)
        atomic_fetch_sub(record->waits, 1);
    kvfi_open_writes_settle(am->host.open_writes, &record->landing);
    kvfi_settle_spare(am, record);
    am->changed = 1;
}

int kvfi_settle_answered(kvfi_am_peer_t *peer, uint64_t token)
{
    kvfi_unsettled_t *record = kvfi_table_get(&peer->am->unsettled, token);

    if (!record || record->peer != peer)
        return 0;
    settle(record);
    return 1;
}

void kvfi_settle_all(kvfi_am_peer_t *peer)
{
    while (peer->unsettled)
        settle(peer->unsettled);
}

/* --------------------------------------------------------------------- ends */

void kvfi_am_write_link(kvfi_am_peer_t *peer, kvfi_xfer_t *xfer)
{
    xfer->next = NULL;
    xfer->link = peer->writes_end;
    *peer->writes_end = xfer;
    peer->writes_end = &xfer->next;
}

void kvfi_am_write_unlink(kvfi_am_peer_t *peer, kvfi_xfer_t *xfer)
{
    if (!xfer->link)
        return;
    *xfer->link = xfer->next;
    if (xfer->next)
        xfer->next->link = xfer->link;
    else
        peer->writes_end = xfer->link;
    xfer->link = NULL;
}

void kvfi_am_xfer_end(kvfi_am_t *am, kvfi_xfer_t *xfer, kvf_status_t status)
{
    if (xfer->token) {
        kvfi_table_take(&am->xfers, xfer->token);
        kvfi_am_write_unlink(xfer->peer, xfer);
        xfer->token = 0;
    }
    if (xfer->record) {
        kvfi_settle_spare(am, xfer->record);
        xfer->record = NULL;
    }
    if (xfer->dir == KVF_WRITE) {
        /* what was sent is not known to have arrived */
        xfer->moved.bytes = status == KVF_OK ? xfer->stream : 0;
        xfer->cursor.pair = status == KVF_OK ? xfer->box.blocks : 0;
    } else if (xfer->gens && status != KVF_OK && status != KVF_ERR_STALE) {
        xfer->cursor.pair = xfer->checked; /* which of the others are stale is not known */
    }
    am->changed = 1;
    atomic_store(&xfer->status, status);
    atomic_fetch_sub(xfer->pending, 1);
}

/* ------------------------------------------------------------------ giving up */

/* From when on it owes us a word. */
static void expect_word(kvfi_am_peer_t *peer)
{
    uint32_t heard = atomic_load_explicit(&peer->heard, memory_order_relaxed);

    if (peer->silent_ns && peer->silent_heard == heard)
        return;
    peer->silent_ns = kvfi_now_ns();
    peer->silent_heard = heard;
}

static void ask(kvfi_am_peer_t *peer, uint64_t token, int answer)
{
    kvfi_am_message_t *message = kvfi_am_message(peer, KVFI_AM_CANCEL, token, 0, 0);

    if (message && answer)
        message->head.flags = KVFI_AM_TO_OWNER;
    kvfi_am_queue(peer, message);
}

static void ask_later(kvfi_am_peer_t *peer, uint64_t gap_ns)
{
    peer->ask_gap_ns = gap_ns < ASK_MOST_NS ? gap_ns : ASK_MOST_NS;
    peer->ask_ns = kvfi_now_ns() + peer->ask_gap_ns;
}

/* What the carrier can take back is taken in any case. Without a byte sent none lands, whatever becomes of
 * the request. */
static int lands_later(kvfi_am_peer_t *peer, const kvfi_xfer_t *xfer)
{
    int begun = peer->am->carrier->recall(peer, xfer->token);

    return begun && xfer->sent && !peer->quiet;
}

void kvfi_settle_give_up(kvfi_xfer_t *xfer, kvf_status_t status, _Atomic uint32_t *waits)
{
    kvfi_am_peer_t *peer = xfer->peer;
    int open = xfer->record && lands_later(peer, xfer);

    if (peer->am->carrier->deaf_ns && (open || status == KVF_ERR_TIMEOUT))
        expect_word(peer);
    if (open) {
        if (!peer->unsettled)
            ask_later(peer, ASK_NS);
        keep(peer, xfer->record, waits);
        xfer->record = NULL;
        xfer->unsettled = xfer->token;
    }
    if (xfer->token && !atomic_load(&peer->dead))
        ask(peer, xfer->token, open);
    kvfi_am_xfer_end(peer->am, xfer, status);
}

void kvfi_settle_ask_again(kvfi_am_peer_t *peer)
{
    for (const kvfi_unsettled_t *record = peer->unsettled; record; record = record->next)
        ask(peer, record->token, 1);
    if (peer->unsettled)
        ask_later(peer, ASK_NS);
}

int kvfi_settle_is_silent(const kvfi_am_peer_t *peer, uint64_t for_ns)
{
    uint32_t heard = atomic_load_explicit(&peer->heard, memory_order_relaxed);

    return peer->silent_ns && peer->silent_heard == heard && kvfi_now_ns() - peer->silent_ns >= for_ns;
}

/* The question, or its answer, is lost if the owner has yet to notice that a connection broke and another was
 * made. A connection may also be dead without a word of it. */
void kvfi_settle_remind(kvfi_am_peer_t *peer)
{
    uint64_t deaf_ns = peer->am->carrier->deaf_ns, gap_ns = peer->ask_gap_ns;

    if (!deaf_ns || kvfi_now_ns() < peer->ask_ns)
        return;
    if (kvfi_settle_is_silent(peer, deaf_ns)) {
        kvfi_am_peer_fail(peer, "it does not answer what became of a WRITE that was given up");
        return;
    }
    expect_word(peer);
    kvfi_settle_ask_again(peer);
    ask_later(peer, 2 * gap_ns);
}

/* ------------------------------------------------------------------ the API */

int kvfi_am_is_settled(kvfi_am_t *am, uint64_t token)
{
    int found;

    kvfi_lock_take(am->lock);
    found = kvfi_table_get(&am->unsettled, token) != NULL;
    kvfi_lock_give(am->lock);
    return !found;
}

void kvfi_am_stop_waiting(kvfi_am_t *am, uint64_t token)
{
    kvfi_unsettled_t *record;

    kvfi_lock_take(am->lock);
    record = kvfi_table_get(&am->unsettled, token);
    if (record)
        record->waits = NULL;
    kvfi_lock_give(am->lock);
}

void kvfi_am_unanswered(kvfi_am_t *am, unsigned *asked_p, unsigned *lost_p)
{
    kvfi_lock_take(am->lock);
    for (const kvfi_am_peer_t *peer = am->list; peer; peer = peer->next)
        for (const kvfi_unsettled_t *record = peer->unsettled; record; record = record->next)
            ++*(peer->linked ? asked_p : lost_p);
    kvfi_lock_give(am->lock);
}

void kvfi_am_pass(kvfi_am_t *am)
{
    kvfi_lock_take(am->lock);
    kvfi_lock_give(am->lock);
}

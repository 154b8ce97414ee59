/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rings of a near pair: made, announced, mapped, and their slots handed to and fro. See
 * stage.h. Nothing here waits. A sleeping sender sets `waiting` and then looks at `returned` once more; a
 * receiver sets `returned` and then looks at `waiting`: one of them sees the other
 * (as in tests/model/doorbell.pml).
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"
#include "path/rings.h"

#define ALL_SLOTS ((UINT32_C(1) << KVFI_STAGE_SLOTS) - 1)

static const char *reach(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir)
{
    (void)local, (void)dir;
    if (target->in_process)
        return "the peer is this process";
    if (!target->near)
        return "the peer is not near";
    return target->map ? "the memory is the library's: shm reaches it" : NULL;
}

enum {
    SENDER,
    RECEIVER
};

/* In the low bits of a slot's word, below the token. */
enum {
    READY = 1,
    CLAIMED,
    TAKEN,
    DONE,
    STATES = 8
};

static uint64_t word_of(uint64_t token, unsigned state)
{
    return token * STATES + state;
}

static int change(_Atomic uint64_t *word, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong(word, &from, to);
}

/* Both sides copy at once, if they have a processor each. */
static void tell_place(kvfi_am_t *am, kvfi_stage_ring_t *ring, int side)
{
    uint32_t here = (uint32_t)sched_getcpu() + 1;

    atomic_store_explicit(&ring->cpu[side], here, memory_order_relaxed);
    if (here && atomic_load_explicit(&ring->cpu[!side], memory_order_relaxed) == here)
        atomic_store_explicit(&am->crowded, here, memory_order_relaxed);
}

/* ------------------------------------------------------------------ sender */

static kvf_status_t make_ring(kvfi_am_peer_t *peer)
{
    kvfi_stage_t *stage = &kvfi_pair_of(peer)->stage;
    kvfi_mem_want_t want = {.len = sizeof(kvfi_stage_ring_t)};
    kvfi_am_message_t *message;
    char why[256];
    kvf_status_t status;

    status = kvfi_mem_alloc(peer->am->host.near, &want, &stage->mem);
    if (status != KVF_OK)
        return KVF_ERR_NOMEM;
    stage->ring = kvfi_mem_addr(stage->mem);
    if (kvfi_memory_prove(stage->ring, want.len, 0, why, sizeof why)) {
        kvfi_mem_free(stage->mem);
        stage->mem = NULL;
        stage->ring = NULL;
        return kvfi_fail(KVF_ERR_NOMEM, "no staging ring: %s", why);
    }
    stage->ring->first = stage->ring->last =
        (kvfi_share_mark_t){KVFI_STAGE_MAGIC, peer->am->host.incarnation};
    message = kvfi_am_message(peer, KVFI_AM_RING, 0, 0, sizeof(kvfi_share_key_t));
    if (message)
        memcpy(message->data, kvfi_mem_key(stage->mem), sizeof(kvfi_share_key_t));
    kvfi_am_queue(peer, message);
    return KVF_OK;
}

static uint32_t take_returned(kvfi_stage_ring_t *ring)
{
    return atomic_load_explicit(&ring->returned, memory_order_relaxed)
               ? atomic_exchange(&ring->returned, 0) & ALL_SLOTS
               : 0;
}

char *kvfi_stage_slot(kvfi_am_peer_t *peer, unsigned *slot_p)
{
    kvfi_stage_t *stage = &kvfi_pair_of(peer)->stage;

    if (!stage->ring && peer->refused == KVF_OK)
        peer->refused = make_ring(peer);
    if (peer->refused != KVF_OK)
        return NULL;
    stage->free |= take_returned(stage->ring);
    if (!stage->free) {
        atomic_store(&stage->ring->waiting, 1);
        atomic_thread_fence(memory_order_seq_cst);
        stage->free |= take_returned(stage->ring);
    }
    if (!stage->free)
        return NULL;
    *slot_p = (unsigned)__builtin_ctz(stage->free);
    stage->free &= stage->free - 1;
    stage->token[*slot_p] = 0;
    tell_place(peer->am, stage->ring, SENDER);
    return stage->ring->slots[*slot_p];
}

void kvfi_stage_ready(kvfi_am_peer_t *peer, unsigned slot, uint64_t token)
{
    kvfi_stage_t *stage = &kvfi_pair_of(peer)->stage;

    stage->token[slot] = token;
    atomic_store_explicit(&stage->ring->write[slot].word, word_of(token, READY), memory_order_release);
}

int kvfi_stage_take(kvfi_am_peer_t *peer, uint64_t token)
{
    kvfi_stage_t *stage = &kvfi_pair_of(peer)->stage;
    int begun = 0;

    for (unsigned i = 0; token && stage->ring && i < KVFI_STAGE_SLOTS; i++) {
        _Atomic uint64_t *word = &stage->ring->write[i].word;

        if (stage->token[i] != token)
            continue;
        if (change(word, word_of(token, READY), word_of(token, TAKEN))) {
            stage->token[i] = 0;
            stage->free |= UINT32_C(1) << i;
        } else if (atomic_load(word) != word_of(token, DONE)) {
            begun = 1;
        }
    }
    return begun;
}

int kvfi_stage_begun(const kvfi_am_peer_t *peer)
{
    const kvfi_stage_t *stage = &kvfi_pair_of(peer)->stage;
    int begun = 0;

    for (unsigned i = 0; stage->ring && i < KVFI_STAGE_SLOTS; i++)
        begun |=
            stage->token[i] && atomic_load(&stage->ring->write[i].word) == word_of(stage->token[i], CLAIMED);
    return begun;
}

/* RETURN came: of slots, or of the mapping, with its status. A ring that the peer cannot map is let go, and
 * the next need makes another. */
static void on_return(kvfi_am_peer_t *peer, kvf_status_t status)
{
    kvfi_stage_t *stage = &kvfi_pair_of(peer)->stage;

    if (status == KVF_OK)
        return;
    peer->refused = status < KVF_OK && status >= KVF_ERR_FORKED ? status : KVF_ERR_SYSTEM;
    kvfi_mem_free(stage->mem);
    stage->mem = NULL;
    stage->ring = NULL;
    stage->free = 0;
    memset(stage->token, 0, sizeof stage->token);
}

/* ---------------------------------------------------------------- receiver */

static int is_ring(const kvfi_stage_ring_t *ring, uint64_t maker)
{
    return !((uintptr_t)ring % _Alignof(kvfi_stage_ring_t)) &&
           kvfi_share_marked(&ring->first, KVFI_STAGE_MAGIC, maker) &&
           kvfi_share_marked(&ring->last, KVFI_STAGE_MAGIC, maker);
}

/* RING came. */
static void on_ring(kvfi_am_peer_t *peer, const void *data, size_t len)
{
    kvfi_stage_t *stage = &kvfi_pair_of(peer)->stage;
    kvfi_share_key_t key;
    kvf_status_t status;
    void *at;

    if (stage->map || len != sizeof key) {
        kvfi_am_peer_fail(peer, "its ring is impossible, or a second one");
        return;
    }
    memcpy(&key, data, len);
    status = kvfi_map_open(&key, sizeof key, key.addr, sizeof *stage->theirs, &stage->map, &at);
    if (status == KVF_ERR_BLOB || (status == KVF_OK && !is_ring(at, peer->incarnation))) {
        kvfi_am_peer_fail(peer, "its ring is none");
        return;
    }
    if (status == KVF_OK) {
        stage->theirs = at;
        kvfi_memory_populate(at, sizeof *stage->theirs);
        atomic_fetch_or(&stage->theirs->returned, ALL_SLOTS);
    } else {
        kvfi_log(KVFI_LOG_WARN, "the staging ring of a near peer: %s", kvf_last_error());
    }
    kvfi_am_queue(peer, kvfi_am_message(peer, KVFI_AM_RETURN, 0, (uint64_t)(int64_t)status, 0));
}

/* The bytes of a DATA, or NULL: there are no such. */
static const char *bytes_of(const kvfi_stage_t *stage, unsigned slot, uint32_t len)
{
    if (!stage->theirs || slot >= KVFI_STAGE_SLOTS || len > KVFI_STAGE_SLOT_BYTES)
        return NULL;
    return stage->theirs->slots[slot];
}

static void return_slot(kvfi_am_peer_t *peer, unsigned slot)
{
    kvfi_stage_ring_t *ring = kvfi_pair_of(peer)->stage.theirs;

    tell_place(peer->am, ring, RECEIVER);
    atomic_fetch_or(&ring->returned, UINT32_C(1) << slot);
    if (atomic_load(&ring->waiting) && atomic_exchange(&ring->waiting, 0))
        kvfi_am_queue(peer, kvfi_am_message(peer, KVFI_AM_RETURN, 0, KVF_OK, 0));
}

/* DATA came. The sender gets its slot back whatever the bytes were, but one that it has taken away itself. */
static void on_data(kvfi_am_peer_t *peer, kvfi_am_head_t *head)
{
    kvfi_stage_t *stage = &kvfi_pair_of(peer)->stage;
    unsigned slot = head->flags >> KVFI_AM_SLOT;
    const char *data = bytes_of(stage, slot, head->len);
    _Atomic uint64_t *word = data && head->flags & KVFI_AM_TO_OWNER ? &stage->theirs->write[slot].word : NULL;
    uint64_t token = head->token;

    if (!data) {
        kvfi_am_peer_fail(peer, "it names a slot that is none");
        return;
    }
    if (word && !change(word, word_of(token, READY), word_of(token, CLAIMED))) {
        peer->am->stats.dropped++;
        return;
    }
    head->flags &= (1u << KVFI_AM_SLOT) - 1;
    kvfi_am_take(peer, head, data);
    if (word)
        atomic_store_explicit(word, word_of(token, DONE), memory_order_release);
    return_slot(peer, slot);
}

void kvfi_stage_take_in(kvfi_am_peer_t *peer, kvfi_am_head_t *head, const void *data)
{
    switch (head->kind) {
    case KVFI_AM_DATA:
        on_data(peer, head);
        break;
    case KVFI_AM_RING:
        on_ring(peer, data, head->len);
        break;
    case KVFI_AM_RETURN:
        on_return(peer, (kvf_status_t)(int64_t)head->off);
        break;
    default:
        kvfi_am_take(peer, head, data);
    }
}

void kvfi_stage_drop(kvfi_am_peer_t *peer)
{
    kvfi_stage_t *stage = &kvfi_pair_of(peer)->stage;

    kvfi_mem_free(stage->mem);
    kvfi_map_close(stage->map);
    memset(stage, 0, sizeof *stage);
}

static const char *here(kvfi_node_t *node)
{
    if (node->local_off)
        return "local = off";
    return node->rings ? NULL : "no shared memory for a ring";
}

static kvf_status_t prepare(kvfi_xfer_t *xfer)
{
    return xfer->target->connect(xfer->target->owner, xfer->dir, &xfer->peer);
}

const kvfi_path_t kvfi_path_stage = {
    .name = "stage",
    .id = KVF_PATH_STAGE,
    .traits = KVFI_PATH_SERVED,
    .driver = KVFI_NEAR,
    .pairs_most = KVFI_AM_PAIRS_MOST,
    .reach = reach,
    .here = here,
    .prepare = prepare,
    .start = kvfi_am_start,
    .cancel = kvfi_am_cancel,
};

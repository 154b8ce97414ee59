/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The block store of a prefill rank: store.h says what it promises. An open-addressed table of slots
 * (twice as many entries as slots, deletion by shifting back) and one list through all used slots in
 * the order of their last use.
 */
#include "config.h"

#include "store.h"

#include <stdlib.h>

#include "content.h"

#define NONE UINT32_MAX

struct slot {
    uint64_t prefix;
    uint32_t older, newer; /* in the list of use */
    uint32_t pins;
};

struct replay_store {
    uint32_t slots;
    uint32_t used;   /* slots 0 .. used - 1 hold a block */
    uint32_t pinned; /* slots with a pin */
    uint32_t oldest, newest;
    uint32_t mask; /* entries of the table, less one */
    uint32_t *table;
    struct slot *slot;
};

struct replay_store *kvfi_replay_store_open(uint32_t slots)
{
    struct replay_store *store = calloc(1, sizeof(*store));
    uint64_t entries = 2;

    if (store == NULL) {
        return NULL;
    }
    while (entries < 2 * (uint64_t)slots) {
        entries *= 2;
    }
    store->slots = slots;
    store->mask = (uint32_t)(entries - 1);
    store->oldest = store->newest = NONE;
    store->table = malloc(entries * sizeof(*store->table));
    store->slot = calloc(slots, sizeof(*store->slot));
    if (store->table == NULL || store->slot == NULL) {
        kvfi_replay_store_close(store);
        return NULL;
    }
    for (uint64_t i = 0; i < entries; i++) {
        store->table[i] = NONE;
    }
    return store;
}

void kvfi_replay_store_close(struct replay_store *store)
{
    if (store != NULL) {
        free(store->table);
        free(store->slot);
        free(store);
    }
}

static uint32_t home_of(const struct replay_store *store, uint64_t prefix)
{
    return (uint32_t)kvfi_replay_splitmix(prefix) & store->mask;
}

/* The entry of a prefix, or the free one where it would go. */
static uint32_t entry_of(const struct replay_store *store, uint64_t prefix)
{
    uint32_t at = home_of(store, prefix);

    while (store->table[at] != NONE && store->slot[store->table[at]].prefix != prefix) {
        at = (at + 1) & store->mask;
    }
    return at;
}

static void table_remove(struct replay_store *store, uint64_t prefix)
{
    uint32_t hole = entry_of(store, prefix), at = hole;

    for (;;) {
        at = (at + 1) & store->mask;
        if (store->table[at] == NONE) {
            break;
        }
        uint32_t home = home_of(store, store->slot[store->table[at]].prefix);
        if (((at - home) & store->mask) >= ((at - hole) & store->mask)) {
            store->table[hole] = store->table[at];
            hole = at;
        }
    }
    store->table[hole] = NONE;
}

static void list_remove(struct replay_store *store, uint32_t s)
{
    struct slot *slot = &store->slot[s];

    *(slot->older != NONE ? &store->slot[slot->older].newer : &store->oldest) = slot->newer;
    *(slot->newer != NONE ? &store->slot[slot->newer].older : &store->newest) = slot->older;
}

static void list_append(struct replay_store *store, uint32_t s)
{
    struct slot *slot = &store->slot[s];

    slot->older = store->newest;
    slot->newer = NONE;
    *(store->newest != NONE ? &store->slot[store->newest].newer : &store->oldest) = s;
    store->newest = s;
}

static void pin(struct replay_store *store, uint32_t s)
{
    store->pinned += store->slot[s].pins == 0;
    store->slot[s].pins++;
}

static void unpin(struct replay_store *store, uint32_t s)
{
    store->slot[s].pins--;
    store->pinned -= store->slot[s].pins == 0;
}

/* A slot for a new block: one never used, or the least recently used that nobody has pinned. */
static uint32_t take_slot(struct replay_store *store, bool *evicted_p)
{
    *evicted_p = store->used == store->slots;
    if (!*evicted_p) {
        return store->used++;
    }
    uint32_t s = store->oldest;
    while (store->slot[s].pins > 0) {
        s = store->slot[s].newer;
    }
    table_remove(store, store->slot[s].prefix);
    list_remove(store, s);
    return s;
}

bool kvfi_replay_store_admit(struct replay_store *store, const uint64_t *ids, uint64_t count,
                             struct replay_place *places_p)
{
    uint64_t misses = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint32_t s = store->table[entry_of(store, ids[i])];
        places_p[i] = (struct replay_place){.slot = s, .produce = s == NONE};
        if (s == NONE) {
            misses++;
        } else {
            pin(store, s);
        }
    }
    if (misses > store->slots - store->pinned) {
        for (uint64_t i = 0; i < count; i++) {
            if (!places_p[i].produce) {
                unpin(store, places_p[i].slot);
            }
        }
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct replay_place *place = &places_p[i];
        if (place->produce) {
            uint32_t s = store->table[entry_of(store, ids[i])];
            place->produce = s == NONE; /* an id that stands twice is produced once */
            place->slot = s == NONE ? take_slot(store, &place->evicted) : s;
            pin(store, place->slot);
            if (place->produce) {
                store->slot[place->slot].prefix = ids[i];
                store->table[entry_of(store, ids[i])] = place->slot;
                list_append(store, place->slot);
                continue;
            }
        }
        list_remove(store, place->slot);
        list_append(store, place->slot);
    }
    return true;
}

void kvfi_replay_store_unpin(struct replay_store *store, const struct replay_place *places, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        unpin(store, places[i].slot);
    }
}

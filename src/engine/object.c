/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Handles: what kind they are, whose, whether still open. A closed one is kept, marked, until 1024
 * younger ones were closed after it, so that its use is an error and not a crash.
 */
#include <stdlib.h>

#include "engine/internal.h"

#define GRAVE 1024

static pthread_mutex_t grave_lock = PTHREAD_MUTEX_INITIALIZER;
static void           *grave[GRAVE];
static unsigned        grave_at;

static const char *name_of(kvfi_kind_t kind)
{
    static const char *const names[] = {"engine", "segment", "pool", "grant", "peer", "remote",
                                        "batch", "view"};

    return names[kind - KVFI_ENGINE];
}

void *kvfi_object_new(kvf_engine_t *engine, kvfi_kind_t kind, size_t size)
{
    kvfi_object_t *object = aligned_alloc(64, (size + 63) & ~(size_t)63);

    if (!object) {
        kvfi_fail(KVF_ERR_NOMEM, "no memory for a %s", name_of(kind));
        return NULL;
    }
    __builtin_memset(object, 0, size);
    atomic_init(&object->kind, kind);
    object->engine = engine;
    if (kind == KVFI_ENGINE)
        return object;
    pthread_mutex_lock(&engine->lock);
    object->next = engine->objects;
    object->link = &engine->objects;
    if (object->next)
        object->next->link = &object->next;
    engine->objects = object;
    pthread_mutex_unlock(&engine->lock);
    return object;
}

void kvfi_object_close(void *handle)
{
    kvfi_object_t *object = handle;
    void          *oldest;

    if ((void *)object->engine != handle) { /* an engine is in no list */
        pthread_mutex_lock(&object->engine->lock);
        *object->link = object->next;
        if (object->next)
            object->next->link = object->link;
        pthread_mutex_unlock(&object->engine->lock);
    }
    atomic_store(&object->kind, KVFI_CLOSED);
    pthread_mutex_lock(&grave_lock);
    oldest = grave[grave_at];
    grave[grave_at] = object;
    grave_at = (grave_at + 1) % GRAVE;
    pthread_mutex_unlock(&grave_lock);
    free(oldest);
}

__attribute__((hot))
int kvfi_is(const void *object, kvfi_kind_t kind)
{
    return object && atomic_load(&((const kvfi_object_t *)object)->kind) == (uint32_t)kind;
}

int kvfi_claim(void *object, kvfi_kind_t kind)
{
    uint32_t open = kind;

    return atomic_compare_exchange_strong(&((kvfi_object_t *)object)->kind, &open, KVFI_CLOSED);
}

void kvfi_unclaim(void *object, kvfi_kind_t kind)
{
    atomic_store(&((kvfi_object_t *)object)->kind, kind);
}

__attribute__((hot))
kvf_status_t kvfi_enter(const void *object, kvfi_kind_t kind)
{
    kvf_engine_t *engine;

    if (!kvfi_is(object, kind))
        return kvfi_fail(KVF_ERR_INVALID, "%s handle is %s", name_of(kind),
                         object ? "closed, or no such handle" : "NULL");
    engine = ((const kvfi_object_t *)object)->engine;
    if (engine->forks != kvfi_fork_count())
        return kvfi_fail(KVF_ERR_FORKED, "this %s belongs to the parent of a forked process",
                         name_of(kind));
    atomic_fetch_add(&engine->users, 1);
    if (atomic_load(&engine->closing)) {
        atomic_fetch_sub(&engine->users, 1);
        return kvfi_fail(KVF_ERR_CLOSED, "the engine is closing");
    }
    return KVF_OK;
}

__attribute__((hot))
void kvfi_leave(kvf_engine_t *engine)
{
    atomic_fetch_sub_explicit(&engine->users, 1, memory_order_release);
}

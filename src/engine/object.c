/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Handles: what kind they are, whose, whether still open. A closed one is kept, marked, in its engine's
 * grave, until 1024 others of that engine were closed after it, so that its use is an error and not a
 * crash. A closed engine is kept with its grave until 64 other engines were closed.
 */
#include <stdlib.h>

#include "base/status.h"
#include "engine/engine.h"
#include "engine/object.h"

#define GRAVE         1024
#define ENGINES_GRAVE 64

static _Atomic(kvf_engine_t *) engines[ENGINES_GRAVE];
static _Atomic unsigned engines_closed;

static const char *name_of(kvfi_kind_t kind)
{
    static const char *const names[] = {"engine", "segment", "pool", "grant", "peer",
                                        "remote", "batch",   "view", "queue", "channel"};

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

/* The one to be freed for it, or NULL. With the engine's lock. */
static kvfi_object_t *lay_in_grave(kvf_engine_t *engine, kvfi_object_t *object)
{
    kvfi_object_t *oldest;

    if (!engine->grave)
        engine->grave_end = &engine->grave;
    object->next = NULL;
    *engine->grave_end = object;
    engine->grave_end = &object->next;
    if (engine->grave_count < GRAVE) {
        engine->grave_count++;
        return NULL;
    }
    oldest = engine->grave;
    engine->grave = oldest->next;
    return oldest;
}

static void close_engine(kvf_engine_t *engine)
{
    kvf_engine_t *oldest;
    kvfi_object_t *next;

    atomic_store(&engine->object.kind, KVFI_CLOSED);
    oldest = atomic_exchange(&engines[atomic_fetch_add(&engines_closed, 1) % ENGINES_GRAVE], engine);
    for (kvfi_object_t *object = oldest ? oldest->grave : NULL; object; object = next) {
        next = object->next;
        free(object);
    }
    free(oldest);
}

void kvfi_object_close(void *handle)
{
    kvfi_object_t *object = handle, *oldest;
    kvf_engine_t *engine = object->engine;

    if ((void *)engine == handle) { /* it is in no list */
        close_engine(engine);
        return;
    }
    pthread_mutex_lock(&engine->lock);
    *object->link = object->next;
    if (object->next)
        object->next->link = object->link;
    atomic_store(&object->kind, KVFI_CLOSED);
    oldest = lay_in_grave(engine, object);
    pthread_mutex_unlock(&engine->lock);
    free(oldest);
}

__attribute__((hot)) int kvfi_is(const void *object, kvfi_kind_t kind)
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

__attribute__((hot)) kvf_status_t kvfi_enter(const void *object, kvfi_kind_t kind)
{
    kvf_engine_t *engine;

    if (!kvfi_is(object, kind))
        return kvfi_fail(KVF_ERR_INVALID, "%s handle is %s", name_of(kind),
                         object ? "closed, or no such handle" : "NULL");
    engine = ((const kvfi_object_t *)object)->engine;
    if (engine->forks != kvfi_fork_count())
        return kvfi_fail(KVF_ERR_FORKED, "this %s belongs to the parent of a forked process", name_of(kind));
    atomic_fetch_add(&engine->users, 1);
    if (atomic_load(&engine->closing)) {
        atomic_fetch_sub(&engine->users, 1);
        return kvfi_fail(KVF_ERR_CLOSED, "the engine is closing");
    }
    return KVF_OK;
}

__attribute__((hot)) void kvfi_leave(kvf_engine_t *engine)
{
    atomic_fetch_sub_explicit(&engine->users, 1, memory_order_release);
}

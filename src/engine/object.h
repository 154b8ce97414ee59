/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Every handle begins with a kvfi_object_t, so that NULL, closed and foreign handles are told apart; closed
 * ones stay in a grave for a while.
 */
#ifndef KVFI_ENGINE_OBJECT_H
#define KVFI_ENGINE_OBJECT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "kvferry.h"

typedef enum kvfi_kind {
    KVFI_CLOSED = 0,
    KVFI_ENGINE = 0x4b564501,
    KVFI_SEGMENT,
    KVFI_POOL,
    KVFI_GRANT,
    KVFI_PEER,
    KVFI_REMOTE,
    KVFI_BATCH,
    KVFI_VIEW,
    KVFI_QUEUE,
    KVFI_CHANNEL
} kvfi_kind_t;

typedef struct kvfi_object {
    _Atomic uint32_t kind;
    kvf_engine_t *engine;
    struct kvfi_object *next, **link; /* the engine's list; next: the grave's */
} kvfi_object_t;

/* A zeroed object of size bytes in the engine's list; NULL without memory. */
void *kvfi_object_new(kvf_engine_t *engine, kvfi_kind_t kind, size_t size);
/* Take it out of the list and lay it in its engine's grave; an engine, in that of engines. */
void kvfi_object_close(void *object);
/* Begin a call on a handle: INVALID, FORKED or CLOSED, or the engine's count of calls is raised. */
kvf_status_t kvfi_enter(const void *object, kvfi_kind_t kind);
void kvfi_leave(kvf_engine_t *engine);
int kvfi_is(const void *object, kvfi_kind_t kind);
/* Who closes a handle claims it first, so that one of two threads does, and then looks whether it is
 * in use; who uses a handle raises its count first, and then looks whether it was claimed. */
int kvfi_claim(void *object, kvfi_kind_t kind);
void kvfi_unclaim(void *object, kvfi_kind_t kind);

#endif

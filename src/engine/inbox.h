/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The notifications that came, and the channels that they are sorted into. All of it is under
 * engine->inbox_lock, which is outside of engine->lock.
 */
#ifndef KVFI_ENGINE_INBOX_H
#define KVFI_ENGINE_INBOX_H

#include <pthread.h>
#include <stdint.h>

#include "engine/event.h"
#include "engine/object.h"
#include "kvferry.h"
#include "path/page.h"

/* Notifications that a taker of another channel came by. */
typedef struct kvfi_shelf {
    struct kvfi_arrival {
        kvfi_note_t note;
        uint64_t incarnation, rank;
    } * slots; /* NULL: it needs none, nobody else takes */
    uint32_t room, first, count;
} kvfi_shelf_t;

struct kvf_channel {
    kvfi_object_t object;
    kvf_channel_t *next; /* of its engine's */
    uint32_t number;
    kvfi_shelf_t shelf;
    kvfi_sleeper_t sleeper;
};

/* For close. */
void kvfi_inbox_free(kvf_channel_t *channel);

#endif

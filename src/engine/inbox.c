/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The notifications that came: taken from the rings of the control page, or from the far link, once the
 * engine was driven a little. Those on their way out are in notify.c.
 *
 *     rings, far link --take--> for my channel: handed out
 *                               for another:    on its shelf, and its sleeper is woken
 *                               its shelf is full: stays, and what is behind it of the same sender
 *
 * What is for no open channel is for kvf_notify_recv(). Shelves are allocated with channels, so that to
 * receive allocates nothing. Nothing here waits.
 */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/table.h"
#include "engine/engine.h"
#include "engine/inbox.h"
#include "engine/links.h"
#include "engine/progress.h"

typedef struct kvfi_arrival arrival_t;

/* ------------------------------------------------------------------ shelves */

static int shelf_open(kvfi_shelf_t *shelf, uint32_t room)
{
    shelf->slots = malloc(room * sizeof *shelf->slots);
    shelf->room = room;
    return shelf->slots != NULL;
}

static void put(kvfi_shelf_t *shelf, const arrival_t *arrival)
{
    shelf->slots[(shelf->first + shelf->count++) % shelf->room] = *arrival;
}

static int get(kvfi_shelf_t *shelf, arrival_t *arrival_p)
{
    if (!shelf->count)
        return 0;
    *arrival_p = shelf->slots[shelf->first];
    shelf->first = (shelf->first + 1) % shelf->room;
    shelf->count--;
    return 1;
}

/* The same for its taker. Where it was full, what senders hold back is to be sorted by who waits for it. */
static int get_and_tell(kvf_engine_t *engine, kvfi_shelf_t *shelf, arrival_t *arrival_p)
{
    int full = shelf->count == shelf->room, got = get(shelf, arrival_p);

    if (got && full)
        kvfi_event_wake(engine);
    return got;
}

/* ------------------------------------------------------------------ sorting */

typedef struct sorter {
    kvf_engine_t *engine;
    kvfi_shelf_t *wanted; /* which takes one without a place; NULL: all go on their shelves */
} sorter_t;

static kvfi_shelf_t *shelf_of(kvf_engine_t *engine, uint32_t number, kvfi_sleeper_t **sleeper_p)
{
    kvf_channel_t *channel = engine->channels;

    while (channel && channel->number != number)
        channel = channel->next;
    *sleeper_p = channel ? &channel->sleeper : &engine->sleeper;
    return channel ? &channel->shelf : &engine->shelf;
}

static int has_room(void *arg, uint32_t number)
{
    const sorter_t *sorter = arg;
    kvfi_sleeper_t *sleeper;
    kvfi_shelf_t *shelf = shelf_of(sorter->engine, number, &sleeper);

    return shelf == sorter->wanted || shelf->count < shelf->room;
}

static int fetch(sorter_t *sorter, arrival_t *arrival_p)
{
    kvf_engine_t *engine = sorter->engine;
    kvfi_am_t *am = kvfi_links_am(engine, KVFI_WIRE);
    int taken;

    pthread_mutex_lock(&engine->lock);
    taken = kvfi_page_take(&engine->home->owner, &engine->take_from, has_room, sorter, &arrival_p->note,
                           &arrival_p->incarnation, &arrival_p->rank);
    pthread_mutex_unlock(&engine->lock);
    return taken || (am && kvfi_am_note_take(am, has_room, sorter, &arrival_p->note, &arrival_p->incarnation,
                                             &arrival_p->rank));
}

/* Sort what came, up to one for the wanted shelf: 1 if there is one. */
static int sort(sorter_t *sorter, arrival_t *arrival_p)
{
    kvfi_sleeper_t *sleeper;

    while (fetch(sorter, arrival_p)) {
        kvfi_shelf_t *shelf = shelf_of(sorter->engine, arrival_p->note.channel, &sleeper);

        if (shelf == sorter->wanted)
            return 1;
        put(shelf, arrival_p);
        kvfi_sleeper_wake(sorter->engine, sleeper);
    }
    return 0;
}

/* ------------------------------------------------------------------ receive */

static kvf_status_t hand_out(kvf_engine_t *engine, const arrival_t *arrival,
                             kvf_notification_t *notification_p)
{
    kvfi_driver_t *near = kvfi_driver(engine, KVFI_NEAR);
    const kvfi_note_t *note = &arrival->note;
    kvf_notification_t n = {.len = note->len,
                            .incarnation = arrival->incarnation,
                            .rank = arrival->rank,
                            .status = note->status,
                            .channel = note->channel};

    /* its batch was given up, and whoever gave it up has taken away what nobody had begun with */
    if (note->status != KVF_OK && near)
        near->ops->pass(near);
    memcpy(n.data, note->data, note->len);
    pthread_mutex_lock(&engine->lock);
    n.peer = kvfi_table_get(&engine->peers, arrival->incarnation);
    pthread_mutex_unlock(&engine->lock);
    kvfi_meter_note_received(&engine->meter);
    return kvf_struct_write("notification_p", &n, sizeof n, notification_p);
}

static kvf_status_t receive(kvf_engine_t *engine, kvfi_shelf_t *shelf, kvf_notification_t *notification_p)
{
    kvf_status_t status = kvf_struct_write("notification_p", NULL, sizeof *notification_p, notification_p);
    sorter_t sorter = {engine, shelf};
    arrival_t arrival;
    int taken;

    if (status != KVF_OK) /* before one is taken */
        return status;
    kvfi_progress_drive(engine, 0);
    pthread_mutex_lock(&engine->inbox_lock);
    taken = get_and_tell(engine, shelf, &arrival) || sort(&sorter, &arrival);
    pthread_mutex_unlock(&engine->inbox_lock);
    return taken ? hand_out(engine, &arrival, notification_p) : KVF_INPROGRESS;
}

kvf_status_t kvf_notify_recv(kvf_engine_t *engine, kvf_notification_t *notification_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    status = receive(engine, &engine->shelf, notification_p);
    kvfi_leave(engine);
    return status;
}

kvf_status_t kvf_channel_recv(kvf_channel_t *channel, kvf_notification_t *notification_p)
{
    kvf_status_t status = kvfi_enter(channel, KVFI_CHANNEL);

    if (status != KVF_OK)
        return status;
    status = receive(channel->object.engine, &channel->shelf, notification_p);
    kvfi_leave(channel->object.engine);
    return status;
}

/* ----------------------------------------------------------------- channels */

/* Those for it that others came by go to it, in their order. */
static void sort_shelf(kvf_engine_t *engine)
{
    kvfi_sleeper_t *sleeper;
    arrival_t arrival;

    for (uint32_t left = engine->shelf.count; left; left--) {
        get(&engine->shelf, &arrival);
        put(shelf_of(engine, arrival.note.channel, &sleeper), &arrival);
    }
}

static kvf_status_t enlist(kvf_engine_t *engine, kvf_channel_t *channel)
{
    kvf_status_t status = KVF_OK;
    kvfi_sleeper_t *sleeper;

    pthread_mutex_lock(&engine->inbox_lock);
    if (shelf_of(engine, channel->number, &sleeper) != &engine->shelf) {
        status = kvfi_fail(KVF_ERR_BUSY, "channel %u is open", channel->number);
    } else if (!shelf_open(&channel->shelf, engine->depth) ||
               (!engine->shelf.slots && !shelf_open(&engine->shelf, engine->depth))) {
        status = kvfi_fail(KVF_ERR_NOMEM, "no memory for %u notifications of a channel", engine->depth);
    } else {
        channel->next = engine->channels;
        engine->channels = channel;
        sort_shelf(engine);
    }
    pthread_mutex_unlock(&engine->inbox_lock);
    return status;
}

kvf_status_t kvf_channel_open(kvf_engine_t *engine, uint32_t number, kvf_channel_t **channel_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    kvf_channel_t *channel;

    if (status != KVF_OK)
        return status;
    if (!number || !channel_p) {
        status = kvfi_fail(KVF_ERR_INVALID, channel_p ? "number is 0: that channel is kvf_notify_recv()'s"
                                                      : "channel_p is NULL");
        goto leave;
    }
    channel = kvfi_object_new(engine, KVFI_CHANNEL, sizeof *channel);
    if (!channel) {
        status = KVF_ERR_NOMEM;
        goto leave;
    }
    channel->number = number;
    status = kvfi_sleeper_open(engine, &channel->sleeper, 1);
    if (status == KVF_OK)
        status = enlist(engine, channel);
    if (status == KVF_OK)
        *channel_p = channel;
    else
        kvfi_inbox_free(channel);
leave:
    kvfi_leave(engine);
    return status;
}

void kvfi_inbox_free(kvf_channel_t *channel)
{
    kvf_engine_t *engine = channel->object.engine;
    kvf_channel_t **at = &engine->channels;

    pthread_mutex_lock(&engine->inbox_lock);
    while (*at && *at != channel)
        at = &(*at)->next;
    if (*at)
        *at = channel->next;
    pthread_mutex_unlock(&engine->inbox_lock);
    kvfi_event_wake(engine); /* nothing is held back for it any more */
    kvfi_sleeper_close(engine, &channel->sleeper);
    free(channel->shelf.slots);
    kvfi_object_close(channel);
}

kvf_status_t kvf_channel_close(kvf_channel_t *channel)
{
    kvf_engine_t *engine;
    kvf_status_t status;

    if (!channel)
        return KVF_OK;
    status = kvfi_enter(channel, KVFI_CHANNEL);
    if (status != KVF_OK)
        return status;
    engine = channel->object.engine;
    if (kvfi_claim(channel, KVFI_CHANNEL))
        kvfi_inbox_free(channel);
    else
        status = kvfi_fail(KVF_ERR_INVALID, "channel handle is closed");
    kvfi_leave(engine);
    return status;
}

kvf_status_t kvf_channel_fd(kvf_channel_t *channel, int *fd_p)
{
    kvf_status_t status = kvfi_enter(channel, KVFI_CHANNEL);

    if (status != KVF_OK)
        return status;
    if (fd_p)
        *fd_p = channel->sleeper.fd;
    else
        status = kvfi_fail(KVF_ERR_INVALID, "fd_p is NULL");
    kvfi_leave(channel->object.engine);
    return status;
}

/* Armed first, then looked at: what comes after this look rings, or is put on the shelf and wakes. */
kvf_status_t kvf_channel_arm(kvf_channel_t *channel)
{
    kvf_status_t status = kvfi_enter(channel, KVFI_CHANNEL);
    kvf_engine_t *engine;
    sorter_t sorter;
    arrival_t arrival;

    if (status != KVF_OK)
        return status;
    engine = channel->object.engine;
    status = kvfi_sleeper_arm(engine, &channel->sleeper);
    sorter = (sorter_t){engine, NULL};
    pthread_mutex_lock(&engine->inbox_lock);
    sort(&sorter, &arrival);
    if (status == KVF_OK && channel->shelf.count)
        status = kvfi_fail(KVF_ERR_BUSY, "a notification waits for kvf_channel_recv()");
    pthread_mutex_unlock(&engine->inbox_lock);
    kvfi_leave(engine);
    return status;
}

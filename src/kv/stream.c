/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Streams: which layers of a request have arrived, from the notifications of those that write them.
 * One object takes those of a channel and hands them to its streams; what a stream makes of them is
 * in stream_state.c. Only kvf_stream_wait() blocks: of the threads that wait one sleeps on the
 * channel's fd, the others on it. Under the lock nothing is copied and nobody sleeps.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kv/stream.h"

#define MAGIC    UINT32_C(0x534c7676)
#define SPIN_NS  UINT64_C(50000)    /* a waiter looks for so long before it sleeps, */
#define NEAR_NS  UINT64_C(1000000)  /* or twice as long as this where layers come faster than this */
#define LIVES_NS UINT64_C(50000000) /* from look to look whether sources live */
#define TAKEN    1024u              /* notifications at a time */

_Static_assert(sizeof(kvfi_stream_note_t) == KVF_STREAM_NOTE, "the size is public");

static bool reserved_set(const uint64_t *reserved, unsigned count)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < count; i++)
        any |= reserved[i];
    return any != 0;
}

kvf_status_t kvf_stream_note(uint64_t id, uint32_t first_layer, uint32_t layer_count, kvf_status_t status,
                             void *note_p)
{
    kvfi_stream_note_t note = {MAGIC, status, first_layer, layer_count, id};

    if (note_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "stream note: note_p is NULL");
    if (id == 0 || layer_count == 0)
        return kvfi_fail(KVF_ERR_INVALID, "stream note: %s is 0", id == 0 ? "id" : "layer_count");
    if (status > KVF_OK)
        return kvfi_fail(KVF_ERR_INVALID, "stream note: status %s is no end", kvf_status_name(status));
    memcpy(note_p, &note, sizeof(note));
    return KVF_OK;
}

/* ------------------------------------------------------------ notifications */

/* One layer that was held up does not make the next one slow. */
static void note_pace(kvf_stream_t *stream, uint64_t now)
{
    uint64_t gap_ns = now > stream->told_ns ? now - stream->told_ns : 1;

    if (stream->told_ns != 0) {
        bool less = stream->gap_ns != 0 && stream->gap_ns < gap_ns;

        stream->pace_ns = less ? stream->gap_ns : gap_ns;
        stream->gap_ns = gap_ns;
        stream->streams->pace_ns = stream->pace_ns;
    }
    stream->told_ns = now;
    stream->in_vain = false;
}

static void deliver(kvf_streams_t *streams, const kvf_notification_t *n)
{
    kvfi_stream_note_t note = {0};
    kvf_stream_t *stream;

    if (n->len == sizeof(note))
        memcpy(&note, n->data, sizeof(note));
    if (note.magic != MAGIC) {
        kvfi_log(KVFI_LOG_DEBUG, "a notification of rank %llu is no stream's, and is ignored",
                 (unsigned long long)n->rank);
        return;
    }
    if (n->status != KVF_OK)
        note.status = n->status;
    /* no status is no arrival */
    if (note.status > KVF_OK || note.status < INT8_MIN)
        note.status = KVF_ERR_SYSTEM;
    stream = note.id != 0 ? kvfi_table_get(&streams->table, note.id) : NULL;
    if (stream != NULL) {
        uint64_t now = kvfi_now_ns();

        note_pace(stream, now);
        kvfi_stream_told(stream, n->incarnation, &note);
    } else {
        kvfi_log(KVFI_LOG_DEBUG, "stream %llu is not open here: layer %u of rank %llu is ignored",
                 (unsigned long long)note.id, note.first_layer, (unsigned long long)n->rank);
    }
}

static kvf_status_t drain(kvf_streams_t *streams)
{
    kvf_status_t status = KVF_OK;
    unsigned taken = 0;

    for (; status == KVF_OK && taken < TAKEN; taken++) {
        kvf_notification_t note = {.struct_size = sizeof(note)};

        status = kvf_channel_recv(streams->channel, &note);
        if (status == KVF_OK)
            deliver(streams, &note);
    }
    if (taken > 1)
        pthread_cond_broadcast(&streams->cond);
    return status == KVF_INPROGRESS ? KVF_OK : status;
}

/* Sources of a stream that are awaited and have died since. */
static bool any_died(kvf_stream_t *stream)
{
    bool any = false;

    for (uint32_t i = 0; i < stream->source_count; i++) {
        kvfi_stream_source_t *source = &stream->sources[i];
        kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};

        if (source->left == 0 || source->dead || kvf_peer_query(source->peer, &attr) != KVF_OK)
            continue;
        source->dead = !attr.alive;
        any |= source->dead;
    }
    return any;
}

/* Take what came, and look now and then who lives. What the dead said before counts. */
static kvf_status_t drive(kvf_streams_t *streams)
{
    kvf_status_t status = drain(streams);
    uint64_t now = kvfi_now_ns();
    bool any = false;

    if (status != KVF_OK || now < streams->look_ns)
        return status;
    streams->look_ns = now + LIVES_NS;
    for (size_t i = 0; i < streams->table.capacity; i++) {
        if (streams->table.entries[i].key != 0)
            any |= any_died(streams->table.entries[i].value);
    }
    if (!any)
        return status;
    status = drain(streams);
    for (size_t i = 0; i < streams->table.capacity; i++) {
        if (streams->table.entries[i].key != 0)
            kvfi_stream_bury(streams->table.entries[i].value);
    }
    pthread_cond_broadcast(&streams->cond);
    return status;
}

/* -------------------------------------------------------------- the streams */

kvf_status_t kvf_streams_open(kvf_engine_t *engine, const kvf_streams_opts_t *opts, kvf_streams_t **streams_p)
{
    pthread_condattr_t attr;
    kvf_streams_opts_t own = {0};
    kvf_streams_t *streams;
    kvf_status_t status = KVF_OK;
    cpu_set_t cpus;

    if (streams_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "streams: streams_p is NULL");
    if (opts != NULL)
        status = kvf_struct_read("streams: opts", opts, sizeof(own), &own);
    if (status != KVF_OK)
        return status;
    streams = calloc(1, sizeof(*streams));
    if (streams == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "streams: no memory");
    status = kvf_channel_open(engine, own.channel != 0 ? own.channel : KVF_STREAM_CHANNEL, &streams->channel);
    if (status == KVF_OK)
        status = kvf_channel_fd(streams->channel, &streams->fd);
    if (status != KVF_OK) {
        free(streams);
        return kvfi_fail_within(status, "streams");
    }
    streams->engine = engine;
    streams->alone = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) == 1;
    pthread_mutex_init(&streams->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&streams->cond, &attr);
    pthread_condattr_destroy(&attr);
    *streams_p = streams;
    return KVF_OK;
}

kvf_status_t kvf_streams_close(kvf_streams_t *streams)
{
    if (streams == NULL)
        return KVF_OK;
    if (streams->table.count > 0)
        return kvfi_fail(KVF_ERR_BUSY, "streams: %zu are open", streams->table.count);
    kvf_channel_close(streams->channel);
    kvfi_table_free(&streams->table);
    pthread_cond_destroy(&streams->cond);
    pthread_mutex_destroy(&streams->lock);
    free(streams);
    return KVF_OK;
}

kvf_channel_t *kvf_streams_channel(kvf_streams_t *streams)
{
    return streams != NULL ? streams->channel : NULL;
}

kvf_status_t kvf_streams_poll(kvf_streams_t *streams)
{
    kvf_status_t status;

    if (streams == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "streams: streams is NULL");
    pthread_mutex_lock(&streams->lock);
    status = drive(streams);
    pthread_mutex_unlock(&streams->lock);
    return status;
}

/* ---------------------------------------------------------------- one stream */

static kvf_status_t check_opts(const kvf_stream_opts_t *opts)
{
    if (reserved_set(opts->reserved, 2))
        return kvfi_fail(KVF_ERR_INVALID, "stream: reserved is not 0");
    if (opts->id == 0)
        return kvfi_fail(KVF_ERR_INVALID, "stream: id is 0");
    if (opts->source_count == 0 || opts->sources == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "stream: %s",
                         opts->source_count == 0 ? "source_count is 0" : "sources is NULL");
    return KVF_OK;
}

kvf_status_t kvf_stream_open(kvf_streams_t *streams, const kvf_stream_opts_t *opts, kvf_stream_t **stream_p)
{
    kvf_stream_opts_t own;
    kvf_stream_t *stream;
    kvf_status_t status;

    if (streams == NULL || stream_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "stream: %s is NULL", streams == NULL ? "streams" : "stream_p");
    status = kvf_struct_read("stream: opts", opts, sizeof(own), &own);
    if (status == KVF_OK)
        status = check_opts(&own);
    if (status != KVF_OK)
        return status;
    stream = calloc(1, sizeof(*stream));
    if (stream == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "stream: no memory");
    stream->streams = streams;
    stream->id = own.id;
    status = kvfi_stream_fill(stream, &own);
    if (status != KVF_OK)
        goto free_stream;
    pthread_mutex_lock(&streams->lock);
    if (kvfi_table_get(&streams->table, own.id) != NULL)
        status = kvfi_fail(KVF_ERR_BUSY, "stream: id %llu is open", (unsigned long long)own.id);
    else if (kvfi_table_put(&streams->table, own.id, stream) != 0)
        status = kvfi_fail(KVF_ERR_NOMEM, "stream: no memory");
    pthread_mutex_unlock(&streams->lock);
    if (status == KVF_OK) {
        *stream_p = stream;
        return KVF_OK;
    }
free_stream:
    kvfi_stream_free(stream);
    return status;
}

kvf_status_t kvf_stream_close(kvf_stream_t *stream)
{
    kvf_streams_t *streams;

    if (stream == NULL)
        return KVF_OK;
    streams = stream->streams;
    pthread_mutex_lock(&streams->lock);
    kvfi_table_take(&streams->table, stream->id);
    pthread_mutex_unlock(&streams->lock);
    kvfi_stream_free(stream);
    return KVF_OK;
}

/* The status of a layer, with a sentence if it is an error. */
static kvf_status_t tell(const kvf_stream_t *stream, uint32_t index)
{
    const kvfi_stream_source_t *source = NULL;
    kvf_status_t status = kvfi_stream_layer(stream, index, &source);

    if (status >= KVF_OK)
        return status;
    return kvfi_fail(status, "stream %llu: layer %u will not come whole: %s of rank %llu",
                     (unsigned long long)stream->id, stream->layers[index], kvf_status_name(status),
                     (unsigned long long)source->rank);
}

kvf_status_t kvf_stream_query(kvf_stream_t *stream, kvf_stream_state_t *state_p)
{
    kvf_stream_state_t state = {.highest = UINT32_MAX, .bad_layer = UINT32_MAX};
    kvf_status_t status;

    if (stream == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "stream: stream is NULL");
    pthread_mutex_lock(&stream->streams->lock);
    status = drive(stream->streams);
    state.layers = stream->layer_count;
    state.leading = stream->leading;
    for (uint32_t i = 0; i < stream->layer_count; i++) {
        const kvfi_stream_source_t *source;
        kvf_status_t layer = kvfi_stream_layer(stream, i, &source);

        state.arrived += layer == KVF_OK;
        if (layer < KVF_OK && state.failed++ == 0) {
            state.bad_layer = stream->layers[i];
            state.status = layer;
        }
    }
    if (stream->leading > 0)
        state.highest = stream->layers[stream->leading - 1];
    if (state.failed == 0 && state.arrived < state.layers)
        state.status = KVF_INPROGRESS;
    pthread_mutex_unlock(&stream->streams->lock);
    if (status == KVF_OK)
        status = kvf_struct_write("stream: state_p", &state, sizeof(state), state_p);
    return status;
}

kvf_status_t kvf_stream_layer(kvf_stream_t *stream, uint32_t layer)
{
    kvf_status_t status;
    uint32_t at;

    if (stream == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "stream: stream is NULL");
    pthread_mutex_lock(&stream->streams->lock);
    at = kvfi_stream_find(stream, layer);
    if (at < stream->layer_count && stream->layers[at] == layer)
        status = tell(stream, at);
    else
        status = kvfi_fail(KVF_ERR_INVALID, "stream %llu: no source has layer %u",
                           (unsigned long long)stream->id, layer);
    pthread_mutex_unlock(&stream->streams->lock);
    return status;
}

/* --------------------------------------------------------------------- wait */

/* The first count layers: OK if all are there, else the error of the first that failed. */
static kvf_status_t first_layers(const kvf_stream_t *stream, uint32_t count)
{
    kvf_status_t status = KVF_OK;

    for (uint32_t i = stream->leading; i < count && status >= KVF_OK; i++) {
        const kvfi_stream_source_t *source;
        kvf_status_t layer = kvfi_stream_layer(stream, i, &source);

        if (layer < KVF_OK)
            status = tell(stream, i);
        else if (layer == KVF_INPROGRESS)
            status = layer;
    }
    return status;
}

/* Sleep on the channel's fd, or on who does, at most until end_ns. With the lock. */
static kvf_status_t sleep_a_while(kvf_streams_t *streams, kvf_stream_t *stream, uint32_t count,
                                  uint64_t end_ns)
{
    uint64_t now = kvfi_now_ns(), until = kvfi_deadline(now, LIVES_NS);
    struct pollfd fd = {.fd = streams->fd, .events = POLLIN};
    struct timespec at;
    kvf_status_t status;

    until = until < end_ns ? until : end_ns;
    if (streams->sleeper) {
        at = kvfi_timespec(until);
        pthread_cond_timedwait(&streams->cond, &streams->lock, &at);
        return KVF_OK;
    }
    status = kvf_channel_arm(streams->channel);
    if (status == KVF_ERR_BUSY)
        return kvf_progress(streams->engine); /* and what has come is taken next */
    if (status == KVF_OK)
        status = drive(streams);
    if (status != KVF_OK || first_layers(stream, count) != KVF_INPROGRESS)
        return status;
    streams->sleeper = true;
    pthread_mutex_unlock(&streams->lock);
    now = kvfi_now_ns();
    at = kvfi_timespec(until > now ? until - now : 0);
    ppoll(&fd, 1, &at, NULL);
    pthread_mutex_lock(&streams->lock);
    streams->sleeper = false;
    pthread_cond_broadcast(&streams->cond); /* who goes leaves the fd to another */
    return KVF_OK;
}

/* To be woken takes longer than a layer may be late, so that who gets them fast does not sleep. The
 * pace of a stream is known from its second layer on; until then the last one's stands for it. */
static uint64_t spin_of(const kvf_stream_t *stream)
{
    const kvf_streams_t *streams = stream->streams;
    uint64_t pace_ns = stream->pace_ns != 0 ? stream->pace_ns : streams->pace_ns;

    return streams->alone || stream->in_vain || pace_ns >= NEAR_NS ? SPIN_NS : 2 * NEAR_NS;
}

kvf_status_t kvf_stream_wait(kvf_stream_t *stream, uint32_t layer, uint64_t timeout_ns)
{
    uint64_t now = kvfi_now_ns(), end_ns = kvfi_deadline(now, timeout_ns), spin_ns;
    kvf_streams_t *streams;
    kvf_status_t status, reached = KVF_INPROGRESS;
    uint32_t count;

    if (stream == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "stream: stream is NULL");
    count = kvfi_stream_find(stream, (uint64_t)layer + 1);
    if (count == 0)
        return kvfi_fail(KVF_ERR_INVALID, "stream %llu: its first layer is %u, not up to %u",
                         (unsigned long long)stream->id, stream->layers[0], layer);
    streams = stream->streams;
    pthread_mutex_lock(&streams->lock);
    spin_ns = kvfi_deadline(now, spin_of(stream));
    for (;;) {
        status = drive(streams);
        if (status == KVF_OK)
            reached = first_layers(stream, count);
        now = kvfi_now_ns();
        if (status != KVF_OK || reached != KVF_INPROGRESS || now >= end_ns)
            break;
        if (now >= spin_ns) {
            stream->in_vain = true;
            status = sleep_a_while(streams, stream, count, end_ns);
            if (status != KVF_OK)
                break;
        } else {
            pthread_mutex_unlock(&streams->lock);
            kvfi_relax();
            pthread_mutex_lock(&streams->lock);
        }
    }
    pthread_mutex_unlock(&streams->lock);
    return status != KVF_OK ? status : reached;
}

/* ------------------------------------------------------------ layers a step */

kvf_status_t kvf_stream_step(kvf_engine_t *engine, kvf_path_t path, const kvf_plan_size_t *layer,
                             uint32_t layers, uint32_t *step_p)
{
    uint64_t all_ns, step_ns, bytes, pieces;
    kvf_plan_size_t own;
    kvf_status_t status = kvf_struct_read("stream step: layer", layer, sizeof(own), &own);

    if (status != KVF_OK)
        return status;
    if (step_p == NULL || layers == 0)
        return kvfi_fail(KVF_ERR_INVALID, "stream step: %s",
                         step_p == NULL ? "step_p is NULL" : "layers is 0");
    if (__builtin_mul_overflow(own.bytes, layers, &bytes) ||
        __builtin_mul_overflow(own.pieces, layers, &pieces))
        return kvfi_fail(KVF_ERR_INVALID, "stream step: layer's pieces or bytes overflow");
    status = kvf_path_cost(engine, path, own.ops, pieces, bytes, &all_ns);
    for (uint32_t step = 1; status == KVF_OK && step <= layers; step++) {
        status = kvf_path_cost(engine, path, own.ops, own.pieces * step, own.bytes * step, &step_ns);
        /* steps together at most a tenth slower than all at once */
        if (status == KVF_OK &&
            ((__int128)step_ns * layers * 10 <= (__int128)all_ns * step * 11 || step == layers)) {
            *step_p = step;
            return KVF_OK;
        }
    }
    return status;
}

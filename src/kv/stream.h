/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of streams share: the objects, and the state of a stream as notifications change
 * it (stream_state.c), which nothing else touches. All of it is under the lock of the streams.
 */
#ifndef KVFI_KV_STREAM_H
#define KVFI_KV_STREAM_H

#include <pthread.h>
#include <stdbool.h>

#include <kvferry/kv.h>

#include "base/status.h"
#include "base/table.h"

/* What a notification says, as it travels. */
typedef struct kvfi_stream_note {
    uint32_t magic;
    int32_t status;
    uint32_t first_layer, layer_count;
    uint64_t id;
} kvfi_stream_note_t;

typedef struct kvfi_stream_source {
    kvf_peer_t *peer;
    uint64_t incarnation, rank;
    uint32_t left; /* layers that it has not told */
    bool dead;
    int8_t *layers; /* one a layer of the stream: KVF_SKIPPED is not its, KVF_INPROGRESS not told */
} kvfi_stream_source_t;

struct kvf_stream {
    kvf_streams_t *streams;
    uint64_t id;
    uint32_t layer_count, source_count;
    uint32_t leading; /* layers from the first on that are there */
    uint64_t told_ns; /* the last notification came then, 0: none did, */
    uint64_t gap_ns;  /* so long after the one before */
    uint64_t pace_ns; /* this gap, or the one before if that was less; 0: not known */
    bool in_vain;     /* a waiter has looked for as long as it should since then */
    uint32_t *layers; /* ids, rising */
    kvfi_stream_source_t *sources;
};

struct kvf_streams {
    kvf_engine_t *engine;
    kvf_channel_t *channel; /* of their notifications */
    int fd;                 /* the channel's */
    bool alone;             /* one processor is allowed: who looks for long keeps it from who sends */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool sleeper;       /* somebody sleeps on the fd for all */
    uint64_t pace_ns;   /* of whichever stream was told last; 0: not known */
    uint64_t look_ns;   /* when sources are to be looked at for life */
    kvfi_table_t table; /* of streams, by id */
};

/* Fill in layers and sources of a stream that has none yet. Errors: INVALID, NOMEM. */
kvf_status_t kvfi_stream_fill(kvf_stream_t *stream, const kvf_stream_opts_t *opts);
void kvfi_stream_free(kvf_stream_t *stream);

/* A source says what became of layers; who is none, or has none of them, changes nothing. */
void kvfi_stream_told(kvf_stream_t *stream, uint64_t incarnation, const kvfi_stream_note_t *note);

/* What a source that has died did not tell, will not come. */
void kvfi_stream_bury(kvf_stream_t *stream);

/* What is known of layer index, over all its sources; *source_p: who says so, if it is an error. */
kvf_status_t kvfi_stream_layer(const kvf_stream_t *stream, uint32_t index,
                               const kvfi_stream_source_t **source_p);

/* Index of the first layer with that id or a higher one. */
uint32_t kvfi_stream_find(const kvf_stream_t *stream, uint64_t layer);

#endif

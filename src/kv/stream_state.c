/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The state of a stream: for each source and layer, what that source last said. A layer is there
 * once all its sources say so. Sources are told apart by their incarnation, so equal notifications
 * of two sources are two, and one that comes twice counts once. The lock is the caller's matter.
 */
#include <stdlib.h>
#include <string.h>

#include "kv/stream.h"

/* ------------------------------------------------------------------- layers */

/* Ids of a source's layers, into ids if that is not NULL; returns their number. */
static kvf_status_t layers_of(const kvf_stream_source_t *source, uint32_t i, uint32_t *ids, uint32_t *count_p)
{
    if (source->reserved[0] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "stream: sources[%u].reserved is not 0", i);
    if (source->plan != NULL)
        return kvf_plan_layers(source->plan, ids, count_p);
    if (source->layer_count == 0)
        return kvfi_fail(KVF_ERR_INVALID, "stream: sources[%u] has neither plan nor layer_count", i);
    if (source->layer_count > UINT32_MAX - source->first_layer)
        return kvfi_fail(KVF_ERR_INVALID, "stream: sources[%u]: first_layer and layer_count overflow", i);
    *count_p = source->layer_count;
    for (uint32_t l = 0; ids != NULL && l < source->layer_count; l++)
        ids[l] = source->first_layer + l;
    return KVF_OK;
}

static int by_id(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Layers of all sources, each once, rising. */
static kvf_status_t find_layers(kvf_stream_t *stream, const kvf_stream_opts_t *opts)
{
    kvf_status_t status = KVF_OK;
    uint64_t total = 0;
    uint32_t kept = 0, count;

    for (uint32_t i = 0; i < opts->source_count && status == KVF_OK; i++) {
        status = layers_of(&opts->sources[i], i, NULL, &count);
        total += status == KVF_OK ? count : 0;
    }
    if (status != KVF_OK)
        return status;
    stream->layers = total <= UINT32_MAX ? malloc(total * sizeof(*stream->layers)) : NULL;
    if (stream->layers == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "stream: no memory for %llu layers", (unsigned long long)total);
    for (uint32_t i = 0, at = 0; i < opts->source_count && status == KVF_OK; i++, at += count) {
        count = (uint32_t)total - at;
        status = layers_of(&opts->sources[i], i, stream->layers + at, &count);
    }
    qsort(stream->layers, total, sizeof(*stream->layers), by_id);
    for (uint64_t at = 0; at < total; at++) {
        if (kept == 0 || stream->layers[at] != stream->layers[kept - 1])
            stream->layers[kept++] = stream->layers[at];
    }
    stream->layer_count = kept;
    return status;
}

uint32_t kvfi_stream_find(const kvf_stream_t *stream, uint64_t layer)
{
    uint32_t low = 0, high = stream->layer_count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (stream->layers[mid] < layer)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* ------------------------------------------------------------------ sources */

static kvf_status_t fill_source(kvf_stream_t *stream, const kvf_stream_source_t *from, uint32_t i)
{
    kvfi_stream_source_t *source = &stream->sources[i];
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    uint32_t *ids = calloc(stream->layer_count, sizeof(*ids)), count = stream->layer_count;
    kvf_status_t status = kvf_peer_query(from->peer, &attr);

    if (status != KVF_OK)
        status = kvfi_fail_within(status, "stream: sources[%u].peer", i);
    for (uint32_t other = 0; other < i && status == KVF_OK; other++) {
        if (stream->sources[other].incarnation == attr.incarnation)
            status = kvfi_fail(KVF_ERR_INVALID, "stream: sources[%u] and [%u] are the same peer", other, i);
    }
    source->layers = malloc(stream->layer_count);
    if (status == KVF_OK && (ids == NULL || source->layers == NULL))
        status = kvfi_fail(KVF_ERR_NOMEM, "stream: no memory for %u layers", stream->layer_count);
    if (status == KVF_OK)
        status = layers_of(from, i, ids, &count);
    if (status == KVF_OK) {
        source->peer = from->peer;
        source->incarnation = attr.incarnation;
        source->rank = attr.rank;
        source->left = count;
        memset(source->layers, KVF_SKIPPED, stream->layer_count);
        for (uint32_t l = 0; l < count; l++)
            source->layers[kvfi_stream_find(stream, ids[l])] = KVF_INPROGRESS;
    }
    free(ids);
    return status;
}

kvf_status_t kvfi_stream_fill(kvf_stream_t *stream, const kvf_stream_opts_t *opts)
{
    kvf_status_t status = find_layers(stream, opts);

    if (status != KVF_OK)
        return status;
    stream->sources = calloc(opts->source_count, sizeof(*stream->sources));
    if (stream->sources == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "stream: no memory for %u sources", opts->source_count);
    stream->source_count = opts->source_count;
    for (uint32_t i = 0; i < opts->source_count && status == KVF_OK; i++)
        status = fill_source(stream, &opts->sources[i], i);
    return status;
}

void kvfi_stream_free(kvf_stream_t *stream)
{
    for (uint32_t i = 0; i < stream->source_count; i++)
        free(stream->sources[i].layers);
    free(stream->sources);
    free(stream->layers);
    free(stream);
}

/* -------------------------------------------------------------------- state */

kvf_status_t kvfi_stream_layer(const kvf_stream_t *stream, uint32_t index,
                               const kvfi_stream_source_t **source_p)
{
    kvf_status_t status = KVF_OK;

    for (uint32_t i = 0; i < stream->source_count; i++) {
        kvf_status_t told = (kvf_status_t)stream->sources[i].layers[index];

        if (told < KVF_OK && status >= KVF_OK)
            *source_p = &stream->sources[i];
        if (told < KVF_OK ? status >= KVF_OK : told == KVF_INPROGRESS && status == KVF_OK)
            status = told;
    }
    return status;
}

static void advance(kvf_stream_t *stream)
{
    const kvfi_stream_source_t *source;

    while (stream->leading < stream->layer_count &&
           kvfi_stream_layer(stream, stream->leading, &source) == KVF_OK)
        stream->leading++;
}

void kvfi_stream_told(kvf_stream_t *stream, uint64_t incarnation, const kvfi_stream_note_t *note)
{
    uint64_t end = (uint64_t)note->first_layer + note->layer_count;
    kvfi_stream_source_t *source = stream->sources;

    while (source < stream->sources + stream->source_count && source->incarnation != incarnation)
        source++;
    if (source == stream->sources + stream->source_count)
        return;
    for (uint32_t at = kvfi_stream_find(stream, note->first_layer);
         at < stream->layer_count && stream->layers[at] < end; at++) {
        if (source->layers[at] == KVF_SKIPPED)
            continue;
        source->left -= source->layers[at] == KVF_INPROGRESS;
        source->layers[at] = (int8_t)note->status;
        if (note->status != KVF_OK && at < stream->leading)
            stream->leading = at;
    }
    advance(stream);
}

void kvfi_stream_bury(kvf_stream_t *stream)
{
    for (uint32_t i = 0; i < stream->source_count; i++) {
        kvfi_stream_source_t *source = &stream->sources[i];

        for (uint32_t at = 0; source->dead && source->left > 0 && at < stream->layer_count; at++) {
            if (source->layers[at] != KVF_INPROGRESS)
                continue;
            source->layers[at] = KVF_ERR_PEER;
            source->left--;
        }
    }
}

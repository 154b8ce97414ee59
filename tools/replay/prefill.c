/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The prefill side: prefill.h says what it promises. Where a cell of a block lies is asked of the
 * library's layout; what is in it is content.h. Producing a request's blocks is done in one go, on
 * this thread, and takes as long as writing them does.
 */
#include "config.h"

#include "prefill.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"
#include "store.h"

struct replay_prefill {
    struct replay_job *job;
    uint32_t instance, member;
    struct replay_store *store;
    kvf_pool_t *pool;
    kvf_layout_t *layout;
    kvf_grant_t *grant;
    uint8_t **bases; /* of the layout's segments, all in the pool's memory */
    uint32_t *ids;   /* per_block KV blocks of each slot */
    uint64_t *order; /* this rank's requests, by number */
    uint64_t count;  /* of these */
    uint64_t next;   /* place in order: not admitted yet */
    uint64_t released;
    const uint8_t *reads;         /* by decode rank */
    uint32_t *readers;            /* by decode instance: ranks of it that read here */
    uint32_t *asked;              /* by request: times, then times that it is still to be released */
    struct replay_place **places; /* by request: held from admission to release */
    uint8_t *answer;              /* room for the largest */
};

/* ---------------------------------------------------------------- contents */

static void write_words(uint8_t *at, uint64_t len, uint64_t cell_key)
{
    uint64_t words = len / 8, word;

    for (uint64_t i = 0; i < words; i++) {
        word = kvfi_replay_word(cell_key, i);
        memcpy(at + 8 * i, &word, 8);
    }
    word = kvfi_replay_word(cell_key, words);
    memcpy(at + 8 * words, &word, len % 8);
}

static void write_cell(uint8_t *at, const kvf_plane_t *plane, uint64_t prefix_key, uint32_t layer,
                       uint32_t head, uint32_t token)
{
    uint32_t first = plane->kind == KVF_PLANE_V         ? REPLAY_PLANE_V
                     : plane->kind == KVF_PLANE_INDEXER ? REPLAY_PLANE_INDEXER
                                                        : REPLAY_PLANE_K;
    uint64_t len = plane->kind == KVF_PLANE_KV ? plane->k_content : plane->content;

    write_words(at, len, kvfi_replay_cell_key(prefix_key, layer, head, first, token));
    if (plane->kind == KVF_PLANE_KV) {
        write_words(at + len, plane->content - len,
                    kvfi_replay_cell_key(prefix_key, layer, head, REPLAY_PLANE_V, token));
    }
}

static void write_plane(const struct replay_prefill *p, const kvf_group_t *group, const kvf_plane_t *plane,
                        uint32_t block, uint64_t prefix_key, uint32_t first_token)
{
    for (uint32_t i = 0; i < group->layer_count; i++) {
        int64_t layer_off = plane->layer_base != NULL
                                ? (int64_t)plane->layer_base[i]
                                : (int64_t)plane->base + (int64_t)i * plane->layer_stride;
        uint32_t segment = plane->layer_segment != NULL ? plane->layer_segment[i] : plane->segment;
        uint8_t *at = p->bases[segment] + layer_off + (int64_t)(block * plane->block_stride);
        for (uint32_t h = 0; h < group->heads; h++) {
            for (uint32_t t = 0; t < group->block_tokens; t++) {
                write_cell(at + h * plane->head_stride + t * plane->state_stride, plane, prefix_key,
                           group->layers[i], group->first_head + h, first_token + t);
            }
        }
    }
}

static void write_slot(const struct replay_prefill *p, uint32_t slot, uint64_t prefix)
{
    const kvf_layout_desc_t *desc = kvf_layout_describe(p->layout);
    const struct replay_side *side = &p->job->shape->side[REPLAY_SRC];
    uint64_t key = kvfi_replay_prefix_key(p->job->opts->seed, prefix);

    for (uint32_t j = 0; j < side->per_block; j++) {
        uint32_t block = p->ids[(uint64_t)slot * side->per_block + j];
        for (uint32_t g = 0; g < desc->group_count; g++) {
            for (uint32_t n = 0; n < desc->groups[g].plane_count; n++) {
                write_plane(p, &desc->groups[g], &desc->groups[g].planes[n], block, key,
                            j * side->block_tokens);
            }
        }
    }
}

/* ------------------------------------------------------------ open and close */

static int make_tables(struct replay_prefill *p)
{
    const struct replay_shape *shape = p->job->shape;
    uint64_t all = p->job->trace->request_count;

    p->store = kvfi_replay_store_open((uint32_t)p->job->opts->blocks);
    p->ids = calloc(shape->pool_blocks, sizeof(*p->ids));
    p->order = calloc(all, sizeof(*p->order));
    p->asked = calloc(all, sizeof(*p->asked));
    p->places = calloc(all, sizeof(*p->places));
    p->readers = calloc(shape->side[REPLAY_DST].instances, sizeof(*p->readers));
    return p->store != NULL && p->ids != NULL && p->order != NULL && p->asked != NULL && p->places != NULL &&
                   p->readers != NULL
               ? 0
               : -1;
}

/* The segments of the layout, one behind the other in the pool's memory. */
static kvf_status_t open_segments(struct replay_prefill *p)
{
    const kvf_layout_desc_t *desc = kvf_layout_describe(p->layout);
    kvf_range_t *ranges = calloc(desc->segment_count, sizeof(*ranges));
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_status_t status = kvf_segment_query(kvf_pool_segment(p->pool), &attr);
    uint64_t off = 0;

    p->bases = calloc(desc->segment_count, sizeof(*p->bases));
    if (ranges == NULL || p->bases == NULL) {
        free(ranges);
        return kvf_fail(KVF_ERR_NOMEM, "no memory for %" PRIu32 " segments", desc->segment_count);
    }
    for (uint32_t i = 0; i < desc->segment_count && status == KVF_OK; i++) {
        ranges[i] = (kvf_range_t){.segment = kvf_pool_segment(p->pool),
                                  .off = off,
                                  .len = desc->segment_len[i],
                                  .rights = KVF_RIGHT_READ};
        p->bases[i] = (uint8_t *)attr.addr + off;
        off += desc->segment_len[i];
    }
    if (status == KVF_OK) {
        status = kvf_grant_create(p->job->engine, ranges, desc->segment_count, NULL, &p->grant);
    }
    free(ranges);
    return status;
}

static kvf_status_t open_pool(struct replay_prefill *p)
{
    struct replay_held held = kvfi_replay_held(p->job->shape, REPLAY_SRC, p->member);
    kvf_pool_opts_t opts = {.struct_size = sizeof(opts), .blocks = p->job->shape->pool_blocks};
    kvf_status_t status = kvfi_replay_layout(&held, opts.blocks, &p->layout);

    if (status == KVF_OK) {
        opts.block_bytes = kvf_layout_block_bytes(p->layout);
        status = kvf_pool_create(p->job->engine, &opts, &p->pool);
    }
    return status == KVF_OK ? open_segments(p) : status;
}

struct replay_prefill *kvfi_replay_prefill_open(struct replay_job *job, uint32_t number)
{
    struct replay_prefill *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        kvfi_replay_fail(job, "no memory");
        return NULL;
    }
    p->job = job;
    p->instance = number / job->shape->side[REPLAY_SRC].members;
    p->member = number % job->shape->side[REPLAY_SRC].members;
    if (make_tables(p) != 0) {
        kvfi_replay_fail(job, "no memory for the tables of the block store");
    } else if (open_pool(p) != KVF_OK) {
        kvfi_replay_fail(job, "pool of %" PRIu64 " trace blocks: %s", job->opts->blocks, kvf_last_error());
    } else {
        return p;
    }
    kvfi_replay_prefill_close(p);
    return NULL;
}

void kvfi_replay_prefill_close(struct replay_prefill *p)
{
    if (p == NULL) {
        return;
    }
    if (p->places != NULL) {
        for (uint64_t i = 0; i < p->job->trace->request_count; i++) {
            free(p->places[i]);
        }
    }
    kvfi_replay_store_close(p->store);
    kvf_layout_destroy(p->layout); /* pool and grant end with the engine */
    free(p->bases);
    free(p->ids);
    free(p->order);
    free(p->readers);
    free(p->asked);
    free(p->places);
    free(p->answer);
    free(p);
}

kvf_grant_t *kvfi_replay_prefill_grant(const struct replay_prefill *p)
{
    return p->grant;
}

int kvfi_replay_prefill_connect(struct replay_prefill *p, const uint8_t *reads)
{
    const struct replay_job *job = p->job;
    const struct replay_side *dst = &job->shape->side[REPLAY_DST];
    uint64_t largest = 0;

    p->reads = reads;
    for (uint32_t r = 0; r < dst->ranks; r++) {
        p->readers[r / dst->members] += reads[r] != 0;
    }
    for (uint64_t i = 0; i < job->trace->request_count; i++) {
        if (!kvfi_replay_too_large(job->opts, job->trace, i) &&
            kvfi_replay_prefill_of(job->shape, job->trace, i) == p->instance &&
            p->readers[kvfi_replay_decode_of(job->shape, i)] > 0) {
            uint64_t count = job->trace->requests[i].count;
            p->order[p->count++] = i;
            largest = count > largest ? count : largest;
        }
    }
    p->answer = malloc(sizeof(struct replay_answer) +
                       largest * job->shape->side[REPLAY_SRC].per_block * 2 * sizeof(uint32_t));
    return p->answer != NULL ? 0 : kvfi_replay_fail(p->job, "no memory for answers");
}

/* ----------------------------------------------------------------- serving */

static uint32_t readers_of(const struct replay_prefill *p, uint64_t request)
{
    return p->readers[kvfi_replay_decode_of(p->job->shape, request)];
}

int kvfi_replay_prefill_ask(struct replay_prefill *p, uint64_t request)
{
    if (request >= p->job->trace->request_count || p->places[request] != NULL ||
        p->asked[request] == readers_of(p, request)) {
        return kvfi_replay_fail(p->job, "request %" PRIu64 " was asked for too often", request);
    }
    p->asked[request]++;
    return 0;
}

int kvfi_replay_prefill_release(struct replay_prefill *p, uint64_t request)
{
    if (request >= p->job->trace->request_count || p->places[request] == NULL) {
        return kvfi_replay_fail(p->job, "request %" PRIu64 " was released and is not held", request);
    }
    if (--p->asked[request] > 0) {
        return 0;
    }
    if (!p->job->opts->no_pin) {
        kvfi_replay_store_unpin(p->store, p->places[request], p->job->trace->requests[request].count);
    }
    free(p->places[request]);
    p->places[request] = NULL;
    p->released++;
    return 0;
}

/* Gives the slot new blocks of the pool (the old ones' generations are raised first, so that who
 * still reads them learns it) and writes them. */
static kvf_status_t produce(struct replay_prefill *p, const struct replay_place *place, uint64_t prefix)
{
    uint32_t per_block = p->job->shape->side[REPLAY_SRC].per_block;
    uint32_t *ids = p->ids + (uint64_t)place->slot * per_block;
    kvf_status_t status = KVF_OK;

    if (place->evicted) {
        status = kvf_pool_free(p->pool, per_block, ids);
    }
    if (status == KVF_OK) {
        status = kvf_pool_alloc(p->pool, per_block, ids);
    }
    if (status == KVF_OK) {
        write_slot(p, place->slot, prefix);
    }
    return status;
}

/* To each rank that reads the request here. */
static int send_answers(struct replay_prefill *p, uint64_t request, size_t len)
{
    const struct replay_job *job = p->job;
    uint32_t instance = kvfi_replay_decode_of(job->shape, request);
    uint32_t members = job->shape->side[REPLAY_DST].members;

    for (uint32_t m = 0; m < members; m++) {
        int rank = kvfi_replay_rank_of(job->shape, REPLAY_DST, instance, m);
        if (p->reads[instance * members + m] != 0 &&
            kvfi_replay_mail_send(job->comm, rank, REPLAY_MAIL_ANSWER, p->answer, len) != 0) {
            return kvfi_replay_fail(p->job, "no memory for a message");
        }
    }
    return 0;
}

static int answer(struct replay_prefill *p, uint64_t request, const struct replay_place *places)
{
    const struct replay_job *job = p->job;
    uint32_t per_block = job->shape->side[REPLAY_SRC].per_block;
    uint64_t blocks = job->trace->requests[request].count * per_block;
    struct replay_answer head = {request, blocks};
    uint32_t *ids = (uint32_t *)(p->answer + sizeof(head)), *gens = ids + blocks;
    kvf_status_t status;

    memcpy(p->answer, &head, sizeof(head));
    for (uint64_t i = 0; i < job->trace->requests[request].count; i++) {
        memcpy(ids + i * per_block, p->ids + (uint64_t)places[i].slot * per_block, per_block * sizeof(*ids));
    }
    status = kvf_pool_generations(p->pool, (uint32_t)blocks, ids, gens);
    if (status == KVF_OK && job->opts->inject == REPLAY_INJECT_STALE && request == job->shape->target &&
        p->member == 0) {
        status = kvf_pool_raise(p->pool, per_block, ids);
        p->job->stats.injected++;
    }
    if (status != KVF_OK) {
        return kvfi_replay_fail(p->job, "request %" PRIu64 ": %s", request, kvf_last_error());
    }
    return send_answers(p, request, sizeof(head) + blocks * 2 * sizeof(*ids));
}

int kvfi_replay_prefill_step(struct replay_prefill *p)
{
    struct replay_job *job = p->job;

    if (job->stop || p->next == p->count || p->asked[p->order[p->next]] < readers_of(p, p->order[p->next])) {
        return 0;
    }
    uint64_t request = p->order[p->next], count = job->trace->requests[request].count;
    const uint64_t *prefixes = job->trace->ids + job->trace->requests[request].first;
    struct replay_place *places = calloc(count, sizeof(*places));
    if (places == NULL) {
        return kvfi_replay_fail(job, "no memory");
    }
    if (!kvfi_replay_store_admit(p->store, prefixes, count, places)) {
        free(places);
        return 0;
    }
    p->places[request] = places;
    p->next++;
    job->stats.lookups += p->member == 0 ? count : 0;
    for (uint64_t i = 0; i < count; i++) {
        if (!places[i].produce) {
            job->stats.hits += p->member == 0;
        } else if (produce(p, &places[i], prefixes[i]) != KVF_OK) {
            return kvfi_replay_fail(job, "request %" PRIu64 ": %s", request, kvf_last_error());
        }
    }
    if (job->opts->no_pin) {
        kvfi_replay_store_unpin(p->store, places, count);
    }
    return answer(p, request, places) == 0 ? 1 : -1;
}

bool kvfi_replay_prefill_done(const struct replay_prefill *p)
{
    return p->released == p->count;
}

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
    struct replay_job    *job;
    struct replay_store  *store;
    kvf_pool_t           *pool;
    kvf_layout_t         *layout;
    kvf_grant_t          *grant;
    uint8_t              *base;   /* of the pool's memory */
    uint32_t             *ids;    /* per_block KV blocks of each slot */
    uint64_t             *order;  /* this rank's requests, by number */
    uint64_t              count;  /* of these */
    uint64_t              next;   /* place in order: not admitted yet */
    uint64_t              released;
    uint8_t              *asked;  /* by request */
    struct replay_place **places; /* by request: held from admission to release */
    uint8_t              *answer; /* room for the largest */
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

static void write_plane(const struct replay_prefill *p, const kvf_group_t *group,
                        const kvf_plane_t *plane, uint32_t block, uint64_t prefix_key,
                        uint32_t first_token)
{
    for (uint32_t i = 0; i < group->layer_count; i++) {
        int64_t layer_off = plane->layer_base != NULL
                                ? (int64_t)plane->layer_base[i]
                                : (int64_t)plane->base + (int64_t)i * plane->layer_stride;
        uint8_t *at = p->base + layer_off + (int64_t)(block * plane->block_stride);
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
    const struct replay_shape *shape = p->job->shape;
    uint64_t key = kvfi_replay_prefix_key(p->job->opts->seed, prefix);

    for (uint32_t j = 0; j < shape->per_block; j++) {
        uint32_t block = p->ids[(uint64_t)slot * shape->per_block + j];
        for (uint32_t g = 0; g < desc->group_count; g++) {
            for (uint32_t n = 0; n < desc->groups[g].plane_count; n++) {
                write_plane(p, &desc->groups[g], &desc->groups[g].planes[n], block, key,
                            j * shape->block_tokens);
            }
        }
    }
}

/* ------------------------------------------------------------ open and close */

static int list_requests(struct replay_prefill *p, uint32_t number)
{
    const struct replay_job *job = p->job;
    uint64_t all = job->trace->request_count, largest = 0;

    p->order = calloc(all, sizeof(*p->order));
    p->asked = calloc(all, sizeof(*p->asked));
    p->places = calloc(all, sizeof(*p->places));
    if (p->order == NULL || p->asked == NULL || p->places == NULL) {
        return -1;
    }
    for (uint64_t i = 0; i < all; i++) {
        if (!kvfi_replay_too_large(job->opts, job->trace, i) &&
            kvfi_replay_prefill_of(job->shape, job->trace, i) == number) {
            uint64_t count = job->trace->requests[i].count;
            p->order[p->count++] = i;
            largest = count > largest ? count : largest;
        }
    }
    p->answer = malloc(sizeof(struct replay_answer) +
                       largest * job->shape->per_block * 2 * sizeof(uint32_t));
    return p->answer != NULL ? 0 : -1;
}

static kvf_status_t open_pool(struct replay_prefill *p)
{
    const struct replay_shape *shape = p->job->shape;
    kvf_pool_opts_t opts = {.struct_size = sizeof(opts), .blocks = shape->pool_blocks,
                            .block_bytes = shape->block_bytes};
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_status_t status = kvf_pool_create(p->job->engine, &opts, &p->pool);

    if (status == KVF_OK) {
        status = kvf_segment_query(kvf_pool_segment(p->pool), &attr);
    }
    if (status == KVF_OK) {
        kvf_range_t range = {.segment = kvf_pool_segment(p->pool), .len = attr.len,
                             .rights = KVF_RIGHT_READ};
        p->base = attr.addr;
        status = kvf_grant_create(p->job->engine, &range, 1, NULL, &p->grant);
    }
    if (status == KVF_OK) {
        status = kvfi_replay_shape_layout(shape, shape->pool_blocks, &p->layout);
    }
    return status;
}

struct replay_prefill *kvfi_replay_prefill_open(struct replay_job *job, uint32_t number)
{
    struct replay_prefill *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        kvfi_replay_fail(job, "no memory");
        return NULL;
    }
    p->job = job;
    p->store = kvfi_replay_store_open((uint32_t)job->opts->blocks);
    p->ids = calloc(job->shape->pool_blocks, sizeof(*p->ids));
    if (p->store == NULL || p->ids == NULL || list_requests(p, number) != 0) {
        kvfi_replay_fail(job, "no memory for the tables of the block store");
    } else if (open_pool(p) != KVF_OK) {
        kvfi_replay_fail(job, "pool of %" PRIu64 " trace blocks: %s", job->opts->blocks,
                         kvf_last_error());
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
    free(p->ids);
    free(p->order);
    free(p->asked);
    free(p->places);
    free(p->answer);
    free(p);
}

kvf_grant_t *kvfi_replay_prefill_grant(const struct replay_prefill *p)
{
    return p->grant;
}

/* ----------------------------------------------------------------- serving */

int kvfi_replay_prefill_ask(struct replay_prefill *p, uint64_t request)
{
    if (request >= p->job->trace->request_count || p->asked[request]) {
        return kvfi_replay_fail(p->job, "request %" PRIu64 " was asked for twice", request);
    }
    p->asked[request] = 1;
    return 0;
}

int kvfi_replay_prefill_release(struct replay_prefill *p, uint64_t request)
{
    if (request >= p->job->trace->request_count || p->places[request] == NULL) {
        return kvfi_replay_fail(p->job, "request %" PRIu64 " was released and is not held", request);
    }
    if (!p->job->opts->no_pin) {
        kvfi_replay_store_unpin(p->store, p->places[request],
                                p->job->trace->requests[request].count);
    }
    free(p->places[request]);
    p->places[request] = NULL;
    p->released++;
    return 0;
}

/* Gives the slot new blocks of the pool (the old ones' generations are raised first, so that who
 * still reads them learns it) and writes them. */
static kvf_status_t produce(struct replay_prefill *p, const struct replay_place *place,
                            uint64_t prefix)
{
    uint32_t per_block = p->job->shape->per_block;
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

static int send_answer(struct replay_prefill *p, uint64_t request, const struct replay_place *places)
{
    const struct replay_job *job = p->job;
    uint32_t per_block = job->shape->per_block;
    uint64_t blocks = job->trace->requests[request].count * per_block;
    struct replay_answer head = {request, blocks};
    uint32_t *ids = (uint32_t *)(p->answer + sizeof(head)), *gens = ids + blocks;
    uint32_t decode = kvfi_replay_decode_of(job->shape, request);
    kvf_status_t status;

    memcpy(p->answer, &head, sizeof(head));
    for (uint64_t i = 0; i < job->trace->requests[request].count; i++) {
        memcpy(ids + i * per_block, p->ids + (uint64_t)places[i].slot * per_block,
               per_block * sizeof(*ids));
    }
    status = kvf_pool_generations(p->pool, (uint32_t)blocks, ids, gens);
    if (status == KVF_OK && job->opts->inject == REPLAY_INJECT_STALE && request == job->shape->target) {
        status = kvf_pool_raise(p->pool, per_block, ids);
        p->job->stats.injected++;
    }
    if (status != KVF_OK) {
        return kvfi_replay_fail(p->job, "request %" PRIu64 ": %s", request, kvf_last_error());
    }
    if (kvfi_replay_mail_send(job->comm, kvfi_replay_decode_rank(job->shape, decode),
                              REPLAY_MAIL_ANSWER, p->answer,
                              sizeof(head) + blocks * 2 * sizeof(*ids)) != 0) {
        return kvfi_replay_fail(p->job, "no memory for a message");
    }
    return 0;
}

int kvfi_replay_prefill_step(struct replay_prefill *p)
{
    struct replay_job *job = p->job;

    if (job->stop || p->next == p->count || !p->asked[p->order[p->next]]) {
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
    job->stats.lookups += count;
    for (uint64_t i = 0; i < count; i++) {
        if (!places[i].produce) {
            job->stats.hits++;
        } else if (produce(p, &places[i], prefixes[i]) != KVF_OK) {
            return kvfi_replay_fail(job, "request %" PRIu64 ": %s", request, kvf_last_error());
        }
    }
    if (job->opts->no_pin) {
        kvfi_replay_store_unpin(p->store, places, count);
    }
    return send_answer(p, request, places) == 0 ? 1 : -1;
}

bool kvfi_replay_prefill_done(const struct replay_prefill *p)
{
    return p->released == p->count;
}

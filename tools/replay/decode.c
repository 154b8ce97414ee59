/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The decode side: decode.h says what it promises. Destination blocks have odd ids, dealt in random
 * order, so that their neighbours on both sides are free in every layout: what a walk writes beside a
 * piece lands where the checker looks.
 */
#include "config.h"

#include "decode.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"
#include "content.h"
#include "inject.h"
#include "verify.h"

#define SAMPLE 8 /* --verify sample looks at one block in so many */

enum phase { PHASE_FREE, PHASE_ASKED, PHASE_PULLING, PHASE_PULLED };

/* A request in flight. */
struct pull {
    enum phase   phase;
    uint64_t     request;
    uint32_t     blocks; /* KV blocks */
    uint32_t    *dst_ids, *src_ids, *src_gens; /* each of room entries */
    int8_t      *status;
    uint64_t     room;
    kvf_batch_t *batch;
    kvf_op_t    *ops;
    size_t       op_room;
    uint64_t     posted_ns;
    uint64_t     ended_ns; /* 0: not seen yet */
};

struct replay_decode {
    struct replay_job   *job;
    uint64_t             next;  /* request to start next */
    uint32_t             running; /* batches */
    uint64_t             busy_since_ns;
    kvf_segment_t       *segment;
    uint8_t             *base;
    kvf_layout_t        *layout;
    kvf_plan_t          *plan;
    struct replay_check *check;
    kvf_remote_t *const *remotes;
    uint32_t            *free_ids; /* odd ids that nobody has, as a stack */
    uint64_t             free_count;
    struct pull         *pulls; /* depth entries */
};

/* ------------------------------------------------------------ open and close */

static uint64_t skip_refused(const struct replay_job *job, uint64_t request)
{
    while (request < job->trace->request_count &&
           kvfi_replay_too_large(job->opts, job->trace, request)) {
        request += job->shape->decode;
    }
    return request;
}

/* The odd ids below 2 * count + 1, shuffled. */
static int deal_ids(struct replay_decode *d, uint64_t count)
{
    uint64_t random = d->job->opts->seed ^ (uint64_t)d->job->comm->rank << 32;

    d->free_ids = malloc(count * sizeof(*d->free_ids));
    if (d->free_ids == NULL) {
        return -1;
    }
    for (uint64_t i = 0; i < count; i++) {
        random += REPLAY_GOLDEN;
        uint64_t j = kvfi_replay_mix(random) % (i + 1);
        d->free_ids[i] = d->free_ids[j];
        d->free_ids[j] = (uint32_t)(2 * i + 1);
    }
    d->free_count = count;
    return 0;
}

static kvf_status_t open_memory(struct replay_decode *d, uint64_t need)
{
    const struct replay_shape *shape = d->job->shape;
    uint64_t capacity = kvfi_replay_spaced(need);
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_layout_t *pool = NULL;
    kvf_status_t status;

    status = kvf_segment_alloc(d->job->engine, capacity * shape->block_bytes, &d->segment);
    if (status == KVF_OK) {
        status = kvf_segment_query(d->segment, &attr);
    }
    if (status == KVF_OK) {
        d->base = attr.addr;
        status = kvfi_replay_shape_layout(shape, (uint32_t)capacity, &d->layout);
    }
    if (status == KVF_OK) {
        status = kvfi_replay_shape_layout(shape, shape->pool_blocks, &pool);
    }
    if (status == KVF_OK) {
        status = kvf_plan_create(pool, d->layout, NULL, &d->plan);
        kvf_layout_destroy(pool);
    }
    return status;
}

static int open_pulls(struct replay_decode *d)
{
    d->pulls = calloc(d->job->opts->depth, sizeof(*d->pulls));
    if (d->pulls == NULL) {
        return -1;
    }
    for (uint64_t i = 0; i < d->job->opts->depth; i++) {
        if (kvf_batch_create(d->job->engine, &d->pulls[i].batch) != KVF_OK) {
            return -1;
        }
    }
    return 0;
}

struct replay_decode *kvfi_replay_decode_open(struct replay_job *job, uint32_t number, uint64_t need)
{
    struct replay_decode *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        kvfi_replay_fail(job, "no memory");
        return NULL;
    }
    d->job = job;
    d->next = skip_refused(job, number);
    if (need > INT32_MAX / 2) {
        kvfi_replay_fail(job, "--depth %" PRIu64 ": %" PRIu64 " KV blocks in flight are too many",
                         job->opts->depth, need);
    } else if (deal_ids(d, need) != 0 || open_pulls(d) != 0) {
        kvfi_replay_fail(job, "no memory for %" PRIu64 " requests in flight", job->opts->depth);
    } else if (open_memory(d, need) != KVF_OK) {
        kvfi_replay_fail(job, "memory for pulled blocks: %s", kvf_last_error());
    } else if ((d->check = kvfi_replay_check_open(job->shape, (uint32_t)kvfi_replay_spaced(need),
                                                  job->opts->seed, d->base)) == NULL) {
        kvfi_replay_fail(job, "%s", kvfi_cli_error());
    } else if (kvfi_replay_check_block_bytes(d->check) != job->shape->block_bytes) {
        kvfi_replay_fail(job, "the layout says a block is %" PRIu64 " bytes, its name says %" PRIu64,
                         job->shape->block_bytes, kvfi_replay_check_block_bytes(d->check));
    } else {
        return d;
    }
    kvfi_replay_decode_close(d);
    return NULL;
}

void kvfi_replay_decode_close(struct replay_decode *d)
{
    if (d == NULL) {
        return;
    }
    if (d->pulls != NULL) {
        for (uint64_t i = 0; i < d->job->opts->depth; i++) {
            struct pull *pull = &d->pulls[i];
            if (pull->phase == PHASE_PULLING) {
                kvf_batch_cancel(pull->batch); /* it points into what is freed here */
            }
            free(pull->dst_ids);
            free(pull->src_ids);
            free(pull->src_gens);
            free(pull->status);
            free(pull->ops);
        }
    }
    kvfi_replay_check_close(d->check);
    kvf_plan_destroy(d->plan);
    kvf_layout_destroy(d->layout); /* segment and batches end with the engine */
    free(d->free_ids);
    free(d->pulls);
    free(d);
}

int kvfi_replay_decode_connect(struct replay_decode *d, kvf_remote_t *const *remotes)
{
    d->remotes = remotes;
    for (uint32_t p = 0; p < d->job->shape->prefill; p++) {
        int rank = kvfi_replay_prefill_rank(d->job->shape, p);
        kvf_path_t path;
        if (remotes[rank] == NULL) {
            return kvfi_replay_fail(d->job, "rank %d granted no pool", rank);
        }
        if (kvf_path_of(d->segment, remotes[rank], d->job->opts->paths, &path) != KVF_OK) {
            return kvfi_replay_fail(d->job, "no path to the pool of rank %d: %s", rank,
                                    kvf_last_error());
        }
    }
    return 0;
}

/* ---------------------------------------------------------------- a request's way */

static int make_room(struct pull *pull, uint64_t blocks)
{
    if (blocks <= pull->room) {
        return 0;
    }
    free(pull->dst_ids);
    free(pull->src_ids);
    free(pull->src_gens);
    free(pull->status);
    pull->dst_ids = malloc(blocks * sizeof(uint32_t));
    pull->src_ids = malloc(blocks * sizeof(uint32_t));
    pull->src_gens = malloc(blocks * sizeof(uint32_t));
    pull->status = malloc(blocks);
    pull->room = blocks;
    return pull->dst_ids && pull->src_ids && pull->src_gens && pull->status ? 0 : -1;
}

/* Starts the next request if its blocks have a place to land. */
static int start_next(struct replay_decode *d, struct pull *pull)
{
    const struct replay_job *job = d->job;
    uint64_t request = d->next;
    uint64_t blocks = job->trace->requests[request].count * job->shape->per_block;
    uint32_t prefill = kvfi_replay_prefill_of(job->shape, job->trace, request);

    if (blocks > d->free_count) {
        return 0;
    }
    if (make_room(pull, blocks) != 0 ||
        kvfi_replay_mail_send(job->comm, kvfi_replay_prefill_rank(job->shape, prefill),
                              REPLAY_MAIL_ASK, &request, sizeof(request)) != 0) {
        return kvfi_replay_fail(d->job, "no memory for request %" PRIu64, request);
    }
    d->free_count -= blocks;
    memcpy(pull->dst_ids, d->free_ids + d->free_count, blocks * sizeof(*d->free_ids));
    pull->request = request;
    pull->blocks = (uint32_t)blocks;
    pull->phase = PHASE_ASKED;
    d->next = skip_refused(job, request + job->shape->decode);
    return 1;
}

/* Whether the checker looks at KV block j of a request. */
static bool looks_at(const struct replay_decode *d, uint64_t request, uint32_t j)
{
    switch (d->job->opts->verify) {
    case REPLAY_VERIFY_ALL:
        return true;
    case REPLAY_VERIFY_SAMPLE:
        return kvfi_replay_splitmix(d->job->opts->seed ^ request << 24 ^ j) % SAMPLE == 0;
    default:
        return false;
    }
}

static kvf_status_t bind_ops(struct replay_decode *d, struct pull *pull, int from, size_t *count_p)
{
    kvf_bind_table_t src = {.ids = pull->src_ids, .count = pull->blocks, .gens = pull->src_gens};
    kvf_bind_table_t dst = {
        .ids = pull->dst_ids, .count = pull->blocks, .block_status = pull->status,
    };
    kvf_bind_t bind = {
        .struct_size = sizeof(bind), .dir = KVF_READ,
        .src_tables = &src, .src_table_count = 1, .dst_tables = &dst, .dst_table_count = 1,
        .tokens = (uint64_t)pull->blocks * d->job->shape->block_tokens,
        .segments = &d->segment, .segment_count = 1,
        .remotes = &d->remotes[from], .remote_count = 1,
    };
    *count_p = pull->op_room;
    kvf_status_t status = kvf_plan_bind(d->plan, &bind, pull->ops, sizeof(kvf_op_t), count_p, NULL, NULL);

    if ((status == KVF_OK && pull->ops == NULL) || status == KVF_ERR_SPACE) {
        free(pull->ops);
        pull->op_room = *count_p;
        pull->ops = calloc(pull->op_room, sizeof(kvf_op_t));
        status = pull->ops == NULL
                     ? KVF_ERR_NOMEM
                     : kvf_plan_bind(d->plan, &bind, pull->ops, sizeof(kvf_op_t), count_p, NULL, NULL);
    }
    return status;
}

static int post(struct replay_decode *d, struct pull *pull, int from)
{
    struct replay_job *job = d->job;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .tag = pull->request,
                             .paths = job->opts->paths};
    kvf_path_t path;
    size_t count;

    for (uint32_t j = 0; j < pull->blocks; j++) {
        pull->status[j] = KVF_OK;
        if (looks_at(d, pull->request, j)) {
            kvfi_replay_check_mark(d->check, pull->dst_ids[j], pull->request);
        }
    }
    kvfi_replay_inject_tables(job, pull->request, pull->src_ids, pull->src_gens);
    if (bind_ops(d, pull, from, &count) != KVF_OK) {
        return kvfi_replay_fail(job, "request %" PRIu64 ": %s", pull->request, kvf_last_error());
    }
    count = kvfi_replay_inject_ops(job, pull->request, count);
    pull->ended_ns = 0;
    pull->posted_ns = kvfi_replay_now();
    if (kvf_batch_post(pull->batch, pull->ops, count, sizeof(kvf_op_t), &opts) != KVF_OK) {
        return kvfi_replay_fail(job, "request %" PRIu64 ": %s", pull->request, kvf_last_error());
    }
    d->busy_since_ns = d->running == 0 ? pull->posted_ns : d->busy_since_ns;
    d->running++;
    pull->phase = PHASE_PULLING;
    if (kvf_path_of(d->segment, d->remotes[from], job->opts->paths, &path) == KVF_OK &&
        (KVF_PATH_BIT(path) & KVF_PATHS_LOCAL) != 0) {
        kvf_batch_wait(pull->batch, KVF_FOREVER); /* it has a deadline of its own */
        pull->ended_ns = kvfi_replay_now();
    }
    return 0;
}

int kvfi_replay_decode_answer(struct replay_decode *d, int from, const void *data, size_t len)
{
    struct replay_answer head;
    struct pull *pull = NULL;

    if (d->job->stop) {
        return 0;
    }
    memcpy(&head, data, len < sizeof(head) ? len : sizeof(head));
    for (uint64_t i = 0; len >= sizeof(head) && i < d->job->opts->depth; i++) {
        if (d->pulls[i].phase == PHASE_ASKED && d->pulls[i].request == head.request) {
            pull = &d->pulls[i];
        }
    }
    if (pull == NULL || head.blocks != pull->blocks ||
        len != sizeof(head) + head.blocks * 2 * sizeof(uint32_t)) {
        return kvfi_replay_fail(d->job, "an answer of rank %d fits no request", from);
    }
    const uint8_t *ids = (const uint8_t *)data + sizeof(head);
    memcpy(pull->src_ids, ids, pull->blocks * sizeof(uint32_t));
    memcpy(pull->src_gens, ids + pull->blocks * sizeof(uint32_t), pull->blocks * sizeof(uint32_t));
    return post(d, pull, from);
}

/* What ended: tallies, and the prefill rank may let the blocks go. */
static int take_end(struct replay_decode *d, struct pull *pull, kvf_status_t status)
{
    struct replay_job *job = d->job;
    uint64_t now = pull->ended_ns != 0 ? pull->ended_ns : kvfi_replay_now();
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    uint32_t prefill = kvfi_replay_prefill_of(job->shape, job->trace, pull->request);

    d->running--;
    job->stats.pull_ns += d->running == 0 ? now - d->busy_since_ns : 0;
    pull->phase = PHASE_PULLED;
    if (status != KVF_OK && status != KVF_ERR_STALE) {
        pull->phase = PHASE_FREE; /* nothing to look at */
        job->lost = job->lost || status == KVF_ERR_PEER;
        return kvfi_replay_fail(job, "request %" PRIu64 ": the pull from rank %d ended with %s: %s",
                                pull->request, kvfi_replay_prefill_rank(job->shape, prefill),
                                kvf_status_name(status), kvf_last_error());
    }
    if (kvf_batch_result(pull->batch, &result) != KVF_OK) {
        return kvfi_replay_fail(job, "request %" PRIu64 ": %s", pull->request, kvf_last_error());
    }
    job->stats.bytes += result.bytes;
    job->stats.pieces += result.pieces;
    job->pulls_ns[job->pull_count++] = now - pull->posted_ns;
    if (kvfi_replay_mail_send(job->comm, kvfi_replay_prefill_rank(job->shape, prefill),
                              REPLAY_MAIL_RELEASE, &pull->request, sizeof(pull->request)) != 0) {
        return kvfi_replay_fail(job, "no memory for a message");
    }
    return 0;
}

static void note_wrong(struct replay_job *job, const struct pull *pull, uint32_t j,
                       const struct replay_found *found)
{
    const kvfi_trace_request_t *request = &job->trace->requests[pull->request];
    uint32_t n = j / job->shape->per_block;

    job->stats.mismatched_bytes += found->wrong;
    job->stats.canaries += found->canaries;
    if (job->stats.first_wrong[0] == '\0') {
        snprintf(job->stats.first_wrong, sizeof(job->stats.first_wrong),
                 "request %" PRIu64 " (line %" PRIu64 "), its trace block %" PRIu32 " (id %" PRIu64
                 "), KV block %" PRIu32 " of that: %s",
                 pull->request, request->line, n, job->trace->ids[request->first + n],
                 j % job->shape->per_block, found->where);
    }
}

static void check(struct replay_decode *d, struct pull *pull)
{
    struct replay_job *job = d->job;
    const struct replay_shape *shape = job->shape;
    const uint64_t *prefixes = job->trace->ids + job->trace->requests[pull->request].first;

    kvfi_replay_inject_bytes(job, pull->request, d->layout, d->base, pull->dst_ids[0]);
    for (uint32_t j = 0; j < pull->blocks; j++) {
        bool stale = pull->status[j] == KVF_ERR_STALE;
        struct replay_expect expect = {
            .request = pull->request,
            .prefix = prefixes[j / shape->per_block],
            .first_token = j % shape->per_block * shape->block_tokens,
            .canaries_only = stale,
        };
        struct replay_found found;
        job->stats.stale_blocks += stale;
        job->stats.stale_bytes += stale ? shape->block_bytes : 0;
        if (looks_at(d, pull->request, j)) {
            kvfi_replay_check_block(d->check, pull->dst_ids[j], &expect, &found);
            job->stats.verified_bytes += stale ? 0 : shape->block_bytes;
            if (found.wrong > 0) {
                note_wrong(job, pull, j, &found);
            }
        }
    }
    job->stats.requests++;
    job->stats.trace_blocks += job->trace->requests[pull->request].count;
    job->stats.blocks += pull->blocks;
    memcpy(d->free_ids + d->free_count, pull->dst_ids, pull->blocks * sizeof(*d->free_ids));
    d->free_count += pull->blocks;
    pull->phase = PHASE_FREE;
}

int kvfi_replay_decode_step(struct replay_decode *d)
{
    int did = 0, rc = 0;

    for (uint64_t i = 0; rc >= 0 && i < d->job->opts->depth; i++) {
        struct pull *pull = &d->pulls[i];
        if (pull->phase == PHASE_PULLING) {
            kvf_status_t status = kvf_batch_test(pull->batch);
            if (status != KVF_INPROGRESS) {
                rc = take_end(d, pull, status);
                did = 1;
            }
        }
        if (pull->phase == PHASE_FREE && !d->job->stop && d->next < d->job->trace->request_count &&
            rc >= 0) {
            rc = start_next(d, pull);
            did |= rc > 0;
        }
    }
    for (uint64_t i = 0; rc >= 0 && i < d->job->opts->depth; i++) {
        if (d->pulls[i].phase == PHASE_PULLED) {
            check(d, &d->pulls[i]);
            return 1; /* one at a time: an end that is noticed late looks like a slow pull */
        }
    }
    return rc < 0 ? -1 : did;
}

bool kvfi_replay_decode_done(const struct replay_decode *d)
{
    bool idle = d->running == 0, waiting = d->next < d->job->trace->request_count;

    for (uint64_t i = 0; i < d->job->opts->depth; i++) {
        idle = idle && d->pulls[i].phase != PHASE_PULLED;
        waiting = waiting || d->pulls[i].phase == PHASE_ASKED;
    }
    return idle && (d->job->stop || !waiting);
}

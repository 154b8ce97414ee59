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
#include "tables.h"

#define SAMPLE 8 /* --verify sample looks at one block in so many */

enum phase {
    PHASE_FREE,
    PHASE_ASKED,
    PHASE_PULLING,
    PHASE_PULLED
};

/* A request in flight. */
struct pull {
    enum phase phase;
    uint64_t request;
    uint32_t unanswered; /* sources */
    struct replay_tables tables;
    kvf_batch_t *batch;
    size_t posted; /* ops */
    uint64_t posted_ns;
    uint64_t ended_ns; /* 0: not seen yet */
};

struct replay_decode {
    struct replay_job *job;
    uint32_t instance, member;
    struct replay_held held;
    uint64_t block_bytes;
    uint64_t next;    /* request to start next */
    uint32_t running; /* batches */
    uint64_t busy_since_ns;
    kvf_bind_local_t *locals; /* where the segments of the layout lie */
    uint8_t **bases;
    uint32_t segment_count;
    kvf_layout_t *layout;
    struct replay_sources sources;
    struct replay_stale *stale; /* room for an entry a source */
    struct replay_check *check;
    kvf_remote_t *const *remotes;
    uint32_t *free_ids; /* odd ids that nobody has, as a stack */
    uint64_t free_count;
    struct pull *pulls; /* depth entries */
};

/* ------------------------------------------------------------ open and close */

static uint64_t skip_refused(const struct replay_job *job, uint64_t request)
{
    while (request < job->trace->request_count && kvfi_replay_too_large(job->opts, job->trace, request)) {
        request += job->shape->side[REPLAY_DST].instances;
    }
    return request;
}

/* The odd ids below 2 * count + 1, shuffled. */
static int deal_ids(struct replay_decode *d, uint64_t count)
{
    uint64_t random = d->job->opts->seed ^ (uint64_t)d->job->comm->rank << 32;

    d->free_ids = malloc(count * sizeof(*d->free_ids));
    if (d->free_ids == NULL) {
        return kvfi_replay_fail(d->job, "no memory for the ids of %" PRIu64 " KV blocks", count);
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

static kvf_status_t open_segments(struct replay_decode *d)
{
    const kvf_layout_desc_t *desc = kvf_layout_describe(d->layout);
    kvf_status_t status = KVF_OK;

    d->segment_count = desc->segment_count;
    d->locals = calloc(desc->segment_count, sizeof(kvf_bind_local_t));
    d->bases = calloc(desc->segment_count, sizeof(uint8_t *));
    if (d->locals == NULL || d->bases == NULL) {
        return kvf_fail(KVF_ERR_NOMEM, "no memory for %" PRIu32 " segments", desc->segment_count);
    }
    for (uint32_t i = 0; i < desc->segment_count && status == KVF_OK; i++) {
        kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
        status = kvf_segment_alloc(d->job->engine, desc->segment_len[i], &d->locals[i].segment);
        if (status == KVF_OK) {
            status = kvf_segment_query(d->locals[i].segment, &attr);
            d->bases[i] = attr.addr;
        }
    }
    return status;
}

static kvf_status_t open_memory(struct replay_decode *d, uint32_t number, uint64_t need)
{
    uint32_t capacity = (uint32_t)kvfi_replay_spaced(need);
    kvf_status_t status = kvfi_replay_layout(&d->held, capacity, &d->layout);

    if (status == KVF_OK) {
        d->block_bytes = kvf_layout_block_bytes(d->layout);
        status = open_segments(d);
    }
    if (status == KVF_OK) {
        status = kvfi_replay_sources_open(d->job->shape, number, d->layout, capacity, &d->sources);
    }
    if (status == KVF_OK) {
        d->stale = calloc(d->sources.count, sizeof(*d->stale));
        status = d->stale != NULL
                     ? KVF_OK
                     : kvf_fail(KVF_ERR_NOMEM, "no memory for what is stale of %" PRIu32 " sources",
                                d->sources.count);
    }
    return status;
}

static int open_check(struct replay_decode *d, uint64_t need)
{
    d->check = kvfi_replay_check_open(&d->held, (uint32_t)kvfi_replay_spaced(need), d->job->opts->seed,
                                      d->bases, d->segment_count);
    if (d->check == NULL) {
        return kvfi_replay_fail(d->job, "%s", kvfi_cli_error());
    }
    if (kvfi_replay_check_block_bytes(d->check) != d->block_bytes) {
        return kvfi_replay_fail(d->job,
                                "the layout says a block is %" PRIu64 " bytes, its name says %" PRIu64,
                                d->block_bytes, kvfi_replay_check_block_bytes(d->check));
    }
    return 0;
}

static int open_pulls(struct replay_decode *d)
{
    d->pulls = calloc(d->job->opts->depth, sizeof(*d->pulls));
    if (d->pulls == NULL) {
        return kvfi_replay_fail(d->job, "no memory for %" PRIu64 " requests in flight", d->job->opts->depth);
    }
    for (uint64_t i = 0; i < d->job->opts->depth; i++) {
        if (kvf_batch_create(d->job->engine, &d->pulls[i].batch) != KVF_OK) {
            return kvfi_replay_fail(d->job, "%s", kvf_last_error());
        }
    }
    return 0;
}

struct replay_decode *kvfi_replay_decode_open(struct replay_job *job, uint32_t number, uint64_t need)
{
    const struct replay_side *side = &job->shape->side[REPLAY_DST];
    struct replay_decode *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        kvfi_replay_fail(job, "no memory");
        return NULL;
    }
    d->job = job;
    d->instance = number / side->members;
    d->member = number % side->members;
    d->held = kvfi_replay_held(job->shape, REPLAY_DST, d->member);
    d->next = skip_refused(job, d->instance);
    if (need > INT32_MAX / 2) {
        kvfi_replay_fail(job, "--depth %" PRIu64 ": %" PRIu64 " KV blocks in flight are too many",
                         job->opts->depth, need);
    } else if (deal_ids(d, need) == 0 && open_pulls(d) == 0) {
        if (open_memory(d, number, need) != KVF_OK) {
            kvfi_replay_fail(job, "memory for pulled blocks: %s", kvf_last_error());
        } else if (open_check(d, need) == 0) {
            return d;
        }
    }
    kvfi_replay_decode_close(d);
    return NULL;
}

void kvfi_replay_decode_close(struct replay_decode *d)
{
    if (d == NULL) {
        return;
    }
    for (uint64_t i = 0; d->pulls != NULL && i < d->job->opts->depth; i++) {
        if (d->pulls[i].phase == PHASE_PULLING) {
            kvf_batch_cancel(d->pulls[i].batch); /* it points into what is freed here */
        }
        kvfi_replay_tables_free(&d->pulls[i].tables);
    }
    kvfi_replay_check_close(d->check);
    kvfi_replay_sources_close(&d->sources);
    kvf_layout_destroy(d->layout); /* segments and batches end with the engine */
    free(d->locals);
    free(d->bases);
    free(d->stale);
    free(d->free_ids);
    free(d->pulls);
    free(d);
}

void kvfi_replay_decode_reads(const struct replay_decode *d, uint8_t *reads)
{
    for (uint32_t s = 0; s < d->sources.count; s++) {
        reads[d->sources.source[s].member] = 1;
    }
}

/* The ranges that a prefill rank granted. */
static kvf_remote_t *const *granted(const struct replay_decode *d, uint32_t instance, uint32_t member)
{
    return d->remotes +
           (uint64_t)kvfi_replay_rank_of(d->job->shape, REPLAY_SRC, instance, member) * d->job->shape->ranges;
}

static int connect_source(struct replay_decode *d, uint32_t instance, const struct replay_source *source)
{
    kvf_remote_t *const *remotes = granted(d, instance, source->member);
    int rank = kvfi_replay_rank_of(d->job->shape, REPLAY_SRC, instance, source->member);
    kvf_path_t path;

    for (uint32_t i = 0; i < source->segments; i++) {
        if (remotes[i] == NULL) {
            return kvfi_replay_fail(d->job, "rank %d granted no pool", rank);
        }
    }
    if (kvf_path_of(d->locals[0].segment, remotes[0], d->job->opts->paths, &path) != KVF_OK) {
        return kvfi_replay_fail(d->job, "no path to the pool of rank %d: %s", rank, kvf_last_error());
    }
    return 0;
}

int kvfi_replay_decode_connect(struct replay_decode *d, kvf_remote_t *const *remotes)
{
    d->remotes = remotes;
    for (uint32_t i = 0; i < d->job->shape->side[REPLAY_SRC].instances; i++) {
        for (uint32_t s = 0; s < d->sources.count; s++) {
            if (connect_source(d, i, &d->sources.source[s]) != 0) {
                return -1;
            }
        }
    }
    return 0;
}

/* ---------------------------------------------------------------- a request's way */

/* Mail to all sources of a request. */
static int tell_sources(struct replay_decode *d, uint64_t request, enum replay_mail kind)
{
    const struct replay_job *job = d->job;
    uint32_t instance = kvfi_replay_prefill_of(job->shape, job->trace, request);

    for (uint32_t s = 0; s < d->sources.count; s++) {
        int rank = kvfi_replay_rank_of(job->shape, REPLAY_SRC, instance, d->sources.source[s].member);
        if (kvfi_replay_mail_send(job->comm, rank, kind, &request, sizeof(request)) != 0) {
            return kvfi_replay_fail(d->job, "no memory for a message");
        }
    }
    return 0;
}

/* Whether a request has come by the trace's clock; how late it is is noted once it begins. */
static bool has_come(const struct replay_decode *d, uint64_t request, uint64_t *late_ns_p)
{
    const kvfi_trace_request_t *requests = d->job->trace->requests;
    double after_s = requests[request].timestamp_s - requests[0].timestamp_s;
    uint64_t now = kvfi_replay_now(), due = d->job->begin_ns;

    *late_ns_p = 0;
    if (d->job->opts->speed == 0) {
        return true;
    }
    due += after_s > 0 ? (uint64_t)(after_s / (double)d->job->opts->speed * 1e9) : 0;
    *late_ns_p = now > due ? now - due : 0;
    return now >= due;
}

/* Starts the next request if it has come and its blocks have a place to land. */
static int start_next(struct replay_decode *d, struct pull *pull)
{
    struct replay_job *job = d->job;
    uint64_t request = d->next, count = job->trace->requests[request].count, late_ns;
    uint64_t blocks = count * job->shape->side[REPLAY_DST].per_block;

    if (blocks > d->free_count || !has_come(d, request, &late_ns)) {
        return 0;
    }
    if (kvfi_replay_tables_make(&pull->tables, &d->sources, count) != 0) {
        return kvfi_replay_fail(job, "no memory for request %" PRIu64, request);
    }
    d->free_count -= blocks;
    memcpy(pull->tables.dst_ids, d->free_ids + d->free_count, blocks * sizeof(*d->free_ids));
    pull->request = request;
    pull->unanswered = d->sources.count;
    pull->phase = PHASE_ASKED;
    job->stats.late_ns = late_ns > job->stats.late_ns ? late_ns : job->stats.late_ns;
    d->next = skip_refused(job, request + job->shape->side[REPLAY_DST].instances);
    return tell_sources(d, request, REPLAY_MAIL_ASK) == 0 ? 1 : -1;
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

/* Whether this thread does all of the copying. */
static bool all_local(const struct replay_decode *d, uint32_t instance)
{
    for (uint32_t s = 0; s < d->sources.count; s++) {
        kvf_path_t path;
        if (kvf_path_of(d->locals[0].segment, granted(d, instance, d->sources.source[s].member)[0],
                        d->job->opts->paths, &path) != KVF_OK ||
            (KVF_PATH_BIT(path) & KVF_PATHS_LOCAL) == 0) {
            return false;
        }
    }
    return true;
}

static kvf_status_t make_ops(struct replay_decode *d, struct pull *pull, uint32_t instance)
{
    struct replay_tables *t = &pull->tables;
    kvf_status_t status;

    for (uint32_t s = 0; s < d->sources.count && d->member == 0; s++) {
        uint64_t at = (uint64_t)s * t->src_blocks;
        kvfi_replay_inject_tables(d->job, pull->request, t->src_ids + at, t->src_gens + at);
    }
    status = kvfi_replay_tables_bind(t, &d->sources, d->locals, d->segment_count, granted(d, instance, 0));
    pull->posted = t->op_count;
    if (status == KVF_OK && d->member == 0) {
        pull->posted = kvfi_replay_inject_ops(d->job, pull->request, t->op_count);
    }
    return status;
}

static int post(struct replay_decode *d, struct pull *pull)
{
    struct replay_job *job = d->job;
    struct replay_tables *t = &pull->tables;
    uint32_t instance = kvfi_replay_prefill_of(job->shape, job->trace, pull->request);
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .tag = pull->request, .paths = job->opts->paths};

    for (uint32_t j = 0; j < t->blocks; j++) {
        if (looks_at(d, pull->request, j)) {
            kvfi_replay_check_mark(d->check, t->dst_ids[j], pull->request);
        }
    }
    if (make_ops(d, pull, instance) != KVF_OK) {
        return kvfi_replay_fail(job, "request %" PRIu64 ": %s", pull->request, kvf_last_error());
    }
    pull->ended_ns = 0;
    pull->posted_ns = kvfi_replay_now();
    if (kvf_batch_post(pull->batch, t->ops, pull->posted, sizeof(kvf_op_t), &opts) != KVF_OK) {
        return kvfi_replay_fail(job, "request %" PRIu64 ": %s", pull->request, kvf_last_error());
    }
    d->busy_since_ns = d->running == 0 ? pull->posted_ns : d->busy_since_ns;
    d->running++;
    pull->phase = PHASE_PULLING;
    if (all_local(d, instance)) {
        kvf_batch_wait(pull->batch, KVF_FOREVER); /* it has a deadline of its own */
        pull->ended_ns = kvfi_replay_now();
    }
    return 0;
}

static int source_of(const struct replay_decode *d, uint64_t request, int rank, uint32_t *s_p)
{
    uint32_t instance = kvfi_replay_prefill_of(d->job->shape, d->job->trace, request);

    for (uint32_t s = 0; s < d->sources.count; s++) {
        if (kvfi_replay_rank_of(d->job->shape, REPLAY_SRC, instance, d->sources.source[s].member) == rank) {
            *s_p = s;
            return 0;
        }
    }
    return -1;
}

int kvfi_replay_decode_answer(struct replay_decode *d, int from, const void *data, size_t len)
{
    struct replay_answer head;
    struct pull *pull = NULL;
    uint32_t s = 0;

    if (d->job->stop) {
        return 0;
    }
    memcpy(&head, data, len < sizeof(head) ? len : sizeof(head));
    for (uint64_t i = 0; len >= sizeof(head) && i < d->job->opts->depth; i++) {
        if (d->pulls[i].phase == PHASE_ASKED && d->pulls[i].request == head.request) {
            pull = &d->pulls[i];
        }
    }
    if (pull == NULL || head.blocks != pull->tables.src_blocks ||
        len != sizeof(head) + head.blocks * 2 * sizeof(uint32_t) ||
        source_of(d, head.request, from, &s) != 0) {
        return kvfi_replay_fail(d->job, "an answer of rank %d fits no request", from);
    }
    const uint8_t *ids = (const uint8_t *)data + sizeof(head);
    uint64_t bytes = head.blocks * sizeof(uint32_t);
    memcpy(pull->tables.src_ids + s * head.blocks, ids, bytes);
    memcpy(pull->tables.src_gens + s * head.blocks, ids + bytes, bytes);
    return --pull->unanswered == 0 ? post(d, pull) : 0;
}

/* What ended: tallies, and the prefill ranks may let the blocks go. */
static int take_end(struct replay_decode *d, struct pull *pull, kvf_status_t status)
{
    struct replay_job *job = d->job;
    uint64_t now = pull->ended_ns != 0 ? pull->ended_ns : kvfi_replay_now();
    kvf_batch_result_t result = {.struct_size = sizeof(result)};

    d->running--;
    job->stats.pull_ns += d->running == 0 ? now - d->busy_since_ns : 0;
    pull->phase = PHASE_PULLED;
    if (status != KVF_OK && status != KVF_ERR_STALE) {
        uint32_t first = d->sources.source[0].member, count = d->sources.count;
        uint32_t instance = kvfi_replay_prefill_of(job->shape, job->trace, pull->request);
        pull->phase = PHASE_FREE; /* nothing to look at */
        job->lost = job->lost || status == KVF_ERR_PEER;
        return kvfi_replay_fail(job, "request %" PRIu64 ": the pull from rank %d%s ended with %s: %s",
                                pull->request, kvfi_replay_rank_of(job->shape, REPLAY_SRC, instance, first),
                                count > 1 ? " and others" : "", kvf_status_name(status), kvf_last_error());
    }
    if (kvf_batch_result(pull->batch, &result) != KVF_OK) {
        return kvfi_replay_fail(job, "request %" PRIu64 ": %s", pull->request, kvf_last_error());
    }
    if (status == KVF_ERR_STALE) {
        kvfi_replay_tables_note_stale(&pull->tables, &d->sources, pull->posted);
    }
    if (pull->posted == pull->tables.op_count &&
        kvfi_replay_tables_agree(&pull->tables, &d->sources) != KVF_OK) {
        return kvfi_replay_fail(job, "request %" PRIu64 ": %s", pull->request, kvfi_cli_error());
    }
    job->stats.bytes += result.bytes;
    job->stats.pieces += result.pieces;
    job->pulls_ns[job->pull_count++] = now - pull->posted_ns;
    return tell_sources(d, pull->request, REPLAY_MAIL_RELEASE);
}

static void note_wrong(struct replay_job *job, const struct pull *pull, uint32_t j,
                       const struct replay_found *found)
{
    const kvfi_trace_request_t *request = &job->trace->requests[pull->request];
    uint32_t per_block = job->shape->side[REPLAY_DST].per_block, n = j / per_block;

    job->stats.mismatched_bytes += found->wrong;
    job->stats.canaries += found->canaries;
    if (job->stats.first_wrong[0] == '\0') {
        snprintf(job->stats.first_wrong, sizeof(job->stats.first_wrong),
                 "request %" PRIu64 " (line %" PRIu64 "), its trace block %" PRIu32 " (id %" PRIu64
                 "), KV block %" PRIu32 " of that: %s",
                 pull->request, request->line, n, job->trace->ids[request->first + n], j % per_block,
                 found->where);
    }
}

static void check_block(struct replay_decode *d, struct pull *pull, uint32_t j)
{
    struct replay_job *job = d->job;
    const struct replay_side *side = &job->shape->side[REPLAY_DST];
    const uint64_t *prefixes = job->trace->ids + job->trace->requests[pull->request].first;
    uint64_t stale = kvfi_replay_tables_stale(&pull->tables, &d->sources, j, d->stale);
    struct replay_expect expect = {
        .request = pull->request,
        .prefix = prefixes[j / side->per_block],
        .first_token = j % side->per_block * side->block_tokens,
        .step_tokens = d->sources.step_tokens,
        .stale = d->stale,
        .stale_count = stale > 0 ? d->sources.count : 0,
    };
    struct replay_found found;

    job->stats.stale_blocks += stale > 0;
    job->stats.stale_bytes += stale;
    if (looks_at(d, pull->request, j)) {
        kvfi_replay_check_block(d->check, pull->tables.dst_ids[j], &expect, &found);
        job->stats.verified_bytes += d->block_bytes - stale;
        if (found.wrong > 0) {
            note_wrong(job, pull, j, &found);
        }
    }
}

static void check(struct replay_decode *d, struct pull *pull)
{
    struct replay_job *job = d->job;
    const struct replay_tables *t = &pull->tables;

    if (d->member == 0) {
        kvfi_replay_inject_bytes(job, pull->request, d->layout, d->bases, t->dst_ids[0]);
    }
    for (uint32_t j = 0; j < t->blocks; j++) {
        check_block(d, pull, j);
    }
    job->stats.requests++;
    job->stats.trace_blocks += job->trace->requests[pull->request].count;
    job->stats.blocks += t->blocks;
    memcpy(d->free_ids + d->free_count, t->dst_ids, t->blocks * sizeof(*d->free_ids));
    d->free_count += t->blocks;
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
        if (pull->phase == PHASE_FREE && !d->job->stop && d->next < d->job->trace->request_count && rc >= 0) {
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

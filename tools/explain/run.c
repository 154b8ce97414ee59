/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The run behind --analyze. A job of one process is both sides of one pair of ranks, one of two a
 * side each, and one of as many processes as there are ranks on both sides is all pairs; then each
 * process that posts takes its pairs one after the other, all of them at the same time. Waits for
 * all, in kvf_mpi_agree(), asleep.
 */
#include "config.h"

#include "run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kvferry/mpi.h>

#include "base/memory.h"

#include "../cli.h"

#define DEADLINE_NS UINT64_C(300000000000)
#define NOBODY      UINT32_MAX

/* One pair that this process posts. */
struct lane {
    uint32_t pair; /* index */
    kvf_op_t *ops;
    uint32_t *ids;
    uint32_t *far_ids; /* the other side's table */
    kvf_bind_local_t *locals;
    kvf_remote_t **remotes;
    kvf_bind_table_t table[2];
    kvf_bind_t bind;
    uint64_t *bind_ns, *post_ns, *all_ns; /* by run */
};

struct run {
    const struct explain_job *job;
    const struct explain_world *world;
    struct explain_pairs *pairs;
    uint32_t seat[2]; /* rank of each side that this process is, or NOBODY */
    struct explain_cache cache[2];
    kvf_grant_t *grant;
    uint32_t ranges;        /* most that any process grants */
    kvf_remote_t **remotes; /* by process: ranges of them */
    struct lane *lanes;
    uint32_t lane_count;
    kvf_batch_t *batch;
    bool *comes; /* by source rank */
};

static uint64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* All brought 0, or all get -1 with the sentence of the first that did not. */
static int meet(const struct run *r, int rc)
{
    kvf_status_t mine = rc == 0 ? KVF_OK : kvf_fail(KVF_ERR_INVALID, "%s", kvfi_cli_error());

    if (kvf_mpi_agree(r->job->mpi, mine) != KVF_OK) {
        return kvfi_cli_fail("%s", kvf_last_error());
    }
    return 0;
}

/* ---------------------------------------------------------------- seats */

/* Which process is a rank of a side; -1: none. */
static int process_of(const struct run *r, unsigned side, uint32_t rank)
{
    const struct explain_pair *first = &r->pairs->pairs[0];
    uint32_t sources = r->world->side[EXPLAIN_SOURCE].rank_count;
    int size = r->job->size;

    if (size > 2) {
        return (int)(side == EXPLAIN_SOURCE ? rank : sources + rank);
    }
    if (rank != (side == EXPLAIN_SOURCE ? first->src : first->dst)) {
        return -1;
    }
    return size == 1 || side == EXPLAIN_SOURCE ? 0 : 1;
}

static bool runs(const struct run *r, const struct explain_pair *pair)
{
    return process_of(r, EXPLAIN_SOURCE, pair->src) >= 0 && process_of(r, EXPLAIN_DEST, pair->dst) >= 0;
}

static int take_seats(struct run *r)
{
    uint32_t sources = r->world->side[EXPLAIN_SOURCE].rank_count;
    uint32_t all = sources + r->world->side[EXPLAIN_DEST].rank_count;

    const uint32_t path = r->world->opts->path;

    r->comes = calloc(sources, sizeof(*r->comes));
    if (r->job->size == 1 && path != 0 && path != KVF_PATH_BIT(KVF_PATH_SELF)) {
        return kvfi_cli_fail("--path %s takes 2 ranks, and the job has 1: mpirun -n 2 --bind-to none",
                             kvf_path_name((kvf_path_t)__builtin_ctz(path)));
    }
    if (r->job->size > 2 && (uint32_t)r->job->size != all) {
        return kvfi_cli_fail("--analyze: the job has %d processes; 1 or 2 run one pair of ranks, %u all "
                             "of them",
                             r->job->size, all);
    }
    if (r->comes == NULL) {
        return kvfi_cli_fail("no memory for %u ranks", sources);
    }
    for (unsigned side = 0; side < 2; side++) {
        r->seat[side] = NOBODY;
        for (uint32_t i = 0; i < r->world->side[side].rank_count; i++) {
            if (process_of(r, side, i) == r->job->rank) {
                r->seat[side] = i;
            }
        }
    }
    for (uint32_t i = 0; i < r->pairs->count; i++) {
        const struct explain_pair *pair = &r->pairs->pairs[i];
        if (runs(r, pair) && pair->dst == r->seat[EXPLAIN_DEST]) {
            r->comes[pair->src] = true;
        }
    }
    return 0;
}

/* ---------------------------------------------------------------- memory */

static uint64_t bytes_of(const struct run *r, unsigned side)
{
    const kvf_layout_desc_t *desc;
    uint64_t sum = 0;

    if (r->seat[side] == NOBODY) {
        return 0;
    }
    desc = kvf_layout_describe(r->world->side[side].layouts[r->seat[side]]);
    for (uint32_t i = 0; i < desc->segment_count; i++) {
        sum += desc->segment_len[i];
    }
    return sum;
}

/* The caches of all processes of this node together, against what is free on it. */
static int check_room(const struct run *r)
{
    uint64_t mine = bytes_of(r, EXPLAIN_SOURCE) + bytes_of(r, EXPLAIN_DEST), all = mine;
    const char *limit;
    uint64_t left = kvfi_memory_available(&limit);
    char a[32], b[32];
    MPI_Comm node;

    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Allreduce(&mine, &all, 1, MPI_UINT64_T, MPI_SUM, node);
    MPI_Comm_free(&node);
    if (all <= left) {
        return 0;
    }
    return kvfi_cli_fail(
        "--analyze: the caches of this node's ranks take %s, and %s are free (%s): a smaller "
        "--tokens would fit",
        kvfi_cli_bytes(all, a, sizeof(a)), kvfi_cli_bytes(left, b, sizeof(b)), limit);
}

/* The side whose memory the other one reaches into. */
static unsigned granting_side(const struct run *r)
{
    return r->world->opts->dir == KVF_READ ? EXPLAIN_SOURCE : EXPLAIN_DEST;
}

static int open_caches(struct run *r)
{
    for (unsigned side = 0; side < 2; side++) {
        if (r->seat[side] != NOBODY &&
            kvfi_explain_cache_open(r->world, r->job->engine, r->world->opts->memory, side, r->seat[side],
                                    &r->cache[side]) != 0) {
            return -1;
        }
    }
    if (r->seat[EXPLAIN_SOURCE] != NOBODY) {
        kvfi_explain_cache_fill(&r->cache[EXPLAIN_SOURCE]);
    }
    return 0;
}

static int grant(struct run *r)
{
    const struct explain_cache *cache = &r->cache[granting_side(r)];
    kvf_range_t *ranges;
    kvf_status_t status;

    if (cache->count == 0) {
        return 0;
    }
    ranges = calloc(cache->count, sizeof(*ranges));
    if (ranges == NULL) {
        return kvfi_cli_fail("no memory for %u ranges", cache->count);
    }
    for (uint32_t i = 0; i < cache->count; i++) {
        ranges[i].segment = cache->parts[i].segment;
        ranges[i].len = cache->parts[i].len;
        ranges[i].rights = r->world->opts->dir == KVF_READ ? KVF_RIGHT_READ : KVF_RIGHT_WRITE;
    }
    status = kvf_grant_create(r->job->engine, ranges, cache->count, NULL, &r->grant);
    free(ranges);
    return status == KVF_OK ? 0 : kvfi_cli_fail("granting the cache: %s", kvf_last_error());
}

static int exchange(struct run *r)
{
    uint32_t most = 1;

    for (uint32_t i = 0; i < r->world->side[granting_side(r)].rank_count; i++) {
        const kvf_layout_t *layout = r->world->side[granting_side(r)].layouts[i];
        uint32_t count = kvf_layout_describe(layout)->segment_count;
        most = count > most ? count : most;
    }
    r->ranges = most;
    r->remotes = calloc((size_t)r->job->size * most, sizeof(kvf_remote_t *));
    if (meet(r, r->remotes == NULL ? kvfi_cli_fail("no memory for %u remotes", most) : 0) != 0) {
        return -1;
    }
    if (kvf_mpi_exchange_grants(r->job->mpi, r->grant, most, r->remotes, NULL) != KVF_OK) {
        return kvfi_cli_fail("exchanging the grants: %s", kvf_last_error());
    }
    return 0;
}

/* ---------------------------------------------------------------- lanes */

static int open_lane(struct run *r, uint32_t index, struct lane *lane)
{
    const struct explain_pair *pair = &r->pairs->pairs[index];
    unsigned far = granting_side(r), near = 1 - far;
    uint32_t far_rank = far == EXPLAIN_SOURCE ? pair->src : pair->dst;
    struct explain_cache *cache = &r->cache[near];
    uint64_t reps = r->world->opts->reps;
    int process = process_of(r, far, far_rank);

    lane->pair = index;
    lane->ops = calloc(pair->figures.ops + 1, sizeof(*lane->ops));
    lane->ids = calloc(pair->figures.ids + 1, sizeof(*lane->ids));
    lane->far_ids = calloc(r->world->side[far].blocks, sizeof(*lane->far_ids));
    lane->locals = calloc(cache->count, sizeof(*lane->locals));
    lane->bind_ns = calloc(3 * reps, sizeof(*lane->bind_ns));
    if (lane->ops == NULL || lane->ids == NULL || lane->far_ids == NULL || lane->locals == NULL ||
        lane->bind_ns == NULL) {
        return kvfi_cli_fail("no memory for %" PRIu64 " ops", pair->figures.ops);
    }
    lane->post_ns = lane->bind_ns + reps;
    lane->all_ns = lane->post_ns + reps;
    for (uint32_t i = 0; i < cache->count; i++) {
        lane->locals[i].segment = cache->parts[i].segment;
    }
    lane->remotes = r->remotes + (size_t)process * r->ranges;
    kvfi_explain_table(r->world, far, far_rank, lane->far_ids);
    kvfi_explain_bind_of(r->world, lane->table, &lane->bind);
    lane->table[near].ids = cache->ids;
    lane->table[far].ids = lane->far_ids;
    lane->bind.locals = lane->locals;
    lane->bind.local_count = cache->count;
    lane->bind.remotes = lane->remotes;
    lane->bind.remote_count = kvf_layout_describe(r->world->side[far].layouts[far_rank])->segment_count;
    return 0;
}

static int open_lanes(struct run *r)
{
    unsigned near = 1 - granting_side(r);

    if (kvf_batch_create(r->job->engine, &r->batch) != KVF_OK) {
        return kvfi_cli_fail("%s", kvf_last_error());
    }
    r->lanes = calloc(r->pairs->count, sizeof(*r->lanes));
    if (r->lanes == NULL) {
        return kvfi_cli_fail("no memory for %u pairs", r->pairs->count);
    }
    for (uint32_t i = 0; i < r->pairs->count; i++) {
        const struct explain_pair *pair = &r->pairs->pairs[i];
        if (runs(r, pair) && r->seat[near] == (near == EXPLAIN_SOURCE ? pair->src : pair->dst) &&
            open_lane(r, i, &r->lanes[r->lane_count++]) != 0) {
            return -1;
        }
    }
    return 0;
}

static void close_lane(struct lane *lane)
{
    free(lane->ops);
    free(lane->ids);
    free(lane->far_ids);
    free(lane->locals);
    free(lane->bind_ns);
}

static void bytes_by_path(kvf_engine_t *engine, uint64_t bytes[KVF_PATH_COUNT])
{
    kvf_flow_t flow = {.struct_size = sizeof(flow)};
    uint64_t cursor = 0;

    memset(bytes, 0, KVF_PATH_COUNT * sizeof(*bytes));
    while (kvf_engine_flow(engine, &cursor, &flow) == KVF_OK) {
        bytes[flow.path] += flow.bytes;
    }
}

/* Over which path most bytes went since then. */
static kvf_path_t path_since(kvf_engine_t *engine, const uint64_t before[KVF_PATH_COUNT])
{
    uint64_t now[KVF_PATH_COUNT], most = 0;
    kvf_path_t path = KVF_PATH_NONE;

    bytes_by_path(engine, now);
    for (int i = 0; i < KVF_PATH_COUNT; i++) {
        if (now[i] - before[i] > most) {
            most = now[i] - before[i];
            path = (kvf_path_t)i;
        }
    }
    return path;
}

/* Binds, posts, and waits: from the two tables to the last byte. */
static int run_lane(struct run *r, struct lane *lane, uint64_t rep)
{
    struct explain_pair *pair = &r->pairs->pairs[lane->pair];
    size_t ops = pair->figures.ops + 1, ids = pair->figures.ids + 1;
    kvf_batch_opts_t opts = {
        .struct_size = sizeof(opts), .deadline_ns = DEADLINE_NS, .paths = r->world->opts->path};
    uint64_t before[KVF_PATH_COUNT];
    uint64_t start, bound, posted;
    kvf_status_t status;

    bytes_by_path(r->job->engine, before);
    start = now_ns();
    status = kvf_plan_bind(pair->plan, &lane->bind, lane->ops, sizeof(*lane->ops), &ops, lane->ids, &ids);

    bound = now_ns();
    if (status == KVF_OK) {
        status = kvf_batch_post(r->batch, lane->ops, ops, sizeof(*lane->ops), &opts);
    }
    posted = now_ns();
    if (status == KVF_OK) {
        status = kvf_batch_wait(r->batch, KVF_FOREVER);
    }
    if (status != KVF_OK) {
        return kvfi_cli_fail("destination rank %u from source rank %u: %s: %s", pair->dst, pair->src,
                             kvf_status_name(status), kvf_last_error());
    }
    lane->bind_ns[rep] = bound - start;
    lane->post_ns[rep] = posted - bound;
    lane->all_ns[rep] = now_ns() - start;
    pair->run.path = path_since(r->job->engine, before);
    return 0;
}

/* ---------------------------------------------------------------- runs */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *values, uint64_t count)
{
    qsort(values, count, sizeof(values[0]), by_number);
    return values[count / 2];
}

static int one_run(struct run *r, uint64_t rep, struct explain_run *total)
{
    struct explain_cache *mine = &r->cache[EXPLAIN_DEST];
    uint64_t right, wrong;
    int rc = 0;

    if (mine->count > 0) {
        kvfi_explain_cache_poison(mine);
    }
    if (meet(r, 0) != 0) {
        return -1;
    }
    for (uint32_t i = 0; rc == 0 && i < r->lane_count; i++) {
        rc = run_lane(r, &r->lanes[i], rep);
    }
    if (meet(r, rc) != 0) {
        return -1;
    }
    if (mine->count > 0) {
        kvfi_explain_cache_judge(mine, r->comes, &right, &wrong);
        total->right += right;
        total->wrong += wrong;
    }
    return 0;
}

/* What each process measured, in the pairs of all. */
static void tell_all(struct run *r, struct explain_run *total)
{
    uint64_t sums[2] = {total->right, total->wrong};

    for (uint32_t i = 0; i < r->lane_count; i++) {
        struct lane *lane = &r->lanes[i];
        struct explain_run *run = &r->pairs->pairs[lane->pair].run;
        run->bind_ns = median(lane->bind_ns, r->world->opts->reps);
        run->post_ns = median(lane->post_ns, r->world->opts->reps);
        run->all_ns = median(lane->all_ns, r->world->opts->reps);
        run->least_ns = lane->all_ns[0];
        run->most_ns = lane->all_ns[r->world->opts->reps - 1];
    }
    for (uint32_t i = 0; i < r->pairs->count; i++) {
        struct explain_run *run = &r->pairs->pairs[i].run;
        uint64_t own[6] = {run->path, run->bind_ns, run->post_ns, run->all_ns, run->least_ns, run->most_ns},
                 all[6];
        MPI_Allreduce(own, all, 6, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
        *run = (struct explain_run){.path = (kvf_path_t)all[0],
                                    .bind_ns = all[1],
                                    .post_ns = all[2],
                                    .all_ns = all[3],
                                    .least_ns = all[4],
                                    .most_ns = all[5]};
    }
    MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    r->pairs->right = sums[0];
    r->pairs->wrong = sums[1];
}

/* Returns an exit code. */
static int run_all(struct run *r)
{
    struct explain_run total = {.right = 0};

    if (meet(r, take_seats(r)) != 0) {
        return KVFI_EXIT_USAGE;
    }
    if (meet(r, check_room(r)) != 0 || meet(r, open_caches(r)) != 0 || meet(r, grant(r)) != 0 ||
        exchange(r) != 0 || meet(r, open_lanes(r)) != 0) {
        return KVFI_EXIT_WRONG;
    }
    /* The first one maps memory and warms up: its times are overwritten, its bytes count. */
    for (uint64_t rep = 0; rep <= r->world->opts->reps; rep++) {
        if (one_run(r, rep > 0 ? rep - 1 : 0, &total) != 0) {
            return KVFI_EXIT_WRONG;
        }
    }
    tell_all(r, &total);
    return r->pairs->wrong > 0 ? KVFI_EXIT_WRONG : KVFI_EXIT_OK;
}

int kvfi_explain_run(const struct explain_job *job, const struct explain_world *world,
                     struct explain_pairs *pairs)
{
    struct run r = {.job = job, .world = world, .pairs = pairs};
    int code = run_all(&r);
    char sentence[512];

    snprintf(sentence, sizeof(sentence), "%s", kvfi_cli_error());
    meet(&r, 0); /* nobody posts any more */
    if (code == KVFI_EXIT_OK || pairs->wrong == 0) {
        kvfi_cli_fail("%s", sentence);
    } else {
        kvfi_cli_fail("%" PRIu64 " bytes are wrong", pairs->wrong);
    }
    if (r.grant != NULL) {
        kvf_grant_revoke(r.grant, KVF_FOREVER);
    }
    kvf_batch_free(r.batch);
    for (unsigned side = 0; side < 2; side++) {
        kvfi_explain_cache_close(&r.cache[side]);
    }
    for (uint32_t i = 0; i < r.lane_count; i++) {
        close_lane(&r.lanes[i]);
    }
    free(r.lanes);
    free(r.remotes);
    free(r.comes);
    return code;
}

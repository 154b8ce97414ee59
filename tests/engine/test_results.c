/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What of a request arrived, when its sources go wrong: two sources with blocks of 16 tokens, one
 * destination with blocks of 64 and another layout, over each path. Source blocks are reused in the
 * middle, a source revokes, is killed, is frozen, the deadline passes midway. Whatever an entry's
 * status or the prefix calls arrived must be there byte for byte, cell by cell; and where the loss
 * is known block for block, statuses and prefix must be exactly that. Cells are found by
 * kvf_layout_locate(), not by plans.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#include "forbid.h"
#include "rig.h"

#define SOURCES 2
#define LAYERS  4
#define HEADS   4
#define SMALL   16 /* source blocks are small, those of the destination large */
#define LARGE   64
#define BLOCKS  64 /* of a source */
#define ENTRIES (BLOCKS * SMALL / LARGE)
#define FROM    UINT64_C(5) /* the range cuts blocks at both ends */
#define TO      (UINT64_C(16) * BLOCKS - 9)
#define LITTLE  64
#define MUCH    4096
#define MAX_OPS 64

/* What a source is. */
typedef struct shape {
    uint32_t rank, replicas; /* replicas: both hold one latent, else each holds half of the heads */
    uint32_t cell;
} shape_t;

typedef struct source {
    kvf_peer_t *peer;
    kvf_remote_t *remote;
    kvf_layout_t *layout;
    kvf_plan_t *plan;
    kvf_batch_t *batch;
    kvf_bind_table_t table;
    kvf_bind_t bind;
    uint32_t ids[BLOCKS], gens[BLOCKS], list[16 * BLOCKS];
    kvf_op_t ops[MAX_OPS];
    size_t op_count;
    int8_t pairs[2 * BLOCKS];
} source_t;

typedef struct world {
    where_t where;
    shape_t shape;
    proc_t child[SOURCES];
    source_t source[SOURCES];
    kvf_engine_t *engine;
    kvf_segment_t *segment;
    uint8_t *mem;
    uint64_t len;
    kvf_layout_t *layout;
    kvf_bind_table_t table;
    uint32_t ids[ENTRIES];
    int8_t entries[ENTRIES];
    kvf_plan_results_t results;
} world_t;

/* ---------------------------------------------------------------- both sides */

static kvf_layout_t *layout_of(const shape_t *shape, bool destination)
{
    kvf_kv_model_t model = {.struct_size = sizeof(model),
                            .layers = LAYERS,
                            .name = "test",
                            .heads = shape->replicas ? 1 : HEADS,
                            .mla = shape->replicas,
                            .k_bytes = shape->replicas ? shape->cell : shape->cell / 2,
                            .v_bytes = shape->replicas ? 0 : shape->cell / 2,
                            .element = "byte"};
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts),
                              .block_tokens = destination ? LARGE : SMALL,
                              .blocks = destination ? ENTRIES : BLOCKS};
    kvf_layout_t *layout = NULL;

    if (!shape->replicas && !destination) {
        opts.first_head = shape->rank * HEADS / SOURCES;
        opts.heads = HEADS / SOURCES;
    }
    ok(kvf_layout_build(&model,
                        shape->replicas ? destination ? "BLNC" : "LBNC"
                        : destination   ? "BLHNC"
                                        : "LBNHC",
                        &opts, &layout));
    return layout;
}

/* A cell by token; block is that of the token. */
static uint64_t cell_at(const kvf_layout_t *layout, uint32_t layer, uint32_t head, uint32_t block,
                        uint64_t token)
{
    const kvf_group_t *group = kvf_layout_describe(layout)->groups;
    uint64_t off = 0;

    ok(kvf_layout_locate(layout, 0, 0, layer, block, head, (uint32_t)(token % group->block_tokens),
                         NULL, &off));
    return off;
}

static uint64_t seed_of(uint32_t layer, uint32_t head, uint64_t token)
{
    return (layer * UINT64_C(100) + head) * 1000000 + token + 1;
}

/* A source's block of a request's block i. */
static uint32_t block_of(uint32_t i)
{
    return (i * 13 + 5) % BLOCKS;
}

/* in: shape_t. The memory is there; holds every token of the request. */
static void at_fill_cache(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    shape_t shape;
    kvf_layout_t *layout;
    const kvf_group_t *group;
    uint32_t taken[BLOCKS];

    (void)out;
    memcpy(&shape, in, in_len);
    layout = layout_of(&shape, false);
    group = kvf_layout_describe(layout)->groups;
    if (side->pool != NULL)
        ok(kvf_pool_alloc(side->pool, BLOCKS, taken));
    for (uint64_t t = 0; t < BLOCKS * SMALL; t++)
        for (uint32_t l = 0; l < LAYERS; l++)
            for (uint32_t h = group->first_head; h < group->first_head + group->heads; h++)
                pattern_fill(side->mem + cell_at(layout, l, h, block_of((uint32_t)t / SMALL), t),
                             shape.cell, seed_of(l, h, t));
    kvf_layout_destroy(layout);
}

/* Generations of all blocks, in the order of the request. */
static void at_gens(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t ids[BLOCKS], gens[BLOCKS];

    (void)in;
    (void)in_len;
    for (uint32_t i = 0; i < BLOCKS; i++)
        ids[i] = block_of(i);
    ok(kvf_pool_generations(side->pool, BLOCKS, ids, gens));
    out_put(out, gens, sizeof(gens));
}

/* The owner uses its blocks again. in: blocks of the request. */
static void at_reuse(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t blocks[BLOCKS], count = (uint32_t)(in_len / sizeof(blocks[0]));

    (void)out;
    memcpy(blocks, in, in_len);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = block_of(blocks[i]);

        ok(kvf_pool_raise(side->pool, 1, &id));
    }
}

static void at_revoke(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_grant_revoke(side->grant, 10 * SEC));
    side->grant = NULL;
}

/* One block after the other is given to somebody else, who writes to it. */
static void *churns(void *arg)
{
    side_t *side = arg;
    const kvf_layout_t *layout = side->extra[0];
    const kvf_group_t *group = kvf_layout_describe(layout)->groups;

    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint32_t id = block_of(i * 23 % BLOCKS);

        sleep_ms(8);
        ok(kvf_pool_raise(side->pool, 1, &id));
        for (uint32_t l = 0; l < LAYERS; l++)
            memset(side->mem + cell_at(layout, l, group->first_head, id, 0), 0x5a,
                   group->planes[0].block_stride);
    }
    return NULL;
}

/* in: shape_t */
static void at_churn(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    shape_t shape;
    pthread_t thread;

    (void)out;
    memcpy(&shape, in, in_len);
    side->extra[0] = layout_of(&shape, false);
    must(pthread_create(&thread, NULL, churns, side) == 0, "no thread");
    pthread_detach(thread);
}

/* ------------------------------------------------------------- the test's side */

static void child_open(world_t *w, uint32_t i)
{
    shape_t shape = w->shape;
    side_open_t open;
    side_mem_t mem = {.rights = KVF_RIGHT_READ};
    kvf_layout_t *layout;

    shape.rank = i;
    memset(&open, 0, sizeof(open));
    where_opts(w->where, &open.opts);
    snprintf(open.net, sizeof(open.net), "%s", open.opts.net != NULL ? open.opts.net : "");
    open.opts.net = NULL;
    open.opts.rank = 10 + i;
    open.forbid_cma = w->where == WHERE_STAGE;
    layout = layout_of(&shape, false);
    mem.block_bytes = kvf_layout_block_bytes(layout);
    mem.len = BLOCKS * mem.block_bytes;
    mem.pool_blocks = w->where == WHERE_SHM || w->where == WHERE_AM ? BLOCKS : 0;
    w->source[i].layout = layout;
    proc_call(&w->child[i], side_open_engine, &open, sizeof(open), NULL, 0);
    proc_call(&w->child[i], side_make_memory, &mem, sizeof(mem), NULL, 0);
    proc_call(&w->child[i], at_fill_cache, &shape, sizeof(shape), NULL, 0);
    if (mem.pool_blocks > 0) {
        proc_call(&w->child[i], at_gens, NULL, 0, w->source[i].gens, sizeof(w->source[i].gens));
        w->source[i].table.gens = w->source[i].gens;
    }
}

static void meet(world_t *w, uint32_t i)
{
    uint8_t buf[sizeof(side_slot_t) + BLOB_MAX];
    uint32_t flags = w->where == WHERE_AM ? KVF_BLOB_FAR : 0, count = 1;
    source_t *s = &w->source[i];
    size_t len;

    memset(buf, 0, sizeof(side_slot_t));
    engine_blob(w->engine, flags, buf + sizeof(side_slot_t), &len);
    proc_call(&w->child[i], side_import_peer, buf, sizeof(side_slot_t) + len, NULL, 0);
    len = proc_call(&w->child[i], side_blob, &flags, sizeof(flags), buf, sizeof(buf));
    ok(kvf_peer_import(w->engine, buf, len, &s->peer));
    len = proc_call(&w->child[i], side_grant_blob, NULL, 0, buf, sizeof(buf));
    ok(kvf_remote_import(s->peer, buf, len, &s->remote, &count));
    ok(kvf_batch_create(w->engine, &s->batch));
}

static void bind(world_t *w, uint32_t i)
{
    source_t *s = &w->source[i];
    size_t ids = sizeof(s->list) / sizeof(s->list[0]);

    for (uint32_t k = 0; k < BLOCKS; k++)
        s->ids[k] = block_of(k);
    s->table.ids = s->ids;
    s->table.count = BLOCKS;
    s->bind = (kvf_bind_t){.struct_size = sizeof(s->bind),
                           .dir = KVF_READ,
                           .src_table_count = 1,
                           .dst_table_count = 1,
                           .src_tables = &s->table,
                           .dst_tables = &w->table,
                           .first_token = FROM,
                           .tokens = TO - FROM,
                           .segments = &w->segment,
                           .segment_count = 1,
                           .remotes = &s->remote,
                           .remote_count = 1,
                           .pair_status = s->pairs,
                           .pair_count = sizeof(s->pairs)};
    s->op_count = MAX_OPS;
    ok(kvf_plan_bind(s->plan, &s->bind, s->ops, sizeof(s->ops[0]), &s->op_count, s->list, &ids));
}

static void open_world(world_t *w, where_t where, uint32_t replicas, uint32_t cell,
                       uint32_t copy_threads)
{
    const kvf_layout_t *layouts[SOURCES];
    kvf_plan_source_t sources[SOURCES];
    kvf_engine_opts_t opts;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    uint32_t count = SOURCES;

    memset(w, 0, sizeof(*w));
    w->where = where;
    w->shape = (shape_t){.replicas = replicas, .cell = cell};
    for (uint32_t i = 0; i < SOURCES; i++)
        proc_start(&w->child[i], sizeof(side_t), 60, side_idle);
    where_opts(where, &opts);
    must(where != WHERE_STAGE || forbid_cma(EPERM) == 0, "seccomp: %s", strerror(errno));
    opts.copy_threads = copy_threads;
    ok(kvf_engine_open(&opts, &w->engine));
    w->layout = layout_of(&w->shape, true);
    w->len = ENTRIES * kvf_layout_block_bytes(w->layout);
    ok(kvf_segment_alloc(w->engine, w->len, &w->segment));
    ok(kvf_segment_query(w->segment, &attr));
    w->mem = attr.addr;
    for (uint32_t e = 0; e < ENTRIES; e++)
        w->ids[e] = (e * 5 + 3) % ENTRIES;
    w->table = (kvf_bind_table_t){.ids = w->ids, .count = ENTRIES, .block_status = w->entries};
    for (uint32_t i = 0; i < SOURCES; i++) {
        child_open(w, i);
        layouts[i] = w->source[i].layout;
        meet(w, i);
    }
    ok(kvf_plan_sources(layouts, SOURCES, w->layout, 0, NULL, sources, &count));
    must(count == SOURCES, "%u sources", count);
    for (uint32_t i = 0; i < SOURCES; i++) {
        w->source[sources[i].rank].plan = sources[i].plan;
        bind(w, sources[i].rank);
    }
}

static void close_world(world_t *w)
{
    ok(kvf_engine_close(w->engine, 10 * SEC));
    for (uint32_t i = 0; i < SOURCES; i++) {
        kvf_plan_destroy(w->source[i].plan);
        kvf_layout_destroy(w->source[i].layout);
        if (w->child[i].pid != 0) {
            proc_call(&w->child[i], side_close, NULL, 0, NULL, 0);
            proc_end(&w->child[i]);
        }
    }
    kvf_layout_destroy(w->layout);
}

static void begin(world_t *w)
{
    memset(w->mem, 0, w->len);
    memset(w->entries, KVF_INPROGRESS, sizeof(w->entries));
    w->results = (kvf_plan_results_t){.struct_size = sizeof(w->results)};
}

static kvf_status_t post(world_t *w, uint32_t i, uint64_t deadline_ns)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = deadline_ns};
    source_t *s = &w->source[i];

    return kvf_batch_post(s->batch, s->ops, s->op_count, sizeof(s->ops[0]), &opts);
}

/* Waits for a posted batch, adds what came of it. Returns the batch's status, or posted. */
static kvf_status_t finish(world_t *w, uint32_t i, kvf_status_t posted)
{
    source_t *s = &w->source[i];
    kvf_status_t status = posted == KVF_OK ? kvf_batch_wait(s->batch, patient(20)) : posted;

    must(status != KVF_INPROGRESS, "the batch still runs");
    ok(kvf_plan_results(s->plan, &s->bind, posted, &w->results));
    return status;
}

/* Both sources; the worst status of the two. */
static kvf_status_t pull(world_t *w, uint64_t deadline_ns)
{
    kvf_status_t posted[SOURCES], worst = KVF_OK;

    begin(w);
    for (uint32_t i = 0; i < SOURCES; i++)
        posted[i] = post(w, i, deadline_ns);
    for (uint32_t i = 0; i < SOURCES; i++) {
        kvf_status_t status = finish(w, i, posted[i]);

        worst = status < worst ? status : worst;
    }
    return worst;
}

static bool token_is_there(const world_t *w, uint64_t token)
{
    const kvf_group_t *group = kvf_layout_describe(w->layout)->groups;

    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t h = 0; h < group->heads; h++)
            if (pattern_compare(w->mem + cell_at(w->layout, l, h, w->ids[token / LARGE], token),
                                w->shape.cell, seed_of(l, h, token)) != UINT64_MAX)
                return false;
    return true;
}

/* Nothing is called arrived that is not there; statuses and prefix agree. */
static void check_truth(const world_t *w)
{
    const kvf_plan_results_t *r = &w->results;
    kvf_status_t lowest = KVF_OK;

    must(r->bindings == SOURCES && r->first_token == FROM && r->tokens == TO - FROM, "the range");
    for (uint64_t t = FROM; t < TO; t++) {
        must(w->entries[t / LARGE] != KVF_OK || token_is_there(w, t),
             "entry %zu is OK, token %zu is not there", (size_t)(t / LARGE), (size_t)t);
        must(t - FROM >= r->prefix_tokens || token_is_there(w, t),
             "token %zu is not there, the prefix has %zu", (size_t)t, (size_t)r->prefix_tokens);
        must(t - FROM >= r->prefix_tokens / LARGE * LARGE ||
                 t / LARGE * LARGE + LARGE > FROM + r->prefix_tokens ||
                 w->entries[t / LARGE] == KVF_OK,
             "entry %zu is %d, the prefix has %zu", (size_t)(t / LARGE), w->entries[t / LARGE],
             (size_t)r->prefix_tokens);
    }
    must(r->prefix_tokens == TO - FROM || w->entries[(FROM + r->prefix_tokens) / LARGE] != KVF_OK,
         "the prefix ends with token %zu, in an entry that arrived", (size_t)r->prefix_tokens);
    for (uint32_t e = 0; e < ENTRIES; e++)
        lowest = w->entries[e] < lowest ? (kvf_status_t)w->entries[e] : lowest;
    must(r->status == lowest, "%d, but the worst entry is %d", r->status, lowest);
    must((r->failed == 0) == (r->status == KVF_OK), "%zu pairs failed", (size_t)r->failed);
}

/* ------------------------------------------------------------------- the tests */

START_TEST(all_of_it_arrives_where_nothing_goes_wrong)
{
    static world_t w;

    for (uint32_t replicas = 0; replicas < 2; replicas++) {
        open_world(&w, (where_t)_i, replicas, LITTLE, 0);
        must(pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
        check_truth(&w);
        must(w.results.status == KVF_OK && w.results.prefix_tokens == TO - FROM, "not all");
        must(w.results.arrived == (replicas ? 1 : SOURCES) * BLOCKS && w.results.skipped == 0,
             "%zu pairs", (size_t)w.results.arrived);
        for (uint32_t e = 0; e < ENTRIES; e++)
            must(w.entries[e] == KVF_OK, "entry %u: %d", e, w.entries[e]);
        close_world(&w);
        if (w.where ==
            WHERE_STAGE) /* what is forbidden stays so, for a next engine's children too */
            break;
    }
}
END_TEST

START_TEST(reused_blocks_are_stale_each_in_its_entry)
{
    static world_t w;
    const uint32_t one[] = {21, 22, 40}, other[] = {9, 63}; /* of source 0, of source 1 */

    open_world(&w, (where_t)_i, 0, LITTLE, 0);
    proc_call(&w.child[0], at_reuse, one, sizeof(one), NULL, 0);
    must(pull(&w, 0) == KVF_ERR_STALE, "no reused block");
    check_truth(&w);
    for (uint32_t e = 0; e < ENTRIES; e++)
        must(w.entries[e] == (e == 5 || e == 10 ? KVF_ERR_STALE : KVF_OK), "entry %u: %d", e,
             w.entries[e]);
    must(w.results.prefix_tokens == 21 * SMALL - FROM && w.results.missing_token == 21 * SMALL,
         "a prefix of %zu", (size_t)w.results.prefix_tokens);
    must(w.results.failed == 3 && w.results.arrived == SOURCES * BLOCKS - 3, "pairs");
    proc_call(&w.child[1], at_reuse, other, sizeof(other), NULL, 0);
    must(pull(&w, 0) == KVF_ERR_STALE, "no reused block");
    check_truth(&w);
    for (uint32_t e = 0; e < ENTRIES; e++)
        must(w.entries[e] == (e == 2 || e == 5 || e == 10 || e == 15 ? KVF_ERR_STALE : KVF_OK),
             "entry %u: %d", e, w.entries[e]);
    must(w.results.prefix_tokens == 9 * SMALL - FROM, "a prefix of %zu",
         (size_t)w.results.prefix_tokens);
    close_world(&w);
}
END_TEST

/* Of two that hold the same, each serves every other block: the loss is known block for block. */
START_TEST(a_dead_replica_loses_its_blocks_and_no_other)
{
    static world_t w;
    uint32_t dead = (uint32_t)_i % 2, looks = 100;

    open_world(&w, _i < 2 ? WHERE_SHM : WHERE_AM, 1, LITTLE, 0);
    must(pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
    proc_signal(&w.child[dead], SIGKILL);
    while (pull(&w, 0) == KVF_OK && looks-- > 0) /* a neighbour's life is looked at now and then */
        sleep_ms(100);
    check_truth(&w);
    for (uint32_t e = 0; e < ENTRIES; e++) {
        kvf_status_t want = e % SOURCES == dead ? KVF_ERR_PEER : KVF_OK;

        must(w.entries[e] == want, "entry %u: %d", e, w.entries[e]);
    }
    must(w.results.prefix_tokens == (dead == 0 ? 0 : LARGE - FROM), "a prefix of %zu",
         (size_t)w.results.prefix_tokens);
    close_world(&w);
}
END_TEST

START_TEST(a_source_that_revoked_fails_all_entries)
{
    static world_t w;

    open_world(&w, (where_t)_i, 0, LITTLE, 0);
    proc_call(&w.child[1], at_revoke, NULL, 0, NULL, 0);
    must(pull(&w, 0) == KVF_ERR_REVOKED, "a revoked source serves");
    check_truth(&w);
    for (uint32_t e = 0; e < ENTRIES; e++)
        must(w.entries[e] == KVF_ERR_REVOKED, "entry %u: %d", e, w.entries[e]);
    must(w.results.prefix_tokens == 0 && w.results.missing_token == FROM, "a prefix");
    must(w.results.arrived == BLOCKS && w.results.failed == BLOCKS, "pairs");
    close_world(&w);
}
END_TEST

/* In a thread of its own: goes wrong while batches run. */
typedef struct blow {
    world_t *w;
    void (*strike)(world_t *w);
    unsigned after_ms;
} blow_t;

static void *strikes(void *arg)
{
    blow_t *blow = arg;

    sleep_ms(blow->after_ms);
    blow->strike(blow->w);
    return NULL;
}

static void strike_kill(world_t *w)
{
    proc_signal(&w->child[0], SIGKILL);
}

static void strike_revoke(world_t *w)
{
    proc_call(&w->child[0], at_revoke, NULL, 0, NULL, 0);
}

static void pull_until_it_fails(world_t *w, void (*strike)(world_t *), unsigned after_ms,
                                kvf_status_t want)
{
    blow_t blow = {w, strike, after_ms};
    kvf_status_t status;
    pthread_t thread;
    uint64_t end_ns = now_ns() + patient(20);

    must(pthread_create(&thread, NULL, strikes, &blow) == 0, "no thread");
    while ((status = pull(w, 0)) == KVF_OK)
        must(now_ns() < end_ns, "nothing fails");
    pthread_join(thread, NULL);
    must(status == want, "%s", kvf_status_name(status));
    check_truth(w);
    must(w->results.arrived >= BLOCKS, "the other source's blocks are lost too");
}

/* _i: path, when, and whether a copy thread is there. */
START_TEST(a_source_killed_midway_leaves_what_arrived)
{
    static world_t w;

    open_world(&w, (where_t)(WHERE_SHM + _i % 4), 0, MUCH, (uint32_t)_i / 4);
    pull_until_it_fails(&w, strike_kill, 5 + 7 * (unsigned)_i, KVF_ERR_PEER);
    close_world(&w);
}
END_TEST

START_TEST(a_source_that_revokes_midway_leaves_what_arrived)
{
    static world_t w;

    open_world(&w, (where_t)(WHERE_SHM + _i % 4), 0, MUCH, (uint32_t)_i / 4);
    pull_until_it_fails(&w, strike_revoke, 5 + 7 * (unsigned)_i, KVF_ERR_REVOKED);
    close_world(&w);
}
END_TEST

/* The deadline is short for what is asked. On am pairs of a guarded read are known as good one after
 * the other, and those in front first. */
START_TEST(a_deadline_midway_leaves_what_arrived)
{
    static world_t w;
    uint64_t us, end_ns = now_ns() + patient(20);
    bool some = false;

    open_world(&w, (where_t)(WHERE_SHM + _i % 4), 0, MUCH, (uint32_t)_i / 4);
    for (us = 50; us <= 12800; us *= 4) {
        kvf_status_t status = pull(&w, us * 1000);

        must(status == KVF_ERR_TIMEOUT || status == KVF_OK, "%s", kvf_status_name(status));
        check_truth(&w);
    }
    for (us = 100; w.where == WHERE_AM && !some; us = us > 100000 ? 100 : us * 5 / 4) {
        must(now_ns() < end_ns, "all of it arrives, or nothing");
        pull(&w, us * 1000);
        check_truth(&w);
        some = w.results.prefix_tokens > 2 * LARGE && w.results.prefix_tokens < TO - 2 * LARGE;
    }
    must(pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
    check_truth(&w);
    close_world(&w);
}
END_TEST

/* Until all blocks are others': whole batches, and such as a deadline ends. */
START_TEST(blocks_reused_midway_are_never_called_arrived)
{
    static world_t w;
    uint64_t end_ns = now_ns() + patient(20);

    open_world(&w, (where_t)_i, 0, MUCH / 4, 0);
    must(pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
    for (uint32_t i = 0; i < SOURCES; i++) {
        shape_t shape = w.shape;

        shape.rank = i;
        proc_call(&w.child[i], at_churn, &shape, sizeof(shape), NULL, 0);
    }
    for (uint64_t round = 0; w.results.arrived > 0 || round % 4 != 1; round++) {
        must(now_ns() < end_ns, "blocks that were reused still arrive");
        pull(&w, round % 4 == 0 ? 0 : round % 4 * 500000);
        check_truth(&w);
    }
    close_world(&w);
}
END_TEST

/* A frozen far source sends nothing; the other's half has arrived. */
START_TEST(a_frozen_source_times_out_alone)
{
    static world_t w;

    open_world(&w, (where_t)_i, 0, LITTLE, 0);
    must(pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
    proc_signal(&w.child[0], SIGSTOP);
    must(pull(&w, 300 * MS) == KVF_ERR_TIMEOUT, "a frozen source serves");
    check_truth(&w);
    must(w.results.arrived == BLOCKS && w.results.failed == BLOCKS, "%zu pairs arrived",
         (size_t)w.results.arrived);
    must(w.results.prefix_tokens == 0 && w.results.status == KVF_ERR_TIMEOUT, "a prefix");
    proc_signal(&w.child[0], SIGCONT);
    must(pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
    check_truth(&w);
    close_world(&w);
}
END_TEST

/* One batch for both: an op that fails takes no other with it. */
START_TEST(sources_in_one_batch_fail_apart)
{
    static world_t w;
    static kvf_op_t ops[SOURCES * MAX_OPS];
    const uint32_t reused[] = {30};
    size_t count = 0;

    open_world(&w, (where_t)_i, 0, LITTLE, 0);
    for (uint32_t i = 0; i < SOURCES; i++)
        for (size_t o = 0; o < w.source[i].op_count; o++)
            ops[count++] = w.source[i].ops[o];
    proc_call(&w.child[1], at_reuse, reused, sizeof(reused), NULL, 0);
    begin(&w);
    must(run_ops(w.source[0].batch, ops, count, NULL) == KVF_ERR_STALE, "no reused block");
    for (uint32_t i = 0; i < SOURCES; i++)
        ok(kvf_plan_results(w.source[i].plan, &w.source[i].bind, KVF_OK, &w.results));
    check_truth(&w);
    must(w.results.failed == 1 && w.results.prefix_tokens == 30 * SMALL - FROM, "%zu failed",
         (size_t)w.results.failed);
    close_world(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("results");
    TCase *tc = tcase_create("results");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, all_of_it_arrives_where_nothing_goes_wrong, WHERE_SHM, WHERE_COUNT);
    for (int where = WHERE_SHM; where <= WHERE_AM; where += WHERE_AM - WHERE_SHM) {
        tcase_add_loop_test(tc, reused_blocks_are_stale_each_in_its_entry, where, where + 1);
        tcase_add_loop_test(tc, sources_in_one_batch_fail_apart, where, where + 1);
#ifdef __SANITIZE_THREAD__
        if (where == WHERE_AM)
            continue; /* the owner races with itself, on purpose */
#endif
        tcase_add_loop_test(tc, blocks_reused_midway_are_never_called_arrived, where, where + 1);
    }
    tcase_add_loop_test(tc, a_dead_replica_loses_its_blocks_and_no_other, 0, 4);
    tcase_add_loop_test(tc, a_source_that_revoked_fails_all_entries, WHERE_SHM, WHERE_COUNT);
    tcase_add_loop_test(tc, a_source_killed_midway_leaves_what_arrived, 0, 8);
    tcase_add_loop_test(tc, a_source_that_revokes_midway_leaves_what_arrived, 0, 8);
    tcase_add_loop_test(tc, a_deadline_midway_leaves_what_arrived, 0, 8);
    tcase_add_loop_test(tc, a_frozen_source_times_out_alone, WHERE_STAGE, WHERE_COUNT);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Two sources and a destination: see sources.h. Each cell has bytes of its own, by layer, head and
 * token.
 */
#include "sources.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "forbid.h"

/* ---------------------------------------------------------------- both sides */

kvf_layout_t *source_layout(const shape_t *shape, bool destination)
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

uint64_t source_cell(const kvf_layout_t *layout, uint32_t layer, uint32_t head, uint32_t block,
                     uint64_t token)
{
    const kvf_group_t *group = kvf_layout_describe(layout)->groups;
    uint64_t off = 0;

    ok(kvf_layout_locate(layout, 0, 0, layer, block, head, (uint32_t)(token % group->block_tokens), NULL,
                         &off));
    return off;
}

static uint64_t seed_of(uint32_t layer, uint32_t head, uint64_t token)
{
    return (layer * UINT64_C(100) + head) * 1000000 + token + 1;
}

uint32_t source_block(uint32_t i)
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
    layout = source_layout(&shape, false);
    group = kvf_layout_describe(layout)->groups;
    if (side->pool != NULL)
        ok(kvf_pool_alloc(side->pool, BLOCKS, taken));
    for (uint64_t t = 0; t < BLOCKS * SMALL; t++)
        for (uint32_t l = 0; l < LAYERS; l++)
            for (uint32_t h = group->first_head; h < group->first_head + group->heads; h++)
                pattern_fill(side->mem + source_cell(layout, l, h, source_block((uint32_t)t / SMALL), t),
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
        ids[i] = source_block(i);
    ok(kvf_pool_generations(side->pool, BLOCKS, ids, gens));
    out_put(out, gens, sizeof(gens));
}

void source_revoke(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_grant_revoke(side->grant, 10 * SEC));
    side->grant = NULL;
}

/* ------------------------------------------------------------- the test's side */

static void child_open(sources_t *w, uint32_t i)
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
    layout = source_layout(&shape, false);
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

static void meet(sources_t *w, uint32_t i)
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
    if (w->where == WHERE_AM)
        far_stands(w->engine, s->peer, &w->child[i]);
    len = proc_call(&w->child[i], side_grant_blob, NULL, 0, buf, sizeof(buf));
    ok(kvf_remote_import(s->peer, buf, len, &s->remote, &count));
    ok(kvf_batch_create(w->engine, &s->batch));
}

static void bind(sources_t *w, uint32_t i)
{
    source_t *s = &w->source[i];
    size_t ids = sizeof(s->list) / sizeof(s->list[0]);

    for (uint32_t k = 0; k < BLOCKS; k++)
        s->ids[k] = source_block(k);
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
                           .locals = &w->local,
                           .local_count = 1,
                           .remotes = &s->remote,
                           .remote_count = 1,
                           .pair_status = s->pairs,
                           .pair_count = sizeof(s->pairs)};
    s->op_count = MAX_OPS;
    ok(kvf_plan_bind(s->plan, &s->bind, s->ops, sizeof(s->ops[0]), &s->op_count, s->list, &ids));
}

void sources_open(sources_t *w, where_t where, uint32_t replicas, uint32_t cell, uint32_t copy_threads)
{
    kvf_layout_t *layouts[SOURCES];
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
    w->layout = source_layout(&w->shape, true);
    w->len = ENTRIES * kvf_layout_block_bytes(w->layout);
    ok(kvf_segment_alloc(w->engine, w->len, &w->local.segment));
    ok(kvf_segment_query(w->local.segment, &attr));
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

void sources_close(sources_t *w)
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

void sources_begin(sources_t *w)
{
    memset(w->mem, 0, w->len);
    memset(w->entries, KVF_INPROGRESS, sizeof(w->entries));
    w->results = (kvf_plan_results_t){.struct_size = sizeof(w->results)};
}

static kvf_status_t post(sources_t *w, uint32_t i, uint64_t deadline_ns)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = deadline_ns};
    source_t *s = &w->source[i];

    return kvf_batch_post(s->batch, s->ops, s->op_count, sizeof(s->ops[0]), &opts);
}

/* Waits for a posted batch, adds what came of it. Returns the batch's status, or posted. */
static kvf_status_t finish(sources_t *w, uint32_t i, kvf_status_t posted)
{
    source_t *s = &w->source[i];
    kvf_status_t status = posted == KVF_OK ? kvf_batch_wait(s->batch, patient(20)) : posted;

    must(status != KVF_INPROGRESS, "the batch still runs");
    ok(kvf_plan_results(s->plan, &s->bind, posted, &w->results));
    return status;
}

kvf_status_t sources_pull(sources_t *w, uint64_t deadline_ns)
{
    kvf_status_t posted[SOURCES], worst = KVF_OK;

    sources_begin(w);
    for (uint32_t i = 0; i < SOURCES; i++)
        posted[i] = post(w, i, deadline_ns);
    for (uint32_t i = 0; i < SOURCES; i++) {
        kvf_status_t status = finish(w, i, posted[i]);

        worst = status < worst ? status : worst;
    }
    return worst;
}

static bool token_is_there(const sources_t *w, uint64_t token)
{
    const kvf_group_t *group = kvf_layout_describe(w->layout)->groups;

    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t h = 0; h < group->heads; h++)
            if (pattern_compare(w->mem + source_cell(w->layout, l, h, w->ids[token / LARGE], token),
                                w->shape.cell, seed_of(l, h, token)) != UINT64_MAX)
                return false;
    return true;
}

void sources_check(const sources_t *w)
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
                 t / LARGE * LARGE + LARGE > FROM + r->prefix_tokens || w->entries[t / LARGE] == KVF_OK,
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

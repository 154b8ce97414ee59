/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who reads from whom, and what a plan makes of the request: one kvf_plan_sources() for each rank
 * of the destination, of all its layers, and of each group of layers alone. Figures come from
 * kvf_plan_measure() and from the ops of a binding, which is timed. Why pieces end where they do is
 * left to why.c. Nothing here blocks.
 */
#include "config.h"

#include "explain.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../cli.h"

#define BINDS 15 /* of which the median counts */

/* ---------------------------------------------------------------- figures */

void kvfi_explain_bind_of(const struct explain_world *world, kvf_bind_table_t table[2], kvf_bind_t *bind_p)
{
    for (unsigned side = 0; side < 2; side++) {
        table[side] = (kvf_bind_table_t){.count = world->side[side].need};
    }
    *bind_p = (kvf_bind_t){.struct_size = sizeof(*bind_p),
                           .flags = KVF_BIND_WINDOW,
                           .dir = world->opts->dir,
                           .src_table_count = 1,
                           .dst_table_count = 1,
                           .src_tables = &table[EXPLAIN_SOURCE],
                           .dst_tables = &table[EXPLAIN_DEST],
                           .tokens = world->opts->tokens};
}

static uint64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int by_bytes(const void *a, const void *b)
{
    return by_number(&((const struct explain_size *)a)->bytes, &((const struct explain_size *)b)->bytes);
}

static int count_sizes(const kvf_op_t *ops, size_t count, struct explain_figures *f)
{
    f->sizes = calloc(count, sizeof(*f->sizes));
    if (f->sizes == NULL) {
        return kvfi_cli_fail("no memory for the sizes of %zu ops", count);
    }
    for (size_t i = 0; i < count; i++) {
        f->sizes[i].bytes = ops[i].len;
        f->sizes[i].pieces = (uint64_t)ops[i].count[0] * ops[i].count[1] * ops[i].blocks;
    }
    qsort(f->sizes, count, sizeof(*f->sizes), by_bytes);
    for (size_t i = 0; i < count; i++) {
        struct explain_size *last = f->size_count > 0 ? &f->sizes[f->size_count - 1] : NULL;
        if (last != NULL && last->bytes == f->sizes[i].bytes) {
            last->pieces += f->sizes[i].pieces;
        } else {
            f->sizes[f->size_count++] = f->sizes[i];
        }
    }
    return 0;
}

/* Binds, for the ops and for the time that it takes. */
static int bind_all(const kvf_plan_t *plan, const kvf_bind_t *bind, struct explain_figures *f)
{
    kvf_op_t *ops = calloc(f->ops + 1, sizeof(*ops));
    uint32_t *ids = calloc(f->ids + 1, sizeof(*ids));
    uint64_t took[BINDS];
    size_t op_count = 0, id_count;
    int rc = 0;

    if (ops == NULL || ids == NULL) {
        rc = kvfi_cli_fail("no memory for %" PRIu64 " ops", f->ops);
    }
    for (int i = 0; i < BINDS && rc == 0; i++) {
        uint64_t start = now_ns();
        op_count = f->ops + 1;
        id_count = f->ids + 1;
        if (kvf_plan_bind(plan, bind, ops, sizeof(*ops), &op_count, ids, &id_count) != KVF_OK) {
            rc = kvfi_cli_fail("%s", kvf_last_error());
        }
        took[i] = now_ns() - start;
    }
    if (rc == 0) {
        qsort(took, BINDS, sizeof(took[0]), by_number);
        f->bind_ns = took[BINDS / 2];
        rc = op_count > 0 ? count_sizes(ops, op_count, f) : 0;
    }
    free(ops);
    free(ids);
    return rc;
}

/* A stand-in for each segment: a binding wants handles that differ, and looks at none of them. */
static void stand_in(kvf_bind_local_t *locals, uint32_t local_count, kvf_remote_t **remotes,
                     uint32_t remote_count)
{
    for (uint32_t i = 0; i < local_count; i++) {
        locals[i].segment = (kvf_segment_t *)(void *)&locals[i];
    }
    for (uint32_t i = 0; i < remote_count; i++) {
        remotes[i] = (kvf_remote_t *)(void *)&remotes[i];
    }
}

int kvfi_explain_figures(const struct explain_world *world, const kvf_plan_t *plan, const kvf_layout_t *src,
                         const kvf_layout_t *dst, struct explain_figures *figures_p)
{
    bool reads = world->opts->dir == KVF_READ;
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    struct explain_figures figures = {0};
    kvf_bind_table_t table[2];
    kvf_bind_t bind;
    int rc;

    kvfi_explain_bind_of(world, table, &bind);
    if (kvf_plan_measure(plan, &bind, &size) != KVF_OK) {
        return kvfi_cli_fail("%s", kvf_last_error());
    }
    figures.ops = size.ops;
    figures.ids = size.ids;
    figures.pairs = size.pairs;
    figures.pieces = size.pieces;
    figures.bytes = size.bytes;
    bind.local_count = kvf_layout_describe(reads ? dst : src)->segment_count;
    bind.remote_count = kvf_layout_describe(reads ? src : dst)->segment_count;
    kvf_bind_local_t *locals = calloc(bind.local_count, sizeof(*locals));
    kvf_remote_t **remotes = calloc(bind.remote_count, sizeof(*remotes));
    bind.locals = locals;
    bind.remotes = remotes;
    if (locals != NULL && remotes != NULL) {
        stand_in(locals, bind.local_count, remotes, bind.remote_count);
        rc = bind_all(plan, &bind, &figures);
    } else {
        rc = kvfi_cli_fail("no memory for handles");
    }
    free(locals);
    free(remotes);
    if (rc != 0) {
        kvfi_explain_figures_free(&figures);
        return rc;
    }
    *figures_p = figures;
    return 0;
}

void kvfi_explain_figures_free(struct explain_figures *figures)
{
    free(figures->sizes);
    figures->sizes = NULL;
    figures->size_count = 0;
}

/* ---------------------------------------------------------------- pairs */

static kvf_plan_opts_t plan_opts(const struct explain_world *world)
{
    return (kvf_plan_opts_t){.struct_size = sizeof(kvf_plan_opts_t),
                             .first_layer = (uint32_t)world->opts->first_layer,
                             .layer_count = (uint32_t)world->opts->layer_count};
}

/* Whether --layers leaves any of a group of layers. */
static bool wants_group(const struct explain_world *world, uint32_t group)
{
    const struct explain_group *g = &world->groups[group];
    kvf_plan_opts_t opts = plan_opts(world);

    for (uint32_t i = 0; i < g->layer_count; i++) {
        if (g->layers[i] >= opts.first_layer &&
            (opts.layer_count == 0 || g->layers[i] - opts.first_layer < opts.layer_count)) {
            return true;
        }
    }
    return false;
}

static bool asked(const struct explain_world *world, unsigned side, uint32_t rank)
{
    uint64_t want = world->opts->rank[side];

    return want == EXPLAIN_ANY || want == rank;
}

/* The sources of a rank of the destination, of one group or of all: *count_p is src ranks at most.
 * None at all where the range of layers leaves none. */
static int sources_of(const struct explain_world *world, uint32_t group, uint32_t dst,
                      kvf_plan_source_t *sources, uint32_t *count_p)
{
    const struct explain_side *s = &world->side[EXPLAIN_SOURCE], *d = &world->side[EXPLAIN_DEST];
    kvf_layout_t **srcs = group == UINT32_MAX ? s->layouts : s->group_layouts[group];
    kvf_layout_t *one = group == UINT32_MAX ? d->layouts[dst] : d->group_layouts[group][dst];
    kvf_plan_opts_t opts = plan_opts(world);

    *count_p = s->rank_count;
    if (one == NULL || (group != UINT32_MAX && !wants_group(world, group))) {
        *count_p = 0;
        return 0;
    }
    if (kvf_plan_sources(srcs, s->rank_count, one, dst, &opts, sources, count_p) != KVF_OK) {
        *count_p = 0;
        return kvfi_cli_fail("%s", kvf_last_error());
    }
    return 0;
}

/* What a pair shares of a group, by ids. */
static void intersect(const struct explain_world *world, const struct explain_pair *pair,
                      struct explain_share *share)
{
    const struct explain_group *group = &world->groups[share->group];
    const struct explain_rank *s = &world->side[EXPLAIN_SOURCE].ranks[pair->src];
    const struct explain_rank *d = &world->side[EXPLAIN_DEST].ranks[pair->dst];
    uint64_t low = world->opts->first_layer, high = UINT64_MAX;
    bool states = world->model->state_heads > 0 && strcmp(group->name, "recurrent state") == 0;
    uint32_t sf = states ? s->first_state_head : s->first_head;
    uint32_t df = states ? d->first_state_head : d->first_head;
    uint32_t se = sf + (states ? s->state_heads : s->heads);
    uint32_t de = df + (states ? d->state_heads : d->heads);

    if (world->opts->layer_count > 0) {
        high = low + world->opts->layer_count;
    }
    for (unsigned side = 0; side < 2; side++) {
        const struct explain_rank *r = side == EXPLAIN_SOURCE ? s : d;
        low = low < r->first_layer ? r->first_layer : low;
        high = high > r->first_layer + r->layers ? r->first_layer + r->layers : high;
    }
    for (uint32_t i = 0; i < group->layer_count; i++) {
        if (group->layers[i] >= low && group->layers[i] < high) {
            share->first_layer = share->layers == 0 ? group->layers[i] : share->first_layer;
            share->layers++;
        }
    }
    share->first_head = sf > df ? sf : df;
    share->heads = (se < de ? se : de) - share->first_head;
}

static struct explain_pair *find_pair(struct explain_pair *pairs, uint32_t count, uint32_t src)
{
    for (uint32_t i = 0; i < count; i++) {
        if (pairs[i].src == src) {
            return &pairs[i];
        }
    }
    return NULL;
}

/* Adds a group's share to each of a destination's pairs. */
static int add_shares(const struct explain_world *world, uint32_t group, struct explain_pair *pairs,
                      uint32_t count, kvf_plan_source_t *sources)
{
    const struct explain_side *s = &world->side[EXPLAIN_SOURCE], *d = &world->side[EXPLAIN_DEST];
    uint32_t found;
    int rc;

    if (count == 0) {
        return 0;
    }
    rc = sources_of(world, group, pairs[0].dst, sources, &found);
    for (uint32_t i = 0; rc == 0 && i < found; i++) {
        struct explain_pair *pair = find_pair(pairs, count, sources[i].rank);
        if (pair != NULL) {
            struct explain_share *share = &pair->shares[pair->share_count++];
            share->group = group;
            intersect(world, pair, share);
            rc = kvfi_explain_figures(world, sources[i].plan, s->group_layouts[group][pair->src],
                                      d->group_layouts[group][pair->dst], &share->figures);
        }
    }
    for (uint32_t i = 0; i < found; i++) {
        kvf_plan_destroy(sources[i].plan);
    }
    return rc;
}

static int add_rank(const struct explain_world *world, uint32_t dst, kvf_plan_source_t *sources,
                    struct explain_pairs *all)
{
    const struct explain_side *s = &world->side[EXPLAIN_SOURCE], *d = &world->side[EXPLAIN_DEST];
    struct explain_pair *mine = &all->pairs[all->count];
    uint32_t found, count = 0;
    int rc = sources_of(world, UINT32_MAX, dst, sources, &found);

    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < found; i++) {
        if (rc == 0 && asked(world, EXPLAIN_SOURCE, sources[i].rank)) {
            mine[count] = (struct explain_pair){.dst = dst, .src = sources[i].rank, .plan = sources[i].plan};
            all->count++;
            rc = kvfi_explain_figures(world, mine[count].plan, s->layouts[mine[count].src], d->layouts[dst],
                                      &mine[count].figures);
            count++;
        } else {
            kvf_plan_destroy(sources[i].plan);
        }
    }
    for (uint32_t g = 0; rc == 0 && g < world->group_count; g++) {
        rc = add_shares(world, g, mine, count, sources);
    }
    return rc;
}

static bool same_figures(const struct explain_figures *a, const struct explain_figures *b)
{
    return a->ops == b->ops && a->ids == b->ids && a->pairs == b->pairs && a->pieces == b->pieces &&
           a->bytes == b->bytes && a->size_count == b->size_count &&
           (a->size_count == 0 || memcmp(a->sizes, b->sizes, a->size_count * sizeof(*a->sizes)) == 0);
}

static bool same_pair(const struct explain_pair *a, const struct explain_pair *b)
{
    bool same = a->share_count == b->share_count && same_figures(&a->figures, &b->figures);

    for (uint32_t i = 0; same && i < a->share_count; i++) {
        const struct explain_share *x = &a->shares[i], *y = &b->shares[i];
        same = x->group == y->group && x->layers == y->layers && x->heads == y->heads &&
               same_figures(&x->figures, &y->figures) && x->why_count == y->why_count &&
               memcmp(x->why, y->why, x->why_count * sizeof(x->why[0])) == 0;
    }
    return same;
}

static int explain_all(const struct explain_world *world, struct explain_pairs *all)
{
    for (uint32_t i = 0; i < all->count; i++) {
        struct explain_pair *pair = &all->pairs[i];
        for (uint32_t s = 0; s < pair->share_count; s++) {
            if (kvfi_explain_why(world, pair, &pair->shares[s]) != 0) {
                return -1;
            }
        }
        pair->like = 0;
        while (pair->like < i &&
               (all->pairs[pair->like].like != pair->like || !same_pair(pair, &all->pairs[pair->like]))) {
            pair->like++;
        }
        for (uint32_t s = 0; pair->like == i && s < pair->share_count; s++) {
            if (kvfi_explain_hints(world, pair, &pair->shares[s]) != 0) {
                return -1;
            }
        }
    }
    return 0;
}

int kvfi_explain_pairs_make(const struct explain_world *world, struct explain_pairs *pairs_p)
{
    const struct explain_side *s = &world->side[EXPLAIN_SOURCE], *d = &world->side[EXPLAIN_DEST];
    struct explain_pairs all = {.pairs = NULL};
    kvf_plan_source_t *sources = calloc(s->rank_count, sizeof(*sources));
    int rc = sources == NULL ? kvfi_cli_fail("no memory for %u sources", s->rank_count) : 0;

    for (uint32_t dst = 0; rc == 0 && dst < d->rank_count; dst++) {
        struct explain_pair *more = realloc(all.pairs, (all.count + s->rank_count) * sizeof(*more));
        if (more == NULL) {
            rc = kvfi_cli_fail("no memory for the pairs of %u ranks", dst);
            break;
        }
        all.pairs = more;
        if (asked(world, EXPLAIN_DEST, dst)) {
            rc = add_rank(world, dst, sources, &all);
        }
    }
    free(sources);
    if (rc == 0 && all.count == 0) {
        rc = kvfi_cli_fail("these ranks have nothing in common%s, so nothing moves between them",
                           world->opts->layer_count > 0 ? " in these layers" : "");
    }
    if (rc == 0) {
        rc = explain_all(world, &all);
    }
    if (rc != 0) {
        kvfi_explain_pairs_free(&all);
        return rc;
    }
    *pairs_p = all;
    return 0;
}

void kvfi_explain_pairs_free(struct explain_pairs *pairs)
{
    for (uint32_t i = 0; i < pairs->count; i++) {
        struct explain_pair *pair = &pairs->pairs[i];
        for (uint32_t s = 0; s < pair->share_count; s++) {
            kvfi_explain_figures_free(&pair->shares[s].figures);
        }
        kvfi_explain_figures_free(&pair->figures);
        kvf_plan_destroy(pair->plan);
    }
    free(pairs->pairs);
    *pairs = (struct explain_pairs){0};
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The two sides of a transfer: what each of their TP x CP x PP ranks holds, as ../cut.h says, tokens
 * dealt block by block, and the layout of its cache, which kvferry builds by name; one more of each group
 * of its layers alone.
 * What the ranks have to do with each other is pairs.c's matter. Nothing here blocks.
 */
#include "config.h"

#include "explain.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"
#include "../cut.h"

static const char *const option_names[2] = {"src", "dst"};

kvf_status_t kvfi_explain_layout(const struct explain_world *world, unsigned side, uint32_t rank,
                                 const char *name, uint32_t block_tokens, uint32_t group,
                                 kvf_layout_t **layout_p)
{
    const struct explain_rank *r = &world->side[side].ranks[rank];
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts),
                              .block_tokens = block_tokens,
                              .first_layer = r->first_layer,
                              .layer_count = r->layers,
                              .first_head = r->first_head,
                              .heads = r->heads,
                              .first_state_head = r->first_state_head,
                              .state_heads = r->state_heads,
                              .cp_ranks = world->side[side].cp,
                              .cp_rank = r->cp_rank,
                              .cp_tokens = world->side[side].block_tokens};

    /* One block more than the request needs: block and layer are never side by side for want of
     * others between them. */
    opts.blocks = block_tokens == 0 ? 1 : kvfi_explain_blocks(world, side, block_tokens) + 1;
    *layout_p = NULL;
    if (group != UINT32_MAX) {
        const struct explain_group *g = &world->groups[group];
        uint32_t first = 0, end;
        while (first < g->layer_count && g->layers[first] < r->first_layer) {
            first++;
        }
        end = first;
        while (end < g->layer_count && g->layers[end] < r->first_layer + r->layers) {
            end++;
        }
        if (end == first) {
            return KVF_OK;
        }
        opts.layers = &g->layers[first];
        opts.layer_count = end - first;
    }
    return kvf_layout_build(world->model, name, &opts, layout_p);
}

/* ---------------------------------------------------------------- groups of the model */

static void name_group(const kvf_kv_model_t *model, const kvf_group_t *from, struct explain_group *group)
{
    if (from->planes[0].kind == KVF_PLANE_STATE) {
        snprintf(group->name, sizeof(group->name), "recurrent state");
    } else if (from->window != 0) {
        snprintf(group->name, sizeof(group->name), "window of %u", from->window);
    } else {
        snprintf(group->name, sizeof(group->name), model->mla ? "latent attention" : "attention");
    }
}

static int find_groups(struct explain_world *world)
{
    kvf_layout_t *whole;
    kvf_status_t status = kvf_layout_build(world->model, world->model->mla ? "LBNC" : "LBHNC", NULL, &whole);

    if (status != KVF_OK) {
        return kvfi_cli_fail("--model: %s", kvf_last_error());
    }
    const kvf_layout_desc_t *desc = kvf_layout_describe(whole);
    int rc = 0;
    for (uint32_t g = 0; g < desc->group_count && g < EXPLAIN_GROUPS_MAX && rc == 0; g++) {
        struct explain_group *group = &world->groups[world->group_count++];
        const kvf_group_t *from = &desc->groups[g];
        group->layer_count = from->layer_count;
        group->layers = malloc(from->layer_count * sizeof(*group->layers));
        if (group->layers == NULL) {
            rc = kvfi_cli_fail("no memory for %u layers", from->layer_count);
        } else {
            memcpy(group->layers, from->layers, from->layer_count * sizeof(*group->layers));
            name_group(world->model, from, group);
        }
    }
    kvf_layout_destroy(whole);
    return rc;
}

/* ---------------------------------------------------------------- spelling */

struct place {
    char letter;
    uint32_t segments; /* from one to the next */
    int64_t bytes;     /* if that is the same segment */
};

static int outer_first(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->segments != y->segments) {
        return x->segments > y->segments ? -1 : 1;
    }
    return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

/* Where the cell is that lies one further on one axis. */
static void place_of(const kvf_layout_t *layout, const kvf_group_t *group, char letter, struct place *place_p)
{
    uint32_t from, to, plane = letter == '2', l = group->layers[letter == 'L'];
    uint64_t from_off, to_off;

    kvf_layout_locate(layout, 0, 0, group->layers[0], 0, group->first_head, 0, &from, &from_off);
    kvf_layout_locate(layout, 0, plane, l, letter == 'B', group->first_head + (letter == 'H'), letter == 'N',
                      &to, &to_off);
    *place_p = (struct place){letter, to - from, (int64_t)(to_off - from_off)};
}

/* The axes of a name, from the outermost inwards, learned from a cache that has two of each: so
 * that names of the field are understood too. */
static int spell(const struct explain_world *world, struct explain_side *side)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .block_tokens = 2, .blocks = 2};
    kvf_layout_t *layout;
    struct place places[5];
    uint32_t count = 0, at = 0;

    if (kvf_layout_build(world->model, side->layout, &opts, &layout) != KVF_OK) {
        return kvfi_cli_fail("%s: %s", side->layout_option, kvf_last_error());
    }
    const kvf_group_t *group = &kvf_layout_describe(layout)->groups[0];
    bool split = group->plane_count > 1 && group->planes[1].kind == KVF_PLANE_V;
    for (const char *letter = "LBNH2"; *letter != '\0'; letter++) {
        bool is_there = *letter == 'L'   ? group->layer_count > 1
                        : *letter == 'H' ? group->heads > 1
                        : *letter == '2' ? split
                                         : true;
        if (is_there) {
            place_of(layout, group, *letter, &places[count++]);
        }
    }
    qsort(places, count, sizeof(places[0]), outer_first);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && places[i].segments == 0 && places[i - 1].segments != 0) {
            side->spelling[at++] = '/';
        }
        side->spelling[at++] = places[i].letter;
    }
    side->spelling[at] = split ? 'D' : 'C';
    kvf_layout_destroy(layout);
    return 0;
}

/* ---------------------------------------------------------------- sides */

static int cut_model(const struct explain_world *world, const struct kvfi_side_opts *end,
                     struct explain_side *side)
{
    const kvf_kv_model_t *model = world->model;
    uint64_t rank = world->opts->rank[side - world->side];
    uint64_t cp = world->opts->cp[side - world->side];

    if (end->pp > model->layers) {
        return kvfi_cli_fail("%s: %s has %u layers, fewer than %" PRIu64 " stages", end->pp_option,
                             model->name, model->layers, end->pp);
    }
    if (end->tp * end->pp * cp > EXPLAIN_RANKS_MAX) {
        return kvfi_cli_fail("%s, %s%s%s%s: %" PRIu64 " ranks are more than %d", end->tp_option,
                             end->pp_option, cp > 1 ? ", --" : "",
                             cp > 1 ? option_names[side - world->side] : "", cp > 1 ? "-cp" : "",
                             end->tp * end->pp * cp, EXPLAIN_RANKS_MAX);
    }
    side->tp = (uint32_t)end->tp;
    side->pp = (uint32_t)end->pp;
    side->cp = (uint32_t)cp;
    side->rank_count = side->tp * side->pp * side->cp;
    if (rank != EXPLAIN_ANY && rank >= side->rank_count) {
        return kvfi_cli_fail("--%s-rank: no rank %" PRIu64
                             ": ranks are counted from 0, and the last one is %u",
                             option_names[side - world->side], rank, side->rank_count - 1);
    }
    side->ranks = calloc(side->rank_count, sizeof(*side->ranks));
    if (side->ranks == NULL) {
        return kvfi_cli_fail("no memory for %u ranks", side->rank_count);
    }
    for (uint32_t i = 0; i < side->rank_count; i++) {
        struct explain_rank *r = &side->ranks[i];
        r->cp_rank = i / side->tp % side->cp;
        kvfi_cut_layers(model->layers, side->pp, i / side->tp / side->cp, &r->first_layer, &r->layers);
        kvfi_cut_heads(model->heads, side->tp, i % side->tp, &r->first_head, &r->heads);
        if (model->state_heads > 0) {
            kvfi_cut_heads(model->state_heads, side->tp, i % side->tp, &r->first_state_head, &r->state_heads);
        }
    }
    return 0;
}

/* The layouts of all ranks of a side: of a group, or of all layers. */
static int build_layouts(const struct explain_world *world, unsigned which, uint32_t group,
                         kvf_layout_t ***layouts_p)
{
    const struct explain_side *side = &world->side[which];

    *layouts_p = calloc(side->rank_count, sizeof(**layouts_p));
    if (*layouts_p == NULL) {
        return kvfi_cli_fail("no memory for %u layouts", side->rank_count);
    }
    for (uint32_t i = 0; i < side->rank_count; i++) {
        if (kvfi_explain_layout(world, which, i, side->layout, side->block_tokens, group, &(*layouts_p)[i]) !=
            KVF_OK) {
            return kvfi_cli_fail("%s: %s", side->layout_option, kvf_last_error());
        }
    }
    return 0;
}

static int open_side(struct explain_world *world, unsigned which)
{
    const struct explain_opts *opts = world->opts;
    const struct kvfi_side_opts *end = &opts->end[which];
    struct explain_side *side = &world->side[which];
    kvf_layout_t *probe;

    side->name = which == EXPLAIN_SOURCE ? "source" : "destination";
    side->layout = end->layout;
    side->layout_option = end->layout_option;
    if (cut_model(world, end, side) != 0 || spell(world, side) != 0) {
        return -1;
    }
    side->block_tokens = (uint32_t)end->block_tokens;
    if (side->block_tokens == 0) {
        if (kvfi_explain_layout(world, which, 0, side->layout, 0, UINT32_MAX, &probe) != KVF_OK) {
            return kvfi_cli_fail("%s: %s", side->layout_option, kvf_last_error());
        }
        side->block_tokens = kvf_layout_describe(probe)->groups[0].block_tokens;
        kvf_layout_destroy(probe);
    }
    side->need = kvfi_explain_blocks(world, which, side->block_tokens);
    side->blocks = side->need + 1;
    if (build_layouts(world, which, UINT32_MAX, &side->layouts) != 0) {
        return -1;
    }
    for (uint32_t g = 0; g < world->group_count; g++) {
        if (build_layouts(world, which, g, &side->group_layouts[g]) != 0) {
            return -1;
        }
    }
    return 0;
}

int kvfi_explain_open(const struct explain_opts *opts, struct explain_world *world_p)
{
    struct explain_world *world = world_p;

    *world = (struct explain_world){.opts = opts};
    if (kvf_kv_model_find(opts->model, &world->model) != KVF_OK) {
        return kvfi_cli_fail("--model: %s", kvf_last_error());
    }
    if (opts->layer_count > 0 && opts->first_layer + opts->layer_count > (uint64_t)world->model->layers) {
        return kvfi_cli_fail("--layers: %s has layers 0 to %u", world->model->name, world->model->layers - 1);
    }
    if (find_groups(world) != 0 || open_side(world, EXPLAIN_SOURCE) != 0 ||
        open_side(world, EXPLAIN_DEST) != 0) {
        kvfi_explain_close(world);
        return -1;
    }
    return 0;
}

static void free_layouts(kvf_layout_t **layouts, uint32_t count)
{
    for (uint32_t i = 0; layouts != NULL && i < count; i++) {
        kvf_layout_destroy(layouts[i]);
    }
    free(layouts);
}

void kvfi_explain_close(struct explain_world *world)
{
    for (unsigned which = 0; which < 2; which++) {
        struct explain_side *side = &world->side[which];
        free_layouts(side->layouts, side->rank_count);
        for (uint32_t g = 0; g < world->group_count; g++) {
            free_layouts(side->group_layouts[g], side->rank_count);
        }
        free(side->ranks);
    }
    for (uint32_t g = 0; g < world->group_count; g++) {
        free(world->groups[g].layers);
    }
    *world = (struct explain_world){0};
}

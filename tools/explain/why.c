/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Why a piece ends where it does. The axes of a cell (K and V, token, head, layer, block) lie in
 * memory at strides that kvf_layout_locate() tells. A piece grows by an axis as long as all that
 * is wanted of that axis lies next on both sides:
 *
 *      source       C | N | H, 1 of 2 | L | B       the run ends behind N at the source: the other
 *      destination  C | N | L | B                   head lies there, and nobody wants it
 *
 * What comes out is compared with the sizes that the plan makes: where they differ, nothing is
 * said.
 */
#include "config.h"

#include "explain.h"

#include <stdlib.h>
#include <string.h>

#include "../cli.h"

#define AXES 5

struct axis {
    char letter;
    bool apart; /* the next one is in another segment */
    uint64_t held, wanted;
    int64_t stride;
};

struct walk {
    struct axis axes[AXES]; /* as they lie in memory, inner first */
    unsigned count;
};

/* The same share as both sides have it. */
struct sides {
    const kvf_layout_t *layout[2];
    const kvf_group_t *group[2];
    const struct explain_share *share;
    kvf_plane_kind_t kind;
    uint32_t layer[2]; /* the first two that are wanted */
    uint64_t states;   /* that two blocks have in common at most */
};

static const kvf_plane_t *plane_of(const kvf_group_t *group, kvf_plane_kind_t kind, uint32_t *index_p)
{
    for (uint32_t i = 0; i < group->plane_count; i++) {
        bool fused = group->planes[i].kind == KVF_PLANE_KV && kind == KVF_PLANE_K;
        if (group->planes[i].kind == kind || fused) {
            *index_p = i;
            return &group->planes[i];
        }
    }
    return NULL;
}

/* How far the cell is that lies one further on an axis. */
static void measure(const struct sides *s, unsigned side, struct axis *axis)
{
    const kvf_layout_t *layout = s->layout[side];
    uint32_t from_plane = 0, to_plane, from, to;
    uint64_t from_off = 0, to_off = 0;
    const kvf_plane_t *plane = plane_of(s->group[side], s->kind, &from_plane);

    to_plane = from_plane;
    if (axis->letter == '2' && plane->kind == KVF_PLANE_KV) {
        axis->stride = (int64_t)plane->k_content;
        return;
    }
    if (axis->letter == '2') {
        plane_of(s->group[side], KVF_PLANE_V, &to_plane);
    }
    kvf_layout_locate(layout, 0, from_plane, s->layer[0], 0, s->share->first_head, 0, &from, &from_off);
    kvf_layout_locate(layout, 0, to_plane, s->layer[axis->letter == 'L'], axis->letter == 'B',
                      s->share->first_head + (axis->letter == 'H'), axis->letter == 'N', &to, &to_off);
    axis->apart = from != to;
    axis->stride = axis->apart ? INT64_MAX : (int64_t)(to_off - from_off);
}

static int inner_first(const void *a, const void *b)
{
    const struct axis *x = a, *y = b;

    return x->stride < y->stride ? -1 : x->stride > y->stride;
}

static void add_axis(const struct sides *s, unsigned side, char letter, uint64_t held, uint64_t wanted,
                     struct walk *walk)
{
    struct axis *axis = &walk->axes[walk->count];

    if (held < 2) {
        return;
    }
    *axis = (struct axis){.letter = letter, .held = held, .wanted = wanted};
    /* Of an axis of which one step is wanted, the step that is not may be before it. */
    if (letter == 'H' && wanted == 1) {
        struct explain_share share = *s->share;
        struct sides other = *s;
        share.first_head = s->group[side]->first_head;
        other.share = &share;
        measure(&other, side, axis);
    } else if (letter == 'L' && wanted == 1) {
        struct sides other = *s;
        other.layer[0] = s->group[side]->layers[0];
        other.layer[1] = s->group[side]->layers[1];
        measure(&other, side, axis);
    } else {
        measure(s, side, axis);
    }
    walk->count++;
}

static void make_walk(const struct sides *s, unsigned side, bool planes, struct walk *walk)
{
    const kvf_group_t *group = s->group[side];

    walk->count = 0;
    add_axis(s, side, '2', planes ? 2 : 1, planes ? 2 : 1, walk);
    add_axis(s, side, 'N', group->block_tokens / group->tokens_per_state, s->states, walk);
    add_axis(s, side, 'H', group->heads, s->share->heads, walk);
    add_axis(s, side, 'L', group->layer_count, s->share->layers, walk);
    add_axis(s, side, 'B', group->blocks, 1, walk);
    qsort(walk->axes, walk->count, sizeof(walk->axes[0]), inner_first);
}

static struct axis *find_axis(struct walk *walk, char letter)
{
    for (unsigned i = 0; i < walk->count; i++) {
        if (walk->axes[i].letter == letter) {
            return &walk->axes[i];
        }
    }
    return NULL;
}

/* Whether a piece has all that is wanted of an axis. */
static bool spans(const struct explain_why *why, const struct axis *axis)
{
    return axis->wanted < 2 || strchr(why->axes, axis->letter) != NULL;
}

/* Grows the piece. An axis that one side has one step of is no axis there, and not wanted whole. */
static void grow(struct walk walk[2], struct explain_why *why)
{
    size_t len = 0;
    bool more = true;

    while (more) {
        more = false;
        for (unsigned i = 0; i < walk[0].count && !more; i++) {
            struct axis *a = &walk[0].axes[i], *b = find_axis(&walk[1], a->letter);
            more = a->letter != 'B' && b != NULL && !spans(why, a) && !a->apart && !b->apart &&
                   a->stride == (int64_t)why->piece && b->stride == (int64_t)why->piece;
            if (more) {
                why->axes[len++] = a->letter;
                why->piece *= a->wanted;
            }
        }
    }
}

static void find_stop(struct walk *walk, const struct explain_why *why, struct explain_why_side *stop)
{
    const struct axis *next = NULL, *cut = NULL;
    size_t len = 0;
    unsigned i = 0;

    for (; i < walk->count && next == NULL; i++) {
        const struct axis *axis = &walk->axes[i];
        if (axis->letter == 'B' || !spans(why, axis)) {
            next = axis;
        } else if (axis->wanted < axis->held && cut == NULL) {
            cut = axis;
        }
    }
    for (unsigned k = next != NULL ? i - 1 : walk->count; k < walk->count; k++) {
        if (!spans(why, &walk->axes[k])) {
            stop->inside[len++] = walk->axes[k].letter;
        }
    }
    if (len == 0) {
        stop->stop = EXPLAIN_WHOLE;
    } else if (next->letter == 'B') { /* whatever is cut: with all of it the block would end here */
        stop->stop = EXPLAIN_BLOCK;
    } else if (cut != NULL) {
        stop->stop = EXPLAIN_CUT;
        stop->axis = cut->letter;
        stop->wanted = cut->wanted;
        stop->held = cut->held;
    } else {
        stop->stop = next->apart                           ? EXPLAIN_APART
                     : next->stride == (int64_t)why->piece ? EXPLAIN_NEXT
                                                           : EXPLAIN_GAP;
        stop->axis = next->letter;
    }
}

static bool among_sizes(const struct explain_figures *f, uint64_t piece)
{
    for (uint32_t i = 0; i < f->size_count; i++) {
        if (f->sizes[i].bytes == piece) {
            return true;
        }
    }
    return false;
}

static void explain_plane(struct sides *s, struct explain_share *share)
{
    struct explain_why *why = &share->why[share->why_count++];
    uint32_t index[2];
    const kvf_plane_t *plane[2];
    struct walk walk[2];
    bool fused[2], planes = false;

    for (unsigned side = 0; side < 2; side++) {
        plane[side] = plane_of(s->group[side], s->kind, &index[side]);
        fused[side] = plane[side]->kind == KVF_PLANE_KV;
    }
    why->plane = s->kind == KVF_PLANE_K ? KVF_PLANE_KV : s->kind;
    why->cell = plane[0]->content;
    if (s->kind == KVF_PLANE_K && (!fused[0] || !fused[1])) {
        why->cell = fused[0] ? plane[0]->k_content : plane[0]->content;
        planes = !fused[0] || plane[0]->k_content * 2 == plane[0]->content;
    }
    why->piece = why->cell;
    for (unsigned side = 0; side < 2; side++) {
        make_walk(s, side, planes, &walk[side]);
    }
    grow(walk, why);
    for (unsigned side = 0; side < 2; side++) {
        find_stop(&walk[side], why, &why->side[side]);
    }
    if (!among_sizes(&share->figures, why->piece)) {
        why->piece = 0;
    }
}

/* The first layer wanted, and one more of those that the group of both sides has. */
static bool first_layers(struct sides *s)
{
    const kvf_group_t *group = s->group[EXPLAIN_SOURCE];
    uint32_t at = 0;

    while (at < group->layer_count && group->layers[at] != s->share->first_layer) {
        at++;
    }
    if (at == group->layer_count) {
        return false;
    }
    s->layer[0] = s->layer[1] = group->layers[at];
    if (s->share->layers > 1 && at + 1 < group->layer_count) {
        s->layer[1] = group->layers[at + 1];
    }
    return true;
}

int kvfi_explain_why(const struct explain_world *world, const struct explain_pair *pair,
                     struct explain_share *share)
{
    static const kvf_plane_kind_t kinds[] = {KVF_PLANE_K, KVF_PLANE_LATENT, KVF_PLANE_INDEXER,
                                             KVF_PLANE_SCALES, KVF_PLANE_STATE};
    struct sides s = {.share = share};
    uint32_t rank[2] = {pair->src, pair->dst}, index;

    memset(share->why, 0, sizeof(share->why));
    for (unsigned side = 0; side < 2; side++) {
        s.layout[side] = world->side[side].group_layouts[share->group][rank[side]];
        s.group[side] = &kvf_layout_describe(s.layout[side])->groups[0];
    }
    uint64_t a = s.group[0]->block_tokens / s.group[0]->tokens_per_state;
    uint64_t b = s.group[1]->block_tokens / s.group[1]->tokens_per_state;
    s.states = a < b ? a : b;
    if (!first_layers(&s) || share->figures.pieces == 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        s.kind = kinds[i];
        if (plane_of(s.group[0], kinds[i], &index) != NULL &&
            plane_of(s.group[1], kinds[i], &index) != NULL && share->why_count < EXPLAIN_PLANES_MAX) {
            explain_plane(&s, share);
        }
    }
    return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What would make the pieces of a pair longer: other orders of the axes are tried, each by the
 * planner itself, which is quick. Each question gets the least change that answers it best: one
 * axis further out at the source, or at the destination; blocks of one size, where they differ;
 * one common order on both sides, if that gives longer pieces still. Nothing here blocks.
 */
#include "config.h"

#include "explain.h"

#include <stdlib.h>
#include <string.h>

#include "../cli.h"

#define AXES_MAX 5

struct spelling {
    char axes[AXES_MAX + 1]; /* outermost first */
    unsigned apart;          /* so many in front are in segments of their own */
    char cell;               /* 'C' or 'D' */
};

struct search {
    const struct explain_world *world;
    const struct explain_pair *pair;
    const struct explain_share *share;
    struct explain_hint best;
    unsigned steps; /* that the best one takes */
};

static void read_spelling(const char *text, struct spelling *s)
{
    const char *slash = strchr(text, '/');
    size_t len = 0;

    s->apart = slash != NULL ? (unsigned)(slash - text) : 0;
    for (; text[1] != '\0'; text++) {
        if (*text != '/') {
            s->axes[len++] = *text;
        }
    }
    s->axes[len] = '\0';
    s->cell = *text;
}

static void write_spelling(const struct spelling *s, char text[EXPLAIN_NAME_LEN])
{
    snprintf(text, EXPLAIN_NAME_LEN, "%.*s%s%s%c", (int)s->apart, s->axes, s->apart > 0 ? "/" : "",
             s->axes + s->apart, s->cell);
}

/* Fills in the pieces between two names; leaves them 0 if that cannot be. */
static void try_names(const struct search *q, const char *src, uint32_t src_tokens, const char *dst,
                      uint32_t dst_tokens, struct explain_hint *hint)
{
    const struct explain_world *w = q->world;
    kvf_plan_opts_t opts = {.struct_size = sizeof(opts),
                            .first_layer = (uint32_t)w->opts->first_layer,
                            .layer_count = (uint32_t)w->opts->layer_count};
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    kvf_layout_t *a = NULL, *b = NULL;
    kvf_plan_t *plan = NULL;
    kvf_bind_table_t table[2];
    kvf_bind_t bind;
    bool ok;

    kvfi_explain_bind_of(w, table, &bind);
    table[EXPLAIN_SOURCE].count = kvfi_explain_blocks(w, EXPLAIN_SOURCE, src_tokens);
    table[EXPLAIN_DEST].count = kvfi_explain_blocks(w, EXPLAIN_DEST, dst_tokens);
    ok = kvfi_explain_layout(w, EXPLAIN_SOURCE, q->pair->src, src, src_tokens, q->share->group, &a) ==
             KVF_OK &&
         kvfi_explain_layout(w, EXPLAIN_DEST, q->pair->dst, dst, dst_tokens, q->share->group, &b) == KVF_OK &&
         kvf_plan_create(a, b, &opts, &plan) == KVF_OK && kvf_plan_measure(plan, &bind, &size) == KVF_OK &&
         size.pieces > 0;
    kvf_plan_destroy(plan);
    kvf_layout_destroy(a);
    kvf_layout_destroy(b);
    if (ok) {
        hint->piece = size.bytes / size.pieces;
        hint->ops = size.ops;
        hint->mixed = size.piece_min != size.piece_max;
    }
}

static void consider(struct search *q, const struct explain_hint *hint, unsigned steps)
{
    if (hint->piece > q->best.piece || (hint->piece == q->best.piece && steps < q->steps)) {
        q->best = *hint;
        q->steps = steps;
    }
}

/* Longer by half at least, or it is not worth a word. */
static void keep(struct search *q, struct explain_share *share, uint64_t than, uint64_t *best_p)
{
    if (q->best.piece * 2 >= than * 3 && share->hint_count < EXPLAIN_HINTS) {
        share->hints[share->hint_count++] = q->best;
        *best_p = q->best.piece > *best_p ? q->best.piece : *best_p;
    }
    q->best = (struct explain_hint){0};
    q->steps = 0;
}

/* One side alone, with these axes. */
static void try_side(struct search *q, unsigned side, struct explain_hint *hint, unsigned steps)
{
    const struct explain_side *s = &q->world->side[EXPLAIN_SOURCE];
    const struct explain_side *d = &q->world->side[EXPLAIN_DEST];

    hint->side = side;
    try_names(q, side == EXPLAIN_SOURCE ? hint->layout : s->spelling, s->block_tokens,
              side == EXPLAIN_DEST ? hint->layout : d->spelling, d->block_tokens, hint);
    consider(q, hint, steps);
}

/* One axis further out, on one side; or all of them as the other side has them. */
static void move_one(struct search *q, unsigned side)
{
    struct explain_hint other = {.piece = 0};
    struct spelling is, was;

    read_spelling(q->world->side[side].spelling, &was);
    read_spelling(q->world->side[1 - side].spelling, &is);
    is.apart = 0;
    write_spelling(&is, other.layout);
    try_side(q, side, &other, UINT32_MAX);
    for (unsigned from = 1; was.axes[from] != '\0'; from++) {
        is = was;
        for (unsigned at = from; at > 0; at--) {
            struct explain_hint hint = {.axis = was.axes[from]};
            is.axes[at] = is.axes[at - 1];
            is.axes[at - 1] = hint.axis;
            is.apart = at - 1 < was.apart ? 0 : was.apart;
            write_spelling(&is, hint.layout);
            try_side(q, side, &hint, from - at + 1);
        }
    }
}

/* Orders that are common, of those that kvferry knows by their axes, on both sides. */
static void one_order(struct search *q, uint32_t src_tokens, uint32_t dst_tokens)
{
    const char *name;

    for (uint32_t i = 0; (name = kvf_layout_name_at(i)) != NULL; i++) {
        struct explain_hint hint = {.both = true};
        bool has_heads = strchr(name, 'H') != NULL;
        if (strspn(name, "LBNH2CD") != strlen(name) || has_heads != (q->world->model->heads > 1)) {
            continue;
        }
        snprintf(hint.layout, sizeof(hint.layout), "%s", name);
        hint.block_tokens = src_tokens != q->world->side[EXPLAIN_SOURCE].block_tokens ||
                                    dst_tokens != q->world->side[EXPLAIN_DEST].block_tokens
                                ? src_tokens
                                : 0;
        try_names(q, name, src_tokens, name, dst_tokens, &hint);
        consider(q, &hint, i);
    }
}

static void one_block_size(struct search *q, uint32_t tokens)
{
    const struct explain_side *sides = q->world->side;
    struct explain_hint hint = {.both = true, .block_tokens = tokens};

    try_names(q, sides[EXPLAIN_SOURCE].spelling, tokens, sides[EXPLAIN_DEST].spelling, tokens, &hint);
    consider(q, &hint, 0);
}

static bool is_whole(const struct explain_share *share)
{
    for (uint32_t i = 0; i < share->why_count; i++) {
        if (share->why[i].side[EXPLAIN_SOURCE].stop != EXPLAIN_WHOLE) {
            return false;
        }
    }
    return true;
}

int kvfi_explain_hints(const struct explain_world *world, const struct explain_pair *pair,
                       struct explain_share *share)
{
    const struct explain_side *sides = world->side;
    uint32_t src_tokens = sides[EXPLAIN_SOURCE].block_tokens;
    uint32_t dst_tokens = sides[EXPLAIN_DEST].block_tokens;
    uint32_t most = src_tokens > dst_tokens ? src_tokens : dst_tokens;
    struct search q = {.world = world, .pair = pair, .share = share};
    uint64_t now, best;

    share->hint_count = 0;
    if (share->figures.pieces == 0 || is_whole(share)) {
        return 0;
    }
    best = now = share->figures.bytes / share->figures.pieces;
    move_one(&q, EXPLAIN_SOURCE);
    keep(&q, share, now, &best);
    move_one(&q, EXPLAIN_DEST);
    keep(&q, share, now, &best);
    if (src_tokens != dst_tokens) {
        one_block_size(&q, most);
        keep(&q, share, now, &best);
    }
    one_order(&q, src_tokens, dst_tokens);
    keep(&q, share, best, &best);
    if (src_tokens != dst_tokens) {
        one_order(&q, most, most);
        keep(&q, share, best, &best);
    }
    return 0;
}

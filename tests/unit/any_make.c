/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Makes the setups of any.h: what a model's cache means, how each side cuts it over ranks, layouts
 * with axes in any order and gaps, tables with skips in all their forms.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "any.h"

static uint64_t state, seed_now;

void any_seed(uint64_t seed)
{
    seed_now = seed;
    state = seed_now * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

uint32_t any_roll(uint32_t n)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((state >> 33) % n);
}

void any_must(bool holds, const char *what)
{
    if (!holds)
        ck_abort_msg("seed %llu: %s", (unsigned long long)seed_now, what);
}

/* ------------------------------------------------------------- making setups */

void any_make_meaning(meaning_t *m)
{
    uint32_t layer = 0;

    memset(m, 0, sizeof(*m));
    m->groups = 1 + any_roll(MAX_GROUPS);
    for (uint32_t g = 0; g < m->groups; g++) {
        uint32_t n = 1 + any_roll(4);

        for (uint32_t i = 0; i < n; i++)
            m->group[g].layers[m->group[g].layer_count++] = layer += 1 + any_roll(2);
        m->group[g].latent = any_roll(4) == 0;
        m->group[g].heads = m->group[g].latent ? 1 : 1 + any_roll(any_roll(4) == 0 ? 8 : 5);
        m->group[g].per_state = any_roll(4) == 0 ? 2 : 1;
        m->group[g].window = any_roll(3) == 0 ? 3 + any_roll(9) : 0;
        m->group[g].kinds = m->group[g].latent ? 1 : 2 + any_roll(2);
        for (uint32_t k = 0; k < m->group[g].kinds; k++)
            m->group[g].content[k] = 1 + any_roll(3);
        if (any_roll(3) != 0)
            m->group[g].content[1] = m->group[g].content[0];
    }
}

/* Strides of a plane: its axes in a random order, sometimes with gaps; layers may be elsewhere. */
static uint64_t place_plane(held_t *h, uint32_t p, uint64_t base, bool apart)
{
    kvf_group_t *g = &h->g;
    kvf_plane_t *plane = &h->planes[p];
    uint32_t counts[4] = {apart ? 1 : g->layer_count, g->blocks, g->heads,
                          g->block_tokens / g->tokens_per_state};
    uint32_t order[4] = {0, 1, 2, 3};
    uint64_t stride = plane->content;

    for (uint32_t i = 4; i > 1; i--) {
        uint32_t j = any_roll(i), t = order[i - 1];

        order[i - 1] = order[j];
        order[j] = t;
    }
    plane->base = base;
    for (uint32_t i = 0; i < 4; i++) {
        if (any_roll(8) == 0)
            stride += any_roll(3);
        if (order[i] == 0)
            plane->layer_stride = (int64_t)stride;
        else if (order[i] == 1)
            plane->block_stride = stride;
        else if (order[i] == 2)
            plane->head_stride = (int64_t)stride;
        else
            plane->state_stride = (int64_t)stride;
        stride *= counts[order[i]];
    }
    /* Tokens may run backwards. */
    if (any_roll(10) == 0 && counts[3] > 1) {
        plane->base += (counts[3] - 1) * (uint64_t)plane->state_stride;
        plane->state_stride = -plane->state_stride;
    }
    return base + stride;
}

static void make_planes(const meaning_t *m, held_t *h)
{
    const uint32_t *content = m->group[h->meaning].content;
    uint32_t kinds = m->group[h->meaning].kinds, from = 0;

    if (m->group[h->meaning].latent) {
        h->planes[h->g.plane_count++] = (kvf_plane_t){.kind = KVF_PLANE_LATENT, .content = content[0]};
    } else if (any_roll(2) == 0) {
        h->planes[h->g.plane_count++] =
            (kvf_plane_t){.kind = KVF_PLANE_KV, .content = content[0] + content[1], .k_content = content[0]};
        from = 2;
    }
    for (uint32_t k = from; k < kinds && !m->group[h->meaning].latent; k++)
        h->planes[h->g.plane_count++] = (kvf_plane_t){.kind = k == 0   ? KVF_PLANE_K
                                                              : k == 1 ? KVF_PLANE_V
                                                                       : KVF_PLANE_SCALES,
                                                      .content = content[k]};
    for (uint32_t p = 0; p < h->g.plane_count; p++)
        strcpy(h->planes[p].element, "x");
}

/* Layers of stage s of n: a cut of ids, uneven. */
static bool in_stage(uint32_t layer, uint32_t s, uint32_t n, const uint32_t *cuts)
{
    return (s == 0 || layer >= cuts[s - 1]) && (s + 1 == n || layer < cuts[s]);
}

static void cut_heads(uint32_t heads, uint32_t tp, uint32_t r, uint32_t *first_p, uint32_t *count_p)
{
    if (heads >= tp) {
        *count_p = heads / tp + (r < heads % tp);
        *first_p = r * (heads / tp) + (r < heads % tp ? r : heads % tp);
    } else {
        *count_p = 1;
        *first_p = r * heads / tp;
    }
    /* Some engines keep a head more than they must. */
    if (any_roll(12) == 0 && *first_p + *count_p < heads)
        ++*count_p;
}

static void make_group(const meaning_t *m, side_t *side, rank_t *rank, uint32_t g, uint32_t r, uint32_t stage,
                       uint32_t c, const uint32_t *cuts)
{
    held_t *h = &rank->held[rank->count];
    uint32_t n = 0;

    memset(h, 0, sizeof(*h));
    for (uint32_t i = 0; i < m->group[g].layer_count; i++) {
        if (in_stage(m->group[g].layers[i], stage, side->pp, cuts))
            h->layers[n++] = m->group[g].layers[i];
    }
    if (n == 0)
        return;
    for (uint32_t i = n; i > 1 && any_roll(3) == 0; i--) {
        uint32_t j = any_roll(i), t = h->layers[i - 1];

        h->layers[i - 1] = h->layers[j];
        h->layers[j] = t;
    }
    h->meaning = g;
    h->g = (kvf_group_t){.block_tokens = side->tokens[g],
                         .tokens_per_state = m->group[g].per_state,
                         .layer_count = n,
                         .heads_total = m->group[g].heads,
                         .window = m->group[g].window,
                         .cp_ranks = side->cp,
                         .cp_rank = c,
                         .cp_tokens = side->dealt * side->tokens[g],
                         .layers = h->layers,
                         .planes = h->planes};
    if (side->dealt == 0)
        h->g.cp_tokens = m->group[g].per_state;
    cut_heads(m->group[g].heads, side->tp, r, &h->g.first_head, &h->g.heads);
    make_planes(m, h);
    rank->count++;
}

/* Tokens after which a side's blocks look the same. */
static uint64_t span_of(const kvf_group_t *g)
{
    if (g->cp_ranks <= 1)
        return g->block_tokens;
    return g->cp_ranks * (g->cp_tokens > g->block_tokens ? g->cp_tokens : g->block_tokens);
}

bool any_holds_token(const kvf_group_t *g, uint64_t t)
{
    return g->cp_ranks <= 1 || t / g->cp_tokens % g->cp_ranks == g->cp_rank;
}

uint64_t any_local_token(const kvf_group_t *g, uint64_t t)
{
    if (g->cp_ranks <= 1)
        return t;
    return t / (g->cp_tokens * g->cp_ranks) * g->cp_tokens + t % g->cp_tokens;
}

/* A table that covers [from, to), and blocks for it. */
static void make_table(held_t *h, uint64_t from, uint64_t to, bool read, bool is_source)
{
    uint64_t span = span_of(&h->g), ranks = h->g.cp_ranks > 1 ? h->g.cp_ranks : 1;
    uint64_t first = from / span * span, end = (to + span - 1) / span * span;
    uint32_t count;

    if (first > 0 && any_roll(2) == 0)
        first = any_roll((uint32_t)(first / span)) * span;
    count = (uint32_t)((end > first ? end - first : 0) / ranks / h->g.block_tokens) + any_roll(2);
    any_must(count < MAX_BLOCKS - 4, "the test's tables are too short");
    h->g.blocks = count + 1 + any_roll(3);
    for (uint32_t i = 0; i < h->g.blocks; i++)
        h->ids[i] = i;
    for (uint32_t i = h->g.blocks; i > 1; i--) {
        uint32_t j = any_roll(i), t = h->ids[i - 1];

        h->ids[i - 1] = h->ids[j];
        h->ids[j] = t;
    }
    h->table = (kvf_bind_table_t){.first_token = first, .count = count, .ids = h->ids};
    if (any_roll(6) == 0) {
        h->table.ids = NULL;
        for (uint32_t i = 0; i < count; i++)
            h->ids[i] = i;
    } else if (is_source && read && any_roll(4) == 0) {
        h->table.gens = h->gens;
        for (uint32_t i = 0; i < count; i++)
            h->gens[i] = h->ids[i] + 77;
    }
    for (uint32_t i = 0; i < count && h->table.ids != NULL && any_roll(3) == 0; i++)
        h->ids[any_roll(count)] = KVF_SKIP;
    if (h->table.ids != NULL && any_roll(6) == 0) { /* block 0 stands for none, or another one does */
        h->table.flags = KVF_TABLE_NULL;
        h->table.null_id = any_roll(2) == 0 ? 0 : any_roll(3) + 1000;
        if (h->table.null_id != 0 && count > 0)
            h->ids[any_roll(count)] = h->table.null_id;
    }
    if (any_roll(6) == 0) {
        h->table.skip = h->skip;
        for (uint32_t i = 0; i < count; i++)
            h->skip[i] = any_roll(4) == 0;
    }
}

static void make_memory(rank_t *rank)
{
    bool apart = any_roll(4) == 0;
    uint32_t segments = apart ? MAX_LAYERS + 1 : 1;
    kvf_layout_desc_t desc = {.struct_size = sizeof(desc),
                              .group_count = rank->count,
                              .groups = rank->groups,
                              .segment_count = segments,
                              .segment_len = rank->lens};

    for (uint32_t s = 0; s < segments; s++)
        rank->lens[s] = any_roll(20);
    for (uint32_t k = 0; k < rank->count; k++) {
        held_t *h = &rank->held[k];

        for (uint32_t p = 0; p < h->g.plane_count; p++) {
            kvf_plane_t *plane = &h->planes[p];
            uint64_t base, end;

            if (!apart) {
                rank->lens[0] = place_plane(h, p, rank->lens[0], false);
                continue;
            }
            end = place_plane(h, p, 0, true);
            base = plane->base;
            for (uint32_t i = 0; i < h->g.layer_count; i++) {
                h->segments[i] = i + k;
                h->bases[p][i] = base + rank->lens[h->segments[i]];
                rank->lens[h->segments[i]] += end + any_roll(2);
            }
            plane->layer_base = h->bases[p];
            plane->layer_segment = h->segments;
        }
        rank->groups[k] = h->g;
        rank->tables[k] = h->table;
    }
    for (uint32_t s = 0; s < segments; s++) {
        rank->lens[s] += any_roll(5) + 1;
        rank->memory[s] = (struct kvf_segment){
            .mem = malloc(rank->lens[s]), .writes = calloc(1, rank->lens[s]), .len = rank->lens[s]};
        for (uint64_t i = 0; i < rank->lens[s]; i++)
            rank->memory[s].mem[i] = (uint8_t)any_roll(256);
        rank->remotes[s].memory = rank->memory[s];
    }
    any_must(kvf_layout_create(&desc, &rank->layout) == KVF_OK, kvf_last_error());
}

void any_make_side(const meaning_t *m, side_t *side, uint64_t from, uint64_t to, bool read, bool is_source,
                   uint32_t only)
{
    uint32_t cuts[3];

    side->tp = 1 + any_roll(any_roll(4) == 0 ? 16 : any_roll(2) ? 6 : 2);
    side->pp = any_roll(2) ? 1 : 1 + any_roll(3);
    side->cp = any_roll(3) ? 1 : 1 + any_roll(3);
    while (side->tp * side->pp * side->cp > MAX_RANKS)
        side->tp--;
    side->dealt = any_roll(3);
    for (uint32_t i = 0; i < 3; i++)
        cuts[i] = 1 + any_roll(12);
    if (cuts[0] > cuts[1]) {
        uint32_t t = cuts[0];

        cuts[0] = cuts[1];
        cuts[1] = t;
    }
    for (uint32_t g = 0; g < m->groups; g++)
        side->tokens[g] = (1 + any_roll(6)) * m->group[g].per_state;
    side->count = side->tp * side->pp * side->cp;
    for (uint32_t i = 0; i < side->count; i++) {
        rank_t *rank = &side->ranks[i];

        memset(rank, 0, sizeof(*rank));
        if (only != UINT32_MAX && i != only % side->count)
            continue;
        for (uint32_t g = 0; g < m->groups; g++)
            make_group(m, side, rank, any_roll(9) == 0 && g == 0 ? 0 : g, i % side->tp,
                       i / side->tp % side->pp, i / side->tp / side->pp, cuts);
        for (uint32_t k = 0; k < rank->count; k++)
            make_table(&rank->held[k], from, to, read, is_source);
        if (rank->count > 0)
            make_memory(rank);
    }
}

void any_free_side(side_t *side)
{
    for (uint32_t i = 0; i < side->count; i++) {
        for (uint32_t s = 0; s <= MAX_LAYERS; s++) {
            free(side->ranks[i].memory[s].mem);
            free(side->ranks[i].memory[s].writes);
        }
        kvf_layout_destroy(side->ranks[i].layout);
    }
}

/* --------------------------------------------------------------- asking setups */

uint32_t any_real_id(const held_t *h, uint64_t entry)
{
    uint32_t id = h->ids[entry];

    if ((h->table.skip != NULL && h->skip[entry]) ||
        ((h->table.flags & KVF_TABLE_NULL) && id == h->table.null_id))
        return KVF_SKIP;
    return id;
}

/* Entry of a token in a rank's table; the block of the request by *block_p. */
uint64_t any_find_entry(const held_t *h, uint64_t t, uint64_t *block_p)
{
    *block_p = any_local_token(&h->g, t) / h->g.block_tokens;
    return *block_p - h->table.first_token / (h->g.cp_ranks > 1 ? h->g.cp_ranks : 1) / h->g.block_tokens;
}

/* The rank whose turn it is for (layer, head, token), and its group; NULL if none has it. */
const held_t *any_find_source(const side_t *src, uint32_t layer, uint32_t head, uint64_t t, uint64_t turn,
                              uint32_t *rank_p)
{
    const held_t *found[MAX_RANKS];
    uint32_t ranks[MAX_RANKS], n = 0;

    for (uint32_t i = 0; i < src->count; i++)
        for (uint32_t k = 0; k < src->ranks[i].count; k++) {
            const held_t *h = &src->ranks[i].held[k];
            bool there = false;

            for (uint32_t l = 0; l < h->g.layer_count; l++)
                there |= h->layers[l] == layer;
            if (there && head >= h->g.first_head && head - h->g.first_head < h->g.heads &&
                any_holds_token(&h->g, t)) {
                found[n] = h;
                ranks[n++] = i;
            }
        }
    if (n == 0)
        return NULL;
    *rank_p = ranks[turn % n];
    return found[turn % n];
}

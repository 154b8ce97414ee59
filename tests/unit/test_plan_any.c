/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Any to any: random caches cut over random ranks on both sides, random block tables and ranges,
 * against an oracle that walks byte by byte and knows layouts only as the numbers that it made up
 * itself. Each destination byte must come once, from the source whose turn it is; no other byte is
 * touched, no memory is allocated. 10,000 setups, or KVF_SETUPS; the seed is printed, KVF_SEED sets
 * it.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv_oracle.h"

#define MAX_RANKS  24
#define MAX_GROUPS 2
#define MAX_LAYERS 6
#define MAX_PLANES 3
#define MAX_BLOCKS 160
#define MAX_OPS    2048
#define MAX_IDS    8192

/* What the model's cache means: the same for both sides. */
typedef struct meaning {
    uint32_t groups;
    struct {
        uint32_t layers[MAX_LAYERS], layer_count, heads, per_state, window, kinds;
        uint32_t content[MAX_PLANES]; /* K, V, SCALES; or LATENT alone */
        bool latent;
    } group[MAX_GROUPS];
} meaning_t;

/* A group as one rank holds it. */
typedef struct held {
    kvf_group_t g;
    kvf_plane_t planes[MAX_PLANES];
    uint32_t layers[MAX_LAYERS];
    uint64_t bases[MAX_PLANES][MAX_LAYERS];
    uint32_t segments[MAX_LAYERS];
    uint32_t meaning; /* index of the group in the meaning */
    kvf_bind_table_t table;
    uint32_t ids[MAX_BLOCKS], gens[MAX_BLOCKS];
    uint8_t skip[MAX_BLOCKS];
} held_t;

typedef struct rank {
    held_t held[MAX_GROUPS];
    kvf_group_t groups[MAX_GROUPS];
    kvf_bind_table_t tables[MAX_GROUPS];
    uint32_t count;
    uint64_t lens[MAX_LAYERS + 1];
    kvf_layout_t *layout;
    struct kvf_segment memory[MAX_LAYERS + 1];
    struct kvf_remote remotes[MAX_LAYERS + 1];
} rank_t;

/* How a side cuts the model over ranks. */
typedef struct side {
    uint32_t tp, pp, cp, dealt, count;
    uint32_t tokens[MAX_GROUPS]; /* of a block */
    rank_t ranks[MAX_RANKS];
} side_t;

static uint64_t state, seed_now;

/* Binding allocates nothing: this program's malloc() counts, and stands in for the C library's. */
static unsigned long allocations;

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern void *__libc_malloc(size_t len);
extern void *__libc_calloc(size_t count, size_t len);
extern void *__libc_realloc(void *mem, size_t len);

void *malloc(size_t len)
{
    allocations++;
    return __libc_malloc(len);
}

void *calloc(size_t count, size_t len)
{
    allocations++;
    return __libc_calloc(count, len);
}

void *realloc(void *mem, size_t len)
{
    allocations++;
    return __libc_realloc(mem, len);
}
#endif

static uint32_t roll(uint32_t n)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((state >> 33) % n);
}

static void must(bool holds, const char *what)
{
    if (!holds)
        ck_abort_msg("seed %llu: %s", (unsigned long long)seed_now, what);
}

static uint8_t byte_of(uint32_t rank, uint32_t layer, uint32_t kind, uint32_t head, uint64_t at,
                       uint32_t byte)
{
    uint64_t x =
        ((((rank * UINT64_C(31) + layer) * 37 + kind) * 41 + head) * 1009 + at) * 61 + byte;

    x *= UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return (uint8_t)(x >> 40);
}

/* ------------------------------------------------------------- making setups */

static void make_meaning(meaning_t *m)
{
    uint32_t layer = 0;

    memset(m, 0, sizeof(*m));
    m->groups = 1 + roll(MAX_GROUPS);
    for (uint32_t g = 0; g < m->groups; g++) {
        uint32_t n = 1 + roll(4);

        for (uint32_t i = 0; i < n; i++)
            m->group[g].layers[m->group[g].layer_count++] = layer += 1 + roll(2);
        m->group[g].latent = roll(4) == 0;
        m->group[g].heads = m->group[g].latent ? 1 : 1 + roll(roll(4) == 0 ? 8 : 5);
        m->group[g].per_state = roll(4) == 0 ? 2 : 1;
        m->group[g].window = roll(3) == 0 ? 3 + roll(9) : 0;
        m->group[g].kinds = m->group[g].latent ? 1 : 2 + roll(2);
        for (uint32_t k = 0; k < m->group[g].kinds; k++)
            m->group[g].content[k] = 1 + roll(3);
        if (roll(3) != 0)
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
        uint32_t j = roll(i), t = order[i - 1];

        order[i - 1] = order[j];
        order[j] = t;
    }
    plane->base = base;
    for (uint32_t i = 0; i < 4; i++) {
        if (roll(8) == 0)
            stride += roll(3);
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
    if (roll(10) == 0 && counts[3] > 1) {
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
        h->planes[h->g.plane_count++] =
            (kvf_plane_t){.kind = KVF_PLANE_LATENT, .content = content[0]};
    } else if (roll(2) == 0) {
        h->planes[h->g.plane_count++] = (kvf_plane_t){
            .kind = KVF_PLANE_KV, .content = content[0] + content[1], .k_content = content[0]};
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
    if (roll(12) == 0 && *first_p + *count_p < heads)
        ++*count_p;
}

static void make_group(const meaning_t *m, side_t *side, rank_t *rank, uint32_t g, uint32_t r,
                       uint32_t stage, uint32_t c, const uint32_t *cuts)
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
    for (uint32_t i = n; i > 1 && roll(3) == 0; i--) {
        uint32_t j = roll(i), t = h->layers[i - 1];

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

static bool holds_token(const kvf_group_t *g, uint64_t t)
{
    return g->cp_ranks <= 1 || t / g->cp_tokens % g->cp_ranks == g->cp_rank;
}

static uint64_t local_token(const kvf_group_t *g, uint64_t t)
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

    if (first > 0 && roll(2) == 0)
        first = roll((uint32_t)(first / span)) * span;
    count = (uint32_t)((end > first ? end - first : 0) / ranks / h->g.block_tokens) + roll(2);
    must(count < MAX_BLOCKS - 4, "the test's tables are too short");
    h->g.blocks = count + 1 + roll(3);
    for (uint32_t i = 0; i < h->g.blocks; i++)
        h->ids[i] = i;
    for (uint32_t i = h->g.blocks; i > 1; i--) {
        uint32_t j = roll(i), t = h->ids[i - 1];

        h->ids[i - 1] = h->ids[j];
        h->ids[j] = t;
    }
    h->table = (kvf_bind_table_t){.first_token = first, .count = count, .ids = h->ids};
    if (roll(6) == 0) {
        h->table.ids = NULL;
        for (uint32_t i = 0; i < count; i++)
            h->ids[i] = i;
    } else if (is_source && read && roll(4) == 0) {
        h->table.gens = h->gens;
        for (uint32_t i = 0; i < count; i++)
            h->gens[i] = h->ids[i] + 77;
    }
    for (uint32_t i = 0; i < count && h->table.ids != NULL && roll(3) == 0; i++)
        h->ids[roll(count)] = KVF_SKIP;
    if (h->table.ids != NULL && roll(6) == 0) { /* block 0 stands for none, or another one does */
        h->table.flags = KVF_TABLE_NULL;
        h->table.null_id = roll(2) == 0 ? 0 : roll(3) + 1000;
        if (h->table.null_id != 0 && count > 0)
            h->ids[roll(count)] = h->table.null_id;
    }
    if (roll(6) == 0) {
        h->table.skip = h->skip;
        for (uint32_t i = 0; i < count; i++)
            h->skip[i] = roll(4) == 0;
    }
}

static void make_memory(rank_t *rank)
{
    bool apart = roll(4) == 0;
    uint32_t segments = apart ? MAX_LAYERS + 1 : 1;
    kvf_layout_desc_t desc = {.struct_size = sizeof(desc),
                              .group_count = rank->count,
                              .groups = rank->groups,
                              .segment_count = segments,
                              .segment_len = rank->lens};

    for (uint32_t s = 0; s < segments; s++)
        rank->lens[s] = roll(20);
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
                rank->lens[h->segments[i]] += end + roll(2);
            }
            plane->layer_base = h->bases[p];
            plane->layer_segment = h->segments;
        }
        rank->groups[k] = h->g;
        rank->tables[k] = h->table;
    }
    for (uint32_t s = 0; s < segments; s++) {
        rank->lens[s] += roll(5) + 1;
        rank->memory[s] = (struct kvf_segment){
            .mem = malloc(rank->lens[s]), .writes = calloc(1, rank->lens[s]), .len = rank->lens[s]};
        for (uint64_t i = 0; i < rank->lens[s]; i++)
            rank->memory[s].mem[i] = (uint8_t)roll(256);
        rank->remotes[s].memory = rank->memory[s];
    }
    must(kvf_layout_create(&desc, &rank->layout) == KVF_OK, kvf_last_error());
}

static void make_side(const meaning_t *m, side_t *side, uint64_t from, uint64_t to, bool read,
                      bool is_source, uint32_t only)
{
    uint32_t cuts[3];

    side->tp = 1 + roll(roll(4) == 0 ? 16 : roll(2) ? 6 : 2);
    side->pp = roll(2) ? 1 : 1 + roll(3);
    side->cp = roll(3) ? 1 : 1 + roll(3);
    while (side->tp * side->pp * side->cp > MAX_RANKS)
        side->tp--;
    side->dealt = roll(3);
    for (uint32_t i = 0; i < 3; i++)
        cuts[i] = 1 + roll(12);
    if (cuts[0] > cuts[1]) {
        uint32_t t = cuts[0];

        cuts[0] = cuts[1];
        cuts[1] = t;
    }
    for (uint32_t g = 0; g < m->groups; g++)
        side->tokens[g] = (1 + roll(6)) * m->group[g].per_state;
    side->count = side->tp * side->pp * side->cp;
    for (uint32_t i = 0; i < side->count; i++) {
        rank_t *rank = &side->ranks[i];

        memset(rank, 0, sizeof(*rank));
        if (only != UINT32_MAX && i != only % side->count)
            continue;
        for (uint32_t g = 0; g < m->groups; g++)
            make_group(m, side, rank, roll(9) == 0 && g == 0 ? 0 : g, i % side->tp,
                       i / side->tp % side->pp, i / side->tp / side->pp, cuts);
        for (uint32_t k = 0; k < rank->count; k++)
            make_table(&rank->held[k], from, to, read, is_source);
        if (rank->count > 0)
            make_memory(rank);
    }
}

static void free_side(side_t *side)
{
    for (uint32_t i = 0; i < side->count; i++) {
        for (uint32_t s = 0; s <= MAX_LAYERS; s++) {
            free(side->ranks[i].memory[s].mem);
            free(side->ranks[i].memory[s].writes);
        }
        kvf_layout_destroy(side->ranks[i].layout);
    }
}

/* ----------------------------------------------------------------- the oracle */

/* One byte of a cell: where it lies in a rank's memory. */
static uint64_t find_byte(const held_t *h, uint32_t kind, uint32_t layer_at, uint32_t block,
                          uint32_t head, uint64_t at, uint32_t byte, uint32_t *segment_p)
{
    for (uint32_t p = 0; p < h->g.plane_count; p++) {
        const kvf_plane_t *plane = &h->planes[p];
        bool fused = plane->kind == KVF_PLANE_KV && (kind == KVF_PLANE_K || kind == KVF_PLANE_V);

        if (plane->kind != kind && !fused)
            continue;
        *segment_p = plane->layer_segment != NULL ? plane->layer_segment[layer_at] : 0;
        return (plane->layer_base != NULL
                    ? plane->layer_base[layer_at]
                    : plane->base + layer_at * (uint64_t)plane->layer_stride) +
               block * plane->block_stride +
               (head - h->g.first_head) * (uint64_t)plane->head_stride +
               at * (uint64_t)plane->state_stride + byte +
               (fused && kind == KVF_PLANE_V ? plane->k_content : 0);
    }
    must(false, "the oracle lost a plane");
    return 0;
}

static uint32_t kind_of(const meaning_t *m, uint32_t g, uint32_t k)
{
    const uint32_t kinds[] = {KVF_PLANE_K, KVF_PLANE_V, KVF_PLANE_SCALES};

    return m->group[g].latent ? KVF_PLANE_LATENT : kinds[k];
}

static uint32_t real_id(const held_t *h, uint64_t entry)
{
    uint32_t id = h->ids[entry];

    if ((h->table.skip != NULL && h->skip[entry]) ||
        ((h->table.flags & KVF_TABLE_NULL) && id == h->table.null_id))
        return KVF_SKIP;
    return id;
}

/* Entry of a token in a rank's table; the block of the request by *block_p. */
static uint64_t find_entry(const held_t *h, uint64_t t, uint64_t *block_p)
{
    *block_p = local_token(&h->g, t) / h->g.block_tokens;
    return *block_p -
           h->table.first_token / (h->g.cp_ranks > 1 ? h->g.cp_ranks : 1) / h->g.block_tokens;
}

static void fill_source(const meaning_t *m, rank_t *rank, uint32_t r, uint64_t from, uint64_t to)
{
    for (uint32_t k = 0; k < rank->count; k++) {
        held_t *h = &rank->held[k];
        uint32_t per = h->g.tokens_per_state;

        for (uint64_t t = from / per * per; t < to; t += per) {
            uint64_t block, entry;

            if (!holds_token(&h->g, t))
                continue;
            entry = find_entry(h, t, &block);
            if (real_id(h, entry) == KVF_SKIP)
                continue;
            for (uint32_t l = 0; l < h->g.layer_count; l++)
                for (uint32_t head = h->g.first_head; head < h->g.first_head + h->g.heads; head++)
                    for (uint32_t c = 0; c < m->group[h->meaning].kinds; c++)
                        for (uint32_t b = 0; b < m->group[h->meaning].content[c]; b++) {
                            uint32_t kind = kind_of(m, h->meaning, c), segment;
                            uint64_t at = find_byte(h, kind, l, h->ids[entry], head,
                                                    local_token(&h->g, t) % h->g.block_tokens / per,
                                                    b, &segment);

                            rank->memory[segment].mem[at] =
                                byte_of(r, h->layers[l], kind, head, t / per, b);
                        }
        }
    }
}

/* The rank whose turn it is for (layer, head, token), and its group; NULL if none has it. */
static const held_t *find_source(const side_t *src, uint32_t layer, uint32_t head, uint64_t t,
                                 uint64_t turn, uint32_t *rank_p)
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
                holds_token(&h->g, t)) {
                found[n] = h;
                ranks[n++] = i;
            }
        }
    if (n == 0)
        return NULL;
    *rank_p = ranks[turn % n];
    return found[turn % n];
}

/* What the destination must be, and which bytes are written. */
static void expect(const meaning_t *m, const side_t *src, const rank_t *dst, uint32_t d,
                   uint64_t from, uint64_t to, bool window, uint8_t **want, uint8_t **mark)
{
    for (uint32_t k = 0; k < dst->count; k++) {
        const held_t *h = &dst->held[k];
        uint32_t per = h->g.tokens_per_state;
        uint64_t first =
            window && h->g.window != 0 && to - from > h->g.window ? to - h->g.window : from;

        for (uint64_t t = first / per * per; t < to; t += per) {
            uint64_t block, entry, src_block, src_entry;

            if (!holds_token(&h->g, t))
                continue;
            entry = find_entry(h, t, &block);
            for (uint32_t l = 0; l < h->g.layer_count; l++)
                for (uint32_t head = h->g.first_head; head < h->g.first_head + h->g.heads; head++) {
                    uint32_t r = 0;
                    const held_t *s = find_source(src, h->layers[l], head, t, d + block, &r);

                    must(s != NULL, "the oracle finds no source");
                    src_entry = find_entry(s, t, &src_block);
                    if (real_id(h, entry) == KVF_SKIP || real_id(s, src_entry) == KVF_SKIP)
                        continue;
                    for (uint32_t c = 0; c < m->group[h->meaning].kinds; c++)
                        for (uint32_t b = 0; b < m->group[h->meaning].content[c]; b++) {
                            uint32_t kind = kind_of(m, h->meaning, c), segment;
                            uint64_t at = find_byte(h, kind, l, h->ids[entry], head,
                                                    local_token(&h->g, t) % h->g.block_tokens / per,
                                                    b, &segment);

                            want[segment][at] = byte_of(r, h->layers[l], kind, head, t / per, b);
                            mark[segment][at]++;
                        }
                }
        }
    }
}

/* ------------------------------------------------------------------- running */

static kvf_op_t ops[MAX_OPS];
static uint32_t ids[MAX_IDS];

/* Generations stand beside the ids that they belong to. */
static void check_gens(const kvf_op_t *op)
{
    for (uint32_t i = 0; op->remote_gens != NULL && i < op->blocks; i++) {
        if (op->remote_ids[i] != KVF_SKIP && op->remote_gens[i] != KVF_SKIP)
            must(op->remote_gens[i] == op->remote_ids[i] + 77 || op->remote_gens[i] == 76,
                 "a generation of another block");
    }
}

/* Ops over the same pairs of blocks, between the same two memories. */
static bool same_pairs(const kvf_op_t *a, const kvf_op_t *b)
{
    return a->segment == b->segment && a->remote == b->remote && a->blocks == b->blocks &&
           a->local_ids == b->local_ids && a->remote_ids == b->remote_ids &&
           a->local_cap == b->local_cap && a->remote_cap == b->remote_cap &&
           a->local_block == b->local_block && a->remote_block == b->remote_block;
}

static bool same_axis(const kvf_op_t *a, const kvf_op_t *b, unsigned i)
{
    return a->count[i] == b->count[i] &&
           (a->count[i] == 1 || (a->local_stride[i] == b->local_stride[i] &&
                                 a->remote_stride[i] == b->remote_stride[i]));
}

/* An op by itself: pieces do not touch along an axis, and its two axes are not one. */
static void check_op(const kvf_op_t *op)
{
    for (unsigned i = 0; i < 2; i++)
        must(op->count[i] == 1 || (uint64_t)op->local_stride[i] != op->len ||
                 (uint64_t)op->remote_stride[i] != op->len,
             "pieces of an axis touch on both sides");
    must(op->count[1] == 1 || op->local_stride[1] != op->count[0] * op->local_stride[0] ||
             op->remote_stride[1] != op->count[0] * op->remote_stride[0],
         "two axes could be one");
}

/* Merging is minimal: along no axis do pieces touch on both sides, no op continues the pieces of
 * another, and none is a step of another that has an axis to spare. Single pairs of blocks that
 * meet in several places, or for several reasons, look like one, and are not compared. */
static void check_minimal(size_t op_count, bool single)
{
    for (size_t i = 0; i < op_count; i++) {
        check_op(&ops[i]);
        for (size_t j = 0; j < op_count && (single || ops[i].blocks > 1); j++) {
            const kvf_op_t *a = &ops[i], *b = &ops[j];

            if (i == j || !same_pairs(a, b) || !same_axis(a, b, 0) || !same_axis(a, b, 1))
                continue;
            must(a->local_off + a->len != b->local_off || a->remote_off + a->len != b->remote_off,
                 "an op continues the pieces of another");
            must(a->count[1] > 1 || a->len != b->len, "two ops could be one");
        }
    }
}

/* Bytes that the ops move. */
static uint64_t bind_and_run(const kvf_plan_t *plan, const kvf_bind_t *bind, bool single)
{
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    size_t op_count = MAX_OPS, id_count = MAX_IDS;
    uint64_t pieces = 0, bytes = 0;
    unsigned long before = allocations;

    must(kvf_plan_bind(plan, bind, ops, sizeof(ops[0]), &op_count, ids, &id_count) == KVF_OK,
         kvf_last_error());
    must(allocations == before, "binding took memory");
    must(kvf_plan_measure(plan, bind, &size) == KVF_OK, kvf_last_error());
    for (size_t i = 0; i < op_count; i++) {
        uint64_t n = (uint64_t)ops[i].count[0] * ops[i].count[1] * ops[i].blocks;

        pieces += n;
        bytes += n * ops[i].len;
        check_gens(&ops[i]);
    }
    must(size.ops == op_count && size.ids == id_count, "measure tells other needs than bind");
    must(size.pieces == pieces && size.bytes == bytes, "measure counts other pieces than bind");
    check_minimal(op_count, single);
    oracle_run(ops, op_count);
    return bytes;
}

static void run_plan(const kvf_plan_t *plan, rank_t *src, rank_t *dst, uint64_t from, uint64_t to,
                     bool read, bool window, bool single)
{
    kvf_segment_t *segments[MAX_LAYERS + 1];
    kvf_remote_t *remotes[MAX_LAYERS + 1];
    rank_t *local = read ? dst : src, *remote = read ? src : dst;
    uint32_t local_count = kvf_layout_describe(local->layout)->segment_count;
    uint32_t remote_count = kvf_layout_describe(remote->layout)->segment_count;
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .flags = window ? KVF_BIND_WINDOW : 0,
                       .dir = read ? KVF_READ : KVF_WRITE,
                       .src_table_count = src->count,
                       .dst_table_count = dst->count,
                       .segment_count = local_count,
                       .remote_count = remote_count,
                       .src_tables = src->tables,
                       .dst_tables = dst->tables,
                       .first_token = from,
                       .tokens = to - from,
                       .segments = segments,
                       .remotes = remotes};
    uint64_t bytes = 0;

    for (uint32_t s = 0; s <= MAX_LAYERS; s++) {
        segments[s] = &local->memory[s];
        remotes[s] = &remote->remotes[s];
    }
    if (roll(2) == 0) {
        bind_and_run(plan, &bind, single);
        return;
    }
    /* a few layers at a time, in any order, gives the same */
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    uint32_t layers[2 * MAX_LAYERS], count = 2 * MAX_LAYERS, step = 1 + roll(3);

    must(kvf_plan_measure(plan, &bind, &size) == KVF_OK, kvf_last_error());
    must(kvf_plan_layers(plan, layers, &count) == KVF_OK, kvf_last_error());
    must(count > 0, "a plan without layers");
    uint32_t steps = (count + step - 1) / step, first = roll(steps);

    for (uint32_t i = 0; i < steps; i++) {
        uint32_t at = (first + i) % steps * step, last = at + step < count ? at + step : count;

        bind.first_layer = layers[at];
        bind.layer_count = layers[last - 1] - layers[at] + 1;
        bytes += bind_and_run(plan, &bind, single);
    }
    must(bytes == size.bytes, "the layers together are not the whole");
}

static uint64_t totals[2]; /* plans, bytes */

static void run_setup(void)
{
    static side_t src, dst;
    meaning_t m;
    uint64_t from = roll(40), to = from + roll(60);
    bool read = roll(2), window = roll(2);
    uint8_t *want[MAX_LAYERS + 1] = {NULL}, *mark[MAX_LAYERS + 1] = {NULL};
    const kvf_layout_t *layouts[MAX_RANKS];
    kvf_plan_source_t sources[MAX_RANKS];
    uint32_t count = MAX_RANKS, d = roll(MAX_RANKS);

    make_meaning(&m);
    make_side(&m, &src, from, to, read, true, UINT32_MAX);
    make_side(&m, &dst, from, to, read, false, d);
    d %= dst.count;
    bool single = src.cp == 1 && dst.cp == 1 && src.tokens[0] == dst.tokens[0] &&
                  (m.groups == 1 || src.tokens[1] == dst.tokens[1]);
    rank_t *to_rank = &dst.ranks[d];

    if (to_rank->count > 0) {
        for (uint32_t s = 0; s <= MAX_LAYERS; s++) {
            want[s] = malloc(to_rank->memory[s].len + 1);
            mark[s] = calloc(1, to_rank->memory[s].len + 1);
            if (to_rank->memory[s].len > 0)
                memcpy(want[s], to_rank->memory[s].mem, to_rank->memory[s].len);
        }
        for (uint32_t i = 0; i < src.count; i++) {
            layouts[i] = src.ranks[i].layout;
            fill_source(&m, &src.ranks[i], i, from, to);
        }
        if (from < to)
            expect(&m, &src, to_rank, d, from, to, window, want, mark);
        must(kvf_plan_sources(layouts, src.count, to_rank->layout, d, NULL, sources, &count) ==
                 KVF_OK,
             kvf_last_error());
        for (uint32_t i = 0; i < count; i++) {
            run_plan(sources[i].plan, &src.ranks[sources[i].rank], to_rank, from, to, read, window,
                     single && count == 1);
            kvf_plan_destroy(sources[i].plan);
            totals[0]++;
        }
        for (uint32_t s = 0; s <= MAX_LAYERS; s++) {
            const struct kvf_segment *got = &to_rank->memory[s];

            for (uint64_t i = 0; i < got->len; i++) {
                must(got->writes[i] == mark[s][i], "a byte is written twice or not");
                must(got->mem[i] == want[s][i], "a byte is not the right one");
                totals[1] += mark[s][i];
            }
            free(want[s]);
            free(mark[s]);
        }
    }
    free_side(&src);
    free_side(&dst);
}

START_TEST(any_ranks_any_layouts_give_each_byte_once)
{
    const char *setups = getenv("KVF_SETUPS"), *seed = getenv("KVF_SEED");
    uint64_t count = setups != NULL ? strtoull(setups, NULL, 0) : 10000;
    uint64_t first = seed != NULL ? strtoull(seed, NULL, 0) : 20260901;

    printf("%llu setups from seed %llu\n", (unsigned long long)count, (unsigned long long)first);
    for (uint64_t i = 0; i < count; i++) {
        seed_now = first + i;
        state = seed_now * UINT64_C(0x9e3779b97f4a7c15) + 1;
        run_setup();
    }
    printf("%llu plans, %llu bytes\n", (unsigned long long)totals[0],
           (unsigned long long)totals[1]);
    ck_assert_uint_ge(totals[1], count < 100 ? 0 : count * 100);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("plan_any");
    TCase *c = tcase_create("any to any");

    tcase_set_timeout(c, 3600);
    tcase_add_test(c, any_ranks_any_layouts_give_each_byte_once);
    suite_add_tcase(s, c);

    SRunner *runner = srunner_create(s);

    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);

    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Any to any: random caches cut over random ranks on both sides, random block tables and ranges,
 * against an oracle that walks byte by byte and knows layouts only as the numbers that it made up
 * itself. Each destination byte must come once, from the source whose turn it is; no other byte is
 * touched, no memory is allocated. Blocks and sources that fail show in the results as they must.
 * 10,000 setups, or KVF_SETUPS; the seed is printed, KVF_SEED sets
 * it.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "any.h"

#define MAX_OPS 2048
#define MAX_IDS 8192

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

static uint8_t byte_of(uint32_t rank, uint32_t layer, uint32_t kind, uint32_t head, uint64_t at,
                       uint32_t byte)
{
    uint64_t x = ((((rank * UINT64_C(31) + layer) * 37 + kind) * 41 + head) * 1009 + at) * 61 + byte;

    x *= UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return (uint8_t)(x >> 40);
}

/* ----------------------------------------------------------------- the oracle */

/* One byte of a cell: where it lies in a rank's memory. */
static uint64_t find_byte(const held_t *h, uint32_t kind, uint32_t layer_at, uint32_t block, uint32_t head,
                          uint64_t at, uint32_t byte, uint32_t *segment_p)
{
    for (uint32_t p = 0; p < h->g.plane_count; p++) {
        const kvf_plane_t *plane = &h->planes[p];
        bool fused = plane->kind == KVF_PLANE_KV && (kind == KVF_PLANE_K || kind == KVF_PLANE_V);

        if (plane->kind != kind && !fused)
            continue;
        *segment_p = plane->layer_segment != NULL ? plane->layer_segment[layer_at] : 0;
        return (plane->layer_base != NULL ? plane->layer_base[layer_at]
                                          : plane->base + layer_at * (uint64_t)plane->layer_stride) +
               block * plane->block_stride + (head - h->g.first_head) * (uint64_t)plane->head_stride +
               at * (uint64_t)plane->state_stride + byte +
               (fused && kind == KVF_PLANE_V ? plane->k_content : 0);
    }
    any_must(false, "the oracle lost a plane");
    return 0;
}

static uint32_t kind_of(const meaning_t *m, uint32_t g, uint32_t k)
{
    const uint32_t kinds[] = {KVF_PLANE_K, KVF_PLANE_V, KVF_PLANE_SCALES};

    return m->group[g].latent ? KVF_PLANE_LATENT : kinds[k];
}

static void fill_source(const meaning_t *m, rank_t *rank, uint32_t r, uint64_t from, uint64_t to)
{
    for (uint32_t k = 0; k < rank->count; k++) {
        held_t *h = &rank->held[k];
        uint32_t per = h->g.tokens_per_state;

        for (uint64_t t = from / per * per; t < to; t += per) {
            uint64_t block, entry;

            if (!any_holds_token(&h->g, t))
                continue;
            entry = any_find_entry(h, t, &block);
            if (any_real_id(h, entry) == KVF_SKIP)
                continue;
            for (uint32_t l = 0; l < h->g.layer_count; l++)
                for (uint32_t head = h->g.first_head; head < h->g.first_head + h->g.heads; head++)
                    for (uint32_t c = 0; c < m->group[h->meaning].kinds; c++)
                        for (uint32_t b = 0; b < m->group[h->meaning].content[c]; b++) {
                            uint32_t kind = kind_of(m, h->meaning, c), segment;
                            uint64_t at =
                                find_byte(h, kind, l, h->ids[entry], head,
                                          any_local_token(&h->g, t) % h->g.block_tokens / per, b, &segment);

                            rank->memory[segment].mem[at] = byte_of(r, h->layers[l], kind, head, t / per, b);
                        }
        }
    }
}

/* What the destination must be, and which bytes are written. */
static void expect(const meaning_t *m, const side_t *src, const rank_t *dst, uint32_t d, uint64_t from,
                   uint64_t to, bool window, uint8_t **want, uint8_t **mark)
{
    for (uint32_t k = 0; k < dst->count; k++) {
        const held_t *h = &dst->held[k];
        uint32_t per = h->g.tokens_per_state;
        uint64_t first = window && h->g.window != 0 && to - from > h->g.window ? to - h->g.window : from;

        for (uint64_t t = first / per * per; t < to; t += per) {
            uint64_t block, entry, src_block, src_entry;

            if (!any_holds_token(&h->g, t))
                continue;
            entry = any_find_entry(h, t, &block);
            for (uint32_t l = 0; l < h->g.layer_count; l++)
                for (uint32_t head = h->g.first_head; head < h->g.first_head + h->g.heads; head++) {
                    uint32_t r = 0;
                    const held_t *s = any_find_source(src, h->layers[l], head, t, d + block, &r);

                    any_must(s != NULL, "the oracle finds no source");
                    src_entry = any_find_entry(s, t, &src_block);
                    if (any_real_id(h, entry) == KVF_SKIP || any_real_id(s, src_entry) == KVF_SKIP)
                        continue;
                    for (uint32_t c = 0; c < m->group[h->meaning].kinds; c++)
                        for (uint32_t b = 0; b < m->group[h->meaning].content[c]; b++) {
                            uint32_t kind = kind_of(m, h->meaning, c), segment;
                            uint64_t at =
                                find_byte(h, kind, l, h->ids[entry], head,
                                          any_local_token(&h->g, t) % h->g.block_tokens / per, b, &segment);

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
            any_must(op->remote_gens[i] == op->remote_ids[i] + 77 || op->remote_gens[i] == 76,
                     "a generation of another block");
    }
}

/* Ops over the same pairs of blocks, between the same two memories. */
static bool same_pairs(const kvf_op_t *a, const kvf_op_t *b)
{
    return a->segment == b->segment && a->remote == b->remote && a->blocks == b->blocks &&
           a->local_ids == b->local_ids && a->remote_ids == b->remote_ids && a->local_cap == b->local_cap &&
           a->remote_cap == b->remote_cap && a->local_block == b->local_block &&
           a->remote_block == b->remote_block;
}

static bool same_axis(const kvf_op_t *a, const kvf_op_t *b, unsigned i)
{
    return a->count[i] == b->count[i] && (a->count[i] == 1 || (a->local_stride[i] == b->local_stride[i] &&
                                                               a->remote_stride[i] == b->remote_stride[i]));
}

/* An op by itself: pieces do not touch along an axis, and its two axes are not one. */
static void check_op(const kvf_op_t *op)
{
    for (unsigned i = 0; i < 2; i++)
        any_must(op->count[i] == 1 || (uint64_t)op->local_stride[i] != op->len ||
                     (uint64_t)op->remote_stride[i] != op->len,
                 "pieces of an axis touch on both sides");
    any_must(op->count[1] == 1 || op->local_stride[1] != op->count[0] * op->local_stride[0] ||
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
            any_must(a->local_off + a->len != b->local_off || a->remote_off + a->len != b->remote_off,
                     "an op continues the pieces of another");
            any_must(a->count[1] > 1 || a->len != b->len, "two ops could be one");
        }
    }
}

/* Bytes that the ops move. */
static uint64_t bind_and_run(const kvf_plan_t *plan, const kvf_bind_t *bind, uint32_t r, bool single)
{
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    size_t op_count = MAX_OPS, id_count = MAX_IDS;
    uint64_t pieces = 0, bytes = 0;
    unsigned long before = allocations;

    any_must(kvf_plan_bind(plan, bind, ops, sizeof(ops[0]), &op_count, ids, &id_count) == KVF_OK,
             kvf_last_error());
    any_must(allocations == before, "binding took memory");
    any_must(kvf_plan_measure(plan, bind, &size) == KVF_OK, kvf_last_error());
    for (size_t i = 0; i < op_count; i++) {
        uint64_t n = (uint64_t)ops[i].count[0] * ops[i].count[1] * ops[i].blocks;

        pieces += n;
        bytes += n * ops[i].len;
        check_gens(&ops[i]);
    }
    any_must(size.ops == op_count && size.ids == id_count, "measure tells other needs than bind");
    any_must(size.pieces == pieces && size.bytes == bytes, "measure counts other pieces than bind");
    if (bind->layer_count == 0 || op_count < 16) /* more boxes of some layers are not merged */
        check_minimal(op_count, single);
    oracle_run(ops, op_count);
    any_results_add(plan, bind, r, ops, op_count);
    return bytes;
}

static void run_plan(const kvf_plan_t *plan, uint32_t r, rank_t *src, rank_t *dst, uint64_t from, uint64_t to,
                     bool read, bool window, bool single)
{
    kvf_bind_local_t locals[MAX_LAYERS + 1] = {0};
    kvf_remote_t *remotes[MAX_LAYERS + 1];
    rank_t *local = read ? dst : src, *remote = read ? src : dst;
    uint32_t local_count = kvf_layout_describe(local->layout)->segment_count;
    uint32_t remote_count = kvf_layout_describe(remote->layout)->segment_count;
    kvf_bind_t bind = {.struct_size = sizeof(bind),
                       .flags = window ? KVF_BIND_WINDOW : 0,
                       .dir = read ? KVF_READ : KVF_WRITE,
                       .src_table_count = src->count,
                       .dst_table_count = dst->count,
                       .local_count = local_count,
                       .remote_count = remote_count,
                       .src_tables = src->tables,
                       .dst_tables = dst->tables,
                       .first_token = from,
                       .tokens = to - from,
                       .locals = locals,
                       .remotes = remotes};
    uint64_t bytes = 0;

    for (uint32_t s = 0; s <= MAX_LAYERS; s++) {
        locals[s].segment = &local->memory[s];
        remotes[s] = &remote->remotes[s];
    }
    any_results_bind(&bind);
    if (any_roll(2) == 0) {
        bind_and_run(plan, &bind, r, single);
        return;
    }
    /* a few layers at a time, in any order, gives the same */
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    uint32_t layers[2 * MAX_LAYERS], count = 2 * MAX_LAYERS, step = 1 + any_roll(3);

    any_must(kvf_plan_measure(plan, &bind, &size) == KVF_OK, kvf_last_error());
    any_must(kvf_plan_layers(plan, layers, &count) == KVF_OK, kvf_last_error());
    any_must(count > 0, "a plan without layers");
    uint32_t steps = (count + step - 1) / step, first = any_roll(steps);

    for (uint32_t i = 0; i < steps; i++) {
        uint32_t at = (first + i) % steps * step, last = at + step < count ? at + step : count;

        bind.first_layer = layers[at];
        bind.layer_count = layers[last - 1] - layers[at] + 1;
        bytes += bind_and_run(plan, &bind, r, single);
    }
    any_must(bytes == size.bytes, "the layers together are not the whole");
}

static uint64_t totals[2]; /* plans, bytes */

static void run_setup(void)
{
    static side_t src, dst;
    meaning_t m;
    uint64_t from = any_roll(40), to = from + any_roll(60);
    bool read = any_roll(2), window = any_roll(2);
    uint8_t *want[MAX_LAYERS + 1] = {NULL}, *mark[MAX_LAYERS + 1] = {NULL};
    kvf_layout_t *layouts[MAX_RANKS];
    kvf_plan_source_t sources[MAX_RANKS];
    uint32_t count = MAX_RANKS, d = any_roll(MAX_RANKS);

    any_make_meaning(&m);
    any_make_side(&m, &src, from, to, read, true, UINT32_MAX);
    any_make_side(&m, &dst, from, to, read, false, d);
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
        any_must(kvf_plan_sources(layouts, src.count, to_rank->layout, d, NULL, sources, &count) == KVF_OK,
                 kvf_last_error());
        any_results_begin(&src, to_rank);
        for (uint32_t i = 0; i < count; i++) {
            run_plan(sources[i].plan, sources[i].rank, &src.ranks[sources[i].rank], to_rank, from, to, read,
                     window, single && count == 1);
            kvf_plan_destroy(sources[i].plan);
            totals[0]++;
        }
        any_results_check(&src, to_rank, d, from, to, window);
        for (uint32_t s = 0; s <= MAX_LAYERS; s++) {
            const struct kvf_segment *got = &to_rank->memory[s];

            for (uint64_t i = 0; i < got->len; i++) {
                any_must(got->writes[i] == mark[s][i], "a byte is written twice or not");
                any_must(got->mem[i] == want[s][i], "a byte is not the right one");
                totals[1] += mark[s][i];
            }
            free(want[s]);
            free(mark[s]);
        }
    }
    any_free_side(&src);
    any_free_side(&dst);
}

START_TEST(any_ranks_any_layouts_give_each_byte_once)
{
    const char *setups = getenv("KVF_SETUPS"), *seed = getenv("KVF_SEED");
    uint64_t count = setups != NULL ? strtoull(setups, NULL, 0) : 10000;
    uint64_t first = seed != NULL ? strtoull(seed, NULL, 0) : 20260901;

    printf("%llu setups from seed %llu\n", (unsigned long long)count, (unsigned long long)first);
    for (uint64_t i = 0; i < count; i++) {
        any_seed(first + i);
        run_setup();
    }
    printf("%llu plans, %llu bytes\n", (unsigned long long)totals[0], (unsigned long long)totals[1]);
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

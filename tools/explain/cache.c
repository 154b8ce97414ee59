/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The cache of a rank while a transfer is run: its memory, what is in it, and the judge. Each word
 * says of which cell it is, and a destination is filled with a word that none of them is. The judge
 * works out by itself which cells have to have come, from which source, and asks the layout only
 * where a cell lies: plans and ops are not trusted. Then nothing but those cells may have changed.
 */
#include "config.h"

#include "run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cli.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)
#define POISON UINT64_C(0xa5c3a5c3a5c3a5c3)

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void kvfi_explain_table(const struct explain_world *world, unsigned which, uint32_t rank, uint32_t *ids)
{
    const struct explain_side *side = &world->side[which];
    uint64_t state = mix(world->opts->seed + GOLDEN) ^ mix(((uint64_t)which << 32 | rank) + GOLDEN);

    for (uint32_t i = 0; i < side->blocks; i++) {
        ids[i] = i;
    }
    for (uint32_t i = side->blocks - 1; i > 0; i--) {
        state += GOLDEN;
        uint32_t other = (uint32_t)(mix(state) % (i + 1)), id = ids[i];
        ids[i] = ids[other];
        ids[other] = id;
    }
}

/* ---------------------------------------------------------------- memory */

static int take_segment(kvf_engine_t *engine, enum explain_memory kind, struct explain_part *part)
{
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_status_t status;

    if (kind != EXPLAIN_MEMORY_POOL) {
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        uint64_t len = (part->len + page - 1) / page * page; /* adopting takes whole pages */
        void *addr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (addr == MAP_FAILED) {
            return kvfi_cli_fail("cannot map %" PRIu64 " bytes", len);
        }
        part->addr = addr;
        part->mapped = len;
    }
    if (kind == EXPLAIN_MEMORY_OWN) {
        status = kvf_segment_register(engine, part->addr, part->mapped, &part->segment);
    } else if (kind == EXPLAIN_MEMORY_ADOPT) {
        status = kvf_segment_adopt(engine, part->addr, part->mapped, &part->segment);
    } else {
        status = kvf_segment_alloc(engine, part->len, &part->segment);
        if (status == KVF_OK) {
            kvf_segment_query(part->segment, &attr);
            part->addr = attr.addr;
        }
    }
    return status == KVF_OK ? 0 : kvfi_cli_fail("the memory of a cache: %s", kvf_last_error());
}

int kvfi_explain_cache_open(const struct explain_world *world, kvf_engine_t *engine, enum explain_memory kind,
                            unsigned which, uint32_t rank, struct explain_cache *cache)
{
    const struct explain_side *side = &world->side[which];
    const kvf_layout_desc_t *desc = kvf_layout_describe(side->layouts[rank]);

    *cache =
        (struct explain_cache){.world = world, .side = which, .rank = rank, .layout = side->layouts[rank]};
    cache->ids = malloc(side->blocks * sizeof(*cache->ids));
    cache->parts = calloc(desc->segment_count, sizeof(*cache->parts));
    if (cache->ids == NULL || cache->parts == NULL) {
        return kvfi_cli_fail("no memory for %u blocks", side->blocks);
    }
    kvfi_explain_table(world, which, rank, cache->ids);
    for (uint32_t i = 0; i < desc->segment_count; i++) {
        cache->parts[i].len = desc->segment_len[i];
        cache->count++;
        if (take_segment(engine, kind, &cache->parts[i]) != 0) {
            return -1;
        }
    }
    return 0;
}

void kvfi_explain_cache_close(struct explain_cache *cache)
{
    for (uint32_t i = 0; i < cache->count; i++) {
        kvf_segment_release(cache->parts[i].segment);
        if (cache->parts[i].mapped > 0) {
            munmap(cache->parts[i].addr, cache->parts[i].mapped);
        }
    }
    free(cache->parts);
    free(cache->ids);
    *cache = (struct explain_cache){0};
}

/* ---------------------------------------------------------------- contents */

/* A cell of the request, or the K or V part of one. */
struct cell {
    const kvf_group_t *group;
    uint32_t group_index, plane_index;
    uint32_t kind; /* K and V also where they are fused */
    uint32_t layer, head;
    uint32_t block; /* of the request */
    uint64_t token; /* first one of its state */
    char *addr;
    uint64_t len;
};

typedef void (*visit_t)(void *arg, const struct cell *cell);

static uint64_t key_of(const struct explain_world *world, const struct cell *cell)
{
    uint64_t place = (uint64_t)cell->layer << 40 | (uint64_t)cell->head << 8 | cell->kind;

    return mix(mix(world->opts->seed ^ mix(place + GOLDEN)) ^ mix(cell->token + GOLDEN));
}

static void visit_states(const struct explain_cache *cache, struct cell *cell, visit_t visit, void *arg)
{
    const kvf_plane_t *plane = &cell->group->planes[cell->plane_index];
    uint32_t states = cell->group->block_tokens / cell->group->tokens_per_state, segment = 0;
    const struct explain_side *side = &cache->world->side[cache->side];
    uint64_t off = 0, first_token = ((uint64_t)cell->block * side->cp + side->ranks[cache->rank].cp_rank) *
                                    side->block_tokens;

    for (uint32_t state = 0; state < states; state++) {
        kvf_layout_locate(cache->layout, cell->group_index, cell->plane_index, cell->layer,
                          cache->ids[cell->block], cell->head, state, &segment, &off);
        cell->token = first_token + (uint64_t)state * cell->group->tokens_per_state;
        cell->kind = plane->kind == KVF_PLANE_KV ? KVF_PLANE_K : plane->kind;
        cell->addr = cache->parts[segment].addr + off;
        cell->len = plane->kind == KVF_PLANE_KV ? plane->k_content : plane->content;
        visit(arg, cell);
        if (plane->kind == KVF_PLANE_KV) {
            cell->kind = KVF_PLANE_V;
            cell->addr += plane->k_content;
            cell->len = plane->content - plane->k_content;
            visit(arg, cell);
        }
    }
}

/* All cells of the request's blocks. */
static void visit_cells(const struct explain_cache *cache, visit_t visit, void *arg)
{
    const kvf_layout_desc_t *desc = kvf_layout_describe(cache->layout);
    uint32_t need = cache->world->side[cache->side].need;

    for (uint32_t g = 0; g < desc->group_count; g++) {
        const kvf_group_t *group = &desc->groups[g];
        struct cell cell = {.group = group, .group_index = g};
        for (uint64_t i = 0; i < (uint64_t)group->plane_count * group->layer_count; i++) {
            cell.plane_index = (uint32_t)(i / group->layer_count);
            cell.layer = group->layers[i % group->layer_count];
            for (cell.block = 0; cell.block < need; cell.block++) {
                for (uint32_t h = 0; h < group->heads; h++) {
                    cell.head = group->first_head + h;
                    visit_states(cache, &cell, visit, arg);
                }
            }
        }
    }
}

static void fill_cell(void *arg, const struct cell *cell)
{
    const struct explain_cache *cache = arg;
    uint64_t key = key_of(cache->world, cell);

    for (uint64_t at = 0; at < cell->len; at += 8) {
        uint64_t word = mix(key + at * GOLDEN), left = cell->len - at;
        memcpy(cell->addr + at, &word, left < 8 ? left : 8);
    }
}

void kvfi_explain_cache_fill(struct explain_cache *cache)
{
    visit_cells(cache, fill_cell, cache);
}

void kvfi_explain_cache_poison(struct explain_cache *cache)
{
    const uint64_t word = POISON;

    for (uint32_t i = 0; i < cache->count; i++) {
        for (uint64_t at = 0; at < cache->parts[i].len; at += 8) {
            uint64_t left = cache->parts[i].len - at;
            memcpy(cache->parts[i].addr + at, &word, left < 8 ? left : 8);
        }
    }
}

/* ---------------------------------------------------------------- the judge */

struct judge {
    struct explain_cache *cache;
    const bool *comes; /* by source rank: whether it takes part */
    uint64_t right, wrong;
};

static bool holds(const struct explain_side *side, uint32_t rank, const struct cell *cell)
{
    const struct explain_rank *r = &side->ranks[rank];
    bool state = cell->kind == KVF_PLANE_STATE;
    uint32_t first = state ? r->first_state_head : r->first_head;
    uint32_t count = state ? r->state_heads : r->heads;

    return cell->token / side->block_tokens % side->cp == r->cp_rank && cell->layer >= r->first_layer &&
           cell->layer < r->first_layer + r->layers && cell->head >= first && cell->head < first + count;
}

/* The source that a cell has to come from: those that hold it take turns by block, beginning with
 * the destination's own number. UINT32_MAX: it does not move at all. */
static uint32_t source_of(const struct judge *j, const struct cell *cell)
{
    const struct explain_world *world = j->cache->world;
    const struct explain_side *sources = &world->side[EXPLAIN_SOURCE];
    const struct explain_opts *opts = world->opts;
    uint64_t low = 0, window = cell->group->window;
    uint32_t holders = 0, turn;

    if (window > 0 && opts->tokens > window) {
        low = opts->tokens - window;
    }
    if (cell->token >= opts->tokens || cell->token + cell->group->tokens_per_state <= low ||
        (opts->layer_count > 0 &&
         (cell->layer < opts->first_layer || cell->layer >= opts->first_layer + opts->layer_count))) {
        return UINT32_MAX;
    }
    for (uint32_t s = 0; s < sources->rank_count; s++) {
        holders += holds(sources, s, cell);
    }
    turn = (j->cache->rank + cell->block) % holders;
    for (uint32_t s = 0; s < sources->rank_count; s++) {
        if (holds(sources, s, cell) && turn-- == 0) {
            return s;
        }
    }
    return UINT32_MAX;
}

static void judge_cell(void *arg, const struct cell *cell)
{
    struct judge *j = arg;
    const uint64_t poison = POISON;
    uint32_t source = source_of(j, cell);

    if (source == UINT32_MAX || !j->comes[source]) {
        return;
    }
    uint64_t key = key_of(j->cache->world, cell);
    for (uint64_t at = 0; at < cell->len; at += 8) {
        uint64_t word = mix(key + at * GOLDEN), len = cell->len - at < 8 ? cell->len - at : 8;
        if (memcmp(cell->addr + at, &word, len) == 0) {
            j->right += len;
        } else {
            j->wrong += len;
        }
        /* What has to have come is put back, so that what is left over is what nobody sent. */
        char *to = cell->addr + at;
        for (uint64_t i = 0; i < len; i++) {
            to[i] = ((const char *)&poison)[(uintptr_t)(to + i) % 8];
        }
    }
}

void kvfi_explain_cache_judge(struct explain_cache *cache, const bool *comes, uint64_t *right_p,
                              uint64_t *wrong_p)
{
    struct judge j = {.cache = cache, .comes = comes};
    const uint64_t word = POISON;

    visit_cells(cache, judge_cell, &j);
    for (uint32_t i = 0; i < cache->count; i++) {
        for (uint64_t at = 0; at < cache->parts[i].len; at += 8) {
            uint64_t left = cache->parts[i].len - at, len = left < 8 ? left : 8;
            j.wrong += memcmp(cache->parts[i].addr + at, &word, len) == 0 ? 0 : len;
        }
    }
    *right_p = j.right;
    *wrong_p = j.wrong;
}

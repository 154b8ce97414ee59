/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The checker: verify.h says what it promises. A cache is regions one behind the other; a region is one
 * array whose axes the layout's name spells from the outermost inwards. For each group of layers
 * (without a window, then with one) there is a region of the cells of K and V, or of the latent, and
 * then one of the indexer if the model has it. Axes in front of a / are segments: each of their
 * positions begins at a base of its own, counted on from region to region.
 *
 *     L B H N C       axes outside of B: one piece of a block for each of their positions
 *       ^             axes inside of B:  these make up a piece, from its first byte to its last
 *
 * A piece here is what is contiguous of one block, whatever the library makes of it.
 */
#include "config.h"

#include "verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"
#include "content.h"

#define MAX_AXES    5 /* L 2 B N H; the cell is no axis */
#define MAX_REGIONS 4
#define MAX_NAME    9 /* the axes, a /, the cell, and the end */

struct axis {
    char letter;
    uint32_t extent;
    uint64_t stride;
};

struct region {
    struct axis axis[MAX_AXES]; /* outermost first */
    int axes;
    int apart;        /* so many of them, the first ones, are segments */
    int block_axis;   /* place of B */
    uint32_t segment; /* the first one */
    uint64_t base;    /* from its start */
    uint64_t cell;    /* bytes */
    uint64_t k_bytes; /* of a cell that holds K, then V; else the cell's */
    uint32_t plane;   /* of the content: of the cell, or of its first part */
    bool fused;
    const uint32_t *layers; /* ids, in the order in which they lie */
};

struct replay_check {
    struct replay_held held;
    char name[MAX_NAME]; /* the layout's spelling */
    uint8_t *const *bases;
    uint64_t seed;
    uint64_t block_bytes;
    uint64_t end;      /* of the regions so far, where they share a segment */
    uint32_t segments; /* of the regions so far, where they do not */
    struct region region[MAX_REGIONS];
    int regions;
    uint32_t layer_ids[]; /* of the group without a window, then of the one with it */
};

/* -------------------------------------------------------------- what a name means */

/* Names of the field, as the engines themselves describe their caches. */
static const char *spelling_of(const char *name)
{
    static const char *const known[][2] = {
        {"vllm-0.21", "L/2BNHD"},
        {"vllm-0.23", "L/B2NHD"},
        {"vllm-0.26", "LBHNC"},
        {"vllm-mla", "L/BNC"},
        {"sglang", "2L/BNHD"},
        {"hicache-layer-first", "2LBNHD"},
        {"hicache-token-first", "2BNLHD"},
        {"hicache-page-first", "2BLNHD"},
        {"hicache-page-head", "2BHNLD"},
        {"tensorrt-llm", "BL2HND"},
        {"lmcache", "B2LNHD"},
        {"flexkv-layer-first", "L2BNHD"},
        {"flexkv-block-first", "BL2NHD"},
        {"kvbm-universal", "BHL2ND"},
        {"kvbm-nhd", "BL2NHD"},
        {"kvbm-hnd", "BL2HND"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(name, known[i][0]) == 0) {
            return known[i][1];
        }
    }
    return name;
}

/* The ids of the layers held that have the window, or have not; those with id % every == 0 have it. */
static uint32_t list_layers(const struct replay_held *held, bool window, uint32_t *ids)
{
    uint32_t every = held->model->window != 0 ? held->model->window_every : 0, count = 0;

    for (uint32_t i = 0; i < held->cut.layers; i++) {
        uint32_t id = held->cut.first_layer + i;
        if ((every != 0 && id % every == 0) == window) {
            ids[count++] = id;
        }
    }
    return count;
}

static uint32_t extent_of(const struct replay_check *check, char letter, uint32_t layers, uint32_t heads,
                          uint32_t capacity)
{
    switch (letter) {
    case 'L':
        return layers;
    case 'B':
        return capacity;
    case 'H':
        return heads;
    case 'N':
        return check->held.block_tokens;
    case '2':
        return 2;
    default:
        return 0;
    }
}

/* Takes the axes from the name. without_2: its 2 does not concern this region. */
static int take_axes(struct replay_check *check, struct region *region, uint32_t layers, uint32_t heads,
                     uint32_t capacity, bool without_2)
{
    const char *name = check->name, *slash = strchr(name, '/');

    for (const char *at = name; at[1] != '\0'; at++) {
        if (*at == '/' || (*at == '2' && without_2)) {
            continue;
        }
        if (region->axes == MAX_AXES) {
            return kvfi_cli_fail("the checker knows no layout with as many axes as %s", name);
        }
        struct axis *axis = &region->axis[region->axes];
        axis->letter = *at;
        axis->extent = extent_of(check, *at, layers, heads, capacity);
        if (axis->extent == 0) {
            return kvfi_cli_fail("the checker does not know the letter %c of layout %s", *at, name);
        }
        region->block_axis = *at == 'B' ? region->axes : region->block_axis;
        region->apart += slash != NULL && at < slash;
        region->axes++;
    }
    return 0;
}

/* Adds a region whose cells are `kind.cell` bytes. */
static int add_region(struct replay_check *check, struct region kind, uint32_t layers, uint32_t heads,
                      uint32_t capacity, bool without_2)
{
    struct region *region = &check->region[check->regions++];
    uint64_t size = kind.cell;
    uint32_t segments = 1;

    *region = kind;
    if (take_axes(check, region, layers, heads, capacity, without_2) != 0) {
        return -1;
    }
    for (int i = region->axes - 1; i >= region->apart; i--) {
        region->axis[i].stride = size;
        size *= region->axis[i].extent;
    }
    for (int i = region->apart - 1; i >= 0; i--) {
        region->axis[i].stride = segments;
        segments *= region->axis[i].extent;
    }
    check->block_bytes += size / capacity * segments;
    if (strchr(check->name, '/') == NULL) {
        region->base = check->end;
        check->end += size;
        check->segments = 1;
    } else {
        region->segment = check->segments;
        check->segments += segments;
    }
    return 0;
}

static int add_group(struct replay_check *check, const uint32_t *ids, uint32_t layers, uint32_t capacity)
{
    const kvf_kv_model_t *model = check->held.model;
    uint32_t heads = check->held.cut.heads;
    bool fused = !model->mla && strchr(check->name, '2') == NULL;
    struct region kind = {
        .cell = fused ? model->k_bytes + model->v_bytes : model->k_bytes,
        .k_bytes = model->k_bytes,
        .plane = REPLAY_PLANE_K,
        .fused = fused,
        .layers = ids,
    };

    if (layers == 0) {
        return 0;
    }
    if (strchr(check->name, '2') != NULL && model->k_bytes != model->v_bytes) {
        return kvfi_cli_fail("the checker wants K and V of one size in layout %s", check->name);
    }
    if (add_region(check, kind, layers, heads, capacity, model->mla != 0) != 0) {
        return -1;
    }
    if (model->indexer_bytes == 0) {
        return 0;
    }
    kind.cell = kind.k_bytes = model->indexer_bytes;
    kind.plane = REPLAY_PLANE_INDEXER;
    kind.fused = false;
    return add_region(check, kind, layers, 1, capacity, true);
}

static int add_groups(struct replay_check *check, uint32_t capacity, uint32_t base_count)
{
    uint32_t *ids = check->layer_ids, without = list_layers(&check->held, false, ids);
    uint32_t with = list_layers(&check->held, true, ids + without);
    const char *name = spelling_of(check->held.layout);

    if (strlen(name) >= sizeof(check->name) || strlen(name) < 2) {
        return kvfi_cli_fail("the checker does not know layout %s", name);
    }
    strcpy(check->name, name);
    if (add_group(check, ids, without, capacity) != 0 ||
        add_group(check, ids + without, with, capacity) != 0) {
        return -1;
    }
    if (check->segments != base_count) {
        return kvfi_cli_fail("layout %s has %" PRIu32 " segments, and its name says %" PRIu32,
                             check->held.layout, base_count, check->segments);
    }
    return 0;
}

struct replay_check *kvfi_replay_check_open(const struct replay_held *held, uint32_t capacity, uint64_t seed,
                                            uint8_t *const *bases, uint32_t base_count)
{
    struct replay_check *check = calloc(1, sizeof(*check) + held->cut.layers * sizeof(uint32_t));

    if (check == NULL) {
        kvfi_cli_fail("no memory for the checker");
        return NULL;
    }
    check->held = *held;
    check->seed = seed;
    check->bases = bases;
    if (add_groups(check, capacity, base_count) != 0) {
        kvfi_replay_check_close(check);
        return NULL;
    }
    return check;
}

void kvfi_replay_check_close(struct replay_check *check)
{
    free(check);
}

uint64_t kvfi_replay_check_block_bytes(const struct replay_check *check)
{
    return check->block_bytes;
}

/* ------------------------------------------------------------------- walking */

/* A position on the axes from `first` up to `end`: set all to 0, then step until false. */
static bool step(const struct region *region, int first, int end, uint32_t at[MAX_AXES])
{
    for (int i = end - 1; i >= first; i--) {
        if (++at[i] < region->axis[i].extent) {
            return true;
        }
        at[i] = 0;
    }
    return false;
}

static uint8_t *address_of(const struct replay_check *check, const struct region *region,
                           const uint32_t at[MAX_AXES])
{
    uint64_t segment = region->segment, off = region->base;

    for (int i = 0; i < region->axes; i++) {
        *(i < region->apart ? &segment : &off) += at[i] * region->axis[i].stride;
    }
    return check->bases[segment] + off;
}

/* Bytes of one piece: what lies inside of B. */
static uint64_t piece_len(const struct region *region)
{
    return region->axis[region->block_axis].stride;
}

static uint64_t canary_len(const struct region *region)
{
    uint64_t half = piece_len(region) / 2; /* two pieces share the free block between them */

    return half < REPLAY_CANARY ? half : REPLAY_CANARY;
}

/* Byte of the pattern by its address. */
static uint8_t pattern_byte(uint64_t pattern, const uint8_t *at)
{
    return (uint8_t)(pattern >> ((uintptr_t)at % 8 * 8));
}

static void mark(uint8_t *at, uint64_t len, uint64_t pattern)
{
    uint8_t *end = at + len;

    for (; at < end && (uintptr_t)at % 8 != 0; at++) {
        *at = pattern_byte(pattern, at);
    }
    for (; end - at >= 8; at += 8) {
        memcpy(at, &pattern, 8);
    }
    for (; at < end; at++) {
        *at = pattern_byte(pattern, at);
    }
}

void kvfi_replay_check_mark(struct replay_check *check, uint32_t block, uint64_t request)
{
    uint64_t pattern = kvfi_replay_pattern(request);

    for (int r = 0; r < check->regions; r++) {
        const struct region *region = &check->region[r];
        uint64_t canary = canary_len(region);
        uint32_t at[MAX_AXES] = {0};
        at[region->block_axis] = block;
        do {
            mark(address_of(check, region, at) - canary, piece_len(region) + 2 * canary, pattern);
        } while (step(region, 0, region->block_axis, at));
    }
}

/* ------------------------------------------------------------------ checking */

static void found_first(struct replay_found *found, const char *what, uint64_t byte, uint32_t layer,
                        uint32_t head, uint32_t token)
{
    if (found->where[0] == '\0') {
        snprintf(found->where, sizeof(found->where),
                 "layer %" PRIu32 ", head %" PRIu32 ", token %" PRIu32 ", byte %" PRIu64 " of %s", layer,
                 head, token, byte, what);
    }
}

static void check_canary(const uint8_t *at, uint64_t len, uint64_t pattern, const char *side,
                         struct replay_found *found)
{
    for (uint64_t i = 0; i < len; i++) {
        if (at[i] != pattern_byte(pattern, at + i)) {
            found->wrong++;
            found->canaries++;
            if (found->where[0] == '\0') {
                snprintf(found->where, sizeof(found->where), "%" PRIu64 " bytes %s a piece",
                         side[0] == 'b' ? len - i : i, side);
            }
        }
    }
}

/* Wrong bytes of one part of a cell; first_p is the first one's place. */
static uint64_t count_wrong(const uint8_t *at, uint64_t len, uint64_t cell_key, uint64_t *first_p)
{
    uint64_t words = len / 8, word, differ = 0, wrong = 0;

    for (uint64_t i = 0; i < words; i++) {
        memcpy(&word, at + 8 * i, 8);
        differ |= word ^ kvfi_replay_word(cell_key, i);
    }
    if (differ == 0 && len % 8 == 0) {
        return 0;
    }
    for (uint64_t i = 0; i < len; i++) {
        uint8_t want = (uint8_t)(kvfi_replay_word(cell_key, i / 8) >> (i % 8 * 8));
        if (at[i] != want) {
            *first_p = wrong == 0 ? i : *first_p;
            wrong++;
        }
    }
    return wrong;
}

static void check_part(const uint8_t *at, uint64_t len, uint64_t prefix_key, uint32_t plane, uint32_t layer,
                       uint32_t head, uint32_t token, struct replay_found *found)
{
    static const char *const names[] = {"K", "V", "the indexer"};
    uint64_t first = 0;
    uint64_t wrong =
        count_wrong(at, len, kvfi_replay_cell_key(prefix_key, layer, head, plane, token), &first);

    if (wrong > 0) {
        found->wrong += wrong;
        found_first(found, names[plane], first, layer, head, token);
    }
}

static bool is_stale(const struct replay_expect *expect, uint32_t layer, uint32_t head, uint32_t token)
{
    for (uint32_t i = 0; i < expect->stale_count; i++) {
        const struct replay_stale *stale = &expect->stale[i];
        if (layer - stale->cut.first_layer < stale->cut.layers &&
            head - stale->cut.first_head < stale->cut.heads && stale->steps[token / expect->step_tokens]) {
            return true;
        }
    }
    return false;
}

static void check_piece(const struct replay_check *check, const struct region *region,
                        const struct replay_expect *expect, uint64_t prefix_key, uint32_t at[MAX_AXES],
                        struct replay_found *found)
{
    do {
        uint32_t layer = 0, head = check->held.cut.first_head, token = 0, plane = region->plane;
        for (int i = 0; i < region->axes; i++) {
            char letter = region->axis[i].letter;
            layer = letter == 'L' ? region->layers[at[i]] : layer;
            head = letter == 'H' ? head + at[i] : head;
            token = letter == 'N' ? at[i] : token;
            plane = letter == '2' ? at[i] : plane;
        }
        if (is_stale(expect, layer, head, token)) {
            continue;
        }
        const uint8_t *cell = address_of(check, region, at);
        token += expect->first_token;
        check_part(cell, region->k_bytes, prefix_key, plane, layer, head, token, found);
        if (region->fused) {
            check_part(cell + region->k_bytes, region->cell - region->k_bytes, prefix_key, REPLAY_PLANE_V,
                       layer, head, token, found);
        }
    } while (step(region, region->block_axis + 1, region->axes, at));
}

void kvfi_replay_check_block(struct replay_check *check, uint32_t block, const struct replay_expect *expect,
                             struct replay_found *found_p)
{
    uint64_t pattern = kvfi_replay_pattern(expect->request);
    uint64_t prefix_key = kvfi_replay_prefix_key(check->seed, expect->prefix);

    memset(found_p, 0, sizeof(*found_p));
    for (int r = 0; r < check->regions; r++) {
        const struct region *region = &check->region[r];
        uint64_t canary = canary_len(region), len = piece_len(region);
        uint32_t at[MAX_AXES] = {0};
        at[region->block_axis] = block;
        do {
            const uint8_t *piece = address_of(check, region, at);
            check_canary(piece - canary, canary, pattern, "before", found_p);
            check_canary(piece + len, canary, pattern, "after", found_p);
            check_piece(check, region, expect, prefix_key, at, found_p);
        } while (step(region, 0, region->block_axis, at));
    }
}

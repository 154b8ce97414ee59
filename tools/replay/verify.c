/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The checker: verify.h says what it promises. A cache is regions one behind the other; a region is one
 * array whose axes the layout's name spells from the outermost inwards. For each group of layers
 * (without a window, then with one) there is a region of the cells of K and V, or of the latent, and
 * then one of the indexer if the model has it.
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

#define MAX_AXES 5 /* L 2 B N H; the cell is no axis */
#define MAX_REGIONS 4

struct axis {
    char     letter;
    uint32_t extent;
    uint64_t stride;
};

struct region {
    struct axis axis[MAX_AXES]; /* outermost first */
    int         axes;
    int         block_axis; /* place of B */
    uint64_t    base;
    uint64_t    cell;    /* bytes */
    uint64_t    k_bytes; /* of a cell that holds K, then V; else the cell's */
    uint32_t    plane;   /* of the content: of the cell, or of its first part */
    bool        fused;
    uint32_t    layer_every; /* which layers: layer_of() says */
    bool        layer_rest;
};

struct replay_check {
    const struct replay_shape *shape;
    uint8_t      *base;
    uint64_t      seed;
    uint64_t      block_bytes;
    struct region region[MAX_REGIONS];
    int           regions;
};

/* -------------------------------------------------------------- what a name means */

/* Layers with id % every == 0 have the window, the rest have not; every == 0: all are of the rest. */
static uint32_t layers_in(const struct replay_shape *shape, bool window)
{
    uint32_t every = shape->model->window != 0 ? shape->model->window_every : 0;
    uint32_t with = every == 0 ? 0 : (shape->layers + every - 1) / every;

    return window ? with : shape->layers - with;
}

static uint32_t layer_of(const struct region *region, uint32_t n)
{
    if (region->layer_every == 0) {
        return n;
    }
    if (!region->layer_rest) {
        return n * region->layer_every;
    }
    /* ids that are no multiples of `every`, in order: every - 1 of them between two multiples */
    return n / (region->layer_every - 1) * region->layer_every + n % (region->layer_every - 1) + 1;
}

static uint32_t extent_of(const struct replay_check *check, char letter, uint32_t layers,
                          uint32_t heads, uint32_t capacity)
{
    switch (letter) {
    case 'L':
        return layers;
    case 'B':
        return capacity;
    case 'H':
        return heads;
    case 'N':
        return check->shape->block_tokens;
    case '2':
        return 2;
    default:
        return 0;
    }
}

/* Adds a region whose cells are `cell` bytes; without_2: the name's 2 does not concern it. */
static int add_region(struct replay_check *check, struct region kind, uint32_t layers, uint32_t heads,
                      uint32_t capacity, bool without_2)
{
    const char *name = check->shape->layout;
    size_t len = strlen(name);
    struct region *region = &check->region[check->regions];
    uint64_t size = kind.cell;

    if (check->regions == MAX_REGIONS || len < 2 || len > MAX_AXES + 1) {
        return kvfi_cli_fail("--layout: \"%s\" has too many axes", name);
    }
    *region = kind;
    for (size_t i = 0; i + 1 < len; i++) {
        if (name[i] == '2' && without_2) {
            continue;
        }
        struct axis *axis = &region->axis[region->axes];
        axis->letter = name[i];
        axis->extent = extent_of(check, name[i], layers, heads, capacity);
        if (axis->extent == 0) {
            return kvfi_cli_fail("--layout: the checker does not know the letter %c", name[i]);
        }
        region->block_axis = name[i] == 'B' ? region->axes : region->block_axis;
        region->axes++;
    }
    for (int i = region->axes - 1; i >= 0; i--) {
        region->axis[i].stride = size;
        size *= region->axis[i].extent;
    }
    check->block_bytes += size / capacity;
    if (check->regions > 0) {
        region->base = region[-1].base + region[-1].axis[0].stride * region[-1].axis[0].extent;
    }
    check->regions++;
    return 0;
}

static int add_group(struct replay_check *check, bool window, uint32_t capacity)
{
    const kvf_kv_model_t *model = check->shape->model;
    const char *name = check->shape->layout;
    uint32_t layers = layers_in(check->shape, window);
    bool fused = !model->mla && strchr(name, '2') == NULL;
    struct region kind = {
        .cell = fused ? model->k_bytes + model->v_bytes : model->k_bytes,
        .k_bytes = model->k_bytes,
        .plane = REPLAY_PLANE_K,
        .fused = fused,
        .layer_every = model->window != 0 ? model->window_every : 0,
        .layer_rest = !window,
    };

    if (layers == 0) {
        return 0;
    }
    if (strchr(name, '2') != NULL && model->k_bytes != model->v_bytes) {
        return kvfi_cli_fail("--layout: the checker wants K and V of one size in %s", name);
    }
    if (add_region(check, kind, layers, model->heads, capacity, model->mla != 0) != 0) {
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

struct replay_check *kvfi_replay_check_open(const struct replay_shape *shape, uint32_t capacity,
                                            uint64_t seed, uint8_t *base)
{
    struct replay_check *check = calloc(1, sizeof(*check));

    if (check == NULL) {
        kvfi_cli_fail("no memory for the checker");
        return NULL;
    }
    check->shape = shape;
    check->seed = seed;
    check->base = base;
    if (add_group(check, false, capacity) != 0 || add_group(check, true, capacity) != 0) {
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

static uint64_t offset_of(const struct region *region, const uint32_t at[MAX_AXES])
{
    uint64_t off = region->base;

    for (int i = 0; i < region->axes; i++) {
        off += at[i] * region->axis[i].stride;
    }
    return off;
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

static uint8_t pattern_byte(uint64_t pattern, uint64_t off)
{
    return (uint8_t)(pattern >> (off % 8 * 8));
}

static void mark(uint8_t *base, uint64_t off, uint64_t len, uint64_t pattern)
{
    uint64_t end = off + len;

    while (off < end && off % 8 != 0) {
        base[off] = pattern_byte(pattern, off);
        off++;
    }
    for (; off + 8 <= end; off += 8) {
        memcpy(base + off, &pattern, 8);
    }
    for (; off < end; off++) {
        base[off] = pattern_byte(pattern, off);
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
            mark(check->base, offset_of(region, at) - canary, piece_len(region) + 2 * canary, pattern);
        } while (step(region, 0, region->block_axis, at));
    }
}

/* ------------------------------------------------------------------ checking */

static void found_first(struct replay_found *found, const char *what, uint64_t byte, uint32_t layer,
                        uint32_t head, uint32_t token)
{
    if (found->where[0] == '\0') {
        snprintf(found->where, sizeof(found->where),
                 "layer %" PRIu32 ", head %" PRIu32 ", token %" PRIu32 ", byte %" PRIu64 " of %s",
                 layer, head, token, byte, what);
    }
}

static void check_canary(const struct replay_check *check, uint64_t off, uint64_t len,
                         uint64_t pattern, const char *side, struct replay_found *found)
{
    for (uint64_t i = off; i < off + len; i++) {
        if (check->base[i] != pattern_byte(pattern, i)) {
            found->wrong++;
            found->canaries++;
            if (found->where[0] == '\0') {
                snprintf(found->where, sizeof(found->where), "%" PRIu64 " bytes %s a piece",
                         side[0] == 'b' ? off + len - i : i - off, side);
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

static void check_part(const uint8_t *at, uint64_t len, uint64_t prefix_key, uint32_t plane,
                       uint32_t layer, uint32_t head, uint32_t token, struct replay_found *found)
{
    static const char *const names[] = {"K", "V", "the indexer"};
    uint64_t first = 0;
    uint64_t wrong = count_wrong(
        at, len, kvfi_replay_cell_key(prefix_key, layer, head, plane, token), &first);

    if (wrong > 0) {
        found->wrong += wrong;
        found_first(found, names[plane], first, layer, head, token);
    }
}

static void check_piece(const struct replay_check *check, const struct region *region,
                        const struct replay_expect *expect, uint64_t prefix_key, uint32_t at[MAX_AXES],
                        struct replay_found *found)
{
    do {
        uint32_t layer = 0, head = 0, token = expect->first_token, plane = region->plane;
        for (int i = 0; i < region->axes; i++) {
            char letter = region->axis[i].letter;
            layer = letter == 'L' ? layer_of(region, at[i]) : layer;
            head = letter == 'H' ? at[i] : head;
            token = letter == 'N' ? token + at[i] : token;
            plane = letter == '2' ? at[i] : plane;
        }
        const uint8_t *cell = check->base + offset_of(region, at);
        check_part(cell, region->k_bytes, prefix_key, plane, layer, head, token, found);
        if (region->fused) {
            check_part(cell + region->k_bytes, region->cell - region->k_bytes, prefix_key,
                       REPLAY_PLANE_V, layer, head, token, found);
        }
    } while (step(region, region->block_axis + 1, region->axes, at));
}

void kvfi_replay_check_block(struct replay_check *check, uint32_t block,
                             const struct replay_expect *expect, struct replay_found *found_p)
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
            uint64_t off = offset_of(region, at);
            check_canary(check, off - canary, canary, pattern, "before", found_p);
            check_canary(check, off + len, canary, pattern, "after", found_p);
            if (!expect->canaries_only) {
                check_piece(check, region, expect, prefix_key, at, found_p);
            }
        } while (step(region, 0, region->block_axis, at));
    }
}

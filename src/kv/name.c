/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Layouts by name: reads the axes of a name from the outermost inwards, turns their order into
 * strides, and has the description that comes out created like any other. One rule serves all
 * names; the list is there for people and for the error that lists it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/layout.h"

#define AXES "LBNH2"

static const char *const names[] = {
    "LBHNC",  "LBNHC",  "LHBNC",  "BLHNC",  "BLNHC",  "BHLNC", "L2BNHD",
    "LB2NHD", "BL2HND", "BL2NHD", "2LBNHD", "2BLNHD", "LBNC",  "BLNC",
};

#define NAME_COUNT (sizeof(names) / sizeof(names[0]))

/* Names of the field. */
static const struct {
    const char *name, *spelling;
    uint32_t block_tokens; /* 0: the model's default */
} presets[] = {
    {"vllm-0.21", "L/2BNHD", 0},
    {"vllm-0.23", "L/B2NHD", 0},
    {"vllm-0.26", "LBHNC", 0},
    {"vllm-mla", "L/BNC", 0},
    {"sglang", "2L/BNHD", 0},
    {"hicache-layer-first", "2LBNHD", 0},
    {"hicache-token-first", "2BNLHD", 0},
    {"hicache-page-first", "2BLNHD", 0},
    {"hicache-page-head", "2BHNLD", 0},
    {"tensorrt-llm", "BL2HND", 0},
    {"lmcache", "B2LNHD", 256},
    {"flexkv-layer-first", "L2BNHD", 0},
    {"flexkv-block-first", "BL2NHD", 0},
    {"kvbm-universal", "BHL2ND", 0},
    {"kvbm-nhd", "BL2NHD", 0},
    {"kvbm-hnd", "BL2HND", 0},
};

#define PRESET_COUNT (sizeof(presets) / sizeof(presets[0]))

const char *kvf_layout_name_at(uint32_t index)
{
    if (index < NAME_COUNT)
        return names[index];
    index -= NAME_COUNT;
    return index < PRESET_COUNT ? presets[index].name : NULL;
}

static kvf_status_t fail_name(const char *name, const char *why)
{
    char known[512];
    size_t len = 0;

    for (uint32_t i = 0; kvf_layout_name_at(i) != NULL && len < sizeof(known); i++)
        len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i > 0 ? ", " : "",
                                kvf_layout_name_at(i));
    return kvfi_fail(KVF_ERR_INVALID, "layout \"%.64s\": %s; known are %s", name, why, known);
}

/* Axes in front of a / are segments of their own: 0 without one. */
static size_t count_apart(const char *name)
{
    const char *slash = strchr(name, '/');

    return slash != NULL ? (size_t)(slash - name) : 0;
}

static kvf_status_t check_name(const kvf_kv_model_t *model, const char *name)
{
    size_t len = strlen(name), apart = count_apart(name);
    bool split = len > 0 && name[len - 1] == 'D';

    if (strchr(name, '/') != NULL && (apart == 0 || strspn(name, "L2") != apart))
        return fail_name(name, "in front of a / stand L, 2 or both");

    if (len == 0 || (!split && name[len - 1] != 'C'))
        return fail_name(name, "it ends neither in C nor in D");
    for (size_t i = 0; i + 1 < len; i++) {
        if (apart > 0 && i == apart)
            continue;
        if (name[i] == '/')
            return fail_name(name, "/ stands twice");
        if (strchr(AXES, name[i]) == NULL)
            return fail_name(name, "an axis is none of L, B, N, H, 2");
        if (memchr(name, name[i], i) != NULL)
            return fail_name(name, "an axis stands twice");
    }
    if (strchr(name, 'L') == NULL || strchr(name, 'B') == NULL || strchr(name, 'N') == NULL)
        return fail_name(name, "it lacks L, B or N");
    if (strchr(name, 'H') == NULL && model->heads > 1)
        return fail_name(name, "it lacks H, and the model has several heads");
    if (split != (strchr(name, '2') != NULL))
        return fail_name(name, split ? "D needs a 2" : "C and 2 exclude each other");
    if (split && model->mla)
        return fail_name(name, "a latent is one plane, so D and 2 cannot be");
    if (split && model->k_bytes != model->v_bytes)
        return fail_name(name, "K and V of the model differ in size, so D and 2 cannot be");
    return KVF_OK;
}

static kvf_status_t check_model(const kvf_kv_model_t *model)
{
    const char *bad = NULL;

    if (model->name == NULL)
        bad = "name";
    else if (model->layers == 0)
        bad = "layers";
    else if (model->heads == 0 || (model->mla && model->heads != 1))
        bad = "heads";
    else if (model->k_bytes == 0)
        bad = "k_bytes";
    else if (model->mla ? model->v_bytes != 0 : model->v_bytes == 0)
        bad = "v_bytes";
    else if (model->element == NULL)
        bad = "element";
    else if (model->indexer_bytes != 0 && !model->mla)
        bad = "indexer_bytes";
    else if (model->indexer_bytes != 0 && model->indexer_element == NULL)
        bad = "indexer_element";
    else if ((model->window == 0) != (model->window_every == 0))
        bad = "window_every";
    else if (model->scale_bytes != 0 && model->scale_element == NULL)
        bad = "scale_element";
    else if (model->state_bytes != 0 && model->state_element == NULL)
        bad = "state_element";
    else if ((model->state_bytes == 0) != (model->state_heads == 0))
        bad = "state_heads";
    else if ((model->state_bytes == 0) != (model->state_every == 0))
        bad = "state_every";
    else if (model->reserved[0] != 0 || model->reserved[1] != 0)
        bad = "reserved";
    if (bad != NULL)
        return kvfi_fail(KVF_ERR_INVALID, "model: %s is wrong", bad);
    return KVF_OK;
}

enum {
    FULL,
    WINDOW,
    STATE,
    GROUPS
};

/* What is being built: room for three groups with up to four planes each. */
typedef struct build {
    const kvf_kv_model_t *model;
    const char *name;
    kvf_layout_opts_t opts; /* defaults filled in */
    uint32_t *layers;
    kvf_group_t groups[GROUPS];
    kvf_plane_t planes[GROUPS][4];
    uint32_t group_count;
    size_t apart;       /* axes that are segments */
    uint32_t *segments; /* of the layers of planes, where they lie apart */
    uint32_t segments_used;
    uint64_t *lens; /* of segments */
    uint32_t segment_count;
    uint64_t end; /* bytes used so far, from the start of the segment */
    bool overflow;
} build_t;

/* Give the layers of a plane, or K and V of them, segments of their own of len bytes, or one to all
 * layers. Returns how far from K's the segments of V are. */
static uint32_t spread_plane(build_t *b, const kvf_group_t *group, kvf_plane_t *plane, bool halves,
                             uint64_t len)
{
    bool layers = memchr(b->name, 'L', b->apart) != NULL;
    uint32_t count = layers ? group->layer_count : 1, step = 1, between = 0;
    uint32_t *segments = b->segments + b->segments_used;

    halves = halves && memchr(b->name, '2', b->apart) != NULL;
    if (halves && layers && b->name[0] == 'L')
        step = 2;
    if (halves)
        between = step == 2 ? 1 : count;
    for (uint32_t i = 0; i < group->layer_count && layers; i++)
        segments[i] = b->segment_count + i * step;
    plane->segment = b->segment_count;
    plane->layer_segment = layers ? segments : NULL;
    b->segments_used += layers ? group->layer_count : 0;
    for (uint32_t i = 0; i < count * (halves ? 2 : 1); i++)
        b->lens[b->segment_count++] = len;
    return between;
}

/* A plane of cells of content bytes at the end of what is there, or in segments of its own. *V_p,
 * if not NULL, is made its other half. */
static void add_plane(build_t *b, kvf_group_t *group, uint32_t kind, const char *element, uint64_t content,
                      kvf_plane_t *v_p)
{
    kvf_plane_t *plane = &b->planes[b->group_count][group->plane_count++];
    uint64_t stride = content, between = 0;

    *plane = (kvf_plane_t){.kind = kind, .content = content, .base = b->end};
    snprintf(plane->element, sizeof(plane->element), "%s", element);
    for (size_t i = strlen(b->name) - 1; i-- > (b->apart > 0 ? b->apart + 1 : 0);) {
        uint64_t extent = 1;

        switch (b->name[i]) {
        case 'L':
            plane->layer_stride = (int64_t)stride;
            extent = group->layer_count;
            break;
        case 'B':
            plane->block_stride = stride;
            extent = group->blocks;
            break;
        case 'N':
            plane->state_stride = (int64_t)stride;
            extent = group->block_tokens / group->tokens_per_state;
            break;
        case 'H':
            plane->head_stride = (int64_t)stride;
            extent = group->heads;
            break;
        default:
            between = stride;
            extent = v_p != NULL ? 2 : 1;
            break;
        }
        b->overflow |= __builtin_mul_overflow(stride, extent, &stride) || stride > INT64_MAX;
    }
    uint64_t end = 0;
    uint32_t segments = 0;

    b->overflow |= __builtin_add_overflow(b->end, stride, &end);
    if (b->apart > 0)
        segments = spread_plane(b, group, plane, v_p != NULL, end);
    else
        b->end = end;
    if (v_p == NULL)
        return;
    *v_p = *plane;
    group->plane_count++;
    v_p->kind = KVF_PLANE_V;
    v_p->base += between;
    v_p->segment += segments;
    if (plane->layer_segment != NULL && segments > 0) {
        uint32_t *own = b->segments + b->segments_used;

        for (uint32_t i = 0; i < group->layer_count; i++)
            own[i] = plane->layer_segment[i] + segments;
        v_p->layer_segment = own;
        b->segments_used += group->layer_count;
    }
}

static void add_planes(build_t *b, kvf_group_t *group, unsigned which)
{
    const kvf_kv_model_t *model = b->model;
    kvf_plane_t *planes = b->planes[b->group_count];

    group->planes = planes;
    if (which == STATE) {
        add_plane(b, group, KVF_PLANE_STATE, model->state_element, model->state_bytes, NULL);
        return;
    }
    if (model->mla) {
        add_plane(b, group, KVF_PLANE_LATENT, model->element, model->k_bytes, NULL);
    } else if (strchr(b->name, '2') == NULL) {
        add_plane(b, group, KVF_PLANE_KV, model->element, model->k_bytes + model->v_bytes, NULL);
        planes[0].k_content = model->k_bytes;
    } else {
        add_plane(b, group, KVF_PLANE_K, model->element, model->k_bytes, &planes[1]);
    }
    if (model->indexer_bytes != 0)
        add_plane(b, group, KVF_PLANE_INDEXER, model->indexer_element, model->indexer_bytes, NULL);
    if (model->scale_bytes != 0)
        add_plane(b, group, KVF_PLANE_SCALES, model->scale_element, model->scale_bytes, NULL);
}

static unsigned group_of(const kvf_kv_model_t *model, uint32_t layer)
{
    if (model->state_every != 0 && layer % model->state_every != model->state_every - 1)
        return STATE;
    return model->window_every != 0 && layer % model->window_every == 0 ? WINDOW : FULL;
}

/* The group of the layers of one sort, if any of them is held. */
static void add_group(build_t *b, unsigned which, uint32_t *used)
{
    const kvf_layout_opts_t *opts = &b->opts;
    kvf_group_t *group = &b->groups[b->group_count];

    *group = (kvf_group_t){
        .block_tokens = opts->block_tokens,
        .tokens_per_state = which == STATE ? opts->block_tokens : 1,
        .first_head = which == STATE ? opts->first_state_head : opts->first_head,
        .heads = which == STATE ? opts->state_heads : opts->heads,
        .heads_total = which == STATE ? b->model->state_heads : b->model->heads,
        .window = which == WINDOW ? b->model->window : 0,
        .blocks = opts->blocks,
        .cp_ranks = opts->cp_ranks,
        .cp_rank = opts->cp_rank,
        .cp_tokens = opts->cp_tokens,
        .layers = &b->layers[*used],
    };
    for (uint32_t i = 0; i < opts->layer_count; i++) {
        uint32_t layer = opts->layers != NULL ? opts->layers[i] : opts->first_layer + i;

        if (group_of(b->model, layer) == which) {
            b->layers[(*used)++] = layer;
            group->layer_count++;
        }
    }
    if (group->layer_count == 0)
        return;
    add_planes(b, group, which);
    b->group_count++;
}

static kvf_status_t fill_opts(const kvf_kv_model_t *model, const kvf_layout_opts_t *from,
                              uint32_t named_tokens, kvf_layout_opts_t *to)
{
    kvf_status_t status = from != NULL ? kvf_struct_read("layout: opts", from, sizeof(*to), to) : KVF_OK;

    if (status != KVF_OK)
        return status;
    if (to->reserved[0] != 0 || to->reserved[1] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "layout: reserved is not 0");
    if (to->block_tokens == 0)
        to->block_tokens = named_tokens != 0 ? named_tokens : model->mla ? 64 : 16;
    if (to->blocks == 0)
        to->blocks = 1;
    if (to->layers != NULL && to->layer_count == 0)
        return kvfi_fail(KVF_ERR_INVALID, "layout: layer_count is 0 with layers set");
    if (to->layers == NULL &&
        (to->first_layer >= model->layers || to->layer_count > model->layers - to->first_layer))
        return kvfi_fail(KVF_ERR_INVALID, "layout: first_layer %u and layer_count %u: model %s has %u layers",
                         to->first_layer, to->layer_count, model->name, model->layers);
    if (to->layer_count == 0)
        to->layer_count = model->layers - to->first_layer;
    for (uint32_t i = 0; to->layers != NULL && i < to->layer_count; i++) {
        if (to->layers[i] >= model->layers)
            return kvfi_fail(KVF_ERR_INVALID, "layout: layers[%u] is %u: model %s has %u layers", i,
                             to->layers[i], model->name, model->layers);
    }
    if (to->first_head >= model->heads || to->heads > model->heads - to->first_head)
        return kvfi_fail(KVF_ERR_INVALID, "layout: first_head %u and heads %u: model %s has %u heads",
                         to->first_head, to->heads, model->name, model->heads);
    if (to->heads == 0)
        to->heads = model->heads - to->first_head;
    if (model->state_heads == 0 ? (to->first_state_head | to->state_heads) != 0
                                : to->first_state_head >= model->state_heads ||
                                      to->state_heads > model->state_heads - to->first_state_head)
        return kvfi_fail(KVF_ERR_INVALID, "layout: first_state_head %u and state_heads %u: model %s has %u",
                         to->first_state_head, to->state_heads, model->name, model->state_heads);
    if (to->state_heads == 0)
        to->state_heads = model->state_heads - to->first_state_head;
    return KVF_OK;
}

static void lay_out(build_t *b)
{
    uint32_t used = 0;

    b->end = b->opts.base;
    for (unsigned which = FULL; which < GROUPS; which++)
        add_group(b, which, &used);
    if (b->apart == 0)
        b->lens[b->segment_count++] = b->end;
    for (uint32_t i = 0; i < b->segment_count && b->opts.segment_len != 0; i++)
        b->lens[i] = b->opts.segment_len;
}

static kvf_status_t build(build_t *b, kvf_layout_t **layout_p)
{
    /* Four planes of a layer at most. */
    size_t places = 4 * (size_t)b->opts.layer_count;
    kvf_status_t status;

    b->layers = malloc((size_t)b->opts.layer_count * sizeof(*b->layers));
    b->segments = malloc(places * sizeof(*b->segments));
    b->lens = malloc(places * sizeof(*b->lens));
    if (b->layers == NULL || b->segments == NULL || b->lens == NULL) {
        status = kvfi_fail(KVF_ERR_NOMEM, "layout: no memory for %u layers", b->opts.layer_count);
        goto out;
    }
    lay_out(b);

    kvf_layout_desc_t desc = {
        .struct_size = sizeof(desc),
        .group_count = b->group_count,
        .groups = b->groups,
        .segment_count = b->segment_count,
        .segment_len = b->lens,
    };

    if (b->overflow)
        status = kvfi_fail(KVF_ERR_INVALID, "layout %s: %u blocks of model %s overflow 64 bits", b->name,
                           b->opts.blocks, b->model->name);
    else
        status = kvf_layout_create(&desc, layout_p);
out:
    free(b->layers);
    free(b->segments);
    free(b->lens);
    return status;
}

kvf_status_t kvf_layout_build(const kvf_kv_model_t *model, const char *name, const kvf_layout_opts_t *opts,
                              kvf_layout_t **layout_p)
{
    kvf_kv_model_t own;
    build_t b = {.model = &own};
    uint32_t tokens = 0;
    kvf_status_t status;

    if (name == NULL || layout_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "layout: %s is NULL", name == NULL ? "name" : "layout_p");
    status = kvf_struct_read("layout: model", model, sizeof(own), &own);
    if (status != KVF_OK)
        return status;
    for (size_t i = 0; i < PRESET_COUNT; i++) {
        if (strcmp(presets[i].name, name) == 0) {
            name = presets[i].spelling;
            tokens = presets[i].block_tokens;
            break;
        }
    }
    b.name = name;
    b.apart = count_apart(name);
    status = check_model(&own);
    if (status == KVF_OK)
        status = check_name(&own, name);
    if (status == KVF_OK)
        status = fill_opts(&own, opts, tokens, &b.opts);
    if (status != KVF_OK)
        return status;
    return build(&b, layout_p);
}

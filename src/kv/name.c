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

const char *kvf_layout_name_at(uint32_t index)
{
    return index < NAME_COUNT ? names[index] : NULL;
}

static kvf_status_t fail_name(const char *name, const char *why)
{
    char known[256];
    size_t len = 0;

    for (size_t i = 0; i < NAME_COUNT && len < sizeof(known); i++)
        len +=
            (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i > 0 ? ", " : "", names[i]);
    return kvfi_fail(KVF_ERR_INVALID, "layout \"%.64s\": %s; known are %s", name, why, known);
}

static kvf_status_t check_name(const kvf_kv_model_t *model, const char *name)
{
    size_t len = strlen(name);
    bool split = len > 0 && name[len - 1] == 'D';

    if (len == 0 || (!split && name[len - 1] != 'C'))
        return fail_name(name, "it ends neither in C nor in D");
    for (size_t i = 0; i + 1 < len; i++) {
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

    if (!kvfi_kv_size_ok(model, sizeof(*model)))
        bad = "struct_size";
    else if (model->name == NULL)
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
    else if (model->reserved[0] != 0 || model->reserved[1] != 0)
        bad = "reserved";
    if (bad != NULL)
        return kvfi_fail(KVF_ERR_INVALID, "model: %s is wrong", bad);
    return KVF_OK;
}

/* What is being built: room for two groups with up to two planes each. */
typedef struct build {
    const kvf_kv_model_t *model;
    const char *name;
    kvf_layout_opts_t opts; /* defaults filled in */
    uint32_t *layers;
    kvf_group_t groups[2];
    kvf_plane_t planes[2][3];
    uint32_t group_count;
    uint64_t end; /* bytes used so far, from the start of the segment */
    bool overflow;
} build_t;

/* A plane of cells of content bytes at the end of what is there. Returns the stride of axis 2. */
static uint64_t add_plane(build_t *b, kvf_group_t *group, uint32_t kind, const char *element,
                          uint64_t content)
{
    kvf_plane_t *plane = &b->planes[b->group_count][group->plane_count++];
    uint64_t stride = content, between = 0;

    *plane = (kvf_plane_t){.kind = kind, .content = content, .base = b->end};
    snprintf(plane->element, sizeof(plane->element), "%s", element);
    for (size_t i = strlen(b->name) - 1; i-- > 0;) {
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
            extent = group->block_tokens;
            break;
        case 'H':
            plane->head_stride = (int64_t)stride;
            extent = group->heads;
            break;
        default:
            between = stride;
            extent = 2;
            break;
        }
        b->overflow |= __builtin_mul_overflow(stride, extent, &stride) || stride > INT64_MAX;
    }
    b->overflow |= __builtin_add_overflow(b->end, stride, &b->end);
    return between;
}

static void add_planes(build_t *b, kvf_group_t *group)
{
    const kvf_kv_model_t *model = b->model;
    kvf_plane_t *planes = b->planes[b->group_count];

    group->planes = planes;
    if (model->mla) {
        add_plane(b, group, KVF_PLANE_LATENT, model->element, model->k_bytes);
    } else if (strchr(b->name, '2') == NULL) {
        add_plane(b, group, KVF_PLANE_KV, model->element, model->k_bytes + model->v_bytes);
        planes[0].k_content = model->k_bytes;
    } else {
        uint64_t between = add_plane(b, group, KVF_PLANE_K, model->element, model->k_bytes);

        planes[1] = planes[0];
        planes[1].kind = KVF_PLANE_V;
        planes[1].base += between;
        group->plane_count = 2;
    }
    if (model->indexer_bytes != 0)
        add_plane(b, group, KVF_PLANE_INDEXER, model->indexer_element, model->indexer_bytes);
}

static bool windowed(const kvf_kv_model_t *model, uint32_t layer)
{
    return model->window_every != 0 && layer % model->window_every == 0;
}

/* The group of the layers with (or without) a window, if any of them is held. */
static void add_group(build_t *b, bool window, uint32_t *used)
{
    const kvf_layout_opts_t *opts = &b->opts;
    kvf_group_t *group = &b->groups[b->group_count];

    *group = (kvf_group_t){
        .block_tokens = opts->block_tokens,
        .tokens_per_state = 1,
        .first_head = opts->first_head,
        .heads = opts->heads,
        .heads_total = b->model->heads,
        .window = window ? b->model->window : 0,
        .blocks = opts->blocks,
        .layers = &b->layers[*used],
    };
    for (uint32_t i = 0; i < opts->layer_count; i++) {
        uint32_t layer = opts->layers != NULL ? opts->layers[i] : opts->first_layer + i;

        if (windowed(b->model, layer) == window) {
            b->layers[(*used)++] = layer;
            group->layer_count++;
        }
    }
    if (group->layer_count == 0)
        return;
    add_planes(b, group);
    b->group_count++;
}

static kvf_status_t fill_opts(const kvf_kv_model_t *model, const kvf_layout_opts_t *from,
                              kvf_layout_opts_t *to)
{
    if (from != NULL && !kvfi_kv_size_ok(from, sizeof(*from)))
        return kvfi_fail(KVF_ERR_INVALID, "layout: struct_size %u is not that of the options",
                         from->struct_size);
    if (from != NULL)
        *to = *from;
    if (to->reserved32 != 0 || to->reserved[0] != 0 || to->reserved[1] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "layout: reserved is not 0");
    if (to->block_tokens == 0)
        to->block_tokens = model->mla ? 64 : 16;
    if (to->blocks == 0)
        to->blocks = 1;
    if (to->layers != NULL && to->layer_count == 0)
        return kvfi_fail(KVF_ERR_INVALID, "layout: layer_count is 0 with layers set");
    if (to->layers == NULL &&
        (to->first_layer >= model->layers || to->layer_count > model->layers - to->first_layer))
        return kvfi_fail(KVF_ERR_INVALID,
                         "layout: first_layer %u and layer_count %u: model %s has %u layers",
                         to->first_layer, to->layer_count, model->name, model->layers);
    if (to->layer_count == 0)
        to->layer_count = model->layers - to->first_layer;
    for (uint32_t i = 0; to->layers != NULL && i < to->layer_count; i++) {
        if (to->layers[i] >= model->layers)
            return kvfi_fail(KVF_ERR_INVALID, "layout: layers[%u] is %u: model %s has %u layers", i,
                             to->layers[i], model->name, model->layers);
    }
    if (to->first_head >= model->heads || to->heads > model->heads - to->first_head)
        return kvfi_fail(KVF_ERR_INVALID,
                         "layout: first_head %u and heads %u: model %s has %u heads",
                         to->first_head, to->heads, model->name, model->heads);
    if (to->heads == 0)
        to->heads = model->heads - to->first_head;
    return KVF_OK;
}

static kvf_status_t build(build_t *b, kvf_layout_t **layout_p)
{
    uint32_t used = 0;

    b->layers = malloc((size_t)b->opts.layer_count * sizeof(*b->layers));
    if (b->layers == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "layout: no memory for %u layers", b->opts.layer_count);
    b->end = b->opts.base;
    add_group(b, false, &used);
    add_group(b, true, &used);

    kvf_layout_desc_t desc = {
        .struct_size = sizeof(desc),
        .group_count = b->group_count,
        .groups = b->groups,
        .segment_count = 1,
        .segment_len = b->opts.segment_len != 0 ? &b->opts.segment_len : &b->end,
    };
    kvf_status_t status;

    if (b->overflow)
        status = kvfi_fail(KVF_ERR_INVALID, "layout %s: %u blocks of model %s overflow 64 bits",
                           b->name, b->opts.blocks, b->model->name);
    else
        status = kvf_layout_create(&desc, layout_p);
    free(b->layers);
    return status;
}

kvf_status_t kvf_layout_build(const kvf_kv_model_t *model, const char *name,
                              const kvf_layout_opts_t *opts, kvf_layout_t **layout_p)
{
    build_t b = {.model = model, .name = name};
    kvf_status_t status;

    if (model == NULL || name == NULL || layout_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "layout: %s is NULL",
                         model == NULL  ? "model"
                         : name == NULL ? "name"
                                        : "layout_p");
    status = check_model(model);
    if (status == KVF_OK)
        status = check_name(model, name);
    if (status == KVF_OK)
        status = fill_opts(model, opts, &b.opts);
    if (status != KVF_OK)
        return status;
    return build(&b, layout_p);
}

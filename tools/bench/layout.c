/* SPDX-License-Identifier: BSD-3-Clause
 *
 * From a shape to ops: the layouts of its two sides, the plan between them, and the boxes that the plan
 * binds to. Shapes of a model go through its layouts by name; pieces by number and size through a
 * layout described by hand, in which a block is a cell of each layer. Whatever moves the bytes of a
 * case without kvferry walks the boxes. Nothing blocks.
 */
#include "config.h"

#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#include "../cli.h"
#include "../cut.h"

/* A handle that stands for a segment's index, where a binding is only looked at. */
#define PLACE(index) ((uintptr_t)(index) + 1)

/* ------------------------------------------------------------------ layouts */

static int by_hand(const struct bench_args *args, const struct bench_shape *shape, uint64_t blocks,
                   kvf_layout_t **layout_p)
{
    uint64_t rows = shape->pieces / shape->blocks, apart = blocks * shape->piece;
    uint32_t segments = args->per_layer ? (uint32_t)rows : 1;
    uint32_t *layers = calloc(rows, sizeof(*layers));
    uint64_t *bases = calloc(rows, sizeof(*bases)), *lens = calloc(rows, sizeof(*lens));
    int rc = -1;

    if (layers == NULL || bases == NULL || lens == NULL) {
        kvfi_cli_fail("no memory for %llu rows", (unsigned long long)rows);
        goto out;
    }
    for (uint32_t row = 0; row < rows; row++) {
        layers[row] = row;
        lens[row] = rows / segments * apart;
    }
    kvf_plane_t plane = {.kind = KVF_PLANE_LATENT,
                         .element = "byte",
                         .content = shape->piece,
                         .block_stride = shape->piece,
                         .layer_stride = (int64_t)apart,
                         .head_stride = (int64_t)shape->piece,
                         .state_stride = (int64_t)shape->piece,
                         .layer_base = segments > 1 ? bases : NULL,
                         .layer_segment = segments > 1 ? layers : NULL};
    kvf_group_t group = {.block_tokens = 1,
                         .layer_count = (uint32_t)rows,
                         .heads = 1,
                         .heads_total = 1,
                         .blocks = (uint32_t)blocks,
                         .layers = layers,
                         .planes = &plane,
                         .plane_count = 1};
    kvf_layout_desc_t desc = {.struct_size = sizeof(desc),
                              .group_count = 1,
                              .groups = &group,
                              .segment_count = segments,
                              .segment_len = lens};
    kvf_status_t status = kvf_layout_create(&desc, layout_p);
    rc = status == KVF_OK ? 0 : kvfi_bench_fail_status("the layout", status);
out:
    free(layers);
    free(bases);
    free(lens);
    return rc;
}

/* Where a layer is outermost, a block has its pieces one far from the other, a layer each or more. */
static bool layers_first(const char *layout)
{
    return layout[0] == 'L';
}

static int by_name(const struct bench_args *args, const struct bench_shape *shape, const char *layout,
                   uint32_t tp, uint64_t blocks, kvf_layout_t **layout_p)
{
    const kvf_kv_model_t *model;
    kvf_status_t status = kvf_kv_model_find(shape->model, &model);
    char spelling[16];

    if (status != KVF_OK) {
        return kvfi_bench_fail_status("the model", status);
    }
    kvf_layout_opts_t opts = {
        .struct_size = sizeof(opts), .blocks = (uint32_t)blocks, .layer_count = shape->one_layer ? 1 : 0};
    kvfi_cut_heads(model->heads, tp, 0, &opts.first_head, &opts.heads);
    snprintf(spelling, sizeof(spelling), "%.1s%s%s", layout,
             args->per_layer && layers_first(layout) ? "/" : "", layout + 1);
    status = kvf_layout_build(model, spelling, &opts, layout_p);
    return status == KVF_OK ? 0 : kvfi_bench_fail_status("the layout", status);
}

int kvfi_bench_layouts(const struct bench_args *args, const struct bench_shape *shape, uint64_t blocks,
                       kvf_layout_t *sides[2])
{
    int rc;

    sides[0] = sides[1] = NULL;
    if (shape->model == NULL) {
        rc = by_hand(args, shape, blocks, &sides[0]);
        rc = rc == 0 ? by_hand(args, shape, blocks, &sides[1]) : rc;
    } else {
        rc = by_name(args, shape, shape->source_layout, shape->source_tp, blocks, &sides[0]);
        rc = rc == 0 ? by_name(args, shape, shape->dest_layout, shape->dest_tp, blocks, &sides[1]) : rc;
    }
    if (rc != 0) {
        kvf_layout_destroy(sides[0]);
        sides[0] = sides[1] = NULL;
    }
    return rc;
}

int kvfi_bench_block_bytes(const struct bench_args *args, const struct bench_shape *shape, uint64_t *least_p,
                           uint64_t *most_p)
{
    kvf_layout_t *sides[2];

    if (kvfi_bench_layouts(args, shape, 1, sides) != 0) {
        return -1;
    }
    uint64_t source = kvf_layout_block_bytes(sides[0]), dest = kvf_layout_block_bytes(sides[1]);
    kvf_layout_destroy(sides[0]);
    kvf_layout_destroy(sides[1]);
    *least_p = source < dest ? source : dest;
    *most_p = source < dest ? dest : source;
    return 0;
}

int kvfi_bench_shrink(const struct bench_args *args, uint64_t most, struct bench_shape *shape)
{
    bool rows =
        shape->model == NULL || (layers_first(shape->source_layout) && layers_first(shape->dest_layout));
    uint64_t least, block;

    if (kvfi_bench_block_bytes(args, shape, &least, &block) != 0) {
        return -1;
    }
    if (block > most && rows) { /* one layer has pieces of the same size */
        shape->one_layer = true;
        shape->pieces = shape->model == NULL ? shape->blocks : shape->pieces;
        if (kvfi_bench_block_bytes(args, shape, &least, &block) != 0) {
            return -1;
        }
    }
    uint64_t blocks = most / block == 0 ? 1 : most / block;
    blocks = shape->blocks < blocks ? shape->blocks : blocks;
    shape->pieces = shape->pieces / shape->blocks * blocks;
    shape->blocks = blocks;
    return 0;
}

/* ------------------------------------------------------------------ ops */

/* A request of so many blocks, given as the tables of its two sides. */
static kvf_bind_t request(const struct bench_plan *plan, uint32_t dir, uint64_t blocks,
                          const kvf_bind_table_t tables[2])
{
    uint32_t local = dir == KVF_READ ? plan->dest_segments : plan->source_segments;
    uint32_t remote = dir == KVF_READ ? plan->source_segments : plan->dest_segments;

    return (kvf_bind_t){.struct_size = sizeof(kvf_bind_t),
                        .dir = dir,
                        .src_tables = &tables[0],
                        .dst_tables = &tables[1],
                        .src_table_count = 1,
                        .dst_table_count = 1,
                        .tokens = blocks * plan->block_tokens,
                        .local_count = local,
                        .remote_count = remote};
}

static int bind_layers(const struct bench_case *c, uint64_t batch, uint32_t first_layer, uint32_t layer_count,
                       kvf_op_t *ops, size_t *count_p)
{
    const struct bench_plan *plan = c->plan;
    uint64_t first = kvfi_bench_batch_first(plan, batch);
    uint64_t blocks = kvfi_bench_batch_blocks(plan, batch);
    const kvf_bind_table_t tables[2] = {{.ids = plan->source_ids + first, .count = (uint32_t)blocks},
                                        {.ids = plan->dest_ids + first, .count = (uint32_t)blocks}};
    kvf_bind_t bind = request(plan, c->args->dir, blocks, tables);

    bind.locals = c->ends->local.locals;
    bind.remotes = c->ends->handles;
    bind.first_layer = first_layer;
    bind.layer_count = layer_count;
    kvf_status_t status = kvf_plan_bind(plan->kv, &bind, ops, sizeof(*ops), count_p, NULL, NULL);
    return status == KVF_OK || status == KVF_ERR_SPACE ? 0 : kvfi_bench_fail_status("binding", status);
}

int kvfi_bench_bind(const struct bench_case *c, uint64_t batch, kvf_op_t *ops)
{
    size_t count = c->plan->box_count;

    return bind_layers(c, batch, 0, 0, ops, &count);
}

int kvfi_bench_bind_layer(const struct bench_case *c, uint64_t batch, uint32_t layer, kvf_op_t *ops,
                          size_t *count_p)
{
    return bind_layers(c, batch, layer, 1, ops, count_p);
}

static struct bench_box box_of(const kvf_op_t *op)
{
    struct bench_box box = {.source_segment = (uint32_t)((uintptr_t)op->remote - PLACE(0)),
                            .dest_segment = (uint32_t)((uintptr_t)op->segment - PLACE(0)),
                            .source_off = op->remote_off,
                            .dest_off = op->local_off,
                            .source_block = op->remote_block,
                            .dest_block = op->local_block,
                            .len = op->len};

    memcpy(box.count, op->count, sizeof(box.count));
    memcpy(box.source_stride, op->remote_stride, sizeof(box.source_stride));
    memcpy(box.dest_stride, op->local_stride, sizeof(box.dest_stride));
    return box;
}

/* The ops of a read, their handles being places, as boxes. ops has room for plan->box_count of them. */
static kvf_status_t make_boxes(struct bench_plan *plan, kvf_bind_t *bind, kvf_op_t *ops)
{
    size_t count = plan->box_count,
           places = plan->source_segments > plan->dest_segments ? plan->source_segments : plan->dest_segments;
    kvf_bind_local_t *locals = calloc(places, sizeof(*locals));
    kvf_remote_t **remotes = calloc(places, sizeof(*remotes));
    kvf_status_t status = KVF_ERR_NOMEM;

    for (size_t i = 0; i < places && locals != NULL && remotes != NULL; i++) {
        locals[i].segment = (kvf_segment_t *)PLACE(i);
        remotes[i] = (kvf_remote_t *)PLACE(i);
    }
    if (locals != NULL && remotes != NULL) {
        bind->locals = locals;
        bind->remotes = remotes;
        status = kvf_plan_bind(plan->kv, bind, ops, sizeof(*ops), &count, NULL, NULL);
    }
    for (size_t i = 0; i < count && status == KVF_OK; i++) {
        plan->boxes[i] = box_of(&ops[i]);
    }
    plan->box_count = count;
    free(locals);
    free(remotes);
    return status;
}

/* What a transfer is cut into, and its boxes. */
static int measure(struct bench_plan *plan)
{
    const kvf_bind_table_t tables[2] = {{.count = (uint32_t)plan->shape.blocks},
                                        {.count = (uint32_t)plan->shape.blocks}};
    kvf_bind_t bind = request(plan, KVF_READ, plan->shape.blocks, tables);
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    kvf_status_t status = kvf_plan_measure(plan->kv, &bind, &size);
    kvf_op_t *ops;

    if (status != KVF_OK) {
        return kvfi_bench_fail_status("the plan", status);
    }
    if (size.piece_min != size.piece_max || size.ids != 0) {
        return kvfi_cli_fail("the plan has pieces of %llu to %llu bytes and %llu ids of its own, and "
                             "this tool measures pieces of one size over the tables as they are",
                             (unsigned long long)size.piece_min, (unsigned long long)size.piece_max,
                             (unsigned long long)size.ids);
    }
    plan->shape.piece = size.piece_max;
    plan->shape.pieces = size.pieces;
    plan->block_bytes = size.bytes / plan->shape.blocks;
    plan->box_count = size.ops;
    plan->boxes = calloc(size.ops, sizeof(*plan->boxes));
    ops = calloc(size.ops, sizeof(*ops));
    status = plan->boxes == NULL || ops == NULL ? KVF_ERR_NOMEM : make_boxes(plan, &bind, ops);
    free(ops);
    return status == KVF_OK ? 0 : kvfi_bench_fail_status("the boxes of the plan", status);
}

int kvfi_bench_plan_layer(const struct bench_plan *plan, uint32_t layer, struct bench_plan *layer_p)
{
    const kvf_bind_table_t tables[2] = {{.count = (uint32_t)plan->shape.blocks},
                                        {.count = (uint32_t)plan->shape.blocks}};
    kvf_bind_t bind = request(plan, KVF_READ, plan->shape.blocks, tables);
    kvf_op_t *ops = calloc(plan->box_count, sizeof(*ops));
    kvf_status_t status = KVF_ERR_NOMEM;

    bind.first_layer = layer;
    bind.layer_count = 1;
    *layer_p = *plan;
    layer_p->boxes = calloc(plan->box_count, sizeof(*layer_p->boxes));
    if (ops != NULL && layer_p->boxes != NULL) {
        status = make_boxes(layer_p, &bind, ops);
    }
    free(ops);
    if (status == KVF_OK) {
        return 0;
    }
    free(layer_p->boxes);
    layer_p->boxes = NULL;
    return kvfi_bench_fail_status("the boxes of a layer", status);
}

static uint64_t side_bytes(const kvf_layout_t *layout, uint32_t *segments_p)
{
    const kvf_layout_desc_t *desc = kvf_layout_describe(layout);

    *segments_p = desc->segment_count; /* equally long: layers alone are */
    return desc->segment_count * desc->segment_len[0];
}

int kvfi_bench_plan_bind(const struct bench_args *args, struct bench_plan *plan)
{
    kvf_layout_t *sides[2];

    if (kvfi_bench_layouts(args, &plan->shape, plan->slots, sides) != 0) {
        return -1;
    }
    plan->block_tokens = kvf_layout_describe(sides[0])->groups[0].block_tokens;
    plan->source_bytes = side_bytes(sides[0], &plan->source_segments);
    plan->dest_bytes = side_bytes(sides[1], &plan->dest_segments);
    kvf_status_t status = kvf_plan_create(sides[0], sides[1], NULL, &plan->kv);
    kvf_layout_destroy(sides[0]);
    kvf_layout_destroy(sides[1]);
    return status == KVF_OK ? measure(plan) : kvfi_bench_fail_status("the plan", status);
}

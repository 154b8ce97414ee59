/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Named cases of one cache cut two ways: the published pieces of each pair of ranks, with two ops
 * at most; heads replicated, layers cut unevenly, placeholders in block tables, replicas that take
 * turns; and what is refused with which sentence. That the bytes are right for anything is
 * test_plan_any's matter. No op here is run.
 */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define MOST        32

static char handles[512];
static kvf_bind_local_t locals[256];
static kvf_remote_t *remotes[256];

static void expect(kvf_status_t got, kvf_status_t want, const char *start)
{
    ck_assert_msg(got == want, "%s instead of %s: %s", kvf_status_name(got), kvf_status_name(want),
                  kvf_last_error());
    ck_assert_msg(strncmp(kvf_last_error(), start, strlen(start)) == 0, "\"%s\" is not \"%s...\"",
                  kvf_last_error(), start);
}

static void good(kvf_status_t status)
{
    ck_assert_msg(status == KVF_OK, "%s: %s", kvf_status_name(status), kvf_last_error());
}

static const kvf_kv_model_t *model_of(const char *name)
{
    const kvf_kv_model_t *model = NULL;

    good(kvf_kv_model_find(name, &model));
    return model;
}

/* What rank r of tp holds, by the rule that TP has where an engine does not say otherwise. */
static void cut_heads(uint32_t heads, uint32_t tp, uint32_t r, kvf_layout_opts_t *opts)
{
    uint32_t more = heads % tp;

    opts->heads = heads >= tp ? heads / tp + (r < more) : 1;
    opts->first_head = heads >= tp ? r * (heads / tp) + (r < more ? r : more) : r * heads / tp;
}

static kvf_layout_t *rank_of(const kvf_kv_model_t *model, const char *name, uint32_t tp, uint32_t r,
                             uint32_t blocks)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = blocks};
    kvf_layout_t *layout = NULL;

    cut_heads(model->heads, tp, r, &opts);
    good(kvf_layout_build(model, name, &opts, &layout));
    return layout;
}

/* A request of so many tokens, all blocks in order, at both ends. */
static kvf_bind_t request(kvf_bind_table_t tables[2], uint32_t count, uint64_t tokens)
{
    for (unsigned i = 0; i < 256; i++) {
        locals[i].segment = (kvf_segment_t *)&handles[i];
        remotes[i] = (kvf_remote_t *)&handles[256 + i];
    }
    tables[0] = tables[1] = (kvf_bind_table_t){.count = count};
    return (kvf_bind_t){.struct_size = sizeof(kvf_bind_t),
                        .src_table_count = 1,
                        .dst_table_count = 1,
                        .src_tables = &tables[0],
                        .dst_tables = &tables[1],
                        .tokens = tokens,
                        .locals = locals,
                        .remotes = remotes,
                        .local_count = 1,
                        .remote_count = 1};
}

/* ----------------------------------------------------- the published pieces */

#define NHD "L2BNHD"
#define KIB 1024

static const struct {
    const char *model, *layout;
    uint32_t src_tp, dst_tp;
    uint64_t pieces, piece;
} table[] = {
    {"llama-3.1-8b", NHD, 1, 1, 32768, 32 * KIB},      {"llama-3.1-8b", "LBNHC", 1, 1, 16384, 64 * KIB},
    {"llama-3.1-8b", "LBHNC", 1, 1, 16384, 64 * KIB},  {"llama-3.1-8b", "BL2HND", 1, 1, 512, 2048 * KIB},
    {"llama-3.1-8b", "BLHNC", 1, 1, 512, 2048 * KIB},  {"llama-3.1-8b", "BHLNC", 1, 1, 512, 2048 * KIB},
    {"llama-3.1-70b", NHD, 4, 4, 81920, 8 * KIB},      {"llama-3.1-70b", "LBNHC", 4, 4, 40960, 16 * KIB},
    {"llama-3.1-70b", "LBHNC", 4, 4, 40960, 16 * KIB}, {"llama-3.1-70b", "BL2HND", 4, 4, 512, 1280 * KIB},
    {"llama-3.1-70b", "BLHNC", 4, 4, 512, 1280 * KIB}, {"llama-3.1-70b", "BHLNC", 4, 4, 512, 1280 * KIB},
    {"llama-3.1-70b", NHD, 4, 8, 1310720, 256},        {"llama-3.1-70b", "LBNHC", 4, 8, 655360, 512},
    {"llama-3.1-70b", "LBHNC", 4, 8, 40960, 8 * KIB},  {"llama-3.1-70b", "BL2HND", 4, 8, 81920, 4 * KIB},
    {"llama-3.1-70b", "BLHNC", 4, 8, 40960, 8 * KIB},  {"llama-3.1-70b", "BHLNC", 4, 8, 512, 640 * KIB},
    {"llama-3.1-70b", NHD, 2, 4, 1310720, 512},        {"llama-3.1-70b", "LBNHC", 2, 4, 655360, 1 * KIB},
    {"llama-3.1-70b", "LBHNC", 2, 4, 40960, 16 * KIB}, {"llama-3.1-70b", "BL2HND", 2, 4, 81920, 8 * KIB},
    {"llama-3.1-70b", "BLHNC", 2, 4, 40960, 16 * KIB}, {"llama-3.1-70b", "BHLNC", 2, 4, 512, 1280 * KIB},
    {"qwen3-235b", NHD, 2, 4, 1540096, 256},           {"qwen3-235b", "LBNHC", 2, 4, 770048, 512},
    {"qwen3-235b", "LBHNC", 2, 4, 48128, 8 * KIB},     {"qwen3-235b", "BL2HND", 2, 4, 96256, 4 * KIB},
    {"qwen3-235b", "BLHNC", 2, 4, 48128, 8 * KIB},     {"qwen3-235b", "BHLNC", 2, 4, 512, 752 * KIB},
    {"deepseek-v3", "LBNC", 1, 1, 7808, 72 * KIB},
};

START_TEST(a_prompt_of_8192_tokens_makes_the_published_pieces_for_each_pair_of_ranks)
{
    const kvf_kv_model_t *model = model_of(table[_i].model);
    uint32_t blocks = model->mla ? 128 : 512, src_tp = table[_i].src_tp, dst_tp = table[_i].dst_tp;

    for (uint32_t d = 0; d < dst_tp; d++) {
        kvf_layout_t *src = rank_of(model, table[_i].layout, src_tp, d * src_tp / dst_tp, blocks);
        kvf_layout_t *dst = rank_of(model, table[_i].layout, dst_tp, d, blocks);
        kvf_plan_size_t size = {.struct_size = sizeof(size)};
        kvf_bind_table_t tables[2];
        kvf_bind_t bind = request(tables, blocks, 8192);
        kvf_plan_t *plan;

        good(kvf_plan_create(src, dst, NULL, &plan));
        good(kvf_plan_measure(plan, &bind, &size));
        ck_assert_uint_eq(size.pieces, table[_i].pieces);
        ck_assert_uint_eq(size.piece_min, table[_i].piece);
        ck_assert_uint_eq(size.piece_max, table[_i].piece);
        ck_assert_uint_le(size.ops, 2);
        ck_assert_uint_eq(size.ids, 0);
        kvf_plan_destroy(plan);
        kvf_layout_destroy(src);
        kvf_layout_destroy(dst);
    }
}
END_TEST

static const char *const apart[] = {"vllm-0.21", "vllm-0.23", "sglang", "L/BNHC", "L/BHNC"};

START_TEST(layers_in_allocations_of_their_own_make_two_ops_each_at_most)
{
    const kvf_kv_model_t *model = model_of("llama-3.1-70b");
    kvf_layout_t *src = rank_of(model, apart[_i], 4, 1, 512), *dst = rank_of(model, apart[_i], 8, 3, 512);
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    kvf_bind_table_t tables[2];
    kvf_bind_t bind = request(tables, 512, 8192);
    kvf_plan_t *plan;
    kvf_op_t ops[160];
    size_t count = 160;

    bind.local_count = bind.remote_count = kvf_layout_describe(src)->segment_count;
    ck_assert_uint_eq(bind.local_count, apart[_i][0] == 's' ? 160 : 80);
    good(kvf_plan_create(src, dst, NULL, &plan));
    good(kvf_plan_measure(plan, &bind, &size));
    ck_assert_uint_eq(size.bytes, UINT64_C(8192) * 80 * 512);
    ck_assert_uint_le(size.ops, 160);
    good(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &count, NULL, NULL));
    ck_assert_uint_eq(count, size.ops);
    kvf_plan_destroy(plan);
    kvf_layout_destroy(src);
    kvf_layout_destroy(dst);
}
END_TEST

START_TEST(block_sizes_that_differ_make_an_op_for_each_place)
{
    const kvf_kv_model_t *model = model_of("llama-3.1-70b");
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 600, .block_tokens = 64};
    kvf_layout_t *src, *dst;
    kvf_bind_table_t tables[2];
    kvf_bind_t bind = request(tables, 512, 8192);
    kvf_plan_t *plan;
    kvf_op_t ops[8];
    uint32_t ids[512];
    size_t op_count = 8, id_count = 512;

    good(kvf_layout_build(model, "LBNHC", &opts, &dst));
    opts.block_tokens = 16;
    good(kvf_layout_build(model, "BLHNC", &opts, &src));
    good(kvf_plan_create(src, dst, NULL, &plan));
    tables[1].count = 128;
    expect(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &op_count, NULL, NULL), KVF_ERR_SPACE,
           "bind: 32 ops are needed, the array holds 8");
    ck_assert_uint_eq(op_count, 32); /* four places, and a third stride: an op a head */
    kvf_plan_destroy(plan);
    good(kvf_plan_create(dst, src, NULL, &plan));
    kvf_plan_destroy(plan);
    kvf_layout_destroy(src);
    good(kvf_layout_build(model, "LBNHC", &opts, &src));
    good(kvf_plan_create(src, dst, NULL, &plan));
    op_count = 8;
    expect(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &op_count, ids, NULL), KVF_ERR_SPACE,
           "bind: 512 ids are needed, the array holds 0");
    op_count = 8;
    good(kvf_plan_bind(plan, &bind, ops, sizeof(ops[0]), &op_count, ids, &id_count));
    ck_assert_uint_eq(op_count, 4);
    ck_assert_uint_eq(id_count, 512); /* of the source; the destination's are taken as they are */
    for (uint32_t i = 0; i < 4; i++) {
        ck_assert_ptr_null(ops[i].local_ids);
        ck_assert_uint_eq(ops[i].len, 16 * 4096);
        for (uint32_t k = 0; k < 128; k++)
            ck_assert_uint_eq(ops[i].remote_ids[k], 4 * k + ops[i].local_off % (64 * 4096) / 65536);
    }
    kvf_plan_destroy(plan);
    kvf_layout_destroy(src);
    kvf_layout_destroy(dst);
}
END_TEST

/* ----------------------------------------------------------- heads (E2) */

typedef struct job {
    kvf_layout_t *srcs[MOST], *dsts[MOST];
    uint32_t src_count, dst_count;
} job_t;

static void free_job(job_t *job)
{
    for (uint32_t i = 0; i < MOST; i++) {
        kvf_layout_destroy(job->srcs[i]);
        kvf_layout_destroy(job->dsts[i]);
    }
}

/* Bytes that one plan moves for a request. */
static uint64_t plan_bytes(const kvf_plan_t *plan, kvf_bind_t *bind)
{
    kvf_plan_size_t size = {.struct_size = sizeof(size)};

    good(kvf_plan_measure(plan, bind, &size));
    return size.bytes;
}

/* Per source the bytes it gives; returns those that one destination gets. */
static uint64_t take(const job_t *job, uint32_t d, kvf_bind_t *bind, uint64_t *given)
{
    kvf_plan_source_t sources[MOST];
    uint32_t count = MOST;
    uint64_t sum = 0;

    good(kvf_plan_sources(job->srcs, job->src_count, job->dsts[d], d, NULL, sources, &count));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bytes = plan_bytes(sources[i].plan, bind);

        given[sources[i].rank] += bytes;
        sum += bytes;
        kvf_plan_destroy(sources[i].plan);
    }
    return sum;
}

static const struct {
    uint32_t heads, src_tp, dst_tp;
} cuts[] = {{2, 4, 1}, {2, 1, 4}, {2, 4, 8}, {4, 4, 8}, {8, 8, 16}, {8, 16, 2}, {8, 2, 16}, {8, 3, 5}};

START_TEST(replicated_heads_come_once_and_from_all_in_turn)
{
    kvf_kv_model_t model = *model_of("llama-3.1-8b");
    uint32_t src_tp = cuts[_i].src_tp, dst_tp = cuts[_i].dst_tp, tokens = 16 * 480;
    uint64_t given[MOST] = {0}, most = 0, least = UINT64_MAX;
    job_t job = {.src_count = src_tp, .dst_count = dst_tp};
    kvf_bind_table_t tables[2];
    kvf_bind_t bind = request(tables, 480, tokens);

    model.heads = cuts[_i].heads;
    for (uint32_t i = 0; i < src_tp; i++)
        job.srcs[i] = rank_of(&model, "LBNHC", src_tp, i, 480);
    for (uint32_t d = 0; d < dst_tp; d++) {
        job.dsts[d] = rank_of(&model, "BHLNC", dst_tp, d, 480);
        ck_assert_uint_eq(take(&job, d, &bind, given), UINT64_C(480) * kvf_layout_block_bytes(job.dsts[d]));
    }
    for (uint32_t i = 0; i < src_tp; i++) {
        most = given[i] > most ? given[i] : most;
        least = given[i] < least ? given[i] : least;
    }
    if (model.heads % src_tp == 0 || src_tp % model.heads == 0)
        ck_assert_uint_le(most * 10, least * 11);
    free_job(&job);
}
END_TEST

/* One head a rank in both groups at TP16, but one of 16 and one of 8. */
START_TEST(groups_with_other_head_counts_are_never_merged)
{
    const uint32_t layers[2][2] = {{0, 2}, {1, 3}};
    kvf_plane_t planes[2] = {{.kind = KVF_PLANE_KV,
                              .element = "bf16",
                              .content = 64,
                              .block_stride = 1024,
                              .state_stride = 64,
                              .layer_stride = 16384}};
    kvf_group_t groups[2];
    uint64_t len = 65536;
    kvf_layout_desc_t desc = {.struct_size = sizeof(desc),
                              .group_count = 2,
                              .groups = groups,
                              .segment_count = 1,
                              .segment_len = &len};
    kvf_bind_table_t tables[2];
    kvf_bind_t bind = request(tables, 16, 256);
    uint64_t given[MOST] = {0};
    job_t job = {.src_count = 16};

    planes[1] = planes[0];
    planes[1].base = 32768;
    for (uint32_t r = 0; r < 17; r++) {
        for (uint32_t g = 0; g < 2; g++)
            groups[g] = (kvf_group_t){.block_tokens = 16,
                                      .layer_count = 2,
                                      .first_head = g == 0 ? r % 16 : r % 16 / 2,
                                      .heads = 1,
                                      .heads_total = g == 0 ? 16 : 8,
                                      .blocks = 16,
                                      .layers = layers[g],
                                      .planes = &planes[g],
                                      .plane_count = 1};
        good(kvf_layout_create(&desc, r < 16 ? &job.srcs[r] : &job.dsts[0]));
    }
    ck_assert_uint_eq(take(&job, 0, &bind, given), 65536);
    /* Head 0 of 16 is rank 0's alone, head 0 of 8 that of ranks 0 and 1. */
    ck_assert_uint_eq(given[0], 32768 + 16384);
    ck_assert_uint_eq(given[1], 16384);
    kvf_layout_destroy(job.dsts[0]);
    groups[1].heads_total = 16;
    good(kvf_layout_create(&desc, &job.dsts[0]));
    kvf_plan_source_t sources[MOST];
    uint32_t count = MOST;

    expect(kvf_plan_sources(job.srcs, 16, job.dsts[0], 0, NULL, sources, &count), KVF_ERR_INVALID,
           "source 0: plan: layer 1, plane k: heads_total is 8 in group 1 of the source, 16 in group "
           "1 of the destination");
    free_job(&job);
}
END_TEST

/* ---------------------------------------------------------- layers (E4) */

static kvf_layout_t *stage_of(const kvf_kv_model_t *model, uint32_t first, uint32_t count, bool back)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 8, .layer_count = count};
    uint32_t layers[64];
    kvf_layout_t *layout = NULL;

    for (uint32_t i = 0; i < count; i++)
        layers[i] = back ? first + count - 1 - i : first + i;
    opts.layers = layers;
    good(kvf_layout_build(model, "LBNHC", &opts, &layout));
    return layout;
}

START_TEST(layers_are_paired_by_id_across_uneven_stages)
{
    kvf_kv_model_t model = *model_of("llama-3.1-8b");
    const uint32_t from[2][2] = {{0, 21}, {21, 23}}, to[3][2] = {{0, 15}, {15, 15}, {30, 14}};
    kvf_bind_table_t tables[2];
    kvf_bind_t bind = request(tables, 8, 128);
    const uint64_t layer = UINT64_C(8) * 65536;
    job_t job = {.src_count = 2, .dst_count = 3};

    model.layers = 44;
    if (_i == 1) { /* attention each 4th layer, state elsewhere */
        model.state_every = 4;
        model.state_heads = 8;
        model.state_bytes = 8192;
        model.state_element = "f32";
    }
    for (uint32_t i = 0; i < 2; i++)
        job.srcs[i] = stage_of(&model, from[i][0], from[i][1], i == 1);
    for (uint32_t d = 0; d < 3; d++) {
        uint64_t given[MOST] = {0};

        job.dsts[d] = stage_of(&model, to[d][0], to[d][1], d == 1);
        bind.src_table_count = bind.dst_table_count = 1;
        ck_assert_uint_eq(take(&job, d, &bind, given), to[d][1] * layer);
        ck_assert_uint_eq(given[0], (d == 0 ? 15 : d == 1 ? 6 : 0) * layer);
    }
    /* A stage without a layer of one of the groups. */
    if (_i == 1) {
        uint64_t given[MOST] = {0};

        kvf_layout_destroy(job.dsts[0]);
        job.dsts[0] = stage_of(&model, 20, 3, false);
        ck_assert_uint_eq(kvf_layout_describe(job.dsts[0])->group_count, 1);
        ck_assert_uint_eq(take(&job, 0, &bind, given), 3 * layer);
        ck_assert_uint_eq(given[0], layer);
    }
    free_job(&job);
}
END_TEST

START_TEST(what_no_source_has_is_named)
{
    const kvf_kv_model_t *model = model_of("llama-3.1-8b");
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 8};
    kvf_plan_opts_t want = {.struct_size = sizeof(want)};
    kvf_plan_source_t sources[MOST];
    job_t job = {.src_count = 3};
    kvf_layout_t *const *srcs = job.srcs;
    uint32_t count = MOST;

    job.srcs[0] = stage_of(model, 0, 10, false);
    job.srcs[2] = stage_of(model, 12, 20, true);
    good(kvf_layout_build(model, "LBHNC", NULL, &job.dsts[0]));
    expect(kvf_plan_sources(srcs, 3, job.dsts[0], 0, NULL, sources, &count), KVF_ERR_INVALID,
           "sources: no source holds layer 10, plane k, heads 0 to 7 of destination group 0");
    want.first_layer = 12;
    good(kvf_plan_sources(srcs, 3, job.dsts[0], 0, &want, sources, &count));
    ck_assert_uint_eq(count, 1);
    want.layer_count = UINT32_MAX;
    kvf_plan_destroy(sources[0].plan);
    good(kvf_plan_sources(srcs, 3, job.dsts[0], 0, &want, sources, &count));
    want.first_layer = 40;
    expect(kvf_plan_sources(srcs, 3, job.dsts[0], 0, &want, sources, &count), KVF_ERR_INVALID,
           "plan: first_layer 40, layer_count 4294967295: no layout has such a layer");
    want = (kvf_plan_opts_t){.struct_size = sizeof(want), .heads = 9};
    expect(kvf_plan_sources(srcs, 3, job.dsts[0], 0, &want, sources, &count), KVF_ERR_INVALID,
           "plan: first_head 0 and heads 9 leave heads_total 8");
    want = (kvf_plan_opts_t){.struct_size = sizeof(want), .first_layer = 12};
    ck_assert_uint_eq(sources[0].rank, 2);
    kvf_plan_destroy(sources[0].plan);
    kvf_layout_destroy(job.srcs[0]);
    kvf_layout_destroy(job.srcs[2]);
    job.srcs[2] = NULL;
    opts.first_head = 2;
    good(kvf_layout_build(model, "LBHNC", &opts, &job.srcs[0]));
    expect(kvf_plan_sources(srcs, 3, job.dsts[0], 0, NULL, sources, &count), KVF_ERR_INVALID,
           "sources: no source holds layer 0, plane k, heads 0 to 1 of destination group 0");
    kvf_layout_destroy(job.srcs[0]);
    opts.first_head = 0;
    opts.cp_ranks = 3;
    good(kvf_layout_build(model, "LBHNC", &opts, &job.srcs[0]));
    opts.cp_rank = 1;
    good(kvf_layout_build(model, "LBHNC", &opts, &job.srcs[1]));
    expect(kvf_plan_sources(srcs, 3, job.dsts[0], 0, NULL, sources, &count), KVF_ERR_INVALID,
           "sources: no source holds layer 0, plane k, heads 0 to 7 of destination group 0, cp_rank "
           "2 of 3");
    opts.cp_rank = 2;
    opts.cp_tokens = 4;
    good(kvf_layout_build(model, "LBHNC", &opts, &job.srcs[2]));
    expect(kvf_plan_sources(srcs, 3, job.dsts[0], 0, NULL, sources, &count), KVF_ERR_INVALID,
           "sources: source 1 deals tokens over 3 ranks by 16, source 2 over 3 by 4, and both hold");
    kvf_layout_destroy(job.srcs[2]);
    opts.cp_tokens = 16;
    good(kvf_layout_build(model, "LBHNC", &opts, &job.srcs[2]));
    count = 2;
    expect(kvf_plan_sources(srcs, 3, job.dsts[0], 0, NULL, sources, &count), KVF_ERR_SPACE,
           "sources: 3 sources are needed, the array holds 2");
    ck_assert_uint_eq(count, 3);
    want = (kvf_plan_opts_t){.struct_size = sizeof(want), .replica_count = 2};
    expect(kvf_plan_sources(srcs, 3, job.dsts[0], 0, &want, sources, &count), KVF_ERR_INVALID,
           "sources: replica_count 2: replicas are found here");
    expect(kvf_plan_sources(NULL, 3, job.dsts[0], 0, NULL, sources, &count), KVF_ERR_INVALID,
           "sources: srcs is NULL");
    expect(kvf_plan_sources(srcs, 3, NULL, 0, NULL, sources, &count), KVF_ERR_INVALID,
           "sources: dst is NULL");
    expect(kvf_plan_sources(srcs, 3, job.dsts[0], 0, NULL, NULL, &count), KVF_ERR_INVALID,
           "sources: sources is NULL");
    expect(kvf_plan_sources(srcs, 3, job.dsts[0], 0, NULL, sources, NULL), KVF_ERR_INVALID,
           "sources: count_p is NULL");
    free_job(&job);
}
END_TEST

START_TEST(patterns_that_repeat_too_late_are_refused)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .block_tokens = 1009};
    kvf_layout_t *src, *dst;
    kvf_plan_t *plan;

    good(kvf_layout_build(model_of("kimi-k2"), "LBNC", &opts, &src));
    opts.block_tokens = 1 << 20;
    good(kvf_layout_build(model_of("kimi-k2"), "LBNC", &opts, &dst));
    expect(kvf_plan_create(src, dst, NULL, &plan), KVF_ERR_UNSUPPORTED,
           "plan: blocks of 1009 and 1048576 states, dealt over 1 and 1 ranks, with 1 replicas");
    good(kvf_plan_create(dst, dst, NULL, &plan));
    kvf_plan_destroy(plan);
    kvf_layout_destroy(src);
    kvf_layout_destroy(dst);
}
END_TEST

/* ----------------------------------------------------- placeholders (E5) */

START_TEST(placeholders_drop_a_pair_on_both_sides)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 8};
    const uint32_t zeros[6] = {0, 0, 3, 4, 0, 6}, minus[6] = {1, 2, KVF_SKIP, 5, 0, 7};
    const uint8_t there[6] = {0, 0, 0, 1, 0, 0};
    kvf_bind_table_t tables[2];
    kvf_bind_t bind = request(tables, 6, 96);
    kvf_layout_t *layout;
    kvf_plan_t *plan;
    kvf_op_t op;
    uint32_t ids[16];
    size_t op_count = 1, id_count = 16;

    good(kvf_layout_build(model_of("qwen3-8b"), "BLHNC", &opts, &layout));
    good(kvf_plan_create(layout, layout, NULL, &plan));
    tables[0].ids = zeros;
    tables[1].ids = minus;
    /* Untold, 0 is a block like any other, and the ids are taken as they are. */
    good(kvf_plan_bind(plan, &bind, &op, sizeof(op), &op_count, ids, &id_count));
    ck_assert_uint_eq(id_count, 0);
    ck_assert_ptr_eq(op.remote_ids, zeros);
    ck_assert_ptr_eq(op.local_ids, minus);
    tables[0].flags = KVF_TABLE_NULL;
    tables[1].skip = there;
    id_count = 16;
    good(kvf_plan_bind(plan, &bind, &op, sizeof(op), &op_count, ids, &id_count));
    ck_assert_uint_eq(id_count, 12);
    for (uint32_t i = 0; i < 6; i++) {
        ck_assert_uint_eq(op.remote_ids[i], zeros[i] == 0 ? KVF_SKIP : zeros[i]);
        ck_assert_uint_eq(op.local_ids[i], i == 3 ? KVF_SKIP : minus[i]);
    }
    /* The null id of one end is a block of the other, and one past the capacity is refused. */
    tables[0].null_id = 1000;
    tables[0].ids = (const uint32_t[]){1000, 1, 2, 3, 4, 999};
    expect(kvf_plan_bind(plan, &bind, &op, sizeof(op), &op_count, ids, &id_count), KVF_ERR_BOUNDS,
           "bind: source group 0: ids[5] is 999, the capacity is 8");
    kvf_plan_destroy(plan);
    kvf_layout_destroy(layout);
}
END_TEST

/* --------------------------------------------------------- replicas (E7) */

START_TEST(readers_of_a_latent_spread_over_all_replicas)
{
    const kvf_kv_model_t *model = model_of("deepseek-v3");
    uint64_t given[MOST] = {0}, layer = UINT64_C(128) * 61 * 72 * 1024;
    job_t job = {.src_count = 4, .dst_count = 4};
    kvf_bind_table_t tables[2];
    kvf_bind_t bind = request(tables, 128, 8192);
    int8_t status[128];
    kvf_plan_source_t sources[MOST];
    uint32_t count = MOST, ids[256];
    size_t op_count = 1, id_count = 256;
    kvf_op_t op;

    for (uint32_t i = 0; i < 4; i++) {
        job.srcs[i] = rank_of(model, "LBNC", 4, i, 128);
        job.dsts[i] = rank_of(model, "BLNC", 4, i, 128);
    }
    for (uint32_t d = 0; d < 4; d++)
        ck_assert_uint_eq(take(&job, d, &bind, given), layer);
    for (uint32_t i = 0; i < 4; i++)
        ck_assert_uint_eq(given[i], layer);
    good(kvf_plan_sources(job.srcs, 4, job.dsts[3], 3, NULL, sources, &count));
    ck_assert_uint_eq(count, 4);
    good(kvf_plan_bind(sources[1].plan, &bind, &op, sizeof(op), &op_count, ids, &id_count));
    ck_assert_uint_eq(op.blocks, 32);
    for (uint32_t i = 0; i < 32; i++)
        ck_assert_uint_eq((3 + op.local_ids[i]) % 4, 1);
    tables[1].block_status = status;
    expect(kvf_plan_bind(sources[1].plan, &bind, &op, sizeof(op), &op_count, ids, &id_count),
           KVF_ERR_UNSUPPORTED, "bind: dst_tables[0]: block_status needs equal block_tokens");
    for (uint32_t i = 0; i < 4; i++)
        kvf_plan_destroy(sources[i].plan);
    free_job(&job);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("sources");
    TCase *c = tcase_create("sources");

    tcase_add_loop_test(c, a_prompt_of_8192_tokens_makes_the_published_pieces_for_each_pair_of_ranks, 0,
                        ROWS(table));
    tcase_add_loop_test(c, layers_in_allocations_of_their_own_make_two_ops_each_at_most, 0, ROWS(apart));
    tcase_add_test(c, block_sizes_that_differ_make_an_op_for_each_place);
    tcase_add_loop_test(c, replicated_heads_come_once_and_from_all_in_turn, 0, ROWS(cuts));
    tcase_add_test(c, groups_with_other_head_counts_are_never_merged);
    tcase_add_loop_test(c, layers_are_paired_by_id_across_uneven_stages, 0, 2);
    tcase_add_test(c, what_no_source_has_is_named);
    tcase_add_test(c, patterns_that_repeat_too_late_are_refused);
    tcase_add_test(c, placeholders_drop_a_pair_on_both_sides);
    tcase_add_test(c, readers_of_a_latent_spread_over_all_replicas);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());

    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);

    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

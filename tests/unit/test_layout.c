/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Layouts: what models and names promise. Places of cells are compared with a generator of
 * its own that walks the letters of a name. What descriptions by hand are refused with is in
 * test_layout_check.c. Needs no engine, touches no cache.
 */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

static void expect(kvf_status_t got, kvf_status_t want, const char *start)
{
    ck_assert_msg(got == want, "%s instead of %s: %s", kvf_status_name(got), kvf_status_name(want),
                  kvf_last_error());
    ck_assert_msg(strncmp(kvf_last_error(), start, strlen(start)) == 0, "\"%s\" is not \"%s...\"",
                  kvf_last_error(), start);
}

static const kvf_kv_model_t *model_of(const char *name)
{
    const kvf_kv_model_t *model = NULL;

    ck_assert_msg(kvf_kv_model_find(name, &model) == KVF_OK, "%s", kvf_last_error());
    return model;
}

/* ------------------------------------------------------------------ models */

static const struct {
    const char *name;
    uint32_t layers;
    uint64_t token_layer; /* bytes of a token in a layer */
    uint64_t token;       /* in all layers */
    uint64_t prompt;      /* 8192 tokens */
} sizes[] = {
    {"llama-3.1-8b", 32, 4096, 128 << 10, UINT64_C(1) << 30},
    {"llama-3.1-70b", 80, 4096, 320 << 10, UINT64_C(2560) << 20},
    {"qwen3-8b", 36, 4096, 144 << 10, UINT64_C(1152) << 20},
    {"qwen3-235b", 94, 2048, 188 << 10, UINT64_C(1504) << 20},
    {"gpt-oss-120b", 36, 2048, 72 << 10, (UINT64_C(585) << 20) / 2},
    {"deepseek-v3", 61, 1152, 70272, UINT64_C(549) << 20},
    {"kimi-k2", 61, 1152, 70272, UINT64_C(549) << 20},
    {"deepseek-v3.2", 61, 656, 40016, UINT64_C(40016) << 13},
};

START_TEST(model_sizes_are_the_published_ones)
{
    const kvf_kv_model_t *model = model_of(sizes[_i].name);
    uint64_t bytes;

    ck_assert_uint_eq(model->layers, sizes[_i].layers);
    ck_assert_uint_eq((model->k_bytes + model->v_bytes) * model->heads, sizes[_i].token_layer);
    ck_assert_int_eq(kvf_kv_model_bytes(model, 1, &bytes), KVF_OK);
    ck_assert_uint_eq(bytes, sizes[_i].token);
    ck_assert_int_eq(kvf_kv_model_bytes(model, 8192, &bytes), KVF_OK);
    ck_assert_uint_eq(bytes, sizes[_i].prompt);
    ck_assert_int_eq(kvf_kv_model_bytes(model, 0, &bytes), KVF_OK);
    ck_assert_uint_eq(bytes, 0);
}
END_TEST

/* The layers that keep K and V, counted one by one. */
START_TEST(layers_with_a_state_take_no_kv)
{
    kvf_kv_model_t model = *model_of("llama-3.1-8b");
    const uint64_t token = (model.k_bytes + model.v_bytes) * model.heads;
    uint64_t bytes, want;

    model.window = 4;
    for (model.layers = 1; model.layers < 40; model.layers++)
        for (model.state_every = 0; model.state_every < 9; model.state_every++)
            for (model.window_every = 0; model.window_every < 9; model.window_every++) {
                want = 0;
                for (uint32_t id = 0; id < model.layers; id++)
                    if (model.state_every == 0 || id % model.state_every == model.state_every - 1)
                        want += model.window_every != 0 && id % model.window_every == 0 ? 4 : 10;
                ck_assert_int_eq(kvf_kv_model_bytes(&model, 10, &bytes), KVF_OK);
                ck_assert_uint_eq(bytes, want * token);
            }
}
END_TEST

START_TEST(models_are_listed_and_found)
{
    uint32_t count = 0;

    for (const kvf_kv_model_t *model; (model = kvf_kv_model_at(count)) != NULL; count++)
        ck_assert_ptr_eq(model_of(model->name), model);
    ck_assert_uint_eq(count, sizeof(sizes) / sizeof(sizes[0]));
    ck_assert_ptr_null(kvf_kv_model_at(UINT32_MAX));
}
END_TEST

START_TEST(unknown_model_is_refused_with_the_known_ones)
{
    const kvf_kv_model_t *model = NULL;
    uint64_t bytes;

    expect(kvf_kv_model_find("llama-9", &model), KVF_ERR_INVALID, "model \"llama-9\" is unknown");
    ck_assert_ptr_nonnull(strstr(kvf_last_error(), "deepseek-v3, kimi-k2"));
    ck_assert_ptr_nonnull(strstr(kvf_last_error(), "llama-3.1-8b"));
    ck_assert_ptr_null(model);
    expect(kvf_kv_model_find(NULL, &model), KVF_ERR_INVALID, "model: name is NULL");
    expect(kvf_kv_model_find("qwen3-8b", NULL), KVF_ERR_INVALID, "model: model_p is NULL");
    expect(kvf_kv_model_bytes(NULL, 1, &bytes), KVF_ERR_INVALID, "model bytes: model is NULL");
    expect(kvf_kv_model_bytes(model_of("qwen3-8b"), UINT64_MAX, &bytes), KVF_ERR_INVALID,
           "model bytes: tokens 18446744073709551615 overflows");
}
END_TEST

/* ---------------------------------------------------------- layouts by name */

typedef struct cell {
    uint64_t layer, block, token, head, half;
} cell_t;

/* Offset of a cell: the letters of a name from the outermost inwards, each a digit of a number. */
static uint64_t spell(const char *name, const kvf_group_t *g, uint64_t content, const cell_t *c)
{
    uint64_t at = 0;

    for (; name[1] != '\0'; name++) {
        at = *name == 'L'   ? at * g->layer_count + c->layer
             : *name == 'B' ? at * g->blocks + c->block
             : *name == 'N' ? at * g->block_tokens + c->token
             : *name == 'H' ? at * g->heads + c->head
                            : at * 2 + c->half;
    }
    return at * content;
}

static void compare_cells(const kvf_layout_t *layout, const char *name, uint64_t base)
{
    const kvf_group_t *g = kvf_layout_describe(layout)->groups;
    uint64_t off;
    cell_t c;

    for (c.half = 0; c.half < g->plane_count; c.half++)
        for (c.layer = 0; c.layer < g->layer_count; c.layer++)
            for (c.block = 0; c.block < g->blocks; c.block += g->blocks - 1)
                for (c.token = 0; c.token < g->block_tokens; c.token++)
                    for (c.head = 0; c.head < g->heads; c.head++) {
                        ck_assert_int_eq(kvf_layout_locate(layout, 0, (uint32_t)c.half, g->layers[c.layer],
                                                           (uint32_t)c.block,
                                                           g->first_head + (uint32_t)c.head,
                                                           (uint32_t)c.token, NULL, &off),
                                         KVF_OK);
                        ck_assert_uint_eq(off, base + spell(name, g, g->planes[c.half].content, &c));
                    }
}

START_TEST(names_put_cells_where_their_letters_say)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts),
                              .blocks = 5000,
                              .first_layer = 3,
                              .layer_count = 4,
                              .first_head = 2,
                              .heads = 3,
                              .base = 4096};
    const kvf_kv_model_t *gqa = model_of("llama-3.1-70b"), *mla = model_of("deepseek-v3");
    const char *name;
    uint32_t count = 0;
    kvf_layout_t *layout;

    for (; (name = kvf_layout_name_at(count)) != NULL && name[0] < 'a'; count++) {
        bool latent = strchr(name, 'H') == NULL;

        opts.first_head = latent ? 0 : 2;
        opts.heads = latent ? 0 : 3;
        ck_assert_int_eq(kvf_layout_build(latent ? mla : gqa, name, &opts, &layout), KVF_OK);
        compare_cells(layout, name, 4096);
        const kvf_layout_desc_t *desc = kvf_layout_describe(layout);

        ck_assert_uint_eq(desc->segment_len[0], 4096 + 5000 * kvf_layout_block_bytes(layout));
        ck_assert_uint_eq(desc->groups[0].block_tokens, latent ? 64 : 16);
        kvf_layout_destroy(layout);
    }
    ck_assert_uint_ge(count, 14);
}
END_TEST

START_TEST(bytes_of_a_block_are_those_of_the_model)
{
    const kvf_kv_model_t *model = model_of(sizes[_i].name);
    kvf_layout_t *layout;
    uint64_t cells = sizes[_i].token * (model->mla ? 64 : 16);

    ck_assert_int_eq(kvf_layout_build(model, "LBHNC", NULL, &layout), KVF_OK);
    ck_assert_uint_eq(kvf_layout_block_bytes(layout), cells + 64 * model->indexer_bytes * model->layers);
    kvf_layout_destroy(layout);
}
END_TEST

START_TEST(layers_with_a_window_are_a_group_of_their_own)
{
    const kvf_kv_model_t *model = model_of("gpt-oss-120b");
    const uint32_t odd[] = {7, 3}, all[] = {5, 4, 1, 0};
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .layers = all, .layer_count = 4};
    kvf_layout_t *layout;

    ck_assert_int_eq(kvf_layout_build(model, "BLHNC", NULL, &layout), KVF_OK);
    const kvf_layout_desc_t *desc = kvf_layout_describe(layout);

    ck_assert_uint_eq(desc->group_count, 2);
    ck_assert_uint_eq(desc->groups[0].window, 0);
    ck_assert_uint_eq(desc->groups[1].window, 128);
    for (uint32_t i = 0; i < 18; i++) {
        ck_assert_uint_eq(desc->groups[0].layers[i], 2 * i + 1);
        ck_assert_uint_eq(desc->groups[1].layers[i], 2 * i);
    }
    ck_assert_uint_eq(desc->groups[1].planes[0].base, kvf_layout_block_bytes(layout) / 2);
    kvf_layout_destroy(layout);

    ck_assert_int_eq(kvf_layout_build(model, "BLHNC", &opts, &layout), KVF_OK);
    desc = kvf_layout_describe(layout);
    ck_assert_uint_eq(desc->groups[0].layers[0], 5);
    ck_assert_uint_eq(desc->groups[0].layers[1], 1);
    ck_assert_uint_eq(desc->groups[1].layers[1], 0);
    kvf_layout_destroy(layout);

    opts.layers = odd;
    opts.layer_count = 2;
    ck_assert_int_eq(kvf_layout_build(model, "BLHNC", &opts, &layout), KVF_OK);
    ck_assert_uint_eq(kvf_layout_describe(layout)->group_count, 1);
    kvf_layout_destroy(layout);
}
END_TEST

/* Names of the field, what they stand for, and how many segments they make of 4 layers. */
static const struct {
    const char *name, *spelling;
    uint32_t segments, block_tokens;
} presets[] = {
    {"vllm-0.21", "L/2BNHD", 4, 16},
    {"vllm-0.23", "L/B2NHD", 4, 16},
    {"vllm-0.26", "LBHNC", 1, 16},
    {"vllm-mla", "L/BNC", 4, 64},
    {"sglang", "2L/BNHD", 8, 16},
    {"hicache-layer-first", "2LBNHD", 1, 16},
    {"hicache-token-first", "2BNLHD", 1, 16},
    {"hicache-page-first", "2BLNHD", 1, 16},
    {"hicache-page-head", "2BHNLD", 1, 16},
    {"tensorrt-llm", "BL2HND", 1, 16},
    {"lmcache", "B2LNHD", 1, 256},
    {"flexkv-layer-first", "L2BNHD", 1, 16},
    {"flexkv-block-first", "BL2NHD", 1, 16},
    {"kvbm-universal", "BHL2ND", 1, 16},
    {"kvbm-nhd", "BL2NHD", 1, 16},
    {"kvbm-hnd", "BL2HND", 1, 16},
};

START_TEST(names_of_the_field_stand_for_a_spelling)
{
    bool latent = strstr(presets[_i].name, "mla") != NULL;
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 5, .layer_count = 4};
    const kvf_kv_model_t *model = model_of(latent ? "deepseek-v3" : "qwen3-8b");
    static char one[8192], other[8192];
    size_t n = sizeof(one), m = sizeof(other);
    kvf_layout_t *layout, *spelled;
    bool listed = false;

    for (uint32_t i = 0; kvf_layout_name_at(i) != NULL; i++)
        listed |= strcmp(kvf_layout_name_at(i), presets[_i].name) == 0;
    ck_assert(listed);
    ck_assert_int_eq(kvf_layout_build(model, presets[_i].name, &opts, &layout), KVF_OK);
    ck_assert_uint_eq(kvf_layout_describe(layout)->segment_count, presets[_i].segments);
    ck_assert_uint_eq(kvf_layout_describe(layout)->groups[0].block_tokens, presets[_i].block_tokens);
    opts.block_tokens = presets[_i].block_tokens;
    ck_assert_int_eq(kvf_layout_build(model, presets[_i].spelling, &opts, &spelled), KVF_OK);
    ck_assert_int_eq(kvf_layout_pack(layout, one, &n), KVF_OK);
    ck_assert_int_eq(kvf_layout_pack(spelled, other, &m), KVF_OK);
    ck_assert_uint_eq(n, m);
    ck_assert_mem_eq(one, other, n);
    kvf_layout_destroy(layout);
    kvf_layout_destroy(spelled);
}
END_TEST

START_TEST(axes_before_a_slash_are_segments)
{
    const kvf_kv_model_t *model = model_of("llama-3.1-8b");
    kvf_layout_opts_t opts = {
        .struct_size = sizeof(opts), .blocks = 5, .first_layer = 2, .layer_count = 3, .base = 64};
    const struct {
        const char *name;
        uint32_t k_step, v_from;
    } cases[] = {{"L/2BNHD", 1, 0}, {"2L/BNHD", 1, 3}, {"L2/BNHD", 2, 1}, {"2/LBNHD", 0, 1}};

    for (unsigned i = 0; i < 4; i++) {
        kvf_layout_t *layout;
        uint32_t segment;
        uint64_t off, half = UINT64_C(5) * 16 * 8 * 256;

        ck_assert_int_eq(kvf_layout_build(model, cases[i].name, &opts, &layout), KVF_OK);
        for (uint32_t l = 0; l < 3; l++)
            for (uint32_t v = 0; v < 2; v++) {
                uint64_t want = 64 + ((UINT64_C(4) * 16 + 15) * 8 + 7) * 256;

                want += v == 1 && i == 0 ? half : 0;
                want += i == 3 ? l * half : 0;
                ck_assert_int_eq(kvf_layout_locate(layout, 0, v, l + 2, 4, 7, 15, &segment, &off), KVF_OK);
                ck_assert_uint_eq(segment, l * cases[i].k_step + v * cases[i].v_from);
                ck_assert_uint_eq(off, want);
            }
        ck_assert_uint_eq(kvf_layout_describe(layout)->segment_len[0], 64 + half * (i == 0   ? 2
                                                                                    : i == 3 ? 3
                                                                                             : 1));
        kvf_layout_destroy(layout);
    }
}
END_TEST

START_TEST(scales_and_states_have_their_planes_and_groups)
{
    kvf_kv_model_t model = *model_of("llama-3.1-8b");
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .first_state_head = 4, .state_heads = 2};
    kvf_layout_t *layout;

    model.scale_bytes = 8;
    model.scale_element = "f32";
    model.state_every = 4;
    model.state_bytes = 100;
    model.state_heads = 6;
    model.state_element = "f32";
    ck_assert_int_eq(kvf_layout_build(&model, "L2BNHD", &opts, &layout), KVF_OK);
    const kvf_layout_desc_t *d = kvf_layout_describe(layout);

    ck_assert_uint_eq(d->group_count, 2);
    ck_assert_uint_eq(d->groups[0].layer_count, 8);
    ck_assert_uint_eq(d->groups[0].layers[1], 7);
    ck_assert_uint_eq(d->groups[0].plane_count, 3);
    ck_assert_uint_eq(d->groups[0].planes[2].kind, KVF_PLANE_SCALES);
    ck_assert_uint_eq(d->groups[1].layer_count, 24);
    ck_assert_uint_eq(d->groups[1].tokens_per_state, 16);
    ck_assert_uint_eq(d->groups[1].first_head, 4);
    ck_assert_uint_eq(d->groups[1].heads_total, 6);
    ck_assert_uint_eq(kvf_layout_block_bytes(layout), 8 * 16 * 8 * (512 + 8) + 24 * 2 * 100);
    kvf_layout_destroy(layout);
}
END_TEST

START_TEST(offsets_past_4_gib_are_exact)
{
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .blocks = 4000000000u};
    kvf_layout_t *layout;
    uint64_t off;

    ck_assert_int_eq(kvf_layout_build(model_of("llama-3.1-70b"), "LHBNC", &opts, &layout), KVF_OK);
    ck_assert_int_eq(kvf_layout_locate(layout, 0, 0, 79, 3999999999u, 7, 15, NULL, &off), KVF_OK);
    ck_assert_uint_eq(off, ((UINT64_C(79) * 8 + 7) * 4000000000u + 3999999999u) * 8192 + 15 * 512);
    kvf_layout_destroy(layout);
}
END_TEST

static const struct {
    const char *model, *name, *sentence;
} bad_names[] = {
    {"qwen3-8b", "", "layout \"\": it ends neither in C nor in D; known are LBHNC, LBNHC"},
    {"qwen3-8b", "LB/HNC", "layout \"LB/HNC\": in front of a / stand L, 2 or both"},
    {"qwen3-8b", "/LBHNC", "layout \"/LBHNC\": in front of a / stand"},
    {"qwen3-8b", "L/B/HNC", "layout \"L/B/HNC\": / stands twice"},
    {"kimi-k2", "sglang", "layout \"2L/BNHD\": a latent is one plane"},
    {"qwen3-8b", "LBHN", "layout \"LBHN\": it ends neither"},
    {"qwen3-8b", "LBXHNC", "layout \"LBXHNC\": an axis is none of"},
    {"qwen3-8b", "LBHNBC", "layout \"LBHNBC\": an axis stands twice"},
    {"qwen3-8b", "LHNC", "layout \"LHNC\": it lacks L, B or N"},
    {"qwen3-8b", "LBNC", "layout \"LBNC\": it lacks H"},
    {"qwen3-8b", "LBHND", "layout \"LBHND\": D needs a 2"},
    {"qwen3-8b", "L2BHNC", "layout \"L2BHNC\": C and 2 exclude each other"},
    {"kimi-k2", "L2BNHD", "layout \"L2BNHD\": a latent is one plane"},
};

START_TEST(a_bad_name_is_refused_with_the_reason)
{
    kvf_layout_t *layout = NULL;

    expect(kvf_layout_build(model_of(bad_names[_i].model), bad_names[_i].name, NULL, &layout),
           KVF_ERR_INVALID, bad_names[_i].sentence);
    ck_assert_ptr_null(layout);
}
END_TEST

static void expect_opts(kvf_layout_opts_t opts, kvf_status_t status, const char *sentence)
{
    kvf_layout_t *layout = NULL;

    opts.struct_size = sizeof(opts);
    expect(kvf_layout_build(model_of("llama-3.1-8b"), "LBHNC", &opts, &layout), status, sentence);
    ck_assert_ptr_null(layout);
}

START_TEST(bad_options_of_a_layout_are_refused_by_name)
{
    const uint32_t twice[] = {4, 4}, past[] = {0, 32};
    kvf_layout_opts_t opts = {.struct_size = 4};
    kvf_layout_t *layout;

    expect(kvf_layout_build(model_of("llama-3.1-8b"), "LBHNC", &opts, &layout), KVF_ERR_INVALID,
           "layout: opts.struct_size is 4");
    expect(kvf_layout_build(NULL, "LBHNC", NULL, &layout), KVF_ERR_INVALID, "layout: model is");
    expect(kvf_layout_build(model_of("kimi-k2"), NULL, NULL, &layout), KVF_ERR_INVALID,
           "layout: name is NULL");
    expect(kvf_layout_build(model_of("kimi-k2"), "LBNC", NULL, NULL), KVF_ERR_INVALID,
           "layout: layout_p is NULL");
    expect_opts((kvf_layout_opts_t){.first_layer = 32}, KVF_ERR_INVALID, "layout: first_layer 32");
    expect_opts((kvf_layout_opts_t){.first_layer = 30, .layer_count = 3}, KVF_ERR_INVALID,
                "layout: first_layer 30 and layer_count 3: model llama-3.1-8b has 32 layers");
    expect_opts((kvf_layout_opts_t){.layers = past, .layer_count = 2}, KVF_ERR_INVALID,
                "layout: layers[1] is 32");
    expect_opts((kvf_layout_opts_t){.layers = past}, KVF_ERR_INVALID, "layout: layer_count is 0");
    expect_opts((kvf_layout_opts_t){.layers = twice, .layer_count = 2}, KVF_ERR_INVALID,
                "group 0: layers has layer 4 twice");
    expect_opts((kvf_layout_opts_t){.first_head = 8}, KVF_ERR_INVALID, "layout: first_head 8");
    expect_opts((kvf_layout_opts_t){.first_head = 6, .heads = 3}, KVF_ERR_INVALID,
                "layout: first_head 6 and heads 3: model llama-3.1-8b has 8 heads");
    expect_opts((kvf_layout_opts_t){.segment_len = 100}, KVF_ERR_BOUNDS,
                "group 0, plane kv: ends at byte 2097152 of segment 0, which has 100");
    expect_opts((kvf_layout_opts_t){.reserved = {1}}, KVF_ERR_INVALID, "layout: reserved");
    expect_opts((kvf_layout_opts_t){.state_heads = 1}, KVF_ERR_INVALID,
                "layout: first_state_head 0 and state_heads 1: model llama-3.1-8b has 0");
    expect_opts((kvf_layout_opts_t){.cp_ranks = 2, .cp_rank = 2}, KVF_ERR_INVALID,
                "group 0: cp_rank 2 of cp_ranks 2");
    expect_opts((kvf_layout_opts_t){.base = UINT64_MAX - 5}, KVF_ERR_INVALID,
                "layout LBHNC: 1 blocks of model llama-3.1-8b overflow");
    expect_opts((kvf_layout_opts_t){.blocks = UINT32_MAX, .block_tokens = 1u << 31}, KVF_ERR_INVALID,
                "layout LBHNC: 4294967295 blocks");
}
END_TEST

START_TEST(bad_models_are_refused_by_field)
{
    const kvf_kv_model_t good = *model_of("llama-3.1-8b");
    kvf_kv_model_t bad[11], *m;
    const char *fields[11];
    unsigned count = 0;
    kvf_layout_t *layout;

    for (unsigned i = 0; i < 11; i++)
        bad[i] = good;
    m = bad;
    m->name = NULL, fields[count++] = "name", m++;
    m->layers = 0, fields[count++] = "layers", m++;
    m->heads = 0, fields[count++] = "heads", m++;
    m->mla = 1, fields[count++] = "heads", m++;
    m->k_bytes = 0, fields[count++] = "k_bytes", m++;
    m->v_bytes = 0, fields[count++] = "v_bytes", m++;
    m->element = NULL, fields[count++] = "element", m++;
    m->indexer_bytes = 132, fields[count++] = "indexer_bytes", m++;
    m->window = 128, fields[count++] = "window_every", m++;
    m->window_every = 2, fields[count++] = "window_every", m++;
    m->reserved[1] = 2, fields[count++] = "reserved", m++;
    for (unsigned i = 0; i < count; i++) {
        char sentence[64];

        snprintf(sentence, sizeof(sentence), "model: %s is wrong", fields[i]);
        expect(kvf_layout_build(&bad[i], "LBHNC", NULL, &layout), KVF_ERR_INVALID, sentence);
    }
    bad[0] = good;
    bad[0].v_bytes = 128;
    expect(kvf_layout_build(&bad[0], "L2BNHD", NULL, &layout), KVF_ERR_INVALID,
           "layout \"L2BNHD\": K and V of the model differ");
    ck_assert_int_eq(kvf_layout_build(&bad[0], "LBHNC", NULL, &layout), KVF_OK);
    ck_assert_uint_eq(kvf_layout_describe(layout)->groups[0].planes[0].k_content, 256);
    kvf_layout_destroy(layout);
}
END_TEST

START_TEST(fingerprints_ignore_places_and_see_meaning)
{
    const kvf_kv_model_t *model = model_of("llama-3.1-8b");
    const uint32_t backwards[] = {3, 2, 1, 0};
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts), .layer_count = 4, .blocks = 9};
    kvf_layout_t *one, *other;

    ck_assert_int_eq(kvf_layout_build(model, "LBHNC", &opts, &one), KVF_OK);
    opts.layers = backwards;
    opts.blocks = 70;
    opts.block_tokens = 64;
    opts.heads = 2;
    ck_assert_int_eq(kvf_layout_build(model, "2BLNHD", &opts, &other), KVF_OK);
    ck_assert_uint_eq(kvf_layout_fingerprint(one), kvf_layout_fingerprint(other));
    ck_assert_int_eq(kvf_layout_compare(one, other), KVF_OK);
    kvf_layout_destroy(other);

    opts.layers = NULL;
    opts.layer_count = 5;
    ck_assert_int_eq(kvf_layout_build(model, "LBHNC", &opts, &other), KVF_OK);
    ck_assert_uint_ne(kvf_layout_fingerprint(one), kvf_layout_fingerprint(other));
    expect(kvf_layout_compare(one, other), KVF_ERR_INVALID,
           "group 0: layer_count is 4 in one layout, 5 in the other");
    expect(kvf_layout_compare(NULL, other), KVF_ERR_INVALID, "compare: one is NULL");
    expect(kvf_layout_compare(one, NULL), KVF_ERR_INVALID, "compare: other is NULL");
    kvf_layout_destroy(one);
    kvf_layout_destroy(other);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

static Suite *suite(void)
{
    Suite *s = suite_create("layout");
    TCase *models = tcase_create("models"), *named = tcase_create("names");

    tcase_add_loop_test(models, model_sizes_are_the_published_ones, 0, ROWS(sizes));
    tcase_add_test(models, models_are_listed_and_found);
    tcase_add_test(models, layers_with_a_state_take_no_kv);
    tcase_add_test(models, unknown_model_is_refused_with_the_known_ones);
    suite_add_tcase(s, models);
    tcase_add_test(named, names_put_cells_where_their_letters_say);
    tcase_add_loop_test(named, bytes_of_a_block_are_those_of_the_model, 0, ROWS(sizes));
    tcase_add_test(named, layers_with_a_window_are_a_group_of_their_own);
    tcase_add_loop_test(named, names_of_the_field_stand_for_a_spelling, 0, ROWS(presets));
    tcase_add_test(named, axes_before_a_slash_are_segments);
    tcase_add_test(named, scales_and_states_have_their_planes_and_groups);
    tcase_add_test(named, offsets_past_4_gib_are_exact);
    tcase_add_loop_test(named, a_bad_name_is_refused_with_the_reason, 0, ROWS(bad_names));
    tcase_add_test(named, bad_options_of_a_layout_are_refused_by_name);
    tcase_add_test(named, bad_models_are_refused_by_field);
    tcase_add_test(named, fingerprints_ignore_places_and_see_meaning);
    suite_add_tcase(s, named);
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

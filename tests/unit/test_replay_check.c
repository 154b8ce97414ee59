/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The checker of kvf_replay, which knows a layout by its name only, against the library's layout, which
 * says where each cell lies: on cells that are right it finds nothing, and it finds each single byte
 * that is wrong, in a cell or up to 64 bytes beside a piece, and no byte further away.
 */
#define _GNU_SOURCE
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#include "../../tools/cli.h"
#include "../../tools/replay/content.h"
#include "../../tools/replay/verify.h"

#define CAPACITY     5u /* blocks */
#define MAX_SEGMENTS 16
#define BLOCK        3u /* the one that is pulled: its neighbours are free */
#define SEED         99
#define PREFIX       UINT64_C(0xfedcba9876543210)
#define REQUEST      7
#define PART_CASE    19
#define TOKEN        32 /* of the trace block, the block's first one */

static const struct {
    const char *model, *layout;
    uint32_t layers, tokens;
    uint32_t first_layer, first_head, heads; /* heads 0: all */
} cases[] = {
    {"qwen3-235b", "LBHNC", 3, 4, 0, 0, 0},
    {"qwen3-235b", "LBNHC", 3, 4, 0, 0, 0},
    {"qwen3-235b", "LHBNC", 3, 4, 0, 0, 0},
    {"qwen3-235b", "BLHNC", 3, 4, 0, 0, 0},
    {"qwen3-235b", "BLNHC", 3, 4, 0, 0, 0},
    {"qwen3-235b", "BHLNC", 3, 4, 0, 0, 0},
    {"qwen3-235b", "L2BNHD", 3, 4, 0, 0, 0},
    {"qwen3-235b", "LB2NHD", 3, 4, 0, 0, 0},
    {"qwen3-235b", "BL2HND", 3, 4, 0, 0, 0},
    {"qwen3-235b", "BL2NHD", 3, 4, 0, 0, 0},
    {"qwen3-235b", "2LBNHD", 3, 4, 0, 0, 0},
    {"qwen3-235b", "2BLNHD", 3, 4, 0, 0, 0},
    {"qwen3-235b", "BHNLC", 2, 1, 0, 0, 0},
    {"gpt-oss-120b", "LBHNC", 5, 2, 0, 0, 0},
    {"gpt-oss-120b", "BL2NHD", 4, 2, 0, 0, 0},
    {"deepseek-v3", "LBNC", 3, 4, 0, 0, 0},
    {"deepseek-v3", "BLNC", 3, 4, 0, 0, 0},
    {"deepseek-v3.2", "LBNC", 3, 4, 0, 0, 0},
    {"deepseek-v3.2", "BLNC", 3, 3, 0, 0, 0},
    /* of a rank that holds a part */
    {"qwen3-235b", "LBHNC", 3, 4, 5, 1, 2},
    {"qwen3-235b", "BL2NHD", 2, 4, 90, 3, 1},
    {"gpt-oss-120b", "LBHNC", 5, 2, 3, 2, 3},
    {"gpt-oss-120b", "BLHNC", 4, 2, 4, 0, 2},
    {"gpt-oss-120b", "LBNHC", 1, 2, 1, 7, 1},
    {"deepseek-v3.2", "LBNC", 2, 4, 7, 0, 0},
    /* names of the field, some with a segment a layer */
    {"qwen3-235b", "vllm-0.21", 3, 4, 5, 1, 2},
    {"qwen3-235b", "vllm-0.23", 3, 4, 0, 0, 0},
    {"gpt-oss-120b", "sglang", 3, 2, 2, 0, 0},
    {"gpt-oss-120b", "vllm-0.23", 3, 2, 1, 0, 2},
    {"deepseek-v3.2", "vllm-mla", 2, 3, 0, 0, 0},
    {"qwen3-235b", "hicache-token-first", 2, 4, 0, 0, 0},
    {"qwen3-235b", "hicache-page-head", 2, 4, 0, 0, 0},
    {"qwen3-235b", "lmcache", 2, 4, 0, 0, 0},
    {"qwen3-235b", "kvbm-universal", 2, 4, 0, 0, 0},
};

static struct replay_held held;
static kvf_layout_t *layout;
static struct replay_check *check;
static uint8_t *base, *bases[MAX_SEGMENTS];
static uint64_t len, block_bytes;

/* The segments one behind the other in one piece of memory. */
static void place_segments(void)
{
    const kvf_layout_desc_t *desc = kvf_layout_describe(layout);
    uint64_t off = 0;

    block_bytes = kvf_layout_block_bytes(layout);
    len = CAPACITY * block_bytes;
    base = calloc(1, len);
    ck_assert_ptr_nonnull(base);
    ck_assert_uint_le(desc->segment_count, MAX_SEGMENTS);
    for (uint32_t i = 0; i < desc->segment_count; i++) {
        bases[i] = base + off;
        off += desc->segment_len[i];
    }
    ck_assert_uint_eq(off, len);
}

static void open_case(int i)
{
    struct replay_cut cut = {cases[i].first_layer, cases[i].layers, cases[i].first_head, cases[i].heads};

    held = (struct replay_held){.layout = cases[i].layout, .block_tokens = cases[i].tokens, .cut = cut};
    kvf_layout_opts_t opts = {.struct_size = sizeof(opts),
                              .block_tokens = cases[i].tokens,
                              .blocks = CAPACITY,
                              .layer_count = cut.layers,
                              .heads = cut.heads,
                              .first_layer = cut.first_layer,
                              .first_head = cut.first_head};
    ck_assert_int_eq(kvf_kv_model_find(cases[i].model, &held.model), KVF_OK);
    ck_assert_int_eq(kvf_layout_build(held.model, cases[i].layout, &opts, &layout), KVF_OK);
    if (cut.heads == 0) {
        held.cut.heads = held.model->heads;
    }
    place_segments();
    check = kvfi_replay_check_open(&held, CAPACITY, SEED, bases, kvf_layout_describe(layout)->segment_count);
    ck_assert_msg(check != NULL, "%s %s: %s", cases[i].model, cases[i].layout, kvfi_cli_error());
    ck_assert_uint_eq(kvfi_replay_check_block_bytes(check), block_bytes);
}

static void close_case(void)
{
    kvfi_replay_check_close(check);
    kvf_layout_destroy(layout);
    free(base);
}

static void put(uint8_t *at, uint64_t count, uint32_t layer, uint32_t head, uint32_t plane, uint32_t token)
{
    uint64_t key = kvfi_replay_cell_key(kvfi_replay_prefix_key(SEED, PREFIX), layer, head, plane, token);

    for (uint64_t i = 0; i < count; i++) {
        at[i] = (uint8_t)(kvfi_replay_word(key, i / 8) >> (i % 8 * 8));
    }
}

static void put_plane(uint32_t g, uint32_t n, const kvf_group_t *group)
{
    const kvf_plane_t *plane = &group->planes[n];
    uint32_t kind = plane->kind == KVF_PLANE_V         ? REPLAY_PLANE_V
                    : plane->kind == KVF_PLANE_INDEXER ? REPLAY_PLANE_INDEXER
                                                       : REPLAY_PLANE_K;
    uint64_t first = plane->kind == KVF_PLANE_KV ? plane->k_content : plane->content, off;
    uint32_t segment;

    for (uint32_t l = 0; l < group->layer_count; l++) {
        for (uint32_t h = group->first_head; h < group->first_head + group->heads; h++) {
            for (uint32_t t = 0; t < group->block_tokens; t++) {
                ck_assert_int_eq(
                    kvf_layout_locate(layout, g, n, group->layers[l], BLOCK, h, t, &segment, &off), KVF_OK);
                uint8_t *at = bases[segment] + off;
                put(at, first, group->layers[l], h, kind, TOKEN + t);
                put(at + first, plane->content - first, group->layers[l], h, REPLAY_PLANE_V, TOKEN + t);
            }
        }
    }
}

/* The pull as it should be. */
static void pull(void)
{
    const kvf_layout_desc_t *desc = kvf_layout_describe(layout);

    for (uint32_t g = 0; g < desc->group_count; g++) {
        for (uint32_t n = 0; n < desc->groups[g].plane_count; n++) {
            put_plane(g, n, &desc->groups[g]);
        }
    }
}

/* all_stale: nothing is expected of the block */
static struct replay_found look(bool all_stale)
{
    static const uint8_t one = 1;
    struct replay_stale stale = {.cut = held.cut, .steps = &one};
    struct replay_expect expect = {.request = REQUEST,
                                   .prefix = PREFIX,
                                   .first_token = TOKEN,
                                   .step_tokens = held.block_tokens,
                                   .stale = &stale,
                                   .stale_count = all_stale};
    struct replay_found found;

    kvfi_replay_check_block(check, BLOCK, &expect, &found);
    return found;
}

START_TEST(right_cells_are_right_in_every_layout)
{
    open_case(_i);
    kvfi_replay_check_mark(check, BLOCK, REQUEST);
    ck_assert_uint_gt(look(false).wrong, block_bytes / 2); /* nothing has come yet */
    ck_assert_uint_eq(look(true).wrong, 0);
    pull();
    struct replay_found found = look(false);
    ck_assert_msg(found.wrong == 0, "%s %s: %s", cases[_i].model, cases[_i].layout, found.where);
    close_case();
}
END_TEST

START_TEST(each_wrong_byte_is_found_near_and_none_further)
{
    uint64_t in = 0, beside = 0;

    open_case(_i);
    kvfi_replay_check_mark(check, BLOCK, REQUEST);
    pull();
    for (uint64_t off = 0; off < len; off += 5) {
        base[off] ^= 0x10;
        struct replay_found found = look(false);
        ck_assert_uint_le(found.wrong, 1);
        ck_assert_int_eq(found.where[0] != '\0', found.wrong > 0);
        beside += found.canaries;
        in += found.wrong - found.canaries;
        ck_assert_uint_eq(look(true).wrong, found.canaries);
        base[off] ^= 0x10;
    }
    /* every 5th byte was tried: of the block's own, and of 64 on each side of at least one piece */
    ck_assert_uint_gt(in, block_bytes / 6);
    ck_assert_uint_lt(in, block_bytes / 4);
    ck_assert_uint_gt(beside, 2 * REPLAY_CANARY / 8);
    close_case();
}
END_TEST

START_TEST(canary_is_64_bytes_on_each_side_exactly)
{
    const uint64_t far[] = {0, 63, 64}; /* bytes between the piece and the one that is wrong */
    uint64_t off, end;

    open_case(0); /* LBHNC: one piece a layer */
    kvfi_replay_check_mark(check, BLOCK, REQUEST);
    pull();
    ck_assert_int_eq(kvf_layout_locate(layout, 0, 0, 1, BLOCK, 0, 0, NULL, &off), KVF_OK);
    end = off + block_bytes / held.cut.layers;
    for (int i = 0; i < 3; i++) {
        base[off - 1 - far[i]] ^= 1;
        ck_assert_uint_eq(look(false).canaries, far[i] < 64);
        base[off - 1 - far[i]] ^= 1;
        base[end + far[i]] ^= 1;
        ck_assert_uint_eq(look(false).canaries, far[i] < 64);
        base[end + far[i]] ^= 1;
    }
    close_case();
}
END_TEST

/* Of what came from two sources, the second half of the tokens of one is stale. */
START_TEST(what_is_stale_is_let_be_and_no_byte_more)
{
    static const uint8_t half[] = {0, 1}, none[] = {0, 0};
    struct replay_cut cut = {.first_layer = 6, .layers = 2, .first_head = 2, .heads = 1};
    struct replay_cut other = {.first_layer = 5, .layers = 3, .first_head = 1, .heads = 1};
    struct replay_stale stale[] = {{other, none}, {cut, half}};
    struct replay_expect expect = {.request = REQUEST,
                                   .prefix = PREFIX,
                                   .first_token = TOKEN,
                                   .step_tokens = 2,
                                   .stale = stale,
                                   .stale_count = 2};
    struct replay_found found;
    uint64_t wrong;

    open_case(PART_CASE); /* layers 5 to 7, heads 1 and 2, 4 tokens */
    kvfi_replay_check_mark(check, BLOCK, REQUEST);
    wrong = look(false).wrong;
    kvfi_replay_check_block(check, BLOCK, &expect, &found);
    ck_assert_uint_lt(found.wrong, wrong);
    pull();
    for (uint32_t h = 1; h <= 2; h++) {
        for (uint32_t t = 0; t < 4; t++) {
            uint64_t off;
            ck_assert_int_eq(kvf_layout_locate(layout, 0, 0, 6, BLOCK, h, t, NULL, &off), KVF_OK);
            base[off] ^= 1;
            kvfi_replay_check_block(check, BLOCK, &expect, &found);
            ck_assert_uint_eq(found.wrong, !(h == 2 && t >= 2));
            base[off] ^= 1;
        }
    }
    close_case();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replay check");
    TCase *tc = tcase_create("check");
    SRunner *runner;
    int failed, count = (int)(sizeof(cases) / sizeof(cases[0]));

    tcase_add_loop_test(tc, right_cells_are_right_in_every_layout, 0, count);
    tcase_add_loop_test(tc, each_wrong_byte_is_found_near_and_none_further, 0, 3);
    tcase_add_loop_test(tc, each_wrong_byte_is_found_near_and_none_further, PART_CASE - 2, PART_CASE + 1);
    tcase_add_test(tc, canary_is_64_bytes_on_each_side_exactly);
    tcase_add_test(tc, what_is_stale_is_let_be_and_no_byte_more);
    tcase_set_timeout(tc, 120);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

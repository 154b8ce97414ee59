/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Layouts described by hand: each field broken in turn, refused with the sentence that names it;
 * cells that overlap, against a list of all cells; and differences of meaning between two layouts.
 * Needs no engine, touches no cache.
 */
#include <check.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#include "base/blob.h"
#include "kv/layout.h"

static void expect(kvf_status_t got, kvf_status_t want, const char *start)
{
    ck_assert_msg(got == want, "%s instead of %s: %s", kvf_status_name(got), kvf_status_name(want),
                  kvf_last_error());
    ck_assert_msg(strncmp(kvf_last_error(), start, strlen(start)) == 0, "\"%s\" is not \"%s...\"",
                  kvf_last_error(), start);
}

/* --------------------------------------------------------- layouts by hand */

typedef struct hand {
    kvf_layout_desc_t desc;
    kvf_group_t groups[2];
    kvf_plane_t planes[2][2];
    uint32_t layers[2][3];
    uint64_t bases[3];
    uint32_t segments[3];
    uint64_t lens[2];
} hand_t;

/* Two groups of one plane, [B][L][N][H] cells of 32 bytes, in a segment each. */
static void make_hand(hand_t *h)
{
    memset(h, 0, sizeof(*h));
    for (uint32_t g = 0; g < 2; g++) {
        for (uint32_t i = 0; i < 3; i++)
            h->layers[g][i] = 10 * g + i;
        h->planes[g][0] = (kvf_plane_t){.kind = KVF_PLANE_KV,
                                        .element = "bf16",
                                        .content = 32,
                                        .block_stride = 768,
                                        .layer_stride = 256,
                                        .state_stride = 64,
                                        .head_stride = 32,
                                        .segment = g};
        h->planes[g][1] = h->planes[g][0];
        h->planes[g][1].kind = KVF_PLANE_SCALES;
        h->planes[g][1].base = 768 * 5;
        h->groups[g] = (kvf_group_t){.block_tokens = 4,
                                     .layer_count = 3,
                                     .heads = 2,
                                     .heads_total = 2,
                                     .blocks = 5,
                                     .layers = h->layers[g],
                                     .planes = h->planes[g],
                                     .plane_count = 1};
        h->lens[g] = 768 * 5;
    }
    h->desc = (kvf_layout_desc_t){.struct_size = sizeof(h->desc),
                                  .group_count = 2,
                                  .groups = h->groups,
                                  .segment_count = 2,
                                  .segment_len = h->lens};
}

static void expect_hand(const hand_t *h, kvf_status_t status, const char *sentence)
{
    kvf_layout_t *layout = NULL;

    expect(kvf_layout_create(&h->desc, &layout), status, sentence);
    ck_assert_ptr_null(layout);
}

START_TEST(a_hand_made_layout_is_copied)
{
    hand_t h;
    kvf_layout_t *layout;
    uint32_t segment;
    uint64_t off;

    make_hand(&h);
    ck_assert_int_eq(kvf_layout_create(&h.desc, &layout), KVF_OK);
    ck_assert_uint_eq(kvf_layout_block_bytes(layout), 2 * 768);
    memset(&h, 0xff, sizeof(h));
    ck_assert_int_eq(kvf_layout_locate(layout, 1, 0, 12, 4, 1, 3, &segment, &off), KVF_OK);
    ck_assert_uint_eq(segment, 1);
    ck_assert_uint_eq(off, 768 * 5 - 32);
    const kvf_layout_desc_t *desc = kvf_layout_describe(layout);

    ck_assert_uint_eq(desc->groups[0].tokens_per_state, 1);
    ck_assert_uint_eq(desc->groups[0].planes[0].k_content, 16);
    expect(kvf_layout_locate(layout, 2, 0, 0, 0, 0, 0, NULL, NULL), KVF_ERR_INVALID, "locate: group 2 of 2");
    expect(kvf_layout_locate(layout, 0, 1, 0, 0, 0, 0, NULL, NULL), KVF_ERR_INVALID, "locate: plane 1 of 1");
    expect(kvf_layout_locate(layout, 0, 0, 10, 0, 0, 0, NULL, NULL), KVF_ERR_INVALID,
           "locate: group 0 holds no layer 10");
    expect(kvf_layout_locate(layout, 0, 0, 0, 0, 2, 0, NULL, NULL), KVF_ERR_INVALID,
           "locate: group 0 holds no head 2");
    expect(kvf_layout_locate(layout, 0, 0, 0, 5, 0, 0, NULL, NULL), KVF_ERR_BOUNDS, "locate: block 5 of 5");
    expect(kvf_layout_locate(layout, 0, 0, 0, 0, 0, 4, NULL, NULL), KVF_ERR_BOUNDS, "locate: state 4 of 4");
    expect(kvf_layout_locate(NULL, 0, 0, 0, 0, 0, 4, NULL, NULL), KVF_ERR_INVALID, "locate: layout is NULL");
    kvf_layout_destroy(layout);
    kvf_layout_destroy(NULL);
    ck_assert_uint_eq(kvf_layout_block_bytes(NULL), 0);
    ck_assert_uint_eq(kvf_layout_fingerprint(NULL), 0);
    ck_assert_ptr_null(kvf_layout_describe(NULL));
    ck_assert_str_eq(kvf_plane_name(KVF_PLANE_LATENT), "latent");
    ck_assert_str_eq(kvf_plane_name((kvf_plane_kind_t)99), "unknown");
}
END_TEST

/* One field broken at a time: where it lies, what it becomes, what is said. */
#define GROUP(field) offsetof(hand_t, groups[1].field), sizeof(((kvf_group_t *)0)->field)
#define PLANE(field) offsetof(hand_t, planes[1][0].field), sizeof(((kvf_plane_t *)0)->field)
#define DESC(field)  offsetof(hand_t, desc.field), sizeof(((kvf_layout_desc_t *)0)->field)

static const struct {
    size_t off, size;
    uint64_t value;
    kvf_status_t status;
    const char *sentence;
} broken[] = {
    {DESC(struct_size), 4, KVF_ERR_INVALID, "layout: desc.struct_size is 4"},
    {DESC(group_count), 0, KVF_ERR_INVALID, "layout: groups is empty"},
    {DESC(groups), 0, KVF_ERR_INVALID, "layout: groups is empty"},
    {DESC(segment_count), 0, KVF_ERR_INVALID, "layout: segment_len is empty"},
    {DESC(segment_len), 0, KVF_ERR_INVALID, "layout: segment_len is empty"},
    {DESC(reserved[1]), 1, KVF_ERR_INVALID, "layout: reserved is not 0"},
    {GROUP(block_tokens), 0, KVF_ERR_INVALID, "group 1: block_tokens is 0"},
    {GROUP(tokens_per_state), 3, KVF_ERR_INVALID, "group 1: tokens_per_state 3 does not divide"},
    {GROUP(layer_count), 0, KVF_ERR_INVALID, "group 1: layer_count is 0"},
    {GROUP(heads), 0, KVF_ERR_INVALID, "group 1: heads is 0"},
    {GROUP(heads_total), 0, KVF_ERR_INVALID, "group 1: heads_total is 0"},
    {GROUP(heads_total), 1, KVF_ERR_INVALID, "group 1: first_head 0 and heads 2 leave heads_total"},
    {GROUP(first_head), UINT32_MAX, KVF_ERR_INVALID, "group 1: first_head 4294967295 and heads 2"},
    {GROUP(blocks), 0, KVF_ERR_INVALID, "group 1: blocks is 0"},
    {GROUP(layers), 0, KVF_ERR_INVALID, "group 1: layers is NULL"},
    {GROUP(planes), 0, KVF_ERR_INVALID, "group 1: planes is NULL"},
    {GROUP(plane_count), 0, KVF_ERR_INVALID, "group 1: plane_count is 0"},
    {GROUP(reserved[1]), 7, KVF_ERR_INVALID, "group 1: reserved is not 0"},
    {GROUP(cp_rank), 1, KVF_ERR_INVALID, "group 1: cp_rank 1 of cp_ranks 0"},
    {GROUP(cp_tokens), 3, KVF_ERR_INVALID, "group 1: cp_tokens 3 is neither a multiple nor a divi"},
    {GROUP(blocks), 6, KVF_ERR_BOUNDS, "group 1, plane kv: ends at byte 4608 of segment 1"},
    {GROUP(blocks), UINT32_MAX, KVF_ERR_BOUNDS, "group 1, plane kv: ends at byte 3298534882560"},
    {PLANE(kind), 0, KVF_ERR_INVALID, "group 1, plane 0: kind 0 is unknown"},
    {PLANE(kind), 8, KVF_ERR_INVALID, "group 1, plane 0: kind 8 is unknown"},
    {PLANE(element[0]), 0, KVF_ERR_INVALID, "group 1, plane kv: element is empty"},
    {PLANE(content), 0, KVF_ERR_INVALID, "group 1, plane kv: content is 0"},
    {PLANE(content), 31, KVF_ERR_INVALID, "group 1, plane kv: content 31 has no half"},
    {PLANE(content), 34, KVF_ERR_BOUNDS, "group 1, plane kv: ends at byte 3842 of segment 1"},
    {PLANE(k_content), 32, KVF_ERR_INVALID, "group 1, plane kv: k_content 32 leaves no V"},
    {PLANE(reserved[0]), 1, KVF_ERR_INVALID, "group 1, plane kv: reserved is not 0"},
    {PLANE(segment), 2, KVF_ERR_INVALID, "group 1, plane kv, layer 10: segment 2 of 2"},
    {PLANE(base), 1, KVF_ERR_BOUNDS, "group 1, plane kv: ends at byte 3841 of segment 1"},
    {PLANE(base), UINT64_MAX, KVF_ERR_INVALID, "group 1, plane kv: strides and counts overflow"},
    {PLANE(layer_stride), -(uint64_t)256, KVF_ERR_BOUNDS, "group 1, plane kv: its lowest cell lies before"},
    {PLANE(layer_stride), INT64_MAX, KVF_ERR_INVALID, "group 1, plane kv: strides and counts overflow"},
    {PLANE(head_stride), 0, KVF_ERR_INVALID, "group 1, plane kv: head_stride is 0 with 2 of them"},
    {PLANE(block_stride), 0, KVF_ERR_INVALID, "group 1, plane kv: block_stride is 0 with 5"},
    {PLANE(head_stride), 16, KVF_ERR_INVALID, "group 1, plane kv: cells overlap: head_stride is too small"},
    {PLANE(state_stride), 48, KVF_ERR_INVALID, "group 1, plane kv: cells overlap: state_stride is too small"},
    {PLANE(layer_stride), 192, KVF_ERR_INVALID,
     "group 1, plane kv: cells overlap: layer_stride is too small"},
    {PLANE(block_stride), 767, KVF_ERR_INVALID,
     "group 1, plane kv: cells overlap: block_stride is too small"},
};

START_TEST(a_broken_description_is_refused_by_field)
{
    hand_t h;

    make_hand(&h);
    memcpy((char *)&h + broken[_i].off, &broken[_i].value, broken[_i].size);
    expect_hand(&h, broken[_i].status, broken[_i].sentence);
}
END_TEST

START_TEST(descriptions_that_contradict_themselves_are_refused)
{
    hand_t h;

    expect(kvf_layout_create(NULL, (kvf_layout_t *[]){NULL}), KVF_ERR_INVALID, "layout: desc is NULL");
    make_hand(&h);
    expect(kvf_layout_create(&h.desc, NULL), KVF_ERR_INVALID, "layout: layout_p is NULL");
    h.layers[0][2] = 0;
    expect_hand(&h, KVF_ERR_INVALID, "group 0: layers has layer 0 twice");
    make_hand(&h);
    h.layers[1][1] = 2;
    expect_hand(&h, KVF_ERR_INVALID, "groups 0 and 1: layers of both hold layer 2, plane kv");
    h.planes[1][0].index = 1;
    kvf_layout_t *layout;

    ck_assert_int_eq(kvf_layout_create(&h.desc, &layout), KVF_OK);
    kvf_layout_destroy(layout);
    make_hand(&h);
    h.groups[0].plane_count = 2;
    h.planes[0][1].kind = KVF_PLANE_V;
    expect_hand(&h, KVF_ERR_INVALID, "group 0: planes kv and v, index 0, hold the same");
    h.planes[0][1].kind = KVF_PLANE_SCALES;
    h.planes[0][1].k_content = 3;
    expect_hand(&h, KVF_ERR_INVALID, "group 0, plane scales: k_content is set");
    h.planes[0][1].k_content = 0;
    expect_hand(&h, KVF_ERR_BOUNDS, "group 0, plane scales: ends at byte 7680 of segment 0");
    h.lens[0] = 7680;
    h.planes[0][1].base -= 16;
    expect_hand(&h, KVF_ERR_INVALID, "group 0, plane kv: cells overlap those of group 0, plane sc");
    make_hand(&h);
    h.planes[1][0].segment = 0;
    expect_hand(&h, KVF_ERR_INVALID, "group 0, plane kv: cells overlap those of group 1, plane kv");
    make_hand(&h);
    h.planes[0][0].layer_base = h.bases;
    h.bases[1] = 256;
    h.bases[2] = 500;
    expect_hand(&h, KVF_ERR_INVALID,
                "group 0, plane kv, layer 1: cells overlap those of group 0, plane kv, layer 2");
    h.bases[2] = 513;
    expect_hand(&h, KVF_ERR_BOUNDS, "group 0, plane kv, layer 2: ends at byte 3841");
}
END_TEST

START_TEST(strides_too_irregular_to_check_are_refused_in_time)
{
    hand_t h;

    make_hand(&h);
    h.groups[1].block_tokens = 1000;
    h.groups[1].heads = h.groups[1].heads_total = 1000;
    h.groups[1].blocks = 1000;
    h.lens[1] = UINT64_C(1) << 60;
    h.planes[1][0].layer_stride = INT64_C(1000730021001);
    h.planes[1][0].block_stride = UINT64_C(1000000000039);
    h.planes[1][0].head_stride = INT64_C(1000111111111);
    h.planes[1][0].state_stride = INT64_C(1000292929293);
    expect_hand(&h, KVF_ERR_UNSUPPORTED, "group 1, plane kv: strides too irregular");
}
END_TEST

/* All cells of small random lattices, listed, against the search that lists none. */
static unsigned list_cells(const kvfi_lattice_t *l, int64_t *starts)
{
    unsigned count = 0;

    for (uint32_t a = 0; a < l->count[0]; a++)
        for (uint32_t b = 0; b < l->count[1]; b++)
            for (uint32_t c = 0; c < l->count[2]; c++)
                for (uint32_t d = 0; d < l->count[3]; d++)
                    starts[count++] = (int64_t)(l->base + a * l->stride[0] + b * l->stride[1] +
                                                c * l->stride[2] + d * l->stride[3]);
    return count;
}

static bool lists_overlap(const kvfi_lattice_t *x, const kvfi_lattice_t *y)
{
    int64_t one[256], other[256];
    unsigned n = list_cells(x, one), m = list_cells(y, other);

    for (unsigned i = 0; i < n; i++)
        for (unsigned j = 0; j < m; j++)
            if ((x != y || i != j) && one[i] < other[j] + (int64_t)y->content &&
                other[j] < one[i] + (int64_t)x->content)
                return true;
    return false;
}

START_TEST(overlap_is_exact)
{
    unsigned yes = 0, rounds = 20000;

    srand(7);
    for (unsigned round = 0; round < rounds; round++) {
        kvfi_lattice_t l[2] = {0};

        for (unsigned i = 0; i < 2; i++) {
            l[i].base = rand() % 200;
            l[i].content = 1 + rand() % 6;
            for (unsigned a = 0; a < KVFI_AXIS_COUNT; a++) {
                l[i].count[a] = 1 + rand() % 4;
                l[i].stride[a] = 1 + rand() % (rand() % 2 ? 12 : 150);
                if (i == 1 && rand() % 2)
                    l[1].stride[a] = l[0].stride[a];
            }
        }
        const kvfi_lattice_t *other = rand() % 2 ? &l[0] : &l[1];
        bool want = lists_overlap(&l[0], other);
        uint32_t steps = UINT32_MAX;

        ck_assert_int_eq(kvfi_kv_overlap(&l[0], other, NULL, &steps),
                         want ? KVFI_OVERLAP_YES : KVFI_OVERLAP_NO);
        yes += want;
    }
    ck_assert_uint_gt(yes, rounds / 20);
    ck_assert_uint_lt(yes, rounds - rounds / 20);
}
END_TEST

/* --------------------------------------------------------------- meaning */

static const struct {
    size_t off, size;
    uint64_t value;
    const char *sentence;
} meanings[] = {
    {DESC(group_count), 1, "group_count is 2 in one layout, 1 in the other"},
    {offsetof(hand_t, layers[1][2]), 4, 77, "group 1: layers differ: only one layout holds layer "},
    {GROUP(heads_total), 8, "group 1: heads_total is 2 in one layout, 8 in the other"},
    {GROUP(tokens_per_state), 2, "group 1: tokens_per_state is 1 in one layout, 2 in the other"},
    {GROUP(window), 128, "group 1: window is 0 in one layout, 128 in the other"},
    {GROUP(plane_count), 2, "group 1: number of planes (fused K and V are two) is 2 in one"},
    {PLANE(kind), KVF_PLANE_LATENT, "group 1: planes differ: k in one layout, latent in the ot"},
    {PLANE(index), 3, "group 1, plane k: index is 0 in one layout, 3 in the other"},
    {PLANE(content), 30, "group 1, plane k: content is 16 in one layout, 15 in the other"},
    {PLANE(k_content), 8, "group 1, plane k: content is 16 in one layout, 8 in the other"},
    {PLANE(element[0]), 'f', "group 1, plane k: element is bf16 in one layout, ff16 in the other"},
};

START_TEST(a_difference_of_meaning_is_named)
{
    hand_t h;
    kvf_layout_t *one, *other;

    make_hand(&h);
    h.lens[1] *= 2;
    ck_assert_int_eq(kvf_layout_create(&h.desc, &one), KVF_OK);
    memcpy((char *)&h + meanings[_i].off, &meanings[_i].value, meanings[_i].size);
    ck_assert_msg(kvf_layout_create(&h.desc, &other) == KVF_OK, "%s", kvf_last_error());
    expect(kvf_layout_compare(one, other), KVF_ERR_INVALID, meanings[_i].sentence);
    ck_assert_uint_ne(kvf_layout_fingerprint(one), kvf_layout_fingerprint(other));
    kvf_layout_destroy(one);
    kvf_layout_destroy(other);
}
END_TEST

START_TEST(all_differences_are_listed)
{
    hand_t h;
    kvf_layout_t *one, *other;
    char text[512];
    size_t len = sizeof(text), need;

    make_hand(&h);
    h.lens[1] *= 2;
    ck_assert_int_eq(kvf_layout_create(&h.desc, &one), KVF_OK);
    ck_assert_int_eq(kvf_layout_diff(one, one, text, &len), KVF_OK);
    ck_assert_str_eq(text, "");
    ck_assert_uint_eq(len, 1);
    h.layers[0][1] = 7;
    h.groups[1].window = 3;
    h.planes[1][0].content = 30;
    ck_assert_int_eq(kvf_layout_create(&h.desc, &other), KVF_OK);
    len = sizeof(text);
    ck_assert_int_eq(kvf_layout_diff(one, other, text, &len), KVF_OK);
    ck_assert_str_eq(text, "group 0: layers differ: only one layout holds layer 1\n"
                           "group 0: layers differ: only the other layout holds layer 7\n"
                           "group 1: window is 0 in one layout, 3 in the other\n"
                           "group 1, plane k: content is 16 in one layout, 15 in the other\n"
                           "group 1, plane v: content is 16 in one layout, 15 in the other\n");
    ck_assert_uint_eq(len, strlen(text) + 1);
    ck_assert_int_eq(kvf_layout_diff(one, other, NULL, &need), KVF_OK);
    ck_assert_uint_eq(need, len);
    need--;
    expect(kvf_layout_diff(one, other, text, &need), KVF_ERR_SPACE, "diff: the text needs");
    expect(kvf_layout_diff(NULL, other, text, &need), KVF_ERR_INVALID, "diff: one is NULL");
    expect(kvf_layout_diff(one, NULL, text, &need), KVF_ERR_INVALID, "diff: other is NULL");
    expect(kvf_layout_diff(one, other, text, NULL), KVF_ERR_INVALID, "diff: len_p is NULL");
    kvf_layout_destroy(one);
    kvf_layout_destroy(other);
}
END_TEST

/* ------------------------------------------------------------------- bytes */

static size_t pack_hand(hand_t *h, uint8_t *blob, size_t room)
{
    kvf_layout_t *layout;
    size_t len = room;

    make_hand(h);
    h->planes[0][0].layer_base = h->bases;
    h->planes[0][0].layer_segment = h->segments;
    h->bases[1] = 256;
    h->bases[2] = 512;
    h->groups[1].cp_ranks = 3;
    h->groups[1].cp_rank = 2;
    h->groups[1].cp_tokens = 2;
    h->groups[1].window = 9;
    ck_assert_msg(kvf_layout_create(&h->desc, &layout) == KVF_OK, "%s", kvf_last_error());
    ck_assert_int_eq(kvf_layout_pack(layout, NULL, &len), KVF_OK);
    size_t need = len;

    len = need - 1;
    expect(kvf_layout_pack(layout, blob, &len), KVF_ERR_SPACE, "the blob needs");
    ck_assert_uint_eq(len, need);
    ck_assert_int_eq(kvf_layout_pack(layout, blob, &len), KVF_OK);
    expect(kvf_layout_pack(NULL, blob, &len), KVF_ERR_INVALID, "pack: layout is NULL");
    expect(kvf_layout_pack(layout, blob, NULL), KVF_ERR_INVALID, "pack: len_p is NULL");
    kvf_layout_destroy(layout);
    return need;
}

START_TEST(a_layout_comes_back_as_it_was_packed)
{
    static uint8_t blob[4096], again[4096];
    hand_t h;
    size_t len = pack_hand(&h, blob, sizeof(blob)), more = sizeof(again);
    kvf_layout_t *layout;

    ck_assert_msg(kvf_layout_unpack(blob, len, &layout) == KVF_OK, "%s", kvf_last_error());
    const kvf_layout_desc_t *d = kvf_layout_describe(layout);

    ck_assert_uint_eq(d->groups[1].cp_rank, 2);
    ck_assert_uint_eq(d->groups[1].window, 9);
    ck_assert_uint_eq(d->groups[0].planes[0].layer_base[2], 512);
    ck_assert_uint_eq(d->groups[0].planes[0].k_content, 16);
    ck_assert_str_eq(d->groups[1].planes[0].element, "bf16");
    ck_assert_int_eq(kvf_layout_pack(layout, again, &more), KVF_OK);
    ck_assert_uint_eq(more, len);
    ck_assert_mem_eq(blob, again, len);
    kvf_layout_destroy(layout);
    expect(kvf_layout_unpack(NULL, len, &layout), KVF_ERR_INVALID, "unpack: buf is NULL");
    expect(kvf_layout_unpack(blob, len, NULL), KVF_ERR_INVALID, "unpack: layout_p is NULL");
}
END_TEST

/* Damage, with and without a checksum that fits it: never a crash, and never a layout that would
 * not have been created. */
START_TEST(a_damaged_blob_is_refused)
{
    static uint8_t blob[4096], bad[4096];
    hand_t h;
    size_t len = pack_hand(&h, blob, sizeof(blob));
    kvf_layout_t *layout;
    unsigned refused = 0;

    for (size_t cut = 0; cut < len; cut++)
        ck_assert_int_eq(kvf_layout_unpack(blob, cut, &layout), KVF_ERR_BLOB);
    for (size_t at = 0; at < len; at++) {
        memcpy(bad, blob, len);
        bad[at] ^= 1u << (at % 8);
        ck_assert_int_ne(kvf_layout_unpack(bad, len, &layout), KVF_OK);
    }
    srand(11);
    for (size_t round = 0; round < 20000; round++) {
        uint64_t incarnation;
        kvfi_reader_t reader;
        size_t at = KVFI_BLOB_HEADER + (size_t)rand() % (len - KVFI_BLOB_HEADER), whole = len;

        ck_assert_int_eq(kvfi_blob_open(blob, len, KVFI_BLOB_LAYOUT, &incarnation, &reader), KVF_OK);
        memcpy(bad, blob, len);
        bad[at] = (uint8_t)(rand() % 2 ? rand() : 0xff);
        if (rand() % 4 == 0)
            whole -= (size_t)rand() % (len - KVFI_BLOB_HEADER);
        kvfi_writer_t w = kvfi_blob_begin(bad, whole);

        w.len = whole;
        ck_assert_int_eq(kvfi_blob_end(&w, KVFI_BLOB_LAYOUT, 0, incarnation, &whole), KVF_OK);
        kvf_status_t status = kvf_layout_unpack(bad, whole, &layout);

        refused += status != KVF_OK;
        if (status == KVF_OK)
            kvf_layout_destroy(layout);
        else
            ck_assert_int_eq(status, KVF_ERR_BLOB);
    }
    ck_assert_uint_gt(refused, 5000);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

static Suite *suite(void)
{
    Suite *s = suite_create("layout_check");
    TCase *hand = tcase_create("by hand"), *meaning = tcase_create("meaning");

    tcase_add_test(hand, a_hand_made_layout_is_copied);
    tcase_add_loop_test(hand, a_broken_description_is_refused_by_field, 0, ROWS(broken));
    tcase_add_test(hand, descriptions_that_contradict_themselves_are_refused);
    tcase_add_test(hand, strides_too_irregular_to_check_are_refused_in_time);
    tcase_add_test(hand, overlap_is_exact);
    suite_add_tcase(s, hand);
    tcase_add_test(meaning, all_differences_are_listed);
    tcase_add_test(meaning, a_layout_comes_back_as_it_was_packed);
    tcase_add_test(meaning, a_damaged_blob_is_refused);
    tcase_add_loop_test(meaning, a_difference_of_meaning_is_named, 0, ROWS(meanings));
    suite_add_tcase(s, meaning);
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

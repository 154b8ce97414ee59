/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The walk of copies, where there are more pieces than are collected at a time: tables with runs of
 * neighbours, skipped pairs and rows, cut at any budget, copied plainly and streamed, gathered and
 * scattered. Every byte of both sides is compared with a loop that knows nothing of runs.
 */
#include "copy/copy.h"
#include "copy/tune.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 1500u

static uint64_t state = 88172645463325252u;

static uint64_t rnd(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

/* A permutation that keeps runs of neighbours, with some pairs skipped. */
static void make_ids(uint32_t *ids, uint32_t blocks, int skips)
{
    uint32_t longest = 1 + (uint32_t)rnd(3) * 40;
    uint32_t at = 0;
    uint32_t order[BLOCKS];
    uint32_t runs[BLOCKS + 1];
    uint32_t count = 0;

    for (uint32_t i = 0; i < blocks; i += 1 + (uint32_t)rnd(longest)) {
        runs[count] = i;
        order[count] = count;
        count++;
    }
    runs[count] = blocks;
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t j = (uint32_t)rnd(i + 1);
        uint32_t keep = order[i];

        order[i] = order[j];
        order[j] = keep;
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t id = runs[order[i]]; id < runs[order[i] + 1]; id++) {
            ids[at++] = skips && rnd(9) == 0 ? KVF_SKIP : id;
        }
    }
}

typedef struct rig {
    kvfi_box_t box;
    uint32_t local_ids[BLOCKS];
    uint32_t remote_ids[BLOCKS];
    char *local;
    char *remote;
    char *want;
    uint64_t local_len;
    uint64_t remote_len;
    uint64_t bytes;
} rig_t;

static char *aligned(uint64_t len)
{
    void *mem = NULL;

    ck_assert_int_eq(posix_memalign(&mem, 64, len), 0);
    return mem;
}

static void make_box(rig_t *rig, int n)
{
    kvfi_box_t *box = &rig->box;
    uint32_t x = n % 3 == 0 ? 1 : 1 + (uint32_t)rnd(9);
    uint32_t y = n % 3 == 2 ? 1 + (uint32_t)rnd(3) : 1;
    uint64_t gap = n % 5 == 0 ? 0 : rnd(3) * 24;
    uint64_t len = 1 + rnd(rnd(3) == 0 ? 700 : 130);
    int lines = n % 4 == 3; /* rows of whole lines are streamed otherwise */

    if (lines) {
        len = 64 * (1 + rnd(20));
        gap = rnd(3) * 64;
        x = 2 + (uint32_t)rnd(rnd(4) == 0 ? 90 : 9);
        y = x > 50 ? 1 : y;
    }
    *box = (kvfi_box_t){.len = len, .count = {x, y}, .blocks = lines ? BLOCKS / 10 : BLOCKS};
    box->local_off = lines ? 64 * rnd(2) : rnd(100);
    box->remote_off = lines ? 64 * rnd(2) : rnd(100);
    box->local_stride[0] = (int64_t)len;
    box->local_stride[1] = (int64_t)(len * x + gap);
    box->remote_stride[0] = (int64_t)(len + gap);
    box->remote_stride[1] = (int64_t)((len + gap) * x);
    box->local_block = (len * x + gap) * y;
    box->remote_block = (len + gap) * x * y;
    make_ids(rig->local_ids, box->blocks, 1);
    make_ids(rig->remote_ids, box->blocks, n & 1);
    box->local_ids = rig->local_ids;
    box->remote_ids = n % 7 == 6 ? NULL : rig->remote_ids;
    rig->local_len = box->local_off + box->local_block * box->blocks + 64;
    rig->remote_len = box->remote_off + box->remote_block * box->blocks + 64;
    rig->local = aligned(rig->local_len);
    rig->remote = aligned(rig->remote_len);
    for (uint64_t i = 0; i < rig->local_len; i++) {
        rig->local[i] = (char)rnd(256);
    }
    for (uint64_t i = 0; i < rig->remote_len; i++) {
        rig->remote[i] = (char)rnd(256);
    }
}

/* The plain loop, from one side of the rig to a copy of the other one. */
static void make_want(rig_t *rig, uint32_t dir)
{
    const kvfi_box_t *box = &rig->box;
    uint64_t len = dir == KVF_READ ? rig->local_len : rig->remote_len;

    rig->want = malloc(len);
    rig->bytes = 0;
    memcpy(rig->want, dir == KVF_READ ? rig->local : rig->remote, len);
    for (uint32_t i = 0; i < box->blocks; i++) {
        for (uint32_t n = 0; n < box->count[0] * box->count[1] && !kvfi_box_skips(box, i); n++) {
            int64_t x = n % box->count[0];
            int64_t y = n / box->count[0];
            uint64_t here = box->local_off + rig->local_ids[i] * box->local_block +
                            (uint64_t)(y * box->local_stride[1] + x * box->local_stride[0]);
            uint64_t there = box->remote_off + kvfi_box_id(box->remote_ids, i) * box->remote_block +
                             (uint64_t)(y * box->remote_stride[1] + x * box->remote_stride[0]);

            if (dir == KVF_READ) {
                memcpy(rig->want + here, rig->remote + there, box->len);
            } else {
                memcpy(rig->want + there, rig->local + here, box->len);
            }
            rig->bytes += box->len;
        }
    }
}

static void close_rig(rig_t *rig)
{
    free(rig->local);
    free(rig->remote);
    free(rig->want);
}

START_TEST(many_pieces_cut_anywhere)
{
    static rig_t rig;

    for (int n = 0; n < 120; n++) {
        uint32_t dir = (uint32_t)rnd(2);
        uint64_t budget = rnd(3) == 0 ? UINT64_MAX : 1 + rnd(200000);
        uint64_t moved = 0;
        kvfi_cursor_t cursor;

        make_box(&rig, n);
        make_want(&rig, dir);
        if (rnd(2)) {
            kvfi_box_fold(&rig.box);
        }
        cursor = kvfi_cursor_at_start(&rig.box);
        while (!kvfi_cursor_ended(&cursor)) {
            kvfi_moved_t step =
                kvfi_copy_box(&cursor, rig.local, rig.remote, dir, budget, rnd(2) ? UINT64_MAX : 0);

            ck_assert(step.bytes > 0 && step.bytes <= budget);
            ck_assert(step.pieces > 0 && step.pieces <= KVFI_COPY_PIECES);
            moved += step.bytes;
        }
        ck_assert_uint_eq(moved, rig.bytes);
        ck_assert_msg(memcmp(rig.want, dir == KVF_READ ? rig.local : rig.remote,
                             dir == KVF_READ ? rig.local_len : rig.remote_len) == 0,
                      "round %d: wrong bytes", n);
        close_rig(&rig);
    }
}
END_TEST

START_TEST(a_stream_through_a_buffer_of_any_size)
{
    static rig_t rig;

    for (int n = 0; n < 120; n++) {
        uint64_t cap = 1 + rnd(rnd(2) ? 300 : 300000);
        char *buf = malloc(cap);
        uint64_t pieces = 0;
        kvfi_box_t out_box;
        kvfi_box_t in_box;
        kvfi_cursor_t out;
        kvfi_cursor_t in;

        make_box(&rig, n);
        make_want(&rig, KVF_READ);
        in_box = kvfi_box_local_side(&rig.box);
        out_box = rig.box; /* the remote side as a local one */
        out_box.local_off = rig.box.remote_off;
        out_box.local_block = rig.box.remote_block;
        out_box.local_ids = rig.box.remote_ids;
        out_box.remote_ids = rig.box.local_ids;
        memcpy(out_box.local_stride, rig.box.remote_stride, sizeof(out_box.local_stride));
        out = kvfi_cursor_at_start(&out_box);
        in = kvfi_cursor_at_start(&in_box);
        while (!kvfi_cursor_ended(&out)) {
            uint64_t got = kvfi_copy_gather(&out, rig.remote, buf, cap, &pieces);
            uint64_t half = rnd(got + 1);

            ck_assert(got > 0 && got <= cap);
            ck_assert_uint_eq(kvfi_copy_scatter(&in, rig.local, buf, half, &pieces), half);
            ck_assert_uint_eq(kvfi_copy_scatter(&in, rig.local, buf + half, got - half, &pieces), got - half);
        }
        ck_assert(kvfi_cursor_ended(&in));
        ck_assert_msg(memcmp(rig.want, rig.local, rig.local_len) == 0, "round %d: wrong bytes", n);
        free(buf);
        close_rig(&rig);
    }
}
END_TEST

/* What is collected ends where no next piece touches, so runs do not depend on where a fill ends. */
START_TEST(neighbours_are_one_piece)
{
    static rig_t rig;
    kvfi_cursor_t cursor;
    kvfi_moved_t moved;

    make_box(&rig, 0);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        rig.local_ids[i] = rig.remote_ids[i] = i;
    }
    rig.local_ids[700] = KVF_SKIP;
    rig.box.local_block = rig.box.remote_block = rig.box.len;
    cursor = kvfi_cursor_at_start(&rig.box);
    moved = kvfi_copy_box(&cursor, rig.local, rig.remote, KVF_READ, UINT64_MAX, 0);
    ck_assert_uint_eq(moved.pieces, 2);
    ck_assert_uint_eq(moved.bytes, rig.box.len * (BLOCKS - 1));
    free(rig.local);
    free(rig.remote);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("walk");
    TCase *tc = tcase_create("walk");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, many_pieces_cut_anywhere);
    tcase_add_test(tc, a_stream_through_a_buffer_of_any_size);
    tcase_add_test(tc, neighbours_are_one_piece);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

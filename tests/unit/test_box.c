/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The cursor that walks boxes, and the copies made with it: whatever the budget of each step, the
 * runs cover the bytes of the plain loop, in pieces that touch on both sides only where they may.
 */
#include "copy/box.h"
#include "copy/copy.h"
#include "copy/cut.h"

#include <check.h>
#include <kvferry.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 20000

/* ck_assert() writes to a pipe each time: too slow for inner loops. */
#define must(cond) ((cond) ? (void)0 : ck_abort_msg("line %d: %s", __LINE__, #cond))

static uint64_t state = 88172645463325252u;

static uint64_t rnd(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static uint32_t local_ids[6];
static uint32_t remote_ids[6];

static kvfi_box_t random_box(void)
{
    kvfi_box_t box = {.len = 1 + rnd(rnd(2) != 0 ? 8 : 200),
                      .count = {1 + (uint32_t)rnd(5), 1 + (uint32_t)rnd(5)},
                      .blocks = (uint32_t)rnd(7),
                      .local_off = rnd(500),
                      .remote_off = rnd(500)};

    for (int axis = 0; axis < 2; axis++) {
        uint64_t whole = box.len * (axis == 0 ? 1 : box.count[0]);

        box.local_stride[axis] = (int64_t)(rnd(2) != 0 ? whole : whole + rnd(30));
        box.remote_stride[axis] = (int64_t)(rnd(2) != 0 ? whole : whole + rnd(30));
    }
    box.local_block = box.len * box.count[0] * box.count[1] + (rnd(2) != 0 ? 0 : rnd(50));
    box.remote_block = box.len * box.count[0] * box.count[1] + (rnd(2) != 0 ? 0 : rnd(50));
    if (box.local_block * 8 + 3000 > SIDE || box.remote_block * 8 + 3000 > SIDE) {
        box.blocks = box.blocks > 0;
    }
    for (int i = 0; i < 6; i++) { /* one after the other more often than not */
        local_ids[i] = rnd(8) == 0 ? KVF_SKIP : (uint32_t)(rnd(3) != 0 ? i : 5 - i);
        remote_ids[i] = rnd(8) == 0 ? KVF_SKIP : (uint32_t)(rnd(3) != 0 ? (uint64_t)i : rnd(6));
    }
    box.local_ids = box.blocks > 1 && rnd(2) != 0 ? local_ids : NULL;
    box.remote_ids = box.blocks > 1 && rnd(2) != 0 ? remote_ids : NULL;
    return box;
}

/* For each byte of the remote side, in the order of the plain loop: where it goes. */
static size_t plain(const kvfi_box_t *box, uint64_t *local, uint64_t *remote)
{
    size_t n = 0;

    for (uint32_t i = 0; i < box->blocks; i++) {
        uint32_t l = box->local_ids != NULL ? box->local_ids[i] : i;
        uint32_t r = box->remote_ids != NULL ? box->remote_ids[i] : i;

        for (uint32_t y = 0; l != KVF_SKIP && r != KVF_SKIP && y < box->count[1]; y++) {
            for (uint32_t x = 0; x < box->count[0]; x++) {
                for (uint64_t b = 0; b < box->len; b++) {
                    local[n] = box->local_off + l * box->local_block +
                               (uint64_t)(y * box->local_stride[1] + x * box->local_stride[0]) + b;
                    remote[n] = box->remote_off + r * box->remote_block +
                                (uint64_t)(y * box->remote_stride[1] + x * box->remote_stride[0]) + b;
                    n++;
                }
            }
        }
    }
    return n;
}

static uint64_t want_local[60000];
static uint64_t want_remote[60000];

START_TEST(runs_cover_the_plain_loop_in_order)
{
    for (int n = 0; n < 20000; n++) {
        kvfi_box_t box = random_box();
        kvfi_cursor_t cursor;
        kvfi_run_t run;
        size_t count = plain(&box, want_local, want_remote);
        size_t at = 0;
        uint64_t max = 1 + rnd(rnd(2) != 0 ? 20 : 100000);

        if (rnd(4) != 0) {
            kvfi_box_fold(&box);
        }
        cursor = kvfi_cursor_at_start(&box);
        while (kvfi_cursor_next(&cursor, max, &run)) {
            must(run.len >= 1 && run.len <= max && at + run.len <= count);
            for (uint64_t b = 0; b < run.len; b++, at++) {
                must(run.local + b == want_local[at]);
                must(run.remote + b == want_remote[at]);
            }
        }
        ck_assert_uint_eq(at, count);
        ck_assert(kvfi_cursor_ended(&cursor));
        ck_assert(!kvfi_cursor_next(&cursor, max, &run));
    }
}
END_TEST

/* Threads that copy parts of a box at once must leave no byte out and copy none twice. */
START_TEST(parts_cover_the_plain_loop_in_order)
{
    for (int n = 0; n < 20000; n++) {
        kvfi_box_t box = random_box();
        kvfi_box_t part;
        kvfi_cut_t most = {1 + rnd(rnd(2) != 0 ? 300 : 100000), 1 + rnd(rnd(2) != 0 ? 30 : 1000)};
        size_t count = plain(&box, want_local, want_remote);
        size_t at = 0;
        uint32_t first;
        uint64_t bytes;
        kvfi_cursor_t cursor;

        if (rnd(4) != 0) {
            kvfi_box_fold(&box);
        }
        cursor = kvfi_cursor_at_start(&box);
        while ((bytes = kvfi_box_cut(&cursor, most, &part, &first)) > 0) {
            kvfi_cursor_t walk = {.box = &part, .pair = first};
            uint64_t walked = 0;
            kvfi_run_t run;

            must(bytes <= most.bytes && first < part.blocks);
            while (kvfi_cursor_next(&walk, UINT64_MAX, &run)) {
                walked += run.len;
                must(walked <= bytes && at + run.len <= count);
                for (uint64_t b = 0; b < run.len; b++, at++) {
                    must(run.local + b == want_local[at]);
                    must(run.remote + b == want_remote[at]);
                }
            }
            must(walk.pair == part.blocks);
        }
        ck_assert_uint_eq(at, count);
        ck_assert(kvfi_cursor_ended(&cursor));
    }
}
END_TEST

/* Contiguous on both sides, whatever the counts say: one run. */
START_TEST(what_touches_on_both_sides_is_one_run)
{
    kvfi_box_t box = {.len = 16,
                      .count = {8, 4},
                      .blocks = 5,
                      .local_stride = {16, 128},
                      .remote_stride = {16, 128},
                      .local_block = 512,
                      .remote_block = 512};
    kvfi_cursor_t cursor;
    kvfi_run_t run;

    kvfi_box_fold(&box);
    cursor = kvfi_cursor_at_start(&box);
    ck_assert(kvfi_cursor_next(&cursor, 1 << 20, &run));
    ck_assert_uint_eq(run.len, 5 * 512);
    ck_assert(!kvfi_cursor_next(&cursor, 1 << 20, &run));
    box.remote_block = 513; /* blocks apart on one side */
    cursor = kvfi_cursor_at_start(&box);
    ck_assert(kvfi_cursor_next(&cursor, 1 << 20, &run));
    ck_assert_uint_eq(run.len, 512);
}
END_TEST

static int repeats(const uint64_t *offs, size_t count)
{
    static char seen[SIDE];

    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < count; i++) {
        if (seen[offs[i]]++) {
            return 1;
        }
    }
    return 0;
}

START_TEST(copies_move_the_bytes_of_the_plain_loop)
{
    static char local[SIDE];
    static char remote[SIDE];
    static char want[SIDE];

    for (int n = 0; n < 4000; n++) {
        kvfi_box_t box = random_box();
        kvfi_cursor_t cursor;
        uint32_t dir = (uint32_t)n & 1;
        size_t count = plain(&box, want_local, want_remote);
        uint64_t moved = 0;
        uint64_t budget = 1 + rnd(5000);
        /* a streaming kernel copies destinations that overlap in no order */
        uint64_t whole =
            n >> 1 & 1 && !repeats(dir == KVF_READ ? want_local : want_remote, count) ? UINT64_MAX : 0;

        for (int i = 0; i < SIDE; i++) {
            local[i] = (char)rnd(256);
            remote[i] = (char)rnd(256);
        }
        memcpy(want, dir == KVF_READ ? local : remote, SIDE);
        for (size_t i = 0; i < count; i++) {
            if (dir == KVF_READ) {
                want[want_local[i]] = remote[want_remote[i]];
            } else {
                want[want_remote[i]] = local[want_local[i]];
            }
        }
        kvfi_box_fold(&box);
        cursor = kvfi_cursor_at_start(&box);
        while (!kvfi_cursor_ended(&cursor)) {
            kvfi_moved_t step = kvfi_copy_box(&cursor, local, remote, dir, budget, whole);

            must(step.bytes >= 1 && step.bytes <= budget);
            moved += step.bytes;
        }
        ck_assert_uint_eq(moved, count);
        ck_assert(memcmp(want, dir == KVF_READ ? local : remote, SIDE) == 0);
    }
}
END_TEST

/* The span of the remote side is that of its bytes. */
START_TEST(the_remote_span)
{
    for (int n = 0; n < 2000; n++) {
        kvfi_box_t box = random_box();
        size_t count = plain(&box, want_local, want_remote);
        uint64_t first = UINT64_MAX, end = 0, from, to;

        for (size_t i = 0; i < count; i++) {
            first = want_remote[i] < first ? want_remote[i] : first;
            end = want_remote[i] >= end ? want_remote[i] + 1 : end;
        }
        kvfi_box_fold(&box);
        ck_assert_int_eq(kvfi_box_remote_span(&box, &from, &to), count > 0);
        must(!count || (from == first && to == end));
    }
}
END_TEST

START_TEST(gather_and_scatter_are_one_stream)
{
    static char from[SIDE];
    static char to[SIDE];
    static char stream[SIDE];

    for (int n = 0; n < 2000; n++) {
        kvfi_box_t box = random_box();
        kvfi_box_t side;
        kvfi_cursor_t out;
        kvfi_cursor_t in;
        uint64_t cap = 1 + rnd(3000);
        size_t count = plain(&box, want_local, want_remote);
        size_t at = 0;
        uint64_t pieces = 0;

        for (int i = 0; i < SIDE; i++) {
            from[i] = (char)rnd(256);
        }
        memset(to, 0, sizeof(to));
        side = kvfi_box_local_side(&box);
        kvfi_box_fold(&side);
        out = kvfi_cursor_at_start(&side);
        in = kvfi_cursor_at_start(&side);
        while (!kvfi_cursor_ended(&out)) {
            uint64_t got = kvfi_copy_gather(&out, from, stream, cap, &pieces);
            uint64_t half = got / 2; /* a chunk may arrive in parts */

            must(got >= 1 && got <= cap);
            for (uint64_t i = 0; i < got; i++) {
                must(stream[i] == from[want_local[at + i]]);
            }
            at += got;
            ck_assert_uint_eq(kvfi_copy_scatter(&in, to, stream, half, &pieces), half);
            ck_assert_uint_eq(kvfi_copy_scatter(&in, to, stream + half, got - half, &pieces), got - half);
        }
        ck_assert_uint_eq(at, count);
        for (size_t i = 0; i < count; i++) {
            must(to[want_local[i]] == from[want_local[i]]);
        }
        ck_assert_uint_eq(kvfi_copy_scatter(&in, to, stream, 1, &pieces), 0); /* no room is left */
    }
}
END_TEST

/* Turned, a box is the same pieces; destinations that share lines keep their order. */
START_TEST(a_turned_box_reads_in_order_and_moves_the_same)
{
    static char local[1 << 16], remote[1 << 16], want[1 << 16];

    for (int n = 0; n < 200; n++) {
        uint32_t dir = (uint32_t)n & 1, rows = 4 + (uint32_t)rnd(3), row = 2 + (uint32_t)rnd(5);
        int64_t len = 64 * (1 + (int64_t)rnd(3)) + (n % 8 == 7 ? 8 : 0);
        int64_t down = len * row;
        int64_t across = len * rows;
        kvfi_box_t box = {.len = (uint64_t)len,
                          .count = {row, rows},
                          .blocks = 3,
                          .local_stride = {dir == KVF_READ ? len : across, dir == KVF_READ ? down : len},
                          .remote_stride = {dir == KVF_READ ? across : len, dir == KVF_READ ? len : down},
                          .local_block = 8192,
                          .remote_block = 8192};
        kvfi_box_t turned = box;
        kvfi_cursor_t cursor;

        kvfi_box_turn(&turned, dir);
        must(turned.count[0] == (n % 8 == 7 ? row : rows));
        for (size_t i = 0; i < sizeof(local); i++) {
            local[i] = (char)rnd(256);
            remote[i] = (char)rnd(256);
        }
        memcpy(want, dir == KVF_READ ? local : remote, sizeof(want));
        for (uint32_t i = 0; i < 3; i++) {
            for (uint32_t y = 0; y < rows; y++) {
                for (uint32_t x = 0; x < row; x++) {
                    int64_t l = i * 8192 + y * box.local_stride[1] + x * box.local_stride[0];
                    int64_t r = i * 8192 + y * box.remote_stride[1] + x * box.remote_stride[0];

                    memcpy(want + (dir == KVF_READ ? l : r), dir == KVF_READ ? remote + r : local + l,
                           (size_t)len);
                }
            }
        }
        cursor = kvfi_cursor_at_start(&turned);
        while (!kvfi_cursor_ended(&cursor)) {
            kvfi_copy_box(&cursor, local, remote, dir, UINT64_MAX, n & 2 ? UINT64_MAX : 0);
        }
        ck_assert(memcmp(want, dir == KVF_READ ? local : remote, sizeof(want)) == 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("box");
    TCase *tc = tcase_create("box");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, runs_cover_the_plain_loop_in_order);
    tcase_add_test(tc, parts_cover_the_plain_loop_in_order);
    tcase_add_test(tc, what_touches_on_both_sides_is_one_run);
    tcase_add_test(tc, copies_move_the_bytes_of_the_plain_loop);
    tcase_add_test(tc, gather_and_scatter_are_one_stream);
    tcase_add_test(tc, the_remote_span);
    tcase_add_test(tc, a_turned_box_reads_in_order_and_moves_the_same);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

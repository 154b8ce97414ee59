/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hazard: vector copies that assume an alignment which the side that nobody checked has not (132
 * byte tokens). Pieces of odd sizes at all 4096 pairs of offsets 0..63 inside each batch, strides
 * that are no multiple of 16, 64-byte canaries around each piece; small batches and batches of
 * 64 MiB, so that every copy kernel is taken.
 *
 *     slot k:  [canary 64][offset 0..63][piece][canary 64]   local offset k / 64, remote k % 64
 */
#include "rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t pieces[] = {1, 3, 132, 255, 576, 656, 1151, 4097};

#define PIECES      (sizeof(pieces) / sizeof(pieces[0]))
#define CANARY      64u
#define CANARY_BYTE 0xc7
#define PAIRS       4096u
#define SMALL       31u /* pairs of a small batch */

/* An odd stride, so that the slots themselves wander over all alignments. */
static uint64_t slot_len(uint64_t piece)
{
    return (piece + 2 * CANARY + 64) | 1;
}

/* One op a pair of offsets: 4096 ops, each of `blocks` pieces. */
static kvf_op_t offset_op(rig_t *rig, uint64_t piece, uint32_t k, uint32_t blocks, uint32_t dir)
{
    uint64_t slot = slot_len(piece);
    uint64_t la = k / 64;
    uint64_t ra = k % 64;
    /* slots have odd length: undo where the slot itself starts, modulo 64 */
    uint64_t lat = (la + 64 - (k * slot) % 64) % 64;
    uint64_t rat = (ra + 64 - (k * slot) % 64) % 64;
    kvf_op_t op =
        op_plain(rig->me.segment, k * slot + CANARY + lat, rig->remote, k * slot + CANARY + rat, piece, dir);

    op.blocks = blocks;
    op.local_block = op.remote_block = PAIRS * slot;
    return op;
}

static uint8_t canary[2 * CANARY + 64];

static void untouched(const uint8_t *at, uint64_t len, uint64_t piece)
{
    must(len >= CANARY && len <= sizeof(canary) && memcmp(at, canary, len) == 0,
         "piece of %zu bytes: a canary is gone", (size_t)piece);
}

static void check_slots(const uint8_t *dst, const uint8_t *src, const kvf_op_t *ops, uint32_t count,
                        uint32_t dir, uint64_t slot)
{
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t b = 0; b < ops[i].blocks; b++) {
            uint64_t d = dir == KVF_READ ? ops[i].local_off : ops[i].remote_off;
            uint64_t s = dir == KVF_READ ? ops[i].remote_off : ops[i].local_off;
            uint64_t base = b * ops[i].local_block;

            must(memcmp(dst + base + d, src + base + s, ops[i].len) == 0,
                 "piece of %zu bytes from %zu to %zu: wrong bytes", (size_t)ops[i].len, (size_t)(s % 64),
                 (size_t)(d % 64));
            untouched(dst + base + d - d % slot, d % slot, ops[i].len);
            untouched(dst + base + d + ops[i].len, slot - d % slot - ops[i].len, ops[i].len);
        }
    }
}

static void one_batch(rig_t *rig, uint64_t piece, uint32_t first, uint32_t count, uint32_t blocks,
                      uint32_t dir, uint8_t *owner, uint64_t used)
{
    kvf_op_t *ops = calloc(count, sizeof(*ops));

    must(ops != NULL, "no memory");
    memset(canary, CANARY_BYTE, sizeof(canary));
    for (uint32_t i = 0; i < count; i++) {
        ops[i] = offset_op(rig, piece, (first + i) % PAIRS, blocks, dir);
    }
    if (dir == KVF_READ) {
        pattern_fill(owner, used, piece);
        owner_put(rig, 0, owner, used);
        memset(rig->me.mem, CANARY_BYTE, used);
    } else {
        pattern_fill(rig->me.mem, used, piece);
        memset(owner, CANARY_BYTE, used);
        owner_put(rig, 0, owner, used);
    }
    move(rig, ops, count);
    if (dir == KVF_READ) {
        check_slots(rig->me.mem, owner, ops, count, dir, slot_len(piece));
    } else {
        owner_get(rig, 0, owner, used);
        check_slots(owner, rig->me.mem, ops, count, dir, slot_len(piece));
    }
    free(ops);
}

START_TEST(odd_pieces_at_every_pair_of_offsets)
{
    uint64_t piece = pieces[(unsigned)_i % PIECES];
    where_t where = (where_t)((unsigned)_i / PIECES);
    uint64_t used = PAIRS * slot_len(piece) + 4096;
    rig_opts_t opts = {.owner_len = used, .local_len = used};
    uint8_t *owner = malloc(used);
    rig_t rig;

    rig_open(&rig, where, &opts);
    for (uint32_t dir = KVF_READ; dir <= KVF_WRITE; dir++) {
        one_batch(&rig, piece, 0, PAIRS, 1, dir, owner, used);
    }
    /* a few kilobytes: other kernels, a slice of the pairs each */
    for (uint32_t n = 0; n < 6; n++) {
        one_batch(&rig, piece, n * 683, 4096 / piece < SMALL ? (uint32_t)(4096 / piece) + 1 : SMALL, 1, n & 1,
                  owner, used);
    }
    free(owner);
    rig_close(&rig);
}
END_TEST

/* 64 MiB a batch, where stores go past the cache; the near paths, which have the kernels. */
START_TEST(odd_pieces_in_a_batch_of_64_mib)
{
    uint64_t piece = pieces[PIECES - 1 - (unsigned)_i % 5];
    where_t where = (_i & 2) == 0 ? WHERE_SELF : WHERE_SHM;
    uint32_t blocks = (uint32_t)((UINT64_C(64) << 20) / (PAIRS * piece)) + 1;
    uint64_t used = blocks * PAIRS * slot_len(piece) + 4096;
    rig_opts_t opts = {.owner_len = used, .local_len = used};
    uint8_t *owner = malloc(used);
    rig_t rig;

    rig_open(&rig, where, &opts);
    one_batch(&rig, piece, 0, PAIRS, blocks, (unsigned)_i & 1, owner, used);
    free(owner);
    rig_close(&rig);
}
END_TEST

/* One op: 64 rows of 64 pieces, so that each pair of alignments comes once, in rows. Its local piece
 * (x, y) lies at y modulo 64, the remote one at x. */
static kvf_op_t rows_op(rig_t *rig, uint64_t piece, uint32_t blocks, uint32_t dir)
{
    int64_t step = (int64_t)(piece + 2 * CANARY + 63) & ~63;
    kvf_op_t op = op_plain(rig->me.segment, CANARY, rig->remote, CANARY, piece, dir);

    op.count[0] = op.count[1] = 64;
    op.local_stride[0] = step;
    op.local_stride[1] = 64 * step + 1;
    op.remote_stride[0] = step + 1;
    op.remote_stride[1] = 64 * (step + 1);
    op.blocks = blocks;
    op.local_block = op.remote_block = (uint64_t)(64 * (64 * step + 64) + 4096) & ~UINT64_C(63);
    return op;
}

/* dst as it must be: canaries, and the pieces where the definition puts them. */
static void rows_model(const kvf_op_t *op, uint8_t *local, uint8_t *remote)
{
    for (uint32_t b = 0; b < op->blocks; b++) {
        for (int64_t y = 0; y < 64; y++) {
            for (int64_t x = 0; x < 64; x++) {
                uint8_t *l = local + op->local_off + b * op->local_block +
                             (uint64_t)(y * op->local_stride[1] + x * op->local_stride[0]);
                uint8_t *r = remote + op->remote_off + b * op->remote_block +
                             (uint64_t)(y * op->remote_stride[1] + x * op->remote_stride[0]);

                memcpy(op->dir == KVF_READ ? l : r, op->dir == KVF_READ ? r : l, op->len);
            }
        }
    }
}

static void one_batch_of_rows(rig_t *rig, const kvf_op_t *op, uint8_t *want, uint8_t *owner, uint64_t used)
{
    if (op->dir == KVF_READ) {
        pattern_fill(owner, used, op->len);
        owner_put(rig, 0, owner, used);
        memset(rig->me.mem, CANARY_BYTE, used);
        memset(want, CANARY_BYTE, used);
        rows_model(op, want, owner);
        move(rig, op, 1);
        must(memcmp(rig->me.mem, want, used) == 0, "rows of %zu bytes read: wrong bytes, or a canary",
             (size_t)op->len);
    } else {
        pattern_fill(rig->me.mem, used, op->len);
        memset(owner, CANARY_BYTE, used);
        owner_put(rig, 0, owner, used);
        memset(want, CANARY_BYTE, used);
        rows_model(op, rig->me.mem, want);
        move(rig, op, 1);
        owner_get(rig, 0, owner, used);
        must(memcmp(owner, want, used) == 0, "rows of %zu bytes written: wrong bytes, or a canary",
             (size_t)op->len);
    }
}

START_TEST(odd_pieces_in_rows_at_every_pair_of_offsets)
{
    uint64_t piece = pieces[(unsigned)_i % PIECES];
    rig_opts_t opts = {0};
    kvf_op_t op = rows_op(&(rig_t){0}, piece, 1, KVF_READ);
    uint64_t used = op.local_block + 4096;
    uint8_t *want = malloc(used);
    uint8_t *owner = malloc(used);
    rig_t rig;

    opts.owner_len = opts.local_len = used;
    rig_open(&rig, (where_t)((unsigned)_i / PIECES), &opts);
    for (uint32_t dir = KVF_READ; dir <= KVF_WRITE; dir++) {
        op = rows_op(&rig, piece, 1, dir);
        one_batch_of_rows(&rig, &op, want, owner, used);
    }
    free(want);
    free(owner);
    rig_close(&rig);
}
END_TEST

/* More than the caches hold, where stores go past them. */
START_TEST(odd_pieces_in_rows_in_a_batch_of_64_mib)
{
    uint64_t piece = pieces[PIECES - 1 - (unsigned)_i % 4];
    uint32_t blocks = (uint32_t)((UINT64_C(64) << 20) / (PAIRS * piece)) + 1;
    kvf_op_t op = rows_op(&(rig_t){0}, piece, blocks, KVF_READ);
    uint64_t used = blocks * op.local_block + 4096;
    rig_opts_t opts = {.owner_len = used, .local_len = used};
    uint8_t *want = malloc(used);
    uint8_t *owner = malloc(used);
    rig_t rig;

    rig_open(&rig, _i < 2 ? WHERE_SHM : WHERE_SELF, &opts);
    op = rows_op(&rig, piece, blocks, (uint32_t)_i & 1);
    one_batch_of_rows(&rig, &op, want, owner, used);
    free(want);
    free(owner);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("align");
    TCase *tc = tcase_create("align");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, odd_pieces_at_every_pair_of_offsets, 0, (int)PIECES * WHERE_COUNT);
    tcase_add_loop_test(tc, odd_pieces_in_a_batch_of_64_mib, 0, 5);
    tcase_add_loop_test(tc, odd_pieces_in_rows_at_every_pair_of_offsets, 0, (int)PIECES * WHERE_COUNT);
    tcase_add_loop_test(tc, odd_pieces_in_rows_in_a_batch_of_64_mib, 0, 4);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

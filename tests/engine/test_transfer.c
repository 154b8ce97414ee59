/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Boxes over block tables, on every path, both ways: the bytes that an op moves are those of the
 * plain triple loop that its definition states, and no other byte of either side changes. The loop
 * here shares nothing with the library's walk. Both memories are compared whole after each batch.
 */
#include "rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define SIDE (UINT64_C(1) << 20)
#define S    KVF_SKIP

typedef struct shape {
    const char *hazard;
    uint64_t len;
    uint32_t count[2];
    int64_t local_stride[2], remote_stride[2];
    uint64_t local_off, remote_off;
    uint64_t local_block, remote_block;
    uint32_t blocks;
    uint32_t local_ids[8], remote_ids[8];
    uint32_t has_ids; /* 1: local, 2: remote */
    uint32_t ways;    /* 1: read, 2: write; 0: both */
} shape_t;

static const shape_t shapes[] = {
    {.hazard = "one byte", .len = 1, .count = {1, 1}, .blocks = 1, .local_off = 77, .remote_off = 1003},
    {.hazard = "one page", .len = 4096, .count = {1, 1}, .blocks = 1, .remote_off = 8192},
    {.hazard = "the whole memory", .len = SIDE, .count = {1, 1}, .blocks = 1},
    {.hazard = "the last byte of both",
     .len = 1,
     .count = {1, 1},
     .blocks = 1,
     .local_off = SIDE - 1,
     .remote_off = SIDE - 1},
    {.hazard = "a row with other gaps on each side",
     .len = 100,
     .count = {37, 1},
     .blocks = 1,
     .local_stride = {133, 0},
     .remote_stride = {701, 0},
     .local_off = 3,
     .remote_off = 5},
    {.hazard = "rows of pieces",
     .len = 64,
     .count = {5, 7},
     .blocks = 1,
     .local_stride = {64, 4096},
     .remote_stride = {128, 1000},
     .local_off = 64},
    {.hazard = "rows turned into columns",
     .len = 16,
     .count = {8, 8},
     .blocks = 1,
     .local_stride = {16, 128},
     .remote_stride = {128, 16}},
    {.hazard = "rows that touch on both sides",
     .len = 64,
     .count = {16, 4},
     .blocks = 2,
     .local_stride = {64, 1024},
     .remote_stride = {64, 1024},
     .local_block = 4096,
     .remote_block = 4096},
    {.hazard = "a stride that goes back",
     .len = 32,
     .count = {10, 2},
     .blocks = 1,
     .local_stride = {-64, 4096},
     .remote_stride = {32, -2048},
     .local_off = 2000,
     .remote_off = 40000},
    {.hazard = "layers outside of the blocks",
     .len = 512,
     .count = {2, 4},
     .blocks = 3,
     .local_stride = {512, 65536},
     .remote_stride = {512, 131072},
     .local_block = 1024,
     .remote_block = 1024,
     .local_ids = {9, 2, 30},
     .remote_ids = {1, 77, 4},
     .has_ids = 3},
    {.hazard = "no ids at all",
     .len = 1000,
     .count = {1, 1},
     .blocks = 8,
     .local_block = 1000,
     .remote_block = 4000},
    {.hazard = "no local ids",
     .len = 700,
     .count = {1, 1},
     .blocks = 4,
     .local_block = 1024,
     .remote_block = 1024,
     .remote_ids = {900, 3, 2, 500},
     .has_ids = 2},
    {.hazard = "no remote ids",
     .len = 700,
     .count = {1, 1},
     .blocks = 4,
     .local_block = 1024,
     .remote_block = 1024,
     .local_ids = {900, 3, 2, 500},
     .has_ids = 1},
    {.hazard = "block 0 and the last block",
     .len = 1024,
     .count = {1, 1},
     .blocks = 2,
     .local_block = 1024,
     .remote_block = 1024,
     .local_ids = {0, 1023},
     .remote_ids = {1023, 0},
     .has_ids = 3},
    {.hazard = "ids one after the other",
     .len = 4096,
     .count = {1, 1},
     .blocks = 8,
     .local_block = 4096,
     .remote_block = 4096,
     .local_ids = {8, 9, 10, 11, 12, 40, 41, 42},
     .remote_ids = {20, 21, 22, 100, 101, 102, 103, 5},
     .has_ids = 3},
    {.hazard = "skip on the local side",
     .len = 999,
     .count = {1, 1},
     .blocks = 5,
     .local_block = 1000,
     .remote_block = 1000,
     .local_ids = {4, S, 6, S, 8},
     .remote_ids = {1, 2, 3, 4, 5},
     .has_ids = 3},
    {.hazard = "skip on the remote side, no local ids",
     .len = 999,
     .count = {1, 1},
     .blocks = 5,
     .local_block = 1000,
     .remote_block = 1000,
     .remote_ids = {S, 2, S, S, 5},
     .has_ids = 2},
    {.hazard = "skip on both at different places",
     .len = 128,
     .count = {2, 2},
     .blocks = 6,
     .local_stride = {128, 300},
     .remote_stride = {200, 400},
     .local_block = 1000,
     .remote_block = 1000,
     .local_ids = {S, 1, 2, S, 4, 0},
     .remote_ids = {10, S, 12, S, 14, 0},
     .has_ids = 3},
    {.hazard = "every pair skipped",
     .len = 999,
     .count = {1, 1},
     .blocks = 3,
     .local_block = 1000,
     .remote_block = 1000,
     .local_ids = {S, S, S},
     .has_ids = 1},
    {.hazard = "one source for many destinations: id twice",
     .len = 1024,
     .count = {1, 1},
     .blocks = 4,
     .local_block = 1024,
     .remote_block = 1024,
     .local_ids = {5, 6, 7, 8},
     .remote_ids = {3, 3, 3, 3},
     .has_ids = 3,
     .ways = 1},
    {.hazard = "one source for many destinations: stride 0",
     .len = 50,
     .count = {6, 3},
     .blocks = 2,
     .local_stride = {50, 300},
     .local_block = 900,
     .remote_block = 64,
     .ways = 1},
    {.hazard = "a stride of 0 that is never used",
     .len = 48,
     .count = {1, 4},
     .blocks = 1,
     .local_stride = {0, 48},
     .remote_stride = {0, 96}},
    {.hazard = "block 0 bytes with one block",
     .len = 48,
     .count = {3, 1},
     .blocks = 1,
     .local_stride = {48, 0},
     .remote_stride = {48, 0}},
    {.hazard = "many small pieces",
     .len = 7,
     .count = {500, 20},
     .blocks = 2,
     .local_stride = {9, 5000},
     .remote_stride = {11, 6000},
     .local_block = 200000,
     .remote_block = 300000,
     .local_ids = {3, 0},
     .remote_ids = {1, 2},
     .has_ids = 3},
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static uint32_t id_of(const uint32_t *ids, uint32_t i)
{
    return ids != NULL ? ids[i] : i;
}

/* The definition of an op, on two images. */
static uint64_t model(const kvf_op_t *op, uint8_t *local, uint8_t *remote)
{
    uint64_t moved = 0;

    for (uint32_t i = 0; i < op->blocks; i++) {
        uint32_t l = id_of(op->local_ids, i);
        uint32_t r = id_of(op->remote_ids, i);

        if (l == KVF_SKIP || r == KVF_SKIP) {
            continue;
        }
        for (uint32_t y = 0; y < op->count[1]; y++) {
            for (uint32_t x = 0; x < op->count[0]; x++) {
                uint8_t *a = local + op->local_off + l * op->local_block + (int64_t)y * op->local_stride[1] +
                             (int64_t)x * op->local_stride[0];
                uint8_t *b = remote + op->remote_off + r * op->remote_block +
                             (int64_t)y * op->remote_stride[1] + (int64_t)x * op->remote_stride[0];

                memcpy(op->dir == KVF_READ ? a : b, op->dir == KVF_READ ? b : a, op->len);
                moved += op->len;
            }
        }
    }
    return moved;
}

static kvf_op_t shape_op(const shape_t *s, kvf_segment_t *segment, kvf_remote_t *remote, uint32_t dir)
{
    kvf_op_t op = op_plain(segment, s->local_off, remote, s->remote_off, s->len, dir);

    memcpy(op.count, s->count, sizeof(op.count));
    memcpy(op.local_stride, s->local_stride, sizeof(op.local_stride));
    memcpy(op.remote_stride, s->remote_stride, sizeof(op.remote_stride));
    op.local_block = s->local_block;
    op.remote_block = s->remote_block;
    op.blocks = s->blocks;
    op.local_ids = (s->has_ids & 1) != 0 ? s->local_ids : NULL;
    op.remote_ids = (s->has_ids & 2) != 0 ? s->remote_ids : NULL;
    return op;
}

static void same(const uint8_t *have, const uint8_t *want, const char *side, const char *hazard)
{
    for (uint64_t i = 0; i < SIDE; i++) {
        must(have[i] == want[i], "%s: %s byte %zu is %02x, not %02x", hazard, side, (size_t)i, have[i],
             want[i]);
    }
}

static void whole(rig_t *rig, const uint8_t *local, const uint8_t *remote, const char *hazard)
{
    uint8_t *owner = malloc(SIDE);

    must(owner != NULL, "no memory");
    owner_get(rig, 0, owner, SIDE);
    same(rig->me.mem, local, "local", hazard);
    same(owner, remote, "remote", hazard);
    free(owner);
}

static void statuses(rig_t *rig, const kvf_op_t *op, const int8_t *status, const char *hazard)
{
    answers(kvf_batch_op_status(rig->batch, 0), KVF_OK);
    for (uint32_t i = 0; i < op->blocks; i++) {
        int skipped = id_of(op->local_ids, i) == KVF_SKIP || id_of(op->remote_ids, i) == KVF_SKIP;

        must(status[i] == (skipped ? KVF_SKIPPED : KVF_OK), "%s: pair %u is %d", hazard, i, status[i]);
    }
    must(status[op->blocks] == 99, "%s: written past the statuses", hazard);
}

static uint64_t path_bytes(kvf_engine_t *engine, kvf_path_t path)
{
    kvf_flow_t moved[KVF_PATH_COUNT];

    moved_by_path(engine, moved);
    return moved[path].bytes;
}

static void one_shape(rig_t *rig, const shape_t *s, uint32_t dir, uint64_t seed)
{
    uint8_t *local = malloc(SIDE);
    uint8_t *remote = malloc(SIDE);
    kvf_op_t op = shape_op(s, rig->me.segment, rig->remote, dir);
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    uint64_t before = path_bytes(rig->me.engine, where_path(rig->where));
    int8_t status[9];
    uint64_t moved;

    must(local != NULL && remote != NULL, "no memory");
    memset(status, 99, sizeof(status));
    op.block_status = status;
    pattern_fill(rig->me.mem, SIDE, seed);
    owner_fill(rig, seed + 1);
    pattern_fill(local, SIDE, seed);
    pattern_fill(remote, SIDE, seed + 1);
    moved = model(&op, local, remote);
    move(rig, &op, 1);
    whole(rig, local, remote, s->hazard);
    statuses(rig, &op, status, s->hazard);
    ok(kvf_batch_result(rig->batch, &result));
    must(result.bytes == moved, "%s: result says %zu bytes, not %zu", s->hazard, (size_t)result.bytes,
         (size_t)moved);
    must(result.status == KVF_OK && result.bad_op == UINT64_MAX && result.notify == KVF_SKIPPED &&
             result.stale_blocks == 0,
         "%s: the result", s->hazard);
    must((result.pieces > 0) == (moved > 0), "%s: %zu pieces", s->hazard, (size_t)result.pieces);
    must(path_bytes(rig->me.engine, where_path(rig->where)) - before == moved, "%s: the path's counter",
         s->hazard);
    free(local);
    free(remote);
}

START_TEST(every_shape_moves_its_bytes_and_no_other)
{
    rig_t rig;
    rig_opts_t opts = {.local_alloc = (uint32_t)_i & 1,
                       .progress = _i & 1 ? KVF_PROGRESS_CALLER : KVF_PROGRESS_THREAD};
    kvf_path_t path = KVF_PATH_NONE;

    rig_open(&rig, (where_t)(_i / 2), &opts);
    ok(kvf_path_of(rig.me.segment, rig.remote, 0, &path));
    must(path == where_path(rig.where), "%s on %s", kvf_path_name(path), where_name(rig.where));
    for (size_t i = 0; i < SHAPES; i++) {
        for (uint32_t dir = KVF_READ; dir <= KVF_WRITE; dir++) {
            if (shapes[i].ways == 0 || (shapes[i].ways & (1u << dir)) != 0) {
                one_shape(&rig, &shapes[i], dir, 1000 * i + 10 * dir);
            }
        }
    }
    rig_close(&rig);
}
END_TEST

START_TEST(a_batch_of_many_ops_reads_and_writes)
{
    rig_t rig;
    kvf_op_t ops[64];
    uint8_t *local = malloc(SIDE);
    uint8_t *remote = malloc(SIDE);

    rig_open(&rig, (where_t)_i, NULL);
    pattern_fill(local, SIDE, 1);
    pattern_fill(remote, SIDE, 2);
    pattern_fill(rig.me.mem, SIDE, 1);
    owner_fill(&rig, 2);
    for (uint32_t i = 0; i < 64; i++) {
        /* reads in the lower half, writes in the upper half of both sides */
        uint64_t base = (i & 1) != 0 ? SIDE / 2 : 0;

        ops[i] = op_plain(rig.me.segment, base + (i / 2) * 4099, rig.remote, base + (31 - i / 2) * 5003,
                          4096 - i, i & 1);
        model(&ops[i], local, remote);
    }
    move(&rig, ops, 64);
    whole(&rig, local, remote, "64 ops");
    for (size_t i = 0; i < 64; i++) {
        answers(kvf_batch_op_status(rig.batch, i), KVF_OK);
    }
    rig_close(&rig);
    free(local);
    free(remote);
}
END_TEST

#define BIG (UINT64_C(24) << 20)

/* More than post copies at once, more than a chunk of any path, an odd number of bytes. */
START_TEST(a_batch_larger_than_a_slice)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG};
    uint32_t ids[5000];
    kvf_op_t op;

    rig_open(&rig, (where_t)(_i / 2), &opts);
    for (uint32_t i = 0; i < 5000; i++) {
        ids[i] = (i * 1789) % 5000;
    }
    op = op_plain(rig.me.segment, 3, rig.remote, 7, 4099, (uint32_t)_i & 1);
    op.blocks = 5000;
    op.local_block = op.remote_block = 4111;
    op.local_ids = op.remote_ids = ids; /* block i to block i, in a wild order */
    pattern_fill(rig.me.mem, BIG, 5);
    owner_fill(&rig, 6);
    move(&rig, &op, 1);
    if (op.dir == KVF_READ) {
        uint8_t *want = malloc(BIG);

        pattern_fill(want, BIG, 6);
        for (uint32_t i = 0; i < 5000; i++) {
            must(memcmp(rig.me.mem + 3 + i * 4111, want + 7 + i * 4111, 4099) == 0, "block %u", i);
        }
        pattern_fill(want, BIG, 5);
        for (uint32_t i = 0; i < 5000; i++) {
            must(memcmp(rig.me.mem + 3 + i * 4111 + 4099, want + 3 + i * 4111 + 4099, 12) == 0,
                 "behind block %u", i);
        }
        must(owner_compare(&rig, 6) == UINT64_MAX, "a read wrote at the owner");
        free(want);
    } else {
        uint8_t *have = malloc(BIG);

        owner_get(&rig, 0, have, BIG);
        for (uint32_t i = 0; i < 5000; i++) {
            must(memcmp(have + 7 + i * 4111, rig.me.mem + 3 + i * 4111, 4099) == 0, "block %u", i);
        }
        must(pattern_compare(rig.me.mem, BIG, 5) == UINT64_MAX, "a write wrote here");
        free(have);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(one_piece_larger_than_a_slice)
{
    rig_t rig;
    rig_opts_t opts = {.owner_len = BIG, .local_len = BIG};
    kvf_op_t op;

    rig_open(&rig, (where_t)(_i / 2), &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BIG - 13, (uint32_t)_i & 1);
    pattern_fill(rig.me.mem, BIG, 5);
    owner_fill(&rig, 6);
    move(&rig, &op, 1);
    if (op.dir == KVF_READ) {
        must(pattern_compare(rig.me.mem, BIG - 16, 6) == UINT64_MAX, "wrong bytes");
    } else {
        uint8_t *have = malloc(BIG);

        owner_get(&rig, 0, have, BIG);
        must(pattern_compare(have, BIG - 16, 5) == UINT64_MAX, "wrong bytes");
        free(have);
    }
    rig_close(&rig);
}
END_TEST

/* Ids stay below the capacity, which may be less than what would fit. */
START_TEST(a_capacity_below_what_fits_bounds_the_ids)
{
    rig_t rig;
    uint32_t ids[3] = {0, 9, 10};
    kvf_op_t ops[2];

    rig_open(&rig, (where_t)_i, NULL);
    pattern_fill(rig.me.mem, SIDE, 1);
    owner_fill(&rig, 2);
    for (int side = 0; side < 2; side++) {
        ops[0] = op_plain(rig.me.segment, 0, rig.remote, 0, 64, KVF_READ);
        ops[1] = op_plain(rig.me.segment, 0, rig.remote, 0, 1000, KVF_READ);
        ops[1].blocks = 3;
        ops[1].local_block = ops[1].remote_block = 1000;
        if (side == 0) {
            ops[1].local_ids = ids;
            ops[1].local_cap = 10;
        } else {
            ops[1].remote_ids = ids;
            ops[1].remote_cap = 10;
        }
        refused_naming(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL), KVF_ERR_BOUNDS,
                       side == 0 ? "op 1|local_ids[2]|10" : "op 1|remote_ids[2]|10");
        must(pattern_compare(rig.me.mem, SIDE, 1) == UINT64_MAX, "op 0 moved");
        ops[1].local_cap = ops[1].remote_cap = 11;
        move(&rig, ops, 2);
        pattern_fill(rig.me.mem, SIDE, 1);
    }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transfer");
    TCase *tc = tcase_create("paths");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, every_shape_moves_its_bytes_and_no_other, 0, 2 * WHERE_COUNT);
    tcase_add_loop_test(tc, a_batch_of_many_ops_reads_and_writes, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_batch_larger_than_a_slice, 0, 2 * WHERE_COUNT);
    tcase_add_loop_test(tc, one_piece_larger_than_a_slice, 0, 2 * WHERE_COUNT);
    tcase_add_loop_test(tc, a_capacity_below_what_fits_bounds_the_ids, 0, WHERE_COUNT);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

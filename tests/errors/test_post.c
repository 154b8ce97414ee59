/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What post refuses. Each case spoils one field of the second op of a batch of two; the refusal must
 * have its code, name op 1 and the field, and nothing of either memory may change, op 0's bytes
 * included. With check = ON the overlap of pairs is refused too, exactly.
 */
#include "../engine/rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define LEN (UINT64_C(1) << 20)

static uint32_t ids_at_cap[3] = {0, 1, 256}; /* 256 blocks of 4096 fit */
static uint32_t ids_wild[3] = {0, UINT32_MAX - 1, 2};
static uint32_t gens[3];

typedef struct bad_op {
    const char *what;
    void (*spoil)(kvf_op_t *op);
    kvf_status_t want;
    const char *words;
} bad_op_t;

static void no_segment(kvf_op_t *op)
{
    op->segment = NULL;
}

static void no_remote(kvf_op_t *op)
{
    op->remote = NULL;
}

static void no_len(kvf_op_t *op)
{
    op->len = 0;
}

static void no_columns(kvf_op_t *op)
{
    op->count[0] = 0;
}

static void no_rows(kvf_op_t *op)
{
    op->count[1] = 0;
}

static void no_direction(kvf_op_t *op)
{
    op->dir = 2;
}

static void reserved_0(kvf_op_t *op)
{
    op->reserved[0] = 1;
}

static void reserved_1(kvf_op_t *op)
{
    op->reserved[1] = UINT64_MAX;
}

static void len_past(kvf_op_t *op)
{
    op->len = LEN + 1;
}

static void len_huge(kvf_op_t *op)
{
    op->len = UINT64_MAX;
}

static void local_past(kvf_op_t *op)
{
    op->local_off = LEN - op->len + 1;
}

static void remote_past(kvf_op_t *op)
{
    op->remote_off = LEN - op->len + 1;
}

static void local_off_wraps(kvf_op_t *op)
{
    op->local_off = UINT64_MAX - 10;
}

static void remote_off_wraps(kvf_op_t *op)
{
    op->remote_off = UINT64_MAX - 10;
}

static void local_before(kvf_op_t *op)
{
    op->count[0] = 2;
    op->local_off = 4095;
    op->local_stride[0] = -4096;
    op->remote_stride[0] = 4096;
}

static void remote_before(kvf_op_t *op)
{
    op->count[1] = 2;
    op->remote_off = 4095;
    op->remote_stride[1] = -4096;
    op->local_stride[1] = 4096;
}

static void local_stride_wraps(kvf_op_t *op)
{
    op->count[0] = UINT32_MAX;
    op->local_stride[0] = INT64_MAX;
    op->remote_stride[0] = 4096;
}

static void remote_stride_wraps(kvf_op_t *op)
{
    op->count[0] = op->count[1] = 3;
    op->remote_stride[0] = op->remote_stride[1] = INT64_MIN;
    op->local_stride[0] = 64;
    op->local_stride[1] = 4096;
}

static void rows_past(kvf_op_t *op)
{
    op->count[1] = 257;
    op->local_stride[1] = op->remote_stride[1] = 4096;
}

static void table(kvf_op_t *op)
{
    op->blocks = 3;
    op->local_block = op->remote_block = 4096;
}

static void local_id_at_cap(kvf_op_t *op)
{
    table(op);
    op->local_ids = ids_at_cap;
}

static void remote_id_at_cap(kvf_op_t *op)
{
    table(op);
    op->remote_ids = ids_at_cap;
}

static void local_id_wild(kvf_op_t *op)
{
    table(op);
    op->local_ids = ids_wild;
}

static void remote_id_wild(kvf_op_t *op)
{
    table(op);
    op->remote_ids = ids_wild;
}

static void local_cap_is_less(kvf_op_t *op)
{
    table(op);
    op->local_cap = 2; /* no list: ids 0, 1, 2 */
}

static void remote_cap_lies(kvf_op_t *op)
{
    table(op);
    op->remote_cap = 1000; /* more than fits: the extent decides */
    op->remote_ids = ids_at_cap;
}

static void block_wraps(kvf_op_t *op)
{
    table(op);
    op->local_block = UINT64_MAX / 2 + 1; /* times 2 is 0 */
}

static void remote_block_wraps(kvf_op_t *op)
{
    table(op);
    op->remote_block = UINT64_MAX;
}

static void too_many_blocks(kvf_op_t *op)
{
    op->blocks = UINT32_MAX;
    op->local_block = op->remote_block = 4096;
}

static void read_stride_0(kvf_op_t *op)
{
    op->count[0] = 2;
    op->remote_stride[0] = 4096;
}

static void read_stride_short(kvf_op_t *op)
{
    op->count[0] = 2;
    op->remote_stride[0] = 4096;
    op->local_stride[0] = (int64_t)op->len - 1;
}

static void read_rows_overlap(kvf_op_t *op)
{
    op->count[0] = 2;
    op->count[1] = 2;
    op->local_stride[0] = (int64_t)op->len;
    op->local_stride[1] = (int64_t)op->len; /* row 1 begins on piece 1 of row 0 */
    op->remote_stride[0] = 4096;
    op->remote_stride[1] = 8192;
}

static void write_stride_0(kvf_op_t *op)
{
    op->dir = KVF_WRITE;
    op->count[1] = 3;
    op->local_stride[1] = 4096;
}

static void write_stride_back(kvf_op_t *op)
{
    op->dir = KVF_WRITE;
    op->count[0] = 2;
    op->remote_off = 8192;
    op->remote_stride[0] = -(int64_t)op->len + 1;
    op->local_stride[0] = 4096;
}

static void gens_of_no_pool(kvf_op_t *op)
{
    op->remote_gens = gens;
}

#define INVALID KVF_ERR_INVALID
#define BOUNDS  KVF_ERR_BOUNDS

static const bad_op_t bad_ops[] = {
    {"no segment", no_segment, INVALID, "op 1|segment"},
    {"no remote", no_remote, INVALID, "op 1|remote"},
    {"zero length", no_len, INVALID, "op 1|len"},
    {"no pieces in a row", no_columns, INVALID, "op 1|count[0]"},
    {"no rows", no_rows, INVALID, "op 1|count[1]"},
    {"unknown direction", no_direction, INVALID, "op 1|dir"},
    {"reserved", reserved_0, INVALID, "op 1|reserved"},
    {"reserved", reserved_1, INVALID, "op 1|reserved"},
    {"a piece longer than both", len_past, BOUNDS, "op 1|len"},
    {"a piece of 2^64-1 bytes", len_huge, INVALID, "op 1|len"},
    {"one byte past the segment", local_past, BOUNDS, "op 1|local"},
    {"one byte past the grant", remote_past, BOUNDS, "op 1|remote"},
    {"a local offset that wraps", local_off_wraps, BOUNDS, "op 1|local"},
    {"a remote offset that wraps", remote_off_wraps, BOUNDS, "op 1|remote"},
    {"one byte before the segment", local_before, BOUNDS, "op 1|local"},
    {"one byte before the grant", remote_before, BOUNDS, "op 1|remote"},
    {"count times stride that wraps", local_stride_wraps, BOUNDS, "op 1|local"},
    {"counts times strides that wrap", remote_stride_wraps, BOUNDS, "op 1|remote"},
    {"a row past the end", rows_past, BOUNDS, "op 1"},
    {"a local id at the capacity", local_id_at_cap, BOUNDS, "op 1|local_ids[2]|256"},
    {"a remote id at the capacity", remote_id_at_cap, BOUNDS, "op 1|remote_ids[2]|256"},
    {"a local id of 2^32-2", local_id_wild, BOUNDS, "op 1|local_ids[1]|4294967294"},
    {"a remote id of 2^32-2", remote_id_wild, BOUNDS, "op 1|remote_ids[1]|4294967294"},
    {"no list, capacity less than blocks", local_cap_is_less, BOUNDS, "op 1|local"},
    {"a capacity that is more than fits", remote_cap_lies, BOUNDS, "op 1|remote"},
    {"id times block that wraps", block_wraps, BOUNDS, "op 1|local"},
    {"id times remote block that wraps", remote_block_wraps, BOUNDS, "op 1|remote"},
    {"2^32-1 blocks", too_many_blocks, BOUNDS, "op 1"},
    {"read: local stride 0", read_stride_0, INVALID, "op 1|local_stride"},
    {"read: local stride less than a piece", read_stride_short, INVALID, "op 1|local_stride"},
    {"read: rows that overlap", read_rows_overlap, INVALID, "op 1|local_stride"},
    {"write: remote stride 0", write_stride_0, INVALID, "op 1|remote_stride"},
    {"write: remote stride back, overlap", write_stride_back, INVALID, "op 1|remote_stride"},
    {"generations of what is no pool", gens_of_no_pool, INVALID, "op 1|remote_gens"},
};

#define BAD_OPS (sizeof(bad_ops) / sizeof(bad_ops[0]))

static void unchanged(rig_t *rig, const char *what)
{
    must(pattern_compare(rig->me.mem, LEN, 1) == UINT64_MAX, "%s: local bytes moved", what);
    must(owner_compare(rig, 2) == UINT64_MAX, "%s: remote bytes moved", what);
}

static void two_ops(rig_t *rig, kvf_op_t *ops)
{
    ops[0] = op_plain(rig->me.segment, 0, rig->remote, 65536, 64, KVF_READ);
    ops[1] = op_plain(rig->me.segment, 0, rig->remote, 0, 64, KVF_READ);
}

static void patterns(rig_t *rig)
{
    pattern_fill(rig->me.mem, LEN, 1);
    owner_fill(rig, 2);
}

START_TEST(a_bad_op_is_named_and_nothing_moves)
{
    rig_t rig;
    int8_t status[4] = {99, 99, 99, 99};

    rig_open(&rig, (where_t)_i, NULL);
    patterns(&rig);
    for (size_t i = 0; i < BAD_OPS; i++) {
        const bad_op_t *b = &bad_ops[i];
        kvf_op_t ops[2];
        kvf_status_t have;

        two_ops(&rig, ops);
        b->spoil(&ops[1]);
        ops[0].block_status = status;
        have = kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL);
        must(have == b->want, "%s: %s (\"%s\")", b->what, kvf_status_name(have), kvf_last_error());
        refused_naming(have, b->want, b->words);
        ok(kvf_batch_test(rig.batch)); /* still ended */
        unchanged(&rig, b->what);
    }
    must(status[0] == 99, "a block status of a refused batch was written");
    rig_close(&rig);
}
END_TEST

START_TEST(closed_and_foreign_handles)
{
    rig_t rig;
    kvf_op_t ops[2];
    kvf_segment_t *closed = NULL;

    rig_open(&rig, WHERE_TWIN, NULL);
    patterns(&rig);
    ok(kvf_segment_alloc(rig.me.engine, 4096, &closed));
    ok(kvf_segment_release(closed));
    two_ops(&rig, ops);
    ops[1].segment = closed;
    refused_naming(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL), INVALID, "op 1|segment");
    ops[1].segment = rig.here.segment; /* of the other engine */
    refused_naming(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL), INVALID, "op 1|segment");
    two_ops(&rig, ops);
    ops[1].remote = (kvf_remote_t *)(void *)rig.me.segment; /* a handle of another kind */
    refused_naming(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL), INVALID, "op 1|remote");
    refused(kvf_batch_post(NULL, ops, 2, sizeof(ops[0]), NULL), INVALID, NULL);
    refused_naming(kvf_batch_post(rig.batch, NULL, 2, sizeof(ops[0]), NULL), INVALID, "ops");
    unchanged(&rig, "handles");
    rig_close(&rig);
}
END_TEST

START_TEST(rights_are_checked)
{
    rig_t rig;
    kvf_op_t ops[2];
    rig_opts_t opts = {.rights = _i & 1 ? KVF_RIGHT_READ : KVF_RIGHT_WRITE};

    rig_open(&rig, (where_t)(_i / 2), &opts);
    patterns(&rig);
    two_ops(&rig, ops);
    ops[0].dir = _i & 1 ? KVF_READ : KVF_WRITE;
    ops[0].remote_off = 0;
    ops[1].dir = _i & 1 ? KVF_WRITE : KVF_READ;
    refused_naming(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL), KVF_ERR_PERM, "op 1");
    unchanged(&rig, "rights");
    move(&rig, ops, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(a_write_cannot_be_guarded)
{
    rig_t rig;
    kvf_op_t ops[2];
    rig_opts_t opts = {.pool_blocks = 256, .block_bytes = 4096};

    rig_open(&rig, WHERE_SELF, &opts);
    patterns(&rig);
    two_ops(&rig, ops);
    ops[1].remote_gens = gens;
    ops[1].dir = KVF_WRITE;
    refused_naming(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), NULL), INVALID, "op 1|remote_gens");
    unchanged(&rig, "a guarded write");
    rig_close(&rig);
}
END_TEST

/* A request to a far peer has an end; near there is none. The pairs lie on each other: nothing is said
 * against that without check = ON. */
START_TEST(more_pairs_than_a_request_holds)
{
    rig_t rig;
    kvf_op_t op;

    rig_open(&rig, WHERE_AM, NULL);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 1, KVF_READ);
    op.blocks = (UINT32_C(1) << 28) + 1;
    refused_naming(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL), KVF_ERR_UNSUPPORTED,
                   "op 0|blocks|268435457");
    rig_close(&rig);
}
END_TEST

typedef struct bad_opts {
    const char *words;
    kvf_batch_opts_t opts;
    kvf_status_t want;
} bad_opts_t;

#define SIZED .struct_size = sizeof(kvf_batch_opts_t)

static const char note[128];

static const bad_opts_t bad_opts[] = {
    {"struct_size", {.struct_size = 0}, INVALID},
    {"flags", {SIZED, .flags = 4}, INVALID},
    {"flags", {SIZED, .flags = 0x80000000u}, INVALID},
    {"paths", {SIZED, .paths = KVF_PATH_BIT(KVF_PATH_COUNT)}, INVALID},
    {"notify_len", {SIZED, .notify_len = KVF_NOTIFY_MAX + 1, .notify = note}, INVALID},
    {"notify", {SIZED, .notify_len = 8}, INVALID},
    {"after_event", {SIZED, .after_event = note}, KVF_ERR_UNSUPPORTED},
    {"reserved", {SIZED, .reserved = {0, 1}}, INVALID},
};

START_TEST(a_bad_option_is_named_and_nothing_moves)
{
    rig_t rig;
    kvf_op_t ops[2];

    rig_open(&rig, WHERE_SELF, NULL);
    patterns(&rig);
    for (size_t i = 0; i < sizeof(bad_opts) / sizeof(bad_opts[0]); i++) {
        kvf_batch_opts_t opts = bad_opts[i].opts;

        two_ops(&rig, ops);
        if (opts.notify_len > 0) {
            opts.notify_peer = rig.peer;
        }
        refused_naming(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), &opts), bad_opts[i].want,
                       bad_opts[i].words);
        unchanged(&rig, bad_opts[i].words);
    }
    rig_close(&rig);
}
END_TEST

/* ---------------------------------------------------------- check = ON: pairs */

static uint32_t twice[3] = {4, 9, 4};
static uint32_t apart[3] = {4, 9, 5};

typedef struct overlap {
    const char *what;
    void (*shape)(kvf_op_t *op);
    int refused;
    const char *words;
} overlap_t;

static void same_id_read(kvf_op_t *op)
{
    table(op);
    op->local_ids = twice;
}

static void same_id_write(kvf_op_t *op)
{
    table(op);
    op->dir = KVF_WRITE;
    op->remote_ids = twice;
}

static void same_source(kvf_op_t *op)
{
    table(op);
    op->remote_ids = twice; /* a read may take one block many times */
    op->local_off = 524288;
}

static void apart_ids(kvf_op_t *op)
{
    table(op);
    op->local_ids = apart;
    op->remote_off = 524288;
}

static void row_into_next(kvf_op_t *op)
{
    table(op);
    op->count[1] = 2;
    op->local_stride[1] = 4096 + 32; /* lies on block 5, 32 bytes in */
    op->remote_stride[1] = 4096;
    op->remote_off = 524288;
    op->local_ids = apart;
}

static void row_beside_next(kvf_op_t *op)
{
    row_into_next(op);
    op->local_stride[1] = 4096 + 64; /* just behind it */
}

static void blocks_too_close(kvf_op_t *op)
{
    op->blocks = 3;
    op->local_block = 63;
    op->remote_block = 64;
    op->remote_off = 524288;
}

static void source_is_destination(kvf_op_t *op)
{
    op->remote_off = 32; /* the same memory, on self */
}

static const overlap_t overlaps[] = {
    {"the same destination id twice", same_id_read, 1, "op 1"},
    {"the same destination id twice, write", same_id_write, 1, "op 1"},
    {"the same source id twice", same_source, 0, NULL},
    {"ids apart", apart_ids, 0, NULL},
    {"a row that reaches into another id's piece", row_into_next, 1, "op 1"},
    {"a row that lies beside another id's piece", row_beside_next, 0, NULL},
    {"blocks closer than a piece", blocks_too_close, 1, "op 1"},
};

START_TEST(check_on_refuses_overlap_of_pairs_exactly)
{
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .check = KVF_SWITCH_ON};
    side_t side = {NULL};
    side_mem_t mem = {.len = LEN, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    kvf_segment_t *local = NULL;
    kvf_batch_t *batch = NULL;
    uint8_t buf[BLOB_MAX];
    size_t len;
    uint32_t count = 1;

    if (_i == 1) { /* the variable says it */
        opts.check = KVF_SWITCH_DEFAULT;
        setenv("KVFERRY_CHECK", "1", 1);
    }
    ok(kvf_engine_open(&opts, &side.engine));
    side_make_memory(&side, &mem, sizeof(mem), NULL);
    ok(kvf_segment_alloc(side.engine, LEN, &local));
    engine_blob(side.engine, 0, buf, &len);
    ok(kvf_peer_import(side.engine, buf, len, &side.peer[0]));
    grant_blob(side.grant, buf, &len);
    ok(kvf_remote_import(side.peer[0], buf, len, &side.remote[0], &count));
    ok(kvf_batch_create(side.engine, &batch));
    for (size_t i = 0; i < sizeof(overlaps) / sizeof(overlaps[0]); i++) {
        kvf_op_t ops[2];
        kvf_status_t status;

        ops[0] = op_plain(local, 900000, side.remote[0], 0, 64, KVF_READ);
        ops[1] = op_plain(local, 0, side.remote[0], 0, 64, KVF_READ);
        overlaps[i].shape(&ops[1]);
        status = kvf_batch_post(batch, ops, 2, sizeof(ops[0]), NULL);
        must(status == (overlaps[i].refused ? KVF_ERR_INVALID : KVF_OK), "%s: %s (\"%s\")", overlaps[i].what,
             kvf_status_name(status), kvf_last_error());
        if (overlaps[i].refused) {
            refused_naming(status, KVF_ERR_INVALID, overlaps[i].words);
        }
    }
    { /* source and destination are the same memory */
        kvf_op_t op = op_plain(side.segment, 0, side.remote[0], 0, 64, KVF_READ);

        source_is_destination(&op);
        refused_naming(kvf_batch_post(batch, &op, 1, sizeof(op), NULL), KVF_ERR_INVALID, "op 0");
        op.remote_off = 64;
        ok(kvf_batch_post(batch, &op, 1, sizeof(op), NULL));
    }
    ok(kvf_batch_wait(batch, patient(1)));
    ok(kvf_engine_close(side.engine, patient(1)));
    free(side.heap);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("errors of post");
    TCase *tc = tcase_create("post");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, a_bad_op_is_named_and_nothing_moves, 0, WHERE_COUNT);
    tcase_add_test(tc, closed_and_foreign_handles);
    tcase_add_loop_test(tc, rights_are_checked, 0, 2 * WHERE_COUNT);
    tcase_add_test(tc, a_write_cannot_be_guarded);
    tcase_add_test(tc, more_pairs_than_a_request_holds);
    tcase_add_test(tc, a_bad_option_is_named_and_nothing_moves);
    tcase_add_loop_test(tc, check_on_refuses_overlap_of_pairs_exactly, 0, 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

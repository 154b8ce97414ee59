/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hazard: block id times stride in 32 bits, so that from the block that crosses 2 or 4 GiB on,
 * another block's bytes are moved. Memories of 12 GiB that are never touched but for a stamped page
 * in the blocks at the edges (4.5 GiB where the library allocates), on every path, both ways, with
 * each of the id lists; and ids at and past the capacity.
 */
#include "rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GIB   (UINT64_C(1) << 30)
#define BLOCK UINT64_C(1039680)
#define PAGE  4096u

/* 2 GiB lies in block 2065, 4 GiB in 4131; the last entry becomes the last block. */
static const uint32_t edges[] = {0, 2064, 2065, 2066, 2067, 4129, 4130, 4131, 4132, 4133, 0};

#define EDGES (sizeof(edges) / sizeof(edges[0]))

static uint64_t memory_available(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    char line[128];
    unsigned long long kib = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1) {
            break;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return (uint64_t)kib * 1024;
}

typedef struct big {
    kvf_engine_t *engine;
    kvf_segment_t *segment;
    uint8_t *mem;
    uint64_t len;
} big_t;

static uint8_t *reserve(uint64_t len)
{
    uint8_t *mem =
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    must(mem != MAP_FAILED, "no room for %zu bytes", (size_t)len);
    return mem;
}

static void ids_for(uint64_t len, uint32_t *ids)
{
    memcpy(ids, edges, sizeof(edges));
    ids[EDGES - 1] = (uint32_t)(len / BLOCK - 1);
}

static void stamp(uint8_t *mem, uint32_t id, uint64_t seed)
{
    pattern_fill(mem + id * BLOCK, PAGE, seed + id);
}

static int stamped(const uint8_t *mem, uint32_t id, uint64_t seed)
{
    return pattern_compare(mem + id * BLOCK, PAGE, seed + id) == UINT64_MAX;
}

/* in: u64 seed; stamps the edges of the owner's memory */
static void at_stamp(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t ids[EDGES];
    uint64_t seed;

    (void)out;
    memcpy(&seed, in, in_len);
    ids_for(side->len, ids);
    for (size_t i = 0; i < EDGES; i++) {
        stamp(side->mem, ids[i], seed);
    }
}

static void at_stamped(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t ids[EDGES];
    uint64_t seed;

    (void)out;
    memcpy(&seed, in, in_len);
    ids_for(side->len, ids);
    for (size_t i = 0; i < EDGES; i++) {
        must(stamped(side->mem, ids[i], seed), "block %u was written to another place", ids[i]);
    }
}

/* The owner's own 12 GiB, registered. */
static void at_register(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_range_t range = {.rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

    memcpy(&side->len, in, in_len);
    side->mem = reserve(side->len);
    ok(kvf_segment_register(side->engine, side->mem, side->len, &side->segment));
    range.segment = side->segment;
    range.len = side->len;
    ok(kvf_grant_create(side->engine, &range, 1, NULL, &side->grant));
    side_grant_blob(state, NULL, 0, out);
}

static void at_alloc(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_mem_t mem = {.shared = 1, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

    memcpy(&mem.len, in, in_len);
    side_make_memory(state, &mem, sizeof(mem), out);
    side_grant_blob(state, NULL, 0, out);
}

static void refusals(rig_t *rig, kvf_op_t op, uint32_t capacity)
{
    uint32_t ids[3] = {0, 1, 0};
    uint32_t *side_ids[2] = {NULL, NULL};

    op.blocks = 3;
    op.local_cap = op.remote_cap = capacity;
    for (int side = 0; side < 2; side++) {
        for (int k = 0; k < 2; k++) {
            ids[2] = k == 0 ? capacity : UINT32_MAX - 1;
            side_ids[side] = ids;
            side_ids[1 - side] = NULL;
            op.local_ids = side_ids[0];
            op.remote_ids = side_ids[1];
            refused_naming(kvf_batch_post(rig->batch, &op, 1, sizeof(op), NULL), KVF_ERR_BOUNDS,
                           side == 0 ? "op 0|local_ids[2]" : "op 0|remote_ids[2]");
        }
    }
}

/* Two planes in one segment: ids of the first stay below its capacity. */
static void planes(rig_t *rig, big_t *local, uint64_t remote_len)
{
    uint32_t capacity = (uint32_t)(remote_len / BLOCK / 2);
    uint32_t ids[2] = {capacity - 1, capacity};
    kvf_op_t op = op_plain(local->segment, 0, rig->remote, 0, PAGE, KVF_READ);

    op.local_block = op.remote_block = BLOCK;
    op.remote_cap = capacity;
    op.remote_ids = ids;
    op.blocks = 2;
    refused_naming(kvf_batch_post(rig->batch, &op, 1, sizeof(op), NULL), KVF_ERR_BOUNDS,
                   "op 0|remote_ids[1]");
    op.remote_off = capacity * BLOCK; /* the second plane */
    op.blocks = 1;
    move(rig, &op, 1);
}

START_TEST(blocks_past_2_and_4_gib_are_the_right_ones)
{
    where_t where = (where_t)_i;
    uint64_t remote_len = where == WHERE_SHM ? 4 * GIB + GIB / 2 : 12 * GIB;
    big_t local = {.len = 12 * GIB};
    uint32_t local_ids[EDGES];
    uint32_t remote_ids[EDGES];
    uint8_t buf[BLOB_MAX];
    uint32_t count = 1;
    uint64_t seed = 100;
    kvf_remote_t *remote = NULL;
    kvf_remote_t *old;
    kvf_op_t op;
    rig_t rig;
    size_t len;

    rig_open(&rig, where, NULL);
    local.mem = reserve(local.len);
    ok(kvf_segment_register(rig.me.engine, local.mem, local.len, &local.segment));
    len = rig_call(&rig, where == WHERE_SHM ? at_alloc : at_register, &remote_len, sizeof(remote_len), buf,
                   sizeof(buf));
    ok(kvf_remote_import(rig.peer, buf, len, &remote, &count));
    old = rig.remote;
    rig.remote = remote;
    ids_for(local.len, local_ids);
    ids_for(remote_len, remote_ids);
    op = op_plain(local.segment, 0, remote, 0, PAGE, KVF_READ);
    op.local_block = op.remote_block = BLOCK;
    op.local_ids = local_ids;
    op.remote_ids = remote_ids;
    op.blocks = EDGES;

    rig_call(&rig, at_stamp, &seed, sizeof(seed), NULL, 0);
    move(&rig, &op, 1);
    for (size_t i = 0; i < EDGES; i++) {
        must(pattern_compare(local.mem + local_ids[i] * BLOCK, PAGE, seed + remote_ids[i]) == UINT64_MAX,
             "block %u came as another", remote_ids[i]);
    }
    seed = 5000;
    for (size_t i = 0; i < EDGES; i++) {
        pattern_fill(local.mem + local_ids[i] * BLOCK, PAGE, seed + remote_ids[i]);
    }
    op.dir = KVF_WRITE;
    move(&rig, &op, 1);
    rig_call(&rig, at_stamped, &seed, sizeof(seed), NULL, 0);

    op.dir = KVF_READ;
    refusals(&rig, op, (uint32_t)(remote_len / BLOCK));
    planes(&rig, &local, remote_len);

    ok(kvf_remote_forget(remote));
    rig.remote = old;
    ok(kvf_segment_release(local.segment));
    munmap(local.mem, local.len);
    rig_close(&rig);
}
END_TEST

/* One piece of more than a system call of cma takes (0x7ffff000 bytes), or than 31 bits count. */
START_TEST(a_piece_past_2_gib_is_cut_and_goes_on)
{
    uint64_t memory = 3 * GIB, piece = 2 * GIB + 5 * BLOCK, seed = 900;
    kvf_flow_t moved[KVF_PATH_COUNT];
    uint8_t buf[BLOB_MAX], *mem = reserve(memory);
    kvf_segment_t *segment;
    kvf_remote_t *remote = NULL;
    kvf_path_t path = where_path((where_t)_i);
    uint32_t count = 1;
    kvf_op_t op;
    rig_t rig;
    size_t len;

    rig_open(&rig, (where_t)_i, NULL);
    ok(kvf_segment_register(rig.me.engine, mem, memory, &segment));
    len = rig_call(&rig, at_register, &memory, sizeof(memory), buf, sizeof(buf));
    ok(kvf_remote_import(rig.peer, buf, len, &remote, &count));
    rig_call(&rig, at_stamp, &seed, sizeof(seed), NULL, 0);
    mem[piece] = 77;
    op = op_plain(segment, 0, remote, 0, piece, KVF_READ);
    move(&rig, &op, 1);
    for (size_t i = 0; i < EDGES; i++) {
        must(edges[i] * BLOCK >= piece || stamped(mem, edges[i], seed), "block %u", edges[i]);
    }
    must(mem[piece] == 77, "bytes past the piece were written");
    moved_by_path(rig.me.engine, moved);
    must(moved[path].bytes == piece, "%llu bytes", (unsigned long long)moved[path].bytes);
    must(moved[path].calls >= 2, "a call that no kernel makes");
    ok(kvf_remote_forget(remote));
    ok(kvf_segment_release(segment));
    munmap(mem, memory);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("big");
    TCase *tc = tcase_create("big");

    if (memory_available() < 8 * GIB) {
        skip_all("8 GiB of memory must be available");
    }
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, blocks_past_2_and_4_gib_are_the_right_ones, WHERE_SELF, WHERE_TWIN);
    tcase_add_loop_test(tc, blocks_past_2_and_4_gib_are_the_right_ones, WHERE_SHM, WHERE_COUNT);
    tcase_add_loop_test(tc, a_piece_past_2_gib_is_cut_and_goes_on, WHERE_CMA,
                        patience() == 1 ? WHERE_AM : WHERE_STAGE); /* stage touches each byte twice */
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

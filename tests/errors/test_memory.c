/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The errors of segments, pools and grants, and that a refused call leaves nothing behind: outputs
 * unset, memory and pool as they were.
 */
#include "../engine/rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static kvf_engine_t *engine_open(void)
{
    kvf_engine_t *engine = NULL;

    ok(kvf_engine_open(NULL, &engine));
    return engine;
}

START_TEST(register_errors)
{
    kvf_engine_t *engine = engine_open();
    kvf_segment_t *segment = NULL;
    uint8_t *map = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    munmap(map + 4096, 4096); /* a hole */
    refused_naming(kvf_segment_register(engine, NULL, 4096, &segment), KVF_ERR_INVALID, "addr");
    refused_naming(kvf_segment_register(engine, map, 0, &segment), KVF_ERR_INVALID, "len");
    refused_naming(kvf_segment_register(engine, map, UINT64_MAX, &segment), KVF_ERR_INVALID, "len");
    refused_naming(kvf_segment_register(engine, map, 3 * 4096, &segment), KVF_ERR_INVALID, "mapped");
    refused_naming(kvf_segment_register(engine, map + 4096, 64, &segment), KVF_ERR_INVALID, "mapped");
    mprotect(map, 4096, PROT_NONE);
    refused(kvf_segment_register(engine, map, 4096, &segment), KVF_ERR_INVALID, NULL);
    mprotect(map, 4096, PROT_READ | PROT_WRITE);
    must(segment == NULL, "an output of a failure");
    refused_naming(kvf_segment_register(engine, map, 4096, NULL), KVF_ERR_INVALID, "segment_p");
    ok(kvf_segment_register(engine, map, 4096, &segment));
    ok(kvf_segment_release(segment));
    refused_naming(kvf_segment_release(segment), KVF_ERR_INVALID, "segment");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(alloc_errors)
{
    kvf_engine_t *engine = engine_open();
    kvf_segment_t *segment = NULL;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};

    refused_naming(kvf_segment_alloc(engine, 0, &segment), KVF_ERR_INVALID, "len");
    refused(kvf_segment_alloc(engine, UINT64_C(1) << 46, &segment), KVF_ERR_NOMEM,
            "70368744177664 bytes are asked for, ");
    refused(kvf_segment_alloc(engine, UINT64_MAX, &segment), KVF_ERR_NOMEM,
            "18446744073709551615 bytes are more than an address can reach");
    must(segment == NULL, "an output of a failure");
    refused_naming(kvf_segment_alloc(engine, 4096, NULL), KVF_ERR_INVALID, "segment_p");
    ok(kvf_segment_alloc(engine, 5000, &segment));
    ok(kvf_segment_query(segment, &attr));
    must(attr.len == 5000 && attr.writable == 1 && attr.kind == KVF_MEM_HOST, "the attributes");
    for (int i = 0; i < 5000; i++) {
        must(((uint8_t *)attr.addr)[i] == 0, "not zeroed");
    }
    refused_naming(kvf_segment_query(segment, NULL), KVF_ERR_INVALID, "attr_p");
    attr.struct_size = 0;
    refused_naming(kvf_segment_query(segment, &attr), KVF_ERR_INVALID, "struct_size");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(pool_create_errors)
{
    static const struct {
        const char *words;
        kvf_pool_opts_t opts;
        kvf_status_t want;
    } bad[] = {
        {"struct_size", {.struct_size = 1, .blocks = 4, .block_bytes = 64}, KVF_ERR_INVALID},
        {"blocks", {.struct_size = sizeof(kvf_pool_opts_t), .block_bytes = 64}, KVF_ERR_INVALID},
        {"blocks",
         {.struct_size = sizeof(kvf_pool_opts_t), .blocks = (UINT32_C(1) << 31) + 1, .block_bytes = 64},
         KVF_ERR_INVALID},
        {"block_bytes", {.struct_size = sizeof(kvf_pool_opts_t), .blocks = 4}, KVF_ERR_INVALID},
        {"block_bytes",
         {.struct_size = sizeof(kvf_pool_opts_t), .blocks = 1u << 31, .block_bytes = UINT64_C(1) << 60},
         KVF_ERR_INVALID},
        {"reserved",
         {.struct_size = sizeof(kvf_pool_opts_t), .blocks = 4, .block_bytes = 64, .reserved = {1}},
         KVF_ERR_INVALID},
        {"",
         {.struct_size = sizeof(kvf_pool_opts_t), .blocks = 1u << 20, .block_bytes = UINT64_C(1) << 26},
         KVF_ERR_NOMEM},
    };
    kvf_engine_t *engine = engine_open();
    kvf_pool_t *pool = NULL;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        refused_naming(kvf_pool_create(engine, &bad[i].opts, &pool), bad[i].want, bad[i].words);
        must(pool == NULL, "an output of a failure");
    }
    refused_naming(kvf_pool_create(engine, NULL, &pool), KVF_ERR_INVALID, "opts");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(pool_call_errors)
{
    kvf_engine_t *engine = engine_open();
    kvf_pool_t *pool = NULL;
    kvf_pool_opts_t opts = {.struct_size = sizeof(opts), .blocks = 8, .block_bytes = 64};
    uint32_t ids[9] = {0};
    uint32_t gens[8];
    uint32_t before[8];
    static const uint32_t all[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const uint32_t twice[3] = {0, 2, 0};
    static const uint32_t free_one[3] = {0, 1, 6};
    static const uint32_t wild[2] = {0, 8};

    ok(kvf_pool_create(engine, &opts, &pool));
    ok(kvf_pool_alloc(pool, 4, ids));
    ok(kvf_pool_generations(pool, 8, all, before));
    refused_naming(kvf_pool_alloc(pool, 2, NULL), KVF_ERR_INVALID, "ids_p");
    refused(kvf_pool_alloc(pool, 5, ids), KVF_ERR_BUSY, NULL);
    refused_naming(kvf_pool_free(pool, 3, twice), KVF_ERR_INVALID, "ids[2]");
    refused_naming(kvf_pool_free(pool, 3, free_one), KVF_ERR_INVALID, "ids[2]|6");
    refused_naming(kvf_pool_free(pool, 2, wild), KVF_ERR_INVALID, "ids[1]|8");
    refused_naming(kvf_pool_free(pool, 2, NULL), KVF_ERR_INVALID, "ids");
    refused_naming(kvf_pool_raise(pool, 3, free_one), KVF_ERR_INVALID, "ids[2]|6");
    refused_naming(kvf_pool_raise(pool, 2, wild), KVF_ERR_INVALID, "ids[1]|8");
    refused_naming(kvf_pool_generations(pool, 2, wild, gens), KVF_ERR_INVALID, "ids[1]|8");
    refused_naming(kvf_pool_generations(pool, 2, all, NULL), KVF_ERR_INVALID, "gens_p");
    must(kvf_pool_available(pool) == 4, "a refused call changed the pool");
    ok(kvf_pool_generations(pool, 8, all, gens));
    must(memcmp(gens, before, sizeof(gens)) == 0, "a refused call raised a generation");
    must(kvf_pool_available(NULL) == 0 && kvf_pool_segment(NULL) == NULL, "of no pool");
    refused_naming(kvf_pool_alloc(NULL, 1, ids), KVF_ERR_INVALID, "pool");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

typedef struct bad_range {
    const char *words;
    kvf_range_t range; /* the segment is filled in, unless len is 7 */
    kvf_status_t want;
} bad_range_t;

static const bad_range_t bad_ranges[] = {
    {"range 1|segment", {.len = 7, .rights = 1}, KVF_ERR_INVALID},
    {"range 1|len", {.len = 0, .rights = 1}, KVF_ERR_INVALID},
    {"range 1|rights", {.len = 64, .rights = 0}, KVF_ERR_INVALID},
    {"range 1|rights", {.len = 64, .rights = 4}, KVF_ERR_INVALID},
    {"range 1|rights", {.len = 64, .rights = 0x101}, KVF_ERR_INVALID},
    {"range 1|reserved", {.len = 64, .rights = 1, .reserved = {0, 5}}, KVF_ERR_INVALID},
    {"range 1|first_block", {.len = 64, .rights = 1, .first_block = 3}, KVF_ERR_INVALID},
    {"range 1", {.len = 65537, .rights = 1}, KVF_ERR_BOUNDS},
    {"range 1", {.off = 65536, .len = 1, .rights = 1}, KVF_ERR_BOUNDS},
    {"range 1", {.off = UINT64_MAX, .len = 64, .rights = 1}, KVF_ERR_BOUNDS},
    {"range 1", {.off = 64, .len = UINT64_MAX - 10, .rights = 1}, KVF_ERR_BOUNDS},
};

START_TEST(grant_create_names_range_and_field)
{
    kvf_engine_t *engine = engine_open();
    kvf_segment_t *segment = NULL;
    kvf_grant_t *grant = NULL;
    const bad_range_t *b = &bad_ranges[_i];
    kvf_range_t ranges[2];

    ok(kvf_segment_alloc(engine, 65536, &segment));
    memset(ranges, 0, sizeof(ranges));
    ranges[0].segment = segment;
    ranges[0].len = 65536;
    ranges[0].rights = KVF_RIGHT_READ;
    ranges[1] = b->range;
    ranges[1].segment = b->range.len == 7 ? NULL : segment;
    refused_naming(kvf_grant_create(engine, ranges, 2, NULL, &grant), b->want, b->words);
    must(grant == NULL, "an output of a failure");
    ok(kvf_segment_release(segment)); /* it holds nothing */
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(grant_create_errors)
{
    kvf_engine_t *engine = engine_open();
    kvf_engine_t *other = engine_open();
    kvf_segment_t *segment = NULL;
    kvf_segment_t *foreign = NULL;
    kvf_grant_t *grant = NULL;
    kvf_range_t range = {.len = 64, .rights = KVF_RIGHT_READ};
    kvf_range_t *many = calloc(4097, sizeof(*many));

    ok(kvf_segment_alloc(engine, 65536, &segment));
    ok(kvf_segment_alloc(other, 65536, &foreign));
    range.segment = segment;
    refused_naming(kvf_grant_create(engine, NULL, 1, NULL, &grant), KVF_ERR_INVALID, "ranges");
    refused_naming(kvf_grant_create(engine, &range, 0, NULL, &grant), KVF_ERR_INVALID, "count");
    refused_naming(kvf_grant_create(engine, &range, 1, NULL, NULL), KVF_ERR_INVALID, "grant_p");
    range.segment = foreign;
    refused_naming(kvf_grant_create(engine, &range, 1, NULL, &grant), KVF_ERR_INVALID, "range 0|segment");
    for (int i = 0; i < 4097; i++) {
        many[i].segment = segment;
        many[i].off = (uint64_t)i;
        many[i].len = 1;
        many[i].rights = KVF_RIGHT_READ;
    }
    refused_naming(kvf_grant_create(engine, many, 4097, NULL, &grant), KVF_ERR_INVALID, "count|4097");
    ok(kvf_grant_create(engine, many, 4096, NULL, &grant));
    ok(kvf_grant_revoke(grant, patient(1)));
    refused_naming(kvf_grant_revoke(grant, patient(1)), KVF_ERR_INVALID, "grant");
    free(many);
    ok(kvf_engine_close(engine, patient(1)));
    ok(kvf_engine_close(other, patient(1)));
}
END_TEST

/* There is an end to live grants; it is told, and revoking one makes room. */
START_TEST(too_many_live_grants)
{
    kvf_engine_t *engine = engine_open();
    kvf_segment_t *segment = NULL;
    kvf_range_t range = {.len = 64, .rights = KVF_RIGHT_READ};
    kvf_grant_t *last = NULL;
    kvf_grant_t *grant = NULL;
    kvf_status_t status = KVF_OK;
    uint32_t count = 0;

    ok(kvf_segment_alloc(engine, 4096, &segment));
    range.segment = segment;
    while (count < 200000) {
        status = kvf_grant_create(engine, &range, 1, NULL, &grant);
        if (status != KVF_OK) {
            break;
        }
        last = grant;
        count++;
    }
    must(status == KVF_ERR_NOMEM, "%u grants, then %s", count, kvf_status_name(status));
    must(count >= 1000, "only %u grants", count);
    ok(kvf_grant_revoke(last, patient(1)));
    ok(kvf_grant_create(engine, &range, 1, NULL, &grant));
    ok(kvf_engine_close(engine, patient(5)));
}
END_TEST

START_TEST(grant_export_space)
{
    kvf_engine_t *engine = engine_open();
    kvf_segment_t *segment = NULL;
    kvf_range_t range = {.len = 64, .rights = KVF_RIGHT_READ};
    kvf_grant_t *grant = NULL;
    uint8_t buf[BLOB_MAX];
    size_t need = 0;
    size_t len;

    ok(kvf_segment_alloc(engine, 4096, &segment));
    range.segment = segment;
    ok(kvf_grant_create(engine, &range, 1, NULL, &grant));
    ok(kvf_grant_export(grant, NULL, &need));
    len = need - 1;
    memset(buf, 0xcc, sizeof(buf));
    refused(kvf_grant_export(grant, buf, &len), KVF_ERR_SPACE, NULL);
    must(len == need, "the need is %zu, not %zu", need, len);
    must(buf[need - 1] == 0xcc, "written past the buffer");
    ok(kvf_grant_export(grant, buf, &len));
    must(len == need && buf[need] == 0xcc, "the length");
    refused_naming(kvf_grant_export(grant, buf, NULL), KVF_ERR_INVALID, "len_p");
    ok(kvf_grant_revoke(grant, patient(1)));
    refused_naming(kvf_grant_export(grant, buf, &len), KVF_ERR_INVALID, "grant");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("errors of memory");
    TCase *tc = tcase_create("memory");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, register_errors);
    tcase_add_test(tc, alloc_errors);
    tcase_add_test(tc, pool_create_errors);
    tcase_add_test(tc, pool_call_errors);
    tcase_add_loop_test(tc, grant_create_names_range_and_field, 0,
                        sizeof(bad_ranges) / sizeof(bad_ranges[0]));
    tcase_add_test(tc, grant_create_errors);
    tcase_add_test(tc, too_many_live_grants);
    tcase_add_test(tc, grant_export_space);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

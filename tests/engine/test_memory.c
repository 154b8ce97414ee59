/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Segments over memory that is registered more than once, or may only be read, on every path; what
 * the library's own memory takes, and where its pages go.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LEN  (UINT64_C(1) << 20)
#define HALF (LEN / 2)

/* ------------------------------------------------------ registered more than once */

/* At the owner: three segments over its memory: all of it, all of it again, and its second half. */
static kvf_segment_t *again[3];
static kvf_grant_t *again_grant[3];

static void at_register_thrice(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in;
    (void)in_len;
    (void)out;
    for (int i = 0; i < 3; i++) {
        uint64_t off = i == 2 ? HALF : 0;
        kvf_range_t range = {.len = LEN - off, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

        ok(kvf_segment_register(side->engine, side->mem + off, LEN - off, &again[i]));
        range.segment = again[i];
        ok(kvf_grant_create(side->engine, &range, 1, NULL, &again_grant[i]));
    }
}

static void at_blob_of(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    uint8_t buf[BLOB_MAX];
    uint32_t i;
    size_t len;

    (void)state;
    must(in_len == sizeof(i), "%zu", in_len);
    memcpy(&i, in, sizeof(i));
    grant_blob(again_grant[i], buf, &len);
    out_put(out, buf, len);
}

static void at_unregister(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    uint32_t i;

    (void)state;
    (void)out;
    must(in_len == sizeof(i), "%zu", in_len);
    memcpy(&i, in, sizeof(i));
    answers(kvf_segment_release(again[i]), KVF_ERR_BUSY); /* it is granted */
    ok(kvf_grant_revoke(again_grant[i], patient(5)));
    ok(kvf_segment_release(again[i]));
}

static kvf_status_t read_by(rig_t *rig, kvf_remote_t *remote, uint64_t off, uint64_t from)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, remote, off, 65536, KVF_READ);
    uint8_t *want = malloc(LEN);
    kvf_status_t status;

    must(want != NULL, "no memory");
    memset(rig->me.mem, 0, 65536);
    status = kvf_batch_post(rig->batch, &op, 1, sizeof(op), NULL);
    if (status == KVF_OK) {
        status = kvf_batch_wait(rig->batch, patient(20));
    }
    pattern_fill(want, LEN, 5);
    must(status != KVF_OK || memcmp(rig->me.mem, want + from, 65536) == 0, "wrong bytes");
    free(want);
    return status;
}

START_TEST(giving_back_one_registration_leaves_the_others_alone)
{
    uint32_t gone = (uint32_t)(_i / WHERE_COUNT);
    rig_t rig;
    kvf_remote_t *remote[3] = {NULL};
    uint8_t buf[BLOB_MAX];

    rig_open(&rig, (where_t)(_i % WHERE_COUNT), NULL);
    owner_fill(&rig, 5);
    rig_call(&rig, at_register_thrice, NULL, 0, NULL, 0);
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t count = 1;
        size_t len = rig_call(&rig, at_blob_of, &i, sizeof(i), buf, sizeof(buf));

        ok(kvf_remote_import(rig.peer, buf, len, &remote[i], &count));
        must(read_by(&rig, remote[i], 4096, i == 2 ? HALF + 4096 : 4096) == KVF_OK, "%s", kvf_last_error());
    }
    rig_call(&rig, at_unregister, &gone, sizeof(gone), NULL, 0);
    for (uint32_t i = 0; i < 3; i++) {
        kvf_status_t status = read_by(&rig, remote[i], 8192, i == 2 ? HALF + 8192 : 8192);

        must(i != gone ? status == KVF_OK : status == KVF_ERR_REVOKED || status == KVF_ERR_STALE,
             "registration %u after %u is gone: %s", i, gone, kvf_status_name(status));
    }
    must(read_by(&rig, rig.remote, HALF, HALF) == KVF_OK, "the first of all: %s", kvf_last_error());
    for (uint32_t i = 0; i < 3; i++) {
        ok(kvf_remote_forget(remote[i]));
        if (i != gone) {
            rig_call(&rig, at_unregister, &i, sizeof(i), NULL, 0);
        }
    }
    rig_close(&rig);
}
END_TEST

/* ------------------------------------------------------------ may only be read */

static kvf_segment_t *file_segment;
static kvf_grant_t *file_grant;
static void *file_map;

/* in: MAP_SHARED or MAP_PRIVATE. A file of the pattern, mapped to be read only; out: the blob. */
static void at_grant_file(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_range_t range = {.len = LEN, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    uint8_t *bytes = malloc(LEN);
    uint8_t buf[BLOB_MAX];
    FILE *f = tmpfile();
    int flags;
    size_t len;

    must(in_len == sizeof(flags) && bytes != NULL && f != NULL, "no memory or no file");
    memcpy(&flags, in, sizeof(flags));
    pattern_fill(bytes, LEN, 5);
    must(fwrite(bytes, 1, LEN, f) == LEN && fflush(f) == 0, "no room for a file");
    free(bytes);
    file_map = mmap(NULL, LEN, PROT_READ, flags, fileno(f), 0);
    must(file_map != MAP_FAILED, "no mapping");
    fclose(f);
    ok(kvf_segment_register(side->engine, file_map, LEN, &file_segment));
    ok(kvf_segment_query(file_segment, &attr));
    must(!attr.writable && !attr.shared && attr.len == LEN && attr.page_bytes >= 4096, "the attributes");
    range.segment = file_segment;
    refused_naming(kvf_grant_create(side->engine, &range, 1, NULL, &file_grant), KVF_ERR_PERM, "range 0");
    range.rights = KVF_RIGHT_READ;
    ok(kvf_grant_create(side->engine, &range, 1, NULL, &file_grant));
    grant_blob(file_grant, buf, &len);
    out_put(out, buf, len);
}

static void at_drop_file(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)state;
    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_grant_revoke(file_grant, patient(5)));
    ok(kvf_segment_release(file_segment));
    munmap(file_map, LEN);
}

START_TEST(a_file_mapped_to_be_read_only_is_served_on_every_path)
{
    int flags = _i < WHERE_COUNT ? MAP_SHARED : MAP_PRIVATE;
    where_t where = (where_t)(_i % WHERE_COUNT);
    kvf_path_t own = where != WHERE_SHM ? where_path(where) /* its own memory is out of reach of shm */
                     : cma_works()      ? KVF_PATH_CMA
                                        : KVF_PATH_STAGE;
    kvf_remote_t *remote = NULL;
    uint8_t buf[BLOB_MAX];
    uint32_t count = 1;
    rig_t rig;
    kvf_op_t op;
    kvf_path_t path;
    size_t len;

    rig_open(&rig, where, NULL);
    len = rig_call(&rig, at_grant_file, &flags, sizeof(flags), buf, sizeof(buf));
    ok(kvf_remote_import(rig.peer, buf, len, &remote, &count));
    ok(kvf_path_of(rig.me.segment, remote, 0, &path));
    must(path == own, "%s", kvf_path_name(path));
    must(read_by(&rig, remote, 0, 0) == KVF_OK, "%s", kvf_last_error());
    must(read_by(&rig, remote, LEN - 65536, LEN - 65536) == KVF_OK, "%s", kvf_last_error());
    op = op_plain(rig.me.segment, 0, remote, 0, 64, KVF_WRITE);
    answers(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL), KVF_ERR_PERM);
    ok(kvf_remote_forget(remote));
    rig_call(&rig, at_drop_file, NULL, 0, NULL, 0);
    rig_close(&rig);
}
END_TEST

/* -------------------------------------------------------- the library's own memory */

/* Bytes of the mappings of [addr, addr + len) that are in memory. The sums of /proc/self/status lag. */
static uint64_t resident(const void *addr, uint64_t len)
{
    uint64_t from = (uintptr_t)addr;
    FILE *f = fopen("/proc/self/smaps", "r");
    unsigned long long start;
    unsigned long long end;
    unsigned long long kib;
    uint64_t sum = 0;
    char bits[5];
    char line[512];
    int inside = 0;

    must(f != NULL, "no /proc");
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%llx-%llx %4s", &start, &end, bits) == 3) {
            inside = start < from + len && end > from;
        } else if (inside && sscanf(line, "Rss: %llu", &kib) == 1) {
            sum += kib * 1024;
        }
    }
    fclose(f);
    return sum;
}

/* 3 MiB are what a rounding up to huge pages would make 4 of. */
START_TEST(memory_takes_what_was_asked_for_to_one_percent)
{
    static const uint64_t lens[] = {1, 4096, 4097, 3 << 20, (5 << 20) + 1, 64 << 20};
    kvf_engine_t *engine = NULL;

    ok(kvf_engine_open(NULL, &engine));
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        uint64_t most = (lens[i] + 4095) / 4096 * 4096;
        kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
        kvf_segment_t *segment = NULL;
        uint64_t took;

        ok(kvf_segment_alloc(engine, lens[i], &segment));
        ok(kvf_segment_query(segment, &attr));
        took = resident(attr.addr, lens[i]);
        must(attr.shared && attr.len == lens[i], "the attributes");
        must(attr.region_bytes >= lens[i] && attr.region_bytes <= most + most / 100, "%zu for %zu bytes",
             (size_t)attr.region_bytes, (size_t)lens[i]);
        must(attr.page_bytes >= 4096 && attr.huge_bytes <= attr.region_bytes, "pages");
        must(attr.numa_node >= -1 && !attr.adopted, "node %d", attr.numa_node);
        /* pages set aside are not counted as resident; all others were touched */
        must(attr.page_bytes > 4096 || (took >= most && took <= most + most / 100),
             "%zu bytes resident for %zu", (size_t)took, (size_t)lens[i]);
        ok(kvf_segment_release(segment));
    }
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

#define POLICY_LOCAL 4

static int policy(void)
{
    int now = -1;

    return syscall(SYS_get_mempolicy, &now, NULL, 0, NULL, 0) == 0 ? now : -1;
}

/* Whether a policy of the caller's own is in force or none, it is the same one afterwards. */
START_TEST(the_threads_memory_policy_is_as_it_was)
{
    kvf_engine_t *engine = NULL;
    kvf_segment_t *segment = NULL;
    int before;

    if (_i == 1 && syscall(SYS_set_mempolicy, POLICY_LOCAL, NULL, 0) != 0) {
        return; /* a container may forbid it, and then there is none to keep */
    }
    before = policy();
    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_segment_alloc(engine, 1 << 20, &segment));
    must(policy() == before, "policy %d, not %d", policy(), before);
    answers(kvf_segment_alloc(engine, UINT64_C(1) << 50, &segment), KVF_ERR_NOMEM);
    must(policy() == before, "policy %d, not %d, after a failure", policy(), before);
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *tc = tcase_create("memory");

    tcase_set_timeout(tc, 40);
    tcase_add_loop_test(tc, giving_back_one_registration_leaves_the_others_alone, 0, 3 * WHERE_COUNT);
    tcase_add_loop_test(tc, a_file_mapped_to_be_read_only_is_served_on_every_path, 0, 2 * WHERE_COUNT);
    tcase_add_test(tc, memory_takes_what_was_asked_for_to_one_percent);
    tcase_add_loop_test(tc, the_threads_memory_policy_is_as_it_was, 0, 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

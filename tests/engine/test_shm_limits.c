/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Four processes whose /dev/shm is smaller than their pools, smaller than UCX's own queues, or full;
 * with System V segments and without them. Each gets its memory, or an error that names the mount and
 * its size; nobody ever dies of SIGBUS, neither the owner nor who reads from it.
 */
#define _GNU_SOURCE
#include "rig.h"
#include "world.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define RANKS 4
#define MIB   (UINT64_C(1) << 20)

typedef struct had {
    kvf_status_t status;
    uint32_t shared;
    char sentence[512];
} had_t;

/* in: nothing. Opens an engine; out: what it logged. */
static void open_and_tell(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .net = "tcp"};
    int was = dup(2);
    int log = memfd_create("log", 0);
    char text[2048] = "";
    ssize_t n;

    (void)in;
    (void)in_len;
    must(was >= 0 && log >= 0 && dup2(log, 2) == 2, "no file for the log");
    ok(kvf_engine_open(&opts, &side->engine));
    if (kvf_engine_path_check(side->engine, KVF_PATH_SHM) != KVF_OK) {
        must(strstr(kvf_last_error(), "/dev/shm has") != NULL, "%s", kvf_last_error());
    }
    dup2(was, 2);
    n = pread(log, text, sizeof(text) - 1, 0);
    must(n >= 0, "the log");
    close(log);
    close(was);
    out_put(out, text, (size_t)n + 1);
}

/* in: bytes of a pool. out: had_t. What was had is filled and granted. */
static void try_pool(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_pool_opts_t opts = {.struct_size = sizeof(opts), .block_bytes = 65536};
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_range_t range = {.rights = KVF_RIGHT_READ};
    had_t had = {0};
    uint64_t len;

    must(in_len == sizeof(len), "%zu", in_len);
    memcpy(&len, in, sizeof(len));
    opts.blocks = (uint32_t)(len / opts.block_bytes);
    had.status = kvf_pool_create(side->engine, &opts, &side->pool);
    snprintf(had.sentence, sizeof(had.sentence), "%s", had.status != KVF_OK ? kvf_last_error() : "");
    if (had.status == KVF_OK) {
        side->segment = kvf_pool_segment(side->pool);
        ok(kvf_segment_query(side->segment, &attr));
        must(attr.region_bytes >= len && attr.region_bytes <= len + len / 100 + 4096, "%zu bytes for %zu",
             (size_t)attr.region_bytes, (size_t)len);
        had.shared = attr.shared;
        side->mem = attr.addr;
        side->len = attr.len;
        pattern_fill(side->mem, side->len, (uint64_t)getpid());
        range.segment = side->segment;
        range.len = len;
        ok(kvf_grant_create(side->engine, &range, 1, NULL, &side->grant));
    }
    out_put(out, &had, sizeof(had));
}

typedef struct read_all {
    uint32_t slot;
    int pid;
    uint64_t len;
} read_all_t;

/* Reads all of a peer's pool, a MiB at a time, and compares. */
static void read_all_of(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    read_all_t what;
    uint8_t *mem = malloc(MIB);
    uint8_t *want = malloc(side->len > MIB ? side->len : 256 * MIB);
    kvf_segment_t *segment = NULL;
    kvf_batch_t *batch = NULL;
    kvf_op_t op;

    (void)out;
    must(in_len == sizeof(what) && mem != NULL && want != NULL, "no memory");
    memcpy(&what, in, sizeof(what));
    ok(kvf_segment_register(side->engine, mem, MIB, &segment));
    ok(kvf_batch_create(side->engine, &batch));
    pattern_fill(want, what.len, (uint64_t)what.pid);
    for (uint64_t at = 0; at < what.len; at += MIB) {
        op = op_plain(segment, 0, side->remote[what.slot], at, MIB, KVF_READ);
        must(run_ops(batch, &op, 1, NULL) == KVF_OK, "%s", kvf_last_error());
        must(memcmp(mem, want + at, MIB) == 0, "wrong bytes at %zu", (size_t)at);
    }
    ok(kvf_batch_free(batch));
    ok(kvf_segment_release(segment));
    free(mem);
    free(want);
}

static void meet(proc_t *reader, uint32_t slot, proc_t *owner, uint64_t len)
{
    uint8_t buf[sizeof(side_slot_t) + BLOB_MAX];
    side_slot_t where = {.slot = slot};
    read_all_t what = {.slot = slot, .pid = owner->pid, .len = len};
    uint32_t flags = KVF_BLOB_FAR;
    size_t n;

    memcpy(buf, &where, sizeof(where));
    n = proc_call(owner, side_blob, &flags, sizeof(flags), buf + sizeof(where), BLOB_MAX);
    proc_call(reader, side_import_peer, buf, sizeof(where) + n, NULL, 0);
    n = proc_call(owner, side_grant_blob, NULL, 0, buf + sizeof(where), BLOB_MAX);
    proc_call(reader, side_import_remote, buf, sizeof(where) + n, NULL, 0);
    proc_call(reader, read_all_of, &what, sizeof(what), NULL, 0);
}

/* All at once; had[] is what each got. Everybody then reads all that the next who has something has. */
static void pools(proc_t *ranks, uint64_t len, had_t *had)
{
    for (int i = 0; i < RANKS; i++) {
        proc_ask(&ranks[i], try_pool, &len, sizeof(len));
    }
    for (int i = 0; i < RANKS; i++) {
        proc_reply(&ranks[i], &had[i], sizeof(had[i]));
    }
    for (int i = 0; i < RANKS; i++) {
        int owner = (i + 1) % RANKS;

        while (owner != i && had[owner].status != KVF_OK) {
            owner = (owner + 1) % RANKS;
        }
        if (owner != i) {
            meet(&ranks[i], (uint32_t)owner, &ranks[owner], len);
        }
    }
}

static void start(proc_t *ranks, char logs[RANKS][2048])
{
    for (int i = 0; i < RANKS; i++) {
        proc_start(&ranks[i], sizeof(side_t), 60, side_idle);
    }
    for (int i = 0; i < RANKS; i++) {
        proc_ask(&ranks[i], open_and_tell, NULL, 0);
    }
    for (int i = 0; i < RANKS; i++) {
        proc_reply(&ranks[i], logs[i], 2048);
    }
}

static void leave(proc_t *ranks)
{
    for (int i = 0; i < RANKS; i++) {
        proc_call(&ranks[i], side_close, NULL, 0, NULL, 0);
    }
    for (int i = 0; i < RANKS; i++) {
        proc_end(&ranks[i]);
    }
}

static const struct {
    uint64_t size;
    int full;
    const char *name; /* of the size, in a sentence */
} mounts[] = {
    {64 * MIB, 0, "67108864"},
    {4 * MIB, 0, "4194304"},
    {64 * MIB, 1, "67108864"},
};

START_TEST(a_small_or_full_dev_shm_is_no_matter_where_system_v_works)
{
    proc_t ranks[RANKS];
    had_t had[RANKS];
    char logs[RANKS][2048];

    world_enter(0);
    world_mount("/dev/shm", mounts[_i].size);
    if (mounts[_i].full) {
        world_fill_shm();
    }
    start(ranks, logs);
    pools(ranks, _i == 0 ? 256 * MIB : 72 * MIB, had);
    for (int i = 0; i < RANKS; i++) {
        must(logs[i][0] == '\0', "rank %d logs: %s", i, logs[i]);
        must(had[i].status == KVF_OK && had[i].shared, "rank %d: %s", i, had[i].sentence);
    }
    must(world_names("/dev/shm") == (mounts[_i].full ? 1u : 0u), "something is in /dev/shm");
    leave(ranks);
}
END_TEST

START_TEST(a_pool_that_dev_shm_cannot_hold_names_it_and_its_size)
{
    proc_t ranks[RANKS];
    had_t had[RANKS];
    char logs[RANKS][2048];

    world_enter(0);
    world_forbid_sysv();
    world_mount("/dev/shm", mounts[_i].size);
    if (mounts[_i].full) {
        world_fill_shm();
    }
    start(ranks, logs);
    pools(ranks, _i == 0 ? 256 * MIB : 72 * MIB, had);
    for (int i = 0; i < RANKS; i++) {
        const char *told = had[i].status != KVF_OK ? had[i].sentence : logs[i];

        /* with no room for the queues of UCX the engine says so, and its memory is its own */
        must(had[i].status == KVF_ERR_NOMEM || (had[i].status == KVF_OK && !had[i].shared),
             "rank %d: %s, shared %u", i, kvf_status_name(had[i].status), had[i].shared);
        must(strstr(told, "/dev/shm") != NULL && strstr(told, mounts[_i].name) != NULL,
             "rank %d is told: \"%s\"", i, told);
    }
    pools(ranks, MIB, had);
    for (int i = 0; i < RANKS; i++) {
        must(had[i].status == KVF_OK, "rank %d: %s", i, had[i].sentence);
        must(_i != 0 || had[i].shared, "there was room for a small one");
    }
    leave(ranks);
}
END_TEST

START_TEST(four_that_want_the_last_of_dev_shm_at_once_get_it_or_an_error)
{
    proc_t ranks[RANKS];
    had_t had[RANKS];
    char logs[RANKS][2048];
    int got = 0;

    world_enter(0);
    world_forbid_sysv();
    world_mount("/dev/shm", 64 * MIB);
    start(ranks, logs);
    pools(ranks, 16 * MIB, had);
    for (int i = 0; i < RANKS; i++) {
        got += had[i].status == KVF_OK;
        must(had[i].status == KVF_OK ? had[i].shared : strstr(had[i].sentence, "/dev/shm") != NULL,
             "rank %d: %s", i, had[i].sentence);
    }
    must(got < RANKS, "64 MiB held four times 16 and the queues");
    leave(ranks);
}
END_TEST

/* ------------------------------------------------- limits of System V memory */

static uint64_t shm_free(void)
{
    struct statvfs fs;

    must(statvfs("/dev/shm", &fs) == 0, "no /dev/shm");
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* kernel.shmall and kernel.shmmax of 32 MiB, beside a /dev/shm of half or of four times that. */
START_TEST(the_kind_that_may_be_larger_is_used)
{
    int posix = _i & 1;
    uint64_t size = posix ? 128 * MIB : 16 * MIB;
    kvf_engine_t *engine = NULL;
    kvf_segment_t *segment = NULL;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};

    world_enter(0);
    world_mount("/dev/shm", size);
    world_limit_sysv(_i < 2 ? "shmall" : "shmmax", _i < 2 ? "8192" : "33554432");
    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_segment_alloc(engine, 20 * MIB, &segment));
    ok(kvf_segment_query(segment, &attr));
    must(attr.shared, "it is not shared");
    must(posix ? shm_free() <= size - 20 * MIB : shm_free() == size, "%zu bytes free in /dev/shm",
         (size_t)shm_free());
    refused_naming(kvf_segment_alloc(engine, 200 * MIB, &segment), KVF_ERR_NOMEM,
                   posix ? "/dev/shm|134217728" : "kernel.shmmax|kernel.shmall|33554432");
    ok(kvf_engine_close(engine, patient(1)));
    /* one segment tells others that this process lives */
    must(world_names("/dev/shm") == 0 && world_segments() <= 1 && shm_free() == size, "something is left");
}
END_TEST

START_TEST(no_system_v_segment_left_names_the_limit)
{
    kvf_engine_t *engine = NULL;
    kvf_segment_t *segments[16] = {NULL};
    kvf_status_t status = KVF_OK;
    int count = 0;

    world_enter(0);
    world_limit_sysv("shmmni", "9");
    ok(kvf_engine_open(NULL, &engine));
    while (count < 16 && status == KVF_OK) {
        status = kvf_segment_alloc(engine, 4096, &segments[count]);
        count += status == KVF_OK;
    }
    must(count > 0 && count < 9 && status == KVF_ERR_NOMEM, "%d segments, %s", count,
         kvf_status_name(status));
    must(strstr(kvf_last_error(), "kernel.shmmni") != NULL, "%s", kvf_last_error());
    ok(kvf_segment_release(segments[0]));
    ok(kvf_segment_alloc(engine, 4096, &segments[0]));
    world_limit_sysv("shmmni", "0");
    refused_naming(kvf_segment_alloc(engine, 4096, &segments[1]), KVF_ERR_NOMEM, "kernel.shmmni");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shm_limits");
    TCase *tc = tcase_create("shm_limits");

    world_needed();
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_small_or_full_dev_shm_is_no_matter_where_system_v_works, 0, 3);
    tcase_add_loop_test(tc, a_pool_that_dev_shm_cannot_hold_names_it_and_its_size, 0, 3);
    tcase_add_test(tc, four_that_want_the_last_of_dev_shm_at_once_get_it_or_an_error);
    tcase_add_loop_test(tc, the_kind_that_may_be_larger_is_used, 0, 4);
    tcase_add_test(tc, no_system_v_segment_left_names_the_limit);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

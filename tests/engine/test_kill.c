/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The kill matrix: an owner or a reader dies of SIGKILL in the middle of a batch. Each batch of the
 * others ends within 5 s, OK with the right bytes or PEER; each later post says PEER; a third process
 * is not disturbed; a freshly opened engine is imported and works; nothing piles up in the survivor. And who
 * is imported while the kernel takes it apart has died, and is not far.
 */
#include "rig.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "forbid.h"

#define BIG      (UINT64_C(16) << 20)
#define CHILDREN 3 /* the victim, a bystander, and the one that opens its engine after the death */

typedef struct stage {
    where_t where;
    uint32_t flags;
    proc_t child[CHILDREN];
    kvf_engine_t *engine;
    kvf_segment_t *segment;
    uint8_t *mem;
    kvf_peer_t *peer[CHILDREN];
    kvf_remote_t *remote[CHILDREN];
} stage_t;

static void child_open(proc_t *child, where_t where, uint64_t rank)
{
    side_open_t open;
    side_mem_t mem = {.len = BIG, .shared = where == WHERE_SHM, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

    memset(&open, 0, sizeof(open));
    where_opts(where, &open.opts);
    snprintf(open.net, sizeof(open.net), "%s", open.opts.net != NULL ? open.opts.net : "");
    open.opts.net = NULL;
    open.opts.rank = rank;
    open.forbid_cma = where == WHERE_STAGE;
    proc_call(child, side_open_engine, &open, sizeof(open), NULL, 0);
    proc_call(child, side_make_memory, &mem, sizeof(mem), NULL, 0);
}

/* in: u64 seed */
static void at_fill(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint64_t seed;

    (void)out;
    memcpy(&seed, in, in_len);
    pattern_fill(side->mem, side->len, seed);
}

/* Imports each other; the child's memory holds pattern(100 + i). */
static void meet(stage_t *s, int i)
{
    uint8_t buf[sizeof(side_slot_t) + BLOB_MAX];
    uint64_t seed = 100 + (uint64_t)i;
    uint32_t count = 1;
    size_t len;

    child_open(&s->child[i], s->where, seed);
    proc_call(&s->child[i], at_fill, &seed, sizeof(seed), NULL, 0);
    len = proc_call(&s->child[i], side_blob, &s->flags, sizeof(s->flags), buf, sizeof(buf));
    ok(kvf_peer_import(s->engine, buf, len, &s->peer[i]));
    len = proc_call(&s->child[i], side_grant_blob, NULL, 0, buf, sizeof(buf));
    ok(kvf_remote_import(s->peer[i], buf, len, &s->remote[i], &count));
    memset(buf, 0, sizeof(side_slot_t));
    engine_blob(s->engine, s->flags, buf + sizeof(side_slot_t), &len);
    proc_call(&s->child[i], side_import_peer, buf, sizeof(side_slot_t) + len, NULL, 0);
    if (s->where == WHERE_AM) {
        far_stands(s->engine, s->peer[i], &s->child[i]);
    }
}

static void stage_open(stage_t *s, where_t where)
{
    kvf_engine_opts_t opts;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};

    memset(s, 0, sizeof(*s));
    s->where = where;
    s->flags = where == WHERE_AM ? KVF_BLOB_FAR : 0;
    for (int i = 0; i < CHILDREN; i++) {
        proc_start(&s->child[i], sizeof(side_t), 60, side_idle);
    }
    where_opts(where, &opts);
    must(where != WHERE_STAGE || forbid_cma(EPERM) == 0, "seccomp: %s", strerror(errno));
    ok(kvf_engine_open(&opts, &s->engine));
    ok(kvf_segment_alloc(s->engine, 4 * BIG, &s->segment));
    ok(kvf_segment_query(s->segment, &attr));
    s->mem = attr.addr;
    meet(s, 0);
    meet(s, 1);
}

static void stage_close(stage_t *s)
{
    kvf_status_t status = kvf_engine_close(s->engine, patient(10));

    /* that the connection to a far owner broke in a WRITE does not say that it is dead */
    must(status == KVF_OK || (s->where == WHERE_AM && status == KVF_ERR_TIMEOUT &&
                              strstr(kvf_last_error(), "connection broke") != NULL),
         "close: %s", kvf_last_error());
    for (int i = 0; i < CHILDREN; i++) {
        if (s->child[i].pid != 0) {
            proc_call(&s->child[i], side_close, NULL, 0, NULL, 0);
            proc_end(&s->child[i]);
        }
    }
}

/* A thread that runs one batch after another until one does not end OK. */
typedef struct runner {
    pthread_t thread;
    stage_t *stage;
    int child;
    uint32_t dir;
    uint64_t off; /* of its part of our memory */
    _Atomic int stop;
    uint64_t rounds;
    uint64_t ended_ns;
    kvf_status_t status;
} runner_t;

static void *runs(void *arg)
{
    runner_t *r = arg;
    stage_t *s = r->stage;
    kvf_op_t op = op_plain(s->segment, r->off, s->remote[r->child], 0, 4096, r->dir);
    kvf_batch_t *batch = NULL;

    op.blocks = (uint32_t)(BIG / 8192);
    op.local_block = op.remote_block = 8192;
    op.remote_off = r->dir == KVF_WRITE ? r->off / BIG % 2 * 4096 : 0; /* each writes its own */
    ok(kvf_batch_create(s->engine, &batch));
    do {
        if (r->dir == KVF_READ && r->rounds % 4 == 0) { /* mostly it copies, not looks */
            memset(s->mem + r->off, 0, BIG);
        }
        r->status = kvf_batch_post(batch, &op, 1, sizeof(op), NULL);
        if (r->status == KVF_OK) {
            r->status = kvf_batch_wait(batch, patient(20));
        }
        r->ended_ns = now_ns();
        r->rounds++;
        if (r->status == KVF_OK && r->dir == KVF_READ && r->rounds % 4 == 1) {
            uint8_t *want = malloc(BIG);

            pattern_fill(want, BIG, 100 + (uint64_t)r->child);
            for (uint64_t at = 0; at < BIG; at += 8192) {
                must(memcmp(s->mem + r->off + at, want + at, 4096) == 0, "OK with wrong bytes at %zu",
                     (size_t)at);
            }
            free(want);
        }
    } while (r->status == KVF_OK && !r->stop);
    kvf_batch_free(batch);
    return NULL;
}

static void runner_start(runner_t *r, stage_t *s, int child, uint32_t dir, int slot)
{
    memset(r, 0, sizeof(*r));
    r->stage = s;
    r->child = child;
    r->dir = dir;
    r->off = (uint64_t)slot * BIG;
    must(pthread_create(&r->thread, NULL, runs, r) == 0, "no thread");
}

/* Each later post says PEER: at once where a batch found out, else from state at most 1 s old. */
static void posts_say_peer(stage_t *s, int child, unsigned old_ms)
{
    kvf_op_t op = op_plain(s->segment, 0, s->remote[child], 0, 64, KVF_READ);
    kvf_batch_opts_t note = {
        .struct_size = sizeof(note), .notify_peer = s->peer[child], .notify = "x", .notify_len = 1};
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_batch_t *batch = NULL;
    kvf_status_t status;

    ok(kvf_batch_create(s->engine, &batch));
    sleep_ms(old_ms);
    for (int i = 0; i < 5; i++) {
        op.dir = (uint32_t)i & 1;
        status = kvf_batch_post(batch, &op, 1, sizeof(op), NULL);
        must(status == KVF_ERR_PEER, "post %d after the death: %s", i, kvf_status_name(status));
    }
    status = kvf_batch_post(batch, NULL, 0, sizeof(op), &note);
    if (status == KVF_OK) {
        status = kvf_batch_wait(batch, patient(5));
    }
    must(status == KVF_ERR_PEER, "a notification after the death: %s", kvf_status_name(status));
    ok(kvf_peer_query(s->peer[child], &attr));
    must(attr.alive == 0, "known as alive");
    ok(kvf_batch_free(batch));
    ok(kvf_remote_forget(s->remote[child]));
    ok(kvf_peer_forget(s->peer[child]));
}

static void fresh_child_works(stage_t *s)
{
    kvf_op_t op;
    kvf_batch_t *batch = NULL;

    meet(s, 2);
    op = op_plain(s->segment, 0, s->remote[2], 0, BIG, KVF_READ);
    ok(kvf_batch_create(s->engine, &batch));
    must(run_ops(batch, &op, 1, NULL) == KVF_OK, "%s", kvf_last_error());
    must(pattern_compare(s->mem, BIG, 102) == UINT64_MAX, "wrong bytes of the fresh one");
    ok(kvf_batch_free(batch));
}

/* _i: path and kind of batch; killed after 1 to 20 ms of batches. */
START_TEST(an_owner_killed_in_a_batch)
{
    stage_t s;
    runner_t victim[2];
    runner_t other;
    uint64_t killed_ns;

    stage_open(&s, (where_t)(WHERE_SHM + _i / 2));
    runner_start(&victim[0], &s, 0, (uint32_t)_i & 1, 0);
    runner_start(&victim[1], &s, 0, (uint32_t)_i & 1, 1);
    runner_start(&other, &s, 1, KVF_READ, 2);
    sleep_ms(60 + 7 * (unsigned)_i);
    killed_ns = now_ns();
    proc_signal(&s.child[0], SIGKILL);
    for (int i = 0; i < 2; i++) {
        pthread_join(victim[i].thread, NULL);
        must(victim[i].status == KVF_ERR_PEER, "%s", kvf_status_name(victim[i].status));
        must(victim[i].ended_ns - killed_ns < patient(5), "ended after %zu ms",
             (size_t)((victim[i].ended_ns - killed_ns) / MS));
    }
    sleep_ms(50);
    other.stop = 1;
    pthread_join(other.thread, NULL);
    must(other.status == KVF_OK && other.rounds > 0, "the bystander: %s after %zu rounds",
         kvf_status_name(other.status), (size_t)other.rounds);
    posts_say_peer(&s, 0, 0);
    fresh_child_works(&s);
    stage_close(&s);
}
END_TEST

/* Reads or writes remote[0] without end. in: u32 direction */
static void *child_runs(void *arg)
{
    side_t *side = arg;
    kvf_segment_t *own = NULL; /* what others read of us stays as it is */
    kvf_op_t op =
        op_plain(NULL, 0, side->remote[0], 0, side->len, side->extra[0] != NULL ? KVF_WRITE : KVF_READ);

    ok(kvf_segment_alloc(side->engine, side->len, &own));
    op.segment = own;
    ok(kvf_batch_create(side->engine, &side->batch));
    while (kvf_batch_post(side->batch, &op, 1, sizeof(op), NULL) == KVF_OK &&
           kvf_batch_wait(side->batch, patient(20)) == KVF_OK) {
    }
    return NULL;
}

static void at_run(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    pthread_t thread;
    uint32_t dir = 0;

    (void)out;
    memcpy(&dir, in, in_len);
    side->extra[0] = dir == KVF_WRITE ? side : NULL;
    must(pthread_create(&thread, NULL, child_runs, side) == 0, "no thread");
    pthread_detach(thread);
}

static void give_grant(stage_t *s, kvf_grant_t *grant, int i)
{
    uint8_t buf[sizeof(side_slot_t) + BLOB_MAX];
    size_t len;

    memset(buf, 0, sizeof(side_slot_t));
    grant_blob(grant, buf + sizeof(side_slot_t), &len);
    proc_call(&s->child[i], side_import_remote, buf, sizeof(side_slot_t) + len, NULL, 0);
}

/* Two readers (or writers) of our memory, one dies in its batch: our own batches, revoke and the
 * other go on. */
START_TEST(a_reader_killed_in_a_batch)
{
    stage_t s;
    kvf_grant_t *grant = NULL;
    kvf_range_t range = {.len = BIG, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    uint32_t dir = (uint32_t)_i & 1;
    runner_t ours;
    uint64_t before;
    int own_memory;

    stage_open(&s, (where_t)(WHERE_SHM + _i / 2));
    own_memory = s.where == WHERE_CMA || s.where == WHERE_STAGE;
    if (own_memory) { /* they must come over cma or stage */
        void *own = NULL;

        must(posix_memalign(&own, 4096, BIG) == 0, "no memory");
        ok(kvf_segment_register(s.engine, own, BIG, &range.segment));
    } else {
        range.segment = s.segment;
    }
    range.off = own_memory ? 0 : 3 * BIG;
    ok(kvf_grant_create(s.engine, &range, 1, NULL, &grant));
    give_grant(&s, grant, 0);
    give_grant(&s, grant, 1);
    proc_call(&s.child[0], at_run, &dir, sizeof(dir), NULL, 0);
    proc_call(&s.child[1], at_run, &dir, sizeof(dir), NULL, 0);
    runner_start(&ours, &s, 1, KVF_READ, 0);
    sleep_ms(40 + 9 * (unsigned)_i);
    proc_signal(&s.child[0], SIGKILL);
    sleep_ms(100);
    ours.stop = 1;
    pthread_join(ours.thread, NULL);
    must(ours.status == KVF_OK, "our own batch with the other: %s", kvf_status_name(ours.status));
    before = now_ns();
    ok(kvf_grant_revoke(grant, patient(10)));
    must(now_ns() - before < patient(5), "the dead one held up the revoke");
    if (dir == KVF_READ) {
        posts_say_peer(&s, 0, 1100);
    }
    fresh_child_works(&s);
    sleep_ms(50);
    stage_close(&s);
}
END_TEST

/* ----------------------------------------------------------------- a steady one */

static int open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

#define NEWCOMERS 10

/* Drives the engine until no more descriptors than that are open, for a few seconds at most: whether a
 * neighbour lives is looked at now and then. */
static int settles_at(kvf_engine_t *engine, int most)
{
    for (int k = 0; k < 20 || (k < 3000 * (int)patience() && open_fds() > most); k++) {
        ok(kvf_progress(engine));
        sleep_ms(1);
    }
    return open_fds();
}

/* Readers come and die; the survivor's descriptors do not grow. */
START_TEST(newcomers_after_deaths_leave_nothing_behind)
{
    stage_t s;
    proc_t more[NEWCOMERS];
    int fds = 0, most, left;

    for (int i = 0; i < NEWCOMERS; i++) {
        proc_start(&more[i], sizeof(side_t), 60, side_idle);
    }
    stage_open(&s, (where_t)_i);
    for (int i = 0; i < NEWCOMERS; i++) {
        kvf_op_t op;
        kvf_batch_t *batch = NULL;

        s.child[2] = more[i];
        meet(&s, 2);
        op = op_plain(s.segment, 0, s.remote[2], 0, 65536, KVF_READ);
        ok(kvf_batch_create(s.engine, &batch));
        must(run_ops(batch, &op, 1, NULL) == KVF_OK, "newcomer %d: %s", i, kvf_last_error());
        op.remote = s.remote[1];
        must(run_ops(batch, &op, 1, NULL) == KVF_OK, "the steady one: %s", kvf_last_error());
        ok(kvf_batch_free(batch));
        proc_signal(&s.child[2], SIGKILL);
        ok(kvf_remote_forget(s.remote[2]));
        ok(kvf_peer_forget(s.peer[2]));
        /* each newcomer's socket to the test goes too */
        most = i <= 3 ? INT_MAX : fds - (i - 3);
        left = settles_at(s.engine, most);
        must(left <= most, "%d descriptors, %d after the fourth", left, fds);
        if (i == 3) {
            fds = left;
        }
    }
    s.child[2].pid = 0;
    stage_close(&s);
}
END_TEST

/* --------------------------------------------------------------- who is dying */

#define DYING 6

static void *sleep_on(void *arg)
{
    for (;;) {
        pause();
    }
    return arg;
}

/* What makes its end long: memory and descriptors to give back, threads to end. */
static void at_grow(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    struct rlimit files = {900, 900};
    size_t len = (size_t)64 << 20;
    pthread_t thread;
    void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    (void)in;
    (void)in_len;
    (void)out;
    must(mem != MAP_FAILED, "no memory");
    madvise(mem, len, MADV_NOHUGEPAGE);
    memset(mem, 1, len);
    setrlimit(RLIMIT_NOFILE, &files);
    while (open("/proc/self/stat", O_RDONLY | O_CLOEXEC) >= 0) {
    }
    for (int i = 0; i < 3; i++) {
        must(pthread_create(&thread, NULL, sleep_on, NULL) == 0, "no thread");
    }
}

typedef struct blobs {
    uint8_t peer[BLOB_MAX], grant[BLOB_MAX];
    size_t peer_len, grant_len;
} blobs_t;

/* One import of all, and a read: 0 once its end is known. Nothing but PEER tells of it. */
static int sees_it_alive(kvf_engine_t *engine, kvf_segment_t *segment, kvf_batch_t *batch,
                         const blobs_t *blobs)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .paths = KVF_PATH_BIT(KVF_PATH_CMA)};
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_status_t status;
    kvf_remote_t *remote = NULL;
    kvf_peer_t *peer;
    uint32_t count = 1;
    kvf_op_t op;

    status = kvf_peer_import(engine, blobs->peer, blobs->peer_len, &peer);
    must(status == KVF_OK || status == KVF_ERR_PEER, "import: %s", kvf_last_error());
    if (status != KVF_OK) {
        return 0;
    }
    ok(kvf_peer_query(peer, &attr));
    must(attr.locality == KVF_LOCALITY_NODE, "far: %s", attr.why_far);
    status = kvf_remote_import(peer, blobs->grant, blobs->grant_len, &remote, &count);
    must(status == KVF_OK || status == KVF_ERR_PEER, "remote: %s", kvf_last_error());
    if (status == KVF_OK) {
        op = op_plain(segment, 0, remote, 0, 4096, KVF_READ);
        status = kvf_batch_post(batch, &op, 1, sizeof(op), &opts);
        if (status == KVF_OK) {
            status = kvf_batch_wait(batch, patient(20));
        }
        must(status == KVF_OK || status == KVF_ERR_PEER, "read: %s", kvf_last_error());
        ok(kvf_remote_forget(remote));
    }
    ok(kvf_peer_forget(peer));
    return 1;
}

/* Its memory goes long before the kernel calls it ended. */
START_TEST(a_dying_neighbour_is_neither_far_nor_without_a_path)
{
    static blobs_t blobs;
    proc_t child[DYING];
    kvf_engine_t *engine;
    kvf_segment_t *segment;
    kvf_batch_t *batch;

    if (!cma_works()) {
        return;
    }
    for (int i = 0; i < DYING; i++) {
        proc_start(&child[i], sizeof(side_t), 60, NULL);
    }
    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_segment_alloc(engine, 4096, &segment));
    ok(kvf_batch_create(engine, &batch));
    for (int i = 0; i < DYING; i++) {
        uint32_t flags = 0;

        child_open(&child[i], WHERE_CMA, 7);
        proc_call(&child[i], at_grow, NULL, 0, NULL, 0);
        blobs.peer_len = proc_call(&child[i], side_blob, &flags, sizeof(flags), blobs.peer, BLOB_MAX);
        blobs.grant_len = proc_call(&child[i], side_grant_blob, NULL, 0, blobs.grant, BLOB_MAX);
        must(sees_it_alive(engine, segment, batch, &blobs), "%s", kvf_last_error());
        kill(child[i].pid, SIGKILL);
        while (sees_it_alive(engine, segment, batch, &blobs)) {
        }
        proc_signal(&child[i], SIGKILL); /* reaps */
    }
    ok(kvf_engine_close(engine, patient(5)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kill");
    TCase *tc = tcase_create("kill");
    TCase *dying = tcase_create("dying");

    tcase_set_timeout(tc, 40);
    tcase_set_timeout(dying, 40);
    tcase_add_loop_test(tc, an_owner_killed_in_a_batch, 0, 8);
    tcase_add_loop_test(tc, a_reader_killed_in_a_batch, 0, 8);
    tcase_add_loop_test(tc, newcomers_after_deaths_leave_nothing_behind, WHERE_SHM, WHERE_COUNT);
    tcase_add_test(dying, a_dying_neighbour_is_neither_far_nor_without_a_path);
    suite_add_tcase(suite, tc);
    suite_add_tcase(suite, dying);
    return run_suite(suite);
}

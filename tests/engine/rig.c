/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Rigs of the engine tests: see rig.h. Everything here that a child runs takes its side_t and fails
 * the test through check_failed(); nothing is repaired, and nothing skipped but rigs over cma where the
 * kernel forbids it.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "forbid.h"

const char *where_name(where_t where)
{
    static const char *const names[] = {"self", "twin", "shm", "cma", "stage", "am"};

    return names[where];
}

kvf_path_t where_path(where_t where)
{
    static const kvf_path_t paths[] = {KVF_PATH_SELF, KVF_PATH_SELF,  KVF_PATH_SHM,
                                       KVF_PATH_CMA,  KVF_PATH_STAGE, KVF_PATH_AM};

    return paths[where];
}

/* 1 if that process may copy from and to the memory of pid, at the address of a word of ours. */
static int reaches(pid_t pid)
{
    uint64_t word = 5, copy = 0;
    struct iovec here = {&copy, sizeof(copy)};
    struct iovec there = {&word, sizeof(word)};

    return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)sizeof(word) &&
           process_vm_writev(pid, &here, 1, &there, 1, 0) == (ssize_t)sizeof(word);
}

static int cma_between(int from_child)
{
    int fds[2], status = 0, works;
    pid_t parent = getpid(), child;

    must(pipe(fds) == 0, "%s", strerror(errno));
    child = fork();
    must(child >= 0, "%s", strerror(errno));
    if (child == 0) {
        char byte;

        close(fds[1]);
        works = from_child ? reaches(parent) : read(fds[0], &byte, 1) == 0;
        _exit(works ? 0 : 1);
    }
    works = from_child || reaches(child);
    close(fds[0]);
    close(fds[1]);
    must(waitpid(child, &status, 0) == child, "%s", strerror(errno));
    return works && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int cma_from_children(void)
{
    return cma_between(1);
}

int cma_works(void)
{
    return cma_between(0);
}

void where_opts(where_t where, kvf_engine_opts_t *opts)
{
    memset(opts, 0, sizeof(*opts));
    opts->struct_size = sizeof(*opts);
    if (where == WHERE_CMA) {
        opts->pack = KVF_PACK_DIRECT; /* else many short pieces would go over stage */
    }
    if (where == WHERE_AM) {
        opts->local = KVF_SWITCH_OFF;
        opts->net = "tcp";
    }
}

/* ------------------------------------------------------------------ pattern */

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void pattern_fill(uint8_t *mem, uint64_t len, uint64_t seed)
{
    uint64_t key = mix(seed);

    for (uint64_t at = 0; at < len; at += 8) {
        uint64_t word = mix(key + at);

        memcpy(mem + at, &word, len - at < 8 ? len - at : 8);
    }
}

uint64_t pattern_compare(const uint8_t *mem, uint64_t len, uint64_t seed)
{
    uint64_t key = mix(seed);

    for (uint64_t at = 0; at < len; at += 8) {
        uint64_t word = mix(key + at);
        uint64_t n = len - at < 8 ? len - at : 8;

        if (memcmp(mem + at, &word, n) != 0) {
            const uint8_t *want = (const uint8_t *)&word;

            for (uint64_t i = 0; i < n; i++) {
                if (mem[at + i] != want[i]) {
                    return at + i;
                }
            }
        }
    }
    return UINT64_MAX;
}

/* --------------------------------------------------------------- both sides */

void engine_blob(kvf_engine_t *engine, uint32_t flags, void *buf, size_t *len_p)
{
    *len_p = BLOB_MAX;
    ok(kvf_engine_export(engine, flags, buf, len_p));
}

void grant_blob(kvf_grant_t *grant, void *buf, size_t *len_p)
{
    *len_p = BLOB_MAX;
    ok(kvf_grant_export(grant, buf, len_p));
}

void side_idle(void *state)
{
    side_t *side = state;

    if (side->engine != NULL) {
        kvf_progress(side->engine);
    }
}

#ifdef __SANITIZE_THREAD__
/* What the other process waited for is ordered before what it asks next. The thread sanitizer sees
 * only this process: it wants a lock of the engine's thread taken between its work and ours. */
static void side_order(void *state)
{
    side_t *side = state;
    kvf_counters_t counters = {.struct_size = sizeof(counters)};

    if (side->engine != NULL) {
        kvf_engine_counters(side->engine, &counters);
    }
}
#endif

void side_open_engine(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    side_open_t open;

    (void)out;
    must(in_len == sizeof(open), "%zu", in_len);
    memcpy(&open, in, sizeof(open));
    must(!open.forbid_cma || forbid_cma(EPERM) == 0, "seccomp: %s", strerror(errno));
    open.opts.net = open.net[0] != '\0' ? open.net : NULL;
    ok(kvf_engine_open(&open.opts, &side->engine));
#ifdef __SANITIZE_THREAD__
    proc_order = side_order;
#endif
    if (open.opts.progress == KVF_PROGRESS_CALLER && proc_is_child()) {
        proc_idle_ms = 1;
    }
}

void side_blob(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint8_t buf[BLOB_MAX];
    uint32_t flags = 0;
    size_t len;

    memcpy(&flags, in, in_len < sizeof(flags) ? in_len : sizeof(flags));
    engine_blob(side->engine, flags, buf, &len);
    out_put(out, buf, len);
}

void side_grant_blob(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint8_t buf[BLOB_MAX];
    size_t len;

    (void)in;
    (void)in_len;
    grant_blob(side->grant, buf, &len);
    out_put(out, buf, len);
}

static void side_make_segment(side_t *side, const side_mem_t *mem)
{
    kvf_pool_opts_t pool = {.struct_size = sizeof(pool)};
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};

    if (mem->pool_blocks > 0) {
        pool.blocks = mem->pool_blocks;
        pool.block_bytes = mem->block_bytes;
        ok(kvf_pool_create(side->engine, &pool, &side->pool));
        side->segment = kvf_pool_segment(side->pool);
        must(side->segment != NULL, "a pool without a segment");
    } else if (mem->shared) {
        ok(kvf_segment_alloc(side->engine, mem->len, &side->segment));
    } else {
        must(posix_memalign(&side->heap, 4096, mem->len) == 0, "no memory");
        memset(side->heap, 0, mem->len);
        ok(kvf_segment_register(side->engine, side->heap, mem->len, &side->segment));
    }
    ok(kvf_segment_query(side->segment, &attr));
    side->mem = attr.addr;
    side->len = attr.len;
}

static void side_make_grant(side_t *side, uint32_t rights)
{
    kvf_range_t range = {.segment = side->segment, .len = side->len, .rights = rights};

    ok(kvf_grant_create(side->engine, &range, 1, NULL, &side->grant));
}

void side_make_memory(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    side_mem_t mem;

    (void)out;
    must(in_len == sizeof(mem), "%zu", in_len);
    memcpy(&mem, in, sizeof(mem));
    side_make_segment(side, &mem);
    if (mem.rights != 0) {
        side_make_grant(side, mem.rights);
    }
}

void side_import_peer(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const side_slot_t *slot = in;

    (void)out;
    ok(kvf_peer_import(side->engine, slot + 1, in_len - sizeof(*slot), &side->peer[slot->slot]));
}

void side_import_remote(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const side_slot_t *slot = in;
    uint32_t count = 1;

    (void)out;
    ok(kvf_remote_import(side->peer[slot->slot], slot + 1, in_len - sizeof(*slot), &side->remote[slot->slot],
                         &count));
    must(count == 1, "%u ranges", count);
}

void side_close(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_engine_close(side->engine, patient(5)));
    side->engine = NULL;
    free(side->heap);
    side->heap = NULL;
}

/* --------------------------------------------------------------------- rigs */

size_t rig_call(rig_t *rig, proc_fn_t fn, const void *in, size_t in_len, void *out, size_t out_max)
{
    proc_out_t answer = {NULL, 0};
    size_t len;

    if (rig->where > WHERE_TWIN) {
        return proc_call(&rig->owner, fn, in, in_len, out, out_max);
    }
    fn(&rig->here, in, in_len, &answer);
    must(answer.len <= out_max, "an answer of %zu bytes for %zu", answer.len, out_max);
    if (answer.len > 0) {
        memcpy(out, answer.data, answer.len);
    }
    len = answer.len;
    free(answer.data);
    return len;
}

static void rig_side_open(const rig_t *rig, uint64_t rank, side_open_t *open)
{
    where_opts(rig->where, &open->opts);
    memset(open->net, 0, sizeof(open->net));
    if (rig->opts.net != NULL) {
        snprintf(open->net, sizeof(open->net), "%s", rig->opts.net);
    } else if (open->opts.net != NULL) {
        snprintf(open->net, sizeof(open->net), "%s", open->opts.net);
    }
    open->opts.net = NULL; /* the text travels, not its address */
    open->opts.progress = rig->opts.progress;
    open->opts.pack = rig->opts.pack ? rig->opts.pack : open->opts.pack;
    open->opts.notify_depth = rig->opts.notify_depth;
    open->opts.deadline_ns = rig->opts.deadline_ns;
    open->opts.rank = rank;
    open->forbid_cma = rig->where == WHERE_STAGE && rank == 1;
    open->reserved = 0;
}

void rig_fork(rig_t *rig, where_t where, const rig_opts_t *opts)
{
    if (where == WHERE_CMA && !cma_works()) {
        fprintf(stderr, "cma is forbidden here: no test of it\n");
        fflush(NULL);
        _exit(0);
    }
    memset(rig, 0, sizeof(*rig));
    rig->where = where;
    if (opts != NULL) {
        rig->opts = *opts;
    }
    if (where > WHERE_TWIN) {
        proc_start(&rig->owner, sizeof(side_t), rig->opts.watchdog_s > 0 ? rig->opts.watchdog_s : 60,
                   side_idle);
    }
}

static void rig_exchange(rig_t *rig)
{
    uint8_t buf[sizeof(side_slot_t) + BLOB_MAX];
    uint32_t flags = rig->where == WHERE_AM ? KVF_BLOB_FAR : 0;
    size_t len;

    memset(buf, 0, sizeof(side_slot_t));
    engine_blob(rig->me.engine, flags, buf + sizeof(side_slot_t), &len);
    rig_call(rig, side_import_peer, buf, sizeof(side_slot_t) + len, NULL, 0);
    len = rig_call(rig, side_blob, &flags, sizeof(flags), buf, sizeof(buf));
    ok(kvf_peer_import(rig->me.engine, buf, len, &rig->peer));
}

static void rig_import_grant(rig_t *rig)
{
    uint8_t buf[BLOB_MAX];
    uint32_t count = 1;
    size_t len = rig_call(rig, side_grant_blob, NULL, 0, buf, sizeof(buf));

    ok(kvf_remote_import(rig->peer, buf, len, &rig->remote, &count));
    must(count == 1, "%u ranges", count);
}

void rig_join(rig_t *rig)
{
    const rig_opts_t *o = &rig->opts;
    side_open_t open;
    side_mem_t mem = {.len = o->owner_len != 0 ? o->owner_len : 1 << 20,
                      .shared = rig->where == WHERE_SHM || rig->where == WHERE_TWIN,
                      .pool_blocks = o->pool_blocks,
                      .block_bytes = o->block_bytes,
                      .rights = o->rights != 0 ? o->rights : KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    side_mem_t local = {.len = o->local_len != 0 ? o->local_len : 1 << 20, .shared = o->local_alloc};

    rig_side_open(rig, 1, &open);
    side_open_engine(&rig->me, &open, sizeof(open), NULL);
    if (rig->where == WHERE_SELF) {
        rig->here.engine = rig->me.engine;
    } else {
        rig_side_open(rig, 2, &open);
        rig_call(rig, side_open_engine, &open, sizeof(open), NULL, 0);
    }
    rig_call(rig, side_make_memory, &mem, sizeof(mem), NULL, 0);
    side_make_memory(&rig->me, &local, sizeof(local), NULL);
    rig_exchange(rig);
    rig_import_grant(rig);
    ok(kvf_batch_create(rig->me.engine, &rig->batch));
}

void rig_open(rig_t *rig, where_t where, const rig_opts_t *opts)
{
    rig_fork(rig, where, opts);
    rig_join(rig);
}

void rig_close(rig_t *rig)
{
    ok(kvf_batch_free(rig->batch));
    ok(kvf_remote_forget(rig->remote));
    ok(kvf_peer_forget(rig->peer));
    side_close(&rig->me, NULL, 0, NULL);
    if (rig->where == WHERE_SELF) {
        free(rig->here.heap);
    } else if (rig->where == WHERE_TWIN || rig->owner.pid != 0) {
        rig_call(rig, side_close, NULL, 0, NULL, 0);
    }
    proc_end(&rig->owner);
}

static void notify(kvf_engine_t *engine, kvf_peer_t *peer)
{
    kvf_batch_opts_t opts = {
        .struct_size = sizeof(opts), .notify_peer = peer, .notify = "hello", .notify_len = 5};
    kvf_batch_t *batch = NULL;

    ok(kvf_batch_create(engine, &batch));
    ok(run_ops(batch, NULL, 0, &opts));
    ok(kvf_batch_free(batch));
}

static void await_notification(kvf_engine_t *engine)
{
    kvf_notification_t note = {.struct_size = sizeof(note)};
    uint64_t end = now_ns() + patient(10);

    while (kvf_notify_recv(engine, &note) == KVF_INPROGRESS) {
        must(now_ns() < end, "no word of the far peer");
        sleep_ms(1);
    }
}

static void at_echo(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in;
    (void)in_len;
    (void)out;
    await_notification(side->engine);
    notify(side->engine, side->peer[0]);
}

void far_stands(kvf_engine_t *engine, kvf_peer_t *peer, proc_t *child)
{
    for (int round = 0; round < 2; round++) {
        proc_ask(child, at_echo, NULL, 0);
        notify(engine, peer);
        await_notification(engine);
        for (int i = 0; i < 10; i++) { /* what acknowledges it leaves */
            ok(kvf_progress(engine));
            sleep_ms(1);
        }
        proc_reply(child, NULL, 0);
    }
}

/* ----------------------------------------------------------- calls at owner */

typedef struct stretch {
    uint64_t off;
    uint64_t len;
} stretch_t;

static void at_put(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const stretch_t *s = in;

    (void)in_len;
    (void)out;
    must(s->off + s->len <= side->len, "past the owner's memory");
    memcpy(side->mem + s->off, s + 1, s->len);
}

static void at_get(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const stretch_t *s = in;

    (void)in_len;
    must(s->off + s->len <= side->len, "past the owner's memory");
    out_put(out, side->mem + s->off, s->len);
}

static void at_fill(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint64_t seed;

    (void)out;
    must(in_len == sizeof(seed), "%zu", in_len);
    memcpy(&seed, in, sizeof(seed));
    pattern_fill(side->mem, side->len, seed);
}

static void at_compare(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint64_t seed;
    uint64_t at;

    must(in_len == sizeof(seed), "%zu", in_len);
    memcpy(&seed, in, sizeof(seed));
    at = pattern_compare(side->mem, side->len, seed);
    out_put(out, &at, sizeof(at));
}

static void at_revoke(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint64_t timeout_ns;
    kvf_status_t status;

    must(in_len == sizeof(timeout_ns), "%zu", in_len);
    memcpy(&timeout_ns, in, sizeof(timeout_ns));
    status = kvf_grant_revoke(side->grant, timeout_ns);
    if (status == KVF_OK) {
        side->grant = NULL;
    }
    out_put(out, &status, sizeof(status));
}

static void at_grant(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t rights;

    (void)out;
    must(in_len == sizeof(rights), "%zu", in_len);
    memcpy(&rights, in, sizeof(rights));
    if (side->grant != NULL) {
        ok(kvf_grant_revoke(side->grant, patient(5)));
    }
    side_make_grant(side, rights);
}

void owner_put(rig_t *rig, uint64_t off, const void *data, uint64_t len)
{
    uint8_t *in = malloc(sizeof(stretch_t) + len);
    stretch_t s = {off, len};

    must(in != NULL, "no memory");
    memcpy(in, &s, sizeof(s));
    memcpy(in + sizeof(s), data, len);
    rig_call(rig, at_put, in, sizeof(s) + len, NULL, 0);
    free(in);
}

void owner_get(rig_t *rig, uint64_t off, void *data_p, uint64_t len)
{
    stretch_t s = {off, len};

    rig_call(rig, at_get, &s, sizeof(s), data_p, len);
}

void owner_fill(rig_t *rig, uint64_t seed)
{
    rig_call(rig, at_fill, &seed, sizeof(seed), NULL, 0);
}

uint64_t owner_compare(rig_t *rig, uint64_t seed)
{
    uint64_t at = 0;

    rig_call(rig, at_compare, &seed, sizeof(seed), &at, sizeof(at));
    return at;
}

kvf_status_t owner_revoke(rig_t *rig, uint64_t timeout_ns)
{
    kvf_status_t status = KVF_OK;

    rig_call(rig, at_revoke, &timeout_ns, sizeof(timeout_ns), &status, sizeof(status));
    return status;
}

void owner_regrant(rig_t *rig, uint32_t rights)
{
    rig_call(rig, at_grant, &rights, sizeof(rights), NULL, 0);
    ok(kvf_remote_forget(rig->remote));
    rig_import_grant(rig);
}

/* ---------------------------------------------------------------- initiator */

kvf_op_t op_plain(kvf_segment_t *segment, uint64_t local_off, kvf_remote_t *remote, uint64_t remote_off,
                  uint64_t len, uint32_t dir)
{
    kvf_op_t op = {.segment = segment,
                   .remote = remote,
                   .local_off = local_off,
                   .remote_off = remote_off,
                   .len = len,
                   .count = {1, 1},
                   .blocks = 1,
                   .dir = dir};

    return op;
}

kvf_status_t run_ops(kvf_batch_t *batch, const kvf_op_t *ops, size_t count, const kvf_batch_opts_t *opts)
{
    kvf_status_t status;

    ok(kvf_batch_post(batch, ops, count, sizeof(*ops), opts));
    status = kvf_batch_wait(batch, patient(20));
    must(status != KVF_INPROGRESS, "the batch still runs after %zu s", (size_t)(patient(20) / SEC));
    return status;
}

void move(rig_t *rig, const kvf_op_t *ops, size_t count)
{
    kvf_status_t status = run_ops(rig->batch, ops, count, NULL);

    must(status == KVF_OK, "on %s the batch ended with %s (\"%s\")", where_name(rig->where),
         kvf_status_name(status), kvf_last_error());
}

void moved_by_path(kvf_engine_t *engine, kvf_flow_t paths_p[KVF_PATH_COUNT])
{
    kvf_flow_t flow = {.struct_size = sizeof(flow)};
    uint64_t cursor = 0;

    memset(paths_p, 0, KVF_PATH_COUNT * sizeof(*paths_p));
    while (kvf_engine_flow(engine, &cursor, &flow) == KVF_OK) {
        paths_p[flow.path].bytes += flow.bytes;
        paths_p[flow.path].ops += flow.ops;
        paths_p[flow.path].pieces += flow.pieces;
        paths_p[flow.path].calls += flow.calls;
    }
}

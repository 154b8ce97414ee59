/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The victim, and the steps that it may be struck in. What a step needs is done before, unobserved; then
 * the victim waits for the start without a system call, does the step, and waits again.
 */
#include "cast.h"
#include "strace.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    READY_ENGINE = 1,
    READY_HEAP = 2,   /* two MiB of its own, registered */
    READY_TARGET = 4, /* the owner imported, and what it grants */
    READY_GRANT = 8,  /* a grant of its own, for the owner to import */
    READY_SELF = 16,  /* and imported by itself */
    READY_WARM = 32,  /* has moved over every path there is */
};

#define NEAR_TARGET (READY_ENGINE | READY_HEAP | READY_TARGET)
#define SERVING     (READY_ENGINE | READY_HEAP | READY_GRANT)

const scenario_t *playing;

static kvf_engine_t *engine;
static kvf_segment_t *heap;
static uint8_t *heap_mem, *fresh_mem;
static kvf_grant_t *own_grant;
static kvf_peer_t *peer;
static kvf_remote_t *remotes[2];
static kvf_batch_t *batch;

/* ---------------------------------------------------------------- steps */

static kvf_status_t step_open(actor_t *me, const scenario_t *self)
{
    (void)me;
    (void)self;
    return open_engine(&engine);
}

static kvf_status_t step_export(actor_t *me, const scenario_t *self)
{
    static blob_t blob = {.len = sizeof(blob.data)};

    (void)me;
    (void)self;
    return kvf_engine_export(engine, board->far ? KVF_BLOB_FAR : 0, blob.data, &blob.len);
}

static kvf_status_t step_import(actor_t *me, const scenario_t *self)
{
    uint32_t count = 2;
    kvf_status_t status = kvf_peer_import(engine, board->engine.data, board->engine.len, &peer);

    (void)me;
    (void)self;
    return status != KVF_OK ? status
                            : kvf_remote_import(peer, board->target.data, board->target.len, remotes, &count);
}

static kvf_status_t step_register(actor_t *me, const scenario_t *self)
{
    (void)me;
    (void)self;
    return kvf_segment_register(engine, fresh_mem, MIB, &heap);
}

static kvf_status_t step_alloc(actor_t *me, const scenario_t *self)
{
    (void)me;
    (void)self;
    return kvf_segment_alloc(engine, MIB, &heap);
}

static kvf_status_t step_pool(actor_t *me, const scenario_t *self)
{
    kvf_pool_opts_t opts = {.struct_size = sizeof(opts), .blocks = 8, .block_bytes = BLOCK};
    kvf_pool_t *pool;

    (void)me;
    (void)self;
    return kvf_pool_create(engine, &opts, &pool);
}

/* What the caller's memory holds is the same, whether it was adopted or not. */
static kvf_status_t step_adopt(actor_t *me, const scenario_t *self)
{
    kvf_status_t status = kvf_segment_adopt(engine, fresh_mem, MIB, &heap);

    (void)self;
    if (differs(fresh_mem, 0, MIB, 1, 1) != UINT64_MAX) {
        wrong(me, "adopted memory has lost its bytes");
    }
    return status;
}

static kvf_status_t step_release(actor_t *me, const scenario_t *self)
{
    kvf_segment_t *segment = heap;
    kvf_status_t status = kvf_segment_release(segment);

    (void)self;
    if (differs(fresh_mem, 0, MIB, 1, 1) != UINT64_MAX) {
        wrong(me, "released memory has lost its bytes");
    }
    return status;
}

static kvf_status_t step_grant(actor_t *me, const scenario_t *self)
{
    kvf_range_t range = {.segment = heap, .len = MIB, .rights = KVF_RIGHT_READ};
    static blob_t blob = {.len = sizeof(blob.data)};
    kvf_grant_t *grant;
    kvf_status_t status = kvf_grant_create(engine, &range, 1, NULL, &grant);

    (void)me;
    (void)self;
    return status != KVF_OK ? status : kvf_grant_export(grant, blob.data, &blob.len);
}

static kvf_status_t step_post(actor_t *me, const scenario_t *self)
{
    kvf_remote_t *remote = remotes[self->path == KVF_PATH_SHM || self->path == KVF_PATH_SELF ? 0 : 1];
    uint64_t off = self->path == KVF_PATH_SELF ? 0 : TARGET_OFF;
    kvf_op_t op = op_pieces(heap, remote, self->dir);
    kvf_status_t status = run_op(batch, &op, self->path);

    for (uint64_t at = 0; status == KVF_OK && self->dir == KVF_READ && at < MIB; at += 4096) {
        if (differs(heap_mem + 2 * at, off + at, 4096, board->old_seed, board->old_seed) != UINT64_MAX) {
            wrong(me, "wrong bytes with KVF_OK, read by the victim");
            break;
        }
    }
    return status;
}

static kvf_status_t step_view(actor_t *me, const scenario_t *self)
{
    const uint32_t id = 0;
    const void *bytes;
    kvf_view_t *view;
    kvf_status_t status = kvf_view_open(remotes[0], 0, BLOCK, 1, &id, &board->gens[0], &bytes, &view);

    (void)self;
    if (status != KVF_OK) {
        return status;
    }
    if (differs(bytes, TARGET_OFF, BLOCK, board->old_seed, board->old_seed) != UINT64_MAX) {
        wrong(me, "a view shows wrong bytes");
    }
    return kvf_view_close(view);
}

/* The owner reads from us at the same time. */
static kvf_status_t step_revoke(actor_t *me, const scenario_t *self)
{
    (void)me;
    (void)self;
    return kvf_grant_revoke(own_grant, DEADLINE_S * SEC);
}

static kvf_status_t step_serve(actor_t *me, const scenario_t *self)
{
    (void)me;
    (void)self;
    while (!atomic_load(&board->served)) {
    }
    return KVF_OK;
}

static kvf_status_t step_close(actor_t *me, const scenario_t *self)
{
    kvf_engine_t *closing = engine;

    (void)me;
    (void)self;
    engine = NULL;
    return kvf_engine_close(closing, DEADLINE_S * SEC);
}

/* ------------------------------------------------------------ scenarios */

#define NEAR(name, ready, step)                                                                              \
    {                                                                                                        \
        name, 0, ready, KVF_PATH_NONE, 0, 0, step                                                            \
    }
#define FAR(name, ready, step)                                                                               \
    {                                                                                                        \
        name, 1, ready, KVF_PATH_NONE, 0, 0, step                                                            \
    }
#define POST(name, ready, path, dir)                                                                         \
    {                                                                                                        \
        name, (path) == KVF_PATH_AM, ready, path, dir, 0, step_post                                          \
    }
#define SERVE(name, path, dir, step)                                                                         \
    {                                                                                                        \
        name, (path) == KVF_PATH_AM, SERVING, path, dir, 1, step                                             \
    }

const scenario_t scenarios[] = {
    NEAR("open", 0, step_open),
    NEAR("export", READY_ENGINE, step_export),
    NEAR("import", READY_ENGINE, step_import),
    NEAR("register", READY_ENGINE, step_register),
    NEAR("alloc", READY_ENGINE, step_alloc),
    NEAR("pool", READY_ENGINE, step_pool),
    NEAR("adopt", READY_ENGINE, step_adopt),
    NEAR("release", READY_ENGINE, step_release),
    NEAR("grant", READY_ENGINE | READY_HEAP, step_grant),
    POST("post_self_read", READY_ENGINE | READY_HEAP | READY_GRANT | READY_SELF, KVF_PATH_SELF, KVF_READ),
    POST("post_self_write", READY_ENGINE | READY_HEAP | READY_GRANT | READY_SELF, KVF_PATH_SELF, KVF_WRITE),
    POST("post_shm_read", NEAR_TARGET, KVF_PATH_SHM, KVF_READ),
    POST("post_shm_write", NEAR_TARGET, KVF_PATH_SHM, KVF_WRITE),
    POST("post_cma_read", NEAR_TARGET, KVF_PATH_CMA, KVF_READ),
    POST("post_cma_write", NEAR_TARGET, KVF_PATH_CMA, KVF_WRITE),
    POST("post_stage_read", NEAR_TARGET, KVF_PATH_STAGE, KVF_READ),
    POST("post_stage_write", NEAR_TARGET, KVF_PATH_STAGE, KVF_WRITE),
    NEAR("view", NEAR_TARGET, step_view),
    SERVE("revoke", KVF_PATH_CMA, KVF_READ, step_revoke),
    SERVE("serve_stage_read", KVF_PATH_STAGE, KVF_READ, step_serve),
    SERVE("serve_stage_write", KVF_PATH_STAGE, KVF_WRITE, step_serve),
    NEAR("close", NEAR_TARGET | READY_WARM, step_close),
    FAR("export_far", READY_ENGINE, step_export),
    FAR("import_far", READY_ENGINE, step_import),
    POST("post_am_read", NEAR_TARGET, KVF_PATH_AM, KVF_READ),
    POST("post_am_write", NEAR_TARGET, KVF_PATH_AM, KVF_WRITE),
    SERVE("serve_am_read", KVF_PATH_AM, KVF_READ, step_serve),
    SERVE("serve_am_write", KVF_PATH_AM, KVF_WRITE, step_serve),
    FAR("close_far", NEAR_TARGET | READY_WARM, step_close),
    {0},
};

/* ------------------------------------------------------------ the victim */

static int ready_heap(actor_t *me)
{
    uint64_t off = playing->ready & READY_GRANT ? 0 : TARGET_OFF;

    for (uint64_t at = 0; at < MIB; at += 4096) {
        fill(heap_mem + 2 * at, off + at, 4096, board->old_seed + 1);
    }
    return good(me, kvf_segment_register(engine, heap_mem, 2 * MIB, &heap), "register") &&
           good(me, kvf_batch_create(engine, &batch), "batch_create");
}

static int ready_grant(actor_t *me)
{
    kvf_segment_t *segment;
    kvf_range_t range = {.len = MIB, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    uint64_t seed = board->old_seed + (playing->ready & READY_SELF ? 0 : 1);

    fill(fresh_mem, 0, MIB, seed);
    if (!good(me, kvf_segment_register(engine, fresh_mem, MIB, &segment), "register")) {
        return 0;
    }
    range.segment = segment;
    return good(me, kvf_grant_create(engine, &range, 1, NULL, &own_grant), "grant_create") &&
           export_engine(me, engine, &board->victim) && export_grant(me, own_grant, &board->victim_grant);
}

static int ready_warm(actor_t *me)
{
    static const kvf_path_t near[] = {KVF_PATH_SHM, KVF_PATH_CMA, KVF_PATH_STAGE};

    for (int i = 0; i < (board->far ? 2 : 3); i++) {
        kvf_op_t op = op_pieces(heap, remotes[i != 0], KVF_READ);

        if (!good(me, run_op(batch, &op, board->far ? KVF_PATH_AM : near[i]), "a read before")) {
            return 0;
        }
    }
    return 1;
}

static int ready(actor_t *me)
{
    uint32_t need = playing->ready;

    heap_mem = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fresh_mem = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(fresh_mem, 0, MIB, 1);
    if ((need & READY_ENGINE && !good(me, open_engine(&engine), "open")) ||
        (need & READY_HEAP && !ready_heap(me)) || (need & READY_GRANT && !ready_grant(me)) ||
        (need & READY_SELF &&
         !import_both(me, engine, &board->victim, &board->victim_grant, &peer, remotes)) ||
        (need & READY_TARGET && !import_both(me, engine, &board->engine, &board->target, &peer, remotes)) ||
        (need & READY_WARM && !ready_warm(me)) ||
        (playing->step == step_release &&
         !good(me, kvf_segment_adopt(engine, fresh_mem, MIB, &heap), "adopt"))) {
        return 0;
    }
    return 1;
}

void victim_main(actor_t *me)
{
    if (!ready(me)) {
        _exit(1);
    }
    me_answer(me, KVF_OK);
    while (sched_get_priority_max(SCHED_OTHER) != STRACE_MARK) {
        for (volatile int i = 0; i < 20000;
             i++) { /* a strace that comes in the middle of a call may miss all */
        }
    }
    atomic_store(&me->rounds, 1);
    me_spin(me);
    me_answer(me, playing->step(me, playing));
    me_spin(me);
    me_answer(me, engine != NULL ? kvf_engine_close(engine, DEADLINE_S * SEC) : KVF_OK);
}

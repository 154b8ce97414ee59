/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Those who must not suffer: the owner, the bystander, and the newcomer after a death.
 */
#include "cast.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---------------------------------------------------------------- owner */

typedef struct owner {
    kvf_engine_t *engine;
    kvf_pool_t *pool;
    kvf_segment_t *heap, *scratch;
    uint8_t *pool_mem, *heap_mem, *scratch_mem;
    kvf_grant_t *steady, *target;
    kvf_batch_t *batch;
    kvf_peer_t *peer; /* the victim, where it serves */
    kvf_remote_t *remotes[2];
    uint8_t *seen; /* both targets after the step */
} owner_t;

static uint8_t *pages(uint64_t len)
{
    void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mem == MAP_FAILED ? NULL : mem;
}

/* What every reader may read, or what this step's victim may write, of both memories. */
static int grant(actor_t *me, owner_t *o, uint64_t off, uint32_t rights, kvf_grant_t **grant_p, blob_t *blob)
{
    kvf_range_t ranges[2] = {
        {.segment = kvf_pool_segment(o->pool),
         .off = off,
         .len = MIB,
         .rights = rights,
         .first_block = (uint32_t)(off / BLOCK)},
        {.segment = o->heap, .off = off, .len = MIB, .rights = rights},
    };

    return good(me, kvf_grant_create(o->engine, ranges, 2, NULL, grant_p), "grant_create") &&
           export_grant(me, *grant_p, blob);
}

static int owner_open(actor_t *me, owner_t *o)
{
    kvf_pool_opts_t opts = {.struct_size = sizeof(opts), .blocks = MEM_LEN / BLOCK, .block_bytes = BLOCK};
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    uint32_t ids[MEM_LEN / BLOCK];

    o->heap_mem = pages(MEM_LEN);
    o->scratch_mem = pages(2 * MIB);
    o->seen = malloc(2 * MIB);
    if (!good(me, open_engine(&o->engine), "open") ||
        !good(me, kvf_pool_create(o->engine, &opts, &o->pool), "pool_create") ||
        !good(me, kvf_segment_register(o->engine, o->heap_mem, MEM_LEN, &o->heap), "register") ||
        !good(me, kvf_segment_register(o->engine, o->scratch_mem, 2 * MIB, &o->scratch), "register") ||
        !good(me, kvf_pool_alloc(o->pool, MEM_LEN / BLOCK, ids), "pool_alloc") ||
        !good(me, kvf_segment_query(kvf_pool_segment(o->pool), &attr), "query") ||
        !good(me, kvf_batch_create(o->engine, &o->batch), "batch_create")) {
        return 0;
    }
    o->pool_mem = attr.addr;
    for (int i = 0; i < 2; i++) {
        uint8_t *mem = i == 0 ? o->pool_mem : o->heap_mem;

        fill(mem + STEADY_OFF, STEADY_OFF, MIB, STEADY_SEED);
        fill(mem + GUARD_OFF, GUARD_OFF, MIB, GUARD_SEED);
    }
    return export_engine(me, o->engine, &board->engine) &&
           grant(me, o, STEADY_OFF, KVF_RIGHT_READ, &o->steady, &board->steady);
}

static kvf_status_t owner_grant(actor_t *me, owner_t *o)
{
    uint32_t ids[MIB / BLOCK];

    for (uint32_t i = 0; i < MIB / BLOCK; i++) {
        ids[i] = TARGET_OFF / BLOCK + i;
    }
    fill(o->pool_mem + TARGET_OFF, TARGET_OFF, MIB, board->old_seed);
    fill(o->heap_mem + TARGET_OFF, TARGET_OFF, MIB, board->old_seed);
    good(me, kvf_pool_raise(o->pool, MIB / BLOCK, ids), "raise of blocks that nobody can look at");
    good(me, kvf_pool_generations(o->pool, MIB / BLOCK, ids, board->gens), "generations");
    grant(me, o, TARGET_OFF, KVF_RIGHT_READ | KVF_RIGHT_WRITE, &o->target, &board->target);
    return KVF_OK;
}

static kvf_status_t owner_meet(actor_t *me, owner_t *o)
{
    import_both(me, o->engine, &board->victim, &board->victim_grant, &o->peer, o->remotes);
    fill(o->scratch_mem, 0, 2 * MIB, board->old_seed);
    return KVF_OK;
}

static kvf_status_t owner_move(actor_t *me, owner_t *o)
{
    kvf_op_t op = op_pieces(o->scratch, o->remotes[0], board->dir);
    kvf_status_t status = run_op(o->batch, &op, board->path);

    if (status != KVF_OK && kvf_last_error()[0] == '\0') {
        wrong(me, "%s without a sentence", kvf_status_name(status));
    }
    for (uint64_t at = 0; status == KVF_OK && board->dir == KVF_READ && at < MIB; at += 4096) {
        if (differs(o->scratch_mem + 2 * at, at, 4096, board->old_seed + 1, board->old_seed + 1) !=
            UINT64_MAX) {
            wrong(me, "wrong bytes with KVF_OK, read from the victim");
            break;
        }
    }
    return status;
}

static void untouched(actor_t *me, const char *name, const uint8_t *mem)
{
    uint64_t at = differs(mem + STEADY_OFF, STEADY_OFF, MIB, STEADY_SEED, STEADY_SEED);

    if (at == UINT64_MAX) {
        at = differs(mem + GUARD_OFF, GUARD_OFF, MIB, GUARD_SEED, GUARD_SEED);
    }
    if (at != UINT64_MAX) {
        wrong(me, "byte %zu of the owner's %s changed, which the victim may not write", (size_t)at, name);
    }
    at = differs(mem + TARGET_OFF, TARGET_OFF, MIB, board->old_seed, board->old_seed + 1);
    if (at != UINT64_MAX) {
        wrong(me, "byte %zu of the owner's %s is neither old nor new", (size_t)at, name);
    }
}

/* Nobody but the victim writes, and it is gone or has ended. */
static kvf_status_t owner_check(actor_t *me, owner_t *o)
{
    untouched(me, "pool", o->pool_mem);
    untouched(me, "registered memory", o->heap_mem);
    memcpy(o->seen, o->pool_mem + TARGET_OFF, MIB);
    memcpy(o->seen + MIB, o->heap_mem + TARGET_OFF, MIB);
    return KVF_OK;
}

static kvf_status_t owner_take_back(actor_t *me, owner_t *o)
{
    for (int i = 0; i < 2 && o->peer != NULL; i++) {
        good(me, kvf_remote_forget(o->remotes[i]), "remote_forget");
    }
    if (o->peer != NULL) {
        good(me, kvf_peer_forget(o->peer), "peer_forget");
        o->peer = NULL;
    }
    good(me, kvf_grant_revoke(o->target, DEADLINE_S * SEC), "revoke");
    if (memcmp(o->seen, o->pool_mem + TARGET_OFF, MIB) != 0 ||
        memcmp(o->seen + MIB, o->heap_mem + TARGET_OFF, MIB) != 0) {
        wrong(me, "bytes of the target changed after the victim's end");
    }
    return KVF_OK;
}

void owner_main(actor_t *me)
{
    static owner_t o;
    kvf_status_t (*const verbs[])(actor_t *, owner_t *) = {
        [OWN_GRANT] = owner_grant, [OWN_MEET] = owner_meet,           [OWN_MOVE] = owner_move,
        [OWN_CHECK] = owner_check, [OWN_TAKE_BACK] = owner_take_back,
    };

    owner_open(me, &o);
    me_answer(me, KVF_OK);
    for (;;) {
        if (me_asked(me)) {
            me_answer(me, verbs[me->verb](me, &o));
        }
        usleep(100);
    }
}

/* -------------------------------------------------------------- readers */

typedef struct reader {
    kvf_engine_t *engine;
    kvf_segment_t *segment;
    kvf_batch_t *batch;
    kvf_peer_t *peer;
    kvf_remote_t *remotes[2]; /* of the pool, of registered memory */
    uint8_t *mem;
} reader_t;

static int reader_open(actor_t *me, reader_t *r)
{
    r->mem = pages(2 * MIB);
    return good(me, open_engine(&r->engine), "open") &&
           good(me, kvf_segment_register(r->engine, r->mem, 2 * MIB, &r->segment), "register") &&
           good(me, kvf_batch_create(r->engine, &r->batch), "batch_create") &&
           import_both(me, r->engine, &board->engine, &board->steady, &r->peer, r->remotes);
}

/* Sixteen pieces of 4 KiB, from another place each round. */
static int reader_round(actor_t *me, reader_t *r, int which, kvf_path_t path, uint64_t round)
{
    kvf_op_t op = op_pieces(r->segment, r->remotes[which], KVF_READ);
    kvf_status_t status;

    op.count[0] = 16;
    op.remote_off = round % 16 * 65536;
    memset(r->mem, 0xee, 128u << 10);
    status = run_op(r->batch, &op, path);
    if (status != KVF_OK) {
        wrong(me, "its read over %s: %s, \"%s\"", kvf_path_name(path), kvf_status_name(status),
              kvf_last_error());
        return 0;
    }
    for (uint64_t i = 0; i < 16; i++) {
        uint64_t at = op.remote_off + i * 4096;

        if (differs(r->mem + i * 8192, at, 4096, STEADY_SEED, STEADY_SEED) != UINT64_MAX) {
            wrong(me, "wrong bytes with KVF_OK over %s", kvf_path_name(path));
            return 0;
        }
    }
    return 1;
}

void bystander_main(actor_t *me)
{
    static const kvf_path_t near[] = {KVF_PATH_SHM, KVF_PATH_CMA, KVF_PATH_STAGE};
    reader_t r = {NULL};

    if (!reader_open(me, &r)) {
        _exit(1);
    }
    me_answer(me, KVF_OK);
    for (uint64_t round = 0;; round++) {
        for (size_t i = 0; i < (board->far ? 2 : 3); i++) {
            if (!reader_round(me, &r, i != 0, board->far ? KVF_PATH_AM : near[i], round)) {
                _exit(1);
            }
        }
        atomic_fetch_add(&me->rounds, 1);
        usleep(2000);
    }
}

void newcomer_main(actor_t *me)
{
    reader_t r = {NULL};

    if (reader_open(me, &r) && reader_round(me, &r, 0, KVF_PATH_NONE, 0)) {
        reader_round(me, &r, 1, KVF_PATH_NONE, 1);
    }
    if (r.engine != NULL) {
        good(me, kvf_engine_close(r.engine, DEADLINE_S * SEC), "close");
    }
    me_answer(me, KVF_OK);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Views: blocks of a near pool that are read where they are. Nothing is copied, nothing can be stored,
 * a block that is looked at is not given away, a stale one is not shown, and a reader that died, left
 * or closed holds nothing back.
 */
#include "rig.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 128u
#define BLOCK  4096u

static const rig_opts_t pool_opts = {.pool_blocks = BLOCKS, .block_bytes = BLOCK};

typedef struct ids {
    uint32_t count;
    uint32_t id[BLOCKS];
} ids_t;

static void at_take(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    ids_t ids;

    memcpy(&ids, in, in_len);
    ok(kvf_pool_alloc(((side_t *)state)->pool, ids.count, ids.id));
    out_put(out, &ids, sizeof(ids));
}

/* The status of a free, and its sentence. */
static void at_free(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    const ids_t *ids = in;
    int32_t status = kvf_pool_free(((side_t *)state)->pool, ids->count, ids->id);

    (void)in_len;
    out_put(out, &status, sizeof(status));
    out_put(out, kvf_last_error(), strlen(kvf_last_error()) + 1);
}

static void at_raise(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    const ids_t *ids = in;
    int32_t status = kvf_pool_raise(((side_t *)state)->pool, ids->count, ids->id);

    (void)in_len;
    out_put(out, &status, sizeof(status));
    out_put(out, kvf_last_error(), strlen(kvf_last_error()) + 1);
}

static void at_gens(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    const ids_t *ids = in;
    uint32_t gens[BLOCKS];

    (void)in_len;
    ok(kvf_pool_generations(((side_t *)state)->pool, ids->count, ids->id, gens));
    out_put(out, gens, ids->count * sizeof(gens[0]));
}

/* The owner's answer to a free or a raise. */
static kvf_status_t ask(rig_t *rig, proc_fn_t fn, ids_t ids, char *sentence)
{
    char answer[512] = "";
    int32_t status;

    rig_call(rig, fn, &ids, sizeof(ids), answer, sizeof(answer));
    memcpy(&status, answer, sizeof(status));
    if (sentence != NULL) {
        strcpy(sentence, answer + sizeof(status));
    }
    return (kvf_status_t)status;
}

static ids_t take(rig_t *rig, uint32_t count)
{
    ids_t ids = {.count = count};

    rig_call(rig, at_take, &ids, sizeof(ids), &ids, sizeof(ids));
    return ids;
}

static void gens_of(rig_t *rig, ids_t ids, uint32_t *gens)
{
    rig_call(rig, at_gens, &ids, sizeof(ids), gens, BLOCKS * sizeof(gens[0]));
}

/* Protection of the mapping at addr: "r--s". */
static void protection(const void *addr, char perms[5])
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long from, to;
    char line[512], got[5];

    strcpy(perms, "none");
    while (fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%lx-%lx %4s", &from, &to, got) == 3 && from <= (uintptr_t)addr &&
            (uintptr_t)addr < to) {
            strcpy(perms, got);
        }
    }
    fclose(maps);
}

START_TEST(bytes_are_seen_where_they_are_and_only_seen)
{
    rig_t rig;
    ids_t ids;
    uint32_t gens[BLOCKS];
    const void *addr = NULL, *again = NULL;
    kvf_view_t *view, *other;
    kvf_counters_t counters = {.struct_size = sizeof(counters)};
    char perms[5];
    uint8_t mark = 99;

    rig_open(&rig, (where_t)_i, &pool_opts);
    ids = take(&rig, 2);
    owner_fill(&rig, 5);
    gens_of(&rig, ids, gens);
    ok(kvf_view_open(rig.remote, 0, 2 * BLOCK, 2, ids.id, gens, &addr, &view));
    must(pattern_compare(addr, 2 * BLOCK, 5) == UINT64_MAX, "wrong bytes");
    owner_put(&rig, 3, &mark, 1);
    must(((const uint8_t *)addr)[3] == 99, "a copy, not the memory");
    protection(addr, perms);
    must(strcmp(perms, "r--s") == 0, "the view is %s", perms);
    ok(kvf_view_open(rig.remote, BLOCK, 10, 1, &ids.id[1], &gens[1], &again, &other));
    must(again == (const uint8_t *)addr + BLOCK, "a second mapping for a second view");
    ok(kvf_engine_counters(rig.me.engine, &counters));
    must(counters.views == 2 && counters.viewed_bytes == 2 * BLOCK + 10, "counters of views");
    must(counters.bytes == 0, "bytes were moved");
    ok(kvf_view_close(view));
    ok(kvf_view_close(other));
    rig_close(&rig);
}
END_TEST

START_TEST(a_block_that_is_looked_at_is_not_given_away)
{
    rig_t rig;
    ids_t ids, one = {.count = 1};
    uint32_t gens[BLOCKS];
    const void *addr;
    kvf_view_t *view, *second;
    char sentence[512];
    int8_t status = 0;
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &pool_opts);
    ids = take(&rig, 4);
    gens_of(&rig, ids, gens);
    ok(kvf_view_open(rig.remote, 2 * BLOCK, BLOCK, 1, &ids.id[2], &gens[2], &addr, &view));
    must(ask(&rig, at_free, ids, sentence) == KVF_ERR_BUSY, "free: %s", sentence);
    must(strstr(sentence, "block 2") != NULL && strstr(sentence, "pid") != NULL, "%s", sentence);
    must(ask(&rig, at_raise, ids, sentence) == KVF_ERR_BUSY, "raise: %s", sentence);
    /* none was given back, all are stale */
    op = op_plain(rig.me.segment, 0, rig.remote, 0, BLOCK, KVF_READ);
    op.remote_gens = gens;
    op.block_status = &status;
    answers(run_ops(rig.batch, &op, 1, NULL), KVF_ERR_STALE);
    refused(kvf_view_open(rig.remote, 0, BLOCK, 1, ids.id, gens, &addr, &second), KVF_ERR_STALE, "ids[0]");
    /* its neighbours can be given back alone */
    one.id[0] = ids.id[3];
    must(ask(&rig, at_free, one, sentence) == KVF_OK, "%s", sentence);
    ids.count = 3;
    ok(kvf_view_close(view));
    must(ask(&rig, at_free, ids, sentence) == KVF_OK, "%s", sentence);
    refused(kvf_view_close(view), KVF_ERR_INVALID, "view");
    rig_close(&rig);
}
END_TEST

START_TEST(revoke_and_forget_wait_for_views)
{
    rig_t rig;
    ids_t ids;
    uint32_t gens[BLOCKS];
    const void *addr;
    kvf_view_t *view, *second;

    rig_open(&rig, (where_t)_i, &pool_opts);
    ids = take(&rig, 1);
    gens_of(&rig, ids, gens);
    ok(kvf_view_open(rig.remote, 0, BLOCK, 1, ids.id, gens, &addr, &view));
    refused(kvf_remote_forget(rig.remote), KVF_ERR_BUSY, NULL);
    must(owner_revoke(&rig, 20 * MS) == KVF_ERR_TIMEOUT, "revoked under a view");
    refused(kvf_view_open(rig.remote, 0, BLOCK, 1, ids.id, gens, &addr, &second), KVF_ERR_REVOKED, NULL);
    ok(kvf_view_close(view));
    must(owner_revoke(&rig, patient(1)) == KVF_OK, "a closed view holds a grant back");
    rig_close(&rig);
}
END_TEST

START_TEST(a_close_of_the_reader_closes_its_views)
{
    rig_t rig;
    ids_t ids;
    uint32_t gens[BLOCKS];
    const void *addr;
    kvf_view_t *view;

    rig_open(&rig, (where_t)_i, &pool_opts);
    ids = take(&rig, 1);
    gens_of(&rig, ids, gens);
    ok(kvf_view_open(rig.remote, 0, BLOCK, 1, ids.id, gens, &addr, &view));
    ok(kvf_engine_close(rig.me.engine, patient(1)));
    if (rig.where == WHERE_SELF) {
        return;
    }
    must(ask(&rig, at_free, ids, NULL) == KVF_OK, "a view of a closed engine holds a block back");
    rig_call(&rig, side_close, NULL, 0, NULL, 0);
    if (rig.where == WHERE_SHM) {
        proc_end(&rig.owner);
    }
}
END_TEST

/* in: engine blob, then grant blob; a child that looks at block 0 and never closes */
typedef struct blobs {
    uint64_t len[2];
    uint32_t gen;
    uint8_t data[2][8192];
} blobs_t;

static void at_look(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const blobs_t *blobs = in;
    uint32_t id = 0, count = 1;
    const void *addr;
    kvf_view_t *view;

    (void)in_len;
    (void)out;
    ok(kvf_engine_open(NULL, &side->engine));
    ok(kvf_peer_import(side->engine, blobs->data[0], blobs->len[0], &side->peer[0]));
    ok(kvf_remote_import(side->peer[0], blobs->data[1], blobs->len[1], &side->remote[0], &count));
    ok(kvf_view_open(side->remote[0], 0, BLOCK, 1, &id, &blobs->gen, &addr, &view));
}

START_TEST(a_dead_reader_holds_nothing_back)
{
    proc_t reader;
    kvf_engine_t *engine;
    kvf_pool_t *pool;
    kvf_grant_t *grant;
    kvf_pool_opts_t opts = {.struct_size = sizeof(opts), .blocks = 4, .block_bytes = BLOCK};
    kvf_range_t range = {.len = 4 * BLOCK, .rights = KVF_RIGHT_READ};
    static blobs_t blobs;
    uint32_t id;
    size_t len;

    proc_start(&reader, sizeof(side_t), 60, side_idle);
    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_pool_create(engine, &opts, &pool));
    ok(kvf_pool_alloc(pool, 1, &id));
    range.segment = kvf_pool_segment(pool);
    ok(kvf_grant_create(engine, &range, 1, NULL, &grant));
    len = sizeof(blobs.data[0]);
    engine_blob(engine, 0, blobs.data[0], &len);
    blobs.len[0] = len;
    len = sizeof(blobs.data[1]);
    grant_blob(grant, blobs.data[1], &len);
    blobs.len[1] = len;
    ok(kvf_pool_generations(pool, 1, &id, &blobs.gen));
    proc_call(&reader, at_look, &blobs, sizeof(blobs), NULL, 0);
    refused_naming(kvf_pool_free(pool, 1, &id), KVF_ERR_BUSY, "block 0|pid");
    refused_naming(kvf_grant_revoke(grant, 10 * MS), KVF_ERR_TIMEOUT, "view|pid");
    proc_signal(&reader, SIGKILL);
    ok(kvf_pool_free(pool, 1, &id));
    ok(kvf_grant_revoke(grant, patient(1)));
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(what_cannot_be_looked_at_is_refused)
{
    rig_t rig;
    ids_t ids;
    uint32_t gens[BLOCKS], many[KVF_VIEW_BLOCKS + 1] = {0};
    const void *addr = NULL;
    kvf_view_t *view = NULL, *most;

    rig_open(&rig, (where_t)_i, &pool_opts);
    ids = take(&rig, BLOCKS);
    gens_of(&rig, ids, gens);
    refused(kvf_view_open(NULL, 0, 1, 1, ids.id, gens, &addr, &view), KVF_ERR_INVALID, "remote");
    refused(kvf_view_open(rig.remote, 0, 1, 1, ids.id, gens, NULL, &view), KVF_ERR_INVALID, "addr_p");
    refused(kvf_view_open(rig.remote, 0, 1, 1, ids.id, gens, &addr, NULL), KVF_ERR_INVALID, "view_p");
    refused(kvf_view_open(rig.remote, 0, 0, 1, ids.id, gens, &addr, &view), KVF_ERR_INVALID, "len");
    refused(kvf_view_open(rig.remote, 0, 1, 0, ids.id, gens, &addr, &view), KVF_ERR_INVALID, "count");
    refused(kvf_view_open(rig.remote, 0, 1, 1, NULL, gens, &addr, &view), KVF_ERR_INVALID, "ids");
    refused(kvf_view_open(rig.remote, 0, 1, 1, ids.id, NULL, &addr, &view), KVF_ERR_INVALID, "gens");
    refused(kvf_view_open(rig.remote, 0, 1, KVF_VIEW_BLOCKS + 1, many, gens, &addr, &view), KVF_ERR_INVALID,
            "count");
    refused(kvf_view_open(rig.remote, BLOCKS * BLOCK, 1, 1, ids.id, gens, &addr, &view), KVF_ERR_BOUNDS,
            "off");
    refused(kvf_view_open(rig.remote, 1, UINT64_MAX, 1, ids.id, gens, &addr, &view), KVF_ERR_BOUNDS, "off");
    many[0] = BLOCKS;
    refused(kvf_view_open(rig.remote, 0, 1, 1, many, gens, &addr, &view), KVF_ERR_BOUNDS, "ids[0]");
    ok(kvf_view_open(rig.remote, 0, 1, KVF_VIEW_BLOCKS, ids.id, gens, &addr, &most));
    refused(kvf_view_open(rig.remote, 0, 1, 1, ids.id, gens, &addr, &view), KVF_ERR_BUSY, NULL);
    ok(kvf_view_close(most));
    ok(kvf_view_open(rig.remote, 0, 1, 1, ids.id, gens, &addr, &view));
    ok(kvf_view_close(view));
    ok(kvf_view_close(NULL));
    owner_regrant(&rig, KVF_RIGHT_WRITE);
    refused(kvf_view_open(rig.remote, 0, 1, 1, ids.id, gens, &addr, &view), KVF_ERR_PERM, NULL);
    rig_close(&rig);
}
END_TEST

START_TEST(memory_that_is_not_mapped_has_no_view)
{
    rig_t rig;
    const void *addr;
    kvf_view_t *view;

    rig_open(&rig, (where_t)_i, &(rig_opts_t){0});
    refused(kvf_view_open(rig.remote, 0, 1, 0, NULL, NULL, &addr, &view), KVF_ERR_NO_PATH, NULL);
    rig_close(&rig);
}
END_TEST

START_TEST(a_range_without_blocks_is_held_by_its_grant)
{
    rig_t rig;
    const void *addr;
    kvf_view_t *view;
    uint32_t id = 0, gen = 0;

    rig_open(&rig, (where_t)_i, &(rig_opts_t){0});
    owner_fill(&rig, 6);
    refused(kvf_view_open(rig.remote, 0, 1, 1, &id, &gen, &addr, &view), KVF_ERR_INVALID, "count");
    ok(kvf_view_open(rig.remote, 0, 1 << 20, 0, NULL, NULL, &addr, &view));
    must(pattern_compare(addr, 1 << 20, 6) == UINT64_MAX, "wrong bytes");
    must(owner_revoke(&rig, 10 * MS) == KVF_ERR_TIMEOUT, "revoked under a view");
    ok(kvf_view_close(view));
    rig_close(&rig);
}
END_TEST

/* An owner that overwrites its one block as fast as it may; each word of it is its generation. */
typedef struct hostile {
    kvf_pool_t *pool;
    uint32_t *words;
    atomic_int stop;
    unsigned long rounds, busy;
} hostile_t;

static void *overwrite(void *arg)
{
    hostile_t *h = arg;
    uint32_t id = 0, gen;

    while (!atomic_load(&h->stop)) {
        if (kvf_pool_raise(h->pool, 1, &id) != KVF_OK) {
            h->busy++;
            continue;
        }
        kvf_pool_generations(h->pool, 1, &id, &gen);
        for (unsigned i = 0; i < BLOCK / 4; i++) {
            ((volatile uint32_t *)h->words)[i] = gen;
        }
        h->rounds++;
    }
    return NULL;
}

START_TEST(a_view_never_changes_under_its_reader)
{
    rig_t rig;
    hostile_t h = {0};
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    pthread_t thread;
    uint32_t id = 0, gen, first;
    unsigned long seen = 0, stale = 0;

    rig_open(&rig, WHERE_TWIN, &pool_opts);
    h.pool = rig.here.pool;
    ok(kvf_segment_query(kvf_pool_segment(h.pool), &attr));
    h.words = attr.addr;
    ok(kvf_pool_alloc(h.pool, 1, &id));
    must(pthread_create(&thread, NULL, overwrite, &h) == 0, "pthread_create");
    for (uint64_t end = now_ns() + SEC / 2; now_ns() < end;) {
        const void *addr;
        kvf_view_t *view;

        ok(kvf_pool_generations(h.pool, 1, &id, &gen));
        if (kvf_view_open(rig.remote, 0, BLOCK, 1, &id, &gen, &addr, &view) != KVF_OK) {
            stale++;
            continue;
        }
        /* it may be overwritten as of this generation, but no younger one may come */
        first = ((const volatile uint32_t *)addr)[0];
        for (unsigned n = 0; n < 4; n++) {
            for (unsigned i = 0; i < BLOCK / 4; i++) {
                uint32_t word = ((const volatile uint32_t *)addr)[i];

                must(word <= gen, "a view of generation %u shows %u (first %u)", gen, word, first);
            }
        }
        ok(kvf_view_close(view));
        seen++;
    }
    atomic_store(&h.stop, 1);
    pthread_join(thread, NULL);
    must(seen > 10 && h.rounds > 10, "%lu views, %lu rounds, %lu stale, %lu busy", seen, h.rounds, stale,
         h.busy);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("views");
    TCase *tcase = tcase_create("views");

    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, bytes_are_seen_where_they_are_and_only_seen, WHERE_SELF, WHERE_CMA);
    tcase_add_loop_test(tcase, a_block_that_is_looked_at_is_not_given_away, WHERE_SELF, WHERE_CMA);
    tcase_add_loop_test(tcase, revoke_and_forget_wait_for_views, WHERE_SELF, WHERE_CMA);
    tcase_add_loop_test(tcase, a_close_of_the_reader_closes_its_views, WHERE_SELF, WHERE_CMA);
    tcase_add_test(tcase, a_dead_reader_holds_nothing_back);
    tcase_add_loop_test(tcase, what_cannot_be_looked_at_is_refused, WHERE_SELF, WHERE_CMA);
    tcase_add_loop_test(tcase, memory_that_is_not_mapped_has_no_view, WHERE_CMA, WHERE_COUNT);
    tcase_add_loop_test(tcase, a_range_without_blocks_is_held_by_its_grant, WHERE_TWIN, WHERE_CMA);
    tcase_add_test(tcase, a_view_never_changes_under_its_reader);
    return run_suite(suite);
}

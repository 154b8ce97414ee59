/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Shared memory is input. A neighbour writes what it likes into the control page of an owner, and into boxes
 * and rings: the owner neither dies nor hangs, decides by what is private, and nothing lands in memory that
 * was revoked. Looks inside of the library, to reach those places.
 */
#include "rig.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/grant.h"
#include "engine/peer.h"
#include "engine/pool.h"
#include "path/rings.h"

#define LEN (UINT64_C(4) << 20)

static void open_rig(rig_t *rig, uint32_t blocks)
{
    rig_opts_t opts = {.owner_len = LEN,
                       .local_len = LEN,
                       .progress = KVF_PROGRESS_CALLER,
                       .pool_blocks = blocks,
                       .block_bytes = blocks > 0 ? 4096 : 0};

    rig_open(rig, blocks > 0 ? WHERE_SHM : WHERE_STAGE, &opts);
}

/* Revokes, uses the memory otherwise, and finds the epoch in its page set back by a neighbour. */
static void at_reuse(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t slot = side->grant->slot;
    uint32_t epoch = side->grant->epoch;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_grant_revoke(side->grant, patient(2)));
    side->grant = NULL;
    pattern_fill(side->mem, side->len, 2);
    atomic_store(&side->engine->home->page->epoch[slot], epoch);
}

/* A WRITE over stage is under way meanwhile. */
START_TEST(an_epoch_that_is_set_back_lets_nothing_into_revoked_memory)
{
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, 0);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, LEN, KVF_WRITE);
    pattern_fill(rig.me.mem, LEN, 1);
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
    for (uint64_t end = now_ns() + patient(5); rig.batch->xfers[0].sent == 0;) {
        must(now_ns() < end, "nothing was sent");
        ok(kvf_progress(rig.me.engine));
    }
    rig_call(&rig, at_reuse, NULL, 0, NULL, 0);
    for (uint64_t end = now_ns() + 200 * MS; now_ns() < end; sleep_ms(1)) {
        ok(kvf_progress(rig.me.engine));
    }
    must(owner_compare(&rig, 2) == UINT64_MAX, "byte %zu was overwritten after revoke said OK",
         (size_t)owner_compare(&rig, 2));
    proc_signal(&rig.owner, SIGKILL);
}
END_TEST

static void notify(rig_t *rig)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                             .notify_peer = rig->peer,
                             .notify = "note",
                             .notify_len = 4,
                             .deadline_ns = 100 * MS};

    ok(kvf_batch_post(rig->batch, NULL, 0, sizeof(kvf_op_t), &opts));
    (void)kvf_batch_wait(rig->batch, patient(5));
}

START_TEST(a_sender_goes_by_the_depth_that_it_imported)
{
    static const uint32_t depths[] = {0, 0x7fffffff, UINT32_MAX};
    rig_t rig;

    open_rig(&rig, 16);
    for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
        rig.peer->hold.page->head.depth = depths[i];
        notify(&rig);
    }
    proc_signal(&rig.owner, SIGKILL);
}
END_TEST

static void at_take(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    kvf_notification_t note = {.struct_size = sizeof(note)};
    side_t *side = state;
    uint32_t id = 0;
    kvf_status_t status;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_pool_alloc(side->pool, 1, &id));
    status = kvf_pool_free(side->pool, 1, &id);
    must(status == KVF_OK || status == KVF_ERR_BUSY, "%s", kvf_last_error());
    for (int i = 0; i < 600 && kvf_notify_recv(side->engine, &note) == KVF_OK; i++) {
        must(note.len <= KVF_NOTIFY_MAX, "%u", note.len);
    }
}

START_TEST(more_seats_and_notes_than_there_are_change_nothing)
{
    static const uint32_t highs[] = {300, 1000000, UINT32_MAX};
    kvfi_page_t *page;
    rig_t rig;

    open_rig(&rig, 16);
    page = rig.peer->hold.page;
    for (size_t i = 0; i < sizeof(highs) / sizeof(highs[0]); i++) {
        atomic_store(&page->high, highs[i]);
        atomic_store(&page->seats[200].holder, 77);
        atomic_store(&page->seats[200].tail, highs[i]);
        rig_call(&rig, at_take, NULL, 0, NULL, 0);
        ok(owner_revoke(&rig, patient(5)));
        owner_regrant(&rig, KVF_RIGHT_READ);
    }
    proc_signal(&rig.owner, SIGKILL);
}
END_TEST

/* A generation in the shared copy that is set back: the owner's own stands. */
static void at_generation(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t id = 0;
    uint32_t gen = 0;

    (void)in;
    (void)in_len;
    ok(kvf_pool_alloc(side->pool, 1, &id));
    ok(kvf_pool_raise(side->pool, 1, &id));
    atomic_store(&side->pool->shown[id], 77);
    ok(kvf_pool_generations(side->pool, 1, &id, &gen));
    ok(kvf_pool_free(side->pool, 1, &id));
    out_put(out, &gen, sizeof(gen));
}

START_TEST(an_owner_goes_by_its_own_generations)
{
    uint32_t gen = 0;
    rig_t rig;

    open_rig(&rig, 16);
    rig_call(&rig, at_generation, NULL, 0, &gen, sizeof(gen));
    must(gen == 1, "generation %u", gen);
    rig_close(&rig);
}
END_TEST

/* ------------------------------------------------------------- random bytes everywhere */

/* What an owner does all day, for so many milliseconds. Each answer is fine that comes in time. */
static void at_live(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_range_t range = {.segment = side->segment, .len = 4096, .rights = KVF_RIGHT_READ};
    kvf_notification_t note = {.struct_size = sizeof(note)};
    uint64_t end, before, slowest = 0;
    uint32_t id = 0, ms;

    (void)out;
    memcpy(&ms, in, in_len);
    for (end = now_ns() + ms * MS; now_ns() < end;) {
        kvf_grant_t *grant = NULL;

        before = now_ns();
        if (kvf_grant_create(side->engine, &range, 1, NULL, &grant) == KVF_OK) {
            (void)kvf_grant_revoke(grant, 5 * MS);
        }
        if (side->pool != NULL && kvf_pool_alloc(side->pool, 1, &id) == KVF_OK) {
            (void)kvf_pool_raise(side->pool, 1, &id);
            (void)kvf_pool_free(side->pool, 1, &id);
        }
        for (int i = 0; i < 8 && kvf_notify_recv(side->engine, &note) == KVF_OK; i++) {
            must(note.len <= KVF_NOTIFY_MAX, "%u", note.len);
        }
        (void)kvf_progress(side->engine);
        slowest = now_ns() - before > slowest ? now_ns() - before : slowest;
    }
    must(slowest < patient(5), "a round took %zu ms", (size_t)(slowest / MS));
    (void)kvf_engine_close(side->engine, 100 * MS);
}

static void scribble(void *at, size_t len, unsigned *seed)
{
    uint8_t *bytes = at;
    size_t from = ((size_t)rand_r(seed) << 8 ^ (size_t)rand_r(seed)) % len;
    size_t count = (size_t)rand_r(seed) % 64 + 1;

    for (size_t i = from; i < len && i < from + count; i++) {
        bytes[i] = (uint8_t)rand_r(seed);
    }
}

START_TEST(random_bytes_anywhere_in_shared_memory_do_not_end_an_owner)
{
    uint32_t ms = getenv("KVF_FULL") != NULL ? 20000 : 400;
    unsigned seed = (unsigned)_i + 1;
    kvfi_am_peer_t *stage;
    kvfi_page_t *page;
    kvf_op_t op;
    rig_t rig;
    uint64_t end;

    open_rig(&rig, _i % 2 == 0 ? 16 : 0);
    if (_i % 2 != 0) {
        op = op_plain(rig.me.segment, 0, rig.remote, 0, LEN, KVF_WRITE);
        move(&rig, &op, 1);
    }
    page = rig.peer->hold.page;
    stage = atomic_load(&rig.peer->stage);
    proc_ask(&rig.owner, at_live, &ms, sizeof(ms));
    for (end = now_ns() + ms * MS; now_ns() < end;) {
        scribble(page, sizeof(*page), &seed);
        scribble(&page->head, 4096, &seed);
        scribble(page->seats, 4 * sizeof(page->seats[0]), &seed);
        if (stage != NULL) {
            scribble(kvfi_mem_addr(kvfi_pair_of(stage)->mail.mem), sizeof(kvfi_mail_box_t), &seed);
            scribble(kvfi_pair_of(stage)->mail.out, offsetof(kvfi_mail_ring_t, bytes) + 256, &seed);
            scribble(kvfi_pair_of(stage)->stage.ring, sizeof(kvfi_stage_ring_t), &seed);
        }
    }
    proc_reply(&rig.owner, NULL, 0);
    proc_signal(&rig.owner, SIGKILL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scribble");
    TCase *tc = tcase_create("scribble");

    tcase_set_timeout(tc, 40);
    tcase_add_test(tc, an_epoch_that_is_set_back_lets_nothing_into_revoked_memory);
    tcase_add_test(tc, a_sender_goes_by_the_depth_that_it_imported);
    tcase_add_test(tc, more_seats_and_notes_than_there_are_change_nothing);
    tcase_add_test(tc, an_owner_goes_by_its_own_generations);
    tcase_add_loop_test(tc, random_bytes_anywhere_in_shared_memory_do_not_end_an_owner, 0, 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

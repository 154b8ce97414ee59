/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a peer asks for costs the owner no more than the message is worth: a huge count in a short request, a
 * great many small ops, requests that are more than is held for a peer, and answers that nobody takes. The
 * others are served meanwhile. Looks inside of the library, for no initiator of ours asks like that.
 */
#include "rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/links.h"
#include "engine/peer.h"
#include "engine/remote.h"
#include "path/rings.h"

#define LEN (UINT64_C(1) << 20)

static kvfi_am_t *machine(const side_t *side)
{
    kvfi_am_t *am = kvfi_links_am(side->engine, KVFI_WIRE);

    return am != NULL ? am : kvfi_links_am(side->engine, KVFI_NEAR);
}

/* A small op, which ends after all that was asked before. */
static void is_served(rig_t *rig, uint64_t within_ns)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, 0, 64, KVF_READ);
    uint64_t before = now_ns();

    move(rig, &op, 1);
    must(now_ns() - before < within_ns, "64 bytes took %d ms", (int)((now_ns() - before) / MS));
}

static void ask_locked(rig_t *rig, kvfi_am_request_t *request, unsigned times)
{
    kvfi_am_t *am = machine(&rig->me);
    kvfi_am_peer_t *peer = rig->peer->am != NULL ? rig->peer->am : atomic_load(&rig->peer->stage);

    for (unsigned i = 0; i < times; i++) {
        kvfi_am_message_t *message = kvfi_am_message(
            peer, KVFI_AM_REQUEST, (UINT64_C(1) << 62) + ++am->last_token, 0, sizeof(*request));

        must(message != NULL, "no memory");
        request->grant = rig->remote->target.grant;
        request->epoch = rig->remote->target.epoch;
        memcpy(message->data, request, sizeof(*request));
        kvfi_am_queue(peer, message);
    }
    kvfi_am_pump(am);
}

static void ask(rig_t *rig, kvfi_am_request_t *request, unsigned times)
{
    kvfi_am_t *am = machine(&rig->me);

    kvfi_lock_take(am->lock);
    ask_locked(rig, request, times);
    kvfi_lock_give(am->lock);
    kvfi_am_wake(am);
}

static void open_rig(rig_t *rig, int far)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};

    rig_open(rig, far ? WHERE_AM : WHERE_STAGE, &opts);
    is_served(rig, patient(5));
}

/* The last byte of the last of 2^32 - 1 blocks is out of bounds, or all of them. */
START_TEST(a_huge_count_is_refused_at_once)
{
    kvfi_am_request_t request = {.dir = KVF_READ, .len = 2, .count = {1, 1}, .blocks = UINT32_MAX};
    rig_t rig;

    open_rig(&rig, _i);
    request.off = LEN - 1;
    ask(&rig, &request, 20);
    request.off = 0;
    request.block = 1;
    ask(&rig, &request, 20);
    is_served(&rig, patient(2));
    rig_close(&rig);
}
END_TEST

/* A stream of 2^62 bytes out of one byte: it is sent for ever, in turn with the others. */
START_TEST(an_endless_stream_leaves_room_for_others)
{
    kvfi_am_request_t request = {.dir = KVF_READ, .len = 1, .count = {1u << 31, 1}, .blocks = 1u << 31};
    rig_t rig;

    open_rig(&rig, _i);
    ask(&rig, &request, 1);
    is_served(&rig, patient(2));
    is_served(&rig, patient(2));
    rig_close(&rig);
}
END_TEST

START_TEST(a_great_many_ops_cost_as_many_times_one)
{
    unsigned many = getenv("KVF_FULL") != NULL ? 24000 : 6000;
    kvf_op_t *ops = calloc(many, sizeof(*ops));
    uint64_t took[2];
    rig_t rig;

    open_rig(&rig, 0);
    must(ops != NULL, "no memory");
    for (int i = 0; i < 2; i++) {
        unsigned count = i == 0 ? many / 8 : many;

        for (unsigned n = 0; n < count; n++) {
            ops[n] = op_plain(rig.me.segment, n * 8, rig.remote, n * 8, 8, _i ? KVF_WRITE : KVF_READ);
        }
        took[i] = now_ns();
        move(&rig, ops, count);
        took[i] = now_ns() - took[i];
    }
    must(took[1] < 32 * took[0] + 500 * MS, "%u ops take %d us, %u %d us", many / 8, (int)(took[0] / 1000),
         many, (int)(took[1] / 1000));
    free(ops);
    rig_close(&rig);
}
END_TEST

static void at_hold_little(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    kvfi_am_t *am = machine(state);

    (void)in;
    (void)in_len;
    (void)out;
    kvfi_lock_take(am->lock);
    am->held_most = 65536;
    am->answers_most = 4096;
    kvfi_lock_give(am->lock);
}

/* Alone it is served whatever its size; with an endless one beside it what is held is twice the limit. */
START_TEST(more_than_is_held_for_a_peer_is_busy_and_the_peer_stays)
{
    kvfi_am_request_t endless = {.dir = KVF_READ, .len = 1, .count = {1u << 31, 1}, .blocks = 1u << 31};
    uint32_t *ids = calloc(LEN / 32, sizeof(*ids));
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, _i);
    must(ids != NULL, "no memory");
    rig_call(&rig, at_hold_little, NULL, 0, NULL, 0);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 16, KVF_READ);
    op.local_block = 16;
    op.remote_block = 16;
    op.blocks = LEN / 32;
    op.remote_ids = ids;
    move(&rig, &op, 1);
    ask(&rig, &endless, 1);
    answers(run_ops(rig.batch, &op, 1, NULL), KVF_ERR_BUSY);
    op.blocks /= 4;
    move(&rig, &op, 1);
    free(ids);
    rig_close(&rig);
}
END_TEST

/* The limits as they are, a gigabyte of memory: a request of more than 256 MiB and the longest without
 * generations, of which one pair moves. */
START_TEST(one_request_alone_is_served_whatever_its_size)
{
    uint32_t blocks = _i / 2 ? KVFI_AM_PAIRS_MOST : (KVFI_AM_HELD_MOST >> 2) + 1;
    uint32_t *skips = malloc(blocks * sizeof(*skips));
    kvf_op_t op;
    rig_t rig;

    open_rig(&rig, _i % 2);
    must(skips != NULL, "no memory");
    memset(skips, 0xff, blocks * sizeof(*skips));
    skips[blocks - 1] = 0;
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 16, KVF_READ);
    op.local_block = 16;
    op.blocks = blocks;
    op.local_ids = skips;
    owner_fill(&rig, 7);
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, 16, 7) == UINT64_MAX, "not the owner's bytes");
    free(skips);
    rig_close(&rig);
}
END_TEST

/* Refused requests, sent on and on without a look at what comes back. */
START_TEST(who_takes_no_answers_is_dropped)
{
    kvfi_am_request_t request = {.dir = 99, .len = 1, .count = {1, 1}, .blocks = 1};
    uint64_t end = now_ns() + patient(10);
    kvfi_am_peer_t *peer;
    rig_t rig;

    open_rig(&rig, 0);
    rig_call(&rig, at_hold_little, NULL, 0, NULL, 0);
    peer = atomic_load(&rig.peer->stage);
    kvfi_lock_take(peer->am->lock); /* nobody here looks */
    while (!atomic_load(&kvfi_pair_of(peer)->mail.in[0].ring->shut)) {
        must(now_ns() < end, "its answers are kept for ever");
        ask_locked(&rig, &request, 100);
        sleep_ms(1);
    }
    kvfi_lock_give(peer->am->lock);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("requests");
    TCase *all = tcase_create("all");

    tcase_set_timeout(all, 30 * patience());
    tcase_add_loop_test(all, a_huge_count_is_refused_at_once, 0, 2);
    tcase_add_loop_test(all, an_endless_stream_leaves_room_for_others, 0, 2);
    tcase_add_loop_test(all, a_great_many_ops_cost_as_many_times_one, 0, 2);
    tcase_add_loop_test(all, more_than_is_held_for_a_peer_is_busy_and_the_peer_stays, 0, 2);
    if (getenv("KVF_FULL") != NULL)
        tcase_add_loop_test(all, one_request_alone_is_served_whatever_its_size, 0, 4);
    tcase_add_test(all, who_takes_no_answers_is_dropped);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}

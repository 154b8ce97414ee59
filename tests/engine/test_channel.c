/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Notification channels: the takers of one engine get their own, in order, and none of another's; one that
 * nobody takes from holds the others up only past its depth.
 */
#include "rig.h"

#include <check.h>
#include <poll.h>
#include <string.h>

#define EACH 20

static void tell(rig_t *rig, uint32_t channel, uint32_t number)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                             .channel = channel,
                             .notify_peer = rig->peer,
                             .notify = &number,
                             .notify_len = sizeof(number),
                             .deadline_ns = patient(10)};

    ok(run_ops(rig->batch, NULL, 0, &opts));
}

/* Of an engine, or of a channel: the number of the next one; UINT32_MAX: there is none. */
static uint32_t next(kvf_engine_t *engine, kvf_channel_t *channel, uint32_t number)
{
    kvf_notification_t n = {.struct_size = sizeof(n)};
    kvf_status_t status = channel != NULL ? kvf_channel_recv(channel, &n) : kvf_notify_recv(engine, &n);
    uint32_t got;

    if (status == KVF_INPROGRESS) {
        return UINT32_MAX;
    }
    ok(status);
    must(n.channel == number && n.len == sizeof(got), "channel %u, %u bytes", n.channel, n.len);
    memcpy(&got, n.data, sizeof(got));
    return got;
}

static uint32_t await(kvf_engine_t *engine, kvf_channel_t *channel, uint32_t number)
{
    uint32_t got;

    for (int tries = 0; (got = next(engine, channel, number)) == UINT32_MAX && tries < 2000; tries++) {
        sleep_ms(tries > 100);
    }
    return got;
}

/* At the owner: channels 1 and 2; then all of EACH of the last opened first. */
static void at_open(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_channel_t *channel[2];

    (void)in, (void)in_len, (void)out;
    for (uint32_t i = 0; i < 2; i++) {
        ok(kvf_channel_open(side->engine, i + 1, &channel[i]));
        side->extra[i] = channel[i];
    }
}

static void at_take(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in, (void)in_len, (void)out;
    for (uint32_t channel = 3; channel-- > 0;) {
        kvf_channel_t *from = channel > 0 ? side->extra[channel - 1] : NULL;

        for (uint32_t i = 0; i < EACH; i++) {
            uint32_t got = await(side->engine, from, channel);

            must(got == 100 * channel + i, "channel %u: %u after %u", channel, got, i);
        }
        must(next(side->engine, from, channel) == UINT32_MAX, "one too many");
    }
    for (uint32_t i = 0; i < 2; i++) {
        ok(kvf_channel_close(side->extra[i]));
        side->extra[i] = NULL;
    }
}

START_TEST(each_channel_gets_its_own_in_order)
{
    rig_t rig;

    rig_open(&rig, (where_t)_i, NULL);
    rig_call(&rig, at_open, NULL, 0, NULL, 0);
    for (uint32_t i = 0; i < EACH; i++) {
        for (uint32_t channel = 0; channel < 3; channel++) {
            tell(&rig, channel, 100 * channel + i);
        }
    }
    rig_call(&rig, at_take, NULL, 0, NULL, 0);
    rig_close(&rig);
}
END_TEST

START_TEST(one_that_nobody_takes_from_holds_up_past_its_depth)
{
    rig_opts_t opts = {.notify_depth = 4};
    struct pollfd fd = {.events = POLLIN};
    kvf_channel_t *one, *two;
    kvf_engine_t *here;
    rig_t rig;

    rig_open(&rig, WHERE_TWIN, &opts);
    here = rig.here.engine;
    ok(kvf_channel_open(here, 1, &one));
    ok(kvf_channel_open(here, 2, &two));
    for (uint32_t i = 0; i < 4; i++) {
        tell(&rig, 1, i);
    }
    must(next(here, two, 2) == UINT32_MAX, "another's");
    tell(&rig, 2, 7);
    must(next(here, two, 2) == 7, "held up within the depth");
    tell(&rig, 1, 4);
    tell(&rig, 2, 8);
    tell(&rig, 0, 9);
    must(next(here, two, 2) == UINT32_MAX && next(here, NULL, 0) == UINT32_MAX, "past the depth");
    ok(kvf_channel_fd(two, &fd.fd));
    ok(kvf_channel_arm(two));
    must(poll(&fd, 1, 20) == 0, "readable, and nothing is for it");
    must(next(here, one, 1) == 0, "the first");
    must(poll(&fd, 1, 1000) == 1, "not woken when it went on");
    must(next(here, two, 2) == 8 && next(here, NULL, 0) == 9, "held up after that");
    for (uint32_t i = 1; i < 5; i++) {
        must(next(here, one, 1) == i, "%u", i);
    }
    must(next(here, one, 1) == UINT32_MAX, "one too many");
    for (uint32_t i = 0; i < 5; i++) { /* full again, one more behind it: gone with the channel */
        tell(&rig, i < 4 ? 1 : 2, i);
        must(next(here, NULL, 0) == UINT32_MAX, "another's");
    }
    tell(&rig, 1, 5);
    must(next(here, two, 2) == 4, "held up within the depth");
    ok(kvf_channel_close(one));
    must(next(here, NULL, 1) == 5, "what comes after the close is nobody's channel's");
    ok(kvf_channel_close(two));
    rig_close(&rig);
}
END_TEST

START_TEST(a_channel_that_opens_late_gets_what_was_not_taken)
{
    kvf_channel_t *one, *two, *again = NULL;
    kvf_engine_t *here;
    int fd;
    rig_t rig;

    rig_open(&rig, WHERE_TWIN, NULL);
    here = rig.here.engine;
    refused_naming(kvf_channel_open(here, 0, &one), KVF_ERR_INVALID, "number is 0");
    refused_naming(kvf_channel_open(here, 1, NULL), KVF_ERR_INVALID, "channel_p is NULL");
    tell(&rig, 5, 1);
    tell(&rig, 5, 2);
    must(next(here, NULL, 5) == 1, "of no open channel");
    ok(kvf_channel_open(here, 4, &two));
    must(next(here, two, 4) == UINT32_MAX, "another's"); /* puts it aside */
    tell(&rig, 5, 3);
    tell(&rig, 0, 4);
    ok(kvf_channel_open(here, 5, &one));
    refused_naming(kvf_channel_open(here, 5, &again), KVF_ERR_BUSY, "channel 5 is open");
    must(again == NULL, "an output of a failure");
    must(next(here, one, 5) == 2 && next(here, one, 5) == 3 && next(here, one, 5) == UINT32_MAX, "its own");
    must(next(here, NULL, 0) == 4, "the caller's");
    refused_naming(kvf_channel_recv(one, NULL), KVF_ERR_INVALID, "notification_p");
    refused_naming(kvf_channel_fd(one, NULL), KVF_ERR_INVALID, "fd_p is NULL");
    answers(kvf_channel_fd(NULL, &fd), KVF_ERR_INVALID);
    refused_naming(kvf_channel_arm(NULL), KVF_ERR_INVALID, "channel handle is NULL");
    answers(kvf_channel_recv(NULL, NULL), KVF_ERR_INVALID);
    ok(kvf_channel_close(one));
    answers(kvf_channel_close(one), KVF_ERR_INVALID);
    ok(kvf_channel_close(NULL));
    ok(kvf_channel_open(here, 5, &one)); /* left open: the engine's close frees it */
    rig_close(&rig);
}
END_TEST

/* At the owner: two sleepers; the other takes, and drives, between this one's arm and its sleep. */
static void at_sleep(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_channel_t *one = side->extra[0], *two = side->extra[1];
    struct pollfd fd = {.events = POLLIN};
    uint32_t got;

    (void)in, (void)in_len, (void)out;
    ok(kvf_channel_fd(one, &fd.fd));
    for (int tries = 0; kvf_channel_arm(one) == KVF_OK && tries < 200; tries++) {
        if (poll(&fd, 1, 5) == 1) { /* it rings: the other one hears it too, and is faster */
            for (int n = 0; n < 20; n++) {
                must(next(side->engine, two, 2) == UINT32_MAX, "another's");
                kvf_channel_arm(two);
                kvf_engine_arm(side->engine);
            }
            must(poll(&fd, 1, 1000) == 1, "the wake was taken by another's arm");
        }
        if ((got = next(side->engine, one, 1)) != UINT32_MAX) {
            must(got == 3, "%u", got);
            return;
        }
    }
    refused_naming(kvf_channel_arm(one), KVF_ERR_BUSY, "kvf_channel_recv()");
    must(next(side->engine, one, 1) == 3, "not woken");
}

START_TEST(a_neighbour_that_takes_and_arms_takes_no_wake)
{
    rig_opts_t opts = {.progress = _i & 1 ? KVF_PROGRESS_CALLER : KVF_PROGRESS_THREAD};
    rig_t rig;

    rig_open(&rig, (where_t)(_i / 2), &opts);
    rig_call(&rig, at_open, NULL, 0, NULL, 0);
    tell(&rig, 1, 3);
    rig_call(&rig, at_sleep, NULL, 0, NULL, 0);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("channels");
    TCase *tc = tcase_create("channels");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, each_channel_gets_its_own_in_order, 0, WHERE_COUNT);
    tcase_add_test(tc, one_that_nobody_takes_from_holds_up_past_its_depth);
    tcase_add_test(tc, a_channel_that_opens_late_gets_what_was_not_taken);
    tcase_add_loop_test(tc, a_neighbour_that_takes_and_arms_takes_no_wake, 0, 2 * WHERE_COUNT);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

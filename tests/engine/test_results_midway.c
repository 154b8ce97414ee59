/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What of a request arrived, when it goes wrong in the middle: a source is killed, revokes, its
 * blocks are reused, the deadline passes. How far it came is not known, but whatever an entry's
 * status or the prefix calls arrived must be there byte for byte, and the other source's share with
 * it.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "sources.h"

/* One block after the other is given to somebody else, who writes to it. */
static void *churns(void *arg)
{
    side_t *side = arg;
    const kvf_layout_t *layout = side->extra[0];
    const kvf_group_t *group = kvf_layout_describe(layout)->groups;

    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint32_t id = source_block(i * 23 % BLOCKS);

        sleep_ms(8);
        ok(kvf_pool_raise(side->pool, 1, &id));
        for (uint32_t l = 0; l < LAYERS; l++)
            memset(side->mem + source_cell(layout, l, group->first_head, id, 0), 0x5a,
                   group->planes[0].block_stride);
    }
    return NULL;
}

/* in: shape_t */
static void at_churn(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    shape_t shape;
    pthread_t thread;

    (void)out;
    memcpy(&shape, in, in_len);
    side->extra[0] = source_layout(&shape, false);
    must(pthread_create(&thread, NULL, churns, side) == 0, "no thread");
    pthread_detach(thread);
}

/* In a thread of its own: goes wrong while batches run. */
typedef struct blow {
    sources_t *w;
    void (*strike)(sources_t *w);
    unsigned after_ms;
} blow_t;

static void *strikes(void *arg)
{
    blow_t *blow = arg;

    sleep_ms(blow->after_ms);
    blow->strike(blow->w);
    return NULL;
}

static void strike_kill(sources_t *w)
{
    proc_signal(&w->child[0], SIGKILL);
}

static void strike_revoke(sources_t *w)
{
    proc_call(&w->child[0], source_revoke, NULL, 0, NULL, 0);
}

static void pull_until_it_fails(sources_t *w, void (*strike)(sources_t *), unsigned after_ms,
                                kvf_status_t want)
{
    blow_t blow = {w, strike, after_ms};
    kvf_status_t status;
    pthread_t thread;
    uint64_t end_ns = now_ns() + patient(20);

    must(pthread_create(&thread, NULL, strikes, &blow) == 0, "no thread");
    while ((status = sources_pull(w, 0)) == KVF_OK)
        must(now_ns() < end_ns, "nothing fails");
    pthread_join(thread, NULL);
    must(status == want, "%s", kvf_status_name(status));
    sources_check(w);
    must(w->results.arrived >= BLOCKS, "the other source's blocks are lost too");
}

/* _i: path, when, and whether a copy thread is there. */
START_TEST(a_source_killed_midway_leaves_what_arrived)
{
    static sources_t w;

    sources_open(&w, (where_t)(WHERE_SHM + _i % 4), 0, MUCH, (uint32_t)_i / 4);
    pull_until_it_fails(&w, strike_kill, 5 + 7 * (unsigned)_i, KVF_ERR_PEER);
    sources_close(&w);
}
END_TEST

START_TEST(a_source_that_revokes_midway_leaves_what_arrived)
{
    static sources_t w;

    sources_open(&w, (where_t)(WHERE_SHM + _i % 4), 0, MUCH, (uint32_t)_i / 4);
    pull_until_it_fails(&w, strike_revoke, 5 + 7 * (unsigned)_i, KVF_ERR_REVOKED);
    sources_close(&w);
}
END_TEST

/* The deadline is short for what is asked. On am pairs of a guarded read are known as good one after
 * the other, and those in front first. */
START_TEST(a_deadline_midway_leaves_what_arrived)
{
    static sources_t w;
    uint64_t us, end_ns = now_ns() + patient(20);
    bool some = false;

    sources_open(&w, (where_t)(WHERE_SHM + _i % 4), 0, MUCH, (uint32_t)_i / 4);
    for (us = 50; us <= 12800; us *= 4) {
        kvf_status_t status = sources_pull(&w, us * 1000);

        must(status == KVF_ERR_TIMEOUT || status == KVF_OK, "%s", kvf_status_name(status));
        sources_check(&w);
    }
    for (us = 100; w.where == WHERE_AM && !some; us = us > 100000 ? 100 : us * 5 / 4) {
        must(now_ns() < end_ns, "all of it arrives, or nothing");
        sources_pull(&w, us * 1000);
        sources_check(&w);
        some = w.results.prefix_tokens > 2 * LARGE && w.results.prefix_tokens < TO - 2 * LARGE;
    }
    must(sources_pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
    sources_check(&w);
    sources_close(&w);
}
END_TEST

/* Until all blocks are others': whole batches, and such as a deadline ends. */
START_TEST(blocks_reused_midway_are_never_called_arrived)
{
    static sources_t w;
    uint64_t end_ns = now_ns() + patient(20);

    sources_open(&w, (where_t)_i, 0, MUCH / 4, 0);
    must(sources_pull(&w, 0) == KVF_OK, "%s", kvf_last_error());
    for (uint32_t i = 0; i < SOURCES; i++) {
        shape_t shape = w.shape;

        shape.rank = i;
        proc_call(&w.child[i], at_churn, &shape, sizeof(shape), NULL, 0);
    }
    for (uint64_t round = 0; w.results.arrived > 0 || round % 4 != 1; round++) {
        must(now_ns() < end_ns, "blocks that were reused still arrive");
        sources_pull(&w, round % 4 == 0 ? 0 : round % 4 * 500000);
        sources_check(&w);
    }
    sources_close(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("results midway");
    TCase *tc = tcase_create("results midway");

    tcase_set_timeout(tc, 60);
#ifdef __SANITIZE_THREAD__ /* on am the owner races with itself, on purpose */
    tcase_add_loop_test(tc, blocks_reused_midway_are_never_called_arrived, WHERE_SHM, WHERE_SHM + 1);
#else
    for (int where = WHERE_SHM; where <= WHERE_AM; where += WHERE_AM - WHERE_SHM)
        tcase_add_loop_test(tc, blocks_reused_midway_are_never_called_arrived, where, where + 1);
#endif
    tcase_add_loop_test(tc, a_source_killed_midway_leaves_what_arrived, 0, 8);
    tcase_add_loop_test(tc, a_source_that_revokes_midway_leaves_what_arrived, 0, 8);
    tcase_add_loop_test(tc, a_deadline_midway_leaves_what_arrived, 0, 8);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

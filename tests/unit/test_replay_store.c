/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The block store of a prefill rank: the rule by which hits are counted, that a request holds all of
 * its blocks or none, that nothing pinned is ever evicted, and that no two prefixes share a slot,
 * against a slow model of its own for thousands of random requests.
 */
#define _GNU_SOURCE
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/replay/store.h"

#define MODEL_SLOTS 40
#define MODEL_LIVE  6 /* requests that hold blocks at a time */

static unsigned admit(struct replay_store *store, const uint64_t *ids, uint64_t count,
                      struct replay_place *places)
{
    unsigned hits = 0;

    ck_assert(kvfi_replay_store_admit(store, ids, count, places));
    for (uint64_t i = 0; i < count; i++) {
        hits += !places[i].produce;
    }
    return hits;
}

static void serve(struct replay_store *store, const uint64_t *ids, uint64_t count, unsigned hits)
{
    struct replay_place places[8];

    ck_assert_uint_eq(admit(store, ids, count, places), hits);
    kvfi_replay_store_unpin(store, places, count);
}

START_TEST(own_hits_are_never_evicted_for_own_misses)
{
    struct replay_store *store = kvfi_replay_store_open(3);
    const uint64_t first[] = {1, 2, 3}, second[] = {1}, third[] = {5, 2, 3}, fourth[] = {1};

    serve(store, first, 3, 0);
    serve(store, second, 1, 1); /* 2 is the oldest now */
    serve(store, third, 3, 2);  /* in turn, 5 would have evicted 2, and 2 then 3 */
    serve(store, fourth, 1, 0); /* 1 had to go for 5 */
    kvfi_replay_store_close(store);
}
END_TEST

START_TEST(request_takes_all_its_blocks_or_holds_none)
{
    struct replay_store *store = kvfi_replay_store_open(4);
    struct replay_place held[3], none[3], after[3];
    const uint64_t first[] = {1, 2, 3}, second[] = {3, 8, 9}, third[] = {4};

    ck_assert_uint_eq(admit(store, first, 3, held), 0);
    ck_assert(!kvfi_replay_store_admit(store, second, 3, none)); /* two misses, one free slot */
    serve(store, third, 1, 0);
    kvfi_replay_store_unpin(store, held, 3);
    ck_assert_uint_eq(admit(store, second, 3, after), 1); /* had it kept 3 pinned, one more would lack */
    kvfi_replay_store_unpin(store, after, 3);
    kvfi_replay_store_close(store);
}
END_TEST

START_TEST(id_that_stands_twice_is_produced_once)
{
    struct replay_store *store = kvfi_replay_store_open(3);
    struct replay_place places[3];
    const uint64_t ids[] = {7, UINT64_MAX, 7}, other[] = {1, 2, 3};

    ck_assert_uint_eq(admit(store, ids, 3, places), 1);
    ck_assert(places[0].produce && !places[2].produce);
    ck_assert_uint_eq(places[0].slot, places[2].slot);
    kvfi_replay_store_unpin(store, places, 3);
    serve(store, other, 3, 0); /* both pins of 7 are gone */
    kvfi_replay_store_close(store);
}
END_TEST

/* ---- a slow model: what each slot holds, and who has it pinned */

static uint64_t holds[MODEL_SLOTS]; /* prefix + 1 of a slot; 0: none */
static unsigned pins[MODEL_SLOTS];

static int slot_of(uint64_t prefix)
{
    for (int s = 0; s < MODEL_SLOTS; s++) {
        if (holds[s] == prefix + 1) {
            return s;
        }
    }
    return -1;
}

static void follow(const uint64_t *ids, uint64_t count, const struct replay_place *places)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t slot = places[i].slot;
        ck_assert_uint_lt(slot, MODEL_SLOTS);
        if (places[i].produce) {
            ck_assert_int_eq(slot_of(ids[i]), -1);
            ck_assert_uint_eq(pins[slot], 0);
            ck_assert_int_eq(places[i].evicted, holds[slot] != 0);
            holds[slot] = ids[i] + 1;
        } else {
            ck_assert_int_eq(slot_of(ids[i]), (int)slot);
        }
        pins[slot]++;
    }
}

START_TEST(random_requests_follow_a_slow_model)
{
    static struct live {
        uint64_t ids[8], count;
        struct replay_place places[8];
    } live[MODEL_LIVE];
    struct replay_store *store = kvfi_replay_store_open(MODEL_SLOTS);
    unsigned waits = 0, hits = 0;

    srand(11);
    for (int round = 0; round < 50000; round++) {
        struct live *one = &live[rand() % MODEL_LIVE];
        if (one->count > 0) {
            kvfi_replay_store_unpin(store, one->places, one->count);
            for (uint64_t i = 0; i < one->count; i++) {
                pins[one->places[i].slot]--;
            }
        }
        one->count = (uint64_t)(1 + rand() % 8);
        uint64_t first = (uint64_t)(rand() % 60);
        for (uint64_t i = 0; i < one->count; i++) {
            /* multiples of a power of two would crowd a table that takes the low bits */
            one->ids[i] = (first + i) << 40;
        }
        if (kvfi_replay_store_admit(store, one->ids, one->count, one->places)) {
            follow(one->ids, one->count, one->places);
            for (uint64_t i = 0; i < one->count; i++) {
                hits += !one->places[i].produce;
            }
        } else {
            one->count = 0;
            waits++;
        }
    }
    ck_assert_uint_gt(waits, 0);
    ck_assert_uint_gt(hits, 1000);
    kvfi_replay_store_close(store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replay store");
    TCase *tc = tcase_create("store");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, own_hits_are_never_evicted_for_own_misses);
    tcase_add_test(tc, request_takes_all_its_blocks_or_holds_none);
    tcase_add_test(tc, id_that_stands_twice_is_produced_once);
    tcase_add_test(tc, random_requests_follow_a_slow_model);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Two moments of the protocols in shared memory that models of them (tests/model) found: a newcomer killed
 * while it takes the seat of a dead one, and a bell that was rung too early and silenced.
 */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "path/rings.h"

static int match_any(void *arg, uint32_t grant, uint32_t range, uint32_t id)
{
    (void)arg;
    (void)grant;
    (void)range;
    (void)id;
    return 1;
}

/* The child takes the seat, and leaves a word odd and a pin when it is killed. */
static void leave_a_dead_holder(kvfi_page_t *page)
{
    uint64_t pin = kvfi_pin_of(1, 0, 5);
    kvfi_guest_t guest = { .incarnation = 7, .rank = 3 };
    kvfi_hold_t hold;
    uint64_t taken;
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (kvfi_proc_self(&guest.proc) || kvfi_hold_open(&hold, page, 1, NULL, &guest)) {
            _exit(1);
        }
        kvfi_hold_enter(&hold);
        kvfi_hold_pin(&hold, &pin, 1, &taken);
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
}

START_TEST(a_newcomer_killed_in_a_dead_ones_seat_holds_up_no_revoke)
{
    kvfi_page_t *page = mmap(NULL, kvfi_page_bytes(1), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                             -1, 0);
    uint32_t *seen = calloc(KVFI_PAGE_SEATS * KVFI_SEAT_WORDS, sizeof(*seen));
    const kvfi_seat_t *seat = NULL;

    ck_assert_ptr_ne(page, MAP_FAILED);
    page->head.depth = 1;
    leave_a_dead_holder(page);
    ck_assert_uint_eq(kvfi_page_snapshot(page, seen), 1);
    /* what the newcomer had done of kvfi_hold_open() */
    atomic_store(&page->seats[0].ready, 0);
    atomic_store(&page->seats[0].holder, 8);
    ck_assert_uint_eq(kvfi_page_still_busy(page, seen, &seat), 0);
    ck_assert_int_eq(kvfi_page_find_pin(page, match_any, NULL, &seat), 0);
    free(seen);
    munmap(page, kvfi_page_bytes(1));
}
END_TEST

START_TEST(who_waits_for_room_says_so_again_once_its_bell_is_silent)
{
    static kvfi_mail_ring_t ring;
    static kvfi_page_t page;
    kvfi_bell_t bell;
    kvfi_am_message_t message = { 0 };
    kvfi_am_peer_t *peer = calloc(1, sizeof(*peer));
    kvfi_am_t *am = calloc(1, sizeof(*am));
    kvfi_rings_t *rings = calloc(1, sizeof(*rings));
    kvfi_pair_t *pair = calloc(1, sizeof(*pair));

    ck_assert_int_eq(kvfi_bell_open(&bell), 0);
    am->host.bell = &bell;
    am->host.page = &page;
    am->list = peer;
    am->state = rings;
    peer->state = pair;
    pair->mail.out = &ring;
    pair->mail.queue = &message;
    pair->mail.tail = KVFI_MAIL_BYTES;
    atomic_store(&ring.tail, KVFI_MAIL_BYTES);
    /* the reader took `waiting` back for room that is filled again, and rang */
    kvfi_bell_wake(&bell);
    ck_assert_int_eq(kvfi_mail_arm(am), 0);
    ck_assert_uint_eq(atomic_load(&ring.waiting), 1);
    atomic_store(&ring.head, 1);
    ck_assert_int_eq(kvfi_mail_arm(am), 1);
    kvfi_bell_close(&bell);
    free(pair);
    free(rings);
    free(am);
    free(peer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("near");
    TCase *tc = tcase_create("near");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, a_newcomer_killed_in_a_dead_ones_seat_holds_up_no_revoke);
    tcase_add_test(tc, who_waits_for_room_says_so_again_once_its_bell_is_silent);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

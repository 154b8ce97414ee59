/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Moments that no test of whole engines hits at will: of the protocols in shared memory, as models of them
 * (tests/model) found them, a newcomer killed while it takes the seat of a dead one, and a bell that was rung
 * too early and silenced; of a connection to a neighbour, the pages of two peer objects that come and go.
 */
#define _GNU_SOURCE
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
    kvfi_guest_t guest = {.incarnation = 7, .rank = 3};
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
    kvfi_page_t *page =
        mmap(NULL, kvfi_page_bytes(1), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
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
    kvfi_am_message_t message = {0};
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

/* A neighbour as one peer object of an engine has it: its page, mapped once more, and a seat there. */
typedef struct sight {
    kvfi_page_t *page;
    kvfi_hold_t hold;
    kvfi_am_near_t near;
} sight_t;

static void see(sight_t *sight, int fd)
{
    kvfi_guest_t guest = {.incarnation = 1};

    sight->page = mmap(NULL, kvfi_page_bytes(1), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(sight->page, MAP_FAILED);
    ck_assert_int_eq(kvfi_proc_self(&guest.proc), 0);
    ck_assert_int_eq(kvfi_hold_open(&sight->hold, sight->page, 1, NULL, &guest), 0);
    sight->near = (kvfi_am_near_t){guest.proc, &sight->page->closed, &sight->hold};
}

/* As kvf_peer_forget() does. */
static void lose_sight(kvfi_am_t *am, kvfi_am_peer_t *peer, sight_t *sight)
{
    kvfi_am_disconnect(am, peer, &sight->page->closed);
    kvfi_hold_close(&sight->hold);
    munmap(sight->page, kvfi_page_bytes(1));
}

static void nothing_changed(void *engine)
{
    (void)engine;
}

static kvfi_am_t *open_rings(kvfi_am_host_t *host)
{
    kvfi_am_t *am;

    *host = (kvfi_am_host_t){.page = calloc(1, kvfi_page_bytes(1)),
                             .incarnation = 1,
                             .depth = 1,
                             .bell = calloc(1, sizeof(kvfi_bell_t)),
                             .changed = nothing_changed,
                             .open_writes = calloc(1, sizeof(kvfi_open_writes_t))};
    ck_assert_int_eq(kvfi_bell_open(host->bell), 0);
    ck_assert_int_eq(kvfi_link_open_near(KVFI_SHM_SYSV, &host->near), KVF_OK);
    ck_assert_int_eq(kvfi_am_open(&kvfi_rings, host, &am), KVF_OK);
    return am;
}

static void close_rings(kvfi_am_t *am, kvfi_am_host_t *host)
{
    kvfi_am_close(am, 0);
    kvfi_link_close(host->near);
    kvfi_bell_close(host->bell);
    free(host->open_writes);
    free(host->bell);
    free(host->page);
}

/* One thread forgets a neighbour and waits to disconnect, while another imports it again and forgets that. In
 * any order: neither page is looked at once it has been unmapped, and the last one is heard to its end. */
START_TEST(a_connection_looks_at_no_page_of_a_peer_that_was_forgotten)
{
    kvfi_am_host_t host;
    kvfi_am_t *am = open_rings(&host);
    sight_t sights[2];
    kvfi_am_peer_t *peer = NULL, *same;
    int fd = memfd_create("page", MFD_CLOEXEC), first_goes = _i;

    ck_assert_int_eq(ftruncate(fd, (off_t)kvfi_page_bytes(1)), 0);
    for (int i = 0; i < 2; i++) {
        see(&sights[i], fd);
        ck_assert_int_eq(kvfi_am_connect(am, 2, &sights[i].near, &same), KVF_OK);
        peer = i == 0 ? same : peer;
        ck_assert_ptr_eq(peer, same);
    }
    lose_sight(am, peer, &sights[first_goes ? 0 : 1]);
    kvfi_am_progress(am, 1); /* looks */
    ck_assert_int_eq(kvfi_am_alive(peer), 1);
    if (first_goes) {
        atomic_store(&sights[1].page->closed, 1);
        usleep(60000);
        kvfi_am_progress(am, 1);
        ck_assert_int_eq(kvfi_am_alive(peer), 0);
    }
    lose_sight(am, peer, &sights[first_goes ? 1 : 0]);
    kvfi_am_progress(am, 1);
    close_rings(am, &host);
    close(fd);
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
    tcase_add_loop_test(tc, a_connection_looks_at_no_page_of_a_peer_that_was_forgotten, 0, 2);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A toy carrier: two machines in one process, whose messages lie in lists until the other one looks. It shows
 * that a carrier is one table, and what the machine does when a carrier has no room, will never have any, is
 * short of something, takes bytes back or cannot. It is kept small, as a pattern for the next carrier.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "path/am_internal.h"

#define LEN   4096u
#define CHUNK 512u

typedef struct letter {
    struct letter *next;
    kvfi_am_head_t head;
    char data[CHUNK];
} letter_t;

/* The carrier's state of a machine. */
typedef struct toy {
    struct side *side;
} toy_t;

typedef struct side {
    kvfi_am_t *am;
    struct side *other;
    kvfi_lock_t lock;
    letter_t *mail, **mail_end;
    uint32_t epoch[1];
    kvfi_open_writes_t open_writes;
    char memory[LEN];
    /* what the toy is to do, */
    int room;             /* chunks that find room until the next progress */
    kvf_status_t refused; /* not OK: why there is none ever, told once */
    int shortages;        /* of meet() */
    int recalled;         /* answer of recall() */
    int deaf;             /* so many messages that ask get lost */
    /* and what was asked of it */
    unsigned chunks, orderly, forced, asked;
} side_t;

static side_t sides[2];

static side_t *side_of(const kvfi_am_t *am)
{
    return ((toy_t *)am->state)->side;
}

/* ------------------------------------------------------------------ the toy */

static kvf_status_t toy_open(kvfi_am_t *am)
{
    toy_t *toy = am->state;

    toy->side = am->host.engine;
    am->lock = &toy->side->lock;
    am->fd = -1;
    return KVF_OK;
}

static void toy_close(kvfi_am_t *am, uint64_t end_ns)
{
    side_t *side = side_of(am);

    (void)end_ns;
    while (side->mail != NULL) {
        letter_t *letter = side->mail;

        side->mail = letter->next;
        free(letter);
    }
}

static void post(side_t *to, const kvfi_am_head_t *head, const void *data, size_t len)
{
    letter_t *letter = calloc(1, sizeof(*letter));

    ck_assert_uint_le(len, CHUNK);
    letter->head = *head;
    memcpy(letter->data, data, len);
    *to->mail_end = letter;
    to->mail_end = &letter->next;
}

/* A connection is known to the other side by its hello, which is empty. */
static void say_hello(kvfi_am_peer_t *peer)
{
    kvfi_am_message_t *hello =
        kvfi_am_message(peer, KVFI_AM_HELLO, peer->am->host.depth, peer->am->host.rank, 0);

    kvfi_am_linked(peer, hello);
}

static void on_hello(kvfi_am_t *am, const kvfi_am_head_t *head)
{
    kvfi_am_peer_t *peer = kvfi_am_hello(am, head->sender, malloc(1));

    peer->rank = head->off;
}

static void toy_progress(kvfi_am_t *am)
{
    side_t *side = side_of(am);

    side->room = 2;
    while (side->mail != NULL) {
        letter_t *letter = side->mail;
        kvfi_am_peer_t *peer = kvfi_table_get(&am->peers, letter->head.sender);

        am->worked = 1;
        side->mail = letter->next;
        if (side->mail == NULL)
            side->mail_end = &side->mail;
        if (letter->head.kind == KVFI_AM_CANCEL && side->deaf > 0)
            side->deaf--;
        else if (letter->head.kind == KVFI_AM_HELLO)
            on_hello(am, &letter->head);
        else if (peer != NULL && kvfi_am_admit(peer, &letter->head))
            kvfi_am_take(peer, &letter->head, letter->data);
        free(letter);
    }
}

static int toy_arm(kvfi_am_t *am)
{
    return side_of(am)->mail != NULL;
}

static void toy_wake(kvfi_am_t *am)
{
    (void)am;
}

static kvf_status_t toy_connect(kvfi_am_peer_t *peer, const void *to)
{
    ck_assert_ptr_eq(to, side_of(peer->am)->other);
    if (!peer->linked)
        say_hello(peer);
    return KVF_OK;
}

static kvf_status_t toy_meet(kvfi_am_peer_t *peer)
{
    side_t *side = side_of(peer->am);

    if (side->shortages > 0) {
        side->shortages--;
        kvfi_fail(KVF_ERR_NOMEM, "the toy is short of something");
        return KVF_INPROGRESS;
    }
    if (!peer->linked)
        say_hello(peer);
    peer->notes_room = 8;
    return KVF_OK;
}

static void toy_drop(kvfi_am_peer_t *peer, int force)
{
    side_t *side = side_of(peer->am);

    side->forced += force != 0;
    side->orderly += force == 0;
}

static void toy_wire(kvfi_am_peer_t *peer, char *buf, size_t len)
{
    (void)peer;
    strncpy(buf, "toy", len);
}

static void toy_send(kvfi_am_peer_t *peer, kvfi_am_message_t *message)
{
    side_of(peer->am)->asked += message->head.kind == KVFI_AM_CANCEL && message->head.flags != 0;
    post(side_of(peer->am)->other, &message->head, message->data, message->head.len);
    kvfi_am_message_free(peer->am, message);
}

static kvfi_am_message_t *toy_chunk(kvfi_am_peer_t *peer, uint64_t token, char **buf_p)
{
    side_t *side = side_of(peer->am);
    kvfi_am_message_t *message;

    if (side->refused != KVF_OK) {
        peer->refused = side->refused;
        side->refused = KVF_OK;
        return NULL;
    }
    if (side->room <= 0)
        return NULL;
    side->room--;
    side->chunks++;
    message = kvfi_am_chunk(peer, token);
    *buf_p = message->data;
    return message;
}

static int toy_recall(kvfi_am_peer_t *peer, uint64_t token)
{
    (void)token;
    return side_of(peer->am)->recalled;
}

static const kvfi_carrier_t toy = {
    .side = "toy",
    .am_bytes = sizeof(toy_t),
    .least = CHUNK,
    .most = CHUNK,
    .turn = 100,
    .deaf_ns = 500000000,
    .open = toy_open,
    .close = toy_close,
    .progress = toy_progress,
    .arm = toy_arm,
    .wake = toy_wake,
    .connect = toy_connect,
    .meet = toy_meet,
    .drop = toy_drop,
    .wire = toy_wire,
    .send = toy_send,
    .chunk = toy_chunk,
    .recall = toy_recall,
};

/* ----------------------------------------------------------------- the rig */

static kvf_status_t view(void *engine, uint64_t incarnation, uint32_t grant, uint32_t epoch, uint32_t range,
                         kvfi_am_view_t *view_p)
{
    side_t *side = engine;

    (void)incarnation, (void)epoch;
    if (grant != 0 || range != 0)
        return KVF_ERR_REVOKED;
    *view_p = (kvfi_am_view_t){.base = side->memory, .len = LEN, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    return KVF_OK;
}

static void changed(void *engine)
{
    (void)engine;
}

static void open_side(side_t *side, side_t *other, uint64_t incarnation)
{
    kvfi_am_host_t host = {.engine = side,
                           .epoch = (const _Atomic uint32_t *)side->epoch,
                           .incarnation = incarnation,
                           .rank = incarnation,
                           .depth = 8,
                           .open_writes = &side->open_writes,
                           .view = view,
                           .changed = changed};

    memset(side, 0, sizeof(*side));
    side->other = other;
    side->mail_end = &side->mail;
    side->recalled = 1;
    kvfi_lock_init(&side->lock);
    kvfi_open_writes_init(&side->open_writes);
    ck_assert_int_eq(kvfi_am_open(&toy, &host, &side->am), KVF_OK);
}

static void drive(int times)
{
    for (int i = 0; i < times; i++) {
        kvfi_am_progress(sides[1].am, 1);
        kvfi_am_progress(sides[0].am, 1);
    }
}

/* One op of sides[0], which moves LEN bytes. */
typedef struct op {
    kvfi_target_t target;
    kvfi_xfer_t xfer;
    _Atomic uint32_t pending;
    char local[LEN];
} op_t;

static op_t op;

static void start(kvfi_am_peer_t *peer, uint32_t dir)
{
    kvfi_xfer_t *xfer = &op.xfer;

    memset(&op, 0, sizeof(op));
    op.target = (kvfi_target_t){.len = LEN, .name = "the other", .process = 7, .lands = 0x10000};
    op.pending = 1;
    xfer->box =
        (kvfi_box_t){.len = 64, .count = {1, 1}, .blocks = LEN / 64, .local_block = 64, .remote_block = 64};
    xfer->dir = dir;
    xfer->local = op.local;
    xfer->target = &op.target;
    xfer->stream = LEN;
    xfer->peer = peer;
    xfer->pending = &op.pending;
    atomic_store(&xfer->status, KVF_INPROGRESS);
    for (unsigned i = 0; i < LEN; i++) {
        op.local[i] = dir == KVF_WRITE ? (char)(i * 7) : 0;
        sides[1].memory[i] = dir == KVF_WRITE ? 0 : (char)(i * 7);
    }
    kvfi_am_start(&xfer, 1);
}

static int status(void)
{
    return atomic_load(&op.xfer.status);
}

static void must_have_moved(void)
{
    ck_assert_int_eq(status(), KVF_OK);
    ck_assert_int_eq(op.pending, 0);
    ck_assert_int_eq(memcmp(op.local, sides[1].memory, LEN), 0);
    ck_assert_int_eq(op.local[1], 7);
}

static kvfi_am_peer_t *open_both(void)
{
    kvfi_am_peer_t *peer;

    open_side(&sides[0], &sides[1], 100);
    open_side(&sides[1], &sides[0], 200);
    ck_assert_int_eq(kvfi_am_connect(sides[0].am, 200, &sides[1], &peer), KVF_OK);
    return peer;
}

static void close_both(void)
{
    kvfi_am_close(sides[0].am, 0);
    kvfi_am_close(sides[1].am, 0);
    ck_assert_uint_eq(sides[0].orderly, 1);
    ck_assert_uint_eq(sides[1].orderly, 1);
    ck_assert_uint_eq(atomic_load(&sides[0].open_writes.count), 0);
}

/* ------------------------------------------------------------------- tests */

START_TEST(bytes_go_both_ways_over_any_carrier)
{
    kvfi_am_peer_t *peer = open_both();
    char text[8];

    start(peer, _i ? KVF_WRITE : KVF_READ);
    drive(20);
    must_have_moved();
    ck_assert_uint_eq(sides[_i ? 0 : 1].chunks, LEN / CHUNK);
    kvfi_am_wire(sides[0].am, peer, text, sizeof(text));
    ck_assert_str_eq(text, "toy");
    ck_assert_int_eq(kvfi_am_arm(sides[0].am), 0);
    close_both();
    ck_assert_uint_eq(sides[0].forced + sides[1].forced, 0);
}
END_TEST

/* Two chunks a progress: the op goes on with each, and ends neither early nor never. */
START_TEST(without_room_bytes_wait_for_progress)
{
    kvfi_am_peer_t *peer = open_both();

    drive(3);
    start(peer, KVF_WRITE);
    sides[0].room = 0;
    for (unsigned sent = sides[0].chunks; sent < LEN / CHUNK; sent += 2) {
        ck_assert_int_eq(status(), KVF_INPROGRESS);
        ck_assert_uint_eq(sides[0].chunks, sent);
        kvfi_am_progress(sides[0].am, 1);
    }
    drive(2);
    must_have_moved();
    close_both();
}
END_TEST

START_TEST(what_can_never_leave_ends_with_the_reason_and_the_next_op_tries_again)
{
    kvfi_am_peer_t *peer = open_both();

    drive(3);
    sides[_i ? 0 : 1].refused = KVF_ERR_NOMEM;
    start(peer, _i ? KVF_WRITE : KVF_READ);
    drive(3);
    ck_assert_int_eq(status(), KVF_ERR_NOMEM);
    ck_assert_int_eq(kvfi_am_alive(peer), 1);
    start(peer, _i ? KVF_WRITE : KVF_READ);
    drive(20);
    must_have_moved();
    close_both();
}
END_TEST

/* The peer has done nothing wrong: it stays, and is answered at a later look. */
START_TEST(a_peer_that_cannot_be_answered_yet_is_answered_later)
{
    kvfi_am_peer_t *peer;

    open_side(&sides[0], &sides[1], 100);
    open_side(&sides[1], &sides[0], 200);
    sides[1].shortages = 1;
    ck_assert_int_eq(kvfi_am_connect(sides[0].am, 200, &sides[1], &peer), KVF_OK);
    start(peer, KVF_READ);
    drive(5);
    ck_assert_int_eq(sides[1].shortages, 0);
    ck_assert_int_eq(status(), KVF_INPROGRESS);
    ck_assert_int_eq(kvfi_am_greeted(sides[0].am), 0);
    for (int i = 0; i < 1000 && status() == KVF_INPROGRESS; i++) {
        drive(1);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    must_have_moved();
    ck_assert_int_eq(kvfi_am_greeted(sides[0].am), 1);
    close_both();
}
END_TEST

/* The import's connection stands by then: the hello still has to be taken for notifications to leave. */
START_TEST(a_hello_that_waits_is_answered_though_an_import_connects_first)
{
    kvfi_am_peer_t *peer, *back;

    open_side(&sides[0], &sides[1], 100);
    open_side(&sides[1], &sides[0], 200);
    sides[1].shortages = 1;
    ck_assert_int_eq(kvfi_am_connect(sides[0].am, 200, &sides[1], &peer), KVF_OK);
    kvfi_am_progress(sides[1].am, 1);
    ck_assert_int_eq(kvfi_am_connect(sides[1].am, 100, &sides[0], &back), KVF_OK);
    ck_assert_int_eq(kvfi_am_greeted(sides[1].am), 0);
    for (int i = 0; i < 1000 && !kvfi_am_greeted(sides[1].am); i++) {
        drive(1);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    ck_assert_int_eq(kvfi_am_greeted(sides[1].am), 1);
    close_both();
}
END_TEST

/* Would an op of one byte of the same memory be held back? */
static int may_land(void)
{
    kvfi_xfer_t byte = {.target = &op.target, .box = {.len = 1, .count = {1, 1}, .blocks = 1}};

    return kvfi_open_writes_touch(&sides[0].open_writes, &byte);
}

/* recall() has it all back: nothing is asked. It has not: the owner is asked, and has to answer. */
START_TEST(a_write_that_is_given_up_is_settled_by_recall_or_by_the_owner)
{
    kvfi_am_peer_t *peer = open_both();
    _Atomic uint32_t waits = 0;

    drive(3);
    sides[0].recalled = _i;
    start(peer, KVF_WRITE);
    ck_assert_uint_gt(op.xfer.sent, 0);
    kvfi_am_cancel(&op.xfer, KVF_ERR_CANCELED, &waits);
    ck_assert_int_eq(status(), KVF_ERR_CANCELED);
    ck_assert_uint_eq(sides[0].asked, (unsigned)_i);
    ck_assert_uint_eq(waits, (unsigned)_i);
    ck_assert_int_eq(may_land(), _i);
    drive(3);
    ck_assert_uint_eq(waits, 0);
    ck_assert_int_eq(may_land(), 0);
    close_both();
}
END_TEST

static uint64_t drive_until(kvfi_am_peer_t *peer, uint64_t most_ns)
{
    uint64_t from = kvfi_now_ns();

    while (may_land() && kvfi_am_alive(peer) && kvfi_now_ns() - from < most_ns)
        drive(1);
    return kvfi_now_ns() - from;
}

/* What gets lost with a connection that breaks is repeated, and not too often. */
START_TEST(a_question_that_got_lost_is_asked_again)
{
    kvfi_am_peer_t *peer = open_both();
    uint64_t took;

    drive(3);
    start(peer, KVF_WRITE);
    sides[1].deaf = 1;
    kvfi_am_cancel(&op.xfer, KVF_ERR_CANCELED, NULL);
    took = drive_until(peer, 5000000000u);
    ck_assert_int_eq(may_land(), 0);
    ck_assert_int_eq(kvfi_am_alive(peer), 1);
    ck_assert_uint_eq(sides[0].asked, 2);
    ck_assert_uint_ge(took, 100000000);
    close_both();
}
END_TEST

/* Nothing comes of it for long: the peer has failed, and what may land is still held against it. */
START_TEST(a_peer_that_never_answers_a_question_fails)
{
    kvfi_am_peer_t *peer = open_both();

    drive(3);
    start(peer, KVF_WRITE);
    sides[1].deaf = 1000;
    kvfi_am_cancel(&op.xfer, KVF_ERR_CANCELED, NULL);
    drive_until(peer, 5000000000u);
    ck_assert_int_eq(kvfi_am_alive(peer), 0);
    ck_assert_int_eq(may_land(), 1);
    ck_assert_uint_eq(sides[0].forced, 1);
    sides[1].deaf = 0;
    ck_assert_int_eq(kvfi_am_connect(sides[0].am, 200, &sides[1], &peer), KVF_OK);
    drive(5);
    ck_assert_int_eq(may_land(), 0);
    close_both();
}
END_TEST

START_TEST(a_peer_that_fails_is_dropped_by_force_and_what_is_under_way_ends)
{
    kvfi_am_peer_t *peer = open_both();

    drive(3);
    start(peer, KVF_READ);
    kvfi_lock_take(sides[0].am->lock);
    kvfi_am_peer_fail(peer, "the test says so");
    kvfi_lock_give(sides[0].am->lock);
    drive(1);
    ck_assert_int_eq(status(), KVF_ERR_PEER);
    ck_assert_uint_eq(sides[0].forced, 1);
    ck_assert_int_eq(kvfi_am_alive(peer), 0);
    kvfi_am_close(sides[0].am, 0);
    kvfi_am_close(sides[1].am, 0);
}
END_TEST

START_TEST(each_net_option_has_a_carrier)
{
    static const char *const nets[] = {"auto", "tcp", "rc", "ud"};

    for (size_t i = 0; i < sizeof(nets) / sizeof(*nets); i++)
        ck_assert_ptr_eq(kvfi_carrier_of(nets[i]), &kvfi_endpoints);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("carrier");
    TCase *tc = tcase_create("carrier");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, bytes_go_both_ways_over_any_carrier, 0, 2);
    tcase_add_test(tc, without_room_bytes_wait_for_progress);
    tcase_add_loop_test(tc, what_can_never_leave_ends_with_the_reason_and_the_next_op_tries_again, 0, 2);
    tcase_add_test(tc, a_peer_that_cannot_be_answered_yet_is_answered_later);
    tcase_add_test(tc, a_hello_that_waits_is_answered_though_an_import_connects_first);
    tcase_add_loop_test(tc, a_write_that_is_given_up_is_settled_by_recall_or_by_the_owner, 0, 2);
    tcase_add_test(tc, a_question_that_got_lost_is_asked_again);
    tcase_add_test(tc, a_peer_that_never_answers_a_question_fails);
    tcase_add_test(tc, a_peer_that_fails_is_dropped_by_force_and_what_is_under_way_ends);
    tcase_add_test(tc, each_net_option_has_a_carrier);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

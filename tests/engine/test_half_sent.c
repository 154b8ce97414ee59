/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A neighbour that dies while it writes a message for us into the ring that it shares with us alone, or
 * writes one that is none. It is refused or found dead, and nobody else is disturbed: stage and doorbells
 * of the others go on, nobody burns a core, and the engine closes at once. Of neighbours that went nothing
 * stays mapped. Looks inside of the library, for the neighbour has to stop in the middle.
 */
#include "rig.h"

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/links.h"
#include "engine/peer.h"
#include "path/rings.h"

#define LEN (UINT64_C(1) << 20)

/* ---------------------------------------------------- the neighbours that go on */

/* Processor time of this process, all threads, in nanoseconds. */
static uint64_t cpu_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * SEC + (uint64_t)at.tv_nsec;
}

static void at_notify(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_batch_opts_t opts = {
        .struct_size = sizeof(opts), .notify_peer = side->peer[0], .notify = "ring", .notify_len = 4};
    kvf_batch_t *batch = NULL;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_batch_create(side->engine, &batch));
    ok(kvf_batch_post(batch, NULL, 0, sizeof(kvf_op_t), &opts));
    ok(kvf_batch_wait(batch, patient(5)));
    ok(kvf_batch_free(batch));
}

static size_t blob_of(const rig_t *rig, uint8_t buf[sizeof(side_slot_t) + BLOB_MAX])
{
    size_t len;

    memset(buf, 0, sizeof(side_slot_t));
    engine_blob(rig->me.engine, 0, buf + sizeof(side_slot_t), &len);
    return sizeof(side_slot_t) + len;
}

/* A notification of the owner's wakes us out of poll(), which sleeps until then. */
static void doorbell_wakes(rig_t *rig)
{
    kvf_notification_t note = {.struct_size = sizeof(note)};
    struct pollfd fd = {.events = POLLIN};
    uint64_t end = now_ns() + patient(5);
    int asked = 0;

    ok(kvf_engine_fd(rig->me.engine, &fd.fd));
    while (kvf_notify_recv(rig->me.engine, &note) != KVF_OK) {
        must(now_ns() < end, "no doorbell");
        if (kvf_engine_arm(rig->me.engine) != KVF_OK) {
            continue;
        }
        if (!asked) {
            proc_ask(&rig->owner, at_notify, NULL, 0);
            asked = 1;
        }
        must(poll(&fd, 1, (int)(patient(5) / MS)) == 1, "no doorbell");
    }
    must(asked, "a notification of nobody's");
    proc_reply(&rig->owner, NULL, 0);
}

static void others_go_on(rig_t *rig)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, 0, LEN, KVF_READ);
    uint64_t before;

    owner_fill(rig, 7);
    memset(rig->me.mem, 0, LEN);
    move(rig, &op, 1);
    must(pattern_compare(rig->me.mem, LEN, 7) == UINT64_MAX, "wrong bytes");
    op.dir = KVF_WRITE;
    move(rig, &op, 1);
    doorbell_wakes(rig);
    before = cpu_ns();
    sleep_ms(200);
    must(cpu_ns() - before < 100 * MS, "an idle engine took %zu ms of a core in 200 ms",
         (size_t)((cpu_ns() - before) / MS));
}

static void ends(rig_t *rig)
{
    uint64_t before = now_ns();

    rig_close(rig);
    must(now_ns() - before < patient(5), "the close took %zu ms", (size_t)((now_ns() - before) / MS));
}

static void open_rig(rig_t *rig, int caller)
{
    rig_opts_t opts = {.owner_len = LEN,
                       .local_len = LEN,
                       .deadline_ns = patient(5),
                       .progress = caller ? KVF_PROGRESS_CALLER : KVF_PROGRESS_THREAD};
    kvf_op_t op;

    rig_open(rig, WHERE_STAGE, &opts);
    op = op_plain(rig->me.segment, 0, rig->remote, 0, LEN, KVF_READ);
    move(rig, &op, 1);
}

static void open_victim(rig_t *rig, proc_t *victim)
{
    side_open_t open;
    uint8_t buf[sizeof(side_slot_t) + BLOB_MAX];
    size_t len = blob_of(rig, buf);

    memset(&open, 0, sizeof(open));
    where_opts(WHERE_STAGE, &open.opts);
    open.opts.net = NULL;
    open.forbid_cma = 1;
    proc_call(victim, side_open_engine, &open, sizeof(open), NULL, 0);
    proc_call(victim, side_import_peer, buf, len, NULL, 0);
}

/* Until the victim has died of something. */
static void await_death(rig_t *rig, proc_t *victim)
{
    uint64_t end = now_ns() + patient(10);
    pid_t pid = 0;
    int status;

    while (pid == 0) {
        must(now_ns() < end, "it lives");
        ok(kvf_progress(rig->me.engine));
        sleep_ms(1);
        pid = waitpid(victim->pid, &status, WNOHANG);
    }
    must(pid == victim->pid && !WIFEXITED(status), "it did not die in the middle");
    close(victim->fd);
    victim->pid = 0;
}

/* ------------------------------------------------------------ the pair's own ring */

typedef enum forgery {
    HALF_A_HEAD, /* from here on it kills itself */
    HALF_A_PAYLOAD,
    HALF_A_HELLO,
    NO_BELL,
    TOO_MUCH, /* from here on it lives, and is refused */
    ANOTHER_VERSION,
    ANOTHERS_NAME,
    IMPOSSIBLE_LENGTH,
    UNKNOWN_KIND,
    NO_REQUEST,
    NO_SLOT,
    TAKEN_TOO_MUCH,
    NO_RING, /* what lies there has no marks */
    PART_OF_A_RING,
    RING_PAST_THE_END,
    FORGERIES,
    NO_BOX = FORGERIES, /* nobody is refused: it only is not met */
    BOX_THAT_IS_GONE,
    NO_HELLO,
    ALL
} forgery_t;

static void put(kvfi_mail_ring_t *ring, const void *data, uint32_t len)
{
    uint32_t tail = atomic_load(&ring->tail);

    for (uint32_t i = 0; i < len; i++) {
        ring->bytes[(tail + i) % KVFI_MAIL_BYTES] = ((const char *)data)[i];
    }
    atomic_store(&ring->tail, tail + len);
}

/* A key of ours that is none of a ring's. */
static kvfi_share_key_t ring_key(side_t *side, kvfi_am_peer_t *stage, forgery_t what)
{
    kvfi_share_key_t key =
        *kvfi_mem_key(what == NO_RING ? side->engine->home->mem : kvfi_pair_of(stage)->mail.mem);

    if (what == RING_PAST_THE_END) {
        key.len = sizeof(kvfi_stage_ring_t); /* the box is shorter */
    }
    return key;
}

/* Of a segment that nobody has any more. */
static kvfi_share_key_t gone_key(side_t *side)
{
    kvfi_mem_want_t want = {.len = sizeof(kvfi_mail_box_t)};
    kvfi_share_key_t key;
    kvfi_mem_t *mem = NULL;

    ok(kvfi_mem_alloc(side->engine->home->near, &want, &mem));
    key = *kvfi_mem_key(mem);
    kvfi_mem_free(mem);
    return key;
}

static void forge(side_t *side, kvfi_am_peer_t *stage, forgery_t what)
{
    kvfi_mail_ring_t *ring = kvfi_pair_of(stage)->mail.out;
    kvfi_am_head_t head = {.version = KVFI_AM_VERSION,
                           .kind = KVFI_AM_REQUEST,
                           .sender = side->engine->incarnation,
                           .token = 77};
    kvfi_hello_t *hello = &side->peer[0]->hold.seat->hello;
    size_t box = 24 + sizeof(kvfi_proc_id_t) + sizeof(kvfi_bell_name_t); /* its key, in a hello */
    kvfi_share_key_t key = {0};
    char zeros[512] = {0};

    switch (what) {
    case HALF_A_HEAD:
        put(ring, &head, sizeof(head) / 2);
        break;
    case HALF_A_PAYLOAD:
        head.len = 4096;
        break;
    case HALF_A_HELLO:
        atomic_fetch_add(&hello->seq, 1);
        memset(hello->data, 0xff, sizeof(hello->data) / 2);
        break;
    case NO_BELL:
        atomic_store(&ring->quiet, 0);
        break;
    case TOO_MUCH:
        atomic_fetch_add(&ring->tail, KVFI_MAIL_BYTES + 1);
        break;
    case ANOTHER_VERSION:
        head.version++;
        break;
    case ANOTHERS_NAME:
        head.sender++;
        break;
    case IMPOSSIBLE_LENGTH:
        head.len = UINT32_MAX;
        break;
    case UNKNOWN_KIND:
        head.kind = 99;
        break;
    case NO_REQUEST:
        head.token = 0;
        break;
    case NO_SLOT:
        head.kind = KVFI_AM_DATA;
        head.flags = 9u << KVFI_AM_SLOT;
        break;
    case TAKEN_TOO_MUCH:
        atomic_fetch_add(&kvfi_pair_of(stage)->mail.in[0].ring->head, 5 * KVFI_MAIL_BYTES);
        head.token = 78; /* to be answered */
        break;
    case NO_RING:
    case PART_OF_A_RING:
    case RING_PAST_THE_END:
        key = ring_key(side, stage, what);
        head.kind = KVFI_AM_RING;
        head.len = sizeof(key);
        break;
    case NO_BOX:
    case BOX_THAT_IS_GONE:
        key = what == NO_BOX ? *kvfi_mem_key(side->engine->home->mem) : gone_key(side);
        memcpy(zeros, hello->data, sizeof(zeros) - 8);
        memcpy(zeros + box, &key, sizeof(key));
        kvfi_hold_say(&side->peer[0]->hold, zeros, hello->len);
        break;
    case ALL:
        break;
    case NO_HELLO:
        kvfi_hold_say(&side->peer[0]->hold, zeros, sizeof(zeros) - 8);
        break;
    }
    if (what != HALF_A_HEAD && what != HALF_A_HELLO && what != TOO_MUCH && what < FORGERIES) {
        put(ring, &head, sizeof(head));
    }
    if (what == HALF_A_PAYLOAD) {
        put(ring, zeros, 100);
    }
    if (head.kind == KVFI_AM_RING) {
        put(ring, &key, sizeof(key));
    }
    if (what < TOO_MUCH) {
        raise(SIGKILL);
    }
    kvfi_bell_ring(&side->engine->home->bell, side->peer[0]->hold.page->bell);
}

/* in: forgery_t. Answers once the connection is refused, and another is made. */
static void at_forge(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvfi_link_t *near = side->engine->home->near;
    uint64_t end = now_ns() + patient(5);
    kvfi_am_peer_t *stage, *again;
    forgery_t what;

    (void)out;
    memcpy(&what, in, in_len);
    ok(kvfi_peer_connect(side->peer[0], KVF_READ, &stage));
    while (!kvfi_am_greeted(kvfi_links_am(side->engine, KVFI_NEAR))) {
        must(now_ns() < end, "not met");
        ok(kvf_progress(side->engine));
    }
    kvfi_link_lock(near);
    forge(side, stage, what);
    kvfi_link_unlock(near);
    while (what < FORGERIES && kvfi_am_alive(stage)) {
        must(now_ns() < end, "not refused");
        ok(kvf_progress(side->engine));
        sleep_ms(1);
    }
    ok(kvfi_peer_connect(side->peer[0], KVF_READ, &again));
    while (!kvfi_am_greeted(kvfi_links_am(side->engine, KVFI_NEAR))) {
        must(now_ns() < end, "not met again");
        ok(kvf_progress(side->engine));
    }
}

/* A call to a child while we drive, as its neighbour. */
static void call_driving(rig_t *rig, proc_t *child, proc_fn_t fn, const void *in, size_t in_len)
{
    struct pollfd fd = {.fd = child->fd, .events = POLLIN};

    proc_ask(child, fn, in, in_len);
    while (poll(&fd, 1, 1) == 0) {
        ok(kvf_progress(rig->me.engine));
    }
    proc_reply(child, NULL, 0);
}

START_TEST(a_neighbour_dies_or_lies_in_its_ring)
{
    forgery_t what = (forgery_t)(_i / 2);
    proc_t victim;
    rig_t rig;

    proc_start(&victim, sizeof(side_t), 60, side_idle);
    open_rig(&rig, _i % 2);
    open_victim(&rig, &victim);
    if (what < TOO_MUCH) {
        proc_ask(&victim, at_forge, &what, sizeof(what));
        await_death(&rig, &victim);
    } else {
        call_driving(&rig, &victim, at_forge, &what, sizeof(what));
    }
    others_go_on(&rig);
    if (what >= TOO_MUCH) {
        call_driving(&rig, &victim, side_close, NULL, 0);
        proc_end(&victim);
    }
    ends(&rig);
}
END_TEST

/* ---------------------------------------------------------- neighbours that went */

#define GUESTS 5

static void at_meet(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvfi_am_peer_t *stage;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvfi_peer_connect(side->peer[0], KVF_READ, &stage));
    while (!kvfi_am_greeted(kvfi_links_am(side->engine, KVFI_NEAR))) {
        ok(kvf_progress(side->engine));
    }
}

static unsigned shared_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned count = 0;
    char line[4352];

    must(maps != NULL, "no /proc/self/maps");
    while (fgets(line, sizeof(line), maps) != NULL) {
        count += strstr(line, " rw-s ") != NULL;
    }
    fclose(maps);
    return count;
}

/* Rings and control pages. */
START_TEST(of_neighbours_that_went_nothing_stays_mapped)
{
    uint64_t end = now_ns() + patient(10);
    proc_t guest[GUESTS];
    unsigned before;
    rig_t rig;

    for (int i = 0; i < GUESTS; i++) {
        proc_start(&guest[i], sizeof(side_t), 60, side_idle);
    }
    open_rig(&rig, _i % 2);
    before = shared_mappings();
    for (int i = 0; i < GUESTS; i++) {
        open_victim(&rig, &guest[i]);
        call_driving(&rig, &guest[i], at_meet, NULL, 0);
        if (_i / 2 != 0) {
            proc_signal(&guest[i], SIGKILL);
        } else {
            call_driving(&rig, &guest[i], side_close, NULL, 0);
            proc_end(&guest[i]);
        }
    }
    while (shared_mappings() > before) {
        must(now_ns() < end, "%u mappings, not %u", shared_mappings(), before);
        ok(kvf_progress(rig.me.engine));
        sleep_ms(1);
    }
    ends(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("half_sent");
    TCase *tcase = tcase_create("half_sent");

    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 40);
    tcase_add_loop_test(tcase, a_neighbour_dies_or_lies_in_its_ring, 0, 2 * ALL);
    tcase_add_loop_test(tcase, of_neighbours_that_went_nothing_stays_mapped, 0, 4);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Layers that arrive one after the other: in any order, from several sources, each counted once;
 * data before the word of it; what failed never passes for arrived, and what a dead source owes is
 * told. The receiver is the rig's owner, which waits, polls or sleeps.
 */
#include "rig.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#define LAYERS  12u
#define SOURCES 4
#define STREAM  UINT64_C(77)

typedef struct receiver {
    kvf_streams_t *streams;
    kvf_stream_t *stream;
} receiver_t;

static void receive_from(receiver_t *r, kvf_engine_t *engine, const kvf_stream_source_t *sources,
                         uint32_t count, uint64_t id)
{
    kvf_stream_opts_t opts = {
        .struct_size = sizeof(opts), .source_count = count, .sources = sources, .id = id};

    if (r->streams == NULL) {
        ok(kvf_streams_open(engine, NULL, &r->streams));
    }
    ok(kvf_stream_open(r->streams, &opts, &r->stream));
}

static void receive_no_more(receiver_t *r)
{
    ok(kvf_stream_close(r->stream));
    ok(kvf_streams_close(r->streams));
    r->stream = NULL;
    r->streams = NULL;
}

/* At the owner: a stream of LAYERS layers from the initiator. */
static void at_receive(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_stream_source_t source = {.peer = side->peer[0], .layer_count = LAYERS};

    (void)in, (void)in_len, (void)out;
    side->extra[0] = calloc(1, sizeof(receiver_t));
    receive_from(side->extra[0], side->engine, &source, 1, STREAM);
}

static void at_no_more(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in, (void)in_len, (void)out;
    receive_no_more(side->extra[0]);
    free(side->extra[0]);
}

typedef struct wait {
    uint64_t timeout_ns;
    uint32_t layer;
    int32_t status;
    kvf_stream_state_t state;
    uint32_t others;      /* notifications that were the caller's */
    uint32_t first_wrong; /* layer whose bytes are not there though it is said to be */
} wait_t;

#define LAYER_BYTES (UINT64_C(128) << 10)

static void at_wait(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    receiver_t *r = side->extra[0];
    kvf_notification_t other = {.struct_size = sizeof(other)};
    wait_t wait;

    memcpy(&wait, in, in_len);
    wait.status = kvf_stream_wait(r->stream, wait.layer, wait.timeout_ns);
    memset(&wait.state, 0, sizeof(wait.state));
    wait.state.struct_size = sizeof(wait.state);
    ok(kvf_stream_query(r->stream, &wait.state));
    while (kvf_notify_recv(side->engine, &other) == KVF_OK) {
        must(other.len == 5 && memcmp(other.data, "other", 5) == 0 && other.channel == 0, "another one");
        wait.others++;
    }
    wait.first_wrong = UINT32_MAX;
    for (uint32_t i = 0; i < LAYERS && (i + 1) * LAYER_BYTES <= side->len; i++) {
        if (kvf_stream_layer(r->stream, i) == KVF_OK && wait.first_wrong == UINT32_MAX &&
            pattern_compare(side->mem + i * LAYER_BYTES, LAYER_BYTES, 1000 + i) != UINT64_MAX) {
            wait.first_wrong = i;
        }
    }
    out_put(out, &wait, sizeof(wait));
}

static wait_t owner_wait(rig_t *rig, uint32_t layer, uint64_t timeout_ns)
{
    wait_t wait = {.timeout_ns = timeout_ns, .layer = layer};

    rig_call(rig, at_wait, &wait, sizeof(wait), &wait, sizeof(wait));
    return wait;
}

static kvf_status_t tell(kvf_batch_t *batch, kvf_peer_t *peer, const kvf_op_t *ops, size_t count, uint64_t id,
                         uint32_t layer, uint32_t layers, kvf_status_t status)
{
    uint8_t note[KVF_STREAM_NOTE];
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                             .flags = KVF_BATCH_INLINE | KVF_BATCH_NOTIFY_ALWAYS,
                             .notify_peer = peer,
                             .notify = note,
                             .notify_len = sizeof(note),
                             .channel = KVF_STREAM_CHANNEL};

    ok(kvf_stream_note(id, layer, layers, status, note));
    status = kvf_batch_post(batch, ops, count, sizeof(*ops), &opts);
    return status == KVF_OK ? kvf_batch_wait(batch, patient(20)) : status;
}

static kvf_status_t send_layer(rig_t *rig, uint32_t layer)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, layer * LAYER_BYTES, LAYER_BYTES, KVF_WRITE);

    pattern_fill(rig->me.mem, LAYER_BYTES, 1000 + layer);
    return tell(rig->batch, rig->peer, &op, 1, STREAM, layer, 1, KVF_OK);
}

static const rig_opts_t memory = {.owner_len = LAYERS * LAYER_BYTES, .local_len = LAYER_BYTES};

START_TEST(layers_are_seen_as_they_come_with_their_bytes)
{
    rig_t rig;
    wait_t got;

    rig_open(&rig, (where_t)_i, &memory);
    rig_call(&rig, at_receive, NULL, 0, NULL, 0);
    got = owner_wait(&rig, 0, 0);
    must(got.status == KVF_INPROGRESS && got.state.highest == UINT32_MAX, "before the first");
    must(got.state.status == KVF_INPROGRESS && got.state.layers == LAYERS, "the state");
    for (uint32_t i = 0; i < LAYERS; i++) {
        ok(send_layer(&rig, i));
        got = owner_wait(&rig, i, patient(5));
        must(got.status == KVF_OK, "layer %u: %s", i, kvf_status_name((kvf_status_t)got.status));
        must(got.state.highest == i && got.state.arrived == i + 1, "%u", got.state.highest);
        must(got.first_wrong == UINT32_MAX, "layer %u is said to be there", got.first_wrong);
    }
    must(got.state.status == KVF_OK, "all are there");
    rig_call(&rig, at_no_more, NULL, 0, NULL, 0);
    rig_close(&rig);
}
END_TEST

START_TEST(layers_out_of_order_leave_a_gap)
{
    static const uint32_t order[LAYERS] = {3, 0, 1, 11, 10, 2, 5, 6, 7, 9, 8, 4};
    static const int highest[LAYERS] = {-1, 0, 1, 1, 1, 3, 3, 3, 3, 3, 3, 11};
    rig_t rig;
    wait_t got;

    rig_open(&rig, (where_t)_i, &memory);
    rig_call(&rig, at_receive, NULL, 0, NULL, 0);
    for (uint32_t i = 0; i < LAYERS; i++) {
        ok(send_layer(&rig, order[i]));
        got = owner_wait(&rig, UINT32_MAX, 0);
        for (unsigned tries = 0; got.state.arrived <= i && tries < 1000 * patience(); tries++) {
            got = owner_wait(&rig, UINT32_MAX, 5 * MS);
        }
        must(got.state.arrived == i + 1, "%u arrived", got.state.arrived);
        must(got.state.highest == (uint32_t)highest[i], "highest is %u", got.state.highest);
        must(got.state.leading == (uint32_t)(highest[i] + 1), "leading is %u", got.state.leading);
        must(got.first_wrong == UINT32_MAX, "layer %u is said to be there", got.first_wrong);
        must(got.status == (i + 1 == LAYERS ? KVF_OK : KVF_INPROGRESS), "a wait for all");
    }
    rig_call(&rig, at_no_more, NULL, 0, NULL, 0);
    rig_close(&rig);
}
END_TEST

START_TEST(a_layer_that_failed_never_passes_for_arrived)
{
    rig_t rig;
    wait_t got;
    kvf_status_t status;
    kvf_op_t op;

    rig_open(&rig, (where_t)_i, &memory);
    rig_call(&rig, at_receive, NULL, 0, NULL, 0);
    ok(send_layer(&rig, 0));
    /* the sender could not compute it, or its post was refused */
    ok(tell(rig.batch, rig.peer, NULL, 0, STREAM, 1, 1, KVF_ERR_NOMEM));
    ok(send_layer(&rig, 2));
    got = owner_wait(&rig, 2, patient(5));
    must(got.status == KVF_ERR_NOMEM, "%s", kvf_status_name((kvf_status_t)got.status));
    must(got.state.status == KVF_ERR_NOMEM && got.state.bad_layer == 1 && got.state.failed == 1 &&
             got.state.highest == 0,
         "layer %u failed, %u is highest", got.state.bad_layer, got.state.highest);
    got = owner_wait(&rig, 0, 0);
    must(got.status == KVF_OK, "those before it are good");
    /* and it may come again */
    ok(send_layer(&rig, 1));
    got = owner_wait(&rig, 2, patient(5));
    must(got.status == KVF_OK && got.state.highest == 2 && got.state.failed == 0, "once more");
    /* the owner revokes in the middle: the batch ends with that, or its post is refused */
    ok(owner_revoke(&rig, patient(5)));
    op = op_plain(rig.me.segment, 0, rig.remote, 3 * LAYER_BYTES, LAYER_BYTES, KVF_WRITE);
    status = tell(rig.batch, rig.peer, &op, 1, STREAM, 3, 1, KVF_OK);
    must(status == KVF_ERR_REVOKED, "%s", kvf_status_name(status));
    if (rig.where != WHERE_AM) {
        ok(tell(rig.batch, rig.peer, NULL, 0, STREAM, 3, 1, status));
    }
    got = owner_wait(&rig, 3, patient(5));
    must(got.status == KVF_ERR_REVOKED, "%s", kvf_status_name((kvf_status_t)got.status));
    rig_call(&rig, at_no_more, NULL, 0, NULL, 0);
    rig_close(&rig);
}
END_TEST

/* Large, so that nobody has copied it when it is given up; the sender drives nothing. */
START_TEST(a_layer_whose_batch_is_given_up_is_told)
{
    rig_t rig;
    rig_opts_t big = {.owner_len = 8 << 20, .local_len = 8 << 20, .progress = KVF_PROGRESS_CALLER};
    uint8_t note[KVF_STREAM_NOTE];
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                             .flags = KVF_BATCH_NOTIFY_ALWAYS,
                             .notify = note,
                             .notify_len = sizeof(note),
                             .channel = KVF_STREAM_CHANNEL};
    kvf_op_t op;
    wait_t got;

    rig_open(&rig, (where_t)_i, &big);
    rig_call(&rig, at_receive, NULL, 0, NULL, 0);
    opts.notify_peer = rig.peer;
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 8 << 20, KVF_WRITE);
    ok(kvf_stream_note(STREAM, 0, 1, KVF_OK, note));
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts));
    answers(kvf_batch_cancel(rig.batch), KVF_ERR_CANCELED);
    got = owner_wait(&rig, 0, patient(5));
    must(got.status == KVF_ERR_CANCELED, "%s", kvf_status_name((kvf_status_t)got.status));
    must(got.state.arrived == 0, "it is said to have arrived");
    rig_call(&rig, at_no_more, NULL, 0, NULL, 0);
    rig_close(&rig);
}
END_TEST

/* Whether an engine of this process has copy threads; none where one core is allowed. */
static int has_copy_threads(kvf_engine_t *engine)
{
    const char *name, *value, *text;

    for (uint32_t i = 0; kvf_engine_setting(engine, i, &name, &value, &text) == KVF_OK; i++) {
        if (strcmp(name, "KVFERRY_COPY_THREADS") == 0) {
            return value[0] != '0';
        }
    }
    return 0;
}

/* Post, and nothing more: near by a copy thread, far by the progress thread. */
START_TEST(a_layer_comes_without_the_senders_polling)
{
    where_t where = _i == 0 ? WHERE_SHM : WHERE_AM;
    rig_t rig;
    rig_opts_t big = {.owner_len = 8 << 20, .local_len = 8 << 20};
    uint8_t note[KVF_STREAM_NOTE];
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                             .flags = KVF_BATCH_NOTIFY_ALWAYS,
                             .notify = note,
                             .notify_len = sizeof(note),
                             .channel = KVF_STREAM_CHANNEL};
    kvf_op_t op;
    wait_t got;

    setenv("KVFERRY_COPY_THREADS", "1", 1);
    rig_open(&rig, where, &big);
    if (where == WHERE_SHM && !has_copy_threads(rig.me.engine)) {
        opts.flags |= KVF_BATCH_INLINE;
    }
    rig_call(&rig, at_receive, NULL, 0, NULL, 0);
    pattern_fill(rig.me.mem, LAYER_BYTES, 1000);
    opts.notify_peer = rig.peer;
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 8 << 20, KVF_WRITE);
    ok(kvf_stream_note(STREAM, 0, 1, KVF_OK, note));
    ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts));
    got = owner_wait(&rig, 0, patient(20));
    must(got.status == KVF_OK, "%s", kvf_status_name((kvf_status_t)got.status));
    must(got.first_wrong == UINT32_MAX, "it is said to be there");
    ok(kvf_batch_wait(rig.batch, patient(5)));
    rig_call(&rig, at_no_more, NULL, 0, NULL, 0);
    rig_close(&rig);
}
END_TEST

START_TEST(what_belongs_to_no_stream_goes_its_own_way)
{
    rig_t rig;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .notify = "other", .notify_len = 5};
    wait_t got;

    rig_open(&rig, (where_t)_i, &memory);
    rig_call(&rig, at_receive, NULL, 0, NULL, 0);
    opts.notify_peer = rig.peer;
    ok(run_ops(rig.batch, NULL, 0, &opts));
    ok(tell(rig.batch, rig.peer, NULL, 0, STREAM + 1, 0, LAYERS, KVF_OK)); /* not open here */
    ok(tell(rig.batch, rig.peer, NULL, 0, STREAM, LAYERS, 1, KVF_OK));     /* no layer of it */
    ok(tell(rig.batch, rig.peer, NULL, 0, STREAM, 0, UINT32_MAX, KVF_OK)); /* and all of them */
    got = owner_wait(&rig, UINT32_MAX, patient(5));
    must(got.status == KVF_OK && got.others == 1, "%u others", got.others);
    rig_call(&rig, at_no_more, NULL, 0, NULL, 0);
    rig_close(&rig);
}
END_TEST

/* At a child that is a source: tell `count` layers from `first` on, then perhaps die. */
static void at_tell(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    const uint32_t *count = in;

    (void)in_len, (void)out;
    if (side->batch == NULL) {
        ok(kvf_batch_create(side->engine, &side->batch));
    }
    ok(tell(side->batch, side->peer[0], NULL, 0, STREAM, 0, *count, KVF_OK));
}

START_TEST(what_a_dead_source_owes_is_told)
{
    where_t where = _i == 0 ? WHERE_SHM : WHERE_AM;
    uint32_t flags = where == WHERE_AM ? KVF_BLOB_FAR : 0, five = 5;
    uint8_t mine[sizeof(side_slot_t) + BLOB_MAX], buf[BLOB_MAX];
    size_t len;
    kvf_engine_opts_t opts;
    kvf_engine_t *engine = NULL;
    kvf_stream_source_t source = {.layer_count = LAYERS};
    kvf_stream_state_t now = {.struct_size = sizeof(now)};
    receiver_t r = {0};
    side_open_t open;
    proc_t child;

    proc_start(&child, sizeof(side_t), 30, side_idle);
    memset(&open, 0, sizeof(open));
    where_opts(where, &open.opts);
    snprintf(open.net, sizeof(open.net), "%s", open.opts.net != NULL ? open.opts.net : "");
    open.opts.net = NULL;
    open.opts.rank = 9;
    proc_call(&child, side_open_engine, &open, sizeof(open), NULL, 0);
    where_opts(where, &opts);
    ok(kvf_engine_open(&opts, &engine));
    memset(mine, 0, sizeof(side_slot_t));
    engine_blob(engine, flags, mine + sizeof(side_slot_t), &len);
    proc_call(&child, side_import_peer, mine, sizeof(side_slot_t) + len, NULL, 0);
    len = proc_call(&child, side_blob, &flags, sizeof(flags), buf, sizeof(buf));
    ok(kvf_peer_import(engine, buf, len, &source.peer));
    if (where == WHERE_AM)
        far_stands(engine, source.peer, &child);
    receive_from(&r, engine, &source, 1, STREAM);
    proc_call(&child, at_tell, &five, sizeof(five), NULL, 0);
    proc_signal(&child, SIGKILL);
    refused_naming(kvf_stream_wait(r.stream, UINT32_MAX, patient(20)), KVF_ERR_PEER, "layer 5|rank 9");
    ok(kvf_stream_query(r.stream, &now));
    must(now.arrived == 5 && now.failed == LAYERS - 5 && now.highest == 4, "%u arrived", now.arrived);
    ok(kvf_stream_wait(r.stream, 4, 0));
    receive_no_more(&r);
    ok(kvf_peer_forget(source.peer));
    ok(kvf_engine_close(engine, patient(5)));
}
END_TEST

/* ------------------------------------------------------------- several sources */

/* Engines of this process: a receiver, and sources that know it. */
typedef struct several {
    kvf_engine_t *to, *from[SOURCES];
    kvf_peer_t *to_peer[SOURCES], *from_peer[SOURCES];
    kvf_batch_t *batch[SOURCES];
    receiver_t r;
    kvf_stream_source_t sources[SOURCES];
} several_t;

static void several_open(several_t *s)
{
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts)};
    uint8_t blob[BLOB_MAX], own[BLOB_MAX];
    size_t len, own_len;

    memset(s, 0, sizeof(*s));
    ok(kvf_engine_open(&opts, &s->to));
    engine_blob(s->to, 0, blob, &len);
    for (int i = 0; i < SOURCES; i++) {
        opts.rank = 10 + (uint64_t)i;
        ok(kvf_engine_open(&opts, &s->from[i]));
        ok(kvf_peer_import(s->from[i], blob, len, &s->to_peer[i]));
        engine_blob(s->from[i], 0, own, &own_len);
        ok(kvf_peer_import(s->to, own, own_len, &s->from_peer[i]));
        ok(kvf_batch_create(s->from[i], &s->batch[i]));
        s->sources[i] = (kvf_stream_source_t){.peer = s->from_peer[i], .layer_count = LAYERS};
    }
}

static void several_close(several_t *s)
{
    for (int i = 0; i < SOURCES; i++) {
        ok(kvf_engine_close(s->from[i], patient(5)));
    }
    ok(kvf_engine_close(s->to, patient(5)));
}

/* The same payload from each of four, round after round: four arrive each time, none stands for
 * another, and the same one twice is one. */
START_TEST(equal_words_of_four_sources_are_four)
{
    several_t s;
    const char *rounds_asked = getenv("KVF_ROUNDS");
    uint32_t rounds = rounds_asked != NULL ? (uint32_t)atoi(rounds_asked) : 10000 / patience();

    several_open(&s);
    for (uint32_t round = 1; round <= rounds; round++) {
        receive_from(&s.r, s.to, s.sources, SOURCES, round);
        for (uint32_t n = 0; n < SOURCES; n++) {
            uint32_t i = (n + round) % SOURCES;

            answers(kvf_stream_wait(s.r.stream, 0, 0), KVF_INPROGRESS);
            ok(tell(s.batch[i], s.to_peer[i], NULL, 0, round, 0, LAYERS, KVF_OK));
            if (n == 0) {
                ok(tell(s.batch[i], s.to_peer[i], NULL, 0, round, 0, LAYERS, KVF_OK));
            }
        }
        ok(kvf_stream_wait(s.r.stream, UINT32_MAX, patient(5)));
        ok(kvf_stream_close(s.r.stream));
    }
    s.r.stream = NULL;
    receive_no_more(&s.r);
    several_close(&s);
}
END_TEST

/* A layer is there when all that bring it say so; layers of one source only need no other. */
START_TEST(each_layer_waits_for_its_own_sources)
{
    several_t s;

    several_open(&s);
    /* stages 0-3 and 4-11, the second cut over two ranks by heads; one more has layer 4 only */
    s.sources[0].layer_count = 4;
    s.sources[1].first_layer = 4;
    s.sources[1].layer_count = 8;
    s.sources[2].first_layer = 4;
    s.sources[2].layer_count = 8;
    s.sources[3].first_layer = 4;
    s.sources[3].layer_count = 1;
    receive_from(&s.r, s.to, s.sources, SOURCES, 5);
    ok(tell(s.batch[0], s.to_peer[0], NULL, 0, 5, 0, LAYERS, KVF_OK)); /* more than its own */
    ok(kvf_stream_wait(s.r.stream, 3, patient(5)));
    answers(kvf_stream_layer(s.r.stream, 4), KVF_INPROGRESS);
    ok(tell(s.batch[1], s.to_peer[1], NULL, 0, 5, 4, 8, KVF_OK));
    ok(tell(s.batch[2], s.to_peer[2], NULL, 0, 5, 4, 8, KVF_OK));
    answers(kvf_stream_wait(s.r.stream, UINT32_MAX, 0), KVF_INPROGRESS);
    answers(kvf_stream_layer(s.r.stream, 4), KVF_INPROGRESS);
    ok(kvf_stream_layer(s.r.stream, 5));
    ok(tell(s.batch[3], s.to_peer[3], NULL, 0, 5, 4, 1, KVF_ERR_TIMEOUT));
    refused_naming(kvf_stream_wait(s.r.stream, UINT32_MAX, patient(5)), KVF_ERR_TIMEOUT, "layer 4|rank 13");
    ok(kvf_stream_wait(s.r.stream, 3, 0));
    refused(kvf_stream_layer(s.r.stream, 4), KVF_ERR_TIMEOUT, "stream 5: layer 4 will not come");
    ok(tell(s.batch[3], s.to_peer[3], NULL, 0, 5, 4, 1, KVF_OK));
    ok(kvf_stream_wait(s.r.stream, UINT32_MAX, patient(5)));
    receive_no_more(&s.r);
    several_close(&s);
}
END_TEST

typedef struct waiter {
    kvf_stream_t *stream;
    uint32_t last;
    kvf_status_t status;
} waiter_t;

static void *wait_for_layers(void *arg)
{
    waiter_t *w = arg;

    for (uint32_t i = 0; i <= w->last && w->status == KVF_OK; i++) {
        w->status = kvf_stream_wait(w->stream, i, patient(20));
    }
    return NULL;
}

/* Threads that sleep for streams of their own, and two for the same. */
START_TEST(threads_wait_for_streams_at_the_same_time)
{
    enum {
        WAITERS = 5
    };
    several_t s;
    waiter_t waiters[WAITERS];
    pthread_t threads[WAITERS];
    kvf_stream_t *streams[4];

    several_open(&s);
    for (uint64_t k = 0; k < 4; k++) {
        receive_from(&s.r, s.to, &s.sources[k], 1, k + 1);
        streams[k] = s.r.stream;
    }
    for (int k = 0; k < WAITERS; k++) {
        waiters[k] = (waiter_t){.stream = streams[k % 4], .last = LAYERS - 1};
        must(pthread_create(&threads[k], NULL, wait_for_layers, &waiters[k]) == 0, "a thread");
    }
    for (uint32_t i = 0; i < LAYERS; i++) {
        sleep_ms(i % 4);
        for (uint64_t k = 0; k < 4; k++) {
            ok(tell(s.batch[k], s.to_peer[k], NULL, 0, k + 1, i, 1, KVF_OK));
        }
    }
    for (int k = 0; k < WAITERS; k++) {
        pthread_join(threads[k], NULL);
        must(waiters[k].status == KVF_OK, "%s", kvf_status_name(waiters[k].status));
    }
    for (int k = 0; k < 4; k++) {
        ok(kvf_stream_close(streams[k]));
    }
    ok(kvf_streams_close(s.r.streams));
    several_close(&s);
}
END_TEST

/* One thread, the fd of their channel: arm, poll. */
START_TEST(a_layer_wakes_who_sleeps_on_their_channel)
{
    several_t s;
    kvf_stream_state_t now = {.struct_size = sizeof(now)};
    struct pollfd fd = {.events = POLLIN};

    several_open(&s);
    receive_from(&s.r, s.to, s.sources, 1, 1);
    ok(kvf_channel_fd(kvf_streams_channel(s.r.streams), &fd.fd));
    for (uint32_t i = 0; i < LAYERS; i++) {
        ok(kvf_channel_arm(kvf_streams_channel(s.r.streams)));
        ok(kvf_stream_query(s.r.stream, &now));
        must(now.arrived == i && poll(&fd, 1, 0) == 0, "woken for nothing");
        ok(tell(s.batch[0], s.to_peer[0], NULL, 0, 1, i, 1, KVF_OK));
        must(poll(&fd, 1, (int)(patient(5) / MS)) == 1, "not woken");
        ok(kvf_streams_poll(s.r.streams));
        ok(kvf_stream_layer(s.r.stream, i));
    }
    receive_no_more(&s.r);
    several_close(&s);
}
END_TEST

/* Two rooms of a program with streams of their own, and the program's own notifications. */
START_TEST(streams_of_two_channels_and_the_callers_own)
{
    kvf_streams_opts_t mine = {.struct_size = sizeof(mine), .channel = 9};
    uint8_t note[KVF_STREAM_NOTE];
    kvf_batch_opts_t opts = {
        .struct_size = sizeof(opts), .channel = 9, .notify = note, .notify_len = KVF_STREAM_NOTE};
    kvf_notification_t own = {.struct_size = sizeof(own)};
    receiver_t first = {0}, second = {0};
    several_t s;

    several_open(&s);
    opts.notify_peer = s.to_peer[0];
    ok(kvf_streams_open(s.to, &mine, &second.streams));
    receive_from(&first, s.to, s.sources, 1, STREAM);
    receive_from(&second, s.to, s.sources, 1, STREAM); /* the same id, and another stream */
    must(kvf_streams_channel(first.streams) != kvf_streams_channel(second.streams), "one channel");
    must(kvf_streams_channel(NULL) == NULL, "a channel of none");
    ok(kvf_stream_note(STREAM, 0, LAYERS, KVF_OK, note));
    ok(run_ops(s.batch[0], NULL, 0, &opts));
    opts.channel = 0;
    ok(run_ops(s.batch[0], NULL, 0, &opts));
    ok(tell(s.batch[0], s.to_peer[0], NULL, 0, STREAM, 0, 1, KVF_OK));
    ok(kvf_stream_wait(first.stream, 0, patient(5)));
    answers(kvf_stream_layer(first.stream, 1), KVF_INPROGRESS);
    ok(kvf_stream_wait(second.stream, LAYERS - 1, patient(5)));
    ok(kvf_notify_recv(s.to, &own));
    answers(kvf_notify_recv(s.to, &own), KVF_INPROGRESS);
    receive_no_more(&first);
    receive_no_more(&second);
    several_close(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stream");
    TCase *tc = tcase_create("stream");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, layers_are_seen_as_they_come_with_their_bytes, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, layers_out_of_order_leave_a_gap, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_layer_that_failed_never_passes_for_arrived, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, a_layer_whose_batch_is_given_up_is_told, 0, WHERE_STAGE);
    tcase_add_loop_test(tc, a_layer_comes_without_the_senders_polling, 0, 2);
    tcase_add_loop_test(tc, what_belongs_to_no_stream_goes_its_own_way, 0, WHERE_COUNT);
    tcase_add_loop_test(tc, what_a_dead_source_owes_is_told, 0, 2);
    tcase_add_test(tc, equal_words_of_four_sources_are_four);
    tcase_add_test(tc, each_layer_waits_for_its_own_sources);
    tcase_add_test(tc, threads_wait_for_streams_at_the_same_time);
    tcase_add_test(tc, a_layer_wakes_who_sleeps_on_their_channel);
    tcase_add_test(tc, streams_of_two_channels_and_the_callers_own);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

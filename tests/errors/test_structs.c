/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One rule of struct_size for every public struct that has one: callers that were built with an older or a
 * newer header are served. A struct that is cut short means what it means with zeros there, whatever lies
 * behind it; one that is longer must have zeros there; an output is written as far as it goes.
 */
#include "../engine/rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#define ROOM   4200u
#define LONGER 24u

typedef union room {
    uint64_t align;
    uint8_t bytes[ROOM];
    kvf_engine_opts_t engine_opts;
    kvf_pool_opts_t pool_opts;
    kvf_batch_opts_t batch_opts;
    kvf_oob_t oob;
    kvf_layout_desc_t desc;
    kvf_kv_model_t model;
    kvf_layout_opts_t layout_opts;
    kvf_plan_opts_t plan_opts;
    kvf_bind_t bind;
    kvf_plan_size_t plan_size;
    kvf_plan_results_t results;
    kvf_streams_opts_t streams_opts;
    kvf_stream_opts_t stream_opts;
    kvf_segment_attr_t segment_attr;
    kvf_peer_attr_t peer_attr;
    kvf_remote_attr_t remote_attr;
    kvf_batch_result_t batch_result;
    kvf_notification_t notification;
    kvf_counters_t counters;
    kvf_flow_t flow;
    kvf_ended_t ended;
    kvf_stream_state_t stream_state;
} room_t;

/* What the calls need: an engine that is its own peer, two layouts, a plan, a binding of it. */
static rig_t rig;
static kvf_engine_t *second; /* of which nothing takes notifications */
static const kvf_kv_model_t *model;
static kvf_layout_t *layout;
static kvf_plan_t *plan;
static kvf_bind_table_t table;
static kvf_bind_local_t local;
static kvf_remote_t *remotes[1];
static kvf_bind_t binding;
static kvf_streams_t *streams;
static kvf_stream_source_t source;
static kvf_stream_t *stream;

static void setup(void)
{
    kvf_stream_opts_t opts = {.struct_size = sizeof(opts), .source_count = 1, .sources = &source, .id = 7};
    kvf_op_t op;

    rig_open(&rig, WHERE_SELF, NULL);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    move(&rig, &op, 1);
    ok(kvf_engine_open(NULL, &second));
    ok(kvf_kv_model_find("llama-3.1-8b", &model));
    ok(kvf_layout_build(model, "LBHNC", NULL, &layout));
    ok(kvf_plan_create(layout, layout, NULL, &plan));
    table = (kvf_bind_table_t){.count = 1};
    local = (kvf_bind_local_t){.segment = rig.me.segment};
    remotes[0] = rig.remote;
    binding = (kvf_bind_t){.struct_size = sizeof(binding),
                           .src_table_count = 1,
                           .dst_table_count = 1,
                           .local_count = 1,
                           .remote_count = 1,
                           .src_tables = &table,
                           .dst_tables = &table,
                           .tokens = 16,
                           .locals = &local,
                           .remotes = remotes};
    ok(kvf_streams_open(rig.me.engine, NULL, &streams));
    source = (kvf_stream_source_t){.peer = rig.peer, .layer_count = 2};
    ok(kvf_stream_open(streams, &opts, &stream));
}

static void teardown(void)
{
    ok(kvf_stream_close(stream));
    ok(kvf_streams_close(streams));
    ok(kvf_plan_destroy(plan));
    ok(kvf_layout_destroy(layout));
    ok(kvf_engine_close(second, KVF_FOREVER));
    rig_close(&rig);
}

/* ------------------------------------------------------------------ inputs */

static void fill_engine_opts(room_t *room)
{
    room->engine_opts = (kvf_engine_opts_t){.net = "tcp", .rank = 5, .deadline_ns = 1, .notify_depth = 3};
}

static kvf_status_t open_engine(room_t *room)
{
    kvf_engine_t *engine;
    kvf_status_t status = kvf_engine_open(&room->engine_opts, &engine);

    if (status == KVF_OK)
        ok(kvf_engine_close(engine, KVF_FOREVER));
    return status;
}

static void fill_pool_opts(room_t *room)
{
    room->pool_opts = (kvf_pool_opts_t){.blocks = 2, .block_bytes = 4096};
}

static kvf_status_t create_pool(room_t *room)
{
    kvf_pool_t *pool;
    kvf_status_t status = kvf_pool_create(rig.me.engine, &room->pool_opts, &pool);

    if (status == KVF_OK)
        ok(kvf_pool_destroy(pool));
    return status;
}

static void fill_batch_opts(room_t *room)
{
    room->batch_opts = (kvf_batch_opts_t){.flags = KVF_BATCH_INLINE,
                                          .tag = 9,
                                          .deadline_ns = KVF_FOREVER,
                                          .paths = KVF_PATHS_LOCAL,
                                          .notify_len = 5,
                                          .notify_peer = rig.peer,
                                          .notify = "hello"};
}

static kvf_status_t post(room_t *room)
{
    kvf_op_t op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    kvf_notification_t note = {.struct_size = sizeof(note)};
    kvf_status_t status = kvf_batch_post(rig.batch, &op, 1, sizeof(op), &room->batch_opts);

    if (status == KVF_OK)
        ok(kvf_batch_wait(rig.batch, KVF_FOREVER));
    while (status == KVF_OK && kvf_notify_recv(rig.me.engine, &note) == KVF_OK)
        ;
    return status;
}

static int alone(void *arg, const void *send, void *recv, size_t len)
{
    (void)arg;
    memcpy(recv, send, len);
    return 0;
}

static void fill_oob(room_t *room)
{
    room->oob = (kvf_oob_t){.size = 1, .allgather = alone, .arg = room};
}

static kvf_status_t agree(room_t *room)
{
    return kvf_exchange_agree(&room->oob, KVF_OK);
}

static kvf_status_t exchange_peers(room_t *room)
{
    kvf_peer_t *peer;
    kvf_status_t status = kvf_exchange_peers(rig.me.engine, &room->oob, &peer);

    if (status == KVF_OK)
        ok(kvf_peer_forget(peer));
    return status;
}

static kvf_status_t exchange_grants(room_t *room)
{
    uint32_t count;

    return kvf_exchange_grants(rig.me.engine, &room->oob, &rig.peer, NULL, 0, NULL, &count);
}

static void fill_desc(room_t *room)
{
    room->desc = *kvf_layout_describe(layout);
}

static kvf_status_t create_layout(room_t *room)
{
    kvf_layout_t *made;
    kvf_status_t status = kvf_layout_create(&room->desc, &made);

    if (status == KVF_OK)
        ok(kvf_layout_destroy(made));
    return status;
}

static void fill_model(room_t *room)
{
    room->model = *model;
}

static kvf_status_t build_of_model(room_t *room)
{
    kvf_layout_t *made;
    kvf_status_t status = kvf_layout_build(&room->model, "LBHNC", NULL, &made);

    if (status == KVF_OK)
        ok(kvf_layout_destroy(made));
    return status;
}

static kvf_status_t model_bytes(room_t *room)
{
    uint64_t bytes;

    return kvf_kv_model_bytes(&room->model, 100, &bytes);
}

static void fill_layout_opts(room_t *room)
{
    room->layout_opts = (kvf_layout_opts_t){
        .block_tokens = 8, .blocks = 3, .layer_count = 2, .heads = 4, .cp_ranks = 2, .base = 4096};
}

static kvf_status_t build_with_opts(room_t *room)
{
    kvf_layout_t *made;
    kvf_status_t status = kvf_layout_build(model, "LBHNC", &room->layout_opts, &made);

    if (status == KVF_OK)
        ok(kvf_layout_destroy(made));
    return status;
}

static void fill_plan_opts(room_t *room)
{
    room->plan_opts =
        (kvf_plan_opts_t){.first_layer = 1, .layer_count = 2, .heads = 3, .replica_count = 2, .replica = 1};
}

static kvf_status_t create_plan(room_t *room)
{
    kvf_plan_t *made;
    kvf_status_t status = kvf_plan_create(layout, layout, &room->plan_opts, &made);

    if (status == KVF_OK)
        ok(kvf_plan_destroy(made));
    return status;
}

static void fill_bind(room_t *room)
{
    room->bind = binding;
}

static kvf_status_t bind_plan(room_t *room)
{
    size_t ops = 0, ids = 0;

    return kvf_plan_bind(plan, &room->bind, NULL, sizeof(kvf_op_t), &ops, NULL, &ids);
}

static kvf_status_t measure_of_bind(room_t *room)
{
    kvf_plan_size_t size = {.struct_size = sizeof(size)};

    return kvf_plan_measure(plan, &room->bind, &size);
}

static kvf_status_t results_of_bind(room_t *room)
{
    kvf_plan_results_t results = {.struct_size = sizeof(results)};

    return kvf_plan_results(plan, &room->bind, KVF_ERR_PEER, &results);
}

static void fill_plan_size(room_t *room)
{
    room->plan_size = (kvf_plan_size_t){.ops = 1, .pieces = 4, .bytes = 65536};
}

static kvf_status_t step(room_t *room)
{
    uint32_t layers;

    return kvf_stream_step(rig.me.engine, KVF_PATH_SHM, &room->plan_size, 8, &layers);
}

static void fill_nothing(room_t *room)
{
    memset(room->bytes, 0, 256);
}

static kvf_status_t open_streams(room_t *room)
{
    kvf_streams_t *made;
    kvf_status_t status = kvf_streams_open(second, &room->streams_opts, &made);

    if (status == KVF_OK)
        ok(kvf_streams_close(made));
    return status;
}

static void fill_stream_opts(room_t *room)
{
    room->stream_opts = (kvf_stream_opts_t){.source_count = 1, .sources = &source, .id = 8};
}

static kvf_status_t add_results(room_t *room)
{
    return kvf_plan_results(plan, &binding, KVF_ERR_PEER, &room->results);
}

static kvf_status_t open_stream(room_t *room)
{
    kvf_stream_t *made;
    kvf_status_t status = kvf_stream_open(streams, &room->stream_opts, &made);

    if (status == KVF_OK)
        ok(kvf_stream_close(made));
    return status;
}

/* ----------------------------------------------------------------- outputs */

static kvf_status_t query_segment(room_t *room)
{
    return kvf_segment_query(rig.me.segment, &room->segment_attr);
}

static kvf_status_t query_peer(room_t *room)
{
    return kvf_peer_query(rig.peer, &room->peer_attr);
}

static kvf_status_t query_remote(room_t *room)
{
    return kvf_remote_query(rig.remote, &room->remote_attr);
}

static kvf_status_t query_batch(room_t *room)
{
    return kvf_batch_result(rig.batch, &room->batch_result);
}

static kvf_status_t take_note(room_t *room)
{
    kvf_batch_opts_t opts = {
        .struct_size = sizeof(opts), .notify_peer = rig.peer, .notify = "abc", .notify_len = 3};
    kvf_notification_t note = {.struct_size = sizeof(note)};
    kvf_status_t status;

    ok(run_ops(rig.batch, NULL, 0, &opts));
    status = kvf_notify_recv(rig.me.engine, &room->notification);
    must((kvf_notify_recv(rig.me.engine, &note) == KVF_OK) == (status != KVF_OK),
         "a call that was refused took it");
    return status;
}

static kvf_status_t query_counters(room_t *room)
{
    return kvf_engine_counters(rig.me.engine, &room->counters);
}

static kvf_status_t query_flow(room_t *room)
{
    uint64_t cursor = 0;

    return kvf_engine_flow(rig.me.engine, &cursor, &room->flow);
}

static kvf_status_t take_ended(room_t *room)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .tag = 77};
    kvf_status_t status;

    ok(kvf_queue_create(rig.me.engine, &opts.queue));
    ok(kvf_batch_post(rig.batch, NULL, 0, 0, &opts));
    status = kvf_queue_next(opts.queue, 0, &room->ended);
    ok(kvf_queue_free(opts.queue));
    return status;
}

static kvf_status_t measure(room_t *room)
{
    return kvf_plan_measure(plan, &binding, &room->plan_size);
}

/* In and out: begins with zeros. */
static kvf_status_t first_results(room_t *room)
{
    for (size_t i = 4; i < room->results.struct_size && i < sizeof *room; i++)
        room->bytes[i] = 0;
    return kvf_plan_results(plan, &binding, KVF_ERR_PEER, &room->results);
}

static kvf_status_t query_stream(room_t *room)
{
    return kvf_stream_query(stream, &room->stream_state);
}

/* ------------------------------------------------------------------- rows */

typedef struct row {
    const char *name; /* of the argument, as sentences have it */
    size_t size;
    void (*fill)(room_t *room); /* NULL: an output */
    kvf_status_t (*call)(room_t *room);
} row_t;

static const row_t rows[] = {
    {"opts", sizeof(kvf_engine_opts_t), fill_engine_opts, open_engine},
    {"opts", sizeof(kvf_pool_opts_t), fill_pool_opts, create_pool},
    {"opts", sizeof(kvf_batch_opts_t), fill_batch_opts, post},
    {"oob", sizeof(kvf_oob_t), fill_oob, agree},
    {"oob", sizeof(kvf_oob_t), fill_oob, exchange_peers},
    {"oob", sizeof(kvf_oob_t), fill_oob, exchange_grants},
    {"layout: desc", sizeof(kvf_layout_desc_t), fill_desc, create_layout},
    {"layout: model", sizeof(kvf_kv_model_t), fill_model, build_of_model},
    {"model bytes: model", sizeof(kvf_kv_model_t), fill_model, model_bytes},
    {"layout: opts", sizeof(kvf_layout_opts_t), fill_layout_opts, build_with_opts},
    {"plan: opts", sizeof(kvf_plan_opts_t), fill_plan_opts, create_plan},
    {"bind: bind", sizeof(kvf_bind_t), fill_bind, bind_plan},
    {"bind: bind", sizeof(kvf_bind_t), fill_bind, measure_of_bind},
    {"bind: bind", sizeof(kvf_bind_t), fill_bind, results_of_bind},
    {"stream step: layer", sizeof(kvf_plan_size_t), fill_plan_size, step},
    {"streams: opts", sizeof(kvf_streams_opts_t), fill_nothing, open_streams},
    {"stream: opts", sizeof(kvf_stream_opts_t), fill_stream_opts, open_stream},
    {"results: results_p", sizeof(kvf_plan_results_t), fill_nothing, add_results},
    {"attr_p", sizeof(kvf_segment_attr_t), NULL, query_segment},
    {"attr_p", sizeof(kvf_peer_attr_t), NULL, query_peer},
    {"attr_p", sizeof(kvf_remote_attr_t), NULL, query_remote},
    {"result_p", sizeof(kvf_batch_result_t), NULL, query_batch},
    {"notification_p", sizeof(kvf_notification_t), NULL, take_note},
    {"ended_p", sizeof(kvf_ended_t), NULL, take_ended},
    {"flow_p", sizeof(kvf_flow_t), NULL, query_flow},
    {"counters_p", sizeof(kvf_counters_t), NULL, query_counters},
    {"measure: size_p", sizeof(kvf_plan_size_t), NULL, measure},
    {"results: results_p", sizeof(kvf_plan_results_t), NULL, first_results},
    {"stream: state_p", sizeof(kvf_stream_state_t), NULL, query_stream},
};
#define FOR_ROWS(row) for (const row_t *row = rows; row < rows + sizeof rows / sizeof rows[0]; row++)

static void fill(const row_t *row, room_t *room, size_t known)
{
    memset(room, 0, sizeof *room);
    row->fill(room);
    memset(room->bytes + known, 0, sizeof *room - known);
    room->engine_opts.struct_size = (uint32_t)row->size;
}

/* The status of a call, and its sentence, if it fails. */
static kvf_status_t call(const row_t *row, room_t *room, char sentence[512])
{
    kvf_status_t status = row->call(room);

    snprintf(sentence, 512, "%s", status < KVF_OK ? kvf_last_error() : "");
    return status;
}

static void shorter_input(const row_t *row)
{
    char zeros[512], shorter[512];
    kvf_status_t status;
    room_t room;

    fill(row, &room, row->size);
    ok(call(row, &room, zeros));
    must(!(row->size & 7), "%s has %zu bytes", row->name, row->size);
    for (size_t size = 8; size < row->size; size += 8) {
        fill(row, &room, size);
        status = call(row, &room, zeros);
        fill(row, &room, size);
        room.engine_opts.struct_size = (uint32_t)size;
        memset(room.bytes + size, 0xa5, sizeof room - size);
        must(call(row, &room, shorter) == status && !strcmp(zeros, shorter),
             "%s of %zu bytes: \"%s\", with zeros \"%s\"", row->name, size, shorter, zeros);
    }
}

static void longer_input(const row_t *row)
{
    char sentence[512];
    room_t room;

    fill(row, &room, row->size);
    room.engine_opts.struct_size = (uint32_t)row->size + LONGER;
    ok(call(row, &room, sentence));
    for (size_t at = row->size; at < row->size + LONGER; at += LONGER - 1) {
        fill(row, &room, row->size);
        room.engine_opts.struct_size = (uint32_t)row->size + LONGER;
        room.bytes[at] = 1;
        snprintf(sentence, sizeof sentence, "%s: byte %zu is set, past the %zu bytes", row->name, at,
                 row->size);
        refused(row->call(&room), KVF_ERR_UNSUPPORTED, sentence);
    }
}

static void any_output(const row_t *row)
{
    room_t whole, room;

    memset(&whole, 0, sizeof whole);
    whole.engine_opts.struct_size = (uint32_t)row->size;
    ok(row->call(&whole));
    must(!(row->size & 7), "%s has %zu bytes", row->name, row->size);
    for (size_t size = 8; size <= row->size + LONGER; size += 8) {
        memset(&room, 0xa5, sizeof room);
        room.engine_opts.struct_size = (uint32_t)size;
        ok(row->call(&room));
        must(room.engine_opts.struct_size == size, "struct_size is the caller's");
        for (size_t at = 4; at < size + LONGER; at++) /* whole is 0 past its end */
            must(room.bytes[at] == (at < size ? whole.bytes[at] : 0xa5), "%s of %zu bytes: byte %zu is 0x%x",
                 row->name, size, at, room.bytes[at]);
    }
}

static void wrong_size(const row_t *row, uint32_t size)
{
    char sentence[512];
    room_t room;

    memset(&room, 0, sizeof room);
    if (row->fill)
        fill(row, &room, row->size);
    room.engine_opts.struct_size = size;
    snprintf(sentence, sizeof sentence, "%s.struct_size is %u: set it to sizeof, %zu in", row->name, size,
             row->size);
    refused(row->call(&room), KVF_ERR_INVALID, sentence);
}

START_TEST(a_shorter_input_means_zeros)
{
    FOR_ROWS(row)
    if (row->fill)
        shorter_input(row);
}
END_TEST

START_TEST(a_longer_input_must_end_in_zeros)
{
    FOR_ROWS(row)
    if (row->fill)
        longer_input(row);
}
END_TEST

START_TEST(an_output_is_written_as_far_as_it_goes)
{
    FOR_ROWS(row)
    if (!row->fill)
        any_output(row);
}
END_TEST

START_TEST(a_size_that_was_never_set_is_refused)
{
    static const uint32_t sizes[] = {0, 1, 4, 7, 12, 4095, 4104, 0xa5a5a5a8};

    FOR_ROWS(row)
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        wrong_size(row, sizes[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("structs");
    TCase *tc = tcase_create("structs");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_shorter_input_means_zeros);
    tcase_add_test(tc, a_longer_input_must_end_in_zeros);
    tcase_add_test(tc, an_output_is_written_as_far_as_it_goes);
    tcase_add_test(tc, a_size_that_was_never_set_is_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

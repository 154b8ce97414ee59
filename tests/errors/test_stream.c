/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The errors of streams, each with the start of its sentence, and what a step should carry.
 */
#include "../engine/rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <kvferry/kv.h>

#define INVALID KVF_ERR_INVALID

START_TEST(a_bad_note_is_refused)
{
    uint8_t note[KVF_STREAM_NOTE];

    refused(kvf_stream_note(1, 0, 1, KVF_OK, NULL), INVALID, "stream note: note_p is NULL");
    refused(kvf_stream_note(0, 0, 1, KVF_OK, note), INVALID, "stream note: id is 0");
    refused(kvf_stream_note(1, 0, 0, KVF_OK, note), INVALID, "stream note: layer_count is 0");
    refused(kvf_stream_note(1, 0, 1, KVF_INPROGRESS, note), INVALID,
            "stream note: status KVF_INPROGRESS is no end");
    ok(kvf_stream_note(1, 0, 1, KVF_ERR_TIMEOUT, note));
}
END_TEST

START_TEST(what_no_stream_can_be_is_refused_by_field)
{
    rig_t rig;
    kvf_streams_opts_t all = {.struct_size = 1};
    kvf_streams_t *streams = NULL, *second = NULL;
    kvf_stream_source_t sources[2] = {{.layer_count = 2}, {.layer_count = 1}};
    kvf_stream_opts_t opts = {.struct_size = 4};
    kvf_stream_state_t state = {0};
    kvf_stream_t *stream = NULL;
    kvf_stream_t *other = NULL;

    rig_open(&rig, WHERE_SELF, NULL);
    refused(kvf_streams_open(NULL, NULL, &streams), INVALID, "streams: engine");
    refused(kvf_streams_open(rig.me.engine, NULL, NULL), INVALID, "streams: streams_p is NULL");
    refused(kvf_streams_open(rig.me.engine, &all, &streams), INVALID, "streams: opts.struct_size is 1");
    ok(kvf_streams_open(rig.me.engine, NULL, &streams));
    refused(kvf_streams_open(rig.me.engine, NULL, &second), KVF_ERR_BUSY,
            "streams: channel 1802924801 is open");
    refused(kvf_streams_poll(NULL), INVALID, "streams: streams is NULL");
    ok(kvf_streams_poll(streams));

    refused(kvf_stream_open(NULL, &opts, &stream), INVALID, "stream: streams is NULL");
    refused(kvf_stream_open(streams, NULL, &stream), INVALID, "stream: opts is NULL");
    refused(kvf_stream_open(streams, &opts, NULL), INVALID, "stream: stream_p is NULL");
    refused(kvf_stream_open(streams, &opts, &stream), INVALID, "stream: opts.struct_size is 4");
    opts = (kvf_stream_opts_t){.struct_size = sizeof(opts), .reserved = {1}};
    refused(kvf_stream_open(streams, &opts, &stream), INVALID, "stream: reserved is not 0");
    opts.reserved[0] = 0;
    refused(kvf_stream_open(streams, &opts, &stream), INVALID, "stream: id is 0");
    opts.id = 3;
    refused(kvf_stream_open(streams, &opts, &stream), INVALID, "stream: source_count is 0");
    opts.source_count = 1;
    refused(kvf_stream_open(streams, &opts, &stream), INVALID, "stream: sources is NULL");
    opts.sources = sources;
    refused_naming(kvf_stream_open(streams, &opts, &stream), INVALID, "stream: sources[0].peer");
    sources[0].peer = sources[1].peer = rig.peer;
    sources[0].reserved[0] = 1;
    refused(kvf_stream_open(streams, &opts, &stream), INVALID, "stream: sources[0].reserved");
    sources[0].reserved[0] = 0;
    sources[0].layer_count = 0;
    refused(kvf_stream_open(streams, &opts, &stream), INVALID, "stream: sources[0] has neither");
    sources[0].layer_count = sources[0].first_layer = UINT32_MAX;
    refused(kvf_stream_open(streams, &opts, &stream), INVALID, "stream: sources[0]: first_layer and");
    sources[0].layer_count = 2;
    sources[0].first_layer = 4;
    opts.source_count = 2;
    refused(kvf_stream_open(streams, &opts, &stream), INVALID,
            "stream: sources[0] and [1] are the same peer");
    must(stream == NULL, "an output of a failure");
    opts.source_count = 1;
    ok(kvf_stream_open(streams, &opts, &stream));
    refused(kvf_stream_open(streams, &opts, &other), KVF_ERR_BUSY, "stream: id 3 is open");

    refused(kvf_stream_query(NULL, &state), INVALID, "stream: stream is NULL");
    refused(kvf_stream_query(stream, NULL), INVALID, "stream: state_p is NULL");
    refused(kvf_stream_query(stream, &state), INVALID, "stream: state_p.struct_size is 0");
    refused(kvf_stream_layer(NULL, 4), INVALID, "stream: stream is NULL");
    refused(kvf_stream_layer(stream, 6), INVALID, "stream 3: no source has layer 6");
    refused(kvf_stream_layer(stream, 3), INVALID, "stream 3: no source has layer 3");
    answers(kvf_stream_layer(stream, 5), KVF_INPROGRESS);
    refused(kvf_stream_wait(NULL, 4, 0), INVALID, "stream: stream is NULL");
    refused(kvf_stream_wait(stream, 3, 0), INVALID, "stream 3: its first layer is 4, not up to 3");
    answers(kvf_stream_wait(stream, 4, 0), KVF_INPROGRESS);
    refused(kvf_streams_close(streams), KVF_ERR_BUSY, "streams: 1 are open");
    ok(kvf_stream_close(stream));
    ok(kvf_stream_close(NULL));
    ok(kvf_streams_close(streams));
    ok(kvf_streams_close(NULL));
    ok(kvf_streams_open(rig.me.engine, NULL, &second)); /* after the first has gone */
    ok(kvf_streams_close(second));
    rig_close(&rig);
}
END_TEST

START_TEST(a_step_carries_enough_to_be_worth_it)
{
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts)};
    kvf_engine_t *engine = NULL;
    kvf_plan_size_t layer = {.struct_size = sizeof(layer), .ops = 1, .pieces = 512, .bytes = 8 << 20};
    uint32_t large = 0, small = 0, most = 0;

    ok(kvf_engine_open(&opts, &engine));
    refused(kvf_stream_step(engine, KVF_PATH_SHM, NULL, 1, &large), INVALID, "stream step: layer is NULL");
    refused(kvf_stream_step(engine, KVF_PATH_SHM, &layer, 1, NULL), INVALID, "stream step: step_p is NULL");
    refused(kvf_stream_step(engine, KVF_PATH_SHM, &layer, 0, &large), INVALID, "stream step: layers is 0");
    answers(kvf_stream_step(engine, KVF_PATH_CUDA_IPC, &layer, 80, &large), KVF_ERR_UNSUPPORTED);
    answers(kvf_stream_step(engine, KVF_PATH_COUNT, &layer, 80, &large), INVALID);
    ok(kvf_stream_step(engine, KVF_PATH_SHM, &layer, 80, &large));
    must(large == 1, "8 MiB a layer: steps of %u", large);
    layer.pieces = 1;
    layer.bytes = 4096;
    ok(kvf_stream_step(engine, KVF_PATH_SHM, &layer, 80, &small));
    must(small > 1 && small <= 80, "4 KiB a layer: steps of %u", small);
    layer.pieces = layer.bytes = 1;
    ok(kvf_stream_step(engine, KVF_PATH_AM, &layer, 80, &most));
    must(most > 40, "a byte a layer over the wire: steps of %u", most);
    layer.bytes = UINT64_MAX / 2;
    refused(kvf_stream_step(engine, KVF_PATH_SHM, &layer, 80, &most), INVALID,
            "stream step: layer's pieces or bytes overflow");
    ok(kvf_engine_close(engine, patient(5)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stream errors");
    TCase *tc = tcase_create("stream errors");

    tcase_add_test(tc, a_bad_note_is_refused);
    tcase_add_test(tc, what_no_stream_can_be_is_refused_by_field);
    tcase_add_test(tc, a_step_carries_enough_to_be_worth_it);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

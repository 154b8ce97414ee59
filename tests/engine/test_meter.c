/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Peers and flows are read with a cursor while peers come and go: none is given twice, none that stays is
 * left out, and what moved with a peer stays counted when the peer is forgotten.
 */
#include "rig.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define OTHERS 12

static kvf_engine_t *others[OTHERS];

static kvf_peer_t *import(kvf_engine_t *engine, kvf_engine_t *other)
{
    uint8_t buf[BLOB_MAX];
    size_t len = sizeof(buf);
    kvf_peer_t *peer = NULL;

    engine_blob(other, 0, buf, &len);
    ok(kvf_peer_import(engine, buf, len, &peer));
    return peer;
}

/* How often each of count peers is on the list; returns the length of it. */
static unsigned listed(kvf_engine_t *engine, kvf_peer_t *const *peers, unsigned count, unsigned *times_p)
{
    uint64_t cursor = 0;
    kvf_peer_t *peer;
    kvf_status_t status;
    unsigned all = 0;

    for (unsigned i = 0; i < count; i++)
        times_p[i] = 0;
    for (; (status = kvf_engine_peer(engine, &cursor, &peer)) == KVF_OK; all++)
        for (unsigned i = 0; i < count; i++)
            times_p[i] += peer == peers[i];
    must(status == KVF_INPROGRESS, "the list ends with %s", kvf_status_name(status));
    return all;
}

START_TEST(peers_that_stay_are_listed_once)
{
    kvf_peer_t *peers[OTHERS] = {NULL}, *first = NULL;
    unsigned times[OTHERS];
    kvf_engine_t *engine;
    uint64_t cursor = 0;

    ok(kvf_engine_open(NULL, &engine));
    must(listed(engine, peers, 0, times) == 0, "a peer of nobody's");
    for (unsigned i = 0; i < OTHERS; i++) {
        ok(kvf_engine_open(NULL, &others[i]));
        peers[i] = import(engine, others[i]);
    }
    must(import(engine, others[3]) == peers[3], "an import of the same");
    must(listed(engine, peers, OTHERS, times) == OTHERS, "not each once");
    ok(kvf_engine_peer(engine, &cursor, &first));
    for (unsigned i = 0; i < OTHERS; i += 2)
        ok(kvf_peer_forget(peers[i]));
    /* an old cursor goes on behind the holes */
    for (kvf_peer_t *peer; kvf_engine_peer(engine, &cursor, &peer) == KVF_OK;)
        must(peer != first, "the first one again");
    must(listed(engine, peers, OTHERS, times) == OTHERS / 2, "the forgotten are listed");
    for (unsigned i = 0; i < OTHERS; i++)
        must(times[i] == (i & 1), "peer %u is listed %u times", i, times[i]);
    for (unsigned i = 0; i < OTHERS; i += 2)
        peers[i] = import(engine, others[i]);
    must(listed(engine, peers, OTHERS, times) == OTHERS, "not each once, after more came");
    for (unsigned i = 0; i < OTHERS; i++)
        must(times[i] == 1, "peer %u is listed %u times", i, times[i]);
    ok(kvf_engine_close(engine, patient(5)));
    for (unsigned i = 0; i < OTHERS; i++)
        ok(kvf_engine_close(others[i], patient(5)));
}
END_TEST

static kvf_flow_t row_of(kvf_engine_t *engine, const kvf_peer_t *peer, uint32_t dir)
{
    kvf_flow_t flow = {.struct_size = sizeof(flow)}, found = {0};
    uint64_t cursor = 0;

    while (kvf_engine_flow(engine, &cursor, &flow) == KVF_OK)
        if (flow.peer == peer && flow.dir == dir) {
            must(found.bytes == 0, "a row twice");
            found = flow;
        }
    return found;
}

START_TEST(what_moved_stays_counted_when_its_peer_is_forgotten)
{
    kvf_counters_t before = {.struct_size = sizeof(before)}, after = before;
    kvf_flow_t read, written, gone;
    kvf_op_t ops[3];
    rig_t rig;

    rig_open(&rig, WHERE_TWIN, NULL);
    ops[0] = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    ops[1] = op_plain(rig.me.segment, 8192, rig.remote, 8192, 1000, KVF_READ);
    ops[2] = op_plain(rig.me.segment, 0, rig.remote, 0, 10, KVF_WRITE);
    move(&rig, ops, 3);
    read = row_of(rig.me.engine, rig.peer, KVF_READ);
    written = row_of(rig.me.engine, rig.peer, KVF_WRITE);
    must(read.bytes == 5096 && read.ops == 2 && read.pieces == 2 && read.path == KVF_PATH_SELF, "reads");
    must(written.bytes == 10 && written.ops == 1 && written.locality == KVF_LOCALITY_SELF, "writes");
    must(row_of(rig.me.engine, NULL, KVF_READ).bytes == 0, "nobody was forgotten");
    ok(kvf_engine_counters(rig.me.engine, &before));
    ok(kvf_remote_forget(rig.remote));
    ok(kvf_peer_forget(rig.peer));
    ok(kvf_engine_counters(rig.me.engine, &after));
    must(after.bytes == 5106 && after.bytes == before.bytes && after.ops == before.ops &&
             after.pieces == before.pieces && after.self_bytes == before.self_bytes,
         "%zu bytes are left", (size_t)after.bytes);
    gone = row_of(rig.me.engine, NULL, KVF_READ);
    must(gone.bytes == read.bytes && gone.ops == read.ops && gone.path == KVF_PATH_SELF &&
             gone.locality == KVF_LOCALITY_SELF,
         "the row of the forgotten");
    rig.remote = NULL;
    rig.peer = NULL;
    rig_close(&rig);
}
END_TEST

typedef struct churn {
    kvf_engine_t *engine, *other;
    _Atomic int over;
} churn_t;

static void *come_and_go(void *arg)
{
    churn_t *churn = arg;

    while (!atomic_load(&churn->over))
        ok(kvf_peer_forget(import(churn->engine, churn->other)));
    return NULL;
}

START_TEST(a_list_that_is_read_while_peers_come_and_go)
{
    churn_t churn = {NULL, NULL, 0};
    kvf_counters_t counters = {.struct_size = sizeof(counters)};
    kvf_peer_t *stays[2];
    unsigned times[2];
    pthread_t thread;
    rig_t rig;

    rig_open(&rig, WHERE_TWIN, NULL);
    for (unsigned i = 0; i < 2; i++)
        ok(kvf_engine_open(NULL, &others[i]));
    churn.engine = rig.me.engine;
    churn.other = others[0];
    stays[0] = rig.peer;
    ok(kvf_peer_forget(import(churn.engine, churn.other)));
    stays[1] = import(churn.engine, others[1]);
    must(pthread_create(&thread, NULL, come_and_go, &churn) == 0, "no thread");
    for (int n = 0; n < 300; n++) {
        kvf_op_t op = op_plain(rig.me.segment, 0, rig.remote, 0, 64, KVF_READ);

        move(&rig, &op, 1);
        must(listed(rig.me.engine, stays, 2, times) <= 4 && times[0] == 1 && times[1] == 1, "%u and %u times",
             times[0], times[1]);
        must(row_of(rig.me.engine, rig.peer, KVF_READ).ops == (uint64_t)n + 1, "a row");
        ok(kvf_engine_counters(rig.me.engine, &counters));
        must(counters.bytes == 64 * ((uint64_t)n + 1), "%zu bytes", (size_t)counters.bytes);
    }
    atomic_store(&churn.over, 1);
    pthread_join(thread, NULL);
    rig_close(&rig);
    for (unsigned i = 0; i < 2; i++)
        ok(kvf_engine_close(others[i], patient(5)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("meter");
    TCase *tc = tcase_create("meter");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, peers_that_stay_are_listed_once);
    tcase_add_test(tc, what_moved_stays_counted_when_its_peer_is_forgotten);
    tcase_add_test(tc, a_list_that_is_read_while_peers_come_and_go);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

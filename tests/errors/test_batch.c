/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The errors of the calls on a batch that was posted, and of the exchange. The exchange runs between
 * threads, with an all-gather over a barrier, to show that all members return the same status and
 * the sentence names the first bad rank.
 */
#include "../engine/rig.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

START_TEST(op_status_and_result)
{
    rig_t rig;
    kvf_op_t ops[2];
    kvf_batch_result_t result = {.struct_size = 1};
    kvf_batch_t *batch = NULL;

    rig_open(&rig, WHERE_SELF, NULL);
    ops[0] = op_plain(rig.me.segment, 0, rig.remote, 0, 64, KVF_READ);
    ops[1] = op_plain(rig.me.segment, 64, rig.remote, 0, 64, KVF_READ);
    move(&rig, ops, 2);
    ok(kvf_batch_op_status(rig.batch, 1));
    refused_naming(kvf_batch_op_status(rig.batch, 2), KVF_ERR_INVALID, "2");
    refused(kvf_batch_op_status(rig.batch, SIZE_MAX), KVF_ERR_INVALID, NULL);
    ok(kvf_batch_op_settled(rig.batch, 1));
    refused_naming(kvf_batch_op_settled(rig.batch, 2), KVF_ERR_INVALID, "2");
    refused_naming(kvf_batch_result(rig.batch, NULL), KVF_ERR_INVALID, "result_p");
    refused_naming(kvf_batch_result(rig.batch, &result), KVF_ERR_INVALID, "struct_size");
    refused_naming(kvf_batch_create(rig.me.engine, NULL), KVF_ERR_INVALID, "batch_p");
    ok(kvf_batch_create(rig.me.engine, &batch));
    refused(kvf_batch_op_status(batch, 0), KVF_ERR_INVALID, NULL);
    ok(kvf_batch_free(batch));
    refused_naming(kvf_batch_free(batch), KVF_ERR_INVALID, "batch");
    refused_naming(kvf_batch_test(batch), KVF_ERR_INVALID, "batch");
    refused_naming(kvf_batch_wait(NULL, patient(1)), KVF_ERR_INVALID, "batch");
    refused_naming(kvf_batch_cancel(NULL), KVF_ERR_INVALID, "batch");
    rig_close(&rig);
}
END_TEST

START_TEST(a_notification_needs_a_struct_of_its_size)
{
    rig_t rig;
    kvf_notification_t n = {.struct_size = 1};

    rig_open(&rig, WHERE_SELF, NULL);
    refused_naming(kvf_notify_recv(rig.me.engine, &n), KVF_ERR_INVALID, "struct_size");
    rig_close(&rig);
}
END_TEST

/* Memory that went away behind a registered segment's grant: the peer says FAULT, nobody dies. */

static void at_unmap(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_range_t range = {.len = 65536, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

    (void)in;
    (void)in_len;
    side->extra[0] = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(side->extra[0] != MAP_FAILED, "mmap");
    ok(kvf_segment_register(side->engine, side->extra[0], 65536, &range.segment));
    ok(kvf_grant_create(side->engine, &range, 1, NULL, &side->grant));
    side_grant_blob(side, NULL, 0, out);
    munmap(side->extra[0], 65536);
}

START_TEST(memory_that_went_away_is_a_fault)
{
    rig_t rig;
    uint8_t buf[BLOB_MAX];
    size_t len;
    kvf_remote_t *remote = NULL;
    uint32_t count = 1;
    kvf_op_t op;

    rig_open(&rig, WHERE_CMA, NULL);
    len = rig_call(&rig, at_unmap, NULL, 0, buf, sizeof(buf));
    ok(kvf_remote_import(rig.peer, buf, len, &remote, &count));
    for (uint32_t dir = KVF_READ; dir <= KVF_WRITE; dir++) {
        op = op_plain(rig.me.segment, 0, remote, 0, 4096, dir);
        ok(kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL));
        answers(kvf_batch_wait(rig.batch, patient(5)), KVF_ERR_FAULT);
        answers(kvf_batch_op_status(rig.batch, 0), KVF_ERR_FAULT);
    }
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    move(&rig, &op, 1); /* the other grant works */
    ok(kvf_remote_forget(remote));
    rig_close(&rig);
}
END_TEST

/* ----------------------------------------------------------------- exchange */

#define MEMBERS 3u

typedef struct ring {
    pthread_barrier_t barrier;
    uint8_t *data[MEMBERS];
    int fail_at; /* the gather of this number fails at all; -1: none */
} ring_t;

typedef struct member {
    pthread_t thread;
    ring_t *ring;
    uint32_t rank;
    int gathers;
    kvf_status_t own; /* agree: what it brings */
    kvf_status_t status;
    char sentence[256];
    kvf_engine_t *engine;
    kvf_peer_t *peers[MEMBERS];
    uint32_t grant_ranges; /* grants: ranges that it grants, 0: none */
    uint32_t max_ranges;
    kvf_remote_t *remotes[MEMBERS * 4];
    uint32_t counts[MEMBERS];
    const kvf_engine_opts_t *opts;
} member_t;

static int gather(void *arg, const void *send, void *recv, size_t len)
{
    member_t *m = arg;
    ring_t *ring = m->ring;

    if (m->gathers++ == ring->fail_at) {
        return 5;
    }
    ring->data[m->rank] = malloc(len);
    memcpy(ring->data[m->rank], send, len);
    pthread_barrier_wait(&ring->barrier);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        memcpy((uint8_t *)recv + i * len, ring->data[i], len);
    }
    pthread_barrier_wait(&ring->barrier);
    free(ring->data[m->rank]);
    return 0;
}

static kvf_oob_t oob_of(member_t *m)
{
    kvf_oob_t oob = {
        .struct_size = sizeof(oob), .rank = m->rank, .size = MEMBERS, .allgather = gather, .arg = m};

    return oob;
}

static void members_run(member_t *members, ring_t *ring, void *(*body)(void *))
{
    pthread_barrier_init(&ring->barrier, NULL, MEMBERS);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        members[i].ring = ring;
        members[i].rank = i;
        must(pthread_create(&members[i].thread, NULL, body, &members[i]) == 0, "no thread");
    }
    for (uint32_t i = 0; i < MEMBERS; i++) {
        pthread_join(members[i].thread, NULL);
    }
    pthread_barrier_destroy(&ring->barrier);
}

static void note_sentence(member_t *m)
{
    snprintf(m->sentence, sizeof(m->sentence), "%s", kvf_last_error());
}

static void *agrees(void *arg)
{
    member_t *m = arg;
    kvf_oob_t oob = oob_of(m);

    if (m->own == KVF_ERR_INVALID) { /* it has a sentence of its own */
        kvf_segment_query(NULL, NULL);
    }
    m->status = kvf_exchange_agree(&oob, m->own);
    note_sentence(m);
    return NULL;
}

START_TEST(agree_gives_all_the_worst_and_names_the_first)
{
    ring_t ring = {.fail_at = -1};
    member_t members[MEMBERS];

    memset(members, 0, sizeof(members));
    members_run(members, &ring, agrees);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        must(members[i].status == KVF_OK, "all well: %s", kvf_status_name(members[i].status));
    }
    memset(members, 0, sizeof(members));
    members[1].own = KVF_ERR_INVALID;
    members[2].own = KVF_ERR_INVALID;
    members_run(members, &ring, agrees);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        must(members[i].status == KVF_ERR_INVALID, "%s", kvf_status_name(members[i].status));
        must(strstr(members[i].sentence, "rank 1") != NULL, "\"%s\"", members[i].sentence);
    }
    ring.fail_at = 0;
    memset(members, 0, sizeof(members));
    members_run(members, &ring, agrees);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        must(members[i].status == KVF_ERR_SYSTEM, "%s", kvf_status_name(members[i].status));
    }
}
END_TEST

static void *exchanges(void *arg)
{
    member_t *m = arg;
    kvf_oob_t oob = oob_of(m);
    kvf_grant_t *grant = NULL;
    kvf_segment_t *segment = NULL;
    kvf_range_t ranges[4];

    ok(kvf_engine_open(m->opts, &m->engine));
    m->status = kvf_exchange_peers(m->engine, &oob, m->peers);
    note_sentence(m);
    if (m->status != KVF_OK) {
        return NULL;
    }
    if (m->grant_ranges > 0) {
        memset(ranges, 0, sizeof(ranges));
        ok(kvf_segment_alloc(m->engine, 4096, &segment));
        for (uint32_t i = 0; i < m->grant_ranges; i++) {
            ranges[i].segment = segment;
            ranges[i].len = 64 + i;
            ranges[i].rights = KVF_RIGHT_READ;
        }
        ok(kvf_grant_create(m->engine, ranges, m->grant_ranges, NULL, &grant));
    }
    m->status = kvf_exchange_grants(m->engine, &oob, m->peers, grant, m->max_ranges, m->remotes, m->counts);
    note_sentence(m);
    return NULL;
}

static void members_close(member_t *members)
{
    for (uint32_t i = 0; i < MEMBERS; i++) {
        ok(kvf_engine_close(members[i].engine, patient(5)));
    }
}

START_TEST(exchange_gives_each_the_peers_and_remotes_of_all)
{
    ring_t ring = {.fail_at = -1};
    member_t members[MEMBERS];

    memset(members, 0, sizeof(members));
    for (uint32_t i = 0; i < MEMBERS; i++) {
        members[i].grant_ranges = i; /* rank 0 grants nothing */
        members[i].max_ranges = 4;
    }
    members_run(members, &ring, exchanges);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        must(members[i].status == KVF_OK, "rank %u: %s", i, members[i].sentence);
        for (uint32_t k = 0; k < MEMBERS; k++) {
            kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};

            ok(kvf_peer_query(members[i].peers[k], &attr));
            must(attr.incarnation == kvf_engine_incarnation(members[k].engine), "peer %u", k);
            must(members[i].counts[k] == k, "rank %u granted %u ranges, not %u", k, k, members[i].counts[k]);
            for (uint32_t r = 0; r < k; r++) {
                kvf_remote_attr_t remote = {.struct_size = sizeof(remote)};

                ok(kvf_remote_query(members[i].remotes[k * 4 + r], &remote));
                must(remote.len == 64 + r && remote.peer == members[i].peers[k], "remote %u", r);
            }
        }
    }
    members_close(members);
}
END_TEST

START_TEST(a_member_with_too_many_ranges_fails_all)
{
    ring_t ring = {.fail_at = -1};
    member_t members[MEMBERS];

    memset(members, 0, sizeof(members));
    for (uint32_t i = 0; i < MEMBERS; i++) {
        members[i].grant_ranges = i == 1 ? 3 : 1;
        members[i].max_ranges = 2;
    }
    members_run(members, &ring, exchanges);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        must(members[i].status == KVF_ERR_SPACE, "rank %u: %s (%s)", i, kvf_status_name(members[i].status),
             members[i].sentence);
        must(strstr(members[i].sentence, "rank") != NULL, "\"%s\"", members[i].sentence);
    }
    members_close(members);
}
END_TEST

START_TEST(a_collective_that_fails_fails_all)
{
    for (int at = 0; at < 5; at++) {
        ring_t ring = {.fail_at = at};
        member_t members[MEMBERS];
        int failed = 0;

        memset(members, 0, sizeof(members));
        for (uint32_t i = 0; i < MEMBERS; i++) {
            members[i].grant_ranges = 1;
            members[i].max_ranges = 1;
        }
        members_run(members, &ring, exchanges);
        for (uint32_t i = 0; i < MEMBERS; i++) {
            failed += members[i].status == KVF_ERR_SYSTEM;
            must(members[i].status == members[0].status, "rank %u: %s, rank 0: %s", i,
                 kvf_status_name(members[i].status), kvf_status_name(members[0].status));
        }
        must(failed > 0 || at > 1, "the gather %d failed and nobody said so", at);
        members_close(members);
    }
}
END_TEST

START_TEST(bad_oob_structs_are_named)
{
    kvf_engine_t *engine = NULL;
    kvf_peer_t *peers[2];
    kvf_oob_t oob = {.struct_size = 1};

    ok(kvf_engine_open(NULL, &engine));
    refused_naming(kvf_exchange_peers(engine, NULL, peers), KVF_ERR_INVALID, "oob");
    refused_naming(kvf_exchange_peers(engine, &oob, peers), KVF_ERR_INVALID, "struct_size");
    oob.struct_size = sizeof(oob);
    oob.size = 1;
    refused_naming(kvf_exchange_peers(engine, &oob, peers), KVF_ERR_INVALID, "allgather");
    oob.allgather = gather;
    oob.rank = 1;
    refused_naming(kvf_exchange_peers(engine, &oob, peers), KVF_ERR_INVALID, "rank");
    oob.rank = 0;
    oob.size = 0;
    refused_naming(kvf_exchange_peers(engine, &oob, peers), KVF_ERR_INVALID, "rank 0 of 0");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("errors of batch and exchange");
    TCase *tc = tcase_create("batch");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, op_status_and_result);
    tcase_add_test(tc, a_notification_needs_a_struct_of_its_size);
    tcase_add_test(tc, memory_that_went_away_is_a_fault);
    tcase_add_test(tc, agree_gives_all_the_worst_and_names_the_first);
    tcase_add_test(tc, exchange_gives_each_the_peers_and_remotes_of_all);
    tcase_add_test(tc, a_member_with_too_many_ranges_fails_all);
    tcase_add_test(tc, a_collective_that_fails_fails_all);
    tcase_add_test(tc, bad_oob_structs_are_named);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The errors of peers and remotes: what an import refuses and says. Damaged blobs have their own
 * program (engine/test_blobs).
 */
#include "../engine/rig.h"

#include <check.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

START_TEST(a_far_peer_without_an_address_needs_one)
{
    rig_t rig;
    uint8_t buf[BLOB_MAX];
    uint32_t flags = 0;
    size_t len;
    kvf_peer_t *peer = NULL;

    rig_open(&rig, WHERE_AM, NULL);
    far_stands(rig.me.engine, rig.peer, &rig.owner);
    ok(kvf_remote_forget(rig.remote));
    ok(kvf_peer_forget(rig.peer));
    len = rig_call(&rig, side_blob, &flags, sizeof(flags), buf, sizeof(buf));
    refused_naming(kvf_peer_import(rig.me.engine, buf, len, &peer), KVF_ERR_NEED_FAR, "far address");
    must(peer == NULL, "an output of a failure");
    flags = KVF_BLOB_FAR;
    len = rig_call(&rig, side_blob, &flags, sizeof(flags), buf, sizeof(buf));
    ok(kvf_peer_import(rig.me.engine, buf, len, &peer));
    proc_signal(&rig.owner, SIGKILL);
    ok(kvf_engine_close(rig.me.engine, patient(5)));
}
END_TEST

/* Each engine that knows a near one has a seat in its page. */
START_TEST(no_seat_is_left_at_a_near_peer)
{
    enum {
        SEATS = 256
    };
    static kvf_engine_t *engines[SEATS + 1];
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .notify_depth = 1};
    kvf_engine_t *owner = NULL;
    kvf_peer_t *peer = NULL;
    kvf_peer_t *first = NULL;
    uint8_t buf[BLOB_MAX];
    size_t len;
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 16384) {
        return; /* each engine has about 20 descriptors */
    }
    ok(kvf_engine_open(&opts, &owner));
    engine_blob(owner, 0, buf, &len);
    for (int i = 0; i <= SEATS; i++) {
        ok(kvf_engine_open(&opts, &engines[i]));
    }
    for (int i = 0; i < SEATS; i++) {
        ok(kvf_peer_import(engines[i], buf, len, &peer));
        first = i == 0 ? peer : first;
    }
    peer = NULL;
    refused_naming(kvf_peer_import(engines[SEATS], buf, len, &peer), KVF_ERR_NOMEM, "256");
    must(peer == NULL, "an output of a failure");
    ok(kvf_peer_forget(first)); /* makes room */
    ok(kvf_peer_import(engines[SEATS], buf, len, &peer));
    for (int i = 0; i <= SEATS; i++) {
        ok(kvf_engine_close(engines[i], patient(1)));
    }
    ok(kvf_engine_close(owner, patient(1)));
}
END_TEST

START_TEST(import_arguments)
{
    rig_t rig;
    uint8_t buf[BLOB_MAX];
    size_t len;
    kvf_peer_t *peer = NULL;
    kvf_remote_t *remote = NULL;
    uint32_t count = 1;

    rig_open(&rig, WHERE_SELF, NULL);
    engine_blob(rig.me.engine, 0, buf, &len);
    refused_naming(kvf_peer_import(rig.me.engine, buf, len, NULL), KVF_ERR_INVALID, "peer_p");
    refused_naming(kvf_peer_import(NULL, buf, len, &peer), KVF_ERR_INVALID, "engine");
    refused(kvf_peer_import(rig.me.engine, "hello", 5, &peer), KVF_ERR_BLOB, NULL);
    refused_naming(kvf_remote_import(rig.peer, buf, len, &remote, &count), KVF_ERR_BLOB,
                   "an engine's blob|kvf_remote_import() takes that of kvf_grant_export()");
    refused_naming(kvf_remote_import(rig.peer, NULL, len, &remote, &count), KVF_ERR_BLOB, "blob is NULL");
    refused_naming(kvf_peer_import(rig.me.engine, NULL, 64, &peer), KVF_ERR_BLOB, "blob is NULL");
    grant_blob(rig.here.grant, buf, &len);
    refused_naming(kvf_peer_import(rig.me.engine, buf, len, &peer), KVF_ERR_BLOB,
                   "a grant's blob|kvf_peer_import() takes that of kvf_engine_export()");
    refused_naming(kvf_remote_import(rig.peer, buf, len, NULL, &count), KVF_ERR_INVALID, "remotes_p");
    refused_naming(kvf_remote_import(rig.peer, buf, len, &remote, NULL), KVF_ERR_INVALID, "count_p");
    refused_naming(kvf_remote_import(NULL, buf, len, &remote, &count), KVF_ERR_INVALID, "peer");
    must(peer == NULL && remote == NULL, "an output of a failure");
    rig_close(&rig);
}
END_TEST

START_TEST(an_array_too_small_for_the_remotes)
{
    rig_t rig;
    uint8_t buf[BLOB_MAX];
    size_t len;
    kvf_range_t ranges[3];
    kvf_grant_t *grant = NULL;
    kvf_remote_t *remotes[3] = {NULL};
    kvf_remote_attr_t attr = {.struct_size = sizeof(attr)};
    uint32_t count = 2;

    rig_open(&rig, WHERE_SELF, NULL);
    memset(ranges, 0, sizeof(ranges));
    for (uint32_t i = 0; i < 3; i++) {
        ranges[i].segment = rig.here.segment;
        ranges[i].off = i * 1000;
        ranges[i].len = 100 + i;
        ranges[i].rights = i == 2 ? KVF_RIGHT_WRITE : KVF_RIGHT_READ;
    }
    ok(kvf_grant_create(rig.me.engine, ranges, 3, NULL, &grant));
    grant_blob(grant, buf, &len);
    refused_naming(kvf_remote_import(rig.peer, buf, len, remotes, &count), KVF_ERR_SPACE, "3");
    must(count == 3, "the need is 3, not %u", count);
    must(remotes[0] == NULL && remotes[1] == NULL, "an output of a failure");
    ok(kvf_remote_import(rig.peer, buf, len, remotes, &count));
    for (uint32_t i = 0; i < 3; i++) {
        ok(kvf_remote_query(remotes[i], &attr));
        must(attr.len == 100 + i && attr.rights == ranges[i].rights && attr.peer == rig.peer &&
                 attr.guarded == 0,
             "remote %u", i);
    }
    refused_naming(kvf_remote_query(remotes[0], NULL), KVF_ERR_INVALID, "attr_p");
    attr.struct_size = 0;
    refused_naming(kvf_remote_query(remotes[0], &attr), KVF_ERR_INVALID, "struct_size");
    for (uint32_t i = 0; i < 3; i++) {
        ok(kvf_remote_forget(remotes[i]));
        refused_naming(kvf_remote_forget(remotes[i]), KVF_ERR_INVALID, "remote");
    }
    rig_close(&rig);
}
END_TEST

/* The child grants to a peer that is not us. */
static void at_grant_to_itself(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_peer_t *self = NULL;
    kvf_range_t range = {.segment = side->segment, .len = 64, .rights = KVF_RIGHT_READ};
    uint8_t buf[BLOB_MAX];
    size_t len;

    (void)in;
    (void)in_len;
    engine_blob(side->engine, 0, buf, &len);
    ok(kvf_peer_import(side->engine, buf, len, &self));
    ok(kvf_grant_create(side->engine, &range, 1, self, &side->grant));
    grant_blob(side->grant, buf, &len);
    out_put(out, buf, len);
}

/* ... and to us: peer[0]. */
static void at_grant_to_caller(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_range_t range = {.segment = side->segment, .len = 64, .rights = KVF_RIGHT_READ};
    uint8_t buf[BLOB_MAX];
    size_t len;

    (void)in;
    (void)in_len;
    ok(kvf_grant_create(side->engine, &range, 1, side->peer[0], &side->grant));
    grant_blob(side->grant, buf, &len);
    out_put(out, buf, len);
}

START_TEST(a_grant_to_another_engine_is_refused)
{
    rig_t rig;
    uint8_t buf[BLOB_MAX];
    size_t len;
    kvf_remote_t *remote = NULL;
    uint32_t count = 1;

    rig_open(&rig, (where_t)_i, NULL);
    len = rig_call(&rig, at_grant_to_itself, NULL, 0, buf, sizeof(buf));
    refused(kvf_remote_import(rig.peer, buf, len, &remote, &count), KVF_ERR_PERM, NULL);
    must(remote == NULL, "an output of a failure");
    len = rig_call(&rig, at_grant_to_caller, NULL, 0, buf, sizeof(buf));
    ok(kvf_remote_import(rig.peer, buf, len, &remote, &count));
    ok(kvf_remote_forget(remote));
    rig_close(&rig);
}
END_TEST

START_TEST(a_grant_of_another_peer_is_stale)
{
    rig_t rig;
    uint8_t buf[BLOB_MAX];
    size_t len;
    kvf_grant_t *grant = NULL;
    kvf_range_t range = {.len = 64, .rights = KVF_RIGHT_READ};
    kvf_remote_t *remote = NULL;
    uint32_t count = 1;

    rig_open(&rig, (where_t)_i, NULL);
    range.segment = rig.me.segment;
    ok(kvf_grant_create(rig.me.engine, &range, 1, NULL, &grant)); /* our own, not the peer's */
    grant_blob(grant, buf, &len);
    refused(kvf_remote_import(rig.peer, buf, len, &remote, &count), KVF_ERR_STALE, NULL);
    ok(kvf_grant_revoke(grant, patient(1)));
    rig_close(&rig);
}
END_TEST

START_TEST(a_dead_peer_cannot_be_imported)
{
    rig_t rig;
    uint8_t blob[BLOB_MAX];
    uint8_t grant[BLOB_MAX];
    size_t blob_len;
    size_t grant_len;
    uint32_t flags = 0;
    kvf_peer_t *peer = NULL;
    kvf_remote_t *remote = NULL;
    uint32_t count = 1;

    rig_open(&rig, (where_t)_i, NULL);
    blob_len = rig_call(&rig, side_blob, &flags, sizeof(flags), blob, sizeof(blob));
    grant_len = rig_call(&rig, side_grant_blob, NULL, 0, grant, sizeof(grant));
    ok(kvf_remote_forget(rig.remote));
    proc_signal(&rig.owner, SIGKILL);
    sleep_ms(1100);
    refused(kvf_remote_import(rig.peer, grant, grant_len, &remote, &count), KVF_ERR_PEER, NULL);
    ok(kvf_peer_forget(rig.peer));
    refused_naming(kvf_peer_import(rig.me.engine, blob, blob_len, &peer), KVF_ERR_PEER, "has died");
    must(peer == NULL, "an output of a failure");
    ok(kvf_batch_free(rig.batch));
    ok(kvf_engine_close(rig.me.engine, patient(5)));
}
END_TEST

START_TEST(query_and_forget_of_bad_handles)
{
    rig_t rig;
    kvf_peer_attr_t attr = {.struct_size = 2};
    kvf_path_t path;

    rig_open(&rig, WHERE_SELF, NULL);
    refused_naming(kvf_peer_query(rig.peer, NULL), KVF_ERR_INVALID, "attr_p");
    refused_naming(kvf_peer_query(rig.peer, &attr), KVF_ERR_INVALID, "struct_size");
    refused_naming(kvf_peer_query(NULL, &attr), KVF_ERR_INVALID, "peer");
    refused_naming(kvf_path_of(NULL, rig.remote, 0, &path), KVF_ERR_INVALID, "segment");
    refused_naming(kvf_path_of(rig.me.segment, NULL, 0, &path), KVF_ERR_INVALID, "remote");
    refused_naming(kvf_path_of(rig.me.segment, rig.remote, 0, NULL), KVF_ERR_INVALID, "path_p");
    rig_close(&rig);
}
END_TEST

START_TEST(only_of_a_far_peer_it_is_told_why)
{
    rig_t rig;
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};

    rig_open(&rig, (where_t)_i, NULL);
    ok(kvf_peer_query(rig.peer, &attr));
    must(attr.why_far != NULL, "locality %u", attr.locality);
    must((attr.why_far[0] != '\0') == (attr.locality == KVF_LOCALITY_CROSS), "locality %u: \"%s\"",
         attr.locality, attr.why_far);
    rig_close(&rig);
}
END_TEST

START_TEST(path_of_handles_of_different_engines)
{
    rig_t rig;
    kvf_path_t path;

    rig_open(&rig, WHERE_TWIN, NULL);
    refused(kvf_path_of(rig.here.segment, rig.remote, 0, &path), KVF_ERR_INVALID, NULL);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("errors of peers");
    TCase *tc = tcase_create("peers");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_far_peer_without_an_address_needs_one);
    tcase_add_test(tc, no_seat_is_left_at_a_near_peer);
    tcase_add_test(tc, import_arguments);
    tcase_add_test(tc, an_array_too_small_for_the_remotes);
    tcase_add_loop_test(tc, a_grant_to_another_engine_is_refused, WHERE_TWIN, WHERE_COUNT);
    tcase_add_loop_test(tc, a_grant_of_another_peer_is_stale, WHERE_TWIN, WHERE_COUNT);
    tcase_add_loop_test(tc, a_dead_peer_cannot_be_imported, WHERE_SHM, WHERE_AM);
    tcase_add_test(tc, query_and_forget_of_bad_handles);
    tcase_add_loop_test(tc, only_of_a_far_peer_it_is_told_why, WHERE_SELF, WHERE_COUNT);
    tcase_add_test(tc, path_of_handles_of_different_engines);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

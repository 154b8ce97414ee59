/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which path serves what, and why not: the near paths whatever the wire is, the mask, the refusal
 * that gives a reason for each path, and a kernel that forbids cross-memory attach (by a seccomp
 * filter, as container profiles do; the answer is EPERM or ENOSYS).
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "forbid.h"

START_TEST(near_peers_go_near_whatever_the_wire_is)
{
    static const char *const nets[] = {"tcp", "auto", NULL};
    where_t where = WHERE_SELF + _i % WHERE_AM;
    rig_opts_t opts = {.net = nets[_i / WHERE_AM]};
    rig_t rig;
    kvf_path_t path;
    kvf_op_t op;
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_counters_t counters = {.struct_size = sizeof(counters)};
    kvf_flow_t moved[KVF_PATH_COUNT], *on = &moved[where_path(where)];

    rig_open(&rig, where, &opts);
    owner_fill(&rig, 1);
    ok(kvf_path_of(rig.me.segment, rig.remote, 0, &path));
    must(path == where_path(where), "%s", kvf_path_name(path));
    ok(kvf_peer_query(rig.peer, &attr));
    must(attr.locality == (where <= WHERE_TWIN ? KVF_LOCALITY_SELF : KVF_LOCALITY_NODE), "locality %u",
         attr.locality);
    must(attr.alive != 0, "it is alive");
    must(where <= WHERE_TWIN || attr.pid == rig.owner.pid, "pid %d", attr.pid);
    must(attr.rank == (where == WHERE_SELF ? 1 : 2), "rank %zu", (size_t)attr.rank);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 1 << 20, KVF_READ);
    move(&rig, &op, 1);
    op.dir = KVF_WRITE;
    op.len = 4096;
    move(&rig, &op, 1);
    ok(kvf_engine_counters(rig.me.engine, &counters));
    moved_by_path(rig.me.engine, moved);
    for (int i = 0; i < KVF_PATH_COUNT; i++) {
        must((moved[i].bytes > 0) == (i == (int)where_path(where)), "bytes on %s",
             kvf_path_name((kvf_path_t)i));
    }
    must(on->bytes == (1 << 20) + 4096 && counters.bytes == on->bytes, "the path's bytes");
    must(on->ops == 2 && counters.ops == 2 && counters.batches == 2, "ops, batches");
    must((attr.locality == KVF_LOCALITY_SELF ? counters.self_bytes : counters.node_bytes) == on->bytes &&
             counters.self_bytes + counters.node_bytes + counters.cross_bytes == on->bytes,
         "the locality's bytes");
    must((on->calls > 0) == (where >= WHERE_CMA) && counters.calls == on->calls, "calls");
    must(on->pieces == counters.pieces, "pieces");
    ok(kvf_peer_query(rig.peer, &attr));
    must(attr.bytes_read == 1 << 20 && attr.bytes_written == 4096, "the peer's bytes");
    rig_close(&rig);
}
END_TEST

/* A network namespace of its own: no interface but lo, and that is down. */
START_TEST(near_peers_need_no_network_at_all)
{
    static const char *const nets[] = {"tcp", "auto"};
    rig_opts_t opts = {.net = nets[_i & 1]};
    rig_t rig;
    kvf_op_t op;

    if (unshare(CLONE_NEWNET) != 0) {
        return; /* not ours to make */
    }
    rig_open(&rig, (where_t)(_i / 2), &opts);
    owner_fill(&rig, 1);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 1 << 20, KVF_READ);
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, 1 << 20, 1) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

START_TEST(a_far_peer_goes_over_am)
{
    rig_t rig;
    kvf_path_t path;
    kvf_op_t op;
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_counters_t counters = {.struct_size = sizeof(counters)};
    kvf_flow_t moved[KVF_PATH_COUNT];

    rig_open(&rig, WHERE_AM, NULL);
    ok(kvf_path_of(rig.me.segment, rig.remote, 0, &path));
    must(path == KVF_PATH_AM, "%s", kvf_path_name(path));
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 1 << 20, KVF_READ);
    move(&rig, &op, 1);
    ok(kvf_peer_query(rig.peer, &attr));
    must(attr.locality == KVF_LOCALITY_CROSS, "locality %u", attr.locality);
    must(strncmp(attr.wire, "tcp", 3) == 0, "wire \"%s\"", attr.wire);
    must(attr.bytes_read == 1 << 20, "%zu bytes", (size_t)attr.bytes_read);
    ok(kvf_engine_counters(rig.me.engine, &counters));
    moved_by_path(rig.me.engine, moved);
    must(moved[KVF_PATH_AM].bytes == 1 << 20, "the path's bytes");
    must(counters.cross_bytes == 1 << 20 && counters.bytes == 1 << 20, "the locality's bytes");
    rig_close(&rig);
}
END_TEST

/* Each path that could serve it is forbidden: refused before a byte moves, with all reasons. */
START_TEST(a_mask_that_leaves_no_path_is_refused_with_every_reason)
{
    static const char *const names[] = {"self", "shm", "cma", "stage", "am"};
    rig_t rig;
    kvf_op_t ops[2];
    kvf_path_t path = KVF_PATH_NONE;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts)};

    rig_open(&rig, (where_t)_i, NULL);
    owner_fill(&rig, 1);
    pattern_fill(rig.me.mem, rig.me.len, 2);
    opts.paths = _i == WHERE_AM ? KVF_PATHS_LOCAL : KVF_PATH_BIT(KVF_PATH_RMA);
    ops[0] = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    ops[1] = op_plain(rig.me.segment, 8192, rig.remote, 0, 4096, KVF_READ);
    refused_naming(kvf_batch_post(rig.batch, ops, 2, sizeof(ops[0]), &opts), KVF_ERR_NO_PATH, "op 0");
    for (int i = 0; i < 5; i++) {
        must(strstr(kvf_last_error(), names[i]) != NULL, "no reason for %s in \"%s\"", names[i],
             kvf_last_error());
    }
    must(pattern_compare(rig.me.mem, rig.me.len, 2) == UINT64_MAX, "a refused batch moved bytes");
    refused(kvf_path_of(rig.me.segment, rig.remote, opts.paths, &path), KVF_ERR_NO_PATH, NULL);
    for (int i = 0; i < 5; i++) {
        must(strstr(kvf_last_error(), names[i]) != NULL, "no reason for %s in \"%s\"", names[i],
             kvf_last_error());
    }
    must(path == KVF_PATH_NONE, "an output of a failure");
    opts.paths = KVF_PATH_BIT(where_path(rig.where));
    ok(run_ops(rig.batch, ops, 2, &opts));
    rig_close(&rig);
}
END_TEST

START_TEST(an_unknown_bit_in_a_mask_is_refused)
{
    rig_t rig;
    kvf_op_t op;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .paths = UINT32_C(1) << 30};

    rig_open(&rig, WHERE_SELF, NULL);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    refused_naming(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &opts), KVF_ERR_INVALID, "paths");
    rig_close(&rig);
}
END_TEST

START_TEST(path_check_says_yes_or_why_not)
{
    int cma = cma_works();
    rig_t rig;

    rig_open(&rig, WHERE_SELF, NULL);
    ok(kvf_engine_path_check(rig.me.engine, KVF_PATH_SELF));
    ok(kvf_engine_path_check(rig.me.engine, KVF_PATH_SHM));
    answers(kvf_engine_path_check(rig.me.engine, KVF_PATH_CMA), cma ? KVF_OK : KVF_ERR_UNSUPPORTED);
    ok(kvf_engine_path_check(rig.me.engine, KVF_PATH_AM));
    ok(kvf_engine_path_check(rig.me.engine, KVF_PATH_STAGE));
    refused(kvf_engine_path_check(rig.me.engine, KVF_PATH_CUDA_IPC), KVF_ERR_UNSUPPORTED, NULL);
    refused(kvf_engine_path_check(rig.me.engine, KVF_PATH_CUDA_COPY), KVF_ERR_UNSUPPORTED, NULL);
    refused(kvf_engine_path_check(rig.me.engine, KVF_PATH_RMA), KVF_ERR_UNSUPPORTED, NULL);
    refused(kvf_engine_path_check(rig.me.engine, KVF_PATH_NONE), KVF_ERR_INVALID, NULL);
    refused(kvf_engine_path_check(rig.me.engine, KVF_PATH_COUNT), KVF_ERR_INVALID, NULL);
    rig_close(&rig);
}
END_TEST

/* local = OFF makes every other process far, but never this one. */
START_TEST(local_off_is_far_for_others_and_self_for_oneself)
{
    kvf_engine_t *engine = NULL;
    kvf_engine_opts_t opts;
    kvf_peer_t *peer = NULL;
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    uint8_t buf[BLOB_MAX];
    size_t len;

    where_opts(WHERE_AM, &opts);
    ok(kvf_engine_open(&opts, &engine));
    engine_blob(engine, 0, buf, &len);
    ok(kvf_peer_import(engine, buf, len, &peer));
    ok(kvf_peer_query(peer, &attr));
    must(attr.locality == KVF_LOCALITY_SELF, "locality %u", attr.locality);
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

/* --------------------------------------------------------- a forbidden call */

START_TEST(a_forbidden_cross_memory_call_is_named)
{
    static const int errors[] = {EPERM, ENOSYS};
    kvf_batch_opts_t only_cma = {.struct_size = sizeof(only_cma), .paths = KVF_PATH_BIT(KVF_PATH_CMA)};
    rig_t rig;
    kvf_op_t op;
    kvf_path_t path;

    if (!forbid_works()) {
        return;
    }
    rig_fork(&rig, WHERE_CMA, NULL); /* the owner may still call */
    must(forbid_cma(errors[_i]) == 0, "seccomp: %s", strerror(errno));
    rig_join(&rig);
    refused_naming(kvf_path_of(rig.me.segment, rig.remote, only_cma.paths, &path), KVF_ERR_NO_PATH,
                   "cma|process_vm_readv");
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    refused_naming(kvf_batch_post(rig.batch, &op, 1, sizeof(op), &only_cma), KVF_ERR_NO_PATH,
                   "op 0|cma|process_vm_readv");
    refused_naming(kvf_engine_path_check(rig.me.engine, KVF_PATH_CMA), KVF_ERR_UNSUPPORTED,
                   "process_vm_readv");
    rig_close(&rig);
}
END_TEST

START_TEST(shared_memory_works_where_cross_memory_calls_are_forbidden)
{
    rig_t rig;
    kvf_op_t op;

    if (!forbid_works()) {
        return;
    }
    rig_fork(&rig, WHERE_SHM, NULL);
    must(forbid_cma(EPERM) == 0, "seccomp: %s", strerror(errno));
    rig_join(&rig);
    owner_fill(&rig, 3);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 1 << 20, KVF_READ);
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, 1 << 20, 3) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

/* Without pidfd_open the death of a near peer is still seen. */
START_TEST(a_dead_peer_is_seen_without_pidfd_open)
{
    static const long call[] = {SYS_pidfd_open};
    rig_t rig;
    kvf_op_t op;
    kvf_status_t status;

    if (!forbid_works()) {
        return;
    }
    rig_fork(&rig, (where_t)(WHERE_SHM + _i % 2), NULL);
    must(forbid(call, 1, _i / 2 == 0 ? EPERM : ENOSYS) == 0, "seccomp: %s", strerror(errno));
    rig_join(&rig);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 4096, KVF_READ);
    move(&rig, &op, 1);
    proc_signal(&rig.owner, SIGKILL);
    sleep_ms(1200);
    status = kvf_batch_post(rig.batch, &op, 1, sizeof(op), NULL);
    must(status == KVF_ERR_PEER, "%s", kvf_status_name(status));
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("paths");
    TCase *tc = tcase_create("paths");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, near_peers_go_near_whatever_the_wire_is, 0, 3 * WHERE_AM);
    tcase_add_loop_test(tc, near_peers_need_no_network_at_all, 0, 2 * WHERE_AM);
    tcase_add_test(tc, a_far_peer_goes_over_am);
    tcase_add_loop_test(tc, a_mask_that_leaves_no_path_is_refused_with_every_reason, 0, WHERE_COUNT);
    tcase_add_test(tc, an_unknown_bit_in_a_mask_is_refused);
    tcase_add_test(tc, path_check_says_yes_or_why_not);
    tcase_add_test(tc, local_off_is_far_for_others_and_self_for_oneself);
    tcase_add_loop_test(tc, a_forbidden_cross_memory_call_is_named, 0, 2);
    tcase_add_test(tc, shared_memory_works_where_cross_memory_calls_are_forbidden);
    tcase_add_loop_test(tc, a_dead_peer_is_seen_without_pidfd_open, 0, 4);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Far peers at the moments when a connection comes up or ends: an owner that sleeps until its first client
 * comes, one that closes just then, and one that forks.
 */
#include "rig.h"

#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN 4096u

/* At the owner: sleeps as kvf_engine_arm() says, until a peer has written its last byte. */
static void serve_asleep(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    volatile uint8_t *last = side->mem + LEN - 1;
    struct pollfd fd = {.events = POLLIN};
    kvf_status_t status;

    (void)in, (void)in_len, (void)out;
    ok(kvf_engine_fd(side->engine, &fd.fd));
    while (*last == 0) {
        ok(kvf_progress(side->engine));
        status = kvf_engine_arm(side->engine);
        if (status == KVF_ERR_BUSY)
            continue;
        ok(status);
        must(*last != 0 || poll(&fd, 1, (int)(patient(10) / MS)) > 0, "nothing wakes the owner");
    }
}

static void open_owner(proc_t *owner, uint32_t progress)
{
    side_open_t open = {.net = "tcp"};
    side_mem_t mem = {.len = LEN, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

    where_opts(WHERE_AM, &open.opts);
    open.opts.net = NULL;
    open.opts.progress = progress;
    proc_call(owner, side_open_engine, &open, sizeof(open), NULL, 0);
    proc_call(owner, side_make_memory, &mem, sizeof(mem), NULL, 0);
}

static kvf_engine_t *open_here(void)
{
    kvf_engine_opts_t opts;
    kvf_engine_t *engine;

    where_opts(WHERE_AM, &opts);
    ok(kvf_engine_open(&opts, &engine));
    return engine;
}

/* A client's whole life: connects, reads, writes one byte and goes. */
static void visit(const void *blob, size_t blob_len, const void *grant, size_t grant_len, uint64_t off)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = patient(4)};
    kvf_engine_t *engine = open_here();
    uint8_t mem[LEN];
    kvf_segment_t *segment;
    kvf_remote_t *remote;
    kvf_batch_t *batch;
    kvf_peer_t *peer;
    uint32_t count = 1;
    kvf_op_t op;

    ok(kvf_segment_register(engine, mem, sizeof(mem), &segment));
    ok(kvf_peer_import(engine, blob, blob_len, &peer));
    ok(kvf_remote_import(peer, grant, grant_len, &remote, &count));
    ok(kvf_batch_create(engine, &batch));
    op = op_plain(segment, 0, remote, 0, LEN, KVF_READ);
    ok(run_ops(batch, &op, 1, &opts));
    memset(mem, 7, sizeof(mem));
    op = op_plain(segment, 0, remote, off, 1, KVF_WRITE);
    ok(run_ops(batch, &op, 1, &opts));
    ok(kvf_engine_close(engine, patient(5)));
}

START_TEST(a_sleeping_owner_hears_who_connects)
{
    uint8_t blob[BLOB_MAX], grant[BLOB_MAX];
    uint32_t flags = KVF_BLOB_FAR;
    size_t blob_len, grant_len;
    proc_t owner;

    proc_start(&owner, sizeof(side_t), 60, side_idle);
    open_owner(&owner, KVF_PROGRESS_CALLER);
    blob_len = proc_call(&owner, side_blob, &flags, sizeof(flags), blob, sizeof(blob));
    grant_len = proc_call(&owner, side_grant_blob, NULL, 0, grant, sizeof(grant));
    proc_ask(&owner, serve_asleep, NULL, 0);
    sleep_ms(50);
    visit(blob, blob_len, grant, grant_len, 0);
    visit(blob, blob_len, grant, grant_len, LEN - 1);
    proc_reply(&owner, NULL, 0);
    proc_call(&owner, side_close, NULL, 0, NULL, 0);
    proc_end(&owner);
}
END_TEST

/* At the owner: closes after so many microseconds. */
static void close_soon(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    uint64_t end = now_ns() + *(const uint32_t *)in * UINT64_C(1000);

    (void)in_len, (void)out;
    while (now_ns() < end)
        ;
    side_close(state, NULL, 0, NULL);
}

START_TEST(who_closes_as_a_peer_connects_lives)
{
    uint8_t blob[BLOB_MAX];
    uint32_t flags = KVF_BLOB_FAR;
    proc_t owner;

    proc_start(&owner, sizeof(side_t), 60, side_idle);
    for (uint32_t round = 0; round < 10; round++) {
        uint32_t after_us = round * 300;
        kvf_engine_t *engine;
        kvf_status_t status;
        kvf_peer_t *peer;
        size_t len;

        open_owner(&owner, KVF_PROGRESS_THREAD);
        len = proc_call(&owner, side_blob, &flags, sizeof(flags), blob, sizeof(blob));
        engine = open_here();
        proc_ask(&owner, close_soon, &after_us, sizeof(after_us));
        status = kvf_peer_import(engine, blob, len, &peer);
        must(status == KVF_OK || status == KVF_ERR_PEER || status == KVF_ERR_SYSTEM, "%s: %s",
             kvf_status_name(status), kvf_last_error());
        proc_reply(&owner, NULL, 0);
        ok(kvf_engine_close(engine, patient(5)));
    }
    proc_end(&owner);
}
END_TEST

/* The port where UCX listens, asked for with 0; else 1 if this process has a socket of that port. */
static int find_port(int port)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_in at;
        socklen_t len = sizeof(at), one = sizeof(int);
        int listens = 0;

        if (getsockname(fd, (struct sockaddr *)&at, &len) != 0 || at.sin_family != AF_INET)
            continue;
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &one);
        if (port == 0 ? listens : at.sin_port == port)
            return port == 0 ? at.sin_port : 1;
    }
    return 0;
}

/* At the owner: forks over and over, until a peer has written its last byte. */
static void fork_and_look(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    volatile uint8_t *last = side->mem + LEN - 1;
    int held = 0, forks = 0, port = find_port(0), status;
    pid_t pid;

    (void)in, (void)in_len, (void)out;
    must(port != 0, "UCX listens nowhere");
    while (*last == 0) {
        pid = fork();
        if (pid == 0)
            _exit(find_port(port));
        must(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status), "fork");
        held += WEXITSTATUS(status);
        forks++;
    }
    must(held == 0, "%d of %d children hold a connection", held, forks);
}

START_TEST(a_child_holds_no_connection_that_was_just_accepted)
{
    uint8_t blob[BLOB_MAX], grant[BLOB_MAX];
    uint32_t flags = KVF_BLOB_FAR;
    size_t blob_len, grant_len;
    proc_t owner;

    proc_start(&owner, sizeof(side_t), 60, side_idle);
    open_owner(&owner, KVF_PROGRESS_THREAD);
    blob_len = proc_call(&owner, side_blob, &flags, sizeof(flags), blob, sizeof(blob));
    grant_len = proc_call(&owner, side_grant_blob, NULL, 0, grant, sizeof(grant));
    proc_ask(&owner, fork_and_look, NULL, 0);
    for (int i = 0; i < 6; i++)
        visit(blob, blob_len, grant, grant_len, i < 5 ? 0 : LEN - 1);
    proc_reply(&owner, NULL, 0);
    proc_call(&owner, side_close, NULL, 0, NULL, 0);
    proc_end(&owner);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("far");
    TCase *all = tcase_create("all");

    tcase_set_timeout(all, 60);
    tcase_add_test(all, a_sleeping_owner_hears_who_connects);
    tcase_add_test(all, who_closes_as_a_peer_connects_lives);
    tcase_add_test(all, a_child_holds_no_connection_that_was_just_accepted);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}

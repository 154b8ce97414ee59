/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The other side of what the programs of bench/ measure: owner.h says what. A child tells its blobs
 * through a pipe, and sleeps in a read of another one until that is closed.
 */
#include "owner.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void ok(const owner_t *owner, kvf_status_t status, const char *what)
{
    if (status == KVF_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", owner->program, what, kvf_last_error());
    exit(1);
}

static void grant(owner_t *owner, uint64_t len)
{
    kvf_range_t range = {.len = len, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

    if (owner->kind == OWNER_PRIVATE)
        ok(owner, kvf_segment_register(owner->engine, calloc(1, len), len, &range.segment), "register");
    else
        ok(owner, kvf_segment_alloc(owner->engine, len, &range.segment), "alloc");
    ok(owner, kvf_grant_create(owner->engine, &range, 1, NULL, &owner->grant), "grant");
    owner->segment = range.segment;
    owner->len[0] = owner->len[1] = BLOB_MAX;
    ok(owner,
       kvf_engine_export(owner->engine, owner->kind == OWNER_FAR ? KVF_BLOB_FAR : 0, owner->blob[0],
                         &owner->len[0]),
       "export");
    ok(owner, kvf_grant_export(owner->grant, owner->blob[1], &owner->len[1]), "export of the grant");
}

void owner_here(owner_t *owner, const char *program, kvf_engine_t *engine, uint64_t len)
{
    owner->program = program;
    owner->kind = OWNER_SHARED;
    owner->engine = engine;
    owner->hold = -1;
    grant(owner, len);
}

static void child_main(owner_t *owner, uint64_t len, int from, int to)
{
    kvf_engine_opts_t opts = {.struct_size = sizeof opts,
                              .local = owner->kind == OWNER_FAR ? KVF_SWITCH_OFF : KVF_SWITCH_DEFAULT};
    char end;

    ok(owner, kvf_engine_open(&opts, &owner->engine), "open");
    grant(owner, len);
    for (size_t put = 0; put < sizeof *owner;) {
        ssize_t n = write(to, (char *)owner + put, sizeof *owner - put);

        if (n <= 0)
            exit(1);
        put += (size_t)n;
    }
    if (read(from, &end, 1) < 0)
        exit(1);
    exit(kvf_engine_close(owner->engine, 1000000000) == KVF_OK ? 0 : 1);
}

void owner_fork(owner_t *owner, const char *program, uint64_t len, owner_kind_t kind)
{
    int to[2], from[2];
    pid_t pid;

    owner->program = program;
    owner->kind = kind;
    if (pipe(to) || pipe(from) || (pid = fork()) < 0) {
        perror(program);
        exit(1);
    }
    if (pid == 0) {
        close(to[1]);
        close(from[0]);
        child_main(owner, len, to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    for (size_t got = 0; got < sizeof *owner;) {
        ssize_t n = read(from[0], (char *)owner + got, sizeof *owner - got);

        if (n <= 0) {
            fprintf(stderr, "%s: the owner of the memory did not start\n", program);
            exit(1);
        }
        got += (size_t)n;
    }
    close(from[0]);
    owner->hold = to[1];
}

kvf_remote_t *owner_import(owner_t *owner, kvf_engine_t *engine)
{
    kvf_peer_t *peer;
    kvf_remote_t *remote;
    uint32_t count = 1;

    ok(owner, kvf_peer_import(engine, owner->blob[0], owner->len[0], &peer), "import");
    ok(owner, kvf_remote_import(peer, owner->blob[1], owner->len[1], &remote, &count), "import of the grant");
    return remote;
}

void owner_end(owner_t *owner)
{
    if (owner->hold < 0)
        return;
    close(owner->hold);
    wait(NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a batch costs beside its bytes: posts batches of 64-byte ops, each done when post returns, and
 * prints the least and the median nanoseconds a batch. Run under callgrind, which collects inside of
 * post_all() only, it gives instructions instead of times (bench/cost.sh).
 *
 *     cost PATH OPS PAIRS POSTS       PATH: self or shm, whose owner is a child that sleeps
 */
#include <kvferry.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE    64u
#define MEMORY   (UINT64_C(1) << 20)
#define ROUNDS   31
#define BLOB_MAX 65536u
#define OPS_MAX  1024u

typedef struct side {
    kvf_engine_t  *engine;
    kvf_segment_t *segment;
    kvf_grant_t   *grant;
    uint8_t        blob[2][BLOB_MAX]; /* engine, grant */
    size_t         len[2];
} side_t;

static void ok(kvf_status_t status, const char *what)
{
    if (status == KVF_OK)
        return;
    fprintf(stderr, "cost: %s: %s\n", what, kvf_last_error());
    exit(1);
}

static void owner_open(side_t *side)
{
    kvf_range_t range = {.len = MEMORY, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

    if (!side->engine)
        ok(kvf_engine_open(NULL, &side->engine), "open");
    ok(kvf_segment_alloc(side->engine, MEMORY, &range.segment), "alloc");
    ok(kvf_grant_create(side->engine, &range, 1, NULL, &side->grant), "grant");
    side->len[0] = side->len[1] = BLOB_MAX;
    ok(kvf_engine_export(side->engine, 0, side->blob[0], &side->len[0]), "export");
    ok(kvf_grant_export(side->grant, side->blob[1], &side->len[1]), "export of the grant");
}

/* A child that owns the memory, until the pipe that it reads from is closed. */
static void fork_owner(side_t *owner, int *hold_p)
{
    int  to[2], from[2];
    char end;

    if (pipe(to) || pipe(from))
        exit(1);
    if (fork()) {
        close(to[0]);
        close(from[1]);
        for (size_t got = 0; got < sizeof *owner;) {
            ssize_t n = read(from[0], (char *)owner + got, sizeof *owner - got);

            if (n <= 0)
                break;
            got += (size_t)n;
        }
        *hold_p = to[1];
        return;
    }
    close(to[1]);
    owner_open(owner);
    for (size_t put = 0; put < sizeof *owner;) {
        ssize_t n = write(from[1], (char *)owner + put, sizeof *owner - put);

        if (n <= 0)
            exit(1);
        put += (size_t)n;
    }
    if (read(to[0], &end, 1) < 0)
        exit(1);
    exit(kvf_engine_close(owner->engine, 1000000000) == KVF_OK ? 0 : 1);
}

/* What is measured; callgrind finds it by name. */
static __attribute__((noinline)) void post_all(kvf_batch_t *batch, const kvf_op_t *ops, size_t count,
                                        unsigned posts)
{
    for (unsigned i = 0; i < posts; i++)
        if (kvf_batch_post(batch, ops, count, sizeof *ops, NULL) != KVF_OK ||
            kvf_batch_test(batch) != KVF_OK)
            ok(KVF_ERR_INVALID, "post");
}

static uint64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static side_t    me, owner;
    static kvf_op_t  ops[OPS_MAX];
    static uint32_t  ids[MEMORY / PIECE];
    kvf_peer_t      *peer;
    kvf_remote_t    *remote;
    kvf_batch_t     *batch;
    double           ns[ROUNDS];
    uint32_t         count = 1;
    int              hold = -1, self = argc == 5 && !strcmp(argv[1], "self");
    size_t           op_count = argc == 5 ? strtoul(argv[2], NULL, 10) : 0;
    uint32_t         pairs = argc == 5 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    unsigned         posts = argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;

    if (!op_count || op_count > OPS_MAX || !pairs || pairs > MEMORY / PIECE || !posts) {
        fprintf(stderr, "usage: cost self|shm OPS PAIRS POSTS\n");
        return 2;
    }
    if (!self)
        fork_owner(&owner, &hold);
    ok(kvf_engine_open(NULL, &me.engine), "open");
    if (self) {
        owner.engine = me.engine;
        owner_open(&owner);
    }
    ok(kvf_segment_alloc(me.engine, MEMORY, &me.segment), "alloc");
    ok(kvf_peer_import(me.engine, owner.blob[0], owner.len[0], &peer), "import");
    ok(kvf_remote_import(peer, owner.blob[1], owner.len[1], &remote, &count), "import of the grant");
    ok(kvf_batch_create(me.engine, &batch), "batch");
    for (uint32_t i = 0; i < pairs; i++)
        ids[i] = i * 7 % pairs;
    for (size_t i = 0; i < op_count; i++)
        ops[i] = (kvf_op_t){.segment = me.segment, .remote = remote, .len = PIECE, .count = {1, 1},
                            .blocks = pairs, .dir = KVF_READ, .local_off = i * PIECE % (MEMORY / 2),
                            .local_ids = ids, .remote_ids = ids, .local_block = PIECE,
                            .remote_block = PIECE, .local_cap = pairs, .remote_cap = pairs};
    for (int r = 0; r < ROUNDS; r++) {
        uint64_t from = now_ns();

        post_all(batch, ops, op_count, posts);
        ns[r] = (double)(now_ns() - from) / posts;
    }
    qsort(ns, ROUNDS, sizeof *ns, by_size);
    printf("%.1f %.1f\n", ns[0], ns[ROUNDS / 2]);
    ok(kvf_engine_close(me.engine, 1000000000), "close");
    if (hold >= 0) {
        close(hold);
        wait(NULL);
    }
    return 0;
}

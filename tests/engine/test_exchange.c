/*
 * The exchange of peers and grants over an all-gather of the caller's: socket pairs to a hub, and no
 * MPI. The test process is the hub; each member is a child that was forked before any engine was
 * opened (UCX does not survive a fork). A member's exit code tells how its part went; what it found
 * wrong is on stderr.
 */
#define _GNU_SOURCE
#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kvferry.h>

enum {
    MEMBERS = 4,
    LEN = 100000,
    WATCHDOG_S = 60
};

static const uint64_t CLOSE_NS = UINT64_C(20000000000);

/* ------------------------------------------------------------------ member */

static int hub_fd;
static unsigned rounds; /* all-gathers so far */

#define REQUIRE(condition) require((condition) ? 1 : 0, #condition, __LINE__)
#define MUST(call)         require((call) == KVF_OK, #call, __LINE__)

static void require(int holds, const char *what, int line)
{
    if (!holds) {
        fprintf(stderr, "line %d: not so: %s; last error: %s\n", line, what, kvf_last_error());
        _exit(1);
    }
}

static int put(int fd, const void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
        if (n <= 0) {
            return -1;
        }
        done += (size_t)n;
    }
    return 0;
}

static int get(int fd, void *data_p, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = recv(fd, (char *)data_p + done, len - done, 0);
        if (n <= 0) {
            return -1;
        }
        done += (size_t)n;
    }
    return 0;
}

static int allgather(void *arg, const void *send, void *recv, size_t len)
{
    const kvf_oob_t *oob = arg;
    rounds++;
    if (put(hub_fd, &len, sizeof(len)) != 0 || put(hub_fd, send, len) != 0) {
        return -1;
    }
    return get(hub_fd, recv, len * oob->size);
}

static void require_said(int rank, const char *part, int line)
{
    char name[32];
    snprintf(name, sizeof(name), "rank %d", rank);
    require(strstr(kvf_last_error(), name) != NULL, name, line);
    require(strstr(kvf_last_error(), part) != NULL, part, line);
}

static kvf_engine_t *open_member(const kvf_oob_t *oob, int far)
{
    kvf_engine_t *engine;
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .net = "tcp", .rank = oob->rank};
    opts.local = far ? KVF_SWITCH_OFF : KVF_SWITCH_DEFAULT;
    MUST(kvf_engine_open(&opts, &engine));
    return engine;
}

/* Nobody closes while another still looks. */
static void close_member(const kvf_oob_t *oob, kvf_engine_t *engine)
{
    MUST(kvf_exchange_agree(oob, KVF_OK));
    MUST(kvf_engine_close(engine, CLOSE_NS));
}

static void look_at(kvf_peer_t *peer, uint32_t rank, kvf_locality_t locality)
{
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    MUST(kvf_peer_query(peer, &attr));
    REQUIRE(attr.rank == rank);
    REQUIRE(attr.locality == (uint32_t)locality);
}

/* ------------------------------------------------------------------- parts */

static void near_members(const kvf_oob_t *oob)
{
    kvf_peer_t *peers[MEMBERS] = {0};
    kvf_engine_t *engine = open_member(oob, 0);
    MUST(kvf_exchange_peers(engine, oob, peers));
    for (uint32_t i = 0; i < oob->size; i++) {
        look_at(peers[i], i, i == oob->rank ? KVF_LOCALITY_SELF : KVF_LOCALITY_NODE);
    }
    close_member(oob, engine);
}

/* Member 0 is far from all: they need a second round, and the others stay near to each other. */
static void one_far_member(const kvf_oob_t *oob)
{
    kvf_peer_t *peers[MEMBERS] = {0};
    kvf_engine_t *engine = open_member(oob, oob->rank == 0);
    MUST(kvf_exchange_peers(engine, oob, peers));
    for (uint32_t i = 0; i < oob->size; i++) {
        kvf_locality_t where = i == oob->rank             ? KVF_LOCALITY_SELF
                               : i == 0 || oob->rank == 0 ? KVF_LOCALITY_CROSS
                                                          : KVF_LOCALITY_NODE;
        look_at(peers[i], i, where);
    }
    close_member(oob, engine);
}

/* Lines about the release of UCX in a log. */
static int lines_of_release(int log)
{
    char text[4096] = "";
    int count = 0;
    REQUIRE(pread(log, text, sizeof(text) - 1, 0) >= 0);
    for (const char *at = text; (at = strstr(at, "far peers with UCX")) != NULL; at++) {
        count++;
    }
    return count;
}

/* Of an exchange rank 0 alone tells of a release of UCX that is to be doubted; who imports a far peer
 * by hand is told, whatever its rank, and once. */
static void release_told(const kvf_oob_t *oob)
{
    enum {
        BLOB = 8192
    };
    kvf_peer_t *peers[MEMBERS], *peer;
    int was = dup(2), log = memfd_create("log", 0), doubted = strverscmp(kvf_ucx_version(), "1.22") < 0;
    char blob[BLOB], blobs[MEMBERS][BLOB];
    size_t len = sizeof(blob);

    REQUIRE(was >= 0 && log >= 0 && dup2(log, 2) == 2);
    kvf_engine_t *engine = open_member(oob, 1);
    MUST(kvf_exchange_peers(engine, oob, peers));
    dup2(was, 2);
    REQUIRE(lines_of_release(log) == (doubted && oob->rank == 0));
    close_member(oob, engine);

    engine = open_member(&(kvf_oob_t){.rank = 7}, 1);
    MUST(kvf_engine_export(engine, KVF_BLOB_FAR, blob, &len));
    REQUIRE(allgather((void *)(uintptr_t)oob, blob, blobs, BLOB) == 0);
    dup2(log, 2);
    for (int i = 0; i < 2; i++)
        MUST(kvf_peer_import(engine, blobs[(oob->rank + 1) % oob->size], len, &peer));
    dup2(was, 2);
    REQUIRE(lines_of_release(log) == doubted);
    REQUIRE(allgather((void *)(uintptr_t)oob, blob, blobs, BLOB) ==
            0); /* nobody closes before all have come */
    close_member(oob, engine);
}

/* A second round is made where it is needed, and only there. */
static void rounds_of_near_and_far(const kvf_oob_t *oob)
{
    kvf_peer_t *peers[MEMBERS];
    kvf_engine_t *engine = open_member(oob, 0);
    rounds = 0;
    MUST(kvf_exchange_peers(engine, oob, peers));
    unsigned near_rounds = rounds;
    close_member(oob, engine);

    engine = open_member(oob, 1);
    rounds = 0;
    MUST(kvf_exchange_peers(engine, oob, peers));
    REQUIRE(near_rounds < rounds);
    close_member(oob, engine);
}

static unsigned char byte_of(uint32_t rank, size_t i)
{
    return (unsigned char)(rank * 41 + i * 3 + (i >> 8) + 1);
}

static void read_all_of(kvf_engine_t *engine, kvf_remote_t *remote, uint32_t rank)
{
    unsigned char *landed = calloc(1, LEN);
    kvf_segment_t *segment;
    kvf_batch_t *batch;
    MUST(kvf_segment_register(engine, landed, LEN, &segment));
    MUST(kvf_batch_create(engine, &batch));
    kvf_op_t op = {.segment = segment, .remote = remote, .len = LEN, .count = {1, 1}, .blocks = 1};
    MUST(kvf_batch_post(batch, &op, 1, sizeof(op), NULL));
    MUST(kvf_batch_wait(batch, KVF_FOREVER));
    for (size_t i = 0; i < LEN; i++) {
        REQUIRE(landed[i] == byte_of(rank, i));
    }
    MUST(kvf_batch_free(batch));
    MUST(kvf_segment_release(segment));
    free(landed);
}

/* Every member but the last grants its memory; all read it. */
static void exchange_and_read(const kvf_oob_t *oob, int far)
{
    kvf_peer_t *peers[MEMBERS];
    kvf_remote_t *remotes[MEMBERS][2];
    uint32_t counts[MEMBERS];
    kvf_segment_t *segment;
    kvf_grant_t *grant = NULL;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_engine_t *engine = open_member(oob, far);
    MUST(kvf_exchange_peers(engine, oob, peers));
    MUST(kvf_segment_alloc(engine, LEN, &segment));
    MUST(kvf_segment_query(segment, &attr));
    for (size_t i = 0; i < LEN; i++) {
        ((unsigned char *)attr.addr)[i] = byte_of(oob->rank, i);
    }
    if (oob->rank + 1 < oob->size) {
        kvf_range_t range = {.segment = segment, .len = LEN, .rights = KVF_RIGHT_READ};
        MUST(kvf_grant_create(engine, &range, 1, NULL, &grant));
    }
    MUST(kvf_exchange_grants(engine, oob, peers, grant, 2, &remotes[0][0], counts));
    for (uint32_t i = 0; i < oob->size; i++) {
        REQUIRE(counts[i] == (i + 1 < oob->size ? 1 : 0));
        if (counts[i] > 0) {
            read_all_of(engine, remotes[i][0], i);
        }
    }
    close_member(oob, engine);
}

static void near_grants(const kvf_oob_t *oob)
{
    exchange_and_read(oob, 0);
}

static void far_grants(const kvf_oob_t *oob)
{
    exchange_and_read(oob, 1);
}

/* A member without an engine, then one with a dead grant: all say so, and go on together. */
static void spoilt_by_one(const kvf_oob_t *oob)
{
    kvf_peer_t *peers[MEMBERS];
    kvf_remote_t *remotes[MEMBERS];
    uint32_t counts[MEMBERS];
    kvf_segment_t *segment;
    kvf_grant_t *grant;
    int last = (int)oob->size - 1;
    int bad = (int)oob->rank == last;
    kvf_engine_t *engine = open_member(oob, 0);
    REQUIRE(kvf_exchange_peers(bad ? NULL : engine, oob, peers) == KVF_ERR_INVALID);
    require_said(last, "", __LINE__);
    MUST(kvf_exchange_peers(engine, oob, peers));

    MUST(kvf_segment_alloc(engine, LEN, &segment));
    kvf_range_t range = {.segment = segment, .len = LEN, .rights = KVF_RIGHT_READ};
    MUST(kvf_grant_create(engine, &range, 1, NULL, &grant));
    if (bad) {
        MUST(kvf_grant_revoke(grant, KVF_FOREVER));
    }
    REQUIRE(kvf_exchange_grants(engine, oob, peers, grant, 1, remotes, counts) == KVF_ERR_INVALID);
    require_said(last, "", __LINE__);
    grant = bad ? NULL : grant;
    MUST(kvf_exchange_grants(engine, oob, peers, grant, 1, remotes, counts));
    close_member(oob, engine);
}

static void agreement(const kvf_oob_t *oob)
{
    MUST(kvf_exchange_agree(oob, KVF_OK));
    kvf_status_t mine = oob->rank >= 1 ? kvf_fail(KVF_ERR_STALE, "block %u is gone", oob->rank) : KVF_OK;
    REQUIRE(kvf_exchange_agree(oob, mine) == KVF_ERR_STALE);
    require_said(1, "block 1 is gone", __LINE__);
    MUST(kvf_exchange_agree(oob, KVF_OK));
}

/* Member 0 leaves; the collective fails for the others, and they say so. */
static void one_leaves(const kvf_oob_t *oob)
{
    kvf_peer_t *peers[MEMBERS];
    kvf_engine_t *engine = open_member(oob, 0);
    if (oob->rank > 0) {
        REQUIRE(kvf_exchange_peers(engine, oob, peers) == KVF_ERR_SYSTEM);
        REQUIRE(kvf_exchange_agree(oob, KVF_OK) == KVF_ERR_SYSTEM);
    }
    MUST(kvf_engine_close(engine, CLOSE_NS));
}

/* A collective that cannot be made is refused at once. */
static void no_collective(const kvf_oob_t *oob)
{
    kvf_peer_t *peers[MEMBERS];
    kvf_engine_t *engine = open_member(oob, 0);
    kvf_oob_t wrong[4] = {*oob, *oob, *oob, *oob};
    wrong[0].struct_size = 3;
    wrong[1].allgather = NULL;
    wrong[2].rank = oob->size;
    wrong[3].size = 0;
    REQUIRE(kvf_exchange_agree(NULL, KVF_OK) == KVF_ERR_INVALID);
    REQUIRE(kvf_exchange_peers(engine, NULL, peers) == KVF_ERR_INVALID);
    for (int i = 0; i < 4; i++) {
        REQUIRE(kvf_exchange_agree(&wrong[i], KVF_OK) == KVF_ERR_INVALID);
        REQUIRE(kvf_exchange_peers(engine, &wrong[i], peers) == KVF_ERR_INVALID);
    }
    close_member(oob, engine);
}

/* Member 0 is far and closes with no time at all while nobody has answered it: UCX ends a process
 * whose worker goes with a close under way. The others hear nothing of it, and leave as they are. */
static void close_while_connecting(const kvf_oob_t *oob)
{
    static struct blob {
        size_t len;
        char bytes[16384];
    } mine, all[MEMBERS];
    kvf_engine_t *engine;
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .net = "tcp", .rank = oob->rank};
    opts.local = KVF_SWITCH_OFF;
    opts.progress = KVF_PROGRESS_CALLER;
    MUST(kvf_engine_open(&opts, &engine));
    mine.len = sizeof(mine.bytes);
    MUST(kvf_engine_export(engine, KVF_BLOB_FAR, mine.bytes, &mine.len));
    REQUIRE(allgather(oob->arg, &mine, all, sizeof(mine)) == 0);
    for (uint32_t i = 1; oob->rank == 0 && i < oob->size; i++) {
        kvf_peer_t *peer;
        MUST(kvf_peer_import(engine, all[i].bytes, all[i].len, &peer));
        look_at(peer, i, KVF_LOCALITY_CROSS);
    }
    if (oob->rank == 0) {
        kvf_status_t status = kvf_engine_close(engine, 0);
        REQUIRE(status == KVF_OK || status == KVF_ERR_TIMEOUT);
    }
    MUST(kvf_exchange_agree(oob, KVF_OK));
}

/* --------------------------------------------------------------------- hub */

static pid_t start_member(uint32_t rank, uint32_t size, void (*part)(const kvf_oob_t *), int *fd_p)
{
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(WATCHDOG_S);
        close(pair[0]);
        hub_fd = pair[1];
        kvf_oob_t oob = {.struct_size = sizeof(oob), .rank = rank, .size = size};
        oob.allgather = allgather;
        oob.arg = &oob;
        part(&oob);
        _exit(0);
    }
    close(pair[1]);
    *fd_p = pair[0];
    return pid;
}

/* One all-gather; not 0 once a member has gone. */
static int serve_round(const int *fds, uint32_t size)
{
    static char bytes[1 << 20];
    size_t len = 0;
    for (uint32_t i = 0; i < size; i++) {
        size_t its;
        if (get(fds[i], &its, sizeof(its)) != 0) {
            return -1;
        }
        len = i == 0 ? its : len;
        ck_assert_uint_eq(its, len);
        ck_assert_uint_le(len * size, sizeof(bytes));
        if (get(fds[i], bytes + i * len, len) != 0) {
            return -1;
        }
    }
    for (uint32_t i = 0; i < size; i++) {
        if (put(fds[i], bytes, len * size) != 0) {
            return -1;
        }
    }
    return 0;
}

static void run_members(uint32_t size, void (*part)(const kvf_oob_t *))
{
    pid_t pids[MEMBERS];
    int fds[MEMBERS];
    for (uint32_t i = 0; i < size; i++) {
        pids[i] = start_member(i, size, part, &fds[i]);
    }
    while (serve_round(fds, size) == 0) {
    }
    for (uint32_t i = 0; i < size; i++) {
        shutdown(fds[i], SHUT_RDWR);
        close(fds[i]);
    }
    for (uint32_t i = 0; i < size; i++) {
        int status = 0;
        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "member %u ended with %#x", i,
                      (unsigned)status);
    }
}

static const struct {
    const char *name;
    void (*part)(const kvf_oob_t *oob);
    uint32_t sizes[2];
} parts[] = {
    {"near members know each other", near_members, {1, MEMBERS}},
    {"one member is far", one_far_member, {2, MEMBERS}},
    {"the release of UCX is told", release_told, {2, MEMBERS}},
    {"a second round only where one is far", rounds_of_near_and_far, {2, 3}},
    {"near grants", near_grants, {2, MEMBERS}},
    {"far grants", far_grants, {2, 3}},
    {"spoilt by one member", spoilt_by_one, {2, MEMBERS}},
    {"agreement names the first bad rank", agreement, {2, MEMBERS}},
    {"a member leaves before the collective", one_leaves, {2, MEMBERS}},
    {"a collective that cannot be made", no_collective, {1, 2}},
    {"no time to close, while connecting", close_while_connecting, {2, MEMBERS}},
};

START_TEST(part_of_every_member)
{
    for (int i = 0; i < 2; i++) {
        run_members(parts[_i].sizes[i], parts[_i].part);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exchange without MPI");
    SRunner *runner = srunner_create(suite);
    for (int i = 0; i < (int)(sizeof(parts) / sizeof(parts[0])); i++) {
        TCase *tcase = tcase_create(parts[i].name);
        tcase_set_timeout(tcase, 3 * WATCHDOG_S);
        tcase_add_loop_test(tcase, part_of_every_member, i, i + 1);
        suite_add_tcase(suite, tcase);
    }
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whose memory it is, and whether its owner lives: ranks whose numbers are alike (each pid 1 of a PID
 * namespace of its own), programs that exec() in place of a rank, looks that the kernel refuses for want
 * of a descriptor. What cannot be known is never death; exec() is.
 */
#define _GNU_SOURCE
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "forbid.h"
#include "rig.h"
#include "world.h"

#define LEN (UINT64_C(1) << 20)

#define BALLAST (UINT64_C(16) << 20)

static uint8_t *common; /* in each process of a test: private, at one address */

/* ------------------------------------------------------------------ helpers */

static void *private_memory(uint64_t len)
{
    void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    must(at != MAP_FAILED, "%s", strerror(errno));
    return at;
}

/* A child that is pid 1 of a PID namespace of its own. */
static void start_apart(proc_t *proc)
{
    int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

    must(own >= 0 && unshare(CLONE_NEWPID) == 0, "%s", strerror(errno));
    proc_start(proc, sizeof(side_t), 60, side_idle);
    must(setns(own, CLONE_NEWPID) == 0, "%s", strerror(errno));
    close(own);
}

static void at_open(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_open_t open = {.opts = {.struct_size = sizeof(open.opts)}};

    (void)in;
    (void)in_len;
    side_open_engine(state, &open, sizeof(open), out);
}

static void at_open_without_reads(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    static const long reads = SYS_process_vm_readv;

    must(getpid() == 1, "pid %d", (int)getpid());
    must(forbid(&reads, 1, EPERM) == 0, "seccomp: %s", strerror(errno));
    at_open(state, in, in_len, out);
}

static void at_register_common(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_range_t range = {.len = LEN, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_segment_register(side->engine, common, LEN, &side->segment));
    range.segment = side->segment;
    ok(kvf_grant_create(side->engine, &range, 1, NULL, &side->grant));
    pattern_fill(common, LEN, 1);
}

/* Writes pattern 2 over the owner's common memory; what lies at that address here stays. */
static void at_write_common(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_segment_t *segment;
    kvf_op_t op;

    (void)in;
    (void)in_len;
    (void)out;
    side->heap = private_memory(LEN);
    pattern_fill(side->heap, LEN, 2);
    pattern_fill(common, LEN, 3);
    ok(kvf_segment_register(side->engine, side->heap, LEN, &segment));
    ok(kvf_batch_create(side->engine, &side->batch));
    op = op_plain(segment, 0, side->remote[0], 0, LEN, KVF_WRITE);
    ok(run_ops(side->batch, &op, 1, NULL));
    must(pattern_compare(common, LEN, 3) == UINT64_MAX, "a write to a peer changed our own memory");
    side->heap = NULL;
}

static void at_compare_common(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)state;
    (void)in;
    (void)in_len;
    (void)out;
    must(pattern_compare(common, LEN, 2) == UINT64_MAX, "what was written is not here");
}

static int alive(kvf_peer_t *peer)
{
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};

    ok(kvf_peer_query(peer, &attr));
    must(attr.locality == KVF_LOCALITY_NODE, "locality %u", attr.locality);
    return attr.alive;
}

static void must_be_found_dead(kvf_peer_t *peer)
{
    uint64_t end = now_ns() + patient(5);

    while (alive(peer)) {
        must(now_ns() < end, "the peer has ended and counts as alive");
        sleep_ms(20);
    }
}

static void at_is_alive(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)in;
    (void)in_len;
    (void)out;
    must(alive(((side_t *)state)->peer[0]), "a living peer counts as dead");
}

static void at_is_dead(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)in;
    (void)in_len;
    (void)out;
    must_be_found_dead(((side_t *)state)->peer[0]);
}

static void pass(proc_t *from, proc_fn_t blob, proc_t *to, proc_fn_t import)
{
    uint8_t buf[sizeof(side_slot_t) + BLOB_MAX] = {0};
    size_t len = proc_call(from, blob, NULL, 0, buf + sizeof(side_slot_t), BLOB_MAX);

    proc_call(to, import, buf, sizeof(side_slot_t) + len, NULL, 0);
}

/* --------------------------------------------------------------- namespaces */

/* Their /proc, that of the test, shows another process under pid 1: nothing there is about them. */
START_TEST(a_dead_rank_with_our_own_pid_is_dead)
{
    proc_t owner, reader;

    world_enter(0);
    start_apart(&owner);
    start_apart(&reader);
    proc_call(&owner, at_open, NULL, 0, NULL, 0);
    proc_call(&reader, at_open, NULL, 0, NULL, 0);
    pass(&owner, side_blob, &reader, side_import_peer);
    proc_call(&reader, at_is_alive, NULL, 0, NULL, 0);
    proc_signal(&owner, SIGKILL);
    proc_call(&reader, at_is_dead, NULL, 0, NULL, 0);
    proc_call(&reader, side_close, NULL, 0, NULL, 0);
    proc_end(&reader);
}
END_TEST

START_TEST(a_write_to_a_rank_with_our_own_pid_reaches_it)
{
    proc_t owner, writer;

    common = private_memory(LEN);
    world_enter(0);
    start_apart(&owner);
    start_apart(&writer);
    proc_call(&owner, at_open_without_reads, NULL, 0, NULL, 0);
    proc_call(&writer, at_open_without_reads, NULL, 0, NULL, 0);
    proc_call(&owner, at_register_common, NULL, 0, NULL, 0);
    pass(&owner, side_blob, &writer, side_import_peer);
    pass(&owner, side_grant_blob, &writer, side_import_remote);
    proc_call(&writer, at_write_common, NULL, 0, NULL, 0);
    proc_call(&owner, at_compare_common, NULL, 0, NULL, 0);
    proc_call(&writer, side_close, NULL, 0, NULL, 0);
    proc_call(&owner, side_close, NULL, 0, NULL, 0);
    proc_end(&writer);
    proc_end(&owner);
}
END_TEST

/* One kernel, two IPC namespaces: far, with the reason in the attributes and in one warning. */
START_TEST(a_far_peer_of_this_machine_is_told_with_the_reason)
{
    char name[] = "/tmp/kvferry-test-XXXXXX", text[4096];
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    uint8_t blob[BLOB_MAX];
    kvf_engine_t *engine;
    kvf_peer_t *peer;
    proc_t other;
    size_t len;
    ssize_t said;
    int fd = mkstemp(name);

    proc_start(&other, sizeof(side_t), 60, side_idle);
    proc_call(&other, at_open, NULL, 0, NULL, 0);
    len = proc_call(&other, side_blob, &(uint32_t){KVF_BLOB_FAR}, sizeof(uint32_t), blob, sizeof(blob));
    world_enter(0);
    must(fd >= 0 && dup2(fd, 2) == 2, "%s", strerror(errno));
    unlink(name);
    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_peer_import(engine, blob, len, &peer));
    ok(kvf_peer_query(peer, &attr));
    must(attr.locality == KVF_LOCALITY_CROSS, "locality %u", attr.locality);
    must(strstr(attr.why_far, "another IPC namespace") != NULL, "\"%s\"", attr.why_far);
    said = pread(fd, text, sizeof(text) - 1, 0);
    text[said < 0 ? 0 : said] = '\0';
    must(strstr(text, "warn: peer") != NULL && strstr(text, "on this machine") != NULL &&
             strstr(text, attr.why_far) != NULL,
         "said: \"%s\"", text);
    ok(kvf_engine_close(engine, patient(5)));
    proc_signal(&other, SIGKILL);
}
END_TEST

/* --------------------------------------------------------------------- exec */

static void at_exec(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)state;
    (void)in;
    (void)in_len;
    (void)out;
    execlp("sleep", "sleep", "30", (char *)NULL);
    must(0, "sleep: %s", strerror(errno));
}

static void run_sleep(proc_t *proc)
{
    char path[64], name[16] = "";
    uint64_t end = now_ns() + patient(10);
    int fd;

    proc_ask(proc, at_exec, NULL, 0);
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)proc->pid);
    do {
        must(now_ns() < end, "no exec()");
        sleep_ms(1);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        must(fd >= 0 && read(fd, name, sizeof(name)) > 0, "%s", strerror(errno));
        close(fd);
    } while (strncmp(name, "sleep", 5) != 0);
}

static kvf_status_t post(rig_t *rig, const kvf_op_t *op)
{
    kvf_status_t status = kvf_batch_post(rig->batch, op, 1, sizeof(*op), NULL);

    return status == KVF_OK ? kvf_batch_wait(rig->batch, patient(20)) : status;
}

/* An op posted at once ends with PEER, and nothing reaches the program that runs there since. */
START_TEST(a_peer_that_has_called_exec_is_dead)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    kvf_op_t op;
    rig_t rig;

    rig_open(&rig, _i < 2 ? WHERE_CMA : WHERE_SHM, &opts);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, LEN, _i % 2 == 0 ? KVF_WRITE : KVF_READ);
    ok(run_ops(rig.batch, &op, 1, NULL));
    run_sleep(&rig.owner);
    if (_i < 2) {
        answers(post(&rig, &op), KVF_ERR_PEER);
    }
    must_be_found_dead(rig.peer);
    answers(post(&rig, &op), KVF_ERR_PEER);
    proc_signal(&rig.owner, SIGKILL);
    rig_close(&rig);
}
END_TEST

/* Where addresses are not drawn by lot, another run of this program has it at the same one, of zeros. */
static _Alignas(4096) uint8_t image_memory[LEN];

/* Touched, it takes the kernel a few milliseconds to take down. */
static void at_load_ballast(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    void *ballast = private_memory(BALLAST);

    (void)state;
    (void)in_len;
    (void)out;
    madvise(ballast, BALLAST, MADV_NOHUGEPAGE);
    if (*(const uint32_t *)in == KVF_WRITE) {
        memset(ballast, 1, BALLAST);
    }
}

static void at_exec_image(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)state;
    (void)in;
    (void)in_len;
    (void)out;
    execl("/proc/self/exe", "image", "image", (char *)NULL);
    must(0, "exec: %s", strerror(errno));
}

/* Then the pid has its new memory; the kernel may still take down the old one, with the lifeline in it. */
static void wait_for_other_memory(pid_t pid)
{
    uint64_t end = now_ns() + patient(10);
    char path[64], text[64];
    ssize_t len;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    do {
        must(now_ns() < end, "no exec()");
        fd = open(path, O_RDONLY | O_CLOEXEC);
        must(fd >= 0, "%s", strerror(errno));
        len = read(fd, text, sizeof(text) - 1);
        text[len < 0 ? 0 : len] = '\0';
        close(fd);
    } while (strtoull(text, NULL, 10) > BALLAST / 4096);
}

static void image_must_be_untouched(pid_t pid)
{
    static uint8_t got[LEN];
    struct iovec here = {got, LEN}, there = {image_memory, LEN};
    uint64_t end = now_ns() + patient(10);

    while (process_vm_readv(pid, &here, 1, &there, 1, 0) != (ssize_t)LEN) {
        must(now_ns() < end, "no image: %s", strerror(errno));
    }
    for (uint64_t i = 0; i < LEN; i++) {
        must(got[i] == 0, "byte %zu of the new program was overwritten", (size_t)i);
    }
}

/* From the moment when the pid has another memory, an op ends with PEER: a read brings none of it, and a
 * write leaves it alone, though the same addresses are mapped there. The write is posted while the old
 * memory is taken down, the read once the new one is there. */
START_TEST(the_memory_of_a_program_that_took_the_pid_is_not_taken_for_the_owners)
{
    uint32_t dir = _i % 2 == 0 ? KVF_WRITE : KVF_READ;
    uint8_t buf[BLOB_MAX], *mine = private_memory(LEN);
    kvf_batch_opts_t over = {.struct_size = sizeof(over), .paths = KVF_PATH_BIT(KVF_PATH_CMA)};
    kvf_segment_t *segment;
    kvf_remote_t *remote;
    kvf_engine_t *engine;
    kvf_batch_t *batch;
    kvf_peer_t *peer;
    kvf_op_t op;
    proc_t owner;
    size_t len;
    uint32_t count = 1;

    common = image_memory;
    proc_start(&owner, sizeof(side_t), 60, side_idle);
    proc_call(&owner, at_open, NULL, 0, NULL, 0);
    proc_call(&owner, at_register_common, NULL, 0, NULL, 0);
    proc_call(&owner, at_load_ballast, &dir, sizeof(dir), NULL, 0);
    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_segment_register(engine, mine, LEN, &segment));
    ok(kvf_batch_create(engine, &batch));
    len = proc_call(&owner, side_blob, NULL, 0, buf, sizeof(buf));
    ok(kvf_peer_import(engine, buf, len, &peer));
    len = proc_call(&owner, side_grant_blob, NULL, 0, buf, sizeof(buf));
    ok(kvf_remote_import(peer, buf, len, &remote, &count));
    pattern_fill(mine, LEN, 1);
    op = op_plain(segment, 0, remote, 0, LEN, dir);
    ok(run_ops(batch, &op, 1, &over));
    must(pattern_compare(mine, LEN, 1) == UINT64_MAX, "not what the owner has");
    proc_ask(&owner, at_exec_image, NULL, 0);
    wait_for_other_memory(owner.pid);
    if (dir == KVF_READ) {
        image_must_be_untouched(owner.pid);
    }
    refused_naming(run_ops(batch, &op, 1, &over), KVF_ERR_PEER, "has died");
    image_must_be_untouched(owner.pid);
    must(!alive(peer), "another program counts as the peer");
    proc_signal(&owner, SIGKILL);
    ok(kvf_engine_close(engine, patient(5)));
}
END_TEST

/* What it left cannot be mapped, which makes no neighbour far: killed or another program by exec(). Whose
 * numbers mean nothing here cannot be known to be dead. */
START_TEST(a_neighbour_that_has_ended_is_dead_and_not_far)
{
    uint8_t blob[BLOB_MAX];
    kvf_engine_t *engine;
    kvf_peer_t *peer = NULL;
    proc_t other;
    size_t len;

    if (_i < 4) {
        proc_start(&other, sizeof(side_t), 60, side_idle);
    } else {
        start_apart(&other);
    }
    proc_call(&other, at_open, NULL, 0, NULL, 0);
    len = proc_call(&other, side_blob, &(uint32_t){_i % 2 ? KVF_BLOB_FAR : 0}, sizeof(uint32_t), blob,
                    sizeof(blob));
    if (_i / 2 == 1) {
        run_sleep(&other);
    } else {
        proc_signal(&other, SIGKILL);
    }
    if (_i >= 4) {
        world_enter(0);
    }
    ok(kvf_engine_open(NULL, &engine));
    if (_i < 4) {
        refused_naming(kvf_peer_import(engine, blob, len, &peer), KVF_ERR_PEER, "has died");
    } else {
        refused_naming(kvf_peer_import(engine, blob, len, &peer), KVF_ERR_NEED_FAR, "IPC namespace");
    }
    must(peer == NULL, "an output of a failure");
    ok(kvf_engine_close(engine, patient(5)));
    if (_i / 2 == 1) {
        proc_signal(&other, SIGKILL);
    }
}
END_TEST

/* ------------------------------------------------------------- a view's owner */

static void at_view(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint32_t id = 0, gen = 0;
    const void *at;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_view_open(side->remote[0], 0, 4096, 1, &id, &gen, &at, (kvf_view_t **)&side->extra[0]));
}

/* A pool of ours, of whose block 0 a child has a view. */
typedef struct viewed {
    side_t me;
    proc_t reader;
    uint32_t id;
} viewed_t;

static void view_a_pool(viewed_t *v)
{
    side_mem_t mem = {.pool_blocks = 4, .block_bytes = 4096, .rights = KVF_RIGHT_READ};
    uint8_t buf[sizeof(side_slot_t) + BLOB_MAX] = {0};
    size_t len;

    memset(v, 0, sizeof(*v));
    proc_start(&v->reader, sizeof(side_t), 60, side_idle);
    proc_call(&v->reader, at_open, NULL, 0, NULL, 0);
    ok(kvf_engine_open(NULL, &v->me.engine));
    side_make_memory(&v->me, &mem, sizeof(mem), NULL);
    ok(kvf_pool_alloc(v->me.pool, 1, &v->id));
    engine_blob(v->me.engine, 0, buf + sizeof(side_slot_t), &len);
    proc_call(&v->reader, side_import_peer, buf, sizeof(side_slot_t) + len, NULL, 0);
    grant_blob(v->me.grant, buf + sizeof(side_slot_t), &len);
    proc_call(&v->reader, side_import_remote, buf, sizeof(side_slot_t) + len, NULL, 0);
    proc_call(&v->reader, at_view, NULL, 0, NULL, 0);
    answers(kvf_pool_free(v->me.pool, 1, &v->id), KVF_ERR_BUSY);
}

START_TEST(a_view_ends_with_the_program_that_opened_it)
{
    viewed_t v;

    view_a_pool(&v);
    run_sleep(&v.reader);
    ok(kvf_pool_free(v.me.pool, 1, &v.id));
    ok(kvf_grant_revoke(v.me.grant, 100 * MS));
    proc_signal(&v.reader, SIGKILL);
    ok(kvf_engine_close(v.me.engine, patient(5)));
}
END_TEST

/* -------------------------------------------------------------- descriptors */

static int eaten[256];
static int eaten_count;

/* Leave the process so many descriptors, of 256. */
static void leave_descriptors(int count)
{
    struct rlimit limit = {256, 256};
    int fd;

    must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "%s", strerror(errno));
    while ((fd = dup(0)) >= 0) {
        eaten[eaten_count++] = fd;
    }
    while (count-- > 0) {
        close(eaten[--eaten_count]);
    }
}

static void free_descriptors(void)
{
    while (eaten_count > 0) {
        close(eaten[--eaten_count]);
    }
}

/* Whether the one who looks lives is seen without a descriptor, and so is its death. */
START_TEST(a_living_reader_counts_without_descriptors_to_look_at_it)
{
    viewed_t v;

    view_a_pool(&v);
    for (int count = 0; count < 4; count++) {
        kvf_status_t freed, revoked;

        leave_descriptors(count);
        freed = kvf_pool_free(v.me.pool, 1, &v.id);
        revoked = kvf_grant_revoke(v.me.grant, 10 * MS);
        free_descriptors();
        must(freed == KVF_ERR_BUSY, "%d descriptors: %s", count, kvf_status_name(freed));
        must(revoked == KVF_ERR_TIMEOUT, "%d descriptors: %s", count, kvf_status_name(revoked));
    }
    proc_signal(&v.reader, SIGKILL);
    leave_descriptors(0);
    ok(kvf_pool_free(v.me.pool, 1, &v.id));
    ok(kvf_grant_revoke(v.me.grant, patient(1)));
    free_descriptors();
    ok(kvf_engine_close(v.me.engine, patient(5)));
}
END_TEST

/* Near, or an error that names the limit; never far. */
START_TEST(a_neighbour_is_not_far_for_want_of_descriptors)
{
    proc_t child;
    kvf_engine_t *engine;
    kvf_peer_t *peer;
    uint8_t blob[BLOB_MAX];
    size_t len;

    proc_start(&child, sizeof(side_t), 60, side_idle);
    proc_call(&child, at_open, NULL, 0, NULL, 0);
    len = proc_call(&child, side_blob, NULL, 0, blob, sizeof(blob));
    ok(kvf_engine_open(NULL, &engine));
    for (int count = 0; count < 5; count++) {
        kvf_status_t status;

        leave_descriptors(count);
        status = kvf_peer_import(engine, blob, len, &peer);
        free_descriptors();
        if (status == KVF_ERR_SYSTEM) {
            must(count < 2 && strstr(kvf_last_error(), "RLIMIT_NOFILE") != NULL, "%d descriptors: %s", count,
                 kvf_last_error());
            continue;
        }
        must(status == KVF_OK && alive(peer), "%d descriptors: %s", count, kvf_last_error());
        ok(kvf_peer_forget(peer));
    }
    ok(kvf_engine_close(engine, patient(5)));
    proc_call(&child, side_close, NULL, 0, NULL, 0);
    proc_end(&child);
}
END_TEST

static int is_shared(const void *at)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long from, to;
    char line[512], perms[8] = "";

    must(maps != NULL, "%s", strerror(errno));
    while (fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%lx-%lx %4s", &from, &to, perms) == 3 && from <= (unsigned long)at &&
            (unsigned long)at < to) {
            break;
        }
    }
    fclose(maps);
    return perms[3] == 's';
}

START_TEST(adopted_memory_is_not_released_half_for_want_of_descriptors)
{
    uint8_t *mem = private_memory(LEN);
    kvf_engine_t *engine;
    kvf_segment_t *segment;
    kvf_status_t status;

    pattern_fill(mem, LEN, 1);
    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_segment_adopt(engine, mem, LEN, &segment));
    leave_descriptors(0);
    status = kvf_segment_release(segment);
    free_descriptors();
    answers(status, KVF_ERR_SYSTEM);
    must(strstr(kvf_last_error(), "/proc/self/maps") != NULL, "%s", kvf_last_error());
    must(is_shared(mem), "it was changed all the same");
    ok(kvf_segment_release(segment));
    must(!is_shared(mem) && pattern_compare(mem, LEN, 1) == UINT64_MAX, "it was not given back");
    ok(kvf_engine_close(engine, patient(5)));
}
END_TEST

/* Starts this program again with its addresses where each run has them; 0 if that is not allowed. */
static int fix_addresses(char **argv)
{
    int now = personality(0xffffffff);

    if (now >= 0 && now & ADDR_NO_RANDOMIZE) {
        return 1;
    }
    if (now >= 0 && personality((unsigned long)now | ADDR_NO_RANDOMIZE) >= 0) {
        execv("/proc/self/exe", argv);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int fixed = fix_addresses(argv);
    Suite *suite = suite_create("identity");
    TCase *tc = tcase_create("identity");

    if (argc == 2) {
        return pause();
    }
#ifdef __SANITIZE_THREAD__
    fixed = 0; /* beside its shadow memory one does not see that the owner's has gone */
#endif

    world_needed();
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_dead_rank_with_our_own_pid_is_dead);
    if (forbid_works()) {
        tcase_add_test(tc, a_write_to_a_rank_with_our_own_pid_reaches_it);
    }
    tcase_add_test(tc, a_far_peer_of_this_machine_is_told_with_the_reason);
    tcase_add_loop_test(tc, a_peer_that_has_called_exec_is_dead, 0, 4);
    if (fixed && cma_works()) {
        tcase_add_loop_test(tc, the_memory_of_a_program_that_took_the_pid_is_not_taken_for_the_owners, 0, 4);
    }
    tcase_add_loop_test(tc, a_neighbour_that_has_ended_is_dead_and_not_far, 0, 5);
    tcase_add_test(tc, a_view_ends_with_the_program_that_opened_it);
    tcase_add_test(tc, a_living_reader_counts_without_descriptors_to_look_at_it);
    tcase_add_test(tc, a_neighbour_is_not_far_for_want_of_descriptors);
    tcase_add_test(tc, adopted_memory_is_not_released_half_for_want_of_descriptors);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Jobs killed at random moments of each phase of their life, among hostile files: no file of /dev/shm or
 * /tmp and no abstract socket is left, no System V segment survives the next engine, and nothing of another's
 * is used or removed. And jobs of two users at once, of one group too. KVF_FULL=1 makes 100 rounds a phase.
 */
#define _GNU_SOURCE
#include "rig.h"
#include "world.h"

#include <check.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB    (UINT64_C(1) << 20)
#define NOBODY 65534u

static int rounds(void)
{
    const char *full = getenv("KVF_FULL");

    return full != NULL && full[0] == '1' ? 100 : 8;
}

/* Names that UCX or Open MPI could want, in other hands: links, folders, files without rights. */
static void plant(const char *folder)
{
    static const char *const names[] = {"ucx_shm_posix_0", "kvferry", "vader_segment", "sem.kvferry"};
    char path[128];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        if (i == 0) {
            must(symlink("/etc/passwd", path) == 0, "%s", path);
        } else if (i == 1) {
            must(mkdir(path, 0) == 0, "%s", path);
        } else {
            f = fopen(path, "w");
            must(f != NULL, "%s", path);
            fclose(f);
            chmod(path, 0);
        }
    }
}

typedef struct left {
    unsigned segments, shm, tmp, sockets;
} left_t;

static left_t look(void)
{
    left_t now = {world_segments(), world_names("/dev/shm"), world_names("/tmp"), world_sockets()};

    return now;
}

/* A killed process is reaped before its memory is quite gone. Between shmget() and its mark for removal
 * a segment without a page may stay; sweep 1: an engine is opened, which looks for such. */
static void nothing_new(left_t was, const char *when, int round, int sweep)
{
    left_t now = look();
    side_open_t open = {.opts = {.struct_size = sizeof(open.opts)}};
    proc_t next;

    for (int i = 0; i < 100 * (int)patience() && memcmp(&now, &was, sizeof(now)) != 0; i++) {
        if (sweep && now.segments != was.segments && i == 50) {
            proc_start(&next, sizeof(side_t), 30, side_idle);
            proc_call(&next, side_open_engine, &open, sizeof(open), NULL, 0);
            proc_call(&next, side_close, NULL, 0, NULL, 0);
            proc_end(&next);
        }
        sleep_ms(10);
        now = look();
    }
    must(memcmp(&now, &was, sizeof(now)) == 0,
         "killed in %s, round %d: %u segments, %u and %u files, %u sockets; before: %u, %u, %u, %u", when,
         round, now.segments, now.shm, now.tmp, now.sockets, was.segments, was.shm, was.tmp, was.sockets);
}

/* ------------------------------------------------------------------ the job */

static void open_both(proc_t *job)
{
    side_open_t open = {.opts = {.struct_size = sizeof(open.opts)}};

    for (int i = 0; i < 2; i++) {
        open.opts.rank = (uint64_t)i;
        proc_ask(&job[i], side_open_engine, &open, sizeof(open));
    }
}

static void memory_of_both(proc_t *job)
{
    side_mem_t mem = {
        .shared = 1, .pool_blocks = 64, .block_bytes = 65536, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};

    for (int i = 0; i < 2; i++) {
        proc_ask(&job[i], side_make_memory, &mem, sizeof(mem));
    }
}

static void reply_of_both(proc_t *job)
{
    for (int i = 0; i < 2; i++) {
        proc_reply(&job[i], NULL, 0);
    }
}

static void attach_both(proc_t *job)
{
    uint8_t blob[2][2][sizeof(side_slot_t) + BLOB_MAX];
    size_t len[2][2];

    memset(blob, 0, sizeof(blob));
    for (int i = 0; i < 2; i++) {
        len[i][0] = proc_call(&job[1 - i], side_blob, NULL, 0, blob[i][0] + sizeof(side_slot_t), BLOB_MAX);
        len[i][1] =
            proc_call(&job[1 - i], side_grant_blob, NULL, 0, blob[i][1] + sizeof(side_slot_t), BLOB_MAX);
    }
    for (int i = 0; i < 2; i++) {
        proc_ask(&job[i], side_import_peer, blob[i][0], sizeof(side_slot_t) + len[i][0]);
    }
    reply_of_both(job);
    for (int i = 0; i < 2; i++) {
        proc_ask(&job[i], side_import_remote, blob[i][1], sizeof(side_slot_t) + len[i][1]);
    }
}

/* in: batches, as int. */
static void batches(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_op_t op = op_plain(side->segment, 0, side->remote[0], 2 * MIB, MIB, KVF_READ);
    int count;

    (void)out;
    must(in_len == sizeof(count), "%zu", in_len);
    memcpy(&count, in, sizeof(count));
    if (side->batch == NULL) {
        ok(kvf_batch_create(side->engine, &side->batch));
    }
    for (int i = 0; i < count; i++) {
        must(run_ops(side->batch, &op, 1, NULL) == KVF_OK, "%s", kvf_last_error());
        op.dir = op.dir == KVF_READ ? KVF_WRITE : KVF_READ;
    }
}

enum {
    OPEN,
    ATTACH,
    BATCH,
    CLOSE,
    PHASES
};

static const char *const phase_names[] = {"open", "attach", "batch", "close"};

/* Starts phase; all before it have ended. Nobody waits for its end. */
static void begin(proc_t *job, int phase)
{
    int count = phase == BATCH ? 1000000 : 1;

    open_both(job);
    if (phase == OPEN) {
        return;
    }
    reply_of_both(job);
    memory_of_both(job);
    reply_of_both(job);
    attach_both(job);
    if (phase == ATTACH) {
        return;
    }
    reply_of_both(job);
    for (int i = 0; i < 2; i++) {
        proc_ask(&job[i], batches, &count, sizeof(count));
    }
    if (phase == BATCH) {
        return;
    }
    reply_of_both(job);
    for (int i = 0; i < 2; i++) {
        proc_ask(&job[i], side_close, NULL, 0);
    }
}

static void enter(int posix)
{
    world_enter(1);
    world_mount("/dev/shm", 256 * MIB);
    world_mount("/tmp", 16 * MIB);
    if (posix) {
        world_forbid_sysv();
    }
    plant("/dev/shm");
    plant("/tmp");
}

/* Without System V a file of UCX's has a name until it has been written: no kill in open there. */
START_TEST(a_killed_job_leaves_nothing)
{
    int posix = _i >= PHASES;
    int phase = posix ? _i - PHASES + 1 : _i;
    left_t was;
    unsigned seed = 12345;

    enter(posix);
    was = look();
    for (int round = 0; round < rounds(); round++) {
        proc_t job[2];

        for (int i = 0; i < 2; i++) {
            proc_start(&job[i], sizeof(side_t), 30, side_idle);
        }
        begin(&job[0], phase);
        usleep((useconds_t)rand_r(&seed) % 25000);
        for (int i = 0; i < 2; i++) {
            proc_signal(&job[(i + round) % 2], SIGKILL);
        }
        nothing_new(was, phase_names[phase], round, 1);
    }
}
END_TEST

/* A segment of a maker that has ended, attached last by another that has ended too; touched: written to. */
static int left_segment(size_t len, int mode, int touched)
{
    int id, pipes[2];
    char *at;
    pid_t pid;

    must(pipe(pipes) == 0, "no pipe");
    for (int i = 0; i < 2; i++) {
        pid = fork();
        must(pid >= 0, "no child");
        if (pid == 0 && i == 0) {
            id = shmget(IPC_PRIVATE, len, IPC_CREAT | mode);
            _exit(id < 0 || write(pipes[1], &id, sizeof(id)) != sizeof(id));
        }
        if (pid == 0) {
            at = shmat(id, NULL, 0);
            if (touched) {
                *at = 1;
            }
            _exit(shmdt(at));
        }
        must(waitpid(pid, NULL, 0) == pid, "waitpid");
        must(i == 1 || read(pipes[0], &id, sizeof(id)) == sizeof(id), "no segment");
    }
    close(pipes[0]);
    close(pipes[1]);
    return id;
}

static int is_there(int id)
{
    struct shmid_ds ds;

    return shmctl(id, IPC_STAT, &ds) == 0;
}

/* One that reads the memory of a killed maker is the last to have been attached, in place of the maker. */
START_TEST(an_empty_segment_is_swept_whoever_left_it_last_and_others_are_not)
{
    side_open_t open = {.opts = {.struct_size = sizeof(open.opts)}};
    int ours[3], others[4];
    proc_t next;

    world_enter(1);
    ours[0] = left_segment(1056768, 0660, 0); /* a staging ring */
    ours[1] = left_segment(4096, 0600, 0);
    ours[2] = left_segment(1, 0600, 0);
    others[0] = left_segment(4096, 0660, 1);
    others[1] = left_segment(4096, 0666, 0);
    others[2] = left_segment(100, 0660, 0);
    others[3] = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0660); /* its maker lives */
    must(others[3] >= 0, "shmget");
    proc_start(&next, sizeof(side_t), 30, side_idle);
    proc_call(&next, side_open_engine, &open, sizeof(open), NULL, 0);
    proc_call(&next, side_close, NULL, 0, NULL, 0);
    proc_end(&next);
    for (int i = 0; i < 3; i++) {
        must(!is_there(ours[i]), "segment %d of ours is left", i);
    }
    for (int i = 0; i < 4; i++) {
        must(is_there(others[i]), "segment %d of others has gone", i);
        shmctl(others[i], IPC_RMID, NULL);
    }
}
END_TEST

static void become(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)state;
    (void)in;
    (void)in_len;
    (void)out;
    must(setgid(NOBODY) == 0 && setuid(NOBODY) == 0, "still root");
    prctl(PR_SET_DUMPABLE, 1); /* as a process that began as that user is */
}

START_TEST(jobs_of_two_users_do_not_meet)
{
    int count = 20;
    proc_t jobs[2][2];
    left_t was;

    if (geteuid() != 0) {
        return; /* there is one user only */
    }
    enter(_i);
    was = look();
    for (int j = 0; j < 2; j++) {
        for (int i = 0; i < 2; i++) {
            proc_start(&jobs[j][i], sizeof(side_t), 30, side_idle);
        }
    }
    for (int i = 0; i < 2; i++) {
        proc_call(&jobs[1][i], become, NULL, 0, NULL, 0);
    }
    for (int j = 0; j < 2; j++) {
        open_both(jobs[j]);
    }
    for (int j = 0; j < 2; j++) {
        reply_of_both(jobs[j]);
        memory_of_both(jobs[j]);
        reply_of_both(jobs[j]);
        attach_both(jobs[j]);
        reply_of_both(jobs[j]);
    }
    for (int j = 0; j < 2; j++) {
        for (int i = 0; i < 2; i++) {
            proc_ask(&jobs[j][i], batches, &count, sizeof(count));
        }
    }
    for (int j = 0; j < 2; j++) {
        reply_of_both(jobs[j]);
        for (int i = 0; i < 2; i++) {
            proc_call(&jobs[j][i], side_close, NULL, 0, NULL, 0);
            proc_end(&jobs[j][i]);
        }
    }
    nothing_new(was, "nothing", 0, 0);
}
END_TEST

/* in: pid of one whose memory is of interest. Tries all segments, or all descriptors, of it; out: how many
 * there were, how many opened. */
static void pry(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    FILE *list = fopen("/proc/sysvipc/shm", "re");
    unsigned count[2] = {0, 0};
    char text[512];
    int id, pid, fd;

    (void)state;
    must(in_len == sizeof(pid) && list != NULL, "%zu", in_len);
    memcpy(&pid, in, sizeof(pid));
    must(setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY - 1) == 0, "still root");
    while (fgets(text, sizeof(text), list) != NULL) {
        if (sscanf(text, "%*d %d", &id) == 1) {
            count[0]++;
            count[1] += shmat(id, NULL, 0) != (void *)-1 || shmat(id, NULL, SHM_RDONLY) != (void *)-1;
        }
    }
    fclose(list);
    for (int i = 3; i < 64; i++) {
        snprintf(text, sizeof(text), "/proc/%d/fd/%d", pid, i);
        fd = open(text, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        count[1] += fd >= 0;
    }
    out_put(out, count, sizeof(count));
}

/* Their pages, pools and queues, of both kinds of memory. */
START_TEST(another_user_of_the_same_group_opens_nothing)
{
    unsigned count[2];
    proc_t job[2], other;
    int pid;

    if (geteuid() != 0) {
        return; /* there is one user only */
    }
    enter(_i);
    for (int i = 0; i < 2; i++) {
        proc_start(&job[i], sizeof(side_t), 30, side_idle);
        proc_call(&job[i], become, NULL, 0, NULL, 0);
    }
    proc_start(&other, sizeof(side_t), 30, side_idle);
    open_both(job);
    reply_of_both(job);
    memory_of_both(job);
    reply_of_both(job);
    attach_both(job);
    reply_of_both(job);
    pid = job[0].pid;
    proc_call(&other, pry, &pid, sizeof(pid), count, sizeof(count));
    must(_i != 0 || count[0] >= 4, "%u segments", count[0]);
    must(count[1] == 0, "%u of %u opened", count[1], count[0]);
    for (int i = 0; i < 2; i++) {
        proc_call(&job[i], side_close, NULL, 0, NULL, 0);
        proc_end(&job[i]);
    }
    proc_end(&other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("leftovers");
    TCase *tc = tcase_create("leftovers");

    world_needed();
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, a_killed_job_leaves_nothing, 0, 2 * PHASES - 1);
    tcase_add_test(tc, an_empty_segment_is_swept_whoever_left_it_last_and_others_are_not);
    tcase_add_loop_test(tc, jobs_of_two_users_do_not_meet, 0, 2);
    tcase_add_loop_test(tc, another_user_of_the_same_group_opens_nothing, 0, 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

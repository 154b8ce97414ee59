/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hazard: UCX ends, holds or deafens its host over something that an engine does not even need, or that
 * was not there. Each test takes a thing away for real, in its own process, and the engine opens without
 * it or says which limit was hit.
 */
#define _GNU_SOURCE
#define XXH_INLINE_ALL
#include "forbid.h"
#include "rig.h"

#include <check.h>
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xxhash.h>

#define FDS 1024
#define LEN (UINT64_C(1) << 20)

/* Stands before libc's for all that this program loads. */
static unsigned lists_of_interfaces;

int getifaddrs(struct ifaddrs **list_p)
{
    int (*next)(struct ifaddrs **) = (int (*)(struct ifaddrs **))dlsym(RTLD_NEXT, "getifaddrs");

    lists_of_interfaces++;
    return next(list_p);
}

static kvf_engine_t *open_engine(void)
{
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .progress = KVF_PROGRESS_CALLER};
    kvf_engine_t *engine = NULL;

    ok(kvf_engine_open(&opts, &engine));
    return engine;
}

/* The library's memory is shared with neighbours, and the engine closes. */
static void is_near(kvf_engine_t *engine)
{
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_segment_t *segment = NULL;

    ok(kvf_segment_alloc(engine, LEN, &segment));
    ok(kvf_segment_query(segment, &attr));
    must(attr.shared, "its memory is private");
    ok(kvf_segment_release(segment));
    ok(kvf_engine_close(engine, patient(5)));
}

static void *nothing(void *arg)
{
    return arg;
}

/* RLIMIT_NPROC counts the threads of a user, and does not hold for root. */
static int no_more_threads(void)
{
    struct rlimit one = {1, 1};
    uid_t user = 60000u + (uid_t)getpid() % 5000u;
    pthread_t thread;

    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(user) != 0 || setuid(user) != 0)) {
        return 0;
    }
    if (setrlimit(RLIMIT_NPROC, &one) != 0 || pthread_create(&thread, NULL, nothing, NULL) == 0) {
        return 0;
    }
    return 1;
}

START_TEST(an_engine_opens_where_no_thread_can_be_had)
{
    static char own[4096];
    kvf_range_t range = {.len = sizeof(own), .rights = KVF_RIGHT_READ};
    kvf_engine_t *engine;
    kvf_grant_t *grant;
    size_t len = 0;

    if (!no_more_threads()) {
        return;
    }
    engine = open_engine();
    refused_naming(kvf_engine_export(engine, KVF_BLOB_FAR, NULL, &len), KVF_ERR_SYSTEM,
                   "thread|RLIMIT_NPROC 1|pids.max");
    is_near(engine);
    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_segment_register(engine, own, sizeof(own), &range.segment));
    refused_naming(kvf_grant_create(engine, &range, 1, NULL, &grant), KVF_ERR_SYSTEM,
                   "thread|RLIMIT_NPROC 1|pids.max");
    is_near(engine);
    _exit(0); /* exit() looks for leaks under a sanitizer, in a thread */
}
END_TEST

/* The address space that is left is too small for UCX's buffers. */
START_TEST(far_peers_need_address_space)
{
    kvf_engine_t *engine = open_engine();
    struct rlimit limit = {0, 0};
    kvf_segment_t *segment;
    unsigned long pages = 0;
    char named[64];
    size_t len = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (patience() > 1) {
        return; /* the shadow of a sanitizer is larger than any limit */
    }
    if (file == NULL || fscanf(file, "%lu", &pages) != 1) {
        check_failed(__FILE__, __LINE__, "no /proc/self/statm");
    }
    fclose(file);
    limit.rlim_cur = limit.rlim_max = pages * 4096 + (UINT64_C(24) << 20);
    must(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
    snprintf(named, sizeof(named), "RLIMIT_AS|%llu", (unsigned long long)limit.rlim_cur);
    refused_naming(kvf_segment_alloc(engine, UINT64_C(32) << 20, &segment), KVF_ERR_NOMEM, named);
    answers(kvf_engine_export(engine, KVF_BLOB_FAR, NULL, &len), KVF_ERR_NOMEM);
    must(strstr(kvf_last_error(), "RLIMIT_AS") != NULL, "%s", kvf_last_error());
    is_near(engine);
}
END_TEST

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    must(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

/* Ports 40000 to 40007, of a network namespace that has lo only, and all of them taken. */
static int no_port_left(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    struct sockaddr_in at = {.sin_family = AF_INET};
    int fd;

    if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        return 0;
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0, "lo stays down");
    close(fd);
    write_file("/proc/sys/net/ipv4/ip_local_port_range", "40000 40007");
    for (uint16_t port = 40000; port < 40008; port++) {
        at.sin_port = htons(port);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 1) == 0, "port");
    }
    return 1;
}

START_TEST(far_peers_need_a_local_port)
{
    kvf_engine_t *engine;
    size_t len = 0;

    if (!no_port_left()) {
        return;
    }
    engine = open_engine();
    refused_naming(kvf_engine_export(engine, KVF_BLOB_FAR, NULL, &len), KVF_ERR_SYSTEM,
                   "lo|net.ipv4.ip_local_port_range 40000-40007");
    is_near(engine);
}
END_TEST

START_TEST(a_wire_that_the_site_forbids_is_named)
{
    kvf_engine_t *engine;
    size_t len = 0;

    setenv("UCX_TLS", "self", 1);
    engine = open_engine();
    refused_naming(kvf_engine_export(engine, KVF_BLOB_FAR, NULL, &len), KVF_ERR_UNSUPPORTED,
                   "UCX opens no such wire|UCX_TLS=self");
    refused_naming(kvf_engine_path_check(engine, KVF_PATH_AM), KVF_ERR_UNSUPPORTED, "UCX_TLS=self");
    is_near(engine);
}
END_TEST

START_TEST(a_far_peer_with_another_ucx_is_refused_by_both_numbers)
{
    kvf_engine_opts_t opts = {
        .struct_size = sizeof(opts), .progress = KVF_PROGRESS_CALLER, .local = KVF_SWITCH_OFF, .net = "tcp"};
    uint8_t blob[BLOB_MAX] = {0};
    size_t len = sizeof(blob);
    kvf_engine_t *one = NULL, *two = NULL;
    kvf_peer_t *peer = NULL;
    uint32_t other = 9u << 16 | 77u << 8;
    uint64_t sum = 0;

    ok(kvf_engine_open(&opts, &one));
    ok(kvf_engine_export(one, KVF_BLOB_FAR, blob, &len));
    ok(kvf_engine_close(one, patient(5)));
    memcpy(blob + 16, &other, sizeof(other));
    memcpy(blob + 32, &sum, sizeof(sum));
    sum = XXH3_64bits(blob, len);
    memcpy(blob + 32, &sum, sizeof(sum));
    ok(kvf_engine_open(&opts, &two));
    refused_naming(kvf_peer_import(two, blob, len, &peer), KVF_ERR_VERSION, "UCX 9.77|we run UCX");
    ok(kvf_engine_close(two, patient(5)));
}
END_TEST

START_TEST(an_engine_opens_without_a_look_at_interfaces)
{
    struct ifaddrs *list = NULL;

    must(getifaddrs(&list) == 0 && lists_of_interfaces == 1, "the count does not count");
    freeifaddrs(list);
    is_near(open_engine());
    must(lists_of_interfaces == 1, "%u looks", lists_of_interfaces - 1);
}
END_TEST

/* SIGXFSZ would end the process. Files of /dev/shm are what is left where shmget() is forbidden. */
START_TEST(a_limit_of_file_sizes_is_an_error)
{
    static const long calls[] = {SYS_shmget};
    struct rlimit limit = {4096, 4096};
    kvf_engine_t *engine;
    kvf_segment_t *segment = NULL;
    void *memory = NULL;

    if (!forbid_works()) {
        return;
    }
    must(forbid(calls, 1, EPERM) == 0 && setrlimit(RLIMIT_FSIZE, &limit) == 0, "limits");
    engine = open_engine();
    ok(kvf_segment_alloc(engine, LEN, &segment));
    ok(kvf_segment_release(segment));
    must(posix_memalign(&memory, 2 * LEN, 2 * LEN) == 0, "no memory");
    memset(memory, 1, 2 * LEN);
    must(kvf_segment_adopt(engine, memory, 2 * LEN, &segment) != KVF_OK, "adopted into nothing");
    ok(kvf_engine_close(engine, patient(5)));
    free(memory);
}
END_TEST

/* What a site sets for its MPI, valid or not. */
START_TEST(neighbours_are_deaf_to_the_settings_of_the_site)
{
    static const char *const settings[][2] = {
        {"UCX_MM_FIFO_ELEM_SIZE", "1K"},
        {"UCX_SYSV_HUGETLB_MODE", "nonsense"},
        {"UCX_POSIX_HUGETLB_MODE", "nonsense"},
        {"UCX_MM_HUGETLB_MODE", "nonsense"},
        {"UCX_POSIX_DIR", "/nonexistent"},
        {"UCX_POSIX_USE_PROC_LINK", "nonsense"},
        {"UCX_RNDV_THRESH", "abc"},
        {"UCX_TLS", "bogus"},
        {"UCX_SHM_DEVICES", "none"},
        {"UCX_ALLOC_PRIO", "heap"},
    };

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        setenv(settings[i][0], settings[i][1], 1);
    }
    is_near(open_engine());
}
END_TEST

static int inherited(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    return flags >= 0 && (flags & FD_CLOEXEC) == 0;
}

static void note_inherited(int before[FDS])
{
    for (int fd = 0; fd < FDS; fd++) {
        before[fd] = inherited(fd);
    }
}

static void no_more_is_inherited(const int before[FDS])
{
    char path[40], name[100];

    for (int fd = 0; fd < FDS; fd++) {
        ssize_t len;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        len = readlink(path, name, sizeof(name) - 1);
        name[len > 0 ? len : 0] = '\0';
        must(inherited(fd) == before[fd], "descriptor %d, %s", fd, name);
    }
}

START_TEST(a_program_that_is_started_inherits_no_descriptor)
{
    kvf_engine_t *engine;
    int before[FDS];
    size_t len = 0;

    note_inherited(before);
    engine = open_engine();
    no_more_is_inherited(before);
    ok(kvf_engine_export(engine, KVF_BLOB_FAR, NULL, &len));
    no_more_is_inherited(before);
    is_near(engine);
}
END_TEST

START_TEST(nor_one_of_a_connection)
{
    int before[FDS];
    rig_t rig;

    rig_fork(&rig, WHERE_AM, NULL);
    note_inherited(before);
    rig_join(&rig);
    owner_fill(&rig, 2);
    for (int i = 0; i < 100; i++) { /* what a connection opens comes bit by bit */
        ok(kvf_progress(rig.me.engine));
        sleep_ms(1);
    }
    no_more_is_inherited(before);
    rig_close(&rig);
}
END_TEST

START_TEST(a_connection_needs_descriptors)
{
    struct rlimit limit;
    kvf_peer_t *peer = NULL;
    kvf_engine_t *engine;
    kvf_engine_opts_t opts = {
        .struct_size = sizeof(opts), .progress = KVF_PROGRESS_CALLER, .local = KVF_SWITCH_OFF, .net = "tcp"};
    uint8_t blob[BLOB_MAX];
    size_t len = sizeof(blob);
    uint32_t flags = KVF_BLOB_FAR;
    rig_opts_t rig_opts = {0};
    rig_t rig;

    rig_open(&rig, WHERE_AM, &rig_opts);
    len = rig_call(&rig, side_blob, &flags, sizeof(flags), blob, sizeof(blob));
    ok(kvf_engine_open(&opts, &engine));
    ok(kvf_engine_export(engine, KVF_BLOB_FAR, NULL, &(size_t){0}));
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = (rlim_t)dup(0) + 2;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    refused_naming(kvf_peer_import(engine, blob, len, &peer), KVF_ERR_SYSTEM, "connection|RLIMIT_NOFILE");
    limit.rlim_cur = limit.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    ok(kvf_engine_close(engine, patient(5)));
    rig_close(&rig);
}
END_TEST

START_TEST(a_connection_that_fails_on_our_side_is_no_dead_peer)
{
    static const long calls[] = {SYS_socket};
    kvf_engine_opts_t opts;
    kvf_peer_t *peer = NULL;
    kvf_engine_t *engine;
    uint8_t blob[BLOB_MAX];
    size_t len;
    uint32_t flags = KVF_BLOB_FAR;
    kvf_status_t status;
    rig_t rig;

    if (!forbid_works()) {
        return;
    }
    rig_open(&rig, WHERE_AM, NULL);
    far_stands(rig.me.engine, rig.peer, &rig.owner);
    len = rig_call(&rig, side_blob, &flags, sizeof(flags), blob, sizeof(blob));
    where_opts(WHERE_AM, &opts);
    ok(kvf_engine_open(&opts, &engine));
    ok(kvf_engine_export(engine, KVF_BLOB_FAR, NULL, &(size_t){0}));
    must(forbid(calls, 1, EMFILE) == 0, "seccomp");
    status = kvf_peer_import(engine, blob, len, &peer);
    must(status == KVF_ERR_SYSTEM, "%s (%s)", kvf_status_name(status), kvf_last_error());
    ok(kvf_engine_close(engine, patient(5)));
    rig_close(&rig);
}
END_TEST

/* in: how many more descriptors this process may have; UINT32_MAX: as many as may be. */
static void at_limit(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    struct rlimit limit;
    uint32_t more;
    int next = dup(0);

    (void)state;
    (void)out;
    memcpy(&more, in, in_len);
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = more == UINT32_MAX ? limit.rlim_max : (rlim_t)next + more;
    close(next);
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
}

static kvf_status_t tell(kvf_batch_t *batch, kvf_peer_t *peer, uint64_t deadline_ns)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = deadline_ns, .notify_peer = peer};

    ok(kvf_batch_post(batch, NULL, 0, sizeof(kvf_op_t), &opts));
    return kvf_batch_wait(batch, KVF_FOREVER);
}

/* The one that comes then has done nothing wrong. */
START_TEST(who_came_while_descriptors_were_out_is_answered_later)
{
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .local = KVF_SWITCH_OFF, .net = "tcp"};
    uint32_t flags = KVF_BLOB_FAR, few = 4, many = UINT32_MAX;
    uint8_t blob[BLOB_MAX];
    kvf_engine_t *engine;
    kvf_batch_t *batch;
    kvf_peer_t *peer;
    size_t len;
    rig_t rig;

    rig_open(&rig, WHERE_AM, NULL);
    len = rig_call(&rig, side_blob, &flags, sizeof(flags), blob, sizeof(blob));
    rig_call(&rig, at_limit, &few, sizeof(few), NULL, 0);
    ok(kvf_engine_open(&opts, &engine));
    ok(kvf_batch_create(engine, &batch));
    ok(kvf_peer_import(engine, blob, len, &peer));
    must(tell(batch, peer, patient(1) / 5) == KVF_ERR_TIMEOUT, "there were descriptors");
    rig_call(&rig, at_limit, &many, sizeof(many), NULL, 0);
    answers(tell(batch, peer, patient(10)), KVF_OK);
    ok(kvf_engine_close(engine, patient(5)));
    rig_close(&rig);
}
END_TEST

/* ------------------------------------------------------- children of a far peer */

typedef enum helper {
    FORKED,  /* starts no program */
    SPAWNED, /* of which pthread_atfork() hears nothing */
    CLONED,  /* keeps every descriptor: only a word of goodbye helps */
    HELPERS
} helper_t;

extern char **environ;

/* in: helper_t. Out: its pid. */
static void at_start_helper(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    char *const args[] = {"sleep", "30", NULL};
    helper_t how;
    pid_t pid = 0;

    (void)state;
    memcpy(&how, in, in_len);
    if (how == SPAWNED) {
        must(posix_spawnp(&pid, "sleep", NULL, NULL, args, environ) == 0, "no sleep");
    } else {
        pid = how == FORKED ? fork() : (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
        if (pid == 0) {
            for (;;) {
                pause();
            }
        }
    }
    out_put(out, &pid, sizeof(pid));
}

static int is_alive(kvf_peer_t *peer)
{
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};

    ok(kvf_peer_query(peer, &attr));
    return attr.alive;
}

/* Loop: helpers; the peer is killed, or closes. */
START_TEST(a_far_peer_that_went_is_missed_though_a_child_of_it_lives)
{
    helper_t how = (helper_t)(_i / 2);
    int closes = _i % 2;
    uint64_t end;
    pid_t pid;
    rig_t rig;

    if (how == CLONED && !closes) {
        return; /* nobody is left to say goodbye */
    }
    rig_open(&rig, WHERE_AM, NULL);
    far_stands(rig.me.engine, rig.peer, &rig.owner);
    must(rig_call(&rig, at_start_helper, &how, sizeof(how), &pid, sizeof(pid)) == sizeof(pid), "a pid");
    if (closes) {
        proc_ask(&rig.owner, side_close, NULL, 0);
    } else {
        proc_signal(&rig.owner, SIGKILL);
    }
    end = now_ns() + patient(3);
    while (is_alive(rig.peer) && now_ns() < end) {
        ok(kvf_progress(rig.me.engine));
        sleep_ms(1);
    }
    kill(pid, SIGKILL);
    must(now_ns() < end, "it counts as alive");
    if (closes) {
        proc_signal(&rig.owner, SIGKILL);
    }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("guest");
    TCase *tcase = tcase_create("guest");

    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, an_engine_opens_where_no_thread_can_be_had);
    tcase_add_test(tcase, an_engine_opens_without_a_look_at_interfaces);
    tcase_add_test(tcase, a_limit_of_file_sizes_is_an_error);
    tcase_add_test(tcase, neighbours_are_deaf_to_the_settings_of_the_site);
    tcase_add_test(tcase, far_peers_need_address_space);
    tcase_add_test(tcase, far_peers_need_a_local_port);
    tcase_add_test(tcase, a_wire_that_the_site_forbids_is_named);
    tcase_add_test(tcase, a_far_peer_with_another_ucx_is_refused_by_both_numbers);
    tcase_add_test(tcase, a_program_that_is_started_inherits_no_descriptor);
    tcase_add_test(tcase, nor_one_of_a_connection);
    tcase_add_test(tcase, a_connection_needs_descriptors);
    tcase_add_test(tcase, who_came_while_descriptors_were_out_is_answered_later);
    tcase_add_test(tcase, a_connection_that_fails_on_our_side_is_no_dead_peer);
    tcase_add_loop_test(tcase, a_far_peer_that_went_is_missed_though_a_child_of_it_lives, 0, 2 * HELPERS);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hazard: UCX ends, holds or deafens its host over something that an engine does not even need, or that
 * was not there. Each test takes a thing away for real, in its own process, and the engine opens without
 * it or says which limit was hit.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

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
    kvf_engine_opts_t opts = { .struct_size = sizeof(opts), .progress = KVF_PROGRESS_CALLER };
    kvf_engine_t *engine = NULL;

    ok(kvf_engine_open(&opts, &engine));
    return engine;
}

/* The library's memory is shared with neighbours, and the engine closes. */
static void is_near(kvf_engine_t *engine)
{
    kvf_segment_attr_t attr = { .struct_size = sizeof(attr) };
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
    struct rlimit one = { 1, 1 };
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
    if (!no_more_threads()) {
        return;
    }
    is_near(open_engine());
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

/* What a site sets for its MPI, valid or not. */
START_TEST(neighbours_are_deaf_to_the_settings_of_the_site)
{
    static const char *const settings[][2] = {
        { "UCX_MM_FIFO_ELEM_SIZE", "1K" },     { "UCX_SYSV_HUGETLB_MODE", "nonsense" },
        { "UCX_POSIX_HUGETLB_MODE", "nonsense" }, { "UCX_MM_HUGETLB_MODE", "nonsense" },
        { "UCX_POSIX_DIR", "/nonexistent" },   { "UCX_POSIX_USE_PROC_LINK", "nonsense" },
        { "UCX_RNDV_THRESH", "abc" },          { "UCX_TLS", "bogus" },
        { "UCX_SHM_DEVICES", "none" },         { "UCX_ALLOC_PRIO", "heap" },
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

START_TEST(a_program_that_is_started_inherits_no_descriptor)
{
    kvf_engine_t *engine;
    int before[FDS];

    for (int fd = 0; fd < FDS; fd++) {
        before[fd] = inherited(fd);
    }
    engine = open_engine();
    for (int fd = 0; fd < FDS; fd++) {
        must(inherited(fd) == before[fd], "descriptor %d", fd);
    }
    is_near(engine);
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
    tcase_add_test(tcase, neighbours_are_deaf_to_the_settings_of_the_site);
    tcase_add_test(tcase, a_program_that_is_started_inherits_no_descriptor);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A memory cgroup (v1 or v2) smaller than what its processes ask for, one after the other and all at
 * once: an error that names the limit, and the kernel kills nobody.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANKS 4
#define MIB   (UINT64_C(1) << 20)
#define LIMIT (256 * MIB)

static char group[4200];

static int put(const char *name, const char *text)
{
    char path[4300];
    int fd;
    ssize_t n;

    snprintf(path, sizeof(path), "%s/%s", group, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : write(fd, text, strlen(text));
    if (fd >= 0) {
        close(fd);
    }
    return n < 0 ? -1 : 0;
}

/* The folder of this process's memory cgroup in a hierarchy; 0, or -1. */
static int own_group(const char *mark, const char *root, char *buf, size_t len)
{
    FILE *f = fopen("/proc/self/cgroup", "r");
    char line[4096];
    int found = -1;

    while (f != NULL && found != 0 && fgets(line, sizeof(line), f) != NULL) {
        char *at = strstr(line, mark);

        if (at != NULL) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(buf, len, "%s%s", root, at + strlen(mark));
            found = 0;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return found;
}

static int try_group(const char *mark, const char *root, const char *limit)
{
    char own[4100];
    char text[32];

    if (own_group(mark, root, own, sizeof(own)) != 0) {
        return -1;
    }
    snprintf(group, sizeof(group), "%s/kvferry-test-%d", own, (int)getpid());
    if (mkdir(group, 0755) != 0) {
        return -1;
    }
    snprintf(text, sizeof(text), "%llu", (unsigned long long)LIMIT);
    if (put(limit, text) == 0) {
        return 0;
    }
    rmdir(group);
    return -1;
}

static void make_group(void)
{
    if (try_group(":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes") != 0 &&
        try_group("0::", "/sys/fs/cgroup", "memory.max") != 0) {
        skip_all("no memory cgroup can be made here");
    }
}

/* The processes in it may take a moment to be gone. */
static void drop_group(void)
{
    for (int i = 0; i < 100 && rmdir(group) != 0 && errno == EBUSY; i++) {
        sleep_ms(20);
    }
}

typedef struct had {
    kvf_status_t status;
    char sentence[512];
} had_t;

static void join_and_open(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    char pid[16];

    (void)in;
    (void)in_len;
    (void)out;
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    must(put("cgroup.procs", pid) == 0, "%s: %s", group, strerror(errno));
    ok(kvf_engine_open(NULL, &side->engine));
}

static void try_segment(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    had_t had = {0};
    uint64_t len;

    must(in_len == sizeof(len), "%zu", in_len);
    memcpy(&len, in, sizeof(len));
    had.status = kvf_segment_alloc(side->engine, len, &side->segment);
    snprintf(had.sentence, sizeof(had.sentence), "%s", had.status != KVF_OK ? kvf_last_error() : "");
    out_put(out, &had, sizeof(had));
}

START_TEST(more_than_the_cgroup_allows_is_an_error_that_names_it)
{
    proc_t rank;
    had_t had;
    uint64_t len = LIMIT + MIB;

    proc_start(&rank, sizeof(side_t), 40, side_idle);
    proc_call(&rank, join_and_open, NULL, 0, NULL, 0);
    proc_call(&rank, try_segment, &len, sizeof(len), &had, sizeof(had));
    must(had.status == KVF_ERR_NOMEM && strstr(had.sentence, "cgroup") != NULL, "%s: %s",
         kvf_status_name(had.status), had.sentence);
    len = LIMIT / 2;
    proc_call(&rank, try_segment, &len, sizeof(len), &had, sizeof(had));
    must(had.status == KVF_OK, "half of it: %s", had.sentence);
    proc_call(&rank, side_close, NULL, 0, NULL, 0);
    proc_end(&rank);
}
END_TEST

START_TEST(four_that_ask_at_once_for_more_than_there_is_all_live)
{
    proc_t ranks[RANKS];
    had_t had[RANKS];
    uint64_t len = LIMIT * 2 / 5;
    int got = 0;

    for (int i = 0; i < RANKS; i++) {
        proc_start(&ranks[i], sizeof(side_t), 40, side_idle);
    }
    for (int i = 0; i < RANKS; i++) {
        proc_call(&ranks[i], join_and_open, NULL, 0, NULL, 0);
    }
    for (int i = 0; i < RANKS; i++) {
        proc_ask(&ranks[i], try_segment, &len, sizeof(len));
    }
    for (int i = 0; i < RANKS; i++) {
        proc_reply(&ranks[i], &had[i], sizeof(had[i]));
        got += had[i].status == KVF_OK;
        must(had[i].status == KVF_OK || strstr(had[i].sentence, "cgroup") != NULL, "rank %d: %s", i,
             had[i].sentence);
    }
    must(got < RANKS, "four times two fifths fitted");
    for (int i = 0; i < RANKS; i++) {
        proc_call(&ranks[i], side_close, NULL, 0, NULL, 0);
        proc_end(&ranks[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cgroup");
    TCase *tc = tcase_create("cgroup");

    make_group();
    tcase_add_unchecked_fixture(tc, NULL, drop_group);
    tcase_set_timeout(tc, 40);
    tcase_add_test(tc, more_than_the_cgroup_allows_is_an_error_that_names_it);
    tcase_add_test(tc, four_that_ask_at_once_for_more_than_there_is_all_live);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

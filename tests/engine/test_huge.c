/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Huge pages, set aside and transparent, as the machine grants them: used where a whole one fits and
 * at most 1 % is wasted, given up without a word where they do not suffice, readable by a neighbour.
 * Sets /sys and /proc of the whole machine while it runs, and puts them back.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define HUGE_COUNT "/proc/sys/vm/nr_hugepages"
#define THP_SHARED "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define MIB        (UINT64_C(1) << 20)
#define PAGES      40

static char count_was[64];
static char shared_was[64];

static void get(const char *path, char *buf, size_t len)
{
    FILE *f = fopen(path, "r");

    buf[0] = '\0';
    if (f != NULL) {
        if (fgets(buf, (int)len, f) == NULL) {
            buf[0] = '\0';
        }
        fclose(f);
    }
}

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

    if (fd >= 0) {
        close(fd);
    }
    return n < 0 ? -1 : 0;
}

static void put_back(void)
{
    char *from = strchr(shared_was, '[');
    char *to = from != NULL ? strchr(from, ']') : NULL;

    put(HUGE_COUNT, count_was);
    if (to != NULL) {
        *to = '\0';
        put(THP_SHARED, from + 1);
        *to = ']';
    }
}

static long huge_free(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    char line[256];
    long count = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL &&
           sscanf(line, "HugePages_Free: %ld", &count) != 1) {
    }
    if (f != NULL) {
        fclose(f);
    }
    return count;
}

/* One of these programs at a time: the lock goes with the process. */
static void lock_machine(void)
{
    int fd = open(HUGE_COUNT, O_RDONLY | O_CLOEXEC);

    for (int i = 0; i < 300 && fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        sleep_ms(100);
        if (i == 299) {
            skip_all("another test has set " HUGE_COUNT " for 30 s");
        }
    }
}

/* Both, or nothing; and 2 MiB pages: the lengths below are made for them. */
static void need_both(void)
{
    char text[64];

    lock_machine();
    get(HUGE_COUNT, count_was, sizeof(count_was));
    get(THP_SHARED, shared_was, sizeof(shared_was));
    get("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", text, sizeof(text));
    if (atol(text) != 2 << 20 || access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK) != 0) {
        skip_all("this kernel has no huge pages of 2 MiB of both kinds");
    }
    if (atol(count_was) != 0) {
        skip_all("huge pages are set aside here: this test would disturb who uses them");
    }
    snprintf(text, sizeof(text), "%d", PAGES);
    if (put(HUGE_COUNT, text) != 0 || put(THP_SHARED, "advise") != 0) {
        put_back();
        skip_all("%s or %s cannot be written", HUGE_COUNT, THP_SHARED);
    }
    if (huge_free() < PAGES) {
        put_back();
        skip_all("the kernel finds no %d huge pages", PAGES);
    }
}

/* Of the machine, not of one test. 0, or -1: memory is too full or too scattered just now. */
static int set(int count, const char *thp)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", count);
    for (int i = 0; i < 20; i++) {
        must(put(HUGE_COUNT, text) == 0 && put(THP_SHARED, thp) == 0, "the machine's settings");
        if (huge_free() == count) {
            return 0;
        }
        put("/proc/sys/vm/compact_memory", "1");
        sleep_ms(50);
    }
    fprintf(stderr, "not tested: the kernel finds %ld of %d huge pages\n", huge_free(), count);
    return -1;
}

static void query(kvf_engine_t *engine, uint64_t len, kvf_segment_t **segment_p, kvf_segment_attr_t *attr)
{
    memset(attr, 0, sizeof(*attr));
    attr->struct_size = sizeof(*attr);
    ok(kvf_segment_alloc(engine, len, segment_p));
    ok(kvf_segment_query(*segment_p, attr));
    must(attr->shared && attr->len == len, "shared, and as long as asked");
}

START_TEST(pages_set_aside_are_used_where_little_is_wasted)
{
    static const struct {
        uint64_t len;
        int huge;
    } cases[] = {
        {64 * MIB, 1},        {2 * MIB, 1},         {3 * MIB, 0},         {4096, 0},
        {64 * MIB + 4096, 0}, {70 * MIB - 4096, 1}, {PAGES * 2 * MIB, 1}, {PAGES * 2 * MIB + 2 * MIB, 0}};
    kvf_engine_t *engine = NULL;

    if (set(PAGES, "never") != 0) {
        return;
    }
    ok(kvf_engine_open(NULL, &engine));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t len = cases[i].len;
        kvf_segment_attr_t attr;
        kvf_segment_t *segment = NULL;

        query(engine, len, &segment, &attr);
        /* another program of this machine may have some of the pages for a moment */
        for (int k = 0; k < 100 && cases[i].huge && attr.page_bytes < 2 * MIB; k++) {
            ok(kvf_segment_release(segment));
            sleep_ms(20);
            query(engine, len, &segment, &attr);
        }
        must((attr.page_bytes == 2 * MIB) == cases[i].huge, "%zu bytes: pages of %zu", (size_t)len,
             (size_t)attr.page_bytes);
        must(attr.huge_bytes == (cases[i].huge ? attr.region_bytes : 0), "%zu of %zu huge",
             (size_t)attr.huge_bytes, (size_t)attr.region_bytes);
        must(attr.region_bytes - len <= (len < 409600 ? 4096 : len / 100), "%zu for %zu",
             (size_t)attr.region_bytes, (size_t)len);
        ok(kvf_segment_release(segment));
    }
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(transparent_ones_fill_what_holds_a_whole_one)
{
    kvf_engine_t *engine = NULL;
    kvf_segment_attr_t attr;
    kvf_segment_t *segment = NULL;

    if (set(0, _i == 0 ? "advise" : "never") != 0) {
        return;
    }
    ok(kvf_engine_open(NULL, &engine));
    query(engine, 7 * MIB, &segment, &attr);
    must(attr.region_bytes == 7 * MIB && attr.page_bytes == 4096, "the region");
    must(attr.huge_bytes == (_i == 0 ? 6 * MIB : 0), "%zu bytes in huge pages", (size_t)attr.huge_bytes);
    ok(kvf_segment_release(segment));
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

static void at_query(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};

    (void)in;
    (void)in_len;
    ok(kvf_segment_query(side->segment, &attr));
    out_put(out, &attr, sizeof(attr));
}

/* Read and write by a neighbour; the region of a pool is one page longer than its blocks. */
START_TEST(a_neighbour_reaches_huge_memory)
{
    rig_opts_t opts = {.owner_len = 64 * MIB, .local_len = 64 * MIB, .local_alloc = 1};
    kvf_segment_attr_t attr;
    kvf_op_t op;
    rig_t rig;

    if (set(_i == 0 ? PAGES : 0, _i == 0 ? "never" : "advise") != 0) {
        return;
    }
    rig_open(&rig, WHERE_SHM, &opts);
    rig_call(&rig, at_query, NULL, 0, &attr, sizeof(attr));
    if (attr.huge_bytes != 64 * MIB) { /* another program has them; the bytes must be right all the same */
        fprintf(stderr, "not tested: %zu bytes in huge pages\n", (size_t)attr.huge_bytes);
    }
    owner_fill(&rig, 3);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, 64 * MIB, KVF_READ);
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, 64 * MIB, 3) == UINT64_MAX, "wrong bytes");
    pattern_fill(rig.me.mem, 64 * MIB, 4);
    op.dir = KVF_WRITE;
    move(&rig, &op, 1);
    must(owner_compare(&rig, 4) == UINT64_MAX, "wrong bytes at the owner");
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("huge");
    TCase *tc = tcase_create("huge");

    need_both();
    tcase_add_unchecked_fixture(tc, NULL, put_back);
    tcase_set_timeout(tc, 40);
    tcase_add_test(tc, pages_set_aside_are_used_where_little_is_wasted);
    tcase_add_loop_test(tc, transparent_ones_fill_what_holds_a_whole_one, 0, 2);
    tcase_add_loop_test(tc, a_neighbour_reaches_huge_memory, 0, 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

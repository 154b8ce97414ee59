/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Adopted memory: the address and the bytes stay, peers reach it over shm, what cannot be adopted is
 * refused and left alone, and giving it back loses nothing, also when memory is short, when the caller
 * unmapped it, when the engine closes, and while other threads ask for the address.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN (UINT64_C(4) << 20)

static uint8_t *map_private(uint64_t len)
{
    uint8_t *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    must(mem != MAP_FAILED, "mmap");
    return mem;
}

/* 's' or 'p' of the mapping at addr, 0: none. */
static char sharing(const void *addr)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long from, to;
    char line[512], perms[5], found = 0;

    while (fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%lx-%lx %4s", &from, &to, perms) == 3 && from <= (uintptr_t)addr &&
            (uintptr_t)addr < to) {
            found = perms[3];
        }
    }
    fclose(maps);
    return found;
}

static kvf_engine_t *engine_open(void)
{
    kvf_engine_t *engine = NULL;

    ok(kvf_engine_open(NULL, &engine));
    return engine;
}

/* ---------------------------------------------------------------- over shm */

static void at_adopt(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint8_t *mem = map_private(LEN);
    uint8_t buf[BLOB_MAX];
    size_t len = sizeof(buf);
    kvf_segment_t *segment;
    kvf_grant_t *grant;
    kvf_range_t range = {.len = LEN, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};

    (void)in;
    (void)in_len;
    pattern_fill(mem, LEN, 7);
    ok(kvf_segment_adopt(side->engine, mem, LEN, &segment));
    ok(kvf_segment_query(segment, &attr));
    must(attr.addr == mem && attr.len == LEN && attr.shared == 1 && attr.adopted == 1, "attributes");
    must(pattern_compare(mem, LEN, 7) == UINT64_MAX, "the contents changed");
    must(sharing(mem) == 's', "still private");
    range.segment = segment;
    ok(kvf_grant_create(side->engine, &range, 1, NULL, &grant));
    refused(kvf_segment_release(segment), KVF_ERR_BUSY, NULL);
    ok(kvf_grant_export(grant, buf, &len));
    side->extra[0] = mem;
    side->extra[1] = segment;
    side->extra[2] = grant;
    out_put(out, buf, len);
}

/* in: two seeds; the memory must be the first, and becomes the second. */
static void at_exchange(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint64_t seeds[2];

    (void)out;
    memcpy(seeds, in, in_len);
    must(pattern_compare(side->extra[0], LEN, seeds[0]) == UINT64_MAX, "a peer's bytes are not here");
    pattern_fill(side->extra[0], LEN, seeds[1]);
}

static void at_return(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    uint64_t seed;

    (void)out;
    memcpy(&seed, in, in_len);
    ok(kvf_grant_revoke(side->extra[2], patient(1)));
    ok(kvf_segment_release(side->extra[1]));
    must(sharing(side->extra[0]) == 'p', "still shared");
    must(pattern_compare(side->extra[0], LEN, seed) == UINT64_MAX, "the contents changed");
    munmap(side->extra[0], LEN);
}

START_TEST(a_peer_reads_and_writes_it_over_shm)
{
    rig_t rig;
    uint8_t blob[BLOB_MAX];
    kvf_remote_t *remote;
    uint32_t count = 1;
    uint64_t seeds[2] = {8, 9};
    kvf_path_t path;
    kvf_op_t op;
    size_t len;

    rig_open(&rig, (where_t)_i, &(rig_opts_t){.local_len = LEN});
    len = rig_call(&rig, at_adopt, NULL, 0, blob, sizeof(blob));
    ok(kvf_remote_import(rig.peer, blob, len, &remote, &count));
    ok(kvf_path_of(rig.me.segment, remote, 0, &path));
    must(path == where_path(rig.where), "path %s", kvf_path_name(path));
    op = op_plain(rig.me.segment, 0, remote, 0, LEN, KVF_READ);
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, LEN, 7) == UINT64_MAX, "wrong bytes read");
    pattern_fill(rig.me.mem, LEN, seeds[0]);
    op.dir = KVF_WRITE;
    move(&rig, &op, 1);
    rig_call(&rig, at_exchange, seeds, sizeof(seeds), NULL, 0);
    op.dir = KVF_READ;
    move(&rig, &op, 1);
    must(pattern_compare(rig.me.mem, LEN, seeds[1]) == UINT64_MAX, "the owner's stores are not seen");
    ok(kvf_remote_forget(remote));
    rig_call(&rig, at_return, &seeds[1], sizeof(seeds[1]), NULL, 0);
    rig_close(&rig);
}
END_TEST

/* ---------------------------------------------------------------- refusals */

/* Refused with the word, and the bytes are as they were. */
static void refuse(kvf_engine_t *engine, uint8_t *mem, const char *word)
{
    kvf_segment_t *segment = NULL;
    char before = sharing(mem);

    refused_naming(kvf_segment_adopt(engine, mem, LEN, &segment), KVF_ERR_UNSUPPORTED, word);
    must(segment == NULL && sharing(mem) == before, "something changed");
    must(pattern_compare(mem, LEN, 3) == UINT64_MAX, "the contents changed");
}

START_TEST(what_cannot_be_adopted_is_left_alone)
{
    kvf_engine_t *engine = engine_open();
    kvf_segment_t *segment = NULL;
    uint8_t *mem = map_private(LEN), *other;
    FILE *file = tmpfile();

    pattern_fill(mem, LEN, 3);
    must(fwrite(mem, 1, LEN, file) == LEN && fflush(file) == 0, "a file");

    other = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(file), 0);
    refuse(engine, other, "a file is behind it");
    munmap(other, LEN);
    other = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    refuse(engine, other, "shared already");
    munmap(other, LEN);
    fclose(file);

    must(mprotect(mem + LEN / 2, 4096, PROT_READ) == 0, "mprotect");
    refuse(engine, mem, "not readable and writable");
    mprotect(mem + LEN / 2, 4096, PROT_READ | PROT_WRITE);
    must(madvise(mem, 4096, MADV_DONTFORK) == 0, "madvise");
    refuse(engine, mem, "kept from forks");
    madvise(mem, 4096, MADV_DOFORK);
    /* by number: the address sanitizer makes a mlock() that does nothing */
    if (syscall(SYS_mlock, mem + LEN - 4096, 4096) == 0) {
        refuse(engine, mem, "locked");
        syscall(SYS_munlock, mem + LEN - 4096, 4096);
    }
    refused_naming(kvf_segment_adopt(engine, mem + 64, LEN - 4096, &segment), KVF_ERR_INVALID, "addr|page");
    refused_naming(kvf_segment_adopt(engine, mem, LEN - 64, &segment), KVF_ERR_INVALID, "len|page");
    refused_naming(kvf_segment_adopt(engine, NULL, LEN, &segment), KVF_ERR_INVALID, "addr");
    refused_naming(kvf_segment_adopt(engine, mem, 0, &segment), KVF_ERR_INVALID, "len");
    refused_naming(kvf_segment_adopt(engine, mem, UINT64_MAX & ~UINT64_C(4095), &segment), KVF_ERR_INVALID,
                   "overflows");
    refused_naming(kvf_segment_adopt(engine, mem, LEN, NULL), KVF_ERR_INVALID, "segment_p");
    munmap(mem + LEN - 4096, 4096);
    refused_naming(kvf_segment_adopt(engine, mem, LEN, &segment), KVF_ERR_INVALID, "mapped");
    must(pattern_compare(mem, LEN - 4096, 3) == UINT64_MAX, "the contents changed");

    ok(kvf_segment_adopt(engine, mem, LEN - 4096, &segment));
    refused_naming(kvf_segment_adopt(engine, mem, 4096, &segment), KVF_ERR_UNSUPPORTED, "shared already");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(without_shared_memory_it_is_refused)
{
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .local = KVF_SWITCH_OFF};
    kvf_engine_t *engine = NULL;
    kvf_segment_t *segment = NULL;
    uint8_t *mem = map_private(LEN);

    pattern_fill(mem, LEN, 3);
    ok(kvf_engine_open(&opts, &engine));
    if (kvf_segment_adopt(engine, mem, LEN, &segment) != KVF_OK) {
        refuse(engine, mem, "no shared memory");
    }
    must(pattern_compare(mem, LEN, 3) == UINT64_MAX, "the contents changed");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

/* ------------------------------------------------------------ short of memory */

static void limit_address_space(uint64_t more)
{
    struct rlimit limit;
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    int got = fscanf(statm, "%lu", &pages);

    must(got == 1, "statm");
    fclose(statm);
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = more == 0 ? limit.rlim_max : pages * 4096 + more;
    must(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
}

START_TEST(short_of_memory_nothing_changes)
{
    kvf_engine_t *engine = engine_open();
    kvf_segment_t *segment = NULL;
    uint64_t len = 16 * LEN;
    uint8_t *mem = map_private(len);

    pattern_fill(mem, len, 5);
    limit_address_space(len / 2); /* no room for the region */
    refused(kvf_segment_adopt(engine, mem, len, &segment), KVF_ERR_NOMEM, NULL);
    limit_address_space(len + len / 2); /* none for the second mapping */
    answers(kvf_segment_adopt(engine, mem, len, &segment), KVF_ERR_NOMEM);
    limit_address_space(0);
    must(segment == NULL && sharing(mem) == 'p', "something changed");
    must(pattern_compare(mem, len, 5) == UINT64_MAX, "the contents changed");

    ok(kvf_segment_adopt(engine, mem, len, &segment));
    pattern_fill(mem, len, 6);
    limit_address_space(len / 2);
    refused(kvf_segment_release(segment), KVF_ERR_NOMEM, NULL);
    limit_address_space(0);
    must(sharing(mem) == 's' && pattern_compare(mem, len, 6) == UINT64_MAX, "something was lost");
    ok(kvf_segment_release(segment));
    must(sharing(mem) == 'p' && pattern_compare(mem, len, 6) == UINT64_MAX, "something was lost");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(a_close_gives_it_back_or_leaves_it_there)
{
    for (int starve = 0; starve < 2; starve++) {
        kvf_engine_t *engine = engine_open();
        kvf_segment_t *segment;
        uint64_t len = 16 * LEN;
        uint8_t *mem = map_private(len);

        pattern_fill(mem, len, 4);
        ok(kvf_segment_adopt(engine, mem, len, &segment));
        if (starve) {
            limit_address_space(len / 2);
        }
        ok(kvf_engine_close(engine, patient(1)));
        limit_address_space(0);
        must(sharing(mem) == (starve ? 's' : 'p'), "'%c'", sharing(mem));
        must(pattern_compare(mem, len, 4) == UINT64_MAX, "something was lost");
        munmap(mem, len);
    }
}
END_TEST

/* ------------------------------------------------------------------- hazards */

START_TEST(memory_that_the_caller_unmapped_is_not_touched)
{
    kvf_engine_t *engine = engine_open();
    kvf_segment_t *segment;
    uint8_t *mem = map_private(LEN), *again;

    ok(kvf_segment_adopt(engine, mem, LEN, &segment));
    munmap(mem, LEN);
    again = mmap(mem, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    must(again == mem, "mmap");
    pattern_fill(again, LEN, 2);
    ok(kvf_segment_release(segment));
    must(pattern_compare(again, LEN, 2) == UINT64_MAX, "a release wrote over foreign memory");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

static atomic_int stop;

/* Asks for the address all the time: the kernel grants it whenever it is free. */
static void *ask_for_it(void *arg)
{
    int *got = calloc(1, sizeof(*got));

    while (!atomic_load(&stop) && !*got) {
        uint8_t *mem = mmap(arg, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        *got = mem == arg;
        munmap(mem, LEN);
    }
    return got;
}

START_TEST(other_threads_never_get_the_address)
{
    kvf_engine_t *engine = engine_open();
    kvf_segment_t *segment;
    uint8_t *mem = map_private(LEN);
    pthread_t thread;
    void *got;

    pattern_fill(mem, LEN, 6);
    must(pthread_create(&thread, NULL, ask_for_it, mem) == 0, "pthread_create");
    for (int i = 0; i < 50; i++) {
        ok(kvf_segment_adopt(engine, mem, LEN, &segment));
        must(pattern_compare(mem, LEN, 6) == UINT64_MAX, "round %d: adopted", i);
        ok(kvf_segment_release(segment));
        must(pattern_compare(mem, LEN, 6) == UINT64_MAX, "round %d: returned", i);
    }
    atomic_store(&stop, 1);
    pthread_join(thread, &got);
    must(*(int *)got == 0, "the address was free for a moment");
    free(got);
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

typedef struct adopter {
    kvf_engine_t *engine;
    uint8_t *mem;
    pthread_barrier_t *start;
    kvf_segment_t *segment;
    kvf_status_t status;
} adopter_t;

static void *adopts(void *arg)
{
    adopter_t *a = arg;

    pthread_barrier_wait(a->start);
    a->status = kvf_segment_adopt(a->engine, a->mem, LEN, &a->segment);
    return NULL;
}

START_TEST(of_two_threads_that_adopt_the_same_pages_one_does)
{
    kvf_engine_t *engines[2] = {engine_open(), engine_open()};
    uint8_t *mem = map_private(LEN);
    pthread_barrier_t start;

    pthread_barrier_init(&start, NULL, 2);
    for (int round = 0; round < 10; round++) {
        adopter_t a[2];
        pthread_t threads[2];
        int first;

        for (int i = 0; i < 2; i++) {
            a[i] = (adopter_t){engines[i], mem, &start, NULL, KVF_OK};
            must(pthread_create(&threads[i], NULL, adopts, &a[i]) == 0, "pthread_create");
        }
        for (int i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
        }
        first = a[0].status != KVF_OK;
        must(a[first].status == KVF_OK && a[!first].status == KVF_ERR_UNSUPPORTED, "%s and %s",
             kvf_status_name(a[0].status), kvf_status_name(a[1].status));
        ok(kvf_segment_release(a[first].segment));
        must(sharing(mem) == 'p', "still shared");
    }
    pthread_barrier_destroy(&start);
    for (int i = 0; i < 2; i++) {
        ok(kvf_engine_close(engines[i], patient(1)));
    }
}
END_TEST

START_TEST(a_child_shares_it)
{
    kvf_engine_t *engine = engine_open();
    kvf_segment_t *segment;
    uint8_t *mem = map_private(LEN);
    pid_t pid;
    int status;

    ok(kvf_segment_adopt(engine, mem, LEN, &segment));
    pid = fork();
    if (pid == 0) {
        mem[5] = 77;
        _exit(kvf_segment_release(segment) == KVF_ERR_FORKED ? 0 : 1);
    }
    must(waitpid(pid, &status, 0) == pid && status == 0, "status 0x%x", status);
    must(mem[5] == 77, "a child's store is not seen");
    ok(kvf_segment_release(segment));
    pid = fork();
    if (pid == 0) {
        mem[5] = 78;
        _exit(0);
    }
    must(waitpid(pid, &status, 0) == pid && mem[5] == 77, "memory given back is still shared");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("adopt");
    TCase *tcase = tcase_create("adopt");

    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, a_peer_reads_and_writes_it_over_shm, WHERE_SELF, WHERE_CMA);
    tcase_add_test(tcase, what_cannot_be_adopted_is_left_alone);
    tcase_add_test(tcase, without_shared_memory_it_is_refused);
    tcase_add_test(tcase, short_of_memory_nothing_changes);
    tcase_add_test(tcase, a_close_gives_it_back_or_leaves_it_there);
    tcase_add_test(tcase, memory_that_the_caller_unmapped_is_not_touched);
    tcase_add_test(tcase, other_threads_never_get_the_address);
    tcase_add_test(tcase, of_two_threads_that_adopt_the_same_pages_one_does);
    tcase_add_test(tcase, a_child_shares_it);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The base room: the bounded reader and writer, the hash map against a plain array, what memory is,
 * whether a process lives, and bells.
 */
#include "base/bell.h"
#include "base/memory.h"
#include "base/proc.h"
#include "base/status.h"
#include "base/table.h"
#include "base/wire.h"

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ck_assert() writes to a pipe each time: too slow for inner loops. */
#define must(cond) ((cond) ? (void)0 : ck_abort_msg("line %d: %s", __LINE__, #cond))

START_TEST(a_writer_without_room_counts_the_need_and_writes_nothing_past)
{
    for (size_t cap = 0; cap < 40; cap++) {
        uint8_t *buf = malloc(cap + 1); /* exact, for the sanitizer */
        kvfi_writer_t w = {.buf = buf, .cap = cap};

        buf[cap] = 0x5a;
        kvfi_put_u32(&w, 7);
        kvfi_put_u64(&w, 8);
        kvfi_put_bytes(&w, "hello", 5);
        kvfi_put(&w, "", 0);
        ck_assert_uint_eq(w.len, 4 + 8 + 4 + 5);
        ck_assert_uint_eq(buf[cap], 0x5a);
        free(buf);
    }
}
END_TEST

START_TEST(a_reader_past_the_end_yields_zeros_and_says_so)
{
    uint8_t full[21];
    kvfi_writer_t w = {.buf = full, .cap = sizeof(full)};

    kvfi_put_u32(&w, 7);
    kvfi_put_u64(&w, 8);
    kvfi_put_bytes(&w, "hello", 5);
    for (size_t len = 0; len <= sizeof(full); len++) {
        uint8_t *buf = malloc(len > 0 ? len : 1);
        kvfi_reader_t r = {.buf = buf, .len = len};
        size_t n = 99;
        const void *bytes;

        memcpy(buf, full, len);
        ck_assert_uint_eq(kvfi_get_u32(&r), len >= 4 ? 7 : 0);
        ck_assert_uint_eq(kvfi_get_u64(&r), len >= 12 ? 8 : 0);
        bytes = kvfi_get_bytes(&r, &n);
        ck_assert_int_eq(bytes != NULL, len == 21);
        ck_assert_int_eq(r.failed == 0, len == 21);
        ck_assert(bytes == NULL || memcmp(bytes, "hello", 5) == 0);
        free(buf);
    }
}
END_TEST

START_TEST(a_length_that_overflows_reads_nothing)
{
    uint8_t buf[8];
    kvfi_writer_t w = {.buf = buf, .cap = sizeof(buf)};
    kvfi_reader_t r = {.buf = buf, .len = sizeof(buf)};
    size_t n;

    kvfi_put_u32(&w, UINT32_MAX);
    kvfi_put_u32(&w, 1);
    ck_assert_ptr_null(kvfi_get_bytes(&r, &n));
    ck_assert_int_eq(r.failed, 1);
    r = (kvfi_reader_t){.buf = buf, .len = sizeof(buf), .off = 4};
    ck_assert_ptr_null(kvfi_get(&r, SIZE_MAX - 2)); /* off + len would wrap */
    ck_assert_int_eq(r.failed, 1);
    ck_assert_ptr_null(kvfi_get(&r, 1)); /* once failed, failed */
}
END_TEST

/* Keys of a peer's choice: these met where the place was the key's own. */
START_TEST(chosen_keys_do_not_meet_in_a_table)
{
    kvfi_table_t table = {0};
    clock_t begin = clock(), plain;

    for (uint64_t i = 1; i <= 20000; i++)
        ck_assert_int_eq(kvfi_table_put(&table, i, &table), 0);
    kvfi_table_free(&table);
    plain = clock() - begin;
    begin = clock();
    for (uint64_t i = 1; i <= 20000; i++)
        ck_assert_int_eq(kvfi_table_put(&table, i << 37 | i << 5, &table), 0);
    kvfi_table_free(&table);
    ck_assert_int_lt(clock() - begin, 20 * plain + CLOCKS_PER_SEC / 50);
}
END_TEST

START_TEST(a_table_is_a_map)
{
    kvfi_table_t table = {0};
    static char place[300];
    int there[300] = {0};
    uint64_t state = 7;

    ck_assert_ptr_null(kvfi_table_get(&table, 1));
    ck_assert_ptr_null(kvfi_table_take(&table, 1));
    for (int n = 0; n < 200000; n++) {
        uint64_t i;
        uint64_t key;

        state = state * 6364136223846793005u + 1442695040888963407u;
        i = (state >> 33) % 300;
        key = (i + 1) << (i % 2 * 30); /* many with equal low bits */
        if ((state >> 20) % 2 == 0) {
            must(kvfi_table_put(&table, key, &place[i]) == 0);
            there[i] = 1;
        } else {
            must(kvfi_table_take(&table, key) == (there[i] ? &place[i] : NULL));
            there[i] = 0;
        }
        if (n % 1000 == 0) {
            size_t count = 0;

            for (uint64_t k = 0; k < 300; k++) {
                must(kvfi_table_get(&table, (k + 1) << (k % 2 * 30)) == (there[k] ? &place[k] : NULL));
                count += (size_t)there[k];
            }
            ck_assert_uint_eq(table.count, count);
        }
    }
    kvfi_table_free(&table);
}
END_TEST

START_TEST(memory_says_its_protections)
{
    uint8_t *map = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_int_eq(kvfi_memory_prot(map, 3 * 4096) & (PROT_READ | PROT_WRITE), PROT_READ | PROT_WRITE);
    mprotect(map + 4096, 4096, PROT_READ);
    ck_assert_int_eq(kvfi_memory_prot(map, 3 * 4096) & (PROT_READ | PROT_WRITE), PROT_READ);
    ck_assert_int_eq(kvfi_memory_prot(map, 4096) & (PROT_READ | PROT_WRITE), PROT_READ | PROT_WRITE);
    ck_assert_int_eq(kvfi_memory_prot(map + 4000, 97) & (PROT_READ | PROT_WRITE), PROT_READ);
    munmap(map + 4096, 4096);
    ck_assert_int_eq(kvfi_memory_prot(map, 3 * 4096), -1);
    ck_assert_int_eq(kvfi_memory_prot(map + 4096, 1), -1);
    ck_assert_int_ge(kvfi_memory_prot(map + 2 * 4096, 4096), 0);
}
END_TEST

START_TEST(a_peek_at_memory_that_is_not_there_raises_nothing)
{
    uint8_t *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t to[4096];

    map[4095] = 9;
    munmap(map + 4096, 4096);
    ck_assert_int_eq(kvfi_memory_peek(map, to, 4096), 0);
    ck_assert_uint_eq(to[4095], 9);
    ck_assert_int_eq(kvfi_memory_peek(map + 4096, to, 1), -1);
    ck_assert_int_eq(kvfi_memory_peek(map + 4095, to, 2), -1);
    ck_assert_int_eq(kvfi_memory_peek(NULL, to, 8), -1);
}
END_TEST

/* A child that waits; its identity as a neighbour would get it. */
static pid_t child_start(int pipes[2], kvfi_proc_id_t *id)
{
    pid_t pid;

    ck_assert_int_eq(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        kvfi_proc_id_t self;

        if (kvfi_proc_self(&self) != 0 || write(pipes[1], &self, sizeof(self)) != sizeof(self)) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    ck_assert_int_eq(read(pipes[0], id, sizeof(*id)), sizeof(*id));
    return pid;
}

/* Watched by pidfd, by start time (its pidfd closed, no lifeline), by its lifeline (its pid is of another
 * namespace). */
START_TEST(a_zombie_and_a_reaped_process_are_dead)
{
    int pipes[2];
    kvfi_proc_id_t id;
    kvfi_life_t life;
    pid_t pid = child_start(pipes, &id);

    if (_i < 2) {
        id.lifeline = -1;
    } else {
        id.pid_ns++;
    }
    ck_assert_int_eq(kvfi_life_open(&life, id), 0);
    if (_i == 1) {
        close(life.pidfd);
        life.pidfd = -1;
    }
    ck_assert_int_eq(kvfi_life_check(&life, 0), 1);
    kill(pid, SIGSTOP);
    ck_assert_int_eq(kvfi_life_check(&life, 0), 1); /* stopped is not dead */
    kill(pid, SIGKILL);
    usleep(50000); /* a zombie now */
    ck_assert_int_eq(kvfi_life_check(&life, 0), 0);
    ck_assert_int_eq(kvfi_proc_lives(id), 0);
    waitpid(pid, NULL, 0);
    ck_assert_int_eq(kvfi_life_check(&life, 0), 0);
    ck_assert_int_eq(kvfi_proc_lives(id), 0);
    kvfi_life_close(&life);
}
END_TEST

START_TEST(a_pid_that_was_given_to_another_is_dead)
{
    int pipes[2];
    kvfi_proc_id_t id;
    kvfi_life_t life;
    pid_t pid = child_start(pipes, &id);
    int opened;

    id.start += 12345; /* as if the PID were older */
    id.lifeline = -1;
    opened = kvfi_life_open(&life, id);
    ck_assert(opened != 0 || kvfi_life_check(&life, 0) == 0);
    if (opened == 0) {
        kvfi_life_close(&life);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

/* A child lives; which of its numbers say what of it here. */
START_TEST(a_number_counts_in_its_own_namespace_only)
{
    int pipes[2];
    kvfi_proc_id_t id, self, other;
    pid_t pid = child_start(pipes, &id);

    ck_assert_int_eq(kvfi_proc_self(&self), 0);
    ck_assert_int_eq(kvfi_proc_lives(id), 1);
    ck_assert_int_eq(kvfi_proc_watchable(&self, &id), 1);
    other = id; /* another's start time is no proof against it */
    other.time_ns++;
    other.start++;
    ck_assert_int_eq(kvfi_proc_lives(other), 1);
    other = id; /* nor is a lifeline that is not here */
    other.ipc_ns++;
    other.lifeline = INT32_MAX;
    ck_assert_int_eq(kvfi_proc_lives(other), 1);
    other.ipc_ns = self.ipc_ns;
    ck_assert_int_eq(kvfi_proc_lives(other), 0);
    other = id; /* nor a segment made at another time that has its id */
    other.line_made++;
    ck_assert_int_eq(kvfi_proc_lives(other), 0);
    other = id; /* nothing is known here of this one */
    other.pid_ns++;
    other.ipc_ns++;
    other.pid = getpid();
    ck_assert_int_eq(kvfi_proc_watchable(&self, &other), 0);
    ck_assert_int_eq(kvfi_proc_watchable(&other, &self), 0);
    ck_assert_int_eq(kvfi_proc_lives(other), 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ck_assert_int_eq(kvfi_proc_lives(other), 1);
    ck_assert_int_eq(kvfi_proc_lives(id), 0);
}
END_TEST

START_TEST(our_own_pid_is_nobody_elses)
{
    kvfi_proc_id_t self, former;

    ck_assert_int_eq(kvfi_proc_self(&self), 0);
    ck_assert_int_eq(kvfi_proc_lives(self), 1);
    former = self; /* the program that ran here before an exec() */
    former.lifeline = -1;
    ck_assert_int_eq(kvfi_proc_lives(former), 0);
    former = self;
    former.start--;
    former.lifeline = -1;
    ck_assert_int_eq(kvfi_proc_lives(former), 0);
}
END_TEST

static int rings(const kvfi_bell_t *bell)
{
    struct pollfd fd = {.fd = bell->fd, .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

START_TEST(a_stranger_that_knows_a_bells_name_only_does_not_ring_it)
{
    kvfi_bell_t me, stranger;
    kvfi_bell_name_t name;

    ck_assert(!kvfi_bell_open(&me) && !kvfi_bell_open(&stranger));
    for (int i = 0; i < 5; i++) {
        name = me.name;
        if (i < 4) {
            name.secret[i] ^= UINT32_C(1) << 7 * i;
        } else {
            memset(name.secret, 0, sizeof(name.secret));
        }
        kvfi_bell_ring(&stranger, name);
        ck_assert_int_eq(rings(&me), 0);
    }
    kvfi_bell_ring(&stranger, me.name);
    ck_assert_int_eq(rings(&me), 1);
    kvfi_bell_close(&me);
    kvfi_bell_close(&stranger);
}
END_TEST

START_TEST(a_bell_rings_until_it_is_hushed)
{
    kvfi_bell_t me, other;

    ck_assert(!kvfi_bell_open(&me) && !kvfi_bell_open(&other));
    for (int round = 0; round < 3; round++) {
        ck_assert(!rings(&me) && !rings(&other));
        kvfi_bell_ring(&me, other.name);
        kvfi_bell_wake(&me);
        kvfi_bell_wake(&me);
        ck_assert(rings(&me) && rings(&other));
        kvfi_bell_hush(&me);
        kvfi_bell_hush(&other);
    }
    kvfi_bell_close(&other);
    kvfi_bell_ring(&me, other.name); /* it has gone */
    kvfi_bell_close(&me);
}
END_TEST

/* What was sent and is not read counts against the sender. */
START_TEST(one_who_does_not_listen_keeps_nobody_else_asleep)
{
    kvfi_bell_t me, deaf, other;
    int least = 1;

    ck_assert(!kvfi_bell_open(&me) && !kvfi_bell_open(&deaf) && !kvfi_bell_open(&other));
    ck_assert(!setsockopt(me.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)));
    for (int i = 0; i < 100; i++) {
        kvfi_bell_ring(&me, deaf.name);
    }
    kvfi_bell_ring(&me, other.name);
    kvfi_bell_wake(&me);
    ck_assert(rings(&other) && rings(&me));
    kvfi_bell_close(&me);
    kvfi_bell_close(&deaf);
    kvfi_bell_close(&other);
}
END_TEST

START_TEST(a_failure_keeps_its_sentence_and_its_status)
{
    ck_assert_str_eq(kvf_last_error(), "");
    ck_assert_int_eq(kvfi_fail(KVF_ERR_STALE, "op %d: %s", 3, "old"), KVF_ERR_STALE);
    ck_assert_str_eq(kvf_last_error(), "op 3: old");
    ck_assert_int_eq(kvfi_fail_within(KVF_ERR_STALE, "rank %d", 2), KVF_ERR_STALE);
    ck_assert_str_eq(kvf_last_error(), "rank 2: op 3: old");
    kvfi_fail(KVF_ERR_STALE, "%0900d", 1); /* longer than any sentence: cut, not spilled */
    ck_assert_uint_ge(strlen(kvf_last_error()), 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *tc = tcase_create("base");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_writer_without_room_counts_the_need_and_writes_nothing_past);
    tcase_add_test(tc, a_reader_past_the_end_yields_zeros_and_says_so);
    tcase_add_test(tc, a_length_that_overflows_reads_nothing);
    tcase_add_test(tc, chosen_keys_do_not_meet_in_a_table);
    tcase_add_test(tc, a_table_is_a_map);
    tcase_add_test(tc, memory_says_its_protections);
    tcase_add_test(tc, a_peek_at_memory_that_is_not_there_raises_nothing);
    tcase_add_loop_test(tc, a_zombie_and_a_reaped_process_are_dead, 0, 3);
    tcase_add_test(tc, a_pid_that_was_given_to_another_is_dead);
    tcase_add_test(tc, a_number_counts_in_its_own_namespace_only);
    tcase_add_test(tc, our_own_pid_is_nobody_elses);
    tcase_add_test(tc, a_bell_rings_until_it_is_hushed);
    tcase_add_test(tc, a_stranger_that_knows_a_bells_name_only_does_not_ring_it);
    tcase_add_test(tc, one_who_does_not_listen_keeps_nobody_else_asleep);
    tcase_add_test(tc, a_failure_keeps_its_sentence_and_its_status);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

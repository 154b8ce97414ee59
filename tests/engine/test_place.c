/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The processor of the progress thread. Hazard: the kernel puts the owner's thread beside the
 * neighbour that woke it, both copy on one processor, and stage runs at half of its rate until
 * chance parts them. And the cure's: a thread that is bound where it has to wait, or for good, or
 * to what its mask did not hold. Looks inside of the library for the moments that cannot be had
 * otherwise.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <dirent.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/place.h"

#define LEN (UINT64_C(4) << 20)

static cpu_set_t mask_of(int tid)
{
    cpu_set_t mask;

    CPU_ZERO(&mask);
    must(sched_getaffinity(tid, sizeof(mask), &mask) == 0, "no mask of %d", tid);
    return mask;
}

static void bind_to(int tid, int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    must(sched_setaffinity(tid, sizeof(one), &one) == 0, "thread %d cannot be bound", tid);
}

/* The progress thread of that process; 0: it has none. */
static int thread_of(int pid)
{
    char path[300];
    char name[32];
    struct dirent *entry;
    DIR *dir;
    int tid = 0;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    dir = opendir(path);
    must(dir != NULL, "%s", path);
    while (tid == 0 && (entry = readdir(dir)) != NULL) {
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", pid, entry->d_name);
        file = fopen(path, "r");
        if (file != NULL && fgets(name, sizeof(name), file) != NULL && strcmp(name, "kvferry\n") == 0) {
            tid = atoi(entry->d_name);
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    closedir(dir);
    return tid;
}

/* _i: read, write. The owner's thread is put on our processor, and leaves it. */
START_TEST(the_owners_thread_leaves_the_processor_of_who_waits)
{
    rig_opts_t opts = {.owner_len = LEN, .local_len = LEN};
    uint64_t end = now_ns() + patient(20);
    int here = sched_getcpu();
    cpu_set_t mask;
    kvf_op_t op;
    rig_t rig;
    int thread;

    mask = mask_of(0);
    if (CPU_COUNT(&mask) < 2) {
        return; /* nowhere to go */
    }
    rig_fork(&rig, WHERE_STAGE, &opts);
    bind_to(0, here);
    rig_join(&rig);
    owner_fill(&rig, 1);
    op = op_plain(rig.me.segment, 0, rig.remote, 0, LEN, (uint32_t)_i);
    move(&rig, &op, 1);
    thread = thread_of(rig.owner.pid);
    must(thread != 0, "the owner has no progress thread");
    bind_to(thread, here);
    do {
        move(&rig, &op, 1);
        mask = mask_of(thread);
        must(now_ns() < end, "the owner's thread stays on processor %d", here);
    } while (CPU_ISSET(here, &mask));
    must(_i == KVF_WRITE || pattern_compare(rig.me.mem, LEN, 1) == UINT64_MAX, "wrong bytes");
    rig_close(&rig);
}
END_TEST

/* Sees a neighbour on its own processor: must be bound elsewhere, within `mask`. */
static void goes(kvfi_place_t *place, const cpu_set_t *mask, uint64_t now)
{
    int here = -1;
    cpu_set_t to;
    cpu_set_t both;

    for (int i = 0; i < 1000 && !place->away; i++) { /* it may be moved just before it looks */
        here = sched_getcpu();
        kvfi_place_look(place, here, now);
    }
    to = mask_of(0);
    CPU_AND(&both, &to, mask);
    must(place->away && !CPU_ISSET(here, &to), "it stays on %d", here);
    must(CPU_COUNT(&to) > 0 && CPU_EQUAL(&both, &to), "bound to what it may not use");
    must(sched_getcpu() != here, "it still runs on %d", here);
}

static void comes_back(kvfi_place_t *place, const cpu_set_t *mask, uint64_t now, const char *why)
{
    cpu_set_t have;

    kvfi_place_look(place, -1, now);
    have = mask_of(0);
    must(!place->away && CPU_EQUAL(&have, mask), "%s, and it is bound to %d processors of %d", why,
         CPU_COUNT(&have), CPU_COUNT(mask));
}

START_TEST(it_comes_back_when_that_is_old_or_not_worth_it)
{
    cpu_set_t mask = mask_of(0);
    uint64_t now = now_ns();
    kvfi_place_t place;

    if (CPU_COUNT(&mask) < 2) {
        return;
    }
    kvfi_place_find(&place);
    kvfi_place_look(&place, -1, now);
    kvfi_place_look(&place, CPU_SETSIZE - 1, now); /* where it is not */
    must(!place.away, "it left for no reason");
    goes(&place, &mask, now);
    comes_back(&place, &mask, now + 10 * SEC, "long idle");
    now += 10 * SEC;
    goes(&place, &mask, now);

    place.waited_ns -= 500 * MS; /* as if it had waited half a second since */
    now += 600 * MS;
    comes_back(&place, &mask, now, "it waits for its turn there");
    kvfi_place_look(&place, sched_getcpu(), now + 10 * MS);
    must(!place.away, "it goes where it has to wait, again and again");
    goes(&place, &mask, now + 2 * SEC);
}
END_TEST

START_TEST(it_stays_where_there_is_no_other_processor)
{
    int here = sched_getcpu();
    kvfi_place_t place;

    bind_to(0, here);
    kvfi_place_find(&place);
    kvfi_place_look(&place, here, now_ns());
    must(!place.away, "it went where it may not");
    must(kvfi_mask_leave(&place.mask, KVFI_CORES_CPUS) == -1, "an impossible processor");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("place");
    TCase *tcase = tcase_create("place");

    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, the_owners_thread_leaves_the_processor_of_who_waits, KVF_READ, KVF_WRITE + 1);
    tcase_add_test(tcase, it_comes_back_when_that_is_old_or_not_worth_it);
    tcase_add_test(tcase, it_stays_where_there_is_no_other_processor);
    return run_suite(suite);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which cores copy threads get, on machines that are a folder of lists as /sys has them: cores of two
 * processors each, two nodes with a gap between their numbers, and lists that are missing or damaged.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cores.h"

static char root[] = "/tmp/kvferry-cores-XXXXXX";

static void put(const char *folder, const char *name, const char *line)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "mkdir -p %s/%s", root, folder);
    ck_assert_int_eq(system(path), 0);
    snprintf(path, sizeof(path), "%s/%s/%s", root, folder, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "%s\n", line);
    fclose(file);
}

/* Processors i and i + 4 are core i; cores 0 and 1 are of node 0, 2 and 3 of node 8. */
static void make_machine(void)
{
    char folder[64], list[16];

    ck_assert_ptr_nonnull(mkdtemp(root));
    for (unsigned cpu = 0; cpu < 8; cpu++) {
        snprintf(folder, sizeof(folder), "cpu/cpu%u/topology", cpu);
        snprintf(list, sizeof(list), "%u,%u", cpu % 4, cpu % 4 + 4);
        put(folder, "thread_siblings_list", list);
    }
    put("node", "online", "0,8");
    put("node/node0", "cpulist", "0-1,4-5");
    put("node/node8", "cpulist", "2-3,6-7");
}

static void remove_machine(void)
{
    char command[64];

    snprintf(command, sizeof(command), "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

static kvfi_mask_t mask_of(unsigned bits)
{
    return (kvfi_mask_t){{bits}};
}

static void expect(const char *at, unsigned bits, unsigned here, unsigned wanted, unsigned others,
                   unsigned beside)
{
    kvfi_mask_t mask = mask_of(bits), want = mask_of(beside);
    kvfi_cores_t cores;

    memset(&cores, 0xff, sizeof(cores));
    kvfi_cores_choose(at, &mask, here, wanted, &cores);
    ck_assert_msg(cores.others == others, "mask %x, on %u, %u wanted: %u cores", bits, here, wanted,
                  cores.others);
    ck_assert_msg(memcmp(&cores.beside, &want, sizeof(want)) == 0, "mask %x, on %u, %u wanted: %lx", bits,
                  here, wanted, cores.beside.cpus[0]);
}

START_TEST(threads_get_cores_and_not_the_other_half_of_their_starters)
{
    make_machine();
    expect(root, 0xff, 0, 1, 1, 0x22);
    expect(root, 0xff, 5, 1, 1, 0x11);
    expect(root, 0xff, 2, 1, 1, 0x88);
    expect(root, 0xff, 0, 2, 3, 0xee); /* more than the node has */
    expect(root, 0x11, 4, 1, 0, 0);    /* both halves of one core */
    expect(root, 0x07, 1, 1, 1, 0x01);
    expect(root, 0x45, 0, 1, 1, 0x44); /* nobody else of the node is allowed */
    remove_machine();
}
END_TEST

START_TEST(lists_that_are_missing_or_damaged_make_every_processor_a_core)
{
    expect("/nonexistent", 0x0f, 2, 3, 3, 0x0b);
    make_machine();
    put("cpu/cpu1/topology", "thread_siblings_list", "what");
    put("cpu/cpu5/topology", "thread_siblings_list", "");
    put("node/node0", "cpulist", "0-99999999999999999999");
    expect(root, 0x33, 0, 1, 2, 0x22);
    put("node", "online", "-");
    expect(root, 0xff, 0, 1, 4, 0xee);
    remove_machine();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cores");
    TCase *tcase = tcase_create("cores");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, threads_get_cores_and_not_the_other_half_of_their_starters);
    tcase_add_test(tcase, lists_that_are_missing_or_damaged_make_every_processor_a_core);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

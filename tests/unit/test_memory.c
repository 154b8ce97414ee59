/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the kernel tells of memory, and what is asked of it: pages and nodes read from fixed texts,
 * pages that cannot be had met without a signal, with and without MADV_POPULATE_WRITE, and left-over
 * segments swept while those of others stay.
 */
#define _GNU_SOURCE
#include "base/memory.h"
#include "base/pages.h"
#include "base/shm.h"

#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* --------------------------------------------------------------- fixed texts */

static const char smaps[] =
    "10000-20000 rw-p 00000000 00:00 0 \n"
    "KernelPageSize:        4 kB\nAnonHugePages:      2048 kB\n"
    "200000-400000 rw-s 00000000 00:01 1 /SYSV00000000 (deleted)\n"
    "Size: 2048 kB\nKernelPageSize:        4 kB\nShmemPmdMapped:     0 kB\n"
    "400000-a00000 rw-s 00200000 00:01 1 /SYSV00000000 (deleted)\n"
    "KernelPageSize:        4 kB\nShmemPmdMapped:  6144 kB\nVmFlags: rd wr\n"
    "a00000-e00000 rw-s 00000000 00:0f 2 /SYSV00000000 (deleted)\n"
    "KernelPageSize:     2048 kB\nShared_Hugetlb:   1024 kB\nPrivate_Hugetlb:  3072 kB\n"
    "f00000-f01000 r--p 00000000 00:00 0 \n"
    "KernelPageSize:        4 kB\n";

static const char numa_maps[] =
    "10000 default anon=1 dirty=1 N1=16 kernelpagesize_kB=4\n"
    "200000 default file=/SYSV00000000\\040(deleted) dirty=512 N0=512 kernelpagesize_kB=4\n"
    "400000 prefer:0 file=/N9=5 dirty=1536 N0=1536 kernelpagesize_kB=4\n"
    "a00000 default file=/SYSV00000000\\040(deleted) huge dirty=2 N0=1 N1=1 kernelpagesize_kB=2048\n"
    "f00000 default\n";

static const struct {
    uint64_t from, to;
    uint64_t page, huge;
    int node;
} looks[] = {
    {0x200000, 0x400000, 4096, 0, 0},
    {0x200000, 0xa00000, 4096, 0x600000, 0},
    {0x300000, 0x500000, 4096, 0x100000, 0}, /* no more huge bytes than there are of the range */
    {0xa00000, 0xe00000, 2048 << 10, 0x400000, -1},
    {0x400000, 0xe00000, 4096, 0xa00000, -1},
    {0xf00000, 0xf00800, 4096, 0, -1}, /* nothing touched yet */
    {0x18000, 0x19000, 4096, 0x1000, 1},
    {0x1000000, 0x1001000, 0, 0, -1}, /* not mapped */
};

START_TEST(pages_and_nodes_are_read_from_what_the_kernel_writes)
{
    FILE *s = fmemopen((void *)(uintptr_t)smaps, sizeof(smaps) - 1, "r");
    FILE *n = fmemopen((void *)(uintptr_t)numa_maps, sizeof(numa_maps) - 1, "r");
    kvfi_pages_t pages = kvfi_pages_read(s, n, 2, looks[_i].from, looks[_i].to);

    fclose(s);
    fclose(n);
    ck_assert_uint_eq(pages.page_bytes, looks[_i].page);
    ck_assert_uint_eq(pages.huge_bytes, looks[_i].huge);
    ck_assert_int_eq(pages.numa_node, looks[_i].node);
}
END_TEST

START_TEST(without_the_files_nothing_is_claimed)
{
    kvfi_pages_t pages = kvfi_pages_read(NULL, NULL, 2, 4096, 8192);

    ck_assert_uint_eq(pages.page_bytes, 0);
    ck_assert_uint_eq(pages.huge_bytes, 0);
    ck_assert_int_eq(pages.numa_node, -1);
    ck_assert_int_eq(kvfi_pages_read(NULL, NULL, 1, 4096, 8192).numa_node, 0);
}
END_TEST

/* ------------------------------------------------------------ pages refused */

/* madvise() as of a kernel before 5.14. */
static int forbid_populate(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                   prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0
               ? 0
               : -1;
}

/* Pages behind the end of a file are what those past a limit are: a touch raises SIGBUS. */
START_TEST(pages_that_cannot_be_had_are_an_error_and_no_signal)
{
    int fd = memfd_create("short", 0);
    char why[256] = "";
    char *map;

    ck_assert(fd >= 0 && ftruncate(fd, 2 * 4096) == 0);
    map = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(map, MAP_FAILED);
    if (_i == 1) {
        ck_assert_int_eq(forbid_populate(), 0);
    }
    ck_assert_int_eq(kvfi_memory_prove(map, 2 * 4096, 0, why, sizeof(why)), 0);
    ck_assert_int_eq(kvfi_memory_prove(map, 8 * 4096, 0, why, sizeof(why)), -1);
    ck_assert_ptr_nonnull(strstr(why, "the kernel gives no page"));
}
END_TEST

START_TEST(proved_pages_are_there_and_zero)
{
    uint64_t len = (20 << 20) + 4096;
    char why[256] = "";
    char *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned char *there = malloc(len / 4096);

    ck_assert_ptr_ne(map, MAP_FAILED);
    if (_i == 1) {
        ck_assert_int_eq(forbid_populate(), 0);
    }
    ck_assert_int_eq(kvfi_memory_prove(map, len, 0, why, sizeof(why)), 0);
    ck_assert_int_eq(mincore(map, len, there), 0);
    for (uint64_t i = 0; i < len / 4096; i++) {
        ck_assert_msg(there[i] & 1, "page %d", (int)i);
        ck_assert(map[i * 4096] == 0);
    }
    free(there);
}
END_TEST

START_TEST(what_no_machine_has_is_refused_before_a_page_is_made)
{
    uint64_t len = UINT64_C(1) << 46;
    char why[256] = "";
    const char *limit = NULL;
    char *map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert(kvfi_memory_available(&limit) < len && limit != NULL);
    ck_assert(kvfi_shm_huge_fits(len) == 0);
    ck_assert_int_eq(kvfi_memory_prove(map, 1 << 20, 0, why, sizeof(why)), 0);
}
END_TEST

/* ------------------------------------------------------------------ sweeping */

enum {
    EMPTY,
    ATTACHED_ONCE,
    TOUCHED,
    KEYED,
    MAKER_LIVES,
    LEFT_CASES
};

/* In a child that then dies, but for MAKER_LIVES; the id. */
static int leave_segment(int how)
{
    int fds[2];
    int id = -1;
    pid_t pid;

    ck_assert_int_eq(pipe(fds), 0);
    pid = how == MAKER_LIVES ? 0 : fork();
    if (pid == 0) {
        char *at;

        id = shmget(how == KEYED ? (key_t)(0x6b760000 | (getpid() & 0xffff)) : IPC_PRIVATE, 8192,
                    IPC_CREAT | IPC_EXCL | 0600);
        if (how == ATTACHED_ONCE || how == TOUCHED) {
            at = shmat(id, NULL, 0);
            if (how == TOUCHED) {
                at[0] = 1;
            }
        }
        if (how != MAKER_LIVES) {
            _exit(write(fds[1], &id, sizeof(id)) == sizeof(id) ? 0 : 1);
        }
    } else {
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        ck_assert(read(fds[0], &id, sizeof(id)) == sizeof(id));
    }
    close(fds[0]);
    close(fds[1]);
    return id;
}

START_TEST(only_what_a_killed_process_left_empty_is_swept)
{
    int id = leave_segment(_i);
    struct shmid_ds ds;
    int swept;

    if (id < 0) {
        return; /* no System V here */
    }
    ck_assert_int_eq(shmctl(id, IPC_STAT, &ds), 0);
    kvfi_shm_sweep();
    swept = shmctl(id, IPC_STAT, &ds) != 0;
    if (!swept) {
        shmctl(id, IPC_RMID, NULL);
    }
    ck_assert_int_eq(swept, _i == EMPTY || _i == ATTACHED_ONCE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *tc = tcase_create("memory");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, pages_and_nodes_are_read_from_what_the_kernel_writes, 0,
                        (int)(sizeof(looks) / sizeof(looks[0])));
    tcase_add_test(tc, without_the_files_nothing_is_claimed);
    tcase_add_loop_test(tc, pages_that_cannot_be_had_are_an_error_and_no_signal, 0, 2);
    tcase_add_loop_test(tc, proved_pages_are_there_and_zero, 0, 2);
    tcase_add_test(tc, what_no_machine_has_is_refused_before_a_page_is_made);
    tcase_add_loop_test(tc, only_what_a_killed_process_left_empty_is_swept, 0, LEFT_CASES);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Runs a program some of whose system calls are refused, as a container's profile does:
 *
 *     forbidden RANK|all EPERM|ENOSYS CALL PROGRAM [ARGUMENTS]
 *
 * on the rank of an MPI job that is named, or on all. Ends with 77 where the kernel has no filters.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../engine/forbid.h"

static const struct {
    const char *name;
    long number;
} calls[] = {
    {"process_vm_readv", SYS_process_vm_readv},
    {"process_vm_writev", SYS_process_vm_writev},
    {"pidfd_open", SYS_pidfd_open},
    {"pidfd_getfd", SYS_pidfd_getfd},
    {"kcmp", SYS_kcmp},
    {"memfd_create", SYS_memfd_create},
};

static const char *rank_of_job(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};
    const char *rank = NULL;

    for (int i = 0; i < 3 && rank == NULL; i++) {
        rank = getenv(names[i]);
    }
    return rank != NULL ? rank : "0";
}

int main(int argc, char **argv)
{
    size_t i = 0;

    if (argc < 5) {
        fprintf(stderr, "usage: %s RANK|all EPERM|ENOSYS CALL PROGRAM [ARGUMENTS]\n", argv[0]);
        return 2;
    }
    while (i < sizeof(calls) / sizeof(calls[0]) && strcmp(calls[i].name, argv[3]) != 0) {
        i++;
    }
    if (i == sizeof(calls) / sizeof(calls[0])) {
        fprintf(stderr, "%s: no such call: %s\n", argv[0], argv[3]);
        return 2;
    }
    if (!forbid_works()) {
        return 77;
    }
    if ((strcmp(argv[1], "all") == 0 || strcmp(argv[1], rank_of_job()) == 0) &&
        forbid(&calls[i].number, 1, strcmp(argv[2], "EPERM") == 0 ? EPERM : ENOSYS) != 0) {
        perror("seccomp");
        return 2;
    }
    execvp(argv[4], argv + 4);
    perror(argv[4]);
    return 2;
}

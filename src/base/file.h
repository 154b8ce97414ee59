/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The limit of the files that this process writes. Never blocks.
 */
#ifndef KVFI_BASE_FILE_H
#define KVFI_BASE_FILE_H

#include <stdint.h>
#include <sys/resource.h>

/* Most bytes that a file written by this process may have (RLIMIT_FSIZE); UINT64_MAX: no limit. One byte more
 * raises SIGXFSZ. */
static inline uint64_t kvfi_file_most(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return limit.rlim_cur;
}

#endif

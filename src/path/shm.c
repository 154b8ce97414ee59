/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shm: the owner is a neighbour, and the library allocated its memory, so that it is mapped here.
 * Loads and stores, no system call; the owner need not run.
 */
#include "path/path.h"

__attribute__((hot))
const char *kvfi_shm_reach(const kvfi_target_t *target, uint32_t dir)
{
    (void)dir;
    if (target->in_process)
        return "the peer is this process";
    if (!target->near)
        return "the peer is not near";
    return target->map ? NULL : "the memory is the caller's own, not the library's";
}

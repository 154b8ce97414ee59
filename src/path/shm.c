/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shm: the owner is a neighbour, and the library allocated its memory, so that it is mapped here.
 * Loads and stores, no system call; the owner need not run.
 */
#include "path/path.h"

__attribute__((hot)) static const char *reach(const kvfi_memory_t *local, const kvfi_target_t *target,
                                              uint32_t dir)
{
    (void)local, (void)dir;
    if (target->in_process)
        return "the peer is this process";
    if (!target->near)
        return "the peer is not near";
    if (target->map)
        return NULL;
    return kvfi_memory_is_shared(&target->memory) ? "the library's memory could not be mapped here"
                                                  : "the memory is the caller's own, not the library's";
}

static const char *here(kvfi_node_t *node)
{
    return node->local_off ? "local = off" : node->why_private;
}

const kvfi_path_t kvfi_path_shm = {
    .name = "shm",
    .id = KVF_PATH_SHM,
    .traits = KVFI_PATH_MAPPED,
    .reach = reach,
    .here = here,
};

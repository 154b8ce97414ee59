/* SPDX-License-Identifier: BSD-3-Clause
 *
 * self: the owner is this process. Its memory is simply there; the copy engine does the rest.
 */
#include "path/path.h"

__attribute__((hot)) static const char *reach(const kvfi_memory_t *local, const kvfi_target_t *target,
                                              uint32_t dir)
{
    (void)local, (void)dir;
    return target->in_process ? NULL : "the peer is another process";
}

static const char *here(kvfi_node_t *node)
{
    (void)node;
    return NULL;
}

const kvfi_path_t kvfi_path_self = {
    .name = "self",
    .id = KVF_PATH_SELF,
    .traits = KVFI_PATH_MAPPED,
    .reach = reach,
    .here = here,
};

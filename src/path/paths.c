/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The table of paths, in the order in which they are tried. Nothing else is in this file: a test that links
 * the objects of the library may define both names itself, with a row of its own, and then gets those.
 */
#include "path/path.h"

const kvfi_path_t *const kvfi_paths[] = {
    &kvfi_path_self,  &kvfi_path_cuda_ipc, &kvfi_path_cuda_copy, &kvfi_path_shm, &kvfi_path_cma,
    &kvfi_path_stage, &kvfi_path_rma,      &kvfi_path_am,        NULL,
};

const uint32_t kvfi_path_bits = KVF_PATH_BIT(KVF_PATH_COUNT) - 1;

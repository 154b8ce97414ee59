/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Paths that have their place in the interface, and nothing behind it in this release: native remote memory
 * access, and the two of device memory. Each is refused by name.
 */
#include "path/path.h"

static const char *no_device(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir)
{
    (void)local, (void)target, (void)dir;
    return "not in this release";
}

static const char *no_device_here(kvfi_node_t *node)
{
    (void)node;
    return "not in this release: device memory has no path";
}

const kvfi_path_t kvfi_path_cuda_ipc = {
    .name = "cuda_ipc",
    .id = KVF_PATH_CUDA_IPC,
    .traits = KVFI_PATH_DEVICE,
    .reach = no_device,
    .here = no_device_here,
};

const kvfi_path_t kvfi_path_cuda_copy = {
    .name = "cuda_copy",
    .id = KVF_PATH_CUDA_COPY,
    .traits = KVFI_PATH_DEVICE,
    .reach = no_device,
    .here = no_device_here,
};

static const char *no_native_rma(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir)
{
    (void)local, (void)dir;
    if (target->in_process)
        return "the peer is this process";
    return target->near ? "the peer is near" : "the wire has no native RMA";
}

static const char *no_rma_here(kvfi_node_t *node)
{
    (void)node;
    return "not in this release: far peers are served over am";
}

const kvfi_path_t kvfi_path_rma = {
    .name = "rma",
    .id = KVF_PATH_RMA,
    .reach = no_native_rma,
    .here = no_rma_here,
};

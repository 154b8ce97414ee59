/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Ops as the caller hands them over: an array of op_size bytes each, of whatever release's struct.
 */
#include <stddef.h>
#include <string.h>

#include "base/status.h"
#include "engine/op.h"

__attribute__((hot)) kvf_status_t kvfi_op_check_size(size_t op_size)
{
    if (op_size < offsetof(kvf_op_t, local_ids) || op_size % sizeof(uint64_t))
        return kvfi_fail(KVF_ERR_INVALID, "op_size is %zu, pass sizeof(kvf_op_t)", op_size);
    return KVF_OK;
}

__attribute__((hot)) const kvf_op_t *kvfi_op_read(const void *ops, size_t op_size, size_t i, kvf_op_t *copy_p)
{
    const char *from = ops;

    if (op_size == sizeof *copy_p)
        return ops;
    memset(copy_p, 0, sizeof *copy_p);
    memcpy(copy_p, from, op_size < sizeof *copy_p ? op_size : sizeof *copy_p);
    for (size_t at = sizeof *copy_p; at < op_size; at++)
        if (from[at]) {
            kvfi_fail(KVF_ERR_UNSUPPORTED,
                      "op %zu: byte %zu is set, past the %zu bytes of an op that "
                      "this library knows",
                      i, at, sizeof *copy_p);
            return NULL;
        }
    return copy_p;
}

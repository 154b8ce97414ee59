/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Ops as the caller hands them over.
 */
#ifndef KVFI_ENGINE_OP_H
#define KVFI_ENGINE_OP_H

#include <stddef.h>

#include "kvferry.h"

kvf_status_t kvfi_op_check_size(size_t op_size);
/* The caller's op, as ours: in place, or in copy_p if it is of another size. NULL: it cannot be read. */
const kvf_op_t *kvfi_op_read(const void *from, size_t op_size, size_t index, kvf_op_t *copy_p);

#endif

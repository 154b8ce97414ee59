/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What every path notes about an op on its way.
 */
#include <stdlib.h>

#include "base/status.h"
#include "path/path.h"

kvf_status_t kvfi_xfer_bad(kvfi_xfer_t *xfer, uint32_t pair, kvf_status_t status)
{
    if (xfer->bad_count == xfer->bad_cap) {
        uint32_t cap = xfer->bad_cap ? xfer->bad_cap * 2 : 64;
        kvfi_bad_pair_t *bad = realloc(xfer->bad, cap * sizeof *bad);

        if (!bad)
            return kvfi_fail(KVF_ERR_NOMEM, "no memory for the list of stale pairs");
        xfer->bad = bad;
        xfer->bad_cap = cap;
    }
    xfer->bad[xfer->bad_count++] = (kvfi_bad_pair_t){pair, status};
    return KVF_OK;
}

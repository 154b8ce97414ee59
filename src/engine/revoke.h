/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Revoke, and what else waits until granted memory is quiet.
 */
#ifndef KVFI_ENGINE_REVOKE_H
#define KVFI_ENGINE_REVOKE_H

#include <stdint.h>

#include "kvferry.h"

#define KVFI_ALL_GRANTS UINT32_MAX
/* Wait until no slice runs under an epoch raised before, and no view is open of the grant: OK, or TIMEOUT
 * with a sentence; CLOSED if the engine begins to close and it is not close that waits (for all grants). */
kvf_status_t kvfi_revoke_quiesce(kvf_engine_t *engine, uint32_t slot, uint64_t end_ns);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The drivers of an engine: near, from open on; on a wire, at the first need.
 */
#ifndef KVFI_ENGINE_LINKS_H
#define KVFI_ENGINE_LINKS_H

#include "kvferry.h"
#include "path/am.h"

/* Open the machine for stage, where there is a near link. */
kvf_status_t kvfi_links_near(kvf_engine_t *engine);
/* The machine on the wire, opened at the first need. */
kvf_status_t kvfi_links_far(kvf_engine_t *engine, kvfi_am_t **am_p);
/* The machine in that place; NULL: not open. */
kvfi_am_t *kvfi_links_am(const kvf_engine_t *engine, kvfi_driver_id_t id);
void kvfi_links_close(kvf_engine_t *engine, uint64_t end_ns);

#endif

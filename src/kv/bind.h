/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The checks of a binding's arguments, before anything is filled. Both name the field.
 */
#ifndef KVFI_KV_BIND_H
#define KVFI_KV_BIND_H

#include "kv/plan.h"

/* All but handles. INVALID. */
kvf_status_t kvfi_kv_bind_check(const kvf_plan_t *plan, const kvf_bind_t *bind);

/* The arrays of handles. INVALID. */
kvf_status_t kvfi_kv_bind_check_handles(const kvf_plan_t *plan, const kvf_bind_t *bind);

#endif

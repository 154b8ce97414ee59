/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Settings: a default, over it KVFERRY_ variables, over them what the caller set.
 */
#ifndef KVFI_ENGINE_SETTINGS_H
#define KVFI_ENGINE_SETTINGS_H

#include "kvferry.h"

kvf_status_t kvfi_settings_load(kvf_engine_t *engine, const kvf_engine_opts_t *opts);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the tests of copy threads share: a rig whose engines have as many copy threads as the
 * machine lets them, and how many there are. On one core there are none.
 */
#ifndef KVF_TESTS_THREADED_H
#define KVF_TESTS_THREADED_H

#include "rig.h"

#define BIG         (UINT64_C(32) << 20)
#define LOCAL_PATHS WHERE_STAGE /* those before it */

/* BIG on both sides. */
extern const rig_opts_t big;

void rig_open_threaded(rig_t *rig, where_t where, const rig_opts_t *opts);

/* How many run: what kvf_engine_setting() says. */
int copy_threads_said(kvf_engine_t *engine);

/* Calls fn, if there is one, with the directory in /proc of each copy thread of this process;
 * returns how many there are. */
int each_copy_thread(void (*fn)(const char *dir));

#endif

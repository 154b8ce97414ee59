/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The trace on every rank: rank 0 reads and checks it (tools/trace.c), all get it by broadcast.
 * Reading blocks rank 0 as long as a pipe does; the others wait asleep.
 */
#ifndef KVFI_REPLAY_INPUT_H
#define KVFI_REPLAY_INPUT_H

#include "../trace.h"
#include "options.h"

/* Collective. trace_p on every rank holds the same requests and counts; sentences of skipped lines
 * only on rank 0. Returns 0, or the exit code that all ranks agree on with its sentence in text_p.
 * trace_p must be freed in any case. */
int kvfi_replay_input_read(struct replay_comm *comm, const struct replay_opts *opts, kvfi_trace_t *trace_p,
                           char text_p[REPLAY_TEXT_LEN]);

#endif

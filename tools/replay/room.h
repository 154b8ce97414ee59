/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Before a replay begins: how large its pools are, and what part of each block moves, where nobody
 * said so, by the memory that is there; and how long a replay by the trace's clock will take.
 */
#ifndef KVFI_REPLAY_ROOM_H
#define KVFI_REPLAY_ROOM_H

#include "shape.h"

/* Collective: fills in blocks and scale where they are 0, and the shape. Blocks: as many as fit, at most
 * 4096 and those of the trace; the scale is halved until the largest request has room in a pool. Rank 0
 * says what was chosen. 0, or an exit code and the sentence in kvfi_cli_error(). */
int kvfi_replay_room(struct replay_comm *comm, struct replay_opts *opts, const kvfi_trace_t *trace,
                     struct replay_shape *shape);

/* With a speed: rank 0 says how long the trace takes. 0, or an exit code and the sentence, if that is more
 * than max_seconds. */
int kvfi_replay_time(const struct replay_comm *comm, const struct replay_opts *opts,
                     const kvfi_trace_t *trace);

#endif

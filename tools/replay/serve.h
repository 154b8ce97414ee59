/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The serving of a trace: opens both sides of this rank, carries the mail between them until all
 * requests are served or the job is stopped, and ends together with the other ranks.
 *
 * This thread is the only one: it never blocks, but rests when there is nothing to do. A signal, or a
 * failure of any rank, stops all of them: no request is begun, pulls under way end, and a rank that
 * does not come to the end in time takes the job down.
 */
#ifndef KVFI_REPLAY_SERVE_H
#define KVFI_REPLAY_SERVE_H

#include "job.h"

/* SIGINT and SIGTERM are noted from here on. */
void kvfi_replay_serve_signals(void);

/* The signal that came, 0 if none did. */
int kvfi_replay_serve_signal(void);

/* Collective. job holds comm, opts, shape, trace, mpi, engine. seconds_p: the time from the first
 * request to the last. Returns 0 if it came to its end or was stopped by a signal; the exit code all
 * ranks agree on, with the sentence in text_p, if a rank failed. bar: whether rank 0 shows one. */
int kvfi_replay_serve(struct replay_job *job, bool bar, double *seconds_p, char text_p[REPLAY_TEXT_LEN]);

#endif

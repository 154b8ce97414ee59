/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The decode side: takes the requests of this rank's instance in the trace's order, up to --depth at a
 * time and with --speed not before they come, asks the prefill ranks that have a part of this rank's
 * heads and layers for the blocks, pulls them with one batch each, and has every byte checked.
 *
 * A pull that is all local is driven to its end at once: the copy runs on this thread anyway. A pull
 * over a wire goes on while others are asked for and checked. Blocks that prove stale are counted, not
 * compared, and not pulled again.
 */
#ifndef KVFI_REPLAY_DECODE_H
#define KVFI_REPLAY_DECODE_H

#include "job.h"

struct replay_decode;

/* Allocates where pulled blocks land; number: of this decode rank among those; need: KV blocks at one
 * time, at least 1. NULL: it failed. */
struct replay_decode *kvfi_replay_decode_open(struct replay_job *job, uint32_t number, uint64_t need);
void kvfi_replay_decode_close(struct replay_decode *decode); /* before the engine closes */

/* Marks in reads, by number of a member, which ranks of a prefill instance this rank reads from. */
void kvfi_replay_decode_reads(const struct replay_decode *decode, uint8_t *reads);

/* remotes: what each rank of the job granted, shape->ranges entries a rank, NULL where there is none;
 * they stay the caller's. */
int kvfi_replay_decode_connect(struct replay_decode *decode, kvf_remote_t *const *remotes);

/* Mail of a prefill rank. -1: the job failed. */
int kvfi_replay_decode_answer(struct replay_decode *decode, int from, const void *data, size_t len);

/* 1: did something, 0: nothing to do now, -1: the job failed. */
int kvfi_replay_decode_step(struct replay_decode *decode);

/* Nothing is left: all were pulled, or the job was stopped and no batch runs. */
bool kvfi_replay_decode_done(const struct replay_decode *decode);

#endif

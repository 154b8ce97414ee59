/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The shape of a replay: what a trace block is in KV blocks after scaling, who serves which request,
 * which requests no pool can hold, and how much memory all of it takes. Pure arithmetic from options
 * and trace, the same on every rank, but for the one look at the free memory of the node.
 */
#ifndef KVFI_REPLAY_SHAPE_H
#define KVFI_REPLAY_SHAPE_H

#include <kvferry/kv.h>

#include "../trace.h"
#include "options.h"

struct replay_shape {
    const kvf_kv_model_t *model;
    const char *layout;
    uint32_t trace_tokens;     /* T: tokens of a trace block */
    uint32_t block_tokens;     /* N: tokens of a KV block */
    uint32_t full_per_block;   /* KV blocks of a trace block, unscaled: T / N */
    uint32_t per_block;        /* of these, moved */
    uint32_t full_layers;      /* layers of the model that keep KV */
    uint32_t layers;           /* of these, moved: the first ones */
    uint64_t left_num, left_den; /* what is left of it all, in lowest terms */
    bool     less_asked;       /* the scale asked for was smaller than what is left */
    uint64_t block_bytes;      /* of a KV block, scaled */
    uint32_t prefill, decode;  /* ranks of each kind; 1 and 1 in a job of one rank */
    bool     both;             /* a job of one rank */
    uint32_t pool_blocks;      /* KV blocks in the pool of a prefill rank */
    uint64_t refused;          /* requests that no pool can hold */
    uint64_t target;           /* the request that --inject breaks; UINT64_MAX: there is none */
};

/* 0, or an exit code and the sentence in kvfi_cli_error(). */
int kvfi_replay_shape(const struct replay_opts *opts, const kvfi_trace_t *trace, int ranks,
                      struct replay_shape *shape_p);

/* The layout of a cache of so many KV blocks. */
kvf_status_t kvfi_replay_shape_layout(const struct replay_shape *shape, uint32_t blocks,
                                      kvf_layout_t **layout_p);

/* Who serves a request: the number of the prefill rank among those, and of the decode rank. */
uint32_t kvfi_replay_prefill_of(const struct replay_shape *shape, const kvfi_trace_t *trace,
                                uint64_t request);
uint32_t kvfi_replay_decode_of(const struct replay_shape *shape, uint64_t request);

/* The MPI ranks of these. */
int kvfi_replay_prefill_rank(const struct replay_shape *shape, uint32_t prefill);
int kvfi_replay_decode_rank(const struct replay_shape *shape, uint32_t decode);

/* Whether the request has more trace blocks than the pool of a prefill rank. */
bool kvfi_replay_too_large(const struct replay_opts *opts, const kvfi_trace_t *trace,
                           uint64_t request);

/* KV blocks that decode rank `decode` holds at most at one time. 0: it has nothing to do. */
uint64_t kvfi_replay_decode_need(const struct replay_opts *opts, const struct replay_shape *shape,
                                 const kvfi_trace_t *trace, uint32_t decode);

/* Destination blocks lie between neighbours that nobody uses: the capacity that takes. */
static inline uint64_t kvfi_replay_spaced(uint64_t blocks)
{
    return 2 * blocks + 1;
}

/* Collective: 0 if this node's ranks together take no more than is free on it, else an exit code and
 * the sentence with both figures in kvfi_cli_error(), on the ranks of a node where it does not fit.
 * Allocates nothing. */
int kvfi_replay_shape_memory(struct replay_comm *comm, const struct replay_opts *opts,
                             const struct replay_shape *shape, uint64_t decode_blocks);

#endif

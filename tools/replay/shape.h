/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The shape of a replay: what a trace block is in KV blocks of both sides after scaling, what each rank
 * holds, who serves which request, which requests no pool can hold, and how much memory all of it
 * takes. Pure arithmetic from options and trace, the same on every rank, but for the one look at the
 * free memory of the node.
 *
 * A side is made of instances, an instance of tp * pp ranks, its members: member s * tp + t holds the
 * heads of TP rank t and the layers of stage s (cut.h). All members serve a request together.
 */
#ifndef KVFI_REPLAY_SHAPE_H
#define KVFI_REPLAY_SHAPE_H

#include <kvferry/kv.h>

#include "../trace.h"
#include "options.h"

struct replay_side {
    const char *layout;
    uint32_t tp, pp;
    uint32_t members; /* ranks of an instance */
    uint32_t instances;
    uint32_t ranks;        /* of all instances; both sides of a job of one rank have that one */
    uint32_t first_rank;   /* MPI rank of the first one; the others follow, instance by instance */
    uint32_t block_tokens; /* of a KV block */
    uint32_t per_block;    /* KV blocks of a trace block that are moved */
};

/* Heads and layers; of a rank, or what two ranks have in common. */
struct replay_cut {
    uint32_t first_layer, layers;
    uint32_t first_head, heads;
};

/* The cache of one rank, but for its number of blocks. */
struct replay_held {
    const kvf_kv_model_t *model;
    const char *layout;
    uint32_t block_tokens;
    struct replay_cut cut;
};

struct replay_shape {
    const kvf_kv_model_t *model;
    struct replay_side side[REPLAY_SIDES];
    uint32_t trace_tokens;       /* tokens of a trace block */
    uint32_t kept_tokens;        /* of these, moved: the first ones; whole KV blocks of both sides */
    uint32_t full_layers;        /* layers of the model that keep KV */
    uint32_t layers;             /* of these, moved: the first ones */
    uint64_t left_num, left_den; /* what is left of it all, in lowest terms */
    bool least;                  /* no scale leaves less */
    bool less_asked;             /* the scale asked for was smaller than what is left */
    bool both;                   /* a job of one rank */
    uint32_t pool_blocks;        /* KV blocks in the pool of a prefill rank */
    uint32_t ranges;             /* segments of a prefill rank's layout at most */
    uint64_t refused;            /* requests that no pool can hold */
    uint64_t target;             /* the request that --inject breaks; UINT64_MAX: there is none */
};

/* 0, or an exit code and the sentence in kvfi_cli_error(). */
int kvfi_replay_shape(const struct replay_opts *opts, const kvfi_trace_t *trace, int ranks,
                      struct replay_shape *shape_p);

/* Whether an MPI rank is of a side, and its number among the ranks of that side. */
bool kvfi_replay_is(const struct replay_shape *shape, int side, int rank, uint32_t *number_p);

/* What a member of an instance holds. */
struct replay_held kvfi_replay_held(const struct replay_shape *shape, int side, uint32_t member);

/* The layout of a cache of so many KV blocks. */
kvf_status_t kvfi_replay_layout(const struct replay_held *held, uint32_t blocks, kvf_layout_t **layout_p);

/* Bytes that so many tokens of these heads and layers take. */
uint64_t kvfi_replay_bytes(const kvf_kv_model_t *model, const struct replay_cut *cut, uint64_t tokens);

/* Who serves a request: the number of an instance. */
uint32_t kvfi_replay_prefill_of(const struct replay_shape *shape, const kvfi_trace_t *trace,
                                uint64_t request);
uint32_t kvfi_replay_decode_of(const struct replay_shape *shape, uint64_t request);

/* The MPI rank of a member of an instance. */
int kvfi_replay_rank_of(const struct replay_shape *shape, int side, uint32_t instance, uint32_t member);

/* Whether the request has more trace blocks than the pool of a prefill rank. */
bool kvfi_replay_too_large(const struct replay_opts *opts, const kvfi_trace_t *trace, uint64_t request);

/* KV blocks that a rank of that decode instance holds at most at one time. 0: it has nothing to do. */
uint64_t kvfi_replay_decode_need(const struct replay_opts *opts, const struct replay_shape *shape,
                                 const kvfi_trace_t *trace, uint32_t instance);

/* Destination blocks lie between neighbours that nobody uses: the capacity that takes. */
static inline uint64_t kvfi_replay_spaced(uint64_t blocks)
{
    return 2 * blocks + 1;
}

/* Collective: bytes that this node's ranks take together. */
uint64_t kvfi_replay_shape_need(struct replay_comm *comm, const struct replay_opts *opts,
                                const struct replay_shape *shape, const kvfi_trace_t *trace);

/* Collective: 0 if this node's ranks together take no more than is free on it, else an exit code and
 * the sentence with both figures in kvfi_cli_error(), on the ranks of a node where it does not fit.
 * Allocates nothing. */
int kvfi_replay_shape_memory(struct replay_comm *comm, const struct replay_opts *opts,
                             const struct replay_shape *shape, const kvfi_trace_t *trace);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_explain: what its files share. The nouns, from the command line to the report:
 *
 *   opts --> sides (a layout for each rank) --> pairs (a plan for each rank that a rank reads from)
 *        --> figures of each pair, and for each group of its layers why pieces end where they do
 *        --> report; with --analyze also a run of one pair, or of all, in an MPI job
 *
 * All but the run is arithmetic, on one process and without an engine. Who fails leaves a sentence
 * in kvfi_cli_error() and returns -1.
 */
#ifndef KVFI_EXPLAIN_H
#define KVFI_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <kvferry/kv.h>

#include "../side_opts.h"

/* Which side: the index of arrays of two. */
enum {
    EXPLAIN_SOURCE = KVFI_SIDE_SRC,
    EXPLAIN_DEST = KVFI_SIDE_DST
};

#define EXPLAIN_NAME_LEN   16
#define EXPLAIN_GROUPS_MAX 8
#define EXPLAIN_RANKS_MAX  4096
#define EXPLAIN_ANY        UINT64_MAX

struct explain_opts {
    const char *model;
    struct kvfi_side_opts end[KVFI_SIDES + 1]; /* by side; the last: what was said of both */
    uint64_t rank[2];                          /* EXPLAIN_ANY, or the only one that is asked about */
    uint64_t cp[2];                            /* ranks over which a side deals its tokens */
    uint64_t tokens;
    uint64_t first_layer, layer_count; /* of the model; count 0: all */
    uint32_t dir;                      /* KVF_READ or KVF_WRITE */
    bool analyze;                      /* run it, too */
    uint32_t path;                     /* mask of one; 0: whatever serves */
    enum explain_memory {
        EXPLAIN_MEMORY_POOL, /* the library's */
        EXPLAIN_MEMORY_OWN,  /* the program's, registered */
        EXPLAIN_MEMORY_ADOPT /* the program's, adopted */
    } memory;
    bool memory_said;
    const char *net;
    uint64_t reps, seed;
    const char *json; /* file, "-", or NULL */
    bool help, version;
};

int kvfi_explain_parse(int argc, char *const *argv, struct explain_opts *opts_p);
void kvfi_explain_usage(FILE *file);

/* ---------------------------------------------------------------- sides */

struct explain_rank {
    uint32_t first_layer, layers;
    uint32_t first_head, heads;
    uint32_t cp_rank;
    uint32_t first_state_head, state_heads; /* of recurrent states; 0, 0 without */
};

struct explain_side {
    const char *name;                /* "source" */
    const char *layout;              /* as it was asked for */
    const char *layout_option;       /* by which */
    char spelling[EXPLAIN_NAME_LEN]; /* its axes, "L/2BNHD" */
    uint32_t tp, pp, cp;
    uint32_t block_tokens; /* so many tokens are dealt at a time, too */
    uint32_t need, blocks; /* blocks of the request on a rank, at most; capacity */
    uint32_t rank_count;
    struct explain_rank *ranks;
    kvf_layout_t **layouts; /* by rank */
    /* by group of the model and rank: layouts of that group's layers alone; NULL: none of them */
    kvf_layout_t **group_layouts[EXPLAIN_GROUPS_MAX];
};

/* A group of the model's layers. */
struct explain_group {
    char name[32]; /* "layers", "window 128", "state" */
    uint32_t layer_count;
    uint32_t *layers; /* owned */
};

struct explain_world {
    const struct explain_opts *opts;
    const kvf_kv_model_t *model;
    struct explain_group groups[EXPLAIN_GROUPS_MAX];
    uint32_t group_count;
    struct explain_side side[2];
};

int kvfi_explain_open(const struct explain_opts *opts, struct explain_world *world_p);
void kvfi_explain_close(struct explain_world *world);

/* The layout of a rank's cache, under that name and block size; of the layers of one group alone,
 * or of all if group is UINT32_MAX. *layout_p is NULL if the rank has none of them. */
kvf_status_t kvfi_explain_layout(const struct explain_world *world, unsigned side, uint32_t rank,
                                 const char *name, uint32_t block_tokens, uint32_t group,
                                 kvf_layout_t **layout_p);

/* Blocks of block_tokens that a rank of a side needs for the request, at most; tokens are dealt as they
 * are with the side's own blocks. */
static inline uint32_t kvfi_explain_blocks(const struct explain_world *world, unsigned which,
                                           uint32_t block_tokens)
{
    const struct explain_side *side = &world->side[which];
    uint64_t dealt = side->cp > 1 && side->block_tokens > block_tokens ? side->block_tokens : block_tokens;
    uint64_t round = dealt * side->cp;

    return (uint32_t)((world->opts->tokens + round - 1) / round * (dealt / block_tokens));
}

/* ---------------------------------------------------------------- figures */

struct explain_size {
    uint64_t bytes, pieces;
};

/* What a plan makes of the request. */
struct explain_figures {
    uint64_t ops, ids, pairs, pieces, bytes;
    struct explain_size *sizes; /* by rising bytes; owned */
    uint32_t size_count;
    uint64_t bind_ns; /* median of a few bindings */
};

/* The whole request, ids NULL: block i is block i. */
void kvfi_explain_bind_of(const struct explain_world *world, kvf_bind_table_t table[2], kvf_bind_t *bind_p);
int kvfi_explain_figures(const struct explain_world *world, const kvf_plan_t *plan, const kvf_layout_t *src,
                         const kvf_layout_t *dst, struct explain_figures *figures_p);
void kvfi_explain_figures_free(struct explain_figures *figures);

/* ---------------------------------------------------------------- why pieces end */

enum explain_stop {
    EXPLAIN_WHOLE, /* nothing of what is wanted is left */
    EXPLAIN_NEXT,  /* this side would go on with axis */
    EXPLAIN_BLOCK, /* the next thing in memory is another block */
    EXPLAIN_CUT,   /* only a part of axis is wanted, and the rest of it lies next */
    EXPLAIN_APART, /* axis is in allocations of its own */
    EXPLAIN_GAP    /* bytes of nobody lie next */
};

/* Why a piece ends on one side. */
struct explain_why_side {
    enum explain_stop stop;
    char axis;                     /* 'H'; 0 where there is none */
    uint64_t wanted, held;         /* of EXPLAIN_CUT's axis */
    char inside[EXPLAIN_NAME_LEN]; /* axes wanted that lie further out: "NL" */
};

/* What another order of the axes would give. */
struct explain_hint {
    bool both; /* on both sides, else on side */
    unsigned side;
    char axis;                     /* that moved outside; 0: several, or none */
    uint32_t block_tokens;         /* not 0: blocks of so many tokens on both sides */
    char layout[EXPLAIN_NAME_LEN]; /* "": as they are */
    uint64_t piece;                /* bytes of a piece, on the average if they are mixed */
    bool mixed;
    uint64_t ops;
    uint64_t path_ns[KVF_PATH_COUNT]; /* predicted; 0: unknown */
};

#define EXPLAIN_HINTS 5

struct explain_why {
    kvf_plane_kind_t plane;
    uint64_t cell;               /* bytes that are always together */
    uint64_t piece;              /* bytes of a piece; 0: too irregular to say */
    char axes[EXPLAIN_NAME_LEN]; /* that a piece spans, inner first: "NH" */
    struct explain_why_side side[2];
};

#define EXPLAIN_PLANES_MAX 4

/* A pair's share of one group. */
struct explain_share {
    uint32_t group;
    uint32_t first_layer, layers, first_head, heads;
    struct explain_figures figures;
    struct explain_why why[EXPLAIN_PLANES_MAX];
    uint32_t why_count;
    struct explain_hint hints[EXPLAIN_HINTS];
    uint32_t hint_count;
};

/* What a pair took when it was run: medians, and the least and the most. */
struct explain_run {
    kvf_path_t path;           /* that served; NONE: nothing was run */
    uint64_t bind_ns, post_ns; /* in the calls */
    uint64_t all_ns;           /* from the two block tables to the last byte */
    uint64_t least_ns, most_ns;
    uint64_t right, wrong; /* bytes */
};

struct explain_pair {
    uint32_t dst, src;
    kvf_plan_t *plan;
    struct explain_figures figures;
    struct explain_share shares[EXPLAIN_GROUPS_MAX];
    uint32_t share_count;
    uint32_t like;                    /* index of the first pair that looks the same; its own */
    uint64_t path_ns[KVF_PATH_COUNT]; /* predicted; 0: unknown */
    struct explain_run run;
};

struct explain_pairs {
    struct explain_pair *pairs;
    uint32_t count;
    uint64_t right, wrong; /* bytes, of all runs */
};

/* All pairs that are asked about, by rising destination, then source. */
int kvfi_explain_pairs_make(const struct explain_world *world, struct explain_pairs *pairs_p);
void kvfi_explain_pairs_free(struct explain_pairs *pairs);

/* Why the pieces of a share end where they do. */
int kvfi_explain_why(const struct explain_world *world, const struct explain_pair *pair,
                     struct explain_share *share);
/* And what would make them longer. */
int kvfi_explain_hints(const struct explain_world *world, const struct explain_pair *pair,
                       struct explain_share *share);

/* Fills in what each pair, and each hint, is predicted to take, on each path. */
void kvfi_explain_predict(kvf_engine_t *engine, struct explain_pairs *pairs);

/* ---------------------------------------------------------------- the run */

struct kvf_mpi; /* of kvferry/mpi.h */

struct explain_job {
    struct kvf_mpi *mpi;
    kvf_engine_t *engine;
    int rank, size;
};

/* Collective; only --analyze opens an engine, too. Returns an exit code. Closing is due also where
 * opening failed. */
int kvfi_explain_job_open(const struct explain_opts *opts, int *argc, char ***argv,
                          struct explain_job *job_p);
void kvfi_explain_job_close(struct explain_job *job);
/* All brought 0, or all get -1 with the sentence of the first that did not. */
int kvfi_explain_job_agree(const struct explain_job *job, int rc);

/* Collective: move what pairs say, and fill in what was measured. Returns an exit code. */
int kvfi_explain_run(const struct explain_job *job, const struct explain_world *world,
                     struct explain_pairs *pairs);

/* ---------------------------------------------------------------- report */

void kvfi_explain_text(const struct explain_world *world, const struct explain_pairs *pairs, FILE *file);
void kvfi_explain_json(const struct explain_world *world, const struct explain_pairs *pairs, FILE *file);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_bench: what its files share. The nouns, from the command line to the report:
 *
 *   args --> shapes --> plan (which bytes, in which order) --> memory on each rank
 *        --> repetitions of { floor, case, peers, floor } --> figures --> JSON, table, picture
 *
 * Rank 0 is the initiator: it posts and measures. The last rank is the owner: the remote memory is
 * its own. With one rank both are the same. Both compute the same plan from the same arguments, and
 * run the same steps; who has nothing to do in a step sleeps in kvfi_bench_meet().
 */
#ifndef KVFI_TOOLS_BENCH_H
#define KVFI_TOOLS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <kvferry/kv.h>

#include "../out.h"

/* ---------------------------------------------------------------- arguments and shapes */

/* What a case carries. Either a model's cache from one layout to another, which the planner cuts into
 * pieces, or pieces by number and size. */
struct bench_shape {
    const char *name;      /* "W2" */
    const char *long_name; /* "pd-70b-tp4-lbhnc" */
    uint64_t piece;        /* bytes */
    uint64_t pieces;       /* of one transfer */
    uint64_t blocks;       /* of one transfer */
    bool layerwise;        /* a batch and a notification a layer, always written */
    bool tiny;             /* one piece a batch: latency */
    bool one_layer;        /* of the model: more do not fit where --hot wants them */
    const char *model;     /* NULL: a block is pieces / blocks pieces, far apart as layers are */
    const char *source_layout, *dest_layout; /* spelled as for kvf_layout_build() */
    uint32_t source_tp, dest_tp;             /* both ranks are the first of so many */
};

#define BENCH_PATHS 8
#define BENCH_PEERS 8 /* beside a case, its floor included */

struct bench_peer_kind; /* one way to do the same without kvferry */

struct bench_args {
    struct bench_shape *shapes; /* cases in order; owned */
    size_t shape_count;
    kvf_path_t path; /* of the cases that run now; NONE: whatever serves */
    bool adopts;     /* they run over adopted memory, whatever --memory says */
    struct bench_way {
        const char *name; /* "shm"; "adopt" is shm over adopted memory */
        kvf_path_t path;
        bool adopts;
    } ways[BENCH_PATHS];   /* asked for, one after the other */
    size_t way_count, way; /* way: the one that runs now */
    bool sweep;            /* what was not said is chosen: shapes, paths, peers */
    uint32_t dir;          /* KVF_READ or KVF_WRITE */
    const char *net;
    uint64_t depth;     /* batches under way, of the case that runs now */
    uint64_t depths[8]; /* asked for, one after the other */
    size_t depth_count;
    uint64_t copy_threads; /* of each rank's engine */
    uint64_t beside;       /* bytes of a large batch beside the case; 0: none */
    bool await_fd;         /* a receiver of layers sleeps in poll, not in kvf_stream_wait() */
    uint64_t gap_us;       /* for which its sender rests before each */
    uint64_t reps;
    uint64_t seed;
    uint64_t scale_num, scale_den;
    uint64_t hot;   /* most bytes of a side, which stay in the caches; 0: cold */
    bool per_layer; /* each layer is a segment of its own, and an op of its own */
    enum bench_kind_of_memory {
        BENCH_MEMORY_OF_PATH, /* OWN for cma and stage, else POOL */
        BENCH_MEMORY_POOL,    /* the library's */
        BENCH_MEMORY_OWN,     /* the program's, registered */
        BENCH_MEMORY_ADOPT,   /* the program's, adopted */
    } memory;
    const struct bench_peer_kind *peers[BENCH_PEERS - 1]; /* asked for, besides the floor */
    size_t peer_count;
    bool help, version;
    const char *json; /* file, "-", or NULL */
    const char *plot; /* file that ends in .svg, or NULL */
};

/* 0, or -1 with a sentence in kvfi_cli_error(). */
int kvfi_bench_parse(int argc, char *const *argv, struct bench_args *args_p);
void kvfi_bench_args_free(struct bench_args *args);
void kvfi_bench_usage(FILE *file);

/* The cases that a name stands for ("W10" has many), appended to args. */
int kvfi_bench_shapes_by_name(const char *name, struct bench_args *args);
int kvfi_bench_shapes_of_sweep(struct bench_args *args);
int kvfi_bench_shape_add(const struct bench_shape *shape, struct bench_args *args);

/* ---------------------------------------------------------------- plan */

/* An op in words of source and destination, for all that move the same without kvferry. */
struct bench_box {
    uint32_t source_segment, dest_segment; /* by index */
    uint64_t source_off, dest_off;         /* first piece of block 0, from the start of these */
    uint64_t source_block, dest_block;     /* bytes from block to block */
    uint64_t len;                          /* of a piece */
    uint32_t count[2];                     /* pieces in a row, rows */
    int64_t source_stride[2], dest_stride[2];
};

struct kvf_plan; /* of kvferry/kv.h */

/* Which bytes a run moves. A run is `batches` batches; batch b moves the pairs [b * per .., at most per
 * of them) of the two permutations, which start again after `slots`. */
struct bench_plan {
    struct bench_shape shape; /* as it is run: after --scale and --hot, and as the planner cut it */
    struct kvf_plan *kv;      /* what the ops are bound from */
    struct bench_box *boxes;  /* the same, of a whole batch */
    size_t box_count;         /* ops of a batch */
    uint32_t block_tokens;
    uint64_t block_bytes;                    /* that move */
    uint64_t slots;                          /* blocks that each side's memory holds */
    uint64_t per;                            /* blocks a batch */
    uint64_t batches;                        /* a run */
    uint64_t moved;                          /* blocks a run */
    uint64_t covered;                        /* different ones among them */
    uint32_t source_segments, dest_segments; /* all of a side have the same length */
    uint64_t source_bytes, dest_bytes;       /* memory of each side */
    uint64_t run_bytes;
    uint64_t seed;
    uint32_t *source_ids, *dest_ids; /* slots entries each; owned */
};

int kvfi_bench_plan_make(const struct bench_args *args, const struct bench_shape *shape,
                         struct bench_plan *plan_p); /* no ids yet */
int kvfi_bench_plan_ids(struct bench_plan *plan);
/* A run of one batch that moves all of `pieces` blocks of one piece, ids too: beside a case. */
int kvfi_bench_plan_plain(uint64_t piece, uint64_t pieces, uint64_t seed, struct bench_plan *plan_p);
void kvfi_bench_plan_free(struct bench_plan *plan);

struct kvf_layout;

/* The layouts of a shape's two sides, source and destination, of so many blocks. */
int kvfi_bench_layouts(const struct bench_args *args, const struct bench_shape *shape, uint64_t blocks,
                       struct kvf_layout *sides[2]);
/* Bytes of a block at the side that has fewer, which are those that move, and at the other. */
int kvfi_bench_block_bytes(const struct bench_args *args, const struct bench_shape *shape, uint64_t *least_p,
                           uint64_t *most_p);
/* So few blocks that a side has at most so many bytes; where one block is more, one layer of it if its
 * pieces stay as they are. */
int kvfi_bench_shrink(const struct bench_args *args, uint64_t most, struct bench_shape *shape);
/* Makes kv, boxes and what follows from them: bytes, segments, pieces of shape.blocks blocks. */
int kvfi_bench_plan_bind(const struct bench_args *args, struct bench_plan *plan);
/* The plan with the boxes of one layer only, which are the caller's; the rest stays the plan's. */
int kvfi_bench_plan_layer(const struct bench_plan *plan, uint32_t layer, struct bench_plan *layer_p);

/* First block and number of blocks of a batch. */
static inline uint64_t kvfi_bench_batch_first(const struct bench_plan *plan, uint64_t batch)
{
    return batch * plan->per % plan->slots;
}

static inline uint64_t kvfi_bench_batch_blocks(const struct bench_plan *plan, uint64_t batch)
{
    uint64_t left = plan->moved - batch * plan->per;
    return left < plan->per ? left : plan->per;
}

/* A piece, from the start of its segment on either side. */
struct bench_piece {
    uint32_t source_segment, dest_segment;
    uint64_t source_off, dest_off, len;
};

typedef bool (*bench_visit_t)(void *arg, const struct bench_piece *piece);

/* The pieces of a block. */
static inline __attribute__((always_inline)) bool
kvfi_bench_walk_block(const struct bench_box *box, struct bench_piece *piece, bench_visit_t visit, void *arg)
{
    uint64_t from = piece->source_off, to = piece->dest_off;

    for (uint32_t y = 0; y < box->count[1]; y++) {
        piece->source_off = from + (uint64_t)(y * box->source_stride[1]);
        piece->dest_off = to + (uint64_t)(y * box->dest_stride[1]);
        for (uint32_t x = 0; x < box->count[0]; x++) {
            if (!visit(arg, piece)) {
                return false;
            }
            piece->source_off += (uint64_t)box->source_stride[0];
            piece->dest_off += (uint64_t)box->dest_stride[0];
        }
    }
    return true;
}

/* Each piece of pairs [first, first + pairs) in the order in which the case moves them: op by op, pair
 * by pair, row by row. Ends at the first visit that is not true. Inlined with its visit, and apart for
 * blocks of one piece, so that a loop over pieces costs what one written by hand does. */
static inline __attribute__((always_inline)) bool
kvfi_bench_walk(const struct bench_plan *plan, uint64_t first, uint64_t pairs, bench_visit_t visit, void *arg)
{
    const uint32_t *source_ids = plan->source_ids + first, *dest_ids = plan->dest_ids + first;

    for (size_t b = 0; b < plan->box_count; b++) {
        const struct bench_box box = plan->boxes[b];
        bool one = box.count[0] == 1 && box.count[1] == 1;
        struct bench_piece piece = {box.source_segment, box.dest_segment, 0, 0, box.len};
        for (uint64_t i = 0; i < pairs; i++) {
            piece.source_off = box.source_off + source_ids[i] * box.source_block;
            piece.dest_off = box.dest_off + dest_ids[i] * box.dest_block;
            if (!(one ? visit(arg, &piece) : kvfi_bench_walk_block(&box, &piece, visit, arg))) {
                return false;
            }
        }
    }
    return true;
}

/* Contents. Each word of the source says where it is; a poisoned destination holds none of them.
 * source, dest: where each segment starts. */
uint64_t kvfi_bench_mix(uint64_t x);
void kvfi_bench_fill(const struct bench_plan *plan, char *const *source);
void kvfi_bench_poison(const struct bench_plan *plan, char *const *dest, uint64_t run);
/* Bytes of the destination that are not what the run should have brought. */
uint64_t kvfi_bench_verify(const struct bench_plan *plan, char *const *dest);

/* ---------------------------------------------------------------- job and memory */

struct kvf_mpi; /* of kvferry/mpi.h */

struct bench_job {
    struct kvf_mpi *mpi;
    kvf_engine_t *engine;
    int rank, size;
    int owner_rank; /* 0: both ends are in one process */
    bool initiator, owner;
    bool one_node; /* all ranks share it, as MPI sees it */
};

/* Set kvf_last_error()'s sentence as ours, after a prefix. Returns -1. */
int kvfi_bench_fail_status(const char *what, kvf_status_t status);

/* Whether a job of so many ranks may run these paths; chooses them where --sweep leaves it open. */
int kvfi_bench_job_paths(struct bench_args *args, int size);

/* For the cases of args->path. Returns an exit code, with a sentence if it is not 0. */
int kvfi_bench_job_open(const struct bench_args *args, struct bench_job *job_p);
void kvfi_bench_job_close(struct bench_job *job);

/* All ranks meet, asleep until the last has come: 0 if all brought 0, else -1 at all of them, with the
 * sentence of the first that failed. */
int kvfi_bench_meet(const struct bench_job *job, int rc);
/* Rank `from` tells all of len bytes. */
void kvfi_bench_tell(const struct bench_job *job, int from, void *data, size_t len);
/* Sums over the ranks, at all of them. */
void kvfi_bench_sum(const struct bench_job *job, double *value);
void kvfi_bench_sum_u64(const struct bench_job *job, uint64_t *values, int count);

struct bench_memory {
    char *addr;
    uint64_t len;
    char **starts;            /* where each segment of the layout starts; NULL: no memory here */
    kvf_bind_local_t *locals; /* a segment each */
    uint32_t segment_count;   /* taken so far; 0: a peer's memory */
    uint64_t mapped;          /* bytes that are ours, of mmap; 0: they are the library's, or MPI's */
};

/* The two ends of a case, as this rank has them. */
struct bench_ends {
    kvf_path_t path; /* that serves */
    kvf_locality_t locality;
    struct bench_memory local;    /* initiator's */
    struct bench_memory remote;   /* owner's */
    struct bench_memory stand_in; /* at the initiator: memory like the owner's, for the floor */
    kvf_grant_t *grant;           /* owner's */
    kvf_remote_t **handles;       /* of the owner's segments; initiator's */
    uint32_t handle_count;
    uint64_t *remote_starts; /* addresses of the owner's segments, in the owner */
    int64_t remote_pid;
};

/* A case as it runs: what every step of it is told. */
struct bench_case {
    const struct bench_job *job;
    const struct bench_args *args;
    const struct bench_plan *plan;
    struct bench_ends *ends;
};

/* Whose memory: never BENCH_MEMORY_OF_PATH. */
enum bench_kind_of_memory kvfi_bench_memory(const struct bench_args *args);
/* Bytes of the initiator's memory, and of the owner's. */
uint64_t kvfi_bench_local_bytes(const struct bench_args *args, const struct bench_plan *plan);
uint64_t kvfi_bench_remote_bytes(const struct bench_args *args, const struct bench_plan *plan);

/* Memory that a case takes on the fullest node; refused with the figure when it is not there. */
int kvfi_bench_room(const struct bench_job *job, const struct bench_args *args,
                    const struct bench_plan *plan);
/* floors: with a stand-in if what stands beside the case wants one. */
int kvfi_bench_ends_open(const struct bench_job *job, const struct bench_args *args,
                         const struct bench_plan *plan, bool floors, struct bench_ends *ends_p);
void kvfi_bench_ends_close(const struct bench_job *job, struct bench_ends *ends);
/* Segments of len bytes, one after the other from memory->addr. */
int kvfi_bench_starts(uint32_t count, uint64_t len, struct bench_memory *memory);
/* Those of the initiator's side and of the owner's. */
uint32_t kvfi_bench_local_segments(const struct bench_args *args, const struct bench_plan *plan);
uint32_t kvfi_bench_remote_segments(const struct bench_args *args, const struct bench_plan *plan);
/* The owner's, in memory of a peer's own. */
int kvfi_bench_remote_starts(const struct bench_case *c, struct bench_memory *memory);

/* ---------------------------------------------------------------- peers */

/* A peer as it stands beside a case. The first one of a case is its floor. */
struct bench_peer {
    const struct bench_peer_kind *kind;
    const char *way;            /* which of its own variants it took; NULL: it has none */
    struct bench_memory memory; /* at the owner, if the kind brings its own */
    void *state;                /* the kind's */
};

/* Who does a peer's work, and between what. */
enum bench_between {
    BENCH_IN_INITIATOR,   /* within its address space, with the stand-in for the owner's memory */
    BENCH_FROM_INITIATOR, /* on the owner's memory, which does nothing */
    BENCH_BOTH            /* both ranks take part */
};

/* A kind of peer. open and run are called on all ranks, and fail with a sentence, on any of them; who
 * has nothing to do there returns at once. run tells the initiator its time in seconds. */
struct bench_peer_kind {
    const char *name;  /* "mpi-rma" */
    const char *key;   /* "mpi_rma", as a part of JSON keys */
    const char *label; /* in a picture */
    enum bench_between between;
    bool one_node;   /* it needs both ranks on one */
    bool own_memory; /* at the owner, which the kind takes and gives back */
    bool places;     /* it leaves each byte where the case would */
    int (*open)(const struct bench_case *c, struct bench_peer *peer);
    int (*run)(const struct bench_case *c, struct bench_peer *peer, double *took_p);
    void (*close)(const struct bench_case *c, struct bench_peer *peer);
};

extern const struct bench_peer_kind kvfi_bench_peer_memcpy, kvfi_bench_peer_stream, kvfi_bench_peer_cma,
    kvfi_bench_peer_socket, kvfi_bench_peer_mpi_shm, kvfi_bench_peer_mpi_rma, kvfi_bench_peer_ucx;

/* Appended to args->peers. */
int kvfi_bench_peer_by_name(const char *name, struct bench_args *args);
/* What stands beside a case on path: the floor, what belongs to the path, what was asked for. Returns
 * their number, at most BENCH_PEERS. */
size_t kvfi_bench_peers_of(const struct bench_args *args, kvf_path_t path,
                           const struct bench_peer_kind **kinds_p);
/* Of all that may stand beside a case of these arguments: whether one works in the stand-in, and how
 * many take memory of their own. */
bool kvfi_bench_peers_stand_in(const struct bench_args *args, kvf_path_t path);
uint64_t kvfi_bench_peers_memories(const struct bench_args *args);

/* Where a peer's bytes end, if that is in this rank; NULL: elsewhere, or nowhere in particular. */
char *const *kvfi_bench_peer_dest(const struct bench_case *c, const struct bench_peer *peer);

/* What stands for the owner's memory in the initiator's address space. */
static inline char *const *kvfi_bench_other_side(const struct bench_case *c)
{
    return c->job->owner ? c->ends->remote.starts : c->ends->stand_in.starts;
}

/* For kinds with both ranks: the owner drives `step` (NULL: nothing but MPI) until the initiator says
 * that it is done. */
int kvfi_bench_serve_until_done(void (*step)(void *arg), void *arg);
int kvfi_bench_say_done(const struct bench_job *job);

/* Plain memcpy over the pieces of a batch; and of a run, with its seconds. */
void kvfi_bench_memcpy_batch(const struct bench_plan *plan, uint64_t batch, char *const *dest,
                             char *const *source);
double kvfi_bench_memcpy_run(const struct bench_plan *plan, char *const *dest, char *const *source);

/* ---------------------------------------------------------------- measuring and figures */

#define KVFI_BENCH_DEADLINE_NS UINT64_C(300000000000)

/* The ops of a batch, bound from its block tables: plan->box_count of them. */
int kvfi_bench_bind(const struct bench_case *c, uint64_t batch, kvf_op_t *ops);

/* Of one layer of it: *count_p: in, room in ops (NULL: none); out, the need. */
int kvfi_bench_bind_layer(const struct bench_case *c, uint64_t batch, uint32_t layer, kvf_op_t *ops,
                          size_t *count_p);

struct bench_figures;
struct bench_layerwise; /* the case's layers one after the other */

/* On all ranks. open meets; run is one run of the case; note adds its latencies to f->layer, which has
 * room for as many as samples says. */
int kvfi_bench_layerwise_open(const struct bench_case *c, struct bench_layerwise **layerwise_p);
void kvfi_bench_layerwise_close(struct bench_layerwise *layerwise);
int kvfi_bench_layerwise_run(const struct bench_case *c, struct bench_layerwise *layerwise, double *took_p);
void kvfi_bench_layerwise_note(const struct bench_case *c, struct bench_layerwise *layerwise,
                               struct bench_figures *f);
size_t kvfi_bench_layerwise_samples(const struct bench_case *c, const struct bench_layerwise *layerwise);

/* The floor of these layers: one run of it, over the case's own floor where that is a socket. */
int kvfi_bench_layerwise_floor(const struct bench_case *c, struct bench_layerwise *layerwise,
                               struct bench_peer *floor);

struct bench_layer_floor; /* how soon a layer is seen without kvferry */

int kvfi_bench_layer_floor_open(const struct bench_case *c, const uint32_t *layers, uint32_t layer_count,
                                struct bench_layer_floor **floor_p);
void kvfi_bench_layer_floor_close(struct bench_layer_floor *floor);
int kvfi_bench_layer_floor_run(const struct bench_case *c, struct bench_layer_floor *floor,
                               struct bench_peer *socket);
/* When each layer of the last run was sent, known to the initiator, and seen, known to the owner. */
void kvfi_bench_layer_floor_times(const struct bench_layer_floor *floor, double **sent_p, double **seen_p);

/* Whether a receiver sleeps until a layer is there, and what the sender does between two of them. */
bool kvfi_bench_layer_sleeps(const struct bench_args *args);
void kvfi_bench_layer_gap(const struct bench_args *args);

/* A layer over the connection of the socket peer, confirmed, and then the byte that tells of it. sent_p:
 * between these two. */
int kvfi_bench_socket_push_layer(const struct bench_case *c, struct bench_peer *peer,
                                 const struct bench_plan *layer, uint64_t batch, double *sent_p);
int kvfi_bench_socket_take_layer(const struct bench_case *c, struct bench_peer *peer,
                                 const struct bench_plan *layer, uint64_t batch, bool sleeps);

struct bench_beside; /* a large batch beside the case */

struct bench_beside_figures {
    double *latency; /* seconds, of batches while the large one was under way; sorted */
    uint64_t latencies;
    uint64_t posted_bytes; /* of large batches, in all runs that count */
    double took_s;         /* these runs */
};

/* All but run are for all ranks. */
int kvfi_bench_beside_open(const struct bench_case *c, struct bench_beside **beside_p);
void kvfi_bench_beside_close(const struct bench_case *c, struct bench_beside *beside);
void kvfi_bench_beside_poison(const struct bench_case *c, const struct bench_beside *beside);
uint64_t kvfi_bench_beside_wrong(const struct bench_case *c, const struct bench_beside *beside);
/* One run of the case, one batch at a time, a large batch always under way. */
int kvfi_bench_beside_run(const struct bench_case *c, struct bench_beside *beside, kvf_batch_t *small,
                          kvf_op_t *ops, bool counted, struct bench_beside_figures *f);
/* What a large batch moves. */
uint64_t kvfi_bench_beside_bytes(const struct bench_args *args);

struct bench_peer_figures {
    const struct bench_peer_kind *kind;
    const char *way; /* NULL: it has no variants */
    double *runs;    /* seconds, reps of them; of the floor two for each */
    double cpu_s;    /* of all ranks in these runs */
};

struct bench_figures {
    double *runs;                                 /* seconds, reps of them, of the case */
    struct bench_peer_figures peers[BENCH_PEERS]; /* the first is the floor */
    size_t peer_count;
    double *latency; /* seconds, of each batch of each run; sorted at the end */
    uint64_t latencies;
    double bind_s; /* that binding took in them; of the times between post and end no part */
    double cpu_s;  /* of all ranks in the case's runs */
    struct bench_beside_figures beside;
    double *layer;       /* seconds, from a layer's last byte until it was seen; sorted */
    double *layer_floor; /* the same of their floor */
    size_t layers;       /* of all runs, of each of both; 0: the case is not layer by layer */
    uint64_t verified, mismatched, peers_mismatched;
    uint64_t bytes, pieces, calls; /* that the engine counted on the path, in all runs */
    uint64_t elsewhere;            /* bytes that it counted on any other path */
    uint64_t page_bytes;
};

int kvfi_bench_measure(const struct bench_case *c, struct bench_figures *figures_p);
void kvfi_bench_figures_free(struct bench_figures *figures);

double kvfi_bench_now(void);
double kvfi_bench_cpu(void); /* of this process, user and system, all threads */
/* Of a copy: values stay in order. */
double kvfi_bench_median(const double *values, size_t count);
double kvfi_bench_sorted_quantile(const double *sorted, size_t count, double q);
void kvfi_bench_sort(double *values, size_t count);

/* One curve's point: what moved pieces of a size, and how fast. */
struct bench_point {
    const char *name;  /* "shm", "mpi-rma": of a path or a peer */
    const char *label; /* of a peer; NULL: a path */
    uint64_t piece;
    double gbps;
    double ratio; /* to memcpy, in the same repetitions; NAN: there was none */
};

struct bench_report {
    FILE *table;                /* NULL: none */
    struct kvfi_out json;       /* open from the first case on */
    struct bench_point *points; /* for --plot; owned */
    size_t point_count;
    char cpus[2][128]; /* allowed to initiator and owner */
    bool headed;
    size_t headed_for; /* its way */
};

void kvfi_bench_report_cpus(const struct bench_job *job, struct bench_report *report);
void kvfi_bench_report_case(struct bench_report *report, const struct bench_case *c,
                            const struct bench_figures *figures);

void kvfi_bench_report_free(struct bench_report *report);

/* Pictures. Whether gnuplot is there and both files can be written, for --plot; then the data beside the picture, and the picture. */
int kvfi_bench_plot_check(const struct bench_args *args);
int kvfi_bench_plot(const struct bench_args *args, const struct bench_report *report);

#endif

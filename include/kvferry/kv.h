/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvferry, the KV layer: say where the cells of a KV cache lie, and get the ops that carry a
 * request's blocks from one cache to another. A client of kvferry.h like any other.
 *
 * The walk: take a model by name; build a layout for it by name (or describe one by hand); exchange
 * layouts, packed, with the other ranks; make a plan once for each source that a destination reads
 * from; bind a plan to a request, that is to a token range and two block tables, and post it:
 * kvf_plan_post().
 *
 * Words. A cache has groups: layers that share shape and block table. A group has planes (K, V,
 * K and V fused, latent, ...). A cell is what a plane holds for one (layer, block, head, state): so
 * many content bytes that are contiguous. A state is what is kept for tokens_per_state tokens, 1 in
 * plain attention. Layer and head ids are global: those of the model, not of a rank.
 *
 *     offset of a cell in its segment =
 *         (layer_base ? layer_base[i] : base + i * layer_stride)     i: place in the layer list
 *         + block * block_stride + (head - first_head) * head_stride + state * state_stride
 *
 * Errors, threads, option structs and environment are as in kvferry.h. Layouts and plans belong to
 * no engine, never change, copy what they are given, and may be used by any number of threads at
 * once. Nothing here blocks but kvf_stream_wait(), and nothing touches the memory of a cache but the post
 * in kvf_plan_post().
 */
#ifndef KVFERRY_KV_H
#define KVFERRY_KV_H

#include <kvferry.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kvf_layout kvf_layout_t;
typedef struct kvf_plan   kvf_plan_t;

/* ------------------------------------------------------------------ layout */

typedef enum kvf_plane_kind {
    KVF_PLANE_K       = 1,
    KVF_PLANE_V       = 2,
    KVF_PLANE_KV      = 3, /**< K and V of a cell side by side, K first */
    KVF_PLANE_LATENT  = 4, /**< MLA */
    KVF_PLANE_INDEXER = 5,
    KVF_PLANE_SCALES  = 6,
    KVF_PLANE_STATE   = 7 /**< recurrent */
} kvf_plane_kind_t;

/** Lower-case name of a plane kind, "kv"; "unknown" for anything else. Static storage. */
const char *kvf_plane_name(kvf_plane_kind_t kind);

typedef struct kvf_plane {
    uint32_t        kind;          /**< kvf_plane_kind_t; a kind once in a group, unless index differs */
    uint32_t        index;         /**< which of several planes of that kind; 0 */
    char            element[16];   /**< what the bytes are, "bf16"; a tag that two ends must share */
    uint64_t        content;       /**< bytes of a cell; at least 1 */
    uint64_t        k_content;     /**< of KVF_PLANE_KV: bytes of its K part, 0 means half; else 0 */
    uint64_t        block_stride;  /**< bytes from block to block */
    int64_t         layer_stride;  /**< bytes from layer to layer; unused with layer_base */
    int64_t         head_stride;   /**< bytes from head to head */
    int64_t         state_stride;  /**< bytes from state to state */
    uint64_t        base;          /**< first cell, from the start of the segment; unused with layer_base */
    const uint64_t *layer_base;    /**< NULL, or one base a layer of the group */
    const uint32_t *layer_segment; /**< NULL, or one segment index a layer of the group */
    uint32_t        segment;       /**< segment index; unused with layer_segment */
    uint32_t        reserved32;    /**< 0 */
    uint64_t        reserved[2];   /**< 0 */
} kvf_plane_t;

typedef struct kvf_group {
    uint32_t           block_tokens;     /**< tokens a block, at least 1 */
    uint32_t           tokens_per_state; /**< divides block_tokens; 0: 1; all of it: one state a block */
    uint32_t           layer_count;      /**< layers held, at least 1 */
    uint32_t           first_head;       /**< first head held */
    uint32_t           heads;            /**< heads held, at least 1 */
    uint32_t           heads_total;      /**< heads of the model; first_head + heads is at most that.
                                    MLA: first_head 0, heads 1, heads_total 1 */
    uint32_t           window;           /**< tokens that sliding-window attention looks back; 0: all */
    uint32_t           blocks;           /**< capacity in blocks, at least 1: ids stay below */
    const uint32_t    *layers;           /**< layer ids, in any order, each once */
    const kvf_plane_t *planes;
    uint32_t           plane_count; /**< at least 1 */
    uint32_t           cp_ranks;    /**< ranks over which tokens are dealt; 0: 1, all tokens are here */
    uint32_t           cp_rank;     /**< of these; holds tokens t with t / cp_tokens % cp_ranks == it */
    uint32_t           cp_tokens;   /**< tokens dealt at a time, 0: block_tokens; a multiple of
                                    block_tokens or a divisor, and of tokens_per_state. A block
                                    then holds the next block_tokens tokens of those held */
    uint64_t           reserved[2]; /**< 0 */
} kvf_group_t;

/** A cache. Its segments are numbered from 0; a bind says where each of them lies: on the local side
 *  in a range of a segment of the engine, on the remote side in a granted range. Offsets are from the
 *  start of that range. */
typedef struct kvf_layout_desc {
    uint32_t           struct_size;
    uint32_t           group_count; /**< at least 1 */
    const kvf_group_t *groups;
    uint32_t           segment_count; /**< at least 1 */
    uint32_t           reserved32;    /**< 0 */
    const uint64_t    *segment_len;   /**< bytes of each segment */
    uint64_t           reserved[2];   /**< 0 */
} kvf_layout_desc_t;

/** Create a layout from a description, which is checked and copied whole. No two cells may share a
 *  byte, every cell lies inside its segment. A group has at most 256 planes, and planes times layers
 *  of all groups are at most 262144. Errors: INVALID (the sentence names group, plane and field: a
 *  bad count, a doubled layer, cells that overlap, numbers that overflow), BOUNDS (a plane leaves its
 *  segment), NOMEM, UNSUPPORTED (strides too irregular to prove that no cells overlap, or more than
 *  about a thousand planes and layers with bases of their own that lie within each other). */
kvf_status_t kvf_layout_create(const kvf_layout_desc_t *desc, kvf_layout_t **layout_p);

/** Destroy a layout. Plans made from it stay good. NULL is fine. Errors: none. */
kvf_status_t kvf_layout_destroy(kvf_layout_t *layout);

/** The description of a layout, the layout's own copy, with tokens_per_state and k_content filled
 *  in. NULL for NULL. */
const kvf_layout_desc_t *kvf_layout_describe(const kvf_layout_t *layout);

/** Content bytes of one block: the cells of all planes, layers and heads held, of all groups. A
 *  layout built by name needs blocks * that many bytes, with no gaps. 0 for NULL. */
uint64_t kvf_layout_block_bytes(const kvf_layout_t *layout);

/** Where a cell lies: group and plane by index, layer and head by global id. Outputs may be NULL.
 *  Errors: INVALID (no such group, plane, layer or head here), BOUNDS (block or state). */
kvf_status_t kvf_layout_locate(const kvf_layout_t *layout, uint32_t group, uint32_t plane, uint32_t layer,
                               uint32_t block, uint32_t head, uint32_t state, uint32_t *segment_p,
                               uint64_t *off_p);

/** A number that two ends compare: equal if they mean the same by their cells, whatever their
 *  strides, bases, block sizes, head ranges and capacities. It covers, for each group, the layer
 *  set, heads_total, tokens_per_state, window, and kind, index, element and content of each plane;
 *  K and V are the same fused or split. 0 for NULL. */
uint64_t kvf_layout_fingerprint(const kvf_layout_t *layout);

/** OK if the fingerprints are equal, field by field; else the sentence names the first field that
 *  differs and both values. Groups are compared in order. Errors: INVALID. */
kvf_status_t kvf_layout_compare(const kvf_layout_t *one, const kvf_layout_t *other);

/** All fields in which the meaning of two layouts differs, a line of text each, in the words of
 *  kvf_layout_compare(); "" if there is none. *len_p: in, bytes of text; out, the need, with the 0
 *  at the end. text NULL only tells the need. Errors: INVALID, SPACE. */
kvf_status_t kvf_layout_diff(const kvf_layout_t *one, const kvf_layout_t *other, char *text, size_t *len_p);

/** A layout as bytes that another rank can read, of this version and byte order. *len_p: in, bytes
 *  of buf; out, the need. buf NULL only tells the need. Errors: INVALID, SPACE. */
kvf_status_t kvf_layout_pack(const kvf_layout_t *layout, void *buf, size_t *len_p);

/** The layout that was packed, checked as kvf_layout_create() checks. Errors: INVALID (NULL), BLOB
 *  (it is damaged, or what it describes is no layout: the sentence says why), VERSION, NOMEM. */
kvf_status_t kvf_layout_unpack(const void *buf, size_t len, kvf_layout_t **layout_p);

/* --------------------------------------------------------- models by name */

/** Sizes of a model's cache. One group; one more where some layers have a window, and where some
 *  keep a recurrent state. */
typedef struct kvf_kv_model {
    uint32_t    struct_size;
    uint32_t    layers;          /**< layers, those that keep a state among them */
    const char *name;            /**< "llama-3.1-8b" */
    uint32_t    heads;           /**< KV heads; 1 in MLA */
    uint32_t    mla;             /**< 1: one latent plane instead of K and V */
    uint64_t    k_bytes;         /**< bytes of K a (token, layer, head); the latent's in MLA */
    uint64_t    v_bytes;         /**< of V; 0 in MLA */
    uint64_t    indexer_bytes;   /**< of the indexer plane a (token, layer), MLA only; 0: none */
    const char *element;         /**< element tag of K, V or latent */
    const char *indexer_element; /**< of the indexer plane, or NULL */
    uint32_t    window;          /**< 0, or the window of layers with id % window_every == 0 */
    uint32_t    window_every;    /**< 0 without a window */
    uint64_t    scale_bytes;     /**< of the scales plane a (token, layer, head); 0: none */
    const char *scale_element;   /**< of the scales plane, or NULL */
    uint64_t    state_bytes;     /**< of the recurrent state a (block, layer, head); 0: none */
    const char *state_element;   /**< of the state plane, or NULL */
    uint32_t    state_heads;     /**< heads of the state; 0 without */
    uint32_t    state_every;     /**< layers with id % state_every != state_every - 1 keep a state
                                      and no K and V; 0 without */
    uint64_t    reserved[2];     /**< 0 */
} kvf_kv_model_t;

/** A model by name. Static storage. Errors: INVALID (unknown: the sentence lists the known). */
kvf_status_t kvf_kv_model_find(const char *name, const kvf_kv_model_t **model_p);

/** Model index of those known, NULL past the last. Static storage. */
const kvf_kv_model_t *kvf_kv_model_at(uint32_t index);

/** Bytes of K and V, or of latents, that a request of so many tokens takes over all layers that keep them
 *  and all heads; indexers, scales and states are not counted, and of a layer with a window only the last
 *  window tokens. Errors: INVALID (NULL, overflow). */
kvf_status_t kvf_kv_model_bytes(const kvf_kv_model_t *model, uint64_t tokens, uint64_t *bytes_p);

/* -------------------------------------------------------- layouts by name */

typedef struct kvf_layout_opts {
    uint32_t        struct_size;
    uint32_t        block_tokens;     /**< 0: 16, or 64 for MLA */
    uint32_t        blocks;           /**< capacity of each group in blocks; 0: 1 */
    uint32_t        first_layer;      /**< first layer held; unused with layers */
    uint32_t        layer_count;      /**< 0: all from first_layer on */
    uint32_t        first_head;       /**< first head held */
    uint32_t        heads;            /**< heads held; 0: all from first_head on */
    uint32_t        first_state_head; /**< of a recurrent state, likewise */
    uint32_t        state_heads;
    uint32_t        cp_ranks; /**< context parallelism, as in kvf_group_t */
    uint32_t        cp_rank;
    uint32_t        cp_tokens;
    const uint32_t *layers;      /**< NULL, or layer_count ids, each once, in the order in which
                                       they lie in memory */
    uint64_t        base;        /**< where the cache begins, from the start of each segment */
    uint64_t        segment_len; /**< bytes of each segment; 0: what the cache needs and no more */
    uint64_t        reserved[2]; /**< 0 */
} kvf_layout_opts_t;

/** Build the layout of a model's cache by name, without gaps. A name spells the axes from the
 *  outermost inwards: L layer, B block, N token in block, H head, 2 K or V, and last C (cell: K and
 *  V fused, or the latent) or D (K and V apart, with a 2 somewhere). Any order of the axes is
 *  understood. H may be left out where a model has one head (LBNC). A name that begins with L/, 2/,
 *  2L/ or L2/ gives each layer, each of K and V, or each of both a segment of its own, numbered in
 *  that order; without the / there is one segment.
 *      LBHNC LBNHC LHBNC BLHNC BLNHC BHLNC   K and V fused: plane KV
 *      L2BNHD LB2NHD BL2HND BL2NHD 2LBNHD 2BLNHD   planes K and V
 *      LBNC BLNC   MLA: plane LATENT
 *  Names of the field stand for a spelling:
 *      vllm-0.21 L/2BNHD            vllm-0.23 L/B2NHD            vllm-0.26 LBHNC
 *      vllm-mla L/BNC               sglang 2L/BNHD               tensorrt-llm BL2HND
 *      hicache-layer-first 2LBNHD   hicache-token-first 2BNLHD   hicache-page-first 2BLNHD
 *      hicache-page-head 2BHNLD     lmcache B2LNHD, 256 tokens   kvbm-universal BHL2ND
 *      flexkv-layer-first L2BNHD    flexkv-block-first BL2NHD    kvbm-nhd BL2NHD
 *      kvbm-hnd BL2HND
 *  Order in memory: groups one after the other, each with its planes one after the other, each
 *  with room for all blocks; but K and V interleave as the 2 says. Indexer, scales and state have
 *  no 2; with a / each layer of each of them has its segment too. A model with a window has a group
 *  for the layers without and one for those with, one with a state a last group; all have the
 *  capacity asked for, so one block table may serve them. A group of which no layer is held is left
 *  out. opts NULL: one block, all layers, all heads.
 *  Errors: INVALID (unknown letter, missing or doubled axis, the sentence lists the known names; a
 *  2 for MLA; H missing where there are heads; a layer or head that the model has not), BOUNDS
 *  (segment_len is too small), NOMEM. */
kvf_status_t kvf_layout_build(const kvf_kv_model_t *model, const char *name, const kvf_layout_opts_t *opts,
                              kvf_layout_t **layout_p);

/** Name index of the layouts listed above, NULL past the last. Static storage. */
const char *kvf_layout_name_at(uint32_t index);

/* -------------------------------------------------------------------- plan */

/** What of two layouts a plan carries; all 0: whatever both hold. Heads past heads_total are refused, and so
 *  is a range of layers if no layout has any layer of it. A range may extend past the last layer, because the
 *  layouts of a stage do not say how many layers the model has. */
typedef struct kvf_plan_opts {
    uint32_t struct_size;
    uint32_t first_layer; /**< ids of layers: from this one on */
    uint32_t layer_count; /**< so many ids; 0: all from first_layer on */
    uint32_t first_head;  /**< ids of heads, likewise */
    uint32_t heads;
    uint32_t replica_count; /**< sources that hold the same; 0: 1. The destination's block b,
                                 counted from the request's first token, comes from the one whose
                                 replica is b % replica_count */
    uint32_t replica;       /**< which of these the source is */
    uint32_t reserved32;    /**< 0 */
    uint64_t reserved[2];   /**< 0 */
} kvf_plan_opts_t;

/** Make a plan from two layouts, once; both may be destroyed after. It carries the layers, planes and heads
 *  that both hold, paired by their ids, in whatever groups they stand; strides, order of layers, capacities,
 *  block_tokens, head ranges, context parallelism, fused or split K and V, segments may differ. Groups that
 *  share a plane of a layer must agree on heads_total, tokens_per_state, window, element and content. opts
 *  may be NULL. Errors: INVALID (a field on which they do not agree, a layer whose planes are not the same,
 *  with groups, field and both values; nothing in common; a bad option, or one past the model, by name),
 *  UNSUPPORTED (block sizes and replicas that repeat only after more than 2^20 states), NOMEM. */
kvf_status_t kvf_plan_create(const kvf_layout_t *src, const kvf_layout_t *dst, const kvf_plan_opts_t *opts,
                             kvf_plan_t **plan_p);

/** Destroy a plan. Ops that it filled stay good. NULL is fine. Errors: none. */
kvf_status_t kvf_plan_destroy(kvf_plan_t *plan);

/** A rank to read from, and what to read. */
typedef struct kvf_plan_source {
    uint32_t    rank; /**< index in the list of layouts */
    uint32_t    reserved32;
    kvf_plan_t *plan; /**< the caller's to destroy */
} kvf_plan_source_t;

/** The sources of one destination rank, each with its plan: all of the destination's layers,
 *  planes, heads and tokens, each byte from one source, for any two ways to cut a model over ranks.
 *  srcs has the layout of each source rank, NULL for one that is none. Heads that n sources hold
 *  are replicas: the destination's block b is read from number (dst_rank + b) % n of them, by rank.
 *  opts restricts layers and heads, its replica fields are 0; it may be NULL.
 *  *count_p: in, length of sources, src_count is always enough; out, number filled, by rising rank.
 *  A source that writes asks for each destination, and takes its own plan.
 *  Errors: as kvf_plan_create(); INVALID also if no source has a layer, plane, head or context
 *  parallel rank that the destination needs (it is named); SPACE (*count_p is set to the need). No
 *  plan is made then. */
kvf_status_t kvf_plan_sources(kvf_layout_t *const *srcs, uint32_t src_count, const kvf_layout_t *dst,
                              uint32_t dst_rank, const kvf_plan_opts_t *opts, kvf_plan_source_t *sources,
                              uint32_t *count_p);

/** null_id is set. */
#define KVF_TABLE_NULL 1u

/** The block table of one group of a request, at one end. Entry i is the block that holds the
 *  block_tokens tokens from first_token + i * block_tokens on; with context parallelism, the i-th
 *  block of those tokens from first_token on that are held there. The arrays are the caller's; ops
 *  may point into them, so they stay until the batch has ended. */
typedef struct kvf_bind_table {
    const uint32_t *ids;          /**< count ids; NULL: 0, 1, 2, ... KVF_SKIP drops what the entry holds,
                                on both ends */
    uint64_t        first_token;  /**< a multiple of block_tokens; of cp_ranks times the larger of
                                block_tokens and cp_tokens */
    uint32_t        count;        /**< entries; 0: empty */
    uint32_t        flags;        /**< KVF_TABLE_ bits */
    uint32_t        null_id;      /**< with KVF_TABLE_NULL: an id that means no block, like KVF_SKIP */
    uint32_t        reserved32;   /**< 0 */
    const uint8_t  *skip;         /**< NULL, or count entries; not 0: drop it, like KVF_SKIP */
    const uint32_t *gens;         /**< source: NULL, or count generations: KVF_READ from a pool,
                                with ids */
    int8_t         *block_status; /**< destination: NULL, or count entries, of which those in the range
                                are set. With pair_status by kvf_plan_results(), for any plan and
                                any number of sources. Without by the batch itself, and only where
                                the plan takes the ids as they are: equal block_tokens, no replicas,
                                no dealt tokens */
    uint64_t        reserved[2];  /**< 0 */
} kvf_bind_table_t;

/** Where a segment of the local side's layout lies: a range of a segment of the engine, as
 *  kvf_range_t has it for those that read or write it from elsewhere. */
typedef struct kvf_bind_local {
    kvf_segment_t *segment;     /**< NULL: nowhere; the plan must not touch it */
    uint64_t       off;         /**< bytes from the start of the segment */
    uint64_t       len;         /**< bytes, at least those of the layout's segment; 0: as many */
    uint64_t       reserved[1]; /**< 0 */
} kvf_bind_local_t;

/** Of groups with a window, move only the last window tokens of the range. */
#define KVF_BIND_WINDOW 1u
/** kvf_plan_post() keeps a status for each pair of blocks in the batch, for kvf_plan_post_results().
 *  pair_status is NULL then. */
#define KVF_BIND_KEEP 2u

/** What a plan is bound to. */
typedef struct kvf_bind {
    uint32_t struct_size;
    uint32_t flags;           /**< KVF_BIND_ bits */
    uint32_t dir;             /**< KVF_READ: the source is remote; KVF_WRITE: the destination is */
    uint32_t src_table_count; /**< number of groups of the source's layout; 1 may serve groups that
                                   have the same block_tokens and context parallelism */
    uint32_t dst_table_count; /**< and of the destination's */
    uint32_t local_count;     /**< number of segments of the local side's layout */
    uint32_t remote_count;    /**< and of the remote side's */
    uint32_t reserved32;      /**< 0 */
    const kvf_bind_table_t *src_tables;
    const kvf_bind_table_t *dst_tables;
    uint64_t                first_token; /**< the range begins with this token of the request */
    uint64_t                tokens;      /**< tokens of the range; 0: nothing moves. A state moves if one of
                                   its tokens is in the range; blocks cut by an end move in part */
    const kvf_bind_local_t *locals;      /**< where each segment of the local side's layout lies; no two
                                         of them share a byte */
    kvf_remote_t *const    *remotes;     /**< granted range of each segment of the remote side's layout,
                                         each one once; those that the plan does not touch may be
                                         NULL */
    uint32_t                first_layer; /**< ids of layers: only those of the plan from this one on */
    uint32_t                layer_count; /**< so many ids; 0: all from first_layer on */
    int8_t  *pair_status; /**< NULL, or a status for each pair of blocks, for kvf_plan_results():
                                   block_status of the ops that come out is in it, and it stays
                                   until the batch has ended. Each batch has its own */
    uint64_t pair_count;  /**< its length; pairs of kvf_plan_size_t is enough */
    uint64_t reserved[1]; /**< 0 */
} kvf_bind_t;

/** Ids of the layers that a plan carries, rising, each once. *count_p: in, length of layers; out,
 *  their number. layers NULL only tells it. Errors: INVALID, SPACE. */
kvf_status_t kvf_plan_layers(const kvf_plan_t *plan, uint32_t *layers, uint32_t *count_p);

/** What a bound plan moves. Pairs that are skipped are counted as if they moved, and neighbours
 *  that touch only because of their ids as two pieces. */
typedef struct kvf_plan_size {
    uint32_t struct_size;
    uint32_t reserved32;
    uint64_t ops; /**< that kvf_plan_bind() fills */
    uint64_t ids; /**< ids that it fills */
    uint64_t pieces;
    uint64_t bytes;
    uint64_t piece_min; /**< bytes of the smallest piece; 0 if there is none */
    uint64_t piece_max; /**< and of the largest */
    uint64_t pairs;     /**< pairs of block ids; those that several ops share are counted once */
    uint64_t reserved[4];
} kvf_plan_size_t;

/** Fill ops with what carries the range from source to destination: their number does not depend on
 *  the number of blocks. Layers at one stride on both sides, K and V too, are rows of one op; a
 *  third stride (token-major to head-major) makes an op a step of the shortest of them; each end of
 *  the range that cuts a block makes ops of its own; where block sizes differ there are ops for
 *  each place where two blocks can meet. Ids are taken from the tables as they are where the two
 *  tables run side by side, and not looked at then: posting checks them. Else (block sizes differ,
 *  replicas, dealt tokens, skip or null_id) they are checked and written to ids, which stays until
 *  the batch has ended.
 *  *op_count_p, *id_count_p: in, lengths of ops and ids; out, numbers filled. With ops NULL
 *  (handles may then be NULL) or an array too short both are set to the need; ops NULL gives OK.
 *  ids NULL is a length of 0; id_count_p may be NULL where no ids are needed. op_size is
 *  sizeof(kvf_op_t) as the caller knows it. The ops may be posted together, also with others; no
 *  allocation, unless a layout has more than 1024 segments. A plan that is bound to one layer after
 *  the other (first_layer, layer_count), as layers are computed, moves the same in the end; a layer
 *  takes no more ops than the whole where that is in one allocation.
 *  Segments of one side that would lie over each other are refused, for reads and for writes: one of
 *  them would bring, or overwrite, the bytes of the other. What is seen of the remote side is the
 *  same remote twice; ranges of a grant that overlap at their owner are not seen here. Parts of one
 *  memory that interleave are one segment of a layout, with a base for each layer. Whether a range
 *  lies inside of the engine's segment is seen when the ops are posted.
 *  Errors: INVALID (the field is named; the plan carries none of the layers; two segments overlap,
 *  with both indices and ranges), BOUNDS (the range needs blocks that a table has not; an id at or
 *  past the capacity, with its index; a local range that is shorter than the layout's segment),
 *  SPACE (of ops, ids or pair_status), NOMEM, UNSUPPORTED (op_size is too short for a field that must be set;
 *  block_status without pair_status where it cannot be). */
kvf_status_t kvf_plan_bind(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_op_t *ops, size_t op_size,
                           size_t *op_count_p, uint32_t *ids, size_t *id_count_p);

/** Bind and post in one: kvf_plan_bind(), then kvf_batch_post() of its ops with opts (NULL: all defaults).
 *  The batch holds ops and ids in memory of its own, which is made at the first post, reused by the next,
 *  enlarged when a binding needs more, and freed with the batch; posting bindings of the same size again
 *  allocates nothing. The arrays of the tables, and pair_status, must stay valid until the batch has ended,
 *  as with kvf_plan_bind(); the binding itself, locals and remotes may go after the call. Errors, nothing
 *  moved: those of kvf_plan_bind() but SPACE of ops and ids, and those of kvf_batch_post(); BUSY also if
 *  another thread is in this call with the batch, or another library has attached something to it
 *  (kvf_batch_keep()). */
kvf_status_t kvf_plan_post(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_batch_t *batch,
                           const kvf_batch_opts_t *opts);

/** Ops, ids, pieces and bytes of a binding, without making it: handles may be NULL. Counts of
 *  pieces are before merging by ids. Errors: INVALID, BOUNDS, as kvf_plan_bind(), but ids are not
 *  looked at. */
kvf_status_t kvf_plan_measure(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_plan_size_t *size_p);

/** What arrived at one destination of one request, over all its sources. Begin with all 0 but
 *  struct_size; with bindings set to 0 it begins again. */
typedef struct { /* no tag: it would be the function's name, which hides it in C++ */
    uint32_t struct_size;
    int32_t  status;      /**< KVF_OK if nothing failed, else the lowest error of any pair */
    uint64_t first_token; /**< the range, that of the first binding */
    uint64_t tokens;
    uint64_t prefix_tokens; /**< so many tokens from first_token on can be used: every cell of them
                                 arrived, or was there. It ends where a state begins, or is all of
                                 the range */
    uint64_t missing_token; /**< first token of the request of which a cell has not arrived;
                                 UINT64_MAX: none */
    uint64_t step_tokens;   /**< a state of each group begins at its multiples */
    uint32_t whole_only;    /**< 1: groups with a window, or with states of several tokens, hold the
                                 end of the range only. Less than all of it is then of no use, and
                                 prefix_tokens is all or 0 */
    uint32_t bindings;      /**< that were added */
    uint64_t arrived;       /**< pairs of blocks that ended KVF_OK */
    uint64_t skipped;       /**< pairs that a table drops */
    uint64_t failed;        /**< pairs that ended otherwise */
    uint64_t reserved[4];   /**< 0 */
} kvf_plan_results_t;

/** Add to *results_p what became of a binding, once its batch has ended. Call it for each source of
 *  the destination, in any order, with the plan, tables and range that were bound; handles may be
 *  NULL. posted is what kvf_batch_post() returned: with an error nothing moved, every pair has that
 *  status, and pair_status is not looked at.
 *  block_status of the destination's tables, where it is there, gets the worst of each entry: an
 *  error (the lowest of several), else KVF_SKIPPED, else KVF_OK. Set it to KVF_INPROGRESS before
 *  the first source; entries that no source brings anything to stay as they are.
 *  A pair that the destination's table drops is not missed by the prefix: those blocks are there,
 *  or no block is wanted. One that only the source's drops is. Ops of several sources may run in
 *  one batch, but a post that refuses one op moves none: partial success wants a batch a source. No
 *  allocation, O(blocks). On an error nothing has changed.
 *  Errors: INVALID (the field is named; another range than that of the bindings before), BOUNDS (as
 *  kvf_plan_bind()), SPACE (pair_count is too small), BUSY (a pair has no end yet). */
kvf_status_t kvf_plan_results(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_status_t posted,
                              kvf_plan_results_t *results_p);

/** kvf_plan_results() for a binding that kvf_plan_post() posted with KVF_BIND_KEEP: the batch has kept the
 *  statuses of its pairs, and what the post returned. plan and bind are those of the last kvf_plan_post() of
 *  batch. Errors: those of kvf_plan_results(), INVALID (the binding has no KVF_BIND_KEEP, or batch was not
 *  posted with it), BUSY (the batch is running). */
kvf_status_t kvf_plan_post_results(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_batch_t *batch,
                                   kvf_plan_results_t *results_p);

/* ------------------------------------------------------------------ stream */

/* Layers as they are computed. Who has them computes layer i, binds its plan to that layer alone,
 * and posts the ops with a notification that names the stream and the layer; it need not poll after
 * that: a local batch is copied inside post with KVF_BATCH_INLINE, or by copy threads, a far one by
 * the progress thread. The receiver sees which layers are there, in whatever order they come, from
 * however many sources. A receiver that reads is told with a batch of no ops that layer i can be
 * read.
 *
 * A step of a sender, in which all layers of the stream have the same id and each has one:
 *
 *     bind.first_layer = i, bind.layer_count = 1;
 *     kvf_stream_note(id, i, 1, KVF_OK, note);
 *     opts.flags = KVF_BATCH_INLINE | KVF_BATCH_NOTIFY_ALWAYS;
 *     opts.notify_peer = destination, opts.notify = note, opts.notify_len = KVF_STREAM_NOTE;
 *     opts.channel = KVF_STREAM_CHANNEL;
 *     kvf_plan_post(plan, &bind, batch, &opts);
 *
 * Each source tells of each layer of its plan, also of those in which nothing moves. With
 * KVF_BATCH_NOTIFY_ALWAYS the receiver hears of a layer that failed, too; of one whose post was
 * refused by a batch of no ops, with the status in its note. What a source that dies did not tell
 * ends with KVF_ERR_PEER. */

typedef struct kvf_streams kvf_streams_t; /* of a channel */
typedef struct kvf_stream  kvf_stream_t;  /* of a request */

/** Bytes of the notification of a step. */
#define KVF_STREAM_NOTE 24u

/** Fill KVF_STREAM_NOTE bytes at note_p, to be sent with a batch: layers [first_layer,
 *  first_layer + layer_count) of stream id. status is KVF_OK, or the error for which they will not
 *  come; that of the batch, if it fails, goes before it. Errors: INVALID (NULL; id or layer_count 0;
 *  a status that is no end). */
kvf_status_t kvf_stream_note(uint64_t id, uint32_t first_layer, uint32_t layer_count, kvf_status_t status,
                             void *note_p);

/** The channel of notifications that streams use if no other is named. */
#define KVF_STREAM_CHANNEL UINT32_C(0x6b767301)

typedef struct kvf_streams_opts {
    uint32_t struct_size;
    uint32_t channel; /**< number of the channel that they take; 0: KVF_STREAM_CHANNEL */
} kvf_streams_opts_t;

/** Begin to take the notifications of a channel of the engine, which is opened here, for streams. Several
 *  such objects of an engine have a channel each. What comes there and is no stream's is ignored. Close it
 *  before the engine. opts may be NULL. Errors: INVALID, BUSY (the channel is open), NOMEM, SYSTEM. */
kvf_status_t kvf_streams_open(kvf_engine_t *engine, const kvf_streams_opts_t *opts,
                              kvf_streams_t **streams_p);

/** Their channel, to sleep on with kvf_channel_fd() and kvf_channel_arm(); their own, not to be taken from
 *  nor closed. NULL for NULL. */
kvf_channel_t *kvf_streams_channel(kvf_streams_t *streams);

/** NULL is fine. Errors: BUSY (streams are open). */
kvf_status_t kvf_streams_close(kvf_streams_t *streams);

/** Take the notifications that came, for all streams. Never blocks. To sleep: kvf_channel_arm() of their
 *  channel (BUSY: this, or kvf_progress(), first), poll() its fd; woken, take and arm again. Errors:
 *  INVALID, those of kvf_channel_recv(). */
kvf_status_t kvf_streams_poll(kvf_streams_t *streams);

/** Who brings layers of a stream. */
typedef struct kvf_stream_source {
    kvf_peer_t       *peer;        /**< imported as long as the stream is open */
    const kvf_plan_t *plan;        /**< brings the layers of this plan; NULL: those named here */
    uint32_t          first_layer; /**< unused with plan */
    uint32_t          layer_count;
    uint64_t          reserved[1]; /**< 0 */
} kvf_stream_source_t;

typedef struct kvf_stream_opts {
    uint32_t                   struct_size;
    uint32_t                   source_count; /**< at least 1 */
    const kvf_stream_source_t *sources;      /**< each peer once; copied */
    uint64_t                   id;          /**< not 0; of one request only, ever, so that what comes late for
                                another is not taken for this one's */
    uint64_t                   reserved[2]; /**< 0 */
} kvf_stream_opts_t;

/** Open a stream, before its id is told to the sources: notifications for a stream that is not open
 *  are ignored. Its layers are those of its sources; one that several sources bring is there when
 *  all of them have said so. Errors: INVALID (the field is named; a peer's handle is closed; the
 *  same peer twice), BUSY (the id is open), NOMEM. */
kvf_status_t kvf_stream_open(kvf_streams_t *streams, const kvf_stream_opts_t *opts, kvf_stream_t **stream_p);

/** Forget a stream; what still comes for it is ignored. No thread is in a call with it. That nobody
 *  writes any more is the batches' and the grant's matter. NULL is fine. Errors: none. */
kvf_status_t kvf_stream_close(kvf_stream_t *stream);

typedef struct kvf_stream_state {
    uint32_t struct_size;
    int32_t  status;  /**< KVF_OK: all layers are there; INPROGRESS; or the error of bad_layer */
    uint32_t layers;  /**< of the stream */
    uint32_t arrived; /**< of these, in any order */
    uint32_t failed;
    uint32_t leading;   /**< layers from the lowest on that are there, without a gap */
    uint32_t highest;   /**< id of the last of these; UINT32_MAX: none */
    uint32_t bad_layer; /**< lowest id that failed; UINT32_MAX: none */
    uint64_t reserved[4];
} kvf_stream_state_t;

/** Take what came, and say how far a stream is. Errors: INVALID, those of kvf_channel_recv(). */
kvf_status_t kvf_stream_query(kvf_stream_t *stream, kvf_stream_state_t *state_p);

/** What is known of one layer by what was taken so far: KVF_OK, KVF_INPROGRESS, or the error with
 *  which a source brought it; the last word of a source counts, so that a layer may be sent again.
 *  Errors: INVALID (no source has the layer), or that error. */
kvf_status_t kvf_stream_layer(kvf_stream_t *stream, uint32_t layer);

/** Wait until the layers of the stream up to and with that id are there (UINT32_MAX: all), one of
 *  them failed, or timeout_ns passed: KVF_OK, the error, INPROGRESS. The thread looks for 50 us, then
 *  sleeps. Where layers come less than 1 ms apart, it looks for up to 2 ms, once a layer; until two layers
 *  of a stream have come, how fast those of other streams came decides.
 *  Threads may wait for several streams, and for one. Errors: INVALID (no layer up to that id),
 *  those of kvf_channel_recv(), PEER (a source died), what a source told. */
kvf_status_t kvf_stream_wait(kvf_stream_t *stream, uint32_t layer, uint64_t timeout_ns);

/** How many layers a step should carry over a path: as few as make the steps together, by
 *  kvf_path_cost(), no more than a tenth slower than one step with all of them. layer is what one
 *  layer's binding moves, by kvf_plan_measure(); layers so many like it. If *step_p is layers, to
 *  stream is not worth it. Errors: INVALID, those of kvf_path_cost(). */
kvf_status_t kvf_stream_step(kvf_engine_t *engine, kvf_path_t path, const kvf_plan_size_t *layer,
                             uint32_t layers, uint32_t *step_p);

#ifdef __cplusplus
}
#endif

#endif

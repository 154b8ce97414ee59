/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A rig: an initiator (the test's own process) and an owner of memory, joined over one path of the
 * truth table. The owner is the same engine (self), a second engine of this process (twin), or a
 * child (shm, cma, stage, am). On stage the initiator's process forbids itself the calls of cma. Tests
 * are written from the initiator's side and call functions at the owner with rig_call(), wherever it
 * is. The pattern functions give both sides the same bytes without
 * sending them. rig_open() forks, so a test opens all its rigs (or starts its children) first.
 */
#ifndef KVF_TESTS_RIG_H
#define KVF_TESTS_RIG_H

#include "procs.h"

/* Near is below WHERE_AM, copied without the owner below WHERE_STAGE. */
typedef enum where {
    WHERE_SELF,
    WHERE_TWIN,
    WHERE_SHM,
    WHERE_CMA,
    WHERE_STAGE,
    WHERE_AM,
    WHERE_COUNT
} where_t;

#define SIDE_PEERS 8

/* What one process of a test has; also the state of a child. */
typedef struct side {
    kvf_engine_t *engine;
    kvf_segment_t *segment; /* a pool's, where there is a pool */
    kvf_pool_t *pool;
    kvf_grant_t *grant;
    kvf_batch_t *batch;
    kvf_peer_t *peer[SIDE_PEERS];
    kvf_remote_t *remote[SIDE_PEERS];
    uint8_t *mem; /* the segment's bytes */
    uint64_t len;
    void *heap;     /* what to free() after the segment is released */
    void *extra[4]; /* the test's own */
} side_t;

typedef struct rig_opts {
    uint64_t owner_len;   /* 0: 1 MiB */
    uint64_t local_len;   /* 0: 1 MiB */
    uint32_t pool_blocks; /* 0: no pool. Else the owner's memory is a pool */
    uint64_t block_bytes;
    uint32_t progress;     /* of both engines */
    uint32_t pack;         /* of both; 0: the default, on cma direct */
    uint32_t notify_depth; /* of both engines */
    uint32_t rights;       /* 0: read and write */
    uint32_t local_alloc;  /* 1: the initiator's memory is the library's, else the caller's */
    int watchdog_s;        /* 0: 60 */
    uint64_t deadline_ns;  /* of both engines */
    const char *net;       /* NULL: "tcp" on am, the default elsewhere */
} rig_opts_t;

typedef struct rig {
    where_t where;
    side_t me;
    side_t here;  /* the owner, on self and twin */
    proc_t owner; /* the owner, elsewhere */
    kvf_peer_t *peer;
    kvf_remote_t *remote;
    kvf_batch_t *batch;
    rig_opts_t opts;
} rig_t;

const char *where_name(where_t where);
kvf_path_t where_path(where_t where);

/* 1 if the kernel lets a parent copy from and to the memory of its child, or a child from and to its
 * parent's, which Yama's restriction leaves to root. Asked before an engine is opened: they fork. */
int cma_works(void);
int cma_from_children(void);

/* Engine options that put a peer at `where`. */
void where_opts(where_t where, kvf_engine_opts_t *opts);

/* Opens both sides, grants all of the owner's memory to all, imports it. On WHERE_CMA, where the kernel
 * forbids cma, it ends the process with 0 instead: the test has nothing to show. */
void rig_open(rig_t *rig, where_t where, const rig_opts_t *opts);

/* The first half of rig_open(): the child, no engine yet; the second half. */
void rig_fork(rig_t *rig, where_t where, const rig_opts_t *opts);
void rig_join(rig_t *rig);

/* Closes both sides, and demands that each closes well. A killed owner is fine. */
void rig_close(rig_t *rig);

/* Runs fn at the owner; its state is the owner's side_t. */
size_t rig_call(rig_t *rig, proc_fn_t fn, const void *in, size_t in_len, void *out, size_t out_max);

/* Waits until the connection with a far child, which knows this engine as its peer[0], stands in both
 * directions with nothing under way. Before a child is killed: a death while UCX 1.13 still connects may
 * end this process too. */
void far_stands(kvf_engine_t *engine, kvf_peer_t *peer, proc_t *child);

/* Calls at the owner, ready made. */
void owner_put(rig_t *rig, uint64_t off, const void *data, uint64_t len);
void owner_get(rig_t *rig, uint64_t off, void *data_p, uint64_t len);
void owner_fill(rig_t *rig, uint64_t seed);
/* Byte offset of the first byte that is not pattern(seed), or UINT64_MAX. */
uint64_t owner_compare(rig_t *rig, uint64_t seed);
/* Revokes the grant; the sentence is left out. */
kvf_status_t owner_revoke(rig_t *rig, uint64_t timeout_ns);
/* Closes the owner's grant, makes a new one of all its memory, and imports that. */
void owner_regrant(rig_t *rig, uint32_t rights);

/* The same without a rig: for tests with several children. All are proc_fn_t. */
typedef struct side_open {
    kvf_engine_opts_t opts;
    char net[16];
    uint32_t forbid_cma; /* to the process, first */
    uint32_t reserved;
} side_open_t;

void side_open_engine(void *state, const void *in, size_t in_len, proc_out_t *out); /* side_open_t */
void side_blob(void *state, const void *in, size_t in_len, proc_out_t *out);        /* in: u32 flags */
void side_grant_blob(void *state, const void *in, size_t in_len, proc_out_t *out);
void side_close(void *state, const void *in, size_t in_len, proc_out_t *out);

typedef struct side_mem {
    uint64_t len;
    uint32_t shared; /* 1: the library's */
    uint32_t pool_blocks;
    uint64_t block_bytes;
    uint32_t rights; /* of a grant to all; 0: no grant */
    uint32_t reserved;
} side_mem_t;

void side_make_memory(void *state, const void *in, size_t in_len, proc_out_t *out); /* side_mem_t */

/* Slot and blob: imports the engine blob into peer[slot]; the grant blob (one range) into
 * remote[slot]. */
typedef struct side_slot {
    uint32_t slot;
    uint32_t reserved;
} side_slot_t;

void side_import_peer(void *state, const void *in, size_t in_len, proc_out_t *out);
void side_import_remote(void *state, const void *in, size_t in_len, proc_out_t *out);
void side_idle(void *state);

/* Opens an engine here as side_open_engine() does in a child. */
void engine_blob(kvf_engine_t *engine, uint32_t flags, void *buf, size_t *len_p);
void grant_blob(kvf_grant_t *grant, void *buf, size_t *len_p);

#define BLOB_MAX 65536u

/* What an engine's batches moved, by path. */
void moved_by_path(kvf_engine_t *engine, kvf_flow_t paths_p[KVF_PATH_COUNT]);

/* Bytes that depend on seed and place, never two equal neighbours of 8. */
void pattern_fill(uint8_t *mem, uint64_t len, uint64_t seed);
uint64_t pattern_compare(const uint8_t *mem, uint64_t len, uint64_t seed);

/* An op that copies len bytes, everything else zero or one. */
kvf_op_t op_plain(kvf_segment_t *segment, uint64_t local_off, kvf_remote_t *remote, uint64_t remote_off,
                  uint64_t len, uint32_t dir);

/* Posts, waits for at most patient(20), returns the final status. */
kvf_status_t run_ops(kvf_batch_t *batch, const kvf_op_t *ops, size_t count, const kvf_batch_opts_t *opts);

/* The same, and the batch must end OK. */
void move(rig_t *rig, const kvf_op_t *ops, size_t count);

#endif

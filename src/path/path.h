/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A path is a const row, defined in a file of its own, and an entry in paths.c. What the rows share: the
 * target (how a granted range is reached from here, found out once at import), the xfer (one op of a batch
 * on its way), and the slice. Sliced paths move an xfer slice by slice on the calling thread, each slice
 * under a busy word of the owner's page. Started ones hand it to a machine, which ends it from its progress.
 */
#ifndef KVFI_PATH_PATH_H
#define KVFI_PATH_PATH_H

#include <stdatomic.h>

#include "base/proc.h"
#include "copy/copy.h"
#include "path/cma.h"
#include "path/driver.h"
#include "path/page.h"

typedef struct kvfi_am_peer kvfi_am_peer_t;
typedef struct kvfi_path kvfi_path_t;

/* Where memory comes from. Numbers of blobs: a new one goes to the end. */
typedef enum kvfi_provider {
    KVFI_CALLERS, /* the caller's own */
    KVFI_PRIVATE, /* the library's, where there is no shared memory */
    KVFI_SYSV,    /* the library's, by UCX: a System V segment, */
    KVFI_POSIX,   /* or a file of /dev/shm */
    KVFI_ADOPTED, /* the caller's pages, made shared at their address */
    KVFI_PROVIDERS
} kvfi_provider_t;

/* What the memory of a segment, or of a granted range, is. */
typedef struct kvfi_memory {
    uint32_t kind;     /* kvf_mem_kind_t */
    uint32_t provider; /* kvfi_provider_t */
} kvfi_memory_t;

/* Neighbours may map it, by its region's key. */
static inline int kvfi_memory_is_shared(const kvfi_memory_t *memory)
{
    return memory->provider >= KVFI_SYSV;
}

/* A granted range as it is reached from here. Fixed after import. */
typedef struct kvfi_target {
    uint32_t grant, epoch, range;
    uint64_t len;
    const char *name;     /* of the owner, for sentences */
    int in_process, near; /* of the owner */
    kvfi_hold_t *hold;    /* seat in the owner's page; NULL: far */
    kvfi_life_t *life;    /* of a near owner in another process */
    char *map;            /* the range in this process, NULL: not mapped */
    uint64_t raddr;       /* the range in its owner, */
    uint64_t process;     /* which is this one (kvfi_proc_number()), */
    uint64_t lands;       /* and where it uses the range itself: adopted memory is mapped there twice */
    kvfi_cma_t *cma;      /* of a near owner: may we reach across? */
    const _Atomic uint32_t *gens; /* of remote id 0, NULL: no pool or not mapped */
    int guarded;                  /* a pool's */
    uint32_t gens_count;
    kvfi_memory_t memory;
    kvfi_am_peer_t *am; /* NULL: no far connection */
    kvf_peer_t *owner;  /* to connect to, */
    kvf_status_t (*connect)(kvf_peer_t *owner, uint32_t dir, kvfi_am_peer_t **peer_p); /* if it is near */
} kvfi_target_t;

/* A pair that did not end well. */
typedef struct kvfi_bad_pair {
    uint32_t pair;
    int32_t status;
} kvfi_bad_pair_t;

typedef struct kvfi_xfer {
    kvfi_box_t box;       /* folded */
    kvfi_cursor_t cursor; /* pairs below cursor.pair are done */
    const kvfi_path_t *path;
    const kvfi_path_t *instead; /* the mask allows it as well; NULL: none */
    uint32_t dir;
    int chosen;     /* path was preferred to instead, which would do */
    uint64_t whole; /* bytes of its batch if many enough to stream, else 0 */
    char *local;    /* segment in this process */
    const kvfi_target_t *target;
    const uint32_t *gens; /* expected, or NULL */
    uint32_t checked;     /* pairs below had their generations compared */
    kvfi_moved_t moved;
    uint64_t calls;
    kvfi_bad_pair_t *bad; /* malloced, kept for the next post */
    uint32_t bad_count, bad_cap;
    _Atomic int status; /* INPROGRESS until ended */
    /* am and stage */
    kvfi_am_peer_t *peer;
    _Atomic uint32_t *pending;      /* xfers of the batch on this path that have not ended */
    uint64_t token;                 /* 0: not with the am machine */
    struct kvfi_xfer *next, **link; /* with bytes to send; link NULL: it has none */
    uint64_t sent;                  /* WRITE: bytes of the stream handed to the wire */
    uint64_t stream;                /* bytes of the whole stream */
    struct kvfi_unsettled *record;  /* WRITE with the am machine: where its bytes land */
    uint64_t unsettled;             /* token of an ended WRITE of which bytes may still land; 0: none */
} kvfi_xfer_t;

/* Of an xfer with the am machine: has a byte come, or been handed over? */
static inline int kvfi_xfer_has_moved(const kvfi_xfer_t *xfer)
{
    return xfer->moved.bytes || xfer->sent;
}

/* Note a pair as bad; a lack of memory turns into NOMEM of the whole op. */
kvf_status_t kvfi_xfer_bad(kvfi_xfer_t *xfer, uint32_t pair, kvf_status_t status);

/* ------------------------------------------------------------------- a row */

/* What paths look at to say whether they can work in this process at all. */
typedef struct kvfi_node {
    kvf_engine_t *engine;
    int local_off;              /* the option */
    const char *why_private;    /* NULL: neighbours map memory of ours */
    int rings;                  /* there is a machine for them */
    const kvfi_proc_id_t *proc; /* ours */
    const void *proof;          /* bytes that anybody of ours may read */
    kvf_status_t (*open_far)(kvf_engine_t *engine);
    kvfi_cma_t cma; /* zeroed: room for what a try of it tells */
} kvfi_node_t;

enum {
    KVFI_PATH_MAPPED = 1, /* target->map is there: the copy engine is called, and no slice */
    KVFI_PATH_SERVED = 2, /* the owner's progress does its half, and compares the generations */
    KVFI_PATH_DEVICE = 4, /* a side is device memory; paths without it take host memory only */
};

struct kvfi_path {
    const char *name;
    kvf_path_t id;
    uint32_t traits;
    kvfi_driver_id_t driver;   /* that ends what is started */
    uint32_t pairs_most;       /* of an op; 0: any number */
    uint64_t part_bytes;       /* the most of one part that is sliced, if it is not MAPPED, */
    uint32_t part_pieces;      /* of pieces that do not merge */
    const kvfi_path_t *packed; /* may take an op in this one's place, at the target; NULL: none */
    const char *fault;         /* what is known of memory that was not there */

    /* May it serve target from here? NULL: yes; else the reason, for a sentence. */
    const char *(*reach)(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir);
    /* Can it work in this process, with whatever peer? NULL: yes; else the reason. */
    const char *(*here)(kvfi_node_t *node);
    /* Make what an xfer needs before a byte moves; NULL: nothing. Errors have their sentence. */
    kvf_status_t (*prepare)(kvfi_xfer_t *xfer);

    /* Sliced: move a part on this thread, at most budget bytes, the cursor with it. Not called where the
     * path is MAPPED. */
    kvf_status_t (*slice)(kvfi_xfer_t *xfer, uint64_t budget);
    /* Started: the first of count xfers, which are on paths that are started, and those after it that go the
     * same way. Returns how many. */
    size_t (*start)(kvfi_xfer_t *const *xfers, size_t count);
    /* End a started xfer now, if it has not ended: nothing reads or writes the caller's memory after. A WRITE
     * of which bytes may still land counts in *waits until the owner says that none will. */
    void (*cancel)(kvfi_xfer_t *xfer, kvf_status_t status, _Atomic uint32_t *waits);
};

#define KVFI_PATHS (KVF_PATH_COUNT + 1) /* ids there is room for: the last is for a test's own path */

/* All paths, in the order in which they are tried; NULL at the end. In paths.c, alone, so that a program may
 * bring a table of its own. */
extern const kvfi_path_t *const kvfi_paths[];
extern const uint32_t kvfi_path_bits; /* that a mask of paths may have */

extern const kvfi_path_t kvfi_path_self, kvfi_path_cuda_ipc, kvfi_path_cuda_copy, kvfi_path_shm,
    kvfi_path_cma, kvfi_path_stage, kvfi_path_rma, kvfi_path_am;

/* NULL: there is no such path. */
const kvfi_path_t *kvfi_path_of(kvf_path_t id);
/* The path that serves target in that direction under mask (0: all), the first of the table; or NULL. */
const kvfi_path_t *kvfi_path_choose(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir,
                                    uint32_t mask);
/* Where there is none: for each path why it is out. */
void kvfi_path_why(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir, uint32_t mask,
                   char *why, size_t len);

/* Of a slice: the path is refused, and the whole xfer is to go over instead from its start. */
#define KVFI_INSTEAD ((kvf_status_t)1000)

/* Move at most budget bytes of a sliced xfer, or what the path takes at once. INPROGRESS: more to do; OK or
 * an error: ended; KVFI_INSTEAD only where there is one. */
kvf_status_t kvfi_path_slice(kvfi_xfer_t *xfer, uint64_t budget);

/* Move small xfers whole: the first of count, whose path is MAPPED, and those after it with a path like that
 * and the same owner, as one slice. Returns how many; they have ended, their statuses are set. */
size_t kvfi_path_group(kvfi_xfer_t *xfers, size_t count);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One file a row of the truth table. What they share: the target (how a granted range is reached
 * from here, found out once at import), the xfer (one op of a batch on its way), and the slice.
 * Local paths move an xfer slice by slice on the calling thread, each slice under a busy word of
 * the owner's page. The am path starts xfers and ends them from its link's progress.
 */
#ifndef KVFI_PATH_PATH_H
#define KVFI_PATH_PATH_H

#include <stdatomic.h>

#include "base/proc.h"
#include "copy/copy.h"
#include "path/cma.h"
#include "path/page.h"

typedef struct kvfi_am_peer kvfi_am_peer_t;

/* A granted range as it is reached from here. Fixed after import. */
typedef struct kvfi_target {
    uint32_t        grant, epoch, range;
    uint64_t        len;
    const char     *name;      /* of the owner, for sentences */
    int             in_process, near; /* of the owner */
    kvfi_hold_t    *hold;      /* seat in the owner's page; NULL: far */
    kvfi_life_t    *life;      /* of a near owner in another process */
    char           *map;       /* the range in this process, NULL: not mapped */
    uint64_t        raddr;     /* the range in its owner */
    kvfi_cma_t     *cma;       /* of a near owner: may we reach across? */
    const _Atomic uint32_t *gens; /* of remote id 0, NULL: no pool or not mapped */
    int             guarded;   /* a pool's */
    uint32_t        gens_count;
    kvfi_am_peer_t *am;        /* NULL: no far connection */
} kvfi_target_t;

/* The owner's progress does its half: the am machine moves it. */
static inline int kvfi_path_is_served(kvf_path_t path)
{
    return path == KVF_PATH_AM || path == KVF_PATH_STAGE;
}

/* A pair that did not end well. */
typedef struct kvfi_bad_pair {
    uint32_t pair;
    int32_t  status;
} kvfi_bad_pair_t;

typedef struct kvfi_xfer {
    kvfi_box_t           box;    /* folded */
    kvfi_cursor_t        cursor; /* pairs below cursor.pair are done */
    kvf_path_t           path;
    uint32_t             dir;
    int                  may_stage; /* on cma: the mask allows stage as well */
    int                  chosen;    /* on stage: by choice, cma would do */
    uint64_t             whole;  /* bytes of its batch if many enough to stream, else 0 */
    char                *local;  /* segment in this process */
    const kvfi_target_t *target;
    const uint32_t      *gens;   /* expected, or NULL */
    uint32_t             checked; /* pairs below had their generations compared */
    kvfi_moved_t         moved;
    uint64_t             calls;
    kvfi_bad_pair_t     *bad;    /* malloced, kept for the next post */
    uint32_t             bad_count, bad_cap;
    _Atomic int          status; /* INPROGRESS until ended */
    /* am and stage */
    kvfi_am_peer_t      *peer;
    _Atomic uint32_t    *pending; /* xfers of the batch on this path that have not ended */
    uint64_t             token;   /* 0: not with the am machine */
    struct kvfi_xfer    *next;
    uint64_t             sent;    /* WRITE: bytes of the stream handed to the wire */
    uint64_t             stream;  /* bytes of the whole stream */
    struct kvfi_unsettled *record; /* WRITE with the am machine: where its bytes land */
    uint64_t             unsettled; /* token of an ended WRITE of which bytes may still land; 0: none */
} kvfi_xfer_t;

/* Of an xfer with the am machine: has a byte come, or been handed over? */
static inline int kvfi_xfer_has_moved(const kvfi_xfer_t *xfer)
{
    return xfer->moved.bytes || xfer->sent;
}

/* Note a pair as bad; a lack of memory turns into NOMEM of the whole op. */
kvf_status_t kvfi_xfer_bad(kvfi_xfer_t *xfer, uint32_t pair, kvf_status_t status);

/* May path serve target from here? NULL: yes; else the reason, for a sentence. */
const char *kvfi_self_reach(const kvfi_target_t *target, uint32_t dir);
const char *kvfi_shm_reach(const kvfi_target_t *target, uint32_t dir);
const char *kvfi_cma_reach(const kvfi_target_t *target, uint32_t dir);
const char *kvfi_stage_reach(const kvfi_target_t *target, uint32_t dir);
const char *kvfi_am_reach(const kvfi_target_t *target, uint32_t dir);

/* The path that serves target in that direction under mask (0: all), the first of the truth table;
 * NONE if none, and then why says for each path why it is out. */
kvf_path_t kvfi_path_choose(const kvfi_target_t *target, uint32_t dir, uint32_t mask, char *why,
                            size_t len);

/* Of a slice: the kernel refuses cma, and the whole xfer is to go over stage from its start. */
#define KVFI_TO_STAGE ((kvf_status_t)1000)

/* Move at most budget bytes of a local xfer; on cma what one system call takes. INPROGRESS: more to
 * do; OK or an error: ended; KVFI_TO_STAGE only where may_stage is set. */
kvf_status_t kvfi_path_slice(kvfi_xfer_t *xfer, uint64_t budget);

/* Move small xfers whole: the first of count, which is not on cma, and those after it that have the same
 * owner, as one slice. Returns how many; they have ended, their statuses are set. */
size_t kvfi_path_group(kvfi_xfer_t *xfers, size_t count);

#define KVFI_CMA_VECTORS 1024 /* of a call */

/* cma's own part of a slice: the system calls. */
kvf_status_t kvfi_cma_move(kvfi_xfer_t *xfer);

#endif

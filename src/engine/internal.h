/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The engine's nouns. Every handle begins with a kvfi_object_t, so that NULL, closed and foreign
 * handles are told apart; closed ones stay in a grave for a while.
 *
 * Locks, outer to inner: engine->import_lock, batch->lock, peer->out_lock, engine->lock,
 * engine->far_lock, a link's lock, engine->grants_lock. The copy threads' own is inside of a batch's.
 * No lock is held while bytes are copied, but a batch's own inside post.
 */
#ifndef KVFI_ENGINE_INTERNAL_H
#define KVFI_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/cores.h"
#include "base/status.h"
#include "base/table.h"
#include "base/wire.h"
#include "path/am.h"
#include "path/page.h"
#include "path/path.h"
#include "ucx/ucx.h"

typedef enum kvfi_kind {
    KVFI_CLOSED = 0,
    KVFI_ENGINE = 0x4b564501,
    KVFI_SEGMENT,
    KVFI_POOL,
    KVFI_GRANT,
    KVFI_PEER,
    KVFI_REMOTE,
    KVFI_BATCH,
    KVFI_VIEW
} kvfi_kind_t;

typedef struct kvfi_object {
    _Atomic uint32_t    kind;
    kvf_engine_t       *engine;
    struct kvfi_object *next, **link; /* the engine's list; next: the grave's */
} kvfi_object_t;

/* ---- object.c */
/* A zeroed object of size bytes in the engine's list; NULL without memory. */
void *kvfi_object_new(kvf_engine_t *engine, kvfi_kind_t kind, size_t size);
/* Take it out of the list and lay it in its engine's grave; an engine, in that of engines. */
void  kvfi_object_close(void *object);
/* Begin a call on a handle: INVALID, FORKED or CLOSED, or the engine's count of calls is raised. */
kvf_status_t kvfi_enter(const void *object, kvfi_kind_t kind);
void         kvfi_leave(kvf_engine_t *engine);
int          kvfi_is(const void *object, kvfi_kind_t kind);
/* Who closes a handle claims it first, so that one of two threads does, and then looks whether it is
 * in use; who uses a handle raises its count first, and then looks whether it was claimed. */
int  kvfi_claim(void *object, kvfi_kind_t kind);
void kvfi_unclaim(void *object, kvfi_kind_t kind);

/* ---- home.c: what of an engine others may touch, counted */
typedef struct kvfi_home {
    struct kvfi_home *next; /* the process's list */
    kvf_engine_t *_Atomic engine; /* NULL once it closes */
    uint64_t          incarnation;
    unsigned          refs;
    kvfi_link_t      *near; /* NULL: no shared memory on this machine, */
    char              why_private[480]; /* for this reason */
    kvfi_bell_t       bell; /* for near peers to ring */
    kvfi_mem_t       *mem;  /* of the page; NULL: the page is private */
    kvfi_page_t      *page;
    kvfi_owner_t      owner;
    kvfi_proc_id_t    proc;
    char              boot[KVFI_BOOT_LEN];
} kvfi_home_t;

kvf_status_t kvfi_home_open(kvf_engine_t *engine);
/* The home of an engine of this process, referenced; NULL if it is none. */
kvfi_home_t *kvfi_home_find(uint64_t incarnation);
void         kvfi_home_release(kvfi_home_t *home);
/* Nobody finds it any more; doorbells for it are lost. */
void         kvfi_home_retire(kvfi_home_t *home);
/* A notification came for an engine of this process. */
void         kvfi_home_ring(kvfi_home_t *home);
/* It closes: wake who sleeps and has it as a peer. */
void         kvfi_home_part(kvfi_home_t *home);

typedef struct kvfi_count {
    _Atomic uint64_t bytes, ops, pieces, calls;
} kvfi_count_t;

struct kvf_engine {
    kvfi_object_t     object;
    unsigned          forks; /* kvfi_fork_count() at open */
    _Atomic int       closing;
    _Atomic unsigned  users; /* calls under way */
    pthread_mutex_t   lock;  /* objects, peers, running */
    kvfi_object_t    *objects;
    kvfi_object_t    *grave, **grave_end; /* the closed, oldest first, under lock */
    unsigned          grave_count;

    /* options in force */
    char              net[8];
    int               local_off, check;
    kvf_progress_mode_t progress;
    kvf_pack_t        pack;
    uint64_t          deadline_ns, rank;
    uint32_t          depth;
    uint32_t          copy_threads; /* that run; 0: who waits copies */
    struct kvfi_copiers *copiers;   /* NULL: none */
    char             *setting_text; /* values for kvf_engine_setting() */

    uint64_t          incarnation;
    uint64_t          proof[4]; /* read by peers through cma */
    kvfi_home_t      *home;
    kvfi_table_t      peers; /* by incarnation */

    pthread_mutex_t   import_lock; /* of importing remotes */
    pthread_mutex_t   far_lock;    /* of opening the far side, of connections for stage */
    kvfi_am_t *_Atomic am;
    kvfi_am_t        *stage; /* on the near link; NULL: no near peers */
    int               far_driven; /* by the thread, or by who polls the event fd */
    _Atomic int       near_driven; /* by the thread */
    atomic_flag       told_of_stage, told_of_far, told_of_release; /* the user was warned */

    pthread_mutex_t   grants_lock;
    kvf_grant_t      *grants[KVFI_PAGE_GRANTS];
    uint32_t          next_grant;

    struct kvf_batch *running;
    _Atomic unsigned  running_count;
    kvfi_open_writes_t open_writes; /* given up, and not settled */

    int               epoll_fd, event_fd, timer_fd, wake_fd;
    _Atomic int       armed;
    _Atomic uint32_t  arms; /* even; one more is what the page says */
    _Atomic unsigned  lives_polled, lives_timed; /* near peers whose death the epoll tells, or only a look */
    int             (*sweep)(kvf_engine_t *engine, int copy); /* progress.c's, for the thread */
    pthread_t         thread;
    _Atomic int       thread_on;
    _Atomic unsigned  drivers; /* waits that drive the links: the thread stands back */
    unsigned          take_from; /* seat to look at first for a notification */

    kvfi_count_t      path[KVF_PATH_COUNT];
    _Atomic uint64_t  locality[KVF_LOCALITY_COUNT];
    _Atomic uint64_t  batches, stale_blocks, notify_sent, notify_received, views, viewed_bytes;
};

struct kvf_segment {
    kvfi_object_t    object;
    char            *addr;
    uint64_t         len;
    int              shared, writable;
    uint64_t         uid;      /* names the region to peers; unique in this incarnation */
    char            *region;   /* what was allocated, with a pool's generations in front */
    uint64_t         region_len;
    kvfi_mem_t      *mem;      /* NULL: mapped by us, or the caller's own */
    int              ours;     /* region is ours to unmap */
    char            *adopted;  /* the caller's mapping of the region, NULL: not adopted */
    int              was_huge; /* it had asked for transparent huge pages there */
    kvf_pool_t      *pool;
    _Atomic unsigned grants, inflight;
};

struct kvf_pool {
    kvfi_object_t     object;
    kvf_segment_t    *segment;
    uint32_t          blocks, available;
    uint32_t          hint;  /* no free block below */
    uint64_t         *taken; /* bitmap */
    _Atomic uint32_t *gens;  /* one a block; peers see a copy, */
    _Atomic uint32_t *shown; /* in which they can write */
    pthread_mutex_t   lock;
};

struct kvf_grant {
    kvfi_object_t object;
    uint32_t      slot, epoch, count;
    int           revoked;
    uint64_t      only; /* incarnation, 0: all */
    kvf_range_t  *ranges;
};

/* A region of a peer's that is mapped here, shared by its remotes. */
typedef struct kvfi_region {
    struct kvfi_region *next;
    uint64_t            uid;
    unsigned            refs;
    kvfi_map_t         *map;
    char               *addr; /* NULL: could not be mapped */
    uint64_t            raddr, len; /* in its owner */
    char               *twin; /* the same, read-only, of the first view on; else NULL */
} kvfi_region_t;

/* A notification on its way out, in its peer's line from post on. */
typedef struct kvfi_out_note {
    struct kvfi_out_note *next;
    kvf_peer_t           *peer;
    uint32_t              len;
    uint8_t               data[KVF_NOTIFY_MAX];
    kvf_status_t          told; /* with it: how the ops to its peer ended */
    int                   ready;
    _Atomic int           sent, status;
    kvfi_am_note_t        am;
} kvfi_out_note_t;

struct kvf_peer {
    kvfi_object_t    object;
    uint64_t         incarnation, rank;
    kvfi_proc_id_t   proc;
    char             host[64];
    char             name[120]; /* for sentences: rank, host and pid */
    kvf_locality_t   locality;
    unsigned         imports, remotes;
    _Atomic unsigned notes; /* of running batches */
    /* near, or of this process */
    kvfi_home_t     *home;
    kvfi_map_t      *page_map;
    kvfi_hold_t      hold;
    kvfi_life_t      life;
    enum { KVFI_NOT_WATCHED, KVFI_IN_EPOLL, KVFI_BY_TIMER } watched; /* by who sleeps on the event fd */
    kvfi_cma_t       cma;
    kvfi_region_t   *regions;
    kvfi_am_peer_t *_Atomic stage; /* NULL: not needed so far */
    int              driven;    /* a thread of its engine does its half of stage */
    _Atomic uint64_t direct_until_ns; /* no choice of stage before: it failed, so many times in a row */
    _Atomic unsigned stage_failures;
    _Atomic uint64_t silent_ns, silent_to_ns; /* ops waited for a word of it for so long, until then, */
    _Atomic uint32_t silent_heard;            /* when it had said so many */
    /* far */
    kvfi_am_peer_t  *am;
    char             why_far[400];

    pthread_mutex_t  out_lock;
    kvfi_out_note_t *out, **out_end;
    _Atomic uint64_t bytes_read, bytes_written;
};

struct kvf_remote {
    kvfi_object_t    object;
    kvf_peer_t      *peer;
    kvfi_target_t    target;
    kvfi_region_t   *region;
    uint32_t         rights;
    int              shared;
    unsigned         imports;
    _Atomic unsigned inflight;
};

typedef struct kvfi_batch_op {
    kvf_segment_t *segment;
    kvf_remote_t  *remote;
    int8_t        *block_status;
    int            holds;    /* segment and remote, until the batch ends; for the ops after it too */
    int            finished;
    unsigned       parts; /* of it that are being copied */
} kvfi_batch_op_t;

/* What ended on one path with one peer and was not added to the engine's counters yet. */
typedef struct kvfi_tally {
    kvf_peer_t *peer; /* NULL: nothing */
    kvf_path_t  path;
    uint32_t    dir;
    uint64_t    ops, bytes, pieces, calls;
} kvfi_tally_t;

/* An op that went packed by choice, as it would go direct. */
typedef struct kvfi_spare {
    size_t     op;
    uint32_t   heard; /* of its neighbour, */
    uint64_t   since_ns; /* since then: when it was asked, or the last look that heard something */
    kvfi_box_t box;
} kvfi_spare_t;

struct kvf_batch {
    kvfi_object_t     object;
    pthread_mutex_t   lock;
    pthread_cond_t    cond;
    _Atomic int       running;
    _Atomic unsigned  refs; /* sweeps that look at it */
    struct kvf_batch *run_next, **run_link;
    int               listed; /* under the batch's lock; the links are under the engine's */

    kvfi_batch_op_t  *ops;
    kvfi_xfer_t      *xfers;
    kvfi_xfer_t     **am_xfers;
    kvfi_spare_t     *spares;
    size_t            spare_count, spare_cap;
    _Atomic uint64_t  patience_ns; /* until then a packed op may wait for its first byte */
    size_t            count, cap, am_count;
    size_t            next_local; /* xfers below are not local, or are claimed, or have ended */
    uint64_t          left;       /* bytes not yet claimed, about */
    uint32_t          sharers;    /* threads that may copy it */
    unsigned          flying;     /* parts being copied */
    _Atomic int       claimable;  /* there may be parts to claim */
    _Atomic int       stop;       /* not 0: the status it ends with once no part flies */
    uint32_t          run;        /* number of this run */
    int               in_round;   /* the copy threads'; its links are under their lock */
    struct kvf_batch *round_next, *round_prev;
    _Atomic uint32_t  am_pending;
    uint64_t          tag;
    _Atomic uint64_t  end_ns;
    int               given_up;   /* its ops have ended; it waits for owners until end_ns, */
    _Atomic uint32_t  unsettled;  /* to answer for so many WRITEs */
    enum { KVFI_NOT_HELD, KVFI_HELD, KVFI_ENDED_HELD } held; /* nothing of it has started */
    uint32_t          held_settled; /* engine->open_writes.settled at the last look */
    int               noting; /* the ops have ended, the notification has not */
    int               has_note, note_due; /* due: all ops to its peer ended well, */
    int               note_always;        /* or it is sent all the same */
    kvfi_out_note_t   note;
    kvf_batch_result_t result;
    uint64_t          deadline_ns; /* as it was asked for */
    char              sentence[640]; /* of the first bad op, or of the notification */
    kvfi_tally_t      tally;
    void             *kept; /* kvf_batch_keep(); freed by drop */
    void            (*drop)(void *kept);
};

/* ---- settings.c */
kvf_status_t kvfi_settings_load(kvf_engine_t *engine, const kvf_engine_opts_t *opts);

/* ---- links.c */
/* Open the machine for stage, where there is a near link. */
kvf_status_t kvfi_links_near(kvf_engine_t *engine);
/* The machine on the wire, opened at the first need. */
kvf_status_t kvfi_links_far(kvf_engine_t *engine, kvfi_am_t **am_p);

/* ---- adopt.c */
/* May the pages there be adopted? *huge_p: they had asked for transparent huge pages. */
kvf_status_t kvfi_adopt_check(const void *addr, uint64_t len, int *huge_p);
/* The segment's region, with the contents of the pages there, in their place. An error: nothing has changed,
 * or *lost_p, and the contents are in the region alone. */
kvf_status_t kvfi_adopt_cover(kvf_segment_t *segment, void *addr, int *lost_p);
/* Give the caller private memory back; an error: nothing has changed. */
kvf_status_t kvfi_adopt_return(kvf_segment_t *segment);

/* ---- segment.c, grant.c, peer.c, remote.c: used by others and by close */
typedef enum kvfi_page_size { KVFI_ANY_PAGES, KVFI_SMALL_PAGES } kvfi_page_size_t;
/* Library-allocated, shared where the engine has shared memory; head bytes before its first one. */
kvf_status_t kvfi_segment_make(kvf_engine_t *engine, uint64_t head, uint64_t len,
                               kvfi_page_size_t pages, kvf_segment_t **segment_p);
/* Of the caller's memory: not NULL, empty, overflowing, or a device's. */
kvf_status_t kvfi_segment_check_range(const void *addr, uint64_t len);
void         kvfi_segment_free(kvf_segment_t *segment, int keep_memory);
/* OK, or BUSY with a sentence: granted, or used by a running batch. */
kvf_status_t kvfi_segment_unused(const kvf_segment_t *segment);
void         kvfi_pool_free(kvf_pool_t *pool);
kvf_status_t kvfi_grant_view(void *engine, uint64_t incarnation, uint32_t grant, uint32_t epoch,
                             uint32_t range, kvfi_am_view_t *view_p);
void         kvfi_grant_free(kvf_grant_t *grant);
void         kvfi_peer_free(kvf_peer_t *peer);
/* The connection for ops of that direction over stage, made at the first need; the first time the user is
 * told why there is one. */
kvf_status_t kvfi_peer_connect(kvf_peer_t *peer, uint32_t dir, kvfi_am_peer_t **stage_p);
void         kvfi_remote_free(kvf_remote_t *remote);
int          kvfi_peer_alive(kvf_peer_t *peer, uint64_t max_age_ns);
/* What became of one that is not alive. */
const char  *kvfi_peer_end(const kvf_peer_t *peer);

/* ---- view.c */
void         kvfi_view_free(kvf_view_t *view);
/* BUSY with a sentence if a living peer has a view of one of the blocks, whose generations were raised. */
kvf_status_t kvfi_view_unpinned(kvf_pool_t *pool, uint32_t count, const uint32_t *ids);

/* ---- check.c */
/* What the check of a batch's ops carries from one to the next: ops in a row with the same handles and
 * direction have path and rights in common. */
typedef struct kvfi_check {
    kvf_engine_t   *engine;
    uint32_t        mask;
    kvf_segment_t  *segment; /* of the op before; NULL: none yet */
    kvf_remote_t   *remote;
    uint32_t        dir;
    kvf_path_t      path;
    kvfi_am_peer_t *peer;
    int             asks;       /* nothing is to be posted: no connection is made */
    size_t          on_cma;     /* ops so far that may go over cma or stage */
} kvfi_check_t;

/* Check op index and make an xfer of it. *holds_p: its segment and remote stay until they are let go, for
 * it and those after it that share them. */
kvf_status_t kvfi_check_op(kvfi_check_t *check, const kvf_op_t *op, size_t index, kvfi_xfer_t *xfer,
                           int *holds_p);
static inline void kvfi_let_go(kvf_segment_t *segment, kvf_remote_t *remote)
{
    atomic_fetch_sub(&segment->inflight, 1);
    atomic_fetch_sub(&remote->inflight, 1);
}
/* ---- choose.c: direct or packed */
/* Put those of count checked xfers on stage that are to go packed; remotes[i] is that of op i. flags are
 * the batch's. Errors only with KVF_PACK_PACKED: those of a connection. */
kvf_status_t kvfi_choose(kvf_engine_t *engine, const kvfi_batch_op_t *ops, kvfi_xfer_t *xfers,
                         size_t count, uint32_t flags);

/* ---- doubt.c */
/* For a neighbour that says nothing; half of a short deadline. */
#define KVFI_PATIENCE_NS UINT64_C(1000000000)
/* Is an error maybe that of stage itself, so that the same would do well over cma? */
int  kvfi_doubt_is_stages(kvf_status_t status);
/* Something packed by choice came to nothing; ops of one batch fail together, which counts once. */
void kvfi_doubt_failed(kvf_peer_t *peer, kvf_status_t status);
/* An op that went packed by choice has come to an end: what that tells of its neighbour. */
void kvfi_doubt_judge(kvf_batch_t *batch, size_t op, kvf_status_t status);

/* KVFERRY_CHECK: refuse destinations that overlap, and sources with destinations on self. */
kvf_status_t kvfi_check_overlap(const kvfi_xfer_t *xfers, size_t count);

/* ---- op.c */
kvf_status_t kvfi_op_check_size(size_t op_size);
/* The caller's op, as ours: in place, or in copy_p if it is of another size. NULL: it cannot be read. */
const kvf_op_t *kvfi_op_read(const void *from, size_t op_size, size_t index, kvf_op_t *copy_p);

/* ---- batch.c */
static inline int kvfi_xfer_is_local(const kvfi_xfer_t *xfer)
{
    return !kvfi_path_is_served(xfer->path);
}

/* Drive a batch a little; copy: a part of it too. 1 if it has ended. */
int  kvfi_batch_advance(kvf_batch_t *batch, int copy);
int  kvfi_batch_advance_locked(kvf_batch_t *batch);
/* All copies that nobody has begun, while the lock is held. */
void kvfi_batch_copy_locked(kvf_batch_t *batch);
/* All copies, helped by who else copies it; not yet what comes after them. Without the lock. */
void kvfi_batch_copy_all(kvf_batch_t *batch);
/* It is to end with status: from here on nobody begins to copy a part. */
void kvfi_batch_stop_locked(kvf_batch_t *batch, kvf_status_t status);
void kvfi_batch_put(kvf_batch_t *batch); /* give a reference back */
/* Has it parts that nobody copies yet? */
static inline int kvfi_batch_copies(const kvf_batch_t *batch)
{
    return atomic_load(&batch->claimable);
}

/* ---- end.c */
/* Write the statuses of an op whose xfer has ended, and tally it. */
void kvfi_end_op(kvf_batch_t *batch, size_t index);
/* Let go the handles of the first count ops. */
void kvfi_end_let_go(kvf_batch_t *batch, size_t count);
/* Add the tally to the engine's counters. */
void kvfi_end_count(kvf_batch_t *batch);

/* ---- held.c: WRITEs that were given up, all with the batch's lock */
/* End the ops of a batch that was stopped, once no part is being copied: 1 when it may end. */
int  kvfi_held_given_up(kvf_batch_t *batch);
/* Can nothing of an xfer that has ended land any more? */
int  kvfi_held_is_settled(kvf_batch_t *batch, const kvfi_xfer_t *xfer);
/* Hold a batch back that was just posted, if it overlaps what may still land: 1 if so. */
int  kvfi_held_back(kvf_batch_t *batch, uint64_t deadline_ns);
/* Start a batch that was held back, if it may now: 1 if so. */
int  kvfi_held_release(kvf_batch_t *batch);
/* It is held, and the connection to one of its peers broke. */
int  kvfi_held_in_vain(const kvf_batch_t *batch);
/* How many WRITEs owners have not answered for; *lost_p: how many others they cannot. Without any lock. */
unsigned kvfi_held_unanswered(kvf_engine_t *engine, unsigned *lost_p);

/* ---- parts.c: what one thread copies of a batch at a time */
typedef struct kvfi_part {
    size_t       first, count; /* ops; count 0: a cut of op first */
    uint32_t     pair;         /* first pair of the cut */
    kvf_status_t status;
    kvfi_xfer_t  xfer;         /* of the cut */
} kvfi_part_t;

/* Claim and join under the batch's lock, copy without. 0: nothing left to claim. */
int  kvfi_part_claim(kvf_batch_t *batch, kvfi_part_t *part);
void kvfi_part_copy(kvf_batch_t *batch, kvfi_part_t *part);
void kvfi_part_join(kvf_batch_t *batch, kvfi_part_t *part);
/* No more parts are handed out. */
void kvfi_part_none_left(kvf_batch_t *batch);

/* ---- copiers.c */
/* Look at the cores allowed to this thread; sets copy_threads and copiers, says what cannot help. */
kvf_status_t kvfi_copiers_plan(kvf_engine_t *engine, uint32_t threads);
kvf_status_t kvfi_copiers_open(kvf_engine_t *engine);
void         kvfi_copiers_close(kvf_engine_t *engine);

/* ---- round.c */
typedef struct kvfi_copiers {
    pthread_mutex_t lock;
    pthread_cond_t  cond;
    kvf_batch_t    *round; /* whose turn it is */
    unsigned        asleep, started;
    int             stop;
    kvfi_cores_t    cores;
    pthread_t       threads[];
} kvfi_copiers_t;

/* A batch has parts to claim, or no more. Under its lock. */
void         kvfi_round_add(kvf_batch_t *batch);
void         kvfi_round_drop(kvf_batch_t *batch);
/* There is something to copy again: for who waits, sleeps, or is a copy thread. Under its lock. */
void         kvfi_round_call(kvf_batch_t *batch);
/* The batch whose turn it is, referenced, once there is one; NULL: stop. */
kvf_batch_t *kvfi_round_next(kvfi_copiers_t *copiers);

/* ---- running.c */
/* Put a batch among those that the engine drives, or take it out. Under its lock. */
void         kvfi_running_add(kvf_batch_t *batch);
void         kvfi_running_drop(kvf_batch_t *batch);
/* When the first of them needs a look though nothing came. UINT64_MAX: never. */
uint64_t     kvfi_running_next_look(kvf_engine_t *engine);
/* Are there copies that wait for somebody to call? */
int          kvfi_running_copies(kvf_engine_t *engine);

/* ---- sentence.c: how a batch failed */
/* Op i, of which so many bytes are known to have arrived. */
void kvfi_sentence_op(kvf_batch_t *batch, size_t i, kvf_status_t status, uint64_t bytes);
/* More of it, for the reason of an error that the status does not tell. */
void kvfi_sentence_add(kvf_batch_t *batch, const char *reason);
void kvfi_sentence_note(kvf_batch_t *batch, kvf_status_t status);

/* ---- served.c: ops whose other half the owner's progress does */
/* Start those of a batch that was just posted. */
void kvfi_served_start(kvf_batch_t *batch);
/* Op index cannot go over cma after all: it starts afresh over stage, or has ended with an error. With
 * the batch's lock. */
void kvfi_served_take(kvf_batch_t *batch, size_t index);
/* Packed ops that came to nothing before a byte moved go direct, in what is left of the deadline: 1 if
 * there are such, for somebody to copy. With the batch's lock, while no part is left. */
int  kvfi_served_back(kvf_batch_t *batch);

/* ---- notify.c */
void kvfi_note_line_up(kvfi_out_note_t *note);
void kvfi_note_drop(kvfi_out_note_t *note, kvf_status_t status);
/* Its batch was given up: send it at once, before those ahead of it in the line, or drop it. */
void kvfi_note_tell(kvfi_out_note_t *note, kvf_status_t status);
/* Send what is ready at the head of a peer's line. */
void kvfi_note_pump(kvf_peer_t *peer);

/* ---- event.c */
kvf_status_t kvfi_event_open(kvf_engine_t *engine);
void         kvfi_event_close(kvf_engine_t *engine);
/* A descriptor that makes the event fd readable: 0, or -1 with errno. */
int          kvfi_event_watch(kvf_engine_t *engine, int fd);
/* A near peer that was put in the table; before its life is closed. Its death wakes the event fd. */
void         kvfi_event_watch_peer(kvf_peer_t *peer);
void         kvfi_event_unwatch_peer(kvf_peer_t *peer);
/* Something ended or came: the event fd, if armed. */
void         kvfi_event_wake(void *engine);
/* A batch runs: who sleeps has messages to send, or one more deadline to keep. */
void         kvfi_event_posted(kvf_engine_t *engine);
/* When who drives the near link has to look though nothing came. UINT64_MAX: never. */
uint64_t     kvfi_event_next_near_look(kvf_engine_t *engine);
/* Sleep a little, until something may have changed; at most until end_ns. */
void         kvfi_event_nap(kvf_engine_t *engine, uint64_t end_ns);

/* ---- thread.c */
kvf_status_t kvfi_thread_far(kvf_engine_t *engine); /* the far side was opened */
/* A near peer may need our help: unless the caller drives, a thread does from now on. */
kvf_status_t kvfi_thread_near(kvf_engine_t *engine);
/* Who waits drives what stage has to do, if there is any, in place of the thread: 1 until it hands that
 * back. */
int          kvfi_thread_take(kvf_engine_t *engine);
void         kvfi_thread_hand_back(kvf_engine_t *engine);
void         kvfi_thread_stop(kvf_engine_t *engine);

/* ---- await.c */
/* Stop a batch, and wait until it has ended. */
void         kvfi_await_abort(kvf_batch_t *batch, kvf_status_t status);

/* ---- revoke.c */
#define KVFI_ALL_GRANTS UINT32_MAX
/* Wait until no slice runs under an epoch raised before, and no view is open of the grant: OK, or TIMEOUT
 * with a sentence; CLOSED if the engine begins to close and it is not close that waits (for all grants). */
kvf_status_t kvfi_revoke_quiesce(kvf_engine_t *engine, uint32_t slot, uint64_t end_ns);

/* ---- progress.c */
/* Drive links and batches once; 1 if something moved. */
int          kvfi_progress_drive(kvf_engine_t *engine, int copy);
/* The batches alone: 1 if one ended or copied. */
int          kvfi_progress_sweep(kvf_engine_t *engine, int copy);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvferry: carry KV-cache blocks between the memories of an inference job.
 *
 * The walk: open an engine; register or allocate segments (a pool is a segment cut in blocks);
 * grant rights on ranges of them; export the engine and the grant as blobs; send the blobs by
 * whatever means the job has; on the other side import the engine blob into a peer and the grant
 * blob into remotes; post batches of ops between local segments and remotes; wait; close.
 *
 * Errors. Every call returns kvf_status_t: KVF_OK (0), KVF_INPROGRESS or KVF_SKIPPED (positive,
 * not errors), or a negative error. The calling thread's kvf_last_error() then holds a sentence
 * that names what is wrong and where. Outputs are set on success only, unless stated. Calls on a
 * NULL or closed handle answer KVF_ERR_INVALID, calls in a forked child on its parent's handles
 * KVF_ERR_FORKED, calls on a closing engine KVF_ERR_CLOSED; this is not repeated below.
 *
 * Threads. Any thread may call anything on any object, at the same time; only who frees, forgets or
 * releases an object sees to it that no other thread is inside a call on it. A local copy runs on
 * the calling thread, or on copy threads, without the engine's lock; threads that wait for one batch
 * share its copies. Engines are independent of each other.
 *
 * Structs. Those that start with struct_size can grow: the caller sets it to sizeof(struct), and may have
 * been built with another version of this header. In a shorter struct the fields that it lacks read as 0,
 * and as an output only the part it has is written. In a longer one what this library does not know must be
 * 0, else KVF_ERR_UNSUPPORTED, and as an output it is set to 0. A struct_size that is below 8, above 4096
 * or not a multiple of 8 is KVF_ERR_INVALID. This holds for all of them and is not repeated below. op_size
 * follows the same rule. Elements of other arrays have a fixed size, and reserved fields. Of options, NULL
 * means all defaults and a zero field means its default; reserved fields must be 0.
 *
 * Memory. Handles belong to the engine that made them
 * and end with it. Closers take NULL. A closed handle is recognised as such for as long as fewer
 * than 1024 younger objects of its engine were closed after it, and its engine is open or fewer than 64
 * engines were closed after it.
 *
 * Fork. A child may read what the parent had mapped; its calls are refused. It cannot open an engine of its
 * own either if the parent had one open at the fork: fork before, or exec() in the child. A child of fork()
 * holds no connection of a far peer that stands or was accepted. posix_spawn(), vfork() and clone() tell the
 * library nothing: a program started so while a far peer connects may inherit that connection, and if this
 * process then dies, the peer does not learn of it before that program ends. Start programs by fork() and
 * exec(), or before far peers connect.
 *
 * Environment. KVFERRY_NET, KVFERRY_LOCAL, KVFERRY_PROGRESS, KVFERRY_DEADLINE (ms),
 * KVFERRY_NOTIFY_DEPTH, KVFERRY_COPY_THREADS, KVFERRY_PACK, KVFERRY_COPY_KERNEL,
 * KVFERRY_STREAM_FROM, KVFERRY_CALIBRATION, KVFERRY_CHECK, KVFERRY_LOG override defaults, never what
 * a caller set.
 * A malformed value makes kvf_engine_open() fail and is named, and so does a name near a setting's, with the
 * setting that was probably meant: after KVFERRY_ one letter is added, dropped, changed or swapped with the
 * next, or two where the setting has five letters or more. Any other KVFERRY_ variable is ignored, so a site
 * may set KVFERRY_ROOT and the like.
 * UCX_ variables apply to the far context only.
 */
#ifndef KVFERRY_H
#define KVFERRY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KVF_VERSION_MAJOR 0
#define KVF_VERSION_MINOR 1
#define KVF_VERSION_PATCH 0

/** A deadline or timeout that never comes. */
#define KVF_FOREVER UINT64_MAX

/** As an id on either side of an op: drop this pair on both sides. */
#define KVF_SKIP UINT32_MAX

/** Longest notification, in bytes. */
#define KVF_NOTIFY_MAX 64

typedef struct kvf_engine  kvf_engine_t;
typedef struct kvf_segment kvf_segment_t;
typedef struct kvf_pool    kvf_pool_t;
typedef struct kvf_grant   kvf_grant_t;
typedef struct kvf_peer    kvf_peer_t;
typedef struct kvf_remote  kvf_remote_t;
typedef struct kvf_batch   kvf_batch_t;
typedef struct kvf_view    kvf_view_t;
typedef struct kvf_queue   kvf_queue_t;
typedef struct kvf_channel kvf_channel_t;

/* ------------------------------------------------------------------ status */

typedef enum kvf_status {
    KVF_OK              = 0,
    KVF_INPROGRESS      = 1,   /**< not ended yet; or nothing there yet */
    KVF_SKIPPED         = 2,   /**< block status of a pair dropped by KVF_SKIP */
    KVF_ERR_INVALID     = -1,  /**< an argument is wrong; the sentence names it */
    KVF_ERR_BOUNDS      = -2,  /**< an extent or id leaves segment, grant or capacity */
    KVF_ERR_NOMEM       = -3,  /**< no memory of the kind asked for */
    KVF_ERR_UNSUPPORTED = -4,  /**< this build or machine cannot do it */
    KVF_ERR_PERM        = -5,  /**< the grant does not give this right */
    KVF_ERR_REVOKED     = -6,  /**< the grant was revoked */
    KVF_ERR_STALE       = -7,  /**< generation or incarnation is not the expected one */
    KVF_ERR_PEER        = -8,  /**< the peer died or its connection broke */
    KVF_ERR_TIMEOUT     = -9,  /**< deadline or timeout passed */
    KVF_ERR_CANCELED    = -10, /**< cancelled by the caller */
    KVF_ERR_CLOSED      = -11, /**< the engine is closing */
    KVF_ERR_BUSY        = -12, /**< in use; nothing was changed. Of an op: its owner holds other
                                 requests of this process, and with this one more than 256 MiB */
    KVF_ERR_NO_PATH     = -13, /**< no allowed path serves this op; the sentence says why each is out */
    KVF_ERR_NEED_FAR    = -14, /**< the peer is not near and its blob holds no far address */
    KVF_ERR_VERSION     = -15, /**< blob or wire version not understood */
    KVF_ERR_BLOB        = -16, /**< not a whole, intact blob of the expected kind */
    KVF_ERR_SPACE       = -17, /**< the caller's buffer or array is too small; the need is set */
    KVF_ERR_FAULT       = -18, /**< the peer's memory behind the grant is not there: see
                                 kvf_segment_register() */
    KVF_ERR_SYSTEM      = -19, /**< the kernel or UCX refused; the sentence holds its words */
    KVF_ERR_FORKED      = -20  /**< called in a forked child */
} kvf_status_t;

/** Name of a status, such as "KVF_ERR_STALE". Never NULL. Static storage. Any thread. */
const char *kvf_status_name(kvf_status_t status);

/** The calling thread's last error as a sentence; "" if it had none. Valid until the thread's
 *  next failing call. Never NULL. */
const char *kvf_last_error(void);

/** For libraries built on kvferry: store a sentence for the calling thread's kvf_last_error() and
 *  return status. */
kvf_status_t kvf_fail(kvf_status_t status, const char *fmt, ...)
#if defined(__GNUC__)
    __attribute__((cold, format(printf, 2, 3)))
#endif
    ;

/** For libraries built on kvferry, the rule for struct_size: copy the struct that a caller passed, theirs, to
 *  the size bytes at ours_p, which get size as their struct_size. name is the argument's, for the sentence.
 *  Errors: INVALID (theirs is NULL; struct_size), UNSUPPORTED (what this library does not know is not 0). */
kvf_status_t kvf_struct_read(const char *name, const void *theirs, size_t size, void *ours_p);

/** The same for an output: write size bytes of ours to the caller's struct, whose struct_size stays. With
 *  ours NULL it only says whether that can be done. Errors: INVALID (theirs_p is NULL; struct_size). */
kvf_status_t kvf_struct_write(const char *name, const void *ours, size_t size, void *theirs_p);

/** Version of the library at run time, "0.1.0". Static storage. */
const char *kvf_version(void);

/** Release of the UCX at run time, such as "1.13.1". Static storage. */
const char *kvf_ucx_version(void);

/* ------------------------------------------------------------------- paths */

/** The rows of the truth table. A read over cma never brings bytes of a program that took the owner's place by
 *  exec() or got its PID. A write may reach that program if the exec() comes within the microsecond before it;
 *  it ends with PEER. So leave cma out of kvf_batch_opts_t.paths for writes to owners that may exec(). */
typedef enum kvf_path {
    KVF_PATH_NONE      = 0,
    KVF_PATH_SELF      = 1, /**< this process: copy engine */
    KVF_PATH_SHM       = 2, /**< same node, library-allocated memory: mapped once, copy engine */
    KVF_PATH_CMA       = 3, /**< same node, the caller's own memory: vectored cross-memory attach */
    KVF_PATH_STAGE     = 4, /**< same node, through a shared ring */
    KVF_PATH_CUDA_IPC  = 5, /**< same node, VRAM to VRAM */
    KVF_PATH_CUDA_COPY = 6, /**< same node, VRAM and DRAM */
    KVF_PATH_RMA       = 7, /**< other node, native remote memory access */
    KVF_PATH_AM        = 8, /**< other node: boxes in a message, the owner gathers, streams */
    KVF_PATH_COUNT     = 9
} kvf_path_t;

/** Bit of a path in a mask. */
#define KVF_PATH_BIT(path) (UINT32_C(1) << (path))
/** The paths that never touch a network. */
#define KVF_PATHS_LOCAL                                                                                      \
    (KVF_PATH_BIT(KVF_PATH_SELF) | KVF_PATH_BIT(KVF_PATH_SHM) | KVF_PATH_BIT(KVF_PATH_CMA) |                 \
     KVF_PATH_BIT(KVF_PATH_STAGE) | KVF_PATH_BIT(KVF_PATH_CUDA_IPC) | KVF_PATH_BIT(KVF_PATH_CUDA_COPY))

/** Lower-case name of a path, "shm"; "none" for anything else. Static storage. */
const char *kvf_path_name(kvf_path_t path);

/** Where a peer is, proved by reading its nonce through the path itself. */
typedef enum kvf_locality {
    KVF_LOCALITY_SELF  = 0, /**< this process */
    KVF_LOCALITY_NODE  = 1, /**< same node, its control page is mapped here */
    KVF_LOCALITY_CROSS = 2, /**< anything else */
    KVF_LOCALITY_COUNT = 3
} kvf_locality_t;

/* ------------------------------------------------------------------ engine */

typedef enum kvf_progress_mode {
    KVF_PROGRESS_DEFAULT = 0,
    KVF_PROGRESS_THREAD  = 1, /**< one thread, from the moment a far address exists, memory of the
                              *   caller's own is granted, or an op goes over stage; asleep when idle */
    KVF_PROGRESS_CALLER  = 2  /**< kvf_progress() and the waits drive everything */
} kvf_progress_mode_t;

typedef enum kvf_switch {
    KVF_SWITCH_DEFAULT = 0,
    KVF_SWITCH_ON      = 1,
    KVF_SWITCH_OFF     = 2
} kvf_switch_t;

/** How ops reach a neighbour's own memory. Direct is cma: the kernel copies piece by piece, and the
 *  neighbour does nothing. Packed is stage: the neighbour's progress gathers or scatters its side in
 *  shared memory, which costs its processor some time and is far faster for many short pieces. On the
 *  other paths there is no choice: am always packs. */
typedef enum kvf_pack {
    KVF_PACK_DEFAULT = 0,
    KVF_PACK_AUTO    = 1, /**< the default: packed where it is clearly less work for both processors
                          *   together, by the figures of kvf_path_cost(), and a thread of the
                          *   neighbour's engine drives its half; else direct. What comes to nothing
                          *   packed, before a byte has moved, goes direct in the same batch */
    KVF_PACK_DIRECT  = 2, /**< direct, wherever the kernel lets us */
    KVF_PACK_PACKED  = 3  /**< packed, whatever it costs; waits for a neighbour that nobody drives */
} kvf_pack_t;

typedef struct kvf_engine_opts {
    uint32_t    struct_size;
    uint32_t    flags;        /**< 0 */
    const char *net;          /**< "auto" (default), "tcp", "rc", "ud": the wire of far peers */
    uint32_t    local;        /**< kvf_switch_t; OFF makes every other process far (to measure) */
    uint32_t    progress;     /**< kvf_progress_mode_t; default THREAD */
    uint64_t    deadline_ns;  /**< of batches that name none; default 60 s */
    uint32_t    notify_depth; /**< notifications that may wait here per sender; 1..65536, default 256 */
    uint32_t    check;        /**< kvf_switch_t; ON refuses overlap between pairs exactly; default OFF */
    uint64_t    rank;         /**< the caller's own number, shown to peers in notifications */
    uint32_t    copy_threads; /**< 0..64, default 0: copies run on the calling threads. Else so many
                                   threads, asleep when idle, copy local batches of more than 1 MiB,
                                   and who waits helps them. As many are started as the opening
                                   thread's affinity mask has cores beside its own; none, with a
                                   warning, if that is one core. kvf_engine_setting() says how many */
    uint32_t    pack;         /**< kvf_pack_t; default AUTO */
    uint64_t    reserved[3];
} kvf_engine_opts_t;

/** Open an engine. Opens the near side only; the far one, a UCX context, at the first need.
 *  Errors: INVALID (an option or a KVFERRY_ variable, named), NOMEM, UNSUPPORTED (net names a
 *  wire that this machine has not; the UCX at run time is older than the one built against),
 *  FORKED (this process was forked while an engine was open), SYSTEM. */
kvf_status_t kvf_engine_open(const kvf_engine_opts_t *opts, kvf_engine_t **engine_p);

/** Close an engine: cancels its batches (they end with CLOSED), revokes its grants, waits for
 *  copies that others run under them, frees every object of the engine. NULL is fine.
 *  At timeout_ns it closes all the same, keeps mapped what a peer still reads, and returns
 *  TIMEOUT, also if WRITEs that it gave up are not settled (see the batch section); while calls of other
 *  threads are under way it cannot, refuses new ones, and is to be
 *  called again. Errors: TIMEOUT, BUSY (another thread is closing it). */
kvf_status_t kvf_engine_close(kvf_engine_t *engine, uint64_t timeout_ns);

/** Flag of kvf_engine_export(): put a far address in (opens the far context). */
#define KVF_BLOB_FAR 1u

/** Write this engine's blob into buf. *len_p: in, bytes of buf; out, bytes written. With buf NULL
 *  or too small *len_p is set to the need; NULL gives OK. Errors: INVALID (flags), SPACE, NOMEM,
 *  UNSUPPORTED (no such wire), SYSTEM. */
kvf_status_t kvf_engine_export(kvf_engine_t *engine, uint32_t flags, void *buf, size_t *len_p);

/** Incarnation: random, different at each open, never 0. 0 for a bad handle. */
uint64_t kvf_engine_incarnation(const kvf_engine_t *engine);

/** Drive the engine: messages, slices of large batches unless copy threads have them, deadlines,
 *  liveness. Never blocks. With progress = caller it has to be called, or a wait be under way, for as long as
 *  peers may need this engine: far peers, and neighbours whose ops on memory of the caller's own go over
 *  stage. Their ops wait meanwhile, until their deadline. */
kvf_status_t kvf_progress(kvf_engine_t *engine);

/** The engine's event fd, level-triggered; owned by the engine, never read it. To sleep: arm, look once
 *  more at what you wait for, poll. Readable when a batch ended, a deadline passed, a peer died or closed
 *  its engine, a notification came, or (progress = caller) a message waits for kvf_progress(). A
 *  neighbour's death wakes at once where the kernel gives a pidfd for it; where it gives none (before Linux
 *  5.3, in another PID namespace, or for lack of descriptors) the fd is readable each second, to look. An
 *  exec() of a neighbour shows when one looks, and wakes nobody. It is for one sleeper: two that arm it
 *  take each other's wakes. More have a queue or a channel each. */
kvf_status_t kvf_engine_fd(kvf_engine_t *engine, int *fd_p);

/** Arm the event fd and reset it. Errors: BUSY (work waits for kvf_progress(): call it, then arm
 *  again). */
kvf_status_t kvf_engine_arm(kvf_engine_t *engine);

/* ----------------------------------------------------------------- segment */

typedef enum kvf_mem_kind {
    KVF_MEM_HOST = 0,
    KVF_MEM_CUDA = 1
} kvf_mem_kind_t;

typedef struct kvf_segment_attr {
    uint32_t struct_size;
    uint32_t kind;         /**< kvf_mem_kind_t */
    void    *addr;         /**< first byte, in this process */
    uint64_t len;          /**< bytes */
    uint32_t shared;       /**< 1: library-allocated, near peers map it */
    uint32_t writable;     /**< 0: a read-only mapping */
    uint32_t adopted;      /**< 1: the caller's own pages, made shared at their address */
    int32_t  numa_node;    /**< that all its pages are on; -1: several, unknown, or none touched yet */
    uint64_t page_bytes;   /**< of the mapping (the smallest, if several); 0: unknown */
    uint64_t huge_bytes;   /**< of the region, in huge pages: set aside or transparent */
    uint64_t region_bytes; /**< what it takes: len, rounded to whole pages, and a pool's generations */
    uint64_t reserved[4];
} kvf_segment_attr_t;

/** Register len bytes of the caller's own memory at addr. It stays the caller's, mapped until
 *  release. Overlapping and repeated registrations are each their own. A read-only mapping can be
 *  registered, and read only. If a granted part of it is unmapped, loses the right granted, or lies behind
 *  the end of its file all the same, ops of other processes on that part end with FAULT, over every path, and
 *  this process lives on and serves what is there. That holds for what was lost before the op came to it; it
 *  is no licence to unmap under a running op: memory is looked at page by page and copied a few microseconds
 *  later, and a page that goes between the two is a SIGSEGV or SIGBUS. Revoke first. This
 *  process's own ops, and views, touch the memory themselves, with no such look. Errors: INVALID (NULL, zero
 *  or overflowing range, part of it not mapped), UNSUPPORTED (device memory, which no path takes),
 *  NOMEM, SYSTEM. */
kvf_status_t kvf_segment_register(kvf_engine_t *engine, void *addr, uint64_t len, kvf_segment_t **segment_p);

/** Turn len bytes of the caller's own private memory at addr into shared memory at the same address,
 *  contents kept, so that near peers reach it over shm, as fast as a pool. addr and len are multiples
 *  of the page size; nobody writes to it during the call; it stays mapped until release. It is then
 *  not copied at a fork: parent and child share it. Memory that hardware has pinned (RDMA, a GPU, an
 *  io_uring) must not be adopted: the hardware would keep the old pages, and not all of it can be seen
 *  from here. Takes as much memory again while it runs. Part of it that the owner unmaps all the same is
 *  still there for near peers, as shared memory, until release. On an error nothing has changed. Errors:
 *  INVALID (NULL, zero, overflowing, not page-aligned, part of it not mapped), UNSUPPORTED (a file or
 *  a device is behind it, shared already, locked, kept from forks, not writable, a stack, in
 *  hugetlbfs: the sentence says which; or no shared memory on this machine), NOMEM, SYSTEM. */
kvf_status_t kvf_segment_adopt(kvf_engine_t *engine, void *addr, uint64_t len, kvf_segment_t **segment_p);

/** Allocate len bytes, zeroed, shared with near peers; private only where the engine found no shared
 *  memory at all and said so at open. The pages go to the NUMA node that the calling thread runs on,
 *  unless the thread has a memory policy of its own; they are huge where the machine has enough set
 *  aside and at most 1 % is wasted, or where its transparent ones are allowed for shared memory; all are
 *  touched here, 8 MiB at a time, so that no later access meets a limit; before each step four times as much
 *  (32 MiB) has to be left of the memory cgroup and the machine. kvf_segment_query() says what was had.
 *  Errors: INVALID (zero), NOMEM (the sentence says which limit, and its size), SYSTEM. */
kvf_status_t kvf_segment_alloc(kvf_engine_t *engine, uint64_t len, kvf_segment_t **segment_p);

/** Release a segment; frees it if the library allocated it. An adopted one becomes private memory
 *  again, contents kept, which takes as much memory again while it is done. If a part of it was unmapped
 *  or mapped anew by its owner, all of it is left as it is, the rest of it shared, and a warning says so.
 *  Errors: BUSY (a live grant, or a running batch uses it; or it is a pool's), NOMEM or SYSTEM (it stays
 *  adopted, nothing has changed). */
kvf_status_t kvf_segment_release(kvf_segment_t *segment);

/** What a segment is, pages included as they are now: walks page tables, milliseconds a GiB.
 *  Errors: INVALID. */
kvf_status_t kvf_segment_query(const kvf_segment_t *segment, kvf_segment_attr_t *attr_p);

/* -------------------------------------------------------------------- pool */

typedef struct kvf_pool_opts {
    uint32_t struct_size;
    uint32_t blocks;      /**< capacity in blocks; 1 .. 2^31 */
    uint64_t block_bytes; /**< bytes of memory per block; how a layout spreads a block over the
                               pool's blocks * block_bytes bytes is the layout's matter */
    uint64_t reserved[4];
} kvf_pool_opts_t;

/** Create a pool: a shared segment of blocks * block_bytes bytes, zeroed, with a generation per
 *  block in shared memory. Blocks are handed out lowest id first. Errors: INVALID, NOMEM, SYSTEM. */
kvf_status_t kvf_pool_create(kvf_engine_t *engine, const kvf_pool_opts_t *opts, kvf_pool_t **pool_p);

/** Destroy a pool and its segment. Errors: BUSY (a live grant or a running batch). */
kvf_status_t kvf_pool_destroy(kvf_pool_t *pool);

/** The pool's segment, to use in ops and grants; the pool's own. NULL for a bad handle. */
kvf_segment_t *kvf_pool_segment(kvf_pool_t *pool);

/** Take count free blocks, all or none. Errors: INVALID (ids_p NULL), BUSY (fewer are free). */
kvf_status_t kvf_pool_alloc(kvf_pool_t *pool, uint32_t count, uint32_t *ids_p);

/** Give count blocks back, all or none: their generations are raised first, so that guarded reads
 *  under way end with STALE. Errors: INVALID (index and id of one that is not taken, or twice), BUSY
 *  (somebody has a view of one: block, rank and pid; generations are raised, none is given back, call
 *  again). */
kvf_status_t kvf_pool_free(kvf_pool_t *pool, uint32_t count, const uint32_t *ids);

/** Raise the generations of count taken blocks, before their contents are overwritten.
 *  Errors: INVALID (index and id), BUSY (somebody has a view of one: block, rank and pid; all are raised,
 *  but must not be overwritten yet: call again). */
kvf_status_t kvf_pool_raise(kvf_pool_t *pool, uint32_t count, const uint32_t *ids);

/** The present generations of count blocks, taken or free. Errors: INVALID (index and id). */
kvf_status_t kvf_pool_generations(const kvf_pool_t *pool, uint32_t count, const uint32_t *ids,
                                  uint32_t *gens_p);

/** Number of free blocks; 0 for a bad handle. */
uint32_t kvf_pool_available(const kvf_pool_t *pool);

/* ------------------------------------------------------------------- grant */

#define KVF_RIGHT_READ  1u
#define KVF_RIGHT_WRITE 2u

typedef struct kvf_range {
    kvf_segment_t *segment;
    uint64_t       off;         /**< bytes from the start of the segment */
    uint64_t       len;         /**< bytes; at least 1 */
    uint32_t       rights;      /**< KVF_RIGHT_ bits; at least one */
    uint32_t       first_block; /**< of a pool: block whose generation guards remote id 0 */
    uint64_t       reserved[2];
} kvf_range_t;

/** Grant rights on count ranges (at most 4096), under one epoch, to peer, or to all if peer is
 *  NULL. Errors: INVALID (range index and field), BOUNDS (range index), PERM (write on a
 *  read-only mapping, range index), NOMEM (too many live grants), SYSTEM (memory of the caller's own, and
 *  no progress thread can be had: the sentence says which limit). */
kvf_status_t kvf_grant_create(kvf_engine_t *engine, const kvf_range_t *ranges, uint32_t count,
                              kvf_peer_t *peer, kvf_grant_t **grant_p);

/** Write the grant's blob into buf; lengths as in kvf_engine_export(). Errors: REVOKED,
 *  SPACE, NOMEM. */
kvf_status_t kvf_grant_export(kvf_grant_t *grant, void *buf, size_t *len_p);

/** Revoke: raises the epoch (every later post, near or far, is refused with REVOKED), then waits
 *  until running copies have ended; drives the engine while it waits. On OK the grant is closed,
 *  and the memory may be reused. Errors: TIMEOUT (revoked, memory not yet reusable; the sentence
 *  says who holds it; call again). */
kvf_status_t kvf_grant_revoke(kvf_grant_t *grant, uint64_t timeout_ns);

/* ---------------------------------------------------------- peer and remote */

typedef struct kvf_peer_attr {
    uint32_t    struct_size;
    uint32_t    locality; /**< kvf_locality_t */
    uint64_t    incarnation;
    uint64_t    rank;          /**< the number that the peer's engine was opened with */
    int32_t     alive;         /**< 0: known dead, or, of a far peer, the connection broke; a
                               neighbour's process is looked at in the call */
    int32_t     pid;           /**< in the peer's own PID namespace */
    char        host[64];      /**< what the peer calls itself; for people, not evidence */
    char        wire[64];      /**< "tcp/eth0" of a connected far peer, else "" */
    uint64_t    bytes_read;    /**< moved from the peer to us, since import */
    uint64_t    bytes_written; /**< moved from us to the peer, since import */
    const char *why_far;       /**< of a far peer, why it is not near; else "". Lives as long as the peer */
    int32_t     closed;        /**< 1: its engine closed, and said so; alive is 0 then, and nobody died */
    uint32_t    reserved32;
    uint64_t    reserved[2];
} kvf_peer_attr_t;

/** Import an engine's blob. Importing the same engine again returns the same peer, counted. One's
 *  own blob is allowed. Proves locality. Errors: BLOB, VERSION (names both; of a far peer the
 *  releases of UCX too, which must have the same major.minor), NEED_FAR (export with
 *  KVF_BLOB_FAR), NOMEM (or all 256 seats of a near peer are taken), PEER (it is dead, or cannot be
 *  reached), UNSUPPORTED (no such wire), SYSTEM. A blob that was damaged or cut is refused; one that was
 *  forged and sealed anew may hold a far address that ends the process inside UCX. */
kvf_status_t kvf_peer_import(kvf_engine_t *engine, const void *blob, size_t len, kvf_peer_t **peer_p);

/** The next of the engine's peers, in no order. *cursor_p is 0 for the first one, and is moved on. A peer
 *  that is imported or forgotten meanwhile may be missed. INPROGRESS: there are no more. Errors: INVALID. */
kvf_status_t kvf_engine_peer(kvf_engine_t *engine, uint64_t *cursor_p, kvf_peer_t **peer_p);

/** Undo one import; the last one forgets the peer. A far connection stays, for the other side may
 *  use it, until one of the engines closes. Errors: BUSY (it has remotes, or a notification to it
 *  is under way). */
kvf_status_t kvf_peer_forget(kvf_peer_t *peer);

/** What a peer is. Errors: INVALID. */
kvf_status_t kvf_peer_query(kvf_peer_t *peer, kvf_peer_attr_t *attr_p);

typedef struct kvf_remote_attr {
    uint32_t    struct_size;
    uint32_t    rights; /**< KVF_RIGHT_ bits */
    uint64_t    len;    /**< bytes */
    kvf_peer_t *peer;
    uint32_t    guarded; /**< 1: a pool's, so remote_gens may be given */
    uint32_t    shared;  /**< 1: library-allocated by its owner */
    uint64_t    reserved[4];
} kvf_remote_attr_t;

/** Import a grant's blob: one remote for each range, in order. *count_p: in, length of the array;
 *  out, number of ranges. Importing the same blob again returns the same remotes, counted.
 *  Errors: BLOB, VERSION, STALE (the blob is of another incarnation than peer), PERM (granted to
 *  another engine), REVOKED, SPACE (*count_p is set), PEER, NOMEM. */
kvf_status_t kvf_remote_import(kvf_peer_t *peer, const void *blob, size_t len, kvf_remote_t **remotes_p,
                               uint32_t *count_p);

/** Undo one import of one remote. Errors: BUSY (a running batch or an open view uses it). */
kvf_status_t kvf_remote_forget(kvf_remote_t *remote);

/** What a remote is. Errors: INVALID. */
kvf_status_t kvf_remote_query(const kvf_remote_t *remote, kvf_remote_attr_t *attr_p);

/** The path that an op between segment and remote would take under mask (0: all); where a filter
 *  forbids cross-memory reads or writes only, that of a read. Where it says cma an op may still go
 *  over stage, if mask allows that: kvf_path_of_op() says which.
 *  Errors: INVALID (handles of different engines), NO_PATH (the sentence says why each is out). */
kvf_status_t kvf_path_of(const kvf_segment_t *segment, const kvf_remote_t *remote, uint32_t mask,
                         kvf_path_t *path_p);

/** What a batch over a path is predicted to take, in nanoseconds from post to its end: ops boxes of
 *  pieces pieces (after merging) of bytes bytes together, moved by one thread, out of and into memory
 *  that the caches do not hold, the peer's half done by a processor of its own that is awake: one that
 *  sleeps begins some 25 to 45 us later. For pieces of very
 *  different sizes ask once a size. The figures behind it are built in, measured on the machine of
 *  docs/performance.md (am: one TCP connection over loopback), until kvf_engine_calibrate() has
 *  measured this one (not am: a line of its file, set by hand). Errors: INVALID (path; pieces is more
 *  than bytes, or 0 with bytes; ns_p), UNSUPPORTED (nothing is known of the path here). */
kvf_status_t kvf_path_cost(kvf_engine_t *engine, kvf_path_t path, uint64_t ops, uint64_t pieces,
                           uint64_t bytes, uint64_t *ns_p);

/* -------------------------------------------------------------------- view */

/** Blocks that views of one engine may pin at one peer at a time; a view of memory that is no pool's counts
 *  as one. */
#define KVF_VIEW_BLOCKS 64

/** Look at len bytes at off of a near remote's range where they are; nothing is copied. *addr_p is
 *  the first byte, which can be read until the view is closed, and nothing can be stored through it
 *  (but where a kernel does not map huge pages twice). Of a pool's remote: count, ids and gens name
 *  the blocks that the bytes belong to, as remote ids, and the generation expected of each; while the
 *  view is open the owner's kvf_pool_free() and kvf_pool_raise() of them answer BUSY. Of other memory
 *  count is 0. Either way the owner's revoke waits for the view. How a block's bytes lie in the range
 *  is its layout's matter: a view of more bytes than its blocks have shows what others do to the rest.
 *  Errors: INVALID (NULL, len 0, count 0 for a pool or more than KVF_VIEW_BLOCKS, not 0 for other
 *  memory), BOUNDS (off and len, or index and id), PERM (no right to read), NO_PATH (not mapped here:
 *  the peer is far, or it is its own memory), STALE (index, both generations), REVOKED, PEER (known
 *  dead), BUSY (open views pin too many blocks at this peer), NOMEM. */
kvf_status_t kvf_view_open(kvf_remote_t *remote, uint64_t off, uint64_t len, uint32_t count,
                           const uint32_t *ids, const uint32_t *gens, const void **addr_p,
                           kvf_view_t **view_p);

/** Close a view: its bytes must not be read any more. Errors: none. */
kvf_status_t kvf_view_close(kvf_view_t *view);

/* ------------------------------------------------------------------- batch */

/** What an ended WRITE means for its target. OK: all of it is there. Any other status: each byte of the op
 *  holds what it held before or what was to be written, and block_status says OK of pairs that are there.
 *  That is so for CANCELED, TIMEOUT and CLOSED (given up), PEER (the owner died, or the connection broke),
 *  REVOKED (what came before the revoke is there), FAULT (the rest of the owner's memory is there and may
 *  be written) and all others; a WRITE never ends STALE.
 *
 *  Nothing is written later, with one exception that is always told. Over stage and am the owner puts the
 *  bytes into its memory. A batch that is given up waits for its owner to say that it will write no more, at
 *  most 100 ms past its deadline or its cancel. If the owner cannot say so, because it is stopped or the
 *  connection broke, the op ends *unsettled* (kvf_batch_op_settled(), kvf_batch_result_t): bytes of it may
 *  still be written, until the owner has dropped the op, which is the first thing that it does with it when
 *  it runs again or is connected with again, or until it has closed or, as a neighbour, died. Until then a
 *  batch of the same engine of which any op, READ or WRITE, overlaps that op is held back as a whole, on
 *  every path, also where post would have copied it. Ops overlap if blocks of them do (an unsettled op of
 *  thousands of blocks apart counts as all that lies between the first and the last) in the memory of one
 *  process, by its own addresses: through whichever grant, segment, engine or path, adopted memory too. One
 *  memory that the owner has mapped at two addresses, or shares with another process, only you know to be
 *  one. A held batch starts once the op is settled, or ends by its own
 *  deadline or cancel, or with PEER if the connection broke, with nothing moved. A connection that broke
 *  proves nothing of the owner: forget the peer and import it again, and it is asked. Other engines of the
 *  writer, and the owner itself, are not held back. kvf_engine_close() waits for its owners until its timeout, and returns
 *  TIMEOUT if one of them has not answered, or cannot. */

#define KVF_READ  0u /**< remote to local */
#define KVF_WRITE 1u /**< local to remote */

/** A box, moved once for each pair of ids. Piece (x, y) of pair i lies, on each side, at
 *  off + id[i] * block + y * stride[1] + x * stride[0]. */
typedef struct kvf_op {
    kvf_segment_t  *segment;         /**< local memory */
    kvf_remote_t   *remote;          /**< what a peer granted */
    uint64_t        local_off;       /**< first piece, from the start of the segment */
    uint64_t        remote_off;      /**< first piece, from the start of the granted range */
    uint64_t        len;             /**< bytes of one piece, at least 1 */
    uint32_t        count[2];        /**< pieces in a row, rows; at least 1 */
    int64_t         local_stride[2]; /**< bytes from piece to piece, from row to row */
    int64_t         remote_stride[2];
    uint32_t        blocks;    /**< pairs; 0 moves nothing */
    uint32_t        dir;       /**< KVF_READ or KVF_WRITE */
    const uint32_t *local_ids; /**< blocks entries; NULL: 0, 1, 2, ... */
    const uint32_t *remote_ids;
    uint32_t        local_cap;   /**< ids stay below; 0: what fits in the segment */
    uint32_t        remote_cap;  /**< ids stay below; 0: what fits in the grant */
    uint64_t        local_block; /**< bytes from block to block */
    uint64_t        remote_block;
    const uint32_t *remote_gens;  /**< NULL: unguarded; else the generation expected of each
                                           pair; READ from a pool only */
    int8_t         *block_status; /**< NULL, or blocks entries, written before the op's status */
    uint64_t        reserved[2];  /**< 0 */
} kvf_op_t;

typedef struct kvf_batch_opts {
    uint32_t     struct_size;
    uint32_t     flags;       /**< KVF_BATCH_ bits */
    uint64_t     tag;         /**< the caller's own, in sentences and in kvf_ended_t */
    uint64_t     deadline_ns; /**< from post; 0: the engine's default; KVF_FOREVER */
    uint32_t     paths;       /**< mask of allowed paths; 0: all */
    uint32_t     notify_len;  /**< bytes of notify, at most KVF_NOTIFY_MAX */
    kvf_peer_t  *notify_peer; /**< NULL: no notification */
    const void  *notify;      /**< copied by post */
    const void  *after_event; /**< NULL; the place of a device event */
    kvf_queue_t *queue;       /**< NULL, or what is to hear of the batch's end */
    uint32_t     channel;     /**< of the notification, at its receiver; 0: kvf_notify_recv() */
    uint32_t     reserved32;
    uint64_t     reserved[2];
} kvf_batch_opts_t;

/** Copy all of a local batch inside post, whatever its size. What is on stage is not copied inside
 *  post; KVF_PACK_AUTO puts nothing there for such a batch. */
#define KVF_BATCH_INLINE 1u
/** Send the notification also if ops to its peer did not end well; it then carries the status of one
 *  of them. Whatever the status, once the receiver has it nothing of the ops to it is written any more, even
 *  if they ended unsettled here. That of a batch that is given up (deadline, cancel, close) is sent at once
 *  if the receiver's queue has room, before those of earlier posts, and is lost if it has none. */
#define KVF_BATCH_NOTIFY_ALWAYS 2u

typedef struct { /* no tag: it would be the function's name, which hides it in C++ */
    uint32_t struct_size;
    int32_t  status;       /**< KVF_OK, or that of the first op (by index) that did not end well */
    uint64_t bytes;        /**< moved by pairs that ended OK or STALE */
    uint64_t stale_blocks; /**< pairs that ended STALE */
    uint64_t bad_op;       /**< index of that first op; UINT64_MAX: none */
    int32_t  notify;       /**< KVF_OK: the notification is in the receiver's queue;
                                    KVF_SKIPPED: not sent, or none asked for; or an error. One that
                                    had left for a far peer when its batch was given up may arrive */
    uint32_t unsettled;    /**< ops of which bytes could still land when the batch ended; see
                                    kvf_batch_op_settled() */
    uint64_t pieces;       /**< pieces after merging */
    uint64_t reserved[4];
} kvf_batch_result_t;

/** Create a batch object, empty and ended. Errors: NOMEM. */
kvf_status_t kvf_batch_create(kvf_engine_t *engine, kvf_batch_t **batch_p);

/** Check all ops, then start them: whole or not at all. op_size is sizeof(kvf_op_t) as the caller knows it,
 *  the stride of the array. Ops are copied; ids, generations and block_status stay the caller's and must
 *  stay valid until the batch has ended. An ended batch may be posted again. Local batches of at most 1 MiB
 *  have ended when post returns OK, but for ops on stage; what a peer or revoke made of the ops is in the
 *  statuses, not in post's. count = 0 is done at once but for its notification. Errors, nothing moved, each
 *  naming op, index and field: INVALID, BOUNDS, PERM, REVOKED, PEER (known dead: a neighbour is looked at
 *  once a second, and may be taken for alive that long), NO_PATH, UNSUPPORTED (a field this library does
 *  not know is not 0; more than 2^28 pairs in an op to a far peer), BUSY (the batch is running, or has
 *  ended and was not taken from its queue yet), NOMEM, SYSTEM (the first op over stage: no progress thread
 *  or no box for messages can be had; the sentence says which limit). */
kvf_status_t kvf_batch_post(kvf_batch_t *batch, const kvf_op_t *ops, size_t count, size_t op_size,
                            const kvf_batch_opts_t *opts);

/** The path that op would take in a batch of its own, with no flags and paths = mask (0: all): cma
 *  (direct) or stage (packed) for a neighbour's own memory, as KVF_PACK_AUTO weighs it, and what
 *  kvf_path_of() says for other memory. In a batch with more ops for the same neighbour it may go
 *  packed where it went direct alone. Errors: those of kvf_batch_post() for that op, INVALID (op or
 *  path_p is NULL). */
kvf_status_t kvf_path_of_op(const kvf_op_t *op, size_t op_size, uint32_t mask, kvf_path_t *path_p);

/** Drive the batch a little, which copies nothing where copy threads run: INPROGRESS, or its final
 *  status as in kvf_batch_result_t. */
kvf_status_t kvf_batch_test(kvf_batch_t *batch);

/** Drive the batch until it ends or timeout_ns passed: its final status, or INPROGRESS. After a failure
 *  kvf_last_error() names, as for test and cancel, the first bad op, its peer's rank, host and process, the
 *  path, the reason, the bytes of how many, and the first block without its bytes. */
kvf_status_t kvf_batch_wait(kvf_batch_t *batch, uint64_t timeout_ns);

/** Cancel, and return when the batch is quiescent: nobody reads or writes the caller's memory for
 *  it any more, and targets of its WRITEs are settled, or said not to be. That takes at most some 100 ms.
 *  Ops that had not ended end with CANCELED. Returns the batch's final status. */
kvf_status_t kvf_batch_cancel(kvf_batch_t *batch);

/** Status of op index of an ended batch, INPROGRESS of a running one. Errors: INVALID (index). */
kvf_status_t kvf_batch_op_status(kvf_batch_t *batch, size_t index);

/** Is the target of op index of an ended batch settled? OK: nothing is written on its behalf any more.
 *  INPROGRESS of a running batch, and of an op of which bytes may still land; asked again, it is OK once
 *  the owner has answered or closed, or, as a neighbour, is known to be dead. Works until the batch is posted
 *  again or freed; does not drive the engine. Errors: INVALID (index). */
kvf_status_t kvf_batch_op_settled(kvf_batch_t *batch, size_t index);

/** Result of an ended batch. Errors: INVALID, BUSY (still running). */
kvf_status_t kvf_batch_result(kvf_batch_t *batch, kvf_batch_result_t *result_p);

/** Free a batch object; if its end waits in a queue, it is taken out there. Errors: BUSY (running). */
kvf_status_t kvf_batch_free(kvf_batch_t *batch);

/** For libraries built on kvferry: attach one object of yours to a batch, such as the memory that holds its
 *  ids. If nothing is attached yet, fresh is (NULL attaches nothing). *kept_p is set to what is attached
 *  after the call, or to NULL. The batch owns it: drop(kept) is called once, when the batch is freed or its
 *  engine closes, on any thread, and must not call functions of kvferry. Errors: INVALID (drop or kept_p is
 *  NULL), BUSY (something was attached with another drop). */
kvf_status_t kvf_batch_keep(kvf_batch_t *batch, void *fresh, void (*drop)(void *kept), void **kept_p);

/* ------------------------------------------------------------------- queue */

/** A queue of batches that have ended. Each thread or task that sleeps has its own, and hears of the batches
 *  that it named at post, whoever drives the engine, arms or sleeps beside it. */
typedef struct kvf_ended {
    uint32_t     struct_size;
    int32_t      status; /**< of the batch, as in kvf_batch_result_t; kvf_batch_test() has the sentence */
    uint64_t     tag;    /**< that it was posted with */
    kvf_batch_t *batch;
} kvf_ended_t;

/** Create a queue. It takes three descriptors. Errors: INVALID, NOMEM, SYSTEM (no descriptors). */
kvf_status_t kvf_queue_create(kvf_engine_t *engine, kvf_queue_t **queue_p);

/** Take the next batch that has ended, in the order of their ends; each post that returned OK with this
 *  queue gives one entry. Drives the engine, as kvf_batch_wait() does, until there is one or timeout_ns
 *  passed: OK, or INPROGRESS. Several threads may ask one queue. Errors: INVALID, CLOSED. */
kvf_status_t kvf_queue_next(kvf_queue_t *queue, uint64_t timeout_ns, kvf_ended_t *ended_p);

/** The queue's fd, level-triggered, its own, never to be read. To sleep: call kvf_queue_next() with 0 until
 *  it says INPROGRESS, arm, poll. Readable when a batch of the queue ended, and whenever the engine has to
 *  be driven for one, which kvf_queue_next() does. Several threads may poll it. */
kvf_status_t kvf_queue_fd(kvf_queue_t *queue, int *fd_p);

/** Arm the queue's fd and reset it. Takes nothing from kvf_engine_fd() or another queue's. Errors: BUSY (a
 *  batch has ended, or work waits: call kvf_queue_next(), then arm again). */
kvf_status_t kvf_queue_arm(kvf_queue_t *queue);

/** Free a queue; what was not taken from it is dropped. NULL is fine. Errors: BUSY (batches run that name
 *  it). */
kvf_status_t kvf_queue_free(kvf_queue_t *queue);

/* ------------------------------------------------------------ notification */

typedef struct kvf_notification {
    uint32_t    struct_size;
    uint32_t    len;         /**< bytes of data */
    kvf_peer_t *peer;        /**< the sender if it was imported here, else NULL */
    uint64_t    incarnation; /**< of the sender */
    uint64_t    rank;        /**< the number that the sender's engine was opened with */
    int32_t     status;      /**< KVF_OK: the ops before it ended well; else see
                                  KVF_BATCH_NOTIFY_ALWAYS */
    uint32_t    channel;     /**< that the sender named */
    uint8_t     data[KVF_NOTIFY_MAX];
} kvf_notification_t;

/** Take the next notification that is for no open channel; drives the engine first. Those of one sender to
 *  one channel come in the order of its posts, each once. INPROGRESS: none waits. */
kvf_status_t kvf_notify_recv(kvf_engine_t *engine, kvf_notification_t *notification_p);

/** Open a channel, so that rooms of one program (streams, a cache, the caller) take their notifications
 *  apart: those whose sender named this number go to it, and not to kvf_notify_recv(), from now on; also
 *  those that came before and were not taken. Numbers are the program's to choose, but for
 *  KVF_STREAM_CHANNEL.
 *
 *  Whoever takes from one channel puts aside what it comes by for others: up to notify_depth notifications a
 *  channel. If nobody takes from a channel that has so many, those that follow wait in the queues of their
 *  senders, and with them what these senders sent later, to whatever channel, until somebody takes from it.
 *  It takes three descriptors. Errors: INVALID (number is 0; channel_p), BUSY (it is open), NOMEM, SYSTEM (no
 *  descriptors). */
kvf_status_t kvf_channel_open(kvf_engine_t *engine, uint32_t number, kvf_channel_t **channel_p);

/** Close a channel; what waits in it is dropped, and what comes later is kvf_notify_recv()'s. NULL is fine.
 *  Errors: none. */
kvf_status_t kvf_channel_close(kvf_channel_t *channel);

/** Take the next notification of a channel, as kvf_notify_recv() does. */
kvf_status_t kvf_channel_recv(kvf_channel_t *channel, kvf_notification_t *notification_p);

/** The channel's fd, level-triggered, its own, never to be read. To sleep: call kvf_channel_recv() until it
 *  says INPROGRESS, arm, poll. Readable when a notification of the channel may have come, and whenever the
 *  engine has to be driven for one, which kvf_channel_recv() does. */
kvf_status_t kvf_channel_fd(kvf_channel_t *channel, int *fd_p);

/** Arm the channel's fd and reset it. Takes nothing from other fds. Errors: BUSY (a notification waits for
 *  kvf_channel_recv(), or work for kvf_progress(): do that, then arm again). */
kvf_status_t kvf_channel_arm(kvf_channel_t *channel);

/* ---------------------------------------------------------------- exchange */

/** A collective of the caller's: each of size members gives len bytes of send, and gets all,
 *  in order of rank, in recv. Returns 0, or anything else on failure. Called on the caller's
 *  thread only. */
typedef struct kvf_oob {
    uint32_t struct_size;
    uint32_t rank;
    uint32_t size;
    uint32_t reserved32;
    int (*allgather)(void *arg, const void *send, void *recv, size_t len);
    void *arg;
} kvf_oob_t;

/** Collective: exchange engine blobs, with a second round only where a peer is far. peers_p gets
 *  oob->size peers, one's own too. All members return the same status; the sentence names the
 *  first rank that failed. Errors: those of kvf_engine_export() and kvf_peer_import(), SYSTEM (the
 *  collective failed). */
kvf_status_t kvf_exchange_peers(kvf_engine_t *engine, const kvf_oob_t *oob, kvf_peer_t **peers_p);

/** Collective: exchange a grant (or NULL) of each member. remotes_p gets oob->size rows of
 *  max_ranges remotes, counts_p the number in each row. All return the same status. Errors: those
 *  of kvf_grant_export() and kvf_remote_import(), SYSTEM. */
kvf_status_t kvf_exchange_grants(kvf_engine_t *engine, const kvf_oob_t *oob, kvf_peer_t *const *peers,
                                 kvf_grant_t *grant, uint32_t max_ranges, kvf_remote_t **remotes_p,
                                 uint32_t *counts_p);

/** Collective: KVF_OK if no member brought an error, else the error of the first rank that did, the
 *  same on each; the sentence names it, and is that of its last error if that was of this status, else the
 *  status's name. Errors: SYSTEM, or what a member brought. */
kvf_status_t kvf_exchange_agree(const kvf_oob_t *oob, kvf_status_t status);

/* ----------------------------------------------------------------- monitor */

typedef struct kvf_counters {
    uint32_t struct_size;
    uint32_t reserved32;
    uint64_t bytes;       /**< moved by the batches of this engine, over all paths, */
    uint64_t self_bytes;  /**< of these with this process, */
    uint64_t node_bytes;  /**< with neighbours, */
    uint64_t cross_bytes; /**< and with far peers */
    uint64_t ops;         /**< ended */
    uint64_t pieces;      /**< after merging */
    uint64_t calls;       /**< system calls of cma, messages of am */
    uint64_t batches;     /**< ended */
    uint64_t stale_blocks;
    uint64_t served_bytes; /**< moved for others by this engine's own hand (am) */
    uint64_t notify_sent;
    uint64_t notify_received;
    uint64_t views;            /**< opened */
    uint64_t viewed_bytes;     /**< of them; nothing was moved */
    uint64_t dropped_messages; /**< malformed, unknown or late */
} kvf_counters_t;

/** Totals since open, counted where bytes move. */
kvf_status_t kvf_engine_counters(kvf_engine_t *engine, kvf_counters_t *counters_p);

/** What batches of this engine moved between it and one peer, over one path in one direction. */
typedef struct kvf_flow {
    uint32_t    struct_size;
    uint32_t    path;     /**< kvf_path_t */
    uint32_t    dir;      /**< KVF_READ: from the peer; KVF_WRITE: to it */
    uint32_t    locality; /**< kvf_locality_t, where the peer is */
    kvf_peer_t *peer;     /**< NULL: all peers of that locality that have been forgotten */
    uint64_t    bytes;    /**< moved */
    uint64_t    ops;      /**< ended */
    uint64_t    pieces;   /**< after merging */
    uint64_t    calls;    /**< system calls of cma; messages of am; 0 elsewhere */
} kvf_flow_t;

/** The next flow since open; those over which nothing went are left out. *cursor_p is 0 for the first one,
 *  and is moved on; it may be kept, and means the same while peers come and go, of which some rows may be
 *  missed. kvf_engine_counters() has the sums. INPROGRESS: there are no more. Errors: INVALID. */
kvf_status_t kvf_engine_flow(kvf_engine_t *engine, uint64_t *cursor_p, kvf_flow_t *flow_p);

/** Whether a path can work for this engine on this machine: OK, or UNSUPPORTED with the reason in
 *  kvf_last_error(). Errors: INVALID (no such path), UNSUPPORTED. */
kvf_status_t kvf_engine_path_check(kvf_engine_t *engine, kvf_path_t path);

/** What UCX sees, as text for people: components, transports, devices. Lengths as in
 *  kvf_engine_export(), with a final NUL. Errors: SPACE, SYSTEM. */
kvf_status_t kvf_engine_ucx_text(kvf_engine_t *engine, char *buf, size_t *len_p);

/** Setting index of the library: its environment name, the value in force for engine, and what it
 *  means. Strings live as long as engine. Errors: INVALID (past the last one). */
kvf_status_t kvf_engine_setting(kvf_engine_t *engine, uint32_t index, const char **name_p,
                                const char **value_p, const char **text_p);

/** Measure how this machine copies, and keep what comes out: which kernel, from where on pieces are streamed
 *  one after the other, how slow memory outside the caches is, and what self, shm, cma and stage cost by size
 *  of piece, which tells when to pack. Takes two to eight seconds of the calling thread, on a machine that
 *  should be idle, and up to 512 MiB. Written whole or not at all, with mode 0644, to file, which belongs to
 *  this model of processor with these caches. Symbolic links are followed; what is there must be a regular
 *  file that is empty or a calibration. If file is NULL, that is the file that KVFERRY_CALIBRATION
 *  names, or else kvferry/calibration-NUMBER in $XDG_CACHE_HOME or ~/.cache, also for root. Only on the way
 *  to that last one are missing folders made, with mode 0700. A file at those places is read by every
 *  kvf_engine_open(), and by this call for its process; one that is damaged, or of another machine, is
 *  ignored with a warning. What kvf_engine_setting() says of an engine that is open does not change. Any
 *  thread. Errors: INVALID (no place for the file), NOMEM, SYSTEM (it cannot be written, or is a file of
 *  another kind; nothing was changed). */
kvf_status_t kvf_engine_calibrate(kvf_engine_t *engine, const char *file);

#ifdef __cplusplus
}
#endif

#endif

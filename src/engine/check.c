/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The whole check of an op before anything of its batch moves. Each refusal names the op's index
 * and the field. What passes comes out as an xfer, its box folded.
 */
#include <stdlib.h>

#include "base/status.h"
#include "copy/extent.h"
#include "engine/check.h"
#include "engine/object.h"
#include "engine/peer.h"
#include "engine/remote.h"
#include "engine/segment.h"

#define ALIVE_AGE_NS UINT64_C(1000000000)

typedef unsigned long long ull_t;

static kvf_status_t check_handles(kvf_engine_t *engine, const kvf_op_t *op, size_t i)
{
    if (!kvfi_is(op->segment, KVFI_SEGMENT))
        return kvfi_fail(KVF_ERR_INVALID, "op %zu: segment is NULL or closed", i);
    if (!kvfi_is(op->remote, KVFI_REMOTE))
        return kvfi_fail(KVF_ERR_INVALID, "op %zu: remote is NULL or closed", i);
    if (op->segment->object.engine != engine)
        return kvfi_fail(KVF_ERR_INVALID, "op %zu: segment belongs to another engine", i);
    if (op->remote->object.engine != engine)
        return kvfi_fail(KVF_ERR_INVALID, "op %zu: remote belongs to another engine", i);
    return KVF_OK;
}

static kvf_status_t hold_handles(const kvf_op_t *op, size_t i)
{
    atomic_fetch_add(&op->segment->inflight, 1);
    atomic_fetch_add(&op->remote->inflight, 1);
    if (kvfi_is(op->segment, KVFI_SEGMENT) && kvfi_is(op->remote, KVFI_REMOTE))
        return KVF_OK;
    kvfi_let_go(op->segment, op->remote);
    return kvfi_fail(KVF_ERR_INVALID, "op %zu: segment or remote is closed", i);
}

static kvf_status_t check_fields(const kvf_op_t *op, size_t i)
{
    if (op->dir > KVF_WRITE)
        return kvfi_fail(KVF_ERR_INVALID, "op %zu: dir is %u, no such direction", i, op->dir);
    if (!op->len)
        return kvfi_fail(KVF_ERR_INVALID, "op %zu: len is 0", i);
    for (int axis = 0; axis < 2; axis++)
        if (!op->count[axis])
            return kvfi_fail(KVF_ERR_INVALID, "op %zu: count[%d] is 0", i, axis);
    for (int n = 0; n < 2; n++)
        if (op->reserved[n])
            return kvfi_fail(KVF_ERR_INVALID, "op %zu: reserved[%d] is not 0", i, n);
    if (op->remote_gens && op->dir == KVF_WRITE)
        return kvfi_fail(KVF_ERR_INVALID, "op %zu: remote_gens guards a READ, dir is KVF_WRITE", i);
    if (op->remote_gens && !op->remote->target.guarded)
        return kvfi_fail(KVF_ERR_INVALID, "op %zu: remote_gens is set, but remote is not a pool's", i);
    return KVF_OK;
}

/* Rights, epoch and life as far as they are known here. */
static kvf_status_t check_remote(const kvf_op_t *op, size_t i)
{
    kvf_remote_t *remote = op->remote;
    const kvfi_target_t *target = &remote->target;
    uint32_t right = op->dir == KVF_READ ? KVF_RIGHT_READ : KVF_RIGHT_WRITE;

    if (!(remote->rights & right))
        return kvfi_fail(KVF_ERR_PERM, "op %zu: remote is granted without the right to %s", i,
                         right == KVF_RIGHT_READ ? "read" : "write");
    if (op->dir == KVF_READ && !op->segment->writable)
        return kvfi_fail(KVF_ERR_PERM, "op %zu: segment is a read-only mapping, dir is KVF_READ", i);
    if (!kvfi_peer_alive(remote->peer, ALIVE_AGE_NS))
        return kvfi_fail(KVF_ERR_PEER, "op %zu: the peer of remote, %s, %s", i, remote->peer->name,
                         kvfi_peer_end(remote->peer));
    if (target->hold && !kvfi_hold_granted(target->hold, target->grant, target->epoch))
        return kvfi_fail(KVF_ERR_REVOKED, "op %zu: the grant behind remote was revoked", i);
    return KVF_OK;
}

static kvf_status_t extent_failed(kvfi_extent_t extent, const kvfi_side_t *side, const kvfi_found_t *found,
                                  size_t i, const char *name)
{
    uint32_t index = found->index;

    switch (extent) {
    case KVFI_EXTENT_ID:
        return kvfi_fail(KVF_ERR_BOUNDS, "op %zu: %s_ids[%u] is %u, the capacity is %llu", i, name, index,
                         side->ids ? side->ids[index] : index, (ull_t)found->cap);
    case KVFI_EXTENT_BEFORE:
        return kvfi_fail(KVF_ERR_BOUNDS,
                         "op %zu: %s_off %llu with its %s_stride begins before the %s, "
                         "at pair %u",
                         i, name, (ull_t)side->off, name, name[0] == 'l' ? "segment" : "granted range",
                         index);
    default:
        return kvfi_fail(KVF_ERR_BOUNDS,
                         "op %zu: %s_off %llu with len, count and %s_stride ends past "
                         "the %llu bytes of the %s, at pair %u",
                         i, name, (ull_t)side->off, name, (ull_t)side->limit,
                         name[0] == 'l' ? "segment" : "granted range", index);
    }
}

static kvf_status_t check_extents(const kvf_op_t *op, size_t i, uint64_t *bytes_p)
{
    kvfi_side_t local = {.off = op->local_off,
                         .len = op->len,
                         .block = op->local_block,
                         .limit = op->segment->len,
                         .count = {op->count[0], op->count[1]},
                         .stride = {op->local_stride[0], op->local_stride[1]},
                         .blocks = op->blocks,
                         .cap = op->local_cap,
                         .ids = op->local_ids,
                         .other = op->remote_ids};
    kvfi_side_t remote = {.off = op->remote_off,
                          .len = op->len,
                          .block = op->remote_block,
                          .limit = op->remote->target.len,
                          .count = {op->count[0], op->count[1]},
                          .stride = {op->remote_stride[0], op->remote_stride[1]},
                          .blocks = op->blocks,
                          .cap = op->remote_cap,
                          .ids = op->remote_ids,
                          .other = op->local_ids};
    kvfi_side_t *to = op->dir == KVF_READ ? &local : &remote;
    kvfi_extent_t extent = KVFI_EXTENT_OK;
    kvfi_found_t found = {.pairs = op->blocks};
    int inside = kvfi_side_is_inside(&local) && kvfi_side_is_inside(&remote);

    if (!inside)
        extent = kvfi_side_check(&local, &found);
    *bytes_p = kvfi_side_bytes(&local, found.pairs);
    if (*bytes_p == UINT64_MAX)
        return kvfi_fail(KVF_ERR_INVALID, "op %zu: len times count times blocks overflows", i);
    if (extent != KVFI_EXTENT_OK)
        return extent_failed(extent, &local, &found, i, "local");
    if (!inside)
        extent = kvfi_side_check(&remote, &found);
    if (extent != KVFI_EXTENT_OK)
        return extent_failed(extent, &remote, &found, i, "remote");
    if (*bytes_p && (op->count[0] > 1 || op->count[1] > 1) &&
        kvfi_side_overlaps(op->len, to->count, to->stride))
        return kvfi_fail(KVF_ERR_INVALID,
                         "op %zu: %s_stride lays destination pieces of len %llu over "
                         "each other",
                         i, to == &local ? "local" : "remote", (ull_t)op->len);
    return KVF_OK;
}

static kvf_status_t no_path(const kvf_op_t *op, uint32_t mask, size_t i)
{
    const char *far = op->remote->peer->why_far;
    char why[1024];

    kvfi_path_why(&op->segment->memory, &op->remote->target, op->dir, mask, why, sizeof why);
    return kvfi_fail(KVF_ERR_NO_PATH, "op %zu: no path: %s%s%s", i, why, *far ? "; the peer is far: " : "",
                     far);
}

__attribute__((hot)) static kvf_status_t choose_path(kvfi_check_t *check, const kvf_op_t *op, size_t i)
{
    check->path = kvfi_path_choose(&op->segment->memory, &op->remote->target, op->dir, check->mask);
    if (!check->path)
        return no_path(op, check->mask, i);
    check->prepares |= check->path->prepare != NULL;
    return KVF_OK;
}

/* What path and op have to do with each other. */
static kvf_status_t check_path(const kvfi_check_t *check, const kvf_op_t *op, size_t i)
{
    const kvfi_path_t *path = check->path;

    if (path->pairs_most && op->blocks > path->pairs_most)
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "op %zu: blocks is %u, a request over %s holds %u pairs", i,
                         op->blocks, path->name, path->pairs_most);
    if (op->remote_gens && !op->remote->target.gens && !(path->traits & KVFI_PATH_SERVED))
        return kvfi_fail(KVF_ERR_NO_PATH, "op %zu: remote_gens needs the pool mapped here", i);
    return KVF_OK;
}

static void make_xfer(const kvf_op_t *op, const kvfi_path_t *path, uint64_t bytes, kvfi_xfer_t *xfer)
{
    kvfi_bad_pair_t *bad = xfer->bad;
    uint32_t bad_cap = xfer->bad_cap;

    *xfer = (kvfi_xfer_t){.box = {.len = op->len,
                                  .count = {op->count[0], op->count[1]},
                                  .blocks = op->blocks,
                                  .local_stride = {op->local_stride[0], op->local_stride[1]},
                                  .remote_stride = {op->remote_stride[0], op->remote_stride[1]},
                                  .local_off = op->local_off,
                                  .remote_off = op->remote_off,
                                  .local_block = op->local_block,
                                  .remote_block = op->remote_block,
                                  .local_ids = op->local_ids,
                                  .remote_ids = op->remote_ids},
                          .path = path,
                          .dir = op->dir,
                          .local = op->segment->addr,
                          .target = &op->remote->target,
                          .peer = op->remote->target.am,
                          .gens = op->remote_gens,
                          .bad = bad,
                          .bad_cap = bad_cap,
                          .status = KVF_INPROGRESS,
                          .stream = bytes};
    if (bytes && (op->count[0] > 1 || op->count[1] > 1)) {
        kvfi_box_fold(&xfer->box);
        kvfi_box_turn(&xfer->box, op->dir);
    }
    xfer->cursor = kvfi_cursor_at_start(&xfer->box);
}

static int may_pack(const kvfi_check_t *check, const kvfi_path_t *packed, const kvf_op_t *op)
{
    return (!packed->pairs_most || op->blocks <= packed->pairs_most) &&
           (!check->mask || check->mask & KVF_PATH_BIT(packed->id));
}

/* Rights and path, unless they are those of the op before. */
static kvf_status_t check_ends(kvfi_check_t *check, const kvf_op_t *op, size_t i)
{
    kvf_status_t status;

    if (op->segment == check->segment && op->remote == check->remote && op->dir == check->dir)
        return KVF_OK;
    status = check_remote(op, i);
    if (status == KVF_OK)
        status = choose_path(check, op, i);
    if (status != KVF_OK)
        return status;
    check->segment = op->segment;
    check->remote = op->remote;
    check->dir = op->dir;
    return KVF_OK;
}

__attribute__((hot)) kvf_status_t kvfi_check_op(kvfi_check_t *check, const kvf_op_t *op, size_t i,
                                                kvfi_xfer_t *xfer, int *holds_p)
{
    kvf_status_t status = KVF_OK;
    uint64_t bytes;

    *holds_p = !check->segment || op->segment != check->segment || op->remote != check->remote;
    if (*holds_p)
        status = check_handles(check->engine, op, i);
    if (status == KVF_OK && *holds_p)
        status = hold_handles(op, i);
    if (status != KVF_OK)
        return status;
    status = check_fields(op, i);
    if (status == KVF_OK)
        status = check_ends(check, op, i);
    if (status == KVF_OK)
        status = check_extents(op, i, &bytes);
    if (status == KVF_OK)
        status = check_path(check, op, i);
    if (status == KVF_OK) {
        make_xfer(op, check->path, bytes, xfer);
        if (check->path->packed && may_pack(check, check->path->packed, op)) {
            xfer->instead = check->path->packed;
            check->choices++;
        }
    } else if (*holds_p) {
        kvfi_let_go(op->segment, op->remote);
    }
    return status;
}

/* ----------------------------------------------------------------- overlap */

typedef struct kvfi_span {
    const void *space; /* whose memory: a peer's, or ours (NULL) */
    uint64_t from, to;
    size_t op;
    int write;
} kvfi_span_t;

static int by_address(const void *a, const void *b)
{
    const kvfi_span_t *x = a, *y = b;

    if (x->space != y->space)
        return x->space < y->space ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

static int add_span(kvfi_span_t **spans, size_t *count, size_t *cap, kvfi_span_t span)
{
    if (*count == *cap) {
        size_t larger = *cap ? *cap * 2 : 256;
        kvfi_span_t *grown = realloc(*spans, larger * sizeof **spans);

        if (!grown)
            return -1;
        *spans = grown;
        *cap = larger;
    }
    (*spans)[(*count)++] = span;
    return 0;
}

/* Destinations, and on self sources too, since there both are of one address space. */
static int add_spans(const kvfi_xfer_t *xfer, size_t op, kvfi_span_t **spans, size_t *count, size_t *cap)
{
    kvfi_cursor_t cursor = kvfi_cursor_at_start(&xfer->box);
    int self = xfer->target->in_process, read = xfer->dir == KVF_READ;
    const void *space = self                 ? NULL
                        : xfer->target->hold ? (const void *)xfer->target->hold
                                             : (const void *)xfer->target->am;
    kvfi_run_t run;

    while (kvfi_cursor_next(&cursor, UINT64_MAX, &run)) {
        uint64_t l = (uintptr_t)xfer->local + run.local, r = xfer->target->raddr + run.remote;

        if ((read || self) && add_span(spans, count, cap, (kvfi_span_t){NULL, l, l + run.len, op, read}))
            return -1;
        if ((!read || self) && add_span(spans, count, cap, (kvfi_span_t){space, r, r + run.len, op, !read}))
            return -1;
    }
    return 0;
}

kvf_status_t kvfi_check_overlap(const kvfi_xfer_t *xfers, size_t count)
{
    const kvfi_span_t *furthest = NULL, *furthest_write = NULL; /* of those that began before */
    kvfi_span_t *spans = NULL;
    size_t spans_count = 0, cap = 0;
    kvf_status_t status = KVF_OK;

    for (size_t i = 0; i < count; i++)
        if (add_spans(&xfers[i], i, &spans, &spans_count, &cap)) {
            free(spans);
            return kvfi_fail(KVF_ERR_NOMEM, "no memory to look for overlap");
        }
    if (spans_count)
        qsort(spans, spans_count, sizeof *spans, by_address);
    for (size_t i = 0; i < spans_count && status == KVF_OK; i++) {
        const kvfi_span_t *s = &spans[i], *against;

        if (!i || spans[i - 1].space != s->space)
            furthest = furthest_write = NULL;
        against = s->write ? furthest : furthest_write;
        if (against && against->to > s->from)
            status = kvfi_fail(KVF_ERR_INVALID, "op %zu: its %s at 0x%llx overlaps a %s of op %zu", s->op,
                               s->write ? "destination" : "source", (ull_t)s->from,
                               against->write ? "destination" : "source", against->op);
        if (!furthest || s->to > furthest->to)
            furthest = s;
        if (s->write && (!furthest_write || s->to > furthest_write->to))
            furthest_write = s;
    }
    free(spans);
    return status;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Direct or packed: how the ops of a batch reach a neighbour's own memory. Over cma the kernel copies
 * piece by piece, and pins pages for each. Over stage the neighbour's thread gathers its side into
 * shared memory, at the rate of a copy, after it has been woken. Ops with many short pieces are better
 * packed, few or long ones direct. It is weighed by what both sides' processors do, for the
 * neighbour's has its own work; the costs are those in force (copy/cost.h). It only decides: the
 * connection that a packed op needs is made by prepare.c.
 */
#include "base/clock.h"
#include "base/status.h"
#include "copy/tune.h"
#include "engine/batch.h"
#include "engine/check.h"
#include "engine/choose.h"
#include "engine/engine.h"
#include "engine/object.h"
#include "engine/op.h"
#include "engine/peer.h"
#include "engine/remote.h"
#include "engine/segment.h"

#define SAMPLE 256u /* pairs that are looked at to tell whether neighbours touch */

/* Pieces after merging, about: of blocks that are one piece and may touch, the first ones tell. */
static uint64_t pieces_of(const kvfi_xfer_t *xfer)
{
    const kvfi_box_t *box = &xfer->box;
    kvfi_cursor_t cursor = kvfi_cursor_at_start(box);
    uint64_t pieces = xfer->stream / box->len, runs = 0, bytes = 0;
    kvfi_run_t run;

    if (box->count[0] != 1 || box->count[1] != 1 || box->local_block != box->len ||
        box->remote_block != box->len)
        return pieces;
    while (bytes < SAMPLE * box->len && kvfi_cursor_next(&cursor, SAMPLE * box->len - bytes, &run)) {
        bytes += run.len;
        runs++;
    }
    pieces = bytes ? (uint64_t)((unsigned __int128)runs * xfer->stream / bytes) : 0;
    return pieces ? pieces : 1;
}

/* Both sides' work, and that a packed op must be less by a fifth. */
static uint64_t packed_work(uint64_t ns)
{
    return ns < UINT64_MAX / 3 ? 2 * ns + ns / 2 : UINT64_MAX;
}

/* What is saved by packing an op, its share of the batch's fixed cost left out. */
static uint64_t gain_of(const kvfi_costs_t *costs, const kvfi_xfer_t *xfer)
{
    const kvfi_cost_t *piecewise = &costs->path[xfer->path->id];
    const kvfi_cost_t *whole = &costs->path[xfer->instead->id];
    uint64_t pieces = xfer->stream ? pieces_of(xfer) : 0, direct, packed;

    if (!pieces)
        return 0;
    direct = kvfi_cost_ns(piecewise, 1, pieces, xfer->stream) - piecewise->fixed_ns;
    packed = packed_work(kvfi_cost_ns(whole, 1, pieces, xfer->stream) - whole->fixed_ns);
    return packed < direct ? direct - packed : 0;
}

/* May ops for that neighbour be packed, where it is a matter of choice? */
static int may_choose(const kvf_engine_t *engine, kvf_peer_t *peer, uint32_t flags)
{
    uint64_t until = atomic_load_explicit(&peer->direct_until_ns, memory_order_relaxed);

    return engine->pack == KVF_PACK_AUTO && peer->driven && !(flags & KVF_BATCH_INLINE) &&
           (!until || kvfi_now_ns() >= until);
}

/* Does the run of ops that starts at xfer `first` and ends before `end` save what waking costs? */
static int worth_it(const kvfi_costs_t *costs, const kvfi_xfer_t *xfers, size_t first, size_t end)
{
    uint64_t least = UINT64_MAX, gain = 0;

    for (size_t i = first; i < end && gain <= least; i++) {
        if (!xfers[i].instead)
            continue;
        least = costs->path[xfers[i].instead->id].fixed_ns + costs->wake_ns;
        gain += gain_of(costs, &xfers[i]);
    }
    return gain > least;
}

static int same_way(const kvfi_batch_op_t *ops, const kvfi_xfer_t *xfers, size_t a, size_t b)
{
    return ops[a].remote->peer == ops[b].remote->peer && xfers[a].dir == xfers[b].dir;
}

static void pack(kvfi_xfer_t *xfer)
{
    const kvfi_path_t *direct = xfer->path;

    xfer->path = xfer->instead;
    xfer->instead = direct;
    xfer->chosen = 1;
}

/* Ops of one neighbour and direction, in a row. */
static int choose_run(kvf_engine_t *engine, const kvfi_batch_op_t *ops, kvfi_xfer_t *xfers, size_t first,
                      size_t end, uint32_t flags)
{
    const kvfi_costs_t *costs = &kvfi_tune()->costs;
    int forced = engine->pack == KVF_PACK_PACKED, any = 0;

    if (!forced &&
        (!may_choose(engine, ops[first].remote->peer, flags) || !worth_it(costs, xfers, first, end)))
        return 0;
    for (size_t i = first; i < end; i++)
        if (xfers[i].instead && (forced || gain_of(costs, &xfers[i]))) {
            pack(&xfers[i]);
            any |= xfers[i].path->prepare != NULL;
        }
    return any;
}

int kvfi_choose(kvf_engine_t *engine, const kvfi_batch_op_t *ops, kvfi_xfer_t *xfers, size_t count,
                uint32_t flags)
{
    size_t first = 0, end;
    int chosen = 0;

    if (engine->pack == KVF_PACK_DIRECT)
        return 0;
    for (; first < count; first = end) {
        int any = 0;

        for (end = first; end < count && same_way(ops, xfers, first, end); end++)
            any |= xfers[end].instead != NULL;
        if (any)
            chosen |= choose_run(engine, ops, xfers, first, end, flags);
    }
    return chosen;
}

/* ------------------------------------------------------------------- asked */

static kvf_status_t ask(kvf_engine_t *engine, const kvf_op_t *op, uint32_t mask, kvf_path_t *path_p)
{
    kvfi_check_t check = {.engine = engine, .mask = mask};
    const kvfi_costs_t *costs = &kvfi_tune()->costs;
    kvfi_xfer_t xfer = {0};
    int holds;
    kvf_status_t status = kvfi_check_op(&check, op, 0, &xfer, &holds);

    if (status != KVF_OK)
        return status;
    *path_p = xfer.path->id;
    if (xfer.instead && (engine->pack == KVF_PACK_PACKED ||
                         (may_choose(engine, op->remote->peer, 0) && worth_it(costs, &xfer, 0, 1))))
        *path_p = xfer.instead->id;
    kvfi_let_go(op->segment, op->remote);
    return KVF_OK;
}

kvf_status_t kvf_path_of_op(const kvf_op_t *ops, size_t op_size, uint32_t mask, kvf_path_t *path_p)
{
    const kvf_op_t *op;
    kvf_engine_t *engine;
    kvf_status_t status;
    kvf_op_t copy;

    if (!ops || !path_p)
        return kvfi_fail(KVF_ERR_INVALID, "%s is NULL", ops ? "path_p" : "op");
    status = kvfi_op_check_size(op_size);
    if (status != KVF_OK)
        return status;
    op = kvfi_op_read(ops, op_size, 0, &copy);
    if (!op)
        return KVF_ERR_UNSUPPORTED;
    status = kvfi_enter(op->segment, KVFI_SEGMENT);
    if (status != KVF_OK)
        return status;
    engine = op->segment->object.engine;
    status = mask & ~kvfi_path_bits
                 ? kvfi_fail(KVF_ERR_INVALID, "mask is 0x%x: there are no such paths", mask)
                 : ask(engine, op, mask, path_p);
    kvfi_leave(engine);
    return status;
}

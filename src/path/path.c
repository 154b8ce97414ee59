/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the paths share: the choice, and the guarded slice of those that are sliced.
 */
#include "path/path.h"

#include <stdio.h>

#include "base/status.h"

#define LIVENESS_AGE_NS UINT64_C(1000000000)

const kvfi_path_t *kvfi_path_of(kvf_path_t id)
{
    const kvfi_path_t *const *row = kvfi_paths;

    while (*row && (*row)->id != id)
        row++;
    return *row;
}

/* NULL: it serves them. */
static const char *why_out(const kvfi_path_t *path, const kvfi_memory_t *local, const kvfi_target_t *target,
                           uint32_t dir, uint32_t mask)
{
    int device = (local->kind | target->memory.kind) != KVF_MEM_HOST;

    if (mask && !(mask & KVF_PATH_BIT(path->id)))
        return "forbidden by mask";
    if (device != ((path->traits & KVFI_PATH_DEVICE) != 0))
        return device ? "a side is device memory" : "both sides are host memory";
    return path->reach(local, target, dir);
}

__attribute__((hot)) const kvfi_path_t *
kvfi_path_choose(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir, uint32_t mask)
{
    uint32_t device = local->kind | target->memory.kind ? KVFI_PATH_DEVICE : 0;

    if (!mask)
        mask = UINT32_MAX;
    for (const kvfi_path_t *const *row = kvfi_paths; *row; row++)
        if (((*row)->traits & KVFI_PATH_DEVICE) == device && mask >> (*row)->id & 1 &&
            !(*row)->reach(local, target, dir))
            return *row;
    return NULL;
}

void kvfi_path_why(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir, uint32_t mask,
                   char *why, size_t len)
{
    size_t at = 0;

    for (const kvfi_path_t *const *row = kvfi_paths; *row && at < len; row++)
        at += (size_t)snprintf(why + at, len - at, "%s%s: %s", at ? "; " : "", (*row)->name,
                               why_out(*row, local, target, dir, mask));
}

/* Compare the generations of the pairs whose data has come. */
static kvf_status_t compare(kvfi_xfer_t *xfer)
{
    const kvfi_target_t *target = xfer->target;
    kvf_status_t status = KVF_OK;

    /* the loads of the data come before those of the generations */
    atomic_thread_fence(memory_order_acquire);
    for (; xfer->checked < xfer->cursor.pair && status == KVF_OK; xfer->checked++) {
        uint32_t id = kvfi_box_id(xfer->box.remote_ids, xfer->checked);

        if (kvfi_box_skips(&xfer->box, xfer->checked))
            continue;
        if (id >= target->gens_count ||
            atomic_load_explicit(&target->gens[id], memory_order_relaxed) != xfer->gens[xfer->checked])
            status = kvfi_xfer_bad(xfer, xfer->checked, KVF_ERR_STALE);
    }
    return status;
}

static kvf_status_t move(kvfi_xfer_t *xfer, uint64_t budget)
{
    kvfi_moved_t moved;

    if (!(xfer->path->traits & KVFI_PATH_MAPPED))
        return xfer->path->slice(xfer, budget);
    moved = kvfi_copy_box(&xfer->cursor, xfer->local, xfer->target->map, xfer->dir, budget, xfer->whole);
    xfer->moved.bytes += moved.bytes;
    xfer->moved.pieces += moved.pieces;
    return KVF_OK;
}

/* A part of an xfer, under a word that was taken. */
static kvf_status_t move_guarded(kvfi_xfer_t *xfer, uint64_t budget)
{
    const kvfi_target_t *target = xfer->target;
    kvf_status_t status;

    if (!kvfi_hold_granted(target->hold, target->grant, target->epoch))
        return kvfi_fail(KVF_ERR_REVOKED, "the grant was revoked");
    status = move(xfer, budget);
    return status == KVF_OK && xfer->gens ? compare(xfer) : status;
}

/* An xfer whose pieces were all moved. */
static kvf_status_t end_of(kvfi_xfer_t *xfer, int alive)
{
    if (alive)
        return xfer->bad_count ? KVF_ERR_STALE : KVF_OK;
    if (xfer->dir == KVF_WRITE)
        xfer->cursor.pair = 0; /* what was written into a dead owner's memory reached nobody */
    return kvfi_fail(KVF_ERR_PEER, "%s has died", xfer->target->name);
}

static int owner_lives(const kvfi_target_t *target)
{
    return !target->life || kvfi_life_check(target->life, LIVENESS_AGE_NS);
}

kvf_status_t kvfi_path_slice(kvfi_xfer_t *xfer, uint64_t budget)
{
    kvfi_hold_t *hold = xfer->target->hold;
    unsigned word = kvfi_hold_enter(hold);
    kvf_status_t status = move_guarded(xfer, budget);

    kvfi_hold_leave(hold, word);
    if (status != KVF_OK)
        return status;
    return kvfi_cursor_ended(&xfer->cursor) ? end_of(xfer, owner_lives(xfer->target)) : KVF_INPROGRESS;
}

static void set_status(kvfi_xfer_t *xfer, kvf_status_t status)
{
    atomic_store_explicit(&xfer->status, status, memory_order_relaxed);
}

size_t kvfi_path_group(kvfi_xfer_t *xfers, size_t count)
{
    const kvfi_target_t *target = xfers->target;
    kvfi_hold_t *hold = target->hold;
    unsigned word = kvfi_hold_enter(hold);
    size_t n;
    int alive;

    for (n = 0; n < count && xfers[n].target->hold == hold && xfers[n].path->traits & KVFI_PATH_MAPPED; n++) {
        kvf_status_t status = KVF_OK;

        while (status == KVF_OK && xfers[n].moved.bytes < xfers[n].stream &&
               !kvfi_cursor_ended(&xfers[n].cursor))
            status = move_guarded(&xfers[n], UINT64_MAX);
        set_status(&xfers[n], status);
    }
    kvfi_hold_leave(hold, word);
    alive = owner_lives(target);
    for (size_t i = 0; i < n; i++)
        if (xfers[i].stream && atomic_load_explicit(&xfers[i].status, memory_order_relaxed) == KVF_OK)
            set_status(&xfers[i], end_of(&xfers[i], alive));
    return n;
}

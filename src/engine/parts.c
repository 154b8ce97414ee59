/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The copies of a large batch, cut in parts that any thread takes: who waits, who drives the engine,
 * the copy threads. A part is claimed and joined under the batch's lock and copied outside of it. It
 * is either some small ops, which then belong to the thread that claimed them, or a cut of a large
 * one, copied as an xfer of its own.
 *
 * A failure of a cut ends the op at the first pair that did not arrive: pairs below its cursor are
 * all well once no part of it is under way. A batch that is to end early hands out no more parts, and
 * ends when the last one is joined.
 */
#include <stdlib.h>

#include "copy/cut.h"
#include "engine/batch.h"
#include "engine/end.h"
#include "engine/parts.h"
#include "engine/round.h"
#include "engine/served.h"

/* One slice takes a core some 50 to 400 us: what a revoke, a cancel, a deadline wait for. Below a
 * quarter of it, claims and the ends of streams would show in the rate. */
#define SLICE_BYTES (UINT64_C(1) << 20)
#define LEAST_BYTES (SLICE_BYTES / 4)
#define GROUP       1024u /* small ops in a part */

/* Does the walk make one run of pairs that follow each other? */
static int merges(const kvfi_box_t *box)
{
    return box->count[0] == 1 && box->count[1] == 1 && box->local_block == box->len &&
           box->remote_block == box->len;
}

/* Parts get smaller towards the end, so that threads end together. */
static kvfi_cut_t part_most(const kvf_batch_t *batch, const kvfi_xfer_t *xfer)
{
    const kvfi_path_t *path = xfer->path;
    kvfi_cut_t most = {SLICE_BYTES, KVFI_COPY_PIECES};
    uint64_t fair;

    if (!(path->traits & KVFI_PATH_MAPPED))
        most = (kvfi_cut_t){path->part_bytes, merges(&xfer->box) ? KVFI_COPY_PIECES : path->part_pieces};
    if (batch->sharers == 1)
        return most;
    fair = batch->left / (2 * batch->sharers);
    if (fair < LEAST_BYTES)
        fair = LEAST_BYTES;
    if (fair < most.bytes)
        most.bytes = fair;
    return most;
}

static void claimed(kvf_batch_t *batch, uint64_t bytes)
{
    batch->left -= bytes < batch->left ? bytes : batch->left;
}

static int is_to_copy(const kvf_batch_t *batch, size_t i)
{
    return i < batch->count && kvfi_xfer_is_local(&batch->xfers[i]) && !batch->ops[i].finished;
}

static void skip_others(kvf_batch_t *batch)
{
    while (batch->next_local < batch->count && !is_to_copy(batch, batch->next_local))
        batch->next_local++;
}

/* An op that is all claimed and joined, or has failed, ends, or goes on over another path. */
static void settle_op(kvf_batch_t *batch, size_t i)
{
    kvfi_xfer_t *xfer = &batch->xfers[i];

    if (batch->ops[i].parts)
        return;
    if (atomic_load(&xfer->status) == (int)KVFI_INSTEAD) {
        kvfi_served_take(batch, i);
        return;
    }
    if (atomic_load(&xfer->status) == KVF_INPROGRESS)
        atomic_store(&xfer->status, xfer->bad_count ? KVF_ERR_STALE : KVF_OK);
    kvfi_end_op(batch, i);
}

/* Small ops, one after the other in the batch, that fit in one part; 0 if the next one does not. As
 * parts do not grow while a batch runs, an op that was cut is not small later. */
static int claim_group(kvf_batch_t *batch, kvfi_cut_t most, kvfi_part_t *part)
{
    size_t i = batch->next_local;
    uint64_t bytes = 0, max = most.bytes < SLICE_BYTES ? most.bytes : SLICE_BYTES;

    while (is_to_copy(batch, i) && i - batch->next_local < GROUP && batch->xfers[i].stream <= max - bytes) {
        bytes += batch->xfers[i].stream;
        batch->ops[i++].parts = 1;
    }
    part->first = batch->next_local;
    part->count = i - batch->next_local;
    batch->next_local = i;
    claimed(batch, bytes);
    return part->count > 0;
}

/* Not inlined: its locals would cost every claim the stack protector's canary. */
__attribute__((noinline)) static int claim_cut(kvf_batch_t *batch, kvfi_cut_t most, kvfi_part_t *part)
{
    size_t i = batch->next_local;
    kvfi_xfer_t *xfer = &batch->xfers[i], *own = &part->xfer;
    uint32_t first;
    uint64_t bytes = 0;

    *own = *xfer;
    if (atomic_load(&xfer->status) == KVF_INPROGRESS)
        bytes = kvfi_box_cut(&xfer->cursor, most, &own->box, &first);
    if (!bytes) {
        batch->next_local++;
        settle_op(batch, i);
        return 0;
    }
    own->cursor = (kvfi_cursor_t){.box = &own->box, .pair = first};
    own->checked = first;
    own->stream = bytes;
    own->moved = (kvfi_moved_t){0};
    own->calls = 0;
    own->bad = NULL;
    own->bad_count = own->bad_cap = 0;
    part->pair = first;
    part->first = i;
    part->count = 0;
    batch->ops[i].parts++;
    if (kvfi_cursor_ended(&xfer->cursor))
        batch->next_local++;
    claimed(batch, bytes);
    return 1;
}

int kvfi_part_claim(kvf_batch_t *batch, kvfi_part_t *part)
{
    if (!atomic_load(&batch->claimable))
        return 0;
    for (;;) {
        const kvfi_xfer_t *xfer;
        kvfi_cut_t most;

        skip_others(batch);
        if (batch->next_local == batch->count)
            break;
        xfer = &batch->xfers[batch->next_local];
        most = part_most(batch, xfer);
        if (claim_group(batch, most, part) || claim_cut(batch, most, part)) {
            batch->flying++;
            skip_others(batch);
            if (batch->next_local == batch->count)
                kvfi_part_none_left(batch);
            return 1;
        }
    }
    kvfi_part_none_left(batch);
    return 0;
}

void kvfi_part_none_left(kvf_batch_t *batch)
{
    atomic_store_explicit(&batch->claimable, 0, memory_order_release);
    if (batch->in_round)
        kvfi_round_drop(batch);
}

/* To the end of the xfer, unless the batch is to end early: INPROGRESS then. */
static kvf_status_t copy_xfer(kvf_batch_t *batch, kvfi_xfer_t *xfer)
{
    kvf_status_t status = xfer->stream ? KVF_INPROGRESS : KVF_OK;

    while (status == KVF_INPROGRESS && !atomic_load(&batch->stop))
        status = kvfi_path_slice(xfer, SLICE_BYTES);
    return status;
}

void kvfi_part_copy(kvf_batch_t *batch, kvfi_part_t *part)
{
    size_t i = part->first, end = part->first + part->count;

    if (!part->count)
        part->status = copy_xfer(batch, &part->xfer);
    while (i < end) {
        kvfi_xfer_t *xfer = &batch->xfers[i];

        if (xfer->path->traits & KVFI_PATH_MAPPED) {
            i += kvfi_path_group(xfer, end - i);
        } else {
            atomic_store(&xfer->status, copy_xfer(batch, xfer));
            i++;
        }
    }
}

/* Pairs of a cut whose generations did not match: noted once, though several cuts be of one pair. */
static kvf_status_t note_bad(kvfi_xfer_t *xfer, const kvfi_part_t *part)
{
    const kvfi_xfer_t *own = &part->xfer;
    int one_pair = own->box.blocks - part->pair == 1;
    kvf_status_t status = KVF_OK;

    for (uint32_t n = 0; n < own->bad_count && status == KVF_OK; n++) {
        uint32_t at = one_pair ? xfer->bad_count : 0;

        while (at && xfer->bad[at - 1].pair != own->bad[n].pair)
            at--;
        if (!at)
            status = kvfi_xfer_bad(xfer, own->bad[n].pair, (kvf_status_t)own->bad[n].status);
    }
    return status;
}

static void join_cut(kvf_batch_t *batch, kvfi_part_t *part)
{
    kvfi_xfer_t *xfer = &batch->xfers[part->first], *own = &part->xfer;
    uint32_t done = own->gens && own->checked < own->cursor.pair ? own->checked : own->cursor.pair;
    kvf_status_t status = part->status, noted = note_bad(xfer, part);

    xfer->moved.bytes += own->moved.bytes;
    xfer->moved.pieces += own->moved.pieces;
    xfer->calls += own->calls;
    if (status == KVF_ERR_STALE || status == KVF_OK)
        status = noted;
    if (noted != KVF_OK)
        done = part->pair;
    if (status != KVF_OK && done < xfer->cursor.pair)
        xfer->cursor.pair = done;
    if ((status < KVF_OK || status == KVFI_INSTEAD) && atomic_load(&xfer->status) == KVF_INPROGRESS)
        atomic_store(&xfer->status, status);
    free(own->bad);
}

void kvfi_part_join(kvf_batch_t *batch, kvfi_part_t *part)
{
    size_t end = part->first + (part->count ? part->count : 1);

    if (!part->count)
        join_cut(batch, part);
    for (size_t i = part->first; i < end; i++) {
        batch->ops[i].parts--;
        /* one that was stopped midway is ended with the batch */
        if (i < batch->next_local && !atomic_load(&batch->stop))
            settle_op(batch, i);
    }
    batch->flying--;
    kvfi_meter_add(&batch->tally);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The end of one op of a batch: the statuses of its blocks, the batch's result and the first sentence, what
 * it adds to the counters, and the handles that it lets go. With the batch's lock; nothing waits.
 */
#include "engine/batch.h"
#include "engine/check.h"
#include "engine/doubt.h"
#include "engine/end.h"
#include "engine/engine.h"
#include "engine/peer.h"
#include "engine/remote.h"
#include "engine/sentence.h"

/* An entry shared by several ops tells the worst of them, whichever ended first: the lowest error,
 * else SKIPPED, else OK. */
static void write_block(int8_t *entry, kvf_status_t status)
{
    int worse = status < KVF_OK ? status < *entry : *entry == KVF_OK && status == KVF_SKIPPED;

    if (*entry == KVF_INPROGRESS || worse)
        *entry = (int8_t)status;
}

static void write_blocks(const kvfi_batch_op_t *op, const kvfi_xfer_t *xfer, kvf_status_t status)
{
    uint32_t done = status == KVF_OK || status == KVF_ERR_STALE ? xfer->box.blocks : xfer->cursor.pair;

    if (!op->block_status)
        return;
    for (uint32_t i = 0; i < xfer->bad_count; i++)
        write_block(&op->block_status[xfer->bad[i].pair], (kvf_status_t)xfer->bad[i].status);
    for (uint32_t i = 0; i < xfer->box.blocks; i++)
        write_block(&op->block_status[i], kvfi_box_skips(&xfer->box, i) ? KVF_SKIPPED
                                          : i < done                    ? KVF_OK
                                                                        : status);
}

/* Bytes of the pairs that ended well; what a failed op moved of others is no use to anyone. */
static uint64_t bytes_of_ended(const kvfi_xfer_t *xfer, kvf_status_t status)
{
    const kvfi_box_t *box = &xfer->box;
    uint64_t pairs = 0;

    if (status == KVF_OK || status == KVF_ERR_STALE)
        return xfer->moved.bytes;
    for (uint32_t i = 0; i < xfer->cursor.pair; i++)
        pairs += !kvfi_box_skips(box, i);
    return pairs * box->len * box->count[0] * box->count[1];
}

void kvfi_end_op(kvf_batch_t *batch, size_t i)
{
    kvfi_batch_op_t *op = &batch->ops[i];
    kvfi_xfer_t *xfer = &batch->xfers[i];
    kvf_status_t status = (kvf_status_t)atomic_load(&xfer->status);
    uint64_t bytes;

    if (op->finished)
        return;
    op->finished = 1;
    write_blocks(op, xfer, status);
    kvfi_meter_op(&batch->tally, &op->remote->peer->flows, kvfi_flow_row(xfer->path->id, xfer->dir),
                  xfer->moved.bytes, xfer->moved.pieces, xfer->calls);
    for (uint32_t n = 0; n < xfer->bad_count; n++)
        batch->result.stale_blocks += xfer->bad[n].status == KVF_ERR_STALE;
    bytes = bytes_of_ended(xfer, status);
    batch->result.bytes += bytes;
    batch->result.pieces += xfer->moved.pieces;
    if (xfer->chosen)
        kvfi_doubt_judge(batch, i, status);
    if (status != KVF_OK && batch->has_note && op->remote->peer == batch->note.peer) {
        batch->note_due = batch->note_always;
        if (batch->note.told == KVF_OK)
            batch->note.told = status;
    }
    if (status < KVF_OK && i < batch->result.bad_op) {
        batch->result.bad_op = i;
        batch->result.status = status;
        kvfi_sentence_op(batch, i, status, bytes);
    }
}

void kvfi_end_let_go(kvf_batch_t *batch, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (batch->ops[i].holds)
            kvfi_let_go(batch->ops[i].segment, batch->ops[i].remote);
}

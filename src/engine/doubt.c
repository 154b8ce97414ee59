/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the ops that went packed by choice tell of a neighbour. Where stage itself failed, or the neighbour
 * let ops wait without a word, its ops go direct for a while, longer each time; one that ends well clears
 * it. With the batch's lock; nothing waits.
 */
#include "base/clock.h"
#include "base/status.h"
#include "engine/batch.h"
#include "engine/doubt.h"
#include "engine/peer.h"
#include "engine/remote.h"

#define AFRAID_NS UINT64_C(10000000000) /* direct for so long after stage failed, doubled each time */
#define DOUBLINGS 8u

int kvfi_doubt_is_stages(kvf_status_t status)
{
    return status == KVF_ERR_NOMEM || status == KVF_ERR_SYSTEM || status == KVF_ERR_UNSUPPORTED ||
           status == KVF_ERR_TIMEOUT;
}

static void succeeded(kvf_peer_t *peer)
{
    if (!atomic_load_explicit(&peer->stage_failures, memory_order_relaxed))
        return;
    atomic_store(&peer->stage_failures, 0);
    atomic_store(&peer->direct_until_ns, 0);
}

void kvfi_doubt_failed(kvf_peer_t *peer, kvf_status_t status)
{
    uint64_t now = kvfi_now_ns(), until = atomic_load(&peer->direct_until_ns);
    unsigned times = atomic_load(&peer->stage_failures);

    if (!kvfi_doubt_is_stages(status) || now < until)
        return;
    if (!atomic_compare_exchange_strong(&peer->direct_until_ns, &until,
                                        now + (AFRAID_NS << (times < DOUBLINGS ? times : DOUBLINGS))))
        return;
    atomic_fetch_add(&peer->stage_failures, 1);
    if (!times)
        kvfi_log(KVFI_LOG_WARN,
                 "packed ops with rank %llu on %s (pid %d) failed (%s): they go direct, over "
                 "cma, for a while; KVFERRY_PACK=direct does that always",
                 (unsigned long long)peer->rank, peer->host, peer->proc.pid, kvf_status_name(status));
}

/* Spares are in the order of their ops. */
static const kvfi_spare_t *spare_of(const kvf_batch_t *batch, size_t op)
{
    size_t below = 0, end = batch->spare_count;

    while (below < end) {
        size_t middle = below + (end - below) / 2;

        if (batch->spares[middle].op < op)
            below = middle + 1;
        else
            end = middle;
    }
    return below < batch->spare_count && batch->spares[below].op == op ? &batch->spares[below] : NULL;
}

/* Has the neighbour let ops wait for a time of ours without a word, all waits since its last one together? A
 * caller's deadline may be shorter than any answer. */
static int is_silent(kvf_peer_t *peer, const kvfi_xfer_t *xfer, const kvfi_spare_t *spare)
{
    uint64_t now = kvfi_now_ns(), from = atomic_load(&peer->silent_to_ns), waited;
    uint32_t heard = kvfi_am_heard(xfer->peer);

    if (!spare || heard != spare->heard)
        return 0;
    from = from > spare->since_ns ? from : spare->since_ns; /* ops that wait side by side wait once */
    waited = atomic_load(&peer->silent_heard) == heard ? atomic_load(&peer->silent_ns) : 0;
    waited += now > from ? now - from : 0;
    atomic_store(&peer->silent_heard, heard);
    atomic_store(&peer->silent_to_ns, now);
    atomic_store(&peer->silent_ns, waited);
    return waited >= KVFI_PATIENCE_NS;
}

void kvfi_doubt_judge(kvf_batch_t *batch, size_t op, kvf_status_t status)
{
    kvf_peer_t *peer = batch->ops[op].remote->peer;
    const kvfi_xfer_t *xfer = &batch->xfers[op];

    if (status == KVF_OK)
        succeeded(peer);
    else if (status != KVF_ERR_TIMEOUT || is_silent(peer, xfer, spare_of(batch, op)))
        kvfi_doubt_failed(peer, status);
}

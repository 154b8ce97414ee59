/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Takes the status of each pair of blocks, as the batch left it, to the entries of the destination's tables
 * and to the caller's sums. The walk of a binding (bind.c) calls it, for who wants results (results.c).
 * Allocates nothing, blocks on nothing.
 */
#include "kv/bind.h"

static void fold_entry(int8_t *entry, kvf_status_t status)
{
    bool worse = status < KVF_OK ? *entry > status : *entry == KVF_OK && status == KVF_SKIPPED;

    if (*entry == KVF_INPROGRESS || worse)
        *entry = (int8_t)status;
}

static void count_pair(kvf_plan_results_t *to, kvf_status_t status)
{
    to->arrived += status == KVF_OK;
    to->skipped += status == KVF_SKIPPED;
    to->failed += status < KVF_OK;
    if (status < to->status)
        to->status = status;
}

/* A state that needs those before it, or of which no more than the last is kept. */
static bool wants_past(const kvfi_plan_part_t *part)
{
    return part->window != 0 || part->tokens_per_state > 1;
}

static void fold_pair(const kvfi_fold_t *f, const kvfi_plan_part_t *part, const kvfi_end_t *src,
                      const kvfi_end_t *dst, uint64_t src_entry, uint64_t dst_entry, uint64_t at,
                      uint64_t state)
{
    kvfi_drop_t drop = kvfi_kv_drop(dst, dst_entry);
    bool dropped = drop != KVFI_DROP_NOT || kvfi_kv_drop(src, src_entry) != KVFI_DROP_NOT;
    kvf_status_t status = dropped               ? KVF_SKIPPED
                          : f->posted != KVF_OK ? f->posted
                                                : (kvf_status_t)f->bind->pair_status[at];
    uint64_t token = state * part->tokens_per_state;

    if (token < f->bind->first_token)
        token = f->bind->first_token;
    if (dst->table->block_status != NULL)
        fold_entry(&dst->table->block_status[dst_entry], status);
    count_pair(f->to, status);
    if (drop == KVFI_DROP_NOT && status != KVF_OK && token < f->to->missing_token)
        f->to->missing_token = token;
    if (drop == KVFI_DROP_ID && wants_past(part))
        f->to->whole_only = 1;
}

void kvfi_kv_fold_list(const kvfi_fold_t *f, const kvfi_plan_part_t *part, const kvfi_places_t *p,
                       const kvfi_end_t *src, const kvfi_end_t *dst, uint64_t at, uint64_t first)
{
    for (uint64_t q = p->low; q < p->high; q++) {
        for (uint32_t m = 0; m < p->meet_count; m++) {
            uint64_t state = first != UINT64_MAX ? first : q * p->period + p->meets[m].from;

            if (!kvfi_kv_place_wanted(p, m, q))
                continue;
            fold_pair(f, part, src, dst, kvfi_kv_place_block(p, m, q, src) - src->first,
                      kvfi_kv_place_block(p, m, q, dst) - dst->first, at++, state);
        }
    }
}

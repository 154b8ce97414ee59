/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Statuses of random setups: some sources refuse the post, some blocks of others fail, each in its
 * way. What a batch would say of each pair of blocks is said here; what each entry of the
 * destination's tables, the sums and the prefix must then be is found token by token, head by head.
 */
#include <check.h>
#include <string.h>

#include "any.h"

#define MAX_PAIRS 8192

static kvf_status_t posted[MAX_RANKS];
static uint32_t fails_every[MAX_RANKS]; /* blocks of a source fail whose id is a multiple; 0: none */
static int8_t pairs[MAX_PAIRS], entries[MAX_GROUPS][MAX_BLOCKS];
static kvf_plan_results_t results;
static uint64_t pair_sum;

static kvf_status_t block_status(uint32_t r, uint32_t id)
{
    static const kvf_status_t errors[] = {KVF_ERR_STALE, KVF_ERR_REVOKED, KVF_ERR_TIMEOUT};

    if (fails_every[r] == 0 || id % fails_every[r] != 0)
        return KVF_OK;
    return errors[id / fails_every[r] % 3];
}

static kvf_status_t worst(kvf_status_t a, kvf_status_t b)
{
    if (a < KVF_OK || b < KVF_OK)
        return a < b ? a : b;
    return a == KVF_SKIPPED || b == KVF_SKIPPED ? KVF_SKIPPED : KVF_OK;
}

void any_results_begin(const side_t *src, rank_t *dst)
{
    results = (kvf_plan_results_t){.struct_size = sizeof(results), .tokens = 77};
    pair_sum = 0;
    memset(entries, KVF_INPROGRESS, sizeof(entries));
    for (uint32_t r = 0; r < src->count; r++) {
        bool numbered = false; /* ops over tables without ids do not tell the id of a block */

        for (uint32_t k = 0; k < src->ranks[r].count; k++)
            numbered |= src->ranks[r].tables[k].ids == NULL;
        posted[r] = any_roll(8) == 0 ? KVF_ERR_PEER : KVF_OK;
        fails_every[r] = numbered || any_roll(2) == 0 ? 0 : 1 + any_roll(20);
    }
    for (uint32_t k = 0; k < dst->count; k++)
        dst->tables[k].block_status = entries[k];
}

void any_results_bind(kvf_bind_t *bind)
{
    bind->pair_status = pairs;
    bind->pair_count = MAX_PAIRS;
}

/* What a batch does: worst of all ops over a pair. */
static void run_statuses(const kvf_bind_t *bind, uint32_t r, const kvf_op_t *ops, size_t count)
{
    memset(pairs, KVF_INPROGRESS, sizeof(pairs));
    for (size_t o = 0; o < count; o++) {
        const uint32_t *local = ops[o].local_ids, *remote = ops[o].remote_ids;
        const uint32_t *src = bind->dir == KVF_READ ? remote : local;

        any_must(ops[o].block_status >= pairs && ops[o].block_status - pairs + ops[o].blocks <= MAX_PAIRS,
                 "statuses of an op lie elsewhere");
        for (uint32_t i = 0; i < ops[o].blocks; i++) {
            int8_t *to = &ops[o].block_status[i];
            bool skips = (local != NULL && local[i] == KVF_SKIP) || (remote != NULL && remote[i] == KVF_SKIP);
            kvf_status_t status = skips ? KVF_SKIPPED : src == NULL ? KVF_OK : block_status(r, src[i]);

            *to = (int8_t)(*to == KVF_INPROGRESS ? status : worst((kvf_status_t)*to, status));
        }
    }
}

void any_results_add(const kvf_plan_t *plan, const kvf_bind_t *bind, uint32_t r, const kvf_op_t *ops,
                     size_t count)
{
    kvf_plan_size_t size = {.struct_size = sizeof(size)};

    any_must(kvf_plan_measure(plan, bind, &size) == KVF_OK, kvf_last_error());
    run_statuses(bind, r, ops, count);
    for (uint64_t i = 0; i < MAX_PAIRS; i++)
        any_must((pairs[i] == KVF_INPROGRESS) == (i >= size.pairs), "measure counts other pairs");
    if (posted[r] != KVF_OK)
        memset(pairs, KVF_INPROGRESS, sizeof(pairs));
    pair_sum += size.pairs;
    any_must(kvf_plan_results(plan, bind, posted[r], &results) == KVF_OK, kvf_last_error());
}

/* What must come of it, token by token. */
typedef struct want {
    int8_t entries[MAX_GROUPS][MAX_BLOCKS];
    kvf_status_t status;
    uint64_t missing, step;
    bool whole_only;
} want_t;

static void want_cell(want_t *want, const held_t *h, uint32_t k, uint64_t entry, uint64_t token,
                      const held_t *s, uint64_t src_entry, uint32_t r)
{
    bool here = any_real_id(h, entry) != KVF_SKIP, there = any_real_id(s, src_entry) != KVF_SKIP;
    bool marked = h->table.skip != NULL && h->skip[entry] != 0;
    kvf_status_t status = !here || !there       ? KVF_SKIPPED
                          : posted[r] != KVF_OK ? posted[r]
                                                : block_status(r, s->ids[src_entry]);
    int8_t *to = &want->entries[k][entry];

    *to = (int8_t)(*to == KVF_INPROGRESS ? status : worst((kvf_status_t)*to, status));
    want->status = status < want->status ? status : want->status;
    if (here && status != KVF_OK && token < want->missing)
        want->missing = token;
    if (!here && !marked && (h->g.window != 0 || h->g.tokens_per_state > 1))
        want->whole_only = true;
}

static void want_group(want_t *want, const side_t *src, const rank_t *dst, uint32_t k, uint32_t d,
                       uint64_t from, uint64_t to, bool window)
{
    const held_t *h = &dst->held[k];
    uint32_t per = h->g.tokens_per_state;
    bool cut = window && h->g.window != 0 && to - from > h->g.window;
    uint64_t first = cut ? to - h->g.window : from;

    want->whole_only |= cut;
    want->step = per > want->step ? per : want->step; /* 1 or 2 */
    for (uint64_t t = first / per * per; t < to; t += per) {
        uint64_t block, entry, src_block;

        if (!any_holds_token(&h->g, t))
            continue;
        entry = any_find_entry(h, t, &block);
        for (uint32_t l = 0; l < h->g.layer_count; l++)
            for (uint32_t head = 0; head < h->g.heads; head++) {
                uint32_t r = 0;
                const held_t *s =
                    any_find_source(src, h->layers[l], h->g.first_head + head, t, d + block, &r);

                want_cell(want, h, k, entry, t > from ? t : from, s, any_find_entry(s, t, &src_block), r);
            }
    }
}

/* The longest prefix of which nothing is missing, and that ends where a state begins. */
static uint64_t want_prefix(const want_t *want, uint64_t from, uint64_t to)
{
    if (want->missing == UINT64_MAX)
        return to - from;
    for (uint64_t n = to - from; n > 0 && !want->whole_only; n--) {
        if (from + n <= want->missing && (from + n) % want->step == 0)
            return n;
    }
    return 0;
}

void any_results_check(const side_t *src, const rank_t *dst, uint32_t d, uint64_t from, uint64_t to,
                       bool window)
{
    want_t want = {.missing = UINT64_MAX, .step = 1};

    memset(want.entries, KVF_INPROGRESS, sizeof(want.entries));
    for (uint32_t k = 0; k < dst->count && from < to; k++)
        want_group(&want, src, dst, k, d, from, to, window);
    any_must(memcmp(entries, want.entries, sizeof(entries)) == 0, "a status of an entry");
    any_must(results.status == want.status, "the status of all");
    any_must(results.missing_token == want.missing, "the first token that is missing");
    any_must(results.prefix_tokens == want_prefix(&want, from, to), "the prefix");
    any_must(results.arrived + results.skipped + results.failed == pair_sum, "the pairs");
    any_must((results.failed > 0) == (want.status < KVF_OK), "pairs that failed");
    any_must(results.step_tokens == want.step && results.whole_only == want.whole_only,
             "what a prefix must be");
}

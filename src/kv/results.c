/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What became of a binding: the walk that bound its pairs (bind.c) goes once more, in the same order, and
 * takes their statuses to where the caller wants them (fold.c); the rest is the prefix that can be used.
 * Several sources are added one after the other; nothing here depends on their order. Allocates nothing,
 * blocks on nothing.
 */
#include "kv/bind.h"

/* Every pair must have its end, and be known. */
static kvf_status_t check_pairs(const kvf_bind_t *bind, uint64_t pairs)
{
    if (pairs > 0 && bind->pair_status == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "results: pair_status is NULL");
    if (pairs > bind->pair_count)
        return kvfi_fail(KVF_ERR_SPACE, "results: pair_status needs %zu entries, pair_count is %zu",
                         (size_t)pairs, (size_t)bind->pair_count);
    for (uint64_t i = 0; i < pairs; i++) {
        if (bind->pair_status[i] > KVF_OK && bind->pair_status[i] != KVF_SKIPPED)
            return kvfi_fail(KVF_ERR_BUSY,
                             "results: pair_status[%llu] has no end: the batch runs, or was not "
                             "posted",
                             (unsigned long long)i);
    }
    return KVF_OK;
}

static kvf_status_t check_results(const kvf_bind_t *bind, kvf_status_t posted,
                                  const kvf_plan_results_t *results)
{
    if (posted > KVF_OK)
        return kvfi_fail(KVF_ERR_INVALID, "results: posted is %s, which no post returns",
                         kvf_status_name(posted));
    for (unsigned i = 0; i < 4; i++) {
        if (results->reserved[i] != 0)
            return kvfi_fail(KVF_ERR_INVALID, "results: reserved is not 0");
    }
    if (results->bindings > 0 &&
        (results->first_token != bind->first_token || results->tokens != bind->tokens))
        return kvfi_fail(KVF_ERR_INVALID,
                         "results: %llu tokens from %llu on, but %llu from %llu on in the bindings "
                         "before",
                         (unsigned long long)bind->tokens, (unsigned long long)bind->first_token,
                         (unsigned long long)results->tokens, (unsigned long long)results->first_token);
    return KVF_OK;
}

static void begin(const kvf_bind_t *bind, kvf_plan_results_t *results)
{
    *results = (kvf_plan_results_t){
        .first_token = bind->first_token,
        .tokens = bind->tokens,
        .missing_token = UINT64_MAX,
        .step_tokens = 1,
    };
}

/* What a part asks of a prefix, whatever becomes of its pairs. */
static void add_part(const kvf_bind_t *bind, const kvfi_plan_part_t *part, kvf_plan_results_t *results)
{
    results->step_tokens = kvfi_kv_common_multiple(results->step_tokens, part->tokens_per_state);
    if ((bind->flags & KVF_BIND_WINDOW) != 0 && part->window != 0 && bind->tokens > part->window)
        results->whole_only = 1;
}

static uint64_t prefix_of(const kvf_plan_results_t *r)
{
    uint64_t end = r->missing_token / r->step_tokens * r->step_tokens;

    if (r->missing_token == UINT64_MAX)
        return r->tokens;
    return r->whole_only || end < r->first_token ? 0 : end - r->first_token;
}

kvf_status_t kvf_plan_results(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_status_t posted,
                              kvf_plan_results_t *results_p)
{
    kvf_bind_t copy;
    kvf_plan_results_t results;
    kvf_status_t status = kvfi_kv_bind_check(plan, &bind, &copy);
    kvfi_fold_t fold = {.bind = bind, .posted = posted, .to = &results};
    uint64_t pairs;

    if (status == KVF_OK)
        status = kvf_struct_read("results: results_p", results_p, sizeof(results), &results);
    if (status == KVF_OK)
        status = check_results(bind, posted, &results);
    if (status == KVF_OK)
        status = kvfi_kv_walk_pairs(plan, bind, NULL, &pairs);
    if (status == KVF_OK && posted == KVF_OK)
        status = check_pairs(bind, pairs);
    if (status != KVF_OK)
        return status;
    if (results.bindings == 0)
        begin(bind, &results);
    results.bindings++;
    for (uint32_t i = 0; i < plan->part_count && bind->tokens > 0; i++)
        add_part(bind, &plan->parts[i], &results);
    status = kvfi_kv_walk_pairs(plan, bind, &fold, &pairs);
    results.prefix_tokens = prefix_of(&results);
    return status != KVF_OK ? status
                            : kvf_struct_write("results: results_p", &results, sizeof(results), results_p);
}

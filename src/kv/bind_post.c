/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bind and post in one. What a posted binding points to, and the ops on their way to post, lie in arrays
 * that the batch keeps (kvf_batch_keep()): grown when a binding needs more, used again otherwise. One
 * thread at a time is inside with a batch, and never while it runs, as its ids are read then. Blocks on
 * nothing but what post does.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/status.h"
#include "kv/bind.h"

typedef struct kept {
    atomic_flag taken; /* by a thread that binds or takes results */
    kvf_op_t *ops;
    uint32_t *ids;
    int8_t *pairs;
    size_t op_room, id_room, pair_room;
    bool has_pairs;      /* of the last post, */
    kvf_status_t posted; /* which returned this */
} kept_t;

static void drop(void *arg)
{
    kept_t *kept = arg;

    free(kept->ops);
    free(kept->ids);
    free(kept->pairs);
    free(kept);
}

/* What batch keeps, made at the first need. */
static kvf_status_t kept_of(kvf_batch_t *batch, kept_t **kept_p)
{
    void *kept = NULL;
    kept_t *fresh;
    kvf_status_t status = kvf_batch_keep(batch, NULL, drop, &kept);

    if (status == KVF_OK && kept == NULL) {
        fresh = calloc(1, sizeof(*fresh));
        if (fresh == NULL)
            return kvfi_fail(KVF_ERR_NOMEM, "bind: no memory for what a batch keeps");
        atomic_flag_clear(&fresh->taken);
        status = kvf_batch_keep(batch, fresh, drop, &kept);
        if (kept != fresh)
            free(fresh);
    }
    *kept_p = kept;
    return status;
}

/* Be the only one, and the batch at rest. */
static kvf_status_t take(kvf_batch_t *batch, kept_t *kept)
{
    kvf_batch_result_t result = {.struct_size = sizeof(result)};
    kvf_status_t status;

    if (atomic_flag_test_and_set_explicit(&kept->taken, memory_order_acquire))
        return kvfi_fail(KVF_ERR_BUSY, "bind: another thread is posting the batch");
    status = kvf_batch_result(batch, &result);
    if (status != KVF_OK)
        atomic_flag_clear_explicit(&kept->taken, memory_order_release);
    return status;
}

static void give(kept_t *kept)
{
    atomic_flag_clear_explicit(&kept->taken, memory_order_release);
}

/* At least count entries; the old ones are of no use. */
static kvf_status_t grow(void **array, size_t *room, uint64_t count, size_t size, const char *what)
{
    size_t more = *room + *room / 2;

    if (*array != NULL && count <= *room)
        return KVF_OK;
    more = more < count ? count : more;
    free(*array);
    *room = 0;
    *array = calloc(more + 1, size);
    if (*array == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "bind: no memory for %zu %s", more, what);
    *room = more;
    return KVF_OK;
}

static kvf_status_t grow_all(const kvf_plan_t *plan, const kvf_bind_t *bind, kept_t *kept)
{
    kvf_plan_size_t size = {.struct_size = sizeof(size)};
    kvf_status_t status = kvf_plan_measure(plan, bind, &size);

    if (status == KVF_OK)
        status = grow((void **)&kept->ops, &kept->op_room, size.ops, sizeof(*kept->ops), "ops");
    if (status == KVF_OK)
        status = grow((void **)&kept->ids, &kept->id_room, size.ids, sizeof(*kept->ids), "ids");
    if (status == KVF_OK && (bind->flags & KVF_BIND_KEEP) != 0)
        status = grow((void **)&kept->pairs, &kept->pair_room, size.pairs, sizeof(*kept->pairs), "pairs");
    return status;
}

/* bind, with the statuses in what is kept. */
static kvf_bind_t with_pairs(const kvf_bind_t *bind, const kept_t *kept)
{
    kvf_bind_t own = *bind;

    if ((bind->flags & KVF_BIND_KEEP) != 0) {
        own.flags &= ~KVF_BIND_KEEP;
        own.pair_status = kept->pairs;
        own.pair_count = kept->pair_room;
    }
    return own;
}

static kvf_status_t fill(const kvf_plan_t *plan, const kvf_bind_t *bind, kept_t *kept, size_t *count_p)
{
    kvf_bind_t own = with_pairs(bind, kept);
    size_t ids = kept->id_room;

    *count_p = kept->op_room;
    return kvf_plan_bind(plan, &own, kept->ops, sizeof(*kept->ops), count_p, kept->ids, &ids);
}

static kvf_status_t bind_and_post(const kvf_plan_t *plan, const kvf_bind_t *bind, kept_t *kept,
                                  kvf_batch_t *batch, const kvf_batch_opts_t *opts)
{
    bool keeps = (bind->flags & KVF_BIND_KEEP) != 0;
    size_t count = 0;
    kvf_status_t status = KVF_ERR_SPACE;

    if (kept->ops != NULL && kept->ids != NULL && (!keeps || kept->pairs != NULL))
        status = fill(plan, bind, kept, &count);
    if (status == KVF_ERR_SPACE) {
        status = grow_all(plan, bind, kept);
        if (status == KVF_OK)
            status = fill(plan, bind, kept, &count);
    }
    if (status == KVF_OK)
        status = kvf_batch_post(batch, kept->ops, count, sizeof(*kept->ops), opts);
    kept->has_pairs = keeps;
    kept->posted = status;
    return status;
}

kvf_status_t kvf_plan_post(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_batch_t *batch,
                           const kvf_batch_opts_t *opts)
{
    kept_t *kept;
    kvf_bind_t copy;
    kvf_status_t status = kvfi_kv_bind_check(plan, &bind, &copy);

    if (status == KVF_OK)
        status = kept_of(batch, &kept);
    if (status == KVF_OK)
        status = take(batch, kept);
    if (status != KVF_OK)
        return status;
    status = bind_and_post(plan, bind, kept, batch, opts);
    give(kept);
    return status;
}

kvf_status_t kvf_plan_post_results(const kvf_plan_t *plan, const kvf_bind_t *bind, kvf_batch_t *batch,
                                   kvf_plan_results_t *results_p)
{
    kept_t *kept;
    kvf_bind_t copy, own;
    kvf_status_t status = kvfi_kv_bind_check(plan, &bind, &copy);

    if (status == KVF_OK && (bind->flags & KVF_BIND_KEEP) == 0)
        status = kvfi_fail(KVF_ERR_INVALID, "results: the binding has no KVF_BIND_KEEP");
    if (status == KVF_OK)
        status = kept_of(batch, &kept);
    if (status == KVF_OK)
        status = take(batch, kept);
    if (status != KVF_OK)
        return status;
    own = with_pairs(bind, kept);
    if (kept->has_pairs)
        status = kvf_plan_results(plan, &own, kept->posted, results_p);
    else
        status = kvfi_fail(KVF_ERR_INVALID, "results: the batch was not posted with KVF_BIND_KEEP");
    give(kept);
    return status;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_path_cost: what a batch is predicted to take, from the costs that are in force in this process
 * (copy/cost.h). It asks no peer and measures nothing.
 */
#include "base/status.h"
#include "copy/tune.h"
#include "engine/object.h"

static kvf_status_t predict(kvf_path_t path, uint64_t ops, uint64_t pieces, uint64_t bytes, uint64_t *ns_p)
{
    const kvfi_cost_t *cost;

    if (path <= KVF_PATH_NONE || path >= KVF_PATH_COUNT)
        return kvfi_fail(KVF_ERR_INVALID, "path is %d: there is no such path", (int)path);
    if (pieces > bytes || (bytes && !pieces))
        return kvfi_fail(KVF_ERR_INVALID, "pieces is %llu and bytes %llu: a piece has at least one byte",
                         (unsigned long long)pieces, (unsigned long long)bytes);
    if (!ns_p)
        return kvfi_fail(KVF_ERR_INVALID, "ns_p is NULL");
    cost = &kvfi_tune()->costs.path[path];
    if (!cost->fixed_ns)
        return kvfi_fail(KVF_ERR_UNSUPPORTED,
                         "nothing is known of what path %s costs: a line cost_%s in "
                         "the file of kvf_info --calibrate says it",
                         kvf_path_name(path), kvf_path_name(path));
    *ns_p = kvfi_cost_ns(cost, ops, pieces, bytes);
    return KVF_OK;
}

kvf_status_t kvf_path_cost(kvf_engine_t *engine, kvf_path_t path, uint64_t ops, uint64_t pieces,
                           uint64_t bytes, uint64_t *ns_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    status = predict(path, ops, pieces, bytes, ns_p);
    kvfi_leave(engine);
    return status;
}

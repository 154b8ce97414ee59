/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a pair's transfer is predicted to take on each path, from the costs that the library knows:
 * the built-in ones, or those of a calibration. Pieces of several sizes are asked for size by size,
 * and the cost of a batch as such is counted once. Opening an engine takes tens of milliseconds;
 * nothing else here blocks.
 */
#include "config.h"

#include "explain.h"

/* All sizes of a pair in one batch. False: nothing is known of the path. */
static bool predict(kvf_engine_t *engine, kvf_path_t path, const struct explain_figures *f, uint64_t *ns_p)
{
    uint64_t fixed, total, ns;

    if (kvf_path_cost(engine, path, 0, 0, 0, &fixed) != KVF_OK ||
        kvf_path_cost(engine, path, f->ops, 0, 0, &total) != KVF_OK) {
        return false;
    }
    for (uint32_t i = 0; i < f->size_count; i++) {
        const struct explain_size *size = &f->sizes[i];
        if (kvf_path_cost(engine, path, 0, size->pieces, size->pieces * size->bytes, &ns) != KVF_OK) {
            return false;
        }
        total += ns > fixed ? ns - fixed : 0;
    }
    *ns_p = total;
    return true;
}

/* As if all pieces were of the mean size. */
static void predict_hint(kvf_engine_t *engine, const struct explain_share *share, struct explain_hint *hint)
{
    uint64_t pieces = share->figures.bytes / hint->piece, ns;

    for (int path = 0; path < KVF_PATH_COUNT; path++) {
        bool known =
            kvf_path_cost(engine, (kvf_path_t)path, hint->ops, pieces, share->figures.bytes, &ns) == KVF_OK;
        hint->path_ns[path] = known ? ns : 0;
    }
}

void kvfi_explain_predict(kvf_engine_t *engine, struct explain_pairs *pairs)
{
    for (uint32_t i = 0; i < pairs->count; i++) {
        struct explain_pair *pair = &pairs->pairs[i];
        for (int path = 0; path < KVF_PATH_COUNT; path++) {
            uint64_t ns;
            pair->path_ns[path] = predict(engine, (kvf_path_t)path, &pair->figures, &ns) ? ns : 0;
        }
        for (uint32_t s = 0; s < pair->share_count; s++) {
            for (uint32_t h = 0; h < pair->shares[s].hint_count; h++) {
                predict_hint(engine, &pair->shares[s], &pair->shares[s].hints[h]);
            }
        }
    }
}

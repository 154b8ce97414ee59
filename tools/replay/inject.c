/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Faults on purpose: inject.h says which.
 */
#include "config.h"

#include "inject.h"

static bool wants(const struct replay_job *job, uint64_t request, enum replay_inject fault)
{
    return job->opts->inject == fault && job->shape->target == request;
}

void kvfi_replay_inject_tables(struct replay_job *job, uint64_t request, uint32_t *src_ids,
                               uint32_t *src_gens)
{
    uint32_t other = job->shape->side[REPLAY_SRC].per_block, id = src_ids[0], gen = src_gens[0];

    if (wants(job, request, REPLAY_INJECT_SWAP_BLOCKS)) {
        src_ids[0] = src_ids[other];
        src_gens[0] = src_gens[other];
        src_ids[other] = id;
        src_gens[other] = gen;
        job->stats.injected++;
    }
}

size_t kvfi_replay_inject_ops(struct replay_job *job, uint64_t request, size_t count)
{
    if (!wants(job, request, REPLAY_INJECT_DROP_OP)) {
        return count;
    }
    job->stats.injected++;
    return count - 1;
}

static void swap_bytes(uint8_t *one, uint8_t *other, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        uint8_t byte = one[i];
        one[i] = other[i];
        other[i] = byte;
    }
}

/* Where the cell is, NULL if there is none. */
static uint8_t *cell_at(const kvf_layout_t *layout, uint8_t *const *bases, uint32_t group, uint32_t plane,
                        uint32_t layer, uint32_t block, uint32_t head, uint32_t state)
{
    uint32_t segment;
    uint64_t off;

    return kvf_layout_locate(layout, group, plane, layer, block, head, state, &segment, &off) == KVF_OK
               ? bases[segment] + off
               : NULL;
}

/* The first plane of each group is K, K and V, or the latent; the second one V where they are apart. */
static void swap_planes(const kvf_layout_t *layout, const kvf_group_t *group, uint32_t g,
                        uint8_t *const *bases, uint32_t layer, uint32_t block, uint32_t state)
{
    for (uint32_t h = 0; h < group->heads; h++) {
        uint8_t *k = cell_at(layout, bases, g, 0, layer, block, group->first_head + h, state);
        if (group->planes[0].kind == KVF_PLANE_KV) {
            swap_bytes(k, k + group->planes[0].k_content, group->planes[0].k_content);
        } else {
            swap_bytes(k, cell_at(layout, bases, g, 1, layer, block, group->first_head + h, state),
                       group->planes[0].content);
        }
    }
}

static void swap_heads(const kvf_layout_t *layout, const kvf_group_t *group, uint32_t g,
                       uint8_t *const *bases, uint32_t layer, uint32_t block, uint32_t state)
{
    for (uint32_t n = 0; n < group->plane_count; n++) {
        swap_bytes(cell_at(layout, bases, g, n, layer, block, group->first_head, state),
                   cell_at(layout, bases, g, n, layer, block, group->first_head + 1, state),
                   group->planes[n].content);
    }
}

void kvfi_replay_inject_bytes(struct replay_job *job, uint64_t request, const kvf_layout_t *layout,
                              uint8_t *const *bases, uint32_t block)
{
    const kvf_layout_desc_t *desc = kvf_layout_describe(layout);
    bool heads = wants(job, request, REPLAY_INJECT_SWAP_HEADS);

    if (wants(job, request, REPLAY_INJECT_FLIP)) {
        const kvf_group_t *group = &desc->groups[0];
        *cell_at(layout, bases, 0, 0, group->layers[0], block, group->first_head, 0) ^= 1;
        job->stats.injected++;
        return;
    }
    if (!heads && !wants(job, request, REPLAY_INJECT_WRONG_PLANE)) {
        return;
    }
    for (uint32_t g = 0; g < desc->group_count; g++) {
        const kvf_group_t *group = &desc->groups[g];
        for (uint32_t i = 0; i < group->layer_count; i++) {
            for (uint32_t t = 0; t < group->block_tokens; t++) {
                (heads ? swap_heads : swap_planes)(layout, group, g, bases, group->layers[i], block, t);
            }
        }
    }
    job->stats.injected++;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Extents, capacities, and the exact test whether pieces of one box overlap.
 */
#include "copy/extent.h"

#include "kvferry.h"

typedef __int128 wide_t;

static int skipped(const kvfi_side_t *side, uint32_t pair)
{
    return (side->ids && side->ids[pair] == KVF_SKIP) || (side->other && side->other[pair] == KVF_SKIP);
}

/* Ids below this fit, before the check of each. */
static uint64_t capacity(const kvfi_side_t *side, wide_t end)
{
    wide_t fit;

    if (side->cap)
        return side->cap;
    if (!side->block)
        return KVF_SKIP;
    if (end > (wide_t)side->limit)
        return 0;
    fit = ((wide_t)side->limit - end) / side->block + 1;
    return fit > KVF_SKIP ? KVF_SKIP : (uint64_t)fit;
}

kvfi_extent_t kvfi_side_check(const kvfi_side_t *side, uint32_t *index_p, uint64_t *cap_p)
{
    wide_t   begin = side->off, end = begin + side->len;
    uint32_t least = KVF_SKIP, most = 0, most_at = 0, least_at = 0;

    for (int axis = 0; axis < 2; axis++) {
        wide_t span = (wide_t)side->stride[axis] * (side->count[axis] - 1);

        *(span < 0 ? &begin : &end) += span;
    }
    *cap_p = capacity(side, end);
    for (uint32_t i = 0; i < side->blocks; i++) {
        uint32_t id = side->ids ? side->ids[i] : i;

        if (skipped(side, i))
            continue;
        if (id >= *cap_p && (side->cap || end <= (wide_t)side->limit)) {
            *index_p = i;
            return KVFI_EXTENT_ID;
        }
        if (id < least) {
            least = id;
            least_at = i;
        }
        if (id >= most) {
            most = id;
            most_at = i;
        }
    }
    if (least == KVF_SKIP)
        return KVFI_EXTENT_OK; /* nothing moves */
    *index_p = least_at;
    if (begin + (wide_t)least * side->block < 0)
        return KVFI_EXTENT_BEFORE;
    *index_p = most_at;
    return end + (wide_t)most * side->block > (wide_t)side->limit ? KVFI_EXTENT_PAST : KVFI_EXTENT_OK;
}

uint64_t kvfi_side_bytes(const kvfi_side_t *side)
{
    uint64_t          pairs = side->blocks;
    unsigned __int128 bytes;

    if (side->ids || side->other)
        for (uint32_t i = 0; i < side->blocks; i++)
            pairs -= (uint64_t)skipped(side, i);
    if (!pairs)
        return 0;
    /* below 2^128: three factors of 32 bits and one of 64, of which len * count is looked at first */
    bytes = (unsigned __int128)side->len * side->count[0];
    if (bytes > UINT64_MAX)
        return UINT64_MAX;
    bytes *= side->count[1];
    if (bytes > UINT64_MAX)
        return UINT64_MAX;
    bytes *= pairs;
    return bytes > UINT64_MAX ? UINT64_MAX : (uint64_t)bytes;
}

/* Two pieces overlap if some (dx, dy) other than (0, 0) within the counts lies less than len from
 * the origin. For each dy the nearest dx is one of two neighbours of -dy * stride[1] / stride[0];
 * the shorter axis is the one that is tried out. */
int kvfi_side_overlaps(uint64_t len, const uint32_t count[2], const int64_t stride[2])
{
    int    outer = count[1] <= count[0], inner = !outer;
    wide_t step = stride[inner], far = (wide_t)count[inner] - 1;

    if (far && (step < 0 ? -step : step) < (wide_t)len)
        return 1;
    for (wide_t d = 1; d < count[outer]; d++) {
        wide_t at = d * stride[outer], nearest = step ? -at / step : 0;

        for (wide_t n = nearest - 1; n <= nearest + 1; n++) {
            wide_t k = n < -far ? -far : n > far ? far : n, gap = at + k * step;

            if ((gap < 0 ? -gap : gap) < (wide_t)len)
                return 1;
        }
    }
    return 0;
}

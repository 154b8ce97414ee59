/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Extents, capacities, and the exact test whether pieces of one box overlap.
 */
#include "copy/extent.h"

#include "copy/tune.h"

typedef __int128 wide_t;

static int skipped(const kvfi_side_t *side, uint32_t pair)
{
    return (side->ids && side->ids[pair] == KVF_SKIP) || (side->other && side->other[pair] == KVF_SKIP);
}

/* Where the pieces of the block at 0 begin and end. */
static void box_of(const kvfi_side_t *side, wide_t *begin_p, wide_t *end_p)
{
    *begin_p = side->off;
    *end_p = *begin_p + side->len;
    for (int axis = 0; axis < 2; axis++) {
        wide_t span = (wide_t)side->stride[axis] * (side->count[axis] - 1);

        *(span < 0 ? begin_p : end_p) += span;
    }
}

typedef struct id_range {
    uint32_t least, most; /* of the pairs that are not skipped */
    uint64_t pairs;       /* so many */
} id_range_t;

static id_range_t range_of_ids(const kvfi_side_t *side)
{
    id_range_t range = {.least = KVF_SKIP};

    if (!side->ids && !side->other)
        return (id_range_t){.most = side->blocks - 1, .pairs = side->blocks};
    for (uint32_t i = 0; i < side->blocks; i++) {
        uint32_t id = side->ids ? side->ids[i] : i;

        if (skipped(side, i))
            continue;
        range.pairs++;
        range.least = id < range.least ? id : range.least;
        range.most = id > range.most ? id : range.most;
    }
    return range;
}

/* Ids below this fit. */
static uint64_t capacity(const kvfi_side_t *side, wide_t end)
{
    wide_t fit;

    if (side->cap)
        return side->cap;
    if (!side->block)
        return KVF_SKIP;
    fit = ((wide_t)side->limit - end) / side->block + 1;
    return fit > KVF_SKIP ? KVF_SKIP : (uint64_t)fit;
}

/* The first pair with that id, or with one at or past a capacity. Without lists pair i has id i: that a
 * count is large is no reason to count. */
static uint32_t pair_with(const kvfi_side_t *side, uint32_t id, uint64_t cap)
{
    if (!side->ids && !side->other)
        return cap < id ? (uint32_t)cap : id;
    for (uint32_t i = 0;; i++) {
        uint32_t this = side->ids ? side->ids[i] : i;

        if (!skipped(side, i) && (this == id || this >= cap))
            return i;
    }
}

/* Where the block at 0 ends, if it begins at or after 0 and nothing wraps; else -1. */
static int end_of(const kvfi_side_t *side, uint64_t *end_p)
{
    uint64_t begin = side->off, end;

    if (__builtin_add_overflow(begin, side->len, &end))
        return -1;
    for (int axis = 0; axis < 2; axis++) {
        int64_t span;

        if (side->count[axis] == 1)
            continue;
        if (__builtin_mul_overflow(side->stride[axis], (int64_t)side->count[axis] - 1, &span))
            return -1;
        if (span < 0 ? __builtin_sub_overflow(begin, -(uint64_t)span, &begin)
                     : __builtin_add_overflow(end, (uint64_t)span, &end))
            return -1;
    }
    *end_p = end;
    return 0;
}

/* One past the largest id with which a block that ends there at 0 is inside; 0: none, or more than a
 * signed id tells. A capacity that fits needs no division. */
static uint32_t ids_inside(const kvfi_side_t *side, uint64_t end)
{
    uint64_t fit = INT32_MAX, last;

    if (end > side->limit)
        return 0;
    if (side->cap && !__builtin_mul_overflow((uint64_t)side->cap - 1, side->block, &last) &&
        last <= side->limit - end)
        fit = side->cap;
    else if (side->block)
        fit = (side->limit - end) / side->block + 1;
    if (side->cap && side->cap < fit)
        fit = side->cap;
    return fit < INT32_MAX ? (uint32_t)fit : INT32_MAX;
}

__attribute__((hot)) int kvfi_side_is_inside(const kvfi_side_t *side)
{
    uint64_t end;
    uint32_t below;

    if (end_of(side, &end))
        return 0;
    below = ids_inside(side, end);
    if (!side->ids)
        return side->blocks <= below;
    return below && kvfi_tune()->kernel->below(side->ids, side->blocks, below);
}

kvfi_extent_t kvfi_side_check(const kvfi_side_t *side, kvfi_found_t *found_p)
{
    id_range_t range = range_of_ids(side);
    wide_t begin, end;

    found_p->pairs = range.pairs;
    if (!range.pairs)
        return KVFI_EXTENT_OK; /* nothing moves */
    box_of(side, &begin, &end);
    if ((!side->cap || range.most < side->cap) && begin + (wide_t)range.least * side->block >= 0 &&
        end + (wide_t)range.most * side->block <= (wide_t)side->limit)
        return KVFI_EXTENT_OK;
    if (side->cap || end <= (wide_t)side->limit) {
        found_p->cap = capacity(side, end);
        if (range.most >= found_p->cap) {
            found_p->index = pair_with(side, KVF_SKIP, found_p->cap);
            return KVFI_EXTENT_ID;
        }
    }
    if (begin + (wide_t)range.least * side->block < 0) {
        found_p->index = pair_with(side, range.least, UINT64_MAX);
        return KVFI_EXTENT_BEFORE;
    }
    found_p->index = pair_with(side, range.most, UINT64_MAX);
    return KVFI_EXTENT_PAST;
}

__attribute__((hot)) uint64_t kvfi_side_bytes(const kvfi_side_t *side, uint64_t pairs)
{
    uint64_t bytes;

    if (__builtin_mul_overflow(side->len, (uint64_t)side->count[0] * side->count[1], &bytes) ||
        __builtin_mul_overflow(bytes, pairs, &bytes))
        return UINT64_MAX;
    return bytes;
}

/* Two pieces overlap if some (dx, dy) other than (0, 0) within the counts lies less than len from
 * the origin. For each dy the nearest dx is one of two neighbours of -dy * stride[1] / stride[0];
 * the shorter axis is the one that is tried out. */
__attribute__((hot)) int kvfi_side_overlaps(uint64_t len, const uint32_t count[2], const int64_t stride[2])
{
    int outer = count[1] <= count[0], inner = !outer;
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

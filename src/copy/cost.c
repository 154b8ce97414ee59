/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The built-in costs, and the line between two sizes. See cost.h. The figures are those of the tables of
 * docs/performance.md where these have them (medians, one thread, both sides scattered and outside the
 * caches), of `kvf_bench --piece` and of batches of up to 4097 ops for the rest; those of am are of
 * one TCP connection over loopback, where both ends share two processors.
 */
#include "copy/cost.h"

typedef unsigned __int128 wide_t;

const uint64_t kvfi_cost_sizes[KVFI_COST_SIZES] = {64,       256,      1 << 10,   4 << 10,
                                                   16 << 10, 64 << 10, 256 << 10, 2 << 20};

#define COPY                                                                                                 \
    {                                                                                                        \
        300, 150,                                                                                            \
        {                                                                                                    \
            17000, 21000, 62000, 201000, 653000, 2450000, 10600000, 83600000                                 \
        }                                                                                                    \
    }

const kvfi_costs_t kvfi_costs_built_in = {
    .path =
        {
            [KVF_PATH_SELF] = COPY,
            [KVF_PATH_SHM] = COPY,
            [KVF_PATH_CMA] = {300,
                              1200,
                              {500000, 514000, 653000, 945000, 2890000, 8670000, 34700000, 252000000}},
            [KVF_PATH_STAGE] = {2100,
                                1400,
                                {17000, 24000, 80000, 339000, 1250000, 3570000, 14300000, 108000000}},
            [KVF_PATH_AM] = {26000,
                             4000,
                             {35000, 123000, 411000, 1460000, 5460000, 21800000, 90000000, 720000000}},
        },
    .wake_ns = 45000,
};

/* Picoseconds of one piece of bytes/pieces bytes, times pieces. */
static wide_t pieces_ps(const kvfi_cost_t *cost, uint64_t pieces, uint64_t bytes)
{
    const uint64_t *size = kvfi_cost_sizes;
    const int last = KVFI_COST_SIZES - 1;
    uint64_t len = bytes / pieces, step, rise;
    int i = 0;

    if (len <= size[0])
        return (wide_t)pieces * cost->piece_ps[0];
    if (len >= size[last])
        return (wide_t)bytes * cost->piece_ps[last] / size[last];
    while (len >= size[i + 1])
        i++;
    step = size[i + 1] - size[i];
    rise = cost->piece_ps[i + 1] > cost->piece_ps[i] ? cost->piece_ps[i + 1] - cost->piece_ps[i] : 0;
    /* bytes past the smaller size, all pieces together */
    return (wide_t)pieces * cost->piece_ps[i] + ((wide_t)bytes - (wide_t)pieces * size[i]) * rise / step;
}

uint64_t kvfi_cost_ns(const kvfi_cost_t *cost, uint64_t ops, uint64_t pieces, uint64_t bytes)
{
    wide_t ns = cost->fixed_ns + (wide_t)ops * cost->op_ns;

    if (pieces)
        ns += pieces_ps(cost, pieces, bytes) / 1000;
    return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a batch costs on a path, as numbers: a fixed part, a part for each op, a part for each piece
 * by its size. The built-in ones were measured on the machine of docs/performance.md. Those in force
 * stand in kvfi_tune(). Here is the arithmetic only.
 */
#ifndef KVFI_COPY_COST_H
#define KVFI_COPY_COST_H

#include <stdint.h>

#include "kvferry.h"

#define KVFI_COST_SIZES 8

/* Bytes of a piece, ascending; costs in between are on a line, those of longer pieces in proportion. */
extern const uint64_t kvfi_cost_sizes[KVFI_COST_SIZES];

typedef struct kvfi_cost {
    uint64_t fixed_ns, op_ns;           /* fixed_ns 0: nothing is known of the path */
    uint64_t piece_ps[KVFI_COST_SIZES]; /* picoseconds a piece */
} kvfi_cost_t;

typedef struct kvfi_costs {
    kvfi_cost_t path[KVF_PATH_COUNT];
    uint64_t wake_ns; /* until an owner that sleeps begins with its half */
} kvfi_costs_t;

extern const kvfi_costs_t kvfi_costs_built_in;

/* From post to end, of pieces that are outside the caches; UINT64_MAX where it would be more. pieces
 * is at most bytes. */
uint64_t kvfi_cost_ns(const kvfi_cost_t *cost, uint64_t ops, uint64_t pieces, uint64_t bytes);

#endif

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the blocks of two sides meet. Both cut the same row of states into blocks, and may hold
 * only some of them (context parallelism); a source that is one of several replicas serves only
 * some blocks of the destination. All of it repeats after a period:
 *
 *      source, 6 states a block       |-----|-----|-----|-----|
 *      destination, 4 states          |---|---|---|---|---|---|
 *      forms                           0   1 2 0    0   1 2 0   (two periods of 12)
 *
 * A form is one geometry: the same states of a source and of a destination block. Each place of
 * it in a period is a meet. One op carries a form over all periods of a request.
 */
#ifndef KVFI_KV_PATTERN_H
#define KVFI_KV_PATTERN_H

#include "kv/box.h"

/* How one side cuts and deals the states of a request. */
typedef struct kvfi_cut {
    uint64_t states; /* of a block */
    uint64_t ranks, rank;
    uint64_t dealt; /* states dealt at a time */
} kvfi_cut_t;

typedef struct kvfi_meet {
    uint64_t from, to;             /* states of the period, first and past the last */
    uint32_t src_entry, dst_entry; /* blocks, from the start of the period */
} kvfi_meet_t;

typedef struct kvfi_form {
    kvfi_span_t span;
    uint32_t first, count; /* meets, by rising state */
} kvfi_form_t;

typedef struct kvfi_pattern {
    uint64_t period;                   /* states */
    uint32_t src_entries, dst_entries; /* blocks in a period */
    uint32_t form_count;
    uint32_t meet_count; /* 0: the sides never meet */
    kvfi_form_t *forms;
    kvfi_meet_t *meets;
} kvfi_pattern_t;

kvfi_cut_t kvfi_kv_cut(const kvf_group_t *group);

/* States after which a side's blocks look the same again. */
uint64_t kvfi_kv_cut_span(const kvfi_cut_t *cut);

/* Of the destination's blocks b only those with b % replicas == replica. Errors: UNSUPPORTED,
 * NOMEM. */
kvf_status_t kvfi_kv_pattern_make(const kvfi_cut_t *src, const kvfi_cut_t *dst, uint32_t replicas,
                                  uint32_t replica, kvfi_pattern_t *pattern_p);

/* UINT64_MAX where it is more than that. */
uint64_t kvfi_kv_common_multiple(uint64_t a, uint64_t b);

void kvfi_kv_pattern_free(kvfi_pattern_t *pattern);

#endif

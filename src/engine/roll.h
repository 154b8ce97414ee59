/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The roll of an engine's peers, each in a place that it keeps until it is struck.
 */
#ifndef KVFI_ENGINE_ROLL_H
#define KVFI_ENGINE_ROLL_H

#include "kvferry.h"

typedef struct kvfi_roll {
    kvf_peer_t **peers; /* NULL: a place that is free */
    uint32_t count;     /* places, up to the last that was ever taken */
    uint32_t holes;     /* of these, free */
    uint32_t room;
} kvfi_roll_t;

/* 0, or -1 without memory. */
int kvfi_roll_add(kvfi_roll_t *roll, kvf_peer_t *peer);
void kvfi_roll_strike(kvfi_roll_t *roll, const kvf_peer_t *peer);

#endif

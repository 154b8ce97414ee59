/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of the rings carrier share: the state of a machine, and of a pair of neighbours.
 */
#ifndef KVFI_PATH_RINGS_H
#define KVFI_PATH_RINGS_H

#include "path/am_internal.h"
#include "path/mail.h"
#include "path/stage.h"

typedef struct kvfi_rings {
    uint32_t hellos;                /* that were heard, as the page counts them, */
    uint32_t seen[KVFI_PAGE_SEATS]; /* and the last one of each seat */
    uint64_t looked_ns;             /* at the lives of peers */
} kvfi_rings_t;

typedef struct kvfi_pair {
    kvfi_mail_t mail;
    kvfi_stage_t stage;
} kvfi_pair_t;

static inline kvfi_rings_t *kvfi_rings_of(const kvfi_am_t *am)
{
    return am->state;
}

static inline kvfi_pair_t *kvfi_pair_of(const kvfi_am_peer_t *peer)
{
    return peer->state;
}

#endif

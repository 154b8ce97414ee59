/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What of an engine others may touch, counted: it outlives the engine for as long as they hold it.
 */
#ifndef KVFI_ENGINE_HOME_H
#define KVFI_ENGINE_HOME_H

#include "base/bell.h"
#include "base/proc.h"
#include "kvferry.h"
#include "path/page.h"
#include "ucx/ucx.h"

typedef struct kvfi_home {
    struct kvfi_home *next;       /* the process's list */
    kvf_engine_t *_Atomic engine; /* NULL once it closes */
    uint64_t incarnation;
    unsigned refs;
    kvfi_link_t *near;     /* NULL: no shared memory on this machine, */
    char why_private[480]; /* for this reason */
    kvfi_bell_t bell;      /* for near peers to ring */
    kvfi_mem_t *mem;       /* of the page; NULL: the page is private */
    kvfi_page_t *page;
    kvfi_owner_t owner;
    kvfi_proc_id_t proc;
    char boot[KVFI_BOOT_LEN];
} kvfi_home_t;

kvf_status_t kvfi_home_open(kvf_engine_t *engine);
/* The home of an engine of this process, referenced; NULL if it is none. */
kvfi_home_t *kvfi_home_find(uint64_t incarnation);
void kvfi_home_release(kvfi_home_t *home);
/* Nobody finds it any more; doorbells for it are lost. */
void kvfi_home_retire(kvfi_home_t *home);
/* A notification came for an engine of this process. */
void kvfi_home_ring(kvfi_home_t *home);
/* It closes: wake who sleeps and has it as a peer. */
void kvfi_home_part(kvfi_home_t *home);

#endif

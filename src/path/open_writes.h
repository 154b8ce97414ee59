/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where bytes of WRITEs that were given up may still land: of all machines of one engine, by the process that
 * owns the memory and the address there. Neither the path nor the engine of the owner matters, so what goes
 * to the same bytes by another way is found to overlap.
 */
#ifndef KVFI_PATH_OPEN_WRITES_H
#define KVFI_PATH_OPEN_WRITES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/stretch.h"
#include "copy/box.h"
#include "path/path.h"

typedef struct kvfi_open_writes {
    _Atomic uint32_t count;
    _Atomic uint32_t settled; /* of them since open: another number is worth a look */
    pthread_mutex_t lock;     /* inside of each machine's */
    kvfi_stretch_t *stretches;
} kvfi_open_writes_t;

/* The bytes of one WRITE: their stretches in order, apart from each other; or one around all of them, if they
 * are more than KVFI_LANDING_MOST or there is no memory for them. */
#define KVFI_LANDING_MOST 4096u

typedef struct kvfi_landing {
    kvfi_point_t start;                /* of the range */
    kvfi_box_t box;                    /* folded; its lists are the caller's until the batch has ended */
    kvfi_stretch_t *stretches, around; /* stretches: malloced, or NULL: around alone */
    size_t count;
} kvfi_landing_t;

void kvfi_open_writes_init(kvfi_open_writes_t *writes);
void kvfi_open_writes_destroy(kvfi_open_writes_t *writes);

/* Of a WRITE that starts. Cheap: nothing is listed yet. */
void kvfi_landing_note(kvfi_landing_t *landing, const kvfi_xfer_t *xfer);
/* It is given up, and bytes of it may land: from here on it is found. */
void kvfi_open_writes_add(kvfi_open_writes_t *writes, kvfi_landing_t *landing);
/* None of it lands any more. */
void kvfi_open_writes_settle(kvfi_open_writes_t *writes, kvfi_landing_t *landing);
/* Does an op that has not started touch bytes that may still land? */
int kvfi_open_writes_touch(kvfi_open_writes_t *writes, const kvfi_xfer_t *xfer);

#endif

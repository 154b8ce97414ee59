/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One round of driving: the links, then the batches that run. Callers and waits do it (kvf_progress(),
 * test, wait, recv), and the engine's thread, if there is one. Nothing here waits.
 */
#include <stdlib.h>

#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/object.h"
#include "engine/progress.h"

#define SWEEP_FEW 64u

int kvfi_progress_sweep(kvf_engine_t *engine, int copy)
{
    kvf_batch_t *few[SWEEP_FEW], **batches = few;
    unsigned count = 0, room = atomic_load(&engine->running_count);
    int worked = 0;

    if (!room)
        return 0;
    if (room <= SWEEP_FEW || !(batches = malloc(room * sizeof *batches))) {
        batches = few;
        room = SWEEP_FEW;
    }
    pthread_mutex_lock(&engine->lock);
    for (kvf_batch_t *batch = engine->running; batch && count < room; batch = batch->run_next) {
        atomic_fetch_add(&batch->refs, 1);
        batches[count++] = batch;
    }
    pthread_mutex_unlock(&engine->lock);
    for (unsigned i = 0; i < count; i++) {
        worked |= copy && kvfi_batch_copies(batches[i]);
        worked |= kvfi_batch_advance(batches[i], copy);
        kvfi_batch_put(batches[i]);
    }
    if (batches != few)
        free(batches);
    return worked;
}

int kvfi_progress_drive(kvf_engine_t *engine, int copy)
{
    int worked = 0;

    for (unsigned i = 0; i < KVFI_DRIVERS; i++) {
        kvfi_driver_t *driver = kvfi_driver(engine, i);

        worked |= driver && driver->ops->progress(driver, 0);
    }
    return worked | kvfi_progress_sweep(engine, copy);
}

kvf_status_t kvf_progress(kvf_engine_t *engine)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    kvfi_progress_drive(engine, !engine->copiers);
    kvfi_leave(engine);
    return KVF_OK;
}

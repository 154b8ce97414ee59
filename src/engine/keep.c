/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a library built on kvferry keeps with a batch, such as the ids that its ops point to: it lives as
 * long as the batch does. The engine only stores the pointer and gives it back; batch.c drops it with the
 * batch. Blocks on nothing.
 */
#include "base/status.h"
#include "engine/batch.h"
#include "engine/object.h"

kvf_status_t kvf_batch_keep(kvf_batch_t *batch, void *fresh, void (*drop)(void *kept), void **kept_p)
{
    kvf_status_t status = kvfi_enter(batch, KVFI_BATCH);

    if (status != KVF_OK)
        return status;
    pthread_mutex_lock(&batch->lock);
    if (!drop || !kept_p) {
        status = kvfi_fail(KVF_ERR_INVALID, "%s is NULL", !drop ? "drop" : "kept_p");
    } else if (batch->kept && batch->drop != drop) {
        status = kvfi_fail(KVF_ERR_BUSY, "the batch keeps what was given with another drop");
    } else {
        if (!batch->kept && fresh) {
            batch->kept = fresh;
            batch->drop = drop;
        }
        *kept_p = batch->kept;
    }
    pthread_mutex_unlock(&batch->lock);
    kvfi_leave(batch->object.engine);
    return status;
}

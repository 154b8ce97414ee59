/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The notifications that came: taken from the rings of the control page, or from the far link, once the
 * engine was driven a little. Those on their way out are in notify.c.
 */
#include <string.h>

#include "base/table.h"
#include "engine/engine.h"
#include "engine/home.h"
#include "engine/object.h"
#include "engine/progress.h"

kvf_status_t kvf_notify_recv(kvf_engine_t *engine, kvf_notification_t *notification_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    kvf_notification_t n;
    kvfi_am_t   *am;
    kvfi_note_t  note;
    uint64_t     holder, rank;
    int          taken;

    if (status != KVF_OK)
        return status;
    status = kvf_struct_write("notification_p", NULL, sizeof n, notification_p);
    if (status != KVF_OK) /* before one is taken */
        goto leave;
    kvfi_progress_drive(engine, 0);
    pthread_mutex_lock(&engine->lock);
    taken = kvfi_page_take(&engine->home->owner, &engine->take_from, &note, &holder, &rank);
    pthread_mutex_unlock(&engine->lock);
    am = atomic_load(&engine->am);
    if (!taken && am)
        taken = kvfi_am_note_take(am, &note, &holder, &rank);
    if (!taken) {
        status = KVF_INPROGRESS;
        goto leave;
    }
    /* its batch was given up, and whoever gave it up has taken away what nobody had begun with */
    if (note.status != KVF_OK && engine->stage)
        kvfi_am_pass(engine->stage);
    n = (kvf_notification_t){.len = note.len, .incarnation = holder, .rank = rank, .status = note.status};
    memcpy(n.data, note.data, note.len);
    pthread_mutex_lock(&engine->lock);
    n.peer = kvfi_table_get(&engine->peers, holder);
    pthread_mutex_unlock(&engine->lock);
    kvfi_meter_note_received(&engine->meter);
    status = kvf_struct_write("notification_p", &n, sizeof n, notification_p);
leave:
    kvfi_leave(engine);
    return status;
}

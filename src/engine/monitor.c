/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What an engine tells of itself: which paths can work here, what UCX sees. Its counters are in meter.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "engine/engine.h"
#include "engine/home.h"
#include "engine/links.h"
#include "engine/object.h"

static kvf_status_t open_far(kvf_engine_t *engine)
{
    kvfi_am_t *am;

    return kvfi_links_far(engine, &am);
}

/* A look at what a path needs, without a peer. */
static kvf_status_t look(kvf_engine_t *engine, const kvfi_path_t *path)
{
    kvfi_home_t *home = engine->home;
    kvfi_node_t node = {.engine = engine,
                        .local_off = engine->local_off,
                        .why_private = home->near ? NULL : home->why_private,
                        .rings = kvfi_driver(engine, KVFI_NEAR) != NULL,
                        .proc = &home->proc,
                        .proof = engine->proof,
                        .open_far = open_far};
    const char *why = path->here(&node);
    char copy[512];

    if (!why)
        return KVF_OK;
    strncpy(copy, why, sizeof copy - 1);
    copy[sizeof copy - 1] = 0;
    return kvfi_fail(KVF_ERR_UNSUPPORTED, "%s: %s", path->name, copy);
}

kvf_status_t kvf_engine_path_check(kvf_engine_t *engine, kvf_path_t path)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    const kvfi_path_t *row = kvfi_path_of(path);

    if (status != KVF_OK)
        return status;
    status =
        row ? look(engine, row) : kvfi_fail(KVF_ERR_INVALID, "path is %d: there is no such path", (int)path);
    kvfi_leave(engine);
    return status;
}

kvf_status_t kvf_engine_ucx_text(kvf_engine_t *engine, char *buf, size_t *len_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    char *text;
    size_t need;

    if (status != KVF_OK)
        return status;
    text = kvfi_ucx_text();
    if (!len_p) {
        status = kvfi_fail(KVF_ERR_INVALID, "len_p is NULL");
    } else if (!text) {
        status = kvfi_fail(KVF_ERR_SYSTEM, "UCX tells nothing: %m");
    } else {
        need = strlen(text) + 1;
        if (buf && *len_p < need)
            status = kvfi_fail(KVF_ERR_SPACE, "the text needs %zu bytes, the buffer has %zu", need, *len_p);
        else if (buf)
            memcpy(buf, text, need);
        *len_p = need;
    }
    free(text);
    kvfi_leave(engine);
    return status;
}

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

/* A look at what the paths need, without a peer: our own memory through cma, our own page. */
static const char *why_not(kvf_engine_t *engine, kvf_path_t path, kvfi_cma_t *cma)
{
    kvfi_life_t ourselves = {.id = engine->home->proc, .pidfd = -1, .pid_here = 1};
    kvfi_am_t  *am;

    switch (path) {
    case KVF_PATH_SELF: return NULL;
    case KVF_PATH_SHM:
        if (engine->local_off)
            return "local = off";
        return engine->home->near ? NULL : engine->home->why_private;
    case KVF_PATH_CMA:
        if (engine->local_off)
            return "local = off";
        if (!engine->home->near)
            return "no shared memory to prove that a peer is near";
        kvfi_cma_prove(cma, &ourselves, (uintptr_t)engine->proof, engine->proof, sizeof engine->proof);
        return cma->why[KVF_READ] ? cma->why[KVF_READ] : cma->why[KVF_WRITE];
    case KVF_PATH_AM: return kvfi_links_far(engine, &am) == KVF_OK ? NULL : kvf_last_error();
    case KVF_PATH_RMA: return "not in this release: far peers are served over am";
    case KVF_PATH_STAGE:
        if (engine->local_off)
            return "local = off";
        return engine->stage ? NULL : "no shared memory for a ring";
    default: return "not in this release: device memory has no path";
    }
}

kvf_status_t kvf_engine_path_check(kvf_engine_t *engine, kvf_path_t path)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    kvfi_cma_t   cma = {.why = {NULL}};
    const char  *why;
    char         copy[512];

    if (status != KVF_OK)
        return status;
    if (path <= KVF_PATH_NONE || path >= KVF_PATH_COUNT) {
        status = kvfi_fail(KVF_ERR_INVALID, "path is %d: there is no such path", (int)path);
    } else {
        why = why_not(engine, path, &cma);
        if (why) {
            strncpy(copy, why, sizeof copy - 1);
            copy[sizeof copy - 1] = 0;
            status = kvfi_fail(KVF_ERR_UNSUPPORTED, "%s: %s", kvf_path_name(path), copy);
        }
    }
    kvfi_leave(engine);
    return status;
}

kvf_status_t kvf_engine_ucx_text(kvf_engine_t *engine, char *buf, size_t *len_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    char        *text;
    size_t       need;

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

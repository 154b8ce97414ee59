/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_engine_calibrate: measure, write the file, and use it from here on. Keeps the calling thread and
 * its processor busy for seconds; other calls of the engine go on meanwhile.
 */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "copy/calibration.h"
#include "engine/object.h"
#include "path/measure.h"

static kvf_status_t choose_file(const kvfi_host_t *host, const char *file, char *path, size_t len)
{
    if (file) {
        if (!file[0] || strlen(file) >= len)
            return kvfi_fail(KVF_ERR_INVALID, "file has %zu bytes, expected 1 to %zu", strlen(file), len - 1);
        memcpy(path, file, strlen(file) + 1);
        return KVF_OK;
    }
    if (kvfi_calibration_path(host, path, len))
        return kvfi_fail(KVF_ERR_INVALID,
                         "file is NULL, and the name of the usual one is longer than "
                         "%zu bytes: set KVFERRY_CALIBRATION",
                         len - 1);
    if (!path[0])
        return kvfi_fail(KVF_ERR_INVALID, "file is NULL, and neither KVFERRY_CALIBRATION nor "
                                          "XDG_CACHE_HOME nor HOME says where to keep it");
    if (!strcmp(path, "off"))
        return kvfi_fail(KVF_ERR_INVALID, "file is NULL, and KVFERRY_CALIBRATION is off: unset it, or "
                                          "set it to a file");
    return KVF_OK;
}

static kvf_status_t calibrate(const char *file)
{
    kvfi_host_t host = kvfi_host_look();
    kvfi_tune_t tune = kvfi_tune_default(&host);
    char path[sizeof tune.file];
    kvf_status_t status = choose_file(&host, file, path, sizeof path);
    const char *why = NULL;
    int error;

    if (status != KVF_OK)
        return status;
    if (!file && !getenv("KVFERRY_CALIBRATION") && (error = kvfi_calibration_make_folders(path)))
        why = strerror(error);
    if (!why)
        why = kvfi_calibration_try(path); /* before the seconds are spent */
    if (!why) {
        if (kvfi_calibrate(&host, &tune) || kvfi_path_measure(&host, &tune.costs))
            return kvfi_fail(KVF_ERR_NOMEM, "no memory to measure copies in");
        why = kvfi_calibration_write(path, &host, &tune);
    }
    if (why)
        return kvfi_fail(KVF_ERR_SYSTEM, "cannot write the calibration %s: %s", path, why);
    if (kvfi_tune_load())
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for how copies are done");
    return KVF_OK;
}

kvf_status_t kvf_engine_calibrate(kvf_engine_t *engine, const char *file)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    status = calibrate(file);
    kvfi_leave(engine);
    return status;
}

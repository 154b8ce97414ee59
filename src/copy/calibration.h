/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A calibration: how this processor was seen to copy. It takes seconds to measure and is kept in a
 * file, one a kind of machine, so that nodes of different kinds may share a home directory.
 */
#ifndef KVFI_COPY_CALIBRATION_H
#define KVFI_COPY_CALIBRATION_H

#include <stddef.h>

#include "copy/host.h"
#include "copy/tune.h"

/* KVFERRY_CALIBRATION, else a file below $XDG_CACHE_HOME or ~/.cache. "off" if it says so, "" if
 * nothing says where. -1: longer than len. */
int kvfi_calibration_path(const kvfi_host_t *host, char *path, size_t len);

/* Take the values of a file into *tune_p. NULL, or why not: then *tune_p is as it was. */
const char *kvfi_calibration_read(const char *path, const kvfi_host_t *host, kvfi_tune_t *tune_p);

/* Make the folders on the way to path that are not there, for their owner alone. 0, or the errno. */
int kvfi_calibration_make_folders(const char *path);

/* Could the file be written? NULL, or why not: what is neither empty nor a calibration is left alone. */
const char *kvfi_calibration_try(const char *path);

/* Write the file, whole or not at all, where a symbolic link leads. NULL, or why not. */
const char *kvfi_calibration_write(const char *path, const kvfi_host_t *host, const kvfi_tune_t *tune);

/* Measure on the calling thread, for at most a few seconds, over the values of *tune_p. -1: no memory. */
int kvfi_calibrate(const kvfi_host_t *host, kvfi_tune_t *tune_p);

#endif

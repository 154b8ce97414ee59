/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The thread's last error and the log. Who first decides an error calls kvfi_fail(), which stores
 * the sentence, logs it once and returns the status; callers only pass the status on.
 */
#ifndef KVFI_BASE_STATUS_H
#define KVFI_BASE_STATUS_H

#include <stdarg.h>

#include "kvferry.h"

typedef enum kvfi_log_level {
    KVFI_LOG_ERROR,
    KVFI_LOG_WARN,
    KVFI_LOG_INFO,
    KVFI_LOG_DEBUG,
    KVFI_LOG_TRACE
} kvfi_log_level_t;

/* Store the sentence for kvf_last_error(), log it at debug, return status. */
kvf_status_t kvfi_fail(kvf_status_t status, const char *fmt, ...)
    __attribute__((cold, format(printf, 2, 3)));

/* Put "context: " in front of the thread's last sentence; returns status. */
kvf_status_t kvfi_fail_within(kvf_status_t status, const char *fmt, ...)
    __attribute__((cold, format(printf, 2, 3)));

/* One line on stderr if level is within KVFERRY_LOG (default warn). */
void kvfi_log(kvfi_log_level_t level, const char *fmt, ...) __attribute__((cold, format(printf, 2, 3)));

/* Level by name; -1 if there is none of that name. */
int kvfi_log_level_of(const char *name);
void kvfi_log_set(kvfi_log_level_t level);

#endif

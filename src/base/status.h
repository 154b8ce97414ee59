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

/* Bytes of a sentence with its end; a longer one is cut, and ends in "...". */
#define KVFI_SENTENCE_MOST 1024

/* Store the sentence for kvf_last_error(), log it at debug, return status. */
kvf_status_t kvfi_fail(kvf_status_t status, const char *fmt, ...) __attribute__((cold, format(printf, 2, 3)));

/* Put "context: " in front of the thread's last sentence; returns status. */
kvf_status_t kvfi_fail_within(kvf_status_t status, const char *fmt, ...)
    __attribute__((cold, format(printf, 2, 3)));

/* As kvfi_fail(), with a sentence that names the member of a collective that said it. */
kvf_status_t kvfi_fail_heard(kvf_status_t status, const char *sentence) __attribute__((cold));

/* The thread's last sentence if status came with it, else the status's name. *heard_p: it is one of
 * kvfi_fail_heard(). Valid until the next. */
const char *kvfi_sentence_of(kvf_status_t status, int *heard_p) __attribute__((cold));

/* One line on stderr if level is within KVFERRY_LOG (default warn). */
void kvfi_log(kvfi_log_level_t level, const char *fmt, ...) __attribute__((cold, format(printf, 2, 3)));

/* Level by name; -1 if there is none of that name. */
int kvfi_log_level_of(const char *name);
void kvfi_log_set(kvfi_log_level_t level);

#endif

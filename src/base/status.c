/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names of statuses and paths, the thread-local sentence of the last error, the log. Never blocks but
 * on stderr.
 */
#define _GNU_SOURCE
#include "base/status.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CUT "..." /* ends a sentence that does not fit */

static _Thread_local char last_error[KVFI_SENTENCE_MOST];
static _Thread_local kvf_status_t last_status;
static _Thread_local int last_heard;
static _Atomic int log_level = KVFI_LOG_WARN;

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace"};

const char *kvf_status_name(kvf_status_t status)
{
    switch (status) {
    case KVF_OK:
        return "KVF_OK";
    case KVF_INPROGRESS:
        return "KVF_INPROGRESS";
    case KVF_SKIPPED:
        return "KVF_SKIPPED";
    case KVF_ERR_INVALID:
        return "KVF_ERR_INVALID";
    case KVF_ERR_BOUNDS:
        return "KVF_ERR_BOUNDS";
    case KVF_ERR_NOMEM:
        return "KVF_ERR_NOMEM";
    case KVF_ERR_UNSUPPORTED:
        return "KVF_ERR_UNSUPPORTED";
    case KVF_ERR_PERM:
        return "KVF_ERR_PERM";
    case KVF_ERR_REVOKED:
        return "KVF_ERR_REVOKED";
    case KVF_ERR_STALE:
        return "KVF_ERR_STALE";
    case KVF_ERR_PEER:
        return "KVF_ERR_PEER";
    case KVF_ERR_TIMEOUT:
        return "KVF_ERR_TIMEOUT";
    case KVF_ERR_CANCELED:
        return "KVF_ERR_CANCELED";
    case KVF_ERR_CLOSED:
        return "KVF_ERR_CLOSED";
    case KVF_ERR_BUSY:
        return "KVF_ERR_BUSY";
    case KVF_ERR_NO_PATH:
        return "KVF_ERR_NO_PATH";
    case KVF_ERR_NEED_FAR:
        return "KVF_ERR_NEED_FAR";
    case KVF_ERR_VERSION:
        return "KVF_ERR_VERSION";
    case KVF_ERR_BLOB:
        return "KVF_ERR_BLOB";
    case KVF_ERR_SPACE:
        return "KVF_ERR_SPACE";
    case KVF_ERR_FAULT:
        return "KVF_ERR_FAULT";
    case KVF_ERR_SYSTEM:
        return "KVF_ERR_SYSTEM";
    case KVF_ERR_FORKED:
        return "KVF_ERR_FORKED";
    }
    return "unknown status";
}

const char *kvf_last_error(void)
{
    return last_error;
}

const char *kvf_path_name(kvf_path_t path)
{
    static const char *const names[KVF_PATH_COUNT] = {"none",     "self",      "shm", "cma", "stage",
                                                      "cuda_ipc", "cuda_copy", "rma", "am"};

    return (unsigned)path < KVF_PATH_COUNT ? names[path] : names[KVF_PATH_NONE];
}

/* The sentence that lies in last_error, of len bytes had it fitted. */
static void keep(kvf_status_t status, int len)
{
    if (len >= (int)sizeof last_error)
        memcpy(last_error + sizeof last_error - sizeof CUT, CUT, sizeof CUT);
    last_status = status;
    last_heard = 0;
}

static kvf_status_t store(kvf_status_t status, const char *fmt, va_list args)
{
    keep(status, vsnprintf(last_error, sizeof last_error, fmt, args));
    kvfi_log(KVFI_LOG_DEBUG, "%s (%s)", last_error, kvf_status_name(status));
    return status;
}

kvf_status_t kvfi_fail(kvf_status_t status, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    store(status, fmt, args);
    va_end(args);
    return status;
}

kvf_status_t kvfi_fail_heard(kvf_status_t status, const char *sentence)
{
    kvfi_fail(status, "%s", sentence);
    last_heard = 1;
    return status;
}

const char *kvfi_sentence_of(kvf_status_t status, int *heard_p)
{
    *heard_p = last_heard && last_status == status;
    return last_status == status && last_error[0] ? last_error : kvf_status_name(status);
}

kvf_status_t kvf_fail(kvf_status_t status, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    store(status, fmt, args);
    va_end(args);
    return status;
}

kvf_status_t kvfi_fail_within(kvf_status_t status, const char *fmt, ...)
{
    char within[256], was[sizeof last_error];
    va_list args;

    va_start(args, fmt);
    vsnprintf(within, sizeof within, fmt, args);
    va_end(args);
    memcpy(was, last_error, sizeof was);
    keep(status, snprintf(last_error, sizeof last_error, "%s: %s", within, was));
    return status;
}

void kvfi_log(kvfi_log_level_t level, const char *fmt, ...)
{
    char line[1200];
    va_list args;

    if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    fprintf(stderr, "kvferry[%d] %s: %s\n", (int)getpid(), level_names[level], line);
}

int kvfi_log_level_of(const char *name)
{
    for (int i = 0; i <= KVFI_LOG_TRACE; i++)
        if (!strcasecmp(name, level_names[i]))
            return i;
    return -1;
}

void kvfi_log_set(kvfi_log_level_t level)
{
    atomic_store(&log_level, (int)level);
}

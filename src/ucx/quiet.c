/* SPDX-License-Identifier: BSD-3-Clause
 *
 * UCX logs an error whenever it makes no endpoint or mapping. To a link that is an answer, the
 * peer lives elsewhere, and nothing to print at a job on two nodes in which all is well. So errors
 * and warnings that one thread makes UCX log between two calls go to our own log, as debug; what
 * other threads, and the host's MPI, make it log is untouched. Never blocks.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <ucs/debug/log_def.h>

#include "base/status.h"
#include "ucx/ucx.h"

static pthread_mutex_t users_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users; /* threads between the two calls */
static _Thread_local int quiet;

static ucs_log_func_rc_t on_log(const char *file, unsigned line, const char *function, ucs_log_level_t level,
                                const ucs_log_component_config_t *config, const char *message, va_list args)
{
    char text[512];

    (void)file;
    (void)line;
    (void)function;
    (void)config;
    if (!quiet || (level != UCS_LOG_LEVEL_ERROR && level != UCS_LOG_LEVEL_WARN))
        return UCS_LOG_FUNC_RC_CONTINUE;
    vsnprintf(text, sizeof text, message, args);
    kvfi_log(KVFI_LOG_DEBUG, "UCX: %s", text);
    return UCS_LOG_FUNC_RC_STOP;
}

void kvfi_ucx_quiet(int on)
{
    quiet = on;
    pthread_mutex_lock(&users_lock);
    if (on && !users++)
        ucs_log_push_handler(on_log);
    else if (!on && !--users)
        ucs_log_pop_handler();
    pthread_mutex_unlock(&users_lock);
}

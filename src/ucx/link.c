/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Contexts, workers, progress, wakeup. Waits for the link's lock only.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "ucx/internal.h"

#define DESCRIPTORS 24
#define SETTLE_NS   UINT64_C(1000000000) /* for a peer to take what was sent, then for UCX to let go */

static ucs_status_t on_message(void *arg, const void *head, size_t head_len, void *data, size_t len,
                               const ucp_am_recv_param_t *param)
{
    kvfi_link_t *link = arg;

    /* every message of ours is eager; anything else is no peer's and is dropped */
    if (!(param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV))
        link->recv(link->arg, head, head_len, data, len);
    return UCS_OK;
}

static void set(ucp_config_t *config, const char *name, const char *value)
{
    if (ucp_config_modify(config, name, value) != UCS_OK)
        kvfi_log(KVFI_LOG_DEBUG, "UCX does not know the setting %s=%s", name, value);
}

/* A setting that only one transport has: 1.13 to 1.16 want it without the transport's prefix. */
static void set_of(ucp_config_t *config, const char *prefix, const char *name, const char *value)
{
    char full[32];

    snprintf(full, sizeof full, "%s%s", kvfi_ucx_release() < (1 << 16 | 17 << 8) ? "" : prefix, name);
    set(config, full, value);
}

/* The wires of a far link. The site's UCX_TLS decides under auto. */
static void set_far(ucp_config_t *config, const char *net)
{
    if (!strcmp(net, "tcp"))
        set(config, "TLS", "tcp");
    else if (!strcmp(net, "rc") || !strcmp(net, "ud"))
        set(config, "TLS", net);
    else if (!getenv("UCX_TLS"))
        set(config, "TLS", "^sm,self");
    if (!strcmp(net, "rc") || !strcmp(net, "ud"))
        return;
    set_of(config, "TCP_", "TX_SEG_SIZE", "264K");
    set_of(config, "TCP_", "RX_SEG_SIZE", "264K");
}

static ucs_status_t open_context(const char *net, ucp_context_h *context_p)
{
    ucp_params_t  params = {.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME,
                            .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP,
                            .name = "kvferry-far"};
    ucp_config_t *config;
    ucs_status_t  status = ucp_config_read(NULL, NULL, &config);

    if (status != UCS_OK)
        return status;
    set_far(config, net);
    status = ucp_init(&params, config, context_p);
    ucp_config_release(config);
    return status;
}

static ucs_status_t open_worker(kvfi_link_t *link)
{
    ucp_worker_params_t    params = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                     .thread_mode = UCS_THREAD_MODE_SERIALIZED};
    ucp_am_handler_param_t handler = {.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID |
                                                    UCP_AM_HANDLER_PARAM_FIELD_CB |
                                                    UCP_AM_HANDLER_PARAM_FIELD_ARG,
                                      .id = KVFI_AM_ID,
                                      .cb = on_message,
                                      .arg = link};
    ucs_status_t           status = ucp_worker_create(link->context, &params, &link->worker);

    if (status != UCS_OK)
        return status;
    status = ucp_worker_set_am_recv_handler(link->worker, &handler);
    if (status == UCS_OK)
        status = ucp_worker_get_efd(link->worker, &link->fd);
    if (status == UCS_OK)
        status = ucp_worker_get_address(link->worker, &link->address, &link->address_len);
    if (status != UCS_OK)
        ucp_worker_destroy(link->worker);
    return status;
}

/* UCX ends the process when it runs out of descriptors while it opens a context. */
static kvf_status_t check_descriptors(void)
{
    int fds[DESCRIPTORS], count = 0, error = 0;

    while (count < DESCRIPTORS && (fds[count] = eventfd(0, EFD_CLOEXEC)) >= 0)
        count++;
    if (count < DESCRIPTORS)
        error = errno;
    for (int i = 0; i < count; i++)
        close(fds[i]);
    if (error)
        return kvfi_fail(KVF_ERR_SYSTEM, "a UCX context needs about %d descriptors, only %d can be had "
                         "(RLIMIT_NOFILE): %s", DESCRIPTORS, count, strerror(error));
    return KVF_OK;
}

/* A wire asked for by name: looked for before UCX complains on the caller's terminal. */
static kvf_status_t check_wire(const char *net)
{
    if (!net || (strcmp(net, "rc") && strcmp(net, "ud")))
        return KVF_OK;
    if (kvfi_ucx_has(net[0] == 'r' ? "rc_" : "ud_"))
        return KVF_OK;
    return kvfi_fail(KVF_ERR_UNSUPPORTED, "net=%s: UCX sees no device with that transport here", net);
}

static ucs_status_t open_link(const char *net, kvfi_link_t *link)
{
    ucs_status_t status = open_context(net, &link->context);

    if (status != UCS_OK)
        return status;
    status = open_worker(link);
    if (status != UCS_OK)
        ucp_cleanup(link->context);
    else
        pthread_mutex_init(&link->lock, NULL);
    return status;
}

kvf_status_t kvfi_link_open(const char *net, kvfi_link_recv_t recv, void *arg, kvfi_link_t **link_p)
{
    kvf_status_t ready = check_descriptors();
    kvfi_link_t *link;
    ucs_status_t status;

    if (ready == KVF_OK)
        ready = check_wire(net);
    if (ready != KVF_OK)
        return ready;
    link = calloc(1, sizeof *link);
    if (!link)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a UCX context");
    link->recv = recv;
    link->arg = arg;
    status = open_link(net, link);
    if (status != UCS_OK) {
        free(link);
        return kvfi_fail(status == UCS_ERR_NO_DEVICE || status == UCS_ERR_UNREACHABLE ||
                         status == UCS_ERR_UNSUPPORTED ? KVF_ERR_UNSUPPORTED : KVF_ERR_SYSTEM,
                         "net=%s: UCX opens no such wire here: %s", net, ucs_status_string(status));
    }
    *link_p = link;
    return KVF_OK;
}

void kvfi_link_close(kvfi_link_t *link)
{
    if (!link)
        return;
    if (link->md) {
        kvfi_near_close(link);
    } else {
        ucp_worker_release_address(link->worker, link->address);
        ucp_worker_destroy(link->worker);
        ucp_cleanup(link->context);
    }
    pthread_mutex_destroy(&link->lock);
    free(link);
}

void kvfi_link_lock(kvfi_link_t *link)
{
    atomic_fetch_add(&link->waiting, 1);
    pthread_mutex_lock(&link->lock);
    atomic_fetch_sub(&link->waiting, 1);
}

int kvfi_link_trylock(kvfi_link_t *link)
{
    return pthread_mutex_trylock(&link->lock) == 0;
}

void kvfi_link_unlock(kvfi_link_t *link)
{
    pthread_mutex_unlock(&link->lock);
    /* a loop that takes the lock again at once would starve who waits for it */
    if (atomic_load_explicit(&link->waiting, memory_order_relaxed))
        sched_yield();
}

const void *kvfi_link_address(const kvfi_link_t *link, size_t *len_p)
{
    *len_p = link->md ? sizeof link->place : link->address_len;
    return link->md ? (const void *)&link->place : link->address;
}

unsigned kvfi_link_progress(kvfi_link_t *link)
{
    unsigned count = ucp_worker_progress(link->worker);

    kvfi_link_close_flushed(link, 0);
    return count;
}

int kvfi_link_fd(const kvfi_link_t *link)
{
    return link->fd;
}

int kvfi_link_arm(kvfi_link_t *link)
{
    return ucp_worker_arm(link->worker) == UCS_ERR_BUSY;
}

void kvfi_link_wake(kvfi_link_t *link)
{
    ucp_worker_signal(link->worker);
}

void kvfi_link_settle(kvfi_link_t *link, uint64_t end_ns)
{
    uint64_t forced_ns = kvfi_deadline(kvfi_now_ns(), SETTLE_NS);

    if (end_ns < forced_ns)
        forced_ns = end_ns;
    while (link->closing && kvfi_now_ns() < forced_ns)
        kvfi_link_progress(link);
    kvfi_link_close_flushed(link, 1);
    forced_ns = kvfi_deadline(kvfi_now_ns(), SETTLE_NS);
    while (link->closing && kvfi_now_ns() < forced_ns)
        kvfi_link_progress(link);
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Contexts, workers, progress, wakeup. Waits for the link's lock only.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "ucx/internal.h"

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
static void set_far(ucp_config_t *config, const char *net, const char *devices)
{
    if (*devices)
        set(config, "NET_DEVICES", devices);
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
    /* else connect() to a node that drops packets holds the link's lock for minutes */
    set_of(config, "TCP_", "CONN_NB", "y");
}

static ucs_status_t open_context(const char *net, const char *devices, ucp_context_h *context_p)
{
    ucp_params_t  params = {.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME,
                            .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP,
                            .name = "kvferry-far"};
    ucp_config_t *config;
    ucs_status_t  status = ucp_config_read(NULL, NULL, &config);

    if (status != UCS_OK)
        return status;
    set_far(config, net, devices);
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

/* A wire asked for by name: looked for before UCX complains on the caller's terminal. */
static kvf_status_t check_wire(const char *net)
{
    if (!net || (strcmp(net, "rc") && strcmp(net, "ud")))
        return KVF_OK;
    if (kvfi_ucx_has(net[0] == 'r' ? "rc_" : "ud_"))
        return KVF_OK;
    return kvfi_fail(KVF_ERR_UNSUPPORTED, "net=%s: UCX sees no device with that transport here", net);
}

/* What tcp goes over: devices for UCX, "" if the site or another wire decides. */
static kvf_status_t choose_devices(const char *net, char *devices, size_t len, kvfi_link_t *link)
{
    const char *asked = getenv("UCX_NET_DEVICES");
    unsigned    count;

    *devices = 0;
    if (!strcmp(net, "rc") || !strcmp(net, "ud"))
        return KVF_OK;
    if (asked) {
        snprintf(link->over, sizeof link->over, "UCX_NET_DEVICES=%s", asked);
        count = strcmp(asked, "all") ? 0 : kvfi_net_count();
        if (count > KVFI_NET_MOST)
            return kvfi_fail(KVF_ERR_UNSUPPORTED, "UCX_NET_DEVICES=all: UCX does not bear %u network "
                             "interfaces with addresses; name one", count);
        return KVF_OK;
    }
    if (kvfi_net_choose(&link->tcp))
        return KVF_OK;
    link->chosen = 1;
    kvfi_net_text(&link->tcp, link->over, sizeof link->over);
    kvfi_net_devices(&link->tcp, !strcmp(net, "tcp"), devices, len);
    kvfi_log(KVFI_LOG_INFO, "far peers over tcp: %s", link->over);
    return kvfi_net_check(&link->tcp);
}

extern char **environ;

/* Settings of the site that a far link hears, to be named where it fails. */
static void append_settings(char *buf, size_t len)
{
    for (char **at = environ; at && *at; at++)
        if (!strncmp(*at, "UCX_", 4))
            snprintf(buf + strlen(buf), len - strlen(buf), "%s%s", *buf ? " " : "; the site sets ", *at);
}

/* Has the context a transport that leads off this machine? One asks the text, for lack of a query. */
static int has_wire(ucp_context_h context)
{
    static const char *const wires[] = {" tcp/", " rc_", " ud_", " dc_", " srd/"};
    char  *text = NULL;
    size_t len;
    FILE  *file = open_memstream(&text, &len);
    int    found = !file;

    if (file) {
        ucp_context_print_info(context, file);
        fclose(file);
    }
    for (size_t i = 0; text && i < sizeof wires / sizeof *wires; i++)
        found |= strstr(text, wires[i]) != NULL;
    free(text);
    return found;
}

static ucs_status_t open_link(const char *net, const char *devices, kvfi_link_t *link)
{
    ucs_status_t status;

    kvfi_fds_look(&link->before);
    status = open_context(net, devices, &link->context);
    if (status != UCS_OK)
        return status;
    status = has_wire(link->context) ? open_worker(link) : UCS_ERR_NO_DEVICE;
    if (status != UCS_OK) {
        ucp_cleanup(link->context);
        return status;
    }
    pthread_mutex_init(&link->lock, NULL);
    kvfi_fds_settle(&link->before, 1);
    return UCS_OK;
}

static kvf_status_t open_checked(const char *net, kvfi_link_t *link)
{
    kvf_status_t ready = kvfi_needs_context();
    char         devices[256], settings[384] = "";
    ucs_status_t status;

    if (ready == KVF_OK)
        ready = check_wire(net);
    if (ready == KVF_OK)
        ready = choose_devices(net, devices, sizeof devices, link);
    if (ready != KVF_OK)
        return ready;
    status = open_link(net, devices, link);
    if (status == UCS_OK)
        return KVF_OK;
    append_settings(settings, sizeof settings);
    return kvfi_fail(status == UCS_ERR_NO_DEVICE || status == UCS_ERR_UNREACHABLE ||
                     status == UCS_ERR_UNSUPPORTED ? KVF_ERR_UNSUPPORTED : KVF_ERR_SYSTEM,
                     "net=%s: UCX opens no such wire here: %s%s", net, ucs_status_string(status), settings);
}

kvf_status_t kvfi_link_open(const char *net, kvfi_link_recv_t recv, void *arg, kvfi_link_t **link_p)
{
    kvfi_link_t *link = calloc(1, sizeof *link);
    kvf_status_t status;

    if (!link)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a UCX context");
    link->recv = recv;
    link->arg = arg;
    status = open_checked(net, link);
    if (status != KVF_OK) {
        free(link);
        return status;
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

/* UCX accepts on a thread of its own, and makes a timer when a connection stands: a look after 1, 2, 4 ...
 * milliseconds. */
static void settle_descriptors(kvfi_link_t *link)
{
    uint64_t now = kvfi_coarse_ns();

    if (now < link->settle_ns)
        return;
    kvfi_fds_settle(&link->before, 0);
    link->settle_gap_ns *= 2;
    link->settle_ns = link->settle_gap_ns > SETTLE_NS ? 0 : now + link->settle_gap_ns;
}

unsigned kvfi_link_progress(kvfi_link_t *link)
{
    unsigned count = ucp_worker_progress(link->worker);

    if (link->settle_ns)
        settle_descriptors(link);
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

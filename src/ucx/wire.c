/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Wires: one UCX context with one worker each, its progress and its wakeup. Their endpoints are in
 * endpoint.c. Waits for nothing but UCX's own calls to the kernel.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdatomic.h>
#include <ucs/datastruct/string_buffer.h>
#include <ucs/vfs/base/vfs_obj.h>

#include "base/clock.h"
#include "base/status.h"
#include "ucx/internal.h"

#define SETTLE_NS UINT64_C(1000000000) /* for a peer to take what was sent, then for UCX to let go */

#define GONE_NS UINT64_C(200000000) /* for UCX to put away what it has closed */

static ucs_status_t on_message(void *arg, const void *head, size_t head_len, void *data, size_t len,
                               const ucp_am_recv_param_t *param)
{
    kvfi_wire_t *wire = arg;

    /* every message of ours is eager; anything else is no peer's and is dropped */
    if (!(param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV))
        wire->recv(wire->arg, head, head_len, data, len);
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

/* The transports. The site's UCX_TLS decides under auto. */
static void set_transports(ucp_config_t *config, const char *net, const char *devices)
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
    /* else connect() to a node that drops packets holds the wire's lock for minutes */
    set_of(config, "TCP_", "CONN_NB", "y");
}

static ucs_status_t open_context(const char *net, const char *devices, const char *name,
                                 ucp_context_h *context_p)
{
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME,
                           .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP,
                           .name = name};
    ucp_config_t *config;
    ucs_status_t status = ucp_config_read(NULL, NULL, &config);

    if (status != UCS_OK)
        return status;
    set_transports(config, net, devices);
    status = ucp_init(&params, config, context_p);
    ucp_config_release(config);
    return status;
}

static ucs_status_t open_worker(kvfi_wire_t *wire)
{
    ucp_worker_params_t params = {.field_mask =
                                      UCP_WORKER_PARAM_FIELD_THREAD_MODE | UCP_WORKER_PARAM_FIELD_NAME,
                                  .thread_mode = UCS_THREAD_MODE_SERIALIZED,
                                  .name = "wire"};
    ucp_am_handler_param_t handler = {.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID |
                                                    UCP_AM_HANDLER_PARAM_FIELD_CB |
                                                    UCP_AM_HANDLER_PARAM_FIELD_ARG,
                                      .id = KVFI_AM_ID,
                                      .cb = on_message,
                                      .arg = wire};
    ucs_status_t status = ucp_worker_create(wire->context, &params, &wire->worker);

    if (status != UCS_OK)
        return status;
    status = ucp_worker_set_am_recv_handler(wire->worker, &handler);
    if (status == UCS_OK)
        status = ucp_worker_get_efd(wire->worker, &wire->fd);
    if (status == UCS_OK)
        status = ucp_worker_get_address(wire->worker, &wire->address, &wire->address_len);
    if (status != UCS_OK)
        ucp_worker_destroy(wire->worker);
    return status;
}

/* A wire asked for by name: looked for before UCX complains on the caller's terminal. */
static kvf_status_t check_net(const char *net)
{
    if (!net || (strcmp(net, "rc") && strcmp(net, "ud")))
        return KVF_OK;
    if (kvfi_ucx_has(net[0] == 'r' ? "rc_" : "ud_"))
        return KVF_OK;
    return kvfi_fail(KVF_ERR_UNSUPPORTED, "net=%s: UCX sees no device with that transport here", net);
}

/* What tcp goes over: devices for UCX, "" if the site or another wire decides. */
static kvf_status_t choose_devices(const char *net, char *devices, size_t len, kvfi_wire_t *wire)
{
    const char *asked = getenv("UCX_NET_DEVICES");
    unsigned count;

    *devices = 0;
    if (!strcmp(net, "rc") || !strcmp(net, "ud"))
        return KVF_OK;
    if (asked) {
        snprintf(wire->over, sizeof wire->over, "UCX_NET_DEVICES=%s", asked);
        count = strcmp(asked, "all") ? 0 : kvfi_net_count();
        if (count > KVFI_NET_MOST)
            return kvfi_fail(KVF_ERR_UNSUPPORTED,
                             "UCX_NET_DEVICES=all: UCX does not bear %u network "
                             "interfaces with addresses; name one",
                             count);
        return KVF_OK;
    }
    if (kvfi_net_choose(&wire->tcp))
        return KVF_OK;
    wire->chosen = 1;
    kvfi_net_text(&wire->tcp, wire->over, sizeof wire->over);
    kvfi_net_devices(&wire->tcp, !strcmp(net, "tcp"), devices, len);
    kvfi_log(KVFI_LOG_INFO, "far peers over tcp: %s", wire->over);
    return kvfi_net_check(&wire->tcp);
}

extern char **environ;

/* Settings of the site that a wire hears, to be named where it fails. */
static void append_settings(char *buf, size_t len)
{
    for (char **at = environ; at && *at; at++)
        if (!strncmp(*at, "UCX_", 4))
            snprintf(buf + strlen(buf), len - strlen(buf), "%s%s", *buf ? " " : "; the site sets ", *at);
}

/* Has the context a transport that leads off this machine? One asks the text, for lack of a query. */
static int leads_away(ucp_context_h context)
{
    static const char *const wires[] = {" tcp/", " rc_", " ud_", " dc_", " srd/"};
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);
    int found = !file;

    if (file) {
        ucp_context_print_info(context, file);
        fclose(file);
    }
    for (size_t i = 0; text && i < sizeof wires / sizeof *wires; i++)
        found |= strstr(text, wires[i]) != NULL;
    free(text);
    return found;
}

static ucs_status_t start(const char *net, const char *devices, kvfi_wire_t *wire)
{
    static atomic_uint opened;
    char name[32];
    ucs_status_t status;

    snprintf(name, sizeof name, "kvferry-far-%u", atomic_fetch_add(&opened, 1));
    snprintf(wire->counted, sizeof wire->counted, "/ucp/context/%s/worker/wire/num_all_eps", name);
    status = open_context(net, devices, name, &wire->context);
    if (status != UCS_OK)
        return status;
    status = leads_away(wire->context) ? open_worker(wire) : UCS_ERR_NO_DEVICE;
    if (status != UCS_OK) {
        ucp_cleanup(wire->context);
        return status;
    }
    kvfi_lock_init(&wire->lock);
    return UCS_OK;
}

static kvf_status_t open_checked(const char *net, kvfi_wire_t *wire)
{
    kvf_status_t ready = kvfi_needs_context();
    char devices[256], settings[384] = "";
    ucs_status_t status;

    if (ready == KVF_OK)
        ready = check_net(net);
    if (ready == KVF_OK)
        ready = choose_devices(net, devices, sizeof devices, wire);
    if (ready != KVF_OK)
        return ready;
    kvfi_fds_look(&wire->before);
    status = start(net, devices, wire);
    kvfi_fds_settle(&wire->before, 1);
    if (status == UCS_OK)
        return KVF_OK;
    append_settings(settings, sizeof settings);
    return kvfi_fail(status == UCS_ERR_NO_DEVICE || status == UCS_ERR_UNREACHABLE ||
                             status == UCS_ERR_UNSUPPORTED
                         ? KVF_ERR_UNSUPPORTED
                         : KVF_ERR_SYSTEM,
                     "net=%s: UCX opens no such wire here: %s%s", net, ucs_status_string(status), settings);
}

kvf_status_t kvfi_wire_open(const char *net, kvfi_wire_recv_t recv, void *arg, kvfi_wire_t **wire_p)
{
    kvfi_wire_t *wire = calloc(1, sizeof *wire);
    kvf_status_t status;

    if (!wire)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a UCX context");
    wire->recv = recv;
    wire->arg = arg;
    status = open_checked(net, wire);
    if (status != KVF_OK) {
        free(wire);
        return status;
    }
    *wire_p = wire;
    return KVF_OK;
}

void kvfi_wire_close(kvfi_wire_t *wire)
{
    if (!wire)
        return;
    ucp_worker_release_address(wire->worker, wire->address);
    ucp_worker_destroy(wire->worker);
    ucp_cleanup(wire->context);
    kvfi_lock_destroy(&wire->lock);
    free(wire);
}

kvfi_lock_t *kvfi_wire_lock(kvfi_wire_t *wire)
{
    return &wire->lock;
}

const void *kvfi_wire_address(const kvfi_wire_t *wire, size_t *len_p)
{
    *len_p = wire->address_len;
    return wire->address;
}

/* UCX accepts on a thread of its own, and makes a timer when a connection stands: a look after 1, 2, 4 ...
 * milliseconds. */
static void settle_descriptors(kvfi_wire_t *wire)
{
    uint64_t now = kvfi_coarse_ns();

    if (now < wire->settle_ns)
        return;
    kvfi_fds_settle(&wire->before, 0);
    wire->settle_gap_ns *= 2;
    wire->settle_ns = wire->settle_gap_ns > SETTLE_NS ? 0 : now + wire->settle_gap_ns;
}

unsigned kvfi_wire_progress(kvfi_wire_t *wire)
{
    unsigned count = ucp_worker_progress(wire->worker);

    if (wire->settle_ns)
        settle_descriptors(wire);
    kvfi_wire_close_flushed(wire, 0);
    return count;
}

int kvfi_wire_fd(const kvfi_wire_t *wire)
{
    return wire->fd;
}

/* While a connection comes up, UCX takes its interface out of the descriptor and looks at it in each progress;
 * it puts it back in one that finds nothing. So only after such a one does the descriptor tell all. */
int kvfi_wire_arm(kvfi_wire_t *wire)
{
    return kvfi_wire_progress(wire) || ucp_worker_arm(wire->worker) == UCS_ERR_BUSY;
}

void kvfi_wire_wake(kvfi_wire_t *wire)
{
    ucp_worker_signal(wire->worker);
}

/* How many endpoints UCX has: ours, and those that it made for peers which connect. -1: it does not tell. */
static long count_endpoints(const kvfi_wire_t *wire)
{
    ucs_string_buffer_t text;
    char *end;
    long count = -1;

    ucs_string_buffer_init(&text);
    if (ucs_vfs_path_read_file(wire->counted, &text) == UCS_OK) {
        count = strtol(ucs_string_buffer_cstr(&text), &end, 10);
        count = end == ucs_string_buffer_cstr(&text) ? -1 : count;
    }
    ucs_string_buffer_cleanup(&text);
    return count;
}

int kvfi_wire_has_strangers(const kvfi_wire_t *wire)
{
    return count_endpoints(wire) > (long)wire->endpoints;
}

static void progress_until(kvfi_wire_t *wire, uint64_t end_ns)
{
    while (wire->closing && kvfi_now_ns() < end_ns)
        kvfi_wire_progress(wire);
}

int kvfi_wire_settle(kvfi_wire_t *wire, uint64_t end_ns)
{
    uint64_t forced_ns = kvfi_deadline(kvfi_now_ns(), SETTLE_NS);

    progress_until(wire, end_ns < forced_ns ? end_ns : forced_ns);
    kvfi_wire_close_flushed(wire, 1);
    progress_until(wire, kvfi_deadline(kvfi_now_ns(), SETTLE_NS));
    end_ns = kvfi_now_ns() + GONE_NS;
    while (count_endpoints(wire) > 0 && kvfi_now_ns() < end_ns)
        kvfi_wire_progress(wire);
    return !wire->closing && count_endpoints(wire) <= 0;
}

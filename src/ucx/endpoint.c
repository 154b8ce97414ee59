/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Endpoints, sends, and which wire an endpoint took. All under the wire's lock, never blocking.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "ucx/internal.h"

static void on_error(void *arg, ucp_ep_h ucp, ucs_status_t status)
{
    kvfi_ep_t *ep = arg;
    char why[192];

    (void)ucp;
    if (ep->closing || ep->called)
        return;
    ep->called = 1;
    snprintf(why, sizeof why, "%s (we go over %s)", ucs_status_string(status), ep->wire->over);
    ep->failed(ep->arg, ep->wire->over[0] ? why : ucs_status_string(status));
}

/* Whose fault is it? What UCX does not say of the peer is not said of it here. */
static kvf_status_t status_of(ucs_status_t status)
{
    switch (status) {
    case UCS_ERR_UNREACHABLE:
    case UCS_ERR_REJECTED:
    case UCS_ERR_CONNECTION_RESET:
    case UCS_ERR_NOT_CONNECTED:
    case UCS_ERR_TIMED_OUT:
    case UCS_ERR_ENDPOINT_TIMEOUT:
        return KVF_ERR_PEER;
    case UCS_ERR_INVALID_PARAM:
    case UCS_ERR_INVALID_ADDR:
        return KVF_ERR_BLOB;
    case UCS_ERR_NO_MEMORY:
        return KVF_ERR_NOMEM;
    default:
        return KVF_ERR_SYSTEM;
    }
}

static kvf_status_t connect_far(kvfi_ep_t *ep, const void *address)
{
    ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS |
                                            UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                                            UCP_EP_PARAM_FIELD_ERR_HANDLER,
                              .address = address,
                              .err_mode = UCP_ERR_HANDLING_MODE_PEER,
                              .err_handler = {.cb = on_error, .arg = ep}};
    kvf_status_t ready = kvfi_needs_descriptors(KVFI_EP_FDS, "a connection to a far peer");
    kvfi_fds_t before;
    ucs_status_t status;

    if (ready != KVF_OK)
        return ready;
    kvfi_fds_look(&before);
    status = ucp_ep_create(ep->wire->worker, &params, &ep->ucp);
    kvfi_fds_settle(&before, 1);
    ep->wire->settle_gap_ns = 1000000;
    ep->wire->settle_ns = kvfi_coarse_ns();
    /* UCX says so too where all local ports are taken */
    if (status == UCS_ERR_UNREACHABLE && ep->wire->chosen && kvfi_net_check(&ep->wire->tcp) != KVF_OK)
        return KVF_ERR_SYSTEM;
    if (status != UCS_OK)
        return kvfi_fail(status_of(status), "UCX makes no endpoint to the peer: %s (we go over %s)",
                         ucs_status_string(status), ep->wire->over);
    return KVF_OK;
}

kvf_status_t kvfi_ep_open(kvfi_wire_t *wire, const void *address, kvfi_ep_failed_t failed, void *arg,
                          kvfi_ep_t **ep_p)
{
    kvfi_ep_t *ep = calloc(1, sizeof *ep);
    kvf_status_t status = KVF_OK;

    if (!ep)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for an endpoint");
    ep->wire = wire;
    ep->failed = failed;
    ep->arg = arg;
    status = connect_far(ep, address);
    if (status != KVF_OK) {
        free(ep);
        return status;
    }
    ep->refs = 1;
    wire->endpoints++;
    *ep_p = ep;
    return KVF_OK;
}

/* Closing is always by force, after a flush if it is to be orderly: a flush that never ends (a frozen
 * peer) can be cut short, a close cannot. But what UCX has to say while a connection comes up it must be let
 * say, or it ends the process: then nothing is cut short. UCX is not called from its callbacks: they only
 * note. */
static int may_be_forced(const kvfi_ep_t *ep)
{
    return ep->stands || ep->called;
}

static void release(kvfi_ep_t *ep)
{
    if (--ep->refs)
        return;
    *ep->link_of = ep->next;
    if (ep->next)
        ep->next->link_of = ep->link_of;
    ep->wire->endpoints--;
    free(ep);
}

static void on_closed(void *request, ucs_status_t status, void *arg)
{
    (void)status;
    ucp_request_free(request);
    release(arg);
}

static void on_flushed(void *request, ucs_status_t status, void *arg)
{
    kvfi_ep_t *ep = arg;

    (void)status;
    ep->flushed = 1;
    ucp_request_free(request);
    release(ep);
}

static void close_now(kvfi_ep_t *ep)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                                                 UCP_OP_ATTR_FIELD_FLAGS,
                                 .cb.send = on_closed,
                                 .user_data = ep,
                                 .flags = UCP_EP_CLOSE_FLAG_FORCE};

    ep->closed = 1;
    if (!UCS_PTR_IS_PTR(ucp_ep_close_nbx(ep->ucp, &param)))
        release(ep);
}

void kvfi_ep_close(kvfi_ep_t *ep, int force)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                 .cb.send = on_flushed,
                                 .user_data = ep};
    kvfi_wire_t *wire;

    if (!ep)
        return;
    wire = ep->wire;
    ep->closing = 1;
    ep->refs++; /* of the flush */
    ep->next = wire->closing;
    ep->link_of = &wire->closing;
    if (ep->next)
        ep->next->link_of = &ep->next;
    wire->closing = ep;
    if ((force && may_be_forced(ep)) || !UCS_PTR_IS_PTR(ucp_ep_flush_nbx(ep->ucp, &param))) {
        ep->flushed = 1;
        ep->refs--;
        close_now(ep);
    }
}

void kvfi_wire_close_flushed(kvfi_wire_t *wire, int force)
{
    for (kvfi_ep_t *ep = wire->closing, *next; ep; ep = next) {
        next = ep->next;
        if ((ep->flushed || (force && may_be_forced(ep))) && !ep->closed)
            close_now(ep);
    }
}

/* The callback's argument pair, alive until the message left. */
typedef struct {
    kvfi_ep_t *ep;
    kvfi_sent_t sent;
    void *arg;
} kvfi_send_t;

static void on_sent(void *request, ucs_status_t status, void *arg)
{
    kvfi_send_t send = *(kvfi_send_t *)arg;

    free(arg);
    ucp_request_free(request);
    send.ep->stands |= status == UCS_OK;
    release(send.ep);
    send.sent(send.arg, status != UCS_OK);
}

void kvfi_ep_send(kvfi_ep_t *ep, const void *head, size_t head_len, const void *data, size_t len,
                  kvfi_sent_t sent, void *arg)
{
    kvfi_send_t *send = malloc(sizeof *send);
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                                                 UCP_OP_ATTR_FIELD_FLAGS,
                                 .cb.send = on_sent,
                                 .user_data = send,
                                 .flags = UCP_AM_SEND_FLAG_EAGER};
    ucs_status_ptr_t request;

    if (!send) {
        sent(arg, 1);
        return;
    }
    *send = (kvfi_send_t){ep, sent, arg};
    request = ucp_am_send_nbx(ep->ucp, KVFI_AM_ID, head, head_len, data, len, &param);
    if (UCS_PTR_IS_PTR(request)) {
        ep->refs++;
        return;
    }
    free(send);
    ep->stands |= !request;
    sent(arg, UCS_PTR_IS_ERR(request));
}

/* UCX before 1.14 tells the lanes of an endpoint only as text, one "lane[0]: 1:tcp/eth0.0 ..." a
 * line; the lane marked am carries the messages. */
void kvfi_ep_wire(kvfi_ep_t *ep, char *buf, size_t len)
{
    char *text = NULL, *line, *save, *name, *end;
    size_t text_len;
    FILE *file = open_memstream(&text, &text_len);

    buf[0] = 0;
    if (!file)
        return;
    ucp_ep_print_info(ep->ucp, file);
    fclose(file);
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (!strstr(line, "lane[") || !strstr(line, " am "))
            continue;
        name = strchr(strstr(line, "lane["), ' ');
        name += strspn(name, " ");
        if (strchr(name, ':'))
            name = strchr(name, ':') + 1;
        end = name + strcspn(name, " ");
        if (memchr(name, '.', (size_t)(end - name)))
            end = memchr(name, '.', (size_t)(end - name));
        snprintf(buf, len, "%.*s", (int)(end - name), name);
        break;
    }
    free(text);
}

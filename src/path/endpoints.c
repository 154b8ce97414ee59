/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The endpoints carrier: to far peers, over a wire of UCX, with an endpoint in each direction. A HELLO holds
 * its sender's address, and an engine that does not know the sender yet connects back to it. Messages arrive
 * inside kvfi_wire_progress(), where UCX may not be called: whatever has to be sent because of one is queued.
 * Nothing here waits.
 */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "path/am_internal.h"

#define ADDRESS_MAX 65536u
#define TURN        16u /* chunks that leave for a peer at a time: the machine's lock is held */
#define DEAF_NS     UINT64_C(10000000000)
#define CONNECT_NS  UINT64_C(100000000) /* UCX 1.13 ends the process if an endpoint closes as it connects */

typedef struct state {
    kvfi_wire_t *wire;
} state_t;

typedef struct line {
    kvfi_ep_t *ep;
    uint64_t hello_room; /* notes_room once the hello is answered */
} line_t;

static kvfi_wire_t *wire_of(const kvfi_am_t *am)
{
    return ((state_t *)am->state)->wire;
}

static line_t *line_of(const kvfi_am_peer_t *peer)
{
    return peer->state;
}

/* ------------------------------------------------------------ what comes in */

static void on_hello(kvfi_am_t *am, kvfi_am_peer_t *peer, const kvfi_am_head_t *head, const void *data)
{
    kvfi_am_hello_t start = {0};
    size_t len = head->len > sizeof start ? head->len - sizeof start : 0;
    char *address;

    if (len)
        memcpy(&start, data, sizeof start);
    if (peer && start.floor > peer->floor)
        peer->floor = start.floor;
    if (peer && peer->linked && !peer->notes_room) {
        peer->rank = head->off;
        peer->notes_room = head->token;
        return;
    }
    if (peer && peer->hello)
        return;
    /* a second hello: it lost the connection, and made a new one before we noticed */
    if (peer && peer->linked)
        kvfi_am_peer_fail(peer, "it has connected again");
    address = len && len <= ADDRESS_MAX ? calloc(1, len + KVFI_ADDRESS_ROOM) : NULL;
    if (address)
        memcpy(address, (const char *)data + sizeof start, len);
    peer = kvfi_am_hello(am, head->sender, address);
    if (!peer)
        return;
    peer->floor = start.floor > peer->floor ? start.floor : peer->floor;
    peer->rank = head->off;
    line_of(peer)->hello_room = head->token;
}

static void receive(void *arg, const void *data_of_head, size_t head_len, const void *data, size_t len)
{
    kvfi_am_t *am = arg;
    kvfi_am_peer_t *peer;
    kvfi_am_head_t head;

    am->worked = 1;
    if (head_len != sizeof head) {
        am->stats.dropped++;
        return;
    }
    memcpy(&head, data_of_head, sizeof head);
    peer = head.sender ? kvfi_table_get(&am->peers, head.sender) : NULL;
    if (head.version == KVFI_AM_VERSION && head.len == len && head.kind == KVFI_AM_HELLO && head.sender)
        on_hello(am, peer, &head, data);
    else if (!peer)
        am->stats.dropped++;
    else if (head.len != len)
        kvfi_am_peer_fail(peer, "its message has another length than its head says");
    else if (kvfi_am_admit(peer, &head))
        kvfi_am_take(peer, &head, data);
}

/* -------------------------------------------------------------- the machine */

static kvf_status_t open_wire(kvfi_am_t *am)
{
    state_t *state = am->state;
    kvf_status_t status = kvfi_wire_open(am->host.net, receive, am, &state->wire);

    if (status != KVF_OK)
        return status;
    am->lock = kvfi_wire_lock(state->wire);
    am->fd = kvfi_wire_fd(state->wire);
    am->address = kvfi_wire_address(state->wire, &am->address_len);
    return KVF_OK;
}

static void close_wire(kvfi_am_t *am, uint64_t end_ns)
{
    int safe;

    kvfi_lock_take(am->lock);
    safe = kvfi_wire_settle(wire_of(am), end_ns);
    kvfi_lock_give(am->lock);
    if (safe)
        kvfi_wire_close(wire_of(am));
    else
        kvfi_log(KVFI_LOG_WARN,
                 "a far connection has not come up, and UCX %s would end this process if it were "
                 "closed: its descriptors and buffers stay until the process ends",
                 kvf_ucx_version());
}

static int expects(kvfi_am_t *am)
{
    return kvfi_wire_has_strangers(wire_of(am));
}

static void progress(kvfi_am_t *am)
{
    am->worked |= kvfi_wire_progress(wire_of(am)) > 0;
}

static int arm(kvfi_am_t *am)
{
    int busy = kvfi_wire_arm(wire_of(am));

    return busy || am->changed; /* UCX may tell of a failure and count nothing */
}

static void wake(kvfi_am_t *am)
{
    kvfi_wire_wake(wire_of(am));
}

/* -------------------------------------------------------------- connections */

static void on_failed(void *arg, const char *why)
{
    kvfi_am_peer_fail(arg, why);
}

static kvfi_am_message_t *hello_to(kvfi_am_peer_t *peer)
{
    const kvfi_am_t *am = peer->am;
    kvfi_am_hello_t start = {.floor = am->last_token};
    kvfi_am_message_t *hello;

    hello =
        kvfi_am_message(peer, KVFI_AM_HELLO, am->host.depth, am->host.rank, sizeof start + am->address_len);
    if (!hello)
        return NULL;
    memcpy(hello->data, &start, sizeof start);
    memcpy(hello->data + sizeof start, am->address, am->address_len);
    return hello;
}

static kvf_status_t connect_to(kvfi_am_peer_t *peer, const void *address)
{
    kvfi_am_message_t *hello;
    kvf_status_t status;

    if (peer->linked)
        return KVF_OK;
    hello = hello_to(peer);
    if (!hello)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a hello");
    status = kvfi_ep_open(wire_of(peer->am), address, on_failed, peer, &line_of(peer)->ep);
    if (status == KVF_OK)
        kvfi_am_linked(peer, hello);
    else
        kvfi_am_message_free(peer->am, hello);
    return status;
}

/* The peer has done nothing wrong, and waits: it is answered when there are descriptors or memory again. */
static kvf_status_t meet(kvfi_am_peer_t *peer)
{
    kvf_status_t status = connect_to(peer, peer->hello);

    if (status == KVF_ERR_SYSTEM || status == KVF_ERR_NOMEM)
        return KVF_INPROGRESS;
    peer->notes_room = line_of(peer)->hello_room;
    return status;
}

/* The end of the connection is not enough: a process that inherited the socket keeps it open. */
static void say_goodbye(kvfi_am_peer_t *peer)
{
    kvfi_am_message_t *bye = kvfi_am_message(peer, KVFI_AM_BYE, 0, 0, 0);

    if (bye)
        kvfi_am_send(peer, bye);
}

static void drop(kvfi_am_peer_t *peer, int force)
{
    line_t *line = line_of(peer);

    if (!force && line->ep && !peer->failed && peer->notes_room)
        say_goodbye(peer);
    kvfi_ep_close(line->ep, force);
    line->ep = NULL;
}

static void wire(kvfi_am_peer_t *peer, char *buf, size_t len)
{
    buf[0] = 0;
    if (line_of(peer)->ep)
        kvfi_ep_wire(line_of(peer)->ep, buf, len);
}

/* --------------------------------------------------------- what goes over it */

static void on_sent(void *arg, int failed)
{
    kvfi_am_message_t *message = arg;
    kvfi_am_peer_t *peer = message->peer;

    peer->outgoing--;
    peer->chunks -= (unsigned)message->chunk;
    kvfi_am_message_free(peer->am, message);
    if (failed)
        kvfi_am_peer_fail(peer, "a message could not be sent");
}

static void send_message(kvfi_am_peer_t *peer, kvfi_am_message_t *message)
{
    peer->outgoing++;
    peer->chunks += (unsigned)message->chunk;
    kvfi_ep_send(line_of(peer)->ep, &message->head, sizeof message->head, message->data, message->head.len,
                 on_sent, message);
}

static kvfi_am_message_t *chunk(kvfi_am_peer_t *peer, uint64_t token, char **buf_p)
{
    kvfi_am_message_t *message = kvfi_am_chunk(peer, token);

    if (message)
        *buf_p = message->data;
    return message;
}

/* What UCX was given is on its way. */
static int recall(kvfi_am_peer_t *peer, uint64_t token)
{
    (void)peer, (void)token;
    return 1;
}

const kvfi_carrier_t kvfi_endpoints = {
    .side = "far",
    .am_bytes = sizeof(state_t),
    .peer_bytes = sizeof(line_t),
    .least = KVFI_WIRE_CHUNK,
    .most = KVFI_WIRE_CHUNK,
    .turn = TURN,
    .connect_ns = CONNECT_NS,
    .deaf_ns = DEAF_NS,
    .open = open_wire,
    .expects = expects,
    .close = close_wire,
    .progress = progress,
    .arm = arm,
    .wake = wake,
    .connect = connect_to,
    .meet = meet,
    .drop = drop,
    .wire = wire,
    .send = send_message,
    .chunk = chunk,
    .recall = recall,
};

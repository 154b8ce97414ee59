/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Messages of the am machine on their way out, and the mark of a peer that failed: what all its files call.
 */
#include <stdlib.h>

#include "base/status.h"
#include "path/am_internal.h"

void kvfi_am_peer_fail(kvfi_am_peer_t *peer, const char *why)
{
    if (atomic_load(&peer->dead) || peer->failed)
        return;
    kvfi_log(KVFI_LOG_INFO, "%s peer of rank %llu (%016llx) failed: %s", peer->am->near ? "near" : "far",
             (unsigned long long)peer->rank, (unsigned long long)peer->incarnation, why);
    peer->failed = 1;
    peer->am->changed = 1;
}

kvfi_am_message_t *kvfi_am_message(kvfi_am_peer_t *peer, unsigned kind, uint64_t token, uint64_t off,
                                   size_t len)
{
    kvfi_am_t         *am = peer->am;
    int                chunk = kind == KVFI_AM_DATA && !am->near;
    kvfi_am_message_t *message = chunk ? am->free_chunks : NULL;

    if (message)
        am->free_chunks = message->next;
    else
        message = malloc(sizeof *message + (chunk ? KVFI_WIRE_CHUNK : len));
    if (!message) {
        kvfi_am_peer_fail(peer, "no memory for a message");
        return NULL;
    }
    peer->answers += kind == KVFI_AM_DONE ? sizeof *message + len : 0;
    message->next = NULL;
    message->peer = peer;
    message->chunk = chunk;
    message->head = (kvfi_am_head_t){.version = KVFI_AM_VERSION,
                                     .kind = (uint8_t)kind,
                                     .len = (uint32_t)len,
                                     .sender = am->host.incarnation,
                                     .token = token,
                                     .off = off};
    return message;
}

void kvfi_am_message_free(kvfi_am_t *am, kvfi_am_message_t *message)
{
    if (message->head.kind == KVFI_AM_DONE)
        message->peer->answers -= sizeof *message + message->head.len;
    if (message->chunk) {
        message->next = am->free_chunks;
        am->free_chunks = message;
    } else {
        free(message);
    }
}

static void on_sent(void *arg, int failed)
{
    kvfi_am_message_t *message = arg;
    kvfi_am_peer_t    *peer = message->peer;

    peer->outgoing--;
    peer->chunks -= (unsigned)message->chunk;
    kvfi_am_message_free(peer->am, message);
    if (failed)
        kvfi_am_peer_fail(peer, "a message could not be sent");
}

void kvfi_am_send(kvfi_am_peer_t *peer, kvfi_am_message_t *message)
{
    peer->am->stats.messages++;
    peer->am->worked = 1;
    if (peer->am->near) {
        kvfi_mail_send(peer, message);
        return;
    }
    peer->outgoing++;
    peer->chunks += (unsigned)message->chunk;
    kvfi_ep_send(peer->ep, &message->head, sizeof message->head, message->data, message->head.len,
                 on_sent, message);
}

void kvfi_am_queue(kvfi_am_peer_t *peer, kvfi_am_message_t *message)
{
    if (!message)
        return;
    *peer->outbox_end = message;
    peer->outbox_end = &message->next;
}

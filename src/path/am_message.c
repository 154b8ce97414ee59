/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What all files of the am machine call: messages on their way out, and the mark that a peer has failed.
 */
#include <stdlib.h>

#include "base/status.h"
#include "path/am_internal.h"

void kvfi_am_peer_fail(kvfi_am_peer_t *peer, const char *why)
{
    if (atomic_load(&peer->dead) || peer->failed)
        return;
    kvfi_log(KVFI_LOG_INFO, "%s peer of rank %llu (%016llx) failed: %s", peer->am->carrier->side,
             (unsigned long long)peer->rank, (unsigned long long)peer->incarnation, why);
    peer->failed = 1;
    peer->am->changed = 1;
}

static kvfi_am_message_t *begin(kvfi_am_peer_t *peer, kvfi_am_message_t *message, int chunk)
{
    if (!message) {
        kvfi_am_peer_fail(peer, "no memory for a message");
        return NULL;
    }
    message->next = NULL;
    message->peer = peer;
    message->chunk = chunk;
    message->head = (kvfi_am_head_t){.version = KVFI_AM_VERSION, .sender = peer->am->host.incarnation};
    return message;
}

kvfi_am_message_t *kvfi_am_message(kvfi_am_peer_t *peer, unsigned kind, uint64_t token, uint64_t off,
                                   size_t len)
{
    kvfi_am_message_t *message = begin(peer, malloc(sizeof *message + len), 0);

    if (!message)
        return NULL;
    peer->answers += kind == KVFI_AM_DONE ? sizeof *message + len : 0;
    message->head.kind = (uint8_t)kind;
    message->head.len = (uint32_t)len;
    message->head.token = token;
    message->head.off = off;
    return message;
}

kvfi_am_message_t *kvfi_am_chunk(kvfi_am_peer_t *peer, uint64_t token)
{
    kvfi_am_t *am = peer->am;
    kvfi_am_message_t *message = am->free_chunks;

    if (message)
        am->free_chunks = message->next;
    else
        message = malloc(sizeof *message + am->carrier->most);
    message = begin(peer, message, 1);
    if (!message)
        return NULL;
    message->head.kind = KVFI_AM_DATA;
    message->head.token = token;
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

void kvfi_am_send(kvfi_am_peer_t *peer, kvfi_am_message_t *message)
{
    peer->am->stats.messages++;
    peer->am->worked = 1;
    peer->am->carrier->send(peer, message);
}

void kvfi_am_queue(kvfi_am_peer_t *peer, kvfi_am_message_t *message)
{
    if (!message)
        return;
    *peer->outbox_end = message;
    peer->outbox_end = &message->next;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The roll: an engine's peers, each in a place that it keeps, so that a caller's cursor means the same from
 * call to call while others come and go. All of it is under the engine's lock.
 */
#include <stdlib.h>

#include "base/status.h"
#include "engine/engine.h"
#include "engine/object.h"
#include "engine/peer.h"
#include "engine/roll.h"

int kvfi_roll_add(kvfi_roll_t *roll, kvf_peer_t *peer)
{
    uint32_t at = roll->holes ? 0 : roll->count;
    kvf_peer_t **peers;

    while (at < roll->count && roll->peers[at])
        at++;
    if (at == roll->room) {
        peers = realloc(roll->peers, (2 * (size_t)at + 8) * sizeof(*peers));
        if (!peers)
            return -1;
        roll->peers = peers;
        roll->room = 2 * at + 8;
    }
    roll->peers[at] = peer;
    peer->place = at;
    if (at < roll->count)
        roll->holes--;
    else
        roll->count++;
    return 0;
}

void kvfi_roll_strike(kvfi_roll_t *roll, const kvf_peer_t *peer)
{
    roll->peers[peer->place] = NULL;
    roll->holes++;
}

kvf_status_t kvf_engine_peer(kvf_engine_t *engine, uint64_t *cursor_p, kvf_peer_t **peer_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);
    kvf_peer_t *peer = NULL;

    if (status != KVF_OK)
        return status;
    if (!cursor_p || !peer_p) {
        status = kvfi_fail(KVF_ERR_INVALID, "%s is NULL", cursor_p ? "peer_p" : "cursor_p");
        goto leave;
    }
    pthread_mutex_lock(&engine->lock);
    while (!peer && *cursor_p < engine->roll.count)
        peer = engine->roll.peers[(*cursor_p)++];
    pthread_mutex_unlock(&engine->lock);
    if (peer)
        *peer_p = peer;
    else
        status = KVF_INPROGRESS;
leave:
    kvfi_leave(engine);
    return status;
}

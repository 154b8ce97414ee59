/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Notifications on their way out.
 */
#ifndef KVFI_ENGINE_NOTIFY_H
#define KVFI_ENGINE_NOTIFY_H

#include <stdatomic.h>
#include <stdint.h>

#include "kvferry.h"
#include "path/am.h"

/* A notification on its way out, in its peer's line from post on. */
typedef struct kvfi_out_note {
    struct kvfi_out_note *next;
    kvf_peer_t *peer;
    uint32_t len, channel;
    uint8_t data[KVF_NOTIFY_MAX];
    kvf_status_t told; /* with it: how the ops to its peer ended */
    int ready;
    _Atomic int sent, status;
    kvfi_am_note_t am;
} kvfi_out_note_t;

void kvfi_note_line_up(kvfi_out_note_t *note);
void kvfi_note_drop(kvfi_out_note_t *note, kvf_status_t status);
/* Its batch was given up: send it at once, before those ahead of it in the line, or drop it. */
void kvfi_note_tell(kvfi_out_note_t *note, kvf_status_t status);
/* Send what is ready at the head of a peer's line. */
void kvfi_note_pump(kvf_peer_t *peer);

#endif

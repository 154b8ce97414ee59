/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The progress bar of rank 0, on standard error, for a person who watches.
 */
#ifndef KVFI_REPLAY_BAR_H
#define KVFI_REPLAY_BAR_H

#include <stdbool.h>
#include <stdint.h>

/* Whether somebody watches: standard error is a terminal, or it is the pipe of a launcher whose own
 * standard error is one (mpirun gives its ranks a pipe). */
bool kvfi_replay_bar_wanted(void);

struct replay_bar {
    uint64_t total; /* requests to serve */
    uint64_t begin_ns;
    uint64_t drawn_ns; /* last time */
};

void kvfi_replay_bar_draw(struct replay_bar *bar, uint64_t requests, uint64_t bytes, uint64_t now_ns);
void kvfi_replay_bar_clear(struct replay_bar *bar);

#endif

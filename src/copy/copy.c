/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The walk collects pieces, a kernel copies them: so the stores of the walk do not queue behind those
 * of each copy, and a streaming kernel sees many pieces at once.
 */
#include "copy/copy.h"

#include <string.h>

#include "copy/tune.h"
#include "copy/walk.h"

#define COLLECT 192u /* pieces that are collected at a time, KVFI_KERNEL_AHEAD of them for the next */

static int streams(const kvfi_tune_t *tune, uint64_t whole, const kvfi_piece_t *pieces,
                   unsigned count)
{
    if (whole < tune->probe_from)
        return 0;
    return whole >= tune->stream_from || kvfi_tune_cold(tune, pieces, count);
}

/* Copy `have` pieces and what the walk finds after them. The last pieces of each fill wait for the
 * next one, for a kernel to fetch them. */
static void copy_streaming(kvfi_walk_t *walk, const kvfi_tune_t *tune, kvfi_piece_t *pieces,
                           unsigned have, uint64_t budget, kvfi_moved_t *moved)
{
    kvfi_flow_t flow = {.linear_from = tune->linear_from};

    while (have == COLLECT) {
        unsigned ready = have - KVFI_KERNEL_AHEAD, more, room;

        tune->kernel->stream(pieces, ready, KVFI_KERNEL_AHEAD, &flow);
        memcpy(pieces, pieces + ready, KVFI_KERNEL_AHEAD * sizeof *pieces);
        room = moved->pieces + ready <= KVFI_COPY_PIECES ? ready
                                                         : (unsigned)(KVFI_COPY_PIECES - moved->pieces);
        more = kvfi_walk_fill(walk, pieces + KVFI_KERNEL_AHEAD, room, budget - moved->bytes,
                              &moved->bytes);
        moved->pieces += more;
        have = KVFI_KERNEL_AHEAD + more;
    }
    tune->kernel->stream(pieces, have, 0, &flow);
}

static void copy_cached(kvfi_walk_t *walk, const kvfi_tune_t *tune, kvfi_piece_t *pieces,
                        unsigned have, uint64_t budget, kvfi_moved_t *moved)
{
    while (have) {
        tune->kernel->cached(pieces, have);
        if (have < COLLECT || moved->pieces + COLLECT > KVFI_COPY_PIECES)
            return;
        have = kvfi_walk_fill(walk, pieces, COLLECT, budget - moved->bytes, &moved->bytes);
        moved->pieces += have;
    }
}

kvfi_moved_t kvfi_copy_box(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir,
                           uint64_t budget, uint64_t whole)
{
    const kvfi_tune_t *tune = kvfi_tune();
    kvfi_walk_t        walk = kvfi_walk_of(cursor, local, remote, dir);
    kvfi_piece_t       pieces[COLLECT];
    kvfi_moved_t       moved = {0};
    unsigned           have;

    have = kvfi_walk_fill(&walk, pieces, COLLECT, budget, &moved.bytes);
    moved.pieces = have;
    if (!have)
        return moved;
    if (streams(tune, whole, pieces, have))
        copy_streaming(&walk, tune, pieces, have, budget, &moved);
    else
        copy_cached(&walk, tune, pieces, have, budget, &moved);
    return moved;
}

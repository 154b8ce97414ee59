/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The stretches of WRITEs that were given up, and the question whether an op touches one. Blocks are listed
 * only when a WRITE is given up. The lock is held while the blocks of one op are walked; nothing else waits.
 */
#include "path/open_writes.h"

#include <stdlib.h>

void kvfi_open_writes_init(kvfi_open_writes_t *writes)
{
    pthread_mutex_init(&writes->lock, NULL);
}

void kvfi_open_writes_destroy(kvfi_open_writes_t *writes)
{
    pthread_mutex_destroy(&writes->lock);
}

static kvfi_point_t start_of(const kvfi_xfer_t *xfer)
{
    return (kvfi_point_t){xfer->target->process, xfer->target->lands};
}

static kvfi_point_t further(kvfi_point_t point, uint64_t bytes)
{
    return (kvfi_point_t){point.owner, point.at + bytes};
}

/* From the first byte to the end of the last; 0: there is none. */
static int around(kvfi_point_t start, const kvfi_box_t *box, kvfi_stretch_t *stretch)
{
    uint64_t from, to;

    if (!kvfi_box_remote_span(box, &from, &to))
        return 0;
    *stretch = (kvfi_stretch_t){.from = further(start, from), .to = further(start, to)};
    return 1;
}

void kvfi_landing_note(kvfi_landing_t *landing, const kvfi_xfer_t *xfer)
{
    landing->start = start_of(xfer);
    landing->box = xfer->box;
    landing->stretches = NULL;
    landing->count = 0;
}

/* ------------------------------------------------------------------ listing */

static int by_start(const void *one, const void *other)
{
    const kvfi_stretch_t *a = one, *b = other;

    return a->from.at < b->from.at ? -1 : a->from.at > b->from.at;
}

/* Those that touch become one. Returns how many are left. */
static size_t merge(kvfi_stretch_t *stretches, size_t count)
{
    size_t left = 0;

    qsort(stretches, count, sizeof *stretches, by_start);
    for (size_t i = 1; i < count; i++) {
        if (stretches[i].from.at > stretches[left].to.at)
            stretches[++left] = stretches[i];
        else if (stretches[i].to.at > stretches[left].to.at)
            stretches[left].to = stretches[i].to;
    }
    return left + 1;
}

/* The pieces as they come; neighbours in that order are one already. Returns how many, 0 if they are more
 * than room. */
static size_t list(const kvfi_landing_t *landing, kvfi_stretch_t *stretches, size_t room)
{
    kvfi_box_t side = kvfi_box_remote_side(&landing->box);
    kvfi_cursor_t cursor = kvfi_cursor_at_start(&side);
    size_t count = 0;
    kvfi_run_t run;

    while (kvfi_cursor_next(&cursor, UINT64_MAX, &run)) {
        kvfi_point_t from = further(landing->start, run.remote);

        if (!count || stretches[count - 1].to.at != from.at) {
            if (count == room)
                return 0;
            stretches[count++] = (kvfi_stretch_t){.from = from};
        }
        stretches[count - 1].to = further(from, run.len);
    }
    return count;
}

static size_t pieces_of(const kvfi_box_t *box)
{
    uint64_t rows = (uint64_t)box->blocks * box->count[1];

    if (rows > KVFI_LANDING_MOST || rows * box->count[0] > KVFI_LANDING_MOST)
        return KVFI_LANDING_MOST;
    return (size_t)(rows * box->count[0]);
}

static void list_blocks(kvfi_landing_t *landing)
{
    size_t room = pieces_of(&landing->box), count;
    kvfi_stretch_t *stretches = room > 1 ? malloc(room * sizeof *stretches) : NULL;

    count = stretches ? list(landing, stretches, room) : 0;
    if (count)
        count = merge(stretches, count);
    if (count > 1) {
        landing->stretches = stretches;
        landing->count = count;
    } else {
        free(stretches);
    }
}

/* -------------------------------------------------------- what may still land */

void kvfi_open_writes_add(kvfi_open_writes_t *writes, kvfi_landing_t *landing)
{
    if (around(landing->start, &landing->box, &landing->around))
        list_blocks(landing);
    pthread_mutex_lock(&writes->lock);
    for (size_t i = 0; i < landing->count; i++)
        kvfi_stretch_add(&writes->stretches, &landing->stretches[i]);
    if (!landing->stretches)
        kvfi_stretch_add(&writes->stretches, &landing->around);
    pthread_mutex_unlock(&writes->lock);
    atomic_fetch_add(&writes->count, 1);
}

void kvfi_open_writes_settle(kvfi_open_writes_t *writes, kvfi_landing_t *landing)
{
    pthread_mutex_lock(&writes->lock);
    for (size_t i = 0; i < landing->count; i++)
        kvfi_stretch_remove(&writes->stretches, &landing->stretches[i]);
    if (!landing->stretches)
        kvfi_stretch_remove(&writes->stretches, &landing->around);
    pthread_mutex_unlock(&writes->lock);
    free(landing->stretches);
    landing->stretches = NULL;
    landing->count = 0;
    atomic_fetch_sub(&writes->count, 1);
    atomic_fetch_add(&writes->settled, 1);
}

static int touches_piece(const kvfi_open_writes_t *writes, const kvfi_xfer_t *xfer)
{
    kvfi_box_t side = kvfi_box_remote_side(&xfer->box);
    kvfi_cursor_t cursor = kvfi_cursor_at_start(&side);
    kvfi_run_t run;

    while (kvfi_cursor_next(&cursor, UINT64_MAX, &run)) {
        kvfi_point_t from = further(start_of(xfer), run.remote);

        if (kvfi_stretch_meet(writes->stretches, from, further(from, run.len)))
            return 1;
    }
    return 0;
}

int kvfi_open_writes_touch(kvfi_open_writes_t *writes, const kvfi_xfer_t *xfer)
{
    kvfi_stretch_t stretch;
    int met;

    if (!around(start_of(xfer), &xfer->box, &stretch))
        return 0;
    pthread_mutex_lock(&writes->lock);
    met = kvfi_stretch_meet(writes->stretches, stretch.from, stretch.to) && touches_piece(writes, xfer);
    pthread_mutex_unlock(&writes->lock);
    return met;
}

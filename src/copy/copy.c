/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the caches hold is copied by memcpy as the walk comes to it. For the rest the walk collects
 * pieces and a kernel streams them, so that it sees many at once; or rows of short pieces. A gather or
 * scatter is the same with a buffer for one side: what is gathered stays in the caches, as the wire reads
 * the buffer next.
 */
#include "copy/copy.h"

#include <string.h>

#include "copy/tune.h"
#include "copy/walk.h"

#define COLLECT   192u /* pieces that are collected at a time, KVFI_KERNEL_AHEAD of them for the next */
#define LINE      64u
#define ROWS      64u    /* rows that are collected at a time, KVFI_ROWS_AHEAD of them for the next */
#define ROWS_MIN  512u   /* shorter pieces: what a row costs shows */
#define ROWS_MOST 1024u  /* longer pieces go eight at a time, wherever they lie */
#define SAMPLE    32u    /* pieces that a look at the caches is taken from */
#define LOOK_FROM 16384u /* bytes of a gather or scatter that are worth a look at the caches */
#define LOOKS     4u     /* pieces that such a look sees */

/* Where pieces come from. */
typedef struct feed {
    kvfi_walk_t walk;
    uint64_t budget;
    kvfi_moved_t moved;
    char *to;         /* NULL, or a buffer for all sources, */
    const char *from; /* or one for all destinations */
} feed_t;

/* At most `most` more, which is never more than COLLECT. */
static unsigned collect(feed_t *feed, kvfi_piece_t *pieces, unsigned most)
{
    uint64_t at = feed->moved.bytes, room = KVFI_COPY_PIECES - feed->moved.pieces;
    unsigned count;

    count = kvfi_walk_fill(&feed->walk, pieces, most < room ? most : (unsigned)room, feed->budget - at,
                           &feed->moved.bytes);
    feed->moved.pieces += count;
    for (unsigned i = 0; (feed->to || feed->from) && i < count; i++) {
        if (feed->to)
            pieces[i].dst = feed->to + at;
        else
            pieces[i].src = feed->from + at;
        at += pieces[i].len;
    }
    return count;
}

/* Copy `have` pieces and all that come after them. The last pieces of each fill wait for the next
 * one, for a kernel to fetch them. */
static void copy_ahead(feed_t *feed, const kvfi_tune_t *tune, int stream, kvfi_piece_t *pieces, unsigned have)
{
    kvfi_flow_t flow = {.linear_from = tune->linear_from};
    void (*copy)(const kvfi_piece_t *, unsigned, unsigned, kvfi_flow_t *) =
        stream ? tune->kernel->stream : tune->kernel->fetch;

    while (have == COLLECT) {
        unsigned ready = have - KVFI_KERNEL_AHEAD;

        copy(pieces, ready, KVFI_KERNEL_AHEAD, &flow);
        memcpy(pieces, pieces + ready, KVFI_KERNEL_AHEAD * sizeof *pieces);
        have = KVFI_KERNEL_AHEAD + collect(feed, pieces + KVFI_KERNEL_AHEAD, ready);
    }
    copy(pieces, have, 0, &flow);
}

static void copy_cached(feed_t *feed, const kvfi_tune_t *tune, kvfi_piece_t *pieces, unsigned have)
{
    while (have) {
        tune->kernel->cached(pieces, have);
        have = have == COLLECT ? collect(feed, pieces, COLLECT) : 0;
    }
}

/* memcpy piece by piece, called while the next pieces are looked up. */
static void copy_plainly(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir, uint64_t budget,
                         kvfi_moved_t *moved)
{
    kvfi_moved_t tables = kvfi_walk_tables(cursor, local, remote, dir, budget - moved->bytes);
    kvfi_walk_t walk;

    moved->bytes += tables.bytes;
    moved->pieces += tables.pieces;
    if (kvfi_cursor_ended(cursor) || moved->bytes == budget || moved->pieces >= KVFI_COPY_PIECES)
        return;
    walk = kvfi_walk_of(cursor, local, remote, dir);
    moved->pieces += kvfi_walk_fill(&walk, NULL, (unsigned)(KVFI_COPY_PIECES - moved->pieces),
                                    budget - moved->bytes, &moved->bytes);
}

/* Whether the box is rows of short pieces whose destinations are whole lines. */
static int are_rows(const kvfi_walk_t *walk)
{
    const kvfi_box_t *box = walk->cursor->box;
    const kvfi_walk_side_t *to = &walk->dst;
    uint64_t all = (uintptr_t)to->base | box->len | (uint64_t)to->stride[0];

    all |= box->count[1] > 1 ? (uint64_t)to->stride[1] : 0;
    all |= box->blocks > 1 || to->ids ? to->block : 0;
    return box->count[0] > 1 && box->len >= ROWS_MIN && box->len <= ROWS_MOST && all % LINE == 0;
}

/* At most `most` whole rows, and as many as the budget has room for. */
static unsigned collect_rows(feed_t *feed, const kvfi_rows_t *shape, kvfi_row_t *rows, unsigned most)
{
    uint64_t bytes = shape->len * shape->count;
    uint64_t fit = (feed->budget - feed->moved.bytes) / bytes;
    uint64_t room = (KVFI_COPY_PIECES - feed->moved.pieces) / shape->count;
    unsigned count;

    room = fit < room ? fit : room;
    count = kvfi_walk_rows(&feed->walk, rows, most < room ? most : (unsigned)room);
    feed->moved.bytes += count * bytes;
    feed->moved.pieces += (uint64_t)count * shape->count;
    return count;
}

/* All whole rows. */
static void copy_rows(feed_t *feed, const kvfi_tune_t *tune)
{
    const kvfi_walk_t *walk = &feed->walk;
    const kvfi_box_t *box = walk->cursor->box;
    const kvfi_rows_t shape = {box->len, box->count[0], walk->dst.stride[0], walk->src.stride[0]};
    kvfi_row_t rows[ROWS];
    unsigned have = collect_rows(feed, &shape, rows, ROWS);

    while (have == ROWS) {
        unsigned ready = have - KVFI_ROWS_AHEAD;

        tune->kernel->rows(&shape, rows, ready, KVFI_ROWS_AHEAD);
        memcpy(rows, rows + ready, KVFI_ROWS_AHEAD * sizeof *rows);
        have = KVFI_ROWS_AHEAD + collect_rows(feed, &shape, rows + KVFI_ROWS_AHEAD, ready);
    }
    tune->kernel->rows(&shape, rows, have, 0);
}

/* Collect the rest of the row that the walk is in, or as much of it as there is room for. */
static unsigned collect_row(feed_t *feed, kvfi_piece_t *pieces, unsigned most)
{
    const kvfi_cursor_t *cursor = feed->walk.cursor;
    unsigned left = cursor->box->count[0] - cursor->x;

    if (!cursor->x && !cursor->in)
        return 0;
    return collect(feed, pieces, left < most ? left : most);
}

/* Copy `have` pieces and all that come after them, past the caches. */
static void copy_cold(feed_t *feed, const kvfi_tune_t *tune, kvfi_piece_t *pieces, unsigned have)
{
    const kvfi_cursor_t *cursor = feed->walk.cursor;
    kvfi_flow_t flow = {.linear_from = tune->linear_from};

    if (are_rows(&feed->walk)) {
        have += collect_row(feed, pieces + have, COLLECT - have);
        tune->kernel->stream(pieces, have, 0, &flow);
        if (!cursor->x && !cursor->in)
            copy_rows(feed, tune);
        have = 0;
    }
    have += collect(feed, pieces + have, COLLECT - have);
    copy_ahead(feed, tune, 1, pieces, have);
}

/* What may be in the caches, or not: the first pieces tell. */
static kvfi_moved_t copy_by_look(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir,
                                 uint64_t budget, const kvfi_tune_t *tune)
{
    feed_t feed = {.walk = kvfi_walk_of(cursor, local, remote, dir), .budget = budget};
    kvfi_piece_t pieces[COLLECT];
    unsigned have = collect(&feed, pieces, SAMPLE);

    if (have && kvfi_tune_cold(tune, pieces, have)) {
        copy_cold(&feed, tune, pieces, have);
    } else {
        tune->kernel->cached(pieces, have);
        copy_plainly(cursor, local, remote, dir, budget, &feed.moved);
    }
    return feed.moved;
}

static kvfi_moved_t copy_all_cold(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir,
                                  uint64_t budget, const kvfi_tune_t *tune)
{
    feed_t feed = {.walk = kvfi_walk_of(cursor, local, remote, dir), .budget = budget};
    kvfi_piece_t pieces[COLLECT];

    copy_cold(&feed, tune, pieces, 0);
    return feed.moved;
}

kvfi_moved_t kvfi_copy_box(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir, uint64_t budget,
                           uint64_t whole)
{
    const kvfi_tune_t *tune = kvfi_tune();
    kvfi_moved_t moved = {0};

    if (whole >= tune->stream_from)
        return copy_all_cold(cursor, local, remote, dir, budget, tune);
    if (whole >= tune->probe_from)
        return copy_by_look(cursor, local, remote, dir, budget, tune);
    copy_plainly(cursor, local, remote, dir, budget, &moved);
    return moved;
}

/* Only the scattered side is looked at: the buffer may be hot in the cache of another core. Once: to take
 * for cold what is not costs little here, and the contrary much. */
static int is_cold(const feed_t *feed, const kvfi_tune_t *tune, const kvfi_piece_t *pieces, unsigned count)
{
    kvfi_piece_t looks[LOOKS];

    for (unsigned i = 0; i < LOOKS; i++) {
        const kvfi_piece_t *piece = &pieces[(uint64_t)i * count / LOOKS];
        char *at = feed->to ? (char *)piece->src : piece->dst;

        looks[i] = (kvfi_piece_t){at, at + piece->len / 2, piece->len - piece->len / 2};
    }
    return kvfi_tune_seems_cold(tune, looks, LOOKS);
}

/* One call moves as many pieces as there are. */
static uint64_t whole_feed(feed_t *feed, uint64_t *pieces_p)
{
    const kvfi_tune_t *tune = kvfi_tune();
    kvfi_piece_t pieces[COLLECT];
    uint64_t count = 0;
    unsigned have;

    while ((have = collect(feed, pieces, COLLECT))) {
        if (feed->budget >= LOOK_FROM && is_cold(feed, tune, pieces, have))
            copy_ahead(feed, tune, !feed->to, pieces, have);
        else
            copy_cached(feed, tune, pieces, have);
        count += feed->moved.pieces;
        feed->moved.pieces = 0;
    }
    *pieces_p += count;
    return feed->moved.bytes;
}

uint64_t kvfi_copy_gather(kvfi_cursor_t *cursor, const char *base, char *buf, uint64_t cap,
                          uint64_t *pieces_p)
{
    feed_t feed = {.walk = kvfi_walk_local(cursor, (char *)base), .budget = cap, .to = buf};

    return whole_feed(&feed, pieces_p);
}

uint64_t kvfi_copy_scatter(kvfi_cursor_t *cursor, char *base, const char *buf, uint64_t len,
                           uint64_t *pieces_p)
{
    feed_t feed = {.walk = kvfi_walk_local(cursor, base), .budget = len, .from = buf};

    return whole_feed(&feed, pieces_p);
}

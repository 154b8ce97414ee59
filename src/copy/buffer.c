/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Between scattered memory and a buffer that somebody else fills or reads at once: a message, a slot
 * of a ring. The buffer is to stay in the caches, so a gather stores plainly, and fetches its sources
 * ahead, across pieces; a scatter streams if its destinations are not in the caches. No lock, no
 * system call.
 */
#include "copy/copy.h"
#include "copy/tune.h"

#define COLLECT     192u  /* pieces that are collected at a time */
#define STEP        2048u /* bytes that are copied between two fetches */
#define AHEAD       8192u /* bytes that are fetched ahead */
#define LONG_FROM   32768u /* bytes of a piece that the hardware fetches well enough */
#define LOOKS       4u    /* pieces that a look sees */
#define LOOK_FROM   16384u /* bytes of pieces that are worth a look at the caches */

/* How far the sources of a group are fetched. */
typedef struct ahead {
    unsigned piece;
    uint64_t in, gap; /* bytes of that piece; bytes more than are copied */
} ahead_t;

static void fetch_on(const kvfi_piece_t *pieces, unsigned count, ahead_t *ahead)
{
    while (ahead->gap < AHEAD && ahead->piece < count) {
        const kvfi_piece_t *piece = &pieces[ahead->piece];
        uint64_t            end = piece->len < LONG_FROM ? piece->len : 0;
        uint64_t            to = ahead->in + STEP < end ? ahead->in + STEP : end;

        for (uint64_t at = ahead->in; at < to; at += 64)
            __builtin_prefetch(piece->src + at, 0, 3);
        ahead->gap += to - ahead->in; /* 0 for a long one */
        ahead->in = to;
        if (to < end)
            continue;
        ahead->in = 0;
        ahead->piece++;
    }
}

/* Pieces from the first on that make a step, or a step of the first one, or all of a long one. */
static unsigned next_step(const kvfi_piece_t *pieces, unsigned count, uint64_t off,
                          kvfi_piece_t *part_p, uint64_t *bytes_p)
{
    uint64_t left = pieces->len - off, most = pieces->len < LONG_FROM ? STEP : left;
    unsigned n = 0;

    *bytes_p = 0;
    if (off || left > STEP) {
        *bytes_p = left < most ? left : most;
        *part_p = (kvfi_piece_t){pieces->dst + off, pieces->src + off, *bytes_p};
        return 0;
    }
    while (n < count && *bytes_p + pieces[n].len <= STEP)
        *bytes_p += pieces[n++].len;
    return n;
}

static void copy_ahead(const kvfi_kernel_t *kernel, const kvfi_piece_t *pieces, unsigned count)
{
    ahead_t  ahead = {0};
    uint64_t off = 0, bytes;
    unsigned at = 0;

    while (at < count) {
        kvfi_piece_t part;
        unsigned     n;

        if (ahead.piece < at)
            ahead = (ahead_t){.piece = at};
        fetch_on(pieces, count, &ahead);
        n = next_step(pieces + at, count - at, off, &part, &bytes);
        kernel->cached(n ? pieces + at : &part, n ? n : 1);
        ahead.gap -= bytes < ahead.gap ? bytes : ahead.gap;
        at += n;
        if (n)
            continue;
        off += bytes;
        if (off == pieces[at].len) {
            off = 0;
            at++;
        }
    }
}

uint64_t kvfi_copy_gather(kvfi_cursor_t *cursor, const char *base, char *buf, uint64_t cap,
                          uint64_t *pieces_p)
{
    const kvfi_kernel_t *kernel = kvfi_tune()->kernel;
    kvfi_piece_t         pieces[COLLECT];
    uint64_t             len = 0;
    unsigned             count;

    do {
        kvfi_run_t run;

        for (count = 0; count < COLLECT && len < cap && kvfi_cursor_next(cursor, cap - len, &run);
             count++) {
            pieces[count] = (kvfi_piece_t){buf + len, base + run.local, run.len};
            len += run.len;
        }
        copy_ahead(kernel, pieces, count);
        *pieces_p += count;
    } while (count == COLLECT);
    return len;
}

/* Only the destinations are looked at: the buffer may be hot in another core's cache. */
static int goes_to_memory(const kvfi_tune_t *tune, const kvfi_piece_t *pieces, unsigned count)
{
    kvfi_piece_t looks[LOOKS];

    for (unsigned i = 0; i < LOOKS; i++) {
        const kvfi_piece_t *piece = &pieces[(uint64_t)i * count / LOOKS];
        uint64_t            half = piece->len / 2;

        looks[i] = (kvfi_piece_t){piece->dst, piece->dst + half, half + 1};
    }
    return kvfi_tune_cold(tune, looks, LOOKS);
}

static void spread(const kvfi_tune_t *tune, const kvfi_piece_t *pieces, unsigned count, uint64_t bytes)
{
    kvfi_flow_t flow = {.linear_from = tune->linear_from};

    if (bytes >= LOOK_FROM && goes_to_memory(tune, pieces, count))
        tune->kernel->stream(pieces, count, 0, &flow);
    else
        tune->kernel->cached(pieces, count);
}

uint64_t kvfi_copy_scatter(kvfi_cursor_t *cursor, char *base, const char *buf, uint64_t len,
                           uint64_t *pieces_p)
{
    const kvfi_tune_t *tune = kvfi_tune();
    kvfi_piece_t       pieces[COLLECT];
    uint64_t           done = 0;
    unsigned           count;

    do {
        uint64_t   before = done;
        kvfi_run_t run;

        for (count = 0; count < COLLECT && done < len && kvfi_cursor_next(cursor, len - done, &run);
             count++) {
            pieces[count] = (kvfi_piece_t){base + run.local, buf + done, run.len};
            done += run.len;
        }
        spread(tune, pieces, count, done - before);
        *pieces_p += count;
    } while (count == COLLECT);
    return done;
}

/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The bodies of the kernels. The file of an instruction set defines stream_line(), 64 bytes from
 * anywhere to an aligned destination by a non-temporal store; stream_4(), four of them, loaded before
 * the first is stored; copy_part(), less than 64 bytes by plain stores; fence(); and vector_t, what a
 * register holds; then it includes this.
 *
 *   dst    |head|line|line|line|line|line|tail|      head and tail by plain stores, so that each
 *               ^ aligned to 64                      line belongs to one kind of store
 */
#define LANES        8u
#define LANE_LEAST   1024u /* shorter pieces are rows enough at once one after the other */
#define LANE_AHEAD   1024u /* bytes that are fetched ahead in each lane */
#define FEW_LINES    4u    /* lines of a lane before the next lane has its turn, */
#define MANY_LINES   8u    /* and in pieces of MANY_FROM bytes and more */
#define MANY_FROM    4096u
#define TURN         512u /* bytes between two fetches where pieces go one after the other */
#define LINEAR_AHEAD 8192u
#define FETCH_MOST   32768u /* of longer pieces the processor itself fetches what comes next */
#define STEP         2048u  /* bytes that are copied to the caches between two fetches */
#define CALL_FROM    1024u  /* memcpy is worth its call */
#define HALF_MOST    128u   /* bytes that fit in half of the vector registers */

typedef struct {
    char *dst;
    const char *src;
    uint64_t lines;
} stream_t;

static inline void fetch(const char *src, uint64_t len)
{
    for (uint64_t at = 0; at < len; at += 64)
        __builtin_prefetch(src + at, 0, 3);
}

/* `half` bytes from the front and as many up to the end, which may overlap. All loads before all
 * stores: none has to wait until the processor knows that source and destination do not. */
static inline __attribute__((always_inline)) void copy_ends(char *dst, const char *src, uint64_t len,
                                                            const unsigned half)
{
    const unsigned count = half / sizeof(vector_t);
    const uint64_t back = len - half;
    vector_t all[2 * HALF_MOST / sizeof(vector_t)];

#pragma GCC unroll 8
    for (unsigned i = 0; i < count; i++)
        all[i] = ((const vector_t *)src)[i];
#pragma GCC unroll 8
    for (unsigned i = 0; i < count; i++)
        all[count + i] = ((const vector_t *)(src + back))[i];
#pragma GCC unroll 8
    for (unsigned i = 0; i < count; i++)
        ((vector_t *)dst)[i] = all[i];
#pragma GCC unroll 8
    for (unsigned i = 0; i < count; i++)
        ((vector_t *)(dst + back))[i] = all[count + i];
}

static inline void copy_64_to_128(char *dst, const char *src, uint64_t len)
{
    copy_ends(dst, src, len, 64);
}

static inline void copy_128_to_256(char *dst, const char *src, uint64_t len)
{
    copy_ends(dst, src, len, 128);
}

static inline void copy_from_256(char *dst, const char *src, uint64_t len)
{
    for (uint64_t at = 0; at + 256 < len; at += 256)
        copy_ends(dst + at, src + at, 256, 128);
    copy_ends(dst + len - 256, src + len - 256, 256, 128);
}

/* Any length that memcpy is not worth its call for. */
static inline void copy_short(char *dst, const char *src, uint64_t len)
{
    if (len < 64)
        copy_part(dst, src, len);
    else if (len <= 128)
        copy_64_to_128(dst, src, len);
    else if (len <= 256)
        copy_128_to_256(dst, src, len);
    else
        copy_from_256(dst, src, len);
}

/* Copy head and tail, leave the lines between. */
static inline stream_t open_stream(const kvfi_piece_t *piece)
{
    uint64_t head = -(uintptr_t)piece->dst & 63, lines, tail;

    if (piece->len < head + 64) {
        copy_short(piece->dst, piece->src, piece->len);
        return (stream_t){piece->dst, piece->src, 0};
    }
    lines = (piece->len - head) / 64;
    tail = piece->len - head - lines * 64;
    if (head)
        copy_part(piece->dst, piece->src, head);
    if (tail)
        copy_part(piece->dst + piece->len - tail, piece->src + piece->len - tail, tail);
    return (stream_t){piece->dst + head, piece->src + head, lines};
}

static inline void copy_lines(char *dst, const char *src, uint64_t lines)
{
    for (; lines >= 4; lines -= 4, dst += 256, src += 256)
        stream_4(dst, src);
    for (; lines; lines--, dst += 64, src += 64)
        stream_line(dst, src);
}

/* ------------------------------------------------------- one after the other */

/* Fetch on until LINEAR_AHEAD bytes are, or there is nothing more in sight. */
static inline void fetch_on(const kvfi_piece_t *pieces, unsigned at, unsigned total, kvfi_flow_t *flow)
{
    while (flow->gap < LINEAR_AHEAD && flow->piece < total && flow->piece < at + KVFI_KERNEL_AHEAD) {
        const kvfi_piece_t *piece = &pieces[flow->piece];
        uint64_t len = piece->len - flow->in < TURN ? piece->len - flow->in : TURN;

        fetch(piece->src + flow->in, len);
        flow->gap += len;
        flow->in += len;
        if (flow->in == piece->len) {
            flow->in = 0;
            flow->piece++;
        }
    }
}

/* What was not fetched before its turn came need not be any more. */
static inline void skip_to(kvfi_flow_t *flow, unsigned at)
{
    if (flow->piece < at) {
        flow->piece = at;
        flow->in = flow->gap = 0;
    }
}

static inline void copied(kvfi_flow_t *flow, uint64_t len)
{
    flow->gap -= len < flow->gap ? len : flow->gap;
}

/* A turn more or less that was fetched does not matter, so heads and tails are not looked at. */
static void copy_linear(const kvfi_piece_t *pieces, unsigned at, unsigned total, kvfi_flow_t *flow)
{
    stream_t stream;
    uint64_t line = 0;

    skip_to(flow, at);
    fetch_on(pieces, at, total, flow);
    stream = open_stream(&pieces[at]);
    for (; line + TURN / 64 <= stream.lines; line += TURN / 64) {
        copy_lines(stream.dst + line * 64, stream.src + line * 64, TURN / 64);
        copied(flow, TURN);
        fetch_on(pieces, at, total, flow);
    }
    copy_lines(stream.dst + line * 64, stream.src + line * 64, stream.lines - line);
    copied(flow, pieces[at].len - line * 64);
}

/* ------------------------------------------------------------ eight at a time */

static int fit_lanes(const kvfi_piece_t *pieces, uint64_t linear_from)
{
    for (unsigned k = 0; k < LANES; k++)
        if (pieces[k].len < LANE_LEAST || pieces[k].len >= linear_from)
            return 0;
    return 1;
}

/* What all lanes have, `lines` of each in turns. What would be fetched past the end of a piece is
 * taken from its successors in the two groups that follow. */
static inline void copy_turns(const stream_t *lanes, const kvfi_piece_t *const groups[2], uint64_t len,
                              unsigned lines)
{
    for (uint64_t at = 0; at < len; at += lines * 64) {
        uint64_t to = at + LANE_AHEAD;
        const kvfi_piece_t *group = NULL;

        if (to >= len) {
            group = groups[to >= 2 * len];
            to = to >= 2 * len ? to - 2 * len : to - len;
        }
        for (unsigned k = 0; k < LANES; k++) {
            fetch((group ? group[k].src : lanes[k].src) + to, lines * 64);
            copy_lines(lanes[k].dst + at, lanes[k].src + at, lines);
        }
    }
}

static void copy_lanes(const kvfi_piece_t *pieces, unsigned total)
{
    const kvfi_piece_t *groups[2] = {pieces, pieces};
    stream_t lanes[LANES];
    uint64_t lines = UINT64_MAX;

    if (total >= 2 * LANES)
        groups[0] = groups[1] = pieces + LANES;
    if (total >= 3 * LANES)
        groups[1] = pieces + 2 * LANES;
    for (unsigned k = 0; k < LANES; k++) {
        lanes[k] = open_stream(&pieces[k]);
        if (lanes[k].lines < lines)
            lines = lanes[k].lines;
    }
    if (lines * 64 < MANY_FROM - 64) {
        lines -= lines % FEW_LINES;
        copy_turns(lanes, groups, lines * 64, FEW_LINES);
    } else {
        lines -= lines % MANY_LINES;
        copy_turns(lanes, groups, lines * 64, MANY_LINES);
    }
    for (unsigned k = 0; k < LANES; k++)
        copy_lines(lanes[k].dst + lines * 64, lanes[k].src + lines * 64, lanes[k].lines - lines);
}

/* ------------------------------------------------------------- the three ways */

static void end_call(kvfi_flow_t *flow, unsigned count)
{
    flow->piece -= flow->piece < count ? flow->piece : count;
}

static void copy_streaming(const kvfi_piece_t *pieces, unsigned count, unsigned ahead, kvfi_flow_t *flow)
{
    unsigned total = count + ahead;

    for (unsigned i = 0; i < count;) {
        if (i + LANES <= count && fit_lanes(pieces + i, flow->linear_from)) {
            copy_lanes(pieces + i, total - i);
            i += LANES;
            flow->piece = i;
            flow->in = flow->gap = 0;
        } else {
            copy_linear(pieces, i, total, flow);
            i++;
        }
    }
    end_call(flow, count);
    fence();
}

static inline void copy_one(char *dst, const char *src, uint64_t len)
{
    if (len < CALL_FROM)
        copy_short(dst, src, len);
    else
        memcpy(dst, src, len);
}

#include "copy/pairs.h"

static inline void copy_long(char *dst, const char *src, uint64_t len)
{
    memcpy(dst, src, len);
}

/* All pairs have one length: it is asked once. */
static uint32_t copy_pairs(const kvfi_pairs_t *pairs, uint32_t at, uint32_t end, uint32_t *runs_p)
{
    if (pairs->len < 64)
        return walk_pairs(pairs, at, end, runs_p, copy_part);
    if (pairs->len <= 128)
        return walk_pairs(pairs, at, end, runs_p, copy_64_to_128);
    if (pairs->len <= 256)
        return walk_pairs(pairs, at, end, runs_p, copy_128_to_256);
    if (pairs->len < CALL_FROM)
        return walk_pairs(pairs, at, end, runs_p, copy_from_256);
    return walk_pairs(pairs, at, end, runs_p, copy_long);
}

static void copy_fetched(const kvfi_piece_t *pieces, unsigned count, unsigned ahead, kvfi_flow_t *flow)
{
    for (unsigned i = 0; i < count; i++) {
        kvfi_piece_t rest = pieces[i];

        skip_to(flow, i);
        if (rest.len <= FETCH_MOST)
            fetch_on(pieces, i, count + ahead, flow);
        for (; rest.len > STEP && rest.len <= FETCH_MOST; rest.len -= STEP) {
            memcpy(rest.dst, rest.src, STEP);
            rest.dst += STEP;
            rest.src += STEP;
            copied(flow, STEP);
            fetch_on(pieces, i, count + ahead, flow);
        }
        copy_one(rest.dst, rest.src, rest.len);
        copied(flow, rest.len);
    }
    end_call(flow, count);
}

static void copy_cached(const kvfi_piece_t *pieces, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        copy_one(pieces[i].dst, pieces[i].src, pieces[i].len);
}
